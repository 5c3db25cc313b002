"""The way of a message: publish, claim, settle, rescue; read this file from the top to follow it.

``turn`` is the hot verb: everything that came together while the last transaction was under way (results
of attempts, new publications, room for more attempts) becomes one transaction and one fsync. A batch
behaves as its items one after another: results first, then publications in their order, then claims. If
deciding a batch fails, it is rolled back and its items run alone, so that a guilty one harms nobody else
(``broker.alone``).

A claim asks for due *lanes*, not for due messages, so a lane that is full or paused costs nothing,
whatever waits in it. Tenants share by turns, inside a tenant lanes do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from msgspec.structs import replace

from lateron.broker import rescue
from lateron.broker.alone import GUILTY_PAUSE, could_start, lane_by_lane, one_by_one
from lateron.broker.crowds import FROM_START, Crowds
from lateron.broker.enrol import MARK, advance, enrol
from lateron.broker.groups import FanOut
from lateron.broker.ledger import Ledger
from lateron.broker.pace import Pace
from lateron.broker.publishing import Publishing
from lateron.broker.righting import Righting, interrupted
from lateron.broker.views import Accepted, Limits, Prepared, Result, Turn, Turned
from lateron.core import apart as poison
from lateron.core import flow
from lateron.core import message as life
from lateron.core.apart import Apart
from lateron.core.board import Boards
from lateron.core.flow import lane_of
from lateron.core.queue import Queue, QueueName, queue_of
from lateron.core.reach import Check, anywhere
from lateron.core.recurring import NewSchedule, Schedule
from lateron.core.tally import KNOWN, Moves, Tally
from lateron.core.values import (
    SECOND,
    Claimed,
    Event,
    Kind,
    Message,
    MessageId,
    Millis,
    Publication,
    QueueKind,
    Request,
    Tenant,
    Transition,
)
from lateron.errors import LateronError, QuotaExceeded, RequestError, ServiceError, StoreFailed
from lateron.store.sql import LARGEST, Store, Verbs

PAGE = 500  # Rows of one piece of bulk work.
BACKLOG = 100  # More messages than that may wait at a start before it is paced.
HALTED = "delivery-paused"  # The setting that is there while the whole server is paused.

log = logging.getLogger("lateron.broker")

Made = tuple[Message, Request, Event]


class MessageBroker:
    """Publishes, claims and settles for one node incarnation.

    Args:
        store: Where transactions are begun.
        new_id: Makes message ids, ascending with time.
        node: This incarnation: a number that no start of any node has had before.
        limits: What the operator has set.
        check: Judges the URLs of endpoints when something is published to their group.
    """

    def __init__(
        self,
        store: Store,
        new_id: Callable[[Millis], MessageId],
        node: int,
        limits: Limits,
        check: Check = anywhere,
    ) -> None:
        self._store = store
        self._new_id = new_id
        self._node = node
        self._limits = limits
        self._check = check
        self._tenants: tuple[Tenant, ...] = ()
        # When the first lane of the store is due; may be early, never late. 0: not known yet, look.
        self._alarm: Millis | None = 0
        # When the first schedule is due; as above.
        self.tick_alarm: Millis | None = 0
        self.tick_mark: Millis = 0  # When a schedule or a lane was reckoned last; see ``enrol``.
        self._reckoned: Millis = 0  # The same, if the present transaction becomes true.
        self.righting: Righting | None = None  # How far messages are righted since the clock was set back.
        self._open: Mapping[Tenant, int] = {}  # Attempts of this node that are open.
        self._halted = False  # The whole server is paused.
        self._pace = Pace(0, 0)  # How far the caps are open after a start.
        self._crowds = Crowds()  # Who waits for room at a host.
        self._guilty: dict[int, Millis] = {}  # Lanes that could not be claimed from, and until when they rest.
        self._suspected = FROM_START  # How far sleeping lanes were claimed from one by one.
        self._apart: Apart | None = None  # Whom this start attempts alone, before anybody else.
        self.tight = False  # The disk was full: what is under way may end, and nothing new begins.
        self.tally = Tally()
        self.boards = Boards(f"{node:x}")
        self.tally.told = self.boards.take

    @property
    def halted(self) -> bool:
        """Whether the whole server is paused."""
        return self._halted

    def open(self, label: str, now: Millis) -> None:
        """Announce this node, and rescue at once what every other incarnation held.

        On SQLite the lock of the operating system proves that all of them are dead. Call it before the
        first turn; a crash in the midst of it leaves the rest to the next start.
        """
        with self._store.transaction() as tx:
            tx.insert_node(self._node, label, now)
            self._tenants = tuple(tx.tenants())
            for tenant in self._tenants:
                self.boards.of(tenant)
            self._halted = tx.setting(HALTED) is not None
            with tx.sparing():
                self.tally.start(tx.depths(KNOWN), tx.waiting_seconds(KNOWN))
            self.tick_mark = self._reckoned = int(tx.setting(MARK) or 0)
            others = tx.other_nodes(self._node)
        for other in others:
            while self._rescue_page(other, now):
                pass
            with self._store.transaction() as tx:
                rescue.bury(tx, other)
        with self._store.transaction() as tx:
            self._apart = rescue.set_apart(tx, self._limits.crash_limit)
            if not tx.sleeping_lanes(FROM_START, 1):
                self._crowds.searched(None)
            with tx.sparing():
                for tenant in self._tenants:
                    self.boards.start(tenant, *tx.depths_of(tenant, KNOWN))
            late = sum(lane.waiting for tenant in self._tenants for lane in tx.due_lanes(tenant, now, BACKLOG))
        self._crowds.settle()
        if late > BACKLOG:
            self._pace = Pace(now, self._limits.start_ramp_ms)

    def leave(self, now: Millis) -> None:
        """End this incarnation in order: what it still has open is given back, and is held against no message.

        No turn may follow.
        """
        while self._take_back(self._node, now, died=False):
            pass
        with self._store.transaction() as tx:
            rescue.bury(tx, self._node)

    def add_tenant(self, tenant: Tenant, name: str, now: Millis) -> None:
        """Make a tenant known; its lanes take their turns from here on."""
        with self._store.transaction() as tx:
            tx.insert_tenant(tenant, name, now)
            known = tuple(tx.tenants())
        self.boards.of(tenant)
        self._tenants = known

    @contextmanager
    def publishing(self, now: Millis) -> Iterator[Publishing]:
        """Run the block in one transaction in which messages can be made."""
        with self._store.transaction() as tx:
            ledger = self._ledger(tx, now)
            desk = self._desk(tx, ledger)
            yield desk
            alarm = desk.write()
        self._noted(alarm)

    def _desk(self, tx: Verbs, ledger: Ledger) -> Publishing:
        return Publishing(tx, ledger, self._new_id, self._open_queue, tight=self.tight)

    def enrol(self, tx: Verbs, now: Millis, new: NewSchedule) -> Schedule:
        """Store a schedule in a transaction that is open; errors are those of ``enrol.enrol``."""
        schedule = enrol(tx, new, partial(self._new_id, now), self._check, now)
        self.reckoned(tx, schedule.due, now)
        return schedule

    def reckoned(self, tx: Verbs, due: Millis | None, now: Millis) -> None:
        """Note that a schedule was reckoned at ``now`` to be due at ``due``."""
        self._reckoned = advance(tx, self._reckoned, now)
        self.tick_alarm = flow.earlier(self.tick_alarm, due)  # If the commit fails, a look too many.

    def wake_lanes(self, tx: Verbs, now: Millis, most: int) -> bool:
        """Let lanes look again that are due later, ``most`` of each tenant; return whether there may be more."""
        self._alarm = 0  # If the commit fails, a look too many.
        woken = [tx.wake_lanes(tenant, now, most) for tenant in self._tenants]
        return most in woken

    def turn(self, turn: Turn, now: Millis) -> Turned:
        """Settle results, publish, and claim what may start now.

        Args:
            turn: What came together.
            now: The time of every decision in it.

        Returns:
            Answers to the publications in their order, and the messages that are ACTIVE for this node.

        Raises:
            StorageFull: Nothing was stored.
            StoreFailed: Whether the turn is stored is unknown; the process must end.
        """
        return self.conclude(self.commit(self.prepare(turn, now)))

    def prepare(self, turn: Turn, now: Millis) -> Prepared:
        """Do all of a turn but its commit; ``commit`` and ``conclude`` must follow before all else.

        The statements are short and hold the interpreter; the commit waits for the disk and does not. So they
        may run on different threads, each where it is cheapest.
        """
        try:
            return self._prepare(turn, now)
        except ServiceError:
            raise
        except RequestError:
            return self._taken_apart(turn, now)
        except Exception:
            log.exception("deciding a batch failed; its items run alone")
            return self._taken_apart(turn, now)

    def commit(self, prepared: Prepared) -> Prepared:
        """Make a prepared turn durable; only now is it true."""
        if not prepared.committed:
            self._store.commit()
        return prepared

    def conclude(self, prepared: Prepared) -> Turned:
        """Remember what a durable turn has changed, and count it."""
        if not prepared.committed:
            self._alarm, self._open, self._apart = prepared.alarm, prepared.open, prepared.apart
            self._crowds.settle()
            self._settle()
        return prepared.turned

    def _turn(self, turn: Turn, now: Millis, only: int | None = None) -> Turned:
        return self.conclude(self.commit(self._prepare(turn, now, only)))

    def _prepare(self, turn: Turn, now: Millis, only: int | None = None) -> Prepared:
        """Do all of a turn but its commit; claim from only one lane if that is said."""
        claimed = list[Claimed]()
        due = self._alarm is not None and self._alarm <= now
        with self._store.transaction(commit=False) as tx:
            ledger = self._ledger(tx, now)
            self._lock(tx, ledger, turn.results)
            ended, stale = self._decide(tx, ledger, turn.results, now)
            if stale:
                self.tally.note(Moves(stale=stale))
            still_open = dict(self._open)
            for transition in ended:
                still_open[transition.message.tenant] -= 1
            room = min(turn.room, self._free(still_open, now))
            apart = self._still_apart(tx, still_open, now)
            room, alone = poison.shares(apart, room, sum(still_open.values()))
            free = self._free_of_tenants(still_open)
            fan_out = FanOut(tx, turn.publishes, self._check, partial(self.enrol, tx, now))
            refused = self._open_queues(tx, ledger, fan_out.publishes)
            accepted, made = self._accept(tx, fan_out.publishes, refused, ended, now)
            self._hold(ledger, ended, made)
            for transition in ended:
                ledger.end(transition)
            for _, item in made:
                # A message is not born ACTIVE while others are due: they have waited longer.
                tenant = item[0].tenant
                begun = ledger.enter(item, room=not due and room > len(claimed) and free.get(tenant, 1) > 0)
                if begun is not None:
                    claimed.append(begun)
                    if tenant in free:
                        free[tenant] -= 1
            ledger.pass_on()
            if apart is not None and alone and only is None:
                claimed, apart = rescue.begin_alone(tx, ledger, apart)
            if room > len(claimed) and (due or self._crowds.restless() or ledger.due()):
                claimed += self._claim(tx, ledger, room - len(claimed), free, only)
                due = True
            for one in claimed:
                still_open[one.message.tenant] = still_open.get(one.message.tenant, 0) + 1
            ledger.write()
            alarm = self._next_due(tx) if due else flow.earlier(self._alarm, ledger.next_due())
            if self._crowds.restless():
                alarm = now
            alarm = flow.earlier(alarm, self._pace.next_step(now))
            wake = self._wake(tx, alarm, still_open, apart, now)
        turned = Turned(fan_out.fold(accepted), tuple(claimed), len(ended), stale, wake)
        return Prepared(turned, alarm, still_open, apart)

    def _still_apart(self, tx: Verbs, still_open: Mapping[Tenant, int], now: Millis) -> Apart | None:
        """Return for whom everybody else still waits; None, and for good, once that is over."""
        if self._apart is None:
            return None
        apart = poison.gone_on(self._apart, sum(still_open.values()), now)
        if apart is None:
            rescue.release(tx)
        return apart

    def _ledger(self, tx: Verbs, now: Millis) -> Ledger:
        self._crowds.begin()
        self.tally.begin()
        self._reckoned = advance(tx, self.tick_mark, now)
        if self.righting is not None:
            self.righting = interrupted(self.righting, now)
        if self._pace.stepped(now):
            self._crowds.forget()  # Whoever sleeps before a cap may find it wider.
        return Ledger(tx, self._node, self._pace.cap(self._limits.host_parallelism, now), now, self._crowds, self.tally)

    def _noted(self, alarm: Millis | None) -> None:
        """Remember what a transaction of cold work means for the next turn; call it after the commit."""
        self._alarm = flow.earlier(self._alarm, alarm)
        if self._crowds.restless():
            self._alarm = 0
        self._crowds.settle()
        self._settle()

    def _settle(self) -> None:
        """Take for true what the last transaction has done; call it after the commit."""
        self.tally.settle()
        self.tick_mark = self._reckoned

    def _wake(
        self, tx: Verbs, alarm: Millis | None, still_open: Mapping[Tenant, int], apart: Apart | None, now: Millis
    ) -> Millis | None:
        """Return when to look again; what no time that passes can open is nothing to wake up for."""
        if apart is not None and any(still_open.values()):
            return poison.until(apart)
        if not self._free(still_open, now):
            return self._pace.next_step(now)
        full = {tenant for tenant, free in self._free_of_tenants(still_open).items() if not free}
        if not full or self._crowds.restless(full):
            return alarm
        return min((due for t in self._tenants if t not in full and (due := tx.next_due(t)) is not None), default=None)

    def _free_of_tenants(self, still_open: Mapping[Tenant, int]) -> dict[Tenant, int]:
        """Return how many attempts each tenant may open; empty if that is not bounded, as for a single one."""
        most = self._limits.tenant_parallelism
        if most is None or len(self._tenants) == 1:
            return {}
        return {tenant: max(0, most - still_open.get(tenant, 0)) for tenant in self._tenants}

    def _free(self, still_open: Mapping[Tenant, int], now: Millis) -> int:
        """Return how many attempts the server as a whole lets this node open, ``still_open`` being open."""
        if self._halted:
            return 0
        most = self._pace.cap(self._limits.global_parallelism, now)
        return flow.UNBOUNDED if most is None else max(0, most - sum(still_open.values()))

    def _taken_apart(self, turn: Turn, now: Millis) -> Prepared:
        """Run a turn that could not be decided item by item, each in a transaction of its own; see ``broker.alone``."""
        done, stopped = one_by_one(turn, lambda alone: self._turn(alone, now))
        claimed: Sequence[Claimed] = ()
        if stopped is None:
            try:
                claimed = self._claim_alone(turn.room, now)
            except StoreFailed:
                raise
            except Exception:  # What was done so far is done.
                log.exception("nothing could be claimed; next try in a second")
                self._alarm = now + SECOND
        wake = self._alarm if self._free(self._open, now) > 0 else self._pace.next_step(now)
        turned = replace(done, claimed=tuple(claimed), next_due=wake)
        return Prepared(turned, self._alarm, self._open, self._apart, committed=True)

    def _claim_alone(self, room: int, now: Millis) -> Sequence[Claimed]:
        """Claim for a turn that was taken apart; lanes that cannot be claimed from rest, and hold up no other."""
        try:
            return self._turn(Turn(room=room), now).claimed
        except LateronError:
            raise
        except Exception:
            log.exception("a claim failed; lanes are claimed from one by one")
        self._crowds.forget()  # Whoever stands in one looks for itself.
        with self._store.transaction(commit=False) as tx:
            found, self._suspected = could_start(tx, self._tenants, self._suspected, now)
        self._store.commit()
        lanes = [lane for lane in found if self._guilty.get(lane, now) <= now]
        claimed, guilty = lane_by_lane(lanes, room, lambda lane, most: self._turn(Turn(room=most), now, only=lane))
        self._guilty |= dict.fromkeys(guilty, now + GUILTY_PAUSE)
        # Whatever it was if it was no lane: it is not tried again at once.
        self._alarm = now if guilty else now + SECOND
        return claimed

    def _lock(self, tx: Verbs, ledger: Ledger, results: Sequence[Result]) -> None:
        """Take in hand what ends of attempts change, in the order of the locks: queues, lanes, and messages later."""
        ledger.hold_queues([result.claimed.message.queue for result in results])
        ledger.hold_known([result.claimed.message.lane for result in results])
        if tx.locks:
            ledger.foresee(len(results))
            owners = [(r.claimed.message.tenant, r.claimed.request.options) for r in results]
            reports = [(tenant, c) for tenant, o in owners for c in (o.callback, o.failure_callback) if c is not None]
            ledger.hold((tenant, flow.lane_to(tenant, report.url, report.flow)) for tenant, report in reports)

    def _decide(
        self, tx: Verbs, ledger: Ledger, results: Sequence[Result], now: Millis
    ) -> tuple[list[Transition], int]:
        """Decide how attempts ended; a result that came too late changes nothing."""
        stored = tx.load_fences([r.claimed.message.id for r in results]) if results else {}
        ended, stale = list[Transition](), 0
        for result in results:
            # Popped: a second result for it is stale.
            current = life.unmoved(result.claimed, stored.pop(result.claimed.message.id, None))
            if current is None:
                stale += 1
                continue
            if result.outcome is None:
                transition = life.give_back(current, now)
            else:
                transition = life.settle(current, result.claimed.request, result.outcome, now)
            if result.claimed.request.options.flow is not None or not result.claimed.intact:
                ledger.aim(current, result.claimed.request.url)
            ended.append(transition)
        return ended, stale

    def _accept(
        self,
        tx: Verbs,
        publishes: Sequence[tuple[Publication, ...]],
        refused: Mapping[tuple[int, int], LateronError],
        ended: Sequence[Transition],
        now: Millis,
    ) -> tuple[list[tuple[Accepted | LateronError, ...]], list[tuple[Publication, Made]]]:
        """Make the messages of publications and callbacks; answer duplicates with the id of the first."""
        holders = self._take_keys(tx, publishes, refused, now)
        made = [(p, self._make(p, now)) for transition in ended for p in transition.created]
        accepted: list[tuple[Accepted | LateronError, ...]] = []
        for i, items in enumerate(publishes):
            answers: list[Accepted | LateronError] = []
            for j, item in enumerate(items):
                if refused and (i, j) in refused:
                    answers.append(refused[i, j])
                    continue
                key = None if item.dedup is None else (item.tenant, item.dedup)
                if key is not None and not holders[key][1]:
                    answers.append(Accepted(holders[key][0], duplicate=True))
                    continue
                new = self._make(item, now, None if key is None else holders[key][0])
                made.append((item, new))
                answers.append(Accepted(new[0].id))
                if key is not None:
                    holders[key] = (new[0].id, False)
            accepted.append(tuple(answers))
        return accepted, made

    def _open_queues(
        self, tx: Verbs, ledger: Ledger, publishes: Sequence[tuple[Publication, ...]]
    ) -> dict[tuple[int, int], LateronError]:
        """Take the queues of publications in hand, and make those that are missing.

        Returns:
            The items that name a queue too many, by the places of their request and in it; they are not stored.
        """
        refused: dict[tuple[int, int], LateronError] = {}
        names = {queue_of(item.tenant, item.request.options) for items in publishes for item in items}
        names.discard(None)
        if not names:
            return refused
        ledger.find_queues(name for name in names if name is not None)
        for i, items in enumerate(publishes):
            for j, item in enumerate(items):
                name = queue_of(item.tenant, item.request.options)
                if name is not None:
                    try:
                        self._open_queue(tx, ledger, name)
                    except QuotaExceeded as error:
                        refused[i, j] = error
        return refused

    def _open_queue(self, tx: Verbs, ledger: Ledger, name: QueueName) -> Queue:
        """Take a queue in hand; make it if it is missing.

        Raises:
            QuotaExceeded: It is missing, and there are as many as there may be.
        """
        found = ledger.find_queue(name)
        if found is not None:
            return found
        most = self._limits.queues
        if most is not None and name.kind is QueueKind.NAMED:
            count = tx.count_queues(name.tenant) + ledger.new_queues(name.tenant)
            if count >= most:
                raise QuotaExceeded("queues", count + 1, most)
        number = int.from_bytes(self._new_id(ledger.now)[8:]) & LARGEST  # Ids of one millisecond differ in the end.
        made = Queue(number, name.tenant, name.kind, name.name, created=ledger.now, updated=ledger.now)
        ledger.add_queue(made)
        return made

    def _take_keys(
        self, tx: Verbs, publishes: Sequence[tuple[Publication, ...]], refused: Container[tuple[int, int]], now: Millis
    ) -> dict[tuple[Tenant, bytes], tuple[MessageId, bool]]:
        """Take the dedup keys of publications; each with the message that holds it, and whether it is new."""
        rows: dict[tuple[Tenant, bytes], tuple[Tenant, bytes, MessageId, Millis, Millis]] = {}
        for i, items in enumerate(publishes):
            for j, item in enumerate(items):
                if item.dedup is not None and (item.tenant, item.dedup) not in rows and (i, j) not in refused:
                    until = now + item.dedup_window_ms
                    rows[item.tenant, item.dedup] = (item.tenant, item.dedup, self._new_id(now), now, until)
        if not rows:
            return {}
        mine = tx.insert_dedup(list(rows.values()))
        return {key: (row[2], True) if key in mine else (tx.dedup_holder(*key), False) for key, row in rows.items()}

    def _make(self, publication: Publication, now: Millis, message_id: MessageId | None = None) -> Made:
        return life.create(publication, message_id or self._new_id(now), now)

    def _hold(self, ledger: Ledger, ended: Sequence[Transition], made: Sequence[tuple[Publication, Made]]) -> None:
        """Take all lanes of the batch in hand, and apply all limits it brings.

        Raises:
            RequestError: Something is published to a lane whose number is that of another name.
        """
        # Most go to few places: each is named once.
        places = dict.fromkeys([(m.tenant, request.url, request.options.flow) for _, (m, request, _) in made])
        ledger.hold([(tenant, flow.lane_to(tenant, url, control)) for tenant, url, control in places])
        ledger.hold_known([transition.message.lane for transition in ended])
        limits = list[tuple[int, Publication]]()
        for publication, (message, request, _) in made:
            if request.options.flow is not None:
                ledger.aim(message, request.url)
                limits.append((message.lane, publication))
        ledger.hold_hosts()
        if ledger.shared:
            for _, (message, request, _) in made:
                if message.kind is Kind.PUBLISH:
                    ledger.refuse_shared(message.tenant, lane_of(message.tenant, request))
                    ledger.refuse_shared(message.tenant, flow.lane_to(message.tenant, request.url, None))
        ledger.limit(limits)

    def _claim(
        self, tx: Verbs, ledger: Ledger, room: int, free: Mapping[Tenant, int], only: int | None
    ) -> list[Claimed]:
        """Start what is due, tenants and lanes by turns, at most ``room``, and of a tenant what it has ``free``."""
        ledger.write_messages()
        tenants = [t for t in self._tenants if free.get(t, 1) > 0]
        if only is None:
            ledger.call(room)
            ledger.search(room)
            for tenant in tenants:
                ledger.hold_lanes(tx.due_lanes(tenant, ledger.now, room))
        else:
            ledger.hold_known((only,))
        if self._guilty:
            self._guilty = ledger.rest_all(self._guilty)
        lanes = flow.by_turns(ledger.due(), tenants, room)
        granted = flow.fair_shares([(lane.tenant, ledger.room(lane)) for lane in lanes], room, free)
        # One head more than may start says when to look again.
        heads = tx.take([(lane.id, n + 1) for lane, n in zip(lanes, granted, strict=True)]) if lanes else []
        by_lane: dict[int, list[tuple[MessageId, Millis]]] = {lane.id: [] for lane in lanes}
        for lane_id, message_id, due in heads:
            by_lane[lane_id].append((message_id, due))
        messages = tx.load_messages([message_id for _, message_id, due in heads if due <= ledger.now])
        ledger.aim_stored(messages.values())
        started: list[Message] = []
        for lane, n in zip(lanes, granted, strict=True):
            if n == 0 and ledger.called(lane.id):
                continue  # No place of this node is left for it; it keeps its own.
            mine = by_lane[lane.id]
            ready = [messages[message_id] for message_id, due in mine[:n] if due <= ledger.now]
            following = mine[len(ready)][1] if len(mine) > len(ready) else None
            admitted = ledger.admit(lane.id, ready)
            if len(admitted) < len(ready):
                # Who is behind one that is held back keeps his place; the lane sleeps until its host has room.
                ready, following = admitted, None
            if ready:
                started += ledger.start(lane.id, ready, following)
            else:
                ledger.rest(lane.id, following)
        served = {message.tenant for message in started}
        self._tenants = tuple(sorted(self._tenants, key=lambda tenant: tenant in served))
        return tx.claimed(started)

    def _next_due(self, tx: Verbs) -> Millis | None:
        return min((due for due in map(tx.next_due, self._tenants) if due is not None), default=None)

    def _rescue_page(self, dead: int, now: Millis) -> int:
        """Take up to ``PAGE`` messages from a dead incarnation; return how many there were."""
        return self._take_back(dead, now, died=True)

    def _take_back(self, node: int, now: Millis, *, died: bool) -> int:
        """End up to ``PAGE`` attempts of an incarnation that makes no more; return how many there were."""
        with self._store.transaction() as tx:
            ledger = self._ledger(tx, now)
            ended = rescue.take_back(tx, ledger, node, PAGE, self._limits.crash_limit, died=died)
            made = [(p, self._make(p, now)) for transition in ended for p in transition.created]
            self._hold(ledger, ended, made)
            for transition in ended:
                ledger.end(transition)
            for _, item in made:
                ledger.enter(item, room=False)
            ledger.write()
        self._settle()
        return len(ended)
