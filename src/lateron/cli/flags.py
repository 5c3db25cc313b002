"""The flags of ``dev``, ``serve`` and ``config show``, made from the table of settings.

Typer reads a function's signature. So a signature is built here, one parameter for each setting, and a new line
in the table is a flag at once. All values stay text: one reader (``config``) serves flags, environment and file.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from lateron.config import SETTINGS, Command, Setting, load
from lateron.config.kinds import Many, Switch


def with_settings(run: Callable[..., int | None], command: Command | None = None) -> Callable[..., int | None]:
    """Return a function for Typer that takes every setting as a flag, reads all layers, and calls ``run``.

    Args:
        run: Takes the settings, then parameters of its own, which become flags too.
        command: Whose settings are read; None: ``run`` has a parameter ``mode`` that says so.
    """
    own = list(inspect.signature(run, eval_str=True).parameters.values())[1:]
    chosen = [setting for setting in SETTINGS if command is None or setting.serves(command)]

    def entry(**given: Any) -> int | None:  # noqa: ANN401 - Flags of several types.
        mode = command or cast(Command, given["mode"])
        file = given["config_file"]
        flags = {name: text for setting in chosen for name, text in _given(setting, given)}
        settings = load(mode, flags, os.environ, Path(file) if file else None)
        return run(settings, **{parameter.name: given[parameter.name] for parameter in own})

    parameters = [*own, _config_file(), *(_parameter(setting, command) for setting in chosen)]
    entry.__name__, entry.__doc__ = run.__name__, run.__doc__
    entry.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # What inspect.signature looks for.
        [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    )
    entry.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return entry


def _config_file() -> inspect.Parameter:
    option = typer.Option(
        "--config", metavar="FILE", help="TOML file with settings.", show_default="lateron.toml, if there is one"
    )
    return _keyword("config_file", Annotated[str | None, option])


def _parameter(setting: Setting, command: Command | None) -> inspect.Parameter:
    """Return the parameter of one setting; of a secret, it takes the path of its file."""
    default = setting.default_for(command or "serve")
    shown = "" if default is None else setting.kind.show(default)
    name, field = f"--{setting.name}", setting.field
    metavar: str | None = setting.kind.metavar
    of_type: Any = str | None
    if setting.secret:
        name, field, metavar = f"{name}-file", f"{field}_file", "FILE"
    elif isinstance(setting.kind, Switch):
        name, metavar, of_type = f"{name}/--no-{setting.name}", None, bool | None
    elif isinstance(setting.kind, Many):
        of_type = list[str] | None
    option = typer.Option(
        name, metavar=metavar, help=setting.help, rich_help_panel=setting.group, show_default=shown or False
    )
    return _keyword(field, Annotated[of_type, option])


def _keyword(name: str, annotation: Any) -> inspect.Parameter:  # noqa: ANN401 - An annotation is no type.
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _given(setting: Setting, values: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the flag of a setting as text, if it was given."""
    name, field = (f"{setting.name}-file", f"{setting.field}_file") if setting.secret else (setting.name, setting.field)
    value = values[field]
    if isinstance(value, list) and isinstance(setting.kind, Many):
        value = setting.kind.separator.join(value)
    if value is not None:
        yield name, value if isinstance(value, str) else str(value).lower()
