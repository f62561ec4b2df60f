"""Names of ours, in virtual time."""

from __future__ import annotations

import pytest
from mdns_wire import CHROMIUM_QUERY, GROUP4, GROUP6, answer, query, question

from fasticePy.machine import Address
from fasticePy.mdns import Limits, MdnsMachine, make_name
from fasticePy.mdns.codec import AAAA, ANY, A, AddressRecord, Message, Question, parse

NAME, NAME6 = "0b6ff4c5-b5ae-4c1b-9d5e-5f1f25e1b1a9.local", "1b6ff4c5-b5ae-4c1b-9d5e-5f1f25e1b1a9.local"
PEER = ("10.77.0.9", 5353)
RECORD, RECORD6 = AddressRecord(NAME, "10.77.0.1"), AddressRecord(NAME6, "2001:db8::1")
FROM_ETH0 = {"addresses": ["10.77.0.1", "2001:db8::1", "fe80::1%eth0"], "scope": "eth0"}


class Net:
    """A machine with both links of eth0: 1 is IPv4, 2 is IPv6."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.machine = MdnsMachine(limits=limits)
        self.now = 100.0
        self.machine.socket_opened(1, self.now, **FROM_ETH0)
        self.machine.socket_opened(2, self.now, ipv6=True, **FROM_ETH0)

    def publish(self, name: str = NAME, address: str = "10.77.0.1") -> None:
        assert self.machine.publish(name, address, self.now)

    def ask(self, *questions: bytes, source: Address = PEER, socket: int = 1, id: int = 0) -> None:
        assert self.machine.datagram_received(socket, query(*questions, id=id), source, self.now) is None

    def sent(self) -> list[tuple[int, Address, Message]]:
        return [(sent.socket, sent.address, parse(sent.data)) for sent in self.machine.take_transmits()]

    def answers(self) -> list[tuple[int, Address, tuple[AddressRecord, ...]]]:
        """Plain responses since the last call."""
        found = self.sent()
        for _, _, message in found:
            assert (message.response, message.questions, message.id) == (True, (), 0)
        return [(socket, address, message.records) for socket, address, message in found]

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while (at := self.machine.next_timer()) is not None and at <= end:
            self.now = at
            self.machine.handle_timer(at)
        self.now = end


def test_announced_at_once_and_after_a_second(rng) -> None:
    """mdns-1: announced without probing, TTL 120 s and the cache-flush bit, on the link that the address is on."""
    net = Net()
    name = make_name(rng)
    net.machine.socket_opened(3, net.now, addresses=["192.0.2.1"], scope="eth1")
    net.publish(name)
    announcement = (AddressRecord(name, "10.77.0.1", 120, True),)
    both = [(1, GROUP4, announcement), (2, GROUP6, announcement)]
    assert net.answers() == both
    net.run(0.999)
    assert net.answers() == []
    net.run(0.001)
    assert net.answers() == both
    assert net.machine.next_timer() is None


def test_the_bytes_of_an_announcement() -> None:
    net = Net()
    net.publish()
    assert net.machine.take_transmits()[0].data == answer(NAME, "10.77.0.1")


def test_each_address_has_its_own_name() -> None:
    """mdns-1: one name stands for one address; the same pair again is no mistake."""
    net = Net()
    net.publish(NAME)
    net.publish(NAME6, "2001:db8::1")
    net.sent()
    net.publish(NAME.upper())
    assert net.sent() == []
    with pytest.raises(ValueError, match="another address"):
        net.publish(NAME, "2001:db8::1")
    assert net.machine.published == 2


def test_published_even_when_nothing_can_be_sent() -> None:
    """mdns-1: no socket, no announcement; the name is ours all the same, and told when there is a socket."""
    machine = MdnsMachine()
    assert machine.publish(NAME, "10.77.0.1", 0.0)
    machine.handle_timer(5.0)
    assert machine.take_transmits() == []
    machine.socket_opened(1, 6.0, **FROM_ETH0)
    assert [parse(sent.data).records for sent in machine.take_transmits()] == [(RECORD,)]
    machine.socket_opened(2, 6.0, addresses=["192.0.2.1"])
    assert machine.take_transmits() == []


def test_an_address_that_no_interface_has_is_told_on_all() -> None:
    net = Net()
    net.machine.socket_opened(3, net.now, addresses=["192.0.2.1"], scope="eth1")
    net.publish(NAME, "203.0.113.1")
    assert [socket for socket, _, _ in net.answers()] == [1, 2, 3]


def test_questions_are_answered_to_all() -> None:
    net = Net()
    net.publish()
    net.publish(NAME6, "2001:db8::1")
    net.sent()
    net.ask(question(NAME, A))
    net.ask(question(NAME6, AAAA), socket=2, source=("fe80::9%eth0", 5353))
    net.ask(question(NAME.upper(), ANY))
    net.ask(question(NAME, A), question(NAME6, ANY), question(NAME, A))
    assert net.answers() == [
        (1, GROUP4, (RECORD,)),
        (2, GROUP6, (RECORD6,)),
        (1, GROUP4, (RECORD,)),
        (1, GROUP4, (RECORD, RECORD6)),
    ]


def test_the_question_that_chromium_asks() -> None:
    net = Net()
    name = "bff66135-4b2c-44fb-9968-b03bd812f3a2.local"
    net.publish(name)
    net.sent()
    assert net.machine.datagram_received(1, CHROMIUM_QUERY, PEER, net.now) is None
    assert net.answers() == [(1, GROUP4, (AddressRecord(name, "10.77.0.1"),))]


def test_who_wants_a_unicast_answer_gets_one() -> None:
    """mdns-4: the unicast-response bit."""
    net = Net()
    net.publish()
    net.publish(NAME6, "2001:db8::1")
    net.sent()
    net.ask(question(NAME, A, 0x8001), question(NAME6, AAAA))
    assert net.answers() == [(1, GROUP4, (RECORD6,)), (1, PEER, (RECORD,))]


def test_a_simple_resolver_gets_what_unicast_dns_would_give() -> None:
    """RFC 6762 6.7: the id and the question again, a short time to live, no cache-flush bit."""
    net = Net()
    net.publish()
    net.sent()
    source = ("10.77.0.9", 40000)
    net.ask(question(NAME, A), id=4711, source=source)
    record = AddressRecord(NAME, "10.77.0.1", 10, False)
    assert net.sent() == [(1, source, Message(True, (Question(NAME, A),), (record,), 4711))]


@pytest.mark.parametrize(
    "asked", [question(NAME6, A), question("printer.local", ANY), question(NAME, AAAA), question(NAME, 12)]
)
def test_no_answer_for_what_is_not_ours(asked: bytes) -> None:
    net = Net()
    net.publish()
    net.sent()
    net.ask(asked)
    assert net.sent() == []


def test_an_address_is_not_told_on_other_links() -> None:
    """RFC 6762 14: what is asked on one interface tells nothing about another."""
    net = Net()
    net.machine.socket_opened(3, net.now, addresses=["192.0.2.1"], scope="eth1")
    net.publish()
    net.sent()
    net.ask(question(NAME, A), socket=3)
    assert net.sent() == []
    assert net.machine.counters["drop.mdns.question-on-other-link"] == 1


def test_link_local_addresses_lose_their_scope() -> None:
    net = Net()
    net.publish(NAME, "FE80::1%eth0")
    assert {records[0].address for _, _, records in net.answers()} == {"fe80::1"}
    net.machine.resolve(1, NAME, net.now)
    assert net.machine.take_events()[0].addresses == ("fe80::1%eth0",)


def test_floods_of_questions_are_answered_sparingly() -> None:
    """So many in a row, then one a second; counted. Who asks for unicast answers cannot silence the others."""
    net = Net(Limits(answers=4, answers_per_second=1.0))
    net.publish()
    net.sent()
    for _ in range(100):
        net.ask(question(NAME, A, 0x8001))
    assert len(net.sent()) == 4
    assert net.machine.counters["drop.mdns.answer-rate"] == 96
    for _ in range(100):
        net.ask(question(NAME, A))
    assert len(net.sent()) == 4
    net.ask(question(NAME, A), socket=2)
    assert len(net.sent()) == 1
    for _ in range(10):
        net.run(1)
        net.ask(question(NAME, A))
        net.ask(question(NAME, A))
        assert len(net.answers()) == (1 if net.now > 101 else 3)  # with the second announcement


def test_withdrawing_says_goodbye() -> None:
    net = Net()
    net.publish()
    net.sent()
    net.machine.withdraw(NAME.upper(), net.now)
    goodbye = (AddressRecord(NAME, "10.77.0.1", 0),)
    assert net.answers() == [(1, GROUP4, goodbye), (2, GROUP6, goodbye)]
    net.machine.withdraw(NAME, net.now)
    net.run(2)  # no second announcement
    net.ask(question(NAME, A))
    assert (net.sent(), net.machine.published) == ([], 0)


def test_close_withdraws_everything_in_few_messages() -> None:
    net = Net()
    names = [f"00000000-0000-4000-8000-{number:012x}.local" for number in range(20)]
    for name in names:
        net.publish(name)
    net.sent()
    net.machine.close(net.now)
    sent = net.answers()
    assert [(socket, len(records)) for socket, _, records in sent] == [(1, 16), (1, 4), (2, 16), (2, 4)]
    assert [record.name for _, _, records in sent[:2] for record in records] == names
    assert {record.ttl for _, _, records in sent for record in records} == {0}
    assert net.machine.next_timer() is None
    net.ask(question(names[0], A))
    net.machine.handle_timer(net.now + 9)
    assert net.sent() == []


def test_messages_stay_small() -> None:
    net = Net()
    for number in range(40):
        net.publish(f"00000000-0000-4000-8000-{number:012x}.local", "2001:db8::1")
    net.machine.take_transmits()
    asked = [question(f"00000000-0000-4000-8000-{number:012x}.local", AAAA) for number in range(40)]
    net.ask(*asked)
    sizes = [len(sent.data) for sent in net.machine.take_transmits()]
    assert len(sizes) == 3
    assert max(sizes) < 1232


def test_too_many_names() -> None:
    net = Net(Limits(names=1))
    net.publish()
    assert not net.machine.publish(NAME6, "2001:db8::1", net.now)
    assert net.machine.counters["limit.mdns.names"] == 1


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("example.org", "10.77.0.1"),
        ("a.b.local", "10.77.0.1"),
        (NAME, "nowhere"),
        ("x" * 64 + ".local", "10.77.0.1"),
        ("a b.local", "10.77.0.1"),
    ],
)
def test_mistakes_of_the_caller(name: str, address: str) -> None:
    net = Net()
    with pytest.raises(ValueError, match=r"name|address"):
        net.machine.publish(name, address, net.now)
    assert net.machine.published == 0


def test_two_machines_find_each_other() -> None:
    """What one publishes the other resolves, over nothing but the bytes."""
    one, two = Net(), Net()
    one.publish(NAME, "10.77.0.1")
    one.machine.take_transmits()
    two.machine.resolve(1, NAME, two.now)
    for asked in two.machine.take_transmits():
        one.machine.datagram_received(asked.socket, asked.data, ("10.77.0.2", 5353), one.now)
    for answered in one.machine.take_transmits():
        two.machine.datagram_received(answered.socket, answered.data, ("10.77.0.1", 5353), two.now)
    assert [event.addresses for event in two.machine.take_events()] == [("10.77.0.1",)]
