"""The container and the wall around it: checked as far as that goes without an engine of containers.

What the files say is read and compared with the program; the command they start is run as they would run it: another
user, no rights, a root that cannot be written, one directory that can, no HOME.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.serving import OWN, delivered, publish
from tests.support.poll import until
from tests.support.receiver import Receiver
from tests.support.server import Server

from lateron.config import SETTINGS

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UID = 10001


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile, each on one line."""
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE))
    return [(line.split()[0], line.split(None, 1)[1].strip()) for line in text.splitlines() if line.strip()]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    return found[max(number for number, (word, _) in enumerate(found) if word == "FROM") :]


def image_environ() -> dict[str, str]:
    return dict(pair.split("=", 1) for word, rest in last_stage() if word == "ENV" for pair in shlex.split(rest))


def services(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text("utf-8"))["services"]
    return found


@pytest.mark.promise("D-80")
def test_the_image_runs_as_a_user_without_rights_and_is_built_without_a_shell() -> None:
    """Whoever gets in should find nothing to go on with."""
    stage = dict(last_stage())

    assert stage["USER"] == f"{UID}:{UID}"
    assert json.loads(stage["ENTRYPOINT"]) == ["lateron"]
    assert json.loads(stage["CMD"]) == ["serve"]
    assert (stage["STOPSIGNAL"], stage["VOLUME"]) == ("SIGTERM", "/data")
    assert "RUN" not in stage
    assert all(json.loads(rest) for word, rest in instructions() if word == "RUN"), "no shell is needed"
    assert re.search(r"^ARG BASE=python:[0-9.]+-slim-[a-z]+$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE)


def test_what_the_image_copies_is_there_and_sent_to_the_engine() -> None:
    """A file that .dockerignore leaves out ends the build on somebody else's machine."""
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    copied = {
        name
        for word, rest in instructions()
        if word == "COPY" and not rest.startswith("--")
        for name in rest.split()[:-1]
    }

    assert copied == sent
    assert [name for name in copied if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("file", ["compose.yaml", "compose.dev.yaml"])
@pytest.mark.promise("D-80")
def test_a_server_in_a_compose_file_has_no_rights_and_known_settings(file: str) -> None:
    """A misspelt variable has no effect, and nobody would notice."""
    service = services(file)["lateron"]
    known = {s.variable for s in SETTINGS} | {f"{s.variable}_FILE" for s in SETTINGS if s.secret}

    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["volumes"] == ["data:/data"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    variables = {*service.get("environment", {}), *(name for name in image_environ() if name.startswith("LATERON_"))}
    assert variables <= known
    assert service["command"][0] in {"dev", "serve"}


class Contained(Server):
    """The command of the image, as an engine would start it; the root is read-only, but for the data."""

    @property
    def command(self) -> Sequence[str]:
        """Return the command line up to the flags."""
        script = (
            'mount --make-rprivate / && mount --bind "$0" "$0" && mount -o remount,ro,bind / && '
            'umask 022 && cd "$0" && exec "$@"'
        )
        rights = [f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--no-new-privs", "--bounding-set=-all"]
        return [
            *("unshare", "--mount", "sh", "-c", script, str(self.data_dir)),
            *("setpriv", *rights, "--inh-caps=-all", *super().command),
        ]

    def _environment(self) -> dict[str, str]:
        environ = {name: value for name, value in super()._environment().items() if name != "HOME"}
        return {**environ, "PYTHONDONTWRITEBYTECODE": "1"}


def may_contain() -> bool:
    """Whether this user may change mounts and who he is, and another may run our interpreter."""
    return (
        os.geteuid() == 0
        and shutil.which("setpriv") is not None
        and subprocess.run(["unshare", "--mount", "true"], check=False).returncode == 0
        and subprocess.run(["setpriv", f"--reuid={UID}", sys.executable, "-c", ""], check=False).returncode == 0
    )


@pytest.mark.promise("D-80", "D-81")
@pytest.mark.skipif(not may_contain(), reason="only root may run a server as an engine of containers does")
def test_the_command_works_without_rights_and_with_one_directory_to_write(tmp_path: Path) -> None:
    """It needs no HOME, no temporary files, no capability; and fewer threads and descriptors than it is allowed."""
    for folder in (tmp_path, *tmp_path.parents[:-1]):
        if folder.stat().st_uid == 0 and folder != Path("/tmp"):
            folder.chmod(0o711)
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    os.chown(data, UID, UID)
    with Receiver() as receiver, Contained(data, "--allow-private", mode="serve", user=OWN) as server:
        message = publish(server, receiver.endpoint().url)
        until(lambda: delivered(server, message), "the delivery")

        status = dict(re.findall(r"^(\w+):\s+(.*)$", Path(f"/proc/{server.pid}/status").read_text(), re.MULTILINE))
        assert status["Uid"].split() == [str(UID)] * 4
        assert (status["CapEff"], status["CapBnd"], status["NoNewPrivs"]) == ("0" * 16, "0" * 16, "1")
        assert int(status["Threads"]) < services("compose.yaml")["lateron"]["pids_limit"]
        assert len(list(Path(f"/proc/{server.pid}/fd").iterdir())) < 64
        roots = [line.split() for line in Path(f"/proc/{server.pid}/mounts").read_text().splitlines()]
        assert "ro" in next(fields[3] for fields in reversed(roots) if fields[1] == "/").split(",")
        health = [sys.executable, "-m", "lateron", *json.loads(dict(last_stage())["HEALTHCHECK"].split("CMD")[1])[1:]]
        assert subprocess.run([*health[:-1], server.url], check=False, capture_output=True).returncode == 0
        assert server.stop() == 0


@pytest.mark.promise("D-84")
def test_the_metadata_service_is_out_of_reach_behind_the_wall(tmp_path: Path) -> None:
    """Even for a program with no guard of its own; and nothing else is."""
    tools = ("nft", "unshare", "ip", "setpriv")
    if os.geteuid() != 0 or not all(map(shutil.which, tools)):
        pytest.skip("only root with nftables and iproute2 may make a network of his own")
    rules = tmp_path / "nftables.conf"
    rules.write_text((DEPLOY / "nftables.conf").read_text("utf-8").replace('"lateron"', str(UID)), "utf-8")
    probe = tmp_path / "probe.py"
    probe.write_text(PROBE, "utf-8")
    script = f"""
        ip link set lo up && ip addr add 169.254.169.254/32 dev lo && ip addr add 10.1.2.3/32 dev lo
        python=$1
        "$python" {probe} && nft -f {rules} && nft -f {rules} && "$python" {probe}
    """

    done = subprocess.run(
        ["unshare", "--net", "sh", "-ec", script, "sh", sys.executable], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    before, after = (json.loads(line) for line in done.stdout.splitlines())
    assert before == {"169.254.169.254": "reached", "10.1.2.3": "reached"}
    assert after == {"169.254.169.254": "refused", "10.1.2.3": "reached"}


# A receiver and, as a user without rights, a client of it, on each address.
PROBE = f"""
import json, os, socket
os.setgid({UID})
os.setuid({UID})
found = {{}}
for address in ("169.254.169.254", "10.1.2.3"):
    with socket.socket() as receiver, socket.socket() as client:
        receiver.bind((address, 0))
        receiver.listen()
        client.settimeout(5)
        try:
            client.connect(receiver.getsockname())
            found[address] = "reached"
        except OSError:
            found[address] = "refused"
print(json.dumps(found))
"""
