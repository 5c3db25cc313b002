"""The commands: what each is called, what it takes, what its help says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

import lateron
from lateron.cli import exits
from lateron.cli.applying import apply_app
from lateron.cli.auditing import audit_app
from lateron.cli.backups import backups_app
from lateron.cli.commands import command, help_of, whole
from lateron.cli.completing import completion_app
from lateron.cli.dlq import dlq_app
from lateron.cli.doctor import doctor_app
from lateron.cli.encryption import encryption_app
from lateron.cli.flags import with_settings
from lateron.cli.flow import flow_app
from lateron.cli.groups import groups_app
from lateron.cli.jobs import erase_app, jobs_app
from lateron.cli.logs import logs_app
from lateron.cli.messages import messages_app
from lateron.cli.monitoring import monitoring_app
from lateron.cli.publishing import publishing_app
from lateron.cli.queues import queues_app
from lateron.cli.remote import Remote
from lateron.cli.scheduling import schedule_app, schedules_app
from lateron.cli.sessions import sessions_app
from lateron.cli.tokens import keys_app, tokens_app
from lateron.cli.transfer import transfer_app
from lateron.cli.users import users_app
from lateron.cli.verifying import verify_app
from lateron.config import DEFAULT_FILE, Settings, render_toml

app = typer.Typer(
    name="lateron",
    help="A self-hosted HTTP message queue and scheduler, compatible with the QStash API.",
    epilog="Exit codes: 0 done, 1 refused or not found, 2 wrong command line or setting, 3 data directory in use, "
    "4 store failed, 5 no server answered, 6 broken off and not known whether done, 7 done in part, 70 a bug of ours, "
    "74 output not written, 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
config_app = typer.Typer(help="Look at the settings, or write a file to change them.", no_args_is_help=True)


@app.callback(invoke_without_command=True)
def root(  # noqa: D103 - It would replace the help of the program.
    version: Annotated[bool, typer.Option("--version", help="Print the version.", show_default=False)] = False,
) -> None:
    if version:
        from lateron.cli.terminal import echo

        echo(f"lateron {lateron.__version__}")
        raise typer.Exit


def dev(settings: Settings) -> int:
    """Run a development server: public tokens, private addresses allowed, a request catcher.

    Flags may be written as QStash's server has them: -port=8081, -log-port=9000, -quota=pro.
    """
    from lateron.cli.run import run_dev

    return run_dev(settings)


def serve(settings: Settings) -> int:
    """Run the server for production."""
    from lateron.cli.run import run_serve

    return run_serve(settings)


def show(
    settings: Settings,
    mode: Annotated[Literal["dev", "serve"], typer.Option("--mode", help="Of which command.")] = "serve",  # noqa: ARG001
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print every setting, its value and where that came from; secrets are masked."""
    from lateron.cli.show import show_settings

    show_settings(settings, as_json=as_json)


app.command(help=help_of(dev, "lateron dev", "lateron dev --port 8081 --quota free"))(with_settings(dev, "dev"))
app.command(help=help_of(serve, "lateron serve --data-dir /var/lib/lateron"))(with_settings(serve, "serve"))
config_app.command(help=help_of(show, "lateron config show", "lateron config show --mode dev --json"))(
    with_settings(show)
)


@command(config_app, "lateron config init", "lateron config init lateron.toml --force")
def init(
    path: Annotated[Path, typer.Argument(help="Where to write it.")] = Path(DEFAULT_FILE),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a TOML file that names every setting with its default, all commented out."""
    from lateron.cli.terminal import echo

    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(render_toml())
    except FileExistsError:
        raise exits.Failed(f"{path} exists; --force replaces it", exits.REFUSED) from None
    except OSError as error:
        raise exits.Failed(f"cannot write {path}: {error.strerror}", exits.REFUSED) from None
    echo(f"wrote {path}")


@command(app, "lateron why $id", "lateron why $id --json")
def why(remote: Remote, message: Annotated[str, typer.Argument(metavar="ID", help="Id of a message, msg_...")]) -> None:
    """Say where a message stands, why, and what happened to it."""
    from lateron.cli.show import show_message

    show_message(remote, message)


@command(app, "lateron bench", "lateron bench -n 500 --connections 8 --json")
def bench(
    remote: Remote,
    messages: Annotated[int, whole("--messages", "-n", said="How many.", least=1, most=1_000_000)] = 1000,
    connections: Annotated[int, whole("--connections", said="That publish at once.", least=1, most=1000)] = 16,
    size: Annotated[int, whole("--size", said="Bytes of each body.", least=64, most=1_000_000)] = 200,
    patience: Annotated[int, whole("--patience", said="Seconds that the last may take to arrive.")] = 30,
    listen: Annotated[str, typer.Option("--listen", metavar="ADDRESS", help="Where to receive.")] = "127.0.0.1",
    reach: Annotated[
        str | None, typer.Option("--reach", metavar="HOST", help="What the server calls that address.")
    ] = None,
) -> None:
    """Publish messages to a receiver in this process, and print how fast they were stored and arrived.

    The messages stay in the server's log. A server on another machine must be able to reach this one: see --listen
    and --reach.
    """
    from lateron.cli.bench import Load
    from lateron.cli.bench import bench as run

    run(remote.client, Load(messages, connections, size, patience), listen, reach, as_json=remote.as_json)


app.add_typer(publishing_app)
app.add_typer(schedule_app)
app.add_typer(logs_app)
app.add_typer(audit_app)
app.add_typer(monitoring_app)
app.add_typer(doctor_app)
app.add_typer(verify_app)
app.add_typer(erase_app)
app.add_typer(backups_app)
app.add_typer(transfer_app)
app.add_typer(apply_app)
app.add_typer(completion_app)
for name, group in (
    ("messages", messages_app),
    ("dlq", dlq_app),
    ("jobs", jobs_app),
    ("queues", queues_app),
    ("flow", flow_app),
    ("schedules", schedules_app),
    ("groups", groups_app),
    ("tokens", tokens_app),
    ("users", users_app),
    ("sessions", sessions_app),
    ("keys", keys_app),
    ("encryption", encryption_app),
    ("config", config_app),
):
    app.add_typer(group, name=name)
