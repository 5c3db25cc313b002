"""The image and its compose files: they say only what is so, and the program lives with what they leave it.

No image is built here, for that takes a Docker engine. What can be shown without one is: the instructions are those we
mean, every setting and path in them exists, and the entry point runs as the image runs it: Debian's Python, another
user without any capability, a file system that is read-only but for one directory, no home, no environment.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import distribution, requires
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml
from tests.documents import ROOT
from tests.serving import delivered, publish
from tests.support.poll import until
from tests.support.server import Server

from lateron.config import BY_NAME
from lateron.config.table import SETTINGS

USER = 65532  # Of distroless images.
PYTHON = "/usr/bin/python3.11"
COMPOSED = ("compose.yaml", "compose.dev.yaml")


def instructions() -> list[tuple[str, str]]:
    """Return (instruction, rest) of the Dockerfile, lines that go on put together."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text("utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def last_stage() -> dict[str, str]:
    """Return what the image itself is told, the last of each kind."""
    found = instructions()
    begin = max(place for place, (name, _) in enumerate(found) if name == "FROM")
    return dict(found[begin:])


def words(text: str) -> list[str]:
    """Return an instruction in its exec form."""
    parsed = yaml.safe_load(text.removeprefix("CMD "))
    assert isinstance(parsed, list), "a shell would be needed"
    return [str(word) for word in parsed]


@pytest.mark.promise("D-80")
def test_the_image_has_no_root_no_shell_and_one_place_to_write() -> None:
    """An image that needs less can be given less (D-80)."""
    stage = last_stage()

    assert stage["USER"] == f"{USER}:{USER}"
    assert stage["VOLUME"] == "/data"
    assert stage["STOPSIGNAL"] == "SIGTERM"
    assert "RUN" not in stage, "the last image has no shell"
    assert words(stage["ENTRYPOINT"]) == [PYTHON, "-m", "lateron"]
    assert "distroless" in next(rest for name, rest in instructions() if name == "ARG" and rest.startswith("RUN="))
    assert not {"ADD", "ONBUILD"} & {name for name, _ in instructions()}


def test_what_is_copied_is_let_through_and_there() -> None:
    """A file that .dockerignore holds back breaks the build for everybody but us."""
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line[:1] == "!"}
    copied = [rest.split()[:-1] for name, rest in instructions() if name == "COPY" and not rest.startswith("--from")]

    assert {word for some in copied for word in some} == let_through
    assert all((ROOT / word).exists() for word in let_through)


def test_every_setting_of_image_and_compose_files_exists() -> None:
    """A flag with a spelling mistake is found by the first user otherwise."""
    lines = [words(last_stage()["CMD"]), *(each["command"] for each in services() if "command" in each)]
    flags = {word.removeprefix("--") for line in lines for word in line if word.startswith("--")}
    variables = {name for each in services() for name in each.get("environment", {})}

    assert flags <= set(BY_NAME)
    assert {line[0] for line in lines} == {"serve", "dev"}
    secret = {f"{each.variable}_FILE" for each in SETTINGS if each.secret}
    assert variables <= {each.variable for each in SETTINGS} | secret


def services() -> list[dict[str, Any]]:
    """Return the services of the compose files."""
    found = [yaml.safe_load((ROOT / "deploy" / name).read_text("utf-8")) for name in COMPOSED]
    return [service for document in found for service in document["services"].values()]


@pytest.mark.parametrize("name", COMPOSED)
def test_a_compose_file_takes_away_what_is_not_needed(name: str) -> None:
    """And publishes its port on this machine only."""
    document = yaml.safe_load((ROOT / "deploy" / name).read_text("utf-8"))
    service = document["services"]["lateron"]

    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["volumes"] == ["data:/data"]
    assert "data" in document["volumes"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert (ROOT / "deploy" / service["build"]).resolve() == ROOT


def test_the_lock_of_the_image_has_all_that_the_package_needs_in_the_tested_versions() -> None:
    """The image is the program that was tested."""
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "requirements.lock").read_text("utf-8"), re.MULTILINE))
    tested = re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "requirements-dev.lock").read_text("utf-8"), re.MULTILINE)

    assert locked.items() <= dict(tested).items()
    assert {name.lower() for name in brought()} <= {name.replace("_", "-") for name in locked}


def brought() -> set[str]:
    """Return what the image brings beside the package: with its extras, for nobody can install anything into it."""
    extras = ("cryptography", "joserfc", "opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")
    return set[str]().union(*map(needed, ("lateron", *extras))) - {"lateron"}


def needed(name: str) -> set[str]:
    """Return the distributions that one needs on this platform, itself included, its extras left out."""
    found, new = {name}, [name]
    while new:
        for line in requires(new.pop()) or ():
            requirement, _, marker = line.partition(";")
            word = re.match(r"[A-Za-z0-9._-]+", requirement)
            assert word
            wanted = word[0].lower().replace("_", "-").replace(".", "-")
            if "extra" in marker or "win32" in marker.replace("!= 'win32'", "").replace('!= "win32"', ""):
                continue
            if wanted not in found and is_installed(wanted):
                found.add(wanted)
                new.append(wanted)
    return found


def is_installed(name: str) -> bool:
    """Whether a distribution is here; a backport for older Pythons is not."""
    try:
        distribution(name)
    except ModuleNotFoundError:
        return False
    return True


@pytest.fixture
def image() -> Iterator[Path]:
    """Return a directory with what the image has in /lateron and /data, open to everybody."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None or not Path(PYTHON).exists():
        pytest.skip("needs root, setpriv and Debian's Python 3.11")
    if sys.version_info[:2] != (3, 11):
        pytest.skip("the packages here are for another Python")
    place = Path(tempfile.mkdtemp(prefix="lateron-image-"))
    place.chmod(0o755)
    for name in brought():
        for file in distribution(name).files or ():
            if ".." not in file.parts and file.suffix != ".pyc":
                target = place / "lateron" / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(file.locate()), target)
    shutil.copytree(ROOT / "src" / "lateron", place / "lateron" / "lateron", ignore=shutil.ignore_patterns("*.pyc"))
    (place / "data").mkdir()
    os.chown(place / "data", USER, USER)
    yield place
    shutil.rmtree(place)


def test_the_image_brings_the_extras(image: Path) -> None:
    """With Debian's Python and what lies in the image alone."""
    wanted = (
        "import lateron.api.idtoken, lateron.store.unlocking, lateron.tracing, cryptography.fernet, opentelemetry.sdk"
    )
    exporter = "import opentelemetry.exporter.otlp.proto.http.trace_exporter"
    isolated = [
        PYTHON,
        "-I",
        "-S",
        "-c",
        f"import sys; sys.path.append({str(image / 'lateron')!r}); {wanted}; {exporter}",
    ]
    done = subprocess.run(isolated, env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.promise("D-80")
def test_the_entry_point_runs_with_nothing_but_its_volume(image: Path) -> None:
    """Another user, no capability, no new privileges, a read-only file system, no home and no environment."""
    stage = last_stage()
    command = [*words(stage["ENTRYPOINT"]), *words(stage["CMD"])]
    command = [word.replace("/data", str(image / "data")).replace("0.0.0.0", "127.0.0.1") for word in command]
    inside = [
        "mount --bind {data} {data} && mount -o remount,ro,bind / && cd {data} &&",
        f"exec setpriv --reuid {USER} --regid {USER} --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all",
        f"env -i PYTHONPATH={image / 'lateron'} PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1",
        shlex.join([*command, "--port", "0"]),
    ]
    script = " ".join(inside).format(data=shlex.quote(str(image / "data")))
    isolated = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
    log = image / "log"
    with log.open("w") as out, subprocess.Popen(isolated, stdout=out, stderr=subprocess.STDOUT) as process:
        try:
            found = until(
                lambda: re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text()) or process.poll(), "it to listen"
            )
            assert isinstance(found, re.Match), log.read_text()
            with urlopen(f"{found[0]}/readyz") as ready:
                assert ready.status == 200
            health = [*words(stage["HEALTHCHECK"].partition("CMD ")[2])[:-1], found[0]]
            asked = subprocess.run(
                health, env={"PYTHONPATH": str(image / "lateron")}, capture_output=True, text=True, check=False
            )
            assert asked.returncode == 0, asked.stdout + asked.stderr
        finally:
            process.terminate()
        assert process.wait(30) == 0, log.read_text()

    store = image / "data" / "lateron.db"
    assert (store.stat().st_uid, store.stat().st_mode & 0o777) == (USER, 0o600)


@pytest.mark.promise("D-81")
def test_the_limits_for_operators_are_one_and_plenty(tmp_path: Path) -> None:
    """What the compose file allows is what the unit allows, and far from what a server at work takes."""
    service = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text("utf-8"))["services"]["lateron"]
    unit = dict(
        re.findall(r"^(\w+)=(\d+)$", (ROOT / "deploy/systemd/lateron.service").read_text("utf-8"), re.MULTILINE)
    )
    tasks, descriptors, memory = service["pids_limit"], service["ulimits"]["nofile"], service["mem_limit"]
    assert (int(unit["TasksMax"]), int(unit["LimitNOFILE"])) == (tasks, descriptors)

    with Server(tmp_path / "data") as server:
        messages = [publish(server, f"{server.url}/_catch/hello") for _ in range(50)]
        until(lambda: all(delivered(server, message) for message in messages), "the deliveries")
        assert server.call("GET", "/metrics").status == 200
        status = dict(re.findall(r"^(\w+):\s+(\d+)", Path(f"/proc/{server.pid}/status").read_text(), re.MULTILINE))
        opened = len(list(Path(f"/proc/{server.pid}/fd").iterdir()))

    # Beside these a pool for name lookups may grow to 32 threads, on machines with more cores (asyncio).
    assert int(status["Threads"]) + 32 <= tasks
    assert opened * 100 <= descriptors
    assert memory == "1g"
    assert int(status["VmHWM"]) * 1024 * 4 <= 1 << 30


REACH = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).close()"


@pytest.mark.promise("D-84")
def test_the_second_wall_keeps_its_user_from_the_metadata_address() -> None:
    """Even if our own guard had a hole; others on the machine are not kept from it."""
    if os.geteuid() != 0 or any(shutil.which(program) is None for program in ("nft", "ip", "setpriv", "unshare")):
        pytest.skip("needs root, nft, ip and setpriv")
    listen = "import socket; s = socket.create_server(('169.254.169.254', 8099)); print('here', flush=True); s.accept()"
    script = f"""
        set -e
        ip link set lo up; ip address add 169.254.169.254/32 dev lo
        nft -f {shlex.quote(str(ROOT / "deploy" / "nftables.conf"))}
        {PYTHON} -c {shlex.quote(listen)} | {{
          read -r _
          if setpriv --reuid {USER} --clear-groups {PYTHON} -c {shlex.quote(REACH)} 169.254.169.254 8099 2> /dev/null
          then echo reached by us; else echo kept away; fi
          {PYTHON} -c {shlex.quote(REACH)} 169.254.169.254 8099 && echo reached by others
        }}
    """

    done = subprocess.run(["unshare", "--net", "bash", "-c", script], capture_output=True, text=True, check=False)

    assert done.stdout.split("\n")[:2] == ["kept away", "reached by others"], done.stdout + done.stderr
