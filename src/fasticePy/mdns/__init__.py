"""Multicast DNS (RFC 6762) as far as ICE needs it: addresses behind names that are a UUID and ".local". Sans-IO:
nothing here opens a socket or reads a clock."""

from __future__ import annotations

from fasticePy.mdns.events import NameFailed, NameResolved
from fasticePy.mdns.limits import Limits
from fasticePy.mdns.links import GROUPS, PORT
from fasticePy.mdns.machine import MdnsMachine
from fasticePy.mdns.names import is_mdns_name, is_uuid_name, make_name
from fasticePy.mdns.querier import NO_SOCKET, QUERY_TIMES, RESOLVE_TIMEOUT

__all__ = [
    "GROUPS",
    "NO_SOCKET",
    "PORT",
    "QUERY_TIMES",
    "RESOLVE_TIMEOUT",
    "Limits",
    "MdnsMachine",
    "NameFailed",
    "NameResolved",
    "is_mdns_name",
    "is_uuid_name",
    "make_name",
]
