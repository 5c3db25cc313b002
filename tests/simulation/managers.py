"""Who manages a simulated world: queues, flow-control keys, hosts, the server, URL groups and schedules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from tests.simulation.models import Birth, Crowd, Key, Line, Plan, Violation

from lateron.broker.schedules import Schedules
from lateron.core import flow_control
from lateron.core.flow import Lane
from lateron.core.flow_control import Pin, Unpin, flow_lane, host_lane
from lateron.core.groups import Endpoint, Target
from lateron.core.quota import QUOTAS
from lateron.core.recurring import parse_schedule
from lateron.core.values import MINUTE, SECOND, Millis, QueueKind
from lateron.errors import NotFound

if TYPE_CHECKING:
    from tests.simulation.world import World

HOSTS = ("one", "two", "three")
NO_QUOTA = QUOTAS["none"]


class Managers:
    """Draws what users change."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._chance = world.stream("managers")

    def actions(self) -> list[Callable[[], None]]:
        """Return what can be changed in this world."""
        has = self.world.swarm.features
        found: list[Callable[[], None]] = []
        if "queues" in has:
            found += [self.reshape] + ([self.pause_queue] if "pauses" in has else [])
            found += [self.delete_queue] if "deletes" in has else []
        if "keys" in has:
            found += [self.pin, self.reset] + ([self.pause_key] if "pauses" in has else [])
        if "switches" in has:
            found += [self.switch_host, self.switch_server]
        if "groups" in has:
            found += [self.change_group] * 2
        if "schedules" in has:
            found += [self.schedule, self.change_schedule]
        return found

    # Queues.

    def pause_queue(self) -> None:
        """A user pauses a queue, or lets it go on, by either of two calls."""
        tenant, name, line = self._line()
        if line is not None and self._chance.random() < 0.5:
            self._pause_queue(tenant, name, line, paused=not line.paused, whole=self._chance.random() < 0.5)

    def _pause_queue(self, tenant: int, name: str, line: Line, *, paused: bool, whole: bool) -> None:
        broker, now = self.world.node.broker, self.world.now

        def then(*_: object) -> None:
            line.paused = paused
            self.world.marks["queue paused"] += paused

        if whole:
            self.world.perform(lambda: broker.set_queue(tenant, name, now, paused=paused), then)
        else:
            self.world.perform(lambda: broker.pause_queue(tenant, name, now, paused=paused), then)

    def reshape(self) -> None:
        """A user changes how many messages of a queue may be under way."""
        if self._chance.random() < 0.5:
            return
        tenant, wanted = self.world.tastes.tenant(), self._chance.choice([1, 2, 3, 5])

        def then(*_: object) -> None:
            self.world.line(tenant, QueueKind.NAMED, "r").parallelism = wanted

        broker, now = self.world.node.broker, self.world.now
        self.world.perform(lambda: broker.set_queue(tenant, "r", now, parallelism=wanted), then)

    def delete_queue(self) -> None:
        """A user deletes a queue with its messages; sometimes the node dies in the midst of it."""
        world = self.world
        tenant, name, line = self._line()
        if line is None or self._chance.random() < 0.8:
            return

        def then(*_: object) -> None:
            del world.lines[tenant, QueueKind.NAMED, name]
            for message_id in line.order:
                world.known[message_id].cancelled = True
            world.rest.settle_deleted()
            world.marks["queue deleted"] += 1

        broker = world.node.broker
        _, number = world.perform(lambda: broker.delete_queue(tenant, name, world.now), then)
        if number is not None and self._chance.random() < 0.5:
            world.perform(lambda: world.node.broker.empty_queue(number, world.now))
            world.rest.settle_deleted()

    def _line(self) -> tuple[int, str, Line | None]:
        tenant, name = self.world.tastes.tenant(), self._chance.choice(["q", "r"])
        return tenant, name, self.world.lines.get((tenant, QueueKind.NAMED, name))

    # Keys and hosts.

    def pause_key(self) -> None:
        """A user pauses a key, or lets it go on."""
        tenant, name = self.world.tastes.tenant(), self._chance.choice("abc")
        if self._chance.random() < 0.5:
            self._pause_key(tenant, name, paused=not self.world.key(tenant, name).paused)

    def _pause_key(self, tenant: int, name: str, *, paused: bool) -> None:
        def then(key: Key) -> None:
            key.paused = paused
            self.world.marks["key paused"] += paused

        self._alter(tenant, name, flow_control.paused if paused else flow_control.resumed, then)

    def pin(self) -> None:
        """A user pins some limits of a key, or unpins them."""
        chance, tenant, name = self._chance, self.world.tastes.tenant(), self._chance.choice("ab")
        if chance.random() < 0.4:
            parts = Unpin(parallelism=chance.random() < 0.5, rate=chance.random() < 0.7)

            def unpinned(key: Key) -> None:
                key.fixed_parallelism &= not parts.parallelism
                key.fixed_rate &= not parts.rate

            self._alter(tenant, name, partial(flow_control.unpinned, parts), unpinned)
            return
        rate = chance.choice([None, 1, 4])
        pin = Pin(
            parallelism=chance.choice([None, 1, 3]) if rate is not None else 2,
            rate=rate,
            period_ms=chance.choice([None, 5 * SECOND, MINUTE]),
            smooth=chance.choice([None, "smooth" in self.world.swarm.features]) if rate is not None else None,
        )

        def pinned(key: Key) -> None:
            if pin.parallelism is not None:
                key.parallelism, key.fixed_parallelism = pin.parallelism, True
            if (pin.rate, pin.period_ms, pin.smooth) != (None, None, None):
                key.set_rate(
                    key.rate if pin.rate is None else pin.rate,
                    key.period if pin.period_ms is None else pin.period_ms,
                    smooth=key.smooth if pin.smooth is None else pin.smooth,
                )
                key.fixed_rate = True
            key.reset(self.world.now)
            self.world.marks["key pinned"] += 1

        self._alter(tenant, name, partial(flow_control.pinned, pin), pinned)

    def reset(self) -> None:
        """A user begins a new period."""
        if self._chance.random() < 0.3:
            tenant, name = self.world.tastes.tenant(), self._chance.choice("ab")
            self._alter(tenant, name, flow_control.rate_reset, lambda key: key.reset(self.world.now))

    def _alter(
        self, tenant: int, name: str, change: Callable[[Lane, Millis], Lane], then: Callable[[Key], None]
    ) -> None:
        broker, now = self.world.node.broker, self.world.now
        self.world.perform(
            lambda: broker.alter_lane(tenant, flow_lane(tenant, name), change, now, create=True),
            lambda *_: then(self.world.key(tenant, name)),
        )

    def switch_host(self) -> None:
        """A user pauses a host, or lets it go on."""
        tenant, host = self.world.tastes.tenant(), self._chance.choice(HOSTS)
        if self._chance.random() < 0.4:
            self._switch_host(tenant, host, paused=(tenant, host) not in self.world.paused_hosts)

    def _switch_host(self, tenant: int, host: str, *, paused: bool) -> None:
        broker, now, held = self.world.node.broker, self.world.now, self.world.paused_hosts
        lane, change = host_lane(tenant, f"{host}:80"), flow_control.paused if paused else flow_control.resumed

        def then(*_: object) -> None:
            (held.add if paused else held.discard)((tenant, host))
            self.world.marks["host paused"] += paused

        self.world.perform(lambda: broker.alter_lane(tenant, lane, change, now, create=True), then)

    def switch_server(self) -> None:
        """An operator pauses the whole server, seldom for long."""
        if self.world.halted or self._chance.random() < 0.2:
            self._switch_server(paused=not self.world.halted)

    def _switch_server(self, *, paused: bool) -> None:
        def then(*_: object) -> None:
            self.world.halted = paused
            self.world.marks["server paused"] += paused

        broker = self.world.node.broker
        self.world.perform(lambda: broker.pause_delivery(paused=paused), then)

    def let_all_go(self) -> None:
        """End every pause."""
        for (tenant, kind, name), line in list(self.world.lines.items()):
            if line.paused and kind is QueueKind.NAMED:
                self._pause_queue(tenant, name, line, paused=False, whole=True)
        for (tenant, name), key in list(self.world.keys.items()):
            if key.paused:
                self._pause_key(tenant, name, paused=False)
        for tenant, host in sorted(self.world.paused_hosts):
            self._switch_host(tenant, host, paused=False)
        if self.world.halted:
            self._switch_server(paused=False)

    # Groups.

    def change_group(self) -> None:
        """A user adds or removes endpoints, changes the defaults, or deletes the group."""
        world, chance = self.world, self._chance
        tenant, name = world.tastes.tenant(), chance.choice(["g", "h"])
        crowd = world.crowds.get((tenant, name))
        if crowd is None or chance.random() < 0.5:
            urls = chance.sample([f"http://{host}/{name}" for host in HOSTS], chance.choice([1, 1, 2]))
            self._add(tenant, name, urls)
        elif chance.random() < 0.5:
            self._remove(tenant, name, crowd, chance.choice(crowd.urls))
        elif chance.random() < 0.7:
            retries = chance.choice([0, 2])
            headers = (("Upstash-Retries", str(retries)),)
            world.perform(
                lambda: world.node.broker.set_defaults(tenant, name, headers, world.now),
                lambda *_: setattr(crowd, "retries", retries),
            )
        else:
            self._delete_group(tenant, name)

    def _delete_group(self, tenant: int, name: str) -> None:
        world = self.world

        def then(*_: object) -> None:
            del world.crowds[tenant, name]

        world.perform(lambda: world.node.broker.delete_group(tenant, name), then)

    def _add(self, tenant: int, name: str, urls: list[str]) -> None:
        world, endpoints = self.world, [Endpoint(url) for url in urls]

        def then(*_: object) -> None:
            crowd = world.crowds.setdefault((tenant, name), Crowd())
            crowd.urls += [url for url in urls if url not in crowd.urls]

        world.perform(lambda: world.node.broker.save_endpoints(tenant, name, endpoints, NO_QUOTA, world.now), then)

    def _remove(self, tenant: int, name: str, crowd: Crowd, url: str) -> None:
        world = self.world

        def then(*_: object) -> None:
            crowd.urls.remove(url)
            if not crowd.urls:
                del world.crowds[tenant, name]

        world.perform(lambda: world.node.broker.remove_endpoints(tenant, name, [Target(url)], world.now), then)

    # Schedules.

    def schedule(self) -> None:
        """A user makes a schedule, or overwrites one."""
        world, chance = self.world, self._chance
        if chance.random() < 0.6:
            return
        tenant, name, now = world.tastes.tenant(), chance.choice(["s", "t", "u"]), world.now
        group = chance.choice(["g", "h"]) if "groups" in world.swarm.features and chance.random() < 0.4 else None
        calendar = world.tastes.calendar(tenant, group)
        headers = [*calendar.headers(), (b"Upstash-Schedule-Id", name.encode())]
        new = parse_schedule(calendar.wish.target.encode(), headers, calendar.wish.body, world.node.context(tenant))

        def then(*_: object) -> None:
            ((key,),) = world.disk.rows("SELECT key FROM schedule WHERE tenant = ? AND id = ?", (tenant, name))
            old = world.plans.get((tenant, name))
            if old is not None and old.key != key:
                raise Violation("P-87", f"schedule {name} was not overwritten, but made anew")
            plan = Plan(name, calendar, key, now, fired=old.fired if old is not None else set())
            plan.due = plan.following(now)
            world.plans[tenant, name] = plan
            world.marks["scheduled"] += 1

        self._known(tenant, group, lambda: Schedules(world.node.broker).create(new, now), then)

    def _known(
        self,
        tenant: int,
        group: str | None,
        work: Callable[[], object],
        then: Callable[..., None] | None = None,
        births: Sequence[Birth] = (),
    ) -> None:
        """Do what needs a group; if that is not there, nothing may happen."""
        missing = group is not None and (tenant, group) not in self.world.crowds
        try:
            holds, _ = self.world.perform(work, then, births)
        except NotFound:
            self.world.discover([])
            if not missing:
                raise
            return
        if holds and missing:
            raise Violation("P-90", f"group {group} is not there, and was published to")

    def change_schedule(self) -> None:
        """A user pauses or resumes a schedule, lets it run at once, or deletes it."""
        world, chance = self.world, self._chance
        if not world.plans:
            return
        tenant, name = chance.choice(sorted(world.plans))
        plan, desk, now = world.plans[tenant, name], Schedules(world.node.broker), world.now
        what = chance.random()
        if what < 0.2:
            self.delete_schedule(tenant, name)
        elif what < 0.4:
            births = world.node.ticks.births((tenant, name), now)
            self._known(tenant, plan.group, lambda: desk.run(tenant, name, now), births=births)
        elif plan.paused:

            def resumed(*_: object) -> None:
                plan.paused = False
                world.node.ticks.reckon((tenant, name))

            world.perform(lambda: desk.resume(tenant, name, now), resumed)
        else:

            def paused(*_: object) -> None:
                plan.paused, plan.due = True, None
                world.marks["schedule paused"] += 1

            world.perform(lambda: desk.pause(tenant, name, now), paused)

    def delete_schedule(self, tenant: int, name: str) -> None:
        """Delete a schedule; what it has made goes its way."""
        world = self.world

        def then(*_: object) -> None:
            del world.plans[tenant, name]

        world.perform(lambda: Schedules(world.node.broker).delete(tenant, name, world.now), then)
