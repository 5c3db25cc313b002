"""How values stand in rows: what all verbs of the store share."""

from __future__ import annotations

from typing import Final

from msgspec import Struct, msgpack

from lateron.core.digest import request_digest
from lateron.core.values import Headers, Options, Request
from lateron.store.interface import Connection, Row, Value
from lateron.store.sealing import Broken, DataKey, Seals, sealed_by

BUCKETS: Final = 63  # A bucket is the low bits of the lane or queue; 64 of them.

pack = msgpack.Encoder().encode
headers = msgpack.Decoder(Headers).decode
_options = msgpack.Decoder(Options).decode
_PLAIN: Final = Options()


class Statements:
    """The statements of a connection; groups of verbs stand on it."""

    def __init__(self, connection: Connection) -> None:
        self.locks = connection.locks
        self._run = connection.run
        self._run_rows = connection.run_rows
        self._run_ids = connection.run_ids
        self.sparing = connection.sparing
        self.seals: Seals | None = None  # None: nothing of this store was ever sealed.
        self._packed: tuple[Headers, Options, bytes, bytes] = ((), _PLAIN, pack(()), pack(_PLAIN))  # The last, and how.

    def _pack(self, request: Request) -> tuple[bytes, bytes]:
        """Return headers and options as bytes; those of one transaction are often the same objects."""
        headers, options, packed, optional = self._packed
        if headers is not request.headers or options is not request.options:
            packed, optional = pack(request.headers), pack(request.options)
            self._packed = (request.headers, request.options, packed, optional)
        return packed, optional

    def request_columns(
        self, table: str, tenant: int, key: bytes, request: Request
    ) -> tuple[bytes, bytes, bytes, bytes | None]:
        """Return headers, options, digest and body of a request as they are stored."""
        packed, options = self._pack(request)
        body = request.body
        if self.seals is not None:
            about = (table, tenant, key, request.url, request.method)
            packed, options, body = self.seals.seal_request(about, packed, options, body)
        # Over what is stored: a digest of what is sealed would tell what it is to who can guess it.
        return packed, options, request_digest(request.url, request.method, packed, options, body), body

    def request_of(self, table: str, row: Row) -> StoredRequest:
        """Return a request, compared with its digest, from a row that begins with an id and ends with a tenant."""
        key, url, method, packed_headers, options, digest, body, tenant = row
        content = None if body is None else octets(body)
        packed, optional = octets(packed_headers), octets(options)
        intact = request_digest(str(url), str(method), packed, optional, content) == digest
        if intact and self.seals is not None:
            seals, about = self.opening(packed), (table, tenant, key, url, method)
            try:
                packed, optional, content = seals.open_request(about, packed, optional, content)
            except Broken:
                intact = False
        if not intact:
            # Nothing of it can be trusted, not even that it can be decoded.
            return StoredRequest(Request(str(url), str(method), (), None, Options()), intact=False)
        return StoredRequest(Request(str(url), str(method), headers(packed), content, _options(optional)), intact=True)

    def opening(self, start: bytes) -> Seals:
        """Return the keys, among them the one of this value even if another process made it a moment ago."""
        assert self.seals is not None
        number = sealed_by(start)
        if number is not None and not self.seals.knows(number):
            self.seals.adopt(self.data_keys())
        return self.seals

    def data_keys(self) -> list[DataKey]:
        """Return all data keys."""
        return [
            DataKey(integer(number), str(master), octets(wrapped), integer(created))
            for number, master, wrapped, created in self._run("data_keys")
        ]


class StoredRequest(Struct, frozen=True):
    """A request as it was read, and whether its bytes are those that were written."""

    request: Request
    intact: bool


def integer(value: Value) -> int:
    """Return an integer of a row; the tables are STRICT."""
    assert isinstance(value, int)
    return value


def octets(value: Value) -> bytes:
    """Return bytes of a row."""
    assert isinstance(value, bytes)
    return value
