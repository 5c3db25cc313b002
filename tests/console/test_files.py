"""The files of the console as they lie in the package: what they may not hold, and how much of it there may be."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from zipfile import ZipFile

import pytest

from lateron.api.pages import packed

ROOT = Path(__file__).parents[2]
FILES = ROOT / "src" / "lateron" / "console"
VENDOR = FILES / "vendor"
OWN = sorted(path for path in FILES.rglob("*.js") if VENDOR not in path.parents)
IMPORT = re.compile(r"""(?:\bfrom ?|\bimport\()["']([^"'\n]+)["']""")
AT_ONCE = re.compile(r"""\bfrom ?["']([^"'\n]+)["']""")
EXPORT = r"^export (?:default )?(?:async )?(?:const|let|class|function\*?) (\w+)"
SCRIPT_GZIP_MAX = 90 << 10
STYLE_GZIP_MAX = 20 << 10


def test_what_is_of_others_is_as_they_published_it() -> None:
    """A file of a vendor is pinned by its hash, with its licence beside it; only names of imports are ours."""
    listed = tomllib.loads((VENDOR / "VENDOR.toml").read_text("utf-8"))
    assert set(listed["files"]) == {path.name for path in VENDOR.glob("*.js")}
    for name, entry in listed["files"].items():
        text = (VENDOR / name).read_text("utf-8")
        assert sha256(text.encode()).hexdigest() == entry["sha256"], name
        assert len((VENDOR / entry["licence_file"]).read_text("utf-8")) > 1000
        for theirs, ours in listed["imports"].items():
            text = text.replace(f'from"{ours}"', f'from"{theirs}"')
        assert sha256(text.encode()).hexdigest() == entry["source_sha256"], name


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_no_script_makes_markup_or_code_out_of_text(path: Path) -> None:
    """A payload is somebody else's text: it becomes a text node, never HTML, never code."""
    text = path.read_text("utf-8")
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|dangerouslySetInnerHTML|\beval\(|new Function"
    assert re.findall(forbidden, text) == []


def test_every_import_is_relative_and_there_and_every_file_is_reached() -> None:
    """There is no import map and no bundler: what a module names stands in the package, and nothing else does."""
    index = (FILES / "index.html").read_text("utf-8")
    waiting = [FILES / name for name in re.findall(r'(?:src|href)="([^"]+)"', index)]
    reached: set[Path] = set()
    while waiting:
        path = waiting.pop().resolve()
        if path in reached:
            continue
        reached.add(path)
        if path.suffix == ".js":
            names = IMPORT.findall(path.read_text("utf-8"))
            assert [name for name in names if not name.startswith(("./", "../"))] == [], path.name
            waiting += [path.parent / name for name in names]

    served = {path.resolve() for path in FILES.rglob("*") if path.suffix in {".js", ".css", ".svg"}}
    assert served == reached


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_every_name_that_is_imported_is_exported(path: Path) -> None:
    """A browser finds out when somebody opens that screen, and then it stays empty."""
    named = re.findall(r"""^import \{([^}]*)\} from ["']([^"'\n]+)["']""", path.read_text("utf-8"), re.MULTILINE)
    for names, target in named:
        found = (path.parent / target).resolve()
        if VENDOR in found.parents or found.name == "lib.js":  # What is of others is small and compressed.
            continue
        exported = set(re.findall(EXPORT, found.read_text("utf-8"), re.MULTILINE))
        assert {name.split(" as ")[0].strip() for name in names.split(",")} - {""} <= exported, target


def test_no_script_needs_what_needs_it() -> None:
    """Scripts stand in an order, as the rooms of the server do; only the main one loads screens later."""
    needs = {path.resolve(): closure([path]) - {path.resolve()} for path in OWN}
    circles = {path.name for path, found in needs.items() if any(path in needs.get(other, ()) for other in found)}
    assert circles == set()


def test_the_page_has_no_script_or_style_of_its_own() -> None:
    """The content security policy allows none, and a page that needed one would only fail in the browser."""
    index = (FILES / "index.html").read_text("utf-8")
    assert re.findall(r"<script>|<style|\sstyle=|\son[a-z]+=|https?://", index) == []


def test_the_console_is_small() -> None:
    """All scripts together are at most 90 KB when they are compressed, all styles 20 KB."""
    assert compressed("*.js") <= SCRIPT_GZIP_MAX
    assert compressed("*.css") <= STYLE_GZIP_MAX


SCREENS = sorted((FILES / "screens").glob("*.js"))


@pytest.mark.parametrize("screen", SCREENS, ids=lambda path: path.stem)
def test_a_screen_is_shown_once_little_has_come(screen: Path) -> None:
    """File by file as a browser is sent them: what the page begins with and what one screen adds."""
    scripts = re.findall(r'src="([^"]+\.js)"', (FILES / "index.html").read_text("utf-8"))
    needed = closure([*(FILES / name for name in scripts), screen])
    assert {FILES / "main.js", FILES / "vendor" / "preact.js", screen} <= needed
    assert sum(len(packed(path.read_bytes())) for path in needed) <= SCRIPT_GZIP_MAX


def closure(paths: Sequence[Path]) -> set[Path]:
    """Return scripts with all that they import at once."""
    found: set[Path] = set()
    waiting = [path.resolve() for path in paths]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += [(path.parent / name).resolve() for name in AT_ONCE.findall(path.read_text("utf-8"))]
    return found


def compressed(pattern: str) -> int:
    """Return how large all files of a kind are, one behind the other and compressed; a screen loads a few of them."""
    return len(gzip.compress(b"".join(path.read_bytes() for path in sorted(FILES.rglob(pattern))), mtime=0))


def test_the_wheel_brings_every_file(tmp_path: Path) -> None:
    """Whoever installs the package has the console, licences of others included; nothing is built or fetched later."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(ZipFile(wheel).namelist())
    wanted = {f"lateron/console/{path.relative_to(FILES).as_posix()}" for path in FILES.rglob("*") if path.is_file()}
    assert wanted - inside == set()
