"""Our agent against itself, aioice and pion, through the peer protocol (tests/interop/peers/README.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import ModuleType
from typing import Any, TypeAlias

import pytest
from network_namespace import Namespace

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

WITH_PION = [("fasticepy", "fasticepy"), ("fasticepy", "pion"), ("pion", "fasticepy")]
"""aioice has no restart, no ICE-TCP and no names of its own."""

PAIRS = [*WITH_PION, ("fasticepy", "aioice"), ("aioice", "fasticepy")]
"""Who plays the controlling side, and who the controlled one."""

SLOW = ("late_a", "late_b", "consent")
"""Scenarios that wait for seconds."""

Play: TypeAlias = Callable[[str, str, str], None]
"""Plays a scenario between two implementations."""


@pytest.fixture
def play(harness: ModuleType, commands: Any, stun_url: str) -> Play:
    """On the loopback interface of this host. A feature that a peer lacks is an error, for all of these have what is
    asked."""

    def run(scenario: str, a: str, b: str) -> None:
        check(harness.play(scenario, commands.get(a), commands.get(b), harness.Servers(stun=stun_url)))

    return run


@pytest.fixture
def play_apart(harness: ModuleType, commands: Any, namespace: Namespace) -> Play:
    """In a network of its own."""

    def run(scenario: str, a: str, b: str) -> None:
        inside = [namespace.inside(commands.get(name)) for name in (a, b)]
        check(harness.play(scenario, *inside, harness.Servers(ip6="fd00::1")))

    return run


def check(line: str) -> None:
    """What the harness says of a scenario."""
    print(line)
    assert line.startswith("ok"), line


@pytest.fixture(scope="module", autouse=True)
def slow_plays(
    request: pytest.FixtureRequest, harness: ModuleType, commands: Any
) -> Iterator[dict[tuple[str, str, str], Future[str]]]:
    """The slow scenarios: those that were asked for are played while the others are tested. Their own
    tests are the last of this file."""
    params = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    wanted = {(each["scenario"], each["a"], each["b"]) for each in params if each.get("scenario") in SLOW}
    made = {name: commands.get(name) for _, *names in wanted for name in names}
    with ThreadPoolExecutor(max_workers=3) as pool:
        yield {
            (scenario, a, b): pool.submit(harness.play, scenario, made[a], made[b])
            for scenario, a, b in sorted(wanted)
        }


@pytest.mark.parametrize(("a", "b"), PAIRS)
@pytest.mark.parametrize("scenario", ["host", "roleconflict", "roleconflict2", "srflx"])
def test_connects(play: Play, scenario: str, a: str, b: str) -> None:
    """8445-31, 8445-40: role conflicts of both kinds are repaired with other implementations too."""
    play(scenario, a, b)


@pytest.mark.parametrize(
    ("scenario", "a", "b"),
    [
        *(("lite_b", a, "fasticepy") for a in ("fasticepy", "aioice", "pion")),
        *(("lite_a", "fasticepy", b) for b in ("fasticepy", "aioice", "pion")),
        ("lite_b", "fasticepy", "pion"),
        ("lite_a", "pion", "fasticepy"),
    ],
)
def test_connects_to_a_lite_agent(play: Play, scenario: str, a: str, b: str) -> None:
    """8445-16: either side may be the lite one, whoever wrote it. aioice has no lite agent."""
    play(scenario, a, b)


@pytest.mark.parametrize(("a", "b"), WITH_PION)
@pytest.mark.parametrize("scenario", ["restart", "tcp", "mdns"])
def test_restarts_and_other_kinds_of_candidates(play: Play, scenario: str, a: str, b: str) -> None:
    """8445-53, 6544-1, mdns-1: restarts of both sides, TCP active and passive, names in place of addresses."""
    play(scenario, a, b)


@pytest.mark.parametrize("b", ["fasticepy", "pion"])
def test_data_flows_during_a_restart(play: Play, b: str) -> None:
    """8445-53: on the old pair, in both directions, before the peer has heard of the restart."""
    play("restart_media", "fasticepy", b)


def test_nothing_is_lost_in_a_restart(play: Play) -> None:
    """8445-53: the move from the old pair to the new one included."""
    play("restart_stream", "fasticepy", "fasticepy")


@pytest.mark.parametrize("a", ["fasticepy", "pion"])
def test_nothing_that_reaches_us_is_lost_when_the_peer_restarts(play: Play, a: str) -> None:
    """8445-53: pion forgets all its pairs when it restarts. It refuses to send until it has a new one, and ignores what
    comes on the old one, so `restart_media` cannot pass; nothing at our side can change that. Ours keeps its pair,
    notices nothing, takes each datagram that pion sends, follows, and moves to the new pair."""
    play("restart_lossy", a, "fasticepy")


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_connects_over_ipv6(play_apart: Play, a: str, b: str) -> None:
    """8445-6: with an address that is not ::1, which pion never gathers."""
    play_apart("ipv6", a, b)


def test_connects_over_the_loopback_address_of_ipv6(play: Play) -> None:
    play("ipv6", "fasticepy", "fasticepy")


@pytest.mark.parametrize(("a", "b"), WITH_PION)
@pytest.mark.parametrize("scenario", ["mdns_only", "mdns_resolve"])
def test_connects_by_names_alone(play_apart: Play, scenario: str, a: str, b: str) -> None:
    """mdns-1, mdns-6: no address is signalled; in the second scenario only the names of B, so that A has to resolve
    them."""
    play_apart(scenario, a, b)


@pytest.mark.parametrize(("a", "b"), WITH_PION)
def test_renominates(play_apart: Play, a: str, b: str) -> None:
    """renom-1, renom-5: A nominates other pairs afterwards, and B follows; with pion in the deployed form."""
    play_apart("renomination", a, b)


@pytest.mark.parametrize(("a", "b"), PAIRS)
@pytest.mark.parametrize("scenario", ["late_a", "late_b"])
def test_connects_when_one_side_learns_of_the_other_seconds_later(
    slow_plays: dict[tuple[str, str, str], Future[str]], scenario: str, a: str, b: str
) -> None:
    """8445-43: triggered checks connect the late side, whatever became of the checks before."""
    check(slow_plays[scenario, a, b].result())


@pytest.mark.parametrize(("a", "b"), PAIRS[:-1])
@pytest.mark.parametrize("scenario", ["consent"])
def test_notices_that_the_other_side_has_gone(
    slow_plays: dict[tuple[str, str, str], Future[str]], scenario: str, a: str, b: str
) -> None:
    """7675-5: and within the times asked for, which aioice cannot be asked for."""
    check(slow_plays[scenario, a, b].result())
