"""Flags of QStash's development server work as they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateron.cli.argv import normalise


@pytest.mark.parametrize(
    ("given_argv", "expected"),
    [
        ("dev -port=8081", "dev --port=8081"),
        ("dev -port 8081", "dev --port 8081"),
        ("dev --port 8081", "dev --port 8081"),
        ("dev -log-port=9000 -quota=pro", "dev --log-port=9000 --quota=pro"),
        ("dev -insecure", "dev --insecure"),
        ("dev -insecure=true", "dev --insecure"),
        ("dev --ephemeral=false", "dev --no-ephemeral"),
        ("dev -h", "dev -h"),
        ("serve -data-dir=x", "serve --data-dir=x"),
        ("config show -port=1", "config show --port=1"),
        ("serve --allow-private --port 1", "serve --allow-private=true --port 1"),
        ("serve -allow-private", "serve --allow-private=true"),
        ("serve --allow-private 10.0.0.0/8 --port 1", "serve --allow-private 10.0.0.0/8 --port 1"),
        ("dev -- -port", "dev -- -port"),
        ("publish http://x -d -body -H a:b", "publish http://x -d -body -H a:b"),
        ("-port=1", "-port=1"),
        ("", ""),
    ],
)
def test_both_spellings_of_a_flag_are_one(given_argv: str, expected: str) -> None:
    """Scripts that start QStash's server keep their flags; curl-like commands keep their short ones."""
    assert normalise(given_argv.split()) == expected.split()


def test_switch_with_a_strange_value_is_left_for_the_parser_to_refuse() -> None:
    """Guessing would start something else than asked for."""
    assert normalise(["dev", "-insecure=perhaps"]) == ["dev", "--insecure=perhaps"]


@given(st.lists(st.text(max_size=12), max_size=5))
def test_normalising_twice_is_normalising_once(argv: list[str]) -> None:
    """A long spelling is never touched again."""
    once = normalise(["dev", *argv])

    assert normalise(once) == once
