"""Messages in words."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasticePy.stun import (
    Attribute,
    IntegrityKey,
    MessageBuilder,
    MessageClass,
    Method,
    ParseError,
    nonce_cookie,
    parse,
)
from fasticePy.stun.describe import (
    as_dict,
    attribute_name,
    describe,
    fields,
    hexadecimal,
    method_name,
    quoted,
    summary,
    title,
)
from fasticePy.stun.registry import SecurityFeature

ID = bytes(range(12))
HEX = ID.hex()
COOKIE = bytes.fromhex("2112a442")


def build(*attributes: tuple[int, Any], method: int = Method.BINDING, kind: int = 0, **options: Any) -> bytes:
    builder = MessageBuilder(method, kind, ID)
    for attribute, value in attributes:
        builder.add(attribute, value)
    return builder.build(**options)


def raw(*attributes: tuple[int, bytes], type: int = 1) -> bytes:
    """A message with attributes that no builder would make."""
    body = b"".join(
        struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4) for kind, value in attributes
    )
    return struct.pack("!HH", type, len(body)) + COOKIE + ID + body


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("kind", MessageClass)
def test_every_method_and_class_has_a_title(method: Method, kind: MessageClass) -> None:
    text = title(parse(build(method=method, kind=kind)))
    assert text.split(" ", 1)[0].isalpha()
    assert text.endswith({0: "request", 1: "indication", 2: "success response", 3: "error response"}[kind])


def test_titles() -> None:
    assert method_name(Method.CREATE_PERMISSION) == "CreatePermission"
    assert title(parse(build(method=0x123))) == "method 0x123 request"
    assert title(parse(build(method=Method.DATA, kind=MessageClass.INDICATION))) == "Data indication"


def test_attributes_are_named_as_in_the_registry() -> None:
    assert attribute_name(0x0020) == "XOR-MAPPED-ADDRESS"
    assert attribute_name(0x801C) == "0x801c"
    assert all(attribute_name(attribute).replace("-", "_") == attribute.name for attribute in Attribute)


ADDRESSES = (
    Attribute.MAPPED_ADDRESS,
    Attribute.XOR_MAPPED_ADDRESS,
    Attribute.XOR_PEER_ADDRESS,
    Attribute.XOR_RELAYED_ADDRESS,
    Attribute.ALTERNATE_SERVER,
    Attribute.RESPONSE_ORIGIN,
    Attribute.OTHER_ADDRESS,
)


@pytest.mark.parametrize("attribute", ADDRESSES)
def test_addresses(attribute: Attribute) -> None:
    for address, text in ((("192.0.2.1", 5), "192.0.2.1:5"), (("2001:db8::1", 65535), "[2001:db8::1]:65535")):
        (field,) = fields(parse(build((attribute, address))))
        assert field.text == text


@pytest.mark.parametrize(
    ("attribute", "value", "text"),
    [
        (Attribute.ERROR_CODE, (401, ""), "401 Unauthenticated"),
        (Attribute.ERROR_CODE, (438, "Stale \x1b"), r'438 Stale nonce, "Stale \x1b"'),
        (Attribute.ERROR_CODE, (699, "x"), '699, "x"'),
        (Attribute.ADDRESS_ERROR_CODE, (2, 440, "no"), 'IPv6: 440 Address family not supported, "no"'),
        (Attribute.UNKNOWN_ATTRIBUTES, (0x24, 0x7777), "PRIORITY, 0x7777"),
        (Attribute.UNKNOWN_ATTRIBUTES, (), "none"),
        (Attribute.USERNAME, 'a:"\\', r'"a:\"\\"'),
        (Attribute.SOFTWARE, "é\u202e\t", r'"é\u202e\t"'),
        (Attribute.NONCE, "f//499k", '"f//499k"'),
        (Attribute.NONCE, "obMatJos2AAAAx", '"obMatJos2AAAAx", features: none'),
        (
            Attribute.NONCE,
            nonce_cookie(SecurityFeature.PASSWORD_ALGORITHMS | SecurityFeature.USERNAME_ANONYMITY),
            '"obMatJos2wAAA", features: password algorithms, username anonymity',
        ),
        (Attribute.PRIORITY, 1845501695, "1845501695 (type 110, local 30, component 1)"),
        (Attribute.USE_CANDIDATE, True, ""),
        (Attribute.DONT_FRAGMENT, True, ""),
        (Attribute.EVEN_PORT, True, "and the next one"),
        (Attribute.EVEN_PORT, False, ""),
        (Attribute.LIFETIME, 600, "600 s"),
        (Attribute.CACHE_TIMEOUT, 60, "60 s"),
        (Attribute.CHANNEL_NUMBER, 0x4001, "0x4001"),
        (Attribute.CONNECTION_ID, 0xABC, "0x00000abc"),
        (Attribute.REQUESTED_TRANSPORT, 17, "UDP"),
        (Attribute.REQUESTED_TRANSPORT, 6, "TCP"),
        (Attribute.REQUESTED_TRANSPORT, 99, "protocol 99"),
        (Attribute.REQUESTED_ADDRESS_FAMILY, 1, "IPv4"),
        (Attribute.ADDITIONAL_ADDRESS_FAMILY, 2, "IPv6"),
        (Attribute.ADDITIONAL_ADDRESS_FAMILY, 7, "7"),
        (Attribute.ICE_CONTROLLING, 0xAB, "0x00000000000000ab"),
        (Attribute.ICE_CONTROLLED, 1 << 63, "0x8000000000000000"),
        (Attribute.CHANGE_REQUEST, 6, "address and port"),
        (Attribute.CHANGE_REQUEST, 2, "port"),
        (Attribute.CHANGE_REQUEST, 0, "nothing"),
        (Attribute.ICMP, (3, 4, 1400), "type 3, code 4, data 0x00000578"),
        (Attribute.TRANSACTION_TRANSMIT_COUNTER, (2, 1), "request 2, response 1"),
        (Attribute.PASSWORD_ALGORITHM, (2, b""), "SHA-256"),
        (Attribute.PASSWORD_ALGORITHMS, ((2, b""), (1, b""), (7, b"ab")), "SHA-256, MD5, 0x0007 with 6162"),
        (Attribute.PASSWORD_ALGORITHMS, (), "none"),
        (Attribute.RESERVATION_TOKEN, bytes(8), "00" * 8),
        (Attribute.DATA, b"", "empty"),
        (Attribute.DATA, bytes(64), "00" * 64),
        (Attribute.DATA, bytes(65), "00" * 64 + "... 65 bytes"),
        (Attribute.ALTERNATE_DOMAIN, "example.org", '"example.org"'),
    ],
)
def test_values(attribute: Attribute, value: Any, text: str) -> None:
    (field,) = fields(parse(build((attribute, value))))
    assert (field.type, field.name, field.text) == (attribute, attribute_name(attribute), text)
    assert field.ignored == ""


def test_unknown_and_malformed_attributes() -> None:
    message = parse(
        raw((0x7777, b"abc"), (Attribute.PRIORITY, b"abc"), (Attribute.USERNAME, b"\xff"), (0x8ABC, b""))
    )
    assert describe(message) == [
        f"Binding request, 48 bytes, id {HEX}",
        "  0x7777    616263",
        "  PRIORITY  malformed: 616263",
        "  USERNAME  malformed: ff",
        "  0x8abc    empty",
    ]


def test_what_a_receiver_ignores_is_marked() -> None:
    """8489-18: after the integrity; and of duplicates the first counts."""
    key = IntegrityKey.short_term("x")
    data = build((Attribute.SOFTWARE, "a"), (Attribute.SOFTWARE, "b"), key=key, fingerprint=True)
    body = data[20:60] + raw((Attribute.LIFETIME, bytes(4)))[20:] + data[60:]
    message = parse(data[:2] + struct.pack("!H", len(body)) + data[4:20] + body)
    verdicts = {Attribute.MESSAGE_INTEGRITY: "right: whoever"}
    assert [line[2:] for line in describe(message, verdicts)[1:]] == [
        'SOFTWARE           "a"',
        'SOFTWARE           "b"  (ignored: not the first of its type)',
        f"MESSAGE-INTEGRITY  {message.raw(Attribute.MESSAGE_INTEGRITY).hex()}  (right: whoever)",
        "LIFETIME           0 s  (ignored: not covered by the integrity)",
        f"FINGERPRINT        0x{message.get(Attribute.FINGERPRINT):08x}  (wrong)",
    ]
    several = parse(build(*[(Attribute.XOR_PEER_ADDRESS, ("192.0.2.1", port)) for port in (1, 2)]))
    assert [field.ignored for field in fields(several)] == ["", ""]


def test_a_summary_is_one_short_line() -> None:
    assert summary(parse(build())) == f"Binding request, 20 bytes, id {HEX}"
    data = build((Attribute.USERNAME, "secret"), (0x7777, b"secret"), fingerprint=True)
    assert (
        summary(parse(data)) == f"Binding request, {len(data)} bytes, id {HEX}: USERNAME, 0x7777, FINGERPRINT"
    )
    many = summary(parse(build(*[(Attribute.XOR_PEER_ADDRESS, ("192.0.2.1", 1))] * 100)))
    assert many.count("XOR-PEER-ADDRESS") == 12
    assert many.endswith(", ...")


def test_for_json() -> None:
    message = parse(build((Attribute.PRIORITY, 1), (Attribute.PRIORITY, 2), fingerprint=True))
    shown = as_dict(message, {Attribute.PRIORITY: "low"})
    text = "1 (type 0, local 0, component 255)"
    assert shown["attributes"][0] == {
        "type": 36,
        "name": "PRIORITY",
        "value": text,
        "hex": "00000001",
        "verdict": "low",
    }
    assert shown["attributes"][1]["ignored"] == "not the first of its type"
    assert shown["attributes"][2]["verdict"] == "right"
    assert {key: shown[key] for key in ("method", "class", "size", "id")} == {
        "method": "Binding",
        "class": "request",
        "size": 44,
        "id": HEX,
    }


def test_bytes_and_text_on_their_own() -> None:
    assert hexadecimal(b"\0\xff") == "00ff"
    assert quoted("plain") == '"plain"'


@given(st.text(max_size=50))
def test_quoted_text_can_be_read_back(text: str) -> None:
    shown = quoted(text)
    assert shown.isprintable()
    assert shown[1:-1].encode("latin-1", "backslashreplace").decode("unicode_escape") == text


TYPES = st.sampled_from([int(attribute) for attribute in Attribute]) | st.integers(0, 0xFFFF)


@given(st.lists(st.tuples(TYPES, st.binary(max_size=24)), max_size=12), st.integers(0, 0x3FFF))
def test_any_message_has_words(attributes: list[tuple[int, bytes]], type: int) -> None:
    try:
        message = parse(raw(*attributes, type=type))
    except ParseError:  # a FINGERPRINT that is not the last, for instance
        return
    lines = describe(message)
    assert len(lines) == 1 + len(attributes)
    assert all(line.isprintable() for line in lines)
    assert summary(message).isprintable()
    found = fields(message)
    assert [(field.type, field.raw) for field in found] == attributes
    visible = [(field.type, field.raw) for field in found if field.ignored != "not covered by the integrity"]
    assert visible == message.attributes()
    json.dumps(as_dict(message))
