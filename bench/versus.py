"""The main job J beside what a user would pick instead, side by side on this machine.

    python -m bench.versus                  three rounds of each, in turns
    python -m bench.versus --record         also append the table to bench/RESULTS.md

Everybody gets the same load from the same tools and does the same job: a publish is answered once it is on disk, each
message is signed and POSTed to the receiver on a kept connection, and its outcome is on disk too, so that a crash loses
nothing. The peers, with their sources in ``bench/peers``:

* ``bullmq``: fastify takes messages, BullMQ keeps them in Redis, a worker delivers them with undici.
* ``taskiq``: FastAPI takes messages, taskiq keeps them in a stream of Redis, a worker delivers them with aiohttp.
* ``bullmq-less``, ``taskiq-less``: the same without signatures, and what is delivered is forgotten: not the job, but
  what somebody may settle for. No limit applies to them.

Redis runs with ``appendonly yes`` and ``appendfsync always``; what it answers to CONFIG GET stands in the output.
The peers still do less than Lateron: they keep no log of attempts, and sign by hand, which is cheaper than with any
library. Their CPU time is that of all their processes, Redis included, as Lateron's is that of its one process.

Needs ``redis-server``, ``node`` and ``npm``; the libraries of the peers are installed below ``bench/out`` at the
first run, in the versions that ``bench/peers`` locks.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from bench.load import Receiver, build, cpu_of_session, generate, get_json, memory_of_session
from bench.report import Sheet, publish
from bench.servers import AUTHORIZATION, Server, free_port, wait_until_arrived, workplace

HERE = Path(__file__).parent
INSTALLED = HERE / "out" / "peers"
CONCURRENCY = 100  # Open deliveries of a peer; Lateron's own default is 128 to one host.
WARM_UP = 2000
LIMITS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "bullmq": ({"at_least": 2.0}, {"at_most": 1 / 3}),
    "taskiq": ({"at_least": 5.0}, {"at_most": 1.0}),
}
PEERS = ("bullmq", "taskiq", "bullmq-less", "taskiq-less")


class System(Protocol):
    """What does the job J."""

    def publish_url(self, destination: str) -> str:
        """Return the address that publishes to a destination."""
        ...

    def pending(self) -> int:
        """Return how much is not done; 0 once everything is."""
        ...

    def cpu_seconds(self) -> float:
        """Return the CPU time of all its processes so far."""
        ...

    def memory_mb(self) -> float:
        """Return what all its processes hold now."""
        ...


@dataclass(frozen=True, slots=True)
class Peer:
    """A running peer: where it listens, and the sessions that its processes are in."""

    port: int
    sessions: tuple[int, ...]

    def publish_url(self, destination: str) -> str:
        """See ``System``."""
        return f"http://127.0.0.1:{self.port}/publish/{destination}"

    def pending(self) -> int:
        """See ``System``."""
        return int(get_json(self.port, "GET", "/pending")["pending"])

    def cpu_seconds(self) -> float:
        """See ``System``."""
        return sum(cpu_of_session(each) for each in self.sessions)

    def memory_mb(self) -> float:
        """See ``System``."""
        return sum(memory_of_session(each) for each in self.sessions)


@contextmanager
def lateron(directory: Path) -> Iterator[System]:
    """Run Lateron as it comes."""
    with Server(directory) as server:
        yield server


@contextmanager
def bullmq(directory: Path, job: str) -> Iterator[System]:
    """Run fastify, BullMQ and Redis; ``job`` is "whole" or "less"."""
    home = INSTALLED / "bullmq"
    with ExitStack() as stack:
        redis_port, redis = stack.enter_context(redis_server(directory))
        environment = environment_of_peer(redis_port, job)
        front = stack.enter_context(running(["node", "front.mjs"], home, environment))
        assert front.stdout is not None
        port = int(front.stdout.readline())
        worker = stack.enter_context(running(["node", "worker.mjs"], home, environment))
        assert worker.stdout is not None
        worker.stdout.readline()
        yield Peer(port, (redis, front.pid, worker.pid))


@contextmanager
def taskiq(directory: Path, job: str) -> Iterator[System]:
    """Run FastAPI, taskiq and Redis; ``job`` is "whole" or "less"."""
    home, programs, port = HERE / "peers" / "taskiq", INSTALLED / "taskiq" / "bin", free_port()
    with ExitStack() as stack:
        redis_port, redis = stack.enter_context(redis_server(directory))
        environment = environment_of_peer(redis_port, job)
        serve = [
            str(programs / "uvicorn"),
            "peer:app",
            "--port",
            str(port),
            "--no-access-log",
            "--log-level",
            "warning",
        ]
        front = stack.enter_context(running(serve, home, environment))
        work = [str(programs / "taskiq"), "worker", "peer:broker", "--workers", "1", "--log-level", "WARNING"]
        work += ["--max-async-tasks", str(CONCURRENCY)]
        worker = stack.enter_context(running(work, home, environment))
        wait_for_port(port)
        yield Peer(port, (redis, front.pid, worker.pid))


def environment_of_peer(redis_port: int, job: str) -> dict[str, str]:
    """Return what the programs of a peer read of their environment."""
    return {"PEER_REDIS_PORT": str(redis_port), "PEER_CONCURRENCY": str(CONCURRENCY), "PEER_JOB": job}


@contextmanager
def redis_server(directory: Path) -> Iterator[tuple[int, int]]:
    """Run Redis so that it answers a write only once it is on disk; yield its port and its session."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), "--save", ""]
    command += ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"]
    with running(command, directory, {}) as process:
        wait_for_port(port)
        yield port, process.pid


@contextmanager
def running(command: Sequence[str], directory: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run a program in a session of its own, so that all its processes can be counted and ended."""
    process = subprocess.Popen(
        command, cwd=directory, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def wait_for_port(port: int) -> None:
    """Wait until somebody accepts connections."""
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def redis_settings() -> str:
    """Start Redis as the peers do, and return what it says about its durability."""
    with workplace() as directory, redis_server(directory) as (port, _):
        with socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(b"CONFIG GET append*\r\nINFO server\r\n")
            time.sleep(0.2)
            words = connection.recv(1 << 16).decode().split("\r\n")
        version = next(word for word in words if word.startswith("redis_version:"))
        found = {name: words[words.index(name) + 2] for name in ("appendonly", "appendfsync")}
    return f"{version}, " + ", ".join(f"{name} {value}" for name, value in found.items())


SYSTEMS: dict[str, Callable[[Path], AbstractContextManager[System]]] = {
    "lateron": lateron,
    "bullmq": partial(bullmq, job="whole"),
    "taskiq": partial(taskiq, job="whole"),
    "bullmq-less": partial(bullmq, job="less"),
    "taskiq-less": partial(taskiq, job="less"),
}


def install() -> None:
    """Install the libraries of the peers below bench/out, once; say what the machine lacks."""
    missing = [name for name in ("redis-server", "node", "npm") if shutil.which(name) is None]
    if missing:
        message = f"missing: {', '.join(missing)}; on Debian: apt-get install redis-server nodejs npm"
        raise SystemExit(message)
    INSTALLED.mkdir(parents=True, exist_ok=True)
    home, source = INSTALLED / "bullmq", HERE / "peers" / "bullmq"
    stamp = home / "node_modules" / ".package-lock.json"
    shutil.copytree(source, home, dirs_exist_ok=True)
    if not stamp.exists() or stamp.stat().st_mtime < (source / "package-lock.json").stat().st_mtime:
        subprocess.run(["npm", "install", "--silent"], cwd=home, check=True)
    home, source = INSTALLED / "taskiq", HERE / "peers" / "taskiq" / "requirements.txt"
    stamp = home / "installed.txt"
    if not stamp.exists() or stamp.read_text() != source.read_text():
        venv.create(home, with_pip=True, clear=True, symlinks=True)
        subprocess.run([str(home / "bin" / "pip"), "install", "--quiet", "-r", str(source)], check=True)
        stamp.write_text(source.read_text())


def measure(tools: Path, sheet: Sheet, name: str, options: argparse.Namespace) -> None:
    """Run one round of one system, and add its figures."""
    with workplace() as directory, Receiver(tools) as receiver, SYSTEMS[name](directory) as system:
        url = system.publish_url(receiver.url())
        generate(tools, url, AUTHORIZATION, count=WARM_UP, connections=options.connections)
        wait_until_done(system, receiver, WARM_UP)
        receiver.reset(WARM_UP)
        cpu, tools_cpu, began = system.cpu_seconds(), receiver.cpu_seconds(), time.monotonic()
        report, generator_cpu = generate(
            tools, url, AUTHORIZATION, count=options.count, first=WARM_UP, connections=options.connections, seconds=300
        )
        if report["accepted"] != options.count:
            message = f"{name}: only {report['accepted']} of {options.count} were accepted: {report['status']}"
            raise RuntimeError(message)
        ended = wait_until_done(system, receiver, options.count)
        cpu, tools_cpu = system.cpu_seconds() - cpu, receiver.cpu_seconds() - tools_cpu + generator_cpu
        arrived = receiver.stats()
        sheet.add(f"messages/s, {name}", options.count / (ended - began))
        sheet.add(f"CPU of all its processes, {name}, µs/message", cpu / options.count * 1e6)
        sheet.add(f"rel, {name}", cpu / tools_cpu)
        sheet.add(f"publish p99, {name}, ms", report["p99_ms"])
        sheet.add(f"publish to arrival p99, {name}, ms", arrived["p99_ms"])
        sheet.add(f"memory, {name}, MB", system.memory_mb())
        sheet.add(f"delivered twice, {name}", float(arrived["duplicates"]))


def wait_until_done(system: System, receiver: Receiver, count: int) -> float:
    """Wait until all have arrived and nothing is pending; return when, monotonic."""
    wait_until_arrived(receiver, count, 300)
    while system.pending():
        time.sleep(0.005)
    return time.monotonic()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rounds in turns, print the table; 1 if a limit is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.versus", description="The main job beside its peers.")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each, in turns (3)")
    parser.add_argument("--count", type=int, default=10_000, help="messages of a round (10000)")
    parser.add_argument("--connections", type=int, default=64, help="publishing connections (64)")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), help="which (all)")
    parser.add_argument("--record", action="store_true", help="append the table to bench/RESULTS.md")
    options = parser.parse_args(arguments)
    tools = build()
    install()
    durability = redis_settings()
    print(f"Redis: {durability}", flush=True)
    sheet = Sheet(
        "J beside its peers",
        f"{options.count:,} messages a round, {options.connections} connections, {options.rounds} rounds in turns. "
        f"Redis as it says itself: {durability}. Each peer has one process that takes messages and one that delivers "
        f"them, {CONCURRENCY} at a time.",
    )
    for number in range(options.rounds):
        for name in ("lateron", *options.peers):
            measure(tools, sheet, name, options)
            print(f"round {number + 1}: {name} {sheet.figures[f'messages/s, {name}'].values[-1]:,.0f}/s", flush=True)
    for name in options.peers:
        rate, cost = LIMITS.get(name, ({}, {}))
        sheet.ratio(f"messages/s, lateron ÷ {name}", "messages/s, lateron", f"messages/s, {name}", **rate)
        costs = (f"CPU of all its processes, {each}, µs/message" for each in ("lateron", name))
        sheet.ratio(f"CPU, lateron ÷ {name}", *costs, **cost)
    sheet.close()
    return 0 if publish([sheet], record=options.record) else 1


if __name__ == "__main__":
    sys.exit(main())
