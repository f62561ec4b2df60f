"""Redirection to another server: which one a client follows, and how a server sends it away."""

from __future__ import annotations

import itertools
import random

import pytest

from fasticePy import stun
from fasticePy.machine import Address
from fasticePy.stun import (
    Attribute,
    Authenticator,
    BindingServer,
    IntegrityKey,
    LongTermCredentials,
    Message,
    MessageBuilder,
    MessageClass,
    Method,
    Redirected,
    RequestFailed,
    ResponseReceived,
    ShortTermAuthenticator,
    ShortTermCredentials,
    StunAgent,
)
from fasticePy.stun.redirect import MAX_REDIRECTS, MEMORY, Alternate, RedirectGuard
from fasticePy.stun.requests import MAX_CHALLENGES

A, B, C, D = (("192.0.2.1", 3478), ("192.0.2.2", 3478), ("192.0.2.3", 3478), ("192.0.2.4", 3478))
A6 = ("2001:db8::1", 3478)
CLIENT = ("203.0.113.9", 1234)
USER = ShortTermCredentials("user", "password")
KEY = IntegrityKey.short_term("password")
XMA = (Attribute.XOR_MAPPED_ADDRESS, ("198.51.100.7", 7000))


class Hand:
    """One agent that follows redirections by hand."""

    def __init__(self, credentials: object = USER, address: Address = A, **options: object) -> None:
        counter = itertools.count(1)
        self.agent = StunAgent(lambda n: next(counter).to_bytes(n, "big"), software=None)
        options = {"credentials": credentials, "redirects": True, **options}
        self.number = self.agent.request(1, address, Method.BINDING, (), 0.0, **options)
        self.take()

    def take(self) -> Message:
        (self.transmit,) = self.agent.take_transmits()
        self.message = stun.parse(self.transmit.data)
        return self.message

    def answer(
        self, *attributes: tuple[int, object], code: int | None = None, now: float = 0.1, **build: object
    ):
        kind = MessageClass.SUCCESS if code is None else MessageClass.ERROR
        builder = MessageBuilder(Method.BINDING, kind, self.message.transaction_id)
        if code is not None:
            builder.add(Attribute.ERROR_CODE, (code, ""))
        for attribute, value in attributes:
            builder.add(attribute, value)
        build = {"key": KEY, **build}
        self.agent.datagram_received(self.transmit.socket, builder.build(**build), self.transmit.address, now)
        return self.agent.take_events()

    def redirect(self, *targets: Address, domain: str | None = None, **options: object) -> list[object]:
        attributes: list[tuple[int, object]] = [(Attribute.ALTERNATE_SERVER, target) for target in targets]
        if domain is not None:
            attributes.append((Attribute.ALTERNATE_DOMAIN, domain))
        return self.answer(*attributes, code=300, **options)

    def sent_to(self, *targets: Address, **options: object) -> Redirected:
        (event,) = self.redirect(*targets, **options)
        assert isinstance(event, Redirected)
        assert self.agent.take_transmits() == []
        return event

    def refused(self, *targets: Address, **options: object) -> str:
        (event,) = self.redirect(*targets, **options)
        assert isinstance(event, RequestFailed)
        assert (event.reason, event.code) == ("error response", 300)
        assert self.agent.take_transmits() == []
        assert self.agent.next_timer() is None
        return event.detail


# --- the client


def test_an_authenticated_redirection_is_followed_with_the_same_credentials():
    """8489-55, 8489-56: the driver is told where to go and under which name, and the request goes on there."""
    hand = Hand()
    event = hand.sent_to(B, domain="b.example.org")
    assert (event.request, event.address, event.alternate, event.domain) == (
        hand.number,
        A,
        B,
        "b.example.org",
    )
    hand.agent.follow(hand.number, 7, 0.3)
    first = hand.take()
    assert (hand.transmit.socket, hand.transmit.address) == (7, B)
    assert first.verify_integrity(KEY)
    assert first.get(Attribute.USERNAME) == "user"
    (event,) = hand.answer(XMA, now=0.4)
    assert isinstance(event, ResponseReceived)
    assert (event.request, event.address, event.socket, event.sends) == (hand.number, B, 7, 2)


def test_what_was_learnt_at_one_server_does_not_go_for_the_other():
    """8489-56, 8489-37, 8489-40: another address: both MACs again; with long-term credentials, bare again."""
    hand = Hand()
    hand.sent_to(B, sha1=False, sha256=True)
    hand.agent.follow(hand.number, 1, 0.3)
    assert {Attribute.MESSAGE_INTEGRITY, Attribute.MESSAGE_INTEGRITY_SHA256} <= {
        attribute for attribute, _ in hand.take().attributes()
    }
    hand.answer(XMA, now=0.4)
    hand.agent.request(1, A, Method.BINDING, (), 1.0, credentials=USER)
    assert Attribute.MESSAGE_INTEGRITY not in hand.take()  # A had shown its algorithm, and is remembered
    hand.agent.request(1, B, Method.BINDING, (), 1.0, credentials=USER)
    assert Attribute.MESSAGE_INTEGRITY_SHA256 not in hand.take()

    user = LongTermCredentials("user", "pass")
    key = IntegrityKey.long_term("user", "realm", "pass")
    challenge = [(Attribute.REALM, "realm"), (Attribute.NONCE, "nonce")]
    hand = Hand(user)
    hand.answer(*challenge, code=401, key=None)
    hand.take()
    hand.sent_to(B, key=key)
    hand.agent.follow(hand.number, 1, 0.3)
    assert hand.take().attributes() == []
    hand.answer(*challenge, code=401, key=None)
    assert hand.take().verify_integrity(key)
    assert isinstance(hand.answer(XMA, key=key)[0], ResponseReceived)


def test_the_other_server_may_challenge_as_often():
    """Chances used up at one server are not missing at the next."""
    hand = Hand(LongTermCredentials("user", "pass"))
    key = IntegrityKey.long_term("user", "realm", "pass")

    def challenge(number: int) -> None:
        code = 438 if number else 401
        hand.answer((Attribute.REALM, "realm"), (Attribute.NONCE, f"nonce-{number}"), code=code, key=None)
        hand.take()

    for target in (B, None):
        for number in range(MAX_CHALLENGES):
            challenge(number)
        if target is not None:
            hand.sent_to(target, key=key)
            hand.agent.follow(hand.number, 1, 0.3)
            hand.take()
    (event,) = hand.answer(XMA, key=key)
    assert isinstance(event, ResponseReceived)


@pytest.mark.parametrize("build", [{"key": None}, {"key": IntegrityKey.short_term("guess")}])
def test_a_forged_redirection_is_not_followed(build):
    """8489-55: the integrity is verified first; what fails it never was."""
    hand = Hand()
    assert hand.redirect(B, **build) == []
    assert hand.agent.take_transmits() == []
    (event,) = hand.answer(XMA)
    assert event.address == A


def test_a_redirection_of_a_bare_request_is_not_followed():
    """8489-55, T6: nobody vouches for it: before the challenge, and without credentials (ICE gathering)."""
    for credentials in (LongTermCredentials("user", "pass"), None):
        assert "nobody vouches" in Hand(credentials).refused(B, key=None)


def test_redirections_are_followed_where_the_usage_has_them():
    """8489-26: 3xx fails unless ALTERNATE-SERVER is in use."""
    for options in ({"redirects": False}, {"redirects": False, "credentials": None, "key": KEY}):
        hand = Hand(**options)
        (event,) = hand.redirect(B)
        assert (event.reason, event.code) == ("error response", 300)
    hand = Hand(credentials=None, key=KEY)
    assert hand.sent_to(B).alternate == B
    hand.agent.follow(hand.number, 1, 0.2)
    assert hand.take().verify_integrity(KEY)


def test_going_round_in_circles_ends():
    """8489-56: A to B to A: failed, for A was asked within five minutes; B to B too."""
    hand = Hand()
    hand.sent_to(B)
    hand.agent.follow(hand.number, 1, 0.2)
    hand.take()
    assert hand.refused(A) == "error 300: redirected to 192.0.2.1 port 3478, which was asked already"
    hand = Hand()
    assert "asked already" in hand.refused(A)
    hand = Hand()
    assert "asked already" in hand.refused(("::ffff:192.0.2.1", 3478))


def test_after_five_minutes_a_server_may_be_asked_again():
    """8489-56: within the last five minutes is too soon; after that it is not."""
    for age, followed in ((MEMORY - 1, False), (MEMORY + 1, True)):
        guard = RedirectGuard()
        guard.asked(A, 0.0)
        guard.asked(B, age)
        builder = MessageBuilder(Method.BINDING, MessageClass.ERROR, bytes(12))
        builder.add(Attribute.ALTERNATE_SERVER, A)
        verdict = guard.judge(stun.parse(builder.build()), B, age)
        assert isinstance(verdict, str) != followed


def test_no_chain_is_followed_for_ever():
    hand = Hand()
    for target in (B, C)[:MAX_REDIRECTS]:
        hand.sent_to(target)
        hand.agent.follow(hand.number, 1, 0.2)
        hand.take()
    assert hand.refused(D) == "error 300: redirected more than 2 times"


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (("127.0.0.1", 3478), "this host"),
        (("127.8.9.1", 3478), "this host"),
        (("::1", 3478), "this host"),
        (("::ffff:127.0.0.1", 3478), "this host"),
        (("0.0.0.0", 3478), "no server"),
        (("::", 3478), "no server"),
        (("224.0.0.1", 3478), "no server"),
        (("ff02::1", 3478), "no server"),
        (("255.255.255.255", 3478), "no server"),
        (("192.0.2.2", 0), "no server"),
        (("169.254.169.254", 3478), "link-local"),
        (("fe80::1", 3478), "link-local"),
        (("192.0.2.2", 25), "another service"),
        (("192.0.2.2", 1023), "another service"),
    ],
)
def test_targets_that_are_nobody_to_ask(target, why):
    """8489-55: a server that proved to be one cannot aim us at our own host, at everybody, or at other services."""
    assert why in Hand().refused(target)
    assert Hand().sent_to(target, B).alternate == B  # the next one counts


@pytest.mark.parametrize("port", [53, 80, 443, 1024, 65535])
def test_ports_at_which_servers_are(port):
    assert Hand().sent_to(("192.0.2.2", port)).alternate == ("192.0.2.2", port)
    assert Hand(address=("192.0.2.1", 99)).sent_to(("192.0.2.2", 99)).alternate == ("192.0.2.2", 99)


def test_a_server_on_this_host_may_name_another_one_there():
    assert Hand(address=("127.0.0.1", 3478)).sent_to(("127.0.0.1", 3479)).alternate == ("127.0.0.1", 3479)
    assert Hand(address=("fe80::1%eth0", 3478)).sent_to(("fe80::2", 3478)).alternate == ("fe80::2", 3478)


def test_the_own_family_comes_first():
    """8489-55: of several, the first of the family that the request had; then the other one."""
    assert Hand().sent_to(A6, B, C).alternate == B
    assert Hand(address=("2001:db8::9", 3478)).sent_to(B, A6).alternate == A6
    assert Hand().sent_to(A6).alternate == A6


def test_a_300_to_nowhere_fails():
    assert Hand().refused() == "error 300: redirected to nowhere"


def test_a_driver_that_has_no_way_there_says_so_or_says_nothing():
    hand = Hand()
    hand.sent_to(B)
    hand.agent.decline(hand.number, "no route", 0.2)
    (event,) = hand.agent.take_events()
    assert (event.reason, event.detail, event.sends) == ("unreachable", "no route", 1)
    for call in (hand.agent.follow, hand.agent.decline):
        call(hand.number, *((1,) if call == hand.agent.follow else ("late",)), 0.3)
    assert (hand.agent.take_events(), hand.agent.take_transmits()) == ([], [])
    hand = Hand()
    hand.agent.decline(hand.number, "not redirected", 0.1)
    hand.agent.follow(hand.number, 1, 0.1)
    assert (hand.agent.take_events(), hand.agent.take_transmits()) == ([], [])
    hand.sent_to(B)
    hand.agent.handle_timer(hand.agent.next_timer())
    (event,) = hand.agent.take_events()
    assert (event.reason, event.at) == ("timeout", pytest.approx(39.6))


def test_the_old_connection_may_close_meanwhile():
    """Over TCP the way to the other server is another connection."""
    hand = Hand(stream=True)
    hand.sent_to(B)
    hand.agent.socket_error(1, None, "closed", 0.2)
    assert hand.agent.take_events() == []
    hand.agent.follow(hand.number, 2, 0.3)
    hand.take()
    hand.agent.socket_error(2, None, "reset", 0.4)
    (event,) = hand.agent.take_events()
    assert (event.reason, event.address) == ("unreachable", B)


def test_cancelled_and_closed_while_redirected():
    hand = Hand()
    hand.sent_to(B)
    hand.agent.cancel(hand.number, 0.2)
    assert hand.agent.next_timer() is None
    hand = Hand()
    hand.sent_to(B)
    hand.agent.close(0.2)
    hand.agent.follow(hand.number, 1, 0.3)
    assert [event.reason for event in hand.agent.take_events()] == ["closed"]
    assert hand.agent.take_transmits() == []


def test_it_makes_room_at_the_server_that_it_leaves():
    """And takes a place at the other one."""
    hand = Hand()
    for _ in range(10):
        hand.agent.request(1, A, Method.BINDING, (), 0.0, credentials=USER)
    assert len(hand.agent.take_transmits()) == 9
    (event,) = hand.redirect(B)
    assert isinstance(event, Redirected)
    assert len(hand.agent.take_transmits()) == 1
    for _ in range(10):
        hand.agent.request(1, B, Method.BINDING, (), 0.0, credentials=USER)
    hand.agent.take_transmits()
    hand.agent.follow(hand.number, 1, 0.2)
    assert hand.agent.take_transmits() == []  # the eleventh there


# --- the server


def served(
    alternate: Alternate,
    transport: str = "udp",
    source: Address = CLIENT,
    unknown: bool = False,
    **build: object,
) -> Message:
    """What a client with credentials is answered by a server that sends clients away."""
    authentication = ShortTermAuthenticator({"user": "password"}, rng=random.Random(1).randbytes)
    server = BindingServer(
        authentication=authentication, alternate=alternate, transport_of=lambda socket: transport
    )
    builder = MessageBuilder(Method.BINDING, MessageClass.REQUEST, bytes(12))
    builder.add(Attribute.USERNAME, "user")
    if unknown:
        builder.add(0x7777, b"")
    server.datagram_received(1, builder.build(**{"key": KEY, **build}), source, 0.0)
    (transmit,) = server.take_transmits()
    return stun.parse(transmit.data)


def test_clients_are_sent_away_with_proof():
    """8489-55: a 300 with integrity, the address of the request's family first, the other after it."""
    alternate = Alternate((A6, B))
    for source, expected in ((CLIENT, [B, A6]), (("2001:db8::77", 5), [A6, B])):
        reply = served(alternate, source=source)
        assert reply.get(Attribute.ERROR_CODE) == (300, "")
        assert reply.get_all(Attribute.ALTERNATE_SERVER) == expected
        assert Attribute.ALTERNATE_DOMAIN not in reply
        assert reply.verify_integrity(KEY)


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls", "dtls"])
@pytest.mark.parametrize("sha256", [False, True])
def test_another_certificate_is_named_to_who_can_read_it(transport, sha256):
    """8489-55: ALTERNATE-DOMAIN over (D)TLS with MESSAGE-INTEGRITY-SHA256."""
    reply = served(Alternate((B,), "b.example.org"), transport, sha1=not sha256, sha256=sha256)
    named = transport in ("tls", "dtls") and sha256
    assert reply.get(Attribute.ALTERNATE_DOMAIN) == ("b.example.org" if named else None)


def test_nobody_is_sent_away_unauthenticated_or_to_another_family_or_with_unknown_attributes():
    """8489-55: never a 300 for a request without integrity, or without an address of its family."""
    assert served(Alternate((A6,))).message_class == MessageClass.SUCCESS
    assert served(Alternate((B,)), key=None).get(Attribute.ERROR_CODE) == (400, "")
    assert served(Alternate((B,)), unknown=True).get(Attribute.ERROR_CODE) == (420, "")
    server = BindingServer(alternate=Alternate((B,)))
    server.datagram_received(1, MessageBuilder(1, 0, bytes(12)).build(), CLIENT, 0.0)
    (transmit,) = server.take_transmits()
    assert stun.parse(transmit.data).message_class == MessageClass.SUCCESS


def test_client_and_servers_meet():
    """8489-55, 8489-56: challenged at A, sent to B, challenged there, answered; one credential all the way."""
    users = {"user": "pass"}
    servers = {
        address: BindingServer(
            authentication=Authenticator("realm", users, rng=random.Random(address[0]).randbytes),
            alternate=Alternate((B,)) if address == A else None,
        )
        for address in (A, B)
    }
    agent = StunAgent(random.Random(3).randbytes)
    agent.request(
        1, A, Method.BINDING, (), 0.0, credentials=LongTermCredentials("user", "pass"), redirects=True
    )
    events: list[object] = []
    for _ in range(10):
        for transmit in agent.take_transmits():
            server = servers[transmit.address]
            server.datagram_received(9, transmit.data, CLIENT, 0.0)
            for reply in server.take_transmits():
                agent.datagram_received(1, reply.data, transmit.address, 0.0)
        for event in agent.take_events():
            events.append(event)
            if isinstance(event, Redirected):
                agent.follow(event.request, event.socket, 0.0)
    assert [type(event).__name__ for event in events] == [
        "Challenged",
        "Redirected",
        "Challenged",
        "ResponseReceived",
    ]
    assert events[-1].address == B
    assert servers[A].counters["redirected"] == 1
