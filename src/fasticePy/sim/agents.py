"""IceAgents in the virtual network: the runtime that opens sockets and asks for names, and the signalling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fasticePy.ice.events import (
    CandidateGathered,
    CloseSocket,
    GatheringStateChanged,
    NeedAddresses,
    NeedSocket,
)
from fasticePy.machine import Address, Event
from fasticePy.sim.dns import DnsAnswer
from fasticePy.sim.driver import Node
from fasticePy.sim.errors import BindError

if TYPE_CHECKING:
    from fasticePy.ice.agent import IceAgent
    from fasticePy.stun.uri import ServerUrl


class AgentNode(Node["IceAgent"]):
    """Runs an IceAgent: answers its NeedSocket, NeedAddresses and CloseSocket events.
    `Simulation.add_agent` makes it."""

    refuse_socket: Callable[[NeedSocket], str | None] | None = None
    """When it gives a reason, that socket cannot be opened."""
    socket_delay: float = 0.0
    """What opening a socket takes, in seconds; 0 answers within the same call of `pump`."""

    @property
    def agent(self) -> IceAgent:
        """The agent."""
        return self.machine

    def gather(self, servers: Sequence[ServerUrl] = (), addresses: Sequence[Address] | None = None) -> None:
        """Start gathering on all addresses of the host, or on `addresses`, at any ports."""
        if addresses is None:
            addresses = [(address, 0) for address in self.host.addresses]
        self.agent.gather(addresses, servers, self.now)

    def send(self, component: int, data: bytes) -> bool:
        """Send application data; False when the agent has no route for it (or no consent to send)."""
        route = self.agent.route(component)
        if route is None:
            return False
        self.send_from(route.socket, route.address, route.prefix + data)
        return True

    def handle_event(self, event: Event) -> None:
        """Answer what the agent asks for."""
        if isinstance(event, NeedSocket):
            if self.socket_delay:
                self.simulation.call_later(self.socket_delay, lambda: self._open(event))
            else:
                self._open(event)
        elif isinstance(event, NeedAddresses):
            self._resolve(event)
        elif isinstance(event, CloseSocket):
            self.host.close(event.socket)

    def _open(self, event: NeedSocket) -> None:
        reason = self.refuse_socket(event) if self.refuse_socket is not None else None
        if event.transport != "udp":
            reason = f"the virtual network has no {event.transport}"
        if reason is None:
            try:
                socket = self.bind(*event.address)
            except BindError as error:
                reason = str(error)
            else:
                self.agent.socket_opened(event.request, socket, self.address_of(socket), self.now)
                return
        self.agent.socket_failed(event.request, reason, self.now)

    def _resolve(self, event: NeedAddresses) -> None:
        answers = self.host.network.dns.ask(event.host)
        known = any(answer.addresses for answer in answers)
        for number, answer in enumerate(answers, 1):
            tell = self._answer(event, answer, known=known, final=number == len(answers))
            self.simulation.call_later(answer.delay, tell)

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
        agent = sender.agent
        mine = agent.local_credentials
        self._later(sender, lambda: receiver.agent.set_remote_credentials(mine.ufrag, mine.pwd, receiver.now))
        for event in sender.events:
            self._pass_on(event, sender, receiver)
        earlier = sender.on_event

        def on_event(event: Event) -> None:
            if earlier is not None:
                earlier(event)
            self._pass_on(event, sender, receiver)

        sender.on_event = on_event

    def _pass_on(self, event: Event, sender: AgentNode, receiver: AgentNode) -> None:
        if isinstance(event, CandidateGathered):
            candidate = event.candidate
            self._later(sender, lambda: receiver.agent.add_remote_candidate(candidate, receiver.now))
        elif isinstance(event, GatheringStateChanged) and event.state == "complete":
            self._later(sender, lambda: receiver.agent.add_remote_candidate(None, receiver.now))

    def _later(self, sender: AgentNode, deliver: Callable[[], None]) -> None:
        sender.simulation.call_later(self.delay, deliver)
