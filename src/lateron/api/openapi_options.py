"""The headers that configure a message, as every operation that publishes describes them."""

from __future__ import annotations

from typing import Final

from lateron.api.describe import Json

PUBLISH_OPTIONS: Final = (
    ("Content-Type", "Passed on to the destination.", "application/json"),
    ("Upstash-Method", "GET, POST, PUT, PATCH or DELETE; POST by default.", "POST"),
    ("Upstash-Forward-*", "A header for the destination, without the prefix.", None),
    ("Upstash-Header-Forward", "true forwards all headers but credentials and framing.", "true"),
    ("Upstash-Retries", "Attempts after the first; 3 by default.", "3"),
    ("Upstash-Retry-Delay", "Milliseconds before a retry, as an expression of `retried`.", "pow(2, retried) * 1000"),
    ("Lateron-Retry-Delays", "The waits before each retry, as a list; the last repeats.", "10s, 1m, 10m, 1h"),
    ("Upstash-Delay", "How long to wait before the first attempt.", "1h30m"),
    ("Upstash-Not-Before", "Unix second of the first attempt; wins over the delay.", "1763900000"),
    ("Upstash-Timeout", "How long an attempt may take.", "30s"),
    ("Upstash-Callback", "URL that gets the outcome of each attempt.", "https://example.com/done"),
    ("Upstash-Failure-Callback", "URL that is told when all retries have failed.", "https://example.com/failed"),
    ("Upstash-Callback-*", "Configures the callback as the same header does the message.", None),
    ("Upstash-Failure-Callback-*", "Configures the failure callback.", None),
    ("Upstash-Deduplication-Id", "Equal ids inside the window are one message.", "order-1234"),
    ("Upstash-Content-Based-Deduplication", "true: equal messages inside the window are one.", "true"),
    ("Upstash-Flow-Control-Key", "Messages of one key share limits.", "user-1"),
    ("Upstash-Flow-Control-Value", "parallelism, rate and period of the key.", "parallelism=5, rate=10, period=1m"),
    ("Upstash-Queue-Name", "The queue to go through; enqueue names it in the path.", "orders"),
    ("Lateron-Order-Key", "Messages of one key are delivered one after another.", "customer-17"),
    ("Lateron-Flow-Smooth", "true: no window of one period holds over `rate` starts.", "true"),
    ("Upstash-Label", "Labels to find it by, separated by commas.", "billing"),
    ("Upstash-Redact-Fields", "What is only ever shown as its hash.", "body, header[Authorization]"),
    ("traceparent", "The W3C trace it belongs to; each delivery carries it on.", f"00-{'a' * 32}-{'b' * 16}-01"),
    ("tracestate", "Goes with `traceparent`.", "vendor=value"),
    ("baggage", "W3C baggage; each delivery carries it on.", "key=value"),
)
TRACE: Final = ("traceparent", "tracestate", "baggage")  # Of a publish; runs of a schedule belong to no request.


def publish_headers(left_out: tuple[str, ...] = ()) -> list[Json]:
    """Return the headers that configure a message, as parameters, but for those left out."""
    return [
        {"name": name, "in": "header", "description": about, "schema": {"type": "string"}}
        | ({} if example is None else {"example": example})
        for name, about, example in PUBLISH_OPTIONS
        if "*" not in name and name not in {"Content-Type", *left_out}
    ]
