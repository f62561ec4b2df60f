"""Gathering as a stream of results: each socket and each server ends by itself, with a reason, and delays nobody."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ice_servers import FakeServer, error, gathering, honest, silent, success

from fasticePy.errors import StateError
from fasticePy.ice import (
    CandidateGathered,
    CloseSocket,
    GatheringStateChanged,
    IceAgent,
    IceOptions,
    Limits,
    NeedAddresses,
    NeedSocket,
    Timeouts,
)
from fasticePy.sim import Link, Simulation
from fasticePy.stun import Attribute, MessageClass, parse
from fasticePy.stun.uri import ServerUrl, parse_server_url

PUBLIC = "198.51.100.1"
SERVER = "192.0.2.1"
URL = f"stun:{SERVER}"


# -- host candidates ---------------------------------------------------------------------------------------------------


def test_a_host_candidate_for_each_component_on_each_address():
    """8445-1: two addresses, two components: four sockets, four candidates, each on its address."""
    run = gathering("10.0.0.1", "2001:db8::1", components=2)
    run.run()
    candidates = run.agent.local_candidates
    assert [(each.address, each.component, each.type) for each in candidates] == [
        ("10.0.0.1", 1, "host"),
        ("10.0.0.1", 2, "host"),
        ("2001:db8::1", 1, "host"),
        ("2001:db8::1", 2, "host"),
    ]
    requests = run.events(NeedSocket)
    assert len({request.request for request in requests}) == 4
    assert {request.transport for request in requests} == {"udp"}
    bound = {run.node.address_of(socket) for socket in run.node.host.sockets}
    assert bound == {each.transport_address for each in candidates}
    assert [run.agent.component_of(socket) for socket in run.node.host.sockets] == [1, 2, 1, 2]


def test_without_servers_gathering_ends_with_the_last_socket():
    run = gathering("10.0.0.1", "10.0.0.2")
    run.node.socket_delay = 0.3
    assert run.run() == pytest.approx(0.3)
    states = [event.state for event in run.events(GatheringStateChanged)]
    assert states == ["gathering", "complete"]
    assert run.agent.gathering_state == "complete"


def test_without_addresses_gathering_ends_at_once():
    run = gathering()
    run.real_server(SERVER)
    assert run.run(URL, addresses=[]) == 0.0
    assert run.agent.local_candidates == []
    assert run.outcome(URL)["reason"] == "no local address to ask from"


@settings(max_examples=30, deadline=None)
@given(
    v4=st.integers(0, 4),
    v6=st.integers(0, 3),
    components=st.integers(1, 3),
    servers=st.integers(0, 4),
    nat=st.booleans(),
)
def test_priorities_are_unique_and_in_range(v4, v6, components, servers, nat):
    """8445-10: whatever is gathered, no two candidates have one priority, and each is from 1 to 2**31 - 1."""
    addresses = [f"10.0.0.{number + 1}" for number in range(v4)]
    addresses += [f"2001:db8::{number + 1}" for number in range(v6)]
    run = gathering(*(addresses or ["10.9.9.9"]), nat=PUBLIC if nat else None, components=components)

    def one_of_many(message, address):  # each request looks like one of a new mapping
        port = 2000 + len(run.agent.counters) + sum(len(each.machine.requests) for each in nodes)
        return success(message, (Attribute.XOR_MAPPED_ADDRESS, (PUBLIC, port)))

    nodes = [run.server(one_of_many, f"192.0.2.{number + 1}") for number in range(servers)]
    run.run(*(f"stun:192.0.2.{number + 1}" for number in range(servers)))
    priorities = [each.priority for each in run.agent.local_candidates]
    assert len(set(priorities)) == len(priorities)
    assert all(1 <= priority < 2**31 for priority in priorities)


def test_two_addresses_of_one_server_do_not_give_one_priority_to_two_candidates():
    """8445-10: a NAT that maps by destination makes two candidates of one base and one server."""
    run = gathering("10.0.0.1", nat=PUBLIC)
    run.sim.network.dns.add("stun.example", "192.0.2.1", "192.0.2.2")
    for number in (1, 2):
        mapped = (PUBLIC, 4000 + number)
        run.server(
            lambda message, _, mapped=mapped: success(message, (Attribute.XOR_MAPPED_ADDRESS, mapped)),
            f"192.0.2.{number}",
        )
    run.run("stun:stun.example")
    priorities = [each.priority for each in run.agent.local_candidates]
    assert len(priorities) == 3
    assert len(set(priorities)) == 3


# -- server-reflexive candidates ---------------------------------------------------------------------------------------


def test_a_reflexive_candidate_comes_from_the_host_socket():
    """8445-4: the mapping of the host candidate's own socket; base and related address are the host candidate."""
    run = gathering("10.0.0.1", "10.0.0.2", nat=PUBLIC)
    server = run.server(honest, SERVER)
    run.run(URL)
    hosts = {each.address: each for each in run.agent.local_candidates if each.type == "host"}
    reflexive = [each for each in run.agent.local_candidates if each.type == "srflx"]
    assert len(reflexive) == 2
    for candidate in reflexive:
        base = hosts[str(candidate.related_address)]
        assert candidate.related_port == base.port
        assert candidate.address == PUBLIC
        assert candidate.component == base.component
        assert candidate.priority < base.priority
    assert len(server.machine.requests) == 2
    assert len(run.node.host.sockets) == 2


def test_reflexive_candidates_can_be_switched_off():
    """8445-4: off by configuration: the server is not asked, not even for its addresses, and says why."""
    run = gathering("10.0.0.1", nat=PUBLIC, candidate_types=frozenset({"host"}))
    server = run.server(honest, SERVER)
    assert run.run(URL, "stun:stun.example") == 0.0
    assert [each.type for each in run.agent.local_candidates] == ["host"]
    assert server.machine.requests == []
    assert run.events(NeedAddresses) == []
    assert "not wanted" in run.outcome("stun:stun.example")["reason"]


def test_host_candidates_can_be_kept_to_ourselves():
    """8445-63: with reflexive candidates only, no private address is signalled."""
    run = gathering("10.0.0.1", nat=PUBLIC, candidate_types=frozenset({"srflx"}))
    run.server(honest, SERVER)
    run.run(URL)
    assert [each.type for each in run.agent.local_candidates] == ["srflx"]
    assert run.found == [("srflx", run.agent.local_candidates[0].transport_address)]


def test_the_request_is_not_authenticated_and_asks_for_nothing():
    """8445-5: a bare Binding request; SOFTWARE only when it is configured."""
    run = gathering()
    server = run.server(honest, SERVER)
    run.run(URL)
    (message,) = server.machine.requests
    assert message.message_class == MessageClass.REQUEST
    assert message.attributes() == []
    named = gathering(software="fasticePy test")
    server = named.server(honest, SERVER)
    named.run(URL)
    assert server.machine.requests[0].get(Attribute.SOFTWARE) == "fasticePy test"


def test_alternate_server_is_not_followed():
    """8445-5: 300 Try Alternate ends this server; nobody else is asked."""
    run = gathering()
    other = run.server(honest, "192.0.2.9")
    alternate = (Attribute.ALTERNATE_SERVER, ("192.0.2.9", 3478))
    run.server(lambda message, _: error(message, 300, "Try Alternate", alternate), SERVER)
    assert run.run(URL) < 0.1
    assert other.machine.requests == []
    assert "300 Try Alternate" in run.outcome(URL)["reason"]


def test_a_server_of_rfc_3489_gives_a_candidate():
    """8445-5: MAPPED-ADDRESS without XOR counts when there is nothing else."""
    run = gathering("10.0.0.1", nat=PUBLIC)
    run.server(lambda message, address: success(message, (Attribute.MAPPED_ADDRESS, address)), SERVER)
    run.run(URL)
    assert [each.type for each in run.agent.local_candidates] == ["host", "srflx"]


def test_a_reflexive_candidate_equal_to_the_host_candidate_is_left_out():
    """8838-6, 8445-12: on a public host the mapping is the host candidate itself: nothing is trickled, and the record
    says why."""
    run = gathering("198.51.100.7")
    run.real_server(SERVER)
    run.run(URL)
    assert [kind for kind, _ in run.found] == ["host"]
    assert run.outcome(URL)["ok"]
    record = [entry for entry in run.agent.report(run.sim.now).entries if entry.subject == "local"]
    assert record[-1].outcome == "left out"
    assert record[-1].reason.startswith("same address and base")


def test_the_later_of_two_equal_candidates_is_left_out_whatever_its_priority():
    """8838-6: the server of the better preference answers last; its equal candidate is ignored all the same."""
    run = gathering("10.0.0.1", nat=PUBLIC)
    run.real_server("192.0.2.1", latency=0.2)
    run.real_server("192.0.2.2", latency=0.01)
    run.run("stun:192.0.2.1", "stun:192.0.2.2")
    assert [kind for kind, _ in run.found] == ["host", "srflx"]
    assert [server["ok"] for server in run.agent.report(run.sim.now).servers] == [True, True]


def test_same_mapping_of_two_bases_is_two_candidates():
    """8445-12: the same address but another base: kept (RFC 8445 figure 11)."""
    run = gathering("10.0.0.1", "10.0.0.2")
    same = (Attribute.XOR_MAPPED_ADDRESS, (PUBLIC, 5000))
    run.server(lambda message, _: success(message, same), SERVER)
    run.run(URL)
    assert [kind for kind, _ in run.found] == ["host", "host", "srflx", "srflx"]


def test_two_servers_that_see_different_mappings_give_two_candidates_with_two_foundations():
    """8445-8: candidates of one base and different servers do not share a foundation; hosts of two components do."""
    run = gathering("10.0.0.1", nat=PUBLIC, components=2)
    for number in (1, 2):
        run.server(
            lambda message, address, number=number: success(
                message, (Attribute.XOR_MAPPED_ADDRESS, (PUBLIC, address[1] % 60000 + number))
            ),
            f"192.0.2.{number}",
        )
    run.run("stun:192.0.2.1", "stun:192.0.2.2")
    candidates = run.agent.local_candidates
    assert len(candidates) == 6
    foundations = [(each.type, each.component, each.foundation) for each in candidates]
    assert len({foundation for _, _, foundation in foundations}) == 3
    for component in (1, 2):
        assert len({foundation for _, number, foundation in foundations if number == component}) == 3


@pytest.mark.parametrize(
    ("mapped", "reason"),
    [
        (("0.0.0.0", 5000), "unspecified"),
        (("224.0.0.1", 5000), "multicast"),
        (("255.255.255.255", 5000), "broadcast"),
        (("::ffff:198.51.100.1", 5000), "IPv4-mapped"),
        (("198.51.100.1", 0), "port 0"),
        (None, "no mapped address"),
    ],
)
def test_answers_that_name_no_usable_address(mapped, reason):
    """Security 4d: a server that lies cannot make us signal nonsense, and its answer says what was wrong with it."""
    run = gathering()
    attributes = [] if mapped is None else [(Attribute.XOR_MAPPED_ADDRESS, mapped)]
    run.server(lambda message, _: success(message, *attributes), SERVER)
    assert run.run(URL) < 0.1
    assert [kind for kind, _ in run.found] == ["host"]
    assert reason in run.outcome(URL)["reason"]
    assert reason in run.finished[0].reason


def test_an_answer_from_another_address_does_not_count():
    """8489 6.3.1: only who was asked may answer; the request goes on, and the right answer is taken."""
    run = gathering("10.0.0.1", nat=PUBLIC)
    liar = run.server(silent, "192.0.2.66")

    def reply(message, address):
        lie = success(message, (Attribute.XOR_MAPPED_ADDRESS, ("203.0.113.66", 6666)))
        liar.send_from(liar.host.sockets[0], address, lie)
        return honest(message, address) if len(server.machine.requests) > 1 else None

    server = run.server(reply, SERVER)
    run.run(URL)
    assert run.agent.counters["drop.response.source"] == 2
    assert run.found[-1][1][0] == PUBLIC


def test_an_answer_to_nobody_is_counted():
    run = gathering()
    run.server(lambda message, _: honest(message, ("192.0.2.5", 5))[:8] + bytes(12) + b"", SERVER)
    run.start(URL)
    run.sim.run_for(1)
    assert run.agent.counters["drop.stun.malformed"] + run.agent.counters["drop.response.unknown"] >= 1
    assert [kind for kind, _ in run.found] == ["host"]


# -- a stream, not a barrier -------------------------------------------------------------------------------------------


def test_a_refused_port_ends_the_server_at_once():
    """An ICMP error comes back after one round trip: the server is over then, with that reason."""
    run = gathering()
    run.sim.network.add_host(SERVER, icmp=True)
    took = run.run(URL)
    assert took == pytest.approx(0.02)
    first, last = run.finished
    assert (first.ok, first.reason, first.base) == (False, "port unreachable", run.found[0][1])
    assert (last.ok, last.reason, last.base) == (False, "port unreachable", None)
    assert run.outcome(URL)["reason"] == "port unreachable"


def test_an_unknown_name_ends_the_server_at_once():
    run = gathering()
    run.sim.network.dns.fail("stun.example", "no such host")
    assert run.run("stun:stun.example") == pytest.approx(0.01)
    assert [(each.ok, each.reason) for each in run.finished] == [(False, "no such host")]
    assert run.outcome("stun:stun.example")["reason"] == "no such host"


@pytest.mark.parametrize("code", [400, 401, 420, 500])
def test_an_error_answer_ends_the_server_at_once(code):
    run = gathering()
    server = run.server(lambda message, _: error(message, code, "No"), SERVER)
    assert run.run(URL) == pytest.approx(0.02)
    assert run.outcome(URL)["reason"] == f"error {code} No"
    assert len(server.machine.requests) == 1


def test_a_silent_server_delays_nobody_and_ends_in_time():
    """The live server's candidate is there after one round trip, and the dead one ends at Timeouts.gathering."""
    run = gathering("10.0.0.1", nat=PUBLIC)
    dead = run.server(silent, "192.0.2.1")
    run.real_server("192.0.2.2")
    took = run.run("stun:192.0.2.1", "stun:192.0.2.2")
    told = [event.at for event in run.events(CandidateGathered)]
    assert told[0] == 0.0
    assert told[1] == pytest.approx(
        0.005 + 0.03
    )  # one process-wide slot of 5 ms, then 15 ms each way over the NAT
    assert took == pytest.approx(Timeouts().gathering, abs=0.02)
    assert "no answer to 4 requests in 5.0 s" in run.outcome("stun:192.0.2.1")["reason"]
    assert len(dead.machine.requests) == 4
    gaps = [later - earlier for earlier, later in pairwise(dead.machine.times)]
    assert gaps == pytest.approx([0.5, 1.0, 2.0])


def test_a_silent_resolver_delays_nobody_and_ends_in_time():
    """A name without any answer: the others go on, and it is given up at Timeouts.gathering."""
    run = gathering("10.0.0.1", nat=PUBLIC)
    run.sim.network.dns.silence("stun.example")
    run.real_server(SERVER)
    took = run.run("stun:stun.example", URL)
    assert took == pytest.approx(Timeouts().gathering)
    assert run.events(CandidateGathered)[1].at < 0.1
    assert "not resolved" in run.outcome("stun:stun.example")["reason"]
    # an answer that comes later still is of no use: the peer was told that there is no more
    run.agent.addresses_resolved(0, [(SERVER, 3478)], run.sim.now)
    run.sim.run_for(1)
    assert len(run.found) == 2
    assert len(run.events(GatheringStateChanged)) == 2


def test_the_timeout_of_gathering_can_be_chosen():
    run = gathering(timeouts=Timeouts(gathering=1.5))
    run.server(silent, SERVER)
    assert run.run(URL) == pytest.approx(1.5)


def test_all_at_once_ends_when_the_last_one_ends():
    """One of each kind: refused, unknown, error, alive, dead. Each has its reason, in the order given."""
    run = gathering("10.0.0.1", nat=PUBLIC)
    net = run.sim.network
    net.add_host("192.0.2.1", icmp=True)
    run.server(lambda message, _: error(message, 500), "192.0.2.3")
    run.real_server("192.0.2.4")
    run.server(silent, "192.0.2.5")
    urls = [f"stun:192.0.2.{number}" for number in (1, 3, 4, 5)]
    took = run.run(urls[0], "stun:nowhere.example", *urls[1:])
    assert took < 5.1
    report = run.agent.report(run.sim.now)
    assert [server["reason"] for server in report.servers] == [
        "port unreachable",
        "no such name",
        "error 500",
        "",
        "no answer to 4 requests in 5.0 s",
    ]
    assert all(server["finished"] for server in report.servers)
    assert [kind for kind, _ in run.found] == ["host", "srflx"]


@pytest.mark.parametrize("patience", [0.1, 0.3, 0.5])
def test_a_server_may_have_less_time_than_one_retransmission_takes(patience):
    """Timeouts.gathering counts, not the RTO."""
    run = gathering(nat=PUBLIC, timeouts=Timeouts(gathering=patience))
    dead = run.server(silent, "192.0.2.1")
    assert run.run("stun:192.0.2.1") == pytest.approx(patience, abs=0.02)
    assert run.outcome("stun:192.0.2.1")["reason"] == f"no answer to 1 request in {patience:.1f} s"
    assert len(dead.machine.requests) == 1


def test_a_lost_request_is_repeated():
    run = gathering("10.0.0.1", nat=PUBLIC)
    run.real_server(SERVER)
    lost = []

    def first(packet):
        if not lost and packet.destination[0] == SERVER:
            lost.append(packet)
            return True
        return False

    run.sim.network.drop(first)
    took = run.run(URL)
    assert took == pytest.approx(0.5 + 0.03)
    assert run.finished[-1].ok and run.finished[-1].rtt is None  # Karn: nobody knows which send was answered


def test_the_round_trip_time_is_told():
    run = gathering()
    run.real_server(SERVER, latency=0.105)
    run.run(URL)
    assert run.finished[-1].rtt == pytest.approx(0.22)


def test_a_server_slower_than_a_round_trip_of_the_rto_is_heard():
    """500 ms one way: the answer to the first request comes after the first retransmission, and counts."""
    run = gathering("10.0.0.1", nat=PUBLIC)
    run.real_server(SERVER, latency=0.5)
    took = run.run(URL)
    assert took == pytest.approx(1.02)
    assert run.found[-1][0] == "srflx"


def test_many_requests_are_paced_and_the_rto_grows_with_them_only_while_they_run():
    """8445-61: RTO = max(500 ms, Ta * number of pairs in the transactions under way); those that have ended do not
    count, so a later request is not slow because earlier ones were many."""
    run = gathering(*(f"10.0.0.{number}" for number in range(1, 21)))
    server = run.server(honest, SERVER)
    run.run(URL)
    gaps = [later - earlier for earlier, later in pairwise(server.machine.times)]
    assert min(gaps) > 0.0049  # the process-wide floor (RFC 8445 14.2)
    server.machine.reply = silent
    server.machine.times.clear()
    run.sim.run_for(15 + 0.6)  # the refresh of the first base and its first retransmission
    assert len(server.machine.requests) > 20
    host = run.found[0][1]
    sends = [
        packet.sent_at
        for packet in run.sim.network.sent(run.node.host)
        if packet.source == host and packet.sent_at > 1
    ]
    assert sends[1] - sends[0] == pytest.approx(0.5)


# -- families ----------------------------------------------------------------------------------------------------------


def test_each_base_asks_the_addresses_of_its_family():
    run = gathering("10.0.0.1", "2001:db8::1")
    server = run.server(honest, "192.0.2.1", "2001:db8:ffff::1")
    run.sim.network.dns.add("stun.example", "192.0.2.1")
    run.sim.network.dns.add("stun.example", "2001:db8:ffff::1", delay=0.2)
    took = run.run("stun:stun.example")
    assert took == pytest.approx(0.22)
    assert len(server.machine.requests) == 2
    assert run.outcome("stun:stun.example")["resolved"] == ["192.0.2.1", "2001:db8:ffff::1"]
    outcomes = [outcome for _, outcome in run.outcome("stun:stun.example")["outcomes"]]
    assert sorted(outcome.split()[0] for outcome in outcomes) == ["other", "other", "you", "you"]


def test_a_server_of_another_family_says_so():
    run = gathering("10.0.0.1")
    assert run.run("stun:[2001:db8::5]") == 0.0
    assert run.outcome("stun:[2001:db8::5]")["reason"] == "other address family"


def test_the_second_family_may_come_long_after_the_first():
    """A slow AAAA answer holds nothing up: the candidate of the first one is there."""
    run = gathering("10.0.0.1", "2001:db8::1", nat=PUBLIC)
    run.real_server(SERVER)
    run.sim.network.dns.add("stun.example", SERVER)
    run.sim.network.dns.add("stun.example", "2001:db8:ffff::1", delay=3.0)
    run.start("stun:stun.example")
    run.sim.run_for(0.1)
    assert [kind for kind, _ in run.found] == ["host", "host", "srflx"]
    assert run.complete_at is None
    run.sim.run_until(lambda: run.complete_at is not None, limit=10)
    assert run.outcome("stun:stun.example")["ok"]


@pytest.mark.parametrize(
    ("base", "server"), [("127.0.0.1", SERVER), ("10.0.0.1", "127.0.0.1"), ("fe80::1", "2001:db8::5")]
)
def test_addresses_that_cannot_reach_each_other_are_not_asked(base, server):
    run = gathering(base)
    url = str(ServerUrl("stun", server, 3478, "udp"))
    assert run.run(url) == 0.0
    assert run.outcome(url)["reason"]
    assert run.sim.network.sent(run.node.host) == []


# -- keeping mappings alive --------------------------------------------------------------------------------------------


def test_mappings_are_kept_alive_until_ice_is_done():
    """8445-9: five idle minutes: a Binding request from the same socket every Tr = 15 s."""
    run = gathering("10.0.0.1", nat=PUBLIC)
    server = run.server(honest, SERVER)
    run.start(URL)
    run.sim.run_for(300)
    gaps = [later - earlier for earlier, later in pairwise(server.machine.times)]
    assert len(gaps) == 19
    assert gaps == pytest.approx([15.03] * 19)
    assert len({message.transaction_id for message in server.machine.requests}) == 20
    sources = {packet.source for packet in run.sim.network.sent(run.node.host)}
    assert sources == {run.found[0][1]}
    assert len(run.found) == 2


def test_a_lost_refresh_is_not_the_last_one():
    """8445-9: after an outage of 20 s the mapping is kept alive again."""
    run = gathering("10.0.0.1", nat=PUBLIC)
    server = run.server(honest, SERVER)
    run.start(URL)
    run.sim.run_for(14)
    server.host.set_link(up=False)
    run.sim.run_for(20)
    server.host.set_link(up=True)
    server.machine.times.clear()
    run.sim.run_for(61)
    assert len(server.machine.times) >= 3
    assert run.agent.gathering_state == "complete"


def test_a_mapping_that_changed_is_counted():
    run = gathering("10.0.0.1", nat=PUBLIC)
    run.real_server(SERVER)
    run.start(URL)
    run.sim.run_for(1)
    assert run.nat is not None
    run.nat.reboot()
    run.sim.run_for(31)
    assert run.agent.counters["gathering.mapping-changed"] == 1


def test_an_icmp_error_after_the_answer_is_nothing():
    """The request has ended: a late or forged error does not spoil its result."""
    run = gathering("10.0.0.1", nat=PUBLIC)
    run.real_server(SERVER)
    run.run(URL)
    before = len(run.agent.report(0).entries)
    run.agent.socket_error(run.node.host.sockets[0], (SERVER, 3478), "port unreachable", run.sim.now)
    assert len(run.agent.report(0).entries) == before
    assert run.outcome(URL)["ok"]


# -- sockets -----------------------------------------------------------------------------------------------------------


def test_a_socket_that_cannot_be_opened_is_reported():
    run = gathering("10.0.0.1", "10.0.0.2", nat=PUBLIC)
    run.real_server(SERVER)
    run.node.refuse_socket = lambda event: "permission denied" if event.address[0] == "10.0.0.1" else None
    run.run(URL)
    assert {each.address for each in run.agent.local_candidates} == {"10.0.0.2", PUBLIC}
    report = run.agent.report(run.sim.now)
    assert report.sockets_failed == (("10.0.0.1:0", "permission denied"),)
    assert "permission denied" in str(report)


def test_without_any_socket_the_servers_end_at_once():
    run = gathering("10.0.0.1")
    run.node.refuse_socket = lambda event: "permission denied"
    run.sim.network.dns.add("stun.example", SERVER)
    took = run.run(URL, "stun:stun.example")
    assert took == pytest.approx(0.01)
    for url in (URL, "stun:stun.example"):
        assert run.outcome(url)["reason"] == "no local address to ask from"


def test_a_broken_socket_ends_what_it_asked():
    run = gathering("10.0.0.1")
    run.server(silent, SERVER)
    run.start(URL)
    run.sim.run_for(0.1)
    run.agent.socket_error(run.node.host.sockets[0], None, "network is down", run.sim.now)
    run.sim.run_for(0)
    assert run.complete_at == run.sim.now
    assert run.outcome(URL)["reason"] == "network is down"


def test_a_slow_socket_still_asks_every_server():
    run = gathering("10.0.0.1", nat=PUBLIC)
    run.node.socket_delay = 0.7
    run.real_server(SERVER)
    took = run.run(URL)
    assert took == pytest.approx(0.73)
    assert [kind for kind, _ in run.found] == ["host", "srflx"]


def test_a_socket_after_the_end_is_given_back():
    """Whatever close() interrupts: a socket that comes later is to be closed, not kept."""
    run = gathering("10.0.0.1")
    run.node.socket_delay = 0.5
    run.start()
    run.agent.close(run.sim.now)
    run.sim.run_for(1)
    closed = [event.socket for event in run.events(CloseSocket)]
    assert len(closed) == 1
    assert run.node.host.sockets == []
    assert run.agent.local_candidates == []
    assert run.agent.next_timer() is None


def test_a_socket_that_nobody_asked_for_is_given_back():
    run = gathering("10.0.0.1")
    run.run()
    socket = run.node.bind("10.0.0.1")
    run.agent.socket_opened(99, socket, run.node.address_of(socket), run.sim.now)
    run.sim.run_for(0)
    assert [event.socket for event in run.events(CloseSocket)] == [socket]
    assert len(run.agent.local_candidates) == 1


def test_close_while_everything_is_pending_leaves_nothing():
    run = gathering("10.0.0.1", "10.0.0.2", nat=PUBLIC)
    run.server(silent, SERVER)
    run.sim.network.dns.add("stun.example", "192.0.2.7", delay=1.0)
    run.start(URL, "stun:stun.example")
    run.sim.run_for(0.2)
    run.agent.close(run.sim.now)
    assert run.agent.next_timer() is None
    sent = len(run.sim.network.sent(run.node.host))
    run.sim.run_for(10)
    assert len(run.sim.network.sent(run.node.host)) == sent
    assert len(run.events(CloseSocket)) == 2
    assert run.agent.next_timer() is None
    assert run.agent.take_transmits() == []


def test_gathering_happens_once():
    run = gathering()
    run.start()
    with pytest.raises(StateError, match="once"):
        run.agent.gather([("10.0.0.1", 0)], [], run.sim.now)


def test_gathering_after_close_asks_for_nothing():
    run = gathering()
    run.agent.close(0.0)
    run.start(URL)
    assert run.events(NeedSocket) == []
    assert run.agent.next_timer() is None


# -- servers that are not asked ----------------------------------------------------------------------------------------


def test_a_numeric_server_needs_no_resolution():
    run = gathering()
    run.real_server(SERVER)
    run.real_server("2001:db8::5")
    run.run(URL, "stun:[2001:db8::5]:3478")
    assert run.events(NeedAddresses) == []
    assert run.outcome(URL)["resolved"] == [SERVER]


def test_a_name_is_asked_for_once_per_server():
    run = gathering("10.0.0.1", "10.0.0.2", components=2)
    run.real_server(SERVER)
    run.sim.network.dns.add("stun.example", SERVER)
    run.run("stun:stun.example:3478")
    (event,) = run.events(NeedAddresses)
    assert (event.host, event.port) == ("stun.example", 3478)


@pytest.mark.parametrize(
    "url",
    [
        parse_server_url("stuns:stun.example"),
        parse_server_url("turn:192.0.2.1"),
        parse_server_url("turns:turn.example?transport=tcp"),
        ServerUrl("stun", "192.0.2.1", 3478, "tcp"),
    ],
    ids=str,
)
def test_what_is_not_supported_says_so(url):
    run = gathering()
    server = run.server(honest, SERVER)
    run.node.gather([url])
    run.sim.run_for(1)
    assert run.complete_at == 0.0
    assert server.machine.requests == []
    (event,) = run.finished
    assert not event.ok
    assert "not supported" in event.reason
    assert "not supported" in run.agent.report(0).servers[0]["reason"]


def test_more_servers_than_the_limit_are_left_out_with_a_reason():
    """Limits.servers."""
    run = gathering(limits=Limits(servers=2))
    servers = [run.server(honest, f"192.0.2.{number}") for number in (1, 2, 3, 4)]
    run.run(*(f"stun:192.0.2.{number}" for number in (1, 2, 3, 4)))
    assert [len(server.machine.requests) for server in servers] == [1, 1, 0, 0]
    assert run.outcome("stun:192.0.2.3")["reason"] == "more than 2 servers: left out"
    assert len(run.agent.report(0).servers) == 4


def test_a_name_with_many_addresses_is_asked_at_a_few():
    """Limits.server_addresses: a resolver cannot turn one server into a flood."""
    run = gathering(limits=Limits(server_addresses=3))
    addresses = [f"192.0.2.{number}" for number in range(1, 101)]
    server = run.server(honest, *addresses)
    run.sim.network.dns.add("stun.example", *addresses)
    run.run("stun:stun.example")
    assert len(server.machine.requests) == 3
    assert run.agent.counters["server-address.ignored"] == 97


@pytest.mark.parametrize("address", ["", "not an address", "0.0.0.0", "224.0.0.1", "255.255.255.255"])
def test_a_resolver_that_answers_nonsense_is_not_believed(address):
    run = gathering()
    run.start("stun:stun.example")
    run.agent.addresses_resolved(0, [(address, 3478)], run.sim.now)
    run.sim.run_for(0.02)
    assert run.sim.network.sent(run.node.host) == []


# -- the order of what is told -----------------------------------------------------------------------------------------


def test_the_end_is_told_after_the_last_candidate():
    """8838-13: end-of-candidates when gathering has ended, after every candidate; the description says it too."""
    run = gathering("10.0.0.1", "10.0.0.2", nat=PUBLIC)
    run.real_server(SERVER)
    run.start(URL)
    assert not run.agent.local_description.complete
    run.sim.run_until(lambda: run.complete_at is not None)
    kinds = [
        type(event).__name__
        for event in run.node.events
        if isinstance(event, (CandidateGathered, GatheringStateChanged))
    ]
    assert kinds == ["GatheringStateChanged", *["CandidateGathered"] * 4, "GatheringStateChanged"]
    description = run.agent.local_description
    assert description.complete
    assert (description.ufrag, description.pwd) == (
        run.agent.local_credentials.ufrag,
        run.agent.local_credentials.pwd,
    )
    assert "a=end-of-candidates" in description.to_sdp()


@pytest.mark.parametrize("seed", range(12))
def test_within_a_foundation_the_lower_component_is_told_first(seed):
    """8838-18: also when requests are lost or overtaken on the way."""
    run = gathering(
        "10.0.0.1", "10.0.0.2", nat=PUBLIC, components=3, seed=seed, link=Link(loss=0.15, reorder=0.4)
    )
    run.real_server(SERVER)
    run.run(URL)
    told = [event.candidate for event in run.events(CandidateGathered)]
    by_foundation: dict[str, list[int]] = {}
    for candidate in told:
        by_foundation.setdefault(candidate.foundation, []).append(candidate.component)
    assert len(by_foundation) == 4
    for components in by_foundation.values():
        assert components == sorted(components)


def test_a_component_whose_request_fails_does_not_hold_the_next_one_for_ever():
    """8838-18: the second component's candidate waits for the first's only as long as that may still come."""
    run = gathering("10.0.0.1", nat=PUBLIC, components=2)
    first_port = []

    def reply(message, address):
        first_port.append(address[1])
        return error(message, 500) if address[1] == first_port[0] else honest(message, address)

    run.server(reply, SERVER)
    run.run(URL)
    assert [(each.type, each.component) for each in run.agent.local_candidates] == [
        ("host", 1),
        ("host", 2),
        ("srflx", 2),
    ]


def test_the_driver_may_answer_in_any_order():
    """Names before sockets, sockets before names, one socket of two: the same candidates in the end."""

    def run_with(order):
        agent = IceAgent(IceOptions(controlling=True), rng=bytes)
        agent.gather([("10.0.0.1", 0), ("10.0.0.2", 0)], [parse_server_url("stun:stun.example")], 0.0)
        steps = {
            "a": lambda: agent.socket_opened(0, 1, ("10.0.0.1", 5001), 0.0),
            "b": lambda: agent.socket_failed(1, "no", 0.0),
            "n": lambda: agent.addresses_resolved(0, [(SERVER, 3478)], 0.0),
        }
        for step in order:
            steps[step]()
        while (at := agent.next_timer()) is not None and at < 1.0:
            agent.handle_timer(at)
            for transmit in agent.take_transmits():
                answer = honest(parse(transmit.data), (PUBLIC, 7))
                agent.datagram_received(transmit.socket, answer, transmit.address, at)
        return [each.transport_address for each in agent.local_candidates], agent.gathering_state

    expected = ([("10.0.0.1", 5001), (PUBLIC, 7)], "complete")
    for order in ("abn", "anb", "ban", "bna", "nab", "nba"):
        assert run_with(order) == expected


def test_fake_servers_see_what_was_sent():
    """The helper of these tests: it keeps what comes."""
    server = FakeServer(silent)
    run = gathering()
    run.server(server.reply, SERVER)
    assert run.run(URL) == pytest.approx(5.0, abs=0.1)


def test_local_preferences_are_unique_for_each_type_and_component():
    """8421-3: whatever the order of IPv4 and IPv6 addresses, no two candidates of a type and component share one."""
    addresses = [f"10.0.0.{n}" for n in range(1, 5)] + [f"2001:db8::{n}" for n in range(1, 5)]
    addresses[1::2], addresses[::2] = addresses[:4], addresses[4:]
    sim = Simulation(3)
    sim.add_stun_server(sim.network.add_host("192.0.2.1"))
    host = sim.network.add_host(*addresses)
    node = sim.add_agent(host, IceAgent(IceOptions(controlling=True, components=2), rng=sim.rng))
    node.gather([parse_server_url("stun:192.0.2.1")], [(address, 0) for address in addresses])
    sim.run_for(2)
    found = node.agent.local_candidates
    assert len(found) >= 16
    keys = [(each.type, each.component, (each.priority >> 8) & 0xFFFF) for each in found]
    assert len(set(keys)) == len(keys)
    hosts = [each for each in found if each.type == "host" and each.component == 1]
    assert [each.address for each in hosts] == addresses
    assert [each.priority for each in hosts] == sorted((each.priority for each in hosts), reverse=True)


def test_a_relayed_candidate_that_equals_a_host_candidate_is_left_out():
    """8445-7: a TURN server on this very host may relay from an address that a socket of ours has."""
    sim = Simulation(4)
    node = sim.add_agent(
        sim.network.add_host("10.0.0.1"), IceAgent(IceOptions(controlling=True), rng=sim.rng)
    )
    node.gather([])
    sim.run_for(1)
    gatherer = node.agent.streams[0].engine.gatherer
    (base,) = gatherer.bases
    relayed = gatherer.candidates.make(base, "relay", base.address, 0, server_host="10.0.0.1")
    assert gatherer.candidates.offer(relayed, sim.now) is None
    assert [each.type for each in node.agent.local_candidates] == ["host"]
