"""Names as the system resolves them, from a real name server: none, none now, late, many, aliases, changing ones.

Nothing private may be called but 127.0.0.1; at 127.0.0.2 somebody listens who must never hear from us.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.crash.names import (
    GARBAGE,
    GIVES_IN,
    NXDOMAIN,
    PATIENT,
    REFUSED,
    SERVFAIL,
    SILENCE,
    Alias,
    Asking,
    NameServer,
    Said,
    name_server,
)
from tests.serving import delivered, publish
from tests.support.poll import until
from tests.support.receiver import Answer, Receiver

METADATA = "169.254.169.254"
ALLOWED = ("--allow-private", "127.0.0.1/32")


class World:
    """A server, its name server, a receiver that may be called and one that may not."""

    def __init__(self, server: Asking, names: NameServer, receiver: Receiver, hidden: socket.socket) -> None:
        self.server, self.names, self.receiver, self.hidden = server, names, receiver, hidden

    def url(self, name: str) -> str:
        return f"http://{name}:{self.receiver.port}/"

    def dies(self, name: str, *headers: tuple[str, str]) -> str:
        """Publish to a name, and return why it failed in the end."""
        return self.death(publish(self.server, self.url(name), ("Upstash-Retries", "0"), *headers))

    def death(self, message: str) -> str:
        """Return why a message failed, once it has."""
        target = f"/v2/dlq?messageId={message}"
        (dead,) = until(lambda: self.server.call("GET", target).json["messages"], f"{message} to fail")
        return str(dead["error"])

    def nobody_called_the_hidden(self) -> bool:
        try:
            self.hidden.accept()[0].close()
        except BlockingIOError:
            return True
        return False


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with name_server() as names, Receiver() as receiver, socket.socket() as hidden:
        hidden.bind(("127.0.0.2", receiver.port))
        hidden.listen()
        hidden.setblocking(False)
        with Asking(tmp_path_factory.mktemp("names") / "data", names, PATIENT, *ALLOWED) as server:
            yield World(server, names, receiver, hidden)


@pytest.mark.promise("F-37", "P-20")
@pytest.mark.parametrize(
    ("name", "said", "why"),
    [
        ("no-such.example", NXDOMAIN, "does not resolve"),
        ("broken.example", SERVFAIL, "the name server did not answer"),
        ("forbidden.example", REFUSED, "the name server did not answer"),
        ("empty.example", (), "does not resolve"),
        ("loop.example", Alias("loop.example"), "resolve"),
        ("nowhere.example", Alias("no-such.example"), "does not resolve"),
        ("garbage.example", GARBAGE, "the name server did not answer"),
    ],
)
def test_a_name_that_the_name_server_does_not_give_is_a_failed_attempt(
    world: World, name: str, said: Said, why: str
) -> None:
    """A typing error and a name server in trouble are told apart, and neither is an error of the receiver."""
    world.names.says(name, said)

    said_why = world.dies(name)

    assert name in said_why
    assert why in said_why
    assert world.names.asked[name] >= 1


@pytest.mark.promise("F-37", "P-29")
def test_a_name_server_that_does_not_answer_meets_the_timeout_of_the_message(world: World) -> None:
    """The system would wait for minutes; others are delivered meanwhile."""
    silent = world.names.says("silent.example", SILENCE)
    world.names.says("meanwhile.example", ["127.0.0.1"])
    waiting = publish(world.server, world.url(silent), ("Upstash-Retries", "0"), ("Upstash-Timeout", "2s"))
    until(lambda: world.names.asked[silent], "the question")

    meanwhile = publish(world.server, world.url("meanwhile.example"))
    until(lambda: delivered(world.server, meanwhile), "the delivery")

    assert "no end within 2000 ms: looking up the name" in world.death(waiting)


@pytest.mark.promise("F-37", "D-21", "D-22", "D-24")
@pytest.mark.parametrize(
    "private",
    [
        "127.0.0.2",
        METADATA,
        "10.0.0.1",
        "::1",
        "::ffff:127.0.0.2",
        f"::ffff:{METADATA}",
        "64:ff9b::a9fe:a9fe",
        "fd00::1",
    ],
)
def test_a_name_that_was_public_at_publish_and_is_private_at_the_attempt_is_refused(world: World, private: str) -> None:
    """Rebinding: its owner decides what a name says when we ask, so the answer is judged then, at the socket."""
    name = world.names.says(f"{private.replace(':', '-').strip('-')}.rebinding.example", ["93.184.215.14"])
    message = publish(world.server, world.url(name), ("Upstash-Retries", "0"), ("Upstash-Delay", "1s"))
    assert world.names.asked[name] == 0, "nothing is asked at publish: no answer of then could be believed"

    world.names.says(name, [private])

    why = world.death(message)

    assert why.startswith(f"{name}: ")
    assert why.endswith("would permit it")
    assert world.names.asked[name] == 1
    assert world.nobody_called_the_hidden()


@pytest.mark.promise("F-37", "D-21")
def test_a_name_that_changes_with_every_question_is_asked_once_an_attempt(world: World) -> None:
    """What was judged is what is called: a second question in between could have another answer."""
    flips = [world.names.says(f"flip-{n}.example", ["127.0.0.1"], ["127.0.0.2"], [METADATA]) for n in range(30)]

    messages = [publish(world.server, world.url(name)) for name in flips]
    for message in messages:
        until(lambda: delivered(world.server, message), "the delivery")  # noqa: B023 # Waits here.

    assert {world.names.asked[name] for name in flips} == {1}
    assert world.nobody_called_the_hidden()


@pytest.mark.promise("F-37", "P-23")
def test_the_answer_of_the_next_attempt_is_its_own(world: World) -> None:
    """A quick failure is not remembered: the name server is in trouble, there is no such name, there is one."""
    name = world.names.says("moving.example", SERVFAIL)
    message = publish(world.server, world.url(name), ("Upstash-Retries", "5000"), ("Upstash-Retry-Delay", "10"))

    def said(error: str) -> bool:
        attempts = world.server.call("GET", f"/lateron/v1/messages/{message}").json["attempts"]
        return any(error in attempt.get("error", "") for attempt in attempts)

    until(lambda: said("the name server did not answer"), "no answer")
    world.names.says(name, NXDOMAIN)
    until(lambda: said("does not resolve"), "no such name")
    world.names.says(name, ["127.0.0.1"])

    until(lambda: delivered(world.server, message), "the delivery")


@pytest.mark.promise("F-37", "D-21", "D-24")
def test_a_name_that_moves_between_attempts_is_judged_again(world: World) -> None:
    """The first attempt was answered by a receiver that may be called; that earns the second one nothing."""
    moves = world.receiver.endpoint("/moves")
    moves.answers(Answer(503))
    name = world.names.says("moves.example", ["127.0.0.1"])

    # An answer is kept for five seconds, so the retry comes after them.
    headers = (("Upstash-Retries", "1"), ("Upstash-Retry-Delay", "6000"))
    message = publish(world.server, f"{world.url(name)}moves", *headers)
    moves.wait_for_one()
    world.names.says(name, ["127.0.0.2"])
    why = world.death(message)

    assert "127.0.0.2" in why
    assert world.names.asked[name] == 2
    assert world.nobody_called_the_hidden()


@pytest.mark.promise("F-37", "D-24")
def test_of_many_addresses_only_those_allowed_are_called(world: World) -> None:
    """Private ones stand before and behind the one that may be called."""
    name = world.names.says("mixed.example", ["127.0.0.2", METADATA, "127.0.0.1", "10.0.0.1", "::1"])

    message = publish(world.server, world.url(name))
    until(lambda: delivered(world.server, message), "the delivery")

    assert world.nobody_called_the_hidden()


@pytest.mark.promise("F-37", "D-24")
def test_a_thousand_private_addresses_are_all_refused(world: World) -> None:
    """They do not fit a datagram, so the system asks again over TCP; not one is called."""
    name = world.names.says("thousand.example", [f"127.0.{n // 250 + 1}.{n % 250 + 1}" for n in range(1000)])

    why = world.dies(name)

    assert "loopback" in why
    assert world.names.over_tcp[name] >= 1


@pytest.mark.promise("F-37", "D-24")
def test_an_alias_is_judged_by_where_it_ends(world: World) -> None:
    """A chain of names of strangers may end at a receiver, or at what only we can reach."""
    for step in range(5):
        world.names.says(f"step-{step}.example", Alias(f"step-{step + 1}.example"))
    world.names.says("step-5.example", ["127.0.0.1"])
    world.names.says("inner.example", [METADATA])
    world.names.says("friendly.example", Alias("inner.example"))

    message = publish(world.server, world.url("step-0.example"))
    until(lambda: delivered(world.server, message), "the delivery")

    assert METADATA in world.dies("friendly.example")


@pytest.mark.promise("F-37")
def test_the_system_may_give_up_before_the_message_does(tmp_path: Path) -> None:
    """What the C library says after its own patience is a failed attempt like others."""
    with name_server() as names, Receiver() as receiver, Asking(tmp_path / "data", names, GIVES_IN) as server:
        message = publish(server, f"http://{names.says('silent.example', SILENCE)}:{receiver.port}/",
                          ("Upstash-Retries", "0"))  # fmt: skip
        (dead,) = until(lambda: server.call("GET", f"/v2/dlq?messageId={message}").json["messages"], "it to fail")

    assert "the name server did not answer for silent.example" in dead["error"]


@pytest.mark.promise("F-37", "P-130")
def test_a_lookup_that_hangs_does_not_keep_the_server_from_ending(tmp_path: Path) -> None:
    """A thread inside the C library cannot be called back; the system waits for minutes, the server does not."""
    with name_server() as names, Receiver() as receiver, Asking(tmp_path / "data", names, PATIENT) as server:
        silent = names.says("silent.example", SILENCE)
        publish(server, f"http://{silent}:{receiver.port}/", ("Upstash-Retries", "0"), ("Upstash-Timeout", "1s"))
        until(lambda: server.call("GET", "/v2/dlq").json["messages"], "it to fail")

        assert server.stop() == 0
