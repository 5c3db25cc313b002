"""Tasks, as with Celery: called by name, run elsewhere."""

from django_qstash import stashed_task

sent: list[str] = []
moods = ["bad", "good"]  # Of the mail server, one call after another.


@stashed_task
def welcome(name: str) -> str:
    sent.append(f"welcome {name}")
    return f"sent to {name}"


@stashed_task(max_retries=3)
def moody(name: str) -> str:
    if moods.pop(0) == "bad":
        raise ConnectionError("the mail server is in a bad mood")
    sent.append(f"at last {name}")
    return "sent"


@stashed_task(name="weekly")
def weekly() -> None:
    sent.append("weekly")
