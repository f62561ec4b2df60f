"""A UDP endpoint on 0.0.0.0 or :: that answers from the address that was asked (RFC 8489 6.3.1.2).

On a host with several addresses the kernel would choose the source of an answer by the route back, and the client
would drop it. IP_PKTINFO tells the destination of each datagram, and sets the source of each answer.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import sys
from collections import Counter
from collections.abc import Callable

from fasticePy.aio.endpoint import MAX_DATAGRAM, MAX_PER_WAKE, EndpointHandler, UdpEndpoint
from fasticePy.machine import Address

# the socket module of some Pythons lacks the name
_IP_PKTINFO = {"linux": 8, "darwin": 26}.get(sys.platform, 0)

AVAILABLE = bool(_IP_PKTINFO) and hasattr(socket.socket, "recvmsg") and hasattr(socket, "IPV6_RECVPKTINFO")
"""Whether this system tells and sets the local address of a datagram; elsewhere a server listens on each address."""

_ANCILLARY_SIZE = socket.CMSG_SPACE(20) if AVAILABLE else 0
"""Room for one in6_pktinfo, the larger of both."""


class LocalAddress:
    """One of the host's addresses on a wildcard socket: what is sent here leaves from it."""

    def __init__(self, endpoint: WildcardEndpoint, ancillary: tuple[int, int, bytes]) -> None:
        self._endpoint = endpoint
        self._ancillary = ancillary

    def send(self, data: bytes, address: Address) -> bool:
        """Send one datagram; False when it was not sent."""
        return self._endpoint.send_from(self._ancillary, data, address)


class WildcardEndpoint(UdpEndpoint):
    """Takes over a UDP socket bound to a wildcard address, which must be non-blocking."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        handler: EndpointHandler,
        counters: Counter[str],
        *,
        register: Callable[[LocalAddress], int | None],
    ) -> None:
        """`register(local)` gives the number under which the handler hears of datagrams to this local address, or
        None when there are too many: those datagrams are dropped."""
        super().__init__(loop, 0, sock, handler, counters)
        self._register = register
        self._locals: dict[bytes, int] = {}
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)

    def send_from(self, ancillary: tuple[int, int, bytes], data: bytes, address: Address) -> bool:
        """Send one datagram from the local address that `ancillary` names."""
        try:
            self._sock.sendmsg([data], [ancillary], 0, self._book.sockaddr(address))
        except (OSError, ValueError):
            # an answer that is lost is asked for again; errors that ICMP brought are about someone else
            self._take_queued_errors()
            self._counters["answer not sent"] += 1
            return False
        return True

    def drain(self, limit: int = MAX_PER_WAKE) -> int:
        """Take what is waiting in the socket, at most `limit` datagrams, and give their number."""
        taken = 0
        while taken < limit and not self.closed:
            try:
                data, ancillary, _, source = self._sock.recvmsg(MAX_DATAGRAM, _ANCILLARY_SIZE)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                if not self._read_failed(error):
                    break
                continue
            self._failed_reads = 0
            taken += 1
            number = self._local_number(ancillary)
            if number is not None:
                self._handler.datagram_received(number, data, self._book.address(source))
        return taken

    def _local_number(self, ancillary: list[tuple[int, int, bytes]]) -> int | None:
        for level, kind, value in ancillary:
            destination = _destination(level, kind, value)
            if destination is None:
                continue
            known = self._locals.get(destination)
            if known is not None:
                return known
            return self._meet(destination)
        self._counters["datagram without a destination address"] += 1
        return None

    def _meet(self, destination: bytes) -> int | None:
        if ipaddress.ip_address(destination).is_multicast:
            self._counters["datagram to a multicast address"] += 1
            return None
        # interface 0: the route decides, only the source address is ours to choose
        if len(destination) == 4:
            reply = (socket.IPPROTO_IP, _IP_PKTINFO, bytes(4) + destination + bytes(4))
        else:
            reply = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, destination + bytes(4))
        number = self._register(LocalAddress(self, reply))
        if number is None:
            self._counters["datagram to too many local addresses"] += 1
        else:
            self._locals[destination] = number
        return number


def _destination(level: int, kind: int, value: bytes) -> bytes | None:
    """The destination address, packed, from an in_pktinfo or an in6_pktinfo."""
    if level == socket.IPPROTO_IP and kind == _IP_PKTINFO and len(value) >= 12:
        return value[8:12]
    if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO and len(value) >= 20:
        return value[:16]
    return None
