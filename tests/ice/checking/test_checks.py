"""The checks that an agent sends, and what their answers mean (RFC 8445 7.1, 7.2)."""

from __future__ import annotations

import pytest
from ice_harness import (
    HOST_PRIORITY,
    PRFLX_PRIORITY,
    append_attribute,
    append_fingerprint,
    ice_pair,
    requests_of,
    scripted,
)

from fasticePy.ice import Candidate, Credentials, candidate_priority, pair_priority
from fasticePy.ice.pair import LocalCandidate
from fasticePy.stun import Attribute, IntegrityKey, MessageBuilder, MessageClass, Method

SENDS = [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
"""When a check goes out that nobody answers (RFC 8489 6.2.1)."""


def started(**options):
    """An agent that has sent its first check, and that check."""
    script = scripted(**options)
    script.meet()
    return script, script.peer.next_check()


# -- the request -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("controlling", [True, False])
def test_a_check_has_the_attributes_of_ice_and_no_others(controlling):
    """8445-25, 8445-26, 8445-28, 8445-30, 8445-62."""
    script, check = started(controlling=controlling)
    message, ours, theirs = check.message, script.agent.local_credentials, script.peer.credentials
    assert message.get(Attribute.USERNAME) == f"{theirs.ufrag}:{ours.ufrag}"
    assert message.get(Attribute.PRIORITY) == 1862270975 == PRFLX_PRIORITY
    assert check.controlling == controlling
    assert (Attribute.ICE_CONTROLLED in message) != controlling
    assert check.tiebreaker == script.agent._session.tiebreaker
    assert message.verify_integrity(IntegrityKey.short_term(theirs.pwd))
    assert message.integrity_kind == "sha1"  # trap T7: ICE is defined with MESSAGE-INTEGRITY
    assert message.verify_fingerprint()
    assert not check.use_candidate
    assert len(message.attributes()) == 5  # these, and none that peers might not know
    script.peer.answer(check)
    assert not any(seen.use_candidate for seen in script.peer.requests[:1])


def test_the_priority_in_a_check_is_that_of_the_base_with_the_peer_reflexive_preference():
    """8445-25: second address, second component: 110 * 2^24 + 65534 * 2^8 + 254."""
    script = scripted(agent_addresses=("10.0.0.1", "10.0.1.1"), components=2, controlling=False)
    peer = script.peer
    script.meet(peer.candidate(), peer.candidate(component=2))
    seen = {}
    peer.auto_answer = True
    for _ in range(4):
        check = peer.next_check()
        seen[check.source] = check.message.get(Attribute.PRIORITY)
    expected = {
        candidate.transport_address: (110 << 24) + (candidate.priority & 0xFFFFFF)
        for candidate in script.agent.local_candidates
    }
    assert seen == expected
    assert min(expected.values()) == (110 << 24) + (65534 << 8) + 254


def test_checks_go_out_from_the_base():
    """8445-24: the source of each check is the socket of its pair's base, for signalled srflx candidates too."""
    script = scripted(agent_addresses=("10.0.0.1", "10.0.1.1"))
    script.meet()
    sources = {script.peer.next_check().source for _ in range(2)}
    assert sources == {candidate.transport_address for candidate in script.agent.local_candidates}
    assert {source[0] for source in sources} == {"10.0.0.1", "10.0.1.1"}


def test_one_tiebreaker_for_all_checks_of_all_components():
    """8445-62: one per session."""
    script = scripted(components=2, controlling=False)
    script.meet(*(script.peer.candidate(component=number) for number in (1, 2)))
    script.peer.auto_answer = True
    checks = [script.peer.next_check() for _ in range(2)]
    assert len({check.tiebreaker for check in checks}) == 1
    assert len({check.source for check in checks}) == 2


def test_tiebreakers_differ_between_agents_and_have_64_bits():
    """8445-62: random, not constant."""
    values = {scripted(seed=seed).agent._session.tiebreaker for seed in range(50)}
    assert len(values) == 50
    assert max(values) >= 1 << 56
    assert all(value < 1 << 64 for value in values)


def test_only_the_controlling_side_sends_use_candidate():
    """8445-26, 8445-28: both sides of a whole session."""
    pair = ice_pair()
    pair.connect()
    pair.sim.run_for(20)
    left, right = (requests_of(pair.sim, node.host) for node in pair.nodes)
    assert any(Attribute.USE_CANDIDATE in message for message in left)
    assert not any(Attribute.USE_CANDIDATE in message for message in right)
    assert all(Attribute.ICE_CONTROLLING in message for message in left)
    assert all(Attribute.ICE_CONTROLLED in message for message in right)


# -- success ---------------------------------------------------------------------------------------------------------


def test_an_answer_makes_the_pair_valid():
    """8445-35: the valid pair is the pair itself; it is not nominated. 8445-36: it is Succeeded."""
    script, check = started(controlling=False)
    script.sim.run_for(0.03)
    script.peer.answer(check)
    script.settle()
    pair = script.pair()
    assert (pair.state, pair.valid, pair.nominated) == ("succeeded", True, False)
    assert pair.local == script.agent.local_candidates[0]
    assert pair.rtt == pytest.approx(0.03)
    assert script.agent.state == "connected"


def test_a_mapped_address_that_is_unknown_is_a_peer_reflexive_candidate():
    """8445-34: base of the pair, the PRIORITY sent, a foundation of its own kind; no further pairs. 8445-35: the
    valid pair is a new one that was in no checklist. pion: symmetric NAT."""
    script, check = started()
    script.peer.answer(check, mapped=("198.51.100.7", 4242))
    script.settle()
    pair = script.pair()
    local = pair.local
    (host,) = script.agent.local_candidates
    assert (local.type, local.transport_address) == ("prflx", ("198.51.100.7", 4242))
    assert (local.related_address, local.related_port) == host.transport_address
    assert local.priority == check.message.get(Attribute.PRIORITY)
    assert local.component == host.component
    assert local.foundation != host.foundation
    assert pair.valid
    assert len(script.agent.pairs) == 1


def test_peer_reflexive_candidates_of_one_base_share_a_foundation():
    """8445-34: the foundation is by type and base (8445-8): a symmetric NAT maps each destination to a port of its
    own."""
    script = scripted(peer_addresses=("10.0.0.2", "10.0.0.3"), controlling=False)
    other = script.peer.open("10.0.0.3")
    script.meet(script.peer.candidate(), script.peer.candidate(other))
    for port in (4001, 4002):
        script.peer.answer(script.peer.next_check(), mapped=("198.51.100.7", port))
    script.settle()
    first, second = (script.pair(socket).local for socket in (script.peer.socket, other))
    assert (first.port, second.port) == (4001, 4002)
    assert first.foundation == second.foundation


def test_a_mapped_address_that_was_signalled_is_that_candidate():
    """8445-35: the valid pair is that of the server-reflexive candidate, which was pruned into its base's pair."""
    script = scripted()
    script.gather()
    engine = script.agent.streams[0].engine
    host = engine.gatherer.candidates.all[0]
    reflexive = Candidate("9", 1, "udp", candidate_priority("srflx", 65535, 1), "192.0.2.7", 777, "srflx")
    engine.gatherer.candidates.all.append(LocalCandidate(reflexive, host.socket, host.base))
    script.meet()
    script.peer.answer(script.peer.next_check(), mapped=("192.0.2.7", 777))
    script.settle()
    assert script.pair().valid
    assert script.pair().local is reflexive


def test_a_mapped_address_that_is_another_host_candidate_keeps_the_path_that_was_proven():
    """8445-35, the case of another pair in the checklist: the answer proves the way from the socket that asked, and
    not that from the other one, so data takes the former; the other pair has its own check."""
    script = scripted(agent_addresses=("10.0.0.1", "10.0.1.1"))
    script.meet()
    check = script.peer.next_check()
    other = next(c for c in script.agent.local_candidates if c.transport_address != check.source)
    script.peer.answer(check, mapped=other.transport_address)
    script.settle()
    proven, untested = sorted(script.agent.pairs, key=lambda pair: not pair.valid)
    assert script.node.address_of(proven.socket) == check.source
    assert proven.local == other
    assert (untested.valid, untested.state) == (False, "waiting")
    assert script.agent.route(1).socket == proven.socket


@pytest.mark.parametrize("late", [False, True])
def test_success_unfreezes_the_same_foundation(late):
    """8445-36: the second component waits for the first one's success, and then goes at once."""
    script = scripted(components=2, controlling=False)
    script.meet(*(script.peer.candidate(component=number, foundation="same") for number in (1, 2)))
    check = script.peer.next_check()
    first, second = sorted(script.agent.pairs, key=lambda pair: pair.component)
    assert (first.state, second.state) == ("in-progress", "frozen")
    if late:  # busy: the frozen one is left alone however often Ta fires
        script.sim.run_for(0.4)
        assert script.peer.take_checks() == []
    script.peer.answer(check)
    script.settle()
    assert first.state == "succeeded"
    script.sim.run_for(0 if late else 0.05)
    assert second.state == "in-progress"


def test_a_success_without_a_mapped_address_fails_the_pair():
    """8445-33: not a usable answer."""
    script, check = started()
    script.peer.answer(check, mapped=None)
    script.settle()
    assert (script.pair().state, script.pair().valid) == ("failed", False)


def test_link_local_agents_see_each_other_as_hosts():
    """8445-18, 8445-34: the scope of a link-local address is in no message, so the mapped address is our own."""
    pair = ice_pair(left=("fe80::1%eth0",), right=("fe80::2%eth0",))
    pair.connect()
    for node in pair.nodes:
        selected = node.agent.selected_pair(1)
        assert (selected.local.type, selected.remote.type) == ("host", "host")
        assert selected.destination[0].endswith("%eth0")
        (candidate,) = node.agent.local_candidates
        assert "%" not in candidate.address
        assert "%" not in str(node.agent.local_description)
    assert pair.left.send(1, b"x")


# -- failure ---------------------------------------------------------------------------------------------------------


def test_silence_fails_the_pair_and_leaves_its_foundation_alone():
    """8445-33: a timeout is a failure; seven sends, 39.5 s; a pair of the same foundation is not touched by it. That
    one is checked after 1.5 s of silence, for nobody knows whether it will fail alike."""
    script = scripted(components=2)
    script.meet(*(script.peer.candidate(component=number, foundation="same") for number in (1, 2)))
    check = script.peer.next_check()
    first, second = sorted(script.agent.pairs, key=lambda pair: pair.component)
    script.sim.run_until(lambda: first.state == "failed", 60)
    assert script.now == pytest.approx(39.5)
    assert [seen.at for seen in script.peer.requests if seen.id == check.id] == SENDS
    assert "no answer to 7 requests" in first.failure
    assert second.state == "in-progress"
    assert second.started_at == pytest.approx(1.5)
    assert not second.failure


@pytest.mark.parametrize("code", [300, 400, 401, 403, 420, 438, 500, 599])
def test_an_error_answer_fails_the_pair(code):
    """8445-33: unrecoverable errors; 8445-30: 300 Try Alternate is no way out but a failure like others."""
    script, check = started()
    script.peer.answer(
        check, code=code, reason="because", attributes=[(Attribute.ALTERNATE_SERVER, ("10.0.0.9", 9))]
    )
    script.settle()
    pair = script.pair()
    assert (pair.state, pair.valid) == ("failed", False)
    assert f"{code} because" in pair.failure
    script.sim.run_for(5)
    assert script.peer.take_checks() == []
    assert {packet.destination for packet in script.sim.network.sent(script.node.host)} == {
        script.peer.address()
    }


def test_an_error_without_its_code_fails_the_pair():
    """8445-33."""
    script, check = started()
    builder = MessageBuilder(Method.BINDING, MessageClass.ERROR, check.id)
    script.peer.send(builder.build(script.peer.key, fingerprint=True))
    script.settle()
    assert script.pair().state == "failed"
    assert "without ERROR-CODE" in script.pair().failure


def test_an_icmp_error_fails_the_check():
    """8445-33: a hard ICMP error."""
    script = scripted()
    script.peer.host.icmp = True
    script.meet(script.peer.candidate(address=("10.0.0.2", 9)))
    script.sim.run_for(0.1)
    (pair,) = script.agent.pairs
    assert pair.state == "failed"
    assert "unreachable" in pair.failure
    assert pair.requests_sent == 1


def test_an_icmp_error_does_not_end_a_valid_pair():
    """8445-33: anybody can forge one, so what has been valid lives by consent (RFC 7675)."""
    script, check = started()
    script.peer.answer(check)
    script.settle()
    pair = script.pair()
    script.agent.socket_error(pair.socket, pair.destination, "port unreachable", script.now)
    script.settle()
    assert pair.valid
    assert script.agent.state == "connected"


def test_an_answer_from_another_address_fails_the_pair():
    """8445-32: from another port of the peer; pion: success response asymmetric discarded."""
    script, check = started()
    script.peer.answer(check, socket=script.peer.open())
    script.settle()
    pair = script.pair()
    assert (pair.state, pair.valid) == ("failed", False)
    assert "instead" in pair.failure


def test_an_answer_to_another_socket_fails_the_pair():
    """8445-32: it comes to another address than the request left from."""
    script = scripted(agent_addresses=("10.0.0.1", "10.0.1.1"))
    script.meet()
    first, second = script.peer.next_check(), script.peer.next_check()
    script.peer.answer(first, to=second.source)
    script.settle()
    states = {script.node.address_of(pair.socket): pair.state for pair in script.agent.pairs}
    assert states == {first.source: "failed", second.source: "in-progress"}


# -- answers that are not the peer's ---------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [None, 400, 487])
@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ({"fingerprint": False}, "drop.response.fingerprint"),
        ({"key": None}, "drop.response.integrity"),
        ({"key": IntegrityKey.short_term("another password altogether")}, "drop.response.integrity"),
        ({"id": bytes(12)}, "drop.response.unknown"),
    ],
)
def test_an_answer_that_cannot_be_trusted_changes_nothing(form, reason, code):
    """8445-30: FINGERPRINT is demanded; 8445-28: answers are keyed like the request. str0m
    does_not_accept_response_with_unknown_tid. A true answer afterwards still counts."""
    script, check = started()
    script.peer.answer(check, code=code, **form)
    script.settle()
    pair = script.pair()
    assert script.counted(reason) == 1
    assert (pair.state, pair.valid, script.agent.role) == ("in-progress", False, "controlling")
    script.peer.answer(check)
    script.settle()
    assert pair.valid


def test_what_stands_behind_the_integrity_of_an_answer_is_not_seen():
    """8489-30: XOR-MAPPED-ADDRESS behind MESSAGE-INTEGRITY does not count."""
    script, check = started()
    answer = script.peer.build_answer(check, mapped=None, fingerprint=False)
    address = bytes.fromhex("0001 a147 e112a643".replace(" ", ""))
    script.peer.send(append_fingerprint(append_attribute(answer, Attribute.XOR_MAPPED_ADDRESS, address)))
    script.settle()
    assert script.pair().state == "failed"
    assert "XOR-MAPPED-ADDRESS" in script.pair().failure


def test_a_second_answer_to_the_same_check_is_unknown():
    """8489-18: the transaction has ended."""
    script, check = started()
    script.peer.answer(check)
    script.peer.answer(check, code=400)
    script.settle()
    assert script.pair().valid
    assert script.counted("drop.response.unknown") == 1


def test_answers_of_other_methods_are_dropped():
    """8489-18: known method."""
    script, check = started()
    script.peer.answer(check, method=3)
    script.settle()
    assert script.counted("drop.stun.method") == 1
    assert script.pair().state == "in-progress"


# -- cancelled checks ------------------------------------------------------------------------------------------------


def test_a_cancelled_check_is_not_repeated_and_its_answer_still_counts():
    """8445-44: no retransmission, no failure on silence, a late success counts."""
    script, first = started(controlling=False)
    script.sim.run_for(0.3)
    script.peer.request()
    script.settle()
    second = script.peer.next_check()
    assert second.id != first.id
    script.sim.run_for(2)
    ids = [seen.id for seen in script.peer.requests]
    assert ids.count(first.id) == 1
    assert ids.count(second.id) == 3  # at 0, 0.5 and 1.5 s
    script.peer.answer(first)
    script.settle()
    pair = script.pair()
    assert (pair.state, pair.valid) == ("succeeded", True)
    assert pair.rtt == pytest.approx(2.3)  # sent once, so the answer is to that send
    script.sim.run_for(3)
    assert [seen.id for seen in script.peer.requests].count(second.id) == 3  # its successor is needless now


def test_silence_after_a_cancelled_check_fails_nothing_by_itself():
    """8445-44: only the second check's own timeout is the failure."""
    script, _first = started(controlling=False)
    script.sim.run_for(10)
    script.peer.request()
    script.settle()
    script.sim.run_for(39.3)
    assert script.pair().state == "in-progress"
    script.sim.run_for(0.5)
    assert script.pair().state == "failed"


def test_an_answer_later_than_the_whole_transaction_is_unknown():
    """8445-44: what was cancelled is waited for as long as it would have lasted."""
    script, first = started(controlling=False)
    script.sim.run_for(10)
    script.peer.request()
    script.sim.run_for(29.6)
    before = script.counted("drop.response.unknown")
    script.peer.answer(first)
    script.settle()
    assert script.counted("drop.response.unknown") == before + 1


def test_an_error_answer_to_a_cancelled_check_leaves_the_new_one_alone():
    """8445-44: the transaction that runs now decides about the pair."""
    script, first = started(controlling=False)
    script.sim.run_for(0.3)
    script.peer.request()
    second = script.peer.next_check()
    script.peer.answer(first, code=400)
    script.settle()
    assert script.pair().state == "in-progress"
    script.peer.answer(second)
    script.settle()
    assert script.pair().valid


# -- the whole -------------------------------------------------------------------------------------------------------


def test_the_first_check_leaves_at_once():
    """pion TestConnectivityOnStartup: it does not wait for the first Ta."""
    script = scripted()
    script.meet()
    script.settle()
    assert [seen.at for seen in script.peer.requests] == [0.0]


def test_no_check_before_the_credentials_of_the_peer():
    """librice set_trickle_no_checks, trickle_no_remote_candidates."""
    script = scripted()
    script.gather()
    script.agent.add_remote_candidate(script.peer.candidate(), script.now)
    script.sim.run_for(1)
    assert script.peer.requests == []
    script.set_credentials()
    script.settle()
    assert len(script.peer.requests) == 1


def test_a_wrong_password_is_named_in_the_report():
    """aioice, librice bad_username_conncheck: both sides have a wrong password of the other."""
    script = scripted()
    script.gather()
    wrong = Credentials(script.peer.credentials.ufrag, "x" * 24)
    script.agent.set_remote_credentials(wrong.ufrag, wrong.pwd, script.now)
    script.agent.add_remote_candidate(script.peer.candidate(), script.now)
    script.agent.add_remote_candidate(None, script.now)
    check = script.peer.next_check()
    assert not check.message.verify_integrity(script.peer.key)
    script.peer.auto_answer = True
    script.peer.answer(check)
    script.sim.run_until(lambda: script.agent.state == "failed", 60)
    assert "MESSAGE-INTEGRITY" in script.pair().failure
    assert "password" in str(script.agent.report(script.now))


def test_pair_priorities_follow_the_candidates():
    """8445-19: host with host."""
    script, _check = started()
    assert script.pair().priority == pair_priority(HOST_PRIORITY, HOST_PRIORITY) == 9151314442783293438
