"""The documentation site and llms.txt, made of the documents of the project.

    python -m tools.pages                   write build/pages and build/mkdocs.yml
    zensical build -f build/mkdocs.yml      make build/site of them
    python -m tools.pages --llms            bring docs/llms.txt up to date

The documents link each other as files of the repository, so that they can be read there. A site has pages only: so they
are copied with their folders, ``README.md`` as ``index.md``, and a link to anything that is no page becomes one to the
repository. ``build/pages/llms-full.txt`` is all pages in one, for those who read by machine.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parent.parent
SITE: Final = ROOT / "mkdocs.yml"
LLMS: Final = ROOT / "docs" / "llms.txt"
REPOSITORY: Final = "https://github.com/lateron/lateron/blob/main/"
_LINK: Final = re.compile(r"(\]\()([^)\s]+)(\))")
_FENCE: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_COMMENT: Final = re.compile(r"<!--.*?-->\n?", re.DOTALL)


def navigation() -> list[tuple[str, str, Path]]:
    """Return (section, title, file) of every page, in the order of the site."""
    document = yaml.safe_load(SITE.read_text("utf-8"))
    found = [
        (section, title, ROOT / file)
        for part in document["nav"]
        for section, pages in part.items()
        for page in pages
        for title, file in page.items()
    ]
    return [*found, *(("Decisions", title_of(path), path) for path in _decisions())]


def _decisions() -> list[Path]:
    return sorted(path for path in (ROOT / "docs" / "decisions").glob("*.md") if not path.name.startswith("0000"))


def title_of(path: Path) -> str:
    """Return the first heading of a document."""
    found = re.search(r"^# (.+)$", path.read_text("utf-8"), re.MULTILINE)
    assert found, f"{path} has no title"
    return found[1].strip()


def place_of(path: Path) -> str:
    """Return where a document stands in the site."""
    place = path.relative_to(ROOT)
    return str(place.with_name("index.md") if place.name == "README.md" else place)


def page(path: Path, pages: frozenset[Path]) -> str:
    """Return a document as a page: links to other pages lead there, all others to the repository."""
    here = Path(place_of(path)).parent

    def lead(link: re.Match[str]) -> str:
        target, mark, heading = link[2].partition("#")
        if not target or re.match(r"[a-z]+:", target):
            return link[0]
        file = (path.parent / target).resolve()
        if file in pages:
            return f"{link[1]}{os.path.relpath(place_of(file), here)}{mark}{heading}{link[3]}"
        if file.suffix == ".png":
            return f"{link[1]}{os.path.relpath(file.relative_to(ROOT), here)}{link[3]}"
        return f"{link[1]}{REPOSITORY}{file.relative_to(ROOT)}{link[3]}"

    return "".join(part if code else _LINK.sub(lead, part) for part, code in _parts(path.read_text("utf-8")))


def _parts(text: str) -> Iterator[tuple[str, bool]]:
    """Cut a document into prose and blocks of code."""
    last = 0
    for block in _FENCE.finditer(text):
        yield text[last : block.start()], False
        yield block[0], True
        last = block.end()
    yield text[last:], False


def configuration() -> dict[str, Any]:
    """Return what the generator reads: mkdocs.yml with the decisions, and pages where they are copied to."""
    document: dict[str, Any] = yaml.safe_load(SITE.read_text("utf-8"))
    sections: dict[str, list[dict[str, str]]] = {}
    for section, title, path in navigation():
        sections.setdefault(section, []).append({title: place_of(path)})
    return {**document, "docs_dir": "pages", "site_dir": "site", "nav": [{k: v} for k, v in sections.items()]}


def llms() -> str:
    """Return llms.txt: what the project is, and where each document is, with its first sentence."""
    lines = ["# Lateron", "", f"> {first_words(ROOT / 'README.md')}", ""]
    section = ""
    for part, title, path in navigation():
        if part == "Decisions":
            continue
        if part != section:
            section = part
            lines += [f"## {section}", ""]
        lines.append(f"- [{title}]({REPOSITORY}{path.relative_to(ROOT)}): {first_words(path)}")
    return "\n".join(lines).replace("\n## ", "\n\n## ").replace("\n\n\n", "\n\n") + "\n"


def first_words(path: Path) -> str:
    """Return the first sentences of a document, links as their texts, 300 characters at most."""
    text = _COMMENT.sub("", _FENCE.sub("", path.read_text("utf-8")))
    paragraphs = [p for p in text.split("\n\n") if p.strip() and not p.lstrip().startswith(("#", "|", "!", "*Written"))]
    words = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", " ".join(paragraphs[0].split()))
    sentences = re.split(r"(?<=[.:])\s+(?=[A-Z`])", words)
    shown = sentences[0]
    for sentence in sentences[1:]:
        if len(shown) + len(sentence) > 300:
            break
        shown += f" {sentence}"
    return shown


def write(target: Path) -> None:
    """Write pages and configuration below a folder."""
    pages = target / "pages"
    shutil.rmtree(pages, ignore_errors=True)
    files = [path for _, _, path in navigation()]
    known = frozenset(files)
    everything = []
    for path in files:
        text = page(path, known)
        place = pages / place_of(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, "utf-8")
        everything.append(text)
    shutil.copytree(ROOT / "docs" / "img", pages / "docs" / "img")
    (pages / "llms.txt").write_text(llms(), "utf-8")
    (pages / "llms-full.txt").write_text("\n\n".join(everything), "utf-8")
    (target / "mkdocs.yml").write_text(yaml.safe_dump(configuration(), sort_keys=False, allow_unicode=True), "utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Write what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tools.pages", description="Make the documentation site.")
    parser.add_argument("--llms", action="store_true", help="only bring docs/llms.txt up to date")
    options = parser.parse_args(arguments)
    if options.llms:
        LLMS.write_text(llms(), "utf-8")
    else:
        write(ROOT / "build")
    return 0


if __name__ == "__main__":
    sys.exit(main())
