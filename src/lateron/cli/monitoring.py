"""``lateron health``, ``lateron grafana``, ``lateron alerts``: what those who watch a server need."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Annotated

import typer

from lateron.cli.commands import command
from lateron.cli.exits import REFUSED, Failed

monitoring_app = typer.Typer()


@command(monitoring_app, "lateron health", "lateron health --live", "lateron health $QSTASH_URL --json")
def health(
    url: Annotated[
        str | None, typer.Argument(metavar="URL", help="The server.", show_default="QSTASH_URL, else the dev server")
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Ask only whether the process is alive.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask a server whether work should be sent to it; exit code 0 for yes, 1 for no, 5 if there is no answer.

    It needs no token, so it fits the health check of a container.
    """
    from lateron.cli.client import Client, reason_of, server_url
    from lateron.cli.terminal import echo, echo_json

    client = Client(server_url(url), "")
    status, content = client.probe("/healthz" if live else "/readyz")
    ok = status == 200 and _is_ours(content)
    if as_json:
        echo_json({"url": client.url, "ok": ok, "status": status})
    if status != 200:
        raise Failed(f"{client.url} answers {status}: {reason_of(content)}", REFUSED)
    if not ok:
        raise Failed(
            f'{client.url}: expected {{"status": "ok"}}, got another answer; is it the root of a server?', REFUSED
        )
    if not as_json:
        echo(f"{client.url} is {'alive' if live else 'ready'}")


def _is_ours(content: bytes) -> bool:
    """Tell the answer of a server from a page: under many paths anything answers 200."""
    try:
        document = json.loads(content)
    except ValueError:
        return False
    return isinstance(document, dict) and document.get("status") == "ok"


@command(monitoring_app, "lateron grafana")
def grafana() -> None:
    """Print a dashboard for Grafana: import it, and choose your Prometheus as its data source."""
    _print("grafana.json")


@command(monitoring_app, "lateron alerts")
def alerts() -> None:
    """Print alert rules for Prometheus: save them as a file, and name that under `rule_files`."""
    _print("alerts.yml")


def _print(name: str) -> None:
    from lateron.cli.terminal import echo

    echo(files("lateron").joinpath("monitoring", name).read_text("utf-8").rstrip("\n"))
