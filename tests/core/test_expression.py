"""The language of retry delays says what it says, and a hostile text costs nothing."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateron.core.expression import MAX_TEXT, parse_expression


def value(text: str, retried: int = 0) -> float:
    return parse_expression(text)(float(retried))


@pytest.mark.promise("P-25")
@pytest.mark.parametrize(
    ("text", "delays"),
    [
        ("1000", [1000, 1000, 1000]),
        ("7000 * retried", [0, 7000, 14000]),
        ("pow(retried, 2) * 1000", [0, 1000, 4000]),
        ("1000 * (1 + retried)", [1000, 2000, 3000]),
        ("pow(2, retried) * 1000", [1000, 2000, 4000]),
        ("max(1000, pow(2, retried) * 100)", [1000, 1000, 1000]),
        ("max(10, pow(2, retried))", [10, 10, 10]),
    ],
)
def test_documented_expressions_give_the_documented_delays(text: str, delays: list[int]) -> None:
    """They are the examples of the documentation and of the SDKs' tests."""
    assert [value(text, retried) for retried in range(3)] == delays


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("2+3*4", 14),
        ("(2+3)*4", 20),
        ("10-3-2", 5),
        ("100/10/2", 5),
        ("7%4", 3),
        ("0-7%4", -3),
        ("-2*-3", 6),
        ("--1", 1),
        ("+1", 1),
        ("1.5e3", 1500),
        ("1E-1", 0.1),
        (".5+5.", 5.5),
        ("abs(0-3)", 3),
        ("sqrt(16)", 4),
        ("exp(0)", 1),
        ("floor(2.9)+ceil(2.1)", 5),
        ("round(2.5)", 3),
        ("round(0-2.5)", -3),
        ("min(3,1,2)+max(3,1,2)", 4),
        (" \t1 +\t1 ", 2),
    ],
)
def test_arithmetic_is_the_usual_one(text: str, result: float) -> None:
    """Products before sums, from the left, signs before all; halves are rounded away from zero."""
    assert value(text) == pytest.approx(result)


@pytest.mark.promise("F-46", "P-44")
@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "+",
        "1+",
        "1 2",
        "1retried",
        "(1",
        "1)",
        "()",
        "pow(1)",
        "pow(1,2,3)",
        "min()",
        "sqrt()",
        "sqrt 4",
        "min(5)",
        "retried()",
        "retries",
        "RETRIED",
        "Pow(1,2)",
        "2^3",
        "2**3",
        "1//2",
        "1;1",
        "1\n",
        "'1'",
        "[1]",
        "a.b",
        "x",
        "__import__('os')",
        "lambda: 1",
        "1 if 1 else 2",
        "0x10",
        "1_000",
        "1e",
        "1e+",
        ".",
        "..",
        "1..2",
        "1,2",
        "٣",
        "\uff11",
        "(" * 10000,
        "(" * 200 + "1" + ")" * 200,
        "-" * 200 + "1",
        "1+" * 127 + "1",
        "1" * 257,
        "max(" + "1," * 99 + "1)",
        "abs(" * 17 + "1" + ")" * 17,
        "(" * 17 + "1" + ")" * 17,
        "-" * 17 + "1",
        "max(1,2,3,4,5,6,7,8,9)",
    ],
)
def test_what_is_no_expression_is_refused(text: str) -> None:
    """At publishing, with a reason; not at the first failure, when nobody looks."""
    with pytest.raises(ValueError, match=r".+"):
        parse_expression(text)


@pytest.mark.promise("F-46")
@pytest.mark.parametrize(
    "text",
    [
        "pow(9,pow(9,7))",
        "pow(10,400)",
        "exp(1000)",
        "1/0",
        "0/0",
        "1%0",
        "sqrt(0-1)",
        "pow(0-1,0.5)",
        "pow(0,0-1)",
        "floor(1e400)",
        "ceil(1e400-1e400)",
        "round(1e400)",
    ],
)
def test_what_cannot_be_computed_raises_at_once(text: str) -> None:
    """As whole numbers the first one alone would take seconds, and a bit more for ever."""
    with pytest.raises((ArithmeticError, ValueError)):
        value(text)


@pytest.mark.promise("F-46")
@pytest.mark.parametrize("text", ["1e309", "0-1e309", "1e400-1e400", "1e308*10"])
def test_infinity_comes_out_as_such(text: str) -> None:
    """The caller knows what to do with it."""
    assert not math.isfinite(value(text))


@pytest.mark.promise("F-46")
def test_limits_leave_room_for_what_people_write() -> None:
    """Sixteen levels and sixty-four parts are far more than a delay needs."""
    assert value("abs(" * 16 + "7" + ")" * 16) == 7
    assert value("-" * 16 + "7") == 7
    assert value("+".join(["1"] * 32)) == 32


numbers = st.floats(0, 1e6).map(lambda number: f"{number:.6f}") | st.just("retried")


def grown(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    binary = st.builds("({}{}{})".format, parts, st.sampled_from("+-*/%"), parts)
    called = st.builds("{}({})".format, st.sampled_from(["abs", "sqrt", "floor", "ceil", "round", "exp"]), parts)
    paired = st.builds("{}({}, {})".format, st.sampled_from(["pow", "min", "max"]), parts, parts)
    return binary | called | paired | parts.map("-{}".format)


@given(st.recursive(numbers, grown, max_leaves=6), st.integers(0, 100))
def test_value_is_that_of_another_evaluator(text: str, retried: int) -> None:
    """Python itself reads these texts alike; it is the oracle, never the means."""
    names: dict[str, Callable[..., float]] = {
        "abs": abs, "sqrt": math.sqrt, "floor": math.floor, "ceil": math.ceil, "exp": math.exp, "pow": math.pow,
        "min": min, "max": max, "round": lambda number: math.copysign(math.floor(abs(number) + 0.5), number),
    }  # fmt: skip
    if len(text) > MAX_TEXT or "%" in text:  # The remainder of a negative has another sign there.
        return
    try:
        expected = float(eval(text, {"__builtins__": {}}, {**names, "retried": float(retried)}))
    except (ArithmeticError, ValueError) as error:
        with pytest.raises(type(error)):
            value(text, retried)
        return
    assert value(text, retried) == pytest.approx(expected, nan_ok=True)


@pytest.mark.promise("F-46", "P-25")
@given(
    st.text(max_size=300) | st.text("()+-*/%,. 019eretidpowmaxqs", max_size=300),
    st.integers(0, 1_000_000),
)
def test_any_text_is_refused_or_computes_to_a_float(text: str, retried: int) -> None:
    """Nothing else can come out of a stranger's text, and it always comes."""
    try:
        expression = parse_expression(text)
    except ValueError:
        return
    try:
        result = expression(float(retried))
    except (ArithmeticError, ValueError):
        return
    assert isinstance(result, float)
