"""The files of the console as they lie in the package: what they may not hold, and how much of it there may be."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from zipfile import ZipFile

import pytest

from lateron.api.pages import packed, read_pages, spare

ROOT = Path(__file__).parents[2]
FILES = ROOT / "src" / "lateron" / "console"
VENDOR = FILES / "vendor"
OWN = sorted(path for path in FILES.rglob("*.js") if VENDOR not in path.parents)
IMPORT = re.compile(r"""(?:\bfrom ?|\bimport\()["']([^"'\n]+)["']""")
AT_ONCE = re.compile(r"""\bfrom ?["']([^"'\n]+)["']""")
EXPORT = r"^export (?:default )?(?:async )?(?:const|let|class|function\*?) (\w+)"
SCRIPT_GZIP_MAX = 90 << 10
FILES_GZIP_MAX = 105 << 10
SCREEN_GZIP_MAX = 64 << 10
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
    """All scripts as one text are at most 90 KB when they are compressed, all styles 20 KB."""
    assert len(packed(b"".join(sent(".js")))) <= SCRIPT_GZIP_MAX
    assert len(packed(b"".join(sent(".css")))) <= STYLE_GZIP_MAX


def test_the_console_is_small_for_who_opens_every_screen() -> None:
    """Each file is compressed by itself and learns nothing from the others, which costs a quarter more."""
    assert sum(len(packed(body)) for body in sent(".js")) <= FILES_GZIP_MAX


# The parts of a script that may hold what looks like a comment; a slash begins a pattern where no value has ended.
PART = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/)|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'"""
    r"""|(?<=[(,=:\[!&|?{};+<>\n~-])\s*/(?![*/])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n\[])+/|(?P<mark>[`{}])|\$\{|\\.""",
    re.DOTALL,
)


def comments(text: str) -> list[tuple[int, int]]:
    """Return where the comments of a script are, which is read as its language reads it."""
    found, inside, at = [], ["{"], 0
    while at < len(text):
        if inside[-1] == "`":
            mark = re.compile(r"\\.|`|\$\{", re.DOTALL).search(text, at)
            assert mark is not None, "a text without an end"
            at = mark.end()
            if mark[0] == "`":
                inside.pop()
            elif mark[0] == "${":
                inside.append("{")
            continue
        part = PART.search(text, at)
        if part is None:
            break
        at = part.end()
        if part["comment"]:
            found.append(part.span())
        elif part["mark"] == "}":
            inside.pop()
        elif part["mark"]:
            inside.append(part["mark"])
    assert inside == ["{"], "what is opened is closed"
    return found


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_a_script_is_sent_without_its_comments_and_else_as_it_is(path: Path) -> None:
    """Every line keeps its number; what only looks like a comment, inside of a text, is sent."""
    text = path.read_text("utf-8")
    wanted = text
    for begin, end in reversed(comments(text)):
        before, after = text[:begin].rpartition("\n")[2], text[end:].partition("\n")[0]
        if not before.strip() and not after.strip():
            wanted = wanted[: begin - len(before)] + "\n" * text.count("\n", begin, end) + wanted[end + len(after) :]
    assert spare(path.read_bytes()).decode() == wanted
    assert wanted.count("\n") == text.count("\n")


SCREENS = sorted((FILES / "screens").glob("*.js"))


@pytest.mark.parametrize("screen", SCREENS, ids=lambda path: path.stem)
def test_a_screen_is_shown_once_little_has_come(screen: Path) -> None:
    """File by file as a browser is sent them: what the page begins with and what one screen adds."""
    scripts = re.findall(r'src="([^"]+\.js)"', (FILES / "index.html").read_text("utf-8"))
    needed = closure([*(FILES / name for name in scripts), screen])
    assert {FILES / "main.js", FILES / "vendor" / "preact.js", screen} <= needed
    assert sum(len(packed(spare(path.read_bytes()))) for path in needed) <= SCREEN_GZIP_MAX


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


def sent(suffix: str) -> list[bytes]:
    """Return all files of a kind as the server sends them, before they are compressed."""
    return [page.body for name, page in read_pages().items() if name.endswith(suffix)]


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
