"""Clients and servers that authenticate, in virtual time; and clients of servers that mean them ill."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasticePy import stun
from fasticePy.machine import Address, RootMachine
from fasticePy.sim import Host, Link, Node, Simulation
from fasticePy.stun import (
    Attribute,
    Authenticator,
    BindingServer,
    Challenged,
    IntegrityKey,
    LongTermCredentials,
    MessageBuilder,
    MessageClass,
    Method,
    PasswordAlgorithm,
    Redirected,
    RequestFailed,
    ResponseReceived,
    ShortTermAuthenticator,
    ShortTermCredentials,
    StunAgent,
    TokenCredentials,
    mapped_address,
)
from fasticePy.stun.redirect import MAX_REDIRECTS
from fasticePy.stun.requests import MAX_CHALLENGES, MAX_RESENDS

MD5, SHA256 = PasswordAlgorithm.MD5, PasswordAlgorithm.SHA256
USER = LongTermCredentials("user", "pass")
ALL = [(), (MD5,), (SHA256,), (SHA256, MD5), (MD5, SHA256)]


class World:
    """A client and a server that authenticates, on two hosts."""

    def __init__(self, authentication: object = None, *, link: Link | None = None, **options: object) -> None:
        self.sim = Simulation(0, link=link)
        host = self.sim.network.add_host("10.0.0.1", "2001:db8::1")
        self.client = self.sim.add(host, StunAgent(self.sim.rng))
        if authentication is None:
            authentication = Authenticator("example.org", {"user": "pass"}, rng=self.sim.rng, **options)
        self.host: Host = self.sim.network.add_host("10.0.0.9", "2001:db8::9")
        self.server = self.sim.add(self.host, BindingServer(authentication=authentication))
        self.addresses = [
            self.server.address_of(self.server.bind(address, 3478)) for address in self.host.addresses
        ]
        self.socket = self.client.bind()

    def ask(self, credentials: object = USER, **options: object) -> list[object]:
        """The events of one request."""
        before = len(self.client.events)
        address = options.pop("address", self.addresses[0])
        socket = options.pop("socket", self.socket)
        self.client.machine.request(
            socket, address, Method.BINDING, (), self.sim.now, credentials=credentials, **options
        )
        self.sim.run_until(lambda: self.ended(before))
        return self.client.events[before:]

    def ended(self, before: int) -> bool:
        return any(
            isinstance(each, (ResponseReceived, RequestFailed)) for each in self.client.events[before:]
        )


@pytest.mark.parametrize("algorithms", ALL)
@pytest.mark.parametrize("anonymity", [False, True])
@pytest.mark.parametrize("family", [0, 1])
def test_client_and_server_agree(algorithms, anonymity, family):
    """8489-40, 8489-42, 8489-50, 8489-48: two round trips for the first request, one for the next (8489-41)."""
    world = World(algorithms=algorithms, anonymity=anonymity)
    socket = world.client.bind(world.client.host.addresses[family])
    challenged, received = world.ask(address=world.addresses[family], socket=socket)
    wanted = {MD5: "MD5", SHA256: "SHA-256"}[(algorithms or (MD5,))[0]]
    assert (challenged.realm, challenged.mechanism, challenged.anonymous) == (
        "example.org",
        wanted,
        anonymity,
    )
    assert received.authenticated
    assert mapped_address(received.message) == world.client.address_of(socket)
    (received,) = world.ask(address=world.addresses[family], socket=socket)
    assert (received.sends, received.authenticated) == (1, True)


def test_a_nonce_that_grew_old_costs_one_round_trip():
    """8489-47, 8489-52."""
    world = World(nonce_life=60.0, algorithms=(SHA256, MD5))
    world.ask()
    world.sim.run_for(90.0)
    challenged, received = world.ask()
    assert (challenged.code, challenged.mechanism) == (438, "SHA-256")
    assert (received.sends, received.authenticated) == (2, True)


def test_a_wrong_password_is_told_after_two_requests():
    """8489-46, 8489-51."""
    world = World()
    for credentials in (LongTermCredentials("user", "wrong"), LongTermCredentials("nobody", "pass")):
        _, failed = world.ask(credentials)
        assert (failed.reason, failed.code, failed.sends) == ("unauthenticated", 401, 2)
        assert "example.org" in failed.detail
    assert world.server.machine.counters["401: without integrity"] == 2


def test_the_short_term_settles_on_one_mac():
    """8489-31, 8489-34, 8489-37."""
    world = World(ShortTermAuthenticator({"user": "pass"}, rng=bytes))
    credentials = ShortTermCredentials("user", "pass")
    for macs in (2, 1):
        (received,) = world.ask(credentials)
        assert received.authenticated
        assert received.message.integrity_kind == "sha256"
        request = world.sim.network.sent(world.client.host)[-1]
        kinds = {attribute for attribute, _ in stun.parse(request.data).attributes()}
        assert len(kinds & {Attribute.MESSAGE_INTEGRITY, Attribute.MESSAGE_INTEGRITY_SHA256}) == macs
    (failed,) = world.ask(ShortTermCredentials("user", "wrong"))
    assert (failed.reason, failed.detail) == ("integrity violated", "error 401 came without integrity")


def test_a_server_over_its_budget_is_silent_and_comes_back():
    """A flood from one host: the client behind the same address waits, and is answered after a retransmission."""
    world = World(link=Link(latency=0.01))
    flood = MessageBuilder(Method.BINDING, MessageClass.REQUEST, bytes(12)).build()
    for _ in range(30):
        world.client.send_from(world.socket, world.addresses[0], flood)
    events = world.ask()
    assert isinstance(events[-1], ResponseReceived)
    assert events[-1].sends > 2
    assert world.server.machine.counters["401 over budget"] >= 20


class Stripper(RootMachine):
    """Stands in the way, and rewrites what servers answer: no list of algorithms, and perhaps no promise of one."""

    def __init__(self, server: BindingServer, *, cookie: bool) -> None:
        super().__init__()
        self.server = server
        self.cookie = cookie

    def datagram_received(self, socket: int, data: bytes, address: Address, now: float) -> bytes | None:
        self.server.datagram_received(socket, data, address, now)
        for transmit in self.server.take_transmits():
            message = stun.parse(transmit.data)
            builder = MessageBuilder(message.method, message.message_class, message.transaction_id)
            for attribute, value in message.attributes():
                if attribute == Attribute.PASSWORD_ALGORITHMS:
                    continue
                if attribute == Attribute.NONCE and self.cookie:
                    value = b"obMatJos2AAAA" + value[13:]
                builder.add(attribute, message.get(attribute) if attribute == Attribute.ERROR_CODE else value)
            self._outbox.send(socket, address, builder.build())
        return None

    def close(self, now: float) -> None:
        pass


@pytest.mark.parametrize(("cookie", "requests"), [(False, 1), (True, 2)])
def test_who_takes_the_strong_algorithms_away_gets_nothing(cookie, requests):
    """8489-49, 8489-45: without the list, the client stops at the cookie; with the cookie gone too, the server does not
    know the nonce, and they never come together."""
    sim = Simulation(0)
    client = sim.add(sim.network.add_host("10.0.0.1"), StunAgent(sim.rng))
    authentication = Authenticator("example.org", {"user": "pass"}, rng=sim.rng, algorithms=(SHA256, MD5))
    server = BindingServer(authentication=authentication)
    middle = sim.add(sim.network.add_host("10.0.0.9"), Stripper(server, cookie=cookie))
    address = middle.address_of(middle.bind(port=3478))
    client.machine.request(client.bind(), address, Method.BINDING, (), 0.0, credentials=USER)
    sim.run_for(100.0)
    assert isinstance(client.events[-1], RequestFailed)
    assert client.events[-1].reason == "unauthenticated"
    assert sum(server.counters.values()) == requests
    assert server.counters["answered"] == 0


@settings(max_examples=40, deadline=None)
@given(
    loss=st.sampled_from([0.0, 0.1, 0.3]),
    duplicate=st.sampled_from([0.0, 0.5]),
    algorithms=st.sampled_from(ALL),
    count=st.integers(1, 12),
    pause=st.sampled_from([0.0, 1.0, 30.0]),
    seed=st.integers(0, 99),
)
def test_whatever_is_lost_each_request_ends_exactly_once(loss, duplicate, algorithms, count, pause, seed):
    sim = Simulation(
        seed, link=Link(loss=loss, duplicate=duplicate, jitter=0.05, reorder=0.2, reorder_delay=0.7)
    )
    client = sim.add(sim.network.add_host("10.0.0.1"), StunAgent(sim.rng))
    authentication = Authenticator(
        "r", {"user": "pass"}, rng=sim.rng, algorithms=algorithms, nonce_life=20.0, challenges_per_second=None
    )
    server = sim.add(sim.network.add_host("10.0.0.9"), BindingServer(authentication=authentication))
    address = server.address_of(server.bind(port=3478))
    socket = client.bind()
    numbers = []
    for _ in range(count):
        numbers.append(client.machine.request(socket, address, Method.BINDING, (), sim.now, credentials=USER))
        sim.run_for(pause)
    sim.run_for(400.0)
    ended = [event for event in client.events if not isinstance(event, Challenged)]
    assert Counter(event.request for event in ended) == dict.fromkeys(numbers, 1)
    assert client.machine.next_timer() is None
    for event in ended:
        # a request whose nonce was overtaken by several others may run out of chances; forged is none of them
        assert isinstance(event, ResponseReceived) or event.reason in ("timeout", "unauthenticated")
        assert not isinstance(event, ResponseReceived) or event.authenticated
    if loss == 0:
        assert all(isinstance(event, ResponseReceived) for event in ended)


# --- servers that mean ill

SERVERS = [("10.0.0.9", 3478), ("10.0.0.10", 3478), ("10.0.0.11", 3478)]
KEYS: list[IntegrityKey | None] = [
    None,
    IntegrityKey.short_term("pass"),
    IntegrityKey.long_term("user", "realm", "pass"),
    IntegrityKey.long_term("user", "realm", "pass", SHA256),
    IntegrityKey.from_bytes(b"the key of a token.."),
    IntegrityKey.from_bytes(b"somebody else's"),
]
VALUES = st.one_of(
    st.tuples(st.just(Attribute.REALM), st.sampled_from([b"realm", b"other", b"", b'"', b"\xff", b"\0"])),
    st.tuples(
        st.just(Attribute.NONCE),
        st.sampled_from(
            [b"a", b"b", b"obMatJos2gAAAa", b"obMatJos2wAAAa", b"obMatJos2QAAAa", b"obMatJos2", b""]
        )
        | st.binary(max_size=20),
    ),
    st.tuples(
        st.just(Attribute.PASSWORD_ALGORITHMS),
        st.sampled_from([bytes.fromhex("0002000000010000"), bytes.fromhex("77770000"), b"", b"\0"])
        | st.binary(max_size=20),
    ),
    st.tuples(st.just(Attribute.THIRD_PARTY_AUTHORIZATION), st.just(b"server")),
    st.tuples(
        st.just(Attribute.ALTERNATE_SERVER),
        st.sampled_from([*SERVERS, ("127.0.0.1", 3478), ("10.0.0.66", 9999)]),
    ),
    st.tuples(st.just(Attribute.ALTERNATE_DOMAIN), st.just("evil.example.org")),
    st.tuples(st.just(Attribute.XOR_MAPPED_ADDRESS), st.just(("192.0.2.1", 1))),
    st.tuples(st.just(0x7777), st.just(b"x")),
)
ANSWERS = st.tuples(
    st.sampled_from([None, 300, 300, 400, 401, 401, 401, 420, 438, 438, 500]),
    st.lists(VALUES, max_size=5),
    st.integers(0, len(KEYS) - 1),
    st.sampled_from([(True, False), (False, True), (True, True)]),
)


class Hostile(RootMachine):
    """A server that answers whatever a script says, once for each request that comes."""

    def __init__(self, script: itertools.cycle[tuple[object, ...]]) -> None:
        super().__init__()
        self.script = script
        self.requests: list[stun.Message] = []

    def datagram_received(self, socket: int, data: bytes, address: Address, now: float) -> bytes | None:
        message = stun.parse(data)
        self.requests.append(message)
        code, attributes, key, (sha1, sha256) = next(self.script)
        kind = MessageClass.SUCCESS if code is None else MessageClass.ERROR
        builder = MessageBuilder(message.method, kind, message.transaction_id)
        if code is not None:
            builder.add(Attribute.ERROR_CODE, (code, ""))
        for attribute, value in attributes:
            builder.add(attribute, value)
        self._outbox.send(socket, address, builder.build(KEYS[key], sha1=sha1, sha256=sha256))
        return None

    def close(self, now: float) -> None:
        pass


@settings(max_examples=300, deadline=None)
@given(
    script=st.lists(ANSWERS, min_size=1, max_size=6),
    credentials=st.sampled_from(
        [
            USER,
            ShortTermCredentials("user", "pass"),
            TokenCredentials("kid", b"token", b"the key of a token.."),
            TokenCredentials("kid", b"token", b"the key of a token..", "server", USER),
        ]
    ),
    stream=st.booleans(),
)
def test_no_server_makes_a_client_loop_or_lose_its_head(script, credentials, stream):
    """Any answers: no exception, an end for each request, a bounded number of datagrams, each to a server that we were
    sent to by somebody with the password, and never a password or token in the clear."""
    sim = Simulation(0)
    client = sim.add(sim.network.add_host("10.0.0.1"), StunAgent(sim.rng))
    turns = itertools.cycle(script)
    servers: list[Node[Hostile]] = []
    for host, port in SERVERS:
        node = sim.add(sim.network.add_host(host), Hostile(turns))
        node.bind(port=port)
        servers.append(node)
    socket = client.bind()
    client.on_event = lambda event: (
        client.machine.follow(event.request, event.socket, sim.now) if isinstance(event, Redirected) else None
    )
    for _ in range(2):
        client.machine.request(
            socket,
            SERVERS[0],
            Method.BINDING,
            (),
            sim.now,
            credentials=credentials,
            stream=stream,
            redirects=True,
        )
        sim.run_for(1000.0)
    ended = [event for event in client.events if isinstance(event, (ResponseReceived, RequestFailed))]
    assert [event.request for event in ended] == [1, 2]
    assert client.machine.next_timer() is None
    transactions = (1 + MAX_CHALLENGES) * (1 + MAX_REDIRECTS) + MAX_RESENDS
    assert all(event.sends <= 7 * transactions for event in ended)

    vouched = any(code == 300 and key in (1, 2, 3, 4) for code, _, key, _ in script)
    for packet in sim.network.sent(client.host):
        assert b"pass" not in packet.data
        assert vouched or packet.destination == SERVERS[0]
        assert packet.destination[0] != "127.0.0.1"
        message = stun.parse(packet.data)
        if Attribute.ACCESS_TOKEN in message:
            assert message.has_integrity
            assert message.get(Attribute.USERNAME) == "kid"
    for event in ended:
        if isinstance(event, ResponseReceived) and event.authenticated:
            assert event.message.has_integrity
            assert any(key is not None and event.message.verify_integrity(key) for key in KEYS[1:5])
