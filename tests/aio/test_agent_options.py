"""Options of `Agent` that change what is on the wire: TCP, names, lite, DSCP; and those that do not go together."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from fasticePy.aio import AddressPolicy, Agent, IceServer, host_addresses, select
from fasticePy.aio.stream import Stream
from fasticePy.errors import ParseError
from fasticePy.ice import Candidate, Timeouts
from fasticePy.ice.gathering.rewrite import Rewrite

TURN = IceServer("turn:192.0.2.1", username="user", credential="secret")


async def until(condition: Callable[[], Any]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
        await asyncio.sleep(0.001)


# --- what does not go together
# -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"policy": "direct"}, ValueError, "policy is one of all, relay"),
        ({"policy": "relay"}, ValueError, "add a TURN server"),
        ({"policy": "relay", "servers": "stun:192.0.2.1"}, ValueError, "add a TURN server"),
        ({"policy": "relay", "servers": TURN, "candidate_types": ["host"]}, ValueError, "relay-only"),
        ({"exposure": "relay"}, ValueError, "add a TURN server"),
        ({"exposure": "some"}, ValueError, "exposure"),
        ({"candidate_types": ["prflx"]}, ValueError, "prflx cannot be gathered"),
        ({"mdns": "loudly"}, ValueError, "mdns is one of"),
        ({"tcp": ["simultaneous"]}, ValueError, "tcp: simultaneous"),
        ({"tcp": "udp"}, ValueError, "tcp: udp"),
        ({"dscp": 64}, ValueError, "dscp"),
        ({"dscp": -1}, ValueError, "dscp"),
        ({"dscp": "EF"}, TypeError, "dscp is a whole number"),
        ({"controlling": "no"}, TypeError, "controlling is True or False, not 'no'"),
        ({"controlling": None}, TypeError, "controlling is True or False"),
        ({"lite": 1}, TypeError, "lite is True or False"),
        ({"continual": "always"}, TypeError, "continual is True or False"),
        ({"renomination": None}, TypeError, "renomination is True or False"),
        ({"ipv4": "yes"}, TypeError, "ipv4 is True or False"),
        ({"timeouts": {"patience": 5}}, TypeError, "timeouts is of type Timeouts or None"),
        ({"candidate_types": "host"}, TypeError, r"as in \['host'\]"),
        ({"candidate_types": []}, ValueError, "candidate_types is empty"),
        ({"candidate_types": [1]}, ValueError, "candidate_types: 1"),
        ({"local_candidate": "host"}, TypeError, "local_candidate is a function"),
        ({"components": "2"}, TypeError, "components is a whole number"),
        ({"components": True}, TypeError, "components is a whole number"),
        ({"local_ufrag": 5, "local_pwd": "x" * 22}, TypeError, "local_ufrag is of type str"),
        ({"max_addresses": None}, TypeError, "max_addresses is a whole number"),
        ({"streams": 0}, ValueError, "streams=0"),
        ({"max_addresses": 0}, ValueError, "max_addresses"),
        ({"advertise": "nonsense rule"}, ParseError, "rewrite rule"),
        ({"advertise": [7]}, TypeError, "advertise takes"),
        ({"nomination": "whenever"}, ValueError, "nomination"),
        ({"lite": True, "servers": "stun:192.0.2.1"}, ValueError, "leave servers out"),
        ({"lite": True, "mdns": "publish"}, ValueError, "lite"),
        ({"lite": True, "tcp": ["active"]}, ValueError, "passive only"),
        ({"lite": True, "candidate_types": ["srflx"]}, ValueError, "host candidates only"),
        ({"lite": True, "nomination": "continuous"}, ValueError, "nominates nothing anew"),
        ({"lite": True, "renomination": True}, ValueError, "nominates nothing anew"),
    ],
    ids=str,
)
def test_options_that_do_not_go_together_say_what_to_change(options, error, match) -> None:
    with pytest.raises(error, match=match):
        Agent(**{"controlling": True, **options})


@pytest.mark.parametrize(
    "options",
    [
        {"policy": "relay", "servers": TURN},
        {"exposure": "relay", "servers": TURN},
        {"lite": True, "tcp": True},
        {"lite": True, "tcp": "passive"},
        {"tcp": ["active", "passive", "so"]},
        {"advertise": Rewrite("10.0.0.1", to="203.0.113.7")},
        {"advertise": ["10.0.0.1=203.0.113.7", Rewrite(to="host.example.org")]},
        {"ipv6": "stable", "max_addresses": 1, "dscp": 46},
        {"nomination": "continuous", "renomination": True, "continual": True, "auto_restart": True},
    ],
    ids=str,
)
def test_options_that_go_together(options) -> None:
    Agent(controlling=True, **options).close()


@pytest.mark.parametrize(
    ("options", "nomination"),
    [
        ({}, "regular"),
        ({"continual": True}, "continuous"),
        ({"continual": True, "lite": True}, "regular"),
        ({"continual": True, "nomination": "regular"}, "regular"),
        ({"nomination": "fastest"}, "fastest"),
    ],
)
def test_who_follows_the_network_follows_a_peer_that_moves(run, agent, options, nomination) -> None:
    """7675-5: one nomination only would hold a dead pair until its consent expires."""

    async def main() -> None:
        assert agent(controlling=True, **options)._machine.options.nomination == nomination

    run(main())


def test_an_options_object_shows_no_secret() -> None:
    agent = Agent(controlling=True, local_ufrag="abcd", local_pwd="p" * 22, servers=TURN)
    assert "p" * 22 not in repr((agent._machine.options, agent.servers))
    assert "secret" not in repr((agent._machine.options, agent.servers))


# --- TCP
# ----------------------------------------------------------------------------------------------------------


def only_tcp(candidate: Candidate) -> Candidate | None:
    return candidate if candidate.transport == "tcp" else None


def test_data_over_tcp(run, pair) -> None:
    """6544-1: active and passive candidates beside UDP ones, or alone."""

    async def body() -> None:
        p = await pair(tcp=True, local_candidate=only_tcp).connect()
        assert p.a.selected.transport == p.b.selected.transport == "tcp"
        for size in (1, 1200, 60000):
            assert p.a.send(b"x" * size)
            assert await p.b.recvfrom() == (b"x" * size, 1)
        p.b.send(b"back", pair=p.b.selected)
        assert await p.a.recv() == b"back"
        await p.close()

    run(body())


def test_a_server_with_passive_candidates_is_reached_by_default(run, agent) -> None:
    """6544-1: a client without any option connects to it, and one with tcp=False does not."""

    async def body() -> None:
        for tcp, reason in ((None, ""), (False, "TCP is not wanted")):
            options = {} if tcp is None else {"tcp": tcp}
            client = agent(controlling=True, **options)
            server = agent(controlling=False, tcp="passive", local_candidate=only_tcp)
            await asyncio.gather(client.gather(), server.gather())
            assert [candidate.transport for candidate in client.local_candidates] == ["udp"]
            server.set_remote_description(client.local_description)
            client.set_remote_description(server.local_description)
            if reason:
                await until(lambda client=client: client.report().ignored_candidates)
                assert [why for _, why in client.report().ignored_candidates] == [reason]
            else:
                await asyncio.gather(client.connect(10), server.connect(10))
                assert (client.selected.local.tcptype, server.selected.local.tcptype) == ("active", "passive")
            await asyncio.gather(client.close(), server.close())

    run(body())


def test_udp_is_preferred_and_tcp_is_there(run, pair) -> None:
    async def body() -> None:
        p = pair(tcp=True)
        p.introduce()
        await asyncio.gather(p.a.gather(), p.b.gather(), p.a.connect(10), p.b.connect(10))
        assert {candidate.transport for candidate in p.a.local_candidates} == {"udp", "tcp"}
        await until(lambda: p.a.state == p.b.state == "completed")
        assert p.a.selected.transport == "udp"
        await p.close()

    run(body())


def test_a_reader_that_is_slow_holds_up_tcp_and_drain_waits_for_it(run, pair) -> None:
    """4571-1: what does not fit is refused whole, and on_writable says when there is room."""

    async def body() -> None:
        p = await pair(tcp=True, local_candidate=only_tcp).connect()
        told: list[int] = []
        p.a.on_writable = lambda: told.append(sent)
        received = 0

        def count(data: bytes, chosen: object) -> None:
            nonlocal received
            received += 1

        p.b.on_data = count
        sent = 0
        while p.a.send(b"x" * 1200):  # nobody reads before this ends
            sent += 1
        waiting = asyncio.ensure_future(p.a.drain())
        await asyncio.sleep(0)
        assert not waiting.done()
        await waiting
        assert told == [sent]
        assert p.a.send(b"y")
        await until(lambda: received == sent + 1)
        await p.close()

    run(body())


@pytest.mark.parametrize("turns", range(0, 12, 2))
def test_closing_while_tcp_connects(run, pair, turns) -> None:
    async def body() -> None:
        p = pair(tcp=["active", "passive", "so"], local_candidate=only_tcp)
        p.introduce()
        waiting = [asyncio.ensure_future(each.connect()) for each in (p.a, p.b)]
        for _ in range(turns):
            await asyncio.sleep(0)
        await p.close()
        await asyncio.gather(*waiting, return_exceptions=True)

    run(body())


@pytest.mark.parametrize("turns", range(0, 24, 3))
def test_closing_at_any_moment_with_everything_on(run, pair, stun_server, turns) -> None:
    """Nothing is left behind, whatever was under way."""

    async def body() -> None:
        server = stun_server(silent=True)
        everything: dict[str, Any] = {
            "servers": [server.url, "stun:name.invalid"],
            "tcp": ["active", "passive", "so"],
            "mdns": "publish",
            "continual": True,
            "auto_restart": True,
            "nomination": "continuous",
            "include_loopback": True,
            "streams": 2,
            "resolver": Silent(),
        }
        p = pair(**everything)
        p.introduce()
        waiting = [asyncio.ensure_future(each.connect()) for each in (p.a, p.b)]
        for turn in range(turns):
            await asyncio.sleep(0)
            if turn == 6:
                p.a.restart()
        await p.close()
        await asyncio.gather(*waiting, return_exceptions=True)
        await server.close()

    run(body())


class Silent:
    """A resolver that never answers."""

    def resolve(self, *arguments: object, **more: object) -> Silent:
        return self

    def cancel(self) -> None:
        self.cancelled = True


# --- names
# ----------------------------------------------------------------------------------------------------------


class FakeHub:
    """Multicast DNS without multicast: everybody in the test has this one."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.asked: list[str] = []
        self.refreshed = 0

    def publish(self, name: str, address: str) -> FakePublication:
        self.names[name] = address
        return FakePublication(self, name)

    def resolve(
        self, host: str, port: int, handler: Any, *, ipv4: bool = True, ipv6: bool = True
    ) -> FakeLookup:
        self.asked.append(host)
        answer = (handler.addresses_found, [(self.names[host], port)], True)
        return FakeLookup(asyncio.get_running_loop().call_soon(*answer))

    def refresh(self) -> None:
        self.refreshed += 1


class FakePublication:
    failure = None

    def __init__(self, hub: FakeHub, name: str) -> None:
        self._hub, self._name = hub, name

    def withdraw(self) -> None:
        self._hub.names.pop(self._name, None)


class FakeLookup:
    def __init__(self, handle: asyncio.Handle) -> None:
        self._handle = handle

    def cancel(self) -> None:
        self._handle.cancel()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    hub = FakeHub()
    monkeypatch.setattr("fasticePy.aio.agent.MdnsHub.shared", lambda: hub)
    return hub


@pytest.fixture
def lan_address() -> str:
    """An address of this host that is no loopback one: those are not hidden."""
    selection = select(host_addresses(), AddressPolicy(ipv6=False))
    if not selection.addresses:
        pytest.skip("this host has loopback addresses only")
    return selection.addresses[0]


def test_names_in_place_of_addresses(run, agent, hub, lan_address) -> None:
    """mdns-1, mdns-6: published and told; the peer looks them up; nobody sees the address."""

    async def body() -> None:
        a = agent(controlling=True, mdns="publish", addresses=[lan_address])
        b = agent(controlling=False, mdns="resolve", addresses=[lan_address])
        for one, other in ((a, b), (b, a)):
            one.on_candidate = other.add_remote_candidate
            other.set_remote_credentials(one.local_description.ufrag, one.local_description.pwd)
        await asyncio.gather(a.connect(10), b.connect(10))
        (name,) = hub.names
        assert hub.names[name] == lan_address
        assert [candidate.address for candidate in a.local_candidates] == [name]
        await until(lambda: hub.asked == [name])
        a.send(b"x")
        assert await b.recv() == b"x"
        for side in (a,):
            assert lan_address not in str(side.local_description)
        await a.close()
        assert not hub.names
        await b.close()

    run(body())


def test_multicast_dns_hears_of_new_addresses(run, agent, hub) -> None:
    async def body() -> None:
        a = agent(controlling=True, mdns="publish")
        await a.gather()
        before = hub.refreshed
        a.restart()
        assert hub.refreshed == before + 1
        await a.close()

    run(body())


def test_off_asks_for_nothing(run, agent, hub) -> None:
    async def body() -> None:
        a = agent(controlling=True, mdns="off")
        a.set_remote_credentials("abcd", "p" * 22)
        await a.gather()
        name = "0f0e0d0c-0b0a-4908-8706-050403020100.local"
        a.add_remote_candidate(f"candidate:1 1 udp 1 {name} 9 typ host")
        await asyncio.sleep(0)
        assert not hub.asked
        assert any(name in ignored for ignored, _ in a.report().ignored_candidates)
        await a.close()

    run(body())


# --- lite, DSCP, restarts by itself
# -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("both", [False, True])
def test_a_lite_agent(run, agent, both) -> None:
    """8445-16, 8839-2: lite is said in the description, and full or lite peers connect to it."""

    async def body() -> None:
        a = agent(controlling=True, lite=both)
        b = agent(controlling=False, lite=True)
        await asyncio.gather(a.gather(), b.gather())
        assert b.local_description.lite
        assert a.local_description.lite is both
        a.set_remote_description(str(b.local_description))
        b.set_remote_description(str(a.local_description))
        await asyncio.gather(a.connect(10), b.connect(10))
        a.send(b"x")
        assert await b.recv() == b"x"
        b.send(b"y")
        assert await a.recv() == b"y"
        await a.close()
        await b.close()

    run(body())


@pytest.mark.skipif(not hasattr(socket, "IP_TOS"), reason="this system marks no packets")
@pytest.mark.parametrize("options", [{}, {"tcp": True, "local_candidate": only_tcp}], ids=["udp", "tcp"])
def test_packets_are_marked(run, pair, options) -> None:
    async def body() -> None:
        p = await pair(dscp=46, **options).connect()
        endpoint = p.a._runtime.driver._endpoints[p.a.selected.socket]
        assert endpoint._sock.getsockopt(socket.IPPROTO_IP, socket.IP_TOS) >> 2 == 46
        await p.close()

    run(body())


def test_packets_are_marked_over_ipv6(run, pair, ipv6_loopback) -> None:
    async def body() -> None:
        p = await pair(dscp=46, addresses=[ipv6_loopback]).connect()
        endpoint = p.a._runtime.driver._endpoints[p.a.selected.socket]
        assert endpoint._sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS) >> 2 == 46
        await p.close()

    run(body())


def test_an_agent_restarts_by_itself_when_its_path_is_lost(run, pair) -> None:
    """8445-53: on_restart hands over what to signal; the application does nothing else."""

    async def body() -> None:
        times = Timeouts(consent_interval=0.05, consent_expiry=0.2, disconnected=0.1, patience=5.0)
        p = await pair(auto_restart=True, timeouts=times).connect()
        p.a.on_restart = p.b.set_remote_description
        p.b.on_restart = p.a.set_remote_description
        before = p.a.local_description.ufrag
        cut(p.b.streams[0], True)
        await until(lambda: p.a.local_description.ufrag != before)
        cut(p.b.streams[0], False)
        await until(lambda: {p.a.state, p.b.state} <= {"connected", "completed"})
        p.a.send(b"x")
        assert await p.b.recv() == b"x"
        assert "failed" not in [entry.state for entry in p.a.state_history]
        await p.close()

    run(body())


def cut(stream: Stream, away: bool) -> None:
    """Everything that this side sends is lost."""
    driver = stream._runtime.driver
    assert driver is not None
    if away:
        driver.send = lambda socket, data, address: True  # type: ignore[method-assign]
    else:
        del driver.send
