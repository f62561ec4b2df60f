"""The STUN client: by hand with one datagram at a time, and in virtual time against servers good and bad."""

from __future__ import annotations

import itertools
import os
import struct
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasticePy import stun
from fasticePy.machine import Address, RootMachine
from fasticePy.sim import Host, Link, Node, Simulation
from fasticePy.stun import (
    Attribute,
    IndicationReceived,
    Message,
    MessageBuilder,
    MessageClass,
    Method,
    RequestFailed,
    ResponseReceived,
    StunAgent,
    mapped_address,
)
from fasticePy.stun.requests import MAX_OUTSTANDING, MAX_RESENDS, SOFTWARE

SERVER = ("192.0.2.1", 3478)
KEY = stun.IntegrityKey.short_term("password")
OTHER_KEY = stun.IntegrityKey.short_term("guess")
XMA = (Attribute.XOR_MAPPED_ADDRESS, ("198.51.100.7", 7000))


def counting_rng() -> Callable[[int], bytes]:
    counter = itertools.count(1)
    return lambda n: next(counter).to_bytes(n, "big")


class Hand:
    """One agent with the time in a test's hands."""

    def __init__(self, **options: object) -> None:
        self.agent = StunAgent(counting_rng(), **options)
        self.events: list[object] = []

    def ask(self, now: float = 0.0, address: Address = SERVER, socket: int = 1, **options: object) -> int:
        return self.agent.request(socket, address, Method.BINDING, (), now, **options)

    def sent(self) -> list[bytes]:
        return [transmit.data for transmit in self.agent.take_transmits()]

    def ids(self) -> list[bytes]:
        return [data[8:20] for data in self.sent()]

    def receive(
        self, data: bytes, now: float = 0.1, address: Address = SERVER, socket: int = 1
    ) -> list[object]:
        assert self.agent.datagram_received(socket, data, address, now) is None
        return self.agent.take_events()

    def run_to(self, end: float) -> list[object]:
        """Run the timers that are due until `end` and give all events."""
        events = self.agent.take_events()
        while (at := self.agent.next_timer()) is not None and at <= end:
            self.agent.handle_timer(at)
            events += self.agent.take_events()
        return events


def response(
    id: bytes,
    *attributes: tuple[int, object],
    kind: int = MessageClass.SUCCESS,
    method: int = Method.BINDING,
    **build: object,
) -> bytes:
    builder = MessageBuilder(method, kind, id)
    for attribute, value in attributes:
        builder.add(attribute, value)
    return builder.build(**build)


def error(id: bytes, code: int, *attributes: tuple[int, object], **build: object) -> bytes:
    return response(id, (Attribute.ERROR_CODE, (code, "")), *attributes, kind=MessageClass.ERROR, **build)


# --- what goes out


def test_a_binding_request_and_its_answer():
    hand = Hand()
    number = hand.agent.binding(1, SERVER, 5.0)
    (transmit,) = hand.agent.take_transmits()
    assert (transmit.socket, transmit.address) == (1, SERVER)
    request = stun.parse(transmit.data)
    assert (request.method, request.message_class) == (Method.BINDING, MessageClass.REQUEST)
    (event,) = hand.receive(response(request.transaction_id, XMA), now=5.25)
    assert isinstance(event, ResponseReceived)
    assert (event.at, event.request, event.sends, event.rtt) == (5.25, number, 1, 0.25)
    assert (event.socket, event.address) == (1, SERVER)
    assert mapped_address(event.message) == ("198.51.100.7", 7000)
    assert hand.agent.next_timer() is None


def test_one_that_is_answered_late_has_no_round_trip_time():
    """8489-9: Karn: which send was answered is not known."""
    hand, id = one()
    hand.run_to(0.5)
    (event,) = hand.receive(response(id, XMA), now=0.6)
    assert (event.sends, event.rtt) == (2, None)


def test_software_is_named_unless_that_is_off():
    """8489-5: on by default, absent when off."""
    on, off, other = Hand(), Hand(software=None), Hand(software="something else")
    for hand in (on, off, other):
        hand.ask()
    assert stun.parse(on.sent()[0]).get(Attribute.SOFTWARE) == SOFTWARE
    assert Attribute.SOFTWARE not in stun.parse(off.sent()[0])
    assert stun.parse(other.sent()[0]).get(Attribute.SOFTWARE) == "something else"


def test_transaction_ids_are_all_96_bits_of_the_injected_source():
    """8489-3: one id is one draw of 12 bytes, used whole; without injection a builder asks the operating system."""
    draws: list[bytes] = []

    def rng(n: int) -> bytes:
        draws.append(os.urandom(n))
        return draws[-1]

    agent = StunAgent(rng)
    for number in range(50):
        agent.binding(1, ("192.0.2.1", 1000 + number), 0.0)
    agent.indicate(1, SERVER, Method.BINDING)
    assert [transmit.data[8:20] for transmit in agent.take_transmits()] == draws
    assert {len(draw) for draw in draws} == {12}
    ids = {MessageBuilder(Method.BINDING, MessageClass.REQUEST).transaction_id for _ in range(100_000)}
    assert len(ids) == 100_000


def test_seven_equal_sends_and_then_another_id():
    """8489-4, 8489-8: a retransmission is the same bytes, a new transaction has a new id; failure at 39.5 s."""
    hand = Hand()
    first = hand.ask(100.0)
    (event,) = hand.run_to(1000.0)
    assert isinstance(event, RequestFailed)
    assert (event.request, event.reason, event.sends, event.code) == (first, "timeout", 7, None)
    assert event.at == pytest.approx(139.5)
    assert "39.5" in event.detail
    sends = hand.sent()
    assert len(sends) == 7
    assert len(set(sends)) == 1
    hand.ask(200.0)
    assert hand.ids()[0] != sends[0][8:20]


def test_rc_and_rm_are_configurable():
    """8489-8."""
    hand = Hand(rc=2, rm=4)
    hand.ask()
    (event,) = hand.run_to(1000.0)
    assert event.at == 2.5
    assert event.sends == 2


def test_25_requests_to_one_server_go_ten_at_a_time():
    """8489-7: start 25: 10 on the wire, the rest queue; another server has a queue of its own."""
    hand = Hand()
    numbers = [hand.ask() for _ in range(25)]
    ids = hand.ids()
    assert len(ids) == MAX_OUTSTANDING == 10
    other = hand.ask(address=("192.0.2.2", 3478))
    assert len(hand.ids()) == 1
    ended: list[int] = []
    for answered in range(25):
        (event,) = hand.receive(response(ids[answered], XMA))
        ended.append(event.request)
        ids += hand.ids()
        assert len(ids) == min(25, 11 + answered)
    assert ended == numbers
    assert [event.request for event in hand.run_to(1000.0)] == [other]
    assert hand.agent._requester._servers == {}


def test_requests_that_cannot_be_encoded_are_the_callers_mistake():
    hand = Hand()
    with pytest.raises((TypeError, ValueError)):
        hand.agent.request(1, SERVER, Method.BINDING, [(Attribute.PRIORITY, "high")], 0.0)
    with pytest.raises((TypeError, ValueError)):
        hand.agent.indicate(1, SERVER, Method.BINDING, [(Attribute.PRIORITY, "high")])
    assert hand.sent() == []
    assert hand.run_to(100.0) == []


def test_a_request_carries_what_it_was_given_in_order():
    hand = Hand(software=None)
    attributes = [(Attribute.USERNAME, "a:b"), (Attribute.PRIORITY, 7), (Attribute.USE_CANDIDATE, None)]
    hand.agent.request(1, SERVER, Method.BINDING, attributes, 0.0, key=KEY, sha256=True, fingerprint=True)
    message = stun.parse(hand.sent()[0])
    assert [attribute for attribute, _ in message.attributes()] == [
        Attribute.USERNAME,
        Attribute.PRIORITY,
        Attribute.USE_CANDIDATE,
        Attribute.MESSAGE_INTEGRITY,
        Attribute.MESSAGE_INTEGRITY_SHA256,
        Attribute.FINGERPRINT,
    ]
    assert message.verify_integrity(KEY)
    assert message.verify_fingerprint()


# --- what comes back


def one(**options: object) -> tuple[Hand, bytes]:
    hand = Hand()
    hand.ask(**options)
    return hand, hand.ids()[0]


@pytest.mark.parametrize(
    ("address", "socket"),
    [(("192.0.2.1", 3479), 1), (("192.0.2.2", 3478), 1), (SERVER, 2)],
)
def test_answers_from_elsewhere_are_counted_and_dropped(address, socket):
    """RFC 8489 6.3.3, 8489-18: whoever saw the id cannot answer from another address, nor to another socket."""
    hand, id = one()
    assert hand.receive(response(id, XMA), address=address, socket=socket) == []
    assert hand.agent.counters == {"response from elsewhere": 1}
    assert len(hand.receive(response(id, XMA))) == 1


@pytest.mark.parametrize(
    ("spoil", "counter"),
    [
        (lambda id: response(bytes(12), XMA), "unknown transaction"),
        (lambda id: response(id, XMA, method=Method.ALLOCATE), "response of another method"),
        (lambda id: response(id, XMA, fingerprint=True)[:-1] + b"\0", "bad fingerprint"),
        (lambda id: response(id, XMA)[:-4], "malformed"),
        (lambda id: response(id, XMA, kind=MessageClass.REQUEST), "unexpected request"),
    ],
)
def test_what_fails_a_check_changes_nothing(spoil, counter):
    """8489-18: silence, and the request goes on."""
    hand, id = one()
    assert hand.receive(spoil(id)) == []
    assert hand.agent.counters == {counter: 1}
    assert hand.sent() == []
    (event,) = hand.receive(response(id, XMA, fingerprint=True))
    assert isinstance(event, ResponseReceived)


def test_checks_come_in_the_order_of_the_rfc():
    """8489-18: fingerprint, then authentication, then unknown attributes; only the last tells the application."""
    hand, id = one(key=KEY)
    bad_both = bytearray(response(id, XMA, (0x7777, b""), key=OTHER_KEY, fingerprint=True))
    bad_both[-1] ^= 1
    assert hand.receive(bytes(bad_both)) == []
    assert hand.agent.counters == {"bad fingerprint": 1}
    assert hand.receive(response(id, XMA, (0x7777, b""), key=OTHER_KEY, fingerprint=True)) == []
    assert hand.agent.counters["integrity violated"] == 1
    (event,) = hand.receive(response(id, XMA, (0x7777, b""), key=KEY, fingerprint=True))
    assert (event.reason, event.detail) == ("bad response", "unknown attributes 0x7777")


def test_a_second_answer_is_unknown():
    hand, id = one()
    assert len(hand.receive(response(id, XMA))) == 1
    assert hand.receive(response(id, XMA)) == []
    assert hand.agent.counters == {"unknown transaction": 1}


def test_optional_and_unexpected_attributes_are_ignored():
    """8489-19: 0x8FFF and LIFETIME in a Binding response."""
    hand, id = one()
    (event,) = hand.receive(response(id, XMA, (0x8FFF, b"x"), (Attribute.LIFETIME, 600)))
    assert isinstance(event, ResponseReceived)


def test_responses_that_cannot_be_used_fail_at_once():
    """8489-25: unknown required attribute; no mapped address; a mapped address of no known family."""
    hand, id = one()
    (event,) = hand.receive(response(id, XMA, (0x7777, b"")))
    assert (type(event), event.reason) == (RequestFailed, "bad response")
    assert event.message is not None

    hand, id = one()
    (event,) = hand.receive(response(id))
    assert (event.reason, event.detail) == ("bad response", "a Binding response without a mapped address")

    hand, id = one()
    strange = bytearray(response(id, XMA))
    strange[25] = 3  # the family
    (event,) = hand.receive(bytes(strange))
    assert (event.reason, event.detail) == ("bad response", "a Binding response without a mapped address")


def test_an_address_of_the_other_family_is_accepted():
    """8489-25: unexpected, but supported."""
    hand, id = one()
    (event,) = hand.receive(response(id, (Attribute.XOR_MAPPED_ADDRESS, ("2001:db8::1", 9))))
    assert mapped_address(event.message) == ("2001:db8::1", 9)


def test_a_server_of_rfc_3489_is_understood():
    """5389-2: an attribute-less request; MAPPED-ADDRESS counts, 0x0002, 0x0004, 0x0005 and 0x000B are ignored."""
    hand = Hand(software=None)
    hand.agent.binding(1, SERVER, 0.0)
    (request,) = hand.sent()
    assert len(request) == 20
    plain = response(request[8:20], (Attribute.MAPPED_ADDRESS, ("198.51.100.7", 7000)))
    legacy = b"".join(struct.pack("!HH8x", attribute, 8) for attribute in (0x0002, 0x0004, 0x0005, 0x000B))
    data = plain[:2] + struct.pack("!H", len(plain) - 20 + len(legacy)) + plain[4:] + legacy
    (event,) = hand.receive(data)
    assert mapped_address(event.message) == ("198.51.100.7", 7000)


@pytest.mark.parametrize("code", [300, 399, 400, 401, 420, 487, 499, 600, 699])
def test_errors_end_a_request_at_once(code):
    """8489-26: 3xx, 4xx and others fail."""
    hand, id = one()
    (event,) = hand.receive(error(id, code))
    assert (type(event), event.reason, event.code, event.sends) == (RequestFailed, "error response", code, 1)
    assert event.message.get(Attribute.ERROR_CODE) == (code, "")
    assert hand.agent.next_timer() is None


def test_errors_that_make_no_sense_end_it_too():
    """8489-26: no ERROR-CODE; 8489-25: unknown required attribute."""
    hand, id = one()
    (event,) = hand.receive(response(id, kind=MessageClass.ERROR))
    assert (event.reason, event.code) == ("bad response", None)
    hand, id = one()
    (event,) = hand.receive(error(id, 500, (0x7777, b"")))
    assert event.reason == "bad response"


def test_a_server_in_trouble_is_asked_again_four_times_at_most():
    """8489-26, 8489-4: 500 forever: 4 resends, each a new transaction, later each time."""
    hand = Hand()
    number = hand.ask()
    now, ids, moments = 0.0, [], []
    while True:
        ids += hand.ids()
        moments.append(now)
        events = hand.receive(error(ids[-1], 500), now=now + 0.1)
        if events:
            break
        assert hand.receive(error(ids[-1], 500), now=now + 0.1) == []  # a duplicate of it changes nothing
        now = hand.agent.next_timer()
        hand.agent.handle_timer(now)
    assert len(ids) == len(set(ids)) == 1 + MAX_RESENDS == 5
    gaps = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert all(longer > shorter for shorter, longer in itertools.pairwise(gaps))
    assert (events[0].request, events[0].code, events[0].sends) == (number, 500, 5)
    assert hand.agent.next_timer() is None


def test_a_server_that_recovers_has_answered():
    hand, id = one()
    assert hand.receive(error(id, 503)) == []
    hand.agent.handle_timer(hand.agent.next_timer())
    (event,) = hand.receive(response(hand.ids()[0], XMA), now=1.0)
    assert (type(event), event.sends) == (ResponseReceived, 2)


# --- integrity


@pytest.mark.parametrize("build", [{}, {"key": OTHER_KEY}])
def test_a_forged_answer_is_discarded_and_the_genuine_one_counts(build):
    """8489-36: forged then genuine: success, retransmissions go on meanwhile."""
    hand, id = one(key=KEY)
    assert hand.receive(response(id, XMA, **build)) == []
    assert hand.run_to(0.6) == []
    assert len(hand.sent()) == 1
    (event,) = hand.receive(response(id, XMA, key=KEY), now=0.7)
    assert isinstance(event, ResponseReceived)


@pytest.mark.parametrize(
    ("forge", "detail"),
    [
        (lambda id: response(id, XMA), "an answer came without integrity"),
        (lambda id: response(id, XMA, key=OTHER_KEY), "an answer came with wrong integrity"),
        (lambda id: error(id, 401), "error 401 came without integrity"),
        (lambda id: error(id, 500), "error 500 came without integrity"),
        (
            lambda id: response(id, XMA, key=KEY, sha1=False, sha256=True),
            "an answer came with integrity by sha256 instead of sha1",
        ),
    ],
)
def test_nothing_but_forged_answers_is_a_violation_and_no_timeout(forge, detail):
    """8489-36, 8489-35: integrity violated, at 39.5 s; an algorithm that the request did not use is no proof."""
    hand, id = one(key=KEY)
    for at in (0.1, 0.2):
        assert hand.receive(forge(id), now=at) == []
    (event,) = hand.run_to(1000.0)
    assert (event.reason, event.detail, event.sends) == ("integrity violated", detail, 7)
    assert event.at == pytest.approx(39.5)
    assert hand.agent.counters["integrity violated"] == 2


@pytest.mark.parametrize("answer", [{"sha1": True}, {"sha1": False, "sha256": True}])
def test_either_algorithm_is_right_when_both_were_sent(answer):
    hand, id = one(key=KEY, sha1=True, sha256=True)
    (event,) = hand.receive(response(id, XMA, key=KEY, **answer))
    assert isinstance(event, ResponseReceived)


@pytest.mark.parametrize("build", [{}, {"key": OTHER_KEY}])
def test_in_a_stream_a_violation_ends_it_at_once(build):
    """8489-36: over TCP."""
    hand, id = one(key=KEY, stream=True)
    (event,) = hand.receive(response(id, XMA, **build), now=1.0)
    assert (event.reason, event.at) == ("integrity violated", 1.0)
    assert hand.agent.next_timer() is None


# --- streams, errors of sockets, the end


def test_over_a_stream_it_is_sent_once_and_fails_after_ti():
    """8489-12: one write, timeout at 39.5 s."""
    hand, _id = one(stream=True)
    (event,) = hand.run_to(1000.0)
    assert hand.sent() == []
    assert (event.at, event.reason, event.sends) == (39.5, "timeout", 1)
    configured = Hand(ti=5.0)
    configured.ask(stream=True)
    assert configured.run_to(1000.0)[0].at == 5.0


def test_a_reset_fails_all_that_is_pending_on_the_connection():
    """8489-12: RST fails 3 pending transactions, and those that still queue; others go on."""
    hand = Hand()
    numbers = [hand.ask(stream=True) for _ in range(12)]
    other = hand.ask(stream=True, socket=2)
    hand.sent()
    hand.agent.socket_error(1, None, "connection reset by peer", 3.0)
    events = hand.agent.take_events()
    assert sorted(event.request for event in events) == numbers
    assert {(event.reason, event.detail) for event in events} == {("unreachable", "connection reset by peer")}
    assert [transmit.socket for transmit in hand.agent.take_transmits()] == [2]  # it had waited behind them
    assert [event.request for event in hand.run_to(100.0)] == [other]


def test_pipelined_requests_are_answered_in_any_order():
    """8489-14: the id decides."""
    hand = Hand()
    numbers = [hand.ask(stream=True) for _ in range(10)]
    ids = hand.ids()
    shuffled = [3, 7, 0, 9, 1, 8, 2, 6, 5, 4]
    ended = [hand.receive(response(ids[index], XMA))[0].request for index in shuffled]
    assert ended == [numbers[index] for index in shuffled]


def test_an_icmp_error_fails_what_was_sent_there_and_nothing_else():
    """8489-10: a hard error fails the transaction at once."""
    hand = Hand()
    failing = hand.ask()
    others = [hand.ask(address=("192.0.2.2", 3478)), hand.ask(socket=2)]
    hand.agent.socket_error(1, SERVER, "port unreachable", 0.02)
    (event,) = hand.agent.take_events()
    assert (event.request, event.reason, event.detail) == (failing, "unreachable", "port unreachable")
    assert sorted(event.request for event in hand.run_to(100.0)) == others
    hand.agent.socket_error(1, SERVER, "port unreachable", 101.0)
    assert hand.agent.take_events() == []


def test_an_error_during_the_pause_before_a_resend_counts_too():
    hand, id = one()
    hand.receive(error(id, 500))
    hand.agent.socket_error(1, SERVER, "port unreachable", 0.2)
    assert [event.reason for event in hand.run_to(100.0)] == ["unreachable"]


def test_a_cancelled_request_is_silent_and_makes_room():
    hand = Hand()
    numbers = [hand.ask() for _ in range(12)]
    ids = hand.ids()
    hand.agent.cancel(numbers[11], 0.1)  # one that waits
    assert hand.ids() == []
    hand.agent.cancel(numbers[0], 0.1)
    hand.agent.cancel(numbers[0], 0.1)
    hand.agent.cancel(99, 0.1)
    assert len(hand.ids()) == 1
    assert hand.receive(response(ids[0], XMA)) == []
    assert sorted(event.request for event in hand.run_to(1000.0)) == numbers[1:11]


def test_close_fails_everything_once_and_then_nothing_happens():
    hand = Hand()
    numbers = [hand.ask() for _ in range(15)]
    ids = hand.ids()
    hand.receive(error(ids[0], 500))
    hand.agent.close(1.0)
    hand.agent.close(2.0)
    events = hand.agent.take_events()
    assert sorted(event.request for event in events) == numbers
    assert {(event.reason, event.at) for event in events} == {("closed", 1.0)}
    assert hand.agent.next_timer() is None
    assert hand.receive(response(ids[1], XMA)) == []
    hand.agent.indicate(1, SERVER, Method.BINDING)
    late = hand.ask(3.0)
    assert hand.sent() == []
    assert [(event.request, event.reason) for event in hand.run_to(100.0)] == [(late, "closed")]


# --- indications and what is not STUN


def test_indications_are_sent_once_and_never_answered():
    """8489-11: one datagram out; none back, also on errors; with unknown required attributes it is dropped."""
    hand = Hand()
    hand.agent.indicate(1, SERVER, Method.BINDING, [(Attribute.PRIORITY, 1)], fingerprint=True)
    (data,) = hand.sent()
    message = stun.parse(data)
    assert message.message_class == MessageClass.INDICATION
    assert message.verify_fingerprint()
    assert hand.agent.next_timer() is None

    (event,) = hand.receive(data, now=2.0)
    assert isinstance(event, IndicationReceived)
    assert (event.at, event.address, event.message.get(Attribute.PRIORITY)) == (2.0, SERVER, 1)
    assert hand.receive(response(bytes(12), (0x7777, b""), kind=MessageClass.INDICATION)) == []
    assert hand.receive(data[:-1] + bytes([data[-1] ^ 1])) == []
    assert hand.agent.counters == {"indication with unknown attribute": 1, "bad fingerprint": 1}
    assert hand.sent() == []


@pytest.mark.parametrize("data", [b"hello", b"\x80" + bytes(30), b"\0\1\0\0" + bytes(16), b"\0"])
def test_what_is_not_stun_is_given_back(data):
    hand = Hand()
    assert hand.agent.datagram_received(1, data, SERVER, 0.0) is data


def test_empty_datagrams_go_nowhere():
    assert Hand().agent.datagram_received(1, b"", SERVER, 0.0) is None


# --- RTO


def test_the_rto_is_learnt_from_first_sends_only_and_kept_for_ten_minutes():
    """8489-9: a 120 ms answer moves it to 360 ms, an answer after a retransmission does not, at +10 min it is 500."""

    def first_gap(hand: Hand, now: float) -> float:
        hand.ask(now)
        return hand.agent.next_timer() - now

    hand = Hand()
    assert first_gap(hand, 0.0) == 0.5
    hand.receive(response(hand.ids()[0], XMA), now=0.120)
    assert first_gap(hand, 10.0) == pytest.approx(0.360)
    hand.run_to(10.5)  # sent again
    hand.receive(response(hand.ids()[0], XMA), now=10.9)
    assert first_gap(hand, 20.0) == pytest.approx(0.360)
    hand.receive(response(hand.ids()[0], XMA), now=20.120)
    assert first_gap(hand, 620.1) == pytest.approx(0.300)
    hand.receive(response(hand.ids()[0], XMA), now=620.2)
    assert first_gap(hand, 1221.0) == 0.5


def test_an_estimator_may_be_shared():
    """8489-9: cached by IP address, whatever the port or the agent."""
    rto = stun.RtoEstimator()
    first, second = Hand(rto=rto), Hand(rto=rto)
    first.ask()
    first.receive(response(first.ids()[0], XMA), now=0.120)
    second.ask(1.0, address=("192.0.2.1", 5349))
    assert second.agent.next_timer() == pytest.approx(1.360)


# --- in virtual time


def world(
    seed: int = 0, link: Link | None = None, **options: object
) -> tuple[Simulation, Node[StunAgent], Host]:
    sim = Simulation(seed, link=link)
    node = sim.add(
        sim.network.add_host("10.0.0.1", "2001:db8::1"), StunAgent(sim.rng, **options), name="client"
    )
    return sim, node, sim.network.add_host("10.0.0.9", "2001:db8::9", icmp=True)


@pytest.mark.parametrize("family", [0, 1])
def test_client_and_server_meet(family):
    """8489-23: the address that the server saw is the one the socket has, v4 and v6."""
    sim, client, host = world()
    server = sim.add_stun_server(host)
    socket = client.bind(client.host.addresses[family])
    client.machine.binding(socket, server.addresses[family], sim.now)
    sim.run_until(lambda: client.events)
    (event,) = client.events
    assert mapped_address(event.message) == client.address_of(socket)
    assert event.rtt == pytest.approx(0.02)


def test_a_closed_port_fails_within_one_rto():
    """8489-10."""
    sim, client, _host = world()
    client.machine.binding(client.bind(), ("10.0.0.9", 3478), sim.now)
    sim.run_until(lambda: client.events)
    assert client.events[0].reason == "unreachable"
    assert sim.now == pytest.approx(0.02)


def test_silence_takes_seven_datagrams():
    """8489-8, 8489-4: on the wire, in virtual time."""
    sim, client, host = world()
    server = sim.add_stun_server(host)
    host.uplink.up = False
    client.machine.binding(client.bind(), server.address, sim.now)
    sim.run_until(lambda: client.events)
    assert client.events[0].at == pytest.approx(39.5)
    packets = sim.network.sent(client.host)
    assert [packet.sent_at for packet in packets] == [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert len({packet.data for packet in packets}) == 1
    assert server.machine.counters == {"answered": 7}


@settings(max_examples=60, deadline=None)
@given(
    lost=st.sets(st.integers(0, 59)),
    count=st.integers(1, 15),
    duplicate=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 1000),
)
def test_whatever_is_lost_each_request_ends_exactly_once(lost, count, duplicate, seed):
    """Of the first 60 datagrams any may be lost: every request is answered, or fails when all of its own were."""
    sim, client, host = world(seed, Link(duplicate=duplicate, jitter=0.05, reorder=0.2, reorder_delay=0.7))
    server = sim.add_stun_server(host)
    sim.network.drop(lambda packet: packet.number - 1 in lost)
    socket = client.bind()
    numbers = [client.machine.binding(socket, server.address, sim.now) for _ in range(count)]
    sim.run_for(100.0)
    ended = Counter(event.request for event in client.events)
    assert ended == dict.fromkeys(numbers, 1)
    assert client.machine.next_timer() is None
    assert len(client.machine._requester._transactions) == 0
    for event in client.events:
        if isinstance(event, ResponseReceived):
            assert mapped_address(event.message) == client.address_of(socket)
        else:
            assert (event.reason, event.sends) == ("timeout", 7)


class Moody(RootMachine):
    """A server that answers each request as a script says: with success, an error, nonsense, or not at all."""

    def __init__(self, script: list[str]) -> None:
        super().__init__()
        self.script = itertools.chain(script, itertools.repeat("ok"))

    def datagram_received(self, socket: int, data: bytes, address: Address, now: float) -> bytes | None:
        mood, id = next(self.script), data[8:20]
        answers = {
            "ok": [response(id, XMA, key=KEY)],
            "twice": [response(id, XMA, key=KEY)] * 2,
            "forged": [response(id, XMA, key=OTHER_KEY)],
            "500": [error(id, 500, key=KEY)],
            "400": [error(id, 400, key=KEY)],
            "no address": [response(id, key=KEY)],
            "cut": [response(id, XMA, key=KEY)[:-2]],
            "silent": [],
        }
        for answer in answers[mood]:
            self._outbox.send(socket, address, answer)
        return None

    def close(self, now: float) -> None:
        pass


MOODS = ["ok", "twice", "forged", "500", "400", "no address", "cut", "silent"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(MOODS), max_size=40), st.integers(1, 12), st.integers(0, 99))
def test_whatever_a_server_does_each_request_ends_exactly_once(script, count, seed):
    sim, client, host = world(seed, Link(loss=0.1))
    server = sim.add(host, Moody(script))
    address = server.address_of(server.bind(port=3478))
    socket = client.bind()
    numbers = [
        client.machine.request(socket, address, Method.BINDING, (), sim.now, key=KEY) for _ in range(count)
    ]
    sim.run_for(400.0)
    assert Counter(event.request for event in client.events) == dict.fromkeys(numbers, 1)
    assert client.machine.next_timer() is None
    assert client.data == []
    for event in client.events:
        assert event.sends <= 7 * (1 + MAX_RESENDS)


@given(
    data=st.binary(max_size=200),
    keep=st.integers(0, 20),
    flips=st.lists(st.tuples(st.integers(0, 199), st.integers(0, 255)), max_size=3),
    genuine=st.booleans(),
    keyed=st.booleans(),
)
def test_any_datagram_is_taken_without_an_exception(data, keep, flips, genuine, keyed):
    """Random bytes, random bytes behind the right header, and damaged genuine answers."""
    hand, id = one(key=KEY if keyed else None)
    answer = response(id, XMA, (Attribute.SOFTWARE, "x"), key=KEY if keyed else None, fingerprint=True)
    datagram = bytearray(answer if genuine else answer[:keep] + data)
    for position, value in flips:
        if position < len(datagram):
            datagram[position] = value
    bytes_back = hand.agent.datagram_received(1, bytes(datagram), SERVER, 0.1)
    events = hand.agent.take_events()
    assert bytes_back is None or bytes_back == bytes(datagram)
    assert len(events) <= 1
    ended = [event for event in events if not isinstance(event, IndicationReceived)]
    ended += hand.run_to(1000.0)
    assert len(ended) == 1
    assert all(event.request == 1 for event in ended)


def test_messages_given_to_the_application_are_messages():
    hand, id = one()
    (event,) = hand.receive(response(id, XMA))
    assert type(event.message) is Message
