"""What is believed of a provider of OpenID Connect, and what its trouble costs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from joserfc.jwk import ECKey, OKPKey, RSAKey
from tests.api.provider import CLIENT, FIRST, SECOND, Key, keyed_with_public, packed, short, sign, unsigned
from tests.api.test_console import JSON, SESSION
from tests.api.test_openid import OIDC, TLS, Visit, told, why
from tests.api.world import ADMIN, as_json

from lateron.api import issuer as issuers
from lateron.api.issuer import KEPT, KEYS_REST, REST
from lateron.core.oidc import LEEWAY
from lateron.core.values import SECOND as SECOND_MS

Spoil = Callable[[dict[str, Any]], str]


def other(**claims: Any) -> Spoil:
    """Return what signs a token that is other than it should be; None leaves a claim out."""
    return lambda usual: sign({k: v for k, v in {**usual, **claims}.items() if v is not None}, FIRST)


STRANGER = RSAKey.generate_key(2048, {"kid": "first"})
SPOILT: dict[str, Spoil] = {
    "nonce of another login": other(nonce="another"),
    "no nonce": other(nonce=None),
    "nonce that is no text": other(nonce=7),
    "algorithm none": unsigned,
    "algorithm NONE": lambda claims: unsigned(claims, "NONE"),
    "no signature": lambda claims: sign(claims, FIRST).rpartition(".")[0] + ".",
    "HS256 with the public key": lambda claims: keyed_with_public(claims, FIRST),
    "key of a stranger": lambda claims: sign(claims, STRANGER),
    "claims of another token": lambda claims: ".".join(
        [sign(claims, FIRST).split(".")[0], packed({**claims, "sub": "u2"}), sign(claims, FIRST).split(".")[2]]
    ),
    "another audience": other(aud="another client"),
    "no audience": other(aud=None),
    "several audiences and no azp": other(aud=[CLIENT, "another client"]),
    "azp of another client": other(aud=[CLIENT], azp="another client"),
    "another issuer": other(iss="https://elsewhere.example.com"),
    "issuer with a slash": lambda claims: sign({**claims, "iss": claims["iss"] + "/"}, FIRST),
    "no issuer": other(iss=None),
    "expired": lambda claims: sign({**claims, "exp": claims["iat"] - LEEWAY // SECOND_MS}, FIRST),
    "no end": other(exp=None),
    "end that is no number": other(exp="9999999999"),
    "end that is true": other(exp=True),
    "end in all eternity": other(exp=1e300),
    "no beginning": other(iat=None),
    "made tomorrow": lambda claims: sign({**claims, "iat": claims["iat"] + 86_400}, FIRST),
    "not yet": lambda claims: sign({**claims, "nbf": claims["iat"] + 86_400}, FIRST),
    "no subject": other(sub=None),
    "endless subject": other(sub="u" * 256),
    "a critical header nobody knows": lambda claims: (
        f"{packed({'alg': 'RS256', 'kid': 'first', 'crit': ['x'], 'x': 1})}"
        f".{'.'.join(sign(claims, FIRST).split('.')[1:])}"
    ),
    "no token": lambda _: "not.a.token",
    "a header in no encoding": lambda _: "\u00e4.b.c",
    "an encrypted token": lambda claims: sign(claims, FIRST) + ".a.b",
    "claims without a bottom": lambda _: sign(b'{"sub":' + b"[" * 2000, FIRST),
    "claims that are a list": lambda _: sign([1], FIRST),  # type: ignore[arg-type]
}


@pytest.mark.promise("D-54")
@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT.keys())
def test_a_token_is_believed_only_if_all_of_it_is_right(spoil: Spoil) -> None:
    """Each of these was somebody's hole."""

    async def story(visit: Visit) -> None:
        visit.provider.token = spoil
        await visit.is_refused("token")
        visit.provider.token = lambda claims: sign(claims, FIRST)
        assert why(await visit.log_in()) == "", "the next login is not touched by it"

    told(story)


def test_several_audiences_with_our_azp_and_clocks_a_little_apart_are_right() -> None:
    """What the standard allows, and what machines are like."""

    async def story(visit: Visit) -> None:
        visit.provider.token = lambda claims: sign(
            {**claims, "aud": ["x", CLIENT], "azp": CLIENT, "iat": claims["iat"] + 59, "exp": claims["iat"] - 59}, FIRST
        )
        assert why(await visit.log_in()) == ""

    told(story)


@pytest.mark.parametrize(
    ("key", "alg"),
    [
        (RSAKey.generate_key(2048, {"kid": "k"}), "PS256"),
        (ECKey.generate_key("P-256", {"kid": "k", "alg": "ES256"}), "ES256"),
        (OKPKey.generate_key("Ed25519", {"kid": "k"}), "EdDSA"),
    ],
    ids=["PS256", "ES256", "EdDSA"],
)
def test_other_good_signatures_are_taken_if_they_are_announced(key: Key, alg: str) -> None:
    """And only then."""

    async def story(visit: Visit) -> None:
        visit.provider.keys = [key]
        visit.provider.token = lambda claims: sign(claims, key, alg)
        assert why(await visit.log_in()) == ""
        visit.provider.described = {"id_token_signing_alg_values_supported": ["RS256"]}
        visit.clock.now += KEPT
        assert why(await visit.log_in()) == "token"

    told(story)


@pytest.mark.promise("D-54")
@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"use": "enc"}, "token"),
        ({"alg": "PS256"}, "token"),
        ({"kty": "oct", "k": "c2VjcmV0"}, "token"),
        ({"n": 7}, "token"),
        ({"n": "A"}, "token"),
        ({"kty": "EC", "crv": ["P-256"]}, "token"),
        ({"kid": "elsewhere"}, "token"),
    ],
    ids=["to encrypt", "for another algorithm", "a secret", "no key", "an empty key", "no curve", "another name"],
)
def test_a_key_is_used_for_what_it_is_made_for(changes: dict[str, Any], word: str) -> None:
    """A provider that shows other keys as well shows them for something else."""

    async def story(visit: Visit) -> None:
        shown = {**FIRST.as_dict(private=False), **changes}
        visit.provider.instead["/keys"] = (200, json.dumps({"keys": [shown]}).encode())
        await visit.is_refused(word)

    told(story)


@pytest.mark.promise("D-54")
def test_a_short_key_is_not_believed() -> None:
    """Whoever can compute for a while can sign with it."""

    async def story(visit: Visit) -> None:
        key = short()
        visit.provider.keys = [key]
        visit.provider.token = lambda claims: sign(claims, key)
        await visit.is_refused("token")

    told(story)


def test_a_token_without_a_name_of_its_key_needs_a_provider_with_one_key() -> None:
    """Trying all of them would be guessing."""

    async def story(visit: Visit) -> None:
        visit.provider.token = lambda claims: sign(claims, FIRST, kid=None)
        assert why(await visit.log_in()) == ""
        visit.provider.keys = [FIRST, SECOND]
        visit.clock.now += KEPT
        assert why(await visit.log_in()) == "token"

    told(story)


@pytest.mark.promise("D-54")
def test_a_new_key_of_the_provider_is_looked_for_once_and_not_too_often() -> None:
    """Keys are changed without notice; a token of a stranger must not make us ask and ask."""

    async def story(visit: Visit) -> None:
        provider, asked = visit.provider, visit.provider.asked
        assert why(await visit.log_in()) == ""
        assert asked.count("/keys") == 1
        provider.token = lambda claims: sign(claims, SECOND)
        assert why(await visit.log_in()) == "token"
        assert asked.count("/keys") == 1, "they were looked at a moment ago"
        visit.clock.now += KEYS_REST
        assert why(await visit.log_in()) == "token"
        assert why(await visit.log_in()) == "token"
        assert asked.count("/keys") == 2
        provider.keys = [SECOND]
        visit.clock.now += KEYS_REST
        assert why(await visit.log_in()) == ""
        assert why(await visit.log_in()) == ""
        assert (asked.count("/keys"), asked.count("/.well-known/openid-configuration")) == (3, 1)

    told(story)


async def never(writer: asyncio.StreamWriter) -> None:
    """Say nothing, until the other side has had enough."""
    await writer.wait_closed()


async def drip(writer: asyncio.StreamWriter) -> None:
    """Say it letter by letter."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n")
    for _ in range(4000):
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def redirect(writer: asyncio.StreamWriter) -> None:
    """Send whoever asks elsewhere."""
    writer.write(b"HTTP/1.1 302 Found\r\nLocation: /keys?secret=1\r\nContent-Length: 0\r\n\r\n")


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """End without an answer."""
    writer.close()


TROUBLE: dict[str, Any] = {
    "silent": never,
    "slow": drip,
    "elsewhere": redirect,
    "gone": hang_up,
    "huge": (200, b'{"a": "' + b"x" * 100_000 + b'"}'),
    "no JSON": (200, b"<html>\xff"),
    "not an object": (200, b"[1]"),
    "empty": (200, b"{}"),
    "without a bottom": (200, b'{"issuer":' + b"[" * 4000),
    "in trouble": (500, b"oops"),
    "refusing": (400, b'{"error": "invalid_client"}'),
}


@pytest.mark.promise("D-54")
@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/token", "/keys"])
@pytest.mark.parametrize("trouble", TROUBLE.values(), ids=TROUBLE.keys())
def test_a_provider_in_trouble_is_told_and_costs_a_bounded_time(
    path: str, trouble: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing of it is answered but words of ours; when it is well again, so is the login."""
    monkeypatch.setattr(issuers, "TIMEOUT_MS", 300)

    async def story(visit: Visit) -> None:
        visit.provider.instead[path] = trouble
        if path == "/.well-known/openid-configuration":
            answer = await visit.leave()
            told = "the provider cannot be used now, and the log of this server says why"
            assert (answer.status, answer.json()) == (503, {"error": told})
            await visit.leave()
            assert len(visit.provider.asked) == 1, "it is not asked again at once"
        else:
            await visit.is_refused("issuer")
        visit.provider.instead.clear()
        visit.clock.now += REST
        assert why(await visit.log_in()) == ""

    told(story)


def test_an_answer_that_is_too_large_is_none_even_if_its_beginning_is_right() -> None:
    """What was cut off could say the opposite."""

    async def story(visit: Visit) -> None:
        content = json.dumps(visit.provider.description()).encode() + b" " * 100_000
        visit.provider.instead["/.well-known/openid-configuration"] = (200, content)
        assert (await visit.leave()).status == 503

    told(story)


@pytest.mark.promise("D-54")
@pytest.mark.parametrize(
    "described",
    [
        {"issuer": "https://elsewhere.example.com"},
        {"token_endpoint": "http://login.example.com/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"id_token_signing_alg_values_supported": ["HS256", "none"]},
        {"userinfo_endpoint": "http://192.0.2.1/"},
    ],
)
def test_a_description_that_is_not_safe_is_not_used(described: dict[str, Any]) -> None:
    """It says where the secret goes, and where the browser does."""

    async def story(visit: Visit) -> None:
        visit.provider.described = described
        assert (await visit.leave()).status == 503
        assert visit.browser.cookies == {}

    told(story)


def test_a_provider_that_is_down_is_no_reason_not_to_log_in_otherwise() -> None:
    """The page is told its name all the same, and a token logs in."""

    async def story(visit: Visit) -> None:
        assert (await visit.leave()).status == 503
        assert (await visit.browser.ask("GET", OIDC, TLS)).json() == {"name": "Our Login", "why": None}
        answer = await visit.browser.ask("POST", SESSION, JSON, TLS, body=as_json({"token": ADMIN}))
        assert answer.status == 200

    told(story, issuer=lambda _: "http://127.0.0.1:1")
