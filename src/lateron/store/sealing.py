"""Values sealed before they are stored: AES-256-GCM under data keys, each wrapped by a key of the operator.

A request is sealed whole. Its column ``headers`` holds an envelope, ``body`` the ciphertext of headers, options and
body together, ``options`` nothing::

    envelope    C1 'S' 01 | data key, 4 bytes | salt, 28 bytes

MessagePack never uses the byte C1, so no plain value can be taken for a sealed one. Each value has a key of its own,
derived from the data key and its salt, so no number of messages wears a data key out. What a value is about (table,
tenant, id, and the target of a request) is authenticated with it: moved to another row it does not open.

A running server takes up a data key that another process made: it looks when it meets one that it does not know, and
every few seconds. Data keys stay when others follow them; they are useless without the operator's key.
"""

from __future__ import annotations

import hmac
import os
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from msgspec import DecodeError, Struct, msgpack

from lateron.errors import ServiceError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32
_MARK: Final = b"\xc1S\x01"  # What a sealed value begins with: no MessagePack does.
_NAMED: Final = len(_MARK) + 4  # What tells by which data key a value is sealed.
_SALT: Final = 28
_ENVELOPE: Final = _NAMED + _SALT
_TEXT: Final = "sealed:"  # Before a sealed value in a column of text.
_NONCE: Final = 12

_pack = msgpack.Encoder().encode
_contents = msgpack.Decoder(tuple[bytes, bytes, bytes | None]).decode


class Broken(Exception):
    """What was stored does not open: another row's, changed, or under a key that is not known."""


class DataKey(Struct, frozen=True):
    """A data key as it is stored."""

    id: int
    master: str  # Id of the operator's key that wraps it.
    wrapped: bytes
    created: int


class KeyRefused(ServiceError):
    """The keys given do not fit the store, or cannot be used; one sentence for an operator."""


class Seals:
    """The keys of one store.

    Args:
        masters: Keys of the operator, the one that wraps first.
    """

    def __init__(self, masters: Sequence[bytes]) -> None:
        self._masters = {key_id(key): key for key in masters}
        self.master = key_id(masters[0])
        self._keys: dict[int, bytes] = {}
        self.current: int | None = None  # The data key that seals; None: what is written stays plain.
        self.on = False
        self._cipher = cipher()

    def adopt(self, rows: Sequence[DataKey]) -> list[DataKey]:
        """Unwrap data keys; return those that another master wraps than the first, wrapped anew.

        Raises:
            KeyRefused: None of the operator's keys unwraps one.
        """
        anew = []
        for row in rows:
            if row.id not in self._keys:
                self._keys[row.id] = self._unwrapped(row)
            if row.master != self.master:
                anew.append(self._wrapped(row.id, self._keys[row.id], row.created))
        self.current = max(self._keys, default=None) if self.on else None
        return anew

    def made(self, number: int, now: int) -> DataKey:
        """Return a new data key, which seals from now on."""
        self._keys[number] = os.urandom(KEY_BYTES)
        self.current = number
        return self._wrapped(number, self._keys[number], now)

    def knows(self, number: int) -> bool:
        """Whether a data key was adopted."""
        return number in self._keys

    def is_current(self, start: bytes) -> bool:
        """Whether a stored value, of which this is the beginning, is as it would be written now."""
        return sealed_by(start) == self.current

    def seal_request(
        self, about: tuple[object, ...], headers: bytes, options: bytes, body: bytes | None
    ) -> tuple[bytes, bytes, bytes | None]:
        """Return what is stored in the three columns."""
        if self.current is None:
            return headers, options, body
        envelope, sealed = self._sealed(about, _pack((headers, options, body)))
        return envelope, b"", sealed

    def open_request(
        self, about: tuple[object, ...], headers: bytes, options: bytes, body: bytes | None
    ) -> tuple[bytes, bytes, bytes | None]:
        """Return the three values; raise ``Broken`` if they are not those that were sealed for this place."""
        if sealed_by(headers) is None:
            return headers, options, body
        try:
            return _contents(self._opened(about, headers, body or b""))
        except DecodeError:
            raise Broken from None

    def seal(self, about: tuple[object, ...], value: bytes) -> bytes:
        """Return one value as it is stored."""
        return value if self.current is None else b"".join(self._sealed(about, value))

    def open(self, about: tuple[object, ...], value: bytes) -> bytes:
        """Return one value; raise ``Broken`` as above."""
        return value if sealed_by(value) is None else self._opened(about, value[:_ENVELOPE], value[_ENVELOPE:])

    def seal_text(self, about: tuple[object, ...], value: str) -> str:
        """Return a text as it is stored in a column of text."""
        return value if self.current is None else _TEXT + b64encode(self.seal(about, value.encode())).decode()

    def open_text(self, about: tuple[object, ...], value: str) -> str:
        """Return a text; raise ``Broken`` as above."""
        if not value.startswith(_TEXT):
            return value
        try:
            return self.open(about, b64decode(value.removeprefix(_TEXT), validate=True)).decode()
        except (Base64Error, ValueError):
            raise Broken from None

    def _sealed(self, about: tuple[object, ...], plain: bytes) -> tuple[bytes, bytes]:
        assert self.current is not None
        salt = os.urandom(_SALT)
        envelope = _MARK + self.current.to_bytes(4, "big") + salt
        derived = self._cipher(hmac.digest(self._keys[self.current], salt, "sha256"))
        return envelope, derived.encrypt(salt[-_NONCE:], plain, _pack((envelope, *about)))

    def _opened(self, about: tuple[object, ...], envelope: bytes, sealed: bytes) -> bytes:
        from cryptography.exceptions import InvalidTag

        key, salt = self._keys.get(sealed_by(envelope) or 0), envelope[_NAMED:]
        if key is None or len(salt) != _SALT:
            raise Broken
        try:
            derived = self._cipher(hmac.digest(key, salt, "sha256"))
            return derived.decrypt(salt[-_NONCE:], sealed, _pack((envelope, *about)))
        except InvalidTag:
            raise Broken from None

    def _wrapped(self, number: int, key: bytes, created: int) -> DataKey:
        nonce = os.urandom(_NONCE)
        sealed = self._cipher(self._masters[self.master]).encrypt(nonce, key, _pack(("data key", number)))
        return DataKey(number, self.master, nonce + sealed, created)

    def _unwrapped(self, row: DataKey) -> bytes:
        from cryptography.exceptions import InvalidTag

        master = self._masters.get(row.master)
        if master is None:
            known = ", ".join(self._masters)
            raise KeyRefused(f"encryption-key: the store needs key {row.master}, and what is given is {known}")
        try:
            nonce, sealed = row.wrapped[:_NONCE], row.wrapped[_NONCE:]
            plain = self._cipher(master).decrypt(nonce, sealed, _pack(("data key", row.id)))
        except InvalidTag:
            raise KeyRefused(f"encryption-key: data key {row.id} of the store is damaged; restore a backup") from None
        return plain


def sealed_by(start: bytes) -> int | None:
    """Return the data key that sealed a value, of which this is the beginning; None: it is plain."""
    return int.from_bytes(start[len(_MARK) : _NAMED], "big") if start.startswith(_MARK) else None


def key_id(key: bytes) -> str:
    """Return the name of an operator's key: 8 digits that tell nothing about a random key."""
    return sha256(b"lateron key id\0" + key).hexdigest()[:8]


def cipher() -> type[AESGCM]:
    """Return AES-GCM.

    Raises:
        KeyRefused: The package that has it is not installed.
    """
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        raise KeyRefused(
            "encryption-key: it takes the package cryptography; install it with: pip install 'lateron[encryption]'"
        ) from None
    return AESGCM
