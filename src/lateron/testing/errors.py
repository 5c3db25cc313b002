"""What a test is told when the server does not do what the test waits for."""

from __future__ import annotations


class NotAtRest(AssertionError):
    """A destination does not answer, so that nobody knows what comes next."""

    def __init__(self, waited: float, attempts: list[str]) -> None:
        listed = "".join(f"\n  {attempt}" for attempt in attempts) or "\n  the server is storing"
        super().__init__(
            f"after {waited:g} s of real time there is still something under way:{listed}\n"
            "Does the destination run on the event loop of the test? Then await the asynchronous twin "
            "(`await lateron.clock.aadvance(...)`).\n"
            "Is it meant to hang? Then say so (`lateron.expect_no_answer(url)`), "
            'or let the catcher take its time: `lateron.catcher.answer(name, Answer(delay="10m"))`.'
        )


class NotReceived(AssertionError):
    """What a test waited for has not arrived."""

    def __init__(self, waited: float, name: str, count: int, wanted: int, waiting: list[str]) -> None:
        listed = "".join(f"\n  {message}" for message in waiting) or " none"
        super().__init__(
            f"after {waited:g} s of real time {name!r} has received {count} of {wanted} requests.\n"
            f"The clock stands until it is moved. Messages that wait:{listed}"
        )


class Refused(AssertionError):
    """The server refused a call of the test."""

    def __init__(self, method: str, path: str, status: int, text: str) -> None:
        super().__init__(f"{method} {path} was answered {status}: {text}")
        self.status = status
