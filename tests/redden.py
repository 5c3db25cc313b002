"""Shows that the tests of promises can fail: plants one bug for each promise, and expects its test to go red.

::

    python -m tests.redden               every promise
    python -m tests.redden P-25 D-76     these
    python -m tests.redden --jobs 2      two at a time

The bugs stand in ``tests/patches.toml``. Each is planted in a copy of the project, not in the project, so that it
reaches the processes too that a test starts, and the tests that read the source. A test counts as red if it *fails*
with the bug; that it passes without is what all other runs show. One that does not run, or errs while it is set up,
shows nothing and is reported, too.

In the tests' own process this module is a plugin, which lets Hypothesis stop at the first example that fails.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from hypothesis import Phase, settings

ROOT = Path(__file__).parent.parent
PATCHES = Path(__file__).with_name("patches.toml")
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "node_modules", "out", "build", "dist")
PATIENCE_S = 180

FAILED = re.compile(r"^FAILED ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Patch:
    """A bug."""

    promise: str
    bug: str  # In words.
    file: str  # Below src/lateron.
    old: str  # Stands there exactly once.
    new: str
    test: str

    def places(self, root: Path) -> int:
        """Return how often the text that is changed stands in its file."""
        return (root / "src" / "lateron" / self.file).read_text("utf-8").count(self.old)

    @contextmanager
    def planted(self, root: Path) -> Iterator[None]:
        """Plant the bug in a copy, and take it out again."""
        path = root / "src" / "lateron" / self.file
        honest = path.read_text("utf-8")
        assert honest.count(self.old) == 1, f"{self.promise}: {self.file} has changed, so must its patch"
        path.write_text(honest.replace(self.old, self.new), "utf-8")
        try:
            yield
        finally:
            path.write_text(honest, "utf-8")


@dataclass(frozen=True, slots=True)
class Ran:
    """What a test did with a bug planted."""

    patch: Patch
    red: bool
    seconds: float
    output: str


def load() -> Mapping[str, Patch]:
    """Read the bugs, by promise."""
    content = tomllib.loads(PATCHES.read_text("utf-8"))
    return {promise: Patch(promise, **fields) for promise, fields in content.items()}


@contextmanager
def copy_of_the_project() -> Iterator[Path]:
    """Copy what tests need."""
    with tempfile.TemporaryDirectory(prefix="lateron-redden-") as folder:
        root = Path(folder) / "project"
        shutil.copytree(ROOT, root, ignore=LEFT_OUT)
        for name in (".ci", ".gitignore"):
            whole = ROOT / name
            (shutil.copytree if whole.is_dir() else shutil.copy)(whole, root / name)
        yield root


def redden(patch: Patch, root: Path) -> Ran:
    """Run the test of a bug in a copy in which it is planted."""
    begun = time.monotonic()
    plugins = ("-p", "no:cacheprovider", "-p", "tests.redden")
    with patch.planted(root):
        environ = {**os.environ, "PYTHONPATH": str(root / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pytest", "-q", "-x", *plugins, patch.test],
                cwd=root,
                env=environ,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            )
            red, output = done.returncode == 1 and FAILED.search(done.stdout) is not None, done.stdout + done.stderr
        except subprocess.TimeoutExpired:
            red, output = False, f"no end within {PATIENCE_S} s"
    return Ran(patch, red, time.monotonic() - begun, output)


def redden_all(patches: Sequence[Patch]) -> Iterator[Ran]:
    """Run tests one after the other, in one copy."""
    with copy_of_the_project() as root:
        for patch in patches:
            yield redden(patch, root)


@pytest.hookimpl(trylast=True)
def pytest_configure() -> None:
    """Let a failing example be enough; to make it smaller would take minutes."""
    phases = (Phase.explicit, Phase.reuse, Phase.generate)
    settings.register_profile("redden", settings.get_profile("lateron"), phases=phases)
    settings.load_profile("redden")


def told(ran: Ran, *, loud: bool) -> Ran:
    """Print what a test did."""
    patch = ran.patch
    print(f"{'red  ' if ran.red else 'GREEN'} {patch.promise:6} {ran.seconds:5.1f} s  {patch.bug}", flush=True)
    if not ran.red:
        print(f"      {patch.test}")
        print("\n".join(f"      | {line}" for line in ran.output.splitlines()[-25 if loud else -2 :]), flush=True)
    return ran


def main(arguments: Sequence[str]) -> int:
    """Run the command; see the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.redden", description="Plant the bugs of tests/patches.toml.")
    parser.add_argument("promises", nargs="*", help="which; all if none is named")
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
    parser.add_argument("--loud", action="store_true", help="print more of what a test said that stayed green")
    given = parser.parse_args(arguments)
    known = load()
    unknown = [name for name in given.promises if name not in known]
    if unknown:
        parser.error(f"no patch for {', '.join(unknown)}")
    patches = [known[name] for name in given.promises or known]
    parts = [patches[n :: given.jobs] for n in range(given.jobs)]
    tell = partial(told, loud=given.loud)
    with ThreadPoolExecutor(given.jobs) as pool:
        ran = [one for part in pool.map(lambda mine: [tell(one) for one in redden_all(mine)], parts) for one in part]
    green = [one.patch.promise for one in ran if not one.red]
    print(f"{len(ran) - len(green)} of {len(ran)} red" + (f"; green: {' '.join(green)}" if green else ""))
    return 1 if green else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
