"""What a user has at a server, read and made through the public API: groups, queues, pins, schedules, waiting messages.

Objects are those that the API shows, so that they can be moved between any two servers that speak it. What a server
hides cannot be moved: an object with a redacted value is left out, and named.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote, urlencode

from lateron.cli.exits import REFUSED, Failed
from lateron.cli.remote import path
from lateron.core.values import SECOND, Millis

if TYPE_CHECKING:
    from lateron.cli.client import Client
    from lateron.cli.outcomes import Caller

KINDS: Final = ("group", "queue", "pin", "schedule", "message")  # In the order in which they are made.
_PAGE: Final = 100
_KEYS: Final = 1000  # Flow-control keys on a page.
_HIDDEN: Final = "REDACTED:"
_JSON: Final = {"Content-Type": "application/json"}
_VISIBLE: Final = "".join(chr(code) for code in range(0x21, 0x7F))
_SHORT: Final = 10**14  # A number of seconds has at most 11 digits.
_EPOCH: Final = datetime.fromtimestamp(0, UTC)


class Thing(NamedTuple):
    """One object of a server."""

    kind: str  # One of ``KINDS``.
    content: Mapping[str, Any]  # As the API shows it.

    @property
    def name(self) -> str:
        """Return what it is called."""
        return str(self.content[NAMES[self.kind]])

    @property
    def is_hidden(self) -> bool:
        """Whether a part of it is redacted, so that it cannot be made elsewhere."""
        return f'"{_HIDDEN}' in json.dumps(self.content)


NAMES: Final = {
    "group": "name",
    "queue": "name",
    "pin": "flowControlKey",
    "schedule": "scheduleId",
    "message": "messageId",
}


def read(client: Client | Caller, kinds: tuple[str, ...] = KINDS) -> Iterator[Thing]:
    """Yield what there is, in the order in which it can be made; a list that a server does not have is empty.

    Messages are those that wait: neither those under way, whose attempt may succeed, nor callbacks, which belong to
    a message of this server.
    """
    if "group" in kinds:
        yield from (Thing("group", one) for one in _listed(client, "/v2/topics"))
    if "queue" in kinds:
        yield from (Thing("queue", one) for one in _listed(client, "/v2/queues"))
    if "pin" in kinds:
        for one in _keys(client):
            if one.get("isPinnedParallelism") or one.get("isPinnedRate") or one.get("isPaused"):
                yield Thing("pin", one)
    if "schedule" in kinds:
        yield from (Thing("schedule", one) for one in _listed(client, "/v2/schedules"))
    if "message" in kinds:
        yield from _waiting(client)


def make(client: Client | Caller, thing: Thing) -> None:
    """Make an object, or change the one of its name into it; a message is always made anew.

    Raises:
        Failed: The server refused it.
    """
    {"group": _group, "queue": _queue, "pin": _pin, "schedule": _schedule, "message": _message}[thing.kind](
        client, thing.content
    )


def _listed(client: Client | Caller, where: str) -> list[Mapping[str, Any]]:
    try:
        found = client.call("GET", where)
    except Failed as error:
        if error.code == REFUSED and ("404" in str(error) or "405" in str(error)):
            return []
        raise
    return found if isinstance(found, list) else []


def _keys(client: Client | Caller) -> Iterator[Mapping[str, Any]]:
    """Yield all flow-control keys; a server that knows no pages has given all at once."""
    page, last = _listed(client, "/v2/flowControl"), None
    while page and page[-1]["flowControlKey"] != last:
        yield from page
        last = page[-1]["flowControlKey"]
        if len(page) < _KEYS:
            return
        page = _listed(client, f"/v2/flowControl?after={quote(last, safe='')}")


def _waiting(client: Client | Caller) -> Iterator[Thing]:
    cursor = ""
    while True:
        try:
            page = client.call("GET", f"/v2/messages?count={_PAGE}{cursor}")
        except Failed as error:
            if error.code == REFUSED and ("404" in str(error) or "405" in str(error)):
                return  # Ours; another server has no such list.
            raise
        for one in page["messages"]:
            if one.get("state") in {"CREATED", "RETRY"} and "kind" not in one:
                whole = one if "body" in one else client.call("GET", path("v2", "messages", one["messageId"]))
                yield Thing("message", whole)
        if not page.get("cursor"):
            return
        cursor = f"&cursor={quote(page['cursor'], safe='')}"


def _group(client: Client | Caller, group: Mapping[str, Any]) -> None:
    where = path("v2", "topics", group["name"])
    body = json.dumps({"endpoints": group["endpoints"]}).encode()
    client.call("POST", f"{where}/endpoints", body, _JSON)
    if group.get("headers"):
        client.call("PATCH", where, json.dumps({"headers": group["headers"]}).encode(), _JSON)


def _queue(client: Client | Caller, queue: Mapping[str, Any]) -> None:
    body = {"queueName": queue["name"], "parallelism": queue.get("parallelism", 1)}
    client.call("POST", "/v2/queues", json.dumps(body).encode(), _JSON)
    if queue.get("paused"):
        client.call("POST", path("v2", "queues", queue["name"], "pause"))


def _pin(client: Client | Caller, key: Mapping[str, Any]) -> None:
    where = path("v2", "flowControl", key["flowControlKey"])
    query = pin_query(key)
    if query:
        client.call("POST", f"{where}/pin?{query}")
    if key.get("isPaused"):
        client.call("POST", f"{where}/pause")


def pin_query(key: Mapping[str, Any]) -> str:
    """Return the query of the call that pins what is pinned of a key; empty if nothing is."""
    limits: dict[str, Any] = {}
    if key.get("isPinnedParallelism"):
        limits["parallelism"] = key.get("parallelismMax", 0)
    if key.get("isPinnedRate"):
        limits["period"] = key.get("ratePeriod", 1)
        if key.get("rateMax"):  # A period can be pinned alone.
            limits["rate"] = key["rateMax"]
    return urlencode(limits)


class Post(NamedTuple):
    """The request that makes a schedule or a message."""

    way: str  # What the destination stands behind.
    destination: str  # As it stands in the path.
    headers: Mapping[str, str]
    body: bytes

    def send(self, client: Client | Caller) -> None:
        """Send it."""
        client.call("POST", f"{self.way}/{self.destination}", self.body, self.headers)


def _schedule(client: Client | Caller, schedule: Mapping[str, Any]) -> None:
    schedule_post(schedule).send(client)
    if schedule.get("isPaused"):
        client.call("POST", path("v2", "schedules", schedule["scheduleId"], "pause"))


def schedule_post(schedule: Mapping[str, Any]) -> Post:
    """Return the request that makes a schedule, paused or not."""
    headers = {**_headers(schedule), "Upstash-Cron": schedule["cron"], "Upstash-Schedule-Id": schedule["scheduleId"]}
    for name, field, unit in _SCHEDULED:
        if field in schedule:
            value = schedule[field]
            headers[name] = f"{value}s" if unit == "s" else _instant(value) if unit == "ms" else str(value)
    return Post("/v2/schedules", _target(schedule["destination"]), headers, _body(schedule))


_SCHEDULED: Final = (
    ("Upstash-Retries", "retries", ""),
    ("Upstash-Delay", "delay", "s"),
    ("Upstash-Timeout", "timeout", "s"),
    ("Upstash-Queue-Name", "queueName", ""),
    ("Lateron-Missed", "missed", ""),
    ("Lateron-Overlap", "overlap", ""),
    ("Lateron-Start", "start", "ms"),
    ("Lateron-End", "end", "ms"),
    ("Lateron-Most-Runs", "mostRuns", ""),
    ("Lateron-Jitter", "jitter", "s"),
)


def _instant(time: Millis) -> str:
    """Return an instant in whole seconds, as servers take it; as a date if it has more digits."""
    if time % SECOND == 0 and time < _SHORT:
        return str(time // SECOND)
    return (_EPOCH + timedelta(milliseconds=time)).isoformat(timespec="milliseconds")


def _message(client: Client | Caller, message: Mapping[str, Any]) -> None:
    message_post(message).send(client)


def message_post(message: Mapping[str, Any]) -> Post:
    """Return the request that publishes a message anew."""
    headers = _headers(message)
    headers["Upstash-Retries"] = str(max(message["maxRetries"] - message.get("retried", 0), 0))
    due = max(message.get("notBefore", 0), message.get("nextDeliveryTime", 0))
    headers["Upstash-Not-Before"] = str(-(-due // SECOND))
    if "timeout" in message:
        headers["Upstash-Timeout"] = f"{message['timeout']}ms"
    if "orderKey" in message:
        headers["Lateron-Order-Key"] = message["orderKey"]
    queue = message.get("queueName")
    way = path("v2", "enqueue", queue) if queue else "/v2/publish"
    return Post(way, _target(message["url"]), headers, _body(message))


def _target(destination: str) -> str:
    """Return a destination as it stands in a path: only what cannot stand in a request line is encoded."""
    return quote(destination, safe=_VISIBLE)


def _headers(thing: Mapping[str, Any]) -> dict[str, str]:
    """Return what configures the delivery of a schedule or a message."""
    headers = {"Upstash-Method": str(thing.get("method", "POST"))}
    for name, values in thing.get("header", {}).items():
        plain = name.lower() == "content-type"
        headers[name if plain else f"Upstash-Forward-{name}"] = ", ".join(values)
    for field, name in (("callback", "Upstash-Callback"), ("failureCallback", "Upstash-Failure-Callback")):
        if field in thing:
            headers[name] = thing[field]
            for key, values in thing.get(f"{field}Header", {}).items():
                headers[f"{name}-Forward-{key}"] = ", ".join(values)
    if "retryDelayExpression" in thing:
        headers["Upstash-Retry-Delay"] = thing["retryDelayExpression"]
    labels = thing.get("labels") or ([thing["label"]] if thing.get("label") else [])
    if labels:
        headers["Upstash-Label"] = ",".join(labels)
    if thing.get("flowControlKey"):
        headers["Upstash-Flow-Control-Key"] = thing["flowControlKey"]
        given = [f"{name}={thing[name]}" for name in ("parallelism", "rate") if thing.get(name)]
        period = thing.get("period") or 1
        if period != 1 or thing.get("rate"):
            given.append(f"period={period}s")
        if given:
            headers["Upstash-Flow-Control-Value"] = ", ".join(given)
    return headers


def _body(thing: Mapping[str, Any]) -> bytes:
    if "bodyBase64" in thing:
        return b64decode(thing["bodyBase64"])
    return str(thing.get("body") or "").encode()
