"""What a name, a label or a key may look like.

They are stored exactly as given and shown in lists, logs and terminals, so a character that changes how
its neighbours are read (a control, a bidirectional override) is refused, and so is a form that looks the
same as another one but is not (anything but Unicode's NFC).
"""

from __future__ import annotations

import unicodedata
from typing import Final

from lateron.errors import InvalidValue

NAME_BYTES: Final = 256

# Controls, surrogates, line ends, and the formatting characters: bidirectional marks and other invisible ones.
_REFUSED: Final = frozenset(("Cc", "Cs", "Cf", "Zl", "Zp"))
_JOINERS: Final = "\u200c\u200d"  # Formatting too, but Persian words and composed emoji need them.


def check_name(field: str, value: str, limit: int = NAME_BYTES) -> str:
    """Return a name, label or key unchanged, if it may be one.

    Args:
        field: What it is the value of, as the client spelled it.
        value: 1 to ``limit`` bytes of UTF-8, in NFC, without control and formatting characters.
        limit: In bytes.

    Raises:
        InvalidValue: It may not.
    """
    if value.isascii():
        if not 0 < len(value) <= limit or not value.isprintable():
            raise InvalidValue(field, value, f"1 to {limit} printable characters")
        return value
    if any(unicodedata.category(character) in _REFUSED and character not in _JOINERS for character in value):
        raise InvalidValue(field, value, "text without control and formatting characters")
    if len(value.encode()) > limit:
        raise InvalidValue(field, value, f"at most {limit} bytes of UTF-8")
    if not unicodedata.is_normalized("NFC", value):
        raise InvalidValue(field, value, "text in Unicode normal form NFC")
    return value
