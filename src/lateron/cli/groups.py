"""``lateron groups``: who gets what is published under a name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer

from lateron.cli.commands import command
from lateron.cli.exits import REFUSED, Failed
from lateron.cli.outgoing import options
from lateron.cli.remote import Item, Remote, path

groups_app = typer.Typer(help="URL groups: publish once, and each endpoint gets a message.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="GROUP", help="Name of the group.")]


@command(groups_app, "lateron groups list", "lateron groups list --json", name="list")
def list_groups(remote: Remote) -> None:
    """Print all groups with their endpoints."""
    _print(remote, remote.call("GET", path("v2", "topics")))


@command(groups_app, "lateron groups get order-events --json")
def get(remote: Remote, group: NameArgument) -> None:
    """Print the endpoints of a group."""
    _print(remote, remote.call("GET", path("v2", "topics", group)))


@command(groups_app, "lateron groups add order-events https://example.com/orders --name shop")
def add(
    remote: Remote,
    group: NameArgument,
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT", help="URL of the endpoint.")],
    name: Annotated[str | None, typer.Option("--name", help="Name of the endpoint.")] = None,
) -> None:
    """Add an endpoint, or change the one of that URL or name; the first one makes the group."""
    added = {"url": endpoint} if name is None else {"url": endpoint, "name": name}
    _print(remote, _change(remote, "POST", path("v2", "topics", group, "endpoints"), {"endpoints": [added]}))


@command(groups_app, "lateron groups remove order-events shop")
def remove(
    remote: Remote,
    group: NameArgument,
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT", help="URL or name of the endpoint.")],
) -> None:
    """Remove an endpoint; with the last one the group is gone."""
    before = remote.call("GET", path("v2", "topics", group))
    removed = {"url": endpoint} if endpoint.startswith(("http://", "https://")) else {"name": endpoint}
    answer = _change(remote, "DELETE", path("v2", "topics", group, "endpoints"), {"endpoints": [removed]})
    # To the API the removal of what is not there is a success, as to QStash.
    if len(answer.get("endpoints", ())) == len(before["endpoints"]):
        raise Failed(f"there is no endpoint {endpoint} in the group {group}", REFUSED)
    _print(remote, answer)


@command(groups_app, 'lateron groups defaults order-events --option "Retries: 5"')
def defaults(
    remote: Remote,
    group: NameArgument,
    option: Annotated[
        list[str] | None, typer.Option("--option", help="'Name: value' of an Upstash-Name header; repeat for more.")
    ] = None,
) -> None:
    """Set what configures a publish to a group where the publish does not; without options, nothing does."""
    _print(remote, _change(remote, "PATCH", path("v2", "topics", group), {"headers": options(option or ())}))


@command(groups_app, "lateron groups delete order-events")
def delete(remote: Remote, group: NameArgument) -> None:
    """Delete a group; messages that were published to it are delivered all the same."""
    answer = remote.call("DELETE", path("v2", "topics", group))
    if not answer["deleted"]:
        raise Failed(f"there is no group {group}", REFUSED)
    remote.done(answer, f"deleted {answer['deleted']}")


# As it was called first.
command(groups_app, name="show", hidden=True)(get)


def _change(remote: Remote, method: str, where: str, content: object) -> Any:  # noqa: ANN401 - Whatever JSON the server answers.
    return remote.call(method, where, body=json.dumps(content).encode(), headers={"Content-Type": "application/json"})


def _print(remote: Remote, answer: Any) -> None:  # noqa: ANN401 - As ``_change``.
    if remote.as_json and not isinstance(answer, list):
        remote.done(answer, None)
        return
    shown = [group for group in (answer if isinstance(answer, list) else [answer]) if group]
    if remote.as_json:
        remote.listed(shown, (), lambda _: ())
        return
    rows = [row for group in shown for row in _rows(group)]
    remote.listed(rows, ("group", "endpoint", "url"), lambda row: (row["group"], row["name"], row["url"]))


def _rows(group: Mapping[str, Any]) -> Iterable[Item]:
    return [
        {"group": group["name"], "name": endpoint.get("name", "-"), "url": endpoint["url"]}
        for endpoint in group["endpoints"]
    ]
