"""Datagrams of multicast DNS: what browsers sent, and others made by hand, apart from the codec under test."""

from __future__ import annotations

import ipaddress
import struct

GROUP4, GROUP6 = ("224.0.0.251", 5353), ("ff02::fb%eth0", 5353)

# Chromium 156: its A record and, in the additional section, an NSEC record whose next name is a pointer; an
# announcement and an answer are alike
CHROMIUM_NAME = "bff66135-4b2c-44fb-9968-b03bd812f3a2.local"
CHROMIUM_ANSWER = bytes.fromhex(
    "0000840000000001000000012462666636363133352d346232632d343466622d393936382d62303362643831326633613205"
    "6c6f63616c00000180010000007800040a4d00012462666636363133352d346232632d343466622d393936382d6230336264"
    "38313266336132056c6f63616c00002f8001000000780005c046000140"
)
CHROMIUM_QUERY = bytes.fromhex(
    "0000000000010000000000002462666636363133352d346232632d343466622d393936382d62303362643831326633613205"
    "6c6f63616c0000010001"
)
# the same for a socket that is bound to no address: the AAAA record is ::
CHROMIUM_UNSPECIFIED_NAME = "a4e9e746-1c73-4c40-ab5f-301dc7a6e95d.local"
CHROMIUM_UNSPECIFIED = bytes.fromhex(
    "0000840000000001000000012461346539653734362d316337332d346334302d616235662d33303164633761366539356405"
    "6c6f63616c00001c8001000000780010000000000000000000000000000000002461346539653734362d316337332d346334"
    "302d616235662d333031646337613665393564056c6f63616c00002f8001000000780008c052000400000008"
)
# both names when the page is closed
CHROMIUM_GOODBYE = bytes.fromhex(
    "0000840000000002000000002461346539653734362d316337332d346334302d616235662d33303164633761366539356405"
    "6c6f63616c00001c8001000000000010000000000000000000000000000000002462666636363133352d346232632d343466"
    "622d393936382d623033626438313266336132056c6f63616c00000180010000000000040a4d0001"
)
FIREFOX_NAME = "27361d4d-7ebf-4d04-b39b-22d7afd99e66.local"
FIREFOX_ANSWER = bytes.fromhex(
    "0000840000000001000000002432373336316434642d376562662d346430342d623339622d32326437616664393965363605"
    "6c6f63616c00000180010000007800040a4d0001"
)


def name_bytes(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


def record(name: bytes, kind: int, data: bytes, *, qualifier: int = 0x8001, ttl: int = 120) -> bytes:
    return name + struct.pack("!HHIH", kind, qualifier, ttl, len(data)) + data


def address_record(name: str, address: str, *, ttl: int = 120, qualifier: int = 0x8001) -> bytes:
    packed = ipaddress.ip_address(address).packed
    kind = 1 if len(packed) == 4 else 28
    return record(name_bytes(name), kind, packed, qualifier=qualifier, ttl=ttl)


def response(*answers: bytes, authority: tuple[bytes, ...] = (), additional: tuple[bytes, ...] = ()) -> bytes:
    counts = (0, len(answers), len(authority), len(additional))
    return struct.pack("!6H", 0, 0x8400, *counts) + b"".join((*answers, *authority, *additional))


def question(name: str, kind: int, qualifier: int = 1) -> bytes:
    return name_bytes(name) + struct.pack("!HH", kind, qualifier)


def query(*questions: bytes, id: int = 0) -> bytes:
    return struct.pack("!6H", id, 0, len(questions), 0, 0, 0) + b"".join(questions)


def answer(name: str, *addresses: str, ttl: int = 120) -> bytes:
    """A response that says that `name` has these addresses."""
    return response(*(address_record(name, address, ttl=ttl) for address in addresses))
