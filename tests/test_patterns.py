"""No pattern of the package can be driven beyond linear time.

A backtracking engine tries exponentially many ways where a repeat without a bound stands inside
another one and both can claim the same text. The check reads the parsed pattern, so it is a matter
of form and needs no clock. It accepts a nested pair only where a literal, which no repeat inside can
match, marks where each round begins or ends: ``(?:[a-z]+,)*`` can be read in one way only.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from tests.test_tidy import dotted, place, python_files, tree_of

# Python's own parser of patterns; private, and stable since it got its name in 3.11.
parser: Any = import_module("re._parser")
op: Any = import_module("re._constants")

PATTERN_CALLS = {
    f"re.{name}" for name in ("compile", "match", "fullmatch", "search", "sub", "split", "findall", "finditer")
}
MANY = 64  # A repeat up to this often inside another one costs no more than a constant.


def patterns() -> Iterator[tuple[str, str | bytes | None]]:
    """Yield place and text of every pattern of the package; ``None`` where it is not a literal."""
    for path in python_files("src"):
        lines = path.read_text("utf-8").splitlines()
        for node in ast.walk(tree_of(path)):
            if not isinstance(node, ast.Call) or dotted(node.func) not in PATTERN_CALLS:
                continue
            if "# bounded input" in "".join(lines[node.lineno - 1 : node.end_lineno]):
                continue
            literal = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
            yield place(path, node), literal if isinstance(literal, str | bytes) else None


def is_linear(pattern: str | bytes) -> bool:
    """Say whether the pattern has no ambiguous pair of nested repeats."""
    return not any(
        is_repeat(outer) and any(map(is_repeat, parts(outer[1][2]))) and not is_fenced(outer[1][2])
        for outer in parts(parser.parse(pattern))
    )


def parts(parsed: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every operation of a parsed pattern, except inside what never tries a second way."""
    if isinstance(parsed, tuple) and len(parsed) == 2 and isinstance(parsed[0], type(op.LITERAL)):
        yield parsed
        if parsed[0] in {op.POSSESSIVE_REPEAT, op.ATOMIC_GROUP, op.IN}:
            return
    if isinstance(parsed, tuple | list | parser.SubPattern):
        for part in parsed:
            yield from parts(part)


def is_repeat(part: tuple[Any, Any]) -> bool:
    """Say whether an operation repeats without a bound that matters."""
    return part[0] in {op.MAX_REPEAT, op.MIN_REPEAT} and part[1][1] > MANY


def is_fenced(body: Any) -> bool:
    """Say whether each round begins or ends with a literal that no repeat inside can match."""
    inner = [part[1][2] for part in parts(body) if is_repeat(part)]
    return any(
        kind is op.LITERAL and not any(may_match(part, fence) for repeat in inner for part in parts(repeat))
        for kind, fence in (body[0], body[-1])
    )


def may_match(part: tuple[Any, Any], character: int) -> bool:
    """Say whether one operation can match one character; when in doubt, yes."""
    kind, value = part
    if kind is op.LITERAL:
        return bool(value == character)
    if kind is op.NOT_LITERAL:
        return bool(value != character)
    if kind is op.RANGE:
        return bool(value[0] <= character <= value[1])
    if kind is op.IN:
        negated = value[0][0] is op.NEGATE
        members = value[1:] if negated else value
        doubtful = any(member[0] is op.CATEGORY for member in members)
        return doubtful or any(may_match(member, character) for member in members) is not negated
    # What only holds other operations matches nothing itself: those are asked one by one.
    return kind not in {op.MAX_REPEAT, op.MIN_REPEAT, op.SUBPATTERN, op.BRANCH, op.AT}


@pytest.mark.promise("D-76")
def test_every_pattern_takes_linear_time() -> None:
    """Ten kilobytes of hostile text must not hold the loop; a bounded input says so in a comment."""
    assert [where for where, pattern in patterns() if pattern is None or not is_linear(pattern)] == []


@pytest.mark.promise("D-76")
@pytest.mark.parametrize(
    ("pattern", "linear"),
    [
        (r"[a-z0-9]+", True),
        (r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}", True),
        (r"(?:[0-9]{1,20}(?:\.[0-9]{1,20})?(?:ms|s|m|h))+", True),
        (r"(?:a++b)+", True),
        (r"eyJ[a-z]{16,}(?:\.[a-z_=-]+)*", True),
        (r"(?:[^,]+,)*", True),
        (r"(?:[^,;]+,)*", True),
        (r"(a+)+b", False),
        (r"(?:x*y?)*", False),
        (rb"(?:[^,]+,?)+$", False),
        (r"(?:(?:a|b*)c?)+", False),
        (r"(?:\.[a-z.]+)*", False),
        (r"(?:\s+-\w*)+", False),
    ],
)
def test_the_search_for_slow_patterns_sees_them(pattern: str | bytes, *, linear: bool) -> None:
    """A law whose check sees nothing is no law."""
    assert is_linear(pattern) is linear
