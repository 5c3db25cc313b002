"""What may be a password, and what is kept of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lateron.core.password import COST, LONGEST, SALT_BYTES, Cost, check_password, hash_password, is_current, verify
from lateron.core.user import Change, NewUser, change, check_name, new_user, parse_change, parse_new_user
from lateron.errors import RequestError

CHEAP = Cost(4, 8, 1)
SALT = b"s" * SALT_BYTES
GOOD = "correct horse battery"
texts = st.text(max_size=40)


@given(texts, texts)
def test_only_the_password_itself_is_the_password(password: str, other: str) -> None:
    """Whatever somebody types, also what no form would let him."""
    stored = hash_password(password, SALT, CHEAP)
    assert verify(password, stored)
    assert not verify(other + "x", hash_password(other, SALT, CHEAP))


@pytest.mark.promise("D-54")
def test_what_is_kept_says_how_it_was_made_and_is_as_dear_as_is_advised() -> None:
    """So that the cost can rise, and old ones are still compared; the numbers are those of OWASP for 32 MiB."""
    stored = hash_password(GOOD, SALT)
    assert stored.startswith("$scrypt$ln=15,r=8,p=3$")
    assert GOOD not in stored
    assert verify(GOOD, stored)
    assert is_current(stored)
    assert not is_current(hash_password(GOOD, SALT, CHEAP))
    assert 128 * COST.r << COST.ln == 32 << 20


def test_other_salt_other_hash() -> None:
    """Two people with one password must not be seen to have it."""
    assert hash_password(GOOD, SALT, CHEAP) != hash_password(GOOD, b"t" * SALT_BYTES, CHEAP)


def test_letters_are_the_same_however_a_keyboard_puts_them_together() -> None:
    """One letter with an accent, or a letter and an accent; a ligature."""
    stored = hash_password("caf\u00e9 f\ufb01n de nuit", SALT, CHEAP)
    assert verify("cafe\u0301 ffin de nuit", stored)


@pytest.mark.promise("D-54")
@pytest.mark.parametrize(
    ("password", "said"),
    [
        ("", "12 to 1024 characters, got 0"),
        ("eleven char", "12 to 1024 characters, got 11"),
        ("x" * (LONGEST + 1), "got 1025"),
        ("one line\nand another", "one line"),
        ("a bell rings\a", "can be typed"),
        ("half a pair \ud800", "can be typed"),
        ("Anna.Andersson", "something else than the name"),
    ],
)
def test_what_cannot_be_a_password_is_refused_and_never_repeated(password: str, said: str) -> None:
    """With what was expected; the text of an error may be printed, or stand in a log."""
    with pytest.raises(RequestError, match=said) as refused:
        check_password(password, "anna.andersson")
    assert not password or password not in str(refused.value)


@pytest.mark.parametrize("password", ["x" * 12, "x" * LONGEST, "four words are enough", "密码密码密码密码密码密码"])
def test_what_may_be_a_password(password: str) -> None:
    """Length is what counts, not which signs are in it."""
    check_password(password, "anna")


def test_values_with_a_password_do_not_show_it() -> None:
    """They may come to stand in a trace of a bug."""
    shown = [repr(value) for value in (NewUser("a", "read", GOOD), Change("read", GOOD), Change(None, None))]
    assert not [text for text in shown if GOOD in text]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{}", "body: expected"),
        (b'{"name": "a", "scope": "read"}', "body: expected"),
        (b'{"name": "a b", "scope": "read", "password": "long as need be"}', "name: expected"),
        (b'{"name": "a", "scope": "root", "password": "long as need be"}', "scope: expected one of publish, read"),
        (b'{"name": "a", "scope": "read", "password": "short"}', "password: expected 12"),
        (b'{"name": "a", "scope": "read", "password": 123456789012}', "body: expected"),
        (b'{"name": "a", "scope": "read", "password": "long as need be", "x": 1}', "body: expected"),
    ],
)
def test_what_is_no_user_is_refused(body: bytes, said: str) -> None:
    """Before anything is hashed or stored."""
    with pytest.raises(RequestError, match=said):
        parse_new_user(body)


@pytest.mark.parametrize("body", [b"{}", b'{"scope": "root"}', b'{"password": "short"}', b'{"name": "b"}', b"[]"])
def test_what_is_no_change_is_refused(body: bytes) -> None:
    """A change that changes nothing is a mistake."""
    with pytest.raises(RequestError):
        parse_change(body, "anna")


def test_names_may_be_addresses_of_mail() -> None:
    """Which is what people remember."""
    check_name("anna+ops@example.com")
    assert new_user("anna", "read", GOOD).scope == "read"
    assert change(None, GOOD, "anna").password == GOOD
