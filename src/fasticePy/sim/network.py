"""The virtual network: hosts with addresses and sockets, links with faults, and the place of a NAT box.

The network is a tree of segments. A `Segment` is a domain in which addresses are reachable; the backbone is
the root. A `Station` is attached to a segment by an uplink and a downlink: a `Host`, which has sockets, or
a `Box`, which stands between the segment it is attached to and a segment of its own, its `inside`, whose
gateway it is:

    Host a --- inside of Box n (gateway n) --- backbone --- Host b

A packet that leaves `a` for `b` is unknown inside, so it goes to `n.outbound(packet)`; the answer is
addressed to n, so it comes to `n.receive(packet)`. A NAT, a firewall or a second NAT around the first is a
subclass of `Box` that decides what to `send` outside and what to `deliver` inside; nothing else has to know
of it. A packet is a UDP datagram, an ICMP error about one, or a TCP segment (`fasticePy.sim.packet`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Iterable
from dataclasses import replace
from random import Random
from typing import Literal

from fasticePy.machine import Address, TimerHeap
from fasticePy.sim.clock import VirtualClock
from fasticePy.sim.dns import Dns
from fasticePy.sim.errors import BindError, SimulationError
from fasticePy.sim.link import Link, damaged
from fasticePy.sim.mdns import GROUPS, Mdns
from fasticePy.sim.packet import LogEntry, Packet, Receiver, Transport, canonical, refusal
from fasticePy.sim.tcp import TcpReceiver, TcpStack

EPHEMERAL_PORTS = (32768, 60999)
"""Ports that a socket bound to port 0 gets, both ends included; those of Linux."""
LOG_LIMIT = 100_000
"""Entries that the packet log keeps; the oldest go first."""
MAX_DATAGRAM = 65507


class Segment:
    """A domain in which the attached addresses are reachable; everything else is up to its gateway."""

    __slots__ = ("_network", "_stations", "gateway", "name")

    def __init__(self, network: VirtualNetwork, name: str, gateway: Box | None = None) -> None:
        self._network = network
        self._stations: dict[str, Station] = {}
        self.name = name
        self.gateway = gateway

    def attach(self, address: str, station: Station) -> None:
        """Make `station` reachable here at `address`."""
        if address in self._stations:
            raise SimulationError(f"{self.name} has a station at {address} already")
        self._stations[address] = station

    def detach(self, address: str) -> None:
        """Make `address` unreachable here."""
        self._stations.pop(address, None)

    def forward(self, packet: Packet, origin: Station) -> None:
        """Carry a packet, which came from `origin`, on towards its destination."""
        station = self._stations.get(packet.destination[0])
        if station is not None:
            self._network.carry(packet, station.downlink, station.receive, station.name)
        elif packet.destination[0] in GROUPS:
            for each in dict.fromkeys(self._stations.values()):
                if each.hears_groups:
                    self._network.carry(packet, each.downlink, each.receive, each.name)
        elif self.gateway is not None and self.gateway is not origin:
            self.gateway.outbound(packet)
        else:
            self._network.note("no route", self.name, packet)


class Station:
    """What is attached to a segment: its addresses there and the link to it, both directions."""

    hears_groups = False
    """Whether it gets what is sent to all on its segment."""

    def __init__(self, network: VirtualNetwork, name: str, segment: Segment, link: Link) -> None:
        self.network = network
        self.name = name
        self.segment = segment
        self.uplink = link.copy()
        self.downlink = link.copy()
        self.addresses: list[str] = []

    def add_address(self, address: str) -> None:
        """Give it one more IP address."""
        address = canonical(address)
        self.segment.attach(address, self)
        self.addresses.append(address)

    def remove_address(self, address: str) -> None:
        """Take an address away, as when an interface goes down; sockets bound to it stay, deaf and dumb."""
        address = canonical(address)
        self.addresses.remove(address)
        self.segment.detach(address)

    def set_link(
        self,
        *,
        latency: float | None = None,
        jitter: float | None = None,
        loss: float | None = None,
        duplicate: float | None = None,
        reorder: float | None = None,
        reorder_delay: float | None = None,
        up: bool | None = None,
        burst: float | None = None,
        corrupt: float | None = None,
        rate: float | None = None,
        queue: int | None = None,
    ) -> None:
        """Change the conditions of both directions (see `Link`); `uplink` and `downlink` change one."""
        changes = {
            "latency": latency,
            "jitter": jitter,
            "loss": loss,
            "duplicate": duplicate,
            "reorder": reorder,
            "reorder_delay": reorder_delay,
            "up": up,
            "burst": burst,
            "corrupt": corrupt,
            "rate": rate,
            "queue": queue,
        }
        for link in (self.uplink, self.downlink):
            for name, value in changes.items():
                if value is not None:
                    setattr(link, name, value)

    def outage(
        self, start_in: float, seconds: float, direction: Literal["up", "down", "both"] = "both"
    ) -> Callable[[], None]:
        """Let nothing pass for `seconds`, from `start_in` seconds on; what is under way then still arrives. Outages
        may overlap. Gives a function that calls it off while it has not begun."""
        links = {"up": [self.uplink], "down": [self.downlink], "both": [self.uplink, self.downlink]}[
            direction
        ]
        timers = self.network.timers

        def begin(now: float) -> None:
            for link in links:
                link.interrupt(now + seconds)

        timer = timers.schedule(self.network.clock.now + start_in, begin)
        return lambda: timers.cancel(timer)

    def send(self, packet: Packet) -> None:
        """Put a packet on the uplink."""
        self.network.note("sent", self.name, packet)
        if self.network.is_dropped(packet):
            self.network.note("dropped", self.name, packet)
            return
        self.network.carry(packet, self.uplink, self._leave, self.name)

    def receive(self, packet: Packet) -> None:
        """Take a packet that came down the link."""
        raise NotImplementedError

    def _leave(self, packet: Packet) -> None:
        self.segment.forward(packet, self)


class Box(Station):
    """What stands between a segment and the one it is attached to. Subclasses say what passes, and how it
    looks afterwards: `outbound` gets what leaves the inside, `receive` what arrives outside for one of its
    addresses."""

    def __init__(self, network: VirtualNetwork, name: str, segment: Segment, link: Link) -> None:
        super().__init__(network, name, segment, link)
        self.inside = Segment(network, f"inside of {name}", self)

    def outbound(self, packet: Packet) -> None:
        """Take a packet that leaves the inside."""
        raise NotImplementedError

    def deliver(self, packet: Packet) -> None:
        """Hand a packet to the inside."""
        self.inside.forward(packet, self)


class Host(Station):
    """A computer: addresses, UDP sockets, TCP listeners and connections, multicast DNS."""

    hears_groups = True

    def __init__(self, network: VirtualNetwork, name: str, segment: Segment, link: Link, icmp: bool) -> None:
        super().__init__(network, name, segment, link)
        self.icmp = icmp
        """Whether a datagram to a closed port is answered with "port unreachable"; else it just vanishes."""
        self.costs: dict[str, int] = {}
        """What it costs to send from an address, where that is more than nothing."""
        self.on_addresses_changed: list[Callable[[], None]] = []
        """Called each time the addresses have changed."""
        self.tcp = TcpStack(self)
        self.mdns = Mdns(self)
        self._numbers: dict[Address, int] = {}
        self._sockets: dict[int, tuple[Address, Receiver]] = {}

    def add_address(self, address: str) -> None:
        """Give it one more IP address."""
        self.interface_up(address)

    def remove_address(self, address: str) -> None:
        """Take an address away. UDP sockets and TCP listeners bound to it stay, deaf and dumb; TCP connections from
        it end."""
        self.interface_down(address)

    def interface_up(self, *addresses: str, cost: int = 0) -> None:
        """Let an interface with these addresses come up, as one change; sending from them costs `cost`."""
        for address in map(canonical, addresses):
            super().add_address(address)
            if cost:
                self.costs[address] = cost
        self._tell_addresses()

    def interface_down(self, *addresses: str) -> None:
        """Let the interface that has these addresses go down, as one change: see `remove_address`."""
        for address in map(canonical, addresses):
            super().remove_address(address)
            self.costs.pop(address, None)
            self.tcp.address_removed(address)
        self._tell_addresses()

    def bind(self, address: str, port: int, receiver: Receiver) -> int:
        """Open a UDP socket on one of the host's addresses (port 0: any free one) and give its number,
        which no other socket of the network has. Raises BindError as an operating system would."""
        address = self.own_address(address)
        bound = (address, port or self.free_port(address, self._numbers))
        if bound in self._numbers:
            raise BindError("address already in use")
        number = self.network.next_socket()
        self._numbers[bound] = number
        self._sockets[number] = (bound, receiver)
        return number

    def listen(self, address: str, port: int, receiver: TcpReceiver) -> int:
        """Open a TCP socket that listens (port 0: any free one) and give its number. Connections may leave from its
        port too. Raises BindError."""
        return self.tcp.listen(address, port, receiver)

    def connect(self, base: Address, peer: Address, receiver: TcpReceiver) -> int:
        """Begin a TCP connection from `base` (port 0: any free one; the port of a listener is fine) to `peer` and
        give its number; the receiver is told what comes of it, never within this call. Raises BindError for what an
        operating system refuses at once."""
        return self.tcp.connect(base, peer, receiver)

    def close(self, socket: int) -> None:
        """Close a socket, listener or connection; closing it again does nothing. What was sent on a connection
        before is still delivered."""
        entry = self._sockets.pop(socket, None)
        if entry is not None:
            del self._numbers[entry[0]]
        elif self.tcp.has(socket):
            self.tcp.close(socket)

    def abort(self, socket: int) -> None:
        """Reset a TCP connection; anything else is closed."""
        if self.tcp.has(socket):
            self.tcp.close(socket, abort=True)
        else:
            self.close(socket)

    def address_of(self, socket: int) -> Address:
        """The address that a socket is bound to."""
        return self._sockets[socket][0] if socket in self._sockets else self.tcp.address_of(socket)

    @property
    def sockets(self) -> list[int]:
        """The open sockets, listeners and connections, oldest first."""
        return sorted([*self._sockets, *self.tcp.sockets])

    def send_from(self, socket: int, destination: Address, data: bytes) -> str:
        """Send one datagram, or one message on a TCP connection. Gives "" or, like an operating system at once, the
        reason why that is impossible."""
        entry = self._sockets.get(socket)
        if entry is None:
            return self.tcp.send(socket, destination, data) if self.tcp.has(socket) else "bad file descriptor"
        source = entry[0]
        reason = self._refusal(source, destination, data)
        if not reason:
            target = (canonical(destination[0]), destination[1])
            self.send(self.network.packet(source, target, data))
        return reason

    def receive(self, packet: Packet) -> None:
        """Hand a packet to the socket that it is for."""
        now = self.network.clock.now
        number = self._numbers.get(packet.destination)
        if packet.transport == "mdns":
            self.mdns.receive(packet)
        elif packet.destination[0] not in self.addresses:  # taken away while the packet was under way
            self.network.note("no route", self.name, packet)
        elif packet.transport == "tcp":
            self.tcp.receive(packet)
        elif number is None:
            self._closed_port(packet)
        elif packet.error:
            self.network.note("delivered", self.name, packet)
            self._sockets[number][1].error_received(number, packet.source, packet.error, now)
        else:
            self.network.note("delivered", self.name, packet)
            self._sockets[number][1].packet_received(number, packet.data, packet.source, now)

    def _closed_port(self, packet: Packet) -> None:
        self.network.note("closed port", self.name, packet)
        if self.icmp and not packet.error:  # never an error about an error (RFC 1122 3.2.2)
            back = packet.translated(source=packet.destination, destination=packet.source)
            self.send(replace(back, error="port unreachable", sent_at=self.network.clock.now))

    def _refusal(self, source: Address, destination: Address, data: bytes) -> str:
        reason = refusal(source, destination)
        if reason:
            return reason
        if source[0] not in self.addresses:
            return "network is unreachable"
        return "message too long" if len(data) > MAX_DATAGRAM else ""

    def own_address(self, address: str) -> str:
        """The address as the host has it. Raises BindError when it has not."""
        try:
            own = canonical(address)
        except ValueError as error:
            raise BindError(f"not an IP address: {address}") from error
        if own not in self.addresses:
            raise BindError("cannot assign requested address")
        return own

    def free_port(self, address: str, taken: Container[Address]) -> int:
        """A port of this address that is not among the `taken` ones. Raises BindError when there is none."""
        low, high = EPHEMERAL_PORTS
        span = high - low + 1
        first = self.network.rng.randrange(span)
        for offset in range(span):
            port = low + (first + offset) % span
            if (address, port) not in taken:
                return port
        raise BindError("no free port")

    def _tell_addresses(self) -> None:
        for tell in list(self.on_addresses_changed):
            tell()


class VirtualNetwork:
    """Hosts and what lies between them. Made by `Simulation`, which moves the time on."""

    def __init__(self, clock: VirtualClock, timers: TimerHeap, rng: Random, link: Link | None = None) -> None:
        self.clock = clock
        self.rng = rng
        """Decides loss, jitter, ports and the like."""
        self.dns = Dns()
        self.link = link or Link()
        """The conditions that a new station's uplink and downlink start with."""
        self.timers = timers
        """What happens later."""
        self.backbone = Segment(self, "backbone")
        self.hosts: list[Host] = []
        self.log: deque[LogEntry] = deque(maxlen=LOG_LIMIT)
        self._filters: list[Callable[[Packet], bool]] = []
        self._packets = 0
        self._sockets = 0

    def add_host(
        self,
        *addresses: str,
        name: str = "",
        segment: Segment | None = None,
        link: Link | None = None,
        icmp: bool = False,
    ) -> Host:
        """A new host with these numeric addresses on a segment (the backbone, or the `inside` of a box).

        One way between two hosts takes the latency of the sender's uplink plus that of the receiver's
        downlink. `link` gives the conditions of both directions; `icmp` lets closed ports be reported to
        senders."""
        name = name or f"host{len(self.hosts) + 1}"
        host = Host(self, name, segment or self.backbone, link or self.link, icmp)
        host.interface_up(*addresses)
        self.hosts.append(host)
        return host

    def drop(self, predicate: Callable[[Packet], bool]) -> Callable[[], None]:
        """Drop each packet for which `predicate(packet)` is true when a host or box sends it: outages,
        one-way faults, lost messages of one kind. Gives a function that ends it."""
        self._filters.append(predicate)

        def end() -> None:
            if predicate in self._filters:
                self._filters.remove(predicate)

        return end

    def drop_between(self, sources: Iterable[Host], destinations: Iterable[Host]) -> Callable[[], None]:
        """Drop what goes from any of `sources` to any of `destinations`, in that direction only."""
        senders = frozenset(address for host in sources for address in host.addresses)
        receivers = frozenset(address for host in destinations for address in host.addresses)
        return self.drop(lambda packet: packet.source[0] in senders and packet.destination[0] in receivers)

    def is_dropped(self, packet: Packet) -> bool:
        """Whether a filter takes this packet."""
        return any(predicate(packet) for predicate in self._filters)

    def count(self, what: str) -> int:
        """How many entries of the log say `what`."""
        return sum(entry.what == what for entry in self.log)

    def sent(self, host: Host | None = None, transport: Transport = "udp") -> list[Packet]:
        """The datagrams (or segments) that one host, or all hosts, have sent, oldest first."""
        names = {host.name} if host is not None else {each.name for each in self.hosts}
        entries = (entry for entry in self.log if entry.what == "sent" and entry.where in names)
        packets = (entry.packet for entry in entries if not entry.packet.error)
        return [packet for packet in packets if packet.transport == transport]

    def story(self) -> str:
        """The packet log as text, one line for each entry."""
        return "\n".join(map(str, self.log))

    # what stations use

    def packet(
        self,
        source: Address,
        destination: Address,
        data: bytes,
        *,
        transport: Transport = "udp",
        flags: str = "",
        sequence: int = 0,
        acknowledged: int = 0,
    ) -> Packet:
        """A new packet, sent now."""
        self._packets += 1
        return Packet(
            self._packets,
            source,
            destination,
            data,
            self.clock.now,
            transport=transport,
            flags=flags,
            sequence=sequence,
            acknowledged=acknowledged,
        )

    def next_socket(self) -> int:
        """A number for a socket."""
        self._sockets += 1
        return self._sockets

    def carry(self, packet: Packet, link: Link, arrive: Callable[[Packet], None], where: str) -> None:
        """Take a packet over one link and call `arrive(packet)` when it comes out, as often as it does."""
        now = self.clock.now
        size = packet.size if link.rate else 0
        full = link.is_full(now, size)
        arrivals = link.arrivals(now, self.rng, size)
        if not arrivals:
            self.note("queue full" if full else "lost", where, packet)
        elif link.corrupt and link.damages(self.rng):
            self.note("corrupted", where, packet)
            if packet.transport == "tcp":
                return  # its checksum tells
            packet = replace(packet, data=damaged(packet.data, self.rng))
        for at in arrivals:
            self.timers.schedule(at, lambda _now: arrive(packet))

    def note(self, what: str, where: str, packet: Packet) -> None:
        """Write an entry into the packet log."""
        self.log.append(LogEntry(self.clock.now, what, where, packet))
