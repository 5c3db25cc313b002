"""The standard streams as a command finds them: closed, on a full disk, or with a reader who leaves.

The parser and the writer of tables have their own ideas of an output that fails, and end the process in the middle. So
a command writes through a ``Door``: what cannot be written is one exception of ours, which neither of them knows.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any, Final, TextIO, cast

_CLOSED: Final = "it is closed"


class OutputLost(Exception):
    """Standard output takes no more."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot write to standard output: {error.strerror}")
        # As in `lateron tail | head`: he has all he wanted.
        self.reader_left = isinstance(error, BrokenPipeError)


class Door:
    """A stream that says once that it takes no more, and is silent from then on."""

    def __init__(self, stream: TextIO, trouble: OSError | None = None) -> None:
        self._stream, self._trouble, self._lost = stream, trouble, False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401, D105 - All else is the stream's own.
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or say why that cannot be."""
        with self._passed():
            self._stream.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write one after another."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Let all of it be seen."""
        with self._passed():
            self._stream.flush()

    def lose(self, error: OSError) -> None:
        """Take note that nothing more can be written."""
        raise OutputLost(error) from None

    @contextmanager
    def _passed(self) -> Iterator[None]:
        try:
            if self._trouble is not None:
                raise self._trouble
            yield
        except OSError as error:
            if not self._lost:
                self._lost = True
                _lead_nowhere(self._stream)
                self.lose(error)


class SilentDoor(Door):
    """A stream whose reader is not needed: that of errors, of which nobody else could be told."""

    def lose(self, error: OSError) -> None:
        """Go on."""


@contextmanager
def standard_streams() -> Iterator[None]:
    """Let the block find three streams that are open, of which output and errors are doors."""
    before = sys.stdin, sys.stdout, sys.stderr
    with ExitStack() as stack:

        def nowhere(mode: str) -> TextIO:
            # It takes the lowest number that is free, which is the closed one's: no file of ours must get that.
            return cast(TextIO, stack.enter_context(Path(os.devnull).open(mode, encoding="utf-8")))

        # Where a number is closed, Python has no stream at all.
        inner, out, err = cast("tuple[TextIO | None, TextIO | None, TextIO | None]", before)
        sys.stdin = inner or nowhere("r")
        trouble = None if out is not None else OSError(0, _CLOSED)
        sys.stdout = cast(TextIO, Door(_forgiving(out or nowhere("w")), trouble))
        sys.stderr = cast(TextIO, SilentDoor(_forgiving(err or nowhere("w"))))
        try:
            yield
        finally:
            sys.stdin, sys.stdout, sys.stderr = before


def _forgiving(stream: TextIO) -> TextIO:
    """Return a stream that shows in another way what it cannot show: that must not end a command half-way."""
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream


def _lead_nowhere(stream: TextIO) -> None:
    """Let what is still in memory go: Python would try to write it at its end, and complain again."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
