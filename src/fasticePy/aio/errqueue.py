"""The Linux error queue of a UDP socket: which destination an ICMP error is about (ip(7), IP_RECVERR).

Without it an ICMP error surfaces as an errno of the next call, whatever that call was about.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from dataclasses import dataclass
from typing import cast

from fasticePy.aio.sockaddr import SockAddr

AVAILABLE = sys.platform == "linux"
"""Whether this operating system has an error queue."""

_IP_RECVERR = 11  # linux/in.h; the socket module has it from Python 3.14 on
_IPV6_RECVERR = 25
_RECVERR = ((socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR))
_MSG_ERRQUEUE = 0x2000
_EXTENDED_ERROR = struct.Struct("=IBBBxII")  # struct sock_extended_err
_CONTROL_SPACE = 512
_MAX_PER_CALL = 64

_ORIGIN_LOCAL, _ORIGIN_ICMP, _ORIGIN_ICMP6 = 1, 2, 3

_ICMP_UNREACHABLE = {
    0: "network unreachable",
    1: "host unreachable",
    2: "protocol unreachable",
    3: "port unreachable",
    4: "fragmentation needed",
    5: "source route failed",
    6: "network unknown",
    7: "host unknown",
    8: "source host isolated",
    9: "network administratively prohibited",
    10: "host administratively prohibited",
    11: "network unreachable for this type of service",
    12: "host unreachable for this type of service",
    13: "administratively filtered",
    14: "host precedence violation",
    15: "precedence cutoff",
}
_ICMP_HARD = frozenset({2, 3, 6, 7, 8, 9, 10, 13, 14, 15})
_ICMP6_UNREACHABLE = {
    0: "no route to destination",
    1: "administratively prohibited",
    2: "beyond the scope of the source address",
    3: "address unreachable",
    4: "port unreachable",
    5: "source address failed ingress policy",
    6: "route rejected",
}
_ICMP6_HARD = frozenset({1, 4, 5, 6})


@dataclass(frozen=True, slots=True)
class QueuedError:
    """One entry of the error queue."""

    destination: SockAddr | None
    """Where the datagram in question had been sent."""
    what: str
    """In words; there are few different ones, so that it can be counted by."""
    hard: bool
    """Retrying soon is pointless (RFC 1122 4.2.3.9). Routers send the others during any disturbance."""
    router: str = ""
    """Who said it, when it was not the destination."""

    @property
    def reason(self) -> str:
        """What happened and who said so."""
        return f"{self.what} from {self.router}" if self.router else self.what


def enable(sock: socket.socket) -> bool:
    """Ask for the error queue. False when this operating system has none, or refuses."""
    if not AVAILABLE:
        return False
    level, option = (
        (socket.IPPROTO_IPV6, _IPV6_RECVERR)
        if sock.family == socket.AF_INET6
        else (socket.IPPROTO_IP, _IP_RECVERR)
    )
    try:
        sock.setsockopt(level, option, 1)
    except OSError:
        return False
    return True


def drain(sock: socket.socket) -> list[QueuedError]:
    """Take what is in the queue; the socket is readable as long as something is."""
    errors: list[QueuedError] = []
    if sys.platform != "win32":  # no recvmsg there
        for _ in range(_MAX_PER_CALL):
            try:
                _, control, _, destination = sock.recvmsg(0, _CONTROL_SPACE, _MSG_ERRQUEUE)
            except OSError:  # empty: EAGAIN
                break
            errors += [
                _decode(data, cast("SockAddr | None", destination or None))
                for level, kind, data in control
                if (level, kind) in _RECVERR and len(data) >= _EXTENDED_ERROR.size
            ]
    return errors


def _decode(data: bytes, destination: SockAddr | None) -> QueuedError:
    number, origin, kind, code, _info, _data = _EXTENDED_ERROR.unpack_from(data)
    if origin in {_ORIGIN_ICMP, _ORIGIN_ICMP6}:
        what, hard = _icmp(kind, code) if origin == _ORIGIN_ICMP else _icmp6(kind, code)
        return QueuedError(destination, what, hard, _router(data, destination))
    # a local error with EMSGSIZE only tells the path MTU
    hard = origin == _ORIGIN_LOCAL and number != errno.EMSGSIZE
    return QueuedError(destination, os.strerror(number).lower(), hard)


def _icmp(kind: int, code: int) -> tuple[str, bool]:
    if kind == 3:
        return f"ICMP {_ICMP_UNREACHABLE.get(code, 'destination unreachable')}", code in _ICMP_HARD
    return {11: "ICMP time exceeded", 12: "ICMP parameter problem"}.get(kind, "ICMP error"), False


def _icmp6(kind: int, code: int) -> tuple[str, bool]:
    if kind == 1:
        return f"ICMPv6 {_ICMP6_UNREACHABLE.get(code, 'destination unreachable')}", code in _ICMP6_HARD
    names = {2: "ICMPv6 packet too big", 3: "ICMPv6 time exceeded", 4: "ICMPv6 parameter problem"}
    return names.get(kind, "ICMPv6 error"), False


def _router(data: bytes, destination: SockAddr | None) -> str:
    """The address behind the error (SO_EE_OFFENDER), when it is not the destination's."""
    at = _EXTENDED_ERROR.size
    family = int.from_bytes(data[at : at + 2], sys.byteorder)
    if family == socket.AF_INET and len(data) >= at + 8:
        offender = socket.inet_ntop(socket.AF_INET, data[at + 4 : at + 8])
    elif family == socket.AF_INET6 and len(data) >= at + 24:
        offender = socket.inet_ntop(socket.AF_INET6, data[at + 8 : at + 24])
    else:
        return ""
    return "" if destination is not None and destination[0] == offender else offender
