"""What Chromium 156 and Firefox ESR 153 really send (tests/fixtures/*.jsonl)."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

import pytest

from fasticePy import stun
from fasticePy.stun import Attribute, ChannelData, IntegrityKey, Message, MessageClass, Method, PacketKind

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"
CHECK_ATTRIBUTES = {
    Attribute.USERNAME,
    Attribute.PRIORITY,
    Attribute.USE_CANDIDATE,
    Attribute.ICE_CONTROLLING,
    Attribute.ICE_CONTROLLED,
    Attribute.GOOG_NETWORK_INFO,
    Attribute.MESSAGE_INTEGRITY,
    Attribute.FINGERPRINT,
}


def datagrams(name: str) -> list[bytes]:
    lines = (FIXTURES / name).read_text(encoding="utf-8").splitlines()
    return [bytes.fromhex(json.loads(line)["hex"]) for line in lines]


def messages(name: str) -> list[Message]:
    return [stun.parse(data) for data in datagrams(name) if stun.classify(data) == PacketKind.STUN]


def rebuilt(message: Message) -> bytes:
    """The same message out of its decoded values, without integrity and FINGERPRINT."""
    builder = stun.MessageBuilder(message.method, message.message_class, message.transaction_id)
    for attribute, raw in message.attributes():
        if attribute not in {Attribute.MESSAGE_INTEGRITY, Attribute.FINGERPRINT}:
            value = message.get(attribute)
            assert value is not None, (hex(attribute), raw)
            builder.add(attribute, value)
    return builder.build()


@pytest.mark.parametrize("browser", ["chromium", "firefox"])
def test_connectivity_checks(browser: str) -> None:
    found = messages(f"{browser}_checks.jsonl")
    assert {message.message_class for message in found} == {MessageClass.REQUEST, MessageClass.SUCCESS}
    for message in found:
        assert message.method == Method.BINDING
        assert message.verify_fingerprint()
        assert message.integrity_kind == "sha1"
        assert not message.verify_integrity(IntegrityKey.short_term("a-password-that-it-is-not"))
        if message.message_class == MessageClass.SUCCESS:
            host, port = message.get(Attribute.XOR_MAPPED_ADDRESS)
            assert ipaddress.ip_address(host).is_private
            assert port > 1023
            continue
        assert {attribute for attribute, _ in message.attributes()} <= CHECK_ATTRIBUTES
        assert message.unknown_required(CHECK_ATTRIBUTES) == ()
        local, colon, remote = message.get(Attribute.USERNAME).partition(":")
        assert min(len(local), len(remote)) >= 4
        assert colon
        assert 0 < message.get(Attribute.PRIORITY) < 1 << 31
        roles = [message.get(a) for a in (Attribute.ICE_CONTROLLING, Attribute.ICE_CONTROLLED)]
        assert [role is None for role in roles].count(True) == 1


@pytest.mark.parametrize("name", ["chromium_checks", "firefox_checks", "chromium_turn", "firefox_turn"])
def test_values_survive_building(name: str) -> None:
    """Every attribute that browsers and their TURN server use is understood, and written as it was read."""
    for message in messages(f"{name}.jsonl"):
        kept = len(rebuilt(message)) - 20
        assert rebuilt(message)[20:] == _zero_padded(message)[:kept]


def _zero_padded(message: Message) -> bytes:
    return b"".join(
        attribute.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value + bytes(-len(value) % 4)
        for attribute, value in message.attributes()
        if attribute not in {Attribute.MESSAGE_INTEGRITY, Attribute.FINGERPRINT}
    )


@pytest.mark.parametrize("browser", ["chromium", "firefox"])
def test_turn_sessions_verify(browser: str) -> None:
    """8489-39, 8489-63: the long-term key of user "u", password "p", in both directions."""
    found = messages(f"{browser}_turn.jsonl")
    realms = {message.get(Attribute.REALM) for message in found if Attribute.REALM in message}
    assert len(realms) == 1
    key = IntegrityKey.long_term("u", realms.pop(), "p")
    signed = [message for message in found if message.has_integrity]
    assert len(signed) >= 6
    assert all(message.verify_integrity(key) for message in signed)
    errors = [
        message.get(Attribute.ERROR_CODE) for message in found if message.message_class == MessageClass.ERROR
    ]
    assert [code for code, _ in errors] == [stun.ErrorCode.UNAUTHENTICATED]


def test_channel_data() -> None:
    packets = [d for d in datagrams("chromium_turn.jsonl") if stun.classify(d) == PacketKind.CHANNEL_DATA]
    assert len(packets) == 32
    for packet in packets:
        message = ChannelData.parse(packet)
        assert message is not None
        assert ChannelData.build(message.channel, message.payload) == packet
