"""Our agent against itself, aioice and pion, through the peer protocol (tests/interop/peers/README.md)."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

PAIRS = [
    ("fasticepy", "fasticepy"),
    ("fasticepy", "aioice"),
    ("aioice", "fasticepy"),
    ("fasticepy", "pion"),
    ("pion", "fasticepy"),
]
"""Who plays the controlling side, and who the controlled one."""

LATE_PAIRS = [pair for pair in PAIRS if "pion" not in pair]
"""pion gives up by itself before the late side has learnt of it."""


def play(harness: ModuleType, commands: Any, stun_url: str, scenario: str, a: str, b: str) -> None:
    """Play it; a feature that a peer lacks is an error here, for all of these have what is asked."""
    servers = harness.Servers(stun=stun_url)
    line = harness.play(scenario, commands.get(a), commands.get(b), servers)
    print(line)
    assert line.startswith("ok"), line


@pytest.mark.parametrize(("a", "b"), PAIRS)
@pytest.mark.parametrize("scenario", ["host", "roleconflict", "roleconflict2", "srflx"])
def test_connects(harness: ModuleType, commands: Any, stun_url: str, scenario: str, a: str, b: str) -> None:
    """8445-31, 8445-40: role conflicts of both kinds are repaired with other implementations too."""
    play(harness, commands, stun_url, scenario, a, b)


@pytest.mark.parametrize(("a", "b"), LATE_PAIRS)
@pytest.mark.parametrize("scenario", ["late_a", "late_b"])
def test_connects_when_one_side_learns_of_the_other_seconds_later(
    harness: ModuleType, commands: Any, stun_url: str, scenario: str, a: str, b: str
) -> None:
    """8445-43: triggered checks connect the late side, whatever became of the checks before."""
    play(harness, commands, stun_url, scenario, a, b)


@pytest.mark.parametrize("b", ["fasticepy", "aioice", "pion"])
def test_notices_that_the_other_side_has_gone(
    harness: ModuleType, commands: Any, stun_url: str, b: str
) -> None:
    play(harness, commands, stun_url, "consent", "fasticepy", b)


@pytest.mark.parametrize(
    ("scenario", "a", "b"),
    [
        *(("lite_b", a, "fasticepy") for a in ("fasticepy", "aioice", "pion")),
        *(("lite_a", "fasticepy", b) for b in ("fasticepy", "aioice", "pion")),
        ("lite_b", "fasticepy", "pion"),
        ("lite_a", "pion", "fasticepy"),
    ],
)
def test_connects_to_a_lite_agent(
    harness: ModuleType, commands: Any, stun_url: str, scenario: str, a: str, b: str
) -> None:
    """8445-16: either side may be the lite one, whoever wrote it. aioice has no lite agent."""
    play(harness, commands, stun_url, scenario, a, b)


WITH_PION = [("fasticepy", "fasticepy"), ("fasticepy", "pion"), ("pion", "fasticepy")]
"""aioice has no restart, no ICE-TCP and no names of its own."""


@pytest.mark.parametrize(("a", "b"), WITH_PION)
@pytest.mark.parametrize("scenario", ["restart", "tcp", "mdns"])
def test_restarts_and_other_kinds_of_candidates(
    harness: ModuleType, commands: Any, stun_url: str, scenario: str, a: str, b: str
) -> None:
    """8445-53, 6544-1, mdns-1: restarts of both sides, TCP active and passive, names in place of addresses."""
    play(harness, commands, stun_url, scenario, a, b)


@pytest.mark.parametrize("b", ["fasticepy", "pion"])
def test_data_flows_during_a_restart(harness: ModuleType, commands: Any, stun_url: str, b: str) -> None:
    """8445-53: on the old pair, in both directions, before the peer has heard of the restart. When pion restarts it
    loses what is under way, so it plays the other side only."""
    play(harness, commands, stun_url, "restart_media", "fasticepy", b)


def test_nothing_is_lost_in_a_restart(harness: ModuleType, commands: Any, stun_url: str) -> None:
    """8445-53: the move from the old pair to the new one included."""
    play(harness, commands, stun_url, "restart_stream", "fasticepy", "fasticepy")


def test_connects_by_names_alone(harness: ModuleType, commands: Any, stun_url: str) -> None:
    """mdns-1, mdns-6: no address is signalled."""
    play(harness, commands, stun_url, "mdns_only", "fasticepy", "fasticepy")


def test_connects_over_ipv6(harness: ModuleType, commands: Any, stun_url: str) -> None:
    """pion never gathers ::1, so aioice is the other side."""
    for a, b in (("fasticepy", "fasticepy"), ("fasticepy", "aioice"), ("aioice", "fasticepy")):
        play(harness, commands, stun_url, "ipv6", a, b)
