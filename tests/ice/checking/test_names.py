"""Names in the peer's candidates: which are looked up, and what everybody sees instead of the addresses behind them
(draft-ietf-mmusic-mdns-ice-candidates 3.2 and 3.3, RFC 8839 5.1)."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from ice_harness import ice_pair, scripted

from fasticePy.ice import Candidate, Description, Limits, NeedAddresses, Timeouts
from fasticePy.ice.candidate import UnsupportedCandidate
from fasticePy.ice.checking.pairing import _fit
from fasticePy.ice.pair import LocalCandidate

NAME = "6e1b7e2c-11aa-4f5e-9d2c-2f9a2c3d4e5f.local"
OTHER = "0e1b7e2c-11aa-4f5e-9d2c-2f9a2c3d4e5f.local"
ADDRESS = "10.0.0.2"


def ready(**options):
    """An agent that knows the peer's credentials; nobody answers for a name but the test."""
    script = scripted(**{"controlling": False, **options})
    script.gather()
    script.set_credentials()
    return script


def named(script, name: str = NAME, **form) -> Candidate:
    return replace(script.peer.candidate(**form), address=name)


def add(script, *candidates: Candidate | None) -> None:
    for candidate in candidates:
        script.agent.add_remote_candidate(candidate, script.now)
    script.settle()


def questions(script) -> list[NeedAddresses]:
    return script.events(NeedAddresses)


def answer(script, *hosts: str, number: int = -1, final: bool = True) -> None:
    question = questions(script)[number]
    addresses = [(host, question.port) for host in hosts]
    script.agent.addresses_resolved(question.request, addresses, script.now, final=final)
    script.settle()


def everything_said(script) -> str:
    """All that an application may see of the agent."""
    agent = script.agent
    return "\n".join(
        [
            *map(repr, script.node.events),
            json.dumps(agent.stats(script.now)),
            agent.report(script.now).to_json(),
            str(agent.report(script.now)),
            *map(str, agent.pairs),
            *map(repr, agent.pairs),
            *map(str, agent.remote_candidates),
            agent.state_reason,
        ]
    )


# -- resolution ----------------------------------------------------------------------------------------------------


def test_a_name_is_asked_for_and_then_checked_as_any_other_candidate():
    """mdns-4: resolved, then the ordinary rules: paired, checked, valid."""
    script = ready(controlling=True)
    add(script, named(script))
    (question,) = questions(script)
    assert (question.host, question.port) == (NAME, script.peer.address()[1])
    assert script.agent.pairs == []
    answer(script, ADDRESS)
    (pair,) = script.agent.pairs
    assert pair.destination == script.peer.address()
    assert pair.remote.address == NAME
    script.peer.answer(script.peer.next_check())
    script.settle()
    assert pair.valid
    assert script.agent.route(1).address == script.peer.address()


def test_two_agents_that_publish_names_connect():
    """mdns-4, mdns-1: both sides hide behind names, and the network answers for them."""
    pair = ice_pair(mdns="publish")
    pair.connect()
    assert pair.same_pair()
    for agent in pair.agents:
        selected = agent.selected_pair()
        assert selected.local.address.endswith(".local")
        assert selected.remote.address.endswith(".local")
        assert [each.address for each in agent.remote_candidates] == [selected.remote.address]


def test_a_name_that_only_one_side_resolves_is_enough():
    """mdns-4: what the other side knows comes by the first check."""
    pair = ice_pair(mdns="publish", right_options={"mdns": "off"})
    pair.connect()
    assert pair.same_pair()
    (ignored,) = pair.right.agent.report(pair.sim.now).ignored_candidates
    assert "mDNS is off" in ignored[1]


def test_a_name_is_asked_for_once():
    """The same name on two components, and on two ports: one question, pairs for all of them."""
    script = ready(components=2)
    first, second = named(script), named(script, component=2)
    add(script, first, second, replace(first, port=4242))
    assert len(questions(script)) == 1
    answer(script, ADDRESS)
    assert sorted(pair.destination[1] for pair in script.agent.pairs) == sorted(
        [first.port, second.port, 4242]
    )
    add(script, replace(second, port=4243))  # it is known by now
    assert len(questions(script)) == 1
    assert len(script.agent.pairs) == 4


def test_names_differ_in_more_than_case():
    script = ready()
    add(script, named(script), named(script, NAME.upper()))
    assert len(questions(script)) == 1
    assert len(script.agent.remote_candidates) == 1


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("printer.local", {}, "not looked up"),  # mdns-5
        ("a.b.local", {}, "one dot"),  # mdns-4
        (f"x.{NAME}", {}, "one dot"),
        (".local", {}, "one dot"),
        (NAME[1:], {}, "not looked up"),
        (NAME, {"mdns": "off"}, "mDNS is off"),
        (NAME, {"candidate_types": frozenset({"relay"})}, "no use to relayed"),  # mdns-4
        ("peer.example", {}, "names are not resolved"),  # 8839-19
        ("local", {}, "names are not resolved"),
        ("a.b.local", {"resolve_names": True}, "one dot"),
        ("printer.local", {"resolve_names": True}, "not looked up"),
        ("10.0.0.256", {"resolve_names": True}, "nor a host name"),
        ("167772162", {"resolve_names": True}, "nor a host name"),
        ("0x0a000002", {"resolve_names": True}, "nor a host name"),
        ("10.0.2", {"resolve_names": True}, "nor a host name"),
        ("a..example", {"resolve_names": True}, "nor a host name"),
        ("-a.example", {"resolve_names": True}, "nor a host name"),
        ("a b.example", {"resolve_names": True}, "nor a host name"),
        ("x" * 64 + ".example", {"resolve_names": True}, "nor a host name"),
        ("x." * 130 + "example", {"resolve_names": True}, "nor a host name"),
        ("", {"resolve_names": True}, "nor a host name"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}gro.live", {"resolve_names": True}, "nor a host name"),
    ],
)
def test_names_that_are_not_looked_up(name, options, reason):
    """mdns-4, mdns-5, 8839-19: recorded with the reason, and the others used."""
    script = ready(**options)
    add(script, named(script, name), script.peer.candidate())
    assert questions(script) == []
    (ignored,) = script.agent.report(script.now).ignored_candidates
    assert reason in ignored[1]
    assert [each.address for each in script.agent.remote_candidates] == [ADDRESS]


def test_other_names_are_resolved_when_that_is_wanted():
    """`resolve_names`: the first usable address of each family, as they come."""
    script = ready(
        resolve_names=True,
        agent_addresses=("10.0.0.1", "2001:db8::1"),
        peer_addresses=(ADDRESS, "2001:db8::2"),
    )
    add(script, named(script, "Peer.Example."))
    (question,) = questions(script)
    assert question.host == "peer.example"
    answer(script, "0.0.0.0", ADDRESS, "10.0.0.3", final=False)
    answer(script, "10.0.0.4", "2001:db8::2")
    port = script.peer.address()[1]
    assert {pair.destination for pair in script.agent.pairs} == {(ADDRESS, port), ("2001:db8::2", port)}
    assert {pair.remote.address for pair in script.agent.pairs} == {"peer.example"}


def test_text_with_host_names_is_read_when_that_is_wanted():
    """8839-19: a line with a host name is left out of a description, and used by an agent that resolves names."""
    line = "candidate:1 1 udp 2130706431 Peer.example 5000 typ host"
    with pytest.raises(UnsupportedCandidate):
        Candidate.parse(line)
    assert Candidate.parse(line, names=True) == Candidate(
        "1", 1, "udp", 2130706431, "peer.example", 5000, "host"
    )
    assert Candidate.parse(json.dumps({"candidate": line}), names=True) == Candidate.from_sdp(
        line, names=True
    )
    for wrong in ("10.0.0.256", "0x0a000002", "-a.example", "0.0.0.0"):
        with pytest.raises(UnsupportedCandidate):
            Candidate.from_sdp(line.replace("Peer.example", wrong), names=True)
    for resolve_names, asked in ((True, ["peer.example"]), (False, [])):
        script = scripted(controlling=False, resolve_names=resolve_names)
        script.gather()
        ufrag, pwd = script.peer.credentials.ufrag, script.peer.credentials.pwd
        lines = [f"a=ice-ufrag:{ufrag}", f"a=ice-pwd:{pwd}", f"a={line}", f"a={line} tcptype nonsense"]
        lines += [f"a={line}".replace(" udp ", " sctp "), f"a={line}".replace("typ host", "")]
        description = Description.parse("\r\n".join(lines))
        assert description.candidates == ()
        script.agent.set_remote_description(description, script.now)
        script.settle()
        assert [question.host for question in questions(script)] == asked


@pytest.mark.parametrize(
    ("hosts", "reason"),
    [
        (["127.0.0.1"], "loopback"),
        (["::1"], "loopback"),
        (["0.0.0.0"], "unspecified"),
        (["224.0.0.251"], "multicast"),
        (["ff02::fb"], "multicast"),
        (["255.255.255.255"], "broadcast"),
        (["::ffff:10.0.0.2"], "IPv4-mapped"),
        (["nonsense"], "not an IP address"),
        ([ADDRESS, "10.0.0.3"], "more than one address"),  # mdns-5
        ([], "no address"),
    ],
)
def test_answers_that_are_refused(hosts, reason):
    """mdns-5, 8839-19: an answer is no better than a candidate of the peer."""
    script = ready()
    add(script, named(script))
    answer(script, *hosts)
    assert script.agent.pairs == []
    (ignored,) = script.agent.report(script.now).ignored_candidates
    assert reason in ignored[1]
    assert script.counted("remote-name.failed") == 1


def test_loopback_answers_are_for_those_who_are_there():
    script = ready(agent_addresses=("127.0.0.1",), peer_addresses=("127.0.0.2",))
    add(script, named(script))
    answer(script, "127.0.0.2")
    assert [pair.destination for pair in script.agent.pairs] == [script.peer.address()]


def test_an_address_of_each_family_is_fine():
    """As it comes from agents that publish one name for both: one after the other."""
    script = ready(agent_addresses=("10.0.0.1", "2001:db8::1"), peer_addresses=(ADDRESS, "2001:db8::2"))
    add(script, named(script))
    answer(script, ADDRESS, final=False)
    answer(script, "2001:db8::2")
    assert len(script.agent.pairs) == 2


def test_a_failure_is_recorded_with_its_reason():
    script = ready(timeouts=Timeouts(patience=1.0))
    add(script, named(script), None)
    script.agent.resolution_failed(questions(script)[0].request, "nobody answered", script.now)
    script.sim.run_for(2)
    assert script.agent.state == "failed"
    report = script.agent.report(script.now)
    assert report.ignored_candidates == ((f"host {NAME}:{script.peer.address()[1]}", "nobody answered"),)
    assert report.conclusion.startswith(f"None of the peer's candidates can be used (host {NAME}")
    assert [each.address for each in script.agent.remote_candidates] == [NAME]  # the draft, 3.3.1


def test_names_are_limited():
    """8445-63: each of them is a question to the whole network."""
    script = ready(limits=Limits(remote_names=3, remote_candidates=5))
    names = [f"{number}{NAME[1:]}" for number in range(9)]
    add(script, *(named(script, name) for name in names))
    assert len(questions(script)) == 3
    assert len(script.agent.remote_candidates) == 5
    assert len(script.agent.report(script.now).ignored_candidates) == 5


# -- time ----------------------------------------------------------------------------------------------------------


def test_nothing_fails_while_a_name_is_looked_up():
    """8839-19 in spirit: end-of-candidates does not mean that no pair will come."""
    script = ready(timeouts=Timeouts(patience=1.0, resolution=5.0), controlling=True)
    add(script, named(script), None)
    script.sim.run_for(4)
    assert script.agent.state != "failed"
    answer(script, ADDRESS)
    script.peer.answer(script.peer.next_check())
    script.settle()
    script.peer.answer(script.peer.next_check())
    script.settle()
    assert script.agent.state == "completed"


def test_nomination_waits_for_what_a_name_may_bring():
    """As for any candidate that may still come, a relayed path is not made final before the time for that is over."""
    script = ready(controlling=True, timeouts=Timeouts(nomination_relay=3.0))
    add(script, script.peer.candidate(type="relay"), named(script), None)
    script.peer.answer(script.peer.next_check())
    script.sim.run_for(1)
    (pair,) = script.agent.pairs
    assert pair.valid
    assert not pair.nominating
    script.agent.resolution_failed(questions(script)[0].request, "nobody answered", script.now)
    assert pair.nominating


def test_a_driver_that_says_nothing_is_given_up():
    script = ready(timeouts=Timeouts(patience=1.0, resolution=5.0))
    add(script, named(script), None)
    script.sim.run_for(4.9)
    assert script.agent.state != "failed"
    script.sim.run_for(0.2)
    assert script.agent.state == "failed"
    assert "not resolved in 5 s" in script.agent.report(script.now).conclusion
    answer(script, ADDRESS)  # too late
    assert script.agent.pairs == []


def test_close_and_restart_end_the_questions():
    script = ready()
    add(script, named(script))
    script.agent.restart(script.now)
    answer(script, ADDRESS)
    assert script.agent.pairs == []
    script.agent.close(script.now)
    answer(script, ADDRESS)
    assert script.agent.next_timer() is None


# -- what is seen --------------------------------------------------------------------------------------------------


def test_a_check_before_the_resolution_is_matched_with_the_name():
    """mdns-6: pion TestHandlePeerReflexive "mDNS-resolved candidate is matched instead": the learnt candidate becomes
    the named one, and pair, state and priority stay (8445-42)."""
    script = ready()
    add(script, named(script))
    script.peer.request(priority=777)
    script.settle()
    (pair,) = script.agent.pairs
    assert (pair.remote.type, pair.remote.address) == ("prflx", "0.0.0.0")
    before = (pair.state, pair.priority, pair.path, pair.requests_received)
    answer(script, ADDRESS)
    assert script.agent.pairs == [pair]
    assert (pair.state, pair.priority, pair.path, pair.requests_received) == before
    assert (pair.remote.type, pair.remote.address) == ("host", NAME)
    assert [each.address for each in script.agent.remote_candidates] == [NAME]
    assert ADDRESS not in everything_said(script)


def test_a_check_after_the_resolution_belongs_to_the_name():
    """mdns-6: no peer-reflexive candidate."""
    script = ready()
    add(script, named(script))
    answer(script, ADDRESS)
    script.peer.request()
    script.settle()
    assert [each.address for each in script.agent.remote_candidates] == [NAME]


def test_the_address_behind_a_name_is_never_seen():
    """mdns-6: from the first check to the failure of the pair: events, statistics, report, record, texts."""
    script = ready(controlling=True)
    add(script, named(script))
    script.peer.request()
    script.peer.answer(script.peer.next_check())
    script.settle()
    answer(script, ADDRESS)
    script.peer.answer(script.peer.next_check())
    script.settle()
    assert script.agent.state == "connected"
    add(script, None)
    assert script.agent.state == "completed"
    script.agent.restart(script.now)
    script.sim.run_for(60)
    script.agent.close(script.now)
    assert ADDRESS not in everything_said(script)
    assert NAME in everything_said(script)


@pytest.mark.parametrize("words", ["Connection refused", f"sendto {ADDRESS}:5000: No route to host"])
def test_words_of_the_operating_system_do_not_tell_it(words):
    """mdns-6: the reason of a failed check may name an address."""
    script = ready(controlling=True)
    add(script, named(script))
    answer(script, ADDRESS)
    script.peer.next_check()
    (pair,) = script.agent.pairs
    script.agent.socket_error(pair.socket, pair.destination, words, script.now)
    assert pair.state == "failed"
    assert pair.failure == words.replace(ADDRESS, NAME)
    assert ADDRESS not in everything_said(script)


def test_an_answer_from_elsewhere_does_not_tell_it():
    """mdns-6: RFC 8445 7.2.5.2.1 fails such a check, and the reason has no number."""
    script = ready(controlling=True, peer_addresses=(ADDRESS, "10.0.0.3"))
    add(script, named(script))
    answer(script, ADDRESS)
    script.peer.answer(script.peer.next_check(), socket=script.peer.open("10.0.0.3"))
    script.settle()
    assert script.agent.pairs[0].failure == "the answer came from another address instead"
    assert "10.0.0.3" not in everything_said(script)


def test_statistics_have_no_address_of_a_stranger():
    """mdns-6, and W3C: null for a peer-reflexive candidate that was not signalled; each has an entry of its own."""
    script = ready(peer_addresses=(ADDRESS, "10.0.0.3"))
    add(script, named(script))
    script.peer.request(socket=script.peer.open(ADDRESS, 7000))
    script.peer.request(socket=script.peer.open("10.0.0.3", 7000))
    script.settle()
    stats = script.agent.stats(script.now)
    remote = [each for each in stats.values() if each["type"] == "remote-candidate"]
    assert sorted(str(each["address"]) for each in remote) == [NAME, "None", "None"]
    pairs = [each for each in stats.values() if each["type"] == "candidate-pair"]
    assert len(pairs) == 2
    assert all(each["remoteCandidateId"] in stats for each in pairs)


def test_before_anything_is_signalled_a_stranger_has_no_address():
    """mdns-6: a name may still come for it, and did not yet."""
    script = ready()
    script.peer.request()
    script.settle()
    assert script.agent.remote_candidates[0].address == "0.0.0.0"
    assert ADDRESS not in everything_said(script)


def test_a_stranger_of_a_known_address_is_seen():
    """mdns-6: as the draft has it: the same address, another port; also when it is signalled later."""
    script = ready()
    add(script, named(script))
    script.peer.request()
    script.settle()
    assert script.agent.remote_candidates[-1].address == "0.0.0.0"
    add(script, script.peer.candidate(address=(ADDRESS, 9), type="srflx"))
    learnt = next(each for each in script.agent.remote_candidates if each.type == "prflx")
    assert learnt.transport_address == script.peer.address()
    assert script.pair().remote is learnt


def test_strangers_of_a_peer_that_hides_nothing_are_seen():
    """Who tells the addresses of its hosts has none to hide: the mapping of a symmetric NAT is worth seeing."""
    script = ready(peer_addresses=(ADDRESS, "10.0.0.3"))
    script.peer.request()
    script.settle()
    assert script.agent.remote_candidates[0].address == "0.0.0.0"
    add(script, script.peer.candidate(address=("10.9.9.9", 9)))
    assert script.agent.remote_candidates[0].transport_address == script.peer.address()
    script.peer.request(socket=script.peer.open("10.0.0.3"))
    script.settle()
    assert script.agent.remote_candidates[-1].address == "10.0.0.3"


def test_a_number_and_a_name_for_the_same_place_make_one_pair():
    script = ready()
    add(script, script.peer.candidate(), named(script))
    answer(script, ADDRESS)
    (pair,) = script.agent.pairs
    assert pair.remote.address == ADDRESS


def test_link_local_answers_get_the_scope_of_our_own_link():
    script = ready(agent_addresses=("fe80::1%eth0",), peer_addresses=("fe80::2%eth0",))
    add(script, named(script))
    answer(script, "fe80::2%whatever")
    assert [pair.destination[0] for pair in script.agent.pairs] == ["fe80::2%eth0"]


# -- relays --------------------------------------------------------------------------------------------------------


def test_relayed_candidates_are_not_paired_with_names():
    """mdns-7: the TURN server would learn the address; the peer's relayed candidates and our names do go together."""
    host = Candidate("1", 1, "udp", 99, "10.0.0.1", 5000, "host")
    relay = replace(host, type="relay", related_address="10.0.0.1", related_port=5000)
    hidden = replace(host, address=NAME)

    def fit(own: Candidate, remote: Candidate) -> bool:
        return _fit(LocalCandidate(own, 1, ("10.0.0.1", 5000)), remote, ADDRESS, connected=False)

    assert not fit(relay, hidden)
    assert fit(relay, replace(host, address=ADDRESS))
    assert fit(host, hidden)
    assert fit(hidden, replace(relay, address=ADDRESS))


def test_a_name_costs_no_packet_to_anybody_else():
    """mdns-4: asked on the link, and nothing is sent before the answer."""
    pair = ice_pair(mdns="publish")
    pair.connect()
    asked = pair.sim.network.sent(transport="mdns")
    assert {packet.destination for packet in asked} == {("224.0.0.251", 5353)}
    assert {packet.destination[0] for packet in pair.sim.network.sent()} == {"10.0.0.1", "10.0.0.2"}
