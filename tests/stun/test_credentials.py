"""Keys, hashed names, nonce cookies, and the strings that they are made of."""

from __future__ import annotations

import copy
import hashlib
import hmac
import pickle
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasticePy import stun
from fasticePy.stun import IntegrityKey, PasswordAlgorithm, SecurityFeature

ASCII = st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1)


def signed(key: IntegrityKey) -> bytes:
    builder = stun.MessageBuilder(1, 0, bytes(12))
    return builder.build(key, sha256=True)


def test_long_term_keys() -> None:
    """8489-39: user:realm:pass by both algorithms."""
    md5 = stun.long_term_key("user", "realm", "pass")
    sha256 = stun.long_term_key("user", "realm", "pass", PasswordAlgorithm.SHA256)
    assert md5.hex() == "8493fbc53ba582fb4c044c456bdc40eb"
    assert sha256.hex() == "07e934117abd40836e7c6329b54731b2b2d2a5f9a71f544922d75e0730d8251b"
    assert signed(IntegrityKey.long_term("user", "realm", "pass")) == signed(IntegrityKey.from_bytes(md5))
    made = IntegrityKey.long_term("user", "realm", "pass", algorithm=PasswordAlgorithm.SHA256)
    assert signed(made) == signed(IntegrityKey.from_bytes(sha256))


def test_a_password_algorithm_that_nobody_knows() -> None:
    with pytest.raises(ValueError, match="30583"):
        stun.long_term_key("user", "realm", "pass", 0x7777)


def test_userhash() -> None:
    assert stun.userhash("user", "realm").hex() == (
        "6a3029116b47aa98bcaa325399733dc1a23cd57e26b81bef3ff6531ce624e2da"
    )


def test_strings_are_prepared_before_they_are_hashed() -> None:
    """8265-1: a decomposed and a composed é make the same key, and so do wide and plain spaces."""
    assert stun.long_term_key("e\u0301", "r\u3000m", "p") == stun.long_term_key("\u00e9", "r m", "p")
    assert stun.userhash("e\u0301", "r\u00a0m") == stun.userhash("\u00e9", "r m")
    assert signed(IntegrityKey.short_term("e\u0301")) == signed(IntegrityKey.from_bytes("\u00e9".encode()))
    for wrong in ("", "a\u0007", "a\u00ad"):
        with pytest.raises(ValueError, match="OpaqueString"):
            IntegrityKey.short_term(wrong)
        with pytest.raises(ValueError, match="OpaqueString"):
            stun.long_term_key("user", "realm", wrong)


@given(ASCII, ASCII, ASCII)
def test_ascii_strings_are_taken_as_they_are(user: str, realm: str, password: str) -> None:
    """5389-4: for ASCII there is no difference to the SASLprep of older peers."""
    assert stun.opaque_string(password) == password
    expected = hashlib.md5(f"{user}:{realm}:{password}".encode(), usedforsecurity=False).digest()
    assert stun.long_term_key(user, realm, password) == expected
    assert signed(IntegrityKey.short_term(password)) == signed(IntegrityKey.from_bytes(password.encode()))


@given(st.binary(max_size=200))
def test_keys_of_any_length(secret: bytes) -> None:
    """RFC 2104 2: keys longer than a block are hashed first."""
    data = signed(IntegrityKey.from_bytes(secret))
    head = data[:2] + (24).to_bytes(2, "big") + data[4:20]
    assert data[24:44] == hmac.new(secret, head, hashlib.sha1).digest()
    head = data[:2] + (60).to_bytes(2, "big") + data[4:44]
    assert data[48:80] == hmac.new(secret, head, hashlib.sha256).digest()


def test_a_key_shows_nothing_and_cannot_be_changed_or_copied_out() -> None:
    key = IntegrityKey.short_term("secret-password")
    assert repr(key) == str(key) == f"{key}" == "<IntegrityKey>"
    with pytest.raises(AttributeError):
        key.state = b""  # type: ignore[attr-defined]
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(key)
    with pytest.raises(TypeError):
        memoryview(key)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        IntegrityKey.from_bytes("text")  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------- nonce cookies


@pytest.mark.parametrize(
    ("nonce", "features"),
    [
        ("obMatJos2AAAAnonce", SecurityFeature.NONE),
        ("obMatJos2gAAA", SecurityFeature.PASSWORD_ALGORITHMS),
        ("obMatJos2QAAAx", SecurityFeature.USERNAME_ANONYMITY),
        ("obMatJos2wAAA", SecurityFeature.PASSWORD_ALGORITHMS | SecurityFeature.USERNAME_ANONYMITY),
        ("obMatJos2AAAC", SecurityFeature(2)),
        ("", None),
        ("nonce", None),
        ("obMatJos2", None),
        ("obMatJos2gAA", None),
        ("obMatJos2gA=A", None),
        ("obMatJos2gAA=", None),
        ("obMatJos2g\u00e9AA", None),
        ("xobMatJos2gAAA", None),
        ("OBMATJOS2gAAA", None),
    ],
)
def test_nonce_cookies(nonce: str, features: SecurityFeature | None) -> None:
    """8489-38: the feature bits count from the most significant one, all zero when nothing is used."""
    assert stun.security_features(nonce) == features
    if features is not None:
        assert stun.nonce_cookie(features) == nonce[:13]


# ----------------------------------------------------------------------------------------------------- OpaqueString


@pytest.mark.parametrize(
    ("text", "prepared"),
    [
        ("correct horse battery staple", "correct horse battery staple"),
        ("Correct Horse Battery Staple", "Correct Horse Battery Staple"),
        ("πßå", "πßå"),
        ("Jack of \u2666s", "Jack of \u2666s"),
        ("foo\u1680bar", "foo bar"),
        ("foo\u3000bar\u00a0", "foo bar "),
        (" ", " "),
        ("e\u0301", "\u00e9"),
        ("\u2168", "\u2168"),
        ("\uff21\uff11", "\uff21\uff11"),
        ("マトリックス", "マトリックス"),
        ("カ・タ", "カ・タ"),
        ("l\u00b7l", "l\u00b7l"),
        ("\u0375\u03b1", "\u0375\u03b1"),
        ("\u05d0\u05f3", "\u05d0\u05f3"),
        ("\u0915\u094d\u200d", "\u0915\u094d\u200d"),
        ("\u0915\u094d\u200c", "\u0915\u094d\u200c"),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
        ("\u0661\u0662", "\u0661\u0662"),
        ("\u06f1\u06f2", "\u06f1\u06f2"),
        ("\u3007\u06fd", "\u3007\u06fd"),
    ],
)
def test_opaque_strings(text: str, prepared: str) -> None:
    """8265-1: non-ASCII spaces become U+0020, the rest NFC; case, width and compatibility characters stay."""
    assert stun.opaque_string(text) == prepared
    assert stun.opaque_string(prepared) == prepared


@pytest.mark.parametrize(
    "text",
    [
        "",
        "my cat is a \u0009by",
        "\u0007",
        "\u00ad",
        "The\u00adM\u00aatr\u2168",
        "\u200b",
        "\ufeff",
        "a\u200db",
        "a\u200cb",
        "\u1100",
        "\u115f",
        "\ufdd0",
        "\U0001ffff",
        "\ue000",
        "\u0378",
        "\ud800",
        "\u2028",
        "\u0640",
        "a\u00b7b",
        "\u0375a",
        "a\u05f3",
        "a\u30fb",
        "\u0661\u06f1",
        "\U000e0001",
        "\x7f",
        "\n",
    ],
)
def test_strings_that_passwords_cannot_be(text: str) -> None:
    """8265-1: the empty string, controls, ignorable and unassigned characters, and some out of their context."""
    with pytest.raises(ValueError, match="OpaqueString"):
        stun.opaque_string(text)


@given(st.text(max_size=30))
def test_preparing_twice_changes_nothing(text: str) -> None:
    """8265-1: applied until stable."""
    try:
        prepared = stun.opaque_string(text)
    except ValueError:
        return
    assert stun.opaque_string(prepared) == prepared
    assert unicodedata.is_normalized("NFC", prepared)
