"""A host changes its address in the middle of a call: two `fasticepy peer` in two networks with a cable between them,
and a harness that only hands over what they print."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest
from network_namespace import Namespace

pytestmark = [pytest.mark.interop, pytest.mark.natlab, pytest.mark.timeout(60)]

LONGEST_GAP = 5.0
"""Seconds in which data has to flow again. It is under 2 s where nothing else keeps the machine busy."""
OPTIONS = {"candidate_types": ["host"], "continual": True, "auto_restart": True, "echo": False}


class Call:
    """Two peers that send each other a datagram every 20 ms."""

    def __init__(self, harness: ModuleType, commands: list[list[str]]) -> None:
        self._harness = harness
        self.peers: list[Any] = []
        self.arrivals: dict[str, list[float]] = {"A": [], "B": []}
        self._number = 0
        try:
            for name, command in zip("AB", commands, strict=True):
                self.peers.append(harness.Peer(name, command))
        except harness.ScenarioError:
            self.end()
            raise

    def connect(self, **options: Any) -> None:
        """Signal both ways, until both are connected and data has arrived."""
        for peer, role in zip(self.peers, ("controlling", "controlled"), strict=True):
            peer.send("start", role=role, **OPTIONS, **options)
        for peer in self.peers:
            peer.wait_event("local")
        a, b = self.peers
        with a.lock, b.lock:
            self._harness.link(a, b)
            self._harness.link(b, a)
        for peer in self.peers:
            peer.wait_state(*self._harness.UP)
            peer.hooks.append(self._noting(peer.name))
        assert self.talk_until(lambda: all(len(times) > 20 for times in self.arrivals.values()), 10)

    def _noting(self, name: str) -> Callable[[dict[str, Any]], None]:
        def note(event: dict[str, Any]) -> None:
            if event["event"] == "data":
                self.arrivals[name].append(time.monotonic())

        return note

    def talk_until(self, enough: Callable[[], bool], seconds: float) -> bool:
        """Whether it came true meanwhile."""
        end = time.monotonic() + seconds
        while not enough():
            if time.monotonic() > end:
                return False
            self._number += 1
            for peer in self.peers:
                peer.send("send", data=f"{self._number}")
            time.sleep(0.02)
        return True

    def gap_after(self, moment: float) -> float:
        """The longest time since then in which one of the sides got nothing."""
        gaps = [0.0]
        for times in self.arrivals.values():
            marks = [moment, *(at for at in times if at > moment)]
            gaps += [after - before for before, after in pairwise(marks)]
        return max(gaps)

    def local_host(self, index: int) -> str:
        """The address on which a side selected its pair."""
        return str(self.peers[index].events("selected")[-1]["local"].split()[4])

    def remote_host(self, index: int) -> str:
        """The address that a side sees of the other one."""
        return str(self.peers[index].events("selected")[-1]["remote"].split()[4])

    def end(self) -> None:
        """Leave nothing behind."""
        for peer in self.peers:
            peer.kill()


@pytest.fixture
def call(harness: ModuleType, commands: Any, two_hosts: tuple[Namespace, Namespace]) -> Iterator[Call]:
    made = Call(harness, [host.inside(commands.get("fasticepy")) for host in two_hosts])
    yield made
    made.end()


@pytest.mark.parametrize("roamer", [0, 1], ids=["controlling", "controlled"])
@pytest.mark.parametrize("gone_for", [0.0, 3.0], ids=["at once", "seconds later"])
def test_data_flows_again_after_a_change_of_address(
    call: Call, two_hosts: tuple[Namespace, Namespace], roamer: int, gone_for: float
) -> None:
    """8445-9, 8445-54: the address of one side is gone, and another one comes, at once or after a while without any:
    the peers find a new pair by candidates that they trickle, or by a restart of their own."""
    call.connect()
    host, old, new = two_hosts[roamer], f"10.56.0.{roamer + 1}", f"10.56.0.{roamer + 3}"
    host.ip("addr", "del", f"{old}/24", "dev", "cable")
    if gone_for:
        call.talk_until(lambda: False, gone_for)
    host.ip("addr", "add", f"{new}/24", "dev", "cable")
    moment = time.monotonic()

    def flows_again() -> bool:
        return all(sum(at > moment for at in times) > 50 for times in call.arrivals.values())

    assert call.talk_until(flows_again, LONGEST_GAP), [peer.log[-8:] for peer in call.peers]
    gap = call.gap_after(moment)
    restarts = [len(peer.events("local")) - 1 for peer in call.peers]
    print(f"gap {gap:.3f} s, restarts {restarts}")
    assert gap < LONGEST_GAP
    assert call.local_host(roamer) == new
    assert call.remote_host(1 - roamer) == new
    codes = [peer.close() for peer in call.peers]
    assert codes == [0, 0]
