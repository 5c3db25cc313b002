"""The package that is published: the same bytes from the same source, whoever builds it, where and when (D-73)."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import venv
from importlib.metadata import distribution
from pathlib import Path
from urllib.request import Request, urlopen
from zipfile import ZipFile

import pytest
from tests.deploy.test_containers import needed
from tests.redden import copy_of_the_project
from tests.support.poll import until
from tests.support.server import DEV_USERS


def built(root: Path, out: Path) -> dict[str, str]:
    """Build a wheel and a source archive, and return their digests by name."""
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(out)]
    environ = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    done = subprocess.run(command, cwd=root, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in out.iterdir()}


@pytest.mark.promise("D-73")
def test_two_builds_of_one_source_are_the_same_bytes(tmp_path: Path) -> None:
    """Another directory, other times, other permissions of the group: whoever rebuilds a release can compare it."""
    with copy_of_the_project() as here:
        first = built(here, tmp_path / "first")
    with copy_of_the_project() as there:
        for path in there.rglob("*"):
            os.utime(path, (1_000_000_000, 1_000_000_000))
            path.chmod(path.stat().st_mode & 0o700)
        second = built(there, tmp_path / "second")

    assert len(first) == 2
    assert first == second


def distribution_place(name: str) -> Path:
    """Return the folder from which a distribution is imported."""
    return Path(str(distribution(name).locate_file("")))


LARGEST = 3_000_000  # Bytes of a wheel.


def test_a_built_wheel_serves_every_page_and_prints_every_file(tmp_path: Path) -> None:
    """As it is installed and not as the source lies here: a file that was forgotten is missed here first."""
    with copy_of_the_project() as project:
        built(project, tmp_path / "out")
    (wheel,) = (tmp_path / "out").glob("*.whl")
    assert wheel.stat().st_size < LARGEST
    home = tmp_path / "home"
    venv.create(home, with_pip=False, symlinks=True)
    (packages,) = home.glob("lib/python*/site-packages")
    with ZipFile(wheel) as archive:
        archive.extractall(packages)
        pages = [name.removeprefix("lateron/") for name in archive.namelist() if name.startswith("lateron/console/")]
    others = [str(distribution_place(name)) for name in needed("lateron") - {"lateron"}]
    (packages / "others.pth").write_text("\n".join(sorted(set(others))), "utf-8")
    command = [str(home / "bin" / "python"), "-I", "-m", "lateron"]

    board, alerts = (
        subprocess.run([*command, what], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        for what in ("grafana", "alerts")
    )
    log = tmp_path / "log"
    with (
        log.open("w") as out,
        subprocess.Popen(
            [*command, "dev", "--port", "0"], cwd=tmp_path, stdout=out, stderr=subprocess.STDOUT
        ) as server,
    ):
        try:
            url = until(lambda: re.search(r"http://127\.0\.0\.1:\d+", log.read_text()), "it to listen")[0]
            until(lambda: status(f"{url}/readyz") == 200, "it to be ready")
            wrong = {page: found for page in shown(pages) if (found := status(f"{url}/{page}")) != 200}
            figures = status(f"{url}/metrics", DEV_USERS[0].token)
        finally:
            server.terminate()
        assert server.wait(30) == 0, log.read_text()

    assert json.loads(board)["title"]
    assert "groups:" in alerts
    assert len(shown(pages)) > 30
    assert (wrong, figures) == ({}, 200)


def shown(names: list[str]) -> list[str]:
    """Return those of the console's files that a browser asks for."""
    return [name for name in names if name.endswith((".js", ".css", ".svg", ".html"))]


def status(url: str, token: str = "") -> int:
    """Return the status of an answer; 0 if nobody answers."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urlopen(Request(url, headers=headers)) as answer:
            return int(answer.status)
    except OSError as error:
        return int(getattr(error, "code", 0))
