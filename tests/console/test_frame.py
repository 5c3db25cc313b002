"""What is around every screen: going from one to the other, what is kept fresh, dialogs, toasts and keys."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, Route, expect
from tests.console.conftest import Open
from tests.console.steps import go, poll

MARK = "window.mark = true"
IS_MARKED = "window.mark === true"


def hold(page: Page, pattern: str | re.Pattern[str]) -> list[Route]:
    """Keep back what a page asks for from now on; return what is kept."""
    held: list[Route] = []

    def keep(route: Route) -> None:
        held.append(route)

    page.route(pattern, keep)
    return held


def test_a_screen_is_changed_without_loading_the_page_anew(open_page: Open) -> None:
    """What one has stopped stays stopped, and what was loaded is not fetched a second time."""
    page = open_page()
    page.evaluate(MARK)
    page.get_by_role("button", name="Stop updating").click()
    go(page, "Queues")
    assert page.evaluate(IS_MARKED)
    expect(page.get_by_text("Paused", exact=True)).to_be_visible()


def test_a_choice_at_the_left_shuts_the_menu_of_a_telephone(open_page: Open) -> None:
    """The screen that was chosen lies behind it."""
    page = open_page(width=360)
    go(page, "Queues")
    expect(page.get_by_role("button", name="Menu")).to_have_attribute("aria-expanded", "false")


@pytest.mark.parametrize("came", [True, False])
def test_a_screen_that_comes_late_does_not_push_out_the_one_chosen_since(open_page: Open, *, came: bool) -> None:
    """Over a slow line one has gone on before it is there; neither it nor its failure is wanted any more."""
    page = open_page()
    held = hold(page, "**/screens/settings.js")
    page.get_by_role("link", name="Settings").click()
    poll(page, lambda: len(held) == 1)
    go(page, "Queues")

    if came:
        held[0].continue_()
    else:
        held[0].abort()
    page.unroute("**/screens/settings.js")
    page.evaluate("import('./screens/settings.js').catch(() => {}).then(() => new Promise(requestAnimationFrame))")
    expect(page.get_by_role("heading", level=1, name="Queues")).to_be_visible()
