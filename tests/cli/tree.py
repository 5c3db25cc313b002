"""Every command of the command line, found by walking it as its parser does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from typer.main import get_command

from lateron.cli.app import app
from lateron.cli.commands import examples_of


@dataclass(frozen=True, slots=True)
class Command:
    """One command."""

    words: str  # As typed, from ``lateron`` on.
    parsed: Any  # The parser's own object; its class is not public.

    @property
    def text(self) -> str:
        """Return what its help says, without the examples."""
        return str(self.parsed.help or "").partition("\b\nExamples:")[0].strip()

    @property
    def examples(self) -> list[str]:
        """Return its examples."""
        return examples_of(str(self.parsed.help or ""))


def commands() -> list[Command]:
    """Return all commands that are listed, in the order of the help."""
    return list(_below("lateron", get_command(app)))


def _below(words: str, parsed: Any) -> Iterator[Command]:
    children = getattr(parsed, "commands", None)
    if children is None:
        yield Command(words, parsed)
        return
    for name, child in children.items():
        if not child.hidden:
            yield from _below(f"{words} {name}", child)
