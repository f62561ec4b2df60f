"""Building messages: the bytes, the limits, and that what is built reads back."""

from __future__ import annotations

import ipaddress
import itertools
import sys
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasticePy import stun
from fasticePy.stun import Attribute, IntegrityKey, MessageBuilder, MessageClass, Method

ID = bytes(range(12))
SECRET = b"VOkJxbRl1RmTxUk/WvJxBt"
KEY = IntegrityKey.from_bytes(SECRET)


def builder(*attributes: tuple[int, Any]) -> MessageBuilder:
    made = MessageBuilder(Method.BINDING, MessageClass.REQUEST, ID)
    for attribute, value in attributes:
        made.add(attribute, value)
    return made


def round_trip(attribute: int, value: Any) -> Any:
    message = stun.parse(builder((attribute, value)).build())
    assert message.get_all(attribute) == [message.get(attribute)]
    return message.get(attribute)


def test_an_ice_check(oracle: ModuleType) -> None:
    made = builder(
        (Attribute.USERNAME, "evtj:h6vY"),
        (Attribute.USE_CANDIDATE, None),
        (Attribute.ICE_CONTROLLING, 0x932FF9B151263B36),
        (Attribute.PRIORITY, 0x6E0001FF),
    )
    raw = [(0x0006, b"evtj:h6vY"), (0x0025, b""), (0x802A, bytes.fromhex("932ff9b151263b36"))]
    raw.append((0x0024, bytes.fromhex("6e0001ff")))
    for sha1, sha256, fingerprint in itertools.product((False, True), repeat=3):
        key, secret = (KEY, SECRET) if sha1 or sha256 else (None, None)
        data = made.build(key, fingerprint=fingerprint, sha1=sha1, sha256=sha256)
        expected = oracle.build(1, 0, ID, raw, secret, sha1=sha1, sha256=sha256, fingerprint=fingerprint)
        assert data == expected
        message = stun.parse(data)
        assert message.verify_integrity(KEY) == (sha1 or sha256)
        assert message.verify_fingerprint() == fingerprint


def test_building_again_gives_the_same_and_adding_goes_on() -> None:
    made = builder((Attribute.USERNAME, "a:b"))
    first = made.build(KEY, fingerprint=True, sha256=True)
    assert made.build(KEY, fingerprint=True, sha256=True) == first
    assert len(made.build()) == len(made)
    made.add(Attribute.USE_CANDIDATE)
    assert stun.parse(made.build(KEY)).get(Attribute.USE_CANDIDATE) is True


def test_transaction_ids() -> None:
    """8489-3: 96 random bits of the operating system's, unless given."""
    assert builder().transaction_id == ID
    assert builder().build()[8:20] == ID
    ids = [MessageBuilder(1, 0).transaction_id for _ in range(10_000)]
    assert len(set(ids)) == len(ids)
    assert all(len(id) == 12 for id in ids)
    for position in range(12):  # a constant byte would have been seen
        assert len({id[position] for id in ids}) == 256
    for wrong in (b"", bytes(11), bytes(13), bytearray(12), "x" * 12, 5):
        with pytest.raises(ValueError, match="12 bytes"):
            MessageBuilder(1, 0, wrong)  # type: ignore[arg-type]


def test_the_source_of_ids_is_the_operating_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    """8489-3"""
    import os

    monkeypatch.setattr(os, "urandom", lambda n: b"r" * n)
    assert MessageBuilder(1, 0).transaction_id == b"r" * 12


@pytest.mark.parametrize(("method", "message_class"), [(0x1000, 0), (1, 4), (0xFFFFFFFF, 0)])
def test_methods_and_classes_that_do_not_exist(method: int, message_class: int) -> None:
    with pytest.raises(ValueError, match=r"bits|class"):
        MessageBuilder(method, message_class, ID)


@pytest.mark.parametrize("size", range(9))
def test_padding_is_zero(size: int) -> None:
    """8489-59: what we send has zeros for padding, whatever the memory held before."""
    made = builder((0x8FFF, b"\xff" * 2000))  # the buffer's heap memory
    del made
    for lead in (0, 450, 600):  # inside the inline buffer, across its end, on the heap
        made = builder((Attribute.DATA, b"\xaa" * lead), (Attribute.SOFTWARE, "\x7f" * size))
        data = made.build()
        at = 20 + 4 + lead + -lead % 4
        assert data[at + 4 + size :] == bytes(-size % 4)
        assert int.from_bytes(data[at + 2 : at + 4], "big") == size  # 8489-59: the length leaves padding out


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        (Attribute.PRIORITY, 0),
        (Attribute.PRIORITY, 0xFFFFFFFF),
        (Attribute.ICE_CONTROLLED, 0xFFFFFFFFFFFFFFFF),
        (Attribute.CHANNEL_NUMBER, 0x4FFF),
        (Attribute.RESPONSE_PORT, 65535),
        (Attribute.REQUESTED_TRANSPORT, 17),
        (Attribute.REQUESTED_ADDRESS_FAMILY, 2),
        (Attribute.EVEN_PORT, True),
        (Attribute.EVEN_PORT, False),
        (Attribute.USE_CANDIDATE, True),
        (Attribute.USERNAME, "マトリックス:b"),
        (Attribute.REALM, ""),
        (Attribute.ALTERNATE_DOMAIN, "turn.example.org"),
        (Attribute.ERROR_CODE, (420, "Unknown Attribute")),
        (Attribute.ERROR_CODE, (699, "")),
        (Attribute.ADDRESS_ERROR_CODE, (2, 440, "no IPv6")),
        (Attribute.UNKNOWN_ATTRIBUTES, ()),
        (Attribute.UNKNOWN_ATTRIBUTES, (0x7FFF, 0x30, 6)),
        (Attribute.PASSWORD_ALGORITHM, (2, b"")),
        (Attribute.PASSWORD_ALGORITHM, (0x7777, b"abcd")),
        (Attribute.PASSWORD_ALGORITHMS, ((0x7777, b"abc"), (2, b""), (1, b""))),
        (Attribute.ICMP, (3, 4, 1400)),
        (Attribute.TRANSACTION_TRANSMIT_COUNTER, (7, 255)),
        (Attribute.RESERVATION_TOKEN, b"12345678"),
        (Attribute.USERHASH, bytes(range(32))),
        (Attribute.DATA, b""),
        (Attribute.DATA, bytes(1500)),
        (Attribute.MOBILITY_TICKET, b"ticket"),
        (0xFFFF, b"unknown"),
        (Attribute.MAPPED_ADDRESS, ("192.0.2.1", 0)),
        (Attribute.XOR_MAPPED_ADDRESS, ("255.255.255.255", 65535)),
        (Attribute.XOR_PEER_ADDRESS, ("2001:db8::1", 3478)),
    ],
)
def test_values_read_back(attribute: int, value: Any) -> None:
    assert round_trip(attribute, value) == value


def test_shorter_ways_to_write_values() -> None:
    assert round_trip(Attribute.ERROR_CODE, 401) == (401, "")
    assert round_trip(Attribute.PASSWORD_ALGORITHM, stun.PasswordAlgorithm.SHA256) == (2, b"")
    assert round_trip(Attribute.PASSWORD_ALGORITHMS, [2, 1]) == ((2, b""), (1, b""))
    assert round_trip(Attribute.MOBILITY_TICKET, None) == b""
    assert round_trip(Attribute.DATA, memoryview(b"view")) == b"view"
    assert round_trip(Attribute.MAPPED_ADDRESS, ("::1", 5, 0, 0)) == ("::1", 5)
    assert round_trip(Attribute.UNKNOWN_ATTRIBUTES, {Attribute.PRIORITY}) == (0x24,)


def test_text_of_the_other_side_goes_back_byte_for_byte() -> None:
    """8489-62: a nonce of 763 bytes may come in, and must go out as it was."""
    for value in (b"\xff\xfe", b"n" * 763):
        assert stun.parse(builder((Attribute.NONCE, value)).build()).raw(Attribute.NONCE) == value
    with pytest.raises(ValueError, match="763"):
        builder((Attribute.NONCE, b"n" * 764))


def test_password_algorithms_of_the_other_side_go_back_byte_for_byte() -> None:
    """RFC 8489 9.2.5: even with padding that is not zero, or that is left to the attribute's."""
    for raw in (bytes.fromhex("77770003 616263ff 00020000"), bytes.fromhex("00020000 77770001 61"), b"?"):
        builder = MessageBuilder(Method.BINDING, MessageClass.REQUEST)
        builder.add(Attribute.PASSWORD_ALGORITHMS, raw)
        builder.add(Attribute.PASSWORD_ALGORITHM, raw)
        message = stun.parse(builder.build())
        assert message.raw(Attribute.PASSWORD_ALGORITHMS) == raw
        assert message.raw(Attribute.PASSWORD_ALGORITHM) == raw


def test_three_unknown_attributes_are_padded() -> None:
    """A list of three types and two bytes of zeros behind it."""
    data = builder((Attribute.UNKNOWN_ATTRIBUTES, (0x7F01, 0x7F02, 0x7F03))).build()
    assert data[20:] == bytes.fromhex("000a00067f017f027f030000")


@pytest.mark.parametrize(
    ("attribute", "value", "accepted"),
    [
        (Attribute.USERNAME, "u" * 508, True),
        (Attribute.USERNAME, "u" * 509, False),
        (Attribute.USERNAME, "é" * 254, True),
        (Attribute.USERNAME, "é" * 255, False),
        (Attribute.REALM, "r" * 127, True),
        (Attribute.REALM, "r" * 128, False),
        (Attribute.NONCE, "n" * 127, True),
        (Attribute.NONCE, "n" * 128, False),
        (Attribute.SOFTWARE, "\U0001f9ca" * 127, True),
        (Attribute.SOFTWARE, "\U0001f9ca" * 128, False),
        (Attribute.ERROR_CODE, (400, "\U0001f9ca" * 127), True),
        (Attribute.ERROR_CODE, (400, "r" * 128), False),
        (Attribute.ALTERNATE_DOMAIN, "d" * 255, True),
        (Attribute.ALTERNATE_DOMAIN, "d" * 256, False),
        (Attribute.ALTERNATE_DOMAIN, "dömäin", False),
    ],
)
def test_longest_strings_written(attribute: int, value: Any, accepted: bool) -> None:
    """8489-62, 8489-67: 508 bytes of USERNAME out, 127 characters of the others, 255 of a domain."""
    if accepted:
        assert round_trip(attribute, value) == value
    else:
        with pytest.raises(ValueError, match="RFC 8489 14"):
            builder((attribute, value))


@pytest.mark.parametrize(
    ("attribute", "value", "error"),
    [
        (-1, b"", ValueError),
        (0x10000, b"", ValueError),
        (Attribute.MESSAGE_INTEGRITY, bytes(20), ValueError),
        (Attribute.MESSAGE_INTEGRITY_SHA256, bytes(32), ValueError),
        (Attribute.FINGERPRINT, 0, ValueError),
        (Attribute.PRIORITY, -1, ValueError),
        (Attribute.PRIORITY, 1 << 32, ValueError),
        (Attribute.PRIORITY, 1 << 80, ValueError),
        (Attribute.PRIORITY, None, TypeError),
        (Attribute.PRIORITY, "5", TypeError),
        (Attribute.PRIORITY, 5.0, TypeError),
        (Attribute.ICE_CONTROLLED, 1 << 64, ValueError),
        (Attribute.CHANNEL_NUMBER, 0x10000, ValueError),
        (Attribute.REQUESTED_TRANSPORT, 256, ValueError),
        (Attribute.EVEN_PORT, 2, ValueError),
        (Attribute.USE_CANDIDATE, False, ValueError),
        (Attribute.USE_CANDIDATE, b"", ValueError),
        (Attribute.USERNAME, None, TypeError),
        (Attribute.USERNAME, 5, TypeError),
        (Attribute.USERNAME, "\ud800", ValueError),
        (Attribute.DATA, "text", TypeError),
        (Attribute.DATA, 5, TypeError),
        (Attribute.DATA, bytes(65536), ValueError),
        (Attribute.DATA, bytes(65533), ValueError),
        (Attribute.RESERVATION_TOKEN, bytes(7), ValueError),
        (Attribute.USERHASH, b"", ValueError),
        (Attribute.ERROR_CODE, 299, ValueError),
        (Attribute.ERROR_CODE, 700, ValueError),
        (Attribute.ERROR_CODE, (400, None), TypeError),
        (Attribute.ERROR_CODE, "400", TypeError),
        (Attribute.UNKNOWN_ATTRIBUTES, (0x10000,), ValueError),
        (Attribute.UNKNOWN_ATTRIBUTES, 6, TypeError),
        (Attribute.UNKNOWN_ATTRIBUTES, b"\0\6", TypeError),
        (Attribute.PASSWORD_ALGORITHMS, ((2, bytes(65536)),), ValueError),
        (Attribute.MAPPED_ADDRESS, None, TypeError),
        (Attribute.MAPPED_ADDRESS, "192.0.2.1", TypeError),
        (Attribute.MAPPED_ADDRESS, ("192.0.2.1",), TypeError),
        (Attribute.MAPPED_ADDRESS, (b"192.0.2.1", 5), TypeError),
        (Attribute.MAPPED_ADDRESS, ("192.0.2.1", 65536), ValueError),
        (Attribute.MAPPED_ADDRESS, ("192.0.2.1", -1), ValueError),
        (Attribute.MAPPED_ADDRESS, ("192.0.2.1", "5"), TypeError),
        (Attribute.MAPPED_ADDRESS, ("example.org", 5), ValueError),
    ],
)
def test_the_callers_mistakes_leave_the_message_as_it_was(
    attribute: int, value: Any, error: type[Exception]
) -> None:
    made = builder((Attribute.PRIORITY, 1))
    before = made.build()
    with pytest.raises(error):
        made.add(attribute, value)
    assert made.build() == before
    made.add(Attribute.SOFTWARE, "goes on")
    assert stun.parse(made.build()).get(Attribute.SOFTWARE) == "goes on"


def test_an_iterable_that_adds_while_it_is_read() -> None:
    """The value's own code may call the builder: nothing is torn."""
    made = builder()

    def types() -> Any:
        yield 1
        made.add(Attribute.DATA, bytes(5000))
        yield 2

    made.add(Attribute.UNKNOWN_ATTRIBUTES, types())
    message = stun.parse(made.build())
    assert [attribute for attribute, _ in message.attributes()] == [
        Attribute.DATA,
        Attribute.UNKNOWN_ATTRIBUTES,
    ]
    assert message.get(Attribute.UNKNOWN_ATTRIBUTES) == (1, 2)


def test_the_largest_message() -> None:
    made = builder((Attribute.DATA, bytes(65528)))
    assert len(stun.parse(made.build())) == 20 + 65532
    for options in ({"fingerprint": True}, {"key": KEY}):
        with pytest.raises(ValueError, match="bytes"):
            made.build(**options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="fit"):
        made.add(Attribute.USE_CANDIDATE)
    fits = builder((Attribute.DATA, bytes(65528 - 24 - 36 - 8)))
    message = stun.parse(fits.build(KEY, sha256=True, fingerprint=True))
    assert len(message) == 20 + 65532
    assert message.verify_integrity(KEY)
    assert message.verify_fingerprint()


def test_a_key_needs_an_algorithm() -> None:
    with pytest.raises(ValueError, match="sha1 or sha256"):
        builder().build(KEY, sha1=False)
    with pytest.raises(TypeError):
        builder().build(SECRET)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------- addresses


def expected_text(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """As ipaddress prints, with the dotted form of RFC 5952 5 for IPv4-mapped ones, which it has since 3.13."""
    if address.version == 6 and address.ipv4_mapped is not None:
        return f"::ffff:{address.ipv4_mapped}"
    return str(address)


def check_address(packed: bytes) -> None:
    address = ipaddress.ip_address(packed)
    text = expected_text(address)
    for attribute in (Attribute.MAPPED_ADDRESS, Attribute.XOR_MAPPED_ADDRESS):
        for host in {text, str(address), address.exploded, text.upper()}:
            assert round_trip(attribute, (host, 7)) == (text, 7)
    assert ipaddress.ip_address(text) == address


@given(st.binary(min_size=4, max_size=4))
def test_ipv4_text(packed: bytes) -> None:
    check_address(packed)


@given(st.binary(min_size=16, max_size=16))
def test_ipv6_text(packed: bytes) -> None:
    check_address(packed)


def test_every_pattern_of_zero_groups() -> None:
    """RFC 5952 4.2: the first longest run of two or more zero groups is shortened."""
    for groups in itertools.product((b"\0\0", b"\x0a\xbc"), repeat=8):
        check_address(b"".join(groups))


def test_ipv4_mapped_addresses_have_a_dotted_text() -> None:
    assert round_trip(Attribute.MAPPED_ADDRESS, ("::ffff:102:304", 1)) == ("::ffff:1.2.3.4", 1)
    assert round_trip(Attribute.MAPPED_ADDRESS, ("::FFFF:1.2.3.4", 1)) == ("::ffff:1.2.3.4", 1)
    if sys.version_info >= (3, 13):
        assert str(ipaddress.ip_address("::ffff:102:304")) == "::ffff:1.2.3.4"


@pytest.mark.parametrize("host", ["fe80::1%eth0", "fe80::1%3", "fe80::1%a:b"])
def test_a_scope_is_left_out(host: str) -> None:
    assert round_trip(Attribute.XOR_MAPPED_ADDRESS, (host, 1)) == ("fe80::1", 1)


NEITHER = st.text(alphabet="0123456789abcdefABCDEFg:.% ", max_size=42)


@given(NEITHER)
def test_what_is_an_address_is_what_ipaddress_says(text: str) -> None:
    """Every text is read as `ipaddress` reads it, but for the scope, whose content nobody looks at."""
    plain, percent, scope = text.partition("%")
    try:
        address = ipaddress.ip_address(plain)
    except ValueError:
        address = None
    if percent and address is not None and (address.version == 4 or not scope):
        address = None
    if address is None:
        with pytest.raises(ValueError, match="not a numeric IP address"):
            builder((Attribute.MAPPED_ADDRESS, (text, 1)))
    else:
        assert round_trip(Attribute.MAPPED_ADDRESS, (text, 1)) == (expected_text(address), 1)


@pytest.mark.parametrize(
    "host",
    [
        "",
        ".",
        ":",
        ":::",
        "1.2.3",
        "1.2.3.4.",
        "1.2.3.4.5",
        "01.2.3.4",
        "256.1.1.1",
        "1.2.3.4%eth0",
        "1.2.3.1000",
        "::1%",
        "1::2::3",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "1:2:3:4:5:6:7:8::",
        "::1:2:3:4:5:6:7:8",
        "12345::",
        "::1.2.3",
        "1:2:3:4:5:6:7:1.2.3.4",
        "::1.2.3.4:5",
        ":1::",
        "1:",
        "::1:",
        "1.2.3.4\0",
        "١.2.3.4",
    ],
)
def test_texts_that_are_no_address(host: str) -> None:
    with pytest.raises(ValueError, match="not a numeric IP address"):
        builder((Attribute.MAPPED_ADDRESS, (host, 1)))


# ------------------------------------------------------------------------------------------------------ round trips

VALUES = st.one_of(
    st.tuples(st.just(Attribute.USERNAME), st.text(max_size=100)),
    st.tuples(st.sampled_from([Attribute.REALM, Attribute.NONCE, Attribute.SOFTWARE]), st.text(max_size=127)),
    st.tuples(st.sampled_from([Attribute.PRIORITY, Attribute.LIFETIME]), st.integers(0, 0xFFFFFFFF)),
    st.tuples(st.just(Attribute.ICE_CONTROLLING), st.integers(0, 0xFFFFFFFFFFFFFFFF)),
    st.tuples(st.just(Attribute.USE_CANDIDATE), st.just(True)),
    st.tuples(st.just(Attribute.ERROR_CODE), st.tuples(st.integers(300, 699), st.text(max_size=127))),
    st.tuples(st.just(Attribute.UNKNOWN_ATTRIBUTES), st.lists(st.integers(0, 0xFFFF)).map(tuple)),
    st.tuples(
        st.just(Attribute.PASSWORD_ALGORITHMS),
        st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=9)), max_size=5).map(tuple),
    ),
    st.tuples(
        st.sampled_from(
            [Attribute.XOR_MAPPED_ADDRESS, Attribute.XOR_PEER_ADDRESS, Attribute.ALTERNATE_SERVER]
        ),
        st.tuples(st.ip_addresses().map(expected_text), st.integers(0, 65535)),
    ),
    st.tuples(st.just(Attribute.DATA), st.binary(max_size=1000)),
    st.tuples(st.integers(0x7000, 0x7FFF), st.binary(max_size=100)),
)


@given(
    st.integers(0, 0xFFF),
    st.sampled_from(MessageClass),
    st.binary(min_size=12, max_size=12),
    st.lists(VALUES, max_size=20),
    st.binary(max_size=100),
    st.booleans(),
    st.booleans(),
)
def test_round_trip(
    oracle: ModuleType,
    method: int,
    message_class: MessageClass,
    transaction_id: bytes,
    attributes: list[tuple[int, Any]],
    secret: bytes,
    sha256: bool,
    fingerprint: bool,
) -> None:
    """What goes in comes out, and the plain codec finds the same bytes right."""
    made = MessageBuilder(method, message_class, transaction_id)
    for attribute, value in attributes:
        made.add(attribute, value)
    key = IntegrityKey.from_bytes(secret)
    data = made.build(key, sha256=sha256, fingerprint=fingerprint)
    message = stun.parse(data)
    assert (message.method, message.message_class) == (method, message_class)
    assert message.transaction_id == transaction_id
    for attribute in {attribute for attribute, _ in attributes}:
        assert message.get_all(attribute) == [value for other, value in attributes if other == attribute]
    assert message.verify_integrity(key)
    assert message.verify_fingerprint() == fingerprint
    raw = oracle.parse(data).visible[: len(attributes)]
    assert data == oracle.build(
        method, message_class, transaction_id, raw, secret, sha256=sha256, fingerprint=fingerprint
    )
