"""The page of commands says what the commands say."""

from __future__ import annotations

import re

from tests.cli.page import PAGE, page

import lateron.cli
from lateron.cli import exits


def test_the_page_of_commands_is_up_to_date() -> None:
    """A command that is on no page is found by nobody; an option that is only there is a lie."""
    assert PAGE.read_text("utf-8") == page(), "python -m tests.cli.page brings it up to date"


def test_every_exit_code_is_documented() -> None:
    """A script branches on them."""
    codes = {str(code) for name, code in vars(exits).items() if name.isupper()}

    assert set(re.findall(r"^\| ([0-9]+) \|", PAGE.read_text("utf-8"), re.MULTILINE)) == codes
    assert set(re.findall(r"^    ([0-9]+) +\S", str(lateron.cli.__doc__), re.MULTILINE)) == codes
