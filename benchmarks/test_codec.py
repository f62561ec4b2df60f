"""The STUN codec beside aioice's, on a connectivity check of 104 bytes as browsers send it, its answer, and media.

Each side is used as its own ICE agent uses it: aioice decodes all attributes and checks FINGERPRINT while parsing, ours
decodes what is asked for; so "parse" compares what a received datagram costs before anybody looks at it, and "take a
check" everything up to the values that an agent acts on.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from fasticePy import stun

aioice_stun = pytest.importorskip("aioice.stun")
aioice_turn = pytest.importorskip("aioice.turn")

ID = b"0123456789ab"
PASSWORD = "VOkJxbRl1RmTxUk/WvJxBt"
USERNAME = "abcdefgh:ijklmnop1234"
TIE_BREAKER = 0x932FF9B151263B36
PRIORITY = 0x6E0001FF
MAPPED = {"v4": ("192.0.2.1", 32853), "v6": ("2001:db8:1234:5678:11:2233:4455:6677", 32853)}
RTP = bytes.fromhex("8060") + bytes(1198)
CHANNEL_DATA = struct.pack("!HH", 0x4000, 1200) + bytes(1200)
PAYLOAD = bytes(1200)

ROUNDS = 60
ITERATIONS = {"make_fasticepy": 1000, "make_aioice": 50}
"""Calls in one round: enough of them that what pytest-benchmark does around a round does not show."""


def make_fasticepy() -> SimpleNamespace:
    """The operations by our codec."""
    key = stun.IntegrityKey.short_term(PASSWORD)
    binding, request, success = stun.Method.BINDING, stun.MessageClass.REQUEST, stun.MessageClass.SUCCESS
    username, priority = stun.Attribute.USERNAME, stun.Attribute.PRIORITY
    controlling, nominate = stun.Attribute.ICE_CONTROLLING, stun.Attribute.USE_CANDIDATE
    mapped = stun.Attribute.XOR_MAPPED_ADDRESS
    parse, builder_of, classify, rtp = stun.parse, stun.MessageBuilder, stun.classify, stun.PacketKind.RTP
    channel_data = stun.ChannelData

    def build_check() -> bytes:
        builder = builder_of(binding, request, ID)
        builder.add(username, USERNAME)
        builder.add(nominate)
        builder.add(controlling, TIE_BREAKER)
        builder.add(priority, PRIORITY)
        return builder.build(key, fingerprint=True)

    def build_answer(address: tuple[str, int]) -> bytes:
        builder = builder_of(binding, success, ID)
        builder.add(mapped, address)
        return builder.build(key, fingerprint=True)

    def verify(data: bytes) -> bool:
        message = parse(data)
        return message.verify_fingerprint() and message.verify_integrity(key)

    def take_check(data: bytes) -> tuple[str, int, int, bool]:
        message = parse(data)
        assert message.verify_fingerprint()
        assert message.verify_integrity(key)
        return message.get(username), message.get(priority), message.get(controlling), nominate in message

    def take_answer(data: bytes) -> tuple[str, int]:
        message = parse(data)
        assert message.verify_fingerprint()
        assert message.verify_integrity(key)
        address: tuple[str, int] = message.get(mapped)
        return address

    return SimpleNamespace(
        build_check=build_check,
        build_answer=build_answer,
        parse=parse,
        verify=verify,
        take_check=take_check,
        take_answer=take_answer,
        is_media=lambda data: classify(data) == rtp,
        unpack_channel=lambda data: channel_data.parse(data).payload,
        pack_channel=lambda data: channel_data.build(0x4000, data),
    )


def make_aioice() -> SimpleNamespace:
    """The same by aioice's, as its ice.py and turn.py call it."""
    key = PASSWORD.encode()
    method, classes = aioice_stun.Method.BINDING, aioice_stun.Class

    def build_check() -> bytes:
        message = aioice_stun.Message(method, classes.REQUEST, ID)
        message.attributes["USERNAME"] = USERNAME
        message.attributes["USE-CANDIDATE"] = None
        message.attributes["ICE-CONTROLLING"] = TIE_BREAKER
        message.attributes["PRIORITY"] = PRIORITY
        message.add_message_integrity(key)
        return bytes(message)

    def build_answer(address: tuple[str, int]) -> bytes:
        message = aioice_stun.Message(method, classes.RESPONSE, ID)
        message.attributes["XOR-MAPPED-ADDRESS"] = address
        message.add_message_integrity(key)
        return bytes(message)

    def parsed(data: bytes) -> Any:
        return aioice_stun.parse_message(data)

    def verify(data: bytes) -> bool:
        return check(parsed(data))

    def check(message: Any) -> bool:
        if hasattr(message, "check_message_integrity"):
            right: bool = message.check_message_integrity(key)
            return right
        return bool(aioice_stun.parse_message(bytes(message), integrity_key=key))  # aioice before 0.13

    def take_check(data: bytes) -> tuple[str, int, int, bool]:
        message = parsed(data)
        assert check(message)
        values = message.attributes
        return values["USERNAME"], values["PRIORITY"], values["ICE-CONTROLLING"], "USE-CANDIDATE" in values

    def take_answer(data: bytes) -> tuple[str, int]:
        message = parsed(data)
        assert check(message)
        address: tuple[str, int] = message.attributes["XOR-MAPPED-ADDRESS"]
        return address

    def is_media(data: bytes) -> bool:
        try:
            parsed(data)
        except ValueError:
            return True
        return False

    def unpack_channel(data: bytes) -> bytes:
        assert len(data) >= 4
        assert aioice_turn.is_channel_data(data)
        _, length = struct.unpack("!HH", data[0:4])
        return data[4 : 4 + length]

    return SimpleNamespace(
        build_check=build_check,
        build_answer=build_answer,
        parse=parsed,
        verify=verify,
        take_check=take_check,
        take_answer=take_answer,
        is_media=is_media,
        unpack_channel=unpack_channel,
        pack_channel=lambda data: struct.pack("!HH", 0x4000, len(data)) + data,
    )


CHECK = make_fasticepy().build_check()
CODECS = pytest.mark.parametrize("make", [make_fasticepy, make_aioice], ids=["fasticePy", "aioice"])
FAMILIES = pytest.mark.parametrize("family", list(MAPPED))
Make = Callable[[], SimpleNamespace]


def measure(benchmark: Any, make: Make, operation: str, *arguments: object) -> Any:
    """Time one operation of a codec; gives its result."""
    function = getattr(make(), operation)
    iterations = ITERATIONS[make.__name__]
    return benchmark.pedantic(function, arguments, rounds=ROUNDS, iterations=iterations, warmup_rounds=2)


@CODECS
@pytest.mark.benchmark(group="parse a check")
def test_parse(benchmark: Any, make: Make) -> None:
    assert len(measure(benchmark, make, "parse", CHECK).transaction_id) == 12


@CODECS
@pytest.mark.benchmark(group="parse and verify a check")
def test_verify(benchmark: Any, make: Make) -> None:
    assert measure(benchmark, make, "verify", CHECK)


@CODECS
@pytest.mark.benchmark(group="take a check: parse, verify, read")
def test_take_check(benchmark: Any, make: Make) -> None:
    assert measure(benchmark, make, "take_check", CHECK) == (USERNAME, PRIORITY, TIE_BREAKER, True)


@CODECS
@pytest.mark.benchmark(group="build and sign a check")
def test_build_check(benchmark: Any, make: Make) -> None:
    assert measure(benchmark, make, "build_check") == CHECK


@CODECS
@FAMILIES
@pytest.mark.benchmark(group="build and sign an answer")
def test_build_answer(benchmark: Any, make: Make, family: str) -> None:
    data = measure(benchmark, make, "build_answer", MAPPED[family])
    assert make().take_answer(data) == MAPPED[family]


@CODECS
@FAMILIES
@pytest.mark.benchmark(group="take an answer: parse, verify, read")
def test_take_answer(benchmark: Any, make: Make, family: str) -> None:
    data = make().build_answer(MAPPED[family])
    assert measure(benchmark, make, "take_answer", data) == MAPPED[family]


@CODECS
@pytest.mark.benchmark(group="tell media from STUN")
def test_is_media(benchmark: Any, make: Make) -> None:
    assert measure(benchmark, make, "is_media", RTP)


@CODECS
@pytest.mark.benchmark(group="unpack ChannelData")
def test_unpack_channel(benchmark: Any, make: Make) -> None:
    assert measure(benchmark, make, "unpack_channel", CHANNEL_DATA) == PAYLOAD


@CODECS
@pytest.mark.benchmark(group="pack ChannelData")
def test_pack_channel(benchmark: Any, make: Make) -> None:
    assert measure(benchmark, make, "pack_channel", PAYLOAD) == CHANNEL_DATA
