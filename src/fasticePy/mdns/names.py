"""Names that stand for an address on the local network: a random UUID and ".local"
(draft-ietf-mmusic-mdns-ice-candidates 3.1.1, 3.2.1)."""

from __future__ import annotations

import re

from fasticePy.machine import Rng

SUFFIX = ".local"
_UUID_NAME = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.local")


def make_name(rng: Rng) -> str:
    """A new name, a UUID of version 4 (RFC 9562 5.4) and ".local". One is for one address: an address of each family,
    and each interface, gets its own."""
    raw = bytearray(rng(16))
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    text = raw.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:])) + SUFFIX


def is_mdns_name(host: str) -> bool:
    """Whether multicast DNS, and never a name server, is to be asked for this name: it ends with ".local" and has no
    other dot."""
    return len(host) > len(SUFFIX) and host.lower().endswith(SUFFIX) and host.count(".") == 1


def is_uuid_name(host: str) -> bool:
    """Whether the name has the form of those that ICE agents make. Others belong to printers and the like, to which
    nobody shall make us talk."""
    # any version of UUID: none of them is the well-known name of a device
    return _UUID_NAME.fullmatch(host.lower()) is not None
