"""What we sign, the official receivers accept; what was changed, nobody does."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import sha256
from hmac import digest as mac

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jwt.types import Options
from qstash import Receiver
from qstash.errors import SignatureError

from lateron.core.digest import body_sha256
from lateron.core.signature import Claims, Refused, sign, verify
from lateron.core.values import MINUTE, SECOND
from lateron.runtime import SystemClock

CURRENT = "sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r"
NEXT = "sig_5ZB6DVzB1wjE8S6rZ7eenA8Pdnhs"
NEVER = "sig_0123456789012345678901234567"
NOW = 1_700_000_000_000
URL = "https://example.com/path?x=1&y=%20"
BODY = b'{"hello":"world"}'


def token(body: bytes = BODY, url: str = URL, key: str = CURRENT, now: int = NOW) -> str:
    return sign(key, url, body_sha256(body), now, "jwt_1")


def decoded(text: str, key: str = CURRENT) -> dict[str, object]:
    no_times: Options = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
    return jwt.decode(text, key, algorithms=["HS256"], issuer="Upstash", options=no_times)


@pytest.mark.promise("P-106")
def test_token_has_the_claims_receivers_look_for() -> None:
    """An independent library reads them; their names and forms are those of the wire contract, 12."""
    assert decoded(token()) == {
        "iss": "Upstash",
        "sub": URL,
        "exp": NOW // SECOND + 300,
        "nbf": NOW // SECOND - 300,
        "iat": NOW // SECOND,
        "jti": "jwt_1",
        "body": urlsafe_b64encode(sha256(BODY).digest()).decode(),
    }
    assert jwt.get_unverified_header(token()) == {"alg": "HS256", "typ": "JWT"}


@pytest.mark.promise("P-106")
def test_body_claim_keeps_its_padding() -> None:
    """Receivers written by hand compare it so; the SDKs strip it."""
    assert str(decoded(token())["body"]).endswith("=")


@pytest.mark.promise("P-106")
def test_official_receiver_verifies_a_signature_made_now() -> None:
    """It asks the real clock, so this one test signs at the real time."""
    now = SystemClock().wall()
    receiver = Receiver(CURRENT, NEXT)

    receiver.verify(signature=token(now=now), body=BODY.decode(), url=URL)

    with pytest.raises(SignatureError):
        receiver.verify(signature=token(now=now), body="changed", url=URL)
    with pytest.raises(SignatureError):
        receiver.verify(signature=token(now=now), body=BODY.decode(), url=URL + "/")
    with pytest.raises(SignatureError):
        receiver.verify(signature=token(now=now, key=NEVER), body=BODY.decode(), url=URL)


@pytest.mark.promise("P-107")
def test_receiver_of_the_old_pair_survives_one_rotation_and_not_two() -> None:
    """After one rotation the old next key signs; after two, a key the receiver has never seen."""
    old_pair = [CURRENT, NEXT]
    after_one, after_two = token(key=NEXT), token(key=NEVER)

    assert isinstance(verify(after_one, old_pair, BODY, URL, NOW), Claims)
    assert isinstance(verify(after_two, old_pair, BODY, URL, NOW), Refused)


@pytest.mark.parametrize(
    ("body", "url", "now", "reason"),
    [
        (b"changed", URL, NOW, "another body"),
        (BODY, URL + "/", NOW, "made for"),
        (BODY, URL, NOW + 5 * MINUTE, "expired"),
        (BODY, URL, NOW - 5 * MINUTE - SECOND, "not valid yet"),
    ],
)
def test_token_is_good_for_one_request_and_ten_minutes(body: bytes, url: str, now: int, reason: str) -> None:
    """The catcher tells its user which of the claims is wrong."""
    answer = verify(token(), [CURRENT], body, url, now)
    assert isinstance(answer, Refused)
    assert reason in answer.reason


def test_tolerance_widens_the_time_a_token_is_good_for() -> None:
    """Two clocks are never the same."""
    for now in (NOW + 5 * MINUTE, NOW - 5 * MINUTE - SECOND):
        assert isinstance(verify(token(), [CURRENT], BODY, URL, now, tolerance=2 * SECOND), Claims)


def test_url_may_be_left_unchecked() -> None:
    """Behind a proxy a receiver does not know under which URL it was called."""
    assert isinstance(verify(token(), [CURRENT], BODY, None, NOW), Claims)


def test_algorithm_is_not_the_tokens_choice() -> None:
    """A token that says it needs no signature is the oldest attack on them."""
    claims = {"iss": "Upstash", "sub": URL, "exp": 2**40, "nbf": 0, "body": ""}
    forged = jwt.encode(claims, key="", algorithm="none")
    assert verify(forged, [CURRENT], BODY, URL, NOW) == Refused("algorithm 'none' is not HS256")


def test_signed_claims_of_the_wrong_shape_are_refused() -> None:
    """Our key may sign other things in other programs."""
    for claims in (b"[]", b'{"iss":"Upstash"}', b"\xff", b'{"iss":1}'):
        signed = b"eyJhbGciOiJIUzI1NiJ9." + urlsafe_b64encode(claims).rstrip(b"=")
        whole = signed + b"." + urlsafe_b64encode(mac(CURRENT.encode(), signed, "sha256")).rstrip(b"=")
        answer = verify(whole.decode(), [CURRENT], BODY, URL, NOW)
        assert isinstance(answer, Refused)
        assert answer.reason.startswith("not a token")


@given(st.binary(max_size=200), st.text(max_size=60), st.integers(SECOND * 300, 2**47))
def test_own_tokens_verify(body: bytes, url: str, now: int) -> None:
    """For every body, URL and time."""
    claims = verify(token(body, url, CURRENT, now), [NEXT, CURRENT], body, url, now)
    assert isinstance(claims, Claims)
    assert claims.sub == url


@pytest.mark.parametrize("key", ["k", "k" * 64, "k" * 65, "k" * 200, "\u20ac" * 30])
def test_key_of_any_length_signs_as_hmac_says(key: str) -> None:
    """A key longer than a block of the hash is hashed first (RFC 2104)."""
    signed, _, sealed = token(key=key).rpartition(".")

    assert sealed == urlsafe_b64encode(mac(key.encode(), signed.encode(), "sha256")).rstrip(b"=").decode()


@given(st.data())
def test_no_character_of_a_token_may_change(data: st.DataObject) -> None:
    """The last character of a part may carry unused bits; even they must be as written."""
    text = token()
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from(sorted(set("ABCxyz019-_.=+/ ") - {text[at]})))
    changed = text[:at] + other + text[at + 1 :]

    answer = verify(changed, [CURRENT], BODY, URL, NOW)

    assert isinstance(answer, Refused) or answer == verify(text, [CURRENT], BODY, URL, NOW)
    if at < text.rindex("."):
        assert isinstance(answer, Refused)


@pytest.mark.promise("F-44")
@given(st.text(max_size=300) | st.text("eyJABC.-_=", max_size=300))
def test_any_text_is_no_token(text: str) -> None:
    """The header of a request that reaches the catcher is anybody's."""
    assert isinstance(verify(text, [CURRENT], BODY, URL, NOW), Refused)
