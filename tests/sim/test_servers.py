from __future__ import annotations

import pytest

from fasticePy.machine import Address
from fasticePy.sim import BindError, Node, Simulation
from fasticePy.stun import StunAgent, mapped_address


def ask(sim: Simulation, client: Node[StunAgent], host: str, server: Address) -> Address | None:
    socket = client.bind(host)
    client.machine.binding(socket, server, sim.now)
    known = len(client.events)
    sim.run_until(lambda: len(client.events) > known)
    assert client.address_of(socket)[0] == host
    return mapped_address(client.events[-1].message)


def test_it_answers_on_all_addresses_of_its_host():
    sim = Simulation()
    server = sim.add_stun_server(sim.network.add_host("192.0.2.1", "192.0.2.2", "2001:db8::1"), port=3479)
    assert server.address == ("192.0.2.1", 3479)
    assert [address[1] for address in server.addresses] == [3479] * 3
    client = sim.add(sim.network.add_host("10.0.0.1", "2001:db8::99"), StunAgent(sim.rng))
    for address in server.addresses:
        host = "2001:db8::99" if ":" in address[0] else "10.0.0.1"
        assert ask(sim, client, host, address)[0] == host
    assert server.machine.counters == {"answered": 3}


def test_a_port_that_is_taken_is_said_so():
    sim = Simulation()
    host = sim.network.add_host("192.0.2.1")
    sim.add_stun_server(host)
    with pytest.raises(BindError, match="already in use"):
        sim.add_stun_server(host)


def test_two_servers_may_share_a_host():
    sim = Simulation()
    host = sim.network.add_host("192.0.2.1")
    first, second = sim.add_stun_server(host, 3478, "first"), sim.add_stun_server(host, 3479, "second")
    client = sim.add(sim.network.add_host("10.0.0.1"), StunAgent(sim.rng))
    ask(sim, client, "10.0.0.1", second.address)
    assert (first.machine.counters, second.machine.counters) == ({}, {"answered": 1})
