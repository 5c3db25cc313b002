"""Who is logged in to the console: list, end one, end all of one name. No secret of a session is told to anybody.

They are of this process and gone with it. A session that is over for another reason, such as a revoked token, is not
listed, though the process finds that out at its next use only.
"""

from __future__ import annotations

from typing import Any

from lateron.api.call import Answer, Call, json_answer
from lateron.api.ports import Ports
from lateron.api.sessions import Session
from lateron.core.filters import parse_query
from lateron.errors import NotFound, RequestError
from lateron.telemetry import Log

log = Log("lateron.api")


async def list_sessions(ports: Ports, call: Call) -> Answer:
    """List the open sessions of the user, the one used last first."""
    own = ports.sessions.id_of(call.session)
    return json_answer([_shown(session, own) for session in _open(ports, call)])


async def end_session(ports: Ports, call: Call) -> Answer:
    """End a session; from this answer on it is refused."""
    wanted = call.params["sessionId"]
    found = [session for session in _open(ports, call) if session.id == wanted]
    if not found:
        raise NotFound("session", wanted)
    call.concerns(f"{_name(found[0])} ({wanted})")
    _end(ports, call, found)
    return json_answer({})


async def end_sessions(ports: Ports, call: Call) -> Answer:
    """End all sessions of one name, ``?name=``, however it came in; from this answer on they are refused."""
    name = _wanted(call.query)
    found = [session for session in _open(ports, call) if _name(session) == name]
    call.concerns(name)
    if call.note is not None:
        call.note.count = len(found)
    _end(ports, call, found)
    return json_answer({"ended": len(found)})


def _wanted(query: bytes) -> str:
    """Return the name in a query.

    Raises:
        RequestError: There is none, or more; nobody ends all sessions by leaving it out.
    """
    pairs = parse_query(query)
    if [name for name, _ in pairs] != ["name"] or not pairs[0][1]:
        raise RequestError("query: expected the name of who is logged in as name=, once and nothing else")
    return pairs[0][1]


def _open(ports: Ports, call: Call) -> list[Session]:
    tenant, now = call.who.tenant, ports.clock.wall()
    keys = {row.hash for row in ports.resources.tokens(tenant) if row.expires is None or row.expires > now}
    keys |= {row.proof for row in ports.resources.users.of(tenant)}
    return ports.sessions.of(tenant, keys)


def _end(ports: Ports, call: Call, sessions: list[Session]) -> None:
    ports.sessions.end_all(sessions)
    for session in sessions:
        log.info(
            "session ended",
            tenant=call.who.tenant,
            user=call.who.user,
            by=call.who.name,
            caller=call.caller_ip,
            named=_name(session),
            session=session.id,
        )


def _name(session: Session) -> str:
    return session.identity.name or session.identity.user


def _shown(session: Session, own: str | None) -> dict[str, Any]:
    return {
        "sessionId": session.id,
        "name": _name(session),
        "by": session.entry.by,
        "scope": session.identity.scope,
        "createdAt": session.opened,
        "lastUsedAt": session.used,
        "expiresAt": session.ends,
        "isOwn": session.id == own,
    }
