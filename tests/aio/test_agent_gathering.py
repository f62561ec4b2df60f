"""Gathering on real sockets: servers that answer, refuse, are silent or do not exist, ports and addresses."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import pytest

from fasticePy.aio import IceServer, SystemResolver
from fasticePy.errors import ParseError
from fasticePy.ice import IceFailed, ServerFinished

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells that a port is closed")


def server_of(report: Any, url: str) -> dict[str, Any]:
    return next(server for server in report.servers if server["url"] == url)


def test_a_server_says_who_we_are(run, agent, stun_server) -> None:
    """8445-4: asked from the host candidate's own socket; on loopback the answer is that very address
    (8445-12)."""

    async def body() -> None:
        server = stun_server()
        a = agent(controlling=True, servers=server.url)
        heard: list[ServerFinished] = []
        a.on_server = heard.append
        await a.gather()
        (candidate,) = a.local_candidates
        assert candidate.type == "host"
        assert [event.mapped for event in heard if event.base] == [candidate.transport_address]
        assert server_of(a.report(), server.url)["ok"]
        await a.close()
        await server.close()

    run(body())


def test_all_servers_are_asked(run, agent, stun_server) -> None:
    async def body() -> None:
        servers = [stun_server() for _ in range(3)]
        a = agent(controlling=True, servers=[servers[0].url, IceServer([each.url for each in servers[1:]])])
        await a.gather()
        assert all(server.requests for server in servers)
        assert [server["ok"] for server in a.report().servers] == [True] * 3
        await a.close()
        for server in servers:
            await server.close()

    run(body())


@on_linux
def test_a_closed_port_ends_its_server_at_once(run, agent, closed_port) -> None:
    """8489-10: the refusal comes back by ICMP; no retransmission is waited for."""

    async def body() -> None:
        host, port = closed_port("127.0.0.1")
        a = agent(controlling=True, servers=f"stun:{host}:{port}")
        await a.gather()
        report = a.report()
        assert report.counters["gathering.sent"] == 1
        assert "port unreachable" in report.servers[0]["reason"]
        assert not report.servers[0]["ok"]
        await a.close()

    run(body())


@on_linux
def test_a_closed_port_costs_other_servers_and_checks_nothing(run, pair, stun_server, closed_port) -> None:
    async def body() -> None:
        host, port = closed_port("127.0.0.1")
        server = stun_server()
        p = await pair(servers=[f"stun:{host}:{port}", server.url]).connect()
        p.a.send(b"x")
        assert await p.b.recv() == b"x"
        assert server_of(p.a.report(), server.url)["ok"]
        await p.close()
        await server.close()

    run(body())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (socket.EAI_NONAME, "the name does not exist"),
        (socket.EAI_AGAIN, "the name servers do not answer (temporary failure)"),
    ],
)
def test_a_name_that_does_not_resolve_ends_its_server_at_once(run, agent, error, reason) -> None:
    def getaddrinfo(*arguments: object) -> list[Any]:
        raise socket.gaierror(error, "?")

    async def body() -> None:
        resolver = SystemResolver(getaddrinfo=getaddrinfo)
        a = agent(controlling=True, servers="stun:stun.example.org", resolver=resolver)
        await a.gather()
        assert a.report().servers[0]["reason"] == reason
        await a.close()

    run(body())


def test_a_server_by_name_is_asked_at_the_addresses_of_our_families(run, agent, stun_server) -> None:
    """8489-29: the name's addresses are looked up; without IPv6 of our own nobody asks for AAAA."""
    asked: list[int] = []

    def getaddrinfo(host: str, port: int, family: int, kind: int) -> list[Any]:
        asked.append(family)
        return [(family, kind, 17, "", ("127.0.0.1", port))]

    async def body() -> None:
        server = stun_server()
        resolver = SystemResolver(getaddrinfo=getaddrinfo)
        url = f"stun:stun.example.org:{server.endpoint.address[1]}"
        a = agent(controlling=True, servers=url, resolver=resolver)
        await a.gather()
        assert server_of(a.report(), url)["resolved"] == ["127.0.0.1"]
        assert server_of(a.report(), url)["ok"]
        assert asked == [socket.AF_INET]
        await a.close()
        await server.close()

    run(body())


def test_a_silent_server_delays_nobody(run, pair, stun_server) -> None:
    async def body() -> None:
        server = stun_server(silent=True)
        p = pair(servers=server.url)
        p.introduce()
        await asyncio.gather(p.a.connect(), p.b.connect())
        assert p.a.gathering_state == "gathering"
        p.a.send(b"x")
        assert await p.b.recv() == b"x"
        await p.close()
        await server.close()

    run(body())


def test_gather_can_be_cancelled_and_awaited_again(run, agent, stun_server) -> None:
    async def body() -> None:
        server = stun_server(silent=True)
        a = agent(controlling=True, servers=server.url)
        waiting = asyncio.ensure_future(a.gather())
        await server.asked.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert a.gathering_state == "gathering"
        assert len(a.local_candidates) == 1
        again = asyncio.gather(a.gather(), a.gather())
        server.silent = False
        await again
        assert a.gathering_state == "complete"
        await a.gather()
        await a.close()
        await server.close()

    run(body())


def test_servers_that_this_version_cannot_use_are_explained(run, agent) -> None:
    async def body() -> None:
        turn = IceServer("turn:192.0.2.1", username="user", credential="secret")
        a = agent(controlling=True, servers=[turn, {"urls": ["stuns:stun.example.org"]}])
        await a.gather()
        assert all("not supported" in server["reason"] for server in a.report().servers)
        assert "secret" not in str(a.report())
        await a.close()

    run(body())


def test_ports_come_from_the_range(run, agent) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    async def body() -> None:
        a, b = (agent(controlling=side, ports=range(port, port + 1)) for side in (True, False))
        await a.gather()
        assert a.local_candidates[0].port == port
        with pytest.raises(IceFailed, match=f"^no free port in {port}-{port} on 127.0.0.1") as failure:
            await b.gather()
        assert f"no free port in {port}-{port}" in failure.value.report.conclusion
        assert not b.local_candidates
        ((address, reason),) = b.report().sockets_failed
        assert f"{port}-{port}" in reason
        assert "127.0.0.1" in address
        await a.close()
        await b.close()

    run(body())


def test_a_port_range_that_is_exhausted_for_some_sockets_only(run, agent) -> None:
    """The others do: gathering is no failure, and the report names the range."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    async def body() -> None:
        async with agent(controlling=True, components=2, ports=range(port, port + 1)) as a:
            await a.gather()
            assert [candidate.port for candidate in a.local_candidates] == [port]
            assert f"no free port in {port}-{port}" in str(a.report())

    run(body())


def test_a_host_candidate_per_address_and_component(run, agent) -> None:
    """8445-1: bound to that address, component ids from 1."""

    async def body() -> None:
        a = agent(controlling=True, components=2, include_loopback=True)
        await a.gather()
        used = [decision.address for decision in a.decisions if decision.used]
        found = [(candidate.address, candidate.component) for candidate in a.local_candidates]
        assert sorted(found) == sorted(
            (address.partition("%")[0], component) for address in used for component in (1, 2)
        )
        await a.close()

    run(body())


def test_without_any_address_gathering_ends_and_says_so(run, agent) -> None:
    async def body() -> None:
        a = agent(controlling=True, interfaces=["no such interface"])
        await a.gather()
        assert not a.local_candidates
        assert a.report().gathering == "complete"
        assert {decision.reason for decision in a.decisions} == {"not among the interfaces asked for"}
        await a.close()

    run(body())


def test_what_an_option_raises_reaches_the_caller_and_leaves_the_agent_new(run, agent) -> None:
    def addresses(entry: object) -> bool:
        raise LookupError("oops")

    async def body() -> None:
        a = agent(controlling=True, addresses=addresses)
        with pytest.raises(LookupError, match="oops"):
            await a.gather()
        assert a.gathering_state == "new"
        await a.close()

    run(body())


# --- servers
# ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "servers",
    [
        "stun:stun.example.org",
        ["stun:stun.example.org"],
        IceServer("stun:stun.example.org"),
        {"urls": "stun:stun.example.org"},
        [{"urls": ["stun:stun.example.org"]}],
        [{"url": "stun:stun.example.org", "username": None}],
    ],
)
def test_servers_in_every_shape(agent, servers) -> None:
    (server,) = agent(controlling=True, servers=servers).servers
    assert server == IceServer(["stun:stun.example.org"])
    assert [str(url) for url in server.parsed] == ["stun:stun.example.org"]


def test_a_server_hides_its_credential() -> None:
    server = IceServer(
        ["turn:turn.example.org", "turns:turn.example.org"], username="user", credential="secret"
    )
    assert "secret" not in repr(server)
    assert [url.scheme for url in server.parsed] == ["turn", "turns"]


@pytest.mark.parametrize(
    ("servers", "error", "match"),
    [
        ("http://stun.example.org", ParseError, "stun:"),
        ("turn:turn.example.org", ValueError, "credential"),
        ([IceServer], TypeError, "a server is"),
        ({"username": "user"}, TypeError, "urls"),
        ({"urls": [3478]}, TypeError, "urls"),
        ({"urls": []}, ValueError, "at least one"),
        ({"urls": "stun:stun.example.org", "username": 7}, TypeError, "username"),
    ],
)
def test_servers_that_are_none(agent, servers, error, match) -> None:
    with pytest.raises(error, match=match):
        agent(controlling=True, servers=servers)
