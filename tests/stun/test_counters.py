"""TRANSACTION_TRANSMIT_COUNTER: which send an answer is for (RFC 7982)."""

from __future__ import annotations

import random

import pytest

from fasticePy import stun
from fasticePy.sim import Link, Simulation
from fasticePy.stun import (
    Attribute,
    Authenticator,
    BindingServer,
    IntegrityKey,
    LongTermCredentials,
    MessageBuilder,
    MessageClass,
    Method,
    ResponseReceived,
    ShortTermCredentials,
    StunAgent,
)
from fasticePy.stun.requests import SOFTWARE

SERVER = ("192.0.2.1", 3478)
CLIENT = ("192.0.2.7", 40000)
USER = ShortTermCredentials("user", "password")
KEY = IntegrityKey.short_term("password")
COUNTER = Attribute.TRANSACTION_TRANSMIT_COUNTER
XMA = (Attribute.XOR_MAPPED_ADDRESS, ("198.51.100.7", 7000))


def asking(**options: object) -> StunAgent:
    agent = StunAgent(random.Random(1).randbytes)
    agent.request(1, SERVER, Method.BINDING, (), 0.0, **{"count_sends": True, **options})
    return agent


def sends(agent: StunAgent, end: float) -> list[stun.Message]:
    while (at := agent.next_timer()) is not None and at <= end:
        agent.handle_timer(at)
    return [stun.parse(transmit.data) for transmit in agent.take_transmits()]


def answer(
    agent: StunAgent, id: bytes, now: float, *attributes: tuple[int, object], **build: object
) -> object:
    builder = MessageBuilder(Method.BINDING, MessageClass.SUCCESS, id)
    for attribute, value in (XMA, *attributes):
        builder.add(attribute, value)
    agent.datagram_received(1, builder.build(**build), SERVER, now)
    (event,) = agent.take_events()
    assert isinstance(event, ResponseReceived)
    return event


def test_sends_are_numbered_and_otherwise_the_same():
    """7982-1: 1, 2, 3, ... with the same id, the MAC made anew, the second field 0, and no other difference."""
    messages = sends(asking(credentials=USER), 3.5)
    assert [message.get(COUNTER) for message in messages] == [(1, 0), (2, 0), (3, 0), (4, 0)]
    assert len({message.transaction_id for message in messages}) == 1
    for message in messages:
        assert message.verify_integrity(KEY)
        assert message.raw(COUNTER)[:2] == b"\0\0"
        same = [
            (attribute, value)
            for attribute, value in message.attributes()
            if attribute not in (COUNTER, Attribute.MESSAGE_INTEGRITY, Attribute.MESSAGE_INTEGRITY_SHA256)
        ]
        assert same == [(Attribute.SOFTWARE, SOFTWARE.encode()), (Attribute.USERNAME, b"user")]
    assert len({message.data for message in messages}) == 4


def test_without_it_retransmissions_are_the_same_bytes():
    """8489-4."""
    messages = sends(asking(count_sends=False), 3.5)
    assert len(messages) == 4
    assert len({message.data for message in messages}) == 1
    assert COUNTER not in messages[0]


def test_a_new_transaction_counts_from_one():
    """7982-1: the number belongs to the transaction id: after a challenge it is 1 again."""
    agent = asking(credentials=LongTermCredentials("user", "pass"))
    first, second = sends(agent, 0.5)
    builder = MessageBuilder(Method.BINDING, MessageClass.ERROR, first.transaction_id)
    builder.add(Attribute.ERROR_CODE, (401, ""))
    builder.add(Attribute.REALM, "realm")
    builder.add(Attribute.NONCE, "nonce")
    agent.datagram_received(1, builder.build(), SERVER, 0.6)
    assert second.get(COUNTER) == (2, 0)
    (third,) = sends(agent, 0.6)
    assert third.get(COUNTER) == (1, 0)
    assert len(agent.take_events()) == 1
    event = answer(
        agent,
        third.transaction_id,
        0.85,
        (COUNTER, (1, 0)),
        key=stun.IntegrityKey.long_term("user", "realm", "pass"),
    )
    assert event.rtt == pytest.approx(0.25)


@pytest.mark.parametrize(("number", "rtt"), [(1, 1.75), (2, 1.25), (3, 0.25)])
def test_an_answer_says_which_send_it_is_for(number, rtt):
    """RFC 7982 3.3: so its round-trip time is known, and the RTO learns from it."""
    agent = asking()
    id = sends(agent, 1.5)[0].transaction_id
    event = answer(agent, id, 1.75, (COUNTER, (number, 1)))
    assert event.rtt == pytest.approx(rtt)
    assert event.counter == (number, 1)
    assert event.sends == 3
    assert agent.rto.rto(SERVER[0], 2.0) == pytest.approx(3 * rtt)


@pytest.mark.parametrize(
    "attributes", [(), ((COUNTER, (0, 0)),), ((COUNTER, (4, 0)),), ((COUNTER, (255, 255)),)]
)
def test_an_answer_that_says_nothing_or_nonsense_leaves_it_open(attributes):
    """8489-9: Karn's rule again."""
    agent = asking()
    id = sends(agent, 1.5)[0].transaction_id
    event = answer(agent, id, 1.75, *attributes)
    assert event.rtt is None
    assert event.counter == (attributes[0][1] if attributes else None)
    assert agent.rto.rto(SERVER[0], 2.0) == 0.5


def test_what_was_not_asked_for_is_not_told():
    agent = asking(count_sends=False)
    id = sends(agent, 0.5)[0].transaction_id
    event = answer(agent, id, 0.75, (COUNTER, (2, 2)))
    assert (event.rtt, event.counter) == (None, None)


@pytest.mark.parametrize("authentication", [None, "long-term"])
def test_a_server_echoes_the_number_and_counts_nothing(authentication):
    """7982-2: in every answer, errors too; its own number is 0, for it remembers nothing. The attribute is not there
    when the request had none."""
    if authentication is not None:
        authentication = Authenticator("realm", {"user": "pass"}, rng=random.Random(1).randbytes)
    server = BindingServer(authentication=authentication)
    for attributes, expected in (
        (((COUNTER, (1, 0)),), (1, 0)),
        (((COUNTER, (2, 9)),), (2, 0)),
        (((COUNTER, (255, 0)), (0x7777, b"")), (255, 0)),
        ((), None),
    ):
        builder = MessageBuilder(Method.BINDING, MessageClass.REQUEST, bytes(12))
        for attribute, value in attributes:
            builder.add(attribute, value)
        server.datagram_received(1, builder.build(), CLIENT, 0.0)
        (transmit,) = server.take_transmits()
        assert stun.parse(transmit.data).get(COUNTER) == expected


def test_a_round_trip_is_measured_where_packets_are_lost():
    """7982-1, 7982-2: the first two are lost; the third is answered, and its time is that of one round trip."""
    sim = Simulation(0, link=Link(latency=0.03))
    client = sim.add(sim.network.add_host("10.0.0.1"), StunAgent(sim.rng))
    server = sim.add_stun_server(sim.network.add_host("10.0.0.9"))
    sim.network.drop(lambda packet: packet.number <= 2)
    client.machine.request(client.bind(), server.address, Method.BINDING, (), sim.now, count_sends=True)
    sim.run_until(lambda: client.events)
    (event,) = client.events
    assert (event.sends, event.counter) == (3, (3, 0))
    assert event.rtt == pytest.approx(0.12)
