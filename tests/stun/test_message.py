"""Reading messages: what is accepted, what is visible, what verifies."""

from __future__ import annotations

import ipaddress
import struct
from types import ModuleType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fasticePy import stun
from fasticePy.stun import Attribute, IntegrityKey, Message, MessageBuilder, MessageClass, Method, ParseError

ID = bytes(range(12))
SECRET = b"VOkJxbRl1RmTxUk/WvJxBt"
KEY = IntegrityKey.from_bytes(SECRET)


def raw_message(*attributes: tuple[int, bytes], padding: bytes = b"\0") -> bytes:
    body = b"".join(
        struct.pack("!HH", attribute, len(value)) + value + padding * (-len(value) % 4)
        for attribute, value in attributes
    )
    return struct.pack("!HHI", 0x0001, len(body), 0x2112A442) + ID + body


def parse_one(attribute: int, value: bytes) -> Any:
    """What a message gives for an attribute with these bytes."""
    return stun.parse(raw_message((attribute, value))).get(attribute)


# ------------------------------------------------------------------------------------------------------ the header


def test_header_fields(vectors: dict[str, dict[str, Any]]) -> None:
    data = bytes.fromhex(vectors["V2"]["message_hex"])
    message = stun.parse(data)
    assert message.method == Method.BINDING
    assert message.message_class == MessageClass.SUCCESS
    assert message.transaction_id == bytes.fromhex("b7e7a701bc34d686fa87dfae")
    assert message.data is data
    assert len(message) == len(data)
    assert (message.has_integrity, message.has_fingerprint, message.integrity_kind) == (True, True, "sha1")


def test_each_header_field_of_a_good_message_matters(vectors: dict[str, dict[str, Any]]) -> None:
    """8489-1: two zero bits, cookie, length: every one of these bits flipped makes it no STUN message."""
    good = bytes.fromhex(vectors["V1"]["message_hex"])
    checked = [(0, 0x80), (0, 0x40), *((2 + i, 1 << bit) for i in (0, 1) for bit in range(8))]
    checked += [(4 + i, 1 << bit) for i in range(4) for bit in range(8)]
    for index, bit in checked:
        bad = bytearray(good)
        bad[index] ^= bit
        assert not stun.is_stun(bad), (index, bit)
        with pytest.raises(ParseError):
            stun.parse(bad)


def test_length_is_what_follows_the_header(vectors: dict[str, dict[str, Any]]) -> None:
    """8489-1: a datagram longer or shorter than 20 + length is refused."""
    good = bytes.fromhex(vectors["V1"]["message_hex"])
    assert stun.is_stun(good)
    for bad in [good[:n] for n in range(len(good))] + [good + bytes(n) for n in (1, 2, 3, 4, 8)]:
        assert not stun.is_stun(bad)
        with pytest.raises(ParseError):
            stun.parse(bad)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 6, 7])
def test_a_length_that_is_no_multiple_of_four(length: int) -> None:
    """8489-1"""
    data = struct.pack("!HHI", 1, length, 0x2112A442) + ID + bytes(length)
    assert not stun.is_stun(data)
    with pytest.raises(ParseError, match="length"):
        stun.parse(data)


def test_every_method_in_every_class(oracle: ModuleType) -> None:
    """8489-2: the bits of method and class are interleaved."""
    for method in range(0x1000):
        for message_class in range(4):
            data = MessageBuilder(method, message_class, ID).build()
            assert int.from_bytes(data[:2], "big") == oracle.message_type(method, message_class)
            message = stun.parse(data)
            assert (message.method, message.message_class) == (method, message_class)


@pytest.mark.parametrize(
    ("method", "types"),
    [
        (Method.BINDING, (0x0001, 0x0011, 0x0101, 0x0111)),
        (Method.ALLOCATE, (0x0003, None, 0x0103, 0x0113)),
        (Method.REFRESH, (0x0004, None, 0x0104, 0x0114)),
        (Method.SEND, (None, 0x0016, None, None)),
        (Method.DATA, (None, 0x0017, None, None)),
        (Method.CREATE_PERMISSION, (0x0008, None, 0x0108, 0x0118)),
        (Method.CHANNEL_BIND, (0x0009, None, 0x0109, 0x0119)),
        (Method.CONNECT, (0x000A, None, 0x010A, 0x011A)),
        (Method.CONNECTION_BIND, (0x000B, None, 0x010B, 0x011B)),
        (Method.CONNECTION_ATTEMPT, (None, 0x001C, None, None)),
        (Method.GOOG_PING, (0x0200, None, 0x0300, 0x0310)),
    ],
)
def test_message_types_as_printed(method: Method, types: tuple[int | None, ...]) -> None:
    """8489-2: the types in use today."""
    for message_class, expected in zip(MessageClass, types, strict=True):
        if expected is not None:
            assert MessageBuilder(method, message_class, ID).build()[:2] == expected.to_bytes(2, "big")


# ------------------------------------------------------------------------------------------------ attributes and TLV


def test_padding_is_not_looked_at(vectors: dict[str, dict[str, Any]]) -> None:
    """8489-59: V1 has 0x20 for padding; any other padding reads the same."""
    message = stun.parse(bytes.fromhex(vectors["V1"]["message_hex"]))
    assert message.get(Attribute.USERNAME) == "evtj:h6vY"
    assert message.raw(Attribute.USERNAME) == b"evtj:h6vY"
    for size in range(9):
        value = bytes(range(1, size + 1))
        message = stun.parse(raw_message((0x8FFF, value), (0x0024, bytes(4)), padding=b"\xff"))
        assert message.attributes() == [(0x8FFF, value), (0x0024, bytes(4))]


@pytest.mark.parametrize("size", [1, 4, 5, 0xFFFC, 0xFFFD, 0xFFFF])
def test_an_attribute_that_reaches_beyond_the_message(size: int) -> None:
    data = raw_message((0x8022, b"abcd"), (0x0006, b""))
    data = data[:-2] + size.to_bytes(2, "big")
    with pytest.raises(ParseError, match="beyond"):
        stun.parse(data)


def test_the_first_of_duplicates_counts() -> None:
    """8489-60: of two USERNAMEs the first; all are there for attributes that may repeat."""
    peers = [stun_address("192.0.2.1", 1), stun_address("192.0.2.2", 2)]
    message = stun.parse(
        raw_message((0x0006, b"one"), (0x0001, peers[0]), (0x0006, b"two"), (0x0001, peers[1]))
    )
    assert message.get(Attribute.USERNAME) == "one"
    assert message.raw(Attribute.USERNAME) == b"one"
    assert message.get_all(Attribute.USERNAME) == ["one", "two"]
    assert message.get_all(Attribute.MAPPED_ADDRESS) == [("192.0.2.1", 1), ("192.0.2.2", 2)]


def test_a_malformed_first_duplicate_hides_the_second() -> None:
    """8489-60: the first one counts, and it is not valid."""
    message = stun.parse(raw_message((0x0024, b"xy"), (0x0024, bytes(4))))
    assert message.get(Attribute.PRIORITY) is None
    assert message.raw(Attribute.PRIORITY) == b"xy"
    assert message.get_all(Attribute.PRIORITY) == [0]


def stun_address(host: str, port: int) -> bytes:
    address = ipaddress.ip_address(host)
    return bytes([0, 1 if address.version == 4 else 2]) + struct.pack("!H", port) + address.packed


def test_absent_is_none_and_contains_says_so() -> None:
    message = stun.parse(raw_message((0x0025, b"")))
    assert message.get(Attribute.PRIORITY) is None
    assert message.raw(Attribute.PRIORITY) is None
    assert message.get_all(Attribute.PRIORITY) == []
    assert Attribute.PRIORITY not in message
    assert Attribute.USE_CANDIDATE in message
    assert message.raw(Attribute.USE_CANDIDATE) == b""
    assert message.get(-1) is None
    assert message.get(0x12345) is None
    assert (message.has_integrity, message.has_fingerprint, message.integrity_kind) == (False, False, None)
    assert not message.verify_integrity(KEY)
    assert not message.verify_fingerprint()


def test_unknown_attributes_are_kept_and_required_ones_listed() -> None:
    message = stun.parse(
        raw_message(
            (0x7FFF, b"a"), (0x8FFF, b"b"), (0x0006, b"c"), (0x7FFF, b"d"), (0x0030, b""), (0x0008, bytes(20))
        )
    )
    assert message.get(0x8FFF) == b"b"
    assert message.get_all(0x7FFF) == [b"a", b"d"]
    assert message.unknown_required({Attribute.USERNAME}) == (0x7FFF, 0x0030)
    assert message.unknown_required((0x0030, 0x7FFF)) == (Attribute.USERNAME,)
    assert message.unknown_required(frozenset({6, 0x30, 0x7FFF})) == ()


@pytest.mark.parametrize(
    ("attribute", "value", "expected"),
    [
        (Attribute.PRIORITY, bytes.fromhex("6e0001ff"), 0x6E0001FF),
        (Attribute.LIFETIME, bytes.fromhex("ffffffff"), 0xFFFFFFFF),
        (Attribute.CHANGE_REQUEST, bytes.fromhex("00000006"), 6),
        (Attribute.CONNECTION_ID, bytes.fromhex("80000001"), 0x80000001),
        (Attribute.CACHE_TIMEOUT, bytes.fromhex("00000001"), 1),
        (Attribute.PRIORITY, bytes(3), None),
        (Attribute.PRIORITY, bytes(5), None),
        (Attribute.PRIORITY, b"", None),
        (Attribute.ICE_CONTROLLED, bytes.fromhex("932ff9b151263b36"), 0x932FF9B151263B36),
        (Attribute.ICE_CONTROLLING, bytes.fromhex("ffffffffffffffff"), 0xFFFFFFFFFFFFFFFF),
        (Attribute.ICE_CONTROLLING, bytes(4), None),
        (Attribute.CHANNEL_NUMBER, bytes.fromhex("40010000"), 0x4001),
        (Attribute.CHANNEL_NUMBER, bytes.fromhex("4001"), None),
        (Attribute.RESPONSE_PORT, bytes.fromhex("1f900000"), 8080),
        (Attribute.RESPONSE_PORT, bytes.fromhex("1f90"), 8080),
        (Attribute.REQUESTED_TRANSPORT, bytes.fromhex("11000000"), 17),
        (Attribute.REQUESTED_ADDRESS_FAMILY, bytes.fromhex("02ffffff"), 2),
        (Attribute.ADDITIONAL_ADDRESS_FAMILY, bytes.fromhex("02"), None),
        (Attribute.EVEN_PORT, b"\x80", True),
        (Attribute.EVEN_PORT, b"\x7f", False),
        (Attribute.EVEN_PORT, b"", None),
        (Attribute.USE_CANDIDATE, b"", True),
        (Attribute.USE_CANDIDATE, bytes(4), None),
        (Attribute.DONT_FRAGMENT, b"", True),
        (Attribute.USERNAME, "マトリックス".encode(), "マトリックス"),
        (Attribute.USERNAME, b"", ""),
        (Attribute.USERNAME, b"\xff\xfe", None),
        (Attribute.USERNAME, b"\xed\xa0\x80", None),
        (Attribute.NONCE, b"obMatJos2", "obMatJos2"),
        (Attribute.SOFTWARE, b"a\0b", "a\0b"),
        (Attribute.THIRD_PARTY_AUTHORIZATION, b"example.org", "example.org"),
        (Attribute.DATA, b"", b""),
        (Attribute.DATA, bytes(1200), bytes(1200)),
        (Attribute.MOBILITY_TICKET, b"", b""),
        (Attribute.RESERVATION_TOKEN, bytes(8), bytes(8)),
        (Attribute.RESERVATION_TOKEN, bytes(7), None),
        (Attribute.USERHASH, bytes(32), bytes(32)),
        (Attribute.USERHASH, bytes(31), None),
        (Attribute.UNKNOWN_ATTRIBUTES, bytes.fromhex("00060025"), (6, 0x25)),
        (Attribute.UNKNOWN_ATTRIBUTES, b"", ()),
        (Attribute.UNKNOWN_ATTRIBUTES, b"\0", None),
        (Attribute.ICMP, bytes.fromhex("0000030100000578"), (3, 1, 1400)),
        (Attribute.ICMP, bytes(7), None),
        (Attribute.TRANSACTION_TRANSMIT_COUNTER, bytes.fromhex("00000302"), (3, 2)),
        (Attribute.TRANSACTION_TRANSMIT_COUNTER, bytes(3), None),
        (Attribute.ADDRESS_ERROR_CODE, bytes.fromhex("02000428") + b"no", (2, 440, "no")),
        (Attribute.ADDRESS_ERROR_CODE, bytes(3), None),
        (Attribute.GOOG_NETWORK_INFO, bytes.fromhex("000003e7"), bytes.fromhex("000003e7")),
    ],
)
def test_values(attribute: int, value: bytes, expected: object) -> None:
    found = parse_one(attribute, value)
    assert found == expected
    assert type(found) is type(expected)


# ------------------------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize("attribute", [0x0001, 0x0002, 0x0004, 0x0005, 0x000B, 0x8023, 0x802B, 0x802C])
def test_plain_addresses(attribute: int) -> None:
    """8489-61, 8489-67: ALTERNATE-SERVER and the others that are not XORed."""
    assert parse_one(attribute, stun_address("192.0.2.1", 32853)) == ("192.0.2.1", 32853)
    assert parse_one(attribute, stun_address("2001:db8::1", 1)) == ("2001:db8::1", 1)


@pytest.mark.parametrize("attribute", [Attribute.XOR_MAPPED_ADDRESS, Attribute.XOR_PEER_ADDRESS])
def test_xored_addresses(attribute: int, oracle: ModuleType) -> None:
    for host in ("192.0.2.1", "2001:db8:1234:5678:11:2233:4455:6677"):
        assert parse_one(attribute, oracle.encode_address(host, 32853, ID)) == (host, 32853)


def test_the_vectors_addresses(vectors: dict[str, dict[str, Any]]) -> None:
    """8489-61: V2 and V3."""
    v4 = stun.parse(bytes.fromhex(vectors["V2"]["message_hex"]))
    v6 = stun.parse(bytes.fromhex(vectors["V3"]["message_hex"]))
    assert v4.get(Attribute.XOR_MAPPED_ADDRESS) == ("192.0.2.1", 32853)
    assert v6.get(Attribute.XOR_MAPPED_ADDRESS) == ("2001:db8:1234:5678:11:2233:4455:6677", 32853)


@pytest.mark.parametrize("first", [0, 1, 255])
def test_the_first_byte_of_an_address_is_ignored(first: int) -> None:
    """8489-61"""
    assert parse_one(0x0001, bytes([first]) + stun_address("192.0.2.1", 9)[1:]) == ("192.0.2.1", 9)


@given(st.integers(0, 255), st.binary(max_size=24))
def test_an_address_of_another_family_or_length_is_invalid(family: int, rest: bytes) -> None:
    """8489-61"""
    value = bytes([0, family]) + rest
    valid = (family, len(value)) in {(1, 8), (2, 20)}
    assert (parse_one(0x0001, value) is not None) == valid
    assert (parse_one(0x0020, value) is not None) == valid


# ------------------------------------------------------------------------------------------------- limits of strings


@pytest.mark.parametrize(
    ("attribute", "value", "accepted"),
    [
        (Attribute.USERNAME, b"u" * 763, True),
        (Attribute.USERNAME, b"u" * 764, False),
        (Attribute.REALM, b"r" * 127, True),
        (Attribute.REALM, b"r" * 128, False),
        (Attribute.NONCE, b"n" * 127, True),
        (Attribute.NONCE, b"n" * 128, False),
        (Attribute.SOFTWARE, "\U0001f9ca".encode() * 127, True),
        (Attribute.SOFTWARE, "é".encode() * 128, False),
        (Attribute.SOFTWARE, b"s" * 764, False),
        (Attribute.ALTERNATE_DOMAIN, b"d" * 255, True),
        (Attribute.ALTERNATE_DOMAIN, b"d" * 256, False),
        (Attribute.ALTERNATE_DOMAIN, "dé".encode(), False),
    ],
)
def test_longest_strings_read(attribute: int, value: bytes, accepted: bool) -> None:
    """8489-62, 8489-67: 763 bytes of USERNAME in, 127 characters of the others, 255 of a domain."""
    assert parse_one(attribute, value) == (value.decode() if accepted else None)


# ---------------------------------------------------------------------------------------------------- error codes


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("00000401", (401, "")),
        ("000004ff6f21", None),
        ("00000414", (420, "")),
        ("fffffc14", (420, "")),
        ("000004636f6b", (499, "ok")),
        ("00000300", (300, "")),
        ("00000663", (699, "")),
        ("00000200", None),
        ("00000700", None),
        ("00000464", None),
        ("000004", None),
        ("", None),
        ("00000401fffe", (401, "\ufffd\ufffd")),
    ],
)
def test_error_codes(value: str, expected: object) -> None:
    """8489-66: classes 3 to 6, numbers to 99, reserved bits ignored. A broken phrase does not lose the code."""
    assert parse_one(Attribute.ERROR_CODE, bytes.fromhex(value)) == expected


def test_longest_error_phrase() -> None:
    """8489-62"""
    head = bytes.fromhex("00000401")
    assert parse_one(Attribute.ERROR_CODE, head + b"r" * 763) == (401, "r" * 763)
    assert parse_one(Attribute.ERROR_CODE, head + b"r" * 764) is None


# ------------------------------------------------------------------------------------------- password algorithms


def test_an_unknown_algorithm_with_parameters_is_skipped() -> None:
    """8489-67: 0x7777 with three bytes of parameters before SHA-256."""
    value = bytes.fromhex("777700030102030000020000")
    assert parse_one(Attribute.PASSWORD_ALGORITHMS, value) == ((0x7777, b"\1\2\3"), (2, b""))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", ()),
        ("00010000", ((1, b""),)),
        ("00010003010203", ((1, b"\1\2\3"),)),
        ("0001000301020300", ((1, b"\1\2\3"),)),
        ("000100", None),
        ("000100040102030000", None),
        ("0001ffff01020300", None),
    ],
)
def test_password_algorithms(value: str, expected: object) -> None:
    """8489-67"""
    assert parse_one(Attribute.PASSWORD_ALGORITHMS, bytes.fromhex(value)) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("00020000", (2, b"")),
        ("0002000301020300", (2, b"\1\2\3")),
        ("00020003010203", (2, b"\1\2\3")),
        ("0002", None),
        ("00020001", None),
        ("0002000000000000", None),
    ],
)
def test_password_algorithm(value: str, expected: object) -> None:
    """8489-67"""
    assert parse_one(Attribute.PASSWORD_ALGORITHM, bytes.fromhex(value)) == expected


# -------------------------------------------------------------------------------- integrity: what it hides and covers


@pytest.mark.parametrize("kind", ["sha1", "sha256", "both"])
def test_what_follows_integrity_is_not_seen(kind: str, oracle: ModuleType) -> None:
    """8489-30: USE-CANDIDATE appended behind the integrity, with a FINGERPRINT made anew, does nothing."""
    sha1, sha256 = kind != "sha256", kind != "sha1"
    inner = oracle.build(1, 0, ID, [(0x0006, b"a:b")], SECRET, sha1=sha1, sha256=sha256)
    attributes = [(attribute, value) for _, attribute, value in oracle.split(inner)]
    late = [(0x0025, b""), (0x0024, bytes(4)), (0x7FFE, b""), (0x0006, b"other")]
    message = stun.parse(oracle.build(1, 0, ID, attributes + late, fingerprint=True))
    assert message.verify_integrity(KEY)
    assert message.verify_fingerprint()
    assert [attribute for attribute, _ in message.attributes()] == [a for a, _ in attributes] + [0x8028]
    for attribute, _ in late[:3]:
        assert attribute not in message
        assert message.get(attribute) is None
        assert message.raw(attribute) is None
        assert message.get_all(attribute) == []
    assert message.get_all(Attribute.USERNAME) == ["a:b"]
    assert message.unknown_required({6}) == ()


def test_sha256_behind_sha1_is_seen_and_not_the_other_way_round(oracle: ModuleType) -> None:
    """8489-30: after MESSAGE-INTEGRITY comes MESSAGE-INTEGRITY-SHA256; behind that no MESSAGE-INTEGRITY counts."""
    both = stun.parse(raw_message((8, bytes(20)), (0x1C, bytes(32))))
    assert both.raw(Attribute.MESSAGE_INTEGRITY) == bytes(20)
    assert both.raw(Attribute.MESSAGE_INTEGRITY_SHA256) == bytes(32)
    assert both.integrity_kind == "sha256"
    turned = stun.parse(raw_message((0x1C, bytes(32)), (8, bytes(20)), (0x8028, bytes(4))))
    assert turned.raw(Attribute.MESSAGE_INTEGRITY) is None
    assert [attribute for attribute, _ in turned.attributes()] == [0x1C, 0x8028]
    assert turned.get_all(Attribute.MESSAGE_INTEGRITY) == []


def test_of_two_integrity_attributes_the_first_counts(oracle: ModuleType) -> None:
    """8489-60, 8489-30"""
    good = oracle.build(1, 0, ID, [(0x0006, b"a:b")], SECRET)
    mac = oracle.split(good)[-1][2]
    again = [(0x0006, b"a:b"), (8, mac), (8, bytes(20))]
    assert stun.parse(oracle.build(1, 0, ID, again)).verify_integrity(KEY)
    wrong_first = [(0x0006, b"a:b"), (8, bytes(20)), (8, mac)]
    assert not stun.parse(oracle.build(1, 0, ID, wrong_first)).verify_integrity(KEY)


@pytest.mark.parametrize("kind", ["sha1", "sha256", "both"])
def test_every_covered_bit_matters(kind: str, oracle: ModuleType) -> None:
    """8489-63, 8489-64: a flip of any bit before or in the deciding attribute fails."""
    data = oracle.build(
        1,
        0,
        ID,
        [(0x0006, b"evtj:h6vY"), (0x0024, bytes(4))],
        SECRET,
        sha1=kind != "sha256",
        sha256=kind != "sha1",
    )
    assert stun.parse(data).verify_integrity(KEY)
    for index in range(len(data)):
        for bit in range(8):
            bad = bytearray(data)
            bad[index] ^= 1 << bit
            try:
                message = stun.parse(bad)
            except ParseError:
                continue
            if kind == "both" and message.integrity_kind == "sha1":
                continue  # what was MESSAGE-INTEGRITY-SHA256 is another attribute now: the one before it decides
            assert not message.verify_integrity(KEY), (index, bit)


def test_the_length_ends_with_the_integrity(oracle: ModuleType) -> None:
    """8489-63: whatever follows and however long, the hashed header says the end of MESSAGE-INTEGRITY."""
    good = oracle.build(1, 0, ID, [(0x0006, b"a:b")], SECRET)
    attributes = [(attribute, value) for _, attribute, value in oracle.split(good)]
    for size in (0, 4, 1000):
        longer = oracle.build(1, 0, ID, [*attributes, (0x8FFF, bytes(size))])
        assert stun.parse(longer).verify_integrity(KEY)


@pytest.mark.parametrize("size", range(0, 44, 1))
def test_integrity_of_another_size_is_refused(size: int, oracle: ModuleType) -> None:
    """8489-64: 16 to 32 bytes in steps of 4, and only the full 32 when the usage does not allow less."""
    digest = oracle.mac(raw_message((0x1C, bytes(size))), 20, SECRET, size, "sha256") + bytes(
        max(0, size - 32)
    )
    message = stun.parse(raw_message((0x1C, digest)))
    fits = size % 4 == 0 and 16 <= size <= 32
    assert (message.get(Attribute.MESSAGE_INTEGRITY_SHA256) is not None) == fits
    assert message.verify_integrity(KEY) == (size == 32)
    for minimum in (0, 16, 20, 24, 28, 32):
        assert message.verify_integrity(KEY, minimum) == (fits and size >= minimum)
    sha1 = oracle.mac(raw_message((8, bytes(size))), 20, SECRET, size, "sha1") + bytes(max(0, size - 20))
    assert stun.parse(raw_message((8, sha1))).verify_integrity(KEY) == (size == 20)


def test_sha256_alone_decides_when_it_is_there(oracle: ModuleType) -> None:
    """8489-33: MI good and MI-SHA256 bad fails; MI bad and MI-SHA256 good is accepted."""
    good = oracle.build(1, 0, ID, [(0x0006, b"a:b")], SECRET, sha256=True)
    (_, _, username), (_, _, sha1), (at, _, sha256) = oracle.split(good)
    bad256 = [(6, username), (8, sha1), (0x1C, bytes(32))]
    assert not stun.parse(oracle.build(1, 0, ID, bad256)).verify_integrity(KEY)
    bad_sha1 = oracle.build(1, 0, ID, [(6, username), (8, bytes(20)), (0x1C, bytes(32))])
    repaired = oracle.mac(bad_sha1, at, SECRET, 32, "sha256")
    assert stun.parse(bad_sha1[:-32] + repaired).verify_integrity(KEY)
    assert sha256 != repaired


def test_another_key_fails(vectors: dict[str, dict[str, Any]]) -> None:
    for name in ("V1", "V5", "V6"):
        message = stun.parse(bytes.fromhex(vectors[name]["message_hex"]))
        assert not message.verify_integrity(IntegrityKey.from_bytes(b"another"))
        assert not message.verify_integrity(IntegrityKey.from_bytes(b""))


# ------------------------------------------------------------------------------------------------------ fingerprint


@pytest.mark.parametrize("name", ["V1", "V2", "V3", "V6", "V9"])
def test_every_bit_before_the_fingerprint_matters(name: str, vectors: dict[str, dict[str, Any]]) -> None:
    """8489-65: it covers all before it, the final length included."""
    data = bytes.fromhex(vectors[name]["message_hex"])
    assert stun.parse(data).verify_fingerprint()
    for index in range(len(data)):
        for bit in range(8):
            bad = bytearray(data)
            bad[index] ^= 1 << bit
            try:
                message = stun.parse(bad)
            except ParseError:
                continue
            assert not message.verify_fingerprint(), (index, bit)


def test_a_fingerprint_that_is_not_last_fails(oracle: ModuleType) -> None:
    """8489-65: not last, twice, or of another size."""
    good = oracle.build(1, 0, ID, [(0x0006, b"a:b")], fingerprint=True)
    crc = oracle.split(good)[-1][2]
    assert stun.parse(good).verify_fingerprint()
    assert stun.parse(good).get(Attribute.FINGERPRINT) == int.from_bytes(crc, "big")
    behind = stun.parse(oracle.build(1, 0, ID, [(0x0006, b"a:b"), (0x8028, crc), (0x8FFF, b"")]))
    assert behind.has_fingerprint
    assert not behind.verify_fingerprint()
    twice = oracle.build(1, 0, ID, [(0x8028, bytes(4))], fingerprint=True)
    assert not stun.parse(twice).verify_fingerprint()
    for size in (0, 3, 5, 8):
        assert not stun.parse(raw_message((0x8028, bytes(size)))).verify_fingerprint()


# ------------------------------------------------------------------------------------- whatever comes: never a crash

ATTRIBUTE_TYPES = st.one_of(
    st.sampled_from([int(attribute) for attribute in Attribute]), st.integers(0, 0xFFFF)
)
ATTRIBUTES = st.lists(st.tuples(ATTRIBUTE_TYPES, st.binary(max_size=40)), max_size=12)


def exercise(message: Message) -> None:
    """Ask a message everything; nothing of it may raise."""
    for attribute, value in message.attributes():
        assert attribute in message
        message.get(attribute)
        message.get_all(attribute)
        assert message.raw(attribute) is not None or value is None
    message.unknown_required(())
    message.verify_fingerprint()
    message.verify_integrity(KEY)
    message.verify_integrity(KEY, 16)
    assert repr(message).startswith("<Message")


@given(st.binary(max_size=200))
@example(b"")
@example(b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12))
def test_any_bytes_are_a_message_or_a_parse_error(oracle: ModuleType, data: bytes) -> None:
    """Any bytes at all: a message, or ParseError and nothing else; both codecs agree on which."""
    try:
        message = stun.parse(data)
    except ParseError:
        with pytest.raises(oracle.OracleError):
            oracle.split(data)
        return
    exercise(message)
    assert message.attributes() == oracle.parse(data).visible


@given(st.integers(0, 0x3FFF), ATTRIBUTES, st.binary(min_size=1, max_size=1))
def test_agrees_with_the_plain_codec(
    oracle: ModuleType, word: int, attributes: list[tuple[int, bytes]], padding: bytes
) -> None:
    """Random messages of random and of well-known attributes: the same to both codecs."""
    body = b"".join(oracle.tlv(attribute, value, padding) for attribute, value in attributes)
    data = struct.pack("!HHI", word, len(body), 0x2112A442) + ID + body
    message, expected = stun.parse(data), oracle.parse(data)
    exercise(message)
    assert (message.method, message.message_class) == (expected.method, expected.message_class)
    assert message.attributes() == expected.visible
    assert message.verify_integrity(KEY) == oracle.verify_integrity(data, SECRET)
    assert message.verify_fingerprint() == oracle.verify_fingerprint(data)
    seen: set[int] = set()
    for attribute, value in expected.visible:
        wanted = oracle.decode(attribute, value, ID)
        if attribute in seen or wanted is NotImplemented:
            continue
        seen.add(attribute)
        found = message.get(attribute)
        if attribute in oracle.XOR_ADDRESSES | oracle.ADDRESSES and found is not None:
            found = (ipaddress.ip_address(found[0]).packed, found[1])
        assert found == wanted, hex(attribute)


@given(st.sampled_from(["V1", "V2", "V3", "V4", "V5", "V6", "V7", "V8", "V9"]), st.data())
def test_truncated_and_flipped_vectors(
    oracle: ModuleType, vectors: dict[str, dict[str, Any]], name: str, draw: st.DataObject
) -> None:
    """Bits flipped and bytes cut anywhere, the length put right again: read as the plain codec reads it."""
    data = bytearray.fromhex(vectors[name]["message_hex"])
    for _ in range(draw.draw(st.integers(0, 4))):
        index = draw.draw(st.integers(0, len(data) - 1))
        data[index] ^= 1 << draw.draw(st.integers(0, 7))
    if draw.draw(st.booleans()):
        data = data[: draw.draw(st.integers(0, len(data)))]
        if len(data) >= 20 and draw.draw(st.booleans()):
            data[2:4] = (len(data) - 20).to_bytes(2, "big")
    try:
        message = stun.parse(data)
    except ParseError:
        with pytest.raises(oracle.OracleError):
            oracle.split(bytes(data))
        return
    exercise(message)
    key = bytes.fromhex(vectors[name]["hmac_key_hex"])
    assert message.attributes() == oracle.parse(bytes(data)).visible
    assert message.verify_integrity(IntegrityKey.from_bytes(key)) == oracle.verify_integrity(bytes(data), key)
    assert message.verify_fingerprint() == oracle.verify_fingerprint(bytes(data))


def test_the_largest_message_of_nothing_but_attributes() -> None:
    """16383 empty attributes are read in one pass: every question looks at each once."""
    data = (
        struct.pack("!HHI", 1, 0xFFFC, 0x2112A442)
        + ID
        + b"".join(struct.pack("!HH", attribute, 0) for attribute in range(0x1000, 0x1000 + 0xFFFC // 4))
    )
    message = stun.parse(data)
    assert len(message.attributes()) == 16383
    assert len(message.unknown_required(frozenset())) == 16383
    assert message.get(0x1000 + 16382) == b""
    assert message.get_all(0x4000) == [b""]


@pytest.mark.parametrize(
    "wrap", [bytearray, memoryview, lambda data: memoryview(bytearray(data)).toreadonly()]
)
def test_other_buffers(wrap: Any, vectors: dict[str, dict[str, Any]]) -> None:
    """A message owns its bytes: writing into the buffer that it came in changes nothing."""
    data = bytes.fromhex(vectors["V1"]["message_hex"])
    message = stun.parse(wrap(data))
    assert message.data == data
    assert type(message.data) is bytes
    changing = bytearray(data)
    message = stun.parse(changing)
    changing[:] = bytes(len(changing))
    assert message.verify_integrity(KEY)


@pytest.mark.parametrize("wrong", [None, "text", 5, [1, 2]])
def test_what_is_no_buffer_is_the_callers_mistake(wrong: Any) -> None:
    with pytest.raises(TypeError):
        stun.parse(wrong)
    with pytest.raises(TypeError):
        stun.is_stun(wrong)


def test_parse_error_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="shorter than a header") as caught:
        stun.parse(b"\0")
    assert type(caught.value) is ParseError


def test_messages_are_made_by_parse_alone() -> None:
    with pytest.raises(TypeError):
        Message()
    blank = Message.__new__(Message)  # nobody should, and it is harmless
    assert blank.attributes() == []
    assert not blank.verify_integrity(KEY)
    with pytest.raises(TypeError):
        type("Sub", (Message,), {})
