"""Options that cannot be are refused when they are made, in words that name them."""

from __future__ import annotations

import math
from dataclasses import fields

import pytest

from fasticePy.ice import IceAgent, IceOptions, Limits, Timeouts
from fasticePy.sim import Simulation
from fasticePy.stun.uri import parse_server_url

ZERO = {"patience", "nomination_direct", "nomination_relay"}
AT_LEAST_ONE = {"pairs", "checks_per_address", "validated_addresses"}
NAMES = [each.name for each in fields(Timeouts)]


@pytest.mark.parametrize("name", NAMES)
def test_times(name) -> None:
    for wrong in (-1, -0.001, math.inf, -math.inf, math.nan):
        with pytest.raises(ValueError, match=f"Timeouts.{name}="):
            Timeouts(**{name: wrong})
    for kind in ("5", None, True, [5]):
        with pytest.raises(TypeError, match=f"Timeouts.{name} is a number of seconds"):
            Timeouts(**{name: kind})
    assert getattr(Timeouts(**{name: 7}), name) == 7
    if name in ZERO:
        assert getattr(Timeouts(**{name: 0}), name) == 0
    else:
        with pytest.raises(ValueError, match="more than 0"):
            Timeouts(**{name: 0})


@pytest.mark.parametrize("name", [each.name for each in fields(Limits)])
def test_limits(name) -> None:
    with pytest.raises(ValueError, match=f"Limits.{name}=-1"):
        Limits(**{name: -1})
    for kind in (1.5, "5", None, True):
        with pytest.raises(TypeError, match=f"Limits.{name} is a whole number"):
            Limits(**{name: kind})
    if name in AT_LEAST_ONE:
        with pytest.raises(ValueError, match="1 or more"):
            Limits(**{name: 0})
    else:
        assert getattr(Limits(**{name: 0}), name) == 0


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"controlling": "no"}, TypeError, "controlling"),
        ({"lite": 0}, TypeError, "lite"),
        ({"components": 0}, ValueError, "components=0: 1 to 256"),
        ({"components": 257}, ValueError, "components=257"),
        ({"streams": 1.0}, TypeError, "streams"),
        ({"local_pwd": b"x" * 22}, TypeError, "local_pwd"),
        ({"candidate_types": "host"}, TypeError, "candidate_types"),
        ({"candidate_types": frozenset({"prflx"})}, ValueError, "prflx is none of host, relay, srflx"),
        ({"tcp": True}, TypeError, "tcp"),
        ({"tcp": frozenset({"both"})}, ValueError, "tcp: both"),
        ({"local_candidate": 5}, TypeError, "local_candidate"),
        ({"mdns": True}, ValueError, "mdns is one of"),
        ({"nomination": "aggressive"}, ValueError, "nomination is one of regular, fastest, continuous"),
        ({"timeouts": None}, TypeError, "timeouts"),
        ({"limits": {}}, TypeError, "limits"),
        ({"advertise": ("10.0.0.1=203.0.113.7",)}, TypeError, "advertise"),
        ({"software": 5}, TypeError, "software"),
    ],
    ids=str,
)
def test_options_of_the_machine(options, error, match) -> None:
    with pytest.raises(error, match=match):
        IceOptions(**{"controlling": True, **options})


def test_no_room_for_anything_that_may_be_nothing() -> None:
    """Limits of 0 are limits, not errors: the two connect by what they may hold, or do not, and nothing raises."""
    sim = Simulation(1)
    nodes = []
    for side in (1, 2):
        limits = Limits(**{each.name: 0 for each in fields(Limits) if each.name not in AT_LEAST_ONE})
        options = IceOptions(controlling=side == 1, limits=limits, timeouts=Timeouts(patience=0))
        host = sim.network.add_host(f"10.0.0.{side}")
        nodes.append(sim.add_agent(host, IceAgent(options, rng=sim.rng)))
    for node in nodes:
        node.gather([parse_server_url("stun:192.0.2.1")])
    sim.signal(*nodes)
    sim.run_for(60)
    assert {node.agent.state for node in nodes} == {"failed"}
    assert not nodes[0].agent.report(60.0).entries
