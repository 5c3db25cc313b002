"""On a terminal: tables that fit it, times of here, and questions."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence

import pytest
from tests.cli.conftest import Shell
from tests.cli.screen import on_terminal
from tests.support.poll import until
from tests.support.receiver import Answer, Endpoint
from tests.support.server import Server

from lateron.cli import exits
from lateron.cli.terminal import column_widths, echo_table

COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def environ(server: Server) -> dict[str, str]:
    return {"QSTASH_URL": server.url, "TZ": "Asia/Tokyo"}


@pytest.fixture
def busy(endpoint: Endpoint, shell: Shell) -> str:
    """Fill every list with names as long as they get in practice; return the id of a message."""
    url = f"{endpoint.url}/a/path/that/is/rather/long?with=query&and=more-of-it"
    endpoint.answers(Answer(500, b"no"))
    dead = shell.run("publish", url, "--retries", "0").strip()
    until(lambda: shell.items("dlq", "list", "--message", dead), "the dead letter")
    message = shell.run("publish", url, "--delay", "1h", "--flow-key", "a-key-of-a-customer-with-a-name").strip()
    shell.run("enqueue", "a-queue-with-a-long-name", url, "--delay", "1h")
    shell.run("schedule", "0 4 * * MON-FRI", url, "--zone", "America/Argentina/Buenos_Aires", "--id", "on-screen")
    shell.run("groups", "add", "a-group-on-screen", url, "--name", "the endpoint of the shop")
    return message


LISTS = ["messages list", "dlq list", "queues list", "flow list", "flow hosts", "schedules list", "groups list"]


@pytest.mark.usefixtures("busy")
def test_tables_fit_eighty_columns(environ: dict[str, str]) -> None:
    """Nothing is cut off: what is too long goes on in the next line of its column."""
    for argv in (*LISTS, "flow global", "schedules get on-screen"):
        code, shown = on_terminal(argv.split(), environ)
        lines = [COLOURS.sub("", line).rstrip() for line in shown.splitlines()]

        assert code == exits.DONE
        assert len(lines) > 1
        assert [line for line in lines if len(line) > 80] == []
        assert "…" not in shown


def test_ids_are_shown_whole_on_a_terminal(busy: str, shell: Shell, environ: dict[str, str]) -> None:
    """They are what the next command needs."""
    letter = shell.items("dlq", "list")[0]["dlqId"]

    assert busy in on_terminal(["messages", "list"], environ)[1]
    assert letter in on_terminal(["dlq", "list"], environ)[1]


def test_times_are_local_unless_utc_is_wanted(shell: Shell, endpoint: Endpoint, environ: dict[str, str]) -> None:
    """In a pipe they are UTC."""
    flags = ["--start", "2030-06-01T00:00:00Z", "--dry-run"]
    argv = ["schedule", "0 4 * * *", endpoint.url, *flags]

    assert "2030-06-01 13:00:00\r\n" in on_terminal(argv, environ)[1]
    assert "2030-06-01T04:00:00.000Z" in on_terminal([*argv, "--utc"], environ)[1]
    assert shell.run(*argv).startswith("2030-06-01T04:00:00.000Z\n")


def test_no_colour_is_obeyed(environ: dict[str, str]) -> None:
    """As https://no-color.org asks."""
    assert "\x1b" not in on_terminal(["flow", "global"], {**environ, "NO_COLOR": "1"})[1]
    assert "\x1b" not in on_terminal(["flow", "global"], {**environ, "TERM": "dumb"})[1]


@pytest.mark.parametrize(
    ("typed", "code", "state"),
    [
        ("y\n", exits.DONE, "CANCELED"),
        ("YES\n", exits.DONE, "CANCELED"),
        ("\n", exits.REFUSED, "CREATED"),
        ("no\n", exits.REFUSED, "CREATED"),
        ("\x04", exits.REFUSED, "CREATED"),  # The end of the input.
    ],
)
def test_question_is_asked_with_number_and_examples(
    typed: str, code: int, state: str, shell: Shell, endpoint: Endpoint, environ: dict[str, str]
) -> None:
    """Only a yes goes on."""
    label = endpoint.path.strip("/")
    message = shell.run("publish", endpoint.url, "--delay", "1h", "--label", label).strip()

    ended, shown = on_terminal(["messages", "cancel", "--label", label], environ, typed)

    assert ended == code, shown
    assert "1 message to cancel" in shown
    assert message in shown
    assert shell.json("messages", "get", message)["state"] == state
    if code == exits.REFUSED:
        assert "lateron: nothing was changed" in shown


def test_json_on_a_terminal_is_indented_but_lists_are_lines(environ: dict[str, str]) -> None:
    """People read the one, and pipe the other."""
    assert '{\r\n  "parallelismMax"' in on_terminal(["flow", "global", "--json"], environ)[1]
    for line in on_terminal(["messages", "list", "--json"], environ, width=20_000)[1].splitlines():
        assert line.startswith('{"messageId"')


def test_field_of_a_message_cannot_drive_the_terminal(
    shell: Shell, endpoint: Endpoint, environ: dict[str, str]
) -> None:
    """Bodies and answers are chosen by others."""
    message = shell.run("publish", endpoint.url, "--delay", "1h", "-d", "\x1b]0;title\x07\nsecond").strip()

    shown = COLOURS.sub("", on_terminal(["messages", "get", message], environ)[1])

    assert "\x1b" not in shown
    assert r"\x1b]0;title\x07\nsecond" in shown


def test_what_a_terminal_cannot_show_does_not_end_a_command(
    shell: Shell, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A label in another script is escaped on a terminal that has no letters for it."""
    message = shell.run("publish", endpoint.url, "--delay", "1h", "-d", "日本").strip()
    printed = io.BytesIO()
    screen = io.TextIOWrapper(printed, encoding="ascii", write_through=True)
    monkeypatch.setattr("sys.stdout", screen)

    shell.run("messages", "get", message)

    assert rb"\u65e5\u672c" in printed.getvalue()


@pytest.fixture(params=[40, 60, 80])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Let what is printed go to a terminal of so many columns."""
    monkeypatch.setattr("lateron.cli.terminal.is_rich", lambda: True)
    monkeypatch.setenv("COLUMNS", str(request.param))
    return int(request.param)


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize("argv", [*LISTS, "audit", "tokens list", "jobs list", "flow global", "config show"])
def test_narrow_terminal_loses_nothing(argv: str, width: int, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each character of each cell is there, in whatever line."""
    shell.run("messages", "retry", "--label", "of-nobody", "--yes", "--follow")  # A job.
    tables: list[list[Sequence[str]]] = []

    def spied(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        tables.append(list(rows))
        echo_table(head, tables[-1])

    for module in ("terminal", "show"):
        monkeypatch.setattr(f"lateron.cli.{module}.echo_table", spied)
    shown = shell.run(*argv.split())
    cells = ["\t".join(row) for row in tables[0]]

    assert cells
    assert not Counter("".join("".join(cells).split())) - Counter("".join(shown.split()))
    assert "…" not in shown
    for row in tables[0]:
        assert row[0] in shown  # What is copied is whole.
    assert [
        line for line in shown.splitlines() if len(line) > width and line not in {row[0] for row in tables[0]}
    ] == []


def test_row_without_room_is_a_block(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The name on a line of its own, and a line for each field."""
    monkeypatch.setattr("lateron.cli.terminal.is_rich", lambda: True)
    monkeypatch.setenv("COLUMNS", "30")
    rows = [
        ("msg_12345678901234567890", "CREATED", "https://example.com/a/long/one"),
        ("msg_2", "RETRY", "日本日本日本日本日本日本"),
    ]

    echo_table(("message", "state", "url"), rows)

    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "msg_12345678901234567890",
        "state  CREATED",
        "url    https://example.com/a/l",
        "       ong/one",
        "msg_2",
        "state  RETRY",
        "url    日本日本日本日本日本日",
        "       本",
    ]


def test_columns_share_a_terminal() -> None:
    """What a column does not need, another one gets; the first is never less than it wants."""
    head = ("id", "state", "url")

    assert column_widths(head, [("a" * 10, "on", "u" * 50)], 40) == [10, 5, 21]
    assert column_widths(head, [("a" * 10, "on", "u" * 9)], 40) == [10, 5, 9]
    assert column_widths(head, [("a" * 10, "on", "u" * 50)], 29) == [10, 5, 10]
    assert column_widths(head, [("a" * 10, "on", "u" * 50)], 28) is None
    assert column_widths(head, [], 80) == [2, 5, 3]
