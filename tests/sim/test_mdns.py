"""Multicast DNS in the virtual network."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fasticePy.sim import Box, Link, Packet, Simulation
from fasticePy.sim.mdns import SCHEDULE

NAME = "a1b2.local"


class Wall(Box):
    """Lets everything out that reaches it."""

    def outbound(self, packet: Packet) -> None:
        self.send(packet)


def listener(sim: Simulation) -> tuple[list[tuple[float, str, str]], Callable[[str, str], None]]:
    heard: list[tuple[float, str, str]] = []
    return heard, lambda address, failure: heard.append((round(sim.now, 9), address, failure))


def lines(sim: Simulation) -> list[tuple[float, str]]:
    return [(round(packet.sent_at, 9), packet.data.decode()) for packet in sim.network.sent(transport="mdns")]


def test_a_name_is_answered_within_a_round_trip():
    """mdns-4: a name that somebody on the segment has published."""
    sim = Simulation(link=Link(latency=0.01))
    owner, asker = sim.network.add_host("10.0.0.1"), sim.network.add_host("10.0.0.2")
    owner.mdns.publish("A1B2.local", "2001:DB8::1")
    sim.run_for(1)
    heard, tell = listener(sim)
    asker.mdns.ask("a1b2.LOCAL", tell)
    sim.run_for(20)
    assert heard == [(1.04, "2001:db8::1", "")]
    assert lines(sim) == [
        (0.0, "a1b2.local is at 2001:db8::1"),
        (1.0, "who has a1b2.local"),
        (1.02, "a1b2.local is at 2001:db8::1"),
    ]


def test_a_name_that_nobody_has_is_asked_for_on_schedule_and_given_up():
    """mdns-4: no answer."""
    sim = Simulation(start=100.0)
    asker = sim.network.add_host("10.0.0.2")
    owner = sim.network.add_host("10.0.0.1")
    owner.mdns.publish(NAME, "10.0.0.1")
    owner.mdns.withdraw(NAME)
    owner.mdns.withdraw(NAME)
    sim.run_for(1)
    heard, tell = listener(sim)
    asker.mdns.ask(NAME, tell)
    asker.mdns.ask(NAME, tell)
    sim.run_for(20)
    assert heard == [(111.0, "", "no answer in 10 s")] * 2
    asked = [at for at, line in lines(sim) if line.startswith("who")]
    assert asked == [round(101 + at, 9) for at in SCHEDULE for _ in range(2)]
    assert not asker.mdns._questions


@pytest.mark.parametrize("how", ["published", "asked by somebody else"])
def test_an_answer_helps_everybody_who_waits_for_it(how):
    sim = Simulation()
    owner, asker, other = (sim.network.add_host(f"10.0.0.{n}") for n in (1, 2, 3))
    heard, tell = listener(sim)
    if how == "published":
        asker.mdns.ask(NAME, tell)
        sim.run_for(5)
        owner.mdns.publish(NAME, "10.0.0.1")
        sim.run_for(20)
        assert heard == [(5.01, "10.0.0.1", "")]
        return
    owner.mdns.publish(NAME, "10.0.0.1")
    sim.run_for(1)
    end = sim.network.drop(lambda packet: packet.source[0] == "10.0.0.2")
    asker.mdns.ask(NAME, tell)
    sim.run_for(0.03)
    end()
    other.mdns.ask(NAME, lambda address, failure: None)
    sim.run_for(20)
    assert heard == [(1.05, "10.0.0.1", "")]


def test_a_lost_question_is_asked_again():
    sim = Simulation()
    owner, asker = sim.network.add_host("10.0.0.1"), sim.network.add_host("10.0.0.2")
    owner.mdns.publish(NAME, "10.0.0.1")
    sim.run_for(1)
    owner.outage(0.0, 0.1)
    heard, tell = listener(sim)
    asker.mdns.ask(NAME, tell)
    sim.run_for(20)
    assert heard == [(1.27, "10.0.0.1", "")]


def test_a_host_knows_its_own_names():
    sim = Simulation()
    host = sim.network.add_host("2001:db8::1")
    host.mdns.publish(NAME, "2001:db8::1")
    heard, tell = listener(sim)
    host.mdns.ask(NAME, tell)
    sim.run_for(20)
    assert heard == [(0.01, "2001:db8::1", "")]
    assert {packet.destination for packet in sim.network.sent(transport="mdns")} == {("ff02::fb", 5353)}


def test_a_host_with_several_addresses_answers_once():
    sim = Simulation()
    owner, asker = sim.network.add_host("10.0.0.1", "10.0.0.3"), sim.network.add_host("10.0.0.2")
    owner.mdns.publish(NAME, "10.0.0.3")
    sim.run_for(1)
    heard, tell = listener(sim)
    asker.mdns.ask(NAME, tell)
    sim.run_for(20)
    assert heard == [(1.02, "10.0.0.3", "")]
    assert len(lines(sim)) == 3


def test_names_stay_on_their_segment():
    sim = Simulation()
    box = Wall(sim.network, "wall", sim.network.backbone, Link())
    box.add_address("198.51.100.1")
    inner = sim.network.add_host("192.168.0.2", segment=box.inside)
    outer = sim.network.add_host("10.0.0.1")
    inner.mdns.publish(NAME, "192.168.0.2")
    heard, tell = listener(sim)
    outer.mdns.ask(NAME, tell)
    sim.run_for(20)
    assert heard == [(10.0, "", "no answer in 10 s")]


def test_a_host_without_addresses_hears_no_answer():
    sim = Simulation()
    host = sim.network.add_host()
    heard, tell = listener(sim)
    host.mdns.ask(NAME, tell)
    sim.run_for(20)
    assert heard == [(10.0, "", "no answer in 10 s")]
    assert lines(sim) == []
