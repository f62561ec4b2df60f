"""The peer's checks, and how an agent answers them (RFC 8445 7.3, RFC 8489 9.1.3)."""

from __future__ import annotations

import hmac

import pytest
from ice_harness import PRFLX_PRIORITY, append_attribute, append_fingerprint, scripted

from fasticePy.ice import Limits
from fasticePy.stun import Attribute, IntegrityKey, MessageClass, Method, parse

WRONG_KEY = IntegrityKey.short_term("another password altogether")


def answered(script, **form):
    """Send one check and give the answer, or None."""
    id = script.peer.request(**form)
    script.settle()
    return script.peer.answer_to(id)


@pytest.fixture
def script():
    """An agent that knows its peer, and checks nothing yet, for it has no candidate of it."""
    script = scripted(controlling=False)
    script.gather()
    script.set_credentials()
    return script


def nothing_was_learnt(script) -> bool:
    return not script.agent.pairs and not script.agent.remote_candidates


# -- answers ---------------------------------------------------------------------------------------------------------


def test_a_check_is_answered_with_its_source_address(script):
    """8445-39: `own-ufrag:...` and our password. 8445-28: the answer is keyed like the request, without USERNAME.
    8445-30: FINGERPRINT in each answer."""
    answer = answered(script)
    message = answer.message
    assert message.message_class == MessageClass.SUCCESS
    assert message.get(Attribute.XOR_MAPPED_ADDRESS) == script.peer.address()
    assert message.verify_integrity(script.peer.agent_key)
    assert message.verify_fingerprint()
    assert Attribute.USERNAME not in message
    assert answer.source == script.peer.agent_address


def test_a_check_is_answered_from_the_address_that_was_asked():
    """8445-24: each answer leaves from the socket to which the request came."""
    script = scripted(agent_addresses=("10.0.0.1", "10.0.1.1"), controlling=False)
    script.gather()
    script.set_credentials()
    for candidate in script.agent.local_candidates:
        assert answered(script, to=candidate.transport_address).source == candidate.transport_address


def test_any_second_half_of_the_username_is_fine(script):
    """8445-39: only the first half is ours."""
    ufrag = script.agent.local_credentials.ufrag
    for username in (f"{ufrag}:", f"{ufrag}:other", f"{ufrag}:a:b:c", f"{ufrag}:\N{SNOWMAN}"):
        assert answered(script, username=username).message_class == MessageClass.SUCCESS


def test_the_answer_has_the_integrity_algorithm_of_the_request(script):
    """8489-34: exactly one of the two, MESSAGE-INTEGRITY-SHA256 when the request had it; never USERNAME."""
    forms = {"sha1": {}, "sha256": {"sha1": False, "sha256": True}, "both": {"sha256": True}}
    kinds = {}
    for name, form in forms.items():
        message = answered(script, **form).message
        kinds[name] = message.integrity_kind
        assert message.verify_integrity(script.peer.agent_key)
        attributes = {attribute for attribute, _ in message.attributes()}
        both = {Attribute.MESSAGE_INTEGRITY, Attribute.MESSAGE_INTEGRITY_SHA256}
        assert len(attributes & both) == 1
        assert Attribute.USERNAME not in attributes
    assert kinds == {"sha1": "sha1", "sha256": "sha256", "both": "sha256"}


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ({"key": None}, 400),
        ({"username": None}, 400),
        ({"username": "nobody:peerfrag"}, 401),
        ({"username": ""}, 401),
        ({"username": ":peerfrag"}, 401),
        ({"username": "peerfrag"}, 401),
        ({"key": WRONG_KEY}, 401),
        ({"key": WRONG_KEY, "sha1": False, "sha256": True}, 401),
    ],
)
def test_an_unauthenticated_check_is_refused(script, form, code):
    """8489-32, 8445-39: no integrity or no USERNAME 400, another user 401, a wrong MAC 401; 8489-34: the refusal
    has neither USERNAME nor integrity."""
    answer = answered(script, **form)
    assert answer.code == code
    attributes = {attribute for attribute, _ in answer.message.attributes()}
    assert attributes == {Attribute.ERROR_CODE, Attribute.FINGERPRINT}
    assert answer.message.verify_fingerprint()
    assert nothing_was_learnt(script)
    assert script.counted(f"request.refused.{code}") == 1


def test_a_username_that_only_begins_like_ours_is_refused(script):
    """8445-39: the first half has to be equal; so is a ufrag without its colon."""
    ufrag = script.agent.local_credentials.ufrag
    for username in (f"{ufrag}x:peerfrag", f"{ufrag[:-1]}:peerfrag", ufrag, f"x{ufrag}:peerfrag"):
        assert answered(script, username=username).code == 401
    assert nothing_was_learnt(script)


def test_a_username_that_is_not_utf_8_is_refused(script):
    """8489-32: it is as good as none."""
    data = script.peer.build_request(username=None, fingerprint=False, key=None)
    data = append_attribute(data, Attribute.USERNAME, b"\xff\xfe:\xff")
    script.peer.send(append_fingerprint(append_attribute(data, Attribute.MESSAGE_INTEGRITY, bytes(20))))
    script.settle()
    assert [seen.code for seen in script.peer.responses] == [400]


def test_indications_are_never_answered(script):
    """8489-32: four of them; str0m ignore_binding_indication. They teach nothing either."""
    for form in ({}, {"key": None}, {"username": None}, {"key": WRONG_KEY}):
        assert answered(script, message_class=MessageClass.INDICATION, **form) is None
    assert script.counted("indication.received") == 4
    assert script.peer.responses == []
    assert nothing_was_learnt(script)


def test_when_both_integrities_are_there_sha256_alone_decides(script):
    """8489-33: MI good and MI-SHA256 bad: 401; MI bad and MI-SHA256 good: accepted."""
    right = script.peer.build_request(sha256=True, fingerprint=False)
    wrong_sha256 = right[:-32] + bytes(32)
    wrong_sha1 = append_attribute(right[: -36 - 24], Attribute.MESSAGE_INTEGRITY, bytes(20))
    length = len(wrong_sha1) - 20 + 36  # it covers its own length
    covered = wrong_sha1[:2] + length.to_bytes(2, "big") + wrong_sha1[4:]
    mac = hmac.digest(script.agent.local_credentials.pwd.encode(), covered, "sha256")
    wrong_sha1 = append_attribute(wrong_sha1, Attribute.MESSAGE_INTEGRITY_SHA256, mac)
    for data, code in ((wrong_sha256, 401), (wrong_sha1, None)):
        script.peer.send(append_fingerprint(data))
        script.settle()
        assert script.peer.responses[-1].code == code
        assert script.peer.responses[-1].message_class == (
            MessageClass.ERROR if code else MessageClass.SUCCESS
        )


# -- in which order --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["right", "wrong"])
def test_a_check_without_a_right_fingerprint_is_not_answered(script, key):
    """8445-30, 8489-18: FINGERPRINT comes before authentication, and its failure is silent. pion
    TestInboundValidity."""
    chosen = script.peer.agent_key if key == "right" else WRONG_KEY
    assert answered(script, fingerprint=False, key=chosen) is None
    data = bytearray(script.peer.build_request(key=chosen))
    data[-1] ^= 1
    script.peer.send(bytes(data))
    script.settle()
    assert script.peer.responses == []
    assert script.counted("drop.request.fingerprint") == 2
    assert nothing_was_learnt(script)


def test_authentication_comes_before_unknown_attributes(script):
    """8489-18: a wrong MAC with an unknown required attribute is 401, not 420."""
    unknown = [(0x7ABC, b"1234")]
    assert answered(script, key=WRONG_KEY, attributes=unknown).code == 401
    answer = answered(script, attributes=unknown)
    assert answer.code == 420
    assert answer.message.get(Attribute.UNKNOWN_ATTRIBUTES) == (0x7ABC,)
    assert answer.message.verify_integrity(script.peer.agent_key)
    assert nothing_was_learnt(script)


def test_unknown_optional_attributes_are_ignored(script):
    """libwebrtc sends GOOG-NETWORK-INFO and others with each check."""
    attributes = [(0xC057, bytes(4)), (0xC058, b"abcd"), (0x8FFF, b"")]
    assert answered(script, attributes=attributes).message_class == MessageClass.SUCCESS


def test_a_420_for_many_unknown_attributes_is_no_longer_than_the_check(script):
    """An answer never amplifies."""
    attributes = [(0x7000 + number, b"") for number in range(40)]
    data = script.peer.build_request(attributes=attributes)
    script.peer.send(data)
    script.settle()
    answer = script.peer.answer_to(data[8:20])
    assert answer.code == 420
    assert len(answer.message) <= len(data)


def test_what_stands_behind_the_integrity_is_not_seen(script):
    """8489-30: USE-CANDIDATE behind MESSAGE-INTEGRITY, with a right FINGERPRINT, nominates nothing."""
    data = script.peer.build_request(fingerprint=False)
    script.peer.send(append_fingerprint(append_attribute(data, Attribute.USE_CANDIDATE)))
    script.settle()
    assert [seen.message_class for seen in script.peer.responses] == [MessageClass.SUCCESS]
    script.peer.answer(script.peer.next_check())
    script.settle()
    assert script.pair().valid
    assert not script.pair().nominated


@pytest.mark.parametrize("priority", [None, 0])
def test_a_check_without_a_priority_is_a_bad_request(script, priority):
    """8445-39: 400, and authenticated, for we know who asks."""
    answer = answered(script, priority=priority)
    assert answer.code == 400
    assert answer.message.verify_integrity(script.peer.agent_key)
    assert nothing_was_learnt(script)


def test_a_check_of_both_roles_is_a_bad_request(script):
    """8445-45: what is not accepted nominates nothing."""
    both = [(Attribute.ICE_CONTROLLED, 5)]
    assert answered(script, attributes=both, use_candidate=True).code == 400
    assert nothing_was_learnt(script)


@pytest.mark.parametrize("priority", [1, 2**31 - 1, 2**32 - 1])
def test_strange_priorities_are_taken(script, priority):
    """Seen in the field."""
    assert answered(script, priority=priority).message_class == MessageClass.SUCCESS
    assert script.agent.remote_candidates[0].priority == priority


@pytest.mark.parametrize("method", [2, 3, 4, 8, 0x80])
def test_other_methods_are_dropped(script, method):
    """8489-18, pion TestInboundValidity: no TURN server here."""
    assert answered(script, method=method) is None
    assert script.counted("drop.stun.method") == 1


def test_what_is_not_well_formed_is_dropped_and_counted(script):
    """8489-18: nothing raises."""
    data = script.peer.build_request()
    for broken in (data[:-4], data + bytes(4), data[:20], b"\x00\x01\x00\x04" + data[4:]):
        script.peer.send(broken)
    script.settle()
    assert script.counted("drop.stun.malformed") == 4
    assert script.peer.responses == []


def test_a_bare_binding_request_is_not_answered_with_something_longer(script):
    """An answer never amplifies, not even by the 8 bytes of an ERROR-CODE."""
    data = script.peer.build_request(username=None, key=None, priority=None, controlling=None)
    script.peer.send(data)
    script.settle()
    assert script.peer.responses == []
    assert script.counted("drop.request.reply-too-large") == 1


# -- when ------------------------------------------------------------------------------------------------------------


def test_checks_are_answered_before_the_peer_is_known():
    """8445-15: at once; the pair is made when the credentials come. librice trickle_prflx_check_before_remote_...;
    str0m queues_stun_binding_before_remote_creds."""
    script = scripted(controlling=False)
    script.gather()
    answer = answered(script)
    assert answer.message_class == MessageClass.SUCCESS
    assert answer.at == script.now
    assert script.agent.pairs == []
    assert script.counted("request.early") == 1
    script.sim.run_for(3)
    assert script.peer.requests == []  # a check needs the peer's password
    script.set_credentials()
    script.settle()
    assert script.pair().state == "in-progress"
    assert script.pair().requests_received == 1
    assert script.pair().remote.type == "prflx"


def test_an_early_nomination_counts_once_the_peer_is_known():
    """8445-15, 8445-45: checks with USE-CANDIDATE before the answer, as browsers send them."""
    script = scripted(controlling=False)
    script.gather()
    for use_candidate in (False, True, False):
        answered(script, use_candidate=use_candidate)
    script.set_credentials()
    script.peer.answer(script.peer.next_check())
    script.settle()
    assert script.pair().nominated


def test_data_is_taken_from_an_early_peer():
    """8445-15: on each candidate, also before the peer's candidates are known; 8445-59."""
    script = scripted(controlling=False, agent_addresses=("10.0.0.1", "10.0.1.1"))
    script.gather()
    for candidate in script.agent.local_candidates:
        answered(script, to=candidate.transport_address)
        script.peer.send(b"\x80hello " + candidate.address.encode(), to=candidate.transport_address)
    script.settle()
    assert [received.data for received in script.node.data] == [b"\x80hello 10.0.0.1", b"\x80hello 10.0.1.1"]


def test_early_checks_are_limited():
    """Everything that a peer can make grow has a limit."""
    script = scripted(controlling=False, limits=Limits(early_checks=3))
    script.gather()
    sockets = [script.peer.open() for _ in range(5)]
    for socket in sockets:
        assert answered(script, socket=socket).message_class == MessageClass.SUCCESS
    script.set_credentials()
    assert len(script.agent.pairs) == 3
    assert script.counted("drop.request.too-many-early") == 2


def test_a_repeated_check_is_answered_again(script):
    """8489: a retransmission has the same id and an equivalent answer."""
    data = script.peer.build_request()
    for _ in range(3):
        script.peer.send(data)
    script.settle()
    first, second, third = (seen.message.data for seen in script.peer.responses)
    assert first == second == third
    assert len(script.agent.pairs) == 1


def test_checks_are_answered_after_completion():
    """8445-50: a completed agent goes on answering, for the nominated pair and for others."""
    script = scripted(controlling=False)
    script.meet(end=True)
    script.complete()
    script.peer.auto_answer = True  # consent
    script.sim.run_for(10)
    assert script.agent.state == "completed"
    assert answered(script).message_class == MessageClass.SUCCESS
    assert answered(script, socket=script.peer.open()).message_class == MessageClass.SUCCESS


def test_a_closed_agent_answers_nothing(script):
    """`close()` ends everything."""
    script.agent.close(script.now)
    script.settle()
    assert answered(script) is None


def test_a_failed_agent_is_silent():
    """After the failure nothing leaves: no check, and no answer that would let the peer believe in a path."""
    script = scripted(controlling=False)
    script.meet(end=True)
    script.sim.run_until(lambda: script.agent.state == "failed", 60)
    script.peer.take_checks()
    ids = [
        script.peer.request(use_candidate=True),
        script.peer.request(controlling=False, tiebreaker=0),
        script.peer.request(key=IntegrityKey.short_term("x" * 22)),
    ]
    script.sim.run_for(100)
    assert [script.peer.answer_to(id) for id in ids] == [None] * 3
    assert script.counted("drop.request.ended") == 3
    assert script.peer.take_checks() == []
    assert script.agent.role == "controlled"
    assert script.agent.next_timer() is None


def test_a_failed_agent_with_valid_pairs_starts_nothing_either():
    """One component never came about; the other's valid pair is not nominated by a late role conflict."""
    script = scripted(controlling=False, components=2)
    script.meet(
        script.peer.candidate(), script.peer.candidate(component=2, address=("10.0.0.77", 7)), end=True
    )
    first = script.peer.next_check()
    script.peer.answer(first)
    script.settle()
    script.peer.auto_answer = True
    script.sim.run_until(lambda: script.agent.state == "failed", 90)
    script.peer.take_checks()
    answered(script, controlling=False, tiebreaker=0)
    script.sim.run_for(10)
    assert script.peer.take_checks() == []


def test_a_check_on_a_socket_without_a_candidate_is_not_answered():
    """What was never signalled can only be guessed: host candidates are not wanted here."""
    script = scripted(controlling=False, candidate_types=frozenset({"srflx"}))
    script.gather()
    script.set_credentials()
    (socket,) = script.node.host.sockets
    script.introduce()
    assert answered(script, to=script.node.address_of(socket)) is None
    assert script.counted("drop.request.no-candidate") == 1


def test_the_priority_of_our_checks_is_what_the_peer_learns(script):
    """8445-42: the PRIORITY of the request becomes that of the peer-reflexive candidate."""
    answered(script)
    (remote,) = script.agent.remote_candidates
    assert (remote.type, remote.priority) == ("prflx", PRFLX_PRIORITY)


def test_methods_and_classes_of_the_answers(script):
    """8489-34: same method, same id."""
    id = script.peer.request()
    script.settle()
    message = parse(script.peer.answer_to(id).message.data)
    assert (message.method, message.transaction_id) == (Method.BINDING, id)
