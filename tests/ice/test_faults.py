"""Two agents on a bad network: loss, reordering, duplication, delay, outages, stalls, one-way paths, odd clocks."""

from __future__ import annotations

import pytest
from ice_harness import IcePair, ice_pair, scripted
from ice_servers import Nat

from fasticePy.ice import IceAgent, IceOptions, Limits, Timeouts
from fasticePy.sim import Link, Simulation
from fasticePy.stun import Attribute, MessageClass, parse

TWO_LEFT = ("10.0.0.1", "10.0.1.1")
TWO_RIGHT = ("10.0.0.2", "10.0.1.2")


def assert_settled(pair: IcePair, components: int = 1) -> None:
    """Connected, with the same pair at both ends, one in each role, and data passes both ways."""
    assert {agent.role for agent in pair.agents} == {"controlling", "controlled"}
    for component in range(1, components + 1):
        assert pair.same_pair(component)
        for agent in pair.agents:
            selected = agent.selected_pair(component)
            assert selected is not None and selected.valid and selected.nominated


def assert_talks(pair: IcePair, attempts: int = 20) -> None:
    """Data passes both ways, in one of some attempts where packets get lost."""
    before = [len(node.data) for node in pair.nodes]
    for _ in range(attempts):
        assert pair.left.send(1, b"from the left")
        assert pair.right.send(1, b"from the right")
        pair.sim.run_for(0.2)
        if all(len(node.data) > count for node, count in zip(pair.nodes, before, strict=True)):
            return
    raise AssertionError("no data passes")


# -- random faults, many seeds


@pytest.mark.parametrize("seed", range(60))
def test_they_connect_whatever_the_network_does(seed):
    """Loss up to 30 %, jitter, reordering and duplication, latency up to 500 ms, late sockets and late signalling:
    both complete, on the same pair."""
    shape = Simulation(seed).rng(6)
    link = Link(
        latency=(0.001, 0.02, 0.1, 0.25)[shape[0] % 4],
        jitter=(0.0, 0.01, 0.1)[shape[1] % 3],
        loss=(0.0, 0.02, 0.08, 0.15)[shape[2] % 4],
        duplicate=(0.0, 0.2)[shape[3] % 2],
        reorder=(0.0, 0.3)[shape[4] % 2],
        reorder_delay=0.1,
    )
    pair = ice_pair(
        seed=seed, left=TWO_LEFT, right=TWO_RIGHT, link=link, signal_delay=(0.0, 0.3, 2.0)[shape[5] % 3]
    )
    pair.left.socket_delay = 0.1 * (shape[0] % 3)
    pair.connect(limit=39)
    assert_settled(pair)
    assert_talks(pair)
    pair.sim.run_for(20)
    assert_settled(pair)


@pytest.mark.parametrize("seed", range(20))
def test_two_components_under_loss(seed):
    pair = ice_pair(seed=seed, link=Link(latency=0.02, loss=0.1), components=2)
    pair.connect(limit=39)
    assert_settled(pair, components=2)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("roles", [True, False], ids=["both controlling", "both controlled"])
def test_a_role_clash_under_loss(seed, roles):
    """Both begin in the same role, packets get lost and overtake each other: in the end there is one of each."""
    pair = ice_pair(
        seed=seed,
        left=TWO_LEFT,
        right=TWO_RIGHT,
        link=Link(latency=0.02, jitter=0.05, loss=0.1, reorder=0.3),
        left_options={"controlling": roles},
        right_options={"controlling": roles},
    )
    pair.connect(limit=39)
    assert_settled(pair)
    assert_talks(pair)


# -- messages of one kind lost


@pytest.mark.parametrize("kind", [MessageClass.REQUEST, MessageClass.SUCCESS])
@pytest.mark.parametrize("from_left", [True, False])
def test_the_first_second_of_one_kind_is_lost(kind, from_left):
    """All requests, or all answers, of one side for a whole second."""
    pair = ice_pair()
    host = (pair.left if from_left else pair.right).host

    def drop(packet):
        return (
            pair.sim.now < 1.0
            and packet.source[0] in host.addresses
            and parse(packet.data).message_class == kind
        )

    pair.sim.network.drop(drop)
    pair.connect(limit=10)
    assert_settled(pair)
    assert_talks(pair)


def test_nominations_only_are_lost_for_five_seconds():
    """USE-CANDIDATE never arrives at first: data flows on the valid pair meanwhile, and both agree in the end."""
    pair = ice_pair(left=TWO_LEFT, right=TWO_RIGHT)

    def drop(packet):
        return (
            pair.sim.now < 5.0
            and packet.data[:1] == b"\x00"
            and Attribute.USE_CANDIDATE in parse(packet.data)
        )

    pair.sim.network.drop(drop)
    pair.start()
    pair.sim.run_until(lambda: all(agent.state == "connected" for agent in pair.agents), limit=2)
    assert_talks(pair)
    pair.sim.run_until(lambda: all(agent.state == "completed" for agent in pair.agents), limit=20)
    assert_settled(pair)


# -- delay


@pytest.mark.parametrize("latency", [0.15, 0.5, 1.0])
def test_a_long_way(latency):
    """500 ms one way and more: the round trip is longer than the RTO, so every check is retransmitted before its
    answer can be there; they connect after a few round trips, and consent lives for minutes."""
    pair = ice_pair(link=Link(latency=latency / 2))
    took = pair.connect(limit=20)
    assert took < 7 * latency + 0.2
    assert_settled(pair)
    pair.sim.run_for(120)
    assert [agent.state for agent in pair.agents] == ["completed"] * 2


def test_the_round_trip_time_is_measured():
    pair = ice_pair(link=Link(latency=0.06))
    pair.connect()
    assert pair.left.agent.selected_pair().rtt == pytest.approx(0.24)  # type: ignore[union-attr]


# -- outages, one-way paths


def test_a_network_that_comes_up_late():
    """Nothing passes for 20 s: the retransmissions go on for so long, and they connect."""
    pair = ice_pair()
    pair.left.host.set_link(up=False)
    pair.start()
    pair.sim.run_for(20)
    assert {agent.state for agent in pair.agents} == {"checking"}
    pair.left.host.set_link(up=True)
    pair.connect(limit=19)
    assert_settled(pair)


def test_one_address_is_reachable_in_one_direction_only():
    """Packets from 10.0.0.1 leave but none arrive there: the pair is never valid, another one is chosen by both."""
    pair = ice_pair(left=TWO_LEFT, right=("10.0.0.2",))
    pair.sim.network.drop(lambda packet: packet.destination[0] == "10.0.0.1")
    pair.connect(limit=39)
    assert_settled(pair)
    assert pair.left.agent.selected_pair().local.address == "10.0.1.1"  # type: ignore[union-attr]


def test_each_side_reaches_only_one_address_of_the_other():
    """Of four pairs one works both ways."""
    pair = ice_pair(left=TWO_LEFT, right=TWO_RIGHT)
    works = {("10.0.1.1", "10.0.0.2"), ("10.0.0.2", "10.0.1.1")}
    pair.sim.network.drop(lambda packet: (packet.source[0], packet.destination[0]) not in works)
    pair.connect(limit=39)
    assert_settled(pair)
    assert pair.right.agent.selected_pair().local.address == "10.0.0.2"  # type: ignore[union-attr]


def test_a_nat_that_forgets_its_mapping_before_the_nomination():
    """The inside host gets another port while checks run: its later checks make a peer-reflexive candidate."""
    sim = Simulation(3)
    nat = Nat(sim.network, "198.51.100.1")
    inside = sim.network.add_host("10.0.0.1", segment=nat.inside)
    outside = sim.network.add_host("192.0.2.9")
    left = sim.add_agent(inside, IceAgent(IceOptions(controlling=True), rng=sim.rng))
    right = sim.add_agent(outside, IceAgent(IceOptions(controlling=False), rng=sim.rng))
    pair = IcePair(sim, left, right)
    pair.start()
    sim.run_for(0.021)
    nat.reboot()
    pair.connect(limit=39)
    selected = right.agent.selected_pair()
    assert selected is not None
    assert selected.remote.type == "prflx"
    assert selected.remote.address == "198.51.100.1"
    assert left.send(1, b"out") and right.send(1, b"in")
    sim.run_for(0.1)
    assert [left.data[-1].data, right.data[-1].data] == [b"in", b"out"]


# -- a side that comes late


@pytest.mark.parametrize("delay", [7.0, 30.0])
@pytest.mark.parametrize("late_side", ["controlling", "controlled"])
@pytest.mark.parametrize("gathers_late", [False, True], ids=["knows late", "gathers late"])
def test_one_side_is_late(delay, late_side, gathers_late):
    """One side knows the other from the beginning, the other one learns it 7 or 30 s later (or only begins then):
    they connect, soon after, on one pair."""
    pair = ice_pair()
    late, early = (pair.left, pair.right) if late_side == "controlling" else (pair.right, pair.left)

    def tell(receiver, sender):
        credentials = sender.agent.local_credentials
        receiver.agent.set_remote_credentials(credentials.ufrag, credentials.pwd, pair.sim.now)
        for candidate in sender.agent.local_candidates:
            receiver.agent.add_remote_candidate(candidate, pair.sim.now)
        receiver.agent.add_remote_candidate(None, pair.sim.now)

    early.gather()
    if not gathers_late:
        late.gather()
    pair.sim.run_for(0)
    if gathers_late:  # its address is known, but nobody is there yet
        credentials = late.agent.local_credentials
        early.agent.set_remote_credentials(credentials.ufrag, credentials.pwd, pair.sim.now)
    else:
        tell(early, late)
    pair.sim.run_for(delay)
    if gathers_late:
        late.gather()
        pair.sim.run_for(0)
        tell(early, late)
    tell(late, early)
    pair.sim.run_until(lambda: all(agent.state == "completed" for agent in pair.agents), limit=2)
    assert_settled(pair)
    assert_talks(pair)


def test_checks_before_the_credentials_are_answered_and_remembered():
    """The other side's checks come first: they are answered, and when the credentials come, the pair is made and
    checked at once, without any signalled candidate."""
    script = scripted(controlling=False)
    script.gather()
    ids = [script.peer.request(use_candidate=True) for _ in range(3)]
    script.sim.run_for(5)
    for id in ids:
        answer = script.peer.answer_to(id)
        assert answer is not None and answer.code is None
    assert script.agent.pairs == []
    script.set_credentials()
    check = script.peer.next_check(limit=0.001)
    script.peer.answer(check)
    script.settle()
    assert script.agent.selected_pair().nominated  # type: ignore[union-attr]


def test_data_before_the_credentials_is_taken_from_who_has_our_password():
    """The peer is faster than the signalling: its check was authenticated, so its data is the application's."""
    script = scripted(controlling=False)
    script.gather()
    script.peer.send(b"\x80too early")
    script.peer.request()
    script.peer.send(b"\x80good")
    script.settle()
    assert [received.data for received in script.node.data] == [b"\x80good"]
    assert script.agent.pair_for(script.node.data[0].socket, script.peer.address()) is None
    assert script.agent.route(1) is None


def test_early_checks_are_bounded():
    """Limits.early_checks: of many source addresses only so many are remembered; all are answered."""
    script = scripted(controlling=False, limits=Limits(early_checks=3, validated_addresses=50))
    script.gather()
    sockets = [script.peer.open() for _ in range(8)]
    ids = [script.peer.request(socket=socket) for socket in sockets]
    script.settle()
    assert all(script.peer.answer_to(id) is not None for id in ids)
    assert script.counted("request.early") == 3
    assert script.counted("drop.request.too-many-early") == 5
    script.set_credentials()
    script.settle()
    assert len(script.agent.pairs) == 3


# -- a runtime that stands still


@pytest.mark.parametrize("at", [0.0, 0.005, 0.015, 0.03, 0.07])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_stall_while_connecting(at, side):
    """One side hangs for 3 s at any moment of the connection: it goes on as if nothing had been."""
    pair = ice_pair(left=TWO_LEFT, right=TWO_RIGHT)
    pair.start()
    pair.sim.run_for(at)
    (pair.left if side == "left" else pair.right).stall(3.0)
    pair.connect(limit=10)
    assert_settled(pair)
    assert_talks(pair)


def test_a_stall_sends_no_burst():
    """After 10 s of standing still the checks go out one by one, Ta apart, not all at once."""
    pair = ice_pair(left=TWO_LEFT, right=[f"10.0.2.{number}" for number in range(1, 9)])
    pair.right.host.set_link(up=False)
    pair.start()
    pair.sim.run_for(0.02)
    pair.left.stall(10.0)
    pair.sim.run_for(12)
    times = [packet.sent_at for packet in pair.sim.network.sent(pair.left.host) if packet.sent_at > 5]
    at_once = max(times.count(moment) for moment in times)
    assert at_once <= 2


# -- clocks


@pytest.mark.parametrize("start", [0.0, 1e-9, 0.3, 1e9, 4e9])
def test_any_time_base(start):
    """A clock that begins at zero, just after it, or counts from 1970: the same course of events."""
    pair = ice_pair(start=start, left=TWO_LEFT, right=TWO_RIGHT)
    took = pair.connect(limit=5) - start
    assert took == pytest.approx(ice_pair(left=TWO_LEFT, right=TWO_RIGHT).connect(limit=5), abs=0.001)
    assert_settled(pair)
    pair.sim.run_for(100)
    assert [agent.state for agent in pair.agents] == ["completed"] * 2
    pair.left.host.set_link(up=False)
    since = pair.sim.now
    pair.sim.run_until(lambda: all(agent.state == "failed" for agent in pair.agents), limit=40)
    assert 24 <= pair.sim.now - since <= 30.1


class Jumping:
    """Runs an agent with a clock of its own, which jumps; the peer keeps the time of the simulation."""

    def __init__(self, agent: IceAgent) -> None:
        self.agent = agent
        self.offset = 0.0

    def __getattr__(self, name: str):
        return getattr(self.agent, name)

    def datagram_received(self, socket, data, address, now):
        return self.agent.datagram_received(socket, data, address, now + self.offset)

    def handle_timer(self, now):
        # adding and taking away an offset may lose the last bit
        self.agent.handle_timer(now + self.offset + 1e-9)

    def next_timer(self):
        at = self.agent.next_timer()
        return None if at is None else at - self.offset


def jumping_pair() -> tuple[IcePair, Jumping]:
    pair = ice_pair()
    agent = Jumping(pair.left.agent)
    pair.left.machine = agent  # type: ignore[assignment]
    return pair, agent


@pytest.mark.parametrize("step", [-0.001, -0.05, -1.0])
def test_time_that_goes_back_a_little(step):
    """A clock that is set back by up to a second, again and again: nothing raises, nothing is lost."""
    pair, agent = jumping_pair()
    pair.start()
    for _ in range(30):
        pair.sim.run_for(0.01)
        agent.offset += step / 10
        pair.sim.run_for(0.01)
        agent.offset -= step / 10
    pair.sim.run_for(1.0)
    agent.offset += step
    pair.sim.run_for(60)
    assert [each.state for each in pair.agents] == ["completed"] * 2
    assert all(each.rtt is None or each.rtt >= 0 for each in pair.left.agent.pairs)


def test_an_answer_that_comes_before_its_request_by_the_clock():
    """The clock goes back while a check is under way: the answer counts, and no round trip is negative."""
    script = scripted()
    script.meet()
    check = script.peer.next_check()
    script.agent.datagram_received(
        script.pair().socket, script.peer.build_answer(check), script.peer.address(), -0.25
    )
    assert script.pair().valid
    assert script.pair().rtt == 0.0


@pytest.mark.parametrize("step", [3.0, 12.0, 24.0])
def test_time_that_jumps_forward(step):
    """A clock that leaps ahead by less than the expiry of consent: silence may be told, but the session lives."""
    pair, agent = jumping_pair()
    pair.connect()
    pair.sim.run_for(1)
    agent.offset += step
    pair.sim.run_for(30)
    assert [each.state for each in pair.agents] == ["completed"] * 2


def test_time_that_jumps_while_connecting():
    pair, agent = jumping_pair()
    pair.start()
    pair.sim.run_for(0.01)
    agent.offset += 20
    pair.connect(limit=5)
    assert_settled(pair)


def test_timers_called_early_and_often_change_nothing():
    """handle_timer at any time, as often as anybody likes: the same packets at the same times."""
    quiet = ice_pair()
    quiet.connect()
    quiet.sim.run_for(60)
    busy = ice_pair()
    for number in range(600):
        for agent in busy.agents:
            busy.sim.call_at(number * 0.1, lambda agent=agent: agent.handle_timer(busy.sim.now))
    busy.connect()
    busy.sim.run_for(60)

    def packets(pair):
        return [(packet.sent_at, packet.source, packet.data) for packet in pair.sim.network.sent()]

    assert packets(busy) == packets(quiet)


def test_equal_seeds_give_equal_runs():
    """Replay: randomness and time are injected, so two runs agree packet for packet."""

    def story(seed):
        pair = ice_pair(seed=seed, left=TWO_LEFT, right=TWO_RIGHT, link=Link(loss=0.2, jitter=0.02))
        pair.connect(limit=39)
        pair.sim.run_for(30)
        return [
            (packet.sent_at, packet.source, packet.destination, packet.data)
            for packet in pair.sim.network.sent()
        ]

    assert story(5) == story(5)
    assert story(5) != story(6)


def test_a_long_life():
    """Two hours of consent checks: the state stays, and nothing grows."""
    pair = ice_pair(timeouts=Timeouts(consent_interval=5.0))
    pair.connect()
    pair.sim.run_for(60)
    entries = len(pair.left.agent.report(0).entries)
    timers = len(pair.left.agent._outbox.timers)
    pair.sim.run_for(2 * 3600)
    assert [agent.state for agent in pair.agents] == ["completed"] * 2
    assert len(pair.left.agent.report(0).entries) == entries
    assert len(pair.left.agent._outbox.timers) <= timers + 1
    assert len(pair.left.agent._session.transactions) <= 1
