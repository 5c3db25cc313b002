"""TLS: who may be talked to, and that every way to be somebody else is a failed attempt of class "tls"."""

from __future__ import annotations

import shutil
import socket
import ssl
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.egress.certificates import Authority, make_authority, weakly_signed
from tests.egress.conftest import Run
from tests.egress.receiver import ANYWHERE, OK, Behaviour, always, delivery, receiving, sending, until

from lateron.core.values import Outcome
from lateron.egress import EgressSettings, tls_context


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def trusting(authority: Authority) -> ssl.SSLContext:
    return tls_context(authority.file)


def settings(port: int, context: ssl.SSLContext) -> EgressSettings:
    return EgressSettings(guard=ANYWHERE, resolve=(f"*:{port}:127.0.0.1",), tls=context)


def exchange(
    run: Run,
    server: ssl.SSLContext,
    client: ssl.SSLContext,
    host: str = "good.example",
    behave: Behaviour | None = None,
) -> tuple[Outcome, int]:
    async def main() -> tuple[Outcome, int]:
        async with (
            receiving(behave or always(), tls=server) as receiver,
            sending(settings(receiver.port, client)) as egress,
        ):
            outcome = await egress.send(delivery(receiver.url(host=host)))
            return outcome, len(receiver.heard)

    return run(main())


@pytest.mark.promise("D-31", "F-36")
@pytest.mark.parametrize("host", ["good.example", "127.0.0.1"])
def test_verified_receiver_gets_the_message(
    run: Run, authority: Authority, trusting: ssl.SSLContext, host: str
) -> None:
    """A private authority is added by a file; the certificate is for the name, wherever it resolves to."""
    outcome, heard = exchange(run, authority.server(host), trusting, host)

    assert (outcome.status, outcome.error, outcome.body, heard) == (200, None, b"ok", 1)
    assert outcome.phases.tls is not None
    assert outcome.phases.connect is not None


@pytest.mark.promise("D-31", "F-36", "P-20")
@pytest.mark.parametrize(
    ("make", "detail"),
    [
        (lambda authority: authority.server("good.example", days=-1), "certificate has expired"),
        (lambda authority: authority.server("other.example"), "good.example"),
        (lambda authority: authority.server("127.0.0.1"), "good.example"),
        (lambda authority: authority.server("good.example", own=True), "self-signed certificate"),
    ],
)
def test_certificate_that_does_not_fit_is_refused(
    run: Run, authority: Authority, trusting: ssl.SSLContext, make: Callable[[Authority], ssl.SSLContext], detail: str
) -> None:
    """The message is for the owner of the name; nobody else gets a byte of it."""
    outcome, heard = exchange(run, make(authority), trusting)

    assert outcome.error == "tls"
    assert detail in outcome.detail
    assert "certificate of 127.0.0.1:" in outcome.detail
    assert heard == 0


@pytest.mark.promise("D-31", "F-36")
@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes the certificate")
def test_certificate_signed_over_sha_1_is_refused(run: Run, tmp_path: Path) -> None:
    """Two certificates with one such signature can be made; whose it is cannot be known."""
    file, server = weakly_signed(tmp_path, "good.example")

    outcome, heard = exchange(run, server, tls_context(file))

    assert (outcome.error, heard) == ("tls", 0)
    assert "too weak" in outcome.detail


@pytest.mark.promise("D-30", "F-36")
def test_endless_certificate_chain_is_refused(run: Run, authority: Authority, trusting: ssl.SSLContext) -> None:
    """A receiver may not fill our memory before it has said who it is."""
    outcome, heard = exchange(run, authority.server("good.example", more=400), trusting)

    assert (outcome.error, heard) == ("tls", 0)


@pytest.mark.promise("D-31", "F-36")
def test_unknown_authority_is_refused(run: Run, authority: Authority) -> None:
    """Without the file nobody vouches for our test authority."""
    outcome, heard = exchange(run, authority.server("good.example"), tls_context())

    assert (outcome.error, heard) == ("tls", 0)
    assert "unable to get local issuer certificate" in outcome.detail


@pytest.mark.promise("D-31", "F-36")
def test_nobody_is_asked_whether_a_certificate_was_revoked(
    run: Run, authority: Authority, trusting: ssl.SSLContext
) -> None:
    """As documented: a certificate is good until it ends, and where it says to ask is a stranger's URL, never called.

    The control: whoever looks into the authority's list refuses the same certificate.
    """
    with socket.create_server(("127.0.0.1", 0)) as asked:
        server = authority.server("good.example", revoked_at=f"http://127.0.0.1:{asked.getsockname()[1]}/")
        looking = tls_context(authority.file)
        looking.load_verify_locations(cafile=authority.revocations)
        looking.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF

        accepted, heard = exchange(run, server, trusting)
        refused, unheard = exchange(run, server, looking)

        asked.setblocking(False)
        with pytest.raises(BlockingIOError):
            asked.accept()
    assert (accepted.status, heard) == (200, 1)
    assert (refused.error, unheard) == ("tls", 0)
    assert "certificate revoked" in refused.detail


@pytest.mark.promise("D-31")
def test_authorities_of_the_environment_are_honoured(
    run: Run, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE works as with every program that uses OpenSSL."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))

    outcome, _ = exchange(run, authority.server("good.example"), tls_context())

    assert outcome.status == 200


@pytest.mark.promise("D-31", "F-36")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_tls_is_refused(run: Run, authority: Authority, trusting: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    """TLS before 1.2 is broken."""
    server = authority.server("good.example")
    server.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        server.minimum_version = version
        server.maximum_version = version

    outcome, heard = exchange(run, server, trusting)

    assert (outcome.error, heard) == ("tls", 0)


def test_context_asks_for_what_we_promise(authority: Authority) -> None:
    """The floor is set in the context, whatever the system's OpenSSL would accept."""
    context = tls_context(authority.file)

    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_file_without_certificates_is_an_error_at_start(tmp_path: Path) -> None:
    """A wrong path must not be found out by the first delivery."""
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing")

    with pytest.raises(OSError, match=r"(?i)no.*certificate|NO_CERTIFICATE"):
        tls_context(empty)
    with pytest.raises(FileNotFoundError):
        tls_context(tmp_path / "missing.pem")


@contextmanager
def raw_server(behave: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serve one connection with blocking code in a thread; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                behave(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1]
        thread.join(30)


def send_to(run: Run, port: int, context: ssl.SSLContext, *, timeout_ms: int = 10_000) -> Outcome:
    async def main() -> Outcome:
        async with sending(settings(port, context)) as egress:
            outcome = await egress.send(delivery(f"https://good.example:{port}/", timeout_ms=timeout_ms))
            await until(lambda: not egress._pool.open)
            return outcome

    return run(main())


def _drain(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


@pytest.mark.promise("F-36", "F-30")
@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x28"])
def test_handshake_that_fails_is_a_tls_failure(run: Run, trusting: ssl.SSLContext, said: bytes) -> None:
    """Plain text on the port, an alert, or nothing: no TLS, no message."""

    def behave(connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(said)

    with raw_server(behave) as port:
        outcome = send_to(run, port, trusting)

    assert outcome.error == "tls"
    assert outcome.phases.connect is not None


@pytest.mark.promise("F-36")
def test_handshake_that_is_reset_is_a_tls_failure(run: Run, trusting: ssl.SSLContext) -> None:
    """The address was reached, so it is no connect failure."""

    def behave(connection: socket.socket) -> None:
        connection.recv(1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with raw_server(behave) as port:
        outcome = send_to(run, port, trusting)

    assert outcome.error == "tls"


@pytest.mark.promise("F-36", "P-29")
def test_handshake_that_hangs_meets_the_deadline(run: Run, trusting: ssl.SSLContext) -> None:
    """The timeout covers the handshake, and the connection is closed with it."""
    with raw_server(_drain) as port:
        outcome = send_to(run, port, trusting, timeout_ms=100)

    assert (outcome.error, outcome.detail) == ("timeout", "no end within 100 ms: in the TLS handshake")
    assert outcome.phases.tls is not None


def _truncating(context: ssl.SSLContext, answer: bytes, *, goodbye: bool) -> Callable[[socket.socket], None]:
    """Answer over TLS, then close the connection under it, with or without saying so first."""

    def behave(connection: socket.socket) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_side=True)

        def drive(step: Callable[[], object]) -> None:
            while True:
                try:
                    step()
                except ssl.SSLWantReadError:
                    connection.sendall(outgoing.read())
                    incoming.write(connection.recv(65536))
                else:
                    connection.sendall(outgoing.read())
                    return

        drive(tls.do_handshake)
        heard = bytearray()
        while not heard.endswith(b"hello"):
            drive(lambda: heard.extend(tls.read(65536)))
        drive(lambda: tls.write(answer))
        if goodbye:
            try:
                tls.unwrap()
            except ssl.SSLWantReadError:
                connection.sendall(outgoing.read())
        connection.shutdown(socket.SHUT_WR)
        _drain(connection)

    return behave


@pytest.mark.promise("F-36", "P-20")
@pytest.mark.parametrize("goodbye", [True, False])
def test_end_without_goodbye_does_not_complete_a_body_without_length(
    run: Run, authority: Authority, trusting: ssl.SSLContext, *, goodbye: bool
) -> None:
    """Anybody between can cut a connection; only close_notify, or a length, says that an answer is whole."""
    server = authority.server("good.example")
    answer = b"HTTP/1.1 200 OK\r\n\r\nall of it"

    with raw_server(_truncating(server, answer, goodbye=goodbye)) as port:
        outcome = send_to(run, port, trusting)

    assert outcome.error == (None if goodbye else "closed")
    assert (outcome.status, outcome.body) == (200, b"all of it")


@pytest.mark.promise("F-36")
def test_end_without_goodbye_after_a_full_answer_is_a_success(
    run: Run, authority: Authority, trusting: ssl.SSLContext
) -> None:
    """The length was kept; how the receiver closes is its own affair."""
    with raw_server(_truncating(authority.server("good.example"), OK, goodbye=False)) as port:
        outcome = send_to(run, port, trusting)

    assert (outcome.status, outcome.error) == (200, None)


@pytest.mark.promise("D-32", "D-31")
def test_secure_connection_is_kept_for_its_name(run: Run, authority: Authority, trusting: ssl.SSLContext) -> None:
    """One handshake for many messages, but never for another name."""

    async def main() -> tuple[list[bool], list[str | None]]:
        async with (
            receiving(always(), tls=authority.server("good.example")) as receiver,
            sending(settings(receiver.port, trusting)) as egress,
        ):
            hosts = ["good.example", "good.example", "other.example", "good.example"]
            outcomes = [await egress.send(delivery(receiver.url(host=host))) for host in hosts]
            return [outcome.reused for outcome in outcomes], [outcome.error for outcome in outcomes]

    reused, errors = run(main())

    assert reused == [False, True, False, True]
    assert errors == [None, None, "tls", None]
