"""ICE over TCP in virtual time (RFC 6544): two agents, and one agent against a peer driven by hand."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from ice_harness import IcePair, Script, ScriptedPeer, ice_pair, scripted

from fasticePy.ice import Candidate, CandidatePair, IceAgent, IceOptions, Restarted
from fasticePy.ice.checking.connections import CONNECT_TIMEOUT, MAX_ATTEMPTS_PER_ADDRESS, PROOF_TIMEOUT
from fasticePy.ice.checking.tcp_pairs import CLOSE_DELAY, REOPEN_DELAYS
from fasticePy.ice.events import CancelConnection, CandidateGathered, CloseSocket, NeedConnection, NeedSocket
from fasticePy.ice.options import Limits, Timeouts
from fasticePy.machine import Address
from fasticePy.sim import Link, Simulation

ALL = frozenset({"active", "passive", "so"})
ACTIVE = frozenset({"active"})
PASSIVE = frozenset({"passive"})
SO = frozenset({"so"})
BOTH = frozenset({"active", "passive"})


def only_tcp(candidate: Candidate) -> Candidate | None:
    return candidate if candidate.transport == "tcp" else None


def tcp_pair(left_kinds=ACTIVE, right_kinds=PASSIVE, **options) -> IcePair:
    """Two agents without UDP candidates: the left one controls."""
    return ice_pair(
        left_options={"tcp": left_kinds},
        right_options={"tcp": right_kinds},
        local_candidate=only_tcp,
        **options,
    )


def block_udp(pair: IcePair) -> None:
    pair.sim.network.drop(lambda packet: packet.transport == "udp")


def selected(node) -> CandidatePair:
    pair = node.agent.selected_pair()
    assert pair is not None
    return pair


def kinds(node) -> tuple[str | None, str | None]:
    """Of which kinds the candidates of the selected pair are."""
    pair = selected(node)
    return pair.local.tcptype, pair.remote.tcptype


def exchange(pair: IcePair) -> None:
    """Data goes both ways."""
    for sender, receiver in (pair.nodes, pair.nodes[::-1]):
        before = len(receiver.data)
        assert sender.send(1, b"from " + sender.name.encode())
        pair.sim.run_for(0.5)
        assert [each.data for each in receiver.data[before:]] == [b"from " + sender.name.encode()]


def open_connections(node) -> list[int]:
    """The numbers of the TCP connections, listeners left out, that a host has."""
    tcp = node.host.tcp
    return [socket for socket in tcp.sockets if socket not in tcp._owners]


def events(node, kind):
    return [event for event in node.events if isinstance(event, kind)]


def assert_nothing_left(pair: IcePair) -> None:
    """Both are closed: no timer, no socket, no connection, no attempt."""
    for node in pair.nodes:
        assert node.agent.next_timer() is None
        assert node.host.sockets == []
        assert not node._asked


# -- gathering -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kinds", [frozenset(each) for n in range(4) for each in itertools.combinations(sorted(ALL), n)]
)
def test_the_kinds_that_are_wanted_are_gathered(kinds):
    """6544-1, 6544-6: one of each kind per component and address, active ones with the real address and port 9; one
    listening socket serves passive and simultaneous-open candidates; UDP is gathered all the same."""
    script = scripted(agent_addresses=("10.0.0.1", "10.0.1.1"), components=2, tcp=kinds)
    script.gather()
    found = [each for each in script.agent.local_candidates if each.transport == "tcp"]
    assert sorted((each.component, each.address, each.tcptype) for each in found) == sorted(
        itertools.product((1, 2), ("10.0.0.1", "10.0.1.1"), kinds)
    )
    assert all((each.port == 9) == (each.tcptype == "active") for each in found)
    listening = kinds & {"passive", "so"}
    assert sum(event.transport == "tcp" for event in script.events(NeedSocket)) == (4 if listening else 0)
    assert sum(each.transport == "udp" for each in script.agent.local_candidates) == 4
    assert script.agent.gathering_state == "complete"


def test_no_tcp_candidate_is_told_by_default():
    """6544-1: gathering TCP is configurable, and off."""
    script = scripted()
    script.gather()
    assert [each.transport for each in script.agent.local_candidates] == ["udp"]


def test_a_lite_agent_gathers_passive_candidates_only():
    """6544-5."""
    script = scripted(lite=True, tcp=ALL)
    script.gather()
    assert {each.tcptype for each in script.agent.local_candidates if each.transport == "tcp"} == {"passive"}


def test_priorities_of_tcp_candidates():
    """6544-3: below all of UDP; active over passive over simultaneous-open; 8191 for the only address, and unique
    numbers for several."""
    script = scripted(agent_addresses=("10.0.0.1", "10.0.1.1"), tcp=ALL)
    script.gather()
    found = {(each.tcptype, each.address): each.priority for each in script.agent.local_candidates}
    preference = {key: priority >> 8 & 0xFFFF for key, priority in found.items()}
    assert preference["active", "10.0.0.1"] == 6 * 8192 + 8191
    assert preference["active", "10.0.1.1"] == 6 * 8192 + 8190
    assert preference["passive", "10.0.0.1"] == 4 * 8192 + 8191
    assert preference["so", "10.0.0.1"] == 2 * 8192 + 8191
    assert min(found[None, host] for host in script.node.host.addresses) > max(
        priority for (tcptype, _), priority in found.items() if tcptype
    )


def test_an_address_that_is_gone_takes_its_tcp_candidates_along():
    """6544-1, with the network changing: connections from there are closed, and attempts given up."""
    pair = tcp_pair(BOTH, BOTH, left=("10.0.0.1", "10.0.1.1"))
    pair.connect()
    left = pair.left
    before = selected(left).local_candidate.base[0]
    assert before == "10.0.0.1"
    left.agent.addresses_changed([("10.0.1.1", 0)], pair.sim.now)
    pair.sim.run_for(0.2)
    assert {each.address for each in left.agent.local_candidates} == {"10.0.1.1"}
    assert all(each.local_candidate.base[0] == "10.0.1.1" for each in left.agent.pairs)
    assert all(left.address_of(socket)[0] == "10.0.1.1" for socket in left.host.tcp.sockets)


# -- pairs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ours", "theirs"), list(itertools.product(("active", "passive", "so"), repeat=2)))
def test_which_kinds_pair_up(ours, theirs):
    """6544-7: active with passive and so with so; a local passive candidate has no pairs of its own."""
    script = scripted(tcp=frozenset({ours}), local_candidate=only_tcp)
    script.meet(
        Candidate("f", 1, "tcp", 1000, "10.0.0.2", 9 if theirs == "active" else 4000, "host", tcptype=theirs)
    )
    expected = [(ours, theirs)] if (ours, theirs) in {("active", "passive"), ("so", "so")} else []
    assert [(each.local.tcptype, each.remote.tcptype) for each in script.agent.pairs] == expected
    assert [each.tcptype for each in script.agent.remote_candidates] == [theirs]
    script.sim.run_for(1)
    assert len(script.events(NeedConnection)) == len(expected)


def test_udp_and_tcp_do_not_mix():
    """6544-7: neither transport pairs with the other, and one address may be two candidates."""
    script = scripted(tcp=ACTIVE)
    address = script.peer.address()
    script.meet(script.peer.candidate(), Candidate("f", 1, "tcp", 1000, *address, "host", tcptype="passive"))
    assert sorted((each.transport, each.remote.transport) for each in script.agent.pairs) == [
        ("tcp", "tcp"),
        ("udp", "udp"),
    ]


@pytest.mark.parametrize(
    ("left", "right"),
    [(ACTIVE, PASSIVE), (PASSIVE, ACTIVE), (SO, SO), (BOTH, BOTH), (ALL, ALL), (None, PASSIVE)],
)
def test_two_agents_without_udp(left, right):
    """6544-7, 6544-8, 6544-9, 6544-11: they connect, on one connection that both name, and data goes both ways."""
    pair = tcp_pair(left, right)
    pair.connect()
    assert pair.same_pair()
    assert kinds(pair.left) in {("active", "passive"), ("passive", "active"), ("so", "so")}
    assert kinds(pair.left) == kinds(pair.right)[::-1]
    exchange(pair)
    assert pair.sim.network.sent(pair.left.host, "udp") == []
    for node in pair.nodes:
        node.agent.close(pair.sim.now)
    pair.sim.run_for(30)
    assert_nothing_left(pair)


def test_two_components():
    """6544-1, 6544-7: each has a connection of its own."""
    pair = tcp_pair(components=2)
    pair.connect()
    sockets = set()
    for component in (1, 2):
        assert pair.same_pair(component)
        assert pair.left.send(component, b"component %d" % component)
        sockets.add(pair.left.agent.selected_pair(component).socket)
    pair.sim.run_for(0.1)
    assert {pair.right.agent.component_of(each.socket): each.data for each in pair.right.data} == {
        1: b"component 1",
        2: b"component 2",
    }
    assert len(sockets) == 2


def test_the_connection_and_the_check_follow_the_pace():
    """6544-8: the connection is asked for when the check is due, one every Ta, from a fresh port of the interface;
    the check follows it as soon as it is open."""
    script = scripted(tcp=ACTIVE, local_candidate=only_tcp, agent_addresses=("10.0.0.1",))
    script.meet(
        *(
            Candidate(f"f{n}", 1, "tcp", 1000 - n, f"10.0.0.{n + 3}", 4000, "host", tcptype="passive")
            for n in range(4)
        )
    )
    script.sim.run_for(1)
    asked = script.events(NeedConnection)
    assert [round(event.at, 3) for event in asked] == [0.0, 0.05, 0.1, 0.15]
    assert {event.base for event in asked} == {("10.0.0.1", 0)}


def test_a_check_is_sent_once():
    """6544-10: TCP retransmits, STUN does not; without an answer the check ends when it would over UDP."""
    script, _socket = connected_script()
    script.sim.run_until(lambda: script.agent.pairs[0].state == "failed", limit=60)
    assert script.now == pytest.approx(39.5, abs=0.2)
    assert len(script.peer.requests) == 1
    assert "no answer" in script.agent.pairs[0].failure
    script.sim.run_for(1)
    assert script.peer.ended, "a connection that no pair needs is closed"


def test_peer_reflexive_candidates_of_both_sides():
    """6544-10, 6544-11: the answer to a check from an active candidate makes a peer-reflexive one of ours, the check
    that came to a passive one makes one of the peer's; both are active."""
    pair = tcp_pair()
    pair.connect()
    ours, theirs = selected(pair.left), selected(pair.right)
    assert (ours.local.type, ours.local.tcptype, ours.local.transport) == ("prflx", "active", "tcp")
    assert ours.local.transport_address == pair.left.address_of(ours.socket)
    assert ours.local.related_address == "10.0.0.1"
    assert ours.local.priority >> 24 == 80
    assert (theirs.remote.type, theirs.remote.tcptype, theirs.remote.transport) == ("prflx", "active", "tcp")
    assert theirs.remote.transport_address == ours.local.transport_address


def test_reports_and_statistics_show_tcp():
    """6544-6: pairs, candidates and statistics say which transport and which kind they are of."""
    pair = tcp_pair()
    pair.connect()
    now, agent = pair.sim.now, pair.right.agent
    assert str(selected(pair.right)).startswith("tcp passive host 10.0.0.2:")
    report = agent.report(now)
    assert any(text.startswith("host tcp passive 10.0.0.2:") for text in report.local_candidates)
    assert any(text.startswith("prflx tcp active 10.0.0.1:") for text in report.remote_candidates)
    assert any(entry.subject == "connection" and entry.outcome == "accepted" for entry in report.entries)
    found = [each for each in agent.stats(now).values() if each["type"] == "local-candidate"]
    assert [(each["protocol"], each["tcpType"]) for each in found] == [("tcp", "passive")]


# -- which path is taken ---------------------------------------------------------------------------------------------


def test_udp_wins_where_it_works():
    """6544-3: TCP is checked too, and UDP carries the data in the end."""
    pair = ice_pair(tcp=BOTH)
    pair.connect()
    assert selected(pair.left).transport == selected(pair.right).transport == "udp"
    assert pair.same_pair()


def test_where_udp_is_blocked_tcp_carries_data_at_once():
    """6544-3: and is nominated after the second that UDP may take."""
    pair = ice_pair(tcp=BOTH)
    block_udp(pair)
    pair.start()
    at = pair.sim.run_until(lambda: all(agent.route() for agent in pair.agents), limit=1)
    assert at < 0.5
    exchange(pair)
    assert pair.connect() < 2.0
    assert selected(pair.left).transport == selected(pair.right).transport == "tcp"


def test_a_server_that_listens_is_reached_without_any_option():
    """6544-1: a client of default options connects to a passive candidate once there is one, from a candidate that it
    does not tell of."""
    pair = ice_pair(right_options={"tcp": PASSIVE})
    block_udp(pair)
    pair.connect(limit=3)
    assert kinds(pair.left) == ("active", "passive")
    assert all(event.candidate.transport == "udp" for event in events(pair.left, CandidateGathered))
    exchange(pair)


def test_without_passive_candidates_of_the_peer_nothing_is_formed():
    """6544-1: the default costs nothing."""
    pair = ice_pair()
    pair.connect()
    for node in pair.nodes:
        assert node.agent.streams[0].engine.tcp.candidates == []
        assert not events(node, NeedConnection)


@pytest.mark.parametrize("option", ["none", "hook", "type"])
def test_a_client_that_wants_no_tcp_does_not_connect(option):
    """6544-1: an empty set of kinds, a hook that refuses, no host candidates."""
    options = {
        "none": {"tcp": frozenset()},
        "hook": {"local_candidate": lambda each: each if each.transport == "udp" else None},
        "type": {"candidate_types": frozenset({"srflx"})},
    }[option]
    script = scripted(**options)
    script.meet(Candidate("f", 1, "tcp", 1000, "10.0.0.2", 4000, "host", tcptype="passive"))
    script.sim.run_for(2)
    assert script.agent.pairs == []
    assert not script.events(NeedConnection)
    if option == "none":
        ((name, reason),) = script.agent.report(script.now).ignored_candidates
        assert (name, reason) == ("host tcp passive 10.0.0.2:4000", "TCP is not wanted")


def test_active_candidates_of_the_peer_are_never_connected_to():
    """6544-6: port 9 is no port."""
    script = scripted(tcp=ALL)
    script.meet(Candidate("f", 1, "tcp", 1000, "10.0.0.2", 9, "host", tcptype="active"))
    script.sim.run_for(5)
    assert script.agent.pairs == []
    assert script.sim.network.sent(script.node.host, "tcp") == []


def test_a_lite_server_is_reached_over_tcp():
    """6544-5, 6544-11, 6544-15: it answers on what comes in at its passive candidate, also when that has to be
    opened anew."""
    pair = ice_pair(right_options={"tcp": PASSIVE, "lite": True})
    block_udp(pair)
    pair.connect(limit=5)
    exchange(pair)
    cut(pair)
    pair.sim.run_until(lambda: all(agent.route() for agent in pair.agents), limit=2)
    exchange(pair)
    pair.sim.run_for(60)
    assert [agent.state for agent in pair.agents] == ["completed", "completed"]
    assert not events(pair.right, NeedConnection)


# -- failures --------------------------------------------------------------------------------------------------------


def test_a_refused_port():
    """6544-8: the pair fails, with the reason."""
    script = scripted(tcp=ACTIVE, local_candidate=only_tcp)
    script.meet(Candidate("f", 1, "tcp", 1000, "10.0.0.2", 4000, "host", tcptype="passive"))
    script.sim.run_for(1)
    (pair,) = script.agent.pairs
    assert (pair.state, pair.failure) == ("failed", "no connection: connection refused")
    assert script.counted("connection.failed") == 1
    assert script.agent.state == "checking", "another candidate may come (RFC 8863)"


def test_a_listener_that_vanishes():
    """6544-8: a silent host is given up in time, and the agent fails when its patience ends."""
    pair = tcp_pair()
    pair.start()
    pair.sim.run_until(lambda: pair.left.agent.pairs)
    pair.sim.network.drop(lambda packet: packet.transport == "tcp")
    at = pair.sim.run_until(lambda: pair.left.agent.pairs[0].state == "failed", limit=20)
    assert at == pytest.approx(CONNECT_TIMEOUT, abs=0.1)
    assert events(pair.left, CancelConnection)
    pair.sim.run_until(lambda: pair.left.agent.state == "failed", limit=40)
    report = str(pair.left.agent.report(pair.sim.now))
    assert "no connection within 10 s" in report


def test_only_five_attempts_to_one_address():
    """6544-16: 20 candidates of one address, 5 attempts at a time; another address is not held up, and all are
    tried."""
    script = scripted(tcp=ACTIVE, local_candidate=only_tcp)
    script.sim.network.drop(lambda packet: packet.transport == "tcp")
    script.meet(
        *(
            Candidate(f"f{n}", 1, "tcp", 1000 - n, "10.0.0.2", 4000 + n, "host", tcptype="passive")
            for n in range(20)
        ),
        Candidate("other", 1, "tcp", 1, "10.0.0.9", 4000, "host", tcptype="passive"),
    )
    script.sim.run_for(2)
    asked = script.events(NeedConnection)
    assert [event.peer[0] for event in asked].count("10.0.0.2") == MAX_ATTEMPTS_PER_ADDRESS
    assert [event.peer[0] for event in asked].count("10.0.0.9") == 1
    worst = 0
    while script.now < 50:
        script.sim.run_for(0.05)
        asked = [event.request for event in script.events(NeedConnection) if event.peer[0] == "10.0.0.2"]
        ended = {event.request for event in script.events(CancelConnection)}
        worst = max(worst, sum(request not in ended for request in asked))
    assert worst == MAX_ATTEMPTS_PER_ADDRESS
    assert len(script.events(NeedConnection)) == 21
    gaps = [b.at - a.at for a, b in itertools.pairwise(script.events(NeedConnection))]
    assert min(gaps) >= 0.05 - 1e-9, "those that had waited are paced, too"
    assert {each.state for each in script.agent.pairs} == {"failed"}


# -- an agent and a peer driven by hand ------------------------------------------------------------------------------


class TcpPeer(ScriptedPeer):
    """A peer that listens, and connects where the test wants it to."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.accepted: list[tuple[int, Address]] = []
        self.opened: list[int] = []
        self.refused: list[str] = []
        self.ended: list[int] = []

    def listen(self, port: int = 4000) -> int:
        return self.host.listen(self.host.addresses[0], port, self.node)

    def connect(self, address: Address, base: Address | None = None) -> None:
        self.node.connect(len(self.opened) + len(self.refused), base or (self.host.addresses[0], 0), address)

    def connection_accepted(self, listener, socket, peer, now) -> bool:
        self.accepted.append((socket, peer))
        return True

    def connection_opened(self, request, socket, address, now) -> None:
        self.opened.append(socket)

    def connection_failed(self, request, reason, now) -> None:
        self.refused.append(reason)

    def connection_closed(self, socket, reason, now) -> None:
        self.ended.append(socket)


def tcp_script(*, controlling=True, **options) -> Script:
    """An agent without UDP candidates, and a `TcpPeer`."""
    sim = Simulation(1, link=Link(latency=0.0))
    options = {"local_candidate": only_tcp, **options}
    agent = IceAgent(IceOptions(controlling=controlling, **options), rng=sim.rng)
    node = sim.add_agent(sim.network.add_host("10.0.0.1", name="agent"), agent)
    host = sim.network.add_host("10.0.0.2", name="peer")
    peer = TcpPeer(sim, host, controlling=not controlling, ufrag="peerfrag", pwd="passwordofthescriptedpeer")
    script = Script(sim, node, peer)
    script.gather()
    return script


def passive(port: int = 4000, *, address: str = "10.0.0.2", **fields) -> Candidate:
    fields = {"foundation": f"p{port}", "priority": 1000, **fields}
    return Candidate(
        component=1, transport="tcp", address=address, port=port, type="host", tcptype="passive", **fields
    )


def connected_script(**options) -> tuple[Script, int]:
    """The agent has connected to the peer and sent its first check; also gives the peer's socket."""
    script = tcp_script(tcp=ACTIVE, **options)
    script.peer.listen()
    script.meet(passive())
    script.sim.run_until(lambda: script.peer.requests)
    return script, script.peer.accepted[0][0]


def listening_script(**options) -> tuple[Script, Address]:
    """The agent listens; also gives where."""
    script = tcp_script(controlling=False, **{"tcp": PASSIVE, **options})
    script.set_credentials()
    (candidate,) = [each for each in script.agent.local_candidates if each.tcptype != "active"]
    return script, candidate.transport_address


def come_in(script: Script, address: Address) -> int:
    """The peer connects; gives its socket."""
    known = len(script.peer.opened)
    script.peer.connect(address)
    script.sim.run_until(lambda: len(script.peer.opened) > known, limit=1)
    return script.peer.opened[-1]


def test_the_nomination_goes_on_the_same_connection():
    """6544-12: regular nomination: the first check has no USE-CANDIDATE, a second one on the same connection has."""
    script, socket = connected_script()
    peer = script.peer
    first = peer.next_check()
    assert not first.use_candidate
    peer.answer(first)
    second = peer.next_check()
    assert second.use_candidate and second.socket == socket
    peer.answer(second)
    script.settle()
    assert script.agent.pairs[0].nominated
    assert len(script.events(NeedConnection)) == 1


def test_a_role_conflict_is_repaired_on_the_connection():
    """8445-32 over TCP: 487, the other role, and the check again."""
    script, socket = connected_script()
    peer = script.peer
    first = peer.next_check()
    peer.answer(first, code=487)
    second = peer.next_check()
    assert (first.controlling, second.controlling, second.socket) == (True, False, socket)


def test_consent_is_kept_on_the_connection():
    """7675-7: consent checks travel on the connection, each once; without answers it ends after 30 s, and the
    connection is closed."""
    pair = tcp_pair()
    pair.connect()
    started = pair.sim.now
    pair.sim.run_for(60)
    assert pair.agents[0].state == pair.agents[1].state == "completed"
    sent = pair.left.agent.counters["consent.sent"]
    assert sent >= 8
    ids = [
        each.data[8:20]
        for each in pair.sim.network.sent(pair.left.host, "tcp")
        if each.data[:2] == b"\x00\x01"
    ]
    assert len(set(ids)) == len(ids), "nothing is lost here, so no segment is sent twice, and no request"
    end = pair.sim.network.drop(lambda packet: packet.transport == "tcp" and bool(packet.data))
    pair.sim.run_until(lambda: pair.left.agent.state == "failed", limit=60)
    assert pair.sim.now - started - 60 <= 36
    assert pair.left.agent.counters["consent.doubted"] > 5, "many are under way, each of them sent once"
    assert pair.left.agent.counters["consent.sent"] > sent
    end()
    pair.sim.run_for(60)
    assert open_connections(pair.left) == open_connections(pair.right) == []


@pytest.mark.parametrize(
    "first",
    [b"HTTP/1.1 400 Bad Request\r\n", b"\x16\x03\x01", bytes(100), b"\x00\x01\x00\x04\x21\x12\xa4\x42"],
)
def test_what_is_no_ice_agent_is_left_alone(first):
    """6544-10: the first answer is no STUN: the connection is closed and all pairs of that candidate fail."""
    script = scripted_two_addresses()
    peer = script.peer
    script.sim.run_until(lambda: peer.requests)
    peer.send(first, socket=peer.accepted[0][0], to=peer.accepted[0][1])
    script.settle()
    assert len(script.agent.pairs) == 2
    assert {(each.state, each.failure) for each in script.agent.pairs} == {
        ("failed", "what listens there is no ICE agent")
    }
    assert script.counted("connection.nonsense") == 1
    script.sim.run_for(3)
    assert len(peer.requests) == 1
    assert open_connections(script.node) == []


def scripted_two_addresses() -> Script:
    """One candidate of the peer, two active ones of ours."""
    sim = Simulation(1, link=Link(latency=0.0))
    agent = IceAgent(IceOptions(controlling=True, tcp=ACTIVE, local_candidate=only_tcp), rng=sim.rng)
    node = sim.add_agent(sim.network.add_host("10.0.0.1", "10.0.0.7", name="agent"), agent)
    peer = TcpPeer(
        sim,
        sim.network.add_host("10.0.0.2", name="peer"),
        controlling=False,
        ufrag="peerfrag",
        pwd="passwordofthescriptedpeer",
    )
    script = Script(sim, node, peer)
    script.gather()
    peer.listen()
    script.meet(passive())
    return script


@pytest.mark.parametrize(
    "first", [b"GET / HTTP/1.1\r\n", b"\x80" * 40, bytes(100), b"\x00\x01\x00\x04\x21\x12\xa4\x42"]
)
def test_who_connects_and_speaks_no_stun_is_closed(first):
    """6544-11: only STUN may come first."""
    script, address = listening_script()
    socket = come_in(script, address)
    script.peer.send(first, socket=socket, to=address)
    script.settle()
    assert script.peer.ended == [socket]
    assert script.counted("connection.nonsense") == 1
    assert script.node.data == []


def test_who_connects_and_says_nothing_is_closed():
    """6544-11: the time of an accepted connection without a check of the peer is limited, whatever else comes."""
    script, address = listening_script()
    socket = come_in(script, address)
    peer = script.peer
    for _ in range(30):
        script.sim.run_for(0.5)
        if peer.ended:
            break
        peer.send(peer.build_request(key=None), socket=socket, to=address)
    assert script.now == pytest.approx(PROOF_TIMEOUT, abs=0.6)
    assert script.counted("connection.not-proven") == 1
    assert open_connections(script.node) == []


def test_connections_of_strangers_are_limited():
    """6544-11: so many in all and from one address; those that prove to be the peer's count no more."""
    limits = Limits(unproven_connections=5, unproven_connections_per_address=3, connections=7)
    script, _address = listening_script(limits=limits)
    listener = script.node.host.tcp.sockets[0]
    agent = script.agent
    results = [
        agent.connection_accepted(listener, 1000 + n, (f"192.0.2.{n // 4}", 5000 + n), script.now)
        for n in range(12)
    ]
    assert results == [True, True, True, False, True, True, False, False, False, False, False, False]
    assert agent.counters["connection.refused.too-many-of-address"] == 1
    assert agent.counters["connection.refused.too-many-unproven"] == 6
    for number in (1000, 1001):
        request = script.peer.build_request()
        agent.datagram_received(number, request, ("192.0.2.0", 5000 + number - 1000), script.now)
    assert agent.connection_accepted(listener, 2000, ("192.0.2.9", 1), script.now)
    assert agent.connection_accepted(listener, 2001, ("192.0.2.9", 2), script.now)
    assert not agent.connection_accepted(listener, 2002, ("192.0.2.9", 3), script.now)
    assert agent.counters["connection.refused.too-many"] == 1


def test_nobody_is_accepted_where_nothing_listens():
    """6544-11: an unknown listener, a UDP socket, a closed agent."""
    script, _ = listening_script()
    agent, now = script.agent, script.now
    udp = next(s for s in script.node.host.sockets if s not in script.node.host.tcp.sockets)
    listener = script.node.host.tcp.sockets[0]
    assert not agent.connection_accepted(12345, 1000, ("192.0.2.1", 1), now)
    assert not agent.connection_accepted(udp, 1001, ("192.0.2.1", 1), now)
    agent.close(now)
    assert not agent.connection_accepted(listener, 1002, ("192.0.2.1", 1), now)
    agent.connection_opened(77, 1003, ("10.0.0.1", 1), now)
    agent.connection_failed(78, "late", now)
    agent.connection_closed(79, "late", now)
    assert any(isinstance(event, CloseSocket) and event.socket == 1003 for event in agent.take_events())
    assert agent.next_timer() is None


def test_checks_before_the_answer():
    """6544-11 with RFC 8445 5.3: a check of the peer comes before its credentials do, and counts once they are
    known."""
    script = tcp_script(controlling=False, tcp=PASSIVE)
    (candidate,) = script.agent.local_candidates
    socket = come_in(script, candidate.transport_address)
    peer = script.peer
    asked = peer.request(socket=socket, to=candidate.transport_address, use_candidate=True)
    script.settle()
    assert peer.answer_to(asked).code is None
    script.sim.run_for(PROOF_TIMEOUT + 1)
    assert not peer.ended, "whoever has our password is no stranger"
    script.set_credentials()
    check = peer.next_check()
    assert check.socket == socket
    peer.answer(check)
    script.settle()
    assert script.agent.pairs[0].nominated


def test_data_of_others_than_the_peer_is_not_taken():
    """6544-11: data before a check closes; data after it arrives."""
    script, address = listening_script()
    socket = come_in(script, address)
    peer = script.peer
    peer.request(socket=socket, to=address)
    script.settle()
    peer.send(b"\x80data", socket=socket, to=address)
    script.settle()
    assert [each.data for each in script.node.data] == [b"\x80data"]
    peer.send(b"\xffmore", socket=socket, to=address)
    script.settle()
    assert len(script.node.data) == 2 and not peer.ended


@settings(max_examples=60, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(
    st.lists(
        st.binary(max_size=60)
        | st.sampled_from([b"", b"\x00" * 20, b"\x00\x01\x00\x00\x21\x12\xa4\x42" + b"x" * 12]),
        max_size=8,
    )
)
def test_hostile_stream_contents(messages):
    """6544-11: whatever comes on a connection, nothing raises, no data passes, and it is closed in time."""
    script, address = listening_script()
    socket = come_in(script, address)
    for message in messages:
        script.peer.send(message, socket=socket, to=address)
        script.settle()
    assert script.node.data == []
    script.sim.run_for(PROOF_TIMEOUT + 0.1)
    assert open_connections(script.node) == []
    assert script.agent.pairs == []


# -- the end of ICE --------------------------------------------------------------------------------------------------


def test_connections_that_were_not_selected_are_closed():
    """6544-12: once ICE has completed, one is left; the listening sockets stay."""
    pair = tcp_pair(ALL, ALL, left=("10.0.0.1", "10.0.0.3"))
    pair.connect()
    pair.sim.run_for(CLOSE_DELAY + 1)
    for node in pair.nodes:
        assert open_connections(node) == [selected(node).socket]
    exchange(pair)
    assert len(pair.left.host.tcp.sockets) == 3


def test_all_of_them_are_closed_when_udp_is_selected():
    """6544-12."""
    pair = ice_pair(tcp=ALL)
    pair.connect()
    pair.sim.run_for(CLOSE_DELAY + 1)
    for node in pair.nodes:
        assert open_connections(node) == []


def test_continual_agents_keep_spare_connections():
    """6544-12 is a SHOULD: where paths are to be moved between, they stay."""
    pair = tcp_pair(ALL, ALL, left=("10.0.0.1", "10.0.0.3"), continual=True)
    pair.connect("connected")
    pair.sim.run_for(CLOSE_DELAY + 5)
    assert all(each.route() and each.selected_pair().nominated for each in pair.agents)
    assert len(open_connections(pair.left)) > 1


# -- the selected connection is lost ---------------------------------------------------------------------------------


def cut(pair: IcePair, node=None) -> None:
    """The selected connection ends by itself, for both sides: as if a box on the way had reset it."""
    for each in [node] if node else pair.nodes:
        each.host.tcp._numbers[selected(each).socket].end("connection reset by peer")


@pytest.mark.parametrize("controlling", [True, False], ids=["active controls", "passive controls"])
def test_the_selected_connection_is_opened_anew(controlling):
    """6544-15: the active side reopens it at once, checks first, and data flows again; the passive one waits."""
    pair = tcp_pair(*((ACTIVE, PASSIVE) if controlling else (PASSIVE, ACTIVE)))
    pair.connect()
    pair.sim.run_for(5)
    old = selected(pair.left).socket, selected(pair.right).socket
    lost_at = pair.sim.now
    cut(pair)
    assert pair.left.agent.route() is None and pair.right.agent.route() is None
    pair.sim.run_until(lambda: all(agent.route() for agent in pair.agents), limit=2)
    assert pair.sim.now - lost_at < 0.5
    assert "disconnected" in pair.states(pair.left)
    pair.sim.run_until(lambda: all(agent.state == "completed" for agent in pair.agents), limit=5)
    assert pair.same_pair()
    assert (selected(pair.left).socket, selected(pair.right).socket) != old
    exchange(pair)
    pair.sim.run_for(CLOSE_DELAY + 60)
    assert [agent.state for agent in pair.agents] == ["completed", "completed"]
    for node in pair.nodes:
        assert open_connections(node) == [selected(node).socket]


def test_simultaneous_open_is_reopened_from_both_sides():
    """6544-15: both are to reopen it, and one connection comes of it."""
    pair = tcp_pair(SO, SO)
    pair.connect()
    pair.sim.run_for(5)
    cut(pair)
    pair.sim.run_until(lambda: all(agent.state == "completed" for agent in pair.agents), limit=20)
    assert pair.same_pair()
    exchange(pair)


def test_only_one_side_notices():
    """6544-15: the other one has a dead connection in its hands, and follows."""
    pair = tcp_pair()
    pair.connect()
    pair.sim.run_for(5)
    cut(pair, pair.left)
    pair.sim.run_until(lambda: pair.left.agent.state == "completed", limit=5)
    pair.sim.run_for(1)
    assert pair.same_pair()
    exchange(pair)


def test_reopening_is_tried_a_few_times_and_ends():
    """6544-15: attempts with pauses; when none succeeds the pair is lost, with a reason that says so."""
    pair = tcp_pair()
    pair.connect()
    pair.sim.run_for(60)
    known = len(events(pair.left, NeedConnection))
    for socket in list(pair.right.host.tcp._owners):
        pair.right.host.close(socket)
    cut(pair)
    lost_at = pair.sim.now
    pair.sim.run_until(lambda: pair.left.agent.state == "failed", limit=60)
    assert len(events(pair.left, NeedConnection)) - known == len(REOPEN_DELAYS)
    assert pair.sim.now - lost_at == pytest.approx(sum(REOPEN_DELAYS), abs=1)
    assert (
        "the connection ended: connection reset by peer, and no other one came"
        in pair.left.agent.state_reason
    )
    pair.sim.run_until(lambda: pair.right.agent.state == "failed", limit=60)
    assert pair.sim.now - lost_at == pytest.approx(Timeouts().consent_expiry, abs=1)


def test_a_failure_may_be_answered_by_a_restart():
    """6544-15: who cannot reopen restarts: `auto_restart` does so by itself."""
    pair = ice_pair(
        left_options={"tcp": ACTIVE, "auto_restart": True},
        right_options={"tcp": PASSIVE},
        local_candidate=only_tcp,
    )
    pair.connect()
    pair.sim.run_for(5)
    end = pair.sim.network.drop(lambda packet: packet.transport == "tcp")
    cut(pair)
    pair.sim.run_until(lambda: events(pair.left, Restarted), limit=90)
    end()
    pair.sim.run_until(lambda: all(agent.state == "completed" for agent in pair.agents), limit=60)
    exchange(pair)


# -- restart ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kinds", [BOTH, SO, ALL])
def test_a_restart_keeps_the_connection_until_there_is_another(kinds):
    """6544-13, 7675-7: data travels on the old one meanwhile, none is lost, and the old one is closed afterwards."""
    pair = tcp_pair(kinds, kinds)
    pair.connect()
    pair.sim.run_for(5)
    old = {node.name: selected(node).socket for node in pair.nodes}
    sent = 0
    pair.left.agent.restart(pair.sim.now)
    for _ in range(400):
        for node in pair.nodes:
            assert node.send(1, b"%d" % sent)
        sent += 1
        pair.sim.run_for(0.02)
        if sent == 1:
            assert selected(pair.left).socket == old["left"]
    pair.sim.run_for(2)
    for node in pair.nodes:
        assert [each.data for each in node.data] == [b"%d" % number for number in range(sent)]
        assert node.agent.state == "completed"
    assert pair.same_pair()
    pair.sim.run_for(20)
    for node in pair.nodes:
        assert open_connections(node) == [selected(node).socket]


# -- closing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kinds", [(ACTIVE, PASSIVE), (ALL, ALL), (SO, SO)], ids=["active-passive", "all", "so"]
)
@pytest.mark.parametrize("who", [0, 1])
def test_closing_at_any_moment_leaves_nothing(kinds, who):
    """6544-2, 6544-12: no connection, no attempt, no timer stays behind."""
    for moment in [step * 0.007 for step in range(20)] + [0.5, 1.0, 4.0, 8.0]:
        pair = tcp_pair(*kinds)
        pair.start()
        pair.sim.run_for(moment)
        pair.nodes[who].agent.close(pair.sim.now)
        pair.sim.run_for(0.05)
        pair.nodes[1 - who].agent.close(pair.sim.now)
        pair.sim.run_for(60)
        assert_nothing_left(pair)


# -- what simulations with random cuts and restarts have found -------------------------------------------------------


def test_a_spare_connection_takes_over_and_the_peer_follows():
    """6544-15: the active side loses the nominated connection while another one of its pairs is still open, which the
    controlling side had given up: data moves there at once, and both agree in the end."""
    pair = tcp_pair(PASSIVE, ACTIVE, left=("10.0.0.1", "10.0.0.3"))
    pair.connect()
    pair.sim.run_for(1)
    assert len(open_connections(pair.right)) == 2
    cut(pair, pair.right)
    assert pair.right.agent.route() is not None
    pair.sim.run_for(10)
    assert pair.same_pair()
    exchange(pair)
    assert [agent.state for agent in pair.agents] == ["completed", "completed"]


def test_the_spare_connection_is_closed_by_a_peer_that_noticed_nothing():
    """6544-12, 6544-15: what was nominated is opened anew even while another pair works."""
    pair = tcp_pair(ACTIVE, PASSIVE, right=("10.0.0.2", "10.0.0.4"))
    pair.connect()
    pair.sim.run_for(CLOSE_DELAY - 0.5)
    cut(pair, pair.left)
    pair.sim.run_for(10)
    assert pair.same_pair()
    exchange(pair)
    for node in pair.nodes:
        assert open_connections(node) == [selected(node).socket]


def test_losses_in_a_row_are_followed_at_once():
    """6544-12, 6544-15: over TCP the latest nomination is meant, however soon it comes after the one before."""
    pair = tcp_pair(BOTH, BOTH)
    pair.connect()
    for _ in range(5):
        cut(pair, pair.left)
        pair.sim.run_for(0.3)
    pair.sim.run_for(CLOSE_DELAY + 1)
    assert pair.same_pair()
    exchange(pair)
    for node in pair.nodes:
        assert open_connections(node) == [selected(node).socket]


def test_the_connection_of_a_simultaneous_open_serves_both_generations():
    """6544-8, 6544-13: the addresses have a connection already, whoever opened it: the check of the new generation
    travels on it, also when it comes before we have paired the two."""
    for seed in range(10):
        pair = tcp_pair(SO, SO, seed=seed, signal_delay=0.1)
        pair.connect()
        sockets = [selected(node).socket for node in pair.nodes]
        pair.nodes[seed % 2].agent.restart(pair.sim.now)
        pair.sim.run_for(10)
        assert [selected(node).socket for node in pair.nodes] == sockets
        assert [agent.state for agent in pair.agents] == ["completed", "completed"]
        for agent in pair.agents:
            assert agent.counters["drop.request.no-candidate"] == 0


KINDS = st.sampled_from([(ACTIVE, PASSIVE), (PASSIVE, ACTIVE), (SO, SO), (BOTH, BOTH), (ALL, ALL), (SO, ALL)])
STEPS = st.lists(
    st.tuples(st.sampled_from(["cut both", "cut left", "cut right", "restart"]), st.floats(0.01, 8.0)),
    max_size=4,
)


@settings(max_examples=30, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(KINDS, STEPS, st.sampled_from([0.0, 0.02]), st.integers(0, 1000), st.integers(1, 2))
def test_random_cuts_and_restarts(kinds, steps, loss, seed, components):
    """6544-13, 6544-15: whatever happens to the connections, both sides come to the same one, no other one is left
    open, and nothing is left after close."""
    pair = tcp_pair(*kinds, seed=seed, link=Link(latency=0.01, loss=loss), components=components)
    pair.connect(limit=30)
    for step, pause in steps:
        if step == "restart":
            pair.left.agent.restart(pair.sim.now)
        else:
            for node in pair.nodes:
                known = node.agent.selected_pair()
                if step in ("cut both", f"cut {node.name}") and known is not None:
                    connection = node.host.tcp._numbers.get(known.socket)
                    if connection is not None:
                        connection.end("connection reset by peer")
        pair.sim.run_for(pause)
    pair.sim.run_until(lambda: all(agent.state == "completed" for agent in pair.agents), limit=60)
    pair.sim.run_for(30)
    assert [agent.state for agent in pair.agents] == ["completed", "completed"]
    for node in pair.nodes:
        sockets = [node.agent.selected_pair(component).socket for component in range(1, components + 1)]
        assert sorted(open_connections(node)) == sorted(sockets)
    assert all(pair.same_pair(component) for component in range(1, components + 1))
    for node in pair.nodes:
        node.agent.close(pair.sim.now)
    pair.sim.run_for(60)
    assert_nothing_left(pair)


NUMBERS = st.integers(-3, 5)
ADDRESSES = st.sampled_from([("10.0.0.2", 4000), ("10.0.0.2", 4001), ("10.0.0.1", 5000), ("fe80::1%eth0", 1)])
INPUTS = st.lists(
    st.one_of(
        st.tuples(st.just("connection_accepted"), NUMBERS, NUMBERS, ADDRESSES),
        st.tuples(st.just("connection_opened"), NUMBERS, NUMBERS, ADDRESSES),
        st.tuples(st.just("connection_failed"), NUMBERS, st.just("no")),
        st.tuples(st.just("connection_closed"), NUMBERS, st.just("gone")),
        st.tuples(st.just("datagram_received"), NUMBERS, st.binary(max_size=30), ADDRESSES),
        st.tuples(st.just("handle_timer")),
    ),
    max_size=40,
)


@settings(max_examples=100, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(INPUTS)
def test_inputs_in_any_order(inputs):
    """6544-8, 6544-11: a driver may say anything at any time: nothing raises, and nothing is left after close."""
    agent = IceAgent(IceOptions(controlling=True, tcp=ALL), rng=Simulation(1).rng)
    agent.gather([("10.0.0.1", 0)], [], 0.0)
    for number, event in enumerate(each for each in agent.take_events() if isinstance(each, NeedSocket)):
        agent.socket_opened(event.request, number, ("10.0.0.1", 5000 + number), 0.0)
    agent.set_remote_credentials("peerfrag", "passwordofthescriptedpeer", 0.0)
    for port in (4000, 4001):
        agent.add_remote_candidate(passive(port), 0.0)
        agent.add_remote_candidate(Candidate("so", 1, "tcp", 9, "10.0.0.2", port, "host", tcptype="so"), 0.0)
    now = 0.0
    for name, *arguments in inputs:
        now += 0.3
        assert agent.handle_timer(now) is None
        if name != "handle_timer":
            getattr(agent, name)(*arguments, now)
    agent.close(now)
    agent.take_events()
    agent.take_transmits()
    assert agent.next_timer() is None
    agent.handle_timer(now + 100)
    assert agent.take_events() == agent.take_transmits() == []
