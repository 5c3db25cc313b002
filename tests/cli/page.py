"""The page of commands, docs/cli.md: written by hand down to a mark, and below it from the commands themselves.

``python -m tests.cli.page`` brings it up to date.
"""

from __future__ import annotations

from typing import Any, Final

from tests.cli.tree import Command, commands
from tests.documents import ROOT

PAGE: Final = ROOT / "docs" / "cli.md"
MARK: Final = "<!-- What follows is written by `python -m tests.cli.page`. -->\n"
# Those of `dev` and `serve` are the settings, which have a page of their own.
_SETTINGS: Final = frozenset(("lateron dev", "lateron serve", "lateron config show"))
_SHARED: Final = frozenset(("url", "token", "as_json", "utc", "help"))


def page() -> str:
    """Return the page as it should be."""
    top, _, _ = PAGE.read_text("utf-8").partition(MARK)
    return top + MARK + "".join(map(_section, commands()))


def _section(command: Command) -> str:
    arguments = [parameter for parameter in command.parsed.params if parameter.param_type_name == "argument"]
    usage = " ".join([command.words, *(_metavar(argument) for argument in arguments)])
    text = " ".join(command.text.split())
    lines = ["", f"## {command.words}", "", f"`{usage}`", "", text, "", "```text", *command.examples, "```"]
    options = [] if command.words in _SETTINGS else list(filter(None, map(_option, command.parsed.params)))
    if options:
        lines += ["", "| option | |", "|---|---|", *options]
    return "\n".join([*lines, ""])


def _metavar(argument: Any) -> str:
    name = f"{argument.metavar or argument.name.upper()}{'...' if argument.nargs == -1 else ''}"
    return name if argument.required else f"[{name}]"


def _option(option: Any) -> str | None:
    """Return the row of an option; None for those that nearly all commands have."""
    if option.param_type_name != "option" or option.name in _SHARED:
        return None
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    return f"| {names} | {option.help} |"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
