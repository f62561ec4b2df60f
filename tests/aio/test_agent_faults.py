"""Closing, cancelling, failing, garbage, and callbacks that raise: nothing is left behind and nothing
breaks."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import socket
from typing import Any

import pytest

from fasticePy.aio import Agent
from fasticePy.ice import IceFailed, Timeouts
from fasticePy.stun import Attribute, IntegrityKey, MessageBuilder, MessageClass, Method


async def everybody(agent: Agent) -> list[asyncio.Future[Any]]:
    """All that can be waited for, being waited for."""

    async def read(iterator: Any) -> list[Any]:
        return [entry async for entry in iterator]

    calls = [agent.connect(), agent.gather(), agent.recv(), agent.recvfrom()]
    readers = [read(agent.candidates()), read(agent.states())]
    waiting = [asyncio.ensure_future(each) for each in (*calls, *readers)]
    await asyncio.sleep(0)
    return waiting


# --- closing
# ----------------------------------------------------------------------------------------------------------


async def at_new(pair: Any, server: Any) -> Any:
    return pair()


async def at_gathering(pair: Any, server: Any) -> Any:
    p = pair(servers=server.url)
    gathering = asyncio.ensure_future(p.a.gather())
    await server.asked.wait()
    gathering.cancel()
    await asyncio.wait({gathering})
    return p


async def at_resolving(pair: Any, server: Any) -> Any:
    class Never:
        def resolve(self, *arguments: object, **more: object) -> Never:
            return self

        def cancel(self) -> None:
            self.cancelled = True

    p = pair(servers="stun:stun.example.org", resolver=Never())
    gathering = asyncio.ensure_future(p.a.gather())
    await asyncio.sleep(0)
    gathering.cancel()
    await asyncio.wait({gathering})
    return p


async def at_gathered(pair: Any, server: Any) -> Any:
    p = pair()
    await asyncio.gather(p.a.gather(), p.b.gather())
    return p


async def at_checking(pair: Any, server: Any) -> Any:
    p = pair()
    await p.a.gather()
    p.a.set_remote_credentials("abcd", "p" * 22)
    host, port = server.endpoint.address
    p.a.add_remote_candidate(f"candidate:1 1 udp 2130706431 {host} {port} typ host")
    await server.asked.wait()
    assert p.a.state == "checking"
    return p


async def at_connected(pair: Any, server: Any) -> Any:
    return await pair().connect()


STAGES = [at_new, at_gathering, at_resolving, at_gathered, at_checking, at_connected]


@pytest.mark.parametrize("stage", STAGES)
def test_closing_ends_every_wait_and_leaves_nothing(run, pair, stun_server, stage) -> None:
    async def body() -> None:
        server = stun_server(silent=True)
        p = await stage(pair, server)
        waiting = await everybody(p.a)
        p.a.close()
        connect, gather, recv, recvfrom, candidates, states = waiting
        await asyncio.wait(waiting)
        if stage is at_connected:
            assert connect.result() is not None
        else:
            assert isinstance(connect.exception(), IceFailed)
            assert "closed" in str(connect.exception())
            assert connect.exception().report is not None
        if p.a.gathering_state == "complete":
            assert gather.exception() is None
            assert candidates.result()[-1] is None
        else:
            assert isinstance(gather.exception(), IceFailed)
            assert None not in candidates.result()
        for each in (recv, recvfrom):
            assert isinstance(each.exception(), ConnectionError)
        assert states.result()[-1][0] == "closed"
        await p.a.close()
        await p.close()
        await server.close()

    run(body())


@pytest.mark.parametrize("turns", range(6))
def test_closing_right_after_the_start(run, pair, stun_server, turns) -> None:
    async def body() -> None:
        server = stun_server()
        p = pair(servers=server.url)
        p.introduce()
        connecting = [asyncio.ensure_future(each.connect()) for each in (p.a, p.b)]
        for _ in range(turns):
            await asyncio.sleep(0)
        await p.close()
        for outcome in await asyncio.gather(*connecting, return_exceptions=True):
            assert isinstance(outcome, IceFailed) or outcome is not None
        await server.close()

    run(body())


@pytest.mark.parametrize("turns", range(6))
def test_closing_right_after_the_start_without_add_reader(run, pair, turns) -> None:
    class NoReaders(asyncio.SelectorEventLoop):
        def add_reader(self, *args: object) -> None:
            raise NotImplementedError

    async def body() -> None:
        p = pair()
        gathering = asyncio.ensure_future(p.a.gather())
        for _ in range(turns):
            await asyncio.sleep(0)
        await p.close()
        await asyncio.wait({gathering})
        assert gathering.exception() is None or isinstance(gathering.exception(), IceFailed)

    run(body(), loop=NoReaders())


def test_everything_after_closing_is_refused_or_ignored(run, pair, agent) -> None:
    async def body() -> None:
        p = await pair().connect()
        description = p.b.local_description
        await p.close()
        for _ in range(2):
            await p.a.close()
            p.a.close()
        for call in (p.a.connect, p.a.gather, p.a.recv, p.a.recvfrom):
            with pytest.raises(IceFailed, match="closed"):
                await call()
        with pytest.raises(IceFailed, match="closed"):
            p.a.send(b"x")
        p.a.set_remote_description(description)
        p.a.add_remote_candidate(None)
        assert [candidate async for candidate in p.a.candidates()][-1] is None
        assert p.a.state == "closed"
        assert p.a.selected is None or p.a.report() is not None

    run(body())


def test_an_agent_that_was_never_used_is_closed_without_an_event_loop(agent) -> None:
    a = agent(controlling=True)
    told: list[str] = []
    a.on_state = lambda state, reason: told.append(state)
    a.close()
    a.close()
    assert told == ["closed"]
    assert a.state == "closed"


@pytest.mark.parametrize(
    "callback", ["on_candidate", "on_gathering_state", "on_state", "on_selected", "on_data"]
)
def test_closing_from_inside_a_callback(run, pair, callback) -> None:
    async def body() -> None:
        p = pair()
        p.introduce()
        told: list[Any] = []

        def close(*arguments: object) -> None:
            told.append(arguments)
            p.a.close()

        if callback == "on_data":
            await p.connect()
            p.a.on_data = close
            p.b.send_many([b"x"] * 5)
            await until_closed(p.a)
            assert len(told) == 1
        else:
            setattr(p.a, callback, close)
            other = asyncio.ensure_future(p.b.connect())
            with pytest.raises(IceFailed):
                await p.a.connect()
            p.b.close()
            await asyncio.wait({other})
            assert other.exception() is None or isinstance(other.exception(), IceFailed)
        assert told
        assert p.a.state == "closed"
        await p.close()

    run(body())


async def until_closed(agent: Agent) -> None:
    async for _ in agent.states():
        pass


def test_the_context_manager_closes_whatever_happens(run, agent) -> None:
    async def body() -> None:
        made: list[Agent] = []

        async def use() -> None:
            async with agent(controlling=True) as a:
                made.append(a)
                await a.gather()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await use()
        assert made[0].state == "closed"

    run(body())


def test_many_agents_come_and_go(run, pair) -> None:
    async def body() -> None:
        for _ in range(20):
            await (await pair().connect()).close()

    run(body())


# --- cancelling and time
# -------------------------------------------------------------------------------------------


def test_connect_can_be_cancelled_and_called_again(run, pair) -> None:
    async def body() -> None:
        p = pair()
        waiting = asyncio.ensure_future(p.a.connect())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await p.connect()
        assert await p.a.connect() is p.a.selected
        await p.close()

    run(body())


def test_connect_in_time_or_with_a_report(run, pair) -> None:
    async def body() -> None:
        p = pair()
        with pytest.raises(IceFailed, match="not connected after 0 s") as caught:
            await p.a.connect(timeout=0)
        assert "description never came" in str(caught.value)
        assert caught.value.report.state == "new"
        await p.connect()
        await p.close()

    run(body())


def test_failure_has_a_report_and_ends_recv(run, agent, stun_server) -> None:
    async def body() -> None:
        server = stun_server(silent=True)
        a = agent(controlling=True, timeouts=Timeouts(patience=0.0))
        await a.gather()
        receiving = asyncio.ensure_future(a.recv())
        await asyncio.sleep(0)
        a.set_remote_credentials("abcd", "p" * 22)
        a.add_remote_candidate(None)
        with pytest.raises(IceFailed) as caught:
            await a.connect()
        assert caught.value.report.state == "failed"
        assert caught.value.report.conclusion in str(caught.value)
        with pytest.raises(IceFailed):
            await receiving
        with pytest.raises(IceFailed):
            a.send(b"x")
        await a.close()
        await server.close()

    run(body())


def test_what_came_before_the_failure_can_still_be_read(run, agent) -> None:
    async def body() -> None:
        a = agent(controlling=True, timeouts=Timeouts(patience=0.0))
        await a.gather()
        a.streams[0].take_data(b"last words", 1, ("127.0.0.1", 9))
        a.set_remote_credentials("abcd", "p" * 22)
        a.add_remote_candidate(None)
        with pytest.raises(IceFailed):
            await a.connect()
        assert await a.recv() == b"last words"
        with pytest.raises(IceFailed):
            await a.recv()
        await a.close()

    run(body())


# --- callbacks that raise
# ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "callback", ["on_candidate", "on_gathering_state", "on_state", "on_selected", "on_data", "on_server"]
)
def test_a_callback_that_raises_is_reported_and_the_agent_goes_on(run, pair, stun_server, callback) -> None:
    async def body() -> None:
        complaints: list[dict[str, Any]] = []
        complained = asyncio.Event()
        loop = asyncio.get_running_loop()
        inherited = loop.get_exception_handler()
        loop.set_exception_handler(lambda _, context: (complaints.append(context), complained.set()))
        server = stun_server()
        p = pair(servers=server.url)
        p.introduce()
        passes_on = p.a.on_candidate

        def broken(*arguments: Any) -> None:
            if callback == "on_candidate":
                passes_on(*arguments)
            raise LookupError("oops")

        setattr(p.a, callback, broken)
        await asyncio.gather(p.a.connect(), p.b.connect(), p.a.gather())
        p.a.send(b"y")
        assert await p.b.recv() == b"y"
        p.b.send(b"z")
        if callback == "on_data":
            await complained.wait()
            p.a.on_data = None
            p.b.send(b"z")
        assert await p.a.recv() == b"z"
        await p.close()
        await server.close()
        assert complaints
        for context in complaints:
            assert isinstance(context["exception"], LookupError)
            assert context["agent"] is p.a
            assert "callback" in context["message"]
        loop.set_exception_handler(inherited)

    run(body())


def test_a_callback_that_raises_before_there_is_an_event_loop(agent, caplog) -> None:
    a = agent(controlling=True)

    def broken(*arguments: object) -> None:
        raise LookupError("oops")

    a.on_state = broken
    a.close()
    assert "oops" in caplog.text


# --- garbage
# -------------------------------------------------------------------------------------------------------


def garbage(target: Agent) -> list[bytes]:
    """What strangers may send: noise of every size, broken STUN, checks with wrong credentials, other
    protocols."""
    noise = random.Random(8445)
    key = IntegrityKey.short_term("not the password")
    user = f"{target.local_description.ufrag}:evil"

    def check(username: str, *, signed: bool) -> bytes:
        builder = MessageBuilder(Method.BINDING, MessageClass.REQUEST)
        builder.add(Attribute.USERNAME, username)
        builder.add(Attribute.PRIORITY, 1)
        builder.add(Attribute.ICE_CONTROLLING, 1)
        return builder.build(key if signed else None, fingerprint=True)

    good = check(user, signed=True)
    broken = [good[:cut] for cut in range(0, len(good), 3)]
    flipped = [good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :] for at in range(len(good))]
    random_bytes = [noise.randbytes(noise.choice([0, 1, 19, 20, 100, 1500, 9000])) for _ in range(200)]
    with_cookie = [b"\x00\x01\x00\x50\x21\x12\xa4\x42" + noise.randbytes(92) for _ in range(100)]
    others = [b"\x16\xfe\xfd" + bytes(50), b"\x80\x60" + bytes(160), b"\x40\x00\x00\x04data", b"\xff" * 65507]
    return [
        good,
        check(user, signed=False),
        check("no:body", signed=True),
        *broken,
        *flipped,
        *random_bytes,
        *with_cookie,
        *others,
    ]


def test_strangers_reach_neither_the_application_nor_the_agent(run, pair) -> None:
    """Malformed, unauthenticated and unexpected datagrams are dropped and counted; they make no candidate."""

    async def body() -> None:
        p = await pair().connect()
        remote = p.a.remote_candidates
        stranger = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        stranger.bind(("127.0.0.1", 0))
        sent = garbage(p.a)
        for start in range(0, len(sent), 50):
            for data in sent[start : start + 50]:
                stranger.sendto(data, p.a.local_candidates[0].transport_address)
            p.b.send(b"genuine")
            assert await p.a.recv() == b"genuine"
        stranger.close()
        assert p.a.remote_candidates == remote
        assert not p.a.streams[0]._inbox.queue
        counters = p.a.report().counters
        dropped = {reason: count for reason, count in counters.items() if reason.startswith("drop.")}
        assert sum(dropped.values()) > 0.9 * len(sent)
        assert {"drop.empty", "drop.data.unvalidated", "drop.stun.malformed"} <= set(dropped)
        await p.close()

    run(body())


def test_a_send_error_does_not_end_the_session(run, pair) -> None:
    """8445-33: errors of the operating system are about one packet; the next one goes through."""

    class Refusing:
        def __init__(self, sock: socket.socket) -> None:
            self._sock = sock
            self.refuse = 1

        def __getattr__(self, name: str) -> Any:
            return getattr(self._sock, name)

        def sendto(self, data: bytes, address: Any) -> int:
            if self.refuse:
                self.refuse -= 1
                raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
            return self._sock.sendto(data, address)

    async def body() -> None:
        p = await pair().connect()
        endpoint = p.a._runtime.driver._endpoints[p.a.selected.socket]
        endpoint._sock = Refusing(endpoint._sock)
        assert not p.a.send(b"lost")
        assert p.a.send(b"arrives")
        assert await p.b.recv() == b"arrives"
        assert p.a.state in {"connected", "completed"}
        assert p.a.report().counters["socket.error"] == 1
        await p.close()

    run(body())
