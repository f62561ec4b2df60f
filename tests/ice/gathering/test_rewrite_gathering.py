"""Rewrite rules at work (`IceOptions.advertise`): what an agent tells of its addresses, and what it does with answers
that name the advertised ones. The rules themselves: test_rewrite.py."""

from __future__ import annotations

import pytest
from ice_harness import ice_pair, scripted
from ice_servers import gathering, honest

from fasticePy.ice import PublishName
from fasticePy.ice.addresses import LocalAddress
from fasticePy.ice.gathering.rewrite import Rewrite

PUBLIC = "203.0.113.7"
SERVER = "stun:192.0.2.53"


def told(script) -> list[tuple[str, str, int | None]]:
    """Type, address and related port of each candidate."""
    return [(each.type, each.address, each.related_port) for each in script.agent.local_candidates]


def test_another_address_is_told_in_place_of_the_local_one():
    """A one-to-one NAT: users.md B9. The port is that of the socket, and the checks that come are answered."""
    script = scripted(controlling=False, advertise=(Rewrite("10.0.0.1", to=PUBLIC),))
    script.gather()
    assert told(script) == [("host", PUBLIC, None)]
    advertised = script.agent.local_candidates[0]
    script.set_credentials()
    script.agent.add_remote_candidate(script.peer.candidate(), script.now)
    script.peer.request(to=("10.0.0.1", advertised.port))  # as the NAT passes it on
    script.settle()
    (pair,) = script.agent.pairs
    assert pair.requests_received == 1
    assert pair.local == advertised


def test_an_answer_that_names_the_advertised_address_finds_its_candidate():
    """RFC 8445 7.2.5.3.1: the mapped address is that of a local candidate: no peer-reflexive one."""
    script = scripted(advertise=(Rewrite(to=PUBLIC),))
    script.meet()
    advertised = script.agent.local_candidates[0]
    script.peer.answer(script.peer.next_check(), mapped=advertised.transport_address)
    script.settle()
    (pair,) = script.agent.pairs
    assert pair.valid
    assert pair.mapped is None
    assert pair.local == advertised


def test_an_appended_address_is_found_too():
    script = scripted(advertise=(Rewrite(to=PUBLIC, mode="append"),))
    script.meet()
    local, advertised = script.agent.local_candidates
    assert (local.address, advertised.address) == ("10.0.0.1", PUBLIC)
    assert local.priority > advertised.priority  # RFC 8445 5.1.2.1: unique
    assert len(script.agent.pairs) == 1  # RFC 8445 6.1.2.4: one base, one pair
    script.peer.answer(script.peer.next_check(), mapped=advertised.transport_address)
    script.settle()
    assert script.agent.pairs[0].local == advertised


def test_a_peer_inside_may_see_the_local_address():
    """It is no secret, only not told: an answer that names it makes a peer-reflexive candidate, related to nothing."""
    script = scripted(advertise=(Rewrite(to=PUBLIC),))
    script.meet()
    script.peer.answer(script.peer.next_check())
    script.settle()
    local = script.agent.pairs[0].local
    assert (local.type, local.address) == ("prflx", "10.0.0.1")
    assert (local.related_address, local.related_port) == ("0.0.0.0", 9)


def test_priorities_are_unique_over_addresses_and_rules():
    """RFC 8445 5.1.2.1: one for each candidate of a component."""
    rules = (
        Rewrite("10.0.0.0/24", to=[PUBLIC, "203.0.113.8"], mode="append"),
        Rewrite(to="203.0.113.9", as_type="srflx", mode="append"),
    )
    script = scripted(advertise=rules, components=2, agent_addresses=("10.0.0.1", "10.0.0.5", "10.9.0.1"))
    script.gather()
    candidates = script.agent.local_candidates
    for component in (1, 2):
        mine = [each for each in candidates if each.component == component]
        assert len(mine) == 10
        assert len({each.priority for each in mine}) == 10
        assert min(e.priority for e in mine if e.type == "host") > max(
            e.priority for e in mine if e.type == "srflx"
        )


def test_a_server_reflexive_rule_hides_the_base_only_when_it_replaces():
    """8839-20: raddr and rport are the base, or nothing of it."""
    appended = scripted(advertise=(Rewrite(to=PUBLIC, as_type="srflx", mode="append"),))
    appended.gather()
    host, reflexive = appended.agent.local_candidates
    assert (reflexive.related_address, reflexive.related_port) == ("10.0.0.1", host.port)
    replaced = scripted(advertise=(Rewrite(to=PUBLIC, as_type="srflx"),))
    replaced.gather()
    assert told(replaced) == [("srflx", PUBLIC, 9)]
    replaced.set_credentials()
    replaced.agent.add_remote_candidate(replaced.peer.candidate(), replaced.now)
    replaced.peer.answer(
        replaced.peer.next_check(), mapped=replaced.agent.local_candidates[0].transport_address
    )
    replaced.settle()
    assert replaced.agent.state == "connected"


def test_ports_are_mapped():
    """A container whose ports are published elsewhere."""
    rule = Rewrite(to=PUBLIC, ports={4000: 14000})
    script = scripted(advertise=(rule,), agent_addresses=("10.0.0.1", "10.0.1.1"))
    script.gather(addresses=[("10.0.0.1", 4000), ("10.0.1.1", 5000)])
    assert [each.transport_address for each in script.agent.local_candidates] == [
        (PUBLIC, 14000),
        (PUBLIC, 5000),
    ]


def test_rules_are_for_interfaces_too():
    script = scripted(
        advertise=(Rewrite(to=PUBLIC, interface="eth*"),), agent_addresses=("10.0.0.1", "10.0.1.1")
    )
    script.gather(
        addresses=[LocalAddress("10.0.0.1", interface="eth0"), LocalAddress("10.0.1.1", interface="wlan0")]
    )
    assert [each.address for each in script.agent.local_candidates] == [PUBLIC, "10.0.1.1"]


def test_other_families_stay_as_they_are():
    script = scripted(advertise=(Rewrite(to=PUBLIC),), agent_addresses=("10.0.0.1", "2001:db8::1"))
    script.gather()
    assert [each.address for each in script.agent.local_candidates] == [PUBLIC, "2001:db8::1"]


def test_what_a_server_says_and_a_rule_says_is_told_once():
    """RFC 8445 5.1.3: the same address and the same base: redundant."""
    script = gathering("203.0.113.7", advertise=(Rewrite(to="203.0.113.7", as_type="srflx", mode="append"),))
    script.server(honest, "192.0.2.53")
    script.run(SERVER)
    assert [type for type, _ in script.found] == ["host"]
    other = gathering("10.0.0.1", nat=PUBLIC, advertise=(Rewrite(to=PUBLIC, mode="append"),))
    assert other.nat is not None
    other.nat.shift = -1024  # this NAT keeps ports
    other.server(honest, "192.0.2.53")
    other.run(SERVER)
    assert [type for type, _ in other.found] == ["host", "host"]


def test_another_mapping_than_the_rule_says_is_told():
    """With the related address hidden, for the local one was replaced."""
    script = gathering("10.0.0.1", nat="198.51.100.1", advertise=(Rewrite(to=PUBLIC),))
    script.server(honest, "192.0.2.53")
    script.run(SERVER)
    host, reflexive = script.agent.local_candidates
    assert (host.address, reflexive.address) == (PUBLIC, "198.51.100.1")
    assert (reflexive.related_address, reflexive.related_port) == ("0.0.0.0", 9)


def test_names_have_to_be_resolved_first():
    rule = Rewrite(to="relay.example")
    script = scripted(advertise=(rule,))
    with pytest.raises(ValueError, match=r"relay\.example not resolved"):
        script.node.gather()
    with pytest.raises(ValueError, match="not resolved"):
        script.agent.set_advertise([rule])
    resolved = rule.resolved({"relay.example": [PUBLIC]})
    assert resolved is not None
    script.agent.set_advertise([resolved])
    script.node.gather()
    script.settle()
    assert [each.address for each in script.agent.local_candidates] == [PUBLIC]


def test_names_and_rules_together():
    """mdns-1: what a rule tells is meant to be seen; what it leaves of the local address hides behind a name, and what
    it replaces is not shown at all."""
    rules = (Rewrite("10.0.0.1", to=PUBLIC), Rewrite("10.0.1.1", to="203.0.113.8", mode="append"))
    script = scripted(advertise=rules, mdns="publish", agent_addresses=("10.0.0.1", "10.0.1.1"))
    script.gather()
    (published,) = [event for event in script.node.events if isinstance(event, PublishName)]
    assert published.address == "10.0.1.1"
    assert {each.address for each in script.agent.local_candidates} == {PUBLIC, published.name, "203.0.113.8"}
    assert "10.0.0.1" not in script.agent.report(0.0).to_json()


def test_rules_and_hidden_addresses_together():
    """RFC 8828: what a rule tells is told, and the hidden address is not."""
    script = scripted(advertise=(Rewrite(to=PUBLIC, mode="append"),))
    script.gather(addresses=[LocalAddress("10.0.0.1", hidden=True)])
    assert told(script) == [("host", PUBLIC, None)]
    script.meet()
    script.peer.answer(script.peer.next_check())
    script.settle()
    assert script.agent.state == "connected"
    assert "10.0.0.1" not in script.agent.report(0.0).to_json()


def test_a_restart_tells_the_same():
    pair = ice_pair(left_options={"advertise": (Rewrite(to=PUBLIC, mode="append"),)})
    pair.connect()
    before = [(each.address, each.port, each.priority) for each in pair.left.agent.local_candidates]
    pair.left.agent.restart(pair.sim.now)
    pair.sim.run_for(5)
    assert [(each.address, each.port, each.priority) for each in pair.left.agent.local_candidates] == before


def test_tcp_candidates_are_rewritten_too():
    """RFC 6544 4.1: a listener behind a port forwarding."""
    script = scripted(advertise=(Rewrite(to=PUBLIC, ports={4000: 443}),), tcp=frozenset({"passive"}))
    script.gather(addresses=[("10.0.0.1", 4000)])
    passive = [each for each in script.agent.local_candidates if each.transport == "tcp"]
    assert [(each.transport_address, each.tcptype) for each in passive] == [((PUBLIC, 443), "passive")]
