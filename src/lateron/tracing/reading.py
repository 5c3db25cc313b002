"""A figure as it is handed from who counts to who sends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from lateron.core.tally import Histogram

Number: TypeAlias = int | float
Value: TypeAlias = Number | Histogram | Mapping[tuple[str, ...], Number] | None


class Reading(NamedTuple):
    """One figure as of now."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...]
    value: Value  # By the values of the labels, if it has any; None: the machine does not tell.


Readings: TypeAlias = Callable[[], Sequence[Reading]]
