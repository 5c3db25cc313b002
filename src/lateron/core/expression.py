"""The little language of ``Upstash-Retry-Delay``: arithmetic over the number of retries.

::

    sum      = product { ("+" | "-") product }
    product  = unary { ("*" | "/" | "%") unary }
    unary    = { "+" | "-" } atom
    atom     = number | "retried" | function "(" sum { "," sum } ")" | "(" sum ")"

The text comes from a stranger and is computed after every failed attempt, so it is read by hand into a
tree of closures: there is no ``eval``, and numbers are floats only (``pow(9, pow(9, 7))`` as whole numbers
would never end). Length, depth and size are bounded at publishing; what computing can still do wrong
(overflow, division by zero, the root of a negative) is an ``ArithmeticError`` or ``ValueError``.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeAlias

MAX_TEXT: Final = 256  # Characters.
MAX_DEPTH: Final = 16  # Parentheses, calls and signs inside each other.
MAX_NODES: Final = 64  # Numbers, names, operators and calls.

Expression: TypeAlias = Callable[[float], float]  # Of ``retried``.

_NAME: Final = frozenset("abcdefghijklmnopqrstuvwxyz")
_DIGITS: Final = frozenset("0123456789")


def _round(value: float) -> float:
    """Round to the nearest whole number, halves away from zero, as Go does."""
    return math.copysign(math.floor(abs(value) + 0.5), value)


# Name: (function, fewest arguments, most arguments).
_FUNCTIONS: Final[dict[str, tuple[Callable[..., float], int, int]]] = {
    "pow": (math.pow, 2, 2),
    "sqrt": (math.sqrt, 1, 1),
    "abs": (abs, 1, 1),
    "exp": (math.exp, 1, 1),
    "floor": (math.floor, 1, 1),
    "ceil": (math.ceil, 1, 1),
    "round": (_round, 1, 1),
    "min": (min, 2, 8),
    "max": (max, 2, 8),
}
_SUM: Final = {"+": operator.add, "-": operator.sub}
_PRODUCT: Final = {"*": operator.mul, "/": operator.truediv, "%": math.fmod}


@lru_cache(maxsize=1024)
def parse_expression(text: str) -> Expression:
    """Return the function that an expression means.

    The function may raise ``ArithmeticError`` or ``ValueError``, and may return an infinity or a NaN.

    Raises:
        ValueError: The text is not an expression, or is too long, deep or large; the message says where.
    """
    if len(text) > MAX_TEXT:
        raise ValueError(f"at most {MAX_TEXT} characters")
    return _Parser(text).parse()


class _Parser:
    """One pass over one text; each method reads what its rule of the grammar says."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._nodes = 0

    def parse(self) -> Expression:
        result = self._sum(0)
        if self._peek():
            raise self._unexpected()
        return result

    def _sum(self, depth: int) -> Expression:
        return self._chain(_SUM, self._product, depth)

    def _product(self, depth: int) -> Expression:
        return self._chain(_PRODUCT, self._unary, depth)

    def _chain(
        self,
        operators: dict[str, Callable[[float, float], float]],
        operand: Callable[[int], Expression],
        depth: int,
    ) -> Expression:
        """Read operands joined by operators of one rank, from the left."""
        result = operand(depth)
        while (symbol := self._peek()) in operators:
            self._at += 1
            self._count()
            result = _apply(operators[symbol], result, operand(depth))
        return result

    def _unary(self, depth: int) -> Expression:
        symbol = self._peek()
        if symbol in _SUM:
            self._at += 1
            self._count()
            value = self._unary(self._deeper(depth))
            return value if symbol == "+" else lambda retried: -value(retried)
        return self._atom(depth)

    def _atom(self, depth: int) -> Expression:
        symbol = self._peek()
        self._count()
        if symbol in _DIGITS or symbol == ".":
            return self._number()
        if symbol == "(":
            self._at += 1
            inner = self._sum(self._deeper(depth))
            self._expect(")")
            return inner
        if symbol in _NAME:
            return self._named(depth)
        raise self._unexpected()

    def _named(self, depth: int) -> Expression:
        name = self._run(_NAME)
        if name == "retried":
            return lambda retried: retried
        if name not in _FUNCTIONS:
            raise ValueError(f"unknown name {name!r} before position {self._at}")
        function, fewest, most = _FUNCTIONS[name]
        self._expect("(")
        inner = self._deeper(depth)
        arguments = [self._sum(inner)]
        while self._peek() == ",":
            self._at += 1
            arguments.append(self._sum(inner))
        self._expect(")")
        if not fewest <= len(arguments) <= most:
            raise ValueError(f"{name} takes {fewest if fewest == most else f'{fewest} to {most}'} arguments")
        return _call(function, arguments)

    def _number(self) -> Expression:
        start = self._at
        self._run(_DIGITS)
        if self._text[self._at : self._at + 1] == ".":
            self._at += 1
            self._run(_DIGITS)
        mantissa_end = self._at
        if self._text[self._at : self._at + 1] in ("e", "E"):
            self._at += 1
            if self._text[self._at : self._at + 1] in ("+", "-"):
                self._at += 1
            if not self._run(_DIGITS):
                self._at = mantissa_end
        try:
            value = float(self._text[start : self._at])
        except ValueError:
            raise ValueError(f"not a number at position {start}") from None
        return lambda _: value

    def _run(self, characters: frozenset[str]) -> str:
        start = self._at
        while self._at < len(self._text) and self._text[self._at] in characters:
            self._at += 1
        return self._text[start : self._at]

    def _peek(self) -> str:
        """Return the next character that is no blank, without taking it; the empty text at the end."""
        while self._text[self._at : self._at + 1] in (" ", "\t"):
            self._at += 1
        return self._text[self._at : self._at + 1]

    def _expect(self, symbol: str) -> None:
        if self._peek() != symbol:
            raise self._unexpected()
        self._at += 1

    def _count(self) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise ValueError(f"at most {MAX_NODES} numbers, names and operators")

    def _deeper(self, depth: int) -> int:
        if depth >= MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH}")
        return depth + 1

    def _unexpected(self) -> ValueError:
        symbol = self._peek()
        return ValueError(f"unexpected {symbol!r} at position {self._at}" if symbol else "it ends too early")


def _apply(function: Callable[[float, float], float], left: Expression, right: Expression) -> Expression:
    return lambda retried: function(left(retried), right(retried))


def _call(function: Callable[..., float], arguments: list[Expression]) -> Expression:
    # Why float: floor and ceil give whole numbers, and those must never meet each other in a power.
    return lambda retried: float(function(*(argument(retried) for argument in arguments)))
