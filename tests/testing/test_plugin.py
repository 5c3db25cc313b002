"""The plugin as a user's pytest sees it, in a run of its own."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

from tests.test_tidy import ROOT

TESTS = """
import os
import sys
import pytest

def test_nothing_is_imported_before_it_is_used():
    assert "lateron.server" not in sys.modules and "uvicorn" not in sys.modules

def test_the_fixture_is_there(lateron):
    assert os.environ["QSTASH_URL"] == lateron.url
    assert lateron.call("GET", "/readyz").status == 200

def test_the_environment_is_as_it_was():
    assert os.environ["QSTASH_URL"] == "http://theirs"

@pytest.mark.lateron(start="2031-05-01", settings={"quota": "free", "dedup_window": "1h", "region": "eu1"})
def test_the_marker_chooses_how_it_starts(lateron):
    assert lateron.clock().isoformat() == "2031-05-01T00:00:00+00:00"
    assert lateron.call("GET", "/lateron/v1/info").json()["limits"]["dedupWindow"] == 3_600_000
"""


def test_the_fixture_and_the_marker_work_in_a_strict_run(tmp_path: Path) -> None:
    """Warnings are errors, unknown markers too; a machine's settings must not leak in."""
    (tmp_path / "test_theirs.py").write_text(TESTS)
    (tmp_path / "lateron.toml").write_text("port = 1\nunknown = 2\n")
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "--strict-markers", "-p", "lateron.pytest_plugin"]
    environment = {"PATH": "", "PYTHONPATH": str(ROOT / "src"), "QSTASH_URL": "http://theirs", "LATERON_PORT": "1"}

    done = subprocess.run(
        [*command, "-p", "no:cacheprovider"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )

    assert "4 passed" in done.stdout, done.stdout + done.stderr


def test_pytest_finds_the_plugin_where_the_package_is_installed() -> None:
    """Its name is that of its module, so that naming it by hand as well is no second plugin."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

    (entry,) = project["entry-points"]["pytest11"].items()

    assert entry == ("lateron.pytest_plugin", "lateron.pytest_plugin")
    assert import_module(entry[1]).lateron
    assert not any(requirement.startswith("pytest") for requirement in project["dependencies"])
