"""IceAgents in the virtual network: the runtime that opens sockets and asks for names, and the signalling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fasticePy.ice.addresses import LocalAddress
from fasticePy.ice.credentials import Credentials
from fasticePy.ice.events import (
    CancelConnection,
    CandidateGathered,
    CloseSocket,
    GatheringStateChanged,
    NeedAddresses,
    NeedConnection,
    NeedSocket,
    PublishName,
    Restarted,
    WithdrawName,
)
from fasticePy.machine import Address, Event, Timer
from fasticePy.sim.dns import DnsAnswer
from fasticePy.sim.driver import Node
from fasticePy.sim.errors import BindError

if TYPE_CHECKING:
    from fasticePy.ice.agent import IceAgent
    from fasticePy.stun.uri import ServerUrl


class AgentNode(Node["IceAgent"]):
    """Runs an IceAgent: opens and closes its sockets and connections, asks for names, answers for its own.
    `Simulation.add_agent` makes it."""

    refuse_socket: Callable[[NeedSocket], str | None] | None = None
    """When it gives a reason, that socket (or listener) cannot be opened."""
    socket_delay: float = 0.0
    """What opening a socket takes, in seconds; 0 answers within the same call of `pump`."""

    @property
    def agent(self) -> IceAgent:
        """The agent."""
        return self.machine

    def gather(
        self, servers: Sequence[ServerUrl] = (), addresses: Sequence[LocalAddress | Address] | None = None
    ) -> None:
        """Start gathering on all addresses of the host, or on `addresses`, at any ports."""
        if addresses is None:
            addresses = self._local_addresses() if self.host.costs else self._plain_addresses()
        self.agent.gather(addresses, servers, self.now)

    def watch_network(self, delay: float = 0.0) -> Callable[[], None]:
        """From now on tell the agent when the host's addresses have changed, `delay` seconds after it; changes
        meanwhile are told together. Gives a function that ends it."""
        waiting: list[Timer] = []

        def tell() -> None:
            waiting.clear()
            addresses = self._local_addresses()
            self._when_awake(lambda now: self._tell("addresses_changed", addresses, now))

        def changed() -> None:
            if not waiting:
                waiting.append(self.simulation.call_later(delay, tell))

        def end() -> None:
            if changed in self.host.on_addresses_changed:
                self.host.on_addresses_changed.remove(changed)
            for timer in waiting:
                self.simulation.timers.cancel(timer)
            waiting.clear()

        self.host.on_addresses_changed.append(changed)
        return end

    def send(self, component: int, data: bytes) -> bool:
        """Send application data; False when the agent has no route for it (or no consent to send)."""
        route = self.agent.route(component)
        if route is None:
            return False
        self.send_from(route.socket, route.address, route.prefix + data)
        return True

    def handle_event(self, event: Event) -> None:
        """Answer what the agent asks for."""
        match event:
            case NeedSocket():
                if self.socket_delay:
                    self.simulation.call_later(self.socket_delay, lambda: self._open(event))
                else:
                    self._open(event)
            case NeedConnection():
                self.connect(event.request, event.base, event.peer)
            case CancelConnection():
                self.cancel(event.request)
            case NeedAddresses():
                self._resolve(event)
            case PublishName():
                self.host.mdns.publish(event.name, event.address)
            case WithdrawName():
                self.host.mdns.withdraw(event.name)
            case CloseSocket():
                self._forget_request(event.socket)
                self.host.close(event.socket)

    def _plain_addresses(self) -> list[Address]:
        return [(address, 0) for address in self.host.addresses]

    def _local_addresses(self) -> list[LocalAddress]:
        costs = self.host.costs
        return [LocalAddress(address, cost=costs.get(address, 0)) for address in self.host.addresses]

    def _open(self, event: NeedSocket) -> None:
        reason = self.refuse_socket(event) if self.refuse_socket is not None else None
        if reason is None:
            try:
                socket = self._bind(event)
            except BindError as error:
                reason = str(error)
            else:
                self.agent.socket_opened(event.request, socket, self.address_of(socket), self.now)
                return
        self.agent.socket_failed(event.request, reason, self.now)

    def _bind(self, event: NeedSocket) -> int:
        if event.transport == "tcp":
            return self.host.listen(*event.address, self)
        return self.bind(*event.address)

    def _resolve(self, event: NeedAddresses) -> None:
        if event.host.lower().endswith(".local") and not self.host.network.dns.knows(event.host):
            self.host.mdns.ask(event.host, lambda address, failure: self._heard(event, address, failure))
            return
        answers = self.host.network.dns.ask(event.host)
        known = any(answer.addresses for answer in answers)
        for number, answer in enumerate(answers, 1):
            tell = self._answer(event, answer, known=known, final=number == len(answers))
            self.simulation.call_later(answer.delay, tell)

    def _heard(self, event: NeedAddresses, address: str, failure: str) -> None:
        if failure:
            self._when_awake(lambda now: self.agent.resolution_failed(event.request, failure, now))
        else:
            found = [(address, event.port)]
            self._when_awake(lambda now: self.agent.addresses_resolved(event.request, found, now))

    def _answer(
        self, event: NeedAddresses, answer: DnsAnswer, *, known: bool, final: bool
    ) -> Callable[[], None]:
        def tell() -> None:
            if answer.failure and not known:
                self.agent.resolution_failed(event.request, answer.failure, self.now)
            else:
                addresses = [(address, event.port) for address in answer.addresses]
                self.agent.addresses_resolved(event.request, addresses, self.now, final=final)

        return tell


class Signalling:
    """Passes credentials and trickled candidates between two agents, both ways, `delay` seconds each message.

    It sends what there is when it is made, and from then on what comes. Messages never overtake each other.
    """

    def __init__(self, first: AgentNode, second: AgentNode, delay: float = 0.0) -> None:
        self.delay = delay
        for sender, receiver in ((first, second), (second, first)):
            self._introduce(sender, receiver)

    def _introduce(self, sender: AgentNode, receiver: AgentNode) -> None:
        for stream in sender.agent.streams:
            self._tell(sender, receiver, stream.index, stream.generation.local)
        for event in _of_this_generation(sender.events):
            self._pass_on(event, sender, receiver)
        earlier = sender.on_event

        def on_event(event: Event) -> None:
            if earlier is not None:
                earlier(event)
            self._pass_on(event, sender, receiver)

        sender.on_event = on_event

    def _pass_on(self, event: Event, sender: AgentNode, receiver: AgentNode) -> None:
        agent = receiver.agent
        if isinstance(event, CandidateGathered):
            candidate, stream = event.candidate, event.stream
            self._later(sender, lambda: agent.add_remote_candidate(candidate, receiver.now, stream=stream))
        elif isinstance(event, GatheringStateChanged) and event.state == "complete":
            stream = event.stream
            self._later(sender, lambda: agent.add_remote_candidate(None, receiver.now, stream=stream))
        elif isinstance(event, Restarted):
            self._tell(sender, receiver, event.stream, event.credentials)

    def _tell(self, sender: AgentNode, receiver: AgentNode, stream: int, mine: Credentials) -> None:
        agent = receiver.agent
        self._later(
            sender, lambda: agent.set_remote_credentials(mine.ufrag, mine.pwd, receiver.now, stream=stream)
        )

    def _later(self, sender: AgentNode, deliver: Callable[[], None]) -> None:
        sender.simulation.call_later(self.delay, deliver)


def _of_this_generation(events: Sequence[Event]) -> list[Event]:
    """Without what each stream has said before its latest restart."""
    kept: list[Event] = []
    for event in events:
        if isinstance(event, Restarted):
            kept = [each for each in kept if getattr(each, "stream", None) != event.stream]
        else:
            kept.append(event)
    return kept
