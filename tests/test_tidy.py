"""The laws of the house, each one a failing check.

They are cheap to keep and dear to get back: which way imports point, how long a function may grow,
that nobody but ``runtime`` asks the machine for the time. What ruff and mypy check already is not
repeated here.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from importlinter.cli import lint_imports
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "lateron"
FUNCTION_LINES_MAX = 70
MODULE_LINES_MAX = 600

Functions = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def project_files() -> tuple[Path, ...]:
    """Return every file of the project: those git knows or would add, or all in an unpacked archive."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listing.returncode == 0:
        paths = [ROOT / name for name in listing.stdout.decode().split("\0") if name]
    else:
        hidden = {".venv", "node_modules", "__pycache__", "dist", "build"}
        paths = [path for path in ROOT.rglob("*") if not hidden & set(path.relative_to(ROOT).parts)]
    return tuple(sorted(path for path in paths if path.is_file()))


def python_files(*folders: str) -> list[Path]:
    """Return the Python files below some folders of the project."""
    return [
        path
        for path in project_files()
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in folders and "node_modules" not in path.parts
    ]


@cache
def tree_of(path: Path) -> ast.Module:
    """Parse a file once for all tests."""
    return ast.parse(path.read_text("utf-8"), str(path))


def place(path: Path, node: ast.AST) -> str:
    """Name a line the way an editor can open it."""
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def dotted(node: ast.AST) -> str:
    """Return ``a.b.c`` for such an expression; an unnamed beginning is left out, as in ``.time``."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""


def found(folders: tuple[str, ...], suspect: Callable[[ast.AST], bool]) -> list[str]:
    """Return the places of every suspect node below some folders."""
    return [place(path, node) for path in python_files(*folders) for node in ast.walk(tree_of(path)) if suspect(node)]


# Rooms and sizes


def test_imports_point_downwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """The contracts stand in pyproject.toml; the core stays pure and egress knows no store."""
    monkeypatch.chdir(ROOT)

    assert lint_imports(no_cache=True) == 0


def test_no_function_is_longer_than_a_page() -> None:
    """What does not fit on a page is not read as one thought."""
    assert [
        f"{place(path, node)} {node.name}: {node.end_lineno - node.lineno + 1} lines"
        for path in python_files("src", "tests", "bench")
        for node in ast.walk(tree_of(path))
        if isinstance(node, Functions)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= FUNCTION_LINES_MAX
    ] == []


def test_no_module_is_a_book() -> None:
    """A room that is half again too large is asked why."""
    written = {".py", ".js", ".sql", ".c"}
    assert [
        f"{path.relative_to(ROOT)}: {lines} lines"
        for path in project_files()
        if path.suffix in written
        and "vendor" not in path.parts
        and (lines := len(path.read_text("utf-8").splitlines())) > MODULE_LINES_MAX
    ] == []


def test_no_file_of_the_package_is_dead() -> None:
    """Each module is imported by another of the package, each data file named by one; a test keeps nothing alive."""
    reached = set(imported_modules("src"))
    texts = "\n".join(path.read_text("utf-8") for path in python_files("src"))
    dead = []
    for path in project_files():
        if SOURCE not in path.parents or path.name in {"py.typed", "__main__.py", "__init__.py"}:
            continue
        if path.suffix == ".py":
            module = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
            # An integration is imported by applications only.
            alive = module in reached | entry_points() or module.startswith("lateron.integrations.")
        elif SOURCE / "console" in path.parents:
            continue  # tests/console/test_files.py walks from its page to every file.
        else:
            alive = path.name in texts or f'"{path.parent.name}"' in texts
        if not alive:
            dead.append(str(path.relative_to(ROOT)))
    assert dead == []


def entry_points() -> set[str]:
    """Return the modules that something outside the package starts."""
    return {"lateron.cli", "lateron.pytest_plugin"}


def imported_modules(*folders: str) -> Iterator[str]:
    """Yield every module named in an import, with ``a.b`` and ``a.b.c`` for ``from a.b import c``."""
    for path in python_files(*folders):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_open_point_names_its_issue() -> None:
    """A promise to clean up without an issue is kept by nobody."""
    words = "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X"))
    open_point = re.compile(rf"\b(?:{words})\b(?!\(#[0-9]+\))")
    text = {".py", ".sql", ".c", ".js", ".mjs", ".sh", ".toml", ".md"}
    assert [
        f"{path.relative_to(ROOT)}:{number}"
        for path in project_files()
        if path.suffix in text and "vendor" not in path.parts
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if open_point.search(line)
    ] == []


# Time, platforms, assertions


CLOCK = re.compile(
    r"(^|\.)(time|time_ns|monotonic|monotonic_ns|perf_counter|perf_counter_ns|process_time|clock_gettime)$"
    r"|(^|\.)(datetime|date)\.(now|utcnow|today)$"
)
CLOCK_UNLESS_GIVEN_A_TIME = re.compile(r"(^|\.)(localtime|gmtime|ctime|asctime|formatdate)$")


def reads_a_clock(node: ast.AST) -> bool:
    """Say whether a node asks the machine for the time; formatting a given time is none of it."""
    if isinstance(node, ast.ImportFrom):
        return node.module == "time"
    if not isinstance(node, ast.Call):
        return False
    name = dotted(node.func)
    return bool(CLOCK.search(name) or (CLOCK_UNLESS_GIVEN_A_TIME.search(name) and not node.args))


def test_only_runtime_reads_a_clock() -> None:
    """Whoever is handed the time can be tested in any year, and simulated."""
    readers = found(("src",), reads_a_clock)

    assert [reader for reader in readers if not reader.startswith("src/lateron/runtime.py:")] == []
    assert readers, "the check finds the one room that may"


@pytest.mark.parametrize(
    ("line", "guilty"),
    [
        ("time.time()", True),
        ("loop.time()", True),
        ("asyncio.get_running_loop().time()", True),
        ("time.monotonic_ns()", True),
        ("datetime.datetime.now(datetime.UTC)", True),
        ("datetime.now(tz=UTC)", True),
        ("date.today()", True),
        ("from time import time", True),
        ("formatdate()", True),
        ("formatdate(seconds, usegmt=True)", False),
        ("datetime.fromtimestamp(seconds, UTC)", False),
        ("clock.wall()", False),
        ("row.time", False),
    ],
)
def test_the_search_for_clocks_sees_them(line: str, *, guilty: bool) -> None:
    """A law whose check sees nothing is no law."""
    assert any(map(reads_a_clock, ast.walk(ast.parse(line)))) is guilty


def top_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run when a module is imported, inside ``if`` and ``try`` too."""
    for statement in body:
        if isinstance(statement, Functions | ast.ClassDef):
            continue
        if isinstance(statement, ast.If) and dotted(statement.test).endswith("TYPE_CHECKING"):
            continue
        yield statement
        yield from top_level([child for child in ast.iter_child_nodes(statement) if isinstance(child, ast.stmt)])


def test_the_package_can_be_imported_on_every_platform() -> None:
    """Windows has none of these modules; they are imported where they are used."""
    unix = {"fcntl", "uvloop", "resource", "pwd", "grp", "termios"}
    guilty = []
    for path in python_files("src"):
        for statement in top_level(tree_of(path).body):
            names: set[str] = set()
            if isinstance(statement, ast.Import):
                names = {alias.name.partition(".")[0] for alias in statement.names}
            elif isinstance(statement, ast.ImportFrom):
                names = {str(statement.module).partition(".")[0]}
            guilty += [f"{place(path, statement)} {name}" for name in sorted(names & unix)]
    assert guilty == []


@pytest.mark.skipif(not (SOURCE / "cli" / "__init__.py").exists(), reason="there is no command line yet")
def test_the_command_refuses_to_run_without_assertions() -> None:
    """Asserts guard the store's invariants; ``python -O`` would remove them in silence."""
    answer = subprocess.run(
        [sys.executable, "-O", "-c", "import sys; from lateron.cli import main; sys.exit(main())", "--version"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert answer.returncode != 0
    assert "-O" in answer.stderr
    assert "Traceback" not in answer.stderr


# Bans


BANNED_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen"}
BANNED_MODULES = {"pickle", "marshal", "shelve", "dill", "yaml", "random", "uuid"}


def is_banned(node: ast.AST) -> bool:
    """Say whether a node uses what turns data into code, a shell, or chance that can be guessed."""
    if isinstance(node, ast.Import):
        return any(alias.name.partition(".")[0] in BANNED_MODULES for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return str(node.module).partition(".")[0] in BANNED_MODULES
    if not isinstance(node, ast.Call):
        return False
    shell = any(
        word.arg == "shell" and not (isinstance(word.value, ast.Constant) and word.value.value is False)
        for word in node.keywords
    )
    return shell or dotted(node.func) in BANNED_CALLS


SQL = re.compile(
    r"^\s*(SELECT|INSERT|UPDATE|DELETE|REPLACE|WITH|CREATE|DROP|ALTER|PRAGMA|ATTACH|VACUUM|BEGIN|PREPARE)\s"
)


def builds_sql(node: ast.AST) -> bool:
    """Say whether a node makes SQL from parts, or hands a made text to ``execute``."""
    if isinstance(node, ast.JoinedStr) and node.values:
        first = node.values[0]
        return isinstance(first, ast.Constant) and bool(SQL.match(str(first.value)))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        return isinstance(node.left, ast.Constant) and bool(SQL.match(str(node.left.value)))
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        return isinstance(node.func.value, ast.Constant) and bool(SQL.match(str(node.func.value.value)))
    executes = dotted(node.func).rpartition(".")[2] in {"execute", "executemany", "executescript"}
    return executes and bool(node.args) and isinstance(node.args[0], ast.JoinedStr | ast.BinOp)


def compares_secrets(node: ast.AST) -> bool:
    """Say whether a node compares a secret by ``==``, whose time tells where the difference is."""
    if not isinstance(node, ast.Compare) or not any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
        return False
    sides = [node.left, *node.comparators]
    secret = re.compile(r"password|secret|signature|token_hash")
    return not any(isinstance(side, ast.Constant) for side in sides) and any(
        secret.search(dotted(side).rpartition(".")[2]) for side in sides
    )


@pytest.mark.promise("D-75")
@pytest.mark.parametrize("suspect", [is_banned, builds_sql, compares_secrets])
def test_the_package_uses_nothing_banned(suspect: Callable[[ast.AST], bool]) -> None:
    """What these allow an attacker is known; what they save us is little."""
    assert found(("src",), suspect) == []


@pytest.mark.parametrize(
    ("suspect", "line"),
    [
        (is_banned, "eval(text)"),
        (is_banned, "import pickle"),
        (is_banned, "from random import choice"),
        (is_banned, "subprocess.run(line, shell=True)"),
        (builds_sql, 'f"SELECT * FROM {table}"'),
        (builds_sql, '"DELETE FROM message WHERE id = %s" % id'),
        (builds_sql, '"PRAGMA page_size = " + size'),
        (builds_sql, '"INSERT INTO {}".format(table)'),
        (builds_sql, 'connection.execute(f"{verb} x")'),
        (compares_secrets, "given == self.password"),
        (compares_secrets, "token_hash != known"),
    ],
)
def test_the_search_for_banned_things_sees_them(suspect: Callable[[ast.AST], bool], line: str) -> None:
    """A ban whose check sees nothing is no ban."""
    assert any(map(suspect, ast.walk(ast.parse(line))))


# What must not leave the machine it was written on


def test_no_file_names_the_machine_it_was_written_on() -> None:
    """A path or host of one machine is noise to every reader, and at times a secret."""
    places = [re.escape(str(path)) + r"\b" for path in (ROOT, Path.home()) if len(path.parts) > 2]
    leak = re.compile("|".join([*places, r"/(?:home|Users)/(?!user\b|me\b|you\b)[a-z]", r"/root/"]))
    found_in = []
    for path in project_files():
        if path.is_symlink() or "vendor" in path.parts:
            continue
        for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), 1):
            if leak.search(line) and path != Path(__file__):
                found_in.append(f"{path.relative_to(ROOT)}:{number}")
    assert found_in == []


def test_no_lock_file_names_a_registry() -> None:
    """Where packages come from is the installer's choice; what they must be is ours."""
    locks = [path for path in project_files() if path.suffix == ".lock" or path.name == "package-lock.json"]
    registry = re.compile(r"https?://|--(?:extra-)?index-url|--find-links|--trusted-host|\bfile:")
    named = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in locks
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if registry.search(line) and '"url": "https://' not in line  # npm: where to thank the authors.
    ]
    assert named == []
    assert locks


def test_the_lock_file_holds_what_the_project_asks_for() -> None:
    """A version raised in pyproject.toml alone would be tested nowhere."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wanted = [Requirement(text) for text in project["project"]["dependencies"] + project["dependency-groups"]["dev"]]
    lock = (ROOT / "requirements-dev.lock").read_text("utf-8")
    locked = dict(re.findall(r"^([a-z0-9-]+)(?:\[[a-z,]+\])?==([^ ;]+)", lock, re.MULTILINE))

    assert [str(want) for want in wanted if locked.get(want.name.lower(), "") not in want.specifier] == []
