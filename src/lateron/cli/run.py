"""``lateron dev`` and ``lateron serve``: run the server, and say how to use it."""

from __future__ import annotations

from lateron import __version__
from lateron.cli import datadir
from lateron.cli.exposure import check_exposure, container_sign
from lateron.cli.show import warn
from lateron.cli.terminal import echo
from lateron.config import InvalidSettings, Settings
from lateron.config.dev_users import DEV_USERS, PUBLIC_SECRETS
from lateron.telemetry import configure


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
    from lateron.server import Server, run  # Late: it brings the web server, which other commands do without.

    def announce(server: Server) -> None:
        for line in dev_lines(server.url, settings) if settings.command == "dev" else serve_lines(server):
            echo(line)

    return run(settings, directory, announce)
