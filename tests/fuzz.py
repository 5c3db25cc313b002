"""Throws bytes at everything of ours that reads bytes of strangers, guided by the lines that they reach.

::

    python -m tests.fuzz                          each reader for a minute
    python -m tests.fuzz cron expression -s 600   these, for ten minutes each

A reader may accept or refuse; it must not raise anything else, not hang, and what it accepts must hold what its
target below says. An input that takes a way through the code that none took before is kept: it is changed further,
and at the end the shortest of them are written to ``tests/corpus``, which the tests replay. What goes wrong is made
smaller and printed, and the command ends with 1.

The guide counts pairs of lines that follow each other in our own modules (``sys.settrace``). That is slow beside an
instrumented program and fast enough for readers of a few hundred bytes, and it needs nothing but Python.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

from lateron.api import heads
from lateron.core.batch import parse_batch
from lateron.core.destination import parse_destination
from lateron.core.durations import duration_text, parse_duration
from lateron.core.expression import parse_expression
from lateron.core.filters import parse_query
from lateron.core.publish import GroupPublication, PublishContext, parse_publish
from lateron.core.quota import QUOTAS
from lateron.core.schedule import next_after, parse_cron
from lateron.core.signature import verify
from lateron.core.values import Publication
from lateron.errors import InvalidDestination, LateronError

CORPUS = Path(__file__).with_name("corpus")
SOURCE = str(Path(heads.__file__).parent.parent)
NOW = 1_700_000_000_000
LONGEST = 2000  # Bytes of an input.
PATIENCE_S = 2.0  # For one input; a reader that needs longer hangs.
KEPT = 150  # Inputs of a corpus.
CONTEXT = PublishContext(1, NOW, QUOTAS["payg"], "192.0.2.7")
LIMITS = heads.Limits(head_bytes=1500, header_lines=20, target_bytes=600)


@dataclass(frozen=True, slots=True)
class Target:
    """A reader: what is thrown at it, and what must hold."""

    name: str
    run: Callable[[bytes], object]  # Raises AssertionError, or anything unexpected, if something is wrong.
    seeds: Sequence[bytes]
    words: Sequence[bytes]  # Parts of its language.


def head(data: bytes) -> None:
    """However the network cuts it, a head is judged alike: its beginning is refused only if all of it is."""
    for cut in range(0, len(data), max(1, len(data) // 7)):
        early = heads.fault_of_start(data[:cut], 0, LIMITS) if cut and heads.END not in data[:cut] else None
        seen = heads.fault_of_start(data[:cut], cut // 2, LIMITS) if early is None and cut else None
        if seen is not None and heads.END not in data[:cut]:
            assert heads.fault_of_start(data[: cut // 2], 0, LIMITS) is None
    end = data.find(heads.END)
    if end >= 0:
        whole = data[: end + 4]
        fault = heads.fault_of_head(whole, LIMITS)
        if fault is None:
            target = whole.split(b" ", 2)[1]
            assert heads.path_of(target).startswith(b"/")
        offered = heads.without_offer(whole)
        assert b"\nupgrade:" not in offered.lower()


def destination(data: bytes) -> None:
    """What is accepted is read again as the same, from what it says of itself."""
    text = data.decode("latin-1")
    with suppress(InvalidDestination):
        read = parse_destination(text)
        printed = parse_destination(f"{read.scheme}://{read.authority}{read.target}")
        same = ("scheme", "host", "port", "target", "authority", "literal")
        assert [getattr(printed, name) for name in same] == [getattr(read, name) for name in same]
        assert read.url == text
        assert not set(read.authority + read.target) & set("\r\n\0 #\\")
        assert "@" not in read.authority


def duration(data: bytes) -> None:
    """A duration is written as one that is the same."""
    with suppress(ValueError):
        span = parse_duration(data.decode("utf-8", "replace"))
        assert span >= 0
        assert parse_duration(duration_text(span)) == span


def cron(data: bytes) -> None:
    """Each tick is later than the one before."""
    with suppress(ValueError):
        timing = parse_cron(data.decode("utf-8", "replace"))
        tick: int | None = NOW
        for _ in range(3):
            after = next_after(timing, tick, NOW) if tick is not None else None
            assert after is None or tick is None or after > tick
            tick = after


def expression(data: bytes) -> None:
    """It computes to a number, or says what is wrong."""
    with suppress(ValueError):
        computed = parse_expression(data.decode("utf-8", "replace"))
        for retried in (0.0, 1.0, 7.0, 1e6):
            with suppress(ArithmeticError, ValueError):
                assert isinstance(computed(retried), (float, int))


def options(data: bytes) -> None:
    """Lines ``name: value`` are the headers of a publish; the first line is its target."""
    target, *lines = data.split(b"\n")
    pairs = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    with suppress(LateronError):
        made = parse_publish(target, pairs, b"body", CONTEXT)
        assert isinstance(made, (Publication, GroupPublication))
        if isinstance(made, Publication):
            for name, value in made.request.headers:
                assert not set(name + value) & set("\r\n\0")


def batch(data: bytes) -> None:
    """Each item has its answer in its place."""
    with suppress(LateronError):
        results = parse_batch(data, CONTEXT)
        assert len(results) == len(msgspec.json.decode(data, type=list[msgspec.Raw]))


def query(data: bytes) -> None:
    """A query becomes names and values without control over anything else."""
    with suppress(LateronError):
        for name, value in parse_query(data):
            assert isinstance(name + value, str)


def token(data: bytes) -> None:
    """Nobody makes a token that we believe, by chance or by changing one."""
    verified = verify(data.decode("latin-1"), ["sig_fuzz"], b"", None, NOW)
    assert hasattr(verified, "reason")


HEAD = b"POST /v2/publish/https://example.com/a?b=c HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc"
TARGETS = (
    Target("head", head, [HEAD, b"GET http://h/x HTTP/1.0\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"],
           [b"\r\n", b"\n", b"\r", b"\0", b"HTTP/1.1", b" ", b"TRACE", b"CONNECT", b"Upgrade:", b"\r\n\r\n", b"#",
            b"https://", b"/", b"A" * 300]),
    Target("destination", destination,
           [b"https://example.com:8443/a/../b?c=d&e", b"http://[::ffff:1.2.3.4]/", b"http://127.0.0.1:80?x"],
           [b"https://", b"http:", b"://", b"[", b"]", b":", b"@", b"#", b"?", b"%2e", b"..", b"0x7f.1", b"::1",
            b"xn--", b"\\", b"."]),
    Target("duration", duration, [b"1h30m", b"10d", b"0.5s", b"90"],
           [b"h", b"ms", b"us", "µs".encode(), b"ns", b"w", b".", b"9" * 20, b"-", b"1e3"]),
    Target("cron", cron, [b"*/5 * * * MON-FRI", b"CRON_TZ=America/New_York 0 4 * * *", b"@every 10s", b"0 0 29 2 *",
                          b"*/10 * * * * *", b"0 0 L * 5#2"],
           [b"CRON_TZ=", b"Europe/Berlin ", b"@every ", b"@daily", b"*/", b"0-59", b",", b"L", b"#", b"?", b"JAN",
            b"SUN", b"4294967295", b" "]),
    Target("expression", expression, [b"pow(2, retried) * 1000", b"max(1, -retried % 3.5e2)", b"round(sqrt(9))"],
           [b"pow(", b"retried", b"min(", b"(", b")", b",", b"--", b"1e309", b"/0", b"%", b"abs(", b".", b"exp("]),
    Target("options", options,
           [b"https://example.com\nUpstash-Retries: 3\nUpstash-Delay: 1h\nUpstash-Callback: https://c.example",
            b"https://a.example?upstash-retries=2\nUpstash-Flow-Control-Key: k\nUpstash-Timeout: 1m",
            b"http:/n\nUpstash-Callback-\xc0\nUpstash-Callback:http://c",
            b"group\nUpstash-Forward-X: y\nUpstash-Redact-Fields: body, header[Authorization]\nUpstash-Method: PUT"],
           [b"Upstash-", b"Lateron-", b"Forward-", b"Callback-", b"Failure-Callback-", b"Delay", b"Not-Before",
            b"Flow-Control-Value", b"rate=3", b"Deduplication-Id", b"Content-Based-Deduplication", b"Timeout",
            b"Label", b"Retry-Delay", b"Queue-Name",
            b"Order-Key", b"Cron", b": ", b"\n", b"true", b"0", b"=", b",", b"\xc3\xa9", b"\0"]),
    Target("batch", batch, [b'[{"destination":"https://example.com","headers":{"Upstash-Delay":"1h"},"body":"x"}]',
                            b'[{"destination":"group","body":{"a":[1,null,"\\u00e9"]},"queue":"q"},{}]', b"[]"],
           [b'"destination":', b'"headers":', b'"body":', b"{", b"}", b"[", b"]", b",", b"null", b'"\\ud800"', b"1e400",
            b'"queue":', b'"callback":', b"\\u0000", b'"https://a.example"', b"[" * 70, b'"a":["b","c"]']),
    Target("query", query, [b"count=10&cursor=x&label=a%20b", b"state=ACTIVE&url=https%3A%2F%2Fa"],
           [b"&", b"=", b"%", b"%00", b"%ff", b"+", b"fromDate", b"messageId=msg_", b"order="]),
    Target("token", token, [b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJVcHN0YXNoIn0.AAAA"],
           [b".", b"=", b"eyJ", b"none", b"-", b"_"]),
)  # fmt: skip


class Guide:
    """Notes which lines of ours follow each other while an input is read."""

    def __init__(self) -> None:
        self.known: set[tuple[int, int, int]] = set()
        self.new = 0
        self._files: dict[str, bool] = {}

    def reaches_more(self, run: Callable[[bytes], object], data: bytes) -> bool:
        """Run a reader; say whether it went where it had never been."""
        self.new = 0
        sys.settrace(self._call)
        try:
            run(data)
        finally:
            sys.settrace(None)
        return self.new > 0

    def _call(self, frame: FrameType, event: str, argument: object) -> Callable[..., Any] | None:  # noqa: ARG002
        code = frame.f_code
        name = code.co_filename
        ours = self._files.get(name)
        if ours is None:
            ours = self._files[name] = name.startswith(SOURCE)
        if not ours:
            return None
        known, number, before = self.known, id(code), 0

        def line(frame: FrameType, event: str, argument: object) -> Callable[..., Any]:  # noqa: ARG001
            nonlocal before
            edge = (number, before, frame.f_lineno)
            before = frame.f_lineno
            if edge not in known:
                known.add(edge)
                self.new += 1
            return line

        return line


def mutated(data: bytes, chance: random.Random, target: Target, others: Sequence[bytes]) -> bytes:
    """Change an input in one to five places."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 5)):
        at = chance.randint(0, len(changed))
        end = min(len(changed), at + chance.choice([1, 1, 2, 4, 16]))
        match chance.randrange(7):
            case 0 if changed:
                changed[at % len(changed)] ^= 1 << chance.randrange(8)
            case 1:
                changed[at:at] = chance.choice(target.words)
            case 2:
                changed[at:end] = chance.choice(target.words)
            case 3:
                del changed[at:end]
            case 4:
                changed[at:at] = changed[at:end] * chance.choice([1, 2, 20])
            case 5:
                changed[at:at] = chance.randbytes(chance.randint(1, 3))
            case _:
                other = chance.choice(others)
                changed[at:] = other[chance.randint(0, len(other)) :]
    return bytes(changed[:LONGEST])


@contextmanager
def bounded() -> Iterator[None]:
    """Raise if the block takes longer than any reader may."""

    def late(*_: object) -> None:
        raise AssertionError(f"no end within {PATIENCE_S:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def problem(target: Target, data: bytes) -> str | None:
    """Return what is wrong with how an input is read; None if nothing is."""
    try:
        with bounded():
            target.run(data)
    except Exception as error:  # noqa: BLE001 # Whatever it is, it must not be.
        return f"{type(error).__name__}: {error}"
    return None


def smaller(target: Target, data: bytes) -> bytes:
    """Return an input that fails alike, with nothing left to take away."""
    kind = (problem(target, data) or "").partition(":")[0]
    size = len(data) // 2
    while size:
        for at in range(0, len(data), size):
            shorter = data[:at] + data[at + size :]
            if (problem(target, shorter) or "").partition(":")[0] == kind:
                data = shorter
                break
        else:
            size //= 2
    return data


def corpus(target: Target) -> list[bytes]:
    """Return the inputs that are kept for a target; they are JSON texts, a character for each byte."""
    path = CORPUS / f"{target.name}.json"
    kept = json.loads(path.read_text("utf-8")) if path.exists() else []
    return [*target.seeds, *(text.encode("latin-1") for text in kept)]


def keep(target: Target, inputs: Sequence[bytes]) -> int:
    """Write the shortest inputs that together reach what all of them reach; return how many."""
    guide = Guide()
    shortest = sorted(set(inputs), key=lambda one: (len(one), one))
    chosen = [data for data in shortest if guide.reaches_more(target.run, data) and data not in target.seeds][:KEPT]
    CORPUS.mkdir(exist_ok=True)
    text = json.dumps([data.decode("latin-1") for data in chosen], indent=0)
    (CORPUS / f"{target.name}.json").write_text(text + "\n", "utf-8")
    return len(chosen)


def fuzz(target: Target, seconds: float, seed: int) -> list[tuple[bytes, str]]:
    """Fuzz a target; print what came of it, and return what went wrong."""
    chance, guide = random.Random(seed), Guide()
    pool, wrong, runs = corpus(target), list[tuple[bytes, str]](), 0
    for data in pool:
        guide.reaches_more(target.run, data)
    end = time.monotonic() + seconds
    while time.monotonic() < end and not wrong:
        runs += 1
        data = mutated(chance.choice(pool), chance, target, pool)
        try:
            with bounded():
                if guide.reaches_more(target.run, data):
                    pool.append(data)
        except Exception as error:  # noqa: BLE001 # As in ``problem``.
            least = smaller(target, data)
            wrong.append((least, problem(target, least) or repr(error)))
    kept = keep(target, pool) if not wrong else 0
    print(f"{target.name:12} {runs} inputs, {len(guide.known)} pairs of lines, {kept} kept", flush=True)
    return wrong


def main(arguments: Sequence[str]) -> int:
    """Run the command; see the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz what reads bytes of strangers.")
    parser.add_argument("targets", nargs="*", help=f"which: {', '.join(target.name for target in TARGETS)}")
    parser.add_argument("-s", "--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--seed", type=int, default=None, help="of chance; another one each time if not given")
    given = parser.parse_args(arguments)
    known = {target.name: target for target in TARGETS}
    unknown = [name for name in given.targets if name not in known]
    if unknown:
        parser.error(f"no target {', '.join(unknown)}")
    seed = random.randrange(1 << 32) if given.seed is None else given.seed
    print(f"seed {seed}")
    failed = 0
    for name in given.targets or known:
        for data, what in fuzz(known[name], given.seconds, seed):
            failed += 1
            print(f"WRONG {name}: {data!r}\n      {what}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
