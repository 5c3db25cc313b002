"""Lines and counters: readable, countable, and never a secret."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateron.config.dev_users import DEV_USERS
from lateron.telemetry import Counters, Log, configure, hide, plain


@pytest.fixture(autouse=True)
def _loggers() -> Iterator[None]:
    """Leave the process's logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def written(form: str, level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    configure(level, form, stream)
    return stream


def test_json_line_has_time_level_room_event_and_fields() -> None:
    """A collector finds the same names in every line."""
    stream = written("json")

    Log("lateron.x").info("attempt failed", message="msg_1", status=503, took_ms=1.5, peer=None)

    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "lateron.x",
        "event": "attempt failed",
        "message": "msg_1",
        "status": 503,
        "took_ms": 1.5,
        "peer": None,
    }


def test_field_never_replaces_what_every_line_has() -> None:
    """A message field called `time` must not move the line in the collector."""
    stream = written("json")

    Log("lateron.x").info("e", time="never")

    line = json.loads(stream.getvalue())
    assert line["time"] != "never"
    assert line["time_"] == "never"


@pytest.mark.parametrize("form", ["json", "pretty"])
@pytest.mark.parametrize(
    "fields",
    [
        {"authorization": "CANARY"},
        {"Authorization": "CANARY"},
        {"qstash_token": "CANARY"},
        {"header": "Authorization: Bearer CANARY-1_2.3"},
        {"url": "/v2/publish/http://x?a=1&qstash_token=CANARY&b=2"},
        {"key": "sig_CANARYCANARYCANARYCANARY1234"},
        {"note": "password ltrn_CANARYCANARYCANARY-_1234"},
        {"row": "$scrypt$ln=15,r=8,p=3$c2FsdCBvZiBhIHVzZXI$CANARY+/CANARY"},
        {"body": b"CANARY"},
        {"error": ValueError("Bearer CANARY")},
    ],
)
def test_no_line_shows_a_secret(form: str, fields: dict[str, object]) -> None:
    """Whatever room forgets to hide, the one door hides: by name, by look, in exceptions too."""
    stream = written(form)

    Log("lateron.x").error("it failed", **fields)

    assert "it failed" in stream.getvalue()
    assert "CANARY" not in stream.getvalue()


@pytest.mark.parametrize("user", DEV_USERS, ids=lambda user: user.name)
def test_tokens_and_keys_are_known_by_their_looks(user: object) -> None:
    """Even alone in a text without any name."""
    for secret in (user.token, user.current, user.next):  # type: ignore[attr-defined]
        assert hide(f"got {secret}, sorry").startswith("got [secret]")


def test_ordinary_text_is_not_hidden() -> None:
    """A filter that hides ids and hosts makes the log useless."""
    text = "message msg_0198c0ffee00112233445566778899aa to https://example.com/a?b=c failed: timeout"

    assert hide(text) == text


@given(st.text(max_size=200))
def test_hiding_twice_is_hiding_once(text: str) -> None:
    """A line that passes two doors looks the same."""
    assert hide(hide(text)) == hide(text)


@pytest.mark.parametrize("form", ["json", "pretty"])
def test_no_field_writes_a_second_line(form: str) -> None:
    """What a publisher chose must not forge a line, nor drive the terminal."""
    stream = written(form)

    Log("lateron.x").info("e", label="a\n12:00 info all is well\x1b[2J\u202e")

    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()


def test_plain_shows_what_it_took_out() -> None:
    """Reader and writer can still tell two values apart."""
    assert plain("a\tb\u2028") == "a\\tb\\u2028"


def test_lines_of_other_libraries_take_the_same_way() -> None:
    """One format in one stream."""
    stream = written("json")

    logging.getLogger("some.library").warning("odd: %s", "Bearer CANARY")

    assert json.loads(stream.getvalue())["event"] == "odd: Bearer [secret]"


def test_level_decides_what_is_written() -> None:
    """Debug lines cost nothing when nobody wants them."""
    stream = written("pretty", level="warning")

    Log("lateron.x").info("quiet")
    Log("lateron.x").warning("loud")

    assert "quiet" not in stream.getvalue()
    assert "loud" in stream.getvalue()


def test_counters_add_up() -> None:
    """A snapshot does not move with later counts."""
    counters = Counters()
    counters.add("published")
    counters.add("published", 2)

    before = counters.snapshot()
    counters.add("published")

    assert before == {"published": 3}
