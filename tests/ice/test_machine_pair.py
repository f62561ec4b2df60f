"""Two agents, and everything that may happen to them in any order: what must be true is true after every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from ice_harness import IcePair, ice_pair

from fasticePy.ice import (
    Candidate,
    CandidateGathered,
    Credentials,
    GatheringStateChanged,
    Limits,
    Restarted,
    StateChanged,
)
from fasticePy.ice.engine import Engine
from fasticePy.machine import Address, Event
from fasticePy.sim import AgentNode, Link, Packet
from fasticePy.stun import MessageBuilder, MessageClass, Method, ParseError, is_stun, parse
from fasticePy.stun.uri import parse_server_url

ADDRESSES = {"left": ("10.0.0.1", "10.0.1.1"), "right": ("10.0.0.2", "2001:db8::2", "10.0.1.2")}
SERVER = "192.0.2.1"
NOWHERE = ("192.0.2.99", 4000)
FOLLOWS = {
    "new": {"checking", "failed", "closed"},
    "checking": {"new", "connected", "completed", "failed", "closed"},
    "connected": {"checking", "completed", "disconnected", "failed", "closed"},
    "completed": {"checking", "connected", "disconnected", "failed", "closed"},
    "disconnected": {"checking", "connected", "completed", "failed", "closed"},
    "failed": {"checking", "connected", "closed"},
    "closed": set(),
}
"""Which state may follow which. An agent that lost its only path is disconnected, and who restarts checks, whatever
had become of it, also when the path that had carried data meanwhile is lost before there is a new one."""
SIDES = st.sampled_from(["left", "right"])
MAX_STREAMS = 2
STREAMS = st.integers(0, MAX_STREAMS - 1)


class Silent:
    """A socket that hears nothing."""

    def packet_received(self, socket: int, data: bytes, address: Address, now: float) -> None:
        pass

    def error_received(self, socket: int, address: Address, reason: str, now: float) -> None:
        pass


class TwoAgents(RuleBasedStateMachine):
    pair: IcePair

    @initialize(
        seed=st.integers(0, 1000),
        left=st.booleans(),
        right=st.booleans(),
        components=st.integers(1, 2),
        streams=st.sampled_from([1, 1, MAX_STREAMS]),
        continual=st.booleans(),
        nomination=st.sampled_from(["regular", "fastest"]),
        latency=st.sampled_from([0.0, 0.005, 0.1, 0.4]),
        limit=st.sampled_from([100, 5]),
        opening=st.sampled_from([None, 0.0, 0.02, 0.1, 0.5, 2.0, 2.0]),
    )
    def begin(self, seed, left, right, components, streams, continual, nomination, latency, limit, opening):
        self.pair = ice_pair(
            seed=seed,
            left=ADDRESSES["left"],
            right=ADDRESSES["right"],
            link=Link(latency=latency, jitter=0.005),
            components=components,
            streams=streams,
            continual=continual,
            nomination=nomination,
            limits=Limits(
                pairs=limit, early_checks=5, validated_addresses=20, remote_candidates=20, record=40
            ),
            left_options={"controlling": left},
            right_options={"controlling": right},
        )
        self.sim = self.pair.sim
        self.components = components
        self.streams = streams
        self.few_pairs = limit < 100
        self.nodes = {"left": self.pair.left, "right": self.pair.right}
        self.letters: dict[str, list[Callable[[AgentNode], None]]] = {"left": [], "right": []}
        self.stalled_until = {"left": 0.0, "right": 0.0}
        self.told = {"left": 0, "right": 0}
        self.heard: dict[str, set[tuple[Address, Address]]] = {"left": set(), "right": set()}
        self.gathered: set[str] = set()
        self.replayed: set[str] = set()
        self.meddled = False
        stranger = self.sim.network.add_host("10.0.0.66", name="stranger")
        self.stranger = stranger, stranger.bind("10.0.0.66", 0, Silent())  # type: ignore[arg-type]
        self.sim.add_stun_server(self.sim.network.add_host(SERVER))
        self.sim.network.drop(self.watch)
        for name, node in self.nodes.items():
            node.on_event = self.secretary(name)
            for stream in node.agent.streams:
                self.introduce(name, stream.index, stream.generation.local)
            self.spy(name, node)
        if opening is not None:  # so far it has all gone well
            self.gather("left", True, 0.0)
            self.gather("right", False, 0.0)
            self.sim.run_for(0)
            self.signal("left", 10)
            self.signal("right", 10)
            self.sim.run_for(opening)

    def introduce(self, name: str, stream: int, mine: Credentials) -> None:
        """Write down what the other side has to know of a new generation."""
        self.letters[name].append(
            lambda other: other.agent.set_remote_credentials(mine.ufrag, mine.pwd, other.now, stream=stream)
        )

    def secretary(self, name: str) -> Callable[[Event], None]:
        def on_event(event: Event) -> None:
            letters = self.letters[name]
            if isinstance(event, CandidateGathered):
                letters.append(
                    lambda other, it=event.candidate, stream=event.stream: other.agent.add_remote_candidate(
                        it, other.now, stream=stream
                    )
                )
            elif isinstance(event, GatheringStateChanged) and event.state == "complete":
                letters.append(
                    lambda other, stream=event.stream: other.agent.add_remote_candidate(
                        None, other.now, stream=stream
                    )
                )
            elif isinstance(event, Restarted):
                self.introduce(name, event.stream, event.credentials)

        return on_event

    def spy(self, name: str, node: AgentNode) -> None:
        """Note from where requests came to the agent: there it may answer."""
        received = node._take

        def take(socket: int, data: bytes, address: Address, now: float) -> None:
            if socket in node.host.sockets:
                self.heard[name].add((node.address_of(socket), address))
            received(socket, data, address, now)

        node._take = take  # type: ignore[method-assign]

    def watch(self, packet: Packet) -> bool:
        """Transmits go to known destinations only: requests to candidates of the peer and to servers, answers to who
        asked, on the socket that was asked."""
        for name, node in self.nodes.items():
            if packet.source[0] not in node.host.addresses or not is_stun(packet.data):
                continue
            assert node.agent.state != "closed" or packet.sent_at == self.sim.now
            if parse(packet.data).message_class == MessageClass.REQUEST:
                known = {(SERVER, 3478)} | {source for _, source in self.heard[name]}  # learnt from checks
                for engine in self.engines(node):
                    known |= {candidate.transport_address for candidate in engine.remotes.all()}
                assert packet.destination in known
            else:
                assert (packet.source, packet.destination) in self.heard[name]
        return False

    def engines(self, node: AgentNode) -> Iterator[Engine]:
        """The generations of all streams that still live."""
        for stream in node.agent.streams:
            yield from stream.engines()

    # what may happen

    @rule(side=SIDES, with_server=st.booleans(), delay=st.sampled_from([0.0, 0.2]))
    def gather(self, side, with_server, delay):
        node = self.nodes[side]
        if side in self.gathered:
            return
        self.gathered.add(side)
        node.socket_delay = delay
        node.gather([parse_server_url(f"stun:{SERVER}")] if with_server else [])

    @rule(side=SIDES, count=st.integers(1, 10))
    def signal(self, side, count):
        other = self.nodes["right" if side == "left" else "left"]
        for _ in range(count):
            if self.letters[side]:
                self.letters[side].pop(0)(other)

    @rule(
        side=SIDES,
        number=st.integers(0, 3),
        component=st.integers(1, 3),
        kind=st.sampled_from(["host", "relay"]),
    )
    def candidate_that_leads_nowhere(self, side, number, component, kind):
        host, port = NOWHERE
        priority = 2130706431 - number if kind == "host" else 16777215
        candidate = Candidate(f"n{number}", component, "udp", priority, host, port + number, kind)
        self.nodes[side].agent.add_remote_candidate(candidate, self.sim.now)

    @rule(seconds=st.sampled_from([0.0, 0.005, 0.03, 0.2, 1.0, 6.0]))
    def wait(self, seconds):
        self.sim.run_for(seconds)

    @rule(seconds=st.sampled_from([15.0, 45.0]))
    def wait_long(self, seconds):
        self.sim.run_for(seconds)

    @rule(side=SIDES, loss=st.sampled_from([0.0, 0.3, 1.0]), duplicate=st.sampled_from([0.0, 0.5]))
    def network(self, side, loss, duplicate):
        self.nodes[side].host.set_link(loss=loss, duplicate=duplicate, reorder=duplicate)

    @rule(side=SIDES, up=st.booleans(), down=st.booleans())
    def outage(self, side, up, down):
        host = self.nodes[side].host
        host.uplink.up, host.downlink.up = up, down

    @rule(side=SIDES, seconds=st.sampled_from([0.1, 3.0, 40.0]))
    def stall(self, side, seconds):
        self.nodes[side].stall(seconds)
        self.stalled_until[side] = max(self.stalled_until[side], self.sim.now + seconds)

    @rule(side=SIDES, data=st.binary(max_size=40), number=st.integers(0, 5))
    def garbage(self, side, data, number):
        for candidate in self.nodes[side].agent.local_candidates[:3]:
            if ":" in candidate.address:
                continue
            host, socket = self.stranger
            request = MessageBuilder(Method.BINDING, MessageClass.REQUEST).build(fingerprint=True)
            for datagram in (data, b"\x80stranger", request, request[:-number]):
                host.send_from(socket, candidate.transport_address, datagram)

    @rule(side=SIDES, last=st.integers(1, 20))
    def replay(self, side, last):
        """A stranger sends copies of what the other side has sent, from an address of its own. A copied check is
        authentic, so data is taken from there too."""
        self.replayed.add(side)
        node = self.nodes[side]
        packets = [entry.packet for entry in self.sim.network.log if entry.what == "sent"][-last:]
        host, socket = self.stranger
        for packet in packets:
            if packet.destination[0] in node.host.addresses and ":" not in packet.destination[0]:
                host.send_from(socket, packet.destination, packet.data)

    @rule(side=SIDES, broken=st.booleans(), number=st.integers(0, 5))
    def icmp(self, side, broken, number):
        agent = self.nodes[side].agent
        if agent.pairs:
            pair = agent.pairs[number % len(agent.pairs)]
            agent.socket_error(pair.socket, None if broken else pair.destination, "unreachable", self.sim.now)

    @rule(side=SIDES)
    def send(self, side):
        for component in range(1, self.components + 1):
            self.nodes[side].send(component, b"\x80from the " + side.encode())

    @rule(side=SIDES)
    def timers_at_any_time(self, side):
        if self.stalled_until[side] <= self.sim.now:
            self.nodes[side].agent.handle_timer(self.sim.now)

    @rule(side=SIDES, stream=STREAMS, both=st.booleans())
    def restart(self, side, stream, both):
        for name, node in self.nodes.items():
            if (both or name == side) and stream < self.streams and node.agent.state != "closed":
                node.agent.restart(self.sim.now, stream=stream)

    @rule(side=SIDES)
    def role(self, side):
        """For a reason of its own an agent takes the other role: a conflict that has to be repaired."""
        if self.nodes[side].agent.state != "closed":
            self.meddled = True
            self.nodes[side].agent.switch_role("the test wants it", self.sim.now)

    @rule(side=SIDES, number=st.integers(0, 2), told=st.booleans())
    def interface(self, side, number, told):
        """An interface goes down, or comes up again; the agent hears of it now or with the next change."""
        host, addresses = self.nodes[side].host, ADDRESSES[side]
        address = addresses[number % len(addresses)]
        if address in host.addresses:
            host.remove_address(address)
        else:
            host.add_address(address)
        if told:
            self.tell_addresses(side)

    def tell_addresses(self, side: str) -> None:
        node = self.nodes[side]
        if side in self.gathered:
            node.agent.addresses_changed([(address, 0) for address in node.host.addresses], self.sim.now)

    @precondition(lambda self: self.sim.now > 60)
    @rule(side=SIDES)
    def close(self, side):
        self.nodes[side].agent.close(self.sim.now)
        self.sim.run_for(0)

    # what must be true

    @invariant()
    def all_is_well(self):
        self.sim.run_for(0)
        self.timers_are_not_in_the_past()
        self.what_is_selected_is_valid()
        self.checklists_are_in_order()
        self.nothing_of_a_stranger_gets_through()
        self.states_follow_each_other()
        self.times_of_events_do_not_go_back()
        self.a_closed_agent_is_silent()
        self.tables_are_bounded()

    def timers_are_not_in_the_past(self):
        for side, node in self.nodes.items():
            at = node.agent.next_timer()
            if at is not None and self.stalled_until[side] <= self.sim.now:
                assert at >= self.sim.now - 1e-9

    def what_is_selected_is_valid(self):
        for side, node in self.nodes.items():
            for engine in self.engines(node):
                for selection in engine.selector.components.values():
                    self.selection_is_in_order(side, engine, selection)
            for stream in node.agent.streams:
                for component in range(1, self.components + 1):
                    selected = node.agent.selected_pair(component, stream.index)
                    route = node.agent.route(component, stream.index)
                    if node.agent.state == "closed" or (stream.state == "failed" and not stream.previous):
                        assert route is None
                        continue
                    assert (route is None) == (selected is None)
                    if route is not None:
                        assert (route.socket, route.address) == selected.path
                        assert route.socket in node.host.sockets

    def selection_is_in_order(self, side, engine, selection):
        pairs = [p for p in engine.checklist.pairs if p.component == selection.component]
        nominated, selected = [p for p in pairs if p.nominated], selection.selected
        assert len(nominated) <= 1
        if engine.failure:
            return
        if selected is None:
            assert not nominated
            return
        assert selected in pairs
        assert selected.valid and selected.state != "failed" and not selected.expired
        assert nominated in ([], [selected])
        if self.stalled_until[side] <= self.sim.now and selection.route is not None:
            assert self.sim.now - selected.consent_at < 30.001

    def checklists_are_in_order(self):
        for node in self.nodes.values():
            limit = node.agent.options.limits.pairs
            assert len(list(node.agent._session.checklists.pairs())) <= limit  # those that are checked
            assert (
                len(node.agent.pairs) <= limit * self.streams
            )  # a failed stream keeps its own for the report
            for stream in node.agent.streams:
                checklist = stream.engine.checklist
                pairs = checklist.pairs
                assert len({pair.path for pair in pairs}) == len(pairs)
                ranks = [pair.priority for pair in pairs]
                assert ranks == sorted(ranks, reverse=True)
                if stream.engine.failure or stream.state == "closed":
                    continue
                for pair in pairs:
                    if pair.nominating:
                        assert node.agent.role == "controlling"
                        assert pair in checklist.triggered or pair.transaction is not None
                    if pair.state == "in-progress" and not pair.retired:
                        assert pair.transaction is not None
                    if pair in checklist.triggered:
                        assert not pair.expired

    def nothing_of_a_stranger_gets_through(self):
        for side, node in self.nodes.items():
            if side in self.replayed:
                continue
            other = b"right" if side == "left" else b"left"
            assert {received.data for received in node.data} <= {b"\x80from the " + other}

    def states_follow_each_other(self):
        for node in self.nodes.values():
            states = dict.fromkeys(range(self.streams), "new")
            restarted: set[int] = set()
            for event in node.events:
                if isinstance(event, Restarted):
                    restarted.add(event.stream)
                elif isinstance(event, StateChanged):
                    state = states[event.stream]
                    assert event.state in FOLLOWS[state], f"{state} -> {event.state}: {event.reason}"
                    assert state != "failed" or event.state == "closed" or event.stream in restarted
                    states[event.stream] = event.state
                    restarted.discard(event.stream)
            assert list(states.values()) == [stream.state for stream in node.agent.streams]

    def times_of_events_do_not_go_back(self):
        for side, node in self.nodes.items():
            times = [event.at for event in node.events[self.told[side] :]]
            assert times == sorted(times)
            self.told[side] = max(0, len(node.events) - 1)

    def a_closed_agent_is_silent(self):
        for node in self.nodes.values():
            if node.agent.state == "closed":
                assert node.agent.next_timer() is None
                assert node.agent.take_transmits() == []
                assert node.host.sockets == []

    def tables_are_bounded(self):
        for node in self.nodes.values():
            agent = node.agent
            assert len(agent.remote_candidates) <= 20 * self.streams
            assert len(agent._paths) <= 20 * self.streams + 2 * agent.options.limits.pairs
            assert len(list(self.engines(node))) <= 2 * self.streams
            assert len(node.host.sockets) <= 2 * 3 * self.streams * self.components
            assert len(agent.report(self.sim.now).entries) <= 40
            assert len(agent._outbox.timers) < 200
        assert self.nodes["left"].agent.report(self.sim.now).to_json()

    def teardown(self):
        """The network heals and the signalling is delivered: who still lives has connected, on one pair, one in each
        role."""
        if not hasattr(self, "pair"):
            return
        self.heal()
        agents = [node.agent for node in self.nodes.values()]
        if any(agent.state in ("failed", "closed") for agent in agents):
            return
        if any(stream.engine.failure for agent in agents for stream in agent.streams):
            return  # a restart whose letters were under way for too long: the call goes on where it was
        if not self.few_pairs:  # so few that the right pair may have been pushed out by copies of checks
            self.all_are_connected(agents)
        for side in ("left", "right"):
            self.close(side)
            self.sim.run_for(0)
        self.a_closed_agent_is_silent()
        assert all(not agent._paths and not agent._session.transactions for agent in agents)

    def heal(self):
        for side in ("left", "right"):
            host = self.nodes[side].host
            for address in ADDRESSES[side]:
                if address not in host.addresses:
                    host.add_address(address)
            self.gather(side, False, 0.0)
            self.tell_addresses(side)
            host.set_link(loss=0.0, duplicate=0.0, reorder=0.0, up=True)
        self.sim.run_for(41)  # the longest stall
        for _ in range(5):  # each answer to a restart is one more letter
            for side in ("left", "right"):
                self.signal(side, 1000)
            self.sim.run_for(10)
        assert self.letters == {"left": [], "right": []}
        self.sim.run_for(100)

    def all_are_connected(self, agents):
        assert sorted(agent.role for agent in agents) == ["controlled", "controlling"]
        assert [agent.state for agent in agents] == ["completed", "completed"]
        if self.meddled:
            # both sides may have nominated, each a pair of its own, within the second in which the better one counts
            return
        for stream in range(self.streams):
            for component in range(1, self.components + 1):
                left, right = (agent.selected_pair(component, stream) for agent in agents)
                assert self.pair.left.address_of(left.socket) == right.destination
                assert self.pair.right.address_of(right.socket) == left.destination


TestTwoAgents = TwoAgents.TestCase
TestTwoAgents.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def test_the_parse_error_is_the_only_one():
    """The helper of this module: `is_stun` says what `parse` may be asked."""
    try:
        parse(b"\x80")
    except ParseError:
        assert not is_stun(b"\x80")
