"""Names, labels and keys are what they look like."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateron.core.text import check_name
from lateron.errors import InvalidValue

PERSIAN = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"


@pytest.mark.promise("D-15")
@pytest.mark.parametrize("name", ["a", "user-42", "a b", "é", "ключ", PERSIAN, FAMILY, "x" * 256])
def test_names_of_every_script_are_kept_exactly(name: str) -> None:
    """Joiners included: words and emoji are spelled with them."""
    assert check_name("Upstash-Label", name) == name


@pytest.mark.promise("D-15", "F-44")
@pytest.mark.parametrize(
    "name",
    [
        "",
        "a\n",
        "\x00",
        "a\x7fb",
        "a\x85b",
        "e\u0301",
        "a\u202eb",
        "\u2066a",
        "\u200f",
        "\ufeffa",
        "\u2028",
        "\u00e9" * 129,
        "x" * 257,
        "\ud800",
    ],
)
def test_misleading_names_are_refused(name: str) -> None:
    """They would turn a line around, look like another name, or break a list later."""
    with pytest.raises(InvalidValue, match="Upstash-Label"):
        check_name("Upstash-Label", name)


@pytest.mark.promise("D-15")
@given(st.text(max_size=300))
def test_accepted_names_are_normal_and_short(name: str) -> None:
    """What is accepted can be stored, compared and shown."""
    try:
        accepted = check_name("x", name)
    except InvalidValue:
        return
    assert accepted == name == unicodedata.normalize("NFC", name)
    assert 0 < len(name.encode()) <= 256
    assert not any(unicodedata.category(character) in {"Cc", "Cs"} for character in name)
