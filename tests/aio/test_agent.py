"""Connecting and exchanging data over loopback, both sides in one process."""

from __future__ import annotations

import asyncio
import logging
import pickle
import time
from typing import Any

import pytest

from fasticePy.aio import Agent
from fasticePy.aio.inbox import MAX_BYTES, MAX_DATAGRAMS, Inbox
from fasticePy.errors import StateError
from fasticePy.ice import Candidate, CandidatePair, Description, IceFailed


async def until(agent: Agent, *states: str) -> None:
    async for state, _ in agent.states():
        if state in states:
            return


def test_both_sides_connect_and_data_goes_both_ways(run, pair) -> None:
    async def body() -> None:
        p = pair()
        p.introduce()
        one, other = await asyncio.gather(p.a.connect(10), p.b.connect(10))
        assert isinstance(one, CandidatePair)
        assert one.remote.transport_address == other.local.transport_address
        assert one is p.a.selected
        assert p.a.send(b"question")
        assert await p.b.recv() == b"question"
        assert p.b.send(bytearray(b"answer"))
        assert p.b.send(memoryview(b"and more"))
        assert await p.a.recvfrom() == (b"answer", 1)
        assert await p.a.recv() == b"and more"
        await asyncio.gather(until(p.a, "completed"), until(p.b, "completed"))
        assert (p.a.role, p.b.role) == ("controlling", "controlled")
        await p.close()

    run(body())


@pytest.mark.parametrize("form", [lambda d: d, str, Description.to_json], ids=["object", "sdp", "json"])
def test_descriptions_without_trickle_in_every_form(run, agent, form) -> None:
    async def body() -> None:
        async with agent(controlling=True) as a, agent(controlling=False) as b:
            await asyncio.gather(a.gather(), b.gather())
            assert a.local_description.complete
            a.set_remote_description(form(b.local_description))
            b.set_remote_description(form(a.local_description))
            await asyncio.gather(a.connect(10), b.connect(10))
            a.send(b"x")
            assert await b.recv() == b"x"

    run(body())


def test_candidates_as_an_iterator_end_with_none(run, agent) -> None:
    """8838-7, 8838-13: in order, once, and then the end of candidates."""

    async def forward(one: Agent, other: Agent) -> list[Candidate | None]:
        seen = []
        async for candidate in one.candidates():
            seen.append(candidate)
            other.add_remote_candidate(candidate)
        return seen

    async def body() -> None:
        a, b = agent(controlling=True), agent(controlling=False)
        forwarding = asyncio.gather(forward(a, b), forward(b, a))
        connecting = asyncio.gather(a.connect(10), b.connect(10))
        await asyncio.sleep(0)
        a.set_remote_credentials(b.local_description.ufrag, b.local_description.pwd)
        b.set_remote_credentials(a.local_description.ufrag, a.local_description.pwd)
        await connecting
        seen, _ = await forwarding
        assert seen == [*a.local_candidates, None]
        assert [candidate async for candidate in a.candidates()] == seen  # a late reader misses nothing
        await a.close()
        await b.close()

    run(body())


def test_candidates_may_come_before_anything_else(run, agent) -> None:
    """8838-2: descriptions may be empty, candidates come in any order with them."""

    async def body() -> None:
        a, b = agent(controlling=True), agent(controlling=False)
        await asyncio.gather(a.gather(), b.gather())
        empty = Description(b.local_description.ufrag, b.local_description.pwd)
        for candidate in b.local_candidates:
            a.add_remote_candidate(candidate.to_sdp())
        a.add_remote_candidate("")
        a.set_remote_description(empty)
        connecting = asyncio.ensure_future(a.connect(10))
        b.set_remote_description(a.local_description)
        await asyncio.gather(connecting, b.connect(10))
        await a.close()
        await b.close()

    run(body())


def test_the_peers_candidates_as_text(run, agent) -> None:
    async def body() -> None:
        async with agent(controlling=True) as a:
            a.add_remote_candidate("candidate:1 1 quic 1 192.0.2.1 9 typ host")
            assert a.report().counters["drop.candidate.unsupported"] == 1
            with pytest.raises(ValueError, match="candidate"):
                a.add_remote_candidate("candidate:broken")
            with pytest.raises(ValueError, match="ufrag"):
                a.set_remote_description("v=0\r\n")

    run(body())


def test_two_components(run, pair) -> None:
    async def body() -> None:
        p = await pair(components=2).connect()
        for component in (2, 1):
            assert p.a.send(b"for %d" % component, component)
            assert await p.b.recvfrom() == (b"for %d" % component, component)
        assert p.a.selected_pair(2).component == 2
        with pytest.raises(IceFailed, match="component 3"):
            p.a.send(b"x", 3)
        await p.close()

    run(body())


def test_ipv6_loopback(run, pair, ipv6_loopback) -> None:
    async def body() -> None:
        p = await pair(addresses=[ipv6_loopback]).connect()
        assert p.a.selected.local.address == ipv6_loopback
        p.a.send(b"x")
        assert await p.b.recv() == b"x"
        await p.close()

    run(body())


def test_all_addresses_of_this_host(run, pair) -> None:
    async def body() -> None:
        p = await pair(include_loopback=True).connect()
        assert any(decision.used for decision in p.a.decisions)
        assert all(decision.reason for decision in p.a.decisions)
        await p.close()

    run(body())


def test_an_event_loop_without_add_reader(run, pair) -> None:
    class NoReaders(asyncio.SelectorEventLoop):
        def add_reader(self, *args: object) -> None:
            raise NotImplementedError

    async def body() -> None:
        p = await pair().connect()
        for _ in range(3):
            p.a.send(b"x" * 1200)
        assert [await p.b.recv() for _ in range(3)] == [b"x" * 1200] * 3
        await p.close()

    run(body(), loop=NoReaders())


def test_uvloop(run, pair) -> None:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is an extra")

    async def body() -> None:
        p = await pair().connect()
        p.a.send(b"x" * 1200)
        assert await p.b.recv() == b"x" * 1200
        await p.close()

    run(body(), loop=uvloop.new_event_loop())


def test_callbacks_tell_the_story_in_order(run, agent) -> None:
    async def body() -> None:
        a, b = agent(controlling=True), agent(controlling=False)
        story: list[Any] = []
        a.on_state = lambda state, reason: story.append(state)
        a.on_gathering_state = lambda state: story.append(f"gathering {state}")
        a.on_selected = lambda chosen: story.append("selected")

        def candidate(found: Candidate | None) -> None:
            story.append("candidate" if found else "no more candidates")
            b.add_remote_candidate(found)

        a.on_candidate = candidate
        b.on_candidate = a.add_remote_candidate
        a.set_remote_credentials(b.local_description.ufrag, b.local_description.pwd)
        b.set_remote_credentials(a.local_description.ufrag, a.local_description.pwd)
        assert not story
        await asyncio.gather(a.connect(10), b.connect(10))
        await asyncio.gather(until(a, "completed"), until(b, "completed"))
        await a.close()
        await b.close()
        order = [*dict.fromkeys(story)]
        assert (
            order.index("candidate") < order.index("gathering complete") < order.index("no more candidates")
        )
        assert [each for each in story if each in {"checking", "connected", "completed", "closed"}] == [
            "checking", "connected", "completed", "closed",
        ]  # fmt: skip
        assert order.index("selected") < order.index("connected")
        assert story.count("no more candidates") == 1

    run(body())


def test_states_as_an_iterator(run, pair) -> None:
    async def watch(agent: Agent) -> list[str]:
        return [state async for state, _ in agent.states()]

    async def body() -> None:
        p = pair()
        watching = asyncio.ensure_future(watch(p.a))
        await asyncio.sleep(0)
        await p.connect()
        await p.close()
        seen = await watching
        assert seen[0] == "new"
        assert seen[-1] == "closed"
        assert "connected" in seen
        assert [state async for state, _ in p.a.states()] == ["closed"]
        assert [entry.state for entry in p.a.state_history] == seen
        times = [entry.at for entry in p.a.state_history]
        assert times == sorted(times)
        assert all(entry.reason for entry in p.a.state_history)

    run(body())


# --- data ---------------------------------------------------------------------------------------------------
# ----------


def test_data_waits_for_the_application_in_order(run, pair) -> None:
    async def body() -> None:
        p = await pair().connect()
        for number in range(5):
            p.a.send(bytes([number]))
        assert await p.b.recv() == b"\x00"
        received: list[bytes] = []
        complete = asyncio.Event()

        def on_data(data: bytes, chosen: CandidatePair | None) -> None:
            assert chosen is p.b.selected
            received.append(data)
            if len(received) == 5:
                complete.set()

        p.b.on_data = on_data
        p.a.send(b"\x05")
        await complete.wait()
        assert received == [bytes([number]) for number in range(1, 6)]
        await p.close()

    run(body())


def test_data_that_comes_before_the_credentials_is_kept(run, agent) -> None:
    """8445-15: what a checked peer sends is taken although its answer is still on the way."""

    async def body() -> None:
        a, b = agent(controlling=True), agent(controlling=False)
        await asyncio.gather(a.gather(), b.gather())
        b.set_remote_description(a.local_description)  # a knows nothing of b yet
        connecting = asyncio.ensure_future(b.connect(10))
        await until(b, "checking")
        a.set_remote_description(b.local_description)
        await connecting
        b.send(b"early")
        assert await a.recv() == b"early"
        await a.close()
        await b.close()

    run(body())


def test_what_nobody_reads_is_bounded_and_counted(run, pair) -> None:
    async def body() -> None:
        p = await pair().connect()
        limit = MAX_DATAGRAMS
        socket = p.b.selected.socket
        address = p.b.selected.destination
        for number in range(limit + 3):
            p.b.streams[0].take_data(b"%d" % number, socket, address)
        assert p.b.report().counters["drop.data.unread"] == 3
        assert [await p.b.recv() for _ in range(limit)] == [b"%d" % number for number in range(limit)]
        await p.close()

    run(body())


def test_the_inbox_counts_bytes_too() -> None:
    inbox = Inbox()
    big = (b"x" * (MAX_BYTES // 2), 1, None)
    assert inbox.put(big)
    assert inbox.put(big)
    assert not inbox.put((b"y", 1, None))
    assert inbox.pop() is big
    assert inbox.put((b"y", 1, None))
    inbox.close()
    assert not inbox.queue
    assert not inbox.put(big)


def test_cancelling_recv_loses_nothing(run, pair) -> None:
    async def body() -> None:
        p = await pair().connect()
        waiting = asyncio.ensure_future(p.b.recv())
        other = asyncio.ensure_future(p.b.recv())
        await asyncio.sleep(0)
        # the datagram has come, and both have been woken, when one of them is cancelled
        p.b.streams[0].take_data(b"precious", p.b.selected.socket, p.b.selected.destination)
        waiting.cancel()
        assert await other == b"precious"
        with pytest.raises(asyncio.CancelledError):
            await waiting
        p.a.send(b"next")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(p.b.recv(), 0)
        assert await p.b.recv() == b"next"
        await p.close()

    run(body())


def test_recv_and_on_data_exclude_each_other(run, pair) -> None:
    async def body() -> None:
        p = await pair().connect()
        waiting = asyncio.ensure_future(p.b.recv())
        await asyncio.sleep(0)
        with pytest.raises(StateError, match="recv"):
            p.b.on_data = lambda data, chosen: None
        p.a.send(b"x")
        assert await waiting == b"x"
        p.b.on_data = lambda data, chosen: None
        with pytest.raises(StateError, match="on_data"):
            await p.b.recv()
        p.b.on_data = None
        p.a.send(b"y")
        assert await p.b.recv() == b"y"
        await p.close()

    run(body())


def test_many_at_once(run, pair) -> None:
    async def body() -> None:
        p = await pair().connect()
        assert p.a.send_many([b"%d" % number for number in range(100)]) == 100
        assert [await p.b.recv() for _ in range(100)] == [b"%d" % number for number in range(100)]
        await p.close()

    run(body())


def test_an_empty_datagram_is_sent_and_dropped_by_the_other_side(run, pair) -> None:
    async def body() -> None:
        p = await pair().connect()
        assert p.a.send(b"")
        assert p.a.send(b"x")
        assert await p.b.recv() == b"x"
        assert p.b.report().counters["drop.empty"] == 1
        await p.close()

    run(body())


def test_sending_too_early_too_late_and_too_much(run, pair, agent) -> None:
    with pytest.raises(StateError, match="connect"):
        agent(controlling=True).send(b"x")

    async def body() -> None:
        p = pair()
        await p.a.gather()
        with pytest.raises(StateError, match="connect"):
            p.a.send(b"x")
        await p.connect()
        with pytest.raises(ValueError, match="65508"):
            p.a.send(bytes(65508))
        assert p.a.send(bytes(65507))
        await p.close()
        with pytest.raises(IceFailed, match="closed") as caught:
            p.a.send(b"x")
        assert isinstance(caught.value, ConnectionError)
        assert caught.value.report is not None

    run(body())


# --- what an agent is
# -------------------------------------------------------------------------------------------------


def test_an_agent_needs_no_event_loop_before_it_is_used(run) -> None:
    a, b = Agent(controlling=True, addresses=["127.0.0.1"]), Agent(controlling=False, addresses=["127.0.0.1"])
    a.set_remote_description(b.local_description)
    b.set_remote_description(str(a.local_description))

    async def body() -> None:
        a.on_candidate = b.add_remote_candidate
        b.on_candidate = a.add_remote_candidate
        await asyncio.gather(a.connect(10), b.connect(10))
        await a.close()
        await b.close()

    run(body())


def test_an_agent_belongs_to_one_event_loop(run, agent) -> None:
    a = agent(controlling=True)
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    try:
        first.run_until_complete(a.gather())
        with pytest.raises(StateError, match="event loop"):
            second.run_until_complete(a.gather())
        first.run_until_complete(a.close())  # type: ignore[arg-type]
    finally:
        first.close()
        second.close()


def test_options_that_cannot_be() -> None:
    with pytest.raises(TypeError):
        Agent(controlling=True, multiplex=True)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="range"):
        Agent(controlling=True, ports=(40000, 40100))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ports"):
        Agent(controlling=True, ports=range(10))
    with pytest.raises(ValueError, match="components"):
        Agent(controlling=True, components=0)
    with pytest.raises(ValueError, match="ufrag"):
        Agent(controlling=True, local_ufrag="ab", local_pwd="x" * 22)
    with pytest.raises(ValueError, match="addresses"):
        Agent(controlling=True, addresses=["eth0"])


def test_callbacks_are_plain_functions(agent) -> None:
    async def coroutine(*arguments: object) -> None:
        raise AssertionError("never called")

    a = agent(controlling=True)
    for name in ("on_candidate", "on_state", "on_selected", "on_gathering_state", "on_server", "on_data"):
        assert getattr(a, name) is None
        with pytest.raises(TypeError, match=f"{name} takes a plain function"):
            setattr(a, name, coroutine)
        with pytest.raises(TypeError, match=f"{name} takes a function"):
            setattr(a, name, 5)
        setattr(a, name, print)
        assert getattr(a, name) is print
        setattr(a, name, None)


def test_the_callbacks_of_one_agent_are_not_those_of_another(agent) -> None:
    a, b = agent(controlling=True), agent(controlling=True)
    a.on_state = print
    assert b.on_state is None


def test_credentials_given_are_used(agent) -> None:
    a = agent(controlling=True, local_ufrag="abcd", local_pwd="p" * 22)
    assert (a.local_description.ufrag, a.local_description.pwd) == ("abcd", "p" * 22)


def test_an_agent_is_not_pickled_but_its_description_is(agent) -> None:
    a = agent(controlling=True)
    with pytest.raises(TypeError, match="sockets"):
        pickle.dumps(a)
    assert pickle.loads(pickle.dumps(a.local_description)) == a.local_description


def test_no_secret_is_logged_or_shown(run, pair, caplog) -> None:
    secrets: list[str] = []  # the debugging event loop would log what a coroutine returns
    shown: list[str] = []

    async def body() -> None:
        p = pair()
        secrets.extend(side.local_description.pwd for side in (p.a, p.b))
        await p.connect()
        p.a.send(b"x")
        await p.b.recv()
        shown.extend(
            [repr(p.a), str(p.a.report()), p.a.report().to_json(), str(p.a.get_stats()), str(p.a.pairs)]
        )
        await p.close()

    with caplog.at_level(logging.DEBUG):
        run(body())
    assert all(shown)
    for secret in secrets:
        assert secret not in caplog.text
        assert not [text for text in shown if secret in text]


def test_the_log_has_a_line_for_each_event_of_a_life(run, pair, caplog) -> None:
    async def body() -> None:
        p = await pair().connect()
        await asyncio.gather(until(p.a, "completed"), until(p.b, "completed"))
        await p.close()

    with caplog.at_level(logging.INFO, "fasticePy.ice"):
        run(body())
    lines = [record.getMessage() for record in caplog.records if record.name == "fasticePy.ice"]
    for word in (
        "gathered 1 candidates",
        "checking: ",
        "connected: ",
        "nominated",
        "completed: ",
        "closed: ",
    ):
        assert any(word in line for line in lines), word
    assert not any("\n" in line for line in lines)


def test_statistics_have_the_names_of_w3c(run, pair) -> None:
    async def body() -> None:
        p = await pair().connect()
        stats = p.a.get_stats()
        pair_stats = stats[stats["transport"]["selectedCandidatePairId"]]
        now = time.time() * 1000
        assert {now - 1000 < entry["timestamp"] <= now for entry in stats.values()} == {True}
        assert now - 10_000 < pair_stats["lastPacketReceivedTimestamp"] <= pair_stats["timestamp"]
        waiting = Agent(controlling=True)
        waiting.add_remote_candidate("candidate:1 1 udp 1 192.0.2.1 9 typ host")
        assert all(entry["timestamp"] > now - 1000 for entry in waiting.get_stats().values())
        assert "closed" not in str(p.a.report())
        await p.close()

    run(body())
