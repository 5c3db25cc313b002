"""How a body of JSON is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from lateron.errors import RequestError

T = TypeVar("T")


def read_body(body: bytes, decode: Callable[[bytes], T], expected: str) -> T:
    """Return what a body says.

    Args:
        body: Of the request.
        decode: A decoder's, for the shape that is wanted.
        expected: That shape, for people.

    Raises:
        RequestError: It is no JSON, or of another shape.
    """
    try:
        return decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"body: expected {expected} ({error})") from None
