"""The server inside another program: started and stopped on its event loop, as a test fixture would."""

from __future__ import annotations

import asyncio
import json
import socket
from errno import EADDRINUSE
from pathlib import Path

import pytest

from lateron.config import Command, InvalidSettings, Settings, load
from lateron.config.dev_users import DEV_USERS
from lateron.errors import StoreLocked
from lateron.server import Server
from lateron.server.sockets import listen, shown_host


@pytest.fixture
def data(tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    directory.mkdir(mode=0o700)
    return directory


def settings(data: Path, command: Command = "dev", **flags: str) -> Settings:
    (data.parent / "empty.toml").touch()
    given = {"port": "0", **{name.replace("_", "-"): value for name, value in flags.items()}}
    return load(command, given, {}, data.parent / "empty.toml")


async def ask(server: Server, path: str) -> tuple[int, object]:
    """Send a GET request on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    token = DEV_USERS[0].token
    writer.write(
        f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n".encode()
    )
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return int(head.split(b" ")[1]), json.loads(body)


@pytest.mark.parametrize("in_memory", [False, True])
def test_server_starts_and_stops_on_the_loop_of_its_host(data: Path, in_memory: bool) -> None:
    """No process, no signal handler, no logging of its own; the port is the system's choice."""

    async def life() -> None:
        server = Server(settings(data), None if in_memory else data)
        await server.start()
        assert server.url == f"http://127.0.0.1:{server.port}"
        assert await ask(server, "/readyz") == (200, {"status": "ok"})
        await server.stop()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", server.port)

    asyncio.run(life())


def test_one_server_follows_another_on_the_same_directory(data: Path) -> None:
    """Stopping gives everything back: lock, port, store."""

    async def life() -> None:
        first = Server(settings(data), data)
        await first.start()
        with pytest.raises(StoreLocked):
            await Server(settings(data), data).start()
        port = first.port
        await first.stop()
        second = Server(settings(data, port=str(port)), data)
        await second.start()
        assert second.port == port
        await second.stop()

    asyncio.run(life())


@pytest.mark.parametrize(
    "flags",
    [
        {"resolve": "nonsense"},
        {"ca_file": "/none.pem"},
        {"tls_cert": "/none.pem", "tls_key": "/none.pem"},
        {"host": "192.0.2.1"},
        {"host": "no-such-name.invalid"},
    ],
)
def test_start_that_fails_leaves_nothing_behind(data: Path, flags: dict[str, str]) -> None:
    """The operator corrects the setting and starts again; nothing is locked, no token was made and lost."""

    async def life() -> None:
        with pytest.raises(InvalidSettings):
            await Server(settings(data, "serve", **flags), data).start()
        server = Server(settings(data, "serve"), data)
        await server.start()
        assert server.made.token is not None
        await server.stop()

    asyncio.run(life())


def test_network_file_system_is_refused_unless_allowed(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its locks may let two writers in, its fsync may lie."""
    monkeypatch.setattr("lateron.store.sqlite.file_system", lambda _: "nfs4")

    async def life() -> None:
        with pytest.raises(InvalidSettings, match="nfs4"):
            await Server(settings(data), data).start()
        server = Server(settings(data, allow_network_files="true"), data)
        await server.start()
        await server.stop()

    asyncio.run(life())


# Sockets.


def test_all_addresses_get_the_same_port() -> None:
    """One URL is printed."""
    bound = listen(("127.0.0.1", "127.0.0.2"), 0)

    assert len({s.getsockname()[1] for s in bound}) == 1
    for one in bound:
        one.close()


def test_address_this_machine_lacks_is_left_out_if_it_may_be() -> None:
    """As ::1 where IPv6 is switched off; any other is an error."""
    absent = "192.0.2.1"
    (one,) = listen(("127.0.0.1", absent), 0, optional=frozenset({absent}))
    one.close()

    with pytest.raises(InvalidSettings, match=absent):
        listen(("127.0.0.1", absent), 0)
    with pytest.raises(InvalidSettings, match="no such address"):
        listen((absent,), 0, optional=frozenset({absent}))


def test_port_in_use_leaves_no_socket_open() -> None:
    """What was bound before the failure is given back."""
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InvalidSettings, match="is another server running"):
            listen(("127.0.0.1", "127.0.0.2"), port)
        with socket.create_server(("127.0.0.1", port)) as free:
            assert free.getsockname()[1] == port


def test_listening_socket_refuses_a_second_one() -> None:
    """Address reuse is for the time after an end, not for two at once."""
    (one,) = listen(("127.0.0.1",), 0)
    try:
        with pytest.raises(OSError, match=rf"\[Errno {EADDRINUSE}\]"):
            socket.create_server(one.getsockname())
    finally:
        one.close()


@pytest.mark.parametrize(
    ("hosts", "shown"),
    [
        (("127.0.0.1", "::1"), "127.0.0.1"),
        (("0.0.0.0",), "127.0.0.1"),
        (("::",), "[::1]"),
        (("10.0.0.5",), "10.0.0.5"),
        (("fd00::1",), "[fd00::1]"),
        (("example.test",), "example.test"),
    ],
)
def test_printed_host_is_one_that_this_machine_can_use(hosts: tuple[str, ...], shown: str) -> None:
    """A wildcard address is no destination."""
    assert shown_host(hosts) == shown
