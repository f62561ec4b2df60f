"""STUN messages in words, for commands and logs: names of methods and attributes, values as people read them.

Whatever a message holds, its text is one line per attribute and free of control characters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from fasticePy._native.stun import Message, ParseError, parse
from fasticePy.stun.credentials import security_features
from fasticePy.stun.registry import (
    Attribute,
    ErrorCode,
    MessageClass,
    Method,
    PasswordAlgorithm,
    SecurityFeature,
)

SHOWN_BYTES = 64
"""How many bytes of a value are shown in hexadecimal."""
SHOWN_NAMES = 12
"""How many attributes `summary` names."""

_HEADER = 20
_CLASSES = {
    MessageClass.REQUEST: "request",
    MessageClass.INDICATION: "indication",
    MessageClass.SUCCESS: "success response",
    MessageClass.ERROR: "error response",
}
_REPEATABLE = frozenset(
    {Attribute.XOR_PEER_ADDRESS, Attribute.ALTERNATE_SERVER}
)  # RFC 8656 9.1; several families
_UDP, _TCP = 17, 6


@dataclass(frozen=True, slots=True)
class Field:
    """One attribute in words."""

    type: int
    name: str
    text: str
    """Its value; empty for a flag."""
    raw: bytes
    ignored: str = ""
    """Why it means nothing to a receiver, or ""."""


def method_name(method: int) -> str:
    """`Binding`, `ChannelBind`, `method 0x123`."""
    try:
        known = Method(method)
    except ValueError:
        return f"method 0x{method:03x}"
    return "".join(word.capitalize() for word in known.name.split("_"))


def attribute_name(attribute: int) -> str:
    """The name in the registry, `XOR-MAPPED-ADDRESS`, or `0x8abc`."""
    try:
        return Attribute(attribute).name.replace("_", "-")
    except ValueError:
        return f"0x{attribute:04x}"


def title(message: Message) -> str:
    """`Binding request`."""
    return f"{method_name(message.method)} {_CLASSES[cast(MessageClass, message.message_class)]}"


def summary(message: Message) -> str:
    """A message on one line, without values: `Binding request, 108 bytes, id b7e7...dfae: USERNAME, PRIORITY`."""
    names = [attribute_name(attribute) for attribute, _ in message.attributes()[: SHOWN_NAMES + 1]]
    if len(names) > SHOWN_NAMES:
        names[SHOWN_NAMES] = "..."
    text = f"{title(message)}, {len(message)} bytes, id {message.transaction_id.hex()}"
    return f"{text}: {', '.join(names)}" if names else text


def describe(message: Message, verdicts: Mapping[int, str] | None = None) -> list[str]:
    """A message as lines: its title, then each attribute, indented. `verdicts` are words about attributes by type,
    such as those about the integrity, which needs keys; that about FINGERPRINT is always there."""
    found = fields(message)
    notes = {**fingerprint_verdict(message), **(verdicts or {})}
    width = min(max((len(field.name) for field in found), default=0), 28)
    lines = [f"{title(message)}, {len(message)} bytes, id {message.transaction_id.hex()}"]
    for field in found:
        note = f"ignored: {field.ignored}" if field.ignored else notes.get(field.type, "")
        parts = [field.name.ljust(width), field.text, f"({note})" if note else ""]
        lines.append("  " + "  ".join(part for part in parts if part).rstrip())
    return lines


def as_dict(message: Message, verdicts: Mapping[int, str] | None = None) -> dict[str, object]:
    """The same for JSON: values in words and in hexadecimal."""
    notes = {**fingerprint_verdict(message), **(verdicts or {})}
    attributes: list[dict[str, object]] = []
    for field in fields(message):
        entry: dict[str, object] = {"type": field.type, "name": field.name, "value": field.text}
        entry["hex"] = field.raw.hex()
        if field.ignored:
            entry["ignored"] = field.ignored
        elif field.type in notes:
            entry["verdict"] = notes[field.type]
        attributes.append(entry)
    return {
        "method": method_name(message.method),
        "class": _CLASSES[cast(MessageClass, message.message_class)],
        "size": len(message),
        "id": message.transaction_id.hex(),
        "attributes": attributes,
    }


def fingerprint_verdict(message: Message) -> dict[int, str]:
    """Whether the FINGERPRINT is right, when there is one."""
    if not message.has_fingerprint:
        return {}
    return {Attribute.FINGERPRINT: "right" if message.verify_fingerprint() else "wrong"}


def fields(message: Message) -> list[Field]:
    """Every attribute of a message in order, those too that a receiver must ignore (RFC 8489 14.5-14.7)."""
    data = message.data
    visible = iter(message.attributes())
    expected = next(visible, None)
    seen: set[int] = set()
    found = []
    position = _HEADER
    while position + 4 <= len(data):  # what `parse` has accepted is whole
        attribute = int.from_bytes(data[position : position + 2], "big")
        size = int.from_bytes(data[position + 2 : position + 4], "big")
        raw = data[position + 4 : position + 4 + size]
        position += 4 + (size + 3) // 4 * 4
        ignored = ""
        if (attribute, raw) == expected:
            expected = next(visible, None)
            if attribute in seen and attribute not in _REPEATABLE:
                ignored = "not the first of its type"
            seen.add(attribute)
        else:
            ignored = "not covered by the integrity"
        found.append(Field(attribute, attribute_name(attribute), _text(data, attribute, raw), raw, ignored))
    return found


def value_text(attribute: int, value: Any) -> str:
    """A value of `Message.get` in words."""
    writer = _WRITERS.get(attribute)
    if writer is not None:
        return writer(value)
    if isinstance(value, bytes):
        return hexadecimal(value)
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, tuple):
        return _address(value)
    return "" if value is True else str(value)


def quoted(text: str) -> str:
    """Text from the wire in quotes, with escapes for whatever a terminal or a log would not show as it is."""
    shown = (
        character if character.isprintable() and character not in '"\\' else _escape(character)
        for character in text
    )
    return f'"{"".join(shown)}"'


def hexadecimal(data: bytes) -> str:
    """Bytes in hexadecimal; of many, the first ones and their number."""
    if len(data) <= SHOWN_BYTES:
        return data.hex() or "empty"
    return f"{data[:SHOWN_BYTES].hex()}... {len(data)} bytes"


def _escape(character: str) -> str:
    return f"\\{character}" if character in '"\\' else character.encode("unicode_escape").decode()


def _text(data: bytes, attribute: int, raw: bytes) -> str:
    """The value of one attribute, decoded in a message of its own, for `get` knows the first of a type alone."""
    padded = raw + bytes(-len(raw) % 4)
    head = data[:2] + (4 + len(padded)).to_bytes(2, "big") + data[4:_HEADER]
    tlv = attribute.to_bytes(2, "big") + len(raw).to_bytes(2, "big") + padded
    try:
        value = parse(head + tlv).get(attribute)
    except ParseError:
        value = None
    return f"malformed: {hexadecimal(raw)}" if value is None else value_text(attribute, value)


# --- values of their own form


def _address(value: tuple[str, int]) -> str:
    host, port = value
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _error(value: tuple[int, str]) -> str:
    code, reason = value
    return f"{_code(code)}, {quoted(reason)}" if reason else _code(code)


def _code(code: int) -> str:
    try:
        return f"{code} {ErrorCode(code).name.replace('_', ' ').capitalize()}"
    except ValueError:
        return str(code)


def _address_error(value: tuple[int, int, str]) -> str:
    family, code, reason = value
    return f"{_family(family)}: {_error((code, reason))}"


def _family(number: int) -> str:
    return {1: "IPv4", 2: "IPv6"}.get(number, str(number))


def _transport(number: int) -> str:
    return {_UDP: "UDP", _TCP: "TCP"}.get(number, f"protocol {number}")


def _types(types: tuple[int, ...]) -> str:
    return ", ".join(attribute_name(attribute) for attribute in types) or "none"


def _algorithm(value: tuple[int, bytes]) -> str:
    number, parameters = value
    try:
        name = {PasswordAlgorithm.MD5: "MD5", PasswordAlgorithm.SHA256: "SHA-256"}[PasswordAlgorithm(number)]
    except ValueError:
        name = f"0x{number:04x}"
    return f"{name} with {hexadecimal(parameters)}" if parameters else name


def _algorithms(values: tuple[tuple[int, bytes], ...]) -> str:
    return ", ".join(map(_algorithm, values)) or "none"


def _nonce(nonce: str) -> str:
    features = security_features(nonce)
    if features is None:
        return quoted(nonce)
    known = {
        SecurityFeature.PASSWORD_ALGORITHMS: "password algorithms",
        SecurityFeature.USERNAME_ANONYMITY: "username anonymity",
    }
    names = [name for feature, name in known.items() if features & feature]
    return f"{quoted(nonce)}, features: {', '.join(names) or 'none'}"


def _priority(priority: int) -> str:
    # RFC 8445 5.1.2.1
    kind, local, component = priority >> 24, priority >> 8 & 0xFFFF, 256 - (priority & 0xFF)
    return f"{priority} (type {kind}, local {local}, component {component})"


def _change(flags: int) -> str:
    names = [name for bit, name in ((4, "address"), (2, "port")) if flags & bit]
    return " and ".join(names) or "nothing"


def _icmp(value: tuple[int, int, int]) -> str:
    kind, code, data = value
    return f"type {kind}, code {code}, data 0x{data:08x}"


def _counters(value: tuple[int, int]) -> str:
    return f"request {value[0]}, response {value[1]}"


_WRITERS: dict[int, Callable[[Any], str]] = {
    Attribute.ERROR_CODE: _error,
    Attribute.ADDRESS_ERROR_CODE: _address_error,
    Attribute.UNKNOWN_ATTRIBUTES: _types,
    Attribute.PASSWORD_ALGORITHM: _algorithm,
    Attribute.PASSWORD_ALGORITHMS: _algorithms,
    Attribute.NONCE: _nonce,
    Attribute.PRIORITY: _priority,
    Attribute.CHANGE_REQUEST: _change,
    Attribute.ICMP: _icmp,
    Attribute.TRANSACTION_TRANSMIT_COUNTER: _counters,
    Attribute.REQUESTED_ADDRESS_FAMILY: _family,
    Attribute.ADDITIONAL_ADDRESS_FAMILY: _family,
    Attribute.REQUESTED_TRANSPORT: _transport,
    Attribute.EVEN_PORT: lambda reserve: "and the next one" if reserve else "",
    Attribute.LIFETIME: lambda seconds: f"{seconds} s",
    Attribute.CACHE_TIMEOUT: lambda seconds: f"{seconds} s",
    Attribute.CHANNEL_NUMBER: lambda channel: f"0x{channel:04x}",
    Attribute.CONNECTION_ID: lambda number: f"0x{number:08x}",
    Attribute.FINGERPRINT: lambda crc: f"0x{crc:08x}",
    Attribute.ICE_CONTROLLED: lambda number: f"0x{number:016x}",
    Attribute.ICE_CONTROLLING: lambda number: f"0x{number:016x}",
}
