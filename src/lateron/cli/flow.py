"""``lateron flow``: how much may go at once, and what is held back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final

import typer

from lateron.cli.commands import command, whole
from lateron.cli.exits import USAGE, Failed
from lateron.cli.remote import Item, Query, Remote, path

flow_app = typer.Typer(help="Flow control: keys, hosts, and the whole server.", no_args_is_help=True)

PAGE: Final = 1000  # Keys or hosts on a page of the server.

KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="Flow-control key.")]
HostArgument = Annotated[str, typer.Argument(metavar="HOST:PORT", help="As `flow hosts` shows it.")]
SearchOption = Annotated[str | None, typer.Option("--search", help="Only names that hold this text.")]


@command(flow_app, "lateron flow list", "lateron flow list --search ai --json", name="list")
def list_keys(remote: Remote, search: SearchOption = None) -> None:
    """Print all flow-control keys: what waits, what is open, and the limits."""

    def row(key: Item) -> Sequence[str]:
        rate = f"{key['rateCount']}/{_limit(key['rateMax'])} in {key['ratePeriod']}s"
        return key["flowControlKey"], str(key["waitListSize"]), _open(key), rate, _marks(key)

    head = ("key", "waiting", "open", "started", "state")
    remote.listed(_all(remote, path("v2", "flowControl"), None, "flowControlKey", search), head, row)


@command(flow_app, "lateron flow get ai")
def get(remote: Remote, key: KeyArgument) -> None:
    """Print all figures of a key."""
    remote.record(remote.call("GET", path("v2", "flowControl", key)))


@command(flow_app, "lateron flow pin ai --rate 20 --period 1m", "lateron flow pin ai --parallelism 3")
def pin(
    remote: Remote,
    key: KeyArgument,
    parallelism: Annotated[int | None, whole("--parallelism", said="Most deliveries at once.")] = None,
    rate: Annotated[int | None, whole("--rate", said="Most starts in a period.")] = None,
    period: Annotated[str | None, typer.Option("--period", help="Of the rate, e.g. 1m.")] = None,
    smooth: Annotated[bool | None, typer.Option("--smooth/--no-smooth", help="Spread the starts evenly.")] = None,
) -> None:
    """Fix limits of a key, whatever messages bring; what is not given stays as it is."""
    spread = None if smooth is None else str(smooth).lower()
    given = {"parallelism": parallelism, "rate": rate, "period": period, "smooth": spread}
    query: Query = [(name, value) for name, value in given.items() if value is not None]
    remote.done(remote.call("POST", path("v2", "flowControl", key, "pin"), query), f"pinned {key}")


@command(flow_app, "lateron flow unpin ai --rate")
def unpin(
    remote: Remote,
    key: KeyArgument,
    parallelism: Annotated[bool, typer.Option("--parallelism", help="Unpin the parallelism.")] = False,
    rate: Annotated[bool, typer.Option("--rate", help="Unpin the rate and its period.")] = False,
) -> None:
    """Let messages bring limits to a key again; without a flag, all of them."""
    both = not parallelism and not rate
    query: Query = [(name, "true") for name, on in (("parallelism", parallelism), ("rate", rate)) if on or both]
    _look(remote, key)
    remote.done(remote.call("POST", path("v2", "flowControl", key, "unpin"), query), f"unpinned {key}")


@command(flow_app, "lateron flow pause ai")
def pause(remote: Remote, key: KeyArgument) -> None:
    """Let no message of a key start; its first message may be still to come."""
    remote.done(remote.call("POST", path("v2", "flowControl", key, "pause")), f"paused {key}")


@command(flow_app, "lateron flow resume ai")
def resume(remote: Remote, key: KeyArgument) -> None:
    """Let messages of a key start again."""
    _look(remote, key)
    remote.done(remote.call("POST", path("v2", "flowControl", key, "resume")), f"resumed {key}")


@command(flow_app, "lateron flow reset ai")
def reset(remote: Remote, key: KeyArgument) -> None:
    """Begin a new rate period of a key, in which nothing has started."""
    _look(remote, key)
    remote.done(remote.call("POST", path("v2", "flowControl", key, "resetRate")), f"reset {key}")


@command(flow_app, "lateron flow global", name="global")
def show_global(remote: Remote) -> None:
    """Print how many deliveries may be open in all, and how many of yours are."""
    remote.record(remote.call("GET", path("v2", "globalParallelism")))


@command(flow_app, "lateron flow hosts", "lateron flow hosts --search example.com")
def hosts(remote: Remote, search: SearchOption = None) -> None:
    """Print destination hosts: what waits, what is open, what is paused."""

    def row(host: Item) -> Sequence[str]:
        return host["host"], str(host["waitListSize"]), _open(host), _marks(host)

    found = _all(remote, path("lateron", "v1", "destinations"), "destinations", "host", search)
    remote.listed(found, ("host", "waiting", "open", "state"), row)


@command(flow_app, "lateron flow pause-host example.com:443")
def pause_host(remote: Remote, host: HostArgument) -> None:
    """Send nothing to a host for a while."""
    remote.done(remote.call("POST", path("lateron", "v1", "destinations", host, "pause")), f"paused {host}")


@command(flow_app, "lateron flow resume-host example.com:443")
def resume_host(remote: Remote, host: HostArgument) -> None:
    """Send to a host again."""
    remote.done(remote.call("POST", path("lateron", "v1", "destinations", host, "resume")), f"resumed {host}")


@command(flow_app, "lateron flow delivery")
def delivery(remote: Remote) -> None:
    """Print whether the server delivers at all."""
    remote.record(remote.call("GET", path("lateron", "v1", "delivery")))


@command(flow_app, "lateron flow pause-all")
def pause_all(remote: Remote) -> None:
    """Let the whole server send nothing, for nobody; publishing goes on."""
    remote.done(remote.call("POST", path("lateron", "v1", "delivery", "pause")), "paused all deliveries")


@command(flow_app, "lateron flow resume-all")
def resume_all(remote: Remote) -> None:
    """Let the server send again."""
    remote.done(remote.call("POST", path("lateron", "v1", "delivery", "resume")), "resumed all deliveries")


def _all(remote: Remote, where: str, key: str | None, name: str, search: str | None) -> Iterator[Any]:
    """Yield all items of a list that is paged by the last name seen."""
    chosen: Query = [] if search is None else [("search", search)]
    after: Query = []
    while True:
        answer = remote.call("GET", where, [*chosen, *after])
        items = answer if key is None else answer[key]
        yield from items
        if len(items) < PAGE:
            return
        if after == [("after", items[-1][name])]:
            raise Failed(f"the server lists {items[-1][name]!r} again and again", USAGE)
        after = [("after", items[-1][name])]


def _look(remote: Remote, key: str) -> None:
    """Refuse a key that is not there: the API takes such a change for done.

    Raises:
        Failed: The server knows no such key, or nothing of it any more.
    """
    remote.call("GET", path("v2", "flowControl", key))


def _open(lane: Item) -> str:
    return f"{lane['parallelismCount']}/{_limit(lane['parallelismMax'])}"


def _limit(most: int) -> str:
    return str(most) if most else "any"


def _marks(lane: Item) -> str:
    """Return what is special about a key or a host."""
    named = {"isPaused": "paused", "isPinnedParallelism": "pinned parallelism", "isPinnedRate": "pinned rate"}
    return ", ".join(word for name, word in named.items() if lane.get(name)) or "running"
