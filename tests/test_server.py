"""The server as a process: how it starts, what it shows, how it ends, and what survives.

Every server here is the real command in a process of its own; see ``tests.support.server``.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from ssl import create_default_context

import msgspec
import pytest
from tests.serving import OWN, Bare, accepts, curl, delivered, ended, publish, refused, states
from tests.support.genuine import assert_genuine
from tests.support.look_alikes import Authority
from tests.support.poll import PATIENCE_S, until
from tests.support.receiver import Answer, Endpoint
from tests.support.server import DEV_USERS, Server, User

from lateron.cli import exits

# What `lateron dev` prints.


def test_printed_lines_are_those_of_the_first_documented_user(tmp_path: Path) -> None:
    """They are pasted into a shell or an .env file as they stand."""
    with Server(tmp_path / "data") as server:
        printed = dict(re.findall(r'^(QSTASH_[A-Z_]+)="([^"]+)"$', server.log, re.MULTILINE))

        assert printed == {
            "QSTASH_URL": server.url,
            "QSTASH_TOKEN": DEV_USERS[0].token,
            "QSTASH_CURRENT_SIGNING_KEY": DEV_USERS[0].current,
            "QSTASH_NEXT_SIGNING_KEY": DEV_USERS[0].next,
        }


def test_printed_first_message_arrives_signed_and_is_seen_in_the_log(tmp_path: Path) -> None:
    """The first minute of a new user: two lines of curl, nothing from outside."""
    with Server(tmp_path / "data") as server:
        send, look = [line for line in server.log.splitlines() if line.startswith("curl")]

        message = curl(send)["messageId"]
        (caught,) = until(lambda: curl(look)["requests"], "the catcher to catch it")

        assert caught["messageId"] == message
        assert caught["body"] == '{"hello": "world"}'
        assert caught["signature"] == {"valid": True}
        until(lambda: delivered(server, message), "the log to say so")
        assert states(server, message) == ["CREATED", "ACTIVE", "DELIVERED"]


@pytest.mark.parametrize("user", DEV_USERS, ids=lambda user: user.current[-4:])
def test_dev_knows_each_documented_user(tmp_path: Path, user: User, endpoint: Endpoint) -> None:
    """Each with his own keys, and none sees another's messages."""
    other = DEV_USERS[1] if user is DEV_USERS[0] else DEV_USERS[0]
    with Server(tmp_path / "data", user=user) as server:
        message = publish(server, endpoint.url)

        (request,) = endpoint.wait_for(1)
        assert_genuine(request, endpoint.url, user)
        assert server.call("GET", "/v2/keys").json == {"current": user.current, "next": user.next}
        assert server.call("GET", f"/v2/messages/{message}", token=other.token).status == 404


# Where it listens.


def test_dev_listens_on_both_loopback_addresses(tmp_path: Path) -> None:
    """`localhost` means one or the other, depending on who resolves it."""
    with Server(tmp_path / "data") as server:
        for host in ("127.0.0.1", "::1"):
            connection = HTTPConnection(host, server.port, timeout=PATIENCE_S)
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 200
            connection.close()


def test_log_port_serves_the_same_api(tmp_path: Path) -> None:
    """Scripts for QStash's server pass `-log-port`; what they ask there is answered."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        log_port = probe.getsockname()[1]
    with Server(tmp_path / "data", f"-log-port={log_port}", "-quota=pro") as server:
        connection = HTTPConnection("127.0.0.1", log_port, timeout=PATIENCE_S)
        connection.request("GET", "/v2/logs", headers={"Authorization": f"Bearer {server.token}"})
        answer = connection.getresponse()

        assert (answer.status, msgspec.json.decode(answer.read())) == (200, {"logs": []})
        connection.close()
        assert server.call("GET", "/lateron/v1/info").json["quota"] == "pro"


@pytest.mark.promise("D-83")
def test_taken_port_is_one_line_and_leaves_the_directory_free(tmp_path: Path) -> None:
    """The commonest mistake of all."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, printed = refused(tmp_path / "data", f"--port={taken.getsockname()[1]}")

    assert code == exits.USAGE
    assert printed.count("\n") == 1
    assert "another server" in printed
    with Server(tmp_path / "data"):
        pass


@pytest.mark.promise("D-17")
def test_dev_beyond_loopback_does_not_start(tmp_path: Path) -> None:
    """Public tokens stay on this machine; here nothing is taken for a sign of a container."""
    code = "import sys, lateron.cli.run as run; run.container_sign = lambda: None; "
    code += "from lateron.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "dev", "--host=0.0.0.0", "--port=0", f"--data-dir={tmp_path / 'data'}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )

    assert done.returncode == exits.USAGE
    assert "--insecure" in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.promise("D-17")
def test_dev_beyond_loopback_starts_when_told(tmp_path: Path) -> None:
    """With a warning that names what it means."""
    with Server(tmp_path / "data", "--host=0.0.0.0", "--insecure") as server:
        assert "public development tokens" in server.log


def test_serve_speaks_https(tmp_path: Path) -> None:
    """Without a proxy in front."""
    authority = Authority.create(tmp_path)
    authority.context(["127.0.0.1"], tmp_path)
    pem = str(tmp_path / "127.0.0.1.pem")
    flags = [f"--tls-cert={pem}", f"--tls-key={pem}"]

    class Encrypted(Server):
        def _is_ready(self) -> bool:
            return '"ready"' in self.log

    with Encrypted(tmp_path / "data", *flags, mode="serve", user=OWN) as server:
        context = create_default_context(cafile=str(authority.path))
        connection = HTTPSConnection("127.0.0.1", server.port, timeout=PATIENCE_S, context=context)
        connection.request("GET", "/v2/keys", headers={"Authorization": f"Bearer {OWN.token}"})
        answer = connection.getresponse()

        assert msgspec.json.decode(answer.read()) == {"current": OWN.current, "next": OWN.next}
        connection.close()
        assert f"https://127.0.0.1:{server.port}" in server.log


def test_unusable_certificate_is_one_line(tmp_path: Path) -> None:
    """And no token is made and lost on the way."""
    (tmp_path / "bad.pem").write_text("no certificate", "utf-8")
    flags = [f"--tls-cert={tmp_path / 'bad.pem'}", f"--tls-key={tmp_path / 'bad.pem'}"]

    code, printed = refused(tmp_path / "data", *flags, mode="serve")

    assert code == exits.USAGE
    assert "tls-cert" in printed
    with Bare(tmp_path / "data", mode="serve") as server:
        assert "QSTASH_TOKEN" in server.log


@pytest.mark.promise("D-12")
def test_callers_address_is_taken_from_a_trusted_proxy_only(tmp_path: Path, endpoint: Endpoint) -> None:
    """Anybody can send the header; only the operator's own proxies are believed."""
    claimed = ("X-Forwarded-For", "203.0.113.7")
    for flags, address in ((["--trusted-proxy=127.0.0.0/8"], "203.0.113.7"), ([], "127.0.0.1")):
        with Server(tmp_path / address, *flags) as server:
            message = publish(server, endpoint.url, claimed)

            assert server.call("GET", f"/v2/messages/{message}").json["callerIP"] == address


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="only Linux binds a process to a processor")
def test_process_can_be_bound_to_one_processor(tmp_path: Path) -> None:
    """For measurements, and where the loop and the store's thread shall not be moved apart."""
    cpu = min(os.sched_getaffinity(0))

    with Server(tmp_path / "data", f"--cpu={cpu}") as server:
        assert os.sched_getaffinity(server.pid) == {cpu}
    assert refused(tmp_path / "data", "--cpu=4095")[0] == exits.USAGE


# Data.


@pytest.mark.promise("D-62")
def test_data_of_a_running_server_is_closed_to_others(tmp_path: Path) -> None:
    """Also the files that SQLite makes beside its own."""
    with Server(tmp_path / "data") as server:
        server.call("GET", "/v2/keys")
        assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
        modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in (tmp_path / "data").iterdir()}

        assert "lateron.db" in modes
        assert set(modes.values()) == {0o600}, modes


@pytest.mark.promise("D-62")
@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="only Linux shows the limits of a process")
def test_no_core_dump_is_left(tmp_path: Path) -> None:
    """It would hold keys and bodies."""
    with Server(tmp_path / "data") as server:
        limits = Path(f"/proc/{server.pid}/limits").read_text("utf-8")

        assert re.search(r"Max core file size +0 ", limits)


@pytest.mark.promise("P-11")
def test_second_process_on_a_directory_is_refused(tmp_path: Path) -> None:
    """Two writers would destroy the store; the second one says who is in the way and has its own exit code."""
    with Server(tmp_path / "data"):
        code, printed = refused(tmp_path / "data")

    assert code == exits.LOCKED
    assert printed.count("\n") == 1
    assert "another process" in printed


@pytest.mark.promise("P-11")
def test_lock_ends_with_a_killed_process(tmp_path: Path, endpoint: Endpoint) -> None:
    """No stale lock file keeps a crashed server from coming back, nor lets two in afterwards."""
    with Server(tmp_path / "data") as server:
        server.restart(crash=True)

        message = publish(server, endpoint.url)
        until(lambda: delivered(server, message), "a delivery after the restart")
        assert refused(tmp_path / "data")[0] == exits.LOCKED


def test_ephemeral_server_leaves_nothing(tmp_path: Path, endpoint: Endpoint) -> None:
    """For tests and tries; the directory is not even made use of."""
    with Server(tmp_path / "data", "--ephemeral") as server:
        message = publish(server, endpoint.url)
        until(lambda: delivered(server, message), "the delivery")

        assert list((tmp_path / "data").iterdir()) == []


def test_file_that_is_no_store_of_ours_is_one_line(tmp_path: Path) -> None:
    """A wrong directory is not overwritten."""
    data = tmp_path / "data"
    data.mkdir(0o700)
    other = sqlite3.connect(data / "lateron.db")
    other.execute("CREATE TABLE t (a)")
    other.commit()
    other.close()
    (data / "lateron.db").chmod(0o600)

    code, printed = refused(data)

    assert code == exits.STORE
    assert printed.count("\n") == 1


@pytest.mark.promise("D-74")
def test_server_says_which_libraries_it_runs_on(tmp_path: Path) -> None:
    """An operator compares them with advisories; a SQLite with the WAL race is refused by the store."""
    with Server(tmp_path / "data") as server:
        info = server.call("GET", "/lateron/v1/info").json

    assert tuple(int(part) for part in info["store"]["version"].split(".")) >= (3, 51, 3)
    assert info["openssl"].startswith("OpenSSL")
    assert info["tzdata"]
    assert info["mode"] == "dev"
    assert DEV_USERS[0].token not in str(info)


# How it ends.


@pytest.mark.promise("P-130")
def test_sigterm_waits_for_open_attempts_and_records_them(tmp_path: Path, endpoint: Endpoint) -> None:
    """A deployment costs no attempt: the receiver is called once, and the next process knows how it ended."""
    hold = threading.Event()
    endpoint.answers(Answer(hold=hold))
    with Server(tmp_path / "data", "--no-catcher") as server:
        message = publish(server, endpoint.url)
        endpoint.wait_for(1)

        os.kill(server.pid, signal.SIGTERM)
        until(lambda: "shutting down" in server.log, "the server to begin")
        until(lambda: not accepts(server.port), "the listener to close")
        hold.set()

        assert ended(server) == 0
        server.start()
        assert states(server, message) == ["CREATED", "ACTIVE", "DELIVERED"]
        assert len(endpoint.requests) == 1


@pytest.mark.promise("P-130")
def test_answers_that_are_open_at_sigterm_are_complete(tmp_path: Path, endpoint: Endpoint) -> None:
    """A publisher whose request is under way gets its 201, and the message is there afterwards."""
    with Server(tmp_path / "data", "--no-catcher") as server:
        publisher = HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
        publisher.putrequest("POST", f"/v2/publish/{endpoint.url}")
        publisher.putheader("Authorization", f"Bearer {server.token}")
        publisher.putheader("Upstash-Delay", "1h")
        publisher.putheader("Content-Length", "5")
        publisher.endheaders(b"hel")
        until(lambda: server.call("GET", "/healthz").status == 200, "the head to be read before this answer")

        os.kill(server.pid, signal.SIGTERM)
        until(lambda: not accepts(server.port), "the listener to close")
        publisher.send(b"lo")
        answer = publisher.getresponse()
        message = msgspec.json.decode(answer.read())["messageId"]
        publisher.close()

        assert answer.status == 201
        assert ended(server) == 0
        server.start()
        assert server.call("GET", f"/v2/messages/{message}").json["body"] == "hello"


@pytest.mark.promise("P-130")
def test_attempt_that_outlasts_the_drain_is_made_again(tmp_path: Path, endpoint: Endpoint) -> None:
    """The process ends in time with 0; the attempt costs no retry."""
    hold = threading.Event()
    endpoint.answers(Answer(hold=hold), Answer())
    with Server(tmp_path / "data", "--drain=0s") as server:
        message = publish(server, endpoint.url)
        endpoint.wait_for(1)

        assert server.stop() == 0

        hold.set()
        server.start()
        _, again = endpoint.wait_for(2)
        assert again.header("Upstash-Retried") == "0"
        until(lambda: delivered(server, message), "the second attempt to be recorded")


@pytest.mark.promise("P-130")
def test_second_signal_ends_at_once(tmp_path: Path, endpoint: Endpoint) -> None:
    """Nobody waits for a receiver that hangs; what was accepted is on disk and goes out after the next start."""
    hold = threading.Event()
    endpoint.answers(Answer(hold=hold), Answer())
    with Server(tmp_path / "data", "--drain=1h") as server:
        message = publish(server, endpoint.url)
        endpoint.wait_for(1)
        os.kill(server.pid, signal.SIGTERM)
        until(lambda: "shutting down" in server.log, "the server to begin")

        os.kill(server.pid, signal.SIGTERM)

        assert ended(server) == 128 + signal.SIGTERM
        hold.set()
        server.start()
        until(lambda: delivered(server, message), "the delivery after the restart")


@pytest.mark.promise("P-130")
def test_drain_with_the_catcher_lets_its_own_deliveries_end(tmp_path: Path) -> None:
    """In `dev` the receiver may be the server itself; it must not be closed to its own attempts."""
    with Server(tmp_path / "data") as server:
        message = publish(server, f"{server.url}/_catch/slow?delay=300ms")
        until(lambda: "ACTIVE" in states(server, message), "the attempt to begin")

        assert server.stop() == 0

        server.start()
        assert states(server, message) == ["CREATED", "ACTIVE", "DELIVERED"]


def test_failed_store_ends_the_process_with_its_own_code(tmp_path: Path, endpoint: Endpoint) -> None:
    """After an I/O error nothing more is acknowledged; what was is there after the restart."""

    class Limited(Server):
        """A server whose files may not grow over a limit, as on a disk that fails."""

        limit = resource.RLIM_INFINITY

        @property
        def command(self) -> Sequence[str]:
            code = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({self.limit}, -1)); "
            code += "import sys; from lateron.cli import main; sys.exit(main(sys.argv[1:]))"
            return [sys.executable, "-c", code, self.mode]

    with Limited(tmp_path / "data") as server:
        kept = publish(server, endpoint.url, ("Upstash-Delay", "1h"))
        server.stop()
        server.limit = 1 << 20
        server.start()

        statuses: list[int] = []
        while not statuses or statuses[-1] == 201:
            body = bytes(200_000)
            reply = server.call("POST", f"/v2/publish/{endpoint.url}", body, [("Upstash-Delay", "1h")])
            statuses.append(reply.status)

        assert statuses[-1] == 503
        assert ended(server) == exits.STORE
        server.limit = resource.RLIM_INFINITY
        server.start()
        pending = server.call("GET", "/v2/messages?count=100").json["messages"]
        assert len(pending) >= statuses.count(201) + 1
        assert kept in {message["messageId"] for message in pending}


def test_stock_event_loop_serves_too(tmp_path: Path, endpoint: Endpoint) -> None:
    """Where uvloop does not exist."""

    class Stock(Server):
        @property
        def command(self) -> Sequence[str]:
            code = (
                "import sys; sys.modules['uvloop'] = None; from lateron.cli import main; sys.exit(main(sys.argv[1:]))"
            )
            return [sys.executable, "-c", code, self.mode]

    with Stock(tmp_path / "data") as server:
        message = publish(server, endpoint.url)

        until(lambda: delivered(server, message), "the delivery")
        assert server.stop() == 0


@pytest.mark.promise("P-64")
def test_server_whose_lock_file_is_removed_sends_nothing_more(tmp_path: Path, endpoint: Endpoint) -> None:
    """A second server could run on the directory from then on; what was accepted is delivered after a restart."""
    server = Server(tmp_path / "data", "--drain=0s").start()
    (tmp_path / "data" / "lateron.lock").unlink()
    message = publish(server, endpoint.url)

    assert ended(server) != 0
    assert "lock file" in server.log
    assert endpoint.requests == []
    with server:
        until(lambda: delivered(server, message), "the message to be delivered")
        assert len(endpoint.requests) == 1
