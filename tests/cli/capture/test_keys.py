"""Integrity of captured messages, checked with the passwords that are known."""

from __future__ import annotations

from typing import Any

import pytest

from fasticePy.cli.capture import keys as module
from fasticePy.cli.capture.keys import Integrity, Keys
from fasticePy.stun import (
    Attribute,
    IntegrityKey,
    Message,
    MessageBuilder,
    MessageClass,
    Method,
    PasswordAlgorithm,
    parse,
)

MI, MI256 = Attribute.MESSAGE_INTEGRITY, Attribute.MESSAGE_INTEGRITY_SHA256
ID = bytes(range(12))


def message(
    key: IntegrityKey | None, kind: int = MessageClass.REQUEST, id: bytes = ID, **attributes: str
) -> Message:
    builder = MessageBuilder(Method.ALLOCATE, kind, id)
    for name, value in attributes.items():
        builder.add(Attribute[name], value)
    return parse(builder.build(key))


@pytest.mark.parametrize(
    ("vector", "passwords", "expected"),
    [
        ("V1", ["VOkJxbRl1RmTxUk/WvJxBt"], {MI: "right: short-term"}),
        ("V2", ["wrong", "VOkJxbRl1RmTxUk/WvJxBt"], {MI: "right: short-term"}),
        ("V4", ["TheMatrIX"], {MI: "right: long-term, MD5"}),
        ("V6", ["VOkJxbRl1RmTxUk/WvJxBt"], {MI: "right: short-term", MI256: "right: short-term"}),
        ("V7", ["pass"], {MI: "right: long-term, MD5"}),
        ("V8", ["pass"], {MI256: "right: long-term, SHA-256"}),
        ("V8", ["ssap"], {MI256: "wrong for the password"}),
        ("V8", ["a", "b"], {MI256: "wrong for any of the 2 passwords"}),
        ("V8", [], {MI256: "not checked: no password"}),
        ("V9", ["pass"], {}),
    ],
)
def test_vectors(
    vectors: dict[str, Any], vector: str, passwords: list[str], expected: dict[int, str]
) -> None:
    checked = Keys(passwords).check(parse(bytes.fromhex(vectors[vector]["message_hex"])))
    assert {attribute: integrity.words for attribute, integrity in checked.items()} == expected
    rights = {"r": True, "w": False, "n": None}
    assert all(integrity.right is rights[integrity.words[0]] for integrity in checked.values())


def test_a_user_that_is_a_hash_must_be_told(vectors: dict[str, Any]) -> None:
    data = parse(bytes.fromhex(vectors["V5"]["message_hex"]))
    assert Keys(["TheMatrIX"]).check(data)[MI256].right is False
    user = "\u30de\u30c8\u30ea\u30c3\u30af\u30b9"
    assert Keys(["TheMatrIX"], user=user).check(data)[MI256].words == "right: long-term, SHA-256"


def test_of_two_each_has_its_verdict() -> None:
    """8489-33: they may differ; receivers look at the newer one."""
    key = IntegrityKey.short_term("pass")
    builder = MessageBuilder(Method.BINDING, MessageClass.REQUEST, ID)
    data = bytearray(builder.build(key, sha256=True))
    data[30] ^= 1  # within MESSAGE-INTEGRITY, which the other one covers
    assert Keys(["pass"]).check(parse(bytes(data))) == {
        MI: Integrity(False, "wrong for the password"),
        MI256: Integrity(False, "wrong for the password"),
    }
    data = bytearray(builder.build(key, sha256=True))
    data[-1] ^= 1
    checked = Keys(["pass"]).check(parse(bytes(data)))
    assert (checked[MI].right, checked[MI256].right) == (True, False)


def test_responses_are_checked_with_the_names_in_their_requests() -> None:
    key = IntegrityKey.long_term("user", "realm", "pass", PasswordAlgorithm.SHA256)
    keys = Keys(["pass"])
    answer = message(key, MessageClass.SUCCESS, SOFTWARE="s")
    assert keys.check(answer)[MI].right is False
    keys.check(message(None, USERNAME="user", REALM="realm"))
    assert keys.check(answer)[MI].words == "right: long-term, SHA-256"
    assert keys.check(message(key, MessageClass.SUCCESS, bytes(12)))[MI].right is False
    assert Keys(["pass"], user="user", realm="realm").check(answer)[MI].right is True


def test_what_is_remembered_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REMEMBERED", 10)
    keys = Keys(["pass"])
    for number in range(100):
        id = number.to_bytes(12, "big")
        keys.check(message(IntegrityKey.short_term("x"), id=id, USERNAME=f"u{number}", REALM="r"))
    assert len(keys._asked) == 10
    assert len(keys._long_term) == 10


def test_names_that_are_none() -> None:
    """Prepared as OpaqueStrings they fail, and that is no error of ours."""
    checked = Keys(["pass"]).check(message(IntegrityKey.short_term("x"), USERNAME="a\x01b", REALM="r"))
    assert checked[MI].right is False


@pytest.mark.parametrize(
    "options", [{"passwords": [""]}, {"passwords": ["p"], "user": "a\x01", "realm": "r"}]
)
def test_passwords_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Keys(**options)
