"""Bad requests, one table for each part of a request that may be bad.

Every value stands for a mistake that somebody makes, or for an attack that somebody tries. A row gives the
value and the status it is refused with, 400 unless said otherwise; what the refusal must say is in the tests.
"""

from __future__ import annotations

from typing import Final, NamedTuple

MEGABYTE: Final = 1 << 20
NO_MESSAGE: Final = "msg_" + "0" * 32
NO_LETTER: Final = "1-" + "0" * 32
DEEP: Final = 100_000

NUMBERS: Final = ("", "-1", "1.5", "1e3", "0x10", "\u0663", "NaN", "null", "true", "+3", "1_0", "9" * 19, "9" * 400)
SPANS: Final = ("", "-1s", "1y", "soon", "1e9", "1h 30m", "NaN", "Infinity", "\u221e", ".", "s", "1..5s", "9" * 65)
URLS: Final = (
    "",
    "x",
    "ftp://a.example",
    "javascript:alert(1)",
    "http://",
    "http://a b.example",
    "http://a.example#b",
    "http://user:word@a.example",
    "http://a.example:99999",
    "http://0x7f.1",
    "http://2130706433",
    "https://[::1",
    "http://a\\b.example",
    "http://\u00e9.example",
    "https://" + "a" * 64 + ".example",
)
INVISIBLE: Final = (
    "\u202eabc",
    "a\u200bb",
    "\ufeff",
    "\u2028",
    "\u2066a",
    "\U000e0041",
    "e\u0301",
    "a" * 257,
    "\u00e9" * 129,
)
# Upstash-Retry-Delay is a formula of a stranger, computed after every failed attempt.
FORMULAS: Final = (
    "",
    "(" * 10_000,
    "-" * 300 + "1",
    "-" * 17 + "1",
    "(" * 17 + "1" + ")" * 17,
    "1+" * 64 + "1",
    "a" * 257,
    "sqrt(-",
    "__import__('os')",
    "retried.real",
    "retried()",
    "1;2",
    "1 2",
    "1e",
    "0x10",
    "pow(",
    "min(1)",
    "max(1,1,1,1,1,1,1,1,1)",
    "\u0663",
    "lambda: 1",
)
# Formulas that are read, and fail or overflow only when they are computed.
BOMBS: Final = (
    "pow(9,pow(9,7))",
    "pow(9,pow(9,pow(9,9)))",
    "1e309",
    "1e400",
    "0/0",
    "1/0",
    "sqrt(-1)",
    "exp(1e9)",
    "-1",
    "1e300*1e300-1e300*1e300",
    "-" * 16 + "1",
)

# Option -> values that are refused with 400.
OPTIONS: Final[dict[str, tuple[str, ...]]] = {
    "Upstash-Retries": NUMBERS,
    "Upstash-Delay": SPANS,
    "Upstash-Not-Before": ("", "-1", "soon", "1e400", "NaN", ".", "1.5.5", "99999999999", "1795327270971", "9" * 33),
    "Upstash-Timeout": (*SPANS, "0", "0s"),
    "Upstash-Retry-Delay": FORMULAS,
    "Lateron-Retry-Delays": ("", "10s,", "x", "25h", "1s;2s", "-1s", "NaN", ",".join(["1s"] * 101)),
    "Upstash-Method": ("", "TRACE", "HEAD", "CONNECT", "GE T", "\u0130", "OPTIONS", "G\u00c9T"),
    "Upstash-Callback": URLS,
    "Upstash-Failure-Callback": URLS,
    "Upstash-Label": (*INVISIBLE, ",".join(map(str, range(33)))),
    "Upstash-Flow-Control-Key": (*INVISIBLE, ""),
    "Upstash-Deduplication-Id": ("", "a" * 1025),
    "Upstash-Content-Based-Deduplication": ("", "yes", "1", "null"),
    "Upstash-Header-Forward": ("", "yes", "1"),
    "Upstash-Redact-Fields": (
        "x",
        "body,x",
        "header[",
        "header[]",
        "header[ ]",
        "header[a",
        "header[A]]",
        "header[\u00e9]",
    ),
    "Lateron-Hops": ("", "-1", "x", "17"),
}
# Values of Upstash-Flow-Control-Value, beside a good key.
FLOWS: Final = (
    "x",
    "parallelism",
    "parallelism=0",
    "parallelism=-1",
    "parallelism=1e9",
    "parallelism=1=2",
    "rate=1,rate=2",
    "rate=9999999999",
    "rate=\u0661",
    "period=0",
    "period=8d",
    "period=1ms",
    "period=1.5s",
    "a=1",
    "NaN=1",
)
# Option, value that the quota of `payg` forbids: 412.
TOO_MUCH: Final = (
    ("Upstash-Retries", "101"),
    ("Upstash-Retries", "1000000"),
    ("Upstash-Delay", "366d"),
    ("Upstash-Not-Before", "4000000000"),
    ("Upstash-Timeout", "3h"),
)
# Option, value: of a part that is not built, 501.
UNBUILT: Final = (
    ("Upstash-Workflow-Init", "true"),
    ("Upstash-Workflow-RunId", "wfr_1"),
    ("Upstash-Callback-Workflow-RunId", "wfr_1"),
)
# Names that are no option, or no header.
UNKNOWN: Final = ("Lateron-Unknown", "Upstash-Forward-Lateron-Unknown", "Upstash-Forward-")


class Bad(NamedTuple):
    """One bad request; ``says`` is a part of what the refusal must say."""

    method: str
    target: str
    says: str
    status: int = 400
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    def headers_on_the_wire(self) -> list[tuple[str, bytes]]:
        """Return its headers as bytes: UTF-8, without what no line of a header can hold."""
        return [
            (name, bytes(byte for byte in value.encode("utf-8", "replace") if byte >= 0x20 and byte != 0x7F))
            for name, value in self.headers
        ]


def _publish(target: str, says: str = "destination", status: int = 400) -> Bad:
    return Bad("POST", f"/v2/publish/{target}", says, status, b"x")


DESTINATIONS: Final = (
    _publish("", "non-empty destination"),
    _publish("http:"),
    _publish("http:/"),
    _publish("https:///"),
    _publish("https%3A%2F%2Fa%2F%00", "U+0000"),
    _publish("https%3A%2F%2Fa%2F%0d%0aX:1", "U+000D"),
    _publish("https%3A%2F%2Fa%2F%FF", "UTF-8"),
    _publish("https%3A%2F%2Fa%2F%E2%80%AE", "U+202E"),
    _publish("https://a:0", "port"),
    _publish("https://a:65536", "port"),
    _publish("https://a:80:80"),
    _publish("https://[::]/", "this network"),
    _publish("http://0.0.0.0/", "this network"),
    _publish("http://169.254.169.254/latest", "metadata"),
    _publish("http://[fe80::1]/", "link-local"),
    _publish("http://[::ffff:169.254.169.254]/", "metadata"),
    _publish("http://2130706433/", "four decimal numbers"),
    _publish("https://a@b", "user and password"),
    _publish("https://" + "a" * 64 + ".com", "63"),
    _publish("https://" + "a." * 130 + "com", "253"),
    _publish("%ff", "UTF-8"),
    _publish("api/llm", "hosted APIs"),
    _publish("group", "topic group not found", 404),
    _publish("group?page=1&upstash-retries=2", "topic group not found", 404),
    _publish("a%20group?page=1", "topic a group not found", 404),
    _publish("?page=1", "non-empty destination"),
    _publish("ftp://a", "topic ftp://a not found", 404),
    _publish("%00", "topic", 404),
    _publish("https://a/" + "x" * 16_384, "URL", 414),
    _publish("https://a/#fragment", "#"),
    _publish("https://a b", "request line"),
    _publish("https://a?upstash-forward-x=a%0d%0aInjected:1", "upstash-forward-x"),
    _publish("https://a?upstash-forward-a%00b=1", "upstash-forward-a"),
    _publish("https://a?upstash-forward-%C3%A9=1", "upstash-forward-"),
)

_LISTS: Final = ("/v2/messages", "/v2/events", "/v2/logs", "/v2/dlq")
_SELECTING: Final = (("DELETE", "/v2/messages"), ("DELETE", "/v2/dlq"), ("POST", "/v2/dlq/retry"))
_QUERIES: Final = (
    ("no-such=1", "no-such"),
    ("LABEL=x", "LABEL"),
    ("%00=1", "unknown filter"),
    ("%E2%80%AE=1", "unknown filter"),
    ("label=", "label"),
    ("label=%20", "label"),
    ("label=,", "label"),
    ("label=%FF", "UTF-8"),
    ("count=0", "count"),
    ("count=-1", "count"),
    ("count=1e3", "count"),
    ("count=NaN", "count"),
    ("count=%D9%A3", "count"),
    ("count=" + "9" * 16, "count"),
    ("count=1&count=2", "count"),
    ("fromDate=soon", "fromDate"),
    ("fromDate=1&fromDate=2", "fromDate"),
    ("toDate=-1", "toDate"),
    ("toDate=1e400", "toDate"),
    ("&".join(["label=x"] * 10_001), "414"),
)
QUERIES: Final = (
    *(Bad("GET", f"{path}?{query}", says) for path in _LISTS for query, says in _QUERIES if says != "414"),
    *(Bad(method, f"{path}?{query}", says) for method, path in _SELECTING for query, says in _QUERIES if says != "414"),
    *(Bad("GET", f"{path}?{_QUERIES[-1][0]}", "URL", 414) for path in _LISTS),
    *(Bad("GET", f"{path}?cursor={cursor}", "cursor") for path in _LISTS for cursor in ("x", "%00", "%E2%80%AE", "AA")),
    *(Bad("GET", f"{path}?cursor=x&cursor=y", "cursor") for path in _LISTS),
    Bad("DELETE", "/v2/dlq?cursor=x", "cursor"),
    Bad("DELETE", "/v2/messages?cursor=x", "cursor"),
    Bad("POST", "/v2/dlq/retry?cursor=x", "cursor"),
    *(Bad("GET", f"/v2/events?{query}", "order") for query in ("order=up", "order=desc&order=asc", "order=%00")),
    *(Bad("GET", f"/v2/logs?state={state}", "state") for state in ("NONE", "%00", "DELIVERED,x")),
    *(
        Bad("GET", f"/v2/dlq?responseStatus={status}", "responseStatus")
        for status in ("x", "5xx", "-1", "1e2", "9" * 16)
    ),
    Bad("GET", "/v2/dlq?source=workflow", "workflow", 501),
    Bad("GET", "/v2/events?dlqIds=1", "dlqIds"),
    Bad("GET", "/v2/messages?state=DELIVERED", "state"),
)

# Bodies that are no selection, whichever ids are asked for.
_BODIES: Final = (
    b"{",
    b"[]",
    b"null",
    b"1",
    b'"x"',
    b"{}",
    b"\xff",
    b"\x00",
    b"\xef\xbb\xbf{}",
    b"[" * DEEP,
    b'{"a":' * DEEP,
    b'{"messageIds":null,"dlqIds":null}',
    b'{"messageIds":["a"],"dlqIds":["b"]}',
    b'{"messageIds":"msg_1","dlqIds":"1"}',
    b'{"messageIds":[1],"dlqIds":[1]}',
    b'{"messageIds":[NaN],"dlqIds":[NaN]}',
    b'{"messageIds":[1e400],"dlqIds":[1e400]}',
    b'{"messageIds":["\\ud800"]}',
    b'{"dlqIds":["\\ud800"]}',
    b'{"messageIds":["a"],"label":"x"}',
    b'{"dlqIds":["a"]} x',
    b"x" * MEGABYTE,
)
SELECTIONS: Final = (
    *(Bad(method, path, "body", body=body) for method, path in _SELECTING for body in _BODIES),
    *(Bad(method, path, "body", 413, b" " * (MEGABYTE + 1)) for method, path in _SELECTING),
    Bad("DELETE", "/v2/messages", "messageIds", body=b'{"dlqIds":["x"]}'),
    Bad("DELETE", "/v2/dlq", "dlqIds", body=b'{"messageIds":["x"]}'),
    Bad("POST", "/v2/dlq/retry", "dlqIds", body=b'{"messageIds":["x"]}'),
    Bad("DELETE", "/v2/messages?label=kept", "both", body=b'{"messageIds":["x"]}'),
    Bad("DELETE", "/v2/dlq?label=kept", "both", body=b'{"dlqIds":["x"]}'),
)

_JOB: Final = "/lateron/v1/jobs"
_BIG: Final = b"x" * (10 * MEGABYTE + 1)
_ASKED: Final = (
    (b"", "body"),
    (b"[]", "body"),
    (b"{", "body"),
    (b"\xff", "body"),
    (b"[" * DEEP, "body"),
    (b'{"kind":"cancel"}', "filter"),
    (b'{"filter":{}}', "kind"),
    (b'{"kind":"drop","filter":{}}', "kind"),
    (b'{"kind":"cancel","filter":{},"dry_run":true}', "dry_run"),
    (b'{"kind":"cancel","filter":[]}', "filter"),
    (b'{"kind":"cancel","filter":{"no-such":"x"}}', "no-such"),
    (b'{"kind":"cancel","filter":{"count":5}}', "count"),
    (b'{"kind":"cancel","filter":{"responseStatus":500}}', "responseStatus"),
    (b'{"kind":"cancel","filter":{"label":""}}', "label"),
    (b'{"kind":"cancel","filter":{"label":[]}}', "label"),
    (b'{"kind":"cancel","filter":{"label":","}}', "label"),
    (b'{"kind":"deleteDeadLetters","filter":{"host":"x"}}', "host"),
    (b'{"kind":"cancel","filter":{},"rate":0}', "rate"),
    (b'{"kind":"cancel","filter":{},"rate":1e9}', "rate"),
    (b'{"kind":"cancel","filter":{},"rate":1,"spread":"1m"}', "rate"),
    (b'{"kind":"cancel","filter":{},"spread":"soon"}', "spread"),
    (b'{"kind":"cancel","filter":{},"limit":0}', "limit"),
    (b'{"kind":"cancel","filter":{},"options":{"Upstash-Retries":"1"}}', "options"),
    (b'{"kind":"cancel","filter":{},"body":"x"}', "body"),
    (b'{"kind":"replayDeadLetters","filter":{},"body":"x","bodyBase64":"eA=="}', "bodyBase64"),
    (b'{"kind":"replayDeadLetters","filter":{},"bodyBase64":"?"}', "bodyBase64"),
    (b'{"kind":"replayDeadLetters","filter":{},"options":{"X":"1"}}', "options"),
    (b'{"kind":"replayDeadLetters","filter":{},"options":{"Upstash-Retries":"many"}}', "Upstash-Retries"),
    (b'{"kind":"reschedule","filter":{}}', "Upstash-Delay"),
    (b'{"kind":"reschedule","filter":{},"options":{"Upstash-Delay":"1m","Upstash-Not-Before":"1"}}', "Upstash-Delay"),
    (b'{"kind":"reschedule","filter":{},"options":{"Upstash-Delay":"1m","Upstash-Retries":"1"}}', "Upstash-Delay"),
    (b'{"kind":"erase","filter":{}}', "label"),
    (b'{"kind":"erase","filter":{"label":"kept","host":"x"}}', "label"),
)
JOBS: Final = (
    *(Bad("POST", _JOB, says, body=body) for body, says in _ASKED),
    Bad("POST", _JOB, "quota", 412, b'{"kind":"replayDeadLetters","filter":{},"options":{"Upstash-Retries":"101"}}'),
    Bad("POST", _JOB, "body: the quota allows", 412, b'{"kind":"replayDeadLetters","filter":{},"body":"%b"}' % _BIG),
    Bad("POST", _JOB, "body", 413, b" " * (16 * MEGABYTE + 1)),
    Bad("GET", f"{_JOB}?cursor=x", "cursor"),
    Bad("GET", f"{_JOB}?label=x", "label"),
    *(Bad("GET", f"{_JOB}/{job}", "not found", 404) for job in ("x", "job_", "job_" + "0" * 32, "job_" + "F" * 32)),
    Bad("POST", f"{_JOB}/job_{'0' * 32}/cancel", "not found", 404),
    Bad("POST", f"/lateron/v1/messages/{NO_MESSAGE}/retry", "not found", 404),
)

_IDS: Final = (
    "x",
    "msg_",
    NO_MESSAGE,
    "msg_" + "F" * 32,
    "msg_" + "0" * 31,
    "..",
    "%E2%80%AE",
    "a" * 5000,
    "'--",
    "-1",
)
_LETTERS: Final = (
    "x",
    "1-",
    NO_LETTER,
    "01-" + "0" * 32,
    "9" * 16 + "-" + "0" * 32,
    "1-" + "F" * 32,
    "%E2%80%AE",
    "a" * 5000,
)
NOBODY: Final = (
    *(
        Bad(method, f"{path}/{name}", "message", 404)
        for method, path in (("GET", "/v2/messages"), ("DELETE", "/v2/messages"), ("GET", "/lateron/v1/messages"))
        for name in _IDS
    ),
    *(
        Bad(method, f"{path}/{name}", "dead letter", 404)
        for method, path in (("GET", "/v2/dlq"), ("DELETE", "/v2/dlq"), ("POST", "/v2/dlq/retry"))
        for name in _LETTERS
        if (path, name) != ("/v2/dlq", "retry")
    ),
    *(
        Bad(method, f"/v2/messages/{name}", "path", 404)
        for method in ("GET", "DELETE")
        for name in ("", "a/b", "a%2Fb", "%FF", "%00")
    ),
    Bad("GET", "/", "path", 404),
    Bad("POST", "/v2/nothing", "path", 404),
    Bad("GET", "//v2/messages", "path", 404),
    Bad("GET", "/x/../v2/messages", "path", 404),
    Bad("PUT", "/v2/messages", "PUT", 405),
    Bad("GET", "/v2/publish/https://a", "GET", 405),
    Bad("PATCH", f"/v2/messages/{NO_MESSAGE}", "PATCH", 405),
    Bad("DELETE", "/v2/events", "DELETE", 405),
    Bad("BREW", "/v2/messages", "method"),
    Bad("POST", "/v2/topics/t/endpoints", "endpoints"),
    Bad("POST", "/v2/topics/t/endpoints", "url", body=b'{"endpoints":[{"name":"x"}]}'),
    Bad("POST", "/v2/topics/a%20b/endpoints", "name", body=b'{"endpoints":[{"url":"https://example.com"}]}'),
    Bad("PATCH", "/v2/topics/t", "X-Y", body=b'{"headers":{"X-Y":"1"}}'),
    Bad("POST", "/v2/flowControl/k/pin", "pin"),
    Bad("POST", "/v2/enqueue/q!/https://a", "queue"),
    Bad("POST", "/v2/queues", "body"),
    Bad("POST", "/v2/schedules/https://a", "cron"),
    Bad("POST", "/v2/trigger/https://a", "workflow", 501),
    Bad("POST", "/v2/workflows/hooks/u/r/e", "workflow", 501),
)

# Bodies of a batch that are refused as a whole.
BATCHES: Final = (
    b"",
    b" ",
    b"{}",
    b"[",
    b"[]]",
    b"null",
    b"NaN",
    b"1e400",
    b"\xff\xfe",
    b"\x00",
    b"\xef\xbb\xbf[]",
    b"[" * DEEP + b"]" * DEEP,
    b'{"a":' * DEEP,
    b'[{"destination":"https://a"}] x',
    b'[{"destination":"https://a","body":{"a":NaN}}]',
    b'[{"destination":"https://a","body":"\x00"}]',
    b'[{"destination":"https://a","body":"\\ud800"}]',
    b'[{"destination":"\\udfff\\ud800"}]',
    b"[" + b'{"destination":"https://a"},' * 10_000 + b'{"destination":"https://a"}]',
)

# Items of a batch that are refused in their place: JSON, what the refusal says.
ITEMS: Final = (
    (b"1", "object"),
    (b"null", "object"),
    (b"[]", "object"),
    (b'""', "object"),
    (b"1e400", "out of range"),
    (b"{}", "destination"),
    (b'{"destination":null}', "destination"),
    (b'{"destination":1}', "destination"),
    (b'{"destination":""}', "destination"),
    (b'{"destination":"https://a/\\u202e"}', "U+202E"),
    (b'{"destination":"https://a/\\u0000"}', "U+0000"),
    (b'{"destination":"http://169.254.169.254/"}', "metadata"),
    (b'{"destination":"https://a","destination":"http://169.254.169.254/"}', "metadata"),
    (b'{"Destination":"https://a"}', "Destination"),
    (b'{"destination":"https://a","unknown":1}', "unknown"),
    (b'{"destination":"https://a","body":1}', "body"),
    (b'{"destination":"https://a","body":true}', "body"),
    (b'{"destination":"https://a","body":"\xff"}', "body"),
    (b'{"destination":"https://a","body":["\xff"]}', "body"),
    (b'{"destination":"https://a","body":' + b"[" * 65 + b"]" * 65 + b"}", "deeper than 64"),
    (b'{"destination":"https://a","body":' + b'{"a":' * 65 + b"1" + b"}" * 65 + b"}", "deeper than 64"),
    (b'{"destination":"https://a","body":"' + b"x" * (10 * MEGABYTE + 1) + b'"}', "body"),
    (b'{"destination":"https://a","callback":"x"}', "callback"),
    (b'{"destination":"https://a","callback":1}', "callback"),
    (b'{"destination":"https://a","failureCallback":""}', "failureCallback"),
    (b'{"destination":"https://a","headers":[]}', "headers"),
    (b'{"destination":"https://a","headers":{"X":1}}', "headers"),
    (b'{"destination":"https://a","headers":{"X":null}}', "headers"),
    (b'{"destination":"https://a","headers":{"X":[null]}}', "headers"),
    (b'{"destination":"https://a","headers":{"X":"' + b"y" * 40_000 + b'"}}', "headers"),
    (b'{"destination":"https://a","headers":{"Upstash-Label":"' + b"y" * (10 * MEGABYTE) + b'"}}', "headers"),
    (b'{"destination":"https://a","headers":{"Upstash-Label":"\\u0000"}}', "Upstash-Label"),
    (b'{"destination":"https://a","headers":{"Upstash-Label":null}}', "headers"),
    (b'{"destination":"https://a","headers":{"Upstash-Flow-Control-Key":"\\r\\n"}}', "Upstash-Flow-Control-Key"),
    (b'{"destination":"https://a","headers":{"Upstash-Forward-X":"a\\r\\nB: c"}}', "Upstash-Forward-X"),
    (b'{"destination":"https://a","headers":{"Upstash-Forward-X\\u0000":"a"}}', "Upstash-Forward-X"),
    (b'{"destination":"https://a","headers":{"Upstash-Forward-\\u212a":"a"}}', "Upstash-Forward-"),
    (b'{"destination":"https://a","headers":{"Content-Type":"a\\nb"}}', "Content-Type"),
    (b'{"destination":"https://a","headers":{"Upstash-Retries":["1","2"]}}', "Upstash-Retries"),
    (b'{"destination":"https://a","headers":{"upstash-retries":"1","Upstash-Retries":"2"}}', "Upstash-Retries"),
)
