"""A second STUN codec, slow and plain, written from the RFCs only: what the compiled one is compared with.

It shares no code with fasticePy. `struct`, `hmac`, `zlib` and `ipaddress` do its work.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import struct
import zlib
from typing import NamedTuple

COOKIE = bytes.fromhex("2112a442")
MI, MI_SHA256, FINGERPRINT = 0x0008, 0x001C, 0x8028

XOR_ADDRESSES = {0x0012, 0x0016, 0x0020}
ADDRESSES = {0x0001, 0x0002, 0x0004, 0x0005, 0x000B, 0x8023, 0x802B, 0x802C}
UINT32 = {0x0003, 0x000D, 0x0024, 0x002A, 0x8027, 0x8028}
UINT64 = {0x8029, 0x802A}


class OracleError(ValueError):
    pass


class OracleMessage(NamedTuple):
    method: int
    message_class: int
    transaction_id: bytes
    visible: list[tuple[int, bytes]]


def message_type(method: int, message_class: int) -> int:
    """RFC 8489 figure 3, bit by bit: M11-M7, C1, M6-M4, C0, M3-M0."""
    bits = f"{method:012b}"
    classes = f"{message_class:02b}"
    return int(bits[:5] + classes[0] + bits[5:8] + classes[1] + bits[8:], 2)


def split(data: bytes) -> list[tuple[int, int, bytes]]:
    """(offset, type, value) of all attributes, or OracleError."""
    if len(data) < 20 or data[0] >= 0x40 or data[4:8] != COOKIE:
        raise OracleError("not STUN")
    length = int.from_bytes(data[2:4], "big")
    if length % 4 or length != len(data) - 20:
        raise OracleError("length")
    found, at = [], 20
    while at < len(data):
        attribute, size = struct.unpack_from("!HH", data, at)
        if at + 4 + size + (-size) % 4 > len(data):
            raise OracleError("attribute")
        found.append((at, attribute, data[at + 4 : at + 4 + size]))
        at += 4 + size + (-size) % 4
    return found


def parse(data: bytes) -> OracleMessage:
    """The message with what may be acted on, or OracleError."""
    everything = split(data)
    word = f"{int.from_bytes(data[:2], 'big'):016b}"[2:]
    method = int(word[:5] + word[6:9] + word[10:], 2)
    message_class = int(word[5] + word[9], 2)
    visible: list[tuple[int, bytes]] = []
    state, fingerprint_seen = "open", False
    for _, attribute, value in everything:
        if attribute == FINGERPRINT:
            if state == "open" or not fingerprint_seen:
                visible.append((attribute, value))
            fingerprint_seen = True
        elif state == "open":
            visible.append((attribute, value))
            if attribute in {MI, MI_SHA256}:
                state = "after MI" if attribute == MI else "after MI-SHA256"
        elif state == "after MI" and attribute == MI_SHA256:
            visible.append((attribute, value))
            state = "after MI-SHA256"
    return OracleMessage(method, message_class, data[8:20], visible)


def mac(data: bytes, offset: int, key: bytes, size: int, digest: str) -> bytes:
    """The HMAC over everything before the attribute at `offset`, with the length as if it were the last one."""
    covered = data[:2] + struct.pack("!H", offset + 4 + size - 20) + data[4:offset]
    return hmac.new(key, covered, digest).digest()[:size]


def verify_integrity(data: bytes, key: bytes, minimum: int = 32) -> bool:
    first = {}
    closed = False
    for offset, attribute, value in split(data):
        if attribute == MI_SHA256:
            first.setdefault(attribute, (offset, value))
            closed = True
        elif attribute == MI and not closed:
            first.setdefault(attribute, (offset, value))
    if MI_SHA256 in first:
        offset, value = first[MI_SHA256]
        right = 16 <= len(value) <= 32 and len(value) % 4 == 0 and len(value) >= minimum
        return right and mac(data, offset, key, len(value), "sha256") == value
    if MI in first:
        offset, value = first[MI]
        return len(value) == 20 and mac(data, offset, key, 20, "sha1") == value
    return False


def verify_fingerprint(data: bytes) -> bool:
    found = [(offset, value) for offset, attribute, value in split(data) if attribute == FINGERPRINT]
    if not found or found[0][0] != len(data) - 8 or len(found[0][1]) != 4:
        return False
    offset, value = found[0]
    return zlib.crc32(data[:offset]) ^ 0x5354554E == int.from_bytes(value, "big")


def build(
    method: int,
    message_class: int,
    transaction_id: bytes,
    attributes: list[tuple[int, bytes]],
    key: bytes | None = None,
    *,
    sha1: bool = True,
    sha256: bool = False,
    sha256_size: int = 32,
    fingerprint: bool = False,
    padding: bytes = b"\0",
) -> bytes:
    """A message of raw attributes."""
    body = b"".join(tlv(attribute, value, padding) for attribute, value in attributes)

    def head(extra: int) -> bytes:
        word = message_type(method, message_class)
        return struct.pack("!HH", word, len(body) + extra) + COOKIE + transaction_id

    if key is not None and sha1:
        body += tlv(MI, hmac.new(key, head(24) + body, hashlib.sha1).digest())
    if key is not None and sha256:
        digest = hmac.new(key, head(4 + sha256_size) + body, hashlib.sha256).digest()
        body += tlv(MI_SHA256, digest[:sha256_size])
    if fingerprint:
        body += tlv(FINGERPRINT, struct.pack("!I", zlib.crc32(head(8) + body) ^ 0x5354554E))
    return head(0) + body


def tlv(attribute: int, value: bytes, padding: bytes = b"\0") -> bytes:
    return struct.pack("!HH", attribute, len(value)) + value + padding * (-len(value) % 4)


def encode_address(host: str, port: int, transaction_id: bytes | None = None) -> bytes:
    """MAPPED-ADDRESS and its like; XORed when there is a transaction id."""
    address = ipaddress.ip_address(host)
    family = 1 if address.version == 4 else 2
    raw = struct.pack("!H", port) + address.packed
    if transaction_id is not None:
        mask = COOKIE[:2] + COOKIE + transaction_id
        raw = bytes(a ^ b for a, b in zip(raw, mask, strict=False))
    return bytes([0, family]) + raw


def decode_address(value: bytes, transaction_id: bytes | None = None) -> tuple[bytes, int] | None:
    """The packed address and the port."""
    if len(value) not in {8, 20} or value[1] != (1 if len(value) == 8 else 2):
        return None
    raw = value[2:]
    if transaction_id is not None:
        mask = COOKIE[:2] + COOKIE + transaction_id
        raw = bytes(a ^ b for a, b in zip(raw, mask, strict=False))
    return raw[2:], int.from_bytes(raw[:2], "big")


def decode(attribute: int, value: bytes, transaction_id: bytes) -> object:
    """What `Message.get` must give for the attributes that ICE lives on; NotImplemented for others."""
    if attribute in XOR_ADDRESSES | ADDRESSES:
        found = decode_address(value, transaction_id if attribute in XOR_ADDRESSES else None)
        return None if found is None else (found[0], found[1])
    if attribute in UINT32:
        return int.from_bytes(value, "big") if len(value) == 4 else None
    if attribute in UINT64:
        return int.from_bytes(value, "big") if len(value) == 8 else None
    if attribute == 0x0006:
        return _text(value, 763)
    if attribute in {0x0014, 0x0015, 0x8022}:
        return _text(value, 127)
    if attribute == 0x0025:
        return True if not value else None
    if attribute == 0x0009:
        if len(value) < 4 or len(value) > 767 or not 3 <= value[2] & 7 <= 6 or value[3] > 99:
            return None
        return ((value[2] & 7) * 100 + value[3], value[4:].decode(errors="replace"))
    return NotImplemented


def _text(value: bytes, limit: int) -> str | None:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return None
    return text if len(value) <= 763 and len(text) <= limit else None
