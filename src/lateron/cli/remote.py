"""The server that a command talks to, and how its answers are printed.

With ``--json`` the answer is printed as the server gave it: one document. A list is printed as JSON lines, one
item each as the server has them, because it may be longer than one answer. Without it people get a table, and
programs that read anyway get its columns separated by tabs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import quote, urlencode

import typer

from lateron.cli.commands import Bundle
from lateron.cli.exits import USAGE, Failed

if TYPE_CHECKING:
    from lateron.cli.client import Client

Item = Mapping[str, Any]
Query = Sequence[tuple[str, str | int]]

_PANEL: Final = "Connection and output"


@dataclass(frozen=True, kw_only=True)
class Remote(Bundle):
    """The server, as whom we come, and how to print."""

    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            metavar="URL",
            help="The server.",
            show_default="QSTASH_URL, else the dev server",
            rich_help_panel=_PANEL,
        ),
    ] = None
    token: Annotated[
        str | None,
        typer.Option(
            "--token", metavar="TOKEN", help="The token.", show_default="QSTASH_TOKEN", rich_help_panel=_PANEL
        ),
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; a list as lines.", rich_help_panel=_PANEL)] = (
        False
    )
    utc: Annotated[bool, typer.Option("--utc", help="Show times in UTC, as in a pipe.", rich_help_panel=_PANEL)] = False

    @property
    def client(self) -> Client:
        """Return the client for this server."""
        from lateron.cli.client import connect

        return connect(self.url, self.token)

    def call(
        self,
        method: str,
        path: str,
        query: Query = (),
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        patient: bool = False,
    ) -> Any:  # noqa: ANN401 - Whatever JSON the server answers.
        """Send a request and return the JSON of its answer; ``patient`` for what may touch a million messages."""
        search = f"?{urlencode(query, errors='surrogateescape')}" if query else ""
        return self.client.call(method, path + search, body, headers, patient=patient)

    def pages(self, path: str, query: Query, key: str, limit: int | None, most: int) -> Iterator[Any]:
        """Yield the items of a paged list.

        Args:
            path: Of the list.
            query: Its filters.
            key: Where the items stand in an answer.
            limit: How many to yield at most; None for all.
            most: How many the server puts on one page.
        """
        cursor: str | None = None
        left = limit
        while left is None or left > 0:
            count = most if left is None else min(left, most)
            here: Query = [*query, ("count", count), *([("cursor", cursor)] if cursor else [])]
            answer = self.call("GET", path, here)
            items = answer[key][:left]
            yield from items
            cursor = answer.get("cursor")
            if not cursor:
                return
            left = None if left is None else left - len(items)

    def done(self, answer: object, line: str | None) -> None:
        """Print an answer; for people, the line that says what it means, if there is one."""
        from lateron.cli.terminal import echo, echo_json

        if self.as_json:
            echo_json(answer)
        elif line:
            echo(line)

    def listed(self, items: Iterable[Item], head: Sequence[str], row: Callable[[Item], Sequence[str]]) -> None:
        """Print a list; the first column is kept whole, the last one gives way on a narrow terminal."""
        from lateron.cli.terminal import echo_line, echo_table

        if self.as_json:
            for item in items:
                echo_line(item)
        else:
            echo_table(head, map(row, items))

    def record(self, answer: Item) -> None:
        """Print one object: for people, a line for each of its fields."""
        from lateron.cli.terminal import echo_json, echo_table, fields_of

        if self.as_json:
            echo_json(answer)
        else:
            echo_table(("field", "value"), fields_of(answer, utc=self.utc))

    def instant(self, milliseconds: int | None) -> str:
        """Return an instant for people, to stand in a table; a dash for none."""
        from lateron.cli.terminal import instant

        return "-" if milliseconds is None else instant(milliseconds, utc=self.utc, brief=True)


def path(*segments: str) -> str:
    """Return a path whose names are percent-encoded.

    Raises:
        Failed: A name is empty: what would be meant then is everything.
    """
    if not all(segments):
        raise Failed("expected a name or an id, got ''", USAGE)
    return "/" + "/".join(quote(segment, safe="", errors="surrogateescape") for segment in segments)
