"""Who can reach a server whose tokens everybody knows.

``lateron dev`` accepts four tokens that are printed in public documentation. On an address that other machines
can reach it would deliver for anybody, to private addresses too. So it refuses that, except inside a container
(where only published ports are reachable, and 127.0.0.1 would be of no use) or when told ``--insecure``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from lateron.config import InvalidSettings, Settings
from lateron.core.destination import is_loopback

_CGROUP: Final = re.compile(r"docker|kubepods|containerd|libpod|lxc|podman")


def check_exposure(settings: Settings, container: str | None) -> str | None:
    """Refuse a ``dev`` that others can reach without the operator's word.

    Args:
        settings: Of ``dev``.
        container: What shows that we are in a container; None: nothing does.

    Returns:
        A warning to print, or None when only this machine can reach the server.

    Raises:
        InvalidSettings: It would be reachable, and nobody has agreed to that.
    """
    open_hosts = [host for host in settings.host if not is_loopback(host)]
    if not open_hosts:
        return None
    where = ", ".join(open_hosts)
    if settings.insecure:
        return f"--insecure: anybody who can reach {where} can use the public development tokens"
    if container is not None:
        return f"listening on {where} because this is a container ({container}); publish its port on 127.0.0.1 only"
    raise InvalidSettings(
        f"host {where}: `lateron dev` has public tokens, so it listens on loopback only; "
        "use `lateron serve`, or --insecure if you accept that anybody who can reach it can use it"
    )


def container_sign(environ: Mapping[str, str] = os.environ, root: Path = Path("/")) -> str | None:
    """Return what shows that this process is in a container; None: nothing does."""
    for name in ("KUBERNETES_SERVICE_HOST", "container"):
        if environ.get(name):
            return name
    for path in (".dockerenv", "run/.containerenv"):
        if (root / path).exists():
            return f"/{path}"
    return (
        "cgroup" if any(_CGROUP.search(text) for text in _texts(root, ("proc/1/cgroup", "proc/self/cgroup"))) else None
    )


def _texts(root: Path, paths: Iterable[str]) -> Iterable[str]:
    for path in paths:
        try:
            yield (root / path).read_text("utf-8", "replace")
        except OSError:
            continue
