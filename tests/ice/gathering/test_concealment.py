"""Own addresses that others may not see: behind mDNS names (draft-ietf-mmusic-mdns-ice-candidates 3.1, 3.3), or not
shown at all (RFC 8828 5.2)."""

from __future__ import annotations

import json
import re

import pytest
from ice_harness import ScriptedPeer, ice_pair, scripted
from ice_servers import Nat

from fasticePy.ice import (
    CandidateGathered,
    NeedConnection,
    NeedSocket,
    PublishName,
    ServerFinished,
    Timeouts,
    WithdrawName,
)
from fasticePy.ice.addresses import LocalAddress
from fasticePy.ice.agent import IceAgent
from fasticePy.ice.gathering.concealment import Concealment
from fasticePy.machine import Outbox
from fasticePy.sim import AgentNode, Simulation
from fasticePy.stun.uri import parse_server_url

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\.local")
FOR_THE_DRIVER = (NeedSocket, NeedConnection, PublishName)
SERVER = "stun:192.0.2.53"


def of(node: AgentNode, kind: type) -> list:
    return [event for event in node.events if isinstance(event, kind)]


def seen(node: AgentNode) -> str:
    """All that an agent shows: events (but those that ask the driver for something), statistics, report, record."""
    agent: IceAgent = node.agent
    now = node.now
    return "\n".join(
        [
            *(repr(event) for event in node.events if not isinstance(event, FOR_THE_DRIVER)),
            json.dumps(agent.stats(now)),
            agent.report(now).to_json(),
            str(agent.report(now)),
            *map(str, agent.pairs),
            *map(repr, agent.pairs),
            *map(str, agent.local_candidates),
            *map(str, agent.remote_candidates),
            agent.local_description.to_sdp(),
            agent.local_description.to_json(),
            agent.state_reason,
        ]
    )


def add_server(sim: Simulation) -> None:
    """A STUN server on the internet."""
    sim.add_stun_server(sim.network.add_host("192.0.2.53", name="stun"))


# -- names ---------------------------------------------------------------------------------------------------------


def test_each_address_has_a_name_of_its_own():
    """mdns-1: a UUID of version 4 and .local; IPv4 and IPv6 differ; announced to the driver once."""
    script = scripted(mdns="publish", components=2, agent_addresses=("10.0.0.1", "10.0.1.1", "2001:db8::1"))
    script.gather()
    published = of(script.node, PublishName)
    assert {event.address for event in published} == {"10.0.0.1", "10.0.1.1", "2001:db8::1"}
    names = [event.name for event in published]
    assert len(set(names)) == 3
    assert all(UUID.fullmatch(name) for name in names)
    candidates = script.agent.local_candidates
    assert len(candidates) == 6
    assert {each.address for each in candidates} == set(names)
    assert all(each.related_address is None for each in candidates)


def test_a_name_is_there_before_anything_else_is():
    """mdns-1: the candidate waits for no registration; and there is one when no socket can be announced on."""
    script = scripted(mdns="publish")
    script.node.gather()
    script.settle()
    kinds = [type(event).__name__ for event in script.node.events]
    assert kinds.index("PublishName") < kinds.index("NeedSocket") < kinds.index("CandidateGathered")


def test_names_are_kept_for_the_life_of_the_agent():
    """mdns-1: reused by all streams and generations; mdns-6: a new agent has new ones."""
    pair = ice_pair(mdns="publish", streams=2)
    pair.start()
    pair.sim.run_for(1)
    before = {each.address for each in pair.left.agent.local_candidates}
    pair.left.agent.restart(pair.sim.now)
    pair.sim.run_for(5)
    assert {each.address for each in pair.left.agent.local_candidates} == before
    assert len(of(pair.left, PublishName)) == 1
    others = ice_pair(seed=2, mdns="publish")
    others.start()
    assert before.isdisjoint(each.address for each in others.left.agent.local_candidates)


def test_loopback_is_no_secret():
    script = scripted(mdns="publish", agent_addresses=("127.0.0.1",), peer_addresses=("127.0.0.2",))
    script.gather()
    assert of(script.node, PublishName) == []
    assert script.agent.local_candidates[0].address == "127.0.0.1"


def test_names_are_withdrawn_when_the_agent_closes():
    """mdns-6: limited in time."""
    script = scripted(mdns="publish", agent_addresses=("10.0.0.1", "10.0.1.1"))
    script.gather()
    script.agent.close(script.now)
    script.settle()
    published = {event.name for event in of(script.node, PublishName)}
    assert [event.name for event in of(script.node, WithdrawName)] == sorted(
        published, key=lambda name: next(e.address for e in of(script.node, PublishName) if e.name == name)
    )
    script.agent.close(script.now)
    assert script.agent.take_events() == []


def test_a_name_goes_with_its_address_and_comes_back_with_it():
    """mdns-1: stored for reuse: the address that returns has the name that it had."""
    script = scripted(mdns="publish", continual=True, agent_addresses=("10.0.0.1", "10.0.1.1"))
    script.gather()
    names = {event.address: event.name for event in of(script.node, PublishName)}
    script.agent.addresses_changed([("10.0.0.1", 0)], script.now)
    script.settle()
    assert [event.name for event in of(script.node, WithdrawName)] == [names["10.0.1.1"]]
    script.agent.addresses_changed([("10.0.0.1", 0), ("10.0.1.1", 0)], script.now)
    script.settle()
    assert [event.name for event in of(script.node, PublishName)][2:] == [names["10.0.1.1"]]
    assert "10.0.1.1" not in seen(script.node)


def test_addresses_of_two_links_that_look_alike_have_two_names():
    """mdns-1: the scope tells them apart, and is no part of what is published."""
    outbox = Outbox()
    concealment = Concealment(outbox, Simulation(1).rng)
    for host in ("fe80::1%eth0", "fe80::1%eth1", "fe80::1%eth0"):
        concealment.conceal(host, 0.0)
    first, second = outbox.events
    assert (first.address, second.address) == ("fe80::1", "fe80::1")
    assert first.name != second.name
    assert concealment.shown("fe80::1%eth1") == second.name
    assert concealment.related(("fe80::1%eth1", 5000)) == ("::", 9)


# -- server-reflexive candidates -----------------------------------------------------------------------------------


def test_a_server_reflexive_candidate_tells_nothing_of_the_host():
    """mdns-2, 8839-20: raddr 0.0.0.0, rport 9; and the result of the server shows the name."""
    pair = behind_nat(mdns="publish")
    node = pair.left
    node.gather([parse_server_url(SERVER)])
    pair.sim.run_for(1)
    hidden, reflexive = node.agent.local_candidates
    assert (reflexive.type, reflexive.address) == ("srflx", "198.51.100.1")
    assert (reflexive.related_address, reflexive.related_port) == ("0.0.0.0", 9)
    (result,) = of(node, ServerFinished)
    assert result.base is not None
    assert result.base[0] == hidden.address
    assert "10.5.0.1" not in seen(node)


def test_a_public_host_is_told_by_its_server_as_well():
    """mdns-2: the same address behind the name and in the server-reflexive candidate: both are kept."""
    pair = ice_pair(mdns="publish", left=("203.0.113.1",))
    add_server(pair.sim)
    pair.left.gather([parse_server_url(SERVER)])
    pair.sim.run_for(1)
    host, reflexive = pair.left.agent.local_candidates
    assert UUID.fullmatch(host.address)
    assert reflexive.transport_address == ("203.0.113.1", host.port)
    assert (reflexive.related_address, reflexive.related_port) == ("0.0.0.0", 9)


def test_ipv6_is_hidden_by_its_own_kind_of_nothing():
    """mdns-2: raddr ::."""
    pair = ice_pair(mdns="publish", left=("2001:db8::1",))
    pair.sim.add_stun_server(pair.sim.network.add_host("2001:db8::53", name="stun"))
    pair.left.gather([parse_server_url("stun:[2001:db8::53]")])
    pair.sim.run_for(1)
    reflexive = pair.left.agent.local_candidates[1]
    assert (reflexive.related_address, reflexive.related_port) == ("::", 9)


def test_a_peer_reflexive_candidate_of_a_concealed_host():
    """mdns-6: its related address is as hidden as that of a server-reflexive one."""
    script = scripted(mdns="publish")
    script.meet()
    script.peer.answer(script.peer.next_check(), mapped=("198.51.100.7", 4242))
    script.settle()
    (pair,) = script.agent.pairs
    assert (pair.local.type, pair.local.transport_address) == ("prflx", ("198.51.100.7", 4242))
    assert (pair.local.related_address, pair.local.related_port) == ("0.0.0.0", 9)
    assert "10.0.0.1" not in seen(script.node)


def test_an_answer_with_the_address_of_the_host_is_about_the_host():
    """mdns-6: no peer-reflexive candidate that has its number."""
    script = scripted(mdns="publish")
    script.meet()
    script.peer.answer(script.peer.next_check())
    script.settle()
    (pair,) = script.agent.pairs
    assert (pair.local.type, pair.valid) == ("host", True)
    assert UUID.fullmatch(pair.local.address)
    assert "10.0.0.1" not in seen(script.node)


# -- everything that is shown --------------------------------------------------------------------------------------


def test_nothing_that_is_shown_has_a_concealed_address():
    """mdns-6: from gathering over a connection, data, a restart, silence and failure to the end, on both sides:
    neither the own addresses nor those of the peer."""
    pair = ice_pair(
        mdns="publish",
        components=2,
        left=("10.0.0.1", "10.0.1.1"),
        right=("10.0.0.2",),
        timeouts=Timeouts(patience=5.0),
    )
    hosts = ("10.0.0.1", "10.0.1.1", "10.0.0.2")
    add_server(pair.sim)
    pair.left.refuse_socket = lambda event: (
        f"bind {event.address[0]}:0: permission denied"
        if event.component == 2 and "10.0.1.1" in event.address
        else None
    )
    dead = parse_server_url("stun:192.0.2.99")
    pair.right.gather([dead])
    pair.left.gather([dead])
    pair.connect()
    for node in pair.nodes:
        for component in (1, 2):
            assert node.send(component, b"data")
    pair.left.agent.restart(pair.sim.now)
    pair.sim.run_for(10)
    assert pair.left.agent.state == "completed"
    selected = pair.left.agent.selected_pair()
    assert selected is not None
    pair.left.agent.socket_error(selected.socket, None, "10.0.0.1: Network is unreachable", pair.sim.now)
    pair.sim.network.drop(lambda packet: True)
    pair.sim.run_for(60)
    assert pair.left.agent.state == "failed"
    for agent in pair.agents:
        agent.close(pair.sim.now)
    pair.sim.run_for(1)
    for node in pair.nodes:
        said = seen(node)
        assert not [host for host in hosts if re.search(rf"(?<![\d.]){re.escape(host)}(?!\d)", said)]
        assert len(said) > 1000


def test_tcp_connections_tell_nothing_either():
    """mdns-6: listeners, connections, and who connects before its name is resolved."""
    pair = ice_pair(mdns="publish", tcp=frozenset({"active", "passive", "so"}), signal_delay=0.3)
    pair.sim.network.drop(lambda packet: packet.transport == "udp")
    pair.connect()
    (selected,) = [agent.selected_pair() for agent in pair.agents[:1]]
    assert selected is not None
    assert selected.transport == "tcp"
    pair.sim.run_for(30)
    for agent in pair.agents:
        agent.close(pair.sim.now)
    pair.sim.run_for(1)
    for node in pair.nodes:
        said = seen(node)
        assert "10.0.0." not in said
        assert "connection" in said


def test_words_of_the_operating_system_do_not_tell_it():
    """mdns-6: the driver's reasons may name the address; a longer one that begins alike is another."""
    concealment = Concealment(Outbox(), Simulation(1).rng)
    assert concealment.scrub("bind 10.0.0.1:80") == "bind 10.0.0.1:80"
    concealment.conceal("10.0.0.1", 0.0)
    concealment.conceal("fe80::1%eth0", 0.0)
    concealment.hide("2001:db8::1")
    name, link = concealment.shown("10.0.0.1"), concealment.shown("fe80::1%eth0")
    assert concealment.scrub("bind 10.0.0.1:80, 10.0.0.12 and 110.0.0.1 (10.0.0.1)") == (
        f"bind {name}:80, 10.0.0.12 and 110.0.0.1 ({name})"
    )
    assert concealment.scrub("[fe80::1%eth0]:80 fe80::12 fe80::1%eth0") == f"[{link}]:80 fe80::12 {link}"
    assert concealment.scrub("from 2001:db8::1.") == "from ::."


# -- hidden addresses ----------------------------------------------------------------------------------------------


def hidden_node(*hosts: str, hidden: str, **options) -> tuple[Simulation, AgentNode, ScriptedPeer]:
    script = scripted(agent_addresses=hosts, **options)
    add_server(script.sim)
    addresses = [LocalAddress(host, hidden=host == hidden) for host in hosts]
    script.node.gather([parse_server_url(SERVER)], addresses)
    script.settle()
    script.peer.agent_credentials = script.agent.local_credentials
    return script.sim, script.node, script.peer


def behind_nat(**options):
    """A peer on the internet, and an agent behind a NAT whose address nobody may learn."""
    pair = ice_pair(right=("203.0.113.2",), **options)
    nat = Nat(pair.sim.network, "198.51.100.1")
    add_server(pair.sim)
    host = pair.sim.network.add_host("10.5.0.1", name="inside", segment=nat.inside)
    node = pair.sim.add_agent(host, IceAgent(pair.left.agent.options, rng=pair.sim.rng))
    pair.left = node
    return pair


def test_a_hidden_address_is_asked_from_and_not_told():
    """RFC 8828 5.2 mode 3: no host candidate; what the server says is told, without the related address."""
    pair = behind_nat()
    pair.left.gather([parse_server_url(SERVER)], [LocalAddress("10.5.0.1", hidden=True)])
    pair.sim.run_for(1)
    (told,) = [event.candidate for event in of(pair.left, CandidateGathered)]
    assert (told.type, told.address) == ("srflx", "198.51.100.1")
    assert (told.related_address, told.related_port) == ("0.0.0.0", 9)
    pair.right.gather()
    pair.connect()
    assert pair.left.send(1, b"data")
    pair.left.agent.close(pair.sim.now)
    assert "10.5.0.1" not in seen(pair.left)


def test_checks_leave_from_a_hidden_address_without_any_server():
    """RFC 8828 5.2 mode 3: the peer learns what it sees; nothing is told, and the connection is there."""
    pair = behind_nat()
    pair.left.gather([], [LocalAddress("10.5.0.1", hidden=True)])
    pair.connect()
    assert pair.left.agent.local_candidates == []
    selected = pair.left.agent.selected_pair()
    assert selected is not None
    assert selected.local.address == "198.51.100.1"
    stats = pair.left.agent.stats(pair.sim.now)
    assert all(
        each["localCandidateId"] in stats for each in stats.values() if each["type"] == "candidate-pair"
    )
    assert "10.5.0.1" not in seen(pair.left)


def test_no_check_leaves_when_only_relayed_candidates_are_wanted():
    """RFC 8828 5.2 mode 4: the peer learns nothing of this host, nor of its NAT."""
    sim, node, peer = hidden_node("10.0.0.1", hidden="10.0.0.1", candidate_types=frozenset({"relay"}))
    node.agent.set_remote_credentials(peer.credentials.ufrag, peer.credentials.pwd, sim.now)
    node.agent.add_remote_candidate(peer.candidate(), sim.now)
    sim.run_for(3)
    assert node.agent.local_candidates == []
    assert peer.requests == []


def test_a_server_on_the_same_network_does_not_tell_a_hidden_address():
    """What it maps to is the address itself: that is left out, in words without a number."""
    sim, node, _ = hidden_node("10.0.0.1", "10.0.1.1", hidden="10.0.0.1")
    sim.run_for(1)
    assert {each.address for each in node.agent.local_candidates} == {"10.0.1.1"}
    entries = [entry for entry in node.agent.report(sim.now).entries if entry.subject == "local"]
    assert any("nobody may learn" in entry.reason for entry in entries)
    assert not any("10.0.0.1" in str(entry) for entry in entries)


@pytest.mark.parametrize("mdns", ["resolve", "publish"])
def test_an_address_that_may_be_seen_again_is_told(mdns):
    """Another default route, and RFC 8828 5.2 has another opinion of it: with its number, or with a name."""
    sim, node, _ = hidden_node("10.0.0.1", hidden="10.0.0.1", mdns=mdns, continual=True)
    assert node.agent.local_candidates == []
    node.agent.addresses_changed([], sim.now)
    node.agent.addresses_changed([LocalAddress("10.0.0.1")], sim.now)
    sim.run_for(1)
    told = node.agent.local_candidates[0]
    assert told.type == "host"
    assert told.address == "10.0.0.1" if mdns == "resolve" else UUID.fullmatch(told.address)


def test_a_hidden_address_has_no_name():
    """It is hidden also where others are published."""
    _, node, _ = hidden_node("10.0.0.1", "10.0.1.1", hidden="10.0.0.1", mdns="publish")
    assert [event.address for event in of(node, PublishName)] == ["10.0.1.1"]
    assert len(node.agent.local_candidates) == 1


# -- the application's own word ------------------------------------------------------------------------------------


def explode(candidate):
    raise RuntimeError("no " + "x" * 1000)


@pytest.mark.parametrize(
    ("hook", "reason"),
    [
        (explode, "the application's function failed: RuntimeError"),
        (lambda candidate: "candidate", "gave str"),
        (lambda candidate: type(candidate)(**{**fields_of(candidate), "component": 2}), "another component"),
        (
            lambda candidate: type(candidate)(
                **{**fields_of(candidate), "foundation": "é", "address": "a\nb"}
            ),
            "failed",
        ),
    ],
)
def test_what_the_application_does_with_candidates_breaks_nothing(hook, reason):
    """Counted, recorded, left out; the other candidates are told."""
    wanted = []

    def first_only(candidate):
        wanted.append(candidate)
        return hook(candidate) if len(wanted) == 1 else candidate

    script = scripted(local_candidate=first_only, agent_addresses=("10.0.0.1", "10.0.1.1"))
    script.gather()
    assert [each.address for each in script.agent.local_candidates] == ["10.0.1.1"]
    assert script.agent.gathering_state == "complete"
    assert script.counted("local-candidate.hook-failed") == 1
    (entry,) = [each for each in script.agent.report(0.0).entries if each.outcome == "left out"]
    assert reason in entry.reason
    assert len(entry.reason) <= 200


def fields_of(candidate) -> dict:
    return {name: getattr(candidate, name) for name in candidate.__dataclass_fields__}


def test_the_application_sees_names_and_may_leave_candidates_out():
    asked = []
    script = scripted(mdns="publish", local_candidate=asked.append)
    script.gather()
    assert UUID.fullmatch(asked[0].address)
    assert script.agent.local_candidates == []
    assert script.counted("local-candidate.hook-failed") == 0
