"""Lite agents in virtual time: with a full peer, with a peer that is driven by hand, and with each other.

The left agent is the one that initiates, `description` passes between the two as signalling would pass it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ice_harness import IcePair, Script, ice_pair, requests_of, scripted, stun_packets

from fasticePy.errors import StateError
from fasticePy.ice import Candidate, Description, IceAgent, IceOptions, PairSelected, StateChanged
from fasticePy.ice.addresses import LocalAddress
from fasticePy.ice.candidate import TYPE_PREFERENCES
from fasticePy.ice.selecting.lite_selector import one_per_host
from fasticePy.ice.signalling.negotiation import Negotiation, SessionNews
from fasticePy.ice.signalling.offer_lines import SessionLines
from fasticePy.ice.signalling.stream_negotiation import Action
from fasticePy.sim import AgentNode, Link
from fasticePy.stun import MessageClass


def describe(node: AgentNode, to: AgentNode) -> None:
    """Signalling: the whole description of one agent, as text, to the other one."""
    text = str(node.agent.local_description)
    to.agent.set_remote_description(Description.parse(text), to.simulation.now)


def introduce(pair: IcePair, *, both: bool = True) -> None:
    """Gather, and exchange descriptions; all of it takes no time."""
    for node in pair.nodes:
        if node.agent.gathering_state == "new":
            node.gather()
    pair.sim.run_for(0)
    describe(pair.left, pair.right)
    if both:
        describe(pair.right, pair.left)


def as_sdp(lines: SessionLines) -> str:
    """A session description with these ICE lines."""
    (stream,) = lines.streams
    head = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", *lines.attributes]
    return "\r\n".join([*head, f"m=audio {stream.port} RTP/AVP 0", *stream.lines]) + "\r\n"


def described(news: SessionNews) -> Description:
    """What the agent gets of it."""
    description = news.streams[0].description
    assert description is not None
    return description


def lite_pair(**options: Any) -> IcePair:
    """A full agent that controls, and a lite one."""
    right = {"lite": True, **options.pop("right_options", {})}
    return ice_pair(right_options=right, **options)


def completed(pair: IcePair) -> None:
    introduce(pair)
    pair.sim.run_until(lambda: all(agent.state == "completed" for agent in pair.agents), 5)


def lite_script(**options: Any) -> Script:
    script = scripted(controlling=False, lite=True, **options)
    script.meet()
    return script


# -- gathering and description -----------------------------------------------------------------------------------------


def test_a_lite_agent_has_one_host_candidate_per_address_and_component():
    """8445-13: host candidates only, one per IP address, a foundation per IP address, type preference 126."""
    script = scripted(controlling=False, lite=True, agent_addresses=("10.0.0.1", "10.0.1.1"), components=2)
    script.sim.add_stun_server(script.sim.network.add_host("10.9.9.9", name="server"))
    script.node.gather(servers=["stun:10.9.9.9"])
    script.sim.run_for(1)
    candidates = script.agent.local_candidates
    assert sorted((c.address, c.component) for c in candidates) == [
        ("10.0.0.1", 1),
        ("10.0.0.1", 2),
        ("10.0.1.1", 1),
        ("10.0.1.1", 2),
    ]
    assert {c.type for c in candidates} == {"host"}
    assert {c.priority >> 24 for c in candidates} == {TYPE_PREFERENCES["host"]} == {126}
    assert len({c.priority for c in candidates}) == 4
    assert len({(c.address, c.foundation) for c in candidates}) == 2
    assert stun_packets(script.sim) == []


def test_two_ports_of_one_address_give_one_candidate():
    """8445-13: never two candidates of the same IP address; the first counts."""
    given = [LocalAddress("10.0.0.1", 4000), LocalAddress("10.0.1.1"), LocalAddress("10.0.0.1", 5000)]
    assert one_per_host(given) == given[:2]


def test_the_description_says_lite_and_no_pace():
    """8839-2, 8839-9: ice-lite, ice2, no ice-pacing, and nothing more comes; a full agent does not say ice-lite."""
    pair = lite_pair()
    introduce(pair)
    lite, full = str(pair.right.agent.local_description), str(pair.left.agent.local_description)
    assert "a=ice-lite\r\n" in lite and "a=ice-pacing" not in lite
    assert "a=ice-options:ice2 trickle\r\n" in lite and "a=end-of-candidates\r\n" in lite
    assert "a=ice-lite" not in full and "a=ice-pacing:50\r\n" in full


def test_lite_without_host_candidates_is_an_error():
    """8445-13: relay only and lite exclude each other."""
    with pytest.raises(ValueError, match="host candidates only"):
        IceAgent(IceOptions(controlling=False, lite=True, candidate_types=frozenset({"relay"})), rng=bytes)


def test_a_lite_agent_listens_for_tcp_and_nothing_else():
    """6544-5: passive is the only kind of TCP candidate."""
    agent = IceAgent(
        IceOptions(controlling=False, lite=True, tcp=frozenset({"active", "passive", "so"})), rng=bytes
    )
    assert agent.options.tcp == {"passive"}


def test_no_candidate_is_added_without_a_restart():
    """8839-17: a new address of the host waits for a restart; one that is gone is gone."""
    pair = lite_pair(right=("10.0.0.2", "10.0.0.3"))
    right = pair.right
    right.gather(addresses=[("10.0.0.2", 0)])
    completed(pair)
    right.agent.addresses_changed([("10.0.0.2", 0), ("10.0.0.3", 0)], pair.sim.now)
    pair.sim.run_for(1)
    assert [c.address for c in right.agent.local_candidates] == ["10.0.0.2"]
    right.agent.restart(pair.sim.now)
    pair.sim.run_for(1)
    assert [c.address for c in right.agent.local_candidates] == ["10.0.0.2", "10.0.0.3"]


# -- with a full peer --------------------------------------------------------------------------------------------------


def test_full_to_lite():
    """8445-46 (TestConnectivityLite, TestLiteMode_FullToLite_Integration): the full agent checks and nominates, the
    lite one answers; data goes both ways."""
    pair = lite_pair()
    completed(pair)
    assert pair.same_pair()
    assert pair.left.agent.role == "controlling" and pair.right.agent.role == "controlled"
    nominated = pair.right.agent.selected_pair()
    assert nominated is not None and nominated.valid and nominated.nominated
    pair.left.send(1, b"to lite")
    pair.right.send(1, b"to full")
    pair.sim.run_for(1)
    assert [each.data for each in pair.right.data] == [b"to lite"]
    assert [each.data for each in pair.left.data] == [b"to full"]


def test_a_lite_agent_sends_no_checks():
    """8445-46 (TestLiteAgentDoesNotSendConnectivityChecks), RFC 7675 1: neither checks nor consent checks."""
    pair = lite_pair()
    completed(pair)
    pair.sim.run_for(120)
    assert requests_of(pair.sim, pair.right.host) == []
    assert {m.message_class for m in stun_packets(pair.sim, pair.right.host)} == {MessageClass.SUCCESS}
    assert [agent.state for agent in pair.agents] == ["completed", "completed"]


@pytest.mark.parametrize(
    ("left_controls", "right_controls"), [(True, True), (False, False), (False, True), (True, False)]
)
def test_the_full_agent_controls_whatever_both_begin_as(left_controls: bool, right_controls: bool):
    """8445-46: RFC 8445 6.1.1, even when both claim the wrong role (TestLiteControlled)."""
    pair = lite_pair(
        left_options={"controlling": left_controls}, right_options={"controlling": right_controls}
    )
    completed(pair)
    assert (pair.left.agent.role, pair.right.agent.role) == ("controlling", "controlled")
    assert pair.same_pair()
    assert pair.right.agent.selected_pair().nominated


def test_a_lite_offerer_that_knows_only_credentials():
    """8445-46: the lite side need not know any candidate; a check in the controlling role makes it controlled."""
    pair = lite_pair(right_options={"controlling": True})
    pair.left.gather()
    pair.right.gather()
    pair.sim.run_for(0)
    describe(pair.right, pair.left)
    credentials = pair.left.agent.local_credentials
    pair.right.agent.set_remote_credentials(credentials.ufrag, credentials.pwd, pair.sim.now)
    pair.sim.run_until(lambda: pair.left.agent.state == "completed", 5)
    pair.sim.run_for(0.1)
    assert pair.right.agent.state == "connected"  # candidates of the peer may still come
    assert pair.right.agent.role == "controlled"
    assert pair.same_pair()


def test_lite_answers_487_to_a_controlled_peer_and_keeps_its_role():
    """8445-46 (lite replies 487 without switching): a full peer that does not know that we are lite becomes
    controlling, whatever the tie-breakers are."""
    for tiebreaker in (0, (1 << 64) - 1):
        script = lite_script()
        answer = script.peer.request(controlling=False, tiebreaker=tiebreaker)
        script.settle()
        assert script.peer.answer_to(answer).code == 487
        assert script.agent.role == "controlled"
        answer = script.peer.request(controlling=True, tiebreaker=tiebreaker, use_candidate=True)
        script.settle()
        assert script.peer.answer_to(answer).code is None
        assert script.pair().nominated


def test_a_full_peer_without_the_lite_flag_is_corrected():
    """8445-46: the signalling lost `ice-lite`, and both sides are controlled: the 487 makes the full one control."""
    pair = lite_pair(left_options={"controlling": False})
    pair.left.gather()
    pair.right.gather()
    pair.sim.run_for(0)
    describe(pair.left, pair.right)
    lost = replace(pair.right.agent.local_description, lite=False)
    pair.left.agent.set_remote_description(lost, pair.sim.now)
    pair.sim.run_until(lambda: all(agent.state == "completed" for agent in pair.agents), 5)
    assert pair.left.agent.role == "controlling"


def test_a_full_agent_controls_a_lite_peer_in_spite_of_487():
    """8445-46: a lite peer that refuses our role gets another tie-breaker, not another role (RFC 8445 6.1.1)."""
    script = scripted(controlling=False)
    script.gather()
    peer = script.peer
    theirs = Description(
        peer.credentials.ufrag, peer.credentials.pwd, (peer.candidate(),), lite=True, complete=True
    )
    script.agent.set_remote_description(theirs, script.now)
    first = peer.next_check()
    assert first.controlling
    peer.answer(first, code=487)
    second = peer.next_check()
    assert second.controlling and second.tiebreaker != first.tiebreaker
    peer.answer(second)
    nomination = peer.next_check()
    peer.answer(nomination)
    script.settle()
    assert nomination.use_candidate and script.agent.state == "completed"


def test_a_plain_check_is_answered_and_makes_nothing_valid():
    """8445-46, 8445-58: only USE-CANDIDATE makes a pair valid; before that there is no route."""
    script = lite_script()
    first = script.peer.request()
    script.settle()
    assert script.peer.answer_to(first).message_class == MessageClass.SUCCESS
    assert script.agent.route() is None and script.agent.state == "checking"
    assert not script.pair().valid
    script.peer.request(use_candidate=True)
    script.settle()
    assert script.pair().valid and script.pair().nominated
    assert script.agent.route() is not None
    script.sim.run_for(1)
    assert script.peer.requests == []


def test_the_pair_is_where_the_request_came_and_came_from():
    """8445-46: local candidate: the receiving address; remote: the source, known before or not."""
    script = lite_script(agent_addresses=("10.0.0.1", "10.0.1.1"))
    second = script.agent.local_candidates[1].transport_address
    unknown = script.peer.open()
    script.peer.request(use_candidate=True, socket=unknown, to=second)
    script.settle()
    pair = script.agent.selected_pair()
    assert pair is not None
    assert pair.local.transport_address == second
    assert pair.destination == script.peer.address(unknown) and pair.remote.type == "prflx"


def test_no_data_before_each_component_has_a_pair():
    """8445-58: the first of two components has its pair, and no data goes."""
    pair = lite_pair(components=2)
    introduce(pair)
    lite = pair.right.agent
    pair.sim.run_until(lambda: any(each.nominated for each in lite.pairs), 5)
    assert sorted(each.component for each in lite.pairs if each.nominated) == [1]
    assert lite.route(1) is None and lite.route(2) is None
    pair.sim.run_until(lambda: lite.state == "completed", 5)
    assert lite.route(1) is not None and lite.route(2) is not None
    assert sorted(event.component for event in pair.selections(pair.right)) == [1, 2]


def test_an_aggressive_peer_nominates_each_pair_that_it_checks():
    """8445-46 (TestAcceptAggressiveNomination): the best of those that it nominates within a second, then the
    latest."""
    script = scripted(controlling=False, lite=True)
    script.gather()
    low, high, last = script.peer.open(), script.peer.open(), script.peer.open()
    script.meet(
        script.peer.candidate(low, local_preference=200),
        script.peer.candidate(high, local_preference=300),
        script.peer.candidate(last, local_preference=100),
    )
    for socket in (low, high, low, last):
        script.peer.request(socket=socket, use_candidate=True)
        script.settle()
    assert script.agent.selected_pair() is script.pair(high)
    script.sim.run_for(2)
    script.peer.request(socket=last, use_candidate=True)
    script.settle()
    assert script.agent.selected_pair() is script.pair(last)
    assert len(script.events(PairSelected)) == 3


def test_wrong_credentials_teach_nothing():
    """8445-46 (ice_lite_ignores_wrong_credentials): 401, no pair, no data."""
    script = lite_script()
    answer = script.peer.request(use_candidate=True, key=script.peer.key)
    script.settle()
    assert script.peer.answer_to(answer).code == 401
    assert script.agent.pairs == [] and script.agent.route() is None


def test_checks_before_the_answer_count_when_it_is_there():
    """8445-46: the peer's first check with USE-CANDIDATE is faster than its description."""
    script = scripted(controlling=False, lite=True)
    script.gather()
    answer = script.peer.request(use_candidate=True)
    script.settle()
    assert script.peer.answer_to(answer).code is None
    assert script.agent.route() is None
    script.set_credentials()
    assert script.agent.selected_pair() is not None and script.agent.selected_pair().nominated


# -- the life of a connection ------------------------------------------------------------------------------------------


def test_no_connection_without_checks():
    """8863-4 (ice_lite_no_connection): nobody comes: failed when patience is over, and the reason says so."""
    script = lite_script()
    script.sim.run_for(39)
    assert script.agent.state == "new"
    script.sim.run_for(1)
    assert script.agent.state == "failed"
    assert "no check of it came" in script.agent.state_reason
    assert script.peer.requests == []


def test_a_peer_that_checks_and_does_not_nominate_is_waited_for():
    """8863-4: as long as its checks come; 30 s after the last one it is over."""
    script = lite_script()
    for _ in range(6):
        script.peer.request()
        script.sim.run_for(10)
    assert script.agent.state == "checking"
    script.sim.run_for(21)
    assert script.agent.state == "failed"
    assert "it nominated no pair" in script.agent.state_reason


def test_the_pair_lives_by_the_peers_requests():
    """RFC 7675 1 (pair_kept_alive_by_remote_binding_requests): consent checks of the peer are all there is."""
    script = lite_script()
    script.peer.request(use_candidate=True)
    script.settle()
    for _ in range(60):
        script.sim.run_for(6)
        script.peer.request()
    script.settle()
    assert script.agent.state == "connected"
    assert [event.state for event in script.events(StateChanged)] == ["connected"]


def test_one_lost_check_of_the_peer_is_no_disconnect():
    """RFC 7675 1 (ice_lite_no_immediate_disconnect, flappy_ice_lite_state): the peer checks every 4 to 6 s, and one of
    these may be lost; after two, at 12.5 s, the state tells."""
    script = lite_script()
    script.peer.request(use_candidate=True)
    script.sim.run_for(12.4)
    assert script.agent.state == "connected"
    script.sim.run_for(0.2)
    assert script.agent.state == "disconnected"


def test_disconnect_and_reconnect():
    """RFC 7675 1 (ice_lite_disconnect_reconnect): any packet of the peer ends the silence."""
    pair = lite_pair()
    completed(pair)
    end = pair.sim.network.drop_between([pair.left.host], [pair.right.host])
    pair.sim.run_for(18)
    assert pair.right.agent.state == "disconnected"
    end()
    pair.sim.run_for(7)
    assert pair.right.agent.state == "completed"
    assert pair.left.agent.state == "completed"


def test_a_keepalive_of_an_old_peer_is_a_sign_of_life():
    """8445-46: RFC 5245 peers know no consent; their Binding indications come every 15 s."""
    script = lite_script()
    script.peer.request(use_candidate=True)
    script.settle()
    for _ in range(8):
        script.sim.run_for(10)
        script.peer.send(script.peer.build_request(message_class=MessageClass.INDICATION))
        script.settle()
    assert script.agent.state == "connected"
    assert "disconnected" not in {event.state for event in script.events(StateChanged)}


def test_silence_for_thirty_seconds_is_the_end():
    """RFC 7675 1: the peer's own consent has ended by then. A restart begins anew."""
    pair = lite_pair()
    completed(pair)
    pair.left.close()
    pair.sim.run_for(29)
    assert pair.right.agent.state == "disconnected"
    pair.sim.run_for(3)
    assert pair.right.agent.state == "failed"
    assert "nothing came from the peer for 30 s" in pair.right.agent.state_reason
    assert pair.right.agent.route() is None


def test_a_lite_agent_keeps_the_way_alive():
    """8445-54: no answer of ours for 15 s, so an indication goes; while the peer checks, none does."""
    script = lite_script()
    script.peer.request(use_candidate=True)
    script.settle()
    script.sim.run_for(14)
    assert script.peer.indications == []
    script.sim.run_for(2)
    assert len(script.peer.indications) == 1
    script.peer.request()
    script.sim.run_for(13)
    assert len(script.peer.indications) == 1


def test_a_restart_keeps_the_data_flowing():
    """8445-53: the lite side restarts; data goes on the old pair until the peer has nominated a new one."""
    pair = lite_pair()
    completed(pair)
    lost: list[float] = []
    for tick in range(20):
        pair.sim.call_later(0.05 * tick, lambda: pair.left.send(1, b"l"))
        pair.sim.call_later(0.05 * tick, lambda: pair.right.send(1, b"r"))
    pair.sim.run_for(0.3)
    pair.right.agent.restart(pair.sim.now)
    pair.sim.run_for(0.1)
    describe(pair.right, pair.left)
    describe(pair.left, pair.right)
    pair.sim.run_for(2)
    assert lost == []
    assert [len(node.data) for node in pair.nodes] == [20, 20]
    assert [agent.state for agent in pair.agents] == ["completed", "completed"]


def test_an_address_that_goes_ends_its_pair():
    """8445-58: a component has lost its pair, so no data goes."""
    pair = lite_pair()
    completed(pair)
    pair.right.agent.addresses_changed([], pair.sim.now)
    assert pair.right.agent.route() is None
    assert pair.right.agent.local_candidates == []


def test_a_lost_address_makes_no_checks():
    """8445-46: what was given up for the nominated pair is not checked when that one ends, but may be nominated."""
    pair = lite_pair(left=("10.0.0.1", "10.0.1.1"), right=("10.0.0.2", "10.0.0.3"))
    completed(pair)
    right = pair.right.agent
    used = right.selected_pair()
    assert used is not None
    left_address = [("10.0.0.2", 0), ("10.0.0.3", 0)]
    left_address.remove((used.local.address, 0))
    right.addresses_changed(left_address, pair.sim.now)
    assert right.state != "completed" and right.route() is None
    pair.sim.run_for(3)
    assert requests_of(pair.sim, pair.right.host) == []


def test_lite_over_tcp():
    """6544-5: a full agent connects to the passive candidate of a lite one, checks and nominates."""
    pair = lite_pair(right_options={"tcp": frozenset({"passive", "active", "so"})})
    pair.sim.network.drop(lambda packet: packet.transport == "udp")
    introduce(pair)
    assert {c.tcptype for c in pair.right.agent.local_candidates} == {None, "passive"}
    pair.sim.run_until(lambda: all(agent.state == "completed" for agent in pair.agents), 5)
    pair.right.send(1, b"over TCP")
    pair.sim.run_for(40)
    assert [each.data for each in pair.left.data] == [b"over TCP"]
    assert [agent.state for agent in pair.agents] == ["completed", "completed"]


@pytest.mark.parametrize("seed", range(8))
def test_a_lossy_path_to_a_lite_agent(seed: int):
    """8445-46: a fifth of all packets is lost each way; both end on the same pair and stay there."""
    pair = lite_pair(seed=seed, left=("10.0.0.1", "10.0.1.1"), link=Link(latency=0.01, loss=0.2))
    introduce(pair)
    pair.sim.run_until(lambda: all(agent.state == "completed" for agent in pair.agents), 20)
    pair.sim.run_for(60)
    assert pair.same_pair()
    assert "failed" not in {*pair.states(pair.left), *pair.states(pair.right)}
    assert requests_of(pair.sim, pair.right.host) == []


# -- two lite agents ---------------------------------------------------------------------------------------------------


def test_lite_to_lite():
    """8445-51 (TestLiteMode_LiteControlling_Integration): the only pair is valid, without any check; data goes."""
    pair = ice_pair(lite=True)
    introduce(pair)
    assert [agent.state for agent in pair.agents] == ["completed", "completed"]
    assert [agent.role for agent in pair.agents] == ["controlling", "controlled"]
    assert pair.same_pair()
    pair.left.send(1, b"one")
    pair.right.send(1, b"two")
    pair.sim.run_for(1)
    assert [each.data for each in pair.right.data] == [b"one"]
    assert [each.data for each in pair.left.data] == [b"two"]
    assert requests_of(pair.sim) == []


def test_lite_to_lite_lives_without_a_word():
    """8445-51: nobody checks, so silence says nothing; keepalives go every 15 s (RFC 8445 11)."""
    pair = ice_pair(lite=True)
    introduce(pair)
    pair.sim.run_for(100)
    assert [agent.state for agent in pair.agents] == ["completed", "completed"]
    messages = stun_packets(pair.sim, pair.left.host)
    assert [message.message_class for message in messages] == [MessageClass.INDICATION] * 6


@pytest.mark.parametrize("roles", [(True, False), (True, True), (False, False)])
def test_two_lite_agents_with_several_pairs_choose_the_same(roles: tuple[bool, bool]):
    """8445-51: IPv6 before IPv4 as RFC 6724 has it, then priority; the same on both sides whatever their roles are."""
    pair = ice_pair(
        lite=True,
        left=("10.0.0.1", "10.0.1.1", "2001:db8::1"),
        right=("10.0.0.2", "2001:db8::2", "2001:db8::3"),
        left_options={"controlling": roles[0]},
        right_options={"controlling": roles[1]},
    )
    introduce(pair)
    assert [agent.state for agent in pair.agents] == ["completed", "completed"]
    assert pair.same_pair()
    chosen = pair.left.agent.selected_pair()
    assert chosen is not None and ":" in chosen.destination[0]


def test_both_lite_agents_think_that_they_control():
    """8839-17: the loser of the signalling's glare becomes controlled; nothing else changes."""
    pair = ice_pair(lite=True, right_options={"controlling": True})
    introduce(pair)
    right = pair.right.agent
    before = right.selected_pair()
    right.switch_role("the peer's updated offer came first", pair.sim.now)
    assert right.role == "controlled" and right.selected_pair() is before
    assert right.state == "completed"


def test_a_lite_peer_that_chooses_another_pair():
    """8445-51: data is taken on each of the pairs, and `select` follows what the peer's updated candidates say."""
    pair = ice_pair(lite=True, left=("10.0.0.1", "10.0.1.1"), right=("10.0.0.2",))
    introduce(pair)
    left, right = pair.left.agent, pair.right.agent
    (other,) = (each for each in left.pairs if not each.nominated)
    left.select(other, pair.sim.now)
    assert left.selected_pair() is other and other.nominated
    pair.left.send(1, b"from the other address")
    pair.sim.run_for(1)
    assert [each.data for each in pair.right.data] == [b"from the other address"]
    (counterpart,) = (each for each in right.pairs if not each.nominated)
    right.select(counterpart, pair.sim.now)
    assert pair.same_pair()


def test_two_lite_agents_wait_for_all_candidates():
    """8445-51: no pair before both have told all; nothing fits: failed, with a reason."""
    pair = ice_pair(lite=True, left=("10.0.0.1",), right=("2001:db8::2",))
    introduce(pair)
    assert [agent.state for agent in pair.agents] == ["new", "new"]
    pair.sim.run_for(40)
    assert [agent.state for agent in pair.agents] == ["failed", "failed"]


def test_two_lite_agents_with_two_components():
    """8445-51, 8445-58: each component has its pair."""
    pair = ice_pair(lite=True, components=2)
    introduce(pair)
    assert [agent.state for agent in pair.agents] == ["completed", "completed"]
    assert pair.same_pair(1) and pair.same_pair(2)


def test_the_controlling_one_of_two_lite_agents_offers_again():
    """8445-51: with several pairs an updated offer tells which one it is; the only pair needs none."""
    for addresses, wanted in ((("10.0.0.1",), []), (("10.0.0.1", "10.0.1.1"), [Action.UPDATED_OFFER])):
        pair = ice_pair(lite=True, left=addresses)
        left, right = pair.agents
        for node in pair.nodes:
            node.gather()
        pair.sim.run_for(0)
        ours, theirs = Negotiation(), Negotiation()
        offered = theirs.remote_offer(as_sdp(ours.offer([left.facts()])))
        right.set_remote_description(described(offered), pair.sim.now)
        answered = ours.remote_answer(as_sdp(theirs.answer([right.facts()])))
        left.set_remote_description(described(answered), pair.sim.now)
        assert [agent.state for agent in pair.agents] == ["completed", "completed"]
        assert [step.action for step in ours.next_steps([left.facts()])] == wanted
        assert theirs.next_steps([right.facts()]) == ()
        if wanted:
            updated = theirs.remote_offer(as_sdp(ours.offer([left.facts()])))
            assert updated.streams[0].completes
            theirs.answer([right.facts()])


# -- what the report says ----------------------------------------------------------------------------------------------


def test_the_report_of_a_lite_agent():
    """8445-46: it speaks of the peer's checks, for there are no others."""
    script = lite_script()
    script.sim.run_for(40)
    conclusion = script.agent.report(script.now).conclusion
    assert "No check of the peer arrived" in conclusion and "reach us at 10.0.0.1" in conclusion

    script = lite_script()
    script.peer.request(controlling=False)
    script.settle()
    assert "ice-lite" in script.agent.report(script.now).conclusion
    script.peer.request()
    script.sim.run_for(80)
    assert (
        "1 check of the peer arrived, none of which nominated" in script.agent.report(script.now).conclusion
    )

    script = lite_script()
    script.peer.request(use_candidate=True, key=script.peer.key)
    script.sim.run_for(80)
    assert "another ufrag or password" in script.agent.report(script.now).conclusion

    script = lite_script()
    script.peer.request(use_candidate=True)
    script.sim.run_for(80)
    assert "was lost" in script.agent.report(script.now).conclusion


def test_the_report_of_two_lite_agents():
    """8445-51: nothing fits, or candidates are missing."""
    pair = ice_pair(lite=True, left=("10.0.0.1",), right=("2001:db8::2",))
    introduce(pair)
    pair.sim.run_for(40)
    assert "IPv4" in pair.left.agent.report(pair.sim.now).conclusion


# -- select ------------------------------------------------------------------------------------------------------------


def test_a_lite_agent_selects_only_what_was_nominated():
    """8445-46: a pair that the peer has only checked is not valid."""
    script = lite_script()
    other = script.peer.open()
    script.peer.request(use_candidate=True)
    script.peer.request(socket=other)
    script.settle()
    with pytest.raises(StateError, match="not nominated"):
        script.agent.select(script.pair(other), script.now)


def test_a_lite_agent_may_send_on_an_earlier_nomination():
    """8445-46: until the peer nominates another one."""
    script = lite_script()
    other = script.peer.open()
    script.peer.request(use_candidate=True)
    script.sim.run_for(2)
    script.peer.request(use_candidate=True, socket=other)
    script.settle()
    assert script.agent.selected_pair() is script.pair(other)
    script.agent.select(script.pair(), script.now)
    assert script.agent.selected_pair() is script.pair()
    script.sim.run_for(1)
    assert script.peer.requests == []
    third = script.peer.open()
    script.sim.run_for(2)
    script.peer.request(use_candidate=True, socket=third)
    script.settle()
    assert script.agent.selected_pair() is script.pair(third)


def test_candidates_of_the_peer_are_not_paired():
    """8445-46: pairs come from the peer's checks alone; a candidate gives its type to the one that a check showed."""
    script = lite_script()
    assert script.agent.pairs == []
    script.peer.request(use_candidate=True)
    script.settle()
    assert script.pair().remote.type == "host"
    late = script.peer.open()
    script.peer.request(socket=late)
    script.settle()
    assert script.pair(late).remote.type == "prflx"
    signalled: Candidate = script.peer.candidate(late)
    script.agent.add_remote_candidate(signalled, script.now)
    assert script.pair(late).remote.type == "host"
