"""The page of promises is true: it says which test shows which promise, at every commit."""

from __future__ import annotations

import pytest
from tests.promises import PAGE, SHOWN, Promises, Shown, counts_of, load, render, stale_lines


@pytest.fixture
def shown(request: pytest.FixtureRequest) -> Shown:
    seen = request.config.stash[SHOWN]
    if not seen.full:
        pytest.skip("only a full run sees every test")
    return seen


def test_the_page_of_promises_names_the_tests_there_are(shown: Shown) -> None:
    """A promise whose test was renamed or dropped must not keep its row."""
    assert stale_lines(shown.tests, PAGE.read_text("utf-8")) == [], "run: pytest --write-promises --collect-only"


def test_every_promise_a_test_names_has_a_text(shown: Shown) -> None:
    """A misspelt id would show a promise that nobody made."""
    assert sorted(set(shown.tests) - set(load().texts)) == []


def test_a_page_is_stale_when_a_test_moves_but_not_when_a_count_does() -> None:
    """Counts belong to the run that wrote the page; which test shows what belongs to the commit."""
    promise = next(iter(load().texts))
    tests = {promise: {"tests/test_a.py::test_one"}}
    page = render(load(), tests, {promise: "7"})

    assert counts_of(page) == {promise: "7"}
    assert stale_lines(tests, page) == []
    assert len(stale_lines({promise: {"tests/test_a.py::test_two"}}, page)) == 2


def test_a_promise_without_a_test_is_listed_as_not_shown() -> None:
    """What is not proven is said, not left out."""
    page = render(Promises({"P-1": "kept"}, {}), {}, {})

    assert "- **P-1** kept" in page.partition("## Not shown yet")[2]
