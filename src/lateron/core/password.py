"""Passwords: which may be one, and what is kept of it.

What is kept says how it was made, so that the cost can rise and old ones still be compared::

    $scrypt$ln=15,r=8,p=3$<salt>$<hash>        base64 without its padding

``ln`` is the binary logarithm of scrypt's N. The salt is given by the caller, for it is chance.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from hashlib import scrypt
from hmac import compare_digest
from typing import Final
from unicodedata import normalize

from msgspec import Struct

from lateron.errors import RequestError

SHORTEST: Final = 12  # Characters.
LONGEST: Final = 1024
SALT_BYTES: Final = 16
_HASH_BYTES: Final = 32
_FORM: Final = re.compile(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)")


class Cost(Struct, frozen=True):
    """What one comparison costs: 128 * r * 2**ln bytes of memory, and p times the work to fill them."""

    ln: int
    r: int
    p: int


# Source: OWASP Password Storage Cheat Sheet, "scrypt": N=2^17 p=1, N=2^16 p=2 and N=2^15 p=3 (r=8 in all) are equally
# good. The last one needs 32 MiB, and whoever can reach the server can make it need them.
COST: Final = Cost(15, 8, 3)


class _Kept(Struct, frozen=True):
    cost: Cost
    salt: bytes
    hash: bytes


def check_password(password: str, name: str) -> None:
    """Refuse what cannot be a password of this user.

    Raises:
        RequestError: It cannot; the text never holds it.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise RequestError(f"password: expected {SHORTEST} to {LONGEST} characters, got {len(password)}")
    if not normalize("NFKC", password).isprintable():
        # Of two lines in a file nobody knows which was meant; and a form in a browser has no line ends.
        raise RequestError("password: expected one line of characters that can be typed")
    if password.casefold() == name.casefold():
        raise RequestError("password: expected something else than the name")


def hash_password(password: str, salt: bytes, cost: Cost = COST) -> str:
    """Return what to keep of a password: slow to make, on purpose."""
    return f"$scrypt$ln={cost.ln},r={cost.r},p={cost.p}${_text(salt)}${_text(_hash(password, salt, cost))}"


def verify(password: str, stored: str) -> bool:
    """Whether this is the password that ``stored`` was kept of; as slow as ``hash_password``, whatever the answer."""
    form = _parsed(stored)
    return compare_digest(_hash(password, form.salt, form.cost), form.hash)


def is_current(stored: str, cost: Cost = COST) -> bool:
    """Whether a kept password was made at this cost, so that it need not be made anew."""
    return _parsed(stored).cost == cost


def _hash(password: str, salt: bytes, cost: Cost) -> bytes:
    n = 1 << cost.ln
    # Why normalised: the same letters typed on another keyboard may be other code points.
    octets = normalize("NFKC", password).encode("utf-8", "surrogatepass")
    most = 128 * cost.r * (n + cost.p + 2)  # All that scrypt allocates.
    return scrypt(octets, salt=salt, n=n, r=cost.r, p=cost.p, maxmem=most, dklen=_HASH_BYTES)


def _parsed(stored: str) -> _Kept:
    form = _FORM.fullmatch(stored)
    assert form is not None, "what is kept of a password was not made here"
    ln, r, p = map(int, form.group(1, 2, 3))
    return _Kept(Cost(ln, r, p), _octets(form[4]), _octets(form[5]))


def _text(octets: bytes) -> str:
    return b64encode(octets).decode().rstrip("=")


def _octets(text: str) -> bytes:
    return b64decode(text + "=" * (-len(text) % 4))
