"""``lateron groups``: who gets what is published under a name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote

import typer

from lateron.cli.options import JsonOption, TokenOption, UrlOption

groups_app = typer.Typer(help="URL groups: publish once, and each endpoint gets a message.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="GROUP", help="Name of the group.")]


@groups_app.command("list")
def list_groups(url: UrlOption = None, token: TokenOption = None, as_json: JsonOption = False) -> None:
    """Print all groups with their endpoints.

    Example: lateron groups list
    """
    _print(_call(url, token, "GET", ""), as_json=as_json)


@groups_app.command()
def show(group: NameArgument, url: UrlOption = None, token: TokenOption = None, as_json: JsonOption = False) -> None:
    """Print the endpoints of a group.

    Example: lateron groups show order-events --json
    """
    _print(_call(url, token, "GET", group), as_json=as_json)


@groups_app.command()
def add(
    group: NameArgument,
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT", help="URL of the endpoint.")],
    name: Annotated[str | None, typer.Option("--name", help="Name of the endpoint.")] = None,
    url: UrlOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add an endpoint, or change the one of that URL or name; the first one makes the group.

    Example: lateron groups add order-events https://example.com/orders --name shop
    """
    added = {"url": endpoint} if name is None else {"url": endpoint, "name": name}
    _print(_call(url, token, "POST", group, "/endpoints", {"endpoints": [added]}), as_json=as_json)


@groups_app.command()
def remove(
    group: NameArgument,
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT", help="URL or name of the endpoint.")],
    url: UrlOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove an endpoint; with the last one the group is gone.

    Example: lateron groups remove order-events shop
    """
    removed = {"url": endpoint} if endpoint.startswith(("http://", "https://")) else {"name": endpoint}
    _print(_call(url, token, "DELETE", group, "/endpoints", {"endpoints": [removed]}), as_json=as_json)


@groups_app.command()
def defaults(
    group: NameArgument,
    option: Annotated[
        list[str] | None, typer.Option("--option", help="'Name: value' of an Upstash-Name header; repeat for more.")
    ] = None,
    url: UrlOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set what configures a publish to a group where the publish does not; without options, nothing does.

    Example: lateron groups defaults order-events --option "Retries: 5" --option "Label: orders"
    """
    from lateron.cli.publishing import headers

    content = {"headers": headers({}, (), option or (), None, None)}
    _print(_call(url, token, "PATCH", group, "", content), as_json=as_json)


@groups_app.command()
def delete(group: NameArgument, url: UrlOption = None, token: TokenOption = None, as_json: JsonOption = False) -> None:
    """Delete a group; messages that were published to it are delivered all the same.

    Example: lateron groups delete order-events
    """
    from lateron.cli.terminal import echo, echo_json

    answer = _call(url, token, "DELETE", group)
    if as_json:
        echo_json(answer)
    else:
        echo(f"deleted {answer['deleted']}")


def _call(url: str | None, token: str | None, method: str, group: str, below: str = "", content: object = None) -> Any:  # noqa: ANN401 - Whatever JSON the server answers.
    from lateron.cli.client import connect

    path = f"/v2/topics/{quote(group, safe='')}{below}" if group else "/v2/topics"
    body = None if content is None else json.dumps(content).encode()
    return connect(url, token).call(method, path, body, {"Content-Type": "application/json"} if body else None)


def _print(answer: Any, *, as_json: bool) -> None:  # noqa: ANN401 - As ``_call``.
    from lateron.cli.terminal import echo_json, echo_table

    if as_json:
        echo_json(answer)
        return
    shown = [group for group in (answer if isinstance(answer, list) else [answer]) if group]
    echo_table(("group", "endpoint", "url"), [row for group in shown for row in _rows(group)])


def _rows(group: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    return [(group["name"], endpoint.get("name", "-"), endpoint["url"]) for endpoint in group["endpoints"]]
