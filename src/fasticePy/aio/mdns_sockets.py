"""The sockets of multicast DNS: one for each interface and family, as interfaces come and go."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from fasticePy.aio.endpoint import Endpoint, EndpointHandler, in_words
from fasticePy.aio.endpoint_transport import open_endpoint
from fasticePy.aio.interfaces import InterfaceAddress
from fasticePy.aio.sockaddr import from_sockaddr, split_scope, to_sockaddr
from fasticePy.mdns import GROUPS, PORT

MAX_INTERFACES = 16
"""Interfaces that are used at most, those with a default route first: hosts of containers have hundreds."""
MAX_SOURCES = 1024
"""Sources of which it is remembered whether they are on the local network."""
HOPS = 255
"""TTL of everything that is sent (RFC 6762 11)."""

_IP_MULTICAST_ALL, _IPV6_MULTICAST_ALL = 49, 29  # linux/in.h, linux/in6.h


@dataclass(frozen=True, slots=True)
class MdnsInterface:
    """One family on one interface."""

    name: str
    index: int
    """The operating system's number of it; 0 when that is not known."""
    ipv6: bool
    addresses: tuple[str, ...]
    """Of both families, link-local ones with their scope."""

    @property
    def scope(self) -> str:
        """What link-local addresses on it have behind the percent sign."""
        return split_scope(from_sockaddr(("fe80::1", 0, 0, self.index))[0])[1] if self.index else ""


class MdnsSockets:
    """Which are open. `opened(id, interface)` and `closed(id)` are told to the owner, `handler` gets what comes
    in."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        handler: EndpointHandler,
        counters: Counter[str],
        *,
        addresses: Callable[[], Sequence[InterfaceAddress]],
        include_loopback: bool,
        opened: Callable[[int, MdnsInterface], bool],
        closed: Callable[[int], None],
    ) -> None:
        self.endpoints: dict[int, Endpoint] = {}
        """By the number that the machine knows them by."""
        self.problems: dict[str, str] = {}
        """What could not be opened or broke, and why."""
        self._loop = loop
        self._handler = handler
        self._counters = counters
        self._addresses = addresses
        self._include_loopback = include_loopback
        self._opened = opened
        self._told_closed = closed
        self._open: dict[MdnsInterface, int] = {}
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        self._sources: dict[str, bool] = {}
        self._ids = itertools.count(1)
        self._scanned: float | None = None

    def scan(self, older_than: float = 0.0) -> None:
        """Look at the host's interfaces, unless that was less than `older_than` seconds ago: open what is new,
        close what is gone."""
        now = self._loop.time()
        if self._scanned is not None and now - self._scanned < older_than:
            return
        self._scanned = now
        self.problems.clear()
        try:
            found = list(self._addresses())
        except OSError as error:
            self.problems["interfaces"] = f"the interfaces cannot be listed: {in_words(error)}"
            return
        self._networks = [
            ipaddress.ip_network(f"{split_scope(entry.address)[0]}/{entry.prefix}", strict=False)
            for entry in found
        ]
        self._sources.clear()
        wanted = usable(found, include_loopback=self._include_loopback)
        for gone in [interface for interface in self._open if interface not in wanted]:
            self._close(gone)
        for interface in wanted:
            if interface not in self._open:
                self._begin(interface)

    def is_local(self, host: str) -> bool:
        """Whether a source is on a network of this host (RFC 6762 11): what others send to port 5353 from afar was
        not meant for this network."""
        known = self._sources.get(host)
        if known is None:
            ip = ipaddress.ip_address(split_scope(host)[0])
            known = (ip.version == 6 and ip.is_link_local) or any(ip in network for network in self._networks)
            if len(self._sources) >= MAX_SOURCES:
                self._sources.clear()
            self._sources[host] = known
        return known

    def broken(self, id: int, reason: str) -> None:
        """A socket can be read no more."""
        for interface, number in list(self._open.items()):
            if number == id:
                self._close(interface)
                self.problems[_label(interface)] = f"{_label(interface)}: {reason}"

    def close(self) -> None:
        """Close all of them."""
        for interface in list(self._open):
            self._close(interface)
        self._scanned = None

    def _begin(self, interface: MdnsInterface) -> None:
        try:
            sock = open_mdns_socket(interface)
        except (OSError, ValueError) as error:
            why = in_words(error) if isinstance(error, OSError) else str(error)
            self.problems[_label(interface)] = f"{_label(interface)}: {why}"
            return
        id = next(self._ids)
        endpoint = open_endpoint(self._loop, id, sock, self._handler, self._counters)
        if not self._opened(id, interface):
            endpoint.close()
            return
        self.endpoints[id] = endpoint
        self._open[interface] = id

    def _close(self, interface: MdnsInterface) -> None:
        id = self._open.pop(interface)
        self.endpoints.pop(id).close()
        self._told_closed(id)


def _label(interface: MdnsInterface) -> str:
    return f"{interface.name} IPv{6 if interface.ipv6 else 4}"


def usable(found: Iterable[InterfaceAddress], *, include_loopback: bool) -> list[MdnsInterface]:
    """The interfaces to use, those with a default route first; loopback where there is nothing else, or when it is
    wanted."""
    by_name: dict[str, list[InterfaceAddress]] = {}
    for entry in found:
        if entry.up and entry.carrier and not entry.tentative:
            by_name.setdefault(entry.interface, []).append(entry)
    loopback = {
        name for name, entries in by_name.items() if all(entry.kind == "loopback" for entry in entries)
    }
    if not include_loopback and len(loopback) < len(by_name):
        for name in loopback:
            del by_name[name]
    ordered = sorted(by_name.values(), key=lambda entries: not any(entry.default for entry in entries))
    result = []
    for entries in ordered[:MAX_INTERFACES]:
        name, addresses = entries[0].interface, tuple(entry.address for entry in entries)
        index = interface_index(name, addresses)
        versions = sorted({entry.version for entry in entries})
        result += [MdnsInterface(name, index, version == 6, addresses) for version in versions]
    return result


def interface_index(name: str, addresses: Iterable[str]) -> int:
    """The operating system's number of an interface, 0 when it cannot be told."""
    for address in addresses:
        if "%" in address:  # the surer way on Windows, where interfaces have several names
            try:
                return to_sockaddr((address, 0))[-1]
            except ValueError:
                continue
    try:
        return socket.if_nametoindex(name)
    except (OSError, AttributeError):  # AttributeError: PyPy on Windows
        return 0


def open_mdns_socket(interface: MdnsInterface) -> socket.socket:
    """A non-blocking socket on port 5353, which others on this host may have as well, that is a member of the group
    on this interface, sends through it and hears what we send ourselves. Raises OSError, and ValueError when the
    interface cannot be named to the operating system."""
    sock = socket.socket(socket.AF_INET6 if interface.ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            _try(sock, socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if interface.ipv6:
            _join_ipv6(sock, interface)
        else:
            _join_ipv4(sock, interface)
    except BaseException:
        sock.close()
        raise
    return sock


def _join_ipv4(sock: socket.socket, interface: MdnsInterface) -> None:
    level = socket.IPPROTO_IP
    own = socket.inet_aton(next(address for address in interface.addresses if ":" not in address))
    sender, member = own, socket.inet_aton(GROUPS[0]) + own
    if sys.platform == "linux":
        # otherwise it would hear what comes in on interfaces that other sockets joined the group on
        _try(sock, level, _IP_MULTICAST_ALL, 0)
        member += struct.pack("=i", interface.index)  # struct ip_mreqn: two interfaces may share an address
        sender = member
    sock.setsockopt(level, socket.IP_MULTICAST_IF, sender)
    sock.setsockopt(level, socket.IP_MULTICAST_TTL, HOPS)
    sock.setsockopt(level, socket.IP_MULTICAST_LOOP, 1)
    _try(sock, level, socket.IP_TTL, HOPS)
    sock.bind(("", PORT))
    sock.setsockopt(level, socket.IP_ADD_MEMBERSHIP, member)


def _join_ipv6(sock: socket.socket, interface: MdnsInterface) -> None:
    level = socket.IPPROTO_IPV6
    if not interface.index:
        raise ValueError("the number of this interface is not known")
    sock.setsockopt(level, socket.IPV6_V6ONLY, 1)
    if sys.platform == "linux":
        _try(sock, level, _IPV6_MULTICAST_ALL, 0)
    sock.setsockopt(level, socket.IPV6_MULTICAST_IF, interface.index)
    sock.setsockopt(level, socket.IPV6_MULTICAST_HOPS, HOPS)
    sock.setsockopt(level, socket.IPV6_MULTICAST_LOOP, 1)
    _try(sock, level, socket.IPV6_UNICAST_HOPS, HOPS)
    sock.bind(("::", PORT))
    group = socket.inet_pton(socket.AF_INET6, GROUPS[1]) + struct.pack("@I", interface.index)
    sock.setsockopt(level, socket.IPV6_JOIN_GROUP, group)


def _try(sock: socket.socket, level: int, option: int, value: int) -> None:
    """Set an option that one can do without."""
    try:
        sock.setsockopt(level, option, value)
    except OSError:
        return
