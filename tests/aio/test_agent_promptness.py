"""What has to be prompt on real sockets: a live server beside dead ones while gathering, and close at any moment."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from typing import Any

import pytest

from fasticePy.aio import SystemResolver
from fasticePy.ice import ServerFinished

CLOSE = 0.1
"""Seconds that close may take (the best of three tries, for others may use this machine too)."""
TRIES = 3


def unknown(*arguments: object) -> list[Any]:
    raise socket.gaierror(socket.EAI_NONAME, "?")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells that a port is closed")
def test_a_live_server_beside_a_dead_one_a_closed_port_and_an_unknown_name(
    run, agent, stun_server, closed_port
) -> None:
    """The live one's answer is there within its round trip, though it comes last in the list; all but the dead one
    have ended by then, each with its reason, and closing does not wait for that one either."""

    async def body() -> None:
        dead, live = stun_server(silent=True), stun_server()
        host, port = closed_port("127.0.0.1")
        urls = [dead.url, f"stun:{host}:{port}", "stun:nowhere.example", live.url]
        a = agent(controlling=True, servers=urls, resolver=SystemResolver(getaddrinfo=unknown))
        answered = asyncio.get_running_loop().create_future()

        others = asyncio.Event()

        def on_server(event: ServerFinished) -> None:
            if sum(server["finished"] for server in a.report().servers) == 3:
                others.set()
            if event.ok:
                answered.set_result((event, time.monotonic()))

        a.on_server = on_server
        waiting = asyncio.ensure_future(a.gather())
        event, _ = await answered
        assert event.url == live.url
        assert event.rtt is not None
        (candidate,) = a.local_candidates
        assert event.mapped == candidate.transport_address
        assert dead.requests == 1  # not even its first retransmission was waited for
        await others.wait()
        assert [server["reason"] for server in a.report().servers] == [
            "",
            "ICMP port unreachable",
            "the name does not exist",
            "",
        ]
        assert a.gathering_state == "gathering"
        began = time.monotonic()
        await a.close()
        assert time.monotonic() - began < CLOSE
        with pytest.raises(ConnectionError):
            await waiting
        await dead.close()
        await live.close()

    run(body())


@pytest.mark.parametrize("moment", ["new", "begun", "waiting", "gathered", "checking", "connected"])
def test_close_takes_under_a_tenth_of_a_second_at_any_moment(run, pair, stun_server, moment) -> None:
    """With a server that never answers, one transaction of which is always under way."""

    async def try_once(server: Any) -> float:
        p = pair(servers=server.url)
        tasks = []
        if moment in ("begun", "waiting"):
            tasks = [asyncio.ensure_future(each.gather()) for each in (p.a, p.b)]
            await asyncio.sleep(0)
        if moment == "waiting":
            await server.asked.wait()
        if moment == "gathered":
            p.a.set_remote_credentials("peer", "passwordpasswordpassword")
            tasks = [asyncio.ensure_future(p.a.gather())]
            await server.asked.wait()
        if moment == "checking":
            p.b.set_remote_credentials("peer", "passwordpasswordpassword")
            p.a.set_remote_credentials("peer", "passwordpasswordpassword")
            p.a.add_remote_candidate("candidate:1 1 udp 2130706431 127.0.0.1 9 typ host")
            tasks = [asyncio.ensure_future(p.a.connect())]
            checking = asyncio.Event()
            p.a.on_state = lambda state, reason: checking.set()
            await checking.wait()
        if moment == "connected":
            await p.connect()
        began = time.monotonic()
        await p.a.close()
        took = time.monotonic() - began
        assert p.a.state == "closed"
        await p.b.close()
        await asyncio.gather(*tasks, return_exceptions=True)
        return took

    async def body() -> None:
        server = stun_server(silent=True)
        took = [await try_once(server) for _ in range(TRIES)]
        assert min(took) < CLOSE
        await server.close()

    run(body())


def test_closing_many_is_prompt_too(run, pair) -> None:
    """Twenty connected agents: a tenth of a second for each, and none waits for another."""

    async def body() -> None:
        pairs = [await pair().connect() for _ in range(10)]
        began = time.monotonic()
        await asyncio.gather(*(each.close() for each in pairs))
        assert time.monotonic() - began < 20 * CLOSE

    run(body())
