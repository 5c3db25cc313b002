"""Names of messages and dead letters as clients see them.

Inside, a message id is 16 bytes in the order of time; outside it is ``msg_`` and 32 hexadecimal digits.
A dead letter is named by the time of its failure and its message, ``<ms>-<32 hex digits>``: the time
comes first so that a reader of the name, and a keyset page, can use it.
"""

from __future__ import annotations

from typing import Final

from lateron.core.values import MessageId, Millis

ID_BYTES: Final = 16
NO_MESSAGE: Final = MessageId(bytes(ID_BYTES))  # No message has this id: its time would be 1970.

_PREFIX: Final = "msg_"
_HEX: Final = frozenset("0123456789abcdef")
_TIME_DIGITS: Final = 15  # Milliseconds until the year 33000.


def message_text(message_id: MessageId) -> str:
    """Return the id as clients see it."""
    return _PREFIX + message_id.hex()


def parse_message_id(text: str) -> MessageId:
    """Return the id that ``message_text`` wrote.

    Raises:
        ValueError: No message of ours has that name; other spellings of a known id are refused too.
    """
    if not text.startswith(_PREFIX):
        raise ValueError("not a message id")
    return _parse_hex(text[len(_PREFIX) :])


def dlq_text(time: Millis, message_id: MessageId) -> str:
    """Return the name of the dead letter of a message that failed at ``time``."""
    return f"{time}-{message_id.hex()}"


def parse_dlq_id(text: str) -> tuple[Millis, MessageId]:
    """Return the time and the message that ``dlq_text`` was given.

    Raises:
        ValueError: No dead letter of ours has that name.
    """
    time, dash, name = text.partition("-")
    if not dash or len(time) > _TIME_DIGITS or not (time.isascii() and time.isdigit()):
        raise ValueError("not the id of a dead letter")
    if len(time) > 1 and time[0] == "0":
        raise ValueError("not the id of a dead letter")
    return int(time), _parse_hex(name)


def _parse_hex(text: str) -> MessageId:
    # bytes.fromhex alone would take blanks and capitals, so one message would have many names.
    if len(text) != 2 * ID_BYTES or not _HEX.issuperset(text):
        raise ValueError("not a message id")
    return MessageId(bytes.fromhex(text))
