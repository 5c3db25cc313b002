"""Flags in both spellings.

QStash's development server is started with Go's flags: ``-port=8081``, ``-log-port 9000``, ``-insecure=true``.
Here they become what the parser knows: ``--port=8081``, ``--log-port 9000``, ``--insecure``. Only the commands
that people move here with their scripts are treated so; elsewhere ``-d`` and ``-H`` mean what they mean in curl.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from lateron.config import SETTINGS
from lateron.config.kinds import Private, Switch

_GO_FLAG: Final = re.compile(r"-[a-z][a-z0-9-]+(=.*)?", re.DOTALL)
_SWITCHES: Final = {setting.name: setting.kind for setting in SETTINGS if isinstance(setting.kind, Switch)}
_OPTIONAL: Final = frozenset(f"--{setting.name}" for setting in SETTINGS if isinstance(setting.kind, Private))
_COMMANDS: Final = frozenset({"dev", "serve", "config"})


def normalise(argv: Sequence[str]) -> list[str]:
    """Return the arguments with Go's flags in the long spelling."""
    command = next((argument for argument in argv if not argument.startswith("-")), None)
    if command not in _COMMANDS:
        return list(argv)
    normal: list[str] = []
    for position, argument in enumerate(argv):
        if argument == "--":
            return normal + list(argv[position:])
        spelled = f"-{argument}" if _GO_FLAG.fullmatch(argument) else argument
        following = argv[position + 1] if position + 1 < len(argv) else "-"
        if spelled in _OPTIONAL and following.startswith("-"):
            spelled += "=true"  # Alone it means all of them.
        normal.append(_switch(spelled))
    return normal


def _switch(argument: str) -> str:
    """Turn ``--insecure=true`` into ``--insecure``, and ``=false`` into ``--no-insecure``."""
    name, equals, text = argument.removeprefix("--").partition("=")
    kind = _SWITCHES.get(name)
    if kind is None or not equals or not argument.startswith("--"):
        return argument
    try:
        return f"--{name}" if kind.read(text) else f"--no-{name}"
    except ValueError:
        return argument  # The parser says what is wrong with it.
