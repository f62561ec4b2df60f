"""ICE restart through `Agent`: new descriptions, candidates of one generation only, and data that goes on (RFC 8445
9)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fasticePy.aio import Agent
from fasticePy.aio.interfaces import InterfaceAddress
from fasticePy.errors import StateError
from fasticePy.ice import Candidate, Description, IceFailed, Timeouts


class Signalling:
    """Carries restarts and candidates of two agents to the other one, and notes them."""

    def __init__(self, a: Agent, b: Agent) -> None:
        self.told: dict[str, list[Any]] = {"a": [], "b": []}
        self.lost = False
        for name, one, other in (("a", a, b), ("b", b, a)):
            one.on_restart = self._pass_on(name, other.set_remote_description)
            one.on_candidate = self._pass_on(name, other.add_remote_candidate)

    def _pass_on(self, name: str, to: Any) -> Any:
        def pass_on(what: Any) -> None:
            self.told[name].append(what)
            if not self.lost:
                to(what)

        return pass_on

    def restarts(self, name: str) -> list[Description]:
        return [each for each in self.told[name] if isinstance(each, Description)]


async def until(condition: Any) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
        await asyncio.sleep(0.001)


def moved(agent: Agent, description: Description) -> bool:
    """Whether data travels on a pair of this generation."""
    pair = agent.selected
    return pair is not None and pair.local_candidate.candidate.ufrag == description.ufrag


def test_a_restart_of_ours_makes_the_peer_restart_and_data_moves_over(run, pair) -> None:
    """8445-53, 8838-13: a new description at once; on_restart on both sides, then candidates, then their end."""

    async def body() -> None:
        p = await pair().connect()
        signalling = Signalling(p.a, p.b)
        before = p.a.local_description, p.b.local_description
        description = p.a.restart()
        assert description == p.a.local_description
        assert (description.ufrag, description.pwd) != (before[0].ufrag, before[0].pwd)
        assert not signalling.told["a"]  # callbacks never run inside the call
        await until(lambda: moved(p.a, p.a.local_description) and moved(p.b, p.b.local_description))
        for name, agent, old in (("a", p.a, before[0]), ("b", p.b, before[1])):
            (told,) = signalling.restarts(name)
            assert told.ufrag == agent.local_description.ufrag != old.ufrag
            assert signalling.told[name][0] is told
            assert signalling.told[name][-1] is None
            candidates = [each for each in signalling.told[name] if isinstance(each, Candidate)]
            assert {candidate.ufrag for candidate in candidates} == {told.ufrag}
        p.a.send(b"x")
        assert await p.b.recv() == b"x"
        await p.close()

    run(body())


def test_nothing_is_lost_while_a_restart_goes_on(run, pair) -> None:
    """8445-53: the old pair carries data in both directions until the new one does, and beyond."""

    async def body() -> None:
        p = await pair().connect()
        Signalling(p.a, p.b)
        received: dict[str, list[int]] = {"a": [], "b": []}
        p.a.on_data = lambda data, chosen: received["a"].append(int(data))
        p.b.on_data = lambda data, chosen: received["b"].append(int(data))
        description = p.a.restart()
        sent = 0
        while sent < 50 or not (moved(p.a, description) and moved(p.b, p.b.local_description)):
            assert p.a.send(b"%d" % sent)
            assert p.b.send(b"%d" % sent)
            sent += 1
            await asyncio.sleep(0.001)
        await until(lambda: len(received["a"]) == len(received["b"]) == sent)
        assert sorted(received["a"]) == sorted(received["b"]) == list(range(sent))
        await p.close()

    run(body())


def test_data_flows_on_the_old_pair_while_the_peer_knows_nothing(run, pair) -> None:
    async def body() -> None:
        p = await pair().connect()
        signalling = Signalling(p.a, p.b)
        signalling.lost = True
        states: list[str] = []
        p.a.on_state = lambda state, reason: states.append(state)
        old = p.a.selected
        p.a.restart()
        await until(lambda: signalling.told["a"][-1:] == [None])
        assert p.a.selected is old
        p.a.send(b"there")
        assert await p.b.recv() == b"there"
        p.b.send(b"back")
        assert await p.a.recv() == b"back"
        assert p.a.state == "connected"
        assert set(states) <= {"connected", "completed"}
        await p.close()

    run(body())


def test_both_at_once_and_again(run, pair) -> None:
    """8445-53: crossing restarts converge, as often as one likes."""

    async def body() -> None:
        p = await pair().connect()
        Signalling(p.a, p.b)
        for _ in range(3):
            p.a.restart()
            p.b.restart()
            await until(lambda: moved(p.a, p.a.local_description) and moved(p.b, p.b.local_description))
            p.a.send(b"x")
            assert await p.b.recv() == b"x"
        await p.close()

    run(body())


def test_only_the_last_of_several_restarts_is_told(run, pair) -> None:
    async def body() -> None:
        p = await pair().connect()
        signalling = Signalling(p.a, p.b)
        signalling.lost = True
        p.a.restart()
        last = p.a.restart("abcd", "p" * 22)
        await until(lambda: signalling.told["a"][-1:] == [None])
        (told,) = signalling.restarts("a")
        assert (told.ufrag, told.pwd) == (last.ufrag, last.pwd) == ("abcd", "p" * 22)
        candidates = [each for each in signalling.told["a"] if isinstance(each, Candidate)]
        assert [candidate.ufrag for candidate in candidates] == ["abcd"]
        assert signalling.told["a"].count(None) == 1
        await p.close()

    run(body())


def test_a_restart_before_anything_else(run, pair) -> None:
    async def body() -> None:
        p = pair()
        first = p.a.local_description
        second = p.a.restart()
        assert second.ufrag != first.ufrag
        p.introduce()
        await asyncio.gather(p.a.connect(10), p.b.connect(10))
        await p.close()

    run(body())


def test_a_restart_while_gathering(run, pair, stun_server) -> None:
    async def body() -> None:
        server = stun_server(silent=True)
        p = pair(servers=server.url)
        p.introduce()
        gathering = asyncio.ensure_future(p.a.gather())
        await server.asked.wait()
        signalling = Signalling(p.a, p.b)
        p.a.restart()
        server.silent = False
        await asyncio.gather(p.a.connect(10), p.b.connect(10), gathering)
        assert [each.ufrag for each in signalling.restarts("a")] == [p.a.local_description.ufrag]
        await p.close()
        await server.close()

    run(body())


def test_a_failed_agent_is_brought_back_by_a_restart(run, pair) -> None:
    """8445-53: W3C: from `failed` to `checking`; data can be received again."""

    async def body() -> None:
        p = pair(timeouts=Timeouts(patience=0.0))
        p.a.set_remote_credentials("abcd", "p" * 22)
        p.a.add_remote_candidate(None)
        with pytest.raises(IceFailed):
            await p.a.connect()
        description = p.a.restart()
        assert p.a.state == "checking"
        p.b.set_remote_description(description)
        p.a.on_candidate = p.b.add_remote_candidate
        p.b.on_candidate = p.a.add_remote_candidate
        p.a.set_remote_description(p.b.local_description)
        await asyncio.gather(p.a.connect(10), p.b.connect(10))
        p.b.send(b"x")
        assert await p.a.recv() == b"x"
        await p.close()

    run(body())


def test_an_iterator_of_candidates_is_for_one_generation(run, pair) -> None:
    async def body() -> None:
        p = await pair().connect()
        first = [candidate async for candidate in p.a.candidates()]
        description = p.a.restart()
        renewed = asyncio.Event()
        p.a.on_restart = lambda _: renewed.set()
        await renewed.wait()
        second = [candidate async for candidate in p.a.candidates()]
        assert first[-1] is second[-1] is None
        assert {candidate.ufrag for candidate in second if candidate} == {description.ufrag}
        assert {candidate.ufrag for candidate in first if candidate} != {description.ufrag}
        await p.close()

    run(body())


def test_an_iterator_that_is_being_read_ends_with_a_restart(run, agent, stun_server) -> None:
    async def body() -> None:
        server = stun_server(silent=True)
        a = agent(controlling=True, servers=server.url)
        gathering = asyncio.ensure_future(a.gather())

        async def read() -> list[Candidate | None]:
            return [candidate async for candidate in a.candidates()]

        reading = asyncio.ensure_future(read())
        await server.asked.wait()
        a.restart()
        seen = await reading
        assert len(seen) == 1
        assert seen[0] is not None
        a.close()
        with pytest.raises(IceFailed):
            await gathering
        await server.close()

    run(body())


def test_addresses_are_read_anew_for_a_restart(run, pair, monkeypatch) -> None:
    """8445-53: a restart is for when the network has changed."""
    found = [InterfaceAddress(interface="lo", address="127.0.0.1", prefix=8, kind="loopback")]
    monkeypatch.setattr("fasticePy.aio.network.host_addresses", lambda: list(found))

    async def body() -> None:
        p = await pair(include_loopback=True, ipv6=False).connect()
        Signalling(p.a, p.b)
        found.append(InterfaceAddress(interface="lo", address="127.0.0.2", prefix=8, kind="loopback"))
        p.a.restart()
        for each in (p.a, p.b):
            await until(lambda each=each: len(each.local_candidates) == 2)
        await until(lambda: moved(p.a, p.a.local_description))
        assert {decision.address for decision in p.a.decisions if decision.used} == {
            entry.address for entry in found
        }
        await p.close()

    run(body())


def test_addresses_that_cannot_be_read_are_those_of_before(run, pair, monkeypatch, caplog) -> None:
    async def body() -> None:
        p = await pair().connect()
        Signalling(p.a, p.b)

        def broken() -> list[InterfaceAddress]:
            raise OSError("no such thing")

        monkeypatch.setattr("fasticePy.aio.network.host_addresses", broken)
        p.a.restart()
        await until(lambda: moved(p.a, p.a.local_description))
        await p.close()

    run(body())
    assert "no such thing" in caplog.text


def test_restarts_that_cannot_be(run, pair) -> None:
    async def body() -> None:
        p = await pair().connect()
        with pytest.raises(ValueError, match="ufrag"):
            p.a.restart("a", "b")
        await p.close()
        with pytest.raises(StateError, match="closed"):
            p.a.restart()

    run(body())


@pytest.mark.parametrize("turns", range(4))
def test_closing_in_the_middle_of_a_restart(run, pair, turns) -> None:
    async def body() -> None:
        p = await pair().connect()
        Signalling(p.a, p.b)
        p.a.restart()
        for _ in range(turns):
            await asyncio.sleep(0)
        await p.close()

    run(body())


def test_closing_inside_on_restart(run, pair) -> None:
    async def body() -> None:
        p = await pair().connect()
        p.a.on_restart = lambda description: p.a.close()
        p.a.on_candidate = pytest.fail
        p.a.restart()
        async for _ in p.a.states():
            pass
        await p.close()

    run(body())
