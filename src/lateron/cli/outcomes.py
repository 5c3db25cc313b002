"""Many changes one by one, and what became of each, so that one can tell where it ended.

What the server refuses keeps no other change from being tried. Where it does not answer, or breaks off, the rest is
not tried: it would fare no better.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from lateron.cli.exits import DONE, PARTLY, REFUSED, UNKNOWN, UNREACHABLE, Failed
from lateron.telemetry import plain

if TYPE_CHECKING:
    from lateron.cli.client import Client

_LISTED: Final = {
    "refused": "refused",
    "partly done": "partlyDone",
    "not known": "notKnown",
    "not tried": "notTried",
}  # What is not done, in the order in which it is told, and its name in JSON.


class Outcome(NamedTuple):
    """What became of one change."""

    name: str  # Of what was to change.
    state: str  # "done", or one of ``_LISTED``.
    reason: str = ""  # What the server said.
    code: int = DONE

    def __str__(self) -> str:
        """Return the line that tells it."""
        return plain(f"{self.state}: {self.name}" + (f": {self.reason}" if self.reason else ""))


class Caller:
    """A client that counts what it has changed."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.changed = 0

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        patient: bool = False,
    ) -> Any:  # noqa: ANN401 - Whatever JSON the server answers.
        """Do as the client does."""
        answer = self._client.call(method, path, body, headers, patient=patient)
        self.changed += method != "GET"
        return answer


Act = Callable[[Caller], None]  # Raises Failed.


def carried_out(client: Client, acts: Sequence[tuple[str, Act]]) -> Iterator[Outcome]:
    """Do one after another; yield what became of each when it is done.

    Args:
        client: That the acts are done with.
        acts: What to do, under the name of what it changes.
    """
    broken = False
    for name, act in acts:
        if broken:
            yield Outcome(name, "not tried")
            continue
        caller = Caller(client)
        try:
            act(caller)
        except Failed as error:
            broken = error.code in {UNKNOWN, UNREACHABLE}
            yield Outcome(name, _state(error.code, caller.changed), str(error), error.code)
        else:
            yield Outcome(name, "done")


def _state(code: int, changed: int) -> str:
    if code == UNKNOWN:
        return "not known"
    if changed:
        return "partly done"
    return "not tried" if code == UNREACHABLE else "refused"


def tell(outcomes: Sequence[Outcome]) -> None:
    """Say on standard error what was not done; what was not tried at the end is one line, however much it is."""
    for number, outcome in enumerate(outcomes):
        if outcome.state == "done":
            continue
        behind = len(outcomes) - number - 1
        last = outcome.state == "not tried" and not outcome.reason
        said = f"{outcome} and {behind} behind it" if last and behind else f"{outcome}"
        print(said, file=sys.stderr)  # noqa: T201 - Standard output is for results.
        if last:
            break


def counted(outcomes: Sequence[Outcome]) -> str:
    """Return how many were not done, to stand behind how many were."""
    states = [outcome.state for outcome in outcomes]
    return "".join(f", {states.count(state)} {state}" for state in _LISTED if state in states)


def listed(outcomes: Sequence[Outcome]) -> dict[str, list[str]]:
    """Return what was not done, for JSON."""
    return {
        name: [
            outcome.name + (f": {outcome.reason}" if outcome.reason else "")
            for outcome in outcomes
            if outcome.state == state
        ]
        for state, name in _LISTED.items()
    }


def exit_code(outcomes: Sequence[Outcome], left_out: int = 0) -> int:
    """Return the exit code of all: as of a batch, 7 if a part was done and 1 if nothing was.

    Args:
        outcomes: Of all that were to be done.
        left_out: How many there were beside them, that were not even to be tried.
    """
    states = {outcome.state for outcome in outcomes}
    if "not known" in states:
        return UNKNOWN
    if states <= {"done"} and not left_out:
        return DONE
    if states & {"done", "partly done"}:
        return PARTLY
    return UNREACHABLE if any(outcome.code == UNREACHABLE for outcome in outcomes) else REFUSED
