"""Takes the pictures of the documentation: ``python -m tests.console.pictures``, by hand when screens have changed.

Each shows a screen of a server that was furnished for the tests, in light and dark; look at them before you commit.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import expect, sync_playwright
from tests.console.steps import publish
from tests.console.test_looks import furnish
from tests.support.server import Server

IMAGES = Path(__file__).parents[2] / "docs" / "img"
BYTES_MAX = 200_000


def take(folder: Path) -> list[Path]:
    """Write the pictures; return where they are."""
    written = []
    with TemporaryDirectory() as data, Server(Path(data) / "data") as server, sync_playwright() as playwright:
        furnish(server)
        flow = (("Upstash-Flow-Control-Key", "openai"), ("Upstash-Flow-Control-Value", "rate=1,period=1h"))
        waits = [publish(server, "llm", None, *flow) for _ in range(3)][-1]
        screens = {
            "overview": "",
            "messages": "messages",
            "message": f"messages?id={waits}",
            "dead-letters": "dead",
            "schedules": "schedules?name=sweep",
        }
        chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for theme in ("light", "dark"):
            page = chromium.new_page(
                viewport={"width": 1280, "height": 720}, color_scheme=theme, reduced_motion="reduce", locale="en-GB"
            )
            for name, screen in screens.items():
                page.goto(f"{server.url}/console/{screen}")
                expect(page.get_by_role("heading", level=1)).to_be_visible()
                expect(page.get_by_text("Loading…")).to_have_count(0)
                path = folder / (f"{name}.png" if theme == "light" else f"{name}-dark.png")
                page.screenshot(path=path)
                written.append(path)
    return written


def main() -> int:
    """Take them, and refuse any that is too large for a repository."""
    large = [path.name for path in take(IMAGES) if path.stat().st_size > BYTES_MAX]
    if large:
        sys.stderr.write(f"larger than {BYTES_MAX} bytes: {', '.join(large)}\n")
    return len(large)


if __name__ == "__main__":
    sys.exit(main())
