"""What a node that is no more had in hand is taken back, and what it may have died of is set apart.

The list of suspects (``core.apart``) is a setting and not a column: it is there only between a death that made
suspects and the end of their attempts, so that a server that never dies pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from msgspec import json

from lateron.broker.ledger import Ledger
from lateron.core import apart as poison
from lateron.core import flow
from lateron.core import message as life
from lateron.core.apart import Apart
from lateron.core.values import Claimed, Message, MessageId, State, Transition
from lateron.store.sql import Verbs

SET_APART: Final = "set-apart"  # The setting with the ids of suspects; there while everybody waits for them.
RESCUING: Final = "rescuing"  # The setting with the dead node of whose work only a part has been taken back.

_ids = json.Decoder(list[str]).decode


def take_back(tx: Verbs, ledger: Ledger, node: int, most: int, limit: int | None, *, died: bool) -> list[Transition]:
    """Decide what becomes of up to ``most`` messages of a node; their queues and lanes are in hand afterwards.

    Args:
        tx: Is open.
        ledger: Of this transaction; the caller records the ends in it.
        node: Whose messages.
        most: How many.
        limit: After how many deaths a message is suspected; None: never.
        died: Whether the node has died; one that ends in order gives its work back, and nobody is suspected.
    """
    held = tx.owned(node, most + 1)
    held, more = held[:most], len(held) > most
    ledger.hold_queues(message.queue for message in held)
    ledger.hold_known(message.lane for message in held)
    ledger.aim_stored(held)
    ledger.foresee(len(held))
    stored = tx.load_messages([message.id for message in held]).values()
    lost = [message for message in stored if message.state is State.ACTIVE and message.node == node]
    # Else the next page is this one again, for ever: index and table of the store contradict each other.
    assert len(lost) == len(held), "a message that is held is not there, or is not held"
    if not died:
        return [life.break_off(message, ledger.now) for message in lost]
    sole = _sole(tx, node, lost, more=more)
    ended = [
        life.convict(message, tx.load_requests([message.id])[message.id].request, ledger.now)
        if poison.guilty(message, limit, sole=sole)
        else life.lose(message, ledger.now)
        for message in lost
    ]
    suspects = {t.message.id for t in ended if t.dead_letter is None and poison.suspected(t.message, limit)}
    if suspects:
        _list(tx, suspects | listed(tx))
    return ended


def _sole(tx: Verbs, dead: int, held: Sequence[Message], *, more: bool) -> bool:
    """Whether what is held of a dead node is a single message, and was when it died.

    A process that dies in the midst of a rescue leaves less than the dead node had open; so that is remembered.
    """
    if more:
        tx.save_setting(RESCUING, str(dead))
    return not more and len(held) == 1 and tx.setting(RESCUING) != str(dead)


def bury(tx: Verbs, node: int) -> None:
    """All of a node's work was taken back."""
    if tx.setting(RESCUING) == str(node):
        tx.delete_setting(RESCUING)
    tx.bury_node(node)


def listed(tx: Verbs) -> frozenset[MessageId]:
    """Return who is set apart, or was when the last process died."""
    text = tx.setting(SET_APART)
    return frozenset() if text is None else frozenset(MessageId(bytes.fromhex(name)) for name in _ids(text))


def set_apart(tx: Verbs, limit: int | None) -> Apart | None:
    """Set those apart that are listed: what was just taken back, and what an earlier start did not come to."""
    known = listed(tx)
    if not known:
        return None
    apart = poison.set_apart(tx.read_messages(sorted(known)).values(), limit)
    if apart is None:
        release(tx)
    else:
        _list(tx, apart.suspects)
    return apart


def _list(tx: Verbs, suspects: Collection[MessageId]) -> None:
    tx.save_setting(SET_APART, json.encode(sorted(message_id.hex() for message_id in suspects)).decode())


def release(tx: Verbs) -> None:
    """Nobody is set apart any more."""
    tx.delete_setting(SET_APART)


def begin_alone(tx: Verbs, ledger: Ledger, apart: Apart) -> tuple[list[Claimed], Apart]:
    """Start the first suspect that may start; those before it, whose lane or host is shut, lose their turn."""
    ledger.write_messages()
    for passed, message_id in enumerate(apart.suspects, 1):
        before = tx.read_messages([message_id]).get(message_id)
        if before is None or before.state is not State.WAITING or before.due > ledger.now:
            continue
        ledger.hold_known([before.lane])
        ledger.aim_stored([before])
        message = tx.load_messages([message_id])[message_id]
        if flow.room(ledger.lane(message.lane), ledger.now) == 0 or ledger.host_full(message):
            continue
        if not ledger.admit(message.lane, [message]):
            ledger.rest(message.lane, None)
            continue
        # When the others of its lane are due need not be known: it is looked at again once everybody may start.
        started = ledger.start(message.lane, [message], ledger.now)
        return tx.claimed(started), poison.begun(apart, passed, ledger.now)
    # All have lost their turn. What users are told of them must not wait for the next one, which may be hours away.
    release(tx)
    return [], Apart((), apart.since)
