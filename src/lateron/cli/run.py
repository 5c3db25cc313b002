"""``lateron dev`` and ``lateron serve``: run the server, and say how to use it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lateron import __version__
from lateron.cli import datadir
from lateron.cli.exposure import check_exposure, container_sign
from lateron.cli.show import warn
from lateron.cli.streams import OutputLost
from lateron.cli.terminal import echo
from lateron.config import InvalidSettings, Settings
from lateron.config.dev_users import DEV_USERS, PUBLIC_SECRETS
from lateron.telemetry import configure

if TYPE_CHECKING:
    from lateron.server import Server


def run_dev(settings: Settings) -> int:
    """Run the development server until a signal ends it; return the exit code."""
    exposed = check_exposure(settings, container_sign())
    for line in (*settings.warnings, *((exposed,) if exposed else ())):
        warn(line)
    return _run(settings)


def run_serve(settings: Settings) -> int:
    """Run the server until a signal ends it; return the exit code."""
    for name in ("token", "current_signing_key", "next_signing_key"):
        if getattr(settings, name) in PUBLIC_SECRETS:
            raise InvalidSettings(
                f"{name.replace('_', '-')}: this one is printed in public documentation; `lateron serve` never takes it"
            )
    for line in settings.warnings:
        warn(line)
    return _run(settings)


def _run(settings: Settings) -> int:
    configure(settings.log_level, settings.log_format)
    directory = datadir.prepare(settings)
    # Late: they bring the web server, which the other commands do without.
    from lateron.server.process import run

    def announce(server: Server) -> None:
        where = "in memory" if directory is None else str(directory)
        lines = dev_lines(server.url, where, settings) if settings.command == "dev" else ()
        try:
            for line in lines or serve_lines(server, where):
                echo(line)
        except OutputLost as error:  # A server needs no reader.
            warn(f"{error}; the server runs all the same")
            if server.made.token is not None:
                warn("nobody has the token made at this first start: `lateron tokens reset first --data-dir ...`")

    return run(settings, directory, announce)


def dev_lines(url: str, where: str, settings: Settings) -> Sequence[str]:
    """Return what `lateron dev` prints when it is ready: lines to paste, and a first message to try."""
    user = DEV_USERS[0]
    lines = [
        f"Lateron {__version__}, development server. Its tokens are public: for this machine only.",
        f"Data: {where}",
        *console_line(url, settings),
        "",
        *environment(url, user.token, user.current, user.next),
        "",
    ]
    if settings.catcher:
        bearer = shlex.quote(f"Authorization: Bearer {user.token}")
        body = "-H 'Content-Type: application/json' -d '{\"hello\": \"world\"}'"
        lines += [
            "Send a first message to the built-in catcher, then look at what arrived:",
            "",
            f"curl -X POST {url}/v2/publish/{url}/_catch/hello -H {bearer} {body}",
            f"curl {url}/lateron/v1/catcher/hello -H {bearer}",
            "",
        ]
    return lines


def console_line(url: str, settings: Settings) -> Sequence[str]:
    """Return the line that says where to look, if there is a console."""
    return [f"Console: {url}/console"] if settings.console else []


def serve_lines(server: Server, where: str) -> Sequence[str]:
    """Return what `lateron serve` prints when it is ready; secrets only if this start made them."""
    lines = [f"Lateron {__version__} on {server.url}, data {where}", *console_line(server.url, server.settings)]
    made = server.made
    if made.token is not None or made.keys is not None:
        lines += ["", "Made at this first start. The token is shown only now; keep it:", ""]
        current, following = (made.keys.current, made.keys.next) if made.keys else (None, None)
        lines += [*environment(server.url, made.token, current, following), ""]
    return lines


def environment(url: str, token: str | None, current: str | None, following: str | None) -> Sequence[str]:
    """Return the lines that every SDK reads, ready to paste into a shell or an .env file."""
    values = {
        "QSTASH_URL": url,
        "QSTASH_TOKEN": token,
        "QSTASH_CURRENT_SIGNING_KEY": current,
        "QSTASH_NEXT_SIGNING_KEY": following,
    }
    return [f'{name}="{value}"' for name, value in values.items() if value is not None]
