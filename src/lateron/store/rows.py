"""How values stand in rows: what all verbs of the store share."""

from __future__ import annotations

from typing import Final

from msgspec import Struct, msgpack

from lateron.core.digest import request_digest
from lateron.core.values import Headers, Options, Request
from lateron.store.interface import Connection, Row, Value

BUCKETS: Final = 63  # A bucket is the low bits of the lane or queue; 64 of them.

pack = msgpack.Encoder().encode
headers = msgpack.Decoder(Headers).decode
_options = msgpack.Decoder(Options).decode


class Statements:
    """The statements of a connection; groups of verbs stand on it."""

    def __init__(self, connection: Connection) -> None:
        self.locks = connection.locks
        self._run = connection.run
        self._run_rows = connection.run_rows
        self._run_ids = connection.run_ids
        self.sparing = connection.sparing


class StoredRequest(Struct, frozen=True):
    """A request as it was read, and whether its bytes are those that were written."""

    request: Request
    intact: bool


def request_of(row: Row) -> StoredRequest:
    """Return a request, compared with its digest; the row begins with an id."""
    _, url, method, packed_headers, options, digest, body = row
    content = None if body is None else octets(body)
    packed, optional = octets(packed_headers), octets(options)
    if request_digest(str(url), str(method), packed, optional, content) != digest:
        # Nothing of it can be trusted, not even that it can be decoded.
        return StoredRequest(Request(str(url), str(method), (), None, Options()), intact=False)
    return StoredRequest(Request(str(url), str(method), headers(packed), content, _options(optional)), intact=True)


def integer(value: Value) -> int:
    """Return an integer of a row; the tables are STRICT."""
    assert isinstance(value, int)
    return value


def octets(value: Value) -> bytes:
    """Return bytes of a row."""
    assert isinstance(value, bytes)
    return value
