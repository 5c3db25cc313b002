"""The documentation site: every document is a page, every link of one leads somewhere, the generator takes it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.documents import ROOT, documents
from tools import pages, reference

TEMPLATE = ROOT / "docs" / "decisions" / "0000-template.md"


def test_every_document_is_a_page() -> None:
    """What is in no menu is read by nobody."""
    shown = [path for _, _, path in pages.navigation()]

    assert sorted(shown) == sorted({*documents()} - {TEMPLATE})


def test_the_page_of_endpoints_is_up_to_date() -> None:
    """An endpoint that is on no page is found by nobody; a parameter that is only there is a lie."""
    assert reference.PAGE.read_text("utf-8") == reference.page(), "python -m tools.reference brings it up to date"


def test_the_list_for_machines_is_up_to_date() -> None:
    """A model that reads an old list invents what is missing."""
    assert pages.LLMS.read_text("utf-8") == pages.llms(), "python -m tools.pages --llms brings it up to date"


def test_every_link_of_a_page_leads_to_a_page_or_away(tmp_path: Path) -> None:
    """The files of the repository are not on the site."""
    pages.write(tmp_path)
    site = tmp_path / "pages"

    broken = [
        f"{page.relative_to(site)}: {target}"
        for page in site.rglob("*.md")
        for target in re.findall(r"\]\(([^)\s]+)\)", pages._FENCE.sub("", page.read_text("utf-8")))
        if not re.match(r"[a-z]+:|#", target) and not (page.parent / target.partition("#")[0]).exists()
    ]

    assert broken == []
    assert "# Lateron" in (site / "index.md").read_text("utf-8")
    assert (site / "llms-full.txt").stat().st_size > 100_000


def test_the_first_page_leads_to_every_other() -> None:
    """Whoever reads the files in the repository has no menu; and a template is no decision."""
    docs = ROOT / "docs"
    linked = set(re.findall(r"\]\(([^)#\s]+)", (docs / "index.md").read_text("utf-8")))

    assert {path.name for path in docs.glob("*.md")} - linked == {"index.md"}
    assert f"decisions/{TEMPLATE.name}" not in linked


def test_the_generator_makes_a_site_of_it(tmp_path: Path) -> None:
    """With each page in it; a page that is left out, or a setting it does not know, fails the build."""
    zensical = Path(sys.executable).with_name("zensical")
    assert zensical.exists(), "the environment is not the locked one"
    pages.write(tmp_path)

    done = subprocess.run(
        [zensical, "build", "--strict", "-f", "mkdocs.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    for _, _, path in pages.navigation():
        place = Path(pages.place_of(path))
        html = tmp_path / "site" / (place.parent if place.name == "index.md" else place.with_suffix("")) / "index.html"
        assert html.exists(), place
