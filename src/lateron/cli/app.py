"""The commands: what each is called, what it takes, what its help says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

import lateron
from lateron.cli import exits
from lateron.cli.flags import with_settings
from lateron.cli.groups import groups_app
from lateron.cli.options import JsonOption, TokenOption, UrlOption
from lateron.config import DEFAULT_FILE, Settings, render_toml

app = typer.Typer(
    name="lateron",
    help="A self-hosted HTTP message queue and scheduler, compatible with the QStash API.",
    epilog="Exit codes: 0 done, 1 refused or not found, 2 wrong command line or setting, 3 data directory in use, "
    "4 store failed, 5 no server answered, 70 a bug of ours, 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
config_app = typer.Typer(help="Look at the settings, or write a file to change them.", no_args_is_help=True)
app.add_typer(config_app, name="config")
app.add_typer(groups_app, name="groups")


@app.callback(invoke_without_command=True)
def root(  # noqa: D103 - It would replace the help of the program.
    version: Annotated[bool, typer.Option("--version", help="Print the version.", show_default=False)] = False,
) -> None:
    if version:
        typer.echo(f"lateron {lateron.__version__}")
        raise typer.Exit


def dev(settings: Settings) -> int:
    """Run a development server: public tokens, private addresses allowed, a request catcher.

    Flags may be written as QStash's server has them: -port=8081, -log-port=9000, -quota=pro.
    """
    from lateron.cli.run import run_dev

    return run_dev(settings)


def serve(settings: Settings) -> int:
    """Run the server for production.

    Example: lateron serve --data-dir /var/lib/lateron
    """
    from lateron.cli.run import run_serve

    return run_serve(settings)


def show(
    settings: Settings,
    mode: Annotated[Literal["dev", "serve"], typer.Option("--mode", help="Of which command.")] = "serve",  # noqa: ARG001
    as_json: JsonOption = False,
) -> None:
    """Print every setting, its value and where that came from; secrets are masked."""
    from lateron.cli.show import show_settings

    show_settings(settings, as_json=as_json)


app.command()(with_settings(dev, "dev"))
app.command()(with_settings(serve, "serve"))
config_app.command()(with_settings(show))


@config_app.command()
def init(
    path: Annotated[Path, typer.Argument(help="Where to write it.")] = Path(DEFAULT_FILE),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a TOML file that names every setting with its default, all commented out."""
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(render_toml())
    except FileExistsError:
        raise exits.Failed(f"{path} exists; --force replaces it", exits.REFUSED) from None
    except OSError as error:
        raise exits.Failed(f"cannot write {path}: {error.strerror}", exits.REFUSED) from None
    typer.echo(f"wrote {path}")


@app.command()
def publish(
    destination: Annotated[str, typer.Argument(help="URL that the message is sent to.")],
    body: Annotated[
        str | None, typer.Option("--body", "-d", help="The body; @FILE reads a file, @- standard input.")
    ] = None,
    method: Annotated[str | None, typer.Option("--method", "-X", help="Method of the delivery.")] = None,
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="'Name: value' to forward; repeat for more.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--option", help="'Name: value' of an Upstash-Name header; repeat for more.")
    ] = None,
    content_type: Annotated[str | None, typer.Option("--type", help="Content type of the body.")] = None,
    delay: Annotated[str | None, typer.Option("--delay", help="Wait first, e.g. 10s or 1h30m.")] = None,
    retries: Annotated[int | None, typer.Option("--retries", help="Attempts after the first one.")] = None,
    callback: Annotated[str | None, typer.Option("--callback", help="URL to call back with each answer.")] = None,
    failure_callback: Annotated[
        str | None, typer.Option("--failure-callback", help="URL to call when all attempts failed.")
    ] = None,
    dedup: Annotated[str | None, typer.Option("--dedup", help="Deduplication id.")] = None,
    label: Annotated[list[str] | None, typer.Option("--label", help="Label; repeat for more.")] = None,
    url: UrlOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish a message and print its id.

    Example: lateron publish https://example.com/hook -d '{"hello": "world"}' --delay 10s
    """
    from lateron.cli import publishing
    from lateron.cli.client import connect

    options = {
        "Method": method,
        "Delay": delay,
        "Retries": None if retries is None else str(retries),
        "Callback": callback,
        "Failure-Callback": failure_callback,
        "Deduplication-Id": dedup,
        "Label": ",".join(label) if label else None,
    }
    headers = publishing.headers(options, header or (), option or (), content_type, body)
    publishing.publish(connect(url, token), destination, publishing.read_body(body), headers, as_json=as_json)


@app.command()
def tail(
    since: Annotated[str | None, typer.Option("--since", help="Begin that long ago, e.g. 10m.")] = None,
    state: Annotated[str | None, typer.Option("--state", help="Only this state, e.g. FAILED.")] = None,
    label: Annotated[str | None, typer.Option("--label", help="Only messages with this label.")] = None,
    message: Annotated[str | None, typer.Option("--message", help="Only this message.")] = None,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Go on when all is printed.")] = True,
    url: UrlOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print events as they happen, one line each.

    Example: lateron tail --since 1h --state FAILED --no-follow --json
    """
    from lateron.cli.client import connect
    from lateron.cli.tailing import tail as run

    filters = {"state": state, "label": label, "messageId": message}
    run(connect(url, token), {k: v for k, v in filters.items() if v}, since, follow=follow, as_json=as_json)


@app.command()
def why(
    message: Annotated[str, typer.Argument(metavar="ID", help="Id of a message, msg_...")],
    url: UrlOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say where a message stands, why, and what happened to it.

    Example: lateron why msg_0198c0ffee00...
    """
    from lateron.cli.client import connect
    from lateron.cli.show import show_message

    show_message(connect(url, token), message, as_json=as_json)


@app.command()
def bench(
    messages: Annotated[int, typer.Option("--messages", "-n", min=1, max=1_000_000, help="How many.")] = 1000,
    connections: Annotated[int, typer.Option("--connections", min=1, max=1000, help="That publish at once.")] = 16,
    size: Annotated[int, typer.Option("--size", min=64, max=1_000_000, help="Bytes of each body.")] = 200,
    patience: Annotated[float, typer.Option("--patience", min=0, help="Seconds to wait for the last one.")] = 30,
    listen: Annotated[str, typer.Option("--listen", metavar="ADDRESS", help="Where to receive.")] = "127.0.0.1",
    reach: Annotated[
        str | None, typer.Option("--reach", metavar="HOST", help="What the server calls that address.")
    ] = None,
    url: UrlOption = None,
    token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish messages to a receiver in this process, and print how fast they were stored and arrived.

    The messages stay in the server's log. A server on another machine must be able to reach this one:
    see --listen and --reach.

    Example: lateron bench -n 500 --connections 8
    """
    from lateron.cli.bench import Load
    from lateron.cli.bench import bench as run
    from lateron.cli.client import connect

    run(connect(url, token), Load(messages, connections, size, patience), listen, reach, as_json=as_json)
