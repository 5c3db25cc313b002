"""The audit log: what a call that changes something is noted as, and the list of such records.

Publishing is not noted here: it is in the log of messages. A dry run changes nothing, and a call that was refused
changed nothing either; what leaves a record is what was done, and each failure to log in.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from lateron.api.auth import OPERATOR
from lateron.api.call import Answer, Call, encode
from lateron.api.ports import Ports
from lateron.broker.history import History
from lateron.broker.resources import Identity
from lateron.core import audit
from lateron.core.audit import Note, Search, clipped
from lateron.core.filters import parse_query
from lateron.core.values import Tenant
from lateron.errors import RequestError

# What each changing route is called in the log.
ACTIONS: Final[Mapping[str, str]] = {
    "POST /v2/queues": "queue.set",
    "DELETE /v2/queues/{queueName}": "queue.delete",
    "POST /v2/queues/{queueName}/pause": "queue.pause",
    "POST /v2/queues/{queueName}/resume": "queue.resume",
    "DELETE /v2/messages": "messages.cancel",
    "DELETE /v2/messages/{messageId}": "message.cancel",
    "DELETE /v2/dlq": "deadLetters.delete",
    "POST /v2/dlq/retry": "deadLetters.retry",
    "POST /v2/dlq/retry/{dlqId}": "deadLetter.retry",
    "DELETE /v2/dlq/{dlqId}": "deadLetter.delete",
    "POST /v2/schedules/{destination}": "schedule.set",
    "DELETE /v2/schedules/{scheduleId}": "schedule.delete",
    "PATCH /v2/schedules/{scheduleId}/pause": "schedule.pause",
    "POST /v2/schedules/{scheduleId}/pause": "schedule.pause",
    "PATCH /v2/schedules/{scheduleId}/resume": "schedule.resume",
    "POST /v2/schedules/{scheduleId}/resume": "schedule.resume",
    "POST /v2/schedules/{scheduleId}/run": "schedule.run",
    "PATCH /v2/topics/{urlGroupName}": "group.defaults",
    "DELETE /v2/topics/{urlGroupName}": "group.delete",
    "POST /v2/topics/{urlGroupName}/endpoints": "group.endpoints.set",
    "DELETE /v2/topics/{urlGroupName}/endpoints": "group.endpoints.remove",
    "POST /v2/flowControl/{flowControlKey}/pause": "flow.pause",
    "POST /v2/flowControl/{flowControlKey}/resume": "flow.resume",
    "POST /v2/flowControl/{flowControlKey}/pin": "flow.pin",
    "POST /v2/flowControl/{flowControlKey}/unpin": "flow.unpin",
    "POST /v2/flowControl/{flowControlKey}/resetRate": "flow.reset",
    "POST /v2/flowControl/{flowControlKey}/reset": "flow.reset",
    "POST /v2/keys/rotate": "keys.rotate",
    "POST /v2/rotate": "keys.rotate",
    "POST /lateron/v1/destinations/{host}/pause": "destination.pause",
    "POST /lateron/v1/destinations/{host}/resume": "destination.resume",
    "POST /lateron/v1/delivery/pause": "delivery.pause",
    "POST /lateron/v1/delivery/resume": "delivery.resume",
    "POST /lateron/v1/tokens": "token.create",
    "DELETE /lateron/v1/tokens/{tokenName}": "token.revoke",
    "POST /lateron/v1/tokens/{tokenName}/reset": "token.reset",
    "POST /lateron/v1/users": "user.create",
    "PATCH /lateron/v1/users/{userName}": "user.change",
    "DELETE /lateron/v1/users/{userName}": "user.remove",
    "DELETE /lateron/v1/sessions": "sessions.end",
    "DELETE /lateron/v1/sessions/{sessionId}": "session.end",
    "POST /lateron/v1/messages/{messageId}/retry": "message.retry",
    "POST /lateron/v1/jobs": "job.create",
    "POST /lateron/v1/jobs/{jobId}/cancel": "job.cancel",
    "DELETE /lateron/v1/catcher": "catcher.clear",
    "DELETE /lateron/v1/catcher/{name}": "catcher.clear",
}
UNCHANGING: Final = frozenset(("POST /lateron/v1/destinations/{host}/test",))  # Needs the scope and changes nothing.
_CREATED: Final = frozenset(
    ("deadLetter.retry", "schedule.set", "schedule.run", "token.create", "user.create", "job.create")
)


def note_of(ports: Ports, call: Call, action: str) -> Note:
    """Return the note of a call whose caller is known."""
    who = call.who
    kind = _kind(who) if call.session is not None else "token"
    try:
        chosen = audit.told(parse_query(call.query))
    except RequestError:
        chosen = ""  # The handler refuses it.
    return Note(
        tenant=who.tenant,
        time=ports.clock.wall(),
        request=call.id,
        kind=kind,
        who=who.name or who.user,
        address=call.caller_ip or "",
        action=action,
        object=clipped(" ".join(call.params.values())),
        filter=chosen,
        status=201 if action in _CREATED else 200,
    )


async def note_login(
    ports: Ports, call: Call, who: Identity | None, action: str, status: int = 200, tried: str = ""
) -> None:
    """Note that somebody logged in or out, or failed to; that nobody knows who it was is the first user's to see.

    Args:
        ports: Has the writer.
        call: The request.
        who: Whose login it is; None if it failed.
        action: What was done.
        status: Of the answer.
        tried: Name of a user of the console that failed; nothing that is no user's, for it may be a password.
    """
    note = Note(
        tenant=OPERATOR if who is None else who.tenant,
        time=ports.clock.wall(),
        request=call.id,
        kind="nobody" if who is None else _kind(who),
        who="" if who is None else who.name or who.user,
        address=call.caller_ip or "",
        action=action,
        object=tried,
        status=status,
    )
    await ports.writer.run(lambda broker, _: broker.keep(note))


def _kind(who: Identity) -> str:
    """Return by what somebody is logged in: as a user, with a password, or with a token."""
    return "user" if who.person else "session"


async def complete(ports: Ports, call: Call, status: int) -> None:
    """Note what was done outside of a transaction, or ended in another status than was foreseen."""
    note = call.note
    if note is None or status >= 300 or (note.kept and note.status == status):
        return
    note.status = status
    await ports.writer.run(lambda broker, _: broker.keep(note))


async def list_records(ports: Ports, call: Call) -> Answer:
    """List records, newest first: ``GET /lateron/v1/audit``."""
    search = audit.parse_search(parse_query(call.query))
    return Answer(200, await ports.writer.read(partial(_page, call.who.tenant, search)))


def _page(tenant: Tenant, search: Search, history: History) -> bytes:
    found = history.records(tenant, search)
    page: dict[str, Any] = {"records": [record(note) for note in found]}
    if len(found) == search.count:
        page["cursor"] = audit.cursor_of(found[-1])
    return encode(page)


def record(note: Note) -> dict[str, Any]:
    """Return a record as the API shows it."""
    shown: dict[str, Any] = {
        "time": note.time,
        "action": note.action,
        "by": note.kind,
        "who": note.who,
        "address": note.address,
        "object": note.object,
        "filter": note.filter,
        "count": note.count,
        "status": note.status,
        "requestId": note.request,
    }
    return {name: value for name, value in shown.items() if value not in {"", None}}
