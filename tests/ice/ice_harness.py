"""What the protocol tests of `tests/ice` share: two agents in virtual time, and one agent with a peer driven by hand.

    pair = ice_pair(right_options={"nomination": "fastest"})     # left controls, right is controlled
    pair.connect()                                               # until both are completed
    pair.left.send(1, b"hello"); pair.sim.run_for(1); pair.right.data

    script = scripted(controlling=True)                          # one IceAgent and a ScriptedPeer, no latency
    script.meet()                                                # gathered; the agent knows the peer's candidate
    check = script.peer.next_check()                             # runs the time on until the agent checks
    script.peer.answer(check)                                    # or answer(check, code=487, mapped=..., key=...)
    id = script.peer.request(use_candidate=True)                 # a check of the peer, of any form, to the agent
    script.settle()                                              # let everything arrive that is on its way
    script.peer.answer_to(id).message_class                      # what the agent said to it; None: nothing

Links have no latency in a scripted run, so what is sent at a moment has arrived at that moment: times of checks are
exact (0.0, 0.05, ...), and a round trip takes as long as the test lets pass before it answers.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

from fasticePy.ice import (
    Candidate,
    CandidatePair,
    CandidateType,
    Credentials,
    IceAgent,
    IceOptions,
    Pacer,
    PairSelected,
    RoleChanged,
    StateChanged,
    candidate_priority,
)
from fasticePy.ice.pair import LocalCandidate, PairState
from fasticePy.machine import Address, Event, RootMachine
from fasticePy.sim import AgentNode, Host, Link, Node, Simulation
from fasticePy.stun import Attribute, IntegrityKey, Message, MessageBuilder, MessageClass, Method, parse

UNSET: Any = object()
"""Stands for "as a good peer would do it"; None then means "leave it out"."""

PRFLX_PRIORITY = (110 << 24) | (65535 << 8) | 255
"""PRIORITY in the checks of a host candidate of local preference 65535 and component 1."""
HOST_PRIORITY = (126 << 24) | (65535 << 8) | 255
"""The priority of that candidate."""


# -- one agent and a peer driven by hand -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """A STUN message that came to the peer: from which address of the agent, to which socket of the peer."""

    message: Message
    at: float
    source: Address
    socket: int

    @property
    def id(self) -> bytes:
        return self.message.transaction_id

    @property
    def message_class(self) -> int:
        return self.message.message_class

    @property
    def use_candidate(self) -> bool:
        return Attribute.USE_CANDIDATE in self.message

    @property
    def controlling(self) -> bool:
        """The role that the agent says it has."""
        return Attribute.ICE_CONTROLLING in self.message

    @property
    def tiebreaker(self) -> int:
        value = self.message.get(Attribute.ICE_CONTROLLING if self.controlling else Attribute.ICE_CONTROLLED)
        assert isinstance(value, int)
        return value

    @property
    def code(self) -> int | None:
        """The error code of an error response; None for a success."""
        error = self.message.get(Attribute.ERROR_CODE)
        return None if error is None else error[0]


class ScriptedPeer(RootMachine):
    """A peer that does nothing by itself: a test sends its requests and answers, right ones or wrong ones.

    It keeps everything that comes: `requests` (checks of the agent), `responses` (to requests of the peer),
    `indications` and `data`. With `auto_answer = True` it answers each check of the agent at once (set it to a
    function of `Seen` that gives True or False to choose). `controlling` and `tiebreaker` go into its requests.
    """

    def __init__(
        self, simulation: Simulation, host: Host, *, controlling: bool, ufrag: str, pwd: str
    ) -> None:
        super().__init__()
        self.simulation = simulation
        self.host = host
        self.credentials = Credentials(ufrag, pwd)
        self.controlling = controlling
        self.tiebreaker = 1 << 63
        self.node: Node[ScriptedPeer] = simulation.add(host, self, name="peer")
        self.agent_credentials: Credentials | None = None
        self.agent_address: Address | None = None
        self.requests: list[Seen] = []
        self.responses: list[Seen] = []
        self.indications: list[Seen] = []
        self.data: list[tuple[bytes, Address]] = []
        self.auto_answer: bool | Callable[[Seen], bool] = False
        self._taken = 0
        self._rng = Random(5245)
        self.socket = self.open()

    # the machine

    def datagram_received(self, socket: int, data: bytes, address: Address, now: float) -> bytes | None:
        if len(data) < 20 or data[0] > 3:
            self.data.append((data, address))
            return None
        seen = Seen(parse(data), now, address, socket)
        if seen.message_class == MessageClass.REQUEST:
            self.requests.append(seen)
            if self.auto_answer(seen) if callable(self.auto_answer) else self.auto_answer:
                self._outbox.send(socket, address, self.build_answer(seen))
        elif seen.message_class == MessageClass.INDICATION:
            self.indications.append(seen)
        else:
            self.responses.append(seen)
        return None

    def close(self, now: float) -> None:
        pass

    # addresses

    def open(self, address: str | None = None, port: int = 0) -> int:
        """One more socket, on any address of the peer's host."""
        return self.node.bind(address, port)

    def address(self, socket: int | None = None) -> Address:
        """The address of a socket, of the first one by default."""
        return self.node.address_of(self.socket if socket is None else socket)

    def candidate(
        self,
        socket: int | None = None,
        *,
        type: CandidateType = "host",
        local_preference: int = 65535,
        component: int = 1,
        foundation: str | None = None,
        priority: int | None = None,
        address: Address | None = None,
    ) -> Candidate:
        """A candidate to signal to the agent: of a socket, or of an `address` of the test's own."""
        host, port = address or self.address(socket)
        related = (None, None) if type == "host" else (self.host.addresses[0], 9)
        if priority is None:
            priority = candidate_priority(type, local_preference, component)
        return Candidate(
            foundation or f"{type}{host.replace('.', '').replace(':', '')}"[:32],
            component,
            "udp",
            priority,
            host,
            port,
            type,
            *related,
        )

    # the agent's checks

    def take_checks(self) -> list[Seen]:
        """The requests since the last call of this or of `next_check`."""
        taken, self._taken = self.requests[self._taken :], len(self.requests)
        return taken

    def next_check(self, limit: float = 5.0) -> Seen:
        """The next request, once it is there: time goes on by `limit` seconds at most, or LimitReached is raised."""
        self.simulation.run_until(lambda: len(self.requests) > self._taken, limit)
        self._taken += 1
        return self.requests[self._taken - 1]

    def build_answer(
        self,
        check: Seen,
        *,
        code: int | None = None,
        reason: str = "",
        mapped: Address | None = UNSET,
        key: IntegrityKey | None = UNSET,
        sha256: bool = False,
        fingerprint: bool = True,
        attributes: Sequence[tuple[int, Any]] = (),
        method: int = Method.BINDING,
        id: bytes | None = None,
    ) -> bytes:
        """An answer to a check: success, or an error with `code`."""
        message_class = MessageClass.SUCCESS if code is None else MessageClass.ERROR
        builder = MessageBuilder(method, message_class, id or check.id)
        if code is not None:
            builder.add(Attribute.ERROR_CODE, (code, reason))
        elif mapped is not None:
            builder.add(Attribute.XOR_MAPPED_ADDRESS, check.source if mapped is UNSET else mapped)
        for attribute, value in attributes:
            builder.add(attribute, value)
        if key is UNSET:
            key = self.key
        return builder.build(key, fingerprint=fingerprint, sha1=not sha256, sha256=sha256)

    def answer(
        self, check: Seen, *, socket: int | None = None, to: Address | None = None, **form: Any
    ) -> None:
        """Send an answer of any form (see `build_answer`), also from another `socket` or `to` another address."""
        data = self.build_answer(check, **form)
        self.send(data, socket=check.socket if socket is None else socket, to=to or check.source)

    @property
    def key(self) -> IntegrityKey:
        """The key of the agent's checks and of our answers."""
        return IntegrityKey.short_term(self.credentials.pwd)

    # the peer's own checks

    @property
    def agent_key(self) -> IntegrityKey:
        """The key of our checks and of the agent's answers."""
        assert self.agent_credentials is not None, "the peer does not know the agent: Script.introduce"
        return IntegrityKey.short_term(self.agent_credentials.pwd)

    def build_request(
        self,
        *,
        id: bytes | None = None,
        username: str | None = UNSET,
        key: IntegrityKey | None = UNSET,
        priority: int | None = PRFLX_PRIORITY,
        use_candidate: bool = False,
        controlling: bool | None = UNSET,
        tiebreaker: int = UNSET,
        sha1: bool = True,
        sha256: bool = False,
        fingerprint: bool = True,
        attributes: Sequence[tuple[int, Any]] = (),
        method: int = Method.BINDING,
        message_class: int = MessageClass.REQUEST,
    ) -> bytes:
        """A check of the peer; every part may be left out (None) or be another one."""
        assert self.agent_credentials is not None, "the peer does not know the agent: Script.introduce"
        builder = MessageBuilder(method, message_class, id or self._rng.randbytes(12))
        if username is UNSET:
            username = f"{self.agent_credentials.ufrag}:{self.credentials.ufrag}"
        if username is not None:
            builder.add(Attribute.USERNAME, username)
        if priority is not None:
            builder.add(Attribute.PRIORITY, priority)
        if controlling is UNSET:
            controlling = self.controlling
        if controlling is not None:
            role = Attribute.ICE_CONTROLLING if controlling else Attribute.ICE_CONTROLLED
            builder.add(role, self.tiebreaker if tiebreaker is UNSET else tiebreaker)
        if use_candidate:
            builder.add(Attribute.USE_CANDIDATE)
        for attribute, value in attributes:
            builder.add(attribute, value)
        if key is UNSET:
            key = self.agent_key
        return builder.build(key, fingerprint=fingerprint, sha1=sha1, sha256=sha256)

    def request(self, *, socket: int | None = None, to: Address | None = None, **form: Any) -> bytes:
        """Send a check of any form (see `build_request`) and give its transaction id. Without `to` it goes to the
        agent's first candidate."""
        data = self.build_request(**form)
        self.send(data, socket=socket, to=to)
        return data[8:20]

    def answer_to(self, id: bytes) -> Seen | None:
        """What the agent answered to one of our requests so far, or None."""
        answers = [seen for seen in self.responses if seen.id == id]
        assert len(answers) <= 1, "a request was answered twice"
        return answers[0] if answers else None

    def send(self, data: bytes, *, socket: int | None = None, to: Address | None = None) -> None:
        """Send any datagram."""
        destination = to or self.agent_address
        assert destination is not None, "the peer does not know the agent's address: Script.introduce"
        self.node.send_from(self.socket if socket is None else socket, destination, data)


@dataclass
class Script:
    """An agent, the peer that is driven by hand, and their simulation."""

    sim: Simulation
    node: AgentNode
    peer: ScriptedPeer

    @property
    def agent(self) -> IceAgent:
        return self.node.agent

    @property
    def now(self) -> float:
        return self.sim.now

    def settle(self) -> None:
        """Let arrive what is on its way, and run the timers that are due; time stands still."""
        self.sim.run_for(0)

    def gather(self, **kwargs: Any) -> None:
        """The agent gathers, and the peer learns its credentials and its first address."""
        self.node.gather(**kwargs)
        self.settle()
        self.introduce()

    def introduce(self) -> None:
        """The peer learns what the agent's signalling says."""
        self.peer.agent_credentials = self.agent.local_credentials
        if self.agent.local_candidates:
            self.peer.agent_address = self.agent.local_candidates[0].transport_address

    def set_credentials(self) -> None:
        """The agent learns the peer's credentials, no more."""
        credentials = self.peer.credentials
        self.agent.set_remote_credentials(credentials.ufrag, credentials.pwd, self.now)

    def meet(self, *candidates: Candidate, end: bool = False) -> None:
        """Gather when that was not done, exchange credentials, and give the agent the peer's candidates: these, or
        by default the one of its first socket; `end` adds end-of-candidates. Nothing is sent before time goes on."""
        if self.agent.gathering_state == "new":
            self.gather()
        self.set_credentials()
        for candidate in candidates or (self.peer.candidate(),):
            self.agent.add_remote_candidate(candidate, self.now)
        if end:
            self.agent.add_remote_candidate(None, self.now)

    def pair(self, socket: int | None = None) -> CandidatePair:
        """The agent's only pair with this socket of the peer."""
        destination = self.peer.address(socket)
        found = [pair for pair in self.agent.pairs if pair.destination == destination]
        assert len(found) == 1, f"{len(found)} pairs with {destination}"
        return found[0]

    def counted(self, reason: str) -> int:
        return self.agent.counters[reason]

    def events(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.node.events if isinstance(event, kind)]

    def complete(self) -> CandidatePair:
        """Bring the first socket's pair to its nomination: both sides check, the controlling one nominates."""
        peer = self.peer
        peer.answer(peer.next_check())
        self.settle()
        if peer.controlling:
            peer.request(use_candidate=True)
        else:
            peer.request()
            nomination = peer.next_check()
            assert nomination.use_candidate
            peer.answer(nomination)
        self.settle()
        pair = self.pair()
        assert pair.nominated
        return pair


def scripted(
    *,
    controlling: bool = True,
    agent_addresses: Sequence[str] = ("10.0.0.1",),
    peer_addresses: Sequence[str] = ("10.0.0.2",),
    peer_controlling: bool | None = None,
    pacer: Pacer | None = None,
    seed: int = 1,
    latency: float = 0.0,
    **options: Any,
) -> Script:
    """An agent (`controlling`, further `IceOptions`) and a peer of the other role, not introduced to each other."""
    sim = Simulation(seed, link=Link(latency=latency))
    node = sim.add_agent(
        sim.network.add_host(*agent_addresses, name="agent"),
        IceAgent(IceOptions(controlling=controlling, **options), rng=sim.rng, pacer=pacer),
    )
    peer = ScriptedPeer(
        sim,
        sim.network.add_host(*peer_addresses, name="peer"),
        controlling=not controlling if peer_controlling is None else peer_controlling,
        ufrag="peerfrag",
        pwd="passwordofthescriptedpeer",
    )
    return Script(sim, node, peer)


# -- two agents --------------------------------------------------------------------------------------------------------


@dataclass
class IcePair:
    """Two agents in one simulation; the left one begins as controlling unless told otherwise."""

    sim: Simulation
    left: AgentNode
    right: AgentNode
    signal_delay: float = 0.0
    signalled: bool = field(default=False)

    @property
    def nodes(self) -> tuple[AgentNode, AgentNode]:
        return (self.left, self.right)

    @property
    def agents(self) -> tuple[IceAgent, IceAgent]:
        return (self.left.agent, self.right.agent)

    def start(self) -> None:
        """Both gather, and signalling begins."""
        for node in self.nodes:
            if node.agent.gathering_state == "new":
                node.gather()
        if not self.signalled:
            self.signalled = True
            self.sim.signal(self.left, self.right, self.signal_delay)

    def connect(self, state: str = "completed", limit: float = 10.0) -> float:
        """Start and run until both are in this state; gives the time."""
        self.start()
        return self.sim.run_until(lambda: all(agent.state == state for agent in self.agents), limit)

    def states(self, node: AgentNode) -> list[str]:
        """The states that an agent has gone through."""
        return [event.state for event in node.events if isinstance(event, StateChanged)]

    def selections(self, node: AgentNode) -> list[PairSelected]:
        return [event for event in node.events if isinstance(event, PairSelected)]

    def role_changes(self, node: AgentNode) -> list[str]:
        return [event.role for event in node.events if isinstance(event, RoleChanged)]

    def same_pair(self, component: int = 1) -> bool:
        """Whether the selected pairs of both sides are two views of one path."""
        left, right = (agent.selected_pair(component) for agent in self.agents)
        if left is None or right is None:
            return False
        return (
            self.left.address_of(left.socket) == right.destination
            and self.right.address_of(right.socket) == left.destination
        )


def ice_pair(
    *,
    seed: int = 1,
    left: Sequence[str] = ("10.0.0.1",),
    right: Sequence[str] = ("10.0.0.2",),
    link: Link | None = None,
    signal_delay: float = 0.0,
    left_options: dict[str, Any] | None = None,
    right_options: dict[str, Any] | None = None,
    start: float = 0.0,
    **options: Any,
) -> IcePair:
    """Two agents on hosts of these addresses, 10 ms apart by default, not yet gathering. `options` are for both."""
    sim = Simulation(seed, link=link, start=start)
    nodes = []
    for name, addresses, controlling, own in (
        ("left", left, True, left_options),
        ("right", right, False, right_options),
    ):
        chosen = IceOptions(**{"controlling": controlling, **options, **(own or {})})
        host = sim.network.add_host(*addresses, name=name)
        nodes.append(sim.add_agent(host, IceAgent(chosen, rng=sim.rng)))
    return IcePair(sim, nodes[0], nodes[1], signal_delay)


# -- pairs without an agent ------------------------------------------------------------------------------------------


def make_pair(
    priority: int = 1,
    *,
    component: int = 1,
    foundation: str = "f1",
    state: PairState = "frozen",
    local_type: CandidateType = "host",
    remote_type: CandidateType = "host",
    **fields: Any,
) -> CandidatePair:
    """A pair that belongs to nobody, on a path of its own: for checklists and policies alone."""
    number = next(_numbers)
    address = (f"192.0.{number // 250}.{number % 250 + 1}", 5000)
    local = Candidate(foundation, component, "udp", priority, "10.0.0.1", 4000, local_type)
    remote = Candidate(foundation, component, "udp", priority, *address, remote_type)
    return CandidatePair(
        LocalCandidate(local, 1, ("10.0.0.1", 4000)), remote, address, priority, state=state, **fields
    )


_numbers = count()


# -- messages --------------------------------------------------------------------------------------------------------


def stun_packets(sim: Simulation, host: Host | None = None) -> list[Message]:
    """Every STUN message that a host, or any host, has sent."""
    return [parse(packet.data) for packet in sim.network.sent(host) if packet.data[:1] <= b"\x03"]


def requests_of(sim: Simulation, host: Host | None = None) -> list[Message]:
    return [message for message in stun_packets(sim, host) if message.message_class == MessageClass.REQUEST]


def append_attribute(data: bytes, attribute: int, value: bytes = b"") -> bytes:
    """The message with one more attribute behind everything, and a header that counts it."""
    padded = value + bytes(-len(value) % 4)
    body = data[20:] + attribute.to_bytes(2, "big") + len(value).to_bytes(2, "big") + padded
    return data[:2] + len(body).to_bytes(2, "big") + data[4:20] + body


def append_fingerprint(data: bytes) -> bytes:
    """The message with a right FINGERPRINT at its end; `data` has none yet."""
    header = data[:2] + (len(data) - 20 + 8).to_bytes(2, "big") + data[4:20]
    crc = zlib.crc32(header + data[20:]) ^ 0x5354554E
    return append_attribute(data, Attribute.FINGERPRINT, crc.to_bytes(4, "big"))


__all__ = [
    "HOST_PRIORITY",
    "PRFLX_PRIORITY",
    "UNSET",
    "IcePair",
    "Script",
    "ScriptedPeer",
    "Seen",
    "append_attribute",
    "append_fingerprint",
    "ice_pair",
    "make_pair",
    "requests_of",
    "scripted",
    "stun_packets",
]
