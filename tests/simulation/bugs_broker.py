"""Bugs to plant in the broker and the store: what is stored together, in which order, and who is told when."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from msgspec.structs import replace

from lateron.broker import bulk, schedules
from lateron.broker.bulk import Broker, Cancelled
from lateron.broker.crowds import Crowds
from lateron.broker.gates import Gates
from lateron.broker.groups import FanOut
from lateron.broker.ledger import Ledger
from lateron.broker.messages import MessageBroker
from lateron.broker.queues import QueueBroker
from lateron.broker.schedules import Schedules, Ticked
from lateron.broker.views import Prepared, Turn, Turned, Waiting
from lateron.core import flow, recurring
from lateron.core.groups import Group
from lateron.core.queue import Queue
from lateron.core.values import (
    Claimed,
    DeadLetter,
    Message,
    MessageId,
    Millis,
    Publication,
    Request,
    State,
    Tenant,
    Transition,
)
from lateron.errors import StorageFull
from lateron.scheduler import SteadyClock
from lateron.store.sql import Verbs
from lateron.store.sqlite import SqliteStore, statements

Patch = pytest.MonkeyPatch


def acknowledge_before_the_commit(patch: Patch) -> None:
    """Publishers are answered whatever becomes of the commit."""

    def commit(self: MessageBroker, prepared: Prepared) -> Prepared:
        with suppress(BaseException):  # That is the bug.
            self._store.commit()
        return prepared

    patch.setattr(MessageBroker, "commit", commit)


def take_dedup_keys_outside_the_transaction(patch: Patch) -> None:
    """A deduplication key stays taken though the message that took it was rolled back."""
    honest, begun, undo = Verbs.insert_dedup, Verbs.begin, SqliteStore._roll_back
    taken: list[Any] = []  # In the transaction that is open.

    def begin(self: Verbs) -> None:
        taken.clear()
        begun(self)

    def insert_dedup(self: Verbs, rows: Sequence[Any]) -> set[tuple[int, bytes]]:
        taken.extend(rows)
        return honest(self, rows)

    def roll_back(self: SqliteStore) -> None:
        undo(self)
        left = list(taken)
        if left:
            with self.transaction() as tx:
                honest(tx, left)

    patch.setattr(Verbs, "begin", begin)
    patch.setattr(Verbs, "insert_dedup", insert_dedup)
    patch.setattr(SqliteStore, "_roll_back", roll_back)


def forget_a_dedup_key(patch: Patch) -> None:
    """Every deduplication key is taken for new."""
    patch.setattr(Verbs, "insert_dedup", lambda _, rows: {(row[0], row[1]) for row in rows})


def forget_dedup_keys_early(patch: Patch) -> None:
    """Retention deletes a deduplication key that is still held."""
    honest = Verbs.expire_dedup
    patch.setattr(Verbs, "expire_dedup", lambda self, now, limit: honest(self, now + 20_000, limit))


def call_back_after_the_commit(patch: Patch) -> None:
    """The callbacks of an attempt are stored in a transaction of their own, behind that of the attempt."""
    honest, honest_turn = MessageBroker._decide, MessageBroker.turn
    late: list[Publication] = []

    def decide(self: MessageBroker, *args: Any) -> tuple[list[Transition], int]:
        ended, stale = honest(self, *args)
        late[:] = [made for transition in ended for made in transition.created]
        return [replace(transition, created=()) for transition in ended], stale

    def turn(self: MessageBroker, wanted: Turn, now: Millis) -> Turned:
        late.clear()
        turned = honest_turn(self, wanted, now)
        if late:
            honest_turn(self, Turn(publishes=(tuple(late),)), now)
            turned = replace(turned, next_due=now)
        return turned

    patch.setattr(MessageBroker, "_decide", decide)
    patch.setattr(MessageBroker, "turn", turn)


def store_a_batch_in_two_pieces(patch: Patch) -> None:
    """The items of a batch are stored in two transactions."""
    honest = MessageBroker.turn

    def turn(self: MessageBroker, wanted: Turn, now: Millis) -> Turned:
        if len(wanted.publishes) != 1 or len(wanted.publishes[0]) < 2:
            return honest(self, wanted, now)
        (items,) = wanted.publishes
        first = honest(self, replace(wanted, publishes=(items[:1],)), now)
        second = honest(self, Turn(publishes=(items[1:],)), now)
        (a,), (b,) = first.accepted, second.accepted
        assert isinstance(a, tuple)
        assert isinstance(b, tuple)
        return replace(first, accepted=((*a, *b),), next_due=second.next_due)

    patch.setattr(MessageBroker, "turn", turn)


def set_the_alarm_before_the_commit(patch: Patch) -> None:
    """The broker believes a turn that the disk has refused."""
    honest = MessageBroker.prepare

    def prepare(self: MessageBroker, turn: Turn, now: Millis) -> Prepared:
        prepared = honest(self, turn, now)
        self._alarm = prepared.alarm
        return prepared

    patch.setattr(MessageBroker, "prepare", prepare)


def leak_an_open_attempt(patch: Patch) -> None:
    """The server never counts its open attempts down."""
    honest = MessageBroker.conclude

    def conclude(self: MessageBroker, prepared: Prepared) -> Turned:
        tenants = self._open.keys() | prepared.open.keys()
        most = {t: max(self._open.get(t, 0), prepared.open.get(t, 0)) for t in tenants}
        return honest(self, replace(prepared, open=most))

    patch.setattr(MessageBroker, "conclude", conclude)


def never_rescue(patch: Patch) -> None:
    """What a dead node held is never taken back."""
    patch.setattr(MessageBroker, "_rescue_page", lambda *_: 0)


def rescue_one_page(patch: Patch) -> None:
    """Of what a dead node held only the first page is taken back."""
    honest = MessageBroker._rescue_page
    patch.setattr(MessageBroker, "_rescue_page", lambda *args: honest(*args) and 0)


def bury_before_the_rescue(patch: Patch) -> None:
    """A node is declared dead before its work is taken back; a crash in between leaves it there for ever."""
    honest = Verbs.other_nodes

    def other_nodes(self: Verbs, node: int) -> list[int]:
        others = honest(self, node)
        for other in others:
            self.bury_node(other)
        return others

    patch.setattr(Verbs, "other_nodes", other_nodes)


def forget_a_halt_at_a_restart(patch: Patch) -> None:
    """A pause of the whole server ends when the process does."""
    honest = MessageBroker.open

    def begin(self: MessageBroker, label: str, now: Millis) -> None:
        honest(self, label, now)
        self._halted = False

    patch.setattr(MessageBroker, "open", begin)


def call_nobody(patch: Patch) -> None:
    """When a host has room again, the keys whose heads waited for it sleep on."""
    patch.setattr(Crowds, "stir", lambda *_: None)


def forget_who_sleeps_at_a_restart(patch: Patch) -> None:
    """Nobody looks for the keys that slept before a host when the process died."""
    honest = MessageBroker.open

    def begin(self: MessageBroker, label: str, now: Millis) -> None:
        honest(self, label, now)
        self._crowds._unseen = None

    patch.setattr(MessageBroker, "open", begin)


def remember_what_was_rolled_back(patch: Patch) -> None:
    """The crowds before hosts are believed although the disk refused the transaction that changed them."""
    patch.setattr(Crowds, "begin", lambda *_: None)


def count_keys_at_no_host(patch: Patch) -> None:
    """The cap of a host does not count the attempts of keys."""
    patch.setattr(Ledger, "_host", lambda *_: None)


def leak_a_slot(patch: Patch) -> None:
    """The slot of a flow key is not given back when an attempt ends in a retry."""

    def end(self: Ledger, transition: Transition) -> None:
        self.record(transition)
        message = transition.message
        lane = self._lanes[message.lane]
        if message.queue is not None:
            message = self._in_queue(message)
        if message.state is State.WAITING:
            self._lanes[lane.id] = flow.joined(lane, message.due)
        else:
            self._lanes[lane.id] = flow.released(lane, self.now)

    patch.setattr(Ledger, "end", end)


def forget_a_place(patch: Patch) -> None:
    """A head that is cancelled while it holds a slot keeps it for ever."""
    honest = Ledger.leave

    def leave(self: Ledger, before: Message, transition: Transition) -> None:
        roots = set(self._roots)
        honest(self, before, transition)
        self._roots = roots

    patch.setattr(Ledger, "leave", leave)


def open_a_queue_before_its_callbacks_rest(patch: Patch) -> None:
    """A slot comes back with the end of its message, whatever its callbacks do."""
    text = statements()["release_slots"]
    cut = {size: sql.split("AND NOT EXISTS")[0] + "RETURNING queue" for size, sql in text.expanded.items()}
    patch.setitem(statements(), "release_slots", replace(text, expanded=cut))


def arm_by_id(patch: Patch) -> None:
    """The next message of a queue is the one with the largest id, not the first in line."""
    honest = Verbs.queue_heads
    patch.setattr(Verbs, "queue_heads", lambda self, row, limit: sorted(honest(self, row, 1000), reverse=True)[:limit])


def reset_parallelism(patch: Patch) -> None:
    """An enqueue sets the parallelism of its queue back to 1."""
    honest = MessageBroker._open_queue

    def open_queue(self: MessageBroker, tx: Verbs, ledger: Ledger, name: Any) -> Queue:
        row = replace(honest(self, tx, ledger, name), parallelism=1)
        ledger.set_queue(row)
        return row

    patch.setattr(MessageBroker, "_open_queue", open_queue)


def delete_a_queue_without_its_messages(patch: Patch) -> None:
    """What waits in a deleted queue is left there."""
    patch.setattr(QueueBroker, "_cancel_heads", lambda *_: 0)


def take_by_id(patch: Patch) -> None:
    """A lane starts the message that was created first, not the one that is due first."""
    honest = Verbs.take

    def take(self: Verbs, counts: Sequence[tuple[int, int]]) -> list[tuple[int, MessageId, Millis]]:
        rows = sorted(honest(self, [(lane, 1000) for lane, _ in counts]), key=lambda row: row[1])
        return [row for lane, n in counts for row in [row for row in rows if row[0] == lane][:n]]

    patch.setattr(Verbs, "take", take)


def send_damaged(patch: Patch) -> None:
    """A stored request is mixed up with another of the same claim."""
    honest = Verbs.claimed

    def claimed(self: Verbs, messages: list[Message]) -> list[Claimed]:
        found = honest(self, messages)
        return [replace(a, request=b.request) for a, b in zip(found, reversed(found), strict=True)]

    patch.setattr(Verbs, "claimed", claimed)


def cancel_for_others(patch: Patch) -> None:
    """A user cancels a message of another one, if he knows its id."""
    honest = bulk.open_page

    def open_page(tx: Verbs, tenant: Tenant, selection: Any, before: bytes) -> list[Message]:
        if selection.message_ids:
            return list(tx.load_messages(list(selection.message_ids)).values())
        return honest(tx, tenant, selection, before)

    patch.setattr(bulk, "open_page", open_page)


def cancel_one_page(patch: Patch) -> None:
    """A cancellation of many ends with its first page."""
    honest = Broker.cancel
    patch.setattr(Broker, "cancel", lambda *a, **k: Cancelled(honest(*a, **k).count))


def retry_a_dead_letter_twice(patch: Patch) -> None:
    """A dead letter stays where it is when it is retried."""

    def keep(_: Verbs, letters: Sequence[DeadLetter]) -> int:
        return len(list(letters))

    patch.setattr(Verbs, "delete_dead_letters", keep)


def purge_by_birth(patch: Patch) -> None:
    """Retention counts from the creation of a message, not from its end."""
    text = statements()["ended_before"]
    patch.setitem(statements(), "ended_before", replace(text, text=text.text.replace("ended < ?", "created < ?")))


def purge_what_a_queue_needs(patch: Patch) -> None:
    """Retention deletes a message whose slot waits for its callback."""
    text = statements()["ended_before"]
    patch.setitem(statements(), "ended_before", replace(text, text=text.text.replace("AND slot = 0", "")))


def forget_a_paused_key(patch: Patch) -> None:
    """A key that is paused is forgotten when it is idle."""
    text = statements()["collect_lanes"]
    patch.setitem(statements(), "collect_lanes", replace(text, text=text.text.replace("AND paused = 0", "")))


def believe_every_clock(patch: Patch) -> None:
    """Retention believes a clock that has just jumped by years."""
    patch.setattr(SteadyClock, "trusted", lambda *_: True)


def advance_before_the_insert(patch: Patch) -> None:
    """A schedule moves on in one transaction, and its tick makes a message in the next."""
    honest = Schedules._tick

    def tick(self: Schedules, now: Millis, limit: int) -> Ticked:
        with self._broker.publishing(now) as desk:
            due = desk.tx.due_schedules(now, limit)
            desk.tx.save_schedules([replace(s, due=recurring.following(s, now)) for s in due])
        with self._broker.publishing(now) as desk:
            desk.tx.save_schedules(due)
        return honest(self, now, limit)

    patch.setattr(Schedules, "_tick", tick)


def fire_twice(patch: Patch) -> None:
    """A tick that has fired fires again if it comes round again."""
    honest = Verbs.insert_ticks

    def insert_ticks(self: Verbs, ticks: Sequence[tuple[bytes, Millis]]) -> set[tuple[bytes, Millis]]:
        honest(self, ticks)
        return set(ticks)

    patch.setattr(Verbs, "insert_ticks", insert_ticks)


def overwrite_half_a_schedule(patch: Patch) -> None:
    """A schedule that is overwritten keeps its old request."""
    honest = Verbs.save_schedule_request

    def save(self: Verbs, schedule: recurring.Schedule) -> None:
        if self._run("schedule_requests_known", (schedule.key,)):
            return
        honest(self, schedule)

    text = replace(statements()["dead_letter"], text="SELECT 1 FROM schedule_request WHERE id = ?")
    patch.setitem(statements(), "schedule_requests_known", text)
    patch.setattr(Verbs, "save_schedule_request", save)


def remember_an_old_group(patch: Patch) -> None:
    """A publish to a group uses the endpoints of a minute ago."""
    honest = Verbs.group
    known: dict[tuple[Tenant, str], Group | None] = {}

    def group(self: Verbs, tenant: Tenant, name: str) -> Group | None:
        now = honest(self, tenant, name)
        old = known.get((tenant, name))
        known[tenant, name] = now
        return old if old is not None and now is not None else now

    patch.setattr(Verbs, "group", group)


def stay_at_the_far_date(patch: Patch) -> None:
    """A clock that was set back is not noticed, and schedules wait for what it had shown."""
    patch.setattr(schedules, "set_back", lambda *_: False)


def let_keys_sleep_to_the_far_date(patch: Patch) -> None:
    """When the clock was set back schedules are looked at anew, and keys and hosts are not."""
    patch.setattr(MessageBroker, "wake_lanes", lambda *_: False)


def put_retries_off_to_the_far_date(patch: Patch) -> None:
    """When the clock was set back schedules and keys are looked at anew, and messages it has put off are not."""
    patch.setattr(schedules, "right_messages", lambda *_: None)


def take_a_full_disk_for_a_missing_group(patch: Patch) -> None:
    """If a group cannot be read because the disk is full, its publish is answered with an error of its own."""
    honest = FanOut._group

    def group(self: FanOut, tenant: Tenant, name: str) -> Group | None:
        try:
            return honest(self, tenant, name)
        except StorageFull:
            return None

    patch.setattr(FanOut, "_group", group)


def let_a_retry_sleep(patch: Patch) -> None:
    """A retry that comes to the front of its key waits for the host of the one that stood there."""

    def join_again(self: Ledger, message: Message) -> None:
        self._lanes[message.lane] = flow.joined(self._lanes[message.lane], message.due)
        self._moves.joined.append(message.due)

    patch.setattr(Ledger, "_join_again", join_again)


def blame_the_node(patch: Patch) -> None:
    """Whoever asks why a message waits is not told of the host."""
    patch.setattr(Gates, "_at_host", lambda *_: None)


def count_places_from_zero(patch: Patch) -> None:
    """The first in line is told that nobody is before him, and that his place is 0."""
    honest = Gates.waiting

    def waiting(self: Gates, message: Message, request: Request) -> Waiting | None:
        told = honest(self, message, request)
        return told if told is None or told.place is None else replace(told, place=told.place - 1)

    patch.setattr(Gates, "waiting", waiting)


def settle_in_silence(patch: Patch) -> None:
    """A result that came too late is counted as stored."""
    honest = MessageBroker._decide

    def decide(self: MessageBroker, *args: Any) -> Any:
        ended, _ = honest(self, *args)
        return ended, 0

    patch.setattr(MessageBroker, "_decide", decide)


BROKER = (
    acknowledge_before_the_commit, take_dedup_keys_outside_the_transaction, forget_a_dedup_key,
    forget_dedup_keys_early, call_back_after_the_commit, store_a_batch_in_two_pieces,
    set_the_alarm_before_the_commit, leak_an_open_attempt, never_rescue, rescue_one_page, bury_before_the_rescue,
    forget_a_halt_at_a_restart, call_nobody, forget_who_sleeps_at_a_restart, remember_what_was_rolled_back,
    count_keys_at_no_host, leak_a_slot, forget_a_place, open_a_queue_before_its_callbacks_rest, arm_by_id,
    reset_parallelism, delete_a_queue_without_its_messages, take_by_id, send_damaged, cancel_for_others,
    cancel_one_page, retry_a_dead_letter_twice, purge_by_birth, purge_what_a_queue_needs, forget_a_paused_key,
    believe_every_clock, advance_before_the_insert, fire_twice, overwrite_half_a_schedule, remember_an_old_group,
    stay_at_the_far_date, let_keys_sleep_to_the_far_date, take_a_full_disk_for_a_missing_group,
    let_a_retry_sleep, blame_the_node, count_places_from_zero, settle_in_silence, put_retries_off_to_the_far_date,
)  # fmt: skip
