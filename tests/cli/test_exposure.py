"""`lateron dev` stays on this machine unless somebody says otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from lateron.cli.exposure import check_exposure, container_sign
from lateron.config import InvalidSettings, Settings, load
from lateron.core.destination import is_loopback


def dev(tmp_path: Path, host: str, *flags: str) -> Settings:
    empty = tmp_path / "empty.toml"
    empty.touch()
    return load("dev", {"host": host, **dict.fromkeys(flags, "true")}, {}, empty)


@pytest.mark.promise("D-17")
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com", "127.0.0.1,10.0.0.1"])
def test_dev_refuses_addresses_that_others_can_reach(tmp_path: Path, host: str) -> None:
    """Its tokens are printed in public documentation."""
    with pytest.raises(InvalidSettings, match="--insecure"):
        check_exposure(dev(tmp_path, host), container=None)


@pytest.mark.promise("D-17")
@pytest.mark.parametrize("host", ["127.0.0.1,::1", "127.8.9.1", "localhost", "LOCALHOST"])
def test_dev_on_loopback_needs_nothing(tmp_path: Path, host: str) -> None:
    """The ordinary case has no flag and no warning."""
    assert check_exposure(dev(tmp_path, host), container=None) is None


@pytest.mark.promise("D-17")
def test_insecure_is_allowed_and_says_so(tmp_path: Path) -> None:
    """Who asks for it gets it, with a line that a reader of the log will see."""
    warning = check_exposure(dev(tmp_path, "0.0.0.0", "insecure"), container=None)

    assert warning is not None
    assert "anybody" in warning


@pytest.mark.promise("D-17")
def test_container_is_allowed_and_says_so(tmp_path: Path) -> None:
    """Inside a container loopback reaches nobody, and its port is published on purpose."""
    warning = check_exposure(dev(tmp_path, "0.0.0.0"), container="/.dockerenv")

    assert warning is not None
    assert "/.dockerenv" in warning


def test_containers_are_known_by_their_signs(tmp_path: Path) -> None:
    """Docker, Podman and Kubernetes each leave one."""
    assert container_sign({}, tmp_path) is None
    assert container_sign({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, tmp_path) == "KUBERNETES_SERVICE_HOST"
    cgroup = tmp_path / "proc" / "1" / "cgroup"
    cgroup.parent.mkdir(parents=True)
    cgroup.write_text("0::/system.slice/docker-0123.scope\n", "utf-8")
    assert container_sign({}, tmp_path) == "cgroup"
    (tmp_path / ".dockerenv").touch()
    assert container_sign({}, tmp_path) == "/.dockerenv"


def test_ordinary_machine_is_no_container(tmp_path: Path) -> None:
    """A wrong guess would open the server."""
    cgroup = tmp_path / "proc" / "1" / "cgroup"
    cgroup.parent.mkdir(parents=True)
    cgroup.write_text("0::/init.scope\n", "utf-8")

    assert container_sign({}, tmp_path) is None


def test_loopback_is_an_address_and_not_a_name() -> None:
    """A name may resolve to anything tomorrow."""
    assert is_loopback("::1")
    assert not is_loopback("127.0.0.1.example.com")
