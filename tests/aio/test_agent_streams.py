"""Several streams under one session, and sending: chosen pairs, room in buffers, components."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest

from fasticePy.aio import Agent, Stream
from fasticePy.errors import StateError
from fasticePy.ice import IceFailed


def introduce(a: Agent, b: Agent) -> None:
    for one, other in ((a, b), (b, a)):
        for mine, theirs in zip(one.streams, other.streams, strict=True):
            mine.on_candidate = theirs.add_remote_candidate
            theirs.set_remote_credentials(mine.local_description.ufrag, mine.local_description.pwd)


async def connected(agent: Any, **options: Any) -> tuple[Agent, Agent]:
    a, b = (agent(controlling=side, **options) for side in (True, False))
    introduce(a, b)
    await asyncio.gather(a.connect(10), b.connect(10))
    return a, b


def test_each_stream_has_a_path_and_data_of_its_own(run, agent) -> None:
    """8839-23: streams of one session, each with credentials, candidates and a checklist."""

    async def body() -> None:
        a, b = await connected(agent, streams=3)
        assert [stream.index for stream in a.streams] == [0, 1, 2]
        assert len({stream.local_description.ufrag for stream in a.streams}) == 3
        assert len({stream.selected.socket for stream in a.streams}) == 3
        for number, stream in enumerate(a.streams):
            assert isinstance(stream, Stream)
            assert stream.send(b"%d" % number)
        assert [await stream.recv() for stream in reversed(b.streams)] == [b"2", b"1", b"0"]
        received: list[tuple[int, bytes]] = []
        for stream in a.streams:
            stream.on_data = lambda data, pair: received.append((pair.stream, data))
        for number, stream in enumerate(b.streams):
            stream.send(b"%d" % number)
        while len(received) < 3:  # noqa: ASYNC110 - callbacks fill it
            await asyncio.sleep(0.001)
        assert sorted(received) == [(0, b"0"), (1, b"1"), (2, b"2")]
        await a.close()
        await b.close()

    run(body())


def test_a_stream_that_comes_in_the_middle_of_a_session(run, agent) -> None:
    """8839-23: it gathers and connects, and data of each stream comes where it belongs."""

    async def body() -> None:
        a, b = await connected(agent)
        one, other = a.add_stream(), b.add_stream()
        assert (one, one.index) == (a.streams[-1], 1)
        assert a.state == "new"  # of several streams, that of the one which is worst off
        for mine, theirs in ((one, other), (other, one)):
            mine.on_candidate = theirs.add_remote_candidate
            theirs.set_remote_credentials(mine.local_description.ufrag, mine.local_description.pwd)
        await asyncio.gather(a.gather(), b.gather())
        await asyncio.gather(a.connect(10), b.connect(10))
        one.send(b"new")
        a.send(b"old")
        assert (await b.recv(), await other.recv()) == (b"old", b"new")
        await a.close()
        await b.close()
        with pytest.raises(StateError):
            a.add_stream()

    run(body())


def test_streams_that_are_there_before_gathering_begins(run, agent) -> None:
    async def body() -> None:
        a, b = (agent(controlling=side) for side in (True, False))
        a.add_stream()
        b.add_stream()
        introduce(a, b)
        await asyncio.gather(a.connect(10), b.connect(10))
        for stream in a.streams:
            stream.send(b"%d" % stream.index)
        assert [await stream.recv() for stream in b.streams] == [b"0", b"1"]
        await a.close()
        await b.close()

    run(body())


@pytest.mark.parametrize("gone", [0, 1])
def test_a_stream_that_is_closed(run, agent, gone) -> None:
    """8839-23: its sockets are closed and its readers woken; the others go on, and wait for it no more."""

    async def body() -> None:
        a, b = await connected(agent, streams=2)
        left = 1 - gone
        reading = asyncio.ensure_future(a.streams[gone].recv())
        await asyncio.sleep(0)
        a.close_stream(a.streams[gone])
        b.close_stream(gone)
        with pytest.raises(IceFailed):
            await reading
        assert a.streams[gone].state == "closed"
        assert a.state in ("connected", "completed")
        assert a.gathering_state == "complete"
        assert (await a.connect(1)).stream == left
        a.streams[left].send(b"still here")
        assert await b.streams[left].recv() == b"still here"
        with pytest.raises(IceFailed):
            a.streams[gone].send(b"x")
        for wrong in (2, -1, b.streams[gone]):
            with pytest.raises(ValueError, match="is no stream of"):
                a.close_stream(wrong)
        await a.close()
        await b.close()

    run(body())


def test_a_stream_that_is_closed_while_it_gathers_holds_nobody_up(run, agent, stun_server) -> None:
    async def body() -> None:
        server = stun_server(silent=True)
        a = agent(controlling=True, streams=2, servers=[server.url])
        gathering = asyncio.ensure_future(a.gather())
        await server.asked.wait()
        a.close_stream(0)
        a.close_stream(1)
        a.close_stream(1)
        await a.close()
        with pytest.raises(IceFailed):
            await gathering
        await server.close()

    run(body())


def test_facts_for_negotiation(run, agent) -> None:
    async def body() -> None:
        a, b = await connected(agent, streams=2)
        for stream in a.streams:
            facts = stream.facts(mid="m", transport="udp")
            assert facts.description == stream.local_description
            assert facts.mid == "m"
            assert facts.controlling
        assert a.facts() == a.streams[0].facts()
        assert not b.facts().controlling
        await a.close()
        await b.close()

    run(body())


def test_what_the_agent_offers_is_the_first_stream(run, agent) -> None:
    async def body() -> None:
        a, b = await connected(agent, streams=2)
        first = a.streams[0]
        assert a.local_description == first.local_description
        assert a.selected is first.selected is a.selected_pair(1)
        assert a.pairs == first.pairs
        assert a.local_candidates == first.local_candidates
        assert a.remote_candidates == first.remote_candidates
        a.on_data = print
        assert first.on_data is print
        assert a.streams[1].on_data is None
        a.on_data = None
        a.send(b"x")
        assert await b.recvfrom() == (b"x", 1)
        await a.close()
        await b.close()

    run(body())


def test_the_state_is_that_of_the_worst_stream(run, agent) -> None:
    async def body() -> None:
        a, b = agent(controlling=True, streams=2), agent(controlling=False, streams=2)
        states: list[str] = []
        a.on_state = lambda state, reason: states.append(state)
        for one, other in ((a, b), (b, a)):
            mine = one.streams[0]
            mine.on_candidate = other.streams[0].add_remote_candidate
            other.set_remote_credentials(mine.local_description.ufrag, mine.local_description.pwd)
        await b.gather()
        with pytest.raises(IceFailed, match="not connected"):
            await a.connect(0)
        while a.streams[0].state not in {"connected", "completed"}:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        assert a.streams[1].state == a.state == "new"
        for one, other in ((a, b), (b, a)):
            other.streams[1].set_remote_description(one.streams[1].local_description)
        await asyncio.gather(a.connect(10), b.connect(10))
        assert "connected" in states
        assert states.index("checking") < states.index("connected")
        assert [entry.state for entry in a.state_history] == ["new", *states]
        await a.close()
        assert states[-1] == "closed"
        await b.close()

    run(body())


def test_one_stream_restarts_and_the_other_does_not(run, agent) -> None:
    async def body() -> None:
        a, b = await connected(agent, streams=2)
        kept = a.streams[0].local_description
        told: list[str] = []
        for mine, theirs in zip(a.streams, b.streams, strict=True):
            for one, other in ((mine, theirs), (theirs, mine)):
                one.on_restart = other.set_remote_description
        a.streams[1].on_restart = lambda description: (
            told.append(description.ufrag),
            b.streams[1].set_remote_description(description),
        )
        description = a.streams[1].restart()
        while a.streams[1].selected.local_candidate.candidate.ufrag != description.ufrag:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        assert told == [description.ufrag]
        assert a.streams[0].local_description.ufrag == kept.ufrag
        a.streams[1].send(b"x")
        assert await b.streams[1].recv() == b"x"
        await a.close()
        await b.close()

    run(body())


def test_the_component_is_noted_when_the_datagram_comes(run, agent) -> None:
    """Its socket may be closed when it is read."""

    async def body() -> None:
        a, b = await connected(agent, components=2)
        a.send(b"x", 2)
        while not b.streams[0]._inbox.queue:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        b._machine._sockets.clear(0.0)
        assert await b.recvfrom() == (b"x", 2)
        await a.close()
        await b.close()

    run(body())


def test_data_of_a_socket_that_is_closed_is_counted(run, agent) -> None:
    """What the operating system still had for it must not raise out of the receive path."""

    async def body() -> None:
        a = agent(controlling=True, streams=2)
        await a.gather()
        a._take_data(b"late", 9999, ("127.0.0.1", 9))
        a.streams[0].take_data(b"late", 9999, ("127.0.0.1", 9))
        a._writable(9999)
        assert a.report().counters["drop.data.closed"] == 2
        await a.close()
        a._writable(9999)

    run(body())


def test_closing_ends_what_streams_wait_for(run, agent) -> None:
    async def body() -> None:
        a = agent(controlling=True, streams=2)
        waiting = [asyncio.ensure_future(each) for each in (a.streams[1].recv(), a.gather())]
        await asyncio.sleep(0)
        a.close()
        await asyncio.wait(waiting)
        assert all(isinstance(each.exception(), IceFailed) for each in waiting)
        assert None not in [candidate async for candidate in a.streams[1].candidates()]
        with pytest.raises(TypeError, match="sockets"):
            copy.copy(a.streams[1])
        assert "closed" in repr(a.streams[1])
        await a.close()

    run(body())


# --- sending
# ----------------------------------------------------------------------------------------------------------


def test_data_on_a_pair_of_ones_choice(run, agent, stun_server) -> None:
    """8445-57: any valid pair may carry data; what is not valid may not."""

    async def body() -> None:
        a, b = await connected(agent, addresses=["127.0.0.1"])
        chosen = a.selected
        assert a.send(b"x", pair=chosen)
        assert await b.recv() == b"x"
        assert a.send_many([b"1", b"2"], pair=chosen) == 2
        assert [await b.recv(), await b.recv()] == [b"1", b"2"]
        await a.drain(pair=chosen)
        chosen.valid = False
        with pytest.raises(IceFailed, match="cannot carry data"):
            a.send(b"x", pair=chosen)
        with pytest.raises(IceFailed, match="cannot carry data"):
            await a.drain(pair=chosen)
        chosen.valid = True
        chosen.stream = 1
        for call in (lambda: a.send(b"x", pair=chosen), lambda: a.select(chosen)):
            with pytest.raises(ValueError, match="stream 1"):
                call()
        await a.close()
        await b.close()

    run(body())


class Full:
    """A socket whose buffer is full until it is told otherwise."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self.full = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def fileno(self) -> int:
        return self._sock.fileno()

    def sendto(self, data: bytes, address: Any) -> int:
        if self.full:
            raise BlockingIOError(11, "full")
        return self._sock.sendto(data, address)


def test_a_full_buffer_is_told_and_its_room_too(run, agent) -> None:
    async def body() -> None:
        a, b = await connected(agent)
        await a.drain()
        told: list[str] = []
        a.on_writable = lambda: told.append("room")
        endpoint = a._runtime.driver._endpoints[a.selected.socket]
        full = endpoint._sock = Full(endpoint._sock)
        assert not a.send(b"lost")
        assert a.send_many([b"lost"]) == 0
        waiting = asyncio.ensure_future(a.drain())
        await asyncio.sleep(0)
        assert not told
        full.full = False
        await waiting
        assert told == ["room"]
        assert a.send(b"arrives")
        assert await b.recv() == b"arrives"
        assert a.report().counters["drop.send.buffer-full"] == 2
        await a.close()
        await b.close()

    run(body())


def test_waiting_for_room_ends_when_there_is_no_path(run, agent) -> None:
    async def body() -> None:
        a, b = await connected(agent)
        endpoint = a._runtime.driver._endpoints[a.selected.socket]
        endpoint._sock = Full(endpoint._sock)
        assert not a.send(b"lost")
        waiting = asyncio.ensure_future(a.drain())
        await asyncio.sleep(0)
        assert not waiting.done()
        a.close()
        with pytest.raises(IceFailed, match="closed"):
            await waiting
        with pytest.raises(IceFailed, match="closed"):
            await a.drain()
        with pytest.raises(StateError, match="connect"):
            await agent(controlling=True).drain()
        await b.close()

    run(body())


def test_select_moves_the_data(run, agent) -> None:
    async def body() -> None:
        a, b = await connected(agent, addresses=["127.0.0.0/8"], include_loopback=True)
        assert a.select(a.selected) is None
        a.send(b"x")
        assert await b.recv() == b"x"
        await a.close()
        await b.close()

    run(body())
