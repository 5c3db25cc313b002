"""Every option of a publish is read as documented; one that could not work is refused, by name."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from tests.core.publishing import NOW, URL, publish, refused

from lateron.core.quota import QUOTAS
from lateron.core.values import DAY, HOUR, MINUTE, SECOND, Flow, Redaction, RetryPolicy
from lateron.errors import QuotaExceeded

# Options


def test_every_option_is_read() -> None:
    """One example of each, as the documentation writes it."""
    made = publish(
        {
            "Upstash-Method": "PUT",
            "Upstash-Retries": "7",
            "Upstash-Retry-Delay": "pow(retried, 2) * 1000",
            "Upstash-Delay": "1h30m",
            "Upstash-Timeout": "30",
            "Upstash-Flow-Control-Key": "key",
            "Upstash-Flow-Control-Value": "parallelism=2, rate=10,period=1m",
            "Upstash-Label": "a, b,a",
            "Upstash-Redact-Fields": "body, header[Authorization],headers[X]",
        }
    )
    options = made.request.options
    assert made.request.method == "PUT"
    assert made.delay_ms == 90 * MINUTE
    assert options.retry == RetryPolicy(7, "pow(retried, 2) * 1000")
    assert options.timeout_ms == 30 * SECOND
    assert options.flow == Flow("key", 2, 10, MINUTE)
    assert options.labels == ("a", "b")
    assert options.redact == Redaction(body=True, headers=("authorization", "x"))


@pytest.mark.parametrize(
    ("value", "flow"),
    [
        ("parallelism=5", Flow("k", 5)),
        ("rate=1", Flow("k", None, 1)),
        ("period=1h30m3s,rate=23", Flow("k", None, 23, 5403 * SECOND)),
        ("rate=4, parallelism=3, period=2s", Flow("k", 3, 4, 2 * SECOND)),
        ("rate=4,period=1d", Flow("k", None, 4, DAY)),
        ("rate=4,period=7d", Flow("k", None, 4, 7 * DAY)),
        ("", Flow("k")),
    ],
)
def test_flow_control_value_is_read_in_every_form(value: str, flow: Flow) -> None:
    """Order and blanks differ between the clients."""
    headers = {"Upstash-Flow-Control-Key": "k", "Upstash-Flow-Control-Value": value}
    assert publish(headers).request.options.flow == flow


@pytest.mark.parametrize(
    ("value", "redaction"),
    [
        ("body", Redaction(body=True)),
        ("header", Redaction(all_headers=True)),
        ("headers", Redaction(all_headers=True)),
        ("body,header[X-A],header[X-B]", Redaction(body=True, headers=("x-a", "x-b"))),
        ("", None),
    ],
)
def test_redaction_is_read_in_both_spellings(value: str, redaction: Redaction | None) -> None:
    """The SDKs write ``header``, the documentation ``headers``."""
    assert publish({"Upstash-Redact-Fields": value}).request.options.redact == redaction


@pytest.mark.parametrize(
    ("value", "milliseconds"),
    [("1700000060", NOW + MINUTE), ("1700000060.5", NOW + MINUTE + 500), ("1700000060.0", NOW + MINUTE), ("1", SECOND)],
)
def test_not_before_is_unix_seconds(value: str, milliseconds: int) -> None:
    """The Python workflow SDK passes a float. The past is allowed; it means now."""
    assert publish({"Upstash-Not-Before": value, "Upstash-Delay": "1d"}).not_before == milliseconds


def test_listed_delays_make_the_retries() -> None:
    """Their number is that of the retries, unless that is given too."""
    listed = {"Lateron-Retry-Delays": "10s, 1m, 10m, 1h"}
    delays = (10 * SECOND, MINUTE, 10 * MINUTE, HOUR)
    assert publish(listed).request.options.retry == RetryPolicy(4, None, delays)
    assert publish({**listed, "Upstash-Retries": "9"}).request.options.retry == RetryPolicy(9, None, delays)


@pytest.mark.parametrize(
    ("headers", "target"),
    [
        ({"Lateron-Retry-Delays": "5s"}, URL),
        ({"Upstash-Forward-Lateron-Retry-Delays": "5s"}, URL),
        ({}, f"{URL}?lateron-retry-delays=5s"),
    ],
)
def test_our_options_are_read_in_every_form_and_never_forwarded(headers: dict[str, str], target: str) -> None:
    """The SDKs prefix every header they do not know."""
    made = publish(headers, target=target)
    assert made.request.options.retry == RetryPolicy(1, None, (5 * SECOND,))
    assert made.request.headers == ()


@pytest.mark.parametrize("name", ["Lateron-Foo", "Upstash-Forward-Lateron-Foo", "Upstash-Callback-Forward-Lateron-Foo"])
def test_unknown_option_of_ours_is_refused_by_name(name: str) -> None:
    """A misspelt wish must not be dropped in silence."""
    assert name.lower() in refused({name: "1"})


def test_query_configures_as_headers_do_and_headers_win() -> None:
    """A webhook's URL is often the only place where anything can be set."""
    query = "upstash-retries=3&upstash-delay=100s&upstash-label=a+b%2Cc&upstash-forward-x=1&keep=1"
    made = publish({"Upstash-Retries": "5"}, target=f"{URL}/?{query}")
    assert made.request.url == f"{URL}/?keep=1"
    assert made.request.options.retry.retries == 5
    assert made.request.options.labels == ("a b", "c")
    assert made.request.headers == (("X", "1"),)
    assert made.delay_ms == 100 * SECOND


def test_callback_may_come_by_query() -> None:
    """Its options too."""
    query = "upstash-callback=https%3A%2F%2Fcb.example&upstash-callback-retries=0&upstash-callback-forward-x=1"
    callback = publish(target=f"{URL}?{query}").request.options.callback
    assert callback is not None
    assert (callback.url, callback.retry, callback.headers) == ("https://cb.example", RetryPolicy(0), (("X", "1"),))


@pytest.mark.promise("D-15")
def test_text_beyond_ascii_is_read_as_utf_8() -> None:
    """Clients send it as bytes; labels and keys are text."""
    headers = {"Upstash-Label": "größe", "Upstash-Flow-Control-Key": "ключ"}
    options = publish(headers).request.options
    assert options.labels == ("größe",)
    assert options.flow == Flow("ключ")


@pytest.mark.promise("P-44", "F-44")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Upstash-Retries", "-1"),
        ("Upstash-Retries", "1.5"),
        ("Upstash-Retries", ""),
        ("Upstash-Retries", "3, 3"),
        ("Upstash-Retries", "9" * 30),
        ("Upstash-Retry-Delay", "1 +"),
        ("Upstash-Retry-Delay", "__import__('os')"),
        ("Upstash-Delay", "soon"),
        ("Upstash-Delay", "-5s"),
        ("Upstash-Delay", "200y"),
        ("Upstash-Not-Before", "tomorrow"),
        ("Upstash-Not-Before", "1e9"),
        ("Upstash-Not-Before", "1700000060000"),
        ("Upstash-Not-Before", "nan"),
        ("Upstash-Timeout", "0"),
        ("Upstash-Timeout", "x"),
        ("Upstash-Label", "a\u202eb"),
        ("Upstash-Label", "x" * 257),
        ("Upstash-Label", ",".join(map(str, range(33)))),
        ("Upstash-Redact-Fields", "cookies"),
        ("Upstash-Redact-Fields", "header[]x"),
        ("Upstash-Flow-Control-Value", "rate=1"),
        ("Upstash-Flow-Control-Key", ""),
        ("Upstash-Deduplication-Id", ""),
        ("Upstash-Deduplication-Id", "x" * 1025),
        ("Upstash-Content-Based-Deduplication", "yes"),
        ("Upstash-Header-Forward", "1"),
        ("Upstash-Callback", "example.com"),
        ("Upstash-Callback", ""),
        ("Upstash-Failure-Callback", "ftp://example.com"),
        ("Lateron-Retry-Delays", ""),
        ("Lateron-Retry-Delays", "1s,,2s"),
        ("Lateron-Retry-Delays", "2d"),
        ("Lateron-Retry-Delays", ",".join(["1s"] * 101)),
        ("Lateron-Hops", "x"),
    ],
)
def test_bad_value_is_refused_by_name(name: str, value: str) -> None:
    """Now, with the name, the value and what was expected; not at the first delivery."""
    text = refused({name: value})
    assert text.lower().startswith(name.lower())
    assert len(text) < 600


@pytest.mark.parametrize(
    "value",
    [
        "parallelism=0",
        "parallelism=-1",
        "rate",
        "rate=",
        "rate=1.5",
        "rate=1,rate=2",
        "speed=1",
        "period=8d",
        "period=0",
        "period=500ms",
        "period=1500ms",
        "rate=99999999999",
        "rate=1,period=x",
        "a=1,b=2,c=3,d=4,e=5",
    ],
)
def test_bad_flow_control_value_is_refused(value: str) -> None:
    """A limit that was misread is no limit."""
    headers = {"Upstash-Flow-Control-Key": "k", "Upstash-Flow-Control-Value": value}
    assert refused(headers).startswith("upstash-flow-control-value")


def test_two_ways_to_set_retry_delays_exclude_each_other() -> None:
    """There is no order between a list and an expression."""
    assert "cannot be combined" in refused({"Lateron-Retry-Delays": "1s", "Upstash-Retry-Delay": "1"})


def test_unknown_option_of_theirs_is_left_aside() -> None:
    """A newer client must not fail; and a delivery may be passed on with its headers."""
    headers = {
        "Upstash-Something-New": "1",
        "Upstash-Message-Id": "m",
        "Upstash-Schedule-Id": "s",
        "Upstash-Region": "r",
    }
    assert publish(headers) == publish()


# Quotas


@pytest.mark.parametrize(
    ("headers", "quota"),
    [
        ({"Upstash-Retries": "1000000"}, "free"),
        ({"Upstash-Retries": "1000000"}, "payg"),
        ({"Upstash-Retries": "1000000"}, "pro"),
        ({"Upstash-Retries": "1000001"}, "none"),
        ({"Lateron-Retry-Delays": "1s,1s,1s,1s,1s,1s"}, "free"),
        ({"Upstash-Delay": "8d"}, "free"),
        ({"Upstash-Not-Before": str(NOW // SECOND + 8 * 86_400)}, "free"),
        ({"Upstash-Timeout": "16m"}, "free"),
        ({"Upstash-Timeout": "3h"}, "none"),
        ({"Upstash-Flow-Control-Key": "k", "Upstash-Flow-Control-Value": "parallelism=11"}, "free"),
        ({"Upstash-Callback": "https://c.example", "Upstash-Callback-Retries": "6"}, "free"),
        ({"Upstash-Failure-Callback": "https://c.example", "Upstash-Failure-Callback-Delay": "8d"}, "free"),
    ],
)
def test_quota_is_412(headers: dict[str, str], quota: str) -> None:
    """The workflow SDK tells it from other refusals by that status."""
    with pytest.raises(QuotaExceeded) as caught:
        publish(headers, quota=quota)
    assert caught.value.status == 412


def test_body_over_the_quota_is_412() -> None:
    """The contract lists it among the quotas."""
    small = replace(QUOTAS["free"], body=10)
    publish(body=b"x" * 10, quota=small)
    with pytest.raises(QuotaExceeded, match="body"):
        publish(body=b"x" * 11, quota=small)


def test_a_year_is_no_quota_without_one() -> None:
    """A self-hosted server keeps what it is given, as long as it is told."""
    assert publish({"Upstash-Delay": "36500d"}).delay_ms == 36_500 * DAY


# Callbacks


def test_callback_takes_the_options_of_a_publish() -> None:
    """Under their own prefix, the longest first."""
    options = publish(
        {
            "Upstash-Retries": "5",
            "Upstash-Retry-Delay": "1000",
            "Upstash-Callback": "https://cb.example/a",
            "Upstash-Callback-Method": "PATCH",
            "Upstash-Callback-Timeout": "5s",
            "Upstash-Callback-Retries": "1",
            "Upstash-Callback-Delay": "10s",
            "Upstash-Callback-Not-Before": "1700000060",
            "Upstash-Callback-Flow-Control-Key": "k",
            "Upstash-Callback-Flow-Control-Value": "rate=1",
            "Upstash-Callback-Label": "l",
            "Upstash-Callback-Redact-Fields": "body",
            "Upstash-Callback-Feature-Set": "x",
            "Upstash-Callback-Forward-Authorization": "Bearer c",
            "Upstash-Callback-Failure-Callback": "https://cb.example/nested",
            "Upstash-Callback-Failure-Callback-Retries": "2",
            "Upstash-Callback-Failure-Callback-Forward-X": "n",
            "Upstash-Failure-Callback": "https://cb.example/f",
            "Upstash-Failure-Callback-Retry-Delay": "retried * 10",
        }
    ).request.options
    callback, failure = options.callback, options.failure_callback
    assert callback is not None
    assert failure is not None
    assert (callback.url, callback.method, callback.timeout_ms) == ("https://cb.example/a", "PATCH", 5 * SECOND)
    assert callback.retry == RetryPolicy(1, "1000")
    assert (callback.delay_ms, callback.not_before) == (10 * SECOND, NOW + MINUTE)
    assert callback.flow == Flow("k", None, 1)
    assert (callback.labels, callback.redact) == (("l",), Redaction(body=True))
    assert callback.headers == (("Authorization", "Bearer c"),)
    nested = callback.failure_callback
    assert nested is not None
    assert (nested.url, nested.retry, nested.headers) == (
        "https://cb.example/nested",
        RetryPolicy(2, "1000"),
        (("X", "n"),),
    )
    assert failure.url == "https://cb.example/f"
    assert failure.retry == RetryPolicy(5, "retried * 10")


def test_callback_without_retry_options_has_those_of_its_source() -> None:
    """None stands for them, so that a redrive with other retries takes them along."""
    callback = publish({"Upstash-Callback": "https://cb.example", "Upstash-Retries": "9"}).request.options.callback
    assert callback is not None
    assert callback.retry is None


def test_our_options_work_for_callbacks_too() -> None:
    """Behind the callback's forward prefix, where an SDK puts what it does not know."""
    for name in ("Upstash-Callback-Lateron-Retry-Delays", "Upstash-Callback-Forward-Lateron-Retry-Delays"):
        callback = publish({"Upstash-Callback": "https://cb.example", name: "1s,2s"}).request.options.callback
        assert callback is not None
        assert callback.retry == RetryPolicy(2, None, (SECOND, 2 * SECOND))
        assert callback.headers == ()


@pytest.mark.promise("P-44")
@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("Upstash-Callback-Retries", "many", "whole number"),
        ("Upstash-Callback-Retry-Delay", "1+", "ends too early"),
        ("Upstash-Callback-X-Mine", "v", "upstash-callback-Forward-x-mine"),
        ("Upstash-Callback-Deduplication-Id", "d", "not an option of a callback"),
        ("Upstash-Callback-Cron", "* * * * *", "not an option of a callback"),
        ("Upstash-Callback-Callback", "https://x.example", "nothing nests deeper"),
        ("Upstash-Callback-Failure-Callback", "x", "begin with http"),
        ("Upstash-Callback-Forward-X", "a\x01b", "control"),
    ],
)
def test_callback_that_could_not_work_is_refused(name: str, value: str, text: str) -> None:
    """The hosted service once took such a message and failed in silence."""
    message = refused({"Upstash-Callback": "https://cb.example", name: value})
    assert name.lower() in message
    assert text in message


@pytest.mark.promise("P-44")
@pytest.mark.parametrize("prefix", ["Upstash-Failure-Callback", "Upstash-Callback-Failure-Callback"])
def test_nothing_nests_deeper_than_the_failure_callback_of_a_callback(prefix: str) -> None:
    """A callback of a failure callback of a callback has no end."""
    headers = {"Upstash-Callback": URL, prefix: URL, f"{prefix}-Failure-Callback": URL}
    assert "nothing nests deeper" in refused(headers)
