"""Names of others, in virtual time."""

from __future__ import annotations

import pytest
from mdns_wire import (
    CHROMIUM_ANSWER,
    CHROMIUM_GOODBYE,
    CHROMIUM_NAME,
    CHROMIUM_UNSPECIFIED,
    CHROMIUM_UNSPECIFIED_NAME,
    FIREFOX_ANSWER,
    FIREFOX_NAME,
    GROUP4,
    GROUP6,
    address_record,
    answer,
    query,
    question,
    response,
)

from fasticePy.machine import Address
from fasticePy.mdns import Limits, MdnsMachine, NameFailed, NameResolved
from fasticePy.mdns.codec import AAAA, A, parse
from fasticePy.mdns.querier import OTHER_FAMILY_WAIT, RESOLVE_TIMEOUT

NAME = "0b6ff4c5-b5ae-4c1b-9d5e-5f1f25e1b1a9.local"
PEER = ("10.77.0.9", 5353)


def uuid_name(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012x}.local"


class Net:
    """A machine with one IPv4 link, number 1, and a clock."""

    def __init__(self, *, links: bool = True, limits: Limits | None = None, timeout: float = RESOLVE_TIMEOUT):
        self.machine = MdnsMachine(limits=limits, timeout=timeout)
        self.now = 100.0
        if links:
            assert self.machine.socket_opened(1, self.now, addresses=["10.77.0.1"], scope="eth0")

    def resolve(self, request: int = 7, name: str = NAME, **families: bool) -> None:
        self.machine.resolve(request, name, self.now, **families)

    def hear(self, data: bytes, source: Address = PEER, socket: int = 1) -> None:
        assert self.machine.datagram_received(socket, data, source, self.now) is None

    def sent(self) -> list[tuple[int, Address, int, bool]]:
        """Questions since the last call: socket, where to, type, unicast wanted."""
        found = []
        for transmit in self.machine.take_transmits():
            message = parse(transmit.data)
            assert (message.response, message.records, message.id) == (False, (), 0)
            assert len(message.questions) == 1  # Chromium passes over queries with more
            asked = message.questions[0]
            found.append((transmit.socket, transmit.address, asked.type, asked.unicast))
        return found

    def said(self) -> list[tuple[object, ...]]:
        """Events since the last call."""
        found: list[tuple[object, ...]] = []
        for event in self.machine.take_events():
            assert event.at == self.now
            if isinstance(event, NameResolved):
                found.append((event.request, event.addresses, event.final))
            else:
                assert isinstance(event, NameFailed)
                found.append((event.request, event.reason))
        return found

    def run(self, seconds: float) -> None:
        """Let time pass, in the machine's own steps."""
        end = self.now + seconds
        while (at := self.machine.next_timer()) is not None and at <= end:
            self.now = at
            self.machine.handle_timer(at)
        self.now = end


def test_the_schedule_of_queries() -> None:
    """mdns-4: A and AAAA are asked for at 0, 60, 250 ms, 1, 2 and 4 s, the second and fourth time with the
    unicast-response bit; after 8 s the name is given up, in words."""
    net = Net()
    start = net.now
    net.resolve()
    asked = [(0.0, net.sent())]
    while (at := net.machine.next_timer()) is not None:
        net.now = at
        net.machine.handle_timer(at)
        if sent := net.sent():
            asked.append((round(at - start, 6), sent))
    unicast = {0.06, 1.0}
    assert asked == [
        (time, [(1, GROUP4, A, time in unicast), (1, GROUP4, AAAA, time in unicast)])
        for time in (0.0, 0.06, 0.25, 1.0, 2.0, 4.0)
    ]
    assert net.now == start + RESOLVE_TIMEOUT
    assert net.said() == [(7, "nobody on the local network answered for this name within 8 s")]
    assert net.machine.resolving == 0


def test_with_a_longer_timeout_intervals_double() -> None:
    net = Net(timeout=40)
    net.resolve(ipv6=False)
    assert len(net.sent()) == 1
    start, times = net.now, []
    while (at := net.machine.next_timer()) is not None:
        net.now = at
        net.machine.handle_timer(at)
        times += [round(at - start, 6)] * len(net.sent())
    assert times == [0.06, 0.25, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0]


def test_every_link_is_asked() -> None:
    net = Net()
    net.machine.socket_opened(2, net.now, ipv6=True, addresses=["10.77.0.1"], scope="eth0")
    net.machine.socket_opened(3, net.now, ipv6=False)
    net.resolve(ipv6=False)
    assert net.sent() == [(1, GROUP4, A, False), (2, GROUP6, A, False), (3, GROUP4, A, False)]
    net.machine.socket_closed(2, net.now)
    net.run(0.06)
    assert net.sent() == [(1, GROUP4, A, True), (3, GROUP4, A, True)]


def test_chromium_is_answered_at_the_first_query() -> None:
    """mdns-4: the address of the answer with a compressed NSEC record."""
    net = Net()
    net.resolve(name=CHROMIUM_NAME.upper())
    net.sent()
    net.run(0.001)
    net.hear(CHROMIUM_ANSWER)
    assert net.said() == [(7, ("10.77.0.1",), False)]
    net.run(OTHER_FAMILY_WAIT)
    assert net.said() == [(7, (), True)]
    assert net.sent() == []  # nobody waits any more
    assert net.machine.next_timer() is None


def test_firefox_loses_the_first_query() -> None:
    """mdns-4: the second one, 60 ms later, is answered."""
    net = Net()
    net.resolve(name=FIREFOX_NAME, ipv6=False)
    net.sent()
    net.run(0.06)
    assert net.sent() == [(1, GROUP4, A, True)]
    net.hear(FIREFOX_ANSWER)
    assert net.said() == [(7, ("10.77.0.1",), True)]
    assert net.machine.next_timer() is None


def test_an_announcement_answers_without_a_question() -> None:
    """Passive listening: what was announced before is known, for as long as its time to live."""
    net = Net()
    net.hear(CHROMIUM_ANSWER)
    assert net.machine.cached == 1
    net.run(119)
    net.resolve(1, CHROMIUM_NAME)
    assert (net.said(), net.sent()) == ([(1, ("10.77.0.1",), True)], [])
    net.run(1)
    net.resolve(2, CHROMIUM_NAME)
    assert net.said() == []
    assert len(net.sent()) == 2
    net.hear(CHROMIUM_ANSWER)  # and what is announced later answers what is asked now
    assert net.said() == [(2, ("10.77.0.1",), False)]


def test_a_goodbye_is_believed() -> None:
    net = Net()
    net.hear(CHROMIUM_ANSWER)
    net.hear(CHROMIUM_GOODBYE)
    assert net.machine.cached == 0
    net.resolve(1, CHROMIUM_NAME)
    net.hear(CHROMIUM_GOODBYE)
    assert net.said() == []


def test_nothing_is_remembered_for_long_whatever_it_says() -> None:
    net = Net()
    net.hear(answer(NAME, "10.77.0.9", ttl=2**31 - 1))
    net.run(120)
    net.resolve()
    assert net.said() == []


def test_both_families_may_have_an_address() -> None:
    """mdns-5: one address of each family is not too many."""
    net = Net()
    net.resolve(1)
    net.hear(answer(NAME, "2001:db8::9", "10.77.0.9"))
    assert net.said() == [(1, ("10.77.0.9", "2001:db8::9"), True)]
    net = Net()
    net.resolve(1)
    net.resolve(2, ipv4=False)
    net.hear(answer(NAME, "10.77.0.9"))
    assert net.said() == [(1, ("10.77.0.9",), False)]
    net.run(0.02)
    net.hear(answer(NAME, "2001:db8::9"))
    assert net.said() == [(1, ("2001:db8::9",), True), (2, ("2001:db8::9",), True)]


@pytest.mark.parametrize(
    "data",
    [
        answer(NAME, "10.77.0.9", "10.77.0.8"),
        answer(NAME, "10.77.0.9", "2001:db8::9", "10.77.0.8"),
        response(address_record(NAME, "10.77.0.9"), additional=(address_record(NAME, "10.77.0.8"),)),
    ],
)
def test_more_than_one_address_is_none(data: bytes) -> None:
    """mdns-5: such a name is ignored, whether the answer comes before or after the question."""
    early, late = Net(), Net()
    early.hear(data)
    early.resolve()
    late.resolve()
    late.hear(data)
    for net in (early, late):
        assert net.said() == [(7, "the name has more than one address of a family, so none is used")]
        assert net.machine.counters["mdns.ambiguous"] == 1


def test_more_than_one_address_of_the_second_family() -> None:
    """mdns-5: the first family's address stands."""
    net = Net()
    net.resolve()
    net.hear(answer(NAME, "10.77.0.9"))
    net.hear(answer(NAME, "2001:db8::9", "2001:db8::8"))
    assert net.said() == [(7, ("10.77.0.9",), False), (7, (), True)]


def test_the_same_address_twice_is_one() -> None:
    net = Net()
    net.resolve(ipv6=False)
    net.hear(answer(NAME, "10.77.0.9", "10.77.0.9"))
    assert net.said() == [(7, ("10.77.0.9",), True)]


def test_a_new_address_takes_the_place_of_the_old_one() -> None:
    net = Net()
    net.hear(answer(NAME, "10.77.0.9"))
    net.run(1.5)
    net.hear(answer(NAME, "10.77.0.8"))  # with the cache-flush bit
    net.resolve()
    assert net.said() == [(7, ("10.77.0.8",), True)]


@pytest.mark.parametrize(
    ("address", "counter"),
    [
        ("0.0.0.0", "unspecified-address"),
        ("::", "unspecified-address"),
        ("127.0.0.1", "loopback-address"),
        ("127.9.9.9", "loopback-address"),
        ("::1", "loopback-address"),
        ("224.0.0.251", "multicast-address"),
        ("ff02::fb", "multicast-address"),
        ("255.255.255.255", "multicast-address"),
        ("::ffff:10.77.0.9", "mapped-address"),
    ],
)
def test_addresses_at_which_nobody_is(address: str, counter: str) -> None:
    net = Net()
    net.resolve()
    net.hear(answer(NAME, address))
    assert net.said() == []
    assert (net.machine.counters[f"drop.mdns.{counter}"], net.machine.cached) == (1, 0)
    net.hear(answer(NAME, address, "10.77.0.9"))
    assert net.said() == [(7, ("10.77.0.9",), False)]


def test_chromium_announces_unspecified_addresses() -> None:
    net = Net()
    net.resolve(name=CHROMIUM_UNSPECIFIED_NAME)
    net.hear(CHROMIUM_UNSPECIFIED)
    assert net.said() == []


def test_link_local_addresses_get_the_scope_of_the_link() -> None:
    net = Net()
    net.resolve(ipv4=False)
    net.hear(answer(NAME, "fe80::9"))
    assert net.said() == [(7, ("fe80::9%eth0",), True)]
    net = Net(links=False)
    net.machine.socket_opened(1, net.now)  # a link whose name nobody knows
    net.resolve(ipv4=False)
    net.hear(answer(NAME, "fe80::9"))
    assert net.said() == []
    assert net.machine.counters["drop.mdns.link-local-without-scope"] == 1
    net.hear(answer(NAME, "fe80::9"), ("fe80::9%eth3", 5353))
    assert net.said() == [(7, ("fe80::9%eth3",), True)]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("printer.local", "only names that are a UUID and .local are resolved"),
        ("0b6ff4c5.local", "only names that are a UUID and .local are resolved"),
        ("example.org", "not a name of multicast DNS"),
        ("a.b.local", "not a name of multicast DNS"),
        ("", "not a name of multicast DNS"),
    ],
)
def test_other_names_are_not_asked_for(name: str, reason: str) -> None:
    """mdns-5: names that are no UUID belong to devices; nobody shall make us talk to them."""
    net = Net()
    net.hear(answer("printer.local", "10.77.0.9"))
    net.resolve(name=name)
    assert (net.said(), net.sent(), net.machine.cached) == ([(7, reason)], [], 0)


def test_one_name_asked_twice_shares_the_queries() -> None:
    net = Net()
    net.resolve(1, ipv6=False)
    net.run(0.1)
    assert len(net.sent()) == 2
    net.resolve(2, NAME.upper(), ipv6=False)
    assert net.sent() == []
    net.run(0.15)
    assert len(net.sent()) == 1
    net.hear(answer(NAME, "10.77.0.9"))
    assert net.said() == [(1, ("10.77.0.9",), True), (2, ("10.77.0.9",), True)]
    assert net.machine.next_timer() is None


def test_each_request_has_its_own_time() -> None:
    net = Net()
    net.resolve(1)
    net.run(5)
    net.resolve(2)
    net.run(3)
    assert [entry[0] for entry in net.said()] == [1]
    net.run(4.9)
    assert net.said() == []
    net.run(0.1)
    assert [entry[0] for entry in net.said()] == [2]


def test_cancelling() -> None:
    net = Net()
    net.resolve(1)
    net.resolve(2)
    net.sent()
    net.machine.cancel(1)
    net.machine.cancel(1)
    net.run(0.06)
    assert len(net.sent()) == 2
    net.machine.cancel(2)
    assert (net.machine.next_timer(), net.machine.resolving) == (None, 0)
    net.hear(answer(NAME, "10.77.0.9"))
    assert net.said() == []
    net.machine.cancel(99)


def test_a_number_in_use() -> None:
    net = Net()
    net.resolve(1)
    with pytest.raises(ValueError, match="request 1"):
        net.resolve(1, uuid_name(1))


def test_without_sockets_and_families() -> None:
    net = Net(links=False)
    net.resolve(1)
    net.resolve(2, ipv4=False, ipv6=False)
    assert net.said() == [(1, "no socket for multicast DNS is open"), (2, "no address family to ask for")]


def test_our_own_names_need_no_network() -> None:
    net = Net(links=False)
    net.machine.publish(NAME, "10.77.0.1", net.now)
    net.resolve(1)
    assert net.said() == [(1, ("10.77.0.1",), True)]
    assert net.sent() == []


def test_what_is_dropped() -> None:
    """RFC 6762 6, 11: a response comes from port 5353; a query says nothing about who has an address."""
    net = Net()
    net.resolve()
    net.hear(answer(NAME, "10.77.0.9"), ("10.77.0.9", 5354))
    net.hear(answer(NAME, "10.77.0.9"), socket=5)
    net.hear(b"GET / HTTP/1.1\r\n\r\n")
    net.hear(bytes(9001))
    net.hear(query(question(NAME, A)), ("10.77.0.9", 0))
    probe = bytearray(answer(NAME, "10.77.0.9"))
    probe[2] = 0  # a query that knows an answer
    net.hear(bytes(probe))
    assert net.said() == []
    assert net.machine.cached == 0
    assert {key: count for key, count in net.machine.counters.items() if key.startswith("drop.")} == {
        "drop.mdns.response-from-other-port": 1,
        "drop.mdns.unknown-socket": 1,
        "drop.mdns.malformed": 2,
        "drop.mdns.port-0": 1,
    }


def test_limits() -> None:
    """What others can make it hold is bounded."""
    net = Net(limits=Limits(requests=3, cached=5, sockets=2))
    for number in range(4):
        net.resolve(number, uuid_name(number))
    assert net.said() == [(3, "more than 3 names are being resolved")]
    assert net.machine.counters["limit.mdns.requests"] == 1
    for number in range(100, 150):
        net.hear(answer(uuid_name(number), *(f"10.77.1.{host}" for host in range(1, 100))))
        assert net.machine.cached <= 5
    net.resolve(50, uuid_name(149))
    assert "more than one" in str(net.said())
    assert net.machine.socket_opened(2, net.now)
    assert not net.machine.socket_opened(3, net.now)


def test_close_ends_what_is_under_way() -> None:
    """What has found nothing has failed, what has one family keeps it."""
    net = Net()
    net.resolve(1)
    net.resolve(2, uuid_name(2))
    net.hear(answer(uuid_name(2), "10.77.0.9"))
    net.said()
    net.machine.close(net.now)
    net.machine.close(net.now)
    assert net.said() == [(1, "closed"), (2, (), True)]
    assert net.machine.next_timer() is None
    net.sent()
    net.resolve(3)
    net.hear(answer(NAME, "10.77.0.9"))
    assert not net.machine.socket_opened(4, net.now)
    assert not net.machine.publish(NAME, "10.77.0.1", net.now)
    assert (net.said(), net.sent()) == ([], [])
