"""What the gathering tests share: an agent that gathers in virtual time, a STUN server that says whatever a test wants,
and a simple NAT."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fasticePy.ice import (
    CandidateGathered,
    GatheringStateChanged,
    IceAgent,
    IceOptions,
    ServerFinished,
)
from fasticePy.machine import Address, Event, RootMachine
from fasticePy.sim import AgentNode, Box, Host, Link, Node, Packet, Simulation, VirtualNetwork
from fasticePy.stun import Attribute, Message, MessageBuilder, MessageClass, Method, parse
from fasticePy.stun.uri import parse_server_url


class FakeServer(RootMachine):
    """Answers each message with what `reply(message, address)` gives; None is silence. It keeps the requests."""

    def __init__(self, reply: Callable[[Message, Address], bytes | None]) -> None:
        super().__init__()
        self.reply = reply
        self.requests: list[Message] = []
        self.times: list[float] = []

    def datagram_received(self, socket: int, data: bytes, address: Address, now: float) -> bytes | None:
        message = parse(data)
        self.requests.append(message)
        self.times.append(now)
        answer = self.reply(message, address)
        if answer is not None:
            self._outbox.send(socket, address, answer)
        return None

    def close(self, now: float) -> None:
        pass


def success(message: Message, *attributes: tuple[int, Any]) -> bytes:
    builder = MessageBuilder(Method.BINDING, MessageClass.SUCCESS, message.transaction_id)
    for attribute, value in attributes:
        builder.add(attribute, value)
    return builder.build()


def error(message: Message, code: int, reason: str = "", *attributes: tuple[int, Any]) -> bytes:
    builder = MessageBuilder(Method.BINDING, MessageClass.ERROR, message.transaction_id)
    builder.add(Attribute.ERROR_CODE, (code, reason))
    for attribute, value in attributes:
        builder.add(attribute, value)
    return builder.build()


def honest(message: Message, address: Address) -> bytes:
    return success(message, (Attribute.XOR_MAPPED_ADDRESS, address))


def silent(message: Message, address: Address) -> None:
    return None


class Nat(Box):
    """Every inside socket has one outside port, open to everybody (RFC 4787: endpoint-independent, both ways)."""

    def __init__(self, network: VirtualNetwork, address: str) -> None:
        super().__init__(network, "nat", network.backbone, network.link)
        self.add_address(address)
        self.shift = 10000
        self._insides: dict[int, Address] = {}

    def reboot(self) -> None:
        """Forget all mappings; new ones will have other ports."""
        self._insides.clear()
        self.shift += 1000

    def outbound(self, packet: Packet) -> None:
        outside = self._outside(packet.source[1])
        self._insides[outside] = packet.source
        self.send(packet.translated(source=(self.addresses[0], outside)))

    def receive(self, packet: Packet) -> None:
        inside = self._insides.get(packet.destination[1])
        if inside is None:
            self.network.note("no mapping", self.name, packet)
            return
        self.deliver(packet.translated(destination=inside))

    def _outside(self, port: int) -> int:
        return 1024 + (port + self.shift) % 60000


@dataclass
class Gathering:
    """One agent that gathers from servers of the test's making."""

    sim: Simulation
    node: AgentNode
    nat: Nat | None = None

    @property
    def agent(self) -> IceAgent:
        return self.node.agent

    def events(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.node.events if isinstance(event, kind)]

    @property
    def finished(self) -> list[ServerFinished]:
        return self.events(ServerFinished)

    @property
    def found(self) -> list[tuple[str, Address]]:
        """Type and address of each candidate, in the order in which they were told."""
        told = [event.candidate for event in self.events(CandidateGathered)]
        return [(candidate.type, candidate.transport_address) for candidate in told]

    @property
    def complete_at(self) -> float | None:
        """When gathering ended."""
        ends = [event.at for event in self.events(GatheringStateChanged) if event.state == "complete"]
        assert len(ends) <= 1
        return ends[0] if ends else None

    def server(
        self,
        reply: Callable[[Message, Address], bytes | None],
        *addresses: str,
        latency: float = 0.005,
        port: int = 3478,
    ) -> Node[FakeServer]:
        """A server on a host of its own."""
        host = self.sim.network.add_host(*addresses, link=Link(latency=latency))
        node = self.sim.add(host, FakeServer(reply))
        for address in addresses:
            node.bind(address, port)
        return node

    def real_server(self, address: str, latency: float = 0.005) -> Host:
        host = self.sim.network.add_host(address, link=Link(latency=latency))
        self.sim.add_stun_server(host)
        return host

    def start(self, *urls: str, addresses: Sequence[Address] | None = None) -> None:
        self.node.gather([parse_server_url(url) for url in urls], addresses)
        self.sim.run_for(0)

    def run(self, *urls: str, limit: float = 30.0, addresses: Sequence[Address] | None = None) -> float:
        """Gather to the end and give the time that it took."""
        self.start(*urls, addresses=addresses)
        return self.sim.run_until(lambda: self.complete_at is not None, limit)

    def outcome(self, url: str) -> dict[str, Any]:
        """What the report says of a server."""
        found = [each for each in self.agent.report(self.sim.now).servers if each["url"] == url]
        assert len(found) == 1
        return found[0]


def gathering(
    *addresses: str,
    nat: str | None = None,
    seed: int = 1,
    link: Link | None = None,
    **options: Any,
) -> Gathering:
    """An agent on a host with these addresses; with `nat`, behind a NAT of that public address."""
    sim = Simulation(seed, link=link)
    segment = box = None
    if nat is not None:
        box = Nat(sim.network, nat)
        segment = box.inside
    host = sim.network.add_host(*(addresses or ("10.0.0.1",)), name="agent", segment=segment)
    agent = IceAgent(IceOptions(**{"controlling": True, **options}), rng=sim.rng)
    return Gathering(sim, sim.add_agent(host, agent), box)


__all__ = [
    "FakeServer",
    "Gathering",
    "Nat",
    "error",
    "gathering",
    "honest",
    "silent",
    "success",
]
