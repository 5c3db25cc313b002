"""``lateron sessions``: who is logged in to the console, and an end of it. Only the server knows; no store has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from lateron.cli.commands import command
from lateron.cli.exits import USAGE, Failed
from lateron.cli.remote import Item, Remote, path

sessions_app = typer.Typer(help="Who is logged in to the console; end it.", no_args_is_help=True)


@command(sessions_app, "lateron sessions list", "lateron sessions list --json", name="list")
def list_sessions(remote: Remote) -> None:
    """Print who is logged in to the console, how he came in, what he may do, and when he was last there."""

    def row(session: Item) -> Sequence[str]:
        instants = (remote.instant(session[name]) for name in ("createdAt", "lastUsedAt", "expiresAt"))
        return session["sessionId"], session["name"], session["by"], session["scope"], *instants

    found = remote.call("GET", path("lateron", "v1", "sessions"))
    remote.listed(found, ("session", "who", "by", "scope", "since", "last seen", "ends"), row)


@command(sessions_app, "lateron sessions end $session", "lateron sessions end --name oidc:ops@example.org")
def end(
    remote: Remote,
    session: Annotated[str | None, typer.Argument(metavar="[ID]", help="Id of a session, ses_...")] = None,
    name: Annotated[str | None, typer.Option("--name", help="All of whoever is listed under this name.")] = None,
) -> None:
    """End a session, or all of one name; whoever may still log in can do so again."""
    if (session is None) == (name is None):
        raise Failed("expected the id of a session, or --name", USAGE)
    if session is not None:
        answer = remote.call("DELETE", path("lateron", "v1", "sessions", session))
        remote.done(answer, f"ended {session}")
    else:
        answer = remote.call("DELETE", path("lateron", "v1", "sessions"), [("name", str(name))])
        remote.done(answer, f"ended of {name}: {answer['ended']}")
