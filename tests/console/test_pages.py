"""Lists of which the server gives an empty page: it has looked at many rows, and says where to go on."""

from __future__ import annotations

import re

from playwright.sync_api import Route, expect
from tests.console.conftest import Open
from tests.console.steps import publish
from tests.support.server import Server


def nothing_yet(route: Route) -> None:
    """Answer the first page of a list as the server does that has found nothing on it."""
    if "cursor=" in route.request.url:
        route.continue_(url=re.sub("[?&]cursor=[^&]*", "", route.request.url))
    else:
        route.fulfill(json={"messages": [], "cursor": "on"})


def test_a_page_on_which_nothing_fits_is_no_end_of_the_list(open_page: Open, server: Server) -> None:
    """Else whoever looks for one message among many is told that there is none."""
    publish(server, "rare", None, ("Upstash-Delay", "1h"))
    page = open_page()
    page.route(re.compile(r"/v2/messages\?"), nothing_yet)

    page.goto(f"{server.url}/console/messages?view=waiting")

    expect(page.get_by_role("table")).to_contain_text("/_catch/rare")
