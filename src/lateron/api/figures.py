"""Figures of the whole server, for those who watch it.

They are sums over all users. From two of them a user could tell what another one does, so a token gets them only
if it is one of the first user, who runs the server; the port that needs none is the operator's to open.
"""

from __future__ import annotations

from typing import Final

from lateron.api.auth import require_operator
from lateron.api.call import Answer, Call
from lateron.api.ports import Ports

MEDIA_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"  # Of Prometheus.


async def metrics(ports: Ports, call: Call) -> Answer:
    """Show all figures, as Prometheus reads them.

    Raises:
        Forbidden: The caller is not the first user of this server.
    """
    require_operator(call.who, "see the figures of all")
    return Answer(200, ports.figures(), media=MEDIA_TYPE)
