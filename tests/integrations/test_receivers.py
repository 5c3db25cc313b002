"""A receiver of any framework believes what the server sends, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from http.client import HTTPConnection
from typing import Any

import pytest
from qstash import QStash
from tests.integrations.applications import FRAMEWORKS, NOTED
from tests.support.clients import connect

from lateron.core.signature import sign
from lateron.integrations import Delivery, NoKeys, Unverified
from lateron.integrations.receiving import Asked, Verifier
from lateron.runtime import SystemClock
from lateron.testing import Lateron
from lateron.testing.apps import App

SHOP = "https://shop.example/api"


@dataclass(frozen=True)
class Shop:
    """A running application."""

    address: str
    prefix: str

    @property
    def url(self) -> str:
        return f"{self.address}{self.prefix}"

    def post(self, path: str, body: bytes, token: str | None, **headers: str) -> tuple[int, Any]:
        """Request it as somebody who is not the server; return status and JSON of the answer."""
        connection = HTTPConnection(self.address.removeprefix("http://"), timeout=30)
        signed = {} if token is None else {"upstash-SIGNATURE": token}
        connection.request("POST", self.prefix + path, body, {**signed, **headers})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text) if text.startswith((b"{", b'"')) else text.decode()


@pytest.fixture(params=FRAMEWORKS)
def shop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    make, prefix = FRAMEWORKS[request.param]
    NOTED.deliveries.clear()
    monkeypatch.setenv("QSTASH_CURRENT_SIGNING_KEY", "sig_current")
    monkeypatch.setenv("QSTASH_NEXT_SIGNING_KEY", "sig_next")
    app = App(lambda _: make()).start(30)
    yield Shop(app.url, prefix)
    app.stop()


@pytest.fixture
def client(lateron: Lateron) -> Iterator[QStash]:
    with connect("sync", lateron.url, lateron.token) as connected:
        yield connected


def token(url: str, body: bytes = b"hello", key: str = "sig_current", late_s: int = 0) -> str:
    return sign(key, url, sha256(body).digest(), SystemClock().wall() - late_s * 1000, "jwt_1")


def test_a_route_is_given_what_the_server_delivered(shop: Shop, lateron: Lateron, client: QStash) -> None:
    """Bytes, query, odd paths and header lines, over real HTTP; the keys come by the environment."""
    url = f"{shop.url}/hook/a%20b/%C3%A9?q=%41&empty=&q=2"
    client.message.publish(url=url, body=b'\x00{"a": 1}\xff', headers={"X-Own": "1"}, retries=0)
    lateron.settle()

    (got,) = NOTED.deliveries
    assert (got.body, got.url, got.retried) == (b'\x00{"a": 1}\xff', url, 0)
    assert got.message_id.startswith("msg_")
    assert got.attempt_id.startswith("jwt_")
    assert (got.schedule_id, got.url_group, got.caller_ip, got.region) == (None, None, "127.0.0.1", None)
    assert (got.header("x-own"), got.header("x-other", "none")) == ("1", "none")
    assert lateron.states(got.message_id)[-1] == "DELIVERED"


def test_retries_schedules_and_groups_are_told(shop: Shop, lateron: Lateron, client: QStash) -> None:
    """The small things a route decides by."""
    client.url_group.upsert_endpoints("shops", [{"url": f"{shop.url}/hook/x"}])
    client.schedule.create(destination="shops", cron="0 9 * * *", schedule_id="morning", body='{"n": 7}')

    lateron.clock.advance("1d")

    (got,) = NOTED.deliveries
    assert (got.schedule_id, got.url_group, got.json(), got.text) == ("morning", "shops", {"n": 7}, '{"n": 7}')


def test_a_route_ends_the_retries(shop: Shop, lateron: Lateron, client: QStash) -> None:
    """A message that can never work is a dead letter at once, with the reason in it."""
    client.message.publish(url=f"{shop.url}/hook/x", body="poison", retries=5)

    (letter,) = lateron.dead_letters()
    assert letter["responseStatus"] == 489
    assert "poison" in letter["responseBody"]
    assert len(NOTED.deliveries) == 1


def test_the_report_of_a_callback_is_read(shop: Shop, lateron: Lateron, client: QStash) -> None:
    """The answer of a slow job comes back as a message."""
    url = lateron.catcher.url("job") + "?status=500&body=no"
    client.message.publish(url=url, body="work", retries=0, failure_callback=f"{shop.url}/hook/failed")
    lateron.settle()

    (got,) = NOTED.deliveries
    report = got.report()
    assert (report.url, report.status, report.ok, report.body, report.sent) == (url, 500, False, b"no", b"work")
    assert (report.retried, report.max_retries) == (0, 0)
    assert report.dead_letter_id == lateron.dead_letters()[0]["dlqId"]


def test_nobody_else_gets_in(shop: Shop) -> None:
    """Each of these is one lie; the route never runs, and the answer says which."""
    url = f"{shop.url}/hook/x"
    lies = [
        (None, "no Upstash-Signature header"),
        ("nonsense", "not a token"),
        (token(url, key="sig_other"), "none of our keys"),
        (token(url, b"other"), "another body"),
        (token(f"{shop.url}/hook/y"), "made for"),
        (token(url.replace("http:", "https:")), "base_url"),
        (token(url, late_s=3600), "expired"),
        (token(url, late_s=-3600), "not valid yet"),
    ]
    for lie, reason in lies:
        status, told = shop.post("/hook/x", b"hello", lie)
        assert status == 401, (lie, told)
        assert reason in json.dumps(told)

    assert NOTED.deliveries == []


def test_both_keys_are_believed(shop: Shop) -> None:
    """Keys are rotated without a gap."""
    for key in ("sig_current", "sig_next"):
        assert shop.post("/hook/x", b"hello", token(f"{shop.url}/hook/x", key=key))[0] == 200


def test_behind_a_proxy_the_url_is_the_one_the_world_knows(shop: Shop) -> None:
    """The proxy takes TLS off, and a prefix; what a client writes into Host changes nothing."""
    path = "/proxied/a%20b?c=%2F"
    signed = token(f"{SHOP}{shop.prefix}{path}")

    assert shop.post(path, b"hello", signed, Host="evil.example")[0] == 200
    assert shop.post("/proxied/a%20b?c=1", b"hello", signed)[0] == 401
    assert shop.post(path, b"hello", token(f"{shop.url}{path}"))[0] == 401
    assert shop.post(path, b"hello", token(f"HTTPS://SHOP.example:443/api{shop.prefix}{path}"))[0] == 200


def test_the_url_may_be_given(shop: Shop) -> None:
    """One fixed URL, or a function of the request, for what no rule foresees."""
    fixed = "https://shop.example/only?here=1"

    assert shop.post("/fixed/x", b"hello", token(fixed))[0] == 200
    assert shop.post("/fixed/x", b"hello", token(f"{shop.url}/fixed/x"))[0] == 401
    kinds = [f"https://{kind}.example/" for kind in ("Request", "WSGIRequest", "ASGIRequest", "LocalProxy")]
    assert [shop.post("/computed/x", b"hello", token(kind))[0] for kind in kinds].count(200) == 1


def test_without_keys_nothing_is_believed(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forgotten variable is an error of the application (500), never an open door."""
    monkeypatch.delenv("QSTASH_CURRENT_SIGNING_KEY")
    monkeypatch.delenv("QSTASH_NEXT_SIGNING_KEY")

    assert shop.post("/hook/x", b"hello", token(f"{shop.url}/hook/x", key=""))[0] == 500
    assert NOTED.deliveries == []


# What holds whatever the framework.


def deliver(verifier: Verifier[None], url: str, asked: Asked, **claims: Any) -> Delivery:
    return verifier.verify(None, [("Upstash-Signature", token(url, **claims))], b"hello", asked)


def test_clocks_may_differ_by_the_tolerance() -> None:
    """Beyond the five minutes that a signature allows by itself."""
    asked = Asked("http", "shop", "/x")
    with pytest.raises(Unverified, match="expired"):
        deliver(Verifier("sig_current"), "http://shop/x", asked, late_s=330)

    assert deliver(Verifier("sig_current", tolerance=60), "http://shop/x", asked, late_s=330).url == "http://shop/x"


@pytest.mark.parametrize(
    ("signed", "asked", "same"),
    [
        ("http://shop/x", Asked("http", "SHOP:80", "/x"), True),
        ("https://shop:443/x", Asked("https", "shop", "/x"), True),
        ("http://shop", Asked("http", "shop", "/"), True),
        ("http://shop?a=1", Asked("http", "shop", "/?a=1"), True),
        ("http://shop:8080/x", Asked("http", "shop", "/x"), False),
        ("http://shop/X", Asked("http", "shop", "/x"), False),
        ("http://shop/a%2Fb", Asked("http", "shop", "/a/b"), False),
        ("http://shop/a%2Fb", Asked("http", "shop", "/a/b", exact=False), True),
        ("http://shop/a%2Fb?c", Asked("http", "shop", "/a/b?d", exact=False), False),
        ("http://shop/x", Asked("http", "shop@evil", "/x"), False),
        ("http://shop/x", Asked("http", "", "/x"), False),
    ],
)
def test_one_url_may_be_spelt_in_many_ways(signed: str, asked: Asked, *, same: bool) -> None:
    """What means the same place is the same; what might not is not."""
    verifier: Verifier[None] = Verifier("sig_current")
    if same:
        assert deliver(verifier, signed, asked).url == signed
    else:
        with pytest.raises(Unverified, match="made for"):
            deliver(verifier, signed, asked)


@pytest.mark.parametrize(
    "options",
    [{"base_url": "shop.example"}, {"base_url": "https://a/?x=1"}, {"base_url": "https://a", "url": "https://a/b"}],
)
def test_a_wrong_url_is_refused_when_it_is_given(options: dict[str, Any]) -> None:
    """Not when the first message comes."""
    with pytest.raises(ValueError, match="base_url"):
        Verifier("sig_current", **options)


def test_no_key_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the variables."""
    monkeypatch.delenv("QSTASH_CURRENT_SIGNING_KEY", raising=False)
    monkeypatch.delenv("QSTASH_NEXT_SIGNING_KEY", raising=False)
    with pytest.raises(NoKeys, match="QSTASH_CURRENT_SIGNING_KEY"):
        deliver(Verifier(), "http://shop/x", Asked("http", "shop", "/x"))


def test_a_body_that_is_no_callback_is_told(delivery: Callable[[bytes], Delivery]) -> None:
    """A route that mixes both must be able to tell them apart."""
    for body in (b"[]", b"{}", b'{"sourceMessageId": "m"}', b"no json", b"\xff"):
        with pytest.raises(ValueError, match=r"."):
            delivery(body).report()


@pytest.fixture
def delivery() -> Callable[[bytes], Delivery]:
    def of(body: bytes) -> Delivery:
        signed = [("Upstash-Signature", token("http://shop/x", body))]
        return Verifier[None]("sig_current").verify(None, signed, body, Asked("http", "shop", "/x"))

    return of


@pytest.mark.parametrize("module", ["", ".starlette", ".flask", ".django"])
def test_only_the_framework_that_is_asked_for_is_imported(module: str) -> None:
    """An application in one framework must not need another, nor the server."""
    code = f"import lateron.integrations{module}, sys; print(*sorted(name for name in sys.modules if '.' not in name))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    frameworks = {"fastapi", "starlette", "flask", "django", "uvicorn", "apsw", "qstash"} & set(printed)
    assert frameworks == ({module[1:]} if module else set())
