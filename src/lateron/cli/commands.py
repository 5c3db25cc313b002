"""How a command is written: a plain function whose parameters may be bundles of options.

Typer reads a function's signature, and forty commands share the same options. So options that belong together
are the fields of a ``Bundle``, and a command takes the bundle. ``command`` makes the signature that Typer sees:
each bundle is unfolded into its fields, and what the user gave is folded up again for the call::

    @command(queues_app, "lateron queues pause mail")
    def pause(remote: Remote, queue: QueueArgument) -> None:

The examples are data, not prose: a test runs every one of them against a server, and docs/cli.md shows them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any, TypeVar, get_type_hints

import typer

Run = TypeVar("Run", bound=Callable[..., object])


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Options that belong together; each field is annotated as Typer wants it, and has a default."""


def command(group: typer.Typer, *examples: str, name: str | None = None, hidden: bool = False) -> Callable[[Run], Run]:
    """Return a decorator that makes a function a command of a group.

    Args:
        group: Where it belongs.
        examples: Command lines that work as they stand, in at most 76 characters each.
        name: What it is called; None: as the function.
        hidden: It is not listed, because it is there for an older spelling only.
    """

    def register(run: Run) -> Run:
        group.command(name, help=help_of(run, *examples), hidden=hidden)(_unfolded(run))
        return run

    return register


def whole(*flags: str, said: str, least: int = 0, most: int | None = None, panel: str | None = None) -> Any:  # noqa: ANN401 - What typer.Option returns.
    """Return an option that takes a whole number; a refusal names flag, value and what was expected."""

    def parse(given: object) -> int:
        text = str(given)
        if not (text.isascii() and text.isdigit() and len(text) < 16 and least <= int(text) <= (most or int(text))):
            span = f" from {least}" + ("" if most is None else f" to {most}") if least or most else ""
            raise typer.BadParameter(f"expected a whole number{span}, got {text!r}")
        return int(text)

    return typer.Option(*flags, parser=parse, metavar="NUMBER", help=said, rich_help_panel=panel)


def help_of(run: Callable[..., object], *examples: str) -> str:
    """Return what the help of a command says: its docstring, then the examples."""
    # The parser keeps the ends of lines in all paragraphs but the first.
    text = "\n\n".join(" ".join(part.split()) for part in (inspect.getdoc(run) or "").split("\n\n"))
    if not examples:
        return text
    # The backspace is the parser's mark for a paragraph whose lines are kept as they are.
    return "\n".join([text, "", "\b", "Examples:", *(f"  {example}" for example in examples)])


def examples_of(text: str) -> list[str]:
    """Return the examples in the help of a command."""
    _, mark, after = text.partition("Examples:\n")
    return [line.strip() for line in after.splitlines() if line.strip()] if mark else []


def _unfolded(run: Callable[..., object]) -> Callable[..., object]:
    """Return ``run`` with the fields of its bundles in place of the bundles; a first bundle's come last."""
    own = list(inspect.signature(run, eval_str=True).parameters.values())
    bundles = {parameter.name: parameter.annotation for parameter in own if _is_bundle(parameter.annotation)}

    def entry(**given: Any) -> object:  # noqa: ANN401 - Options of several types.
        folded = {
            name: bundle(**{field.name: given.pop(field.name) for field in fields(bundle)})
            for name, bundle in bundles.items()
        }
        return run(**given, **folded)

    plain = [parameter for parameter in own if parameter.name not in bundles]
    shared = [parameter for bundle in reversed(bundles.values()) for parameter in _parameters(bundle)]
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*plain, *shared)]
    assert len({parameter.name for parameter in parameters}) == len(parameters), f"{run.__name__}: a name twice"
    entry.__name__ = run.__name__
    entry.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # What inspect.signature looks for.
    entry.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return entry


def _is_bundle(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Bundle)


def _parameters(bundle: type[Bundle]) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(bundle, include_extras=True)
    for field in fields(bundle):
        yield inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
