"""Messages of multicast DNS (RFC 6762 18, RFC 1035 4): questions and address records, and nothing else of DNS.

General DNS parsers refuse what browsers send: Chromium puts a compressed name into the NSEC record beside its
answer, which RFC 6762 18.14 allows and RFC 3597 does not. Here, records of other types are stepped over unread.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from dataclasses import dataclass

from fasticePy.errors import ParseError

A, AAAA, ANY = 1, 28, 255
"""Types of records; ANY in questions only."""

MAX_DATAGRAM = 9000
"""Bytes of the longest message (RFC 6762 17)."""
MAX_NAME = 255
"""Bytes of a name on the wire, the zero at its end included (RFC 1035 2.3.4)."""
MAX_LABEL = 63
"""Bytes of a part of a name."""
MAX_LABELS = 40
"""Parts of a name that is read; the longest in use are those of IPv6 addresses backwards, with 34."""
MAX_POINTERS = 16
"""Compression pointers followed within one name: as many parts as names have in practice, several times over."""
MAX_ENTRIES = 256
"""Questions and records of one message; an honest one has some dozens."""

_HEADER = struct.Struct("!6H")
_QUESTION = struct.Struct("!HH")
_RECORD = struct.Struct("!HHIH")
_CLASS_IN = 1
# of the class: unicast response wanted in a question, cache flush in a record (RFC 6762 18.12, 18.13)
_TOP_BIT = 0x8000
_FLAG_RESPONSE, _FLAG_AUTHORITATIVE = 0x8000, 0x0400
_OPCODE_AND_RCODE = 0x780F
_MAX_TTL = 0x7FFFFFFF
_PLAIN = re.compile(rb"[!-\-/-\[\]-~]+")  # what is printed as it is: visible, no dot and no backslash


@dataclass(frozen=True, slots=True)
class Question:
    """Who has addresses for `name`? `type` is A, AAAA or ANY; with `unicast` the answer may come to the asker
    alone."""

    name: str
    type: int
    unicast: bool = False


@dataclass(frozen=True, slots=True)
class AddressRecord:
    """`name` has `address` (numeric, without a scope) for `ttl` seconds, 0: has it no more. `flush`: and no other
    one of this family."""

    name: str
    address: str
    ttl: int = 120
    flush: bool = True

    @property
    def type(self) -> int:
        """A or AAAA."""
        return AAAA if ":" in self.address else A


@dataclass(frozen=True, slots=True)
class Message:
    r"""A query or a response. `records` are the address records of all sections; those of a query are what the asker
    knows or wants to claim, and answer nothing. Names are in lower case; bytes that host names do not have are
    `\DDD`."""

    response: bool
    questions: tuple[Question, ...] = ()
    records: tuple[AddressRecord, ...] = ()
    id: int = 0


def parse(data: bytes) -> Message:
    """The questions for addresses and the address records of a message. Raises ParseError, and nothing else, for any
    content; its work is bounded by the length of `data`, of which there may be MAX_DATAGRAM bytes."""
    if len(data) < _HEADER.size:
        raise ParseError("not mDNS: shorter than a header")
    if len(data) > MAX_DATAGRAM:
        raise ParseError(f"not mDNS: longer than {MAX_DATAGRAM} bytes")
    number, flags, asked, *counts = _HEADER.unpack_from(data)
    if flags & _OPCODE_AND_RCODE:  # RFC 6762 18.3, 18.11: to be ignored
        raise ParseError("not mDNS: the operation or the response code is not 0")
    if asked + sum(counts) > MAX_ENTRIES:
        raise ParseError(f"more than {MAX_ENTRIES} questions and records")
    at = _HEADER.size
    questions, records = [], []
    for _ in range(asked):
        question, at = _read_question(data, at)
        if question is not None:
            questions.append(question)
    for _ in range(sum(counts)):
        record, at = _read_record(data, at)
        if record is not None:
            records.append(record)
    return Message(bool(flags & _FLAG_RESPONSE), tuple(questions), tuple(records), number)


def build(message: Message) -> bytes:
    """The bytes of a message, its records in the answer section. Names are not compressed: Chromium follows no
    pointers in queries. Raises ValueError for names and addresses that are none, and for what does not fit."""
    flags = _FLAG_RESPONSE | _FLAG_AUTHORITATIVE if message.response else 0
    if len(message.questions) + len(message.records) > MAX_ENTRIES:
        raise ValueError(f"a message has at most {MAX_ENTRIES} questions and records")
    parts = [_HEADER.pack(message.id, flags, len(message.questions), len(message.records), 0, 0)]
    for question in message.questions:
        qualifier = _CLASS_IN | _TOP_BIT * question.unicast
        parts.append(_name_bytes(question.name) + _QUESTION.pack(question.type, qualifier))
    for record in message.records:
        if not 0 <= record.ttl <= _MAX_TTL:
            raise ValueError(f"a TTL is between 0 and {_MAX_TTL} s")
        packed = ipaddress.ip_address(record.address).packed
        qualifier = _CLASS_IN | _TOP_BIT * record.flush
        fixed = _RECORD.pack(record.type, qualifier, record.ttl, len(packed))
        parts.append(_name_bytes(record.name) + fixed + packed)
    data = b"".join(parts)
    if len(data) > MAX_DATAGRAM:
        raise ValueError(f"a message has at most {MAX_DATAGRAM} bytes")
    return data


# --- entries


def _read_question(data: bytes, at: int) -> tuple[Question | None, int]:
    after = _skip_name(data, at)
    end = after + _QUESTION.size
    if end > len(data):
        raise ParseError("a question reaches beyond the end of the message")
    kind, qualifier = _QUESTION.unpack_from(data, after)
    if kind not in {A, AAAA, ANY} or qualifier & ~_TOP_BIT not in {_CLASS_IN, ANY}:
        return None, end
    return Question(_read_name(data, at), kind, bool(qualifier & _TOP_BIT)), end


def _read_record(data: bytes, at: int) -> tuple[AddressRecord | None, int]:
    after = _skip_name(data, at)
    start = after + _RECORD.size
    if start > len(data):
        raise ParseError("a record reaches beyond the end of the message")
    kind, qualifier, ttl, length = _RECORD.unpack_from(data, after)
    end = start + length
    if end > len(data):
        raise ParseError("a record reaches beyond the end of the message")
    if kind not in {A, AAAA} or qualifier & ~_TOP_BIT != _CLASS_IN:
        return None, end
    if length != (4 if kind == A else 16):
        raise ParseError("an address record does not have the length of an address")
    address = str(ipaddress.ip_address(data[start:end]))
    # RFC 2181 8: with the highest bit set it counts as 0
    ttl = ttl if ttl <= _MAX_TTL else 0
    return AddressRecord(_read_name(data, at), address, ttl, bool(qualifier & _TOP_BIT)), end


# --- names


def _skip_name(data: bytes, at: int) -> int:
    """Where the name at `at` ends; pointers are not followed."""
    start = at
    while True:
        size = _byte(data, at)
        if size >= 0xC0:
            _byte(data, at + 1)
            return at + 2
        at += 1
        if size == 0:
            return at
        if size > MAX_LABEL:
            raise ParseError("a name has a part of an unknown kind")
        at += size
        if at - start >= MAX_NAME:
            raise ParseError(f"a name is longer than {MAX_NAME} bytes")


def _read_name(data: bytes, at: int) -> str:
    """The name at `at`, through its pointers. Each has to point before everything read of this name so far, so
    there are no loops (RFC 1035 4.1.4: to a prior occurrence)."""
    labels: list[str] = []
    length, pointers, start = 1, 0, at
    while size := _byte(data, at):
        if size >= 0xC0:
            at = (size & 0x3F) << 8 | _byte(data, at + 1)
            pointers += 1
            if not _HEADER.size <= at < start:
                raise ParseError("a compressed name does not point to an earlier one")
            if pointers > MAX_POINTERS:
                raise ParseError(f"a name has more than {MAX_POINTERS} pointers")
            start = at
            continue
        if size > MAX_LABEL:
            raise ParseError("a name has a part of an unknown kind")
        length += size + 1
        if length > MAX_NAME:
            raise ParseError(f"a name is longer than {MAX_NAME} bytes")
        label = data[at + 1 : at + 1 + size]
        if len(label) < size:
            raise ParseError("a name reaches beyond the end of the message")
        if len(labels) == MAX_LABELS:
            raise ParseError(f"a name has more than {MAX_LABELS} parts")
        labels.append(_text(label))
        at += 1 + size
    return ".".join(labels)


def _byte(data: bytes, at: int) -> int:
    if at >= len(data):
        raise ParseError("a name reaches beyond the end of the message")
    return data[at]


def _text(label: bytes) -> str:
    if _PLAIN.fullmatch(label):
        return label.decode("ascii").lower()
    # a dot inside a label must not look like one between labels
    return "".join(
        chr(byte).lower() if _PLAIN.match(label, at) else f"\\{byte:03d}" for at, byte in enumerate(label)
    )


def _name_bytes(name: str) -> bytes:
    parts = []
    for label in name.split(".") if name else ():
        raw = label.encode("utf-8", "surrogatepass")
        if len(raw) > MAX_LABEL or not _PLAIN.fullmatch(raw):
            raise ValueError(f"{name!r} is no host name")
        parts.append(bytes([len(raw)]) + raw)
    data = b"".join(parts) + b"\0"
    if len(data) > MAX_NAME:
        raise ValueError(f"a name has at most {MAX_NAME} bytes")
    return data
