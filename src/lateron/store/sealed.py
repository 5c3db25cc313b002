"""The verbs of one transaction that are about sealed values: one by one, and piece by piece for old rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from msgspec import msgpack

from lateron.core.groups import Endpoint, Group
from lateron.core.values import Attempt, Headers, MessageId, Outcome, Tenant
from lateron.errors import StoreFailed
from lateron.store.interface import Row
from lateron.store.rows import Statements, headers, integer, octets, pack
from lateron.store.sealing import Broken, DataKey, sealed_by

Place = tuple[bytes | int | str, ...]  # The key of a row.

TABLES: Final[dict[str, Place]] = {  # With sealed values; and the place before the first row.
    "request": (b"",),
    "attempt": (b"", -1),
    "schedule": (b"",),
    "group": (-1, ""),
    "job": (b"",),
}

_endpoints = msgpack.Decoder(tuple[Endpoint, ...]).decode
_outcome = msgpack.Decoder(Outcome).decode
_UNREADABLE: Final = Outcome(error="corrupt", detail="what was stored of this attempt is damaged")


class SealVerbs(Statements):
    """The part of ``Verbs`` that seals, and looks at what is sealed."""

    def outcome_column(self, attempt: Attempt) -> bytes:
        """Return the outcome of an attempt as it is stored."""
        packed = pack(attempt.outcome)
        return packed if self.seals is None else self.seals.seal(_attempt(attempt.message, attempt.number), packed)

    def outcome_of(self, message: MessageId, number: int, stored: bytes) -> Outcome:
        """Return an outcome; one that does not open is told as that."""
        if self.seals is None:
            return _outcome(stored)
        try:
            return _outcome(self.opening(stored).open(_attempt(message, number), stored))
        except Broken:
            return _UNREADABLE

    def group_columns(self, group: Group) -> tuple[bytes, bytes]:
        """Return endpoints and headers of a group as they are stored."""
        endpoints, defaults = pack(group.endpoints), pack(group.headers)
        if self.seals is None:
            return endpoints, defaults
        seal = self.seals.seal
        return (
            seal(("group", "endpoints", group.tenant, group.name), endpoints),
            seal(("group", "headers", group.tenant, group.name), defaults),
        )

    def opened_group(
        self, tenant: Tenant, name: str, endpoints: bytes, defaults: bytes
    ) -> tuple[tuple[Endpoint, ...], Headers]:
        """Return endpoints and headers of a group.

        Raises:
            StoreFailed: They are damaged; a message could go anywhere.
        """
        if self.seals is not None:
            try:
                endpoints = self.opening(endpoints).open(("group", "endpoints", tenant, name), endpoints)
                defaults = self.opening(defaults).open(("group", "headers", tenant, name), defaults)
            except Broken:
                raise StoreFailed(f"what was stored of the URL group {name} is damaged") from None
        return _endpoints(endpoints), headers(defaults)

    def order_column(self, job: bytes, packed: bytes) -> bytes:
        """Return what a bulk job was asked to do, its options and an edited body among it, as it is stored."""
        return packed if self.seals is None else self.seals.seal(("job", job), packed)

    def opened_order(self, job: bytes, stored: bytes) -> bytes:
        """Return what a bulk job was asked to do; raise ``Broken`` if it is damaged."""
        return stored if self.seals is None else self.opening(stored).open(("job", job), stored)

    def key_columns(self, tenant: Tenant, current: str, following: str) -> tuple[str, str]:
        """Return signing keys as they are stored."""
        if self.seals is None:
            return current, following
        seal = self.seals.seal_text
        return seal(("signing key", "current", tenant), current), seal(("signing key", "next", tenant), following)

    def opened_keys(self, tenant: Tenant, current: str, following: str) -> tuple[str, str]:
        """Return signing keys.

        Raises:
            StoreFailed: They are damaged.
        """
        if self.seals is None:
            return current, following
        try:
            opened = self.seals.open_text
            now = opened(("signing key", "current", tenant), current)
            return now, opened(("signing key", "next", tenant), following)
        except Broken:
            raise StoreFailed(f"what was stored of the signing keys of tenant {tenant} is damaged") from None

    def save_data_key(self, key: DataKey) -> None:
        """Store a data key, new or wrapped anew."""
        self._run("save_data_key", (key.id, key.master, key.wrapped, key.created))

    def delete_data_keys(self) -> None:
        """Forget all data keys; what is sealed with one is lost."""
        self._run("delete_data_keys")

    def starts(self, table: str, after: Place, limit: int) -> list[tuple[Place, int | None]]:
        """Say what rows behind a place are sealed with (None: nothing), in the order of their keys.

        Args:
            table: One of ``TABLES``.
            after: The key of the last row seen, or what ``TABLES`` has.
            limit: How many rows.
        """
        rows = self._run(f"{table}_starts", (*after, limit))
        return [(_place(row[:-1]), sealed_by(octets(row[-1]))) for row in rows]

    def reseal(self, table: str, place: Place) -> int | None:
        """Store a row as it would be stored now; return its size, None if it is damaged and stays as it is."""
        return {
            "request": self._reseal_request,
            "attempt": self._reseal_attempt,
            "schedule": self._reseal_schedule,
            "group": self._reseal_group,
            "job": self._reseal_job,
        }[table](place)

    def _reseal_request(self, place: Place) -> int | None:
        (row,) = self._run_ids("load_requests", place)
        stored = self.request_of("request", row)
        if not stored.intact:
            return None
        packed, options, digest, body = self.request_columns(
            "request", integer(row[-1]), octets(row[0]), stored.request
        )
        self._run("reseal_request", (packed, options, digest, body, *place))
        return len(body or b"")

    def _reseal_attempt(self, place: Place) -> int | None:
        ((message, number, *_, outcome, _),) = self._run("attempt_of", place)
        ours = MessageId(octets(message))
        opened = self.outcome_of(ours, integer(number), octets(outcome))
        if opened is _UNREADABLE:
            return None
        stored = pack(opened) if self.seals is None else self.seals.seal(_attempt(ours, integer(number)), pack(opened))
        self._run("reseal_attempt", (stored, *place))
        return len(stored)

    def _reseal_schedule(self, place: Place) -> int | None:
        (row,) = self._run_ids("schedule_requests", place)
        ((tenant,),) = self._run("schedule_tenant", place)
        stored = self.request_of("schedule", (*row, tenant))
        if not stored.intact:
            return None
        request = stored.request
        packed, options, digest, body = self.request_columns("schedule", integer(tenant), octets(row[0]), request)
        self._run("save_schedule_request", (*place, request.url, request.method, packed, options, digest, 0, body))
        return len(body or b"")

    def _reseal_group(self, place: Place) -> int:
        ((tenant, name, created, updated, endpoints, defaults),) = self._run("group", place)
        listed, kept = self.opened_group(integer(tenant), str(name), octets(endpoints), octets(defaults))
        group = Group(integer(tenant), str(name), integer(created), integer(updated), listed, kept)
        self._run("save_group", (tenant, name, created, updated, *self.group_columns(group), 0))
        return 0

    def _reseal_job(self, place: Place) -> int | None:
        ((job, asked),) = self._run("job_order", place)
        try:
            stored = self.order_column(octets(job), self.opened_order(octets(job), octets(asked)))
        except Broken:
            return None
        self._run("reseal_job", (stored, *place))
        return len(stored)

    def demand_reader(self, oldest: int) -> None:
        """Let programs before a schema refuse the store."""
        ((schema, now),) = self._run("schema")
        self._run("restamp", (schema, max(integer(now), oldest)))

    def reseal_keys(self) -> None:
        """Store all signing keys as they would be stored now."""
        for tenant, current, following in self._run("keys"):
            pair = self.opened_keys(integer(tenant), str(current), str(following))
            self._run("reseal_keys", (*self.key_columns(integer(tenant), *pair), tenant))


def _attempt(message: MessageId, number: int) -> tuple[object, ...]:
    return ("attempt", message, number)


def _place(values: Row) -> Place:
    return tuple(value for value in values if value is not None and not isinstance(value, float))


def counted(tx: SealVerbs, piece: int) -> Iterator[tuple[str, int | None, int]]:
    """Count the rows of all tables with sealed values by what they are sealed with, piece by piece."""
    for table, first in TABLES.items():
        place = first
        while found := tx.starts(table, place, piece):
            for number, count in Counter(number for _, number in found).items():
                yield table, number, count
            place = found[-1][0]
