"""The virtual network, driven by machines that do nothing but record."""

from __future__ import annotations

import pytest

from fasticePy.machine import Address, RootMachine
from fasticePy.sim import BindError, Box, Host, Link, Node, Packet, Simulation, SimulationError


class Recorder(RootMachine):
    """Takes everything as application data and remembers what came back as errors."""

    def __init__(self) -> None:
        super().__init__()
        self.received: list[tuple[float, bytes, Address]] = []
        self.errors: list[tuple[int, Address, str]] = []

    def datagram_received(self, socket: int, data: bytes, address: Address, now: float) -> bytes | None:
        self.received.append((now, data, address))
        return data

    def socket_error(self, socket: int, address: Address, reason: str, now: float) -> None:
        self.errors.append((socket, address, reason))

    def close(self, now: float) -> None:
        self._outbox.timers.clear()


def two(seed: int = 1, **options: object) -> tuple[Simulation, Node[Recorder], Node[Recorder]]:
    sim = Simulation(seed, **options)
    hosts = [
        sim.network.add_host(address, name=name) for name, address in (("a", "10.0.0.1"), ("b", "10.0.0.2"))
    ]
    first, second = (sim.add(host, Recorder()) for host in hosts)
    return sim, first, second


def numbered(node: Node[Recorder]) -> list[int]:
    return [int(received.data) for received in node.data]


def test_a_datagram_takes_the_latency_of_both_links():
    sim, a, b = two(link=Link(latency=0.01))
    b.host.downlink.latency = 0.04
    sender, receiver = a.bind(port=1000), b.bind(port=2000)
    a.send_from(sender, ("10.0.0.2", 2000), b"hello")
    sim.run_for(0.049)
    assert b.data == []
    sim.run_for(0.002)
    assert b.data == [(b"hello", receiver, ("10.0.0.1", 1000))]
    assert b.machine.received[0][0] == pytest.approx(0.05)
    assert sim.now == pytest.approx(0.051)


def test_ipv6_addresses_are_one_however_they_are_written():
    sim = Simulation()
    node = sim.add(sim.network.add_host("2001:DB8::0:1"), Recorder())
    assert node.host.addresses == ["2001:db8::1"]
    socket, other = node.bind("2001:db8:0::1", 5), node.bind(port=6)
    node.send_from(socket, ("2001:0db8::1", 6), b"x")
    sim.run_for(1)
    assert node.data == [(b"x", other, ("2001:db8::1", 5))]


def test_sockets_are_refused_as_an_operating_system_does():
    _sim, a, _b = two()
    a.bind("10.0.0.1", 1000)
    with pytest.raises(BindError, match="already in use"):
        a.bind("10.0.0.1", 1000)
    with pytest.raises(BindError, match="cannot assign"):
        a.bind("10.0.0.2", 1000)
    with pytest.raises(BindError, match="not an IP address"):
        a.bind("example.org", 1000)


def test_socket_numbers_are_unique_and_free_ports_differ():
    _sim, a, b = two()
    sockets = [node.bind() for node in (a, b) for _ in range(200)]
    assert len(set(sockets)) == 400
    ports = [a.address_of(socket)[1] for socket in sockets[:200]]
    assert len(set(ports)) == 200
    assert all(32768 <= port <= 60999 for port in ports)


def test_a_closed_socket_frees_its_port_and_hears_nothing():
    sim, a, b = two()
    sender, receiver = a.bind(), b.bind(port=2000)
    a.send_from(sender, ("10.0.0.2", 2000), b"x")
    b.host.close(receiver)
    b.host.close(receiver)
    assert b.host.sockets == []
    sim.run_for(1)
    assert b.data == []
    assert sim.network.count("closed port") == 1
    b.bind(port=2000)


def test_a_closed_socket_sends_nothing():
    sim, a, _b = two()
    socket = a.bind()
    a.host.close(socket)
    a.send_from(socket, ("10.0.0.2", 9), b"x")
    sim.run_for(1)
    assert a.machine.errors == [(socket, ("10.0.0.2", 9), "bad file descriptor")]
    assert len(sim.network.log) == 0


def test_a_host_runs_out_of_ports(monkeypatch):
    monkeypatch.setattr("fasticePy.sim.network.EPHEMERAL_PORTS", (40000, 40002))
    _sim, a, b = two()
    assert sorted(a.address_of(a.bind())[1] for _ in range(3)) == [40000, 40001, 40002]
    with pytest.raises(BindError, match="no free port"):
        a.bind()
    b.bind()


@pytest.mark.parametrize(("icmp", "errors"), [(False, []), (True, ["port unreachable"])])
def test_a_closed_port_is_reported_where_the_host_does_so(icmp, errors):
    sim, a, _b = two()
    sim.network.add_host("10.0.0.3", icmp=icmp)
    socket = a.bind()
    a.send_from(socket, ("10.0.0.3", 9), b"x")
    sim.run_for(1)
    assert [reason for _, _, reason in a.machine.errors] == errors
    assert all(entry[:2] == (socket, ("10.0.0.3", 9)) for entry in a.machine.errors)


def test_a_report_that_finds_no_socket_ends_there():
    sim, a, _b = two()
    a.host.icmp = True
    sim.network.add_host("10.0.0.3", icmp=True)
    socket = a.bind()
    a.send_from(socket, ("10.0.0.3", 9), b"x")
    sim.run_for(0.001)
    a.host.close(socket)
    sim.run_for(1)
    assert a.machine.errors == []
    assert len(sim.network.log) == 4  # sent, closed port, the report sent, closed port


@pytest.mark.parametrize(
    ("destination", "data", "reason"),
    [
        (("2001:db8::1", 9), b"", "address family"),
        (("10.0.0.2", 0), b"", "invalid port"),
        (("10.0.0.2", 70000), b"", "invalid port"),
        (("b.local", 9), b"", "not an IP address"),
        (("10.0.0.2", 9), bytes(65508), "too long"),
    ],
)
def test_what_cannot_be_sent_is_an_error_of_the_socket(destination, data, reason):
    sim, a, _b = two()
    socket = a.bind()
    a.send_from(socket, destination, data)
    assert a.machine.errors == []  # never within the call that sends
    sim.run_for(0)
    assert [(number, address) for number, address, _ in a.machine.errors] == [(socket, destination)]
    assert reason in a.machine.errors[0][2]
    assert len(sim.network.log) == 0


def test_an_address_that_is_gone_neither_sends_nor_receives():
    sim, a, b = two()
    left, right = a.bind(), b.bind(port=2000)
    a.send_from(left, ("10.0.0.2", 2000), b"under way")
    sim.run_for(0.006)
    b.host.remove_address("10.0.0.2")
    b.send_from(right, ("10.0.0.1", 1), b"x")
    a.send_from(left, ("10.0.0.2", 2000), b"too late")
    sim.run_for(1)
    assert b.data == []
    assert b.machine.errors == [(right, ("10.0.0.1", 1), "network is unreachable")]
    assert sim.network.count("no route") == 2
    b.host.add_address("10.0.0.2")
    a.send_from(left, ("10.0.0.2", 2000), b"back again")
    sim.run_for(1)
    assert [received.data for received in b.data] == [b"back again"]


def test_no_two_hosts_have_one_address():
    sim, _a, _b = two()
    with pytest.raises(SimulationError, match=r"10\.0\.0\.1"):
        sim.network.add_host("10.0.0.1")


def test_an_unknown_address_has_no_route():
    sim, a, _b = two()
    a.send_from(a.bind(), ("192.0.2.99", 9), b"x")
    sim.run_for(1)
    assert [entry.what for entry in sim.network.log] == ["sent", "no route"]


def stream(sim: Simulation, sender: Node[Recorder], receiver: Node[Recorder], count: int = 300) -> None:
    socket, target = sender.bind(), receiver.address_of(receiver.bind())
    for number in range(count):
        sim.call_at(number * 0.001, lambda n=number: sender.send_from(socket, target, str(n).encode()))


def test_loss_duplication_and_reordering_happen_and_are_logged():
    sim, a, b = two()
    b.host.set_link(loss=0.2, duplicate=0.2, reorder=0.2, jitter=0.003)
    stream(sim, a, b)
    sim.run_for(2)
    got = numbered(b)
    assert set(got) < set(range(300))
    assert len(got) > len(set(got))
    assert got != sorted(got)
    assert sim.network.count("lost") == 300 - len(set(got))
    assert sim.network.count("delivered") == len(got)
    assert sim.network.count("sent") == 300


def test_each_direction_of_a_link_has_conditions_of_its_own():
    sim, a, b = two()
    a.host.uplink.up = False
    left, right = a.bind(port=1000), b.bind(port=2000)
    a.send_from(left, ("10.0.0.2", 2000), b"to b")
    b.send_from(right, ("10.0.0.1", 1000), b"to a")
    sim.run_for(1)
    assert [received.data for received in a.data] == [b"to a"]
    assert b.data == []


def test_an_outage_passes_when_it_is_over():
    sim, a, b = two()
    stream(sim, a, b)
    sim.call_at(0.1, lambda: a.host.set_link(up=False))
    sim.call_at(0.2, lambda: a.host.set_link(up=True))
    sim.run_for(2)
    got = numbered(b)
    assert got == sorted(got)
    missing = sorted(set(range(300)) - set(got))
    assert missing == list(range(missing[0], missing[-1] + 1))
    assert 95 <= len(missing) <= 105


@pytest.mark.parametrize(
    ("direction", "to_b", "to_a"),
    [
        ("both", [0, 1, 4, 5], [0, 1, 4, 5]),
        ("up", [0, 1, 2, 3, 4, 5], [0, 1, 4, 5]),
        ("down", [0, 1, 4, 5], [0, 1, 2, 3, 4, 5]),
    ],
)
def test_an_outage_is_set_for_later_and_ends_by_itself(direction, to_b, to_a):
    sim, a, b = two()
    left, right = a.bind(port=1000), b.bind(port=2000)
    b.host.outage(1.5, 1.0, direction)
    b.host.outage(2.2, 1.0, direction)  # they overlap
    called_off = b.host.outage(4.0, 10.0, direction)
    for number in range(6):
        data = str(number).encode()
        sim.call_at(number + 0.0, lambda data=data: a.send_from(left, ("10.0.0.2", 2000), data))
        sim.call_at(number + 0.0, lambda data=data: b.send_from(right, ("10.0.0.1", 1000), data))
    sim.call_at(3.9, called_off)
    sim.run_for(10)
    assert (numbered(b), numbered(a)) == (to_b, to_a)
    assert b.host.uplink.up and b.host.downlink.up


def test_damaged_datagrams_arrive_and_are_logged():
    sim, a, b = two()
    b.host.set_link(corrupt=0.2)
    socket, target = a.bind(), b.address_of(b.bind())
    for number in range(200):
        sim.call_at(number * 0.001, lambda: a.send_from(socket, target, bytes(50)))
    sim.run_for(1)
    damage = [received.data for received in b.data if received.data != bytes(50)]
    assert len(b.data) == 200
    assert len(damage) == sim.network.count("corrupted") == 41
    assert {len(data) - data.count(0) for data in damage} == {1}


def test_a_slow_link_serialises_and_its_queue_is_bounded():
    """Datagrams of 972 bytes are 1000 with their headers: at 1 Mbit/s, 8 ms each; ten fit into the queue."""
    sim, a, b = two(link=Link(latency=0.0))
    a.host.uplink.rate, a.host.uplink.queue = 1e6, 10_500
    socket, target = a.bind(), b.address_of(b.bind())
    for _ in range(15):
        a.send_from(socket, target, bytes(972))
    sim.run_for(1)
    assert [received[0] for received in b.machine.received] == [
        pytest.approx(0.008 * n) for n in range(1, 11)
    ]
    assert sim.network.count("queue full") == 5
    a.host.outage(0.0, 1.0)
    sim.run_for(0)
    a.send_from(socket, target, bytes(972))
    assert sim.network.count("lost") == 1
    a.host.set_link(rate=0.0)
    sim.run_for(1)
    for _ in range(15):
        a.send_from(socket, target, bytes(972))
    sim.run_for(0.001)
    assert len(b.data) == 25


def test_headers_count_on_the_wire():
    v4, v6 = (Packet(1, (host, 1), (host, 2), b"abc", 0.0) for host in ("10.0.0.1", "2001:db8::1"))
    assert (v4.size, v6.size) == (31, 51)
    assert Packet(1, ("10.0.0.1", 1), ("10.0.0.1", 2), b"abc", 0.0, transport="tcp").size == 43


def test_interfaces_come_and_go_as_one_change_each():
    _sim, a, _b = two()
    told: list[tuple[str, ...]] = []
    a.host.on_addresses_changed.append(lambda: told.append(tuple(a.host.addresses)))
    a.host.interface_up("10.1.0.1", "2001:DB8::1", cost=50)
    assert a.host.costs == {"10.1.0.1": 50, "2001:db8::1": 50}
    a.host.interface_down("10.1.0.1", "2001:db8:0::1")
    a.host.remove_address("10.0.0.1")
    a.host.add_address("10.0.0.9")
    assert told == [
        ("10.0.0.1", "10.1.0.1", "2001:db8::1"),
        ("10.0.0.1",),
        (),
        ("10.0.0.9",),
    ]
    assert a.host.costs == {}


def test_filters_drop_what_they_pick_until_they_end():
    sim, a, b = two()
    stream(sim, a, b)
    end = sim.network.drop(lambda packet: int(packet.data) % 2 == 0)
    sim.call_at(0.1, end)
    sim.call_at(0.2, end)  # ending it again does nothing
    sim.run_for(2)
    got = numbered(b)
    assert [number for number in got if number < 99] == list(range(1, 99, 2))
    assert [number for number in got if number > 101] == list(range(102, 300))
    assert sim.network.count("dropped") == 300 - len(got)


def test_drop_between_works_in_one_direction():
    sim, a, b = two()
    end = sim.network.drop_between([a.host], [b.host])
    left, right = a.bind(port=1000), b.bind(port=2000)
    a.send_from(left, ("10.0.0.2", 2000), b"1")
    b.send_from(right, ("10.0.0.1", 1000), b"2")
    end()
    a.send_from(left, ("10.0.0.2", 2000), b"3")
    sim.run_for(1)
    assert (numbered(a), numbered(b)) == ([2], [3])


def test_the_log_tells_the_story():
    sim, a, b = two()
    stream(sim, a, b, 1)
    sim.run_for(1)
    sent, delivered = sim.network.story().splitlines()
    assert "a: sent #1 10.0.0.1:" in sent
    assert sent.endswith("1 bytes")
    assert delivered.strip().startswith("0.010000 b: delivered #1")
    assert [packet.data for packet in sim.network.sent(a.host)] == [b"0"]
    assert sim.network.sent(b.host) == []
    assert len(sim.network.sent()) == 1


class StaticNat(Box):
    """One inside address behind one outside address: the simplest box there is."""

    def __init__(self, sim: Simulation, outside: str, inside: str) -> None:
        super().__init__(sim.network, "nat", sim.network.backbone, Link())
        self.add_address(outside)
        self.inside_address = inside

    def outbound(self, packet: Packet) -> None:
        self.send(packet.translated(source=(self.addresses[0], packet.source[1])))

    def receive(self, packet: Packet) -> None:
        self.deliver(packet.translated(destination=(self.inside_address, packet.destination[1])))


@pytest.fixture
def behind() -> tuple[Simulation, Node[Recorder], Node[Recorder]]:
    sim = Simulation()
    box = StaticNat(sim, "198.51.100.1", "192.168.0.2")
    inner: Host = sim.network.add_host("192.168.0.2", segment=box.inside)
    outer = sim.network.add_host("203.0.113.1", icmp=True)
    return sim, sim.add(inner, Recorder()), sim.add(outer, Recorder())


def test_a_box_stands_between_host_and_backbone(behind):
    sim, inner, outer = behind
    inside, outside = inner.bind(port=1000), outer.bind(port=2000)
    inner.send_from(inside, ("203.0.113.1", 2000), b"out")
    sim.run_for(1)
    assert outer.data == [(b"out", outside, ("198.51.100.1", 1000))]
    outer.send_from(outside, ("198.51.100.1", 1000), b"in")
    sim.run_for(1)
    assert inner.data == [(b"in", inside, ("203.0.113.1", 2000))]


def test_icmp_errors_come_back_through_a_box(behind):
    sim, inner, _outer = behind
    inside = inner.bind()
    inner.send_from(inside, ("203.0.113.1", 9), b"x")
    sim.run_for(1)
    assert inner.machine.errors == [(inside, ("203.0.113.1", 9), "port unreachable")]


def test_a_box_is_asked_once_for_what_is_unknown_inside(behind):
    sim, _inner, outer = behind
    sim.network.backbone._stations["198.51.100.1"].inside_address = "192.168.0.99"
    outer.send_from(outer.bind(), ("198.51.100.1", 1), b"x")
    sim.run_for(1)
    assert sim.network.log[-1].what == "no route"
    assert sim.network.log[-1].where == "inside of nat"


def test_private_addresses_do_not_exist_outside(behind):
    sim, _inner, outer = behind
    outer.send_from(outer.bind(), ("192.168.0.2", 1), b"x")
    sim.run_for(1)
    assert [entry.what for entry in sim.network.log] == ["sent", "no route"]
