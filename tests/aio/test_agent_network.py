"""What an agent does when the network of its host changes, and what it tells of its addresses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from fasticePy.aio import Agent, NetworkWatcher
from fasticePy.aio.interfaces import InterfaceAddress
from fasticePy.ice import Candidate


def loopback(address: str, **more: Any) -> InterfaceAddress:
    return InterfaceAddress(interface="lo", address=address, prefix=8, kind="loopback", **more)


class FakeNetwork:
    """Addresses as the test wants them, and word of changes when it says so."""

    def __init__(self) -> None:
        self.found = [loopback("127.0.0.1")]
        self.watchers: list[NetworkWatcher] = []

    def host_addresses(self) -> list[InterfaceAddress]:
        return list(self.found)

    def shared(self) -> NetworkWatcher:
        if not self.watchers:

            def no_netlink() -> Any:
                raise OSError("none here")

            self.watchers.append(
                NetworkWatcher(read=self.host_addresses, open_netlink=no_netlink, poll_interval=3600)
            )
        return self.watchers[0]

    def change(self, *addresses: str) -> None:
        self.found = [loopback(address) for address in addresses]
        (watcher,) = self.watchers
        watcher._cache = None
        watcher._tell("the test says so")


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> FakeNetwork:
    fake = FakeNetwork()
    monkeypatch.setattr("fasticePy.aio.network.host_addresses", fake.host_addresses)
    monkeypatch.setattr("fasticePy.aio.network.NetworkWatcher.shared", fake.shared)
    return fake


OPTIONS: dict[str, Any] = {"include_loopback": True, "ipv6": False, "continual": True}


async def until(condition: Callable[[], Any]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
        await asyncio.sleep(0.001)


def hosts(agent: Agent) -> set[str]:
    return {candidate.address for candidate in agent.local_candidates}


def test_a_new_address_makes_a_candidate_at_once(run, agent, network) -> None:
    """8838-14: a continual agent goes on gathering; iterator and on_candidate hear of it after the end."""

    async def body() -> None:
        a = agent(controlling=True, **OPTIONS)
        told: list[Candidate | None] = []
        a.on_candidate = told.append
        following = a.candidates()
        await a.gather()
        assert (await anext_(following)).address == "127.0.0.1"
        assert await anext_(following) is None
        network.change("127.0.0.1", "127.0.0.2")
        await until(lambda: hosts(a) == {"127.0.0.1", "127.0.0.2"})
        assert (await anext_(following)).address == "127.0.0.2"
        assert "127.0.0.2" in [candidate.address for candidate in told if candidate]
        await a.close()
        assert [candidate async for candidate in following if candidate] == []

    run(body())


async def anext_(iterator: Any) -> Any:
    return await iterator.__anext__()


def test_a_vanished_address_loses_its_candidates(run, agent, network) -> None:
    async def body() -> None:
        network.found = [loopback("127.0.0.1"), loopback("127.0.0.2")]
        a = agent(controlling=True, **OPTIONS)
        await a.gather()
        network.change("127.0.0.2")
        await until(lambda: hosts(a) == {"127.0.0.2"})
        assert [decision.address for decision in a.decisions if decision.used] == ["127.0.0.2"]
        await a.close()

    run(body())


def test_a_connection_outlives_the_address_it_began_on(run, pair, network) -> None:
    """Roaming: the old address goes, the new one takes over, nobody restarts."""

    async def body() -> None:
        p = await pair(nomination="continuous", **OPTIONS).connect()
        network.change("127.0.0.1", "127.0.0.2")
        await until(lambda: "127.0.0.2" in hosts(p.a) and "127.0.0.2" in hosts(p.b))
        network.change("127.0.0.2")
        await until(
            lambda: all(
                side.selected is not None and side.selected.local.address == "127.0.0.2"
                for side in (p.a, p.b)
            )
        )
        p.a.send(b"x")
        assert await p.b.recv() == b"x"
        await p.close()

    run(body())


def test_watching_ends_with_the_agent(run, agent, network) -> None:
    async def body() -> None:
        a = agent(controlling=True, **OPTIONS)
        assert not network.watchers
        await a.gather()
        (watcher,) = network.watchers
        assert watcher.source == "polling"
        await a.close()
        assert watcher.source is None

    run(body())


def test_who_does_not_gather_continually_watches_nothing(run, agent, network) -> None:
    async def body() -> None:
        a = agent(controlling=True, **{**OPTIONS, "continual": False})
        await a.gather()
        assert not network.watchers
        await a.close()

    run(body())


def test_a_watch_that_begins_in_vain_ends(run, agent, network) -> None:
    def addresses(entry: object) -> bool:
        raise LookupError("oops")

    async def body() -> None:
        a = agent(controlling=True, continual=True, addresses=addresses)
        with pytest.raises(LookupError):
            await a.gather()
        assert network.watchers[0].source is None
        await a.close()

    run(body())


def test_a_failed_reading_changes_nothing(run, agent, network, monkeypatch, caplog) -> None:
    async def body() -> None:
        a = agent(controlling=True, **OPTIONS)
        await a.gather()

        def broken() -> list[InterfaceAddress]:
            raise OSError("no such thing")

        network.watchers[0]._read = broken
        network.change("127.0.0.9")
        await asyncio.sleep(0)
        assert hosts(a) == {"127.0.0.1"}
        await a.close()

    run(body())
    assert "no such thing" in caplog.text


# --- what is told
# -----------------------------------------------------------------------------------------------------


def test_the_cost_of_a_network_is_signalled(run, agent, network) -> None:
    async def body() -> None:
        network.found = [
            InterfaceAddress(interface="wwan0", address="127.0.0.1", prefix=8, kind="cellular", default=True)
        ]
        a = agent(controlling=True, **OPTIONS)
        await a.gather()
        assert "network-cost 900" in a.local_candidates[0].to_sdp()
        await a.close()

    run(body())


def test_a_hook_sees_candidates_before_anybody_else(run, pair) -> None:
    async def body() -> None:
        seen: list[Candidate] = []
        p = pair(include_loopback=True, local_candidate=seen.append)
        told: list[Candidate | None] = []
        p.a.on_candidate = told.append
        await p.a.gather()
        assert seen
        assert told == [None]
        assert not p.a.local_candidates
        await p.close()

    run(body())


@pytest.mark.parametrize("answer", ["a text", LookupError("oops")])
def test_a_hook_that_fails_leaves_candidates_out_and_is_reported(run, agent, answer) -> None:
    async def body() -> None:
        complaints: list[dict[str, Any]] = []
        loop = asyncio.get_running_loop()
        inherited = loop.get_exception_handler()
        loop.set_exception_handler(lambda _, context: complaints.append(context))

        def hook(candidate: Candidate) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        a = agent(controlling=True, local_candidate=hook)
        await a.gather()
        assert not a.local_candidates
        assert complaints[0]["agent"] is a
        await a.close()
        loop.set_exception_handler(inherited)

    run(body())


def test_hidden_addresses_are_used_and_not_told(run, agent, network, stun_server) -> None:
    """8828-1: mode 3 sends from the default address and does not tell it when it is private."""

    async def body() -> None:
        network.found = [loopback("127.0.0.1", default=True)]
        server = stun_server()
        a = agent(controlling=True, servers=server.url, exposure="default", **OPTIONS)
        await a.gather()
        assert server.requests
        assert not any(
            "127.0.0.1" in (candidate.address, candidate.related_address)
            for candidate in a.local_candidates
            if candidate.type == "host"
        )
        await a.close()
        await server.close()

    run(body())


class Names:
    """A resolver that knows some names, and answers when it is told to."""

    def __init__(self, **known: list[str]) -> None:
        self.known = {name.replace("_", "."): addresses for name, addresses in known.items()}
        self.asked: list[tuple[str, Any, int]] = []
        self.cancelled = 0

    def resolve(self, host: str, port: int, handler: Any, *, ipv4: bool = True, ipv6: bool = True) -> Names:
        self.asked.append((host, handler, port))
        return self

    def cancel(self) -> None:
        self.cancelled += 1

    def answer(self) -> None:
        for host, handler, port in self.asked:
            if host in self.known:
                handler.addresses_found([(address, port) for address in self.known[host]], True)
            else:
                handler.lookup_failed("the name does not exist")


def test_an_address_is_advertised_in_place_of_ours(run, agent) -> None:
    async def body() -> None:
        a = agent(controlling=True, advertise="127.0.0.1=203.0.113.7")
        await a.gather()
        assert hosts(a) == {"203.0.113.7"}
        await a.close()

    run(body())


def test_names_in_rules_are_looked_up_before_gathering_begins(run, agent) -> None:
    async def body() -> None:
        names = Names(host_example_org=["203.0.113.7", "2001:db8::7"])
        a = agent(controlling=True, advertise=["*=host.example.org,mode=append"], resolver=names)
        gathering = asyncio.ensure_future(a.gather())
        await asyncio.sleep(0)
        assert [host for host, _, _ in names.asked] == ["host.example.org"]
        assert a.gathering_state == "new"
        names.answer()
        await gathering
        assert hosts(a) == {"127.0.0.1", "203.0.113.7"}
        await a.close()

    run(body())


def test_a_name_without_addresses_is_left_out_with_a_word(run, agent, caplog) -> None:
    async def body() -> None:
        names = Names()
        a = agent(controlling=True, advertise=["*=host.example.org"], resolver=names)
        gathering = asyncio.ensure_future(a.gather())
        await asyncio.sleep(0)
        names.answer()
        await gathering
        assert hosts(a) == {"127.0.0.1"}
        await a.close()

    run(body())
    assert "host.example.org has no address to advertise: the name does not exist" in caplog.text


def test_a_resolver_that_fails_is_a_name_without_addresses(run, agent, caplog) -> None:
    class Broken:
        def resolve(self, *arguments: object, **more: object) -> Any:
            raise LookupError("oops")

    async def body() -> None:
        rules = ["*=one.example.org", "*=two.example.org"]
        a = agent(controlling=True, advertise=rules, resolver=Broken())
        await a.gather()
        assert hosts(a) == {"127.0.0.1"}
        await a.close()

    run(body())
    assert caplog.text.count("the resolver failed: LookupError('oops')") == 2


def test_closing_while_names_are_looked_up(run, agent) -> None:
    async def body() -> None:
        names = Names()
        a = agent(controlling=True, advertise=["*=host.example.org"], resolver=names)
        gathering = asyncio.ensure_future(a.gather())
        await asyncio.sleep(0)
        a.close()
        assert names.cancelled
        await asyncio.wait({gathering})
        assert gathering.exception() is not None
        await a.close()

    run(body())


@pytest.mark.parametrize("nomination", ["regular", "continuous"])
def test_the_only_address_is_replaced_by_another_one(run, pair, network, nomination) -> None:
    """Roaming the hard way: the old path is gone at once; what takes over depends on what the machine may do."""

    async def body() -> None:
        p = await pair(nomination=nomination, auto_restart=True, **OPTIONS).connect()
        p.a.on_restart = p.b.set_remote_description
        p.b.on_restart = p.a.set_remote_description
        network.change("127.0.0.3")
        await until(
            lambda: all(
                side.state in {"connected", "completed"}
                and side.selected is not None
                and side.selected.local.address == "127.0.0.3"
                for side in (p.a, p.b)
            )
        )
        p.a.send(b"x")
        assert await p.b.recv() == b"x"
        assert "failed" not in [entry.state for side in (p.a, p.b) for entry in side.state_history]
        await p.close()

    run(body())
