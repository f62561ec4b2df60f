"""TCP in the virtual network: handshakes, order, loss, ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasticePy.machine import Address
from fasticePy.sim import BindError, Box, Host, Link, Packet, Simulation
from fasticePy.sim import tcp as rules

A, B = "10.0.0.1", "10.0.0.2"
RTT = 0.02  # two links of 5 ms each way


class Owner:
    """Owns sockets and keeps what it is told."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.told: list[tuple[object, ...]] = []
        self.messages: list[bytes] = []
        self.times: list[float] = []
        self.socket = 0
        self.on_message: Callable[[], None] = lambda: None

    def listen(self, port: int) -> int:
        return self.host.listen(self.host.addresses[0], port, self)

    def connect(self, peer: Address, port: int = 0) -> int:
        self.socket = self.host.connect((self.host.addresses[0], port), peer, self)
        return self.socket

    def send(self, data: bytes) -> str:
        return self.host.send_from(self.socket, self.host.tcp.peer_of(self.socket), data)

    def connection_accepted(self, listener: int, socket: int, peer: Address, now: float) -> None:
        self.socket = socket
        self.told.append(("accepted", listener, socket, peer, round(now, 9)))

    def connection_opened(self, socket: int, address: Address, now: float) -> None:
        self.told.append(("opened", socket, address, round(now, 9)))

    def connection_failed(self, socket: int, reason: str, now: float) -> None:
        self.told.append(("failed", socket, reason, round(now, 9)))

    def connection_closed(self, socket: int, reason: str, now: float) -> None:
        self.told.append(("closed", socket, reason, round(now, 9)))

    def packet_received(self, socket: int, data: bytes, address: Address, now: float) -> None:
        assert socket == self.socket
        assert address == self.host.tcp.peer_of(socket)
        self.messages.append(data)
        self.times.append(round(now, 9))
        self.on_message()

    def error_received(self, socket: int, address: Address, reason: str, now: float) -> None:
        raise AssertionError(reason)


def two(seed: int = 1, link: Link | None = None) -> tuple[Simulation, Owner, Owner]:
    sim = Simulation(seed, link=link)
    return sim, *(Owner(sim.network.add_host(host, name=name)) for host, name in ((A, "a"), (B, "b")))


def joined(seed: int = 1, link: Link | None = None) -> tuple[Simulation, Owner, Owner]:
    """Two owners with a connection that both know of."""
    sim, a, b = two(seed)
    b.listen(80)
    a.connect((B, 80), 1000)
    sim.run_for(1.0)
    assert [told[0] for told in (*a.told, *b.told)] == ["opened", "accepted"]
    a.told.clear()
    b.told.clear()
    if link is not None:
        for owner in (a, b):
            owner.host.uplink, owner.host.downlink = link.copy(), link.copy()
    return sim, a, b


def flags(sim: Simulation, host: Host | None = None) -> list[str]:
    return [packet.flags for packet in sim.network.sent(host, "tcp")]


def test_a_connection_takes_one_round_trip():
    sim, a, b = two()
    listener = b.listen(80)
    socket = a.connect((B, 80))
    sim.run_for(1)
    address = a.host.address_of(socket)
    assert 32768 <= address[1] <= 60999
    assert a.told == [("opened", socket, address, RTT)]
    assert b.told == [("accepted", listener, b.socket, address, RTT * 1.5)]
    assert b.host.address_of(b.socket) == b.host.address_of(listener) == (B, 80)
    assert a.host.sockets == [socket]
    assert b.host.sockets == [listener, b.socket]
    assert flags(sim) == ["SYN", "SYN ACK", "ACK"]


def test_messages_go_both_ways_whole_and_with_the_latency_of_the_links():
    sim, a, b = joined()
    a.send(b"one")
    a.send(b"")
    b.send(bytes(65535))
    sim.run_for(1)
    assert b.messages == [b"one", b""]
    assert a.messages == [bytes(65535)]
    assert a.times == [1.01]
    assert b.times == [1.01, 1.01]


def test_segments_are_packets_of_their_own_kind():
    sim, a, _b = joined()
    a.send(b"hello")
    sim.run_for(1)
    assert sim.network.sent() == []
    assert [packet.data for packet in sim.network.sent(a.host, "tcp")] == [b"", b"", b"hello"]
    assert "a: sent #1 10.0.0.1:1000 > 10.0.0.2:80 tcp SYN 0 bytes" in sim.network.story()
    assert "b: delivered #4 10.0.0.1:1000 > 10.0.0.2:80 tcp PSH 5 bytes" in sim.network.story()


def test_udp_and_tcp_have_ports_of_their_own():
    sim, a, b = two()
    datagrams = b.host.bind(B, 80, b)
    listener = b.listen(80)
    assert b.host.sockets == [datagrams, listener]
    a.connect((B, 80))
    sim.run_for(1)
    assert [told[0] for told in a.told] == ["opened"]
    b.host.close(datagrams)
    assert b.host.sockets == [listener, b.socket]


def test_a_closed_port_refuses_after_one_round_trip():
    sim, a, _b = two()
    socket = a.connect((B, 80))
    sim.run_for(1)
    assert a.told == [("failed", socket, "connection refused", RTT)]
    assert flags(sim) == ["SYN", "RST"]
    assert a.host.sockets == []


@pytest.mark.parametrize("fault", ["link", "filter", "route"])
def test_silence_ends_in_a_timeout(fault):
    sim, a, b = two()
    b.listen(80)
    if fault == "link":
        b.host.set_link(up=False)
    if fault == "filter":
        sim.network.drop(lambda packet: packet.transport == "tcp" and packet.flags == "SYN ACK")
    socket = a.connect(("10.9.9.9" if fault == "route" else B, 80))
    sim.run_for(60)
    assert a.told == [("failed", socket, "connection timed out", rules.CONNECT_TIMEOUT)]
    syns = [packet.sent_at for packet in sim.network.sent(a.host, "tcp") if packet.flags == "SYN"]
    assert syns == [0, 1, 3, 7, 15]
    assert b.told == []
    assert b.host.sockets == [1]


def test_a_lost_syn_is_sent_again_after_a_second():
    sim, a, b = two()
    b.listen(80)
    sim.network.drop(lambda packet: packet.number == 1)
    socket = a.connect((B, 80), 1000)
    sim.run_for(5)
    assert a.told == [("opened", socket, (A, 1000), 1 + RTT)]


def test_a_syn_that_comes_twice_is_answered_twice():
    sim, a, b = two()
    b.listen(80)
    a.host.uplink.duplicate = 1.0
    sim.network.drop(lambda packet: packet.number == 2)
    socket = a.connect((B, 80), 1000)
    sim.run_for(0.5)
    assert a.told == [("opened", socket, (A, 1000), RTT)]
    assert flags(sim, b.host)[:2] == ["SYN ACK", "SYN ACK"]


def test_a_lost_last_ack_is_made_up_by_the_first_message():
    sim, a, b = two()
    listener = b.listen(80)
    sim.network.drop(lambda packet: packet.number == 3)
    a.connect((B, 80), 1000)
    sim.call_at(0.5, lambda: a.send(b"first"))
    sim.run_for(5)
    assert b.told == [("accepted", listener, b.socket, (A, 1000), 0.51)]
    assert b.messages == [b"first"]


def test_a_lost_last_ack_is_asked_for_again():
    sim, a, b = two()
    b.listen(80)
    sim.network.drop(lambda packet: packet.number == 3)
    a.connect((B, 80))
    sim.run_for(5)
    assert [told[4] for told in b.told] == [pytest.approx(1.03)]
    assert flags(sim) == ["SYN", "SYN ACK", "ACK", "SYN ACK", "ACK"]


def test_both_sides_may_connect_at_once():
    """RFC 9293 3.5, for 6544-7: each side connects from the port that the other one connects to."""
    sim, a, b = two()
    left, right = a.connect((B, 80), 1000), b.connect((A, 1000), 80)
    sim.run_for(1)
    assert a.told == [("opened", left, (A, 1000), RTT)]
    assert b.told == [("opened", right, (B, 80), RTT)]
    a.send(b"from a")
    b.send(b"from b")
    sim.run_for(1)
    assert (a.messages, b.messages) == ([b"from b"], [b"from a"])


@pytest.mark.parametrize("later", [0.0, 0.004, 0.0099])
@pytest.mark.parametrize("lost", range(1, 7))
def test_a_simultaneous_open_survives_any_lost_segment(later, lost):
    sim, a, b = two()
    sim.network.drop(lambda packet: packet.number == lost)
    a.connect((B, 80), 1000)
    sim.call_at(later, lambda: b.connect((A, 1000), 80))
    sim.run_for(5)
    assert [told[0] for told in a.told] == [told[0] for told in b.told] == ["opened"]
    a.send(b"from a")
    b.send(b"from b")
    sim.run_for(1)
    assert (a.messages, b.messages) == ([b"from b"], [b"from a"])


def test_who_is_late_for_a_simultaneous_open_is_refused_or_has_a_connection_already():
    sim, a, b = two()
    socket = a.connect((B, 80), 1000)
    sim.call_at(0.5, lambda: b.connect((A, 1000), 80))
    sim.run_for(1)
    assert a.told == [("failed", socket, "connection refused", RTT)]
    assert [told[2] for told in b.told] == ["connection refused"]
    b.listen(80)
    a.connect((B, 80), 1000)
    sim.run_for(1)
    with pytest.raises(BindError, match="cannot assign"):
        b.connect((A, 1000), 80)


def test_connections_leave_from_the_port_of_a_listener_too():
    sim, a, b = two()
    a.listen(1000)
    b.listen(80)
    b.listen(81)
    for port in (80, 81):
        a.connect((B, port), 1000)
    sim.run_for(1)
    assert [told[2] for told in a.told] == [(A, 1000), (A, 1000)]
    assert [told[3] for told in b.told] == [(A, 1000), (A, 1000)]


@pytest.mark.parametrize(
    ("base", "peer", "reason"),
    [
        ((B, 0), (B, 80), "cannot assign"),
        (("nowhere", 0), (B, 80), "not an IP address"),
        ((A, 0), ("nowhere", 80), "not an IP address"),
        ((A, 0), ("2001:db8::1", 80), "address family"),
        ((A, 0), (B, 0), "invalid port"),
        ((A, 80), (A, 80), "cannot assign"),
    ],
)
def test_what_no_operating_system_connects(base, peer, reason):
    sim, a, _b = two()
    with pytest.raises(BindError, match=reason):
        a.host.connect(base, peer, a)
    assert a.host.sockets == []
    assert len(sim.network.log) == 0


def test_ports_are_taken_or_run_out(monkeypatch):
    monkeypatch.setattr("fasticePy.sim.network.EPHEMERAL_PORTS", (40000, 40001))
    _sim, a, b = two()
    a.listen(80)
    with pytest.raises(BindError, match="already in use"):
        a.listen(80)
    a.listen(0)
    a.connect((B, 80))
    with pytest.raises(BindError, match="no free port"):
        a.connect((B, 81))
    b.listen(0)


def test_what_cannot_be_sent(monkeypatch):
    monkeypatch.setattr(rules, "MAX_UNSENT", 2)
    monkeypatch.setattr(rules, "WINDOW", 3)
    _sim, a, b = two()
    listener = b.listen(80)
    socket = a.connect((B, 80))
    assert "not connected" in a.send(b"too early")
    assert "not connected" in b.host.send_from(listener, (A, 1), b"x")
    _sim, a, b = joined()
    assert "too long" in a.send(bytes(65536))
    assert "already connected" in a.host.send_from(a.socket, (B, 81), b"x")
    assert "not an IP address" in a.host.send_from(a.socket, ("nowhere", 81), b"x")
    assert [a.send(b"x") for _ in range(6)] == [""] * 5 + ["resource temporarily unavailable"]
    a.host.close(a.socket)
    assert a.host.send_from(socket, (B, 80), b"x") == "bad file descriptor"


def test_more_than_a_window_waits_for_acknowledgements():
    sim, a, b = joined()
    for number in range(rules.WINDOW * 2 + 1):
        a.send(str(number).encode())
    sim.run_for(1)
    assert b.messages == [str(number).encode() for number in range(rules.WINDOW * 2 + 1)]
    assert [b.times.count(at) for at in (1.01, 1.03, 1.05)] == [rules.WINDOW, rules.WINDOW, 1]


def test_a_lost_message_holds_the_window():
    sim, a, b = joined()
    end = sim.network.drop(lambda packet: packet.data == b"0")
    for number in range(rules.WINDOW * 2):
        a.send(str(number).encode())
    sim.run_for(0.2)
    assert flags(sim, a.host).count("PSH") == rules.WINDOW
    assert b.messages == []
    end()
    sim.run_for(5)
    assert b.messages == [str(number).encode() for number in range(rules.WINDOW * 2)]


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_lost_message_comes_later_and_those_behind_it_wait(times):
    sim, a, b = joined()
    left = [times]

    def drop(packet: Packet) -> bool:
        if packet.data == b"0" and left[0]:
            left[0] -= 1
            return True
        return False

    sim.network.drop(drop)
    for number in range(3):
        a.send(str(number).encode())
    sim.run_for(10)
    rto = RTT + rules.RTO_MARGIN
    assert b.messages == [b"0", b"1", b"2"]
    assert b.times == [pytest.approx(1.01 + rto * (2**times - 1))] * 3


def test_a_lost_acknowledgement_repeats_nothing_to_the_owner():
    sim, a, b = joined()
    acks = [packet for packet in sim.network.sent(b.host, "tcp") if packet.flags == "ACK"]
    assert acks == []
    end = sim.network.drop(lambda packet: packet.flags == "ACK")
    a.send(b"once")
    sim.run_for(0.5)
    end()
    sim.run_for(5)
    assert b.messages == [b"once"]
    assert flags(sim, a.host) == ["SYN", "ACK", "PSH", "PSH", "PSH"]
    assert flags(sim, b.host) == ["SYN ACK", "ACK", "ACK", "ACK"]


def test_damage_is_noticed_and_made_up_for():
    sim, a, b = joined()
    a.host.uplink.corrupt = 1.0
    a.send(b"hello")
    sim.call_at(1.1, lambda: a.host.set_link(corrupt=0.0))
    sim.run_for(5)
    assert b.messages == [b"hello"]
    assert sim.network.count("corrupted") == 1


def test_the_first_timeout_follows_the_round_trip_of_slow_links():
    sim, a, b = two(link=Link(latency=0.4))
    b.listen(80)
    a.connect((B, 80))
    sim.run_for(10)
    a.send(b"slow")
    sim.run_for(10)
    assert flags(sim).count("PSH") == 1  # it takes 1.6 s, longer than a SYN waits


def test_close_is_told_after_all_that_was_sent_before():
    sim, a, b = joined()
    sim.network.drop(lambda packet: packet.data == b"2" and packet.sent_at < 1.1)
    for number in range(4):
        a.send(str(number).encode())
    a.host.close(a.socket)
    a.host.close(a.socket)
    assert a.host.sockets == []
    sim.run_for(5)
    assert b.messages == [b"0", b"1", b"2", b"3"]
    assert b.told == [("closed", b.socket, "closed by the peer", pytest.approx(1.23))]
    assert a.told == []
    assert b.host.sockets == [1]


def test_both_may_close_at_once():
    sim, a, b = joined()
    a.send(b"last of a")
    a.host.close(a.socket)
    b.send(b"last of b")
    b.host.close(b.socket)
    sim.run_for(60)
    assert (a.told, b.told) == ([], [])
    assert "RST" in flags(sim)  # nobody was left to read


def test_silent_ends_that_close_at_once_part_without_a_reset():
    sim, a, b = joined()
    a.host.close(a.socket)
    b.host.close(b.socket)
    sim.run_for(60)
    assert (a.told, b.told) == ([], [])
    assert flags(sim)[3:] == ["FIN", "FIN", "ACK", "ACK"]
    assert not a.host.tcp._connections and not b.host.tcp._connections


def test_a_message_for_nobody_is_answered_by_a_reset():
    sim, a, b = joined()
    sim.call_at(1.0, lambda: a.host.close(a.socket))
    sim.call_at(1.005, lambda: b.send(b"too late"))
    sim.run_for(5)
    assert b.told == [("closed", b.socket, "closed by the peer", 1.01)]
    assert not a.host.tcp._connections


def test_a_reset_is_told_and_loses_what_is_under_way():
    sim, a, b = joined()
    b.send(b"never read")
    a.host.abort(a.socket)
    sim.run_for(5)
    assert b.told == [("closed", b.socket, "connection reset by peer", 1.01)]
    assert a.told == []
    assert a.messages == []


def test_what_is_given_up_before_it_is_open_vanishes_on_both_sides():
    sim, a, b = two()
    b.listen(80)
    socket = a.connect((B, 80))
    sim.run_for(0.001)
    a.host.close(socket)
    sim.run_for(5)
    assert (a.told, b.told) == ([], [])
    assert flags(sim) == ["SYN", "SYN ACK", "RST"]
    assert not b.host.tcp._connections
    other = Owner(sim.network.add_host("10.0.0.3"))
    left, _right = a.connect(("10.0.0.3", 5), 6), other.connect((A, 6), 5)
    sim.run_for(0.015)  # half open: its SYN has come
    a.host.abort(left)
    sim.run_for(5)
    assert a.told == []
    assert [told[0] for told in other.told] == ["opened", "closed"]


def test_a_listener_that_closes_takes_its_half_open_connections_along():
    sim, a, b = two()
    listener = b.listen(80)
    socket = a.connect((B, 80))
    sim.run_for(0.015)
    b.host.close(listener)
    sim.run_for(5)
    assert a.told == [
        ("opened", socket, a.told[0][2], RTT),
        ("closed", socket, "connection reset by peer", pytest.approx(0.025)),
    ]
    assert b.told == []
    sim, a, b = joined()
    b.host.abort(1)
    assert a.host.sockets and b.host.sockets == [b.socket]
    a.send(b"still open")
    sim.run_for(1)
    assert b.messages == [b"still open"]


def test_half_open_connections_are_bounded(monkeypatch):
    monkeypatch.setattr(rules, "BACKLOG", 3)
    sim, a, b = two()
    b.listen(80)
    sim.network.drop(lambda packet: packet.flags == "SYN ACK")
    for _ in range(5):
        a.connect((B, 80))
    sim.run_for(0.5)
    assert sim.network.count("backlog full") == 2
    assert len(b.host.tcp._connections) == 3
    sim.run_for(60)
    assert not b.host.tcp._connections


@pytest.mark.parametrize(("seconds", "survives"), [(20.0, True), (40.0, False)])
def test_an_outage_is_survived_when_it_is_short_enough(seconds, survives):
    sim, a, b = joined()
    a.host.outage(0.0, seconds)
    sim.call_at(1.5, lambda: a.send(b"during"))
    sim.run_for(100)
    assert b.messages == ([b"during"] if survives else [])
    if survives:
        assert a.told == []
    else:
        assert a.told == [("closed", a.socket, "connection timed out", 1.5 + rules.USER_TIMEOUT)]
    assert b.told == []  # who sends nothing notices nothing


def test_who_gives_up_tells_the_other_side():
    sim, a, b = joined()
    sim.network.drop_between([b.host], [a.host])
    a.send(b"heard, but not acknowledged")
    sim.run_for(60)
    assert a.told == [("closed", a.socket, "connection timed out", 31.0)]
    assert b.told == [("closed", b.socket, "connection reset by peer", 31.01)]


def test_the_address_of_a_connection_goes_away():
    sim, a, b = joined()
    a.host.add_address("10.0.0.9")
    a.host.interface_down(A)
    sim.run_for(0)
    assert a.told == [("closed", a.socket, "network is unreachable", 1.0)]
    assert a.host.sockets == []
    b.send(b"where are you")
    sim.run_for(100)
    assert b.told == [("closed", b.socket, "connection timed out", 1.0 + rules.USER_TIMEOUT)]
    a.told.clear()
    a.host.add_address(A)
    socket = a.host.connect((A, 0), (B, 80), a)
    a.host.remove_address(A)
    sim.run_for(0)
    assert a.told == [("failed", socket, "network is unreachable", 101.0)]


def test_nothing_is_sent_from_an_address_that_is_gone():
    sim, a, b = joined()
    sent = len(flags(sim))
    a.host.remove_address(A)
    a.host.close(a.socket)
    sim.run_for(60)
    assert len(flags(sim)) == sent
    assert (a.told, b.told) == ([], [])


def test_a_connection_is_not_mistaken_for_an_earlier_one_between_the_same_ports():
    """RFC 9293 3.10.7.4: a SYN that comes out of the blue is challenged, and the old connection reset."""
    sim, a, b = joined()
    first = b.socket
    sim.network.drop(lambda packet: packet.flags == "RST" and packet.sent_at == 1.0)
    a.host.abort(a.socket)
    socket = a.connect((B, 80), 1000)
    sim.run_for(5)
    assert b.told[0] == ("closed", first, "connection reset by peer", 1.03)
    assert b.told[1][0] == "accepted"
    assert a.told == [("opened", socket, (A, 1000), 2.02)]
    a.send(b"new")
    sim.run_for(1)
    assert b.messages == [b"new"]


def test_a_late_syn_opens_no_second_connection_in_place_of_the_first():
    """RFC 9293 3.10.7.4: the SYN ACK that it gets is for a connection that its sender has already."""
    sim, a, b = joined()
    (syn,) = [packet for packet in sim.network.sent(a.host, "tcp") if packet.flags == "SYN"]
    end = sim.network.drop(lambda packet: packet.flags == "RST")
    b.host.abort(b.socket)
    end()
    a.host.send(syn)
    sim.run_for(60)
    assert b.told == []
    assert [told[2:] for told in a.told] == [("connection reset by peer", 1.04)]
    assert not b.host.tcp._connections


def test_late_segments_of_an_earlier_connection_do_no_harm():
    sim, a, b = joined()
    a.send(b"old")
    sim.run_for(0.5)
    (old,) = [packet for packet in sim.network.sent(a.host, "tcp") if packet.data]
    a.host.close(a.socket)
    b.host.close(b.socket)
    sim.run_for(1)
    socket = a.connect((B, 80), 1000)
    sim.call_later(0.001, lambda: a.host.send(old))
    sim.call_later(0.5, lambda: a.host.send(old))
    sim.run_for(5)
    assert a.told == [("opened", socket, (A, 1000), 2.52)]
    assert b.told == [("accepted", 1, b.socket, (A, 1000), 2.53)]
    a.send(b"new")
    sim.run_for(1)
    assert b.messages == [b"old", b"new"]


def test_a_late_reset_of_an_earlier_connection_does_no_harm():
    sim, a, b = joined()
    b.host.abort(b.socket)
    sim.run_for(1)
    (old,) = [packet for packet in sim.network.sent(b.host, "tcp") if packet.flags == "RST"]
    a.connect((B, 80), 1000)
    sim.call_later(0.001, lambda: b.host.send(old))
    sim.call_later(0.5, lambda: b.host.send(old))
    sim.run_for(5)
    assert [told[0] for told in a.told] == ["closed", "opened"]
    assert a.host.sockets == [a.socket]


class Nat(Box):
    """Shows one inside host with other ports outside."""

    def __init__(self, sim: Simulation) -> None:
        super().__init__(sim.network, "nat", sim.network.backbone, Link())
        self.add_address("198.51.100.1")
        self.refuses = False

    def outbound(self, packet: Packet) -> None:
        if self.refuses:
            back = packet.translated(source=packet.destination, destination=packet.source)
            self.deliver(replace(back, error="administratively prohibited"))
            return
        self.send(packet.translated(source=("198.51.100.1", packet.source[1] + 1)))

    def receive(self, packet: Packet) -> None:
        self.deliver(packet.translated(destination=("192.168.0.2", packet.destination[1] - 1)))


@pytest.fixture
def behind() -> tuple[Simulation, Nat, Owner, Owner]:
    sim = Simulation()
    box = Nat(sim)
    inner = Owner(sim.network.add_host("192.168.0.2", segment=box.inside))
    return sim, box, inner, Owner(sim.network.add_host("203.0.113.1"))


def test_boxes_translate_segments_as_datagrams(behind):
    sim, _box, inner, outer = behind
    outer.listen(80)
    inner.connect(("203.0.113.1", 80), 1000)
    sim.run_for(1)
    assert outer.told[0][3] == ("198.51.100.1", 1001)
    outer.send(b"in")
    inner.send(b"out")
    sim.run_for(1)
    assert (inner.messages, outer.messages) == ([b"in"], [b"out"])
    outer.host.abort(outer.socket)
    sim.run_for(1)
    assert inner.told[1][2] == "connection reset by peer"


def test_an_icmp_error_ends_an_attempt_and_nothing_else(behind):
    """RFC 1122 4.2.3.9: only who is still connecting gives up."""
    sim, box, inner, outer = behind
    outer.listen(80)
    inner.connect(("203.0.113.1", 80), 1000)
    sim.run_for(1)
    box.refuses = True
    inner.send(b"patience")
    socket = inner.host.connect(("192.168.0.2", 0), ("203.0.113.1", 81), inner)
    sim.run_for(0.3)
    assert inner.told[1:] == [("failed", socket, "administratively prohibited", 1.01)]
    inner.listen(2000)
    socket = inner.host.connect(("192.168.0.2", 2000), ("203.0.113.1", 82), inner)
    inner.host.close(socket)  # the error finds nobody but a listener
    sim.run_for(0.3)
    assert len(inner.told) == 2
    box.refuses = False
    sim.run_for(5)
    assert outer.messages == [b"patience"]


LINKS = st.builds(
    Link,
    latency=st.sampled_from([0.0, 0.005, 0.3]),
    jitter=st.sampled_from([0.0, 0.1]),
    loss=st.sampled_from([0.0, 0.1, 0.3, 0.6]),
    duplicate=st.sampled_from([0.0, 0.3]),
    reorder=st.sampled_from([0.0, 0.3]),
    reorder_delay=st.sampled_from([0.02, 1.0]),
    burst=st.sampled_from([0.0, 3.0]),
    corrupt=st.sampled_from([0.0, 0.1]),
    rate=st.sampled_from([0.0, 100_000.0]),
    queue=st.just(2000),
)


def exchange(seed: int, link: Link, counts: tuple[int, int], closes: bool) -> tuple[Simulation, Owner, Owner]:
    """Both send so many messages; the one that accepted closes after its last one."""
    sim, a, b = joined(seed, link)
    for owner, count in ((a, counts[0]), (b, counts[1])):
        for number in range(count):
            sim.call_later(number * 0.05, lambda owner=owner, number=number: say(owner, number))
    if closes:
        sim.call_later(counts[1] * 0.05, lambda: b.host.close(b.socket))
    sim.run_for(300)
    return sim, a, b


def say(owner: Owner, number: int) -> None:
    if owner.socket in owner.host.sockets:
        assert owner.send(str(number).encode()) == ""


def is_prefix(messages: list[bytes], count: int) -> bool:
    return messages == [str(number).encode() for number in range(len(messages))] and len(messages) <= count


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    LINKS,
    st.tuples(st.integers(0, 40), st.integers(0, 40)),
    st.booleans(),
    st.booleans(),
)
def test_whatever_the_links_do_messages_come_in_order_and_whole_or_the_end_is_told(
    seed, link, counts, closes, one_way
):
    _sim, a, b = exchange(seed, link, (0 if one_way else counts[0], counts[1]), closes)
    assert is_prefix(b.messages, counts[0])
    assert is_prefix(a.messages, counts[1])
    ended = [told[2] for told in a.told]
    if closes and one_way and ended == ["closed by the peer"]:
        assert len(a.messages) == counts[1]
    if not closes and not a.told and not b.told:
        assert (len(b.messages), len(a.messages)) == ((0 if one_way else counts[0]), counts[1])
        assert len(a.host.sockets) == 1
    left = [connection for owner in (a, b) for connection in owner.host.tcp._connections.values()]
    assert all(connection.state == "open" and not connection._flying for connection in left)
    assert len(left) < 2 or not any(connection._early for connection in left)
    assert all(len(owner.told) <= 1 for owner in (a, b))


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(4, 60)), st.integers(1, 25))
def test_any_pattern_of_lost_segments_is_made_up_for(lost, count):
    sim, a, b = joined()
    sim.network.drop(lambda packet: packet.number in lost)
    for number in range(count):
        a.send(str(number).encode())
    a.host.close(a.socket)
    sim.run_for(120)
    if b.told and b.told[0][2] == "closed by the peer":
        assert b.messages == [str(number).encode() for number in range(count)]
    else:
        assert is_prefix(b.messages, count)
        assert lost  # or it would not have come to this
    assert len(b.told) <= 1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), LINKS)
def test_equal_seeds_give_equal_runs(seed, link):
    first, second = (exchange(seed, link, (20, 20), True) for _ in range(2))
    assert first[0].network.log == second[0].network.log
    assert first[1].told == second[1].told


def test_a_connection_costs_a_run_of_datagrams_no_randomness():
    """What is sent by UDP meets the same fate whether there is TCP beside it or not: TCP draws only for its own
    ports and its own packets' faults."""
    fates = []
    for beside in (False, True):
        sim, a, b = two()
        if beside:
            b.listen(80)
            a.connect((B, 80), 1000)
        sim.run_for(1)
        a.host.set_link(loss=0.5)
        sender = a.host.bind(A, 5, a)
        for number in range(100):
            a.host.send_from(sender, (B, 6), str(number).encode())
        sim.run_for(1)
        fates.append(
            [entry.packet.data for entry in sim.network.log if entry.what == "lost" and entry.packet.data]
        )
    assert fates[0] == fates[1]
    assert len(fates[0]) > 30
