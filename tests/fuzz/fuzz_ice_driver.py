"""What a driver holds for an ICE agent, for the target `ice`: sockets, listeners, connections, names, signalling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fuzz_harness import Reader

from fasticePy import stun
from fasticePy.ice import (
    CancelConnection,
    CandidateGathered,
    CloseSocket,
    GatheringStateChanged,
    IceAgent,
    NeedAddresses,
    NeedConnection,
    NeedSocket,
    PublishName,
    Restarted,
    StreamFacts,
    WithdrawName,
)
from fasticePy.machine import Address, Event
from fasticePy.stun import Method

ANYWHERE = (("10.0.0.1", 0), ("198.51.100.9", 0), ("2001:db8::9", 0), ("fe80::9", 0), ("127.0.0.1", 0))
STRANGER: Address = ("198.51.100.9", 9)
ON_ITS_WAY = 64
"""Messages that the network holds at most; the oldest are lost."""


@dataclass(slots=True)
class Socket:
    """A UDP socket, a listener or a connection."""

    transport: str
    address: Address
    accepted: bool = False
    other_end: int | None = None
    """The socket of the peer, where it is the other end of a connection."""


class Driver:
    """One side."""

    def __init__(self, side: int, agent: IceAgent, credentials: tuple[str, str]) -> None:
        self.side = side
        self.agent = agent
        self.peer: Driver | None = None
        self.sockets: dict[int, Socket] = {}
        self.ended: set[int] = set()
        """Connections that the peer has closed."""
        self.next_socket = 1
        self.asked: dict[int, NeedConnection] = {}
        self.names: dict[int, NeedAddresses] = {}
        self.published: dict[str, str] = {}
        self.sent: list[tuple[int, bytes, Address]] = []
        """To which socket of the peer, what, from where."""
        self.signals: list[tuple[int, str]] = []
        """For the peer: of which stream, a candidate or a description."""
        self.last_id = b""
        """The transaction of our latest message."""
        self.keys: dict[str, stun.IntegrityKey] = {}
        self.credentials: list[tuple[str, str]] = []
        self.restarted = False
        self.lite = agent.options.lite
        self.learn_credentials()

    @property
    def accepted(self) -> int:
        """Connections that came in and are open."""
        return sum(each.accepted for each in self.sockets.values())

    def socket(self, which: int) -> int:
        """One of the sockets, mostly; else a number that means nothing."""
        known = list(self.sockets)
        return known[which % len(known)] if known and which != 255 else 1

    def peer_credentials(self, stream: int, which: int) -> tuple[str, str]:
        """The right ones, as a rule."""
        assert self.peer is not None
        known = self.peer.credentials
        return (f"othr{which}", "other" * 5) if which % 4 == 3 else known[min(stream, len(known) - 1)]

    def facts(self, sections: int) -> list[StreamFacts | None]:
        """For offers and answers with so many sections, or more."""
        agent = self.agent
        facts = [
            None if stream.state == "closed" else agent.facts(stream.index, mid=str(stream.index))
            for stream in agent.streams
        ]
        return facts + [None] * (sections - len(facts))

    def learn_credentials(self) -> None:
        """Those of all streams, as they are now."""
        locals = [stream.generation.local for stream in self.agent.streams]
        self.credentials = [(each.ufrag, each.pwd) for each in locals]
        for each in locals:
            if each.pwd not in self.keys:
                self.keys[each.pwd] = stun.IntegrityKey.short_term(each.pwd)

    # -- what the agent wants ------------------------------------------------------------------------------------------

    def collect(self, now: float) -> None:
        """Take events and messages out of the agent."""
        while True:  # messages first, as real drivers do it: what is sent last on a socket precedes its end
            transmits, events = self.agent.take_transmits(), self.agent.take_events()
            if not transmits and not events:
                break
            for transmit in transmits:
                assert stun.parse(transmit.data).method == Method.BINDING
                self.last_id = transmit.data[8:20]
                self.send(transmit.socket, transmit.data, transmit.address)
            for event in events:
                repr(event)
                self.event(event, now)
        self.learn_credentials()

    def event(self, event: Event, now: float) -> None:
        if isinstance(event, NeedSocket):
            self.open(event, now)
        elif isinstance(event, CloseSocket):
            self.close(event.socket, now)
        elif isinstance(event, NeedConnection):
            assert event.request not in self.asked
            self.asked[event.request] = event
        elif isinstance(event, CancelConnection):
            self.asked.pop(event.request, None)
        elif isinstance(event, NeedAddresses):
            self.names[event.request] = event
        elif isinstance(event, PublishName):
            self.published[event.name] = event.address
        elif isinstance(event, WithdrawName):
            del self.published[event.name]
        elif isinstance(event, CandidateGathered):
            self.signals.append((event.stream, event.candidate.to_sdp()))
        elif isinstance(event, GatheringStateChanged) and event.state == "complete":
            self.signals.append((event.stream, "end-of-candidates"))
        elif isinstance(event, Restarted):
            self.restarted = True
            self.signals.append((event.stream, str(self.agent.description_of(event.stream))))
        del self.signals[:-ON_ITS_WAY]

    def open(self, event: NeedSocket, now: float) -> None:
        host, port = event.address
        number = self.add(Socket(event.transport, (host, port or 4999 + self.next_socket)))
        self.agent.socket_opened(event.request, number, self.sockets[number].address, now)

    def add(self, socket: Socket) -> int:
        number, self.next_socket = self.next_socket, self.next_socket + 1
        self.sockets[number] = socket
        return number

    def close(self, number: int, now: float) -> None:
        if number in self.ended:
            self.ended.remove(number)  # the peer was faster by a moment
            return
        socket = self.sockets.pop(number)
        assert self.peer is not None
        if socket.other_end is not None and self.peer.sockets.pop(socket.other_end, None) is not None:
            self.peer.ended.add(socket.other_end)
            self.peer.agent.connection_closed(socket.other_end, "closed by the peer", now)

    def send(self, number: int, data: bytes, destination: Address) -> None:
        if number in self.ended:
            return
        socket = self.sockets[number]  # nothing is sent on what is closed
        assert self.peer is not None
        connected = socket.transport == "connection"
        target = socket.other_end if connected else self.peer.at("udp", destination)
        if target is not None:
            self.sent.append((target, data, socket.address))
            del self.sent[:-ON_ITS_WAY]

    def at(self, transport: str, address: Address) -> int | None:
        """The socket that is bound there."""
        for number, socket in self.sockets.items():
            if socket.transport == transport and socket.address == address:
                return number
        return None

    # -- what a driver does ------------------------------------------------------------------------------------------

    def do_all(self, now: float) -> None:
        """Everything that was asked for, as it should be."""
        for request in list(self.asked):
            self.connect(request, now)
        for request in list(self.names):
            self.resolve(request, now)

    def connect(self, request: int, now: float) -> None:
        event = self.asked.pop(request, None)
        assert self.peer is not None
        if event is None:
            return
        listener = self.peer.at("tcp", event.peer)
        if listener is None:
            self.agent.connection_failed(request, "connection refused", now)
            return
        host, port = event.base
        ours = Socket("connection", (host, port or 40000 + self.next_socket))
        number = self.add(ours)
        theirs = Socket("connection", event.peer, accepted=True, other_end=number)
        ours.other_end = self.peer.add(theirs)
        if not self.peer.agent.connection_accepted(listener, ours.other_end, ours.address, now):
            del self.peer.sockets[ours.other_end]
            ours.other_end = None
        self.agent.connection_opened(request, number, ours.address, now)

    def resolve(self, request: int, now: float) -> None:
        event = self.names.pop(request)
        assert self.peer is not None
        address = self.peer.published.get(event.host) or self.published.get(event.host)
        if address is None:
            self.agent.resolution_failed(request, "there is no such name", now)
        else:
            self.agent.addresses_resolved(request, [(address, event.port)], now)

    def lost_addresses(self, hosts: Sequence[str]) -> None:
        """The network does not lead to the others any more: their connections are dead, and tell nobody."""
        for socket in self.sockets.values():
            if socket.address[0] not in hosts:
                socket.other_end = None

    def end(self, now: float) -> None:
        """The agent is closed: it has cleaned up, and late answers change nothing."""
        assert not self.sockets and not self.asked and not self.published
        number = self.add(Socket("connection", STRANGER))
        self.agent.connection_opened(0, number, STRANGER, now)
        self.agent.connection_failed(1, "late", now)
        self.agent.addresses_resolved(0, [STRANGER], now)
        self.agent.resolution_failed(0, "late", now)
        assert not self.agent.connection_accepted(1, number, STRANGER, now)
        self.agent.connection_closed(number, "late", now)
        self.collect(now)
        assert not self.sockets

    # -- what a driver or its network might do, too ------------------------------------------------------------------

    def odd_connection(self, variant: int, reader: Reader, now: float) -> None:
        agent, number = self.agent, reader.number()
        if variant == 0:
            self.asked.pop(number, None)
            agent.connection_failed(number, "fuzzed 10.0.0.2", now)
        elif variant in (1, 2):  # a stranger, or somebody with the peer's address
            peer = STRANGER if variant == 1 else ("10.0.0.2", number)
            listeners = [n for n, each in self.sockets.items() if each.transport == "tcp"]
            listener = listeners[number % len(listeners)] if listeners else number
            address = self.sockets[listener].address if listeners else STRANGER
            socket = self.add(Socket("connection", address, accepted=True))
            if not agent.connection_accepted(listener, socket, peer, now):
                del self.sockets[socket]
        elif variant == 3:
            socket = self.socket(number)
            if socket in self.sockets and self.sockets[socket].transport == "connection":
                del self.sockets[socket]
                agent.connection_closed(socket, "reset", now)
        elif variant == 4:
            agent.connection_closed(number, "not ours", now)
        elif variant == 5 and self.asked:
            self.connect(list(self.asked)[number % len(self.asked)], now)
        elif variant == 6 and self.asked:  # it leads to nobody who says anything
            request = list(self.asked)[number % len(self.asked)]
            event = self.asked.pop(request)
            socket = self.add(Socket("connection", (event.base[0], 50000 + number)))
            agent.connection_opened(request, socket, self.sockets[socket].address, now)
        elif variant == 7:
            socket = self.add(Socket("connection", STRANGER))
            agent.connection_opened(1000 + number, socket, STRANGER, now)

    def odd_name(self, variant: int, reader: Reader, now: float) -> None:
        agent, request = self.agent, reader.number()
        if request in self.names and variant >= 4:
            del self.names[request]
        addresses = [ANYWHERE[reader.number() % len(ANYWHERE)] for _ in range(variant % 4)]
        if variant == 0:
            agent.resolution_failed(request, "fuzzed", now)
        else:
            agent.addresses_resolved(request, addresses, now, final=variant >= 4)
