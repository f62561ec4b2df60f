"""The files that tcpdump and Wireshark write: pcap and pcapng, of either byte order and any resolution of time.

Formats: https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcap/ and draft-ietf-opsawg-pcapng.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from fasticePy.errors import ParseError

MAX_RECORD = 1 << 20
"""Bytes of one packet. Nothing that is captured is longer, not even a segment that the network card would have cut."""
MAX_BLOCK = 1 << 24
"""Bytes of a block of pcapng."""
MAX_INTERFACES = 1024
"""Interfaces in one section of pcapng."""

_PCAP = {
    b"\xd4\xc3\xb2\xa1": ("<", 1_000_000),
    b"\xa1\xb2\xc3\xd4": (">", 1_000_000),
    b"\x4d\x3c\xb2\xa1": ("<", 1_000_000_000),
    b"\xa1\xb2\x3c\x4d": (">", 1_000_000_000),
}
_PCAPNG = b"\x0a\x0d\x0d\x0a"
_BYTE_ORDERS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_UNREADABLE = {
    b"\x1f\x8b": "it is compressed: gunzip it first",
    b"\x28\xb5\x2f\xfd": "it is compressed with zstd",
}

_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _PACKET = 0x0A0D0D0A, 1, 2, 3, 6
_OPTION_RESOLUTION, _OPTION_OFFSET = 9, 14


class Source(Protocol):
    """What a capture is read from: a file that is open for reading bytes."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, nothing at the end."""
        ...


@dataclass(frozen=True, slots=True)
class Record:
    """One packet as it was captured."""

    number: int
    """From 1 on, as Wireshark counts."""
    at: float | None
    """Seconds since the epoch, where the file tells."""
    link: int
    """How `data` begins: a LINKTYPE_ number."""
    data: bytes
    cut: bool
    """Whether the packet was longer than what was captured."""


@dataclass(slots=True)
class _Interface:
    link: int
    snap: int
    ticks: int = 1_000_000
    offset: int = 0


@dataclass(slots=True)
class _Section:
    order: str
    interfaces: list[_Interface] = field(default_factory=list)


def is_capture(head: bytes) -> bool:
    """Whether a file that begins with these four bytes, or more, should be read as a capture."""
    return head[:4] in _PCAP or head[:4] == _PCAPNG or any(head.startswith(magic) for magic in _UNREADABLE)


def read_capture(source: Source) -> Iterator[Record]:
    """The packets of a capture one after the other. Raises ParseError when there is nothing more to be read: the file
    ends within a packet, or is no capture."""
    magic = _up_to(source, 4)
    for beginning, reason in _UNREADABLE.items():
        if magic.startswith(beginning):
            raise ParseError(f"the capture cannot be read: {reason}")
    if magic == _PCAPNG:
        yield from _read_pcapng(source)
    elif magic in _PCAP:
        yield from _read_pcap(source, *_PCAP[magic])
    else:
        raise ParseError("it is no capture: neither pcap nor pcapng")


# --- pcap


def _read_pcap(source: Source, order: str, ticks: int) -> Iterator[Record]:
    head = _take(source, 20, "its header")
    (link,) = struct.unpack(f"{order}I", head[16:20])
    form = struct.Struct(f"{order}IIII")
    number = 0
    while beginning := source.read(form.size):
        number += 1
        beginning += _take(source, form.size - len(beginning), f"packet {number}")
        seconds, fraction, size, original = form.unpack(beginning)
        if size > MAX_RECORD:
            raise ParseError(f"packet {number} would have {size} bytes: the capture is damaged")
        data = _take(source, size, f"packet {number}")
        yield Record(number, seconds + fraction / ticks, link & 0xFFFF, data, original > size)


# --- pcapng


def _read_pcapng(source: Source) -> Iterator[Record]:
    section = _begin_section(source)
    number = 0
    while beginning := source.read(4):
        beginning += _take(source, 4 - len(beginning), "a block")
        if beginning == _PCAPNG:
            section = _begin_section(source)
            continue
        (kind,) = struct.unpack(f"{section.order}I", beginning)
        body = _read_block(source, section.order)
        if kind == _INTERFACE:
            _add_interface(section, body)
        elif kind in (_PACKET, _OLD_PACKET, _SIMPLE_PACKET):
            number += 1
            yield _packet(section, kind, body, number)


def _begin_section(source: Source) -> _Section:
    head = _take(source, 8, "a section header")  # length and byte order
    order = _BYTE_ORDERS.get(head[4:])
    if order is None:
        raise ParseError("the byte order of a section is not one: the capture is damaged")
    (size,) = struct.unpack(f"{order}I", head[:4])
    if not 16 <= size <= MAX_BLOCK:
        raise ParseError(f"a section header would have {size} bytes: the capture is damaged")
    _take(source, size - 12, "a section header")
    return _Section(order)


def _read_block(source: Source, order: str) -> bytes:
    """The body of a block whose type has been read."""
    (size,) = struct.unpack(f"{order}I", _take(source, 4, "a block"))
    if not 12 <= size <= MAX_BLOCK or size % 4:
        raise ParseError(f"a block would have {size} bytes: the capture is damaged")
    return _take(source, size - 8, "a block")[:-4]


def _add_interface(section: _Section, body: bytes) -> None:
    if len(body) < 8:
        raise ParseError("the description of an interface is too short: the capture is damaged")
    if len(section.interfaces) >= MAX_INTERFACES:
        raise ParseError(f"there are more than {MAX_INTERFACES} interfaces")
    link, snap = struct.unpack(f"{section.order}HxxI", body[:8])
    interface = _Interface(link, snap or MAX_RECORD)
    position = 8
    while position + 4 <= len(body):
        code, size = struct.unpack(f"{section.order}HH", body[position : position + 4])
        value = body[position + 4 : position + 4 + size]
        position += 4 + (size + 3) // 4 * 4
        if code == _OPTION_RESOLUTION and len(value) == 1:
            exponent = value[0] & 0x7F
            interface.ticks = 2**exponent if value[0] & 0x80 else 10**exponent
        elif code == _OPTION_OFFSET and len(value) == 8:
            (interface.offset,) = struct.unpack(f"{section.order}q", value)
    section.interfaces.append(interface)


def _packet(section: _Section, kind: int, body: bytes, number: int) -> Record:
    order, header = section.order, 4 if kind == _SIMPLE_PACKET else 20
    if len(body) < header:
        raise ParseError(f"packet {number} is shorter than its header: the capture is damaged")
    index, ticks = 0, None
    if kind == _SIMPLE_PACKET:
        (original,) = struct.unpack(f"{order}I", body[:4])
        size = original
    elif kind == _OLD_PACKET:
        index, high, low, size, original = struct.unpack(f"{order}HxxIIII", body[:20])
        ticks = high << 32 | low
    else:
        index, high, low, size, original = struct.unpack(f"{order}IIIII", body[:20])
        ticks = high << 32 | low
    if index >= len(section.interfaces):
        raise ParseError(f"packet {number} is of an interface that was not described: the capture is damaged")
    interface = section.interfaces[index]
    if kind == _SIMPLE_PACKET:
        size = min(size, interface.snap)
    if size > len(body) - header or size > MAX_RECORD:
        raise ParseError(f"packet {number} would have {size} bytes: the capture is damaged")
    at = None if ticks is None else interface.offset + ticks / interface.ticks
    return Record(number, at, interface.link, body[header : header + size], original > size)


def _take(source: Source, size: int, what: str) -> bytes:
    """Exactly `size` bytes."""
    data = _up_to(source, size)
    if len(data) < size:
        raise ParseError(f"the capture ends within {what}")
    return data


def _up_to(source: Source, size: int) -> bytes:
    """So many bytes, or all that are left: pipes give what they have."""
    data = b""
    while len(data) < size and (more := source.read(size - len(data))):
        data += more
    return data
