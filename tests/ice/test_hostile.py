"""Hostile input: forged, malformed and senseless datagrams, and candidates made to harm. Nothing raises, nothing is
learnt, nothing reaches the application, and each drop has a counter."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ice_harness import Script, append_attribute, append_fingerprint, ice_pair, scripted

from fasticePy.ice import Candidate, Limits, Timeouts
from fasticePy.stun import Attribute, IntegrityKey, MessageBuilder, MessageClass, Method, parse

WRONG = IntegrityKey.short_term("a password of nobody at all")


def snapshot(script: Script) -> tuple[object, ...]:
    """What an attacker might want to change."""
    agent = script.agent
    return (
        agent.state,
        agent.role,
        agent.route(1),
        [str(candidate) for candidate in agent.remote_candidates],
        [
            (str(pair), pair.state, pair.valid, pair.nominated, pair.consent_at, pair.requests_sent)
            for pair in agent.pairs
        ],
        set(agent._paths),
    )


def at_stage(stage: str, *, controlling: bool = True) -> Script:
    """An agent and its peer, this far."""
    script = scripted(controlling=controlling, timeouts=Timeouts(patience=1.0))
    script.gather()
    if stage == "gathered":
        return script
    if stage == "early":
        script.peer.request()
        script.settle()
        return script
    script.meet(end=True)
    if stage == "checking":
        script.peer.next_check()
        return script
    if stage == "connected":
        script.peer.answer(script.peer.next_check())
        script.settle()
        return script
    if stage == "failed":
        script.sim.run_for(45)
        assert script.agent.state == "failed"
        return script
    script.complete()
    if stage == "consent":
        script.peer.take_checks()
        script.peer.next_check(limit=7)
    if stage == "closed":
        script.agent.close(script.now)
        script.settle()
    return script


STAGES = ("gathered", "early", "checking", "connected", "completed", "consent", "failed", "closed")


# -- checks that are not the peer's ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage not in ("failed", "closed")])
@pytest.mark.parametrize("controlling", [True, False])
def test_a_check_with_a_wrong_password_teaches_nothing(stage, controlling):
    """Security 4d 2: 401 or silence; no candidate, no triggered check, no address, consent as it was."""
    script = at_stage(stage, controlling=controlling)
    attacker = script.peer.open()
    before = snapshot(script)
    sent = len(script.sim.network.sent(script.node.host))
    ids = [
        script.peer.request(
            socket=socket, key=WRONG, use_candidate=True, controlling=role, tiebreaker=tiebreaker
        )
        for socket in (attacker, script.peer.socket)
        for role in (True, False)
        for tiebreaker in (0, 2**64 - 1)
    ]
    script.peer.send(b"\x80media", socket=attacker)
    script.settle()
    answers = [script.peer.answer_to(id) for id in ids]
    assert [answer.code for answer in answers if answer is not None] == [401] * 8
    assert snapshot(script) == before
    assert len(script.sim.network.sent(script.node.host)) == sent + 8
    assert script.counted("request.refused.401") == 8
    assert script.node.data == []
    assert script.counted("drop.data.unvalidated") == 1


@pytest.mark.parametrize(
    ("username", "code"),
    [
        (None, 400),
        ("", 401),
        (":", 401),
        ("{own}", 401),
        ("{own}{peer}", 401),
        (":{own}", 401),
        ("{peer}:{own}", 401),
        ("{own} :{peer}", 401),
        ("{lower}:{peer}", 401),
        ("x{own}:{peer}", 401),
        ("{own}x:{peer}", 401),
        ("{own}\x00:{peer}", 401),
        ("%s%n:{peer}", 401),
        ("'; DROP TABLE users; --:{peer}", 401),
        ("{own}:{long}", "too long"),
    ],
)
def test_usernames_of_all_kinds(username, code):
    """Security 4d 2: without a colon, in the wrong order, of the wrong case, with NULs and format strings; and one of
    513 bytes, which is answered because its first half is right, and has no effect all the same."""
    script = at_stage("completed")
    before = snapshot(script)
    own, peer = script.agent.local_credentials.ufrag, script.peer.credentials.ufrag
    if username is not None:
        username = username.format(own=own, peer=peer, lower=own.swapcase(), long="p" * (512 - len(own)))
    if code == "too long":
        data = raw_request(script, username.encode())
        assert len(username) == 513
        script.peer.send(data)
        script.settle()
        assert script.peer.responses[-1].message_class == MessageClass.SUCCESS
    else:
        id = script.peer.request(username=username, key=script.peer.agent_key)
        script.settle()
        answer = script.peer.answer_to(id)
        assert answer is not None and answer.code == code
    assert snapshot(script) == before


def raw_request(script: Script, username: bytes) -> bytes:
    """An otherwise right check with any bytes as USERNAME; its integrity and fingerprint are right."""
    peer = script.peer
    data = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + b"raw-username"
    data = append_attribute(data, Attribute.USERNAME, username)
    data = append_attribute(data, Attribute.PRIORITY, (1 << 24).to_bytes(4, "big"))
    role = Attribute.ICE_CONTROLLING if peer.controlling else Attribute.ICE_CONTROLLED
    data = append_attribute(data, role, bytes(8))
    assert peer.agent_credentials is not None
    covered = data[:2] + (len(data) - 20 + 24).to_bytes(2, "big") + data[4:]
    mac = hmac.new(peer.agent_credentials.pwd.encode(), covered, hashlib.sha1).digest()
    return append_fingerprint(append_attribute(data, Attribute.MESSAGE_INTEGRITY, mac))


def test_a_username_that_is_no_text():
    script = at_stage("completed")
    own = script.agent.local_credentials.ufrag.encode()
    before = snapshot(script)
    for username in (b"\xff\xfe:x", own + b"\xff:x", b""):
        script.peer.send(raw_request(script, username))
        script.settle()
        assert script.peer.responses[-1].code in (400, 401)
    assert snapshot(script) == before
    script.peer.send(raw_request(script, own + b":" + script.peer.credentials.ufrag.encode()))
    script.settle()
    assert script.peer.responses[-1].message_class == MessageClass.SUCCESS


@pytest.mark.parametrize("stage", ["checking", "completed"])
def test_a_check_of_somebody_else_who_has_our_password_teaches_nothing(stage):
    """Security 4d 2: right integrity, but the second half of USERNAME is not our peer's (another branch of a forked
    call). RFC 8445 7.3 has it answered; it makes no candidate, no triggered check, no path, and no role."""
    script = at_stage(stage)
    other = script.peer.open()
    before = snapshot(script)
    username = f"{script.agent.local_credentials.ufrag}:somebody"
    for role, tiebreaker in ((None, 0), (False, 0), (True, 2**64 - 1)):
        script.peer.request(
            socket=other, username=username, controlling=role, tiebreaker=tiebreaker, use_candidate=True
        )
    script.peer.send(b"\x80media", socket=other)
    script.settle()
    assert snapshot(script) == before
    assert script.counted("drop.request.other-peer") == 3
    assert script.node.data == []


def test_an_early_check_of_somebody_else_is_forgotten_with_the_credentials():
    """Before the answer nobody can tell; then only the peer's own checks are learnt from, and data of the other one
    is dropped from that moment."""
    script = scripted(controlling=False)
    script.gather()
    other = script.peer.open()
    script.peer.request(
        socket=other, username=f"{script.agent.local_credentials.ufrag}:somebody", use_candidate=True
    )
    script.peer.request(use_candidate=True)
    script.settle()
    script.set_credentials()
    script.peer.send(b"\x80media", socket=other)
    script.sim.run_for(1)
    assert [pair.destination for pair in script.agent.pairs] == [script.peer.address()]
    assert script.node.data == []
    assert {seen.socket for seen in script.peer.requests} == {script.peer.socket}


def test_a_replayed_check_gives_no_data_path_to_a_third_party_without_an_answer():
    """A copied check sent from elsewhere is authentic: it is answered and checked back, but without an answer with
    the peer's password no data ever goes there."""
    script = at_stage("completed")
    thief = script.peer.open()
    data = script.peer.build_request(use_candidate=True)
    script.peer.send(data)
    script.peer.send(data, socket=thief)
    script.peer.auto_answer = lambda seen: seen.socket == script.peer.socket
    script.sim.run_for(60)
    route = script.agent.route(1)
    assert route is not None and route.address == script.peer.address()
    to_thief = [seen for seen in script.peer.requests if seen.socket == thief]
    assert len(to_thief) <= 7


# -- messages that are out of place ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", STAGES)
def test_a_bad_fingerprint_is_silence_and_never_data(stage):
    """Security 4d 3: with a bad CRC it is no check; and it looks like STUN, so it is not the application's either."""
    script = at_stage(stage)
    before = snapshot(script)
    sent = len(script.sim.network.sent(script.node.host))
    good = script.peer.build_request()
    for data in (good[:-1] + bytes([good[-1] ^ 1]), script.peer.build_request(fingerprint=False)):
        script.peer.send(data)
    script.settle()
    assert len(script.sim.network.sent(script.node.host)) == sent
    assert snapshot(script) == before
    assert script.node.data == []
    if stage not in ("failed", "closed"):
        assert script.counted("drop.request.fingerprint") == 2


@pytest.mark.parametrize("stage", STAGES)
def test_messages_that_nobody_asked_for(stage):
    """Security 4d 1: answers with unknown ids, indications, other methods, on paths that are good and on others: all
    dropped and counted, none answered."""
    script = at_stage(stage)
    peer = script.peer
    before = snapshot(script)
    sent = len(script.sim.network.sent(script.node.host))
    other = peer.open()
    unknown = 0
    for socket in (peer.socket, other):
        for message_class in (MessageClass.SUCCESS, MessageClass.ERROR):
            for key in (None, peer.key, peer.agent_key):
                builder = MessageBuilder(Method.BINDING, message_class)
                builder.add(Attribute.XOR_MAPPED_ADDRESS, ("10.0.0.1", 1))
                peer.send(builder.build(key, fingerprint=True), socket=socket)
                unknown += 1
        for message_class in (
            MessageClass.REQUEST,
            MessageClass.INDICATION,
            MessageClass.SUCCESS,
            MessageClass.ERROR,
        ):
            for method in (Method.ALLOCATE, Method.SEND, Method.DATA, 0xAB):
                peer.send(peer.build_request(method=method, message_class=message_class), socket=socket)
        peer.send(
            peer.build_request(message_class=MessageClass.INDICATION, use_candidate=True), socket=socket
        )
    script.settle()
    assert len(script.sim.network.sent(script.node.host)) == sent
    assert script.node.data == []
    if stage == "closed":
        return
    if stage == "completed":
        assert snapshot(script)[:5] == before[:5]
    assert script.counted("drop.response.unknown") == unknown
    assert script.counted("drop.stun.method") == 32
    assert script.counted("indication.received") == 2
    assert len(script.agent.pairs) == len(before[4])  # type: ignore[arg-type]


def test_a_right_answer_that_comes_to_another_socket_or_from_another_address():
    """8445 7.2.5.2.1: a path that is not symmetric fails its pair; what is learnt from it is nothing."""
    script = scripted(agent_addresses=("10.0.0.1", "10.0.0.3"))
    script.gather()
    script.meet()
    first = script.peer.next_check()
    other = next(each for each in script.agent.local_candidates if each.transport_address != first.source)
    script.peer.answer(first, to=other.transport_address)
    script.settle()
    pair = next(pair for pair in script.agent.pairs if pair.local.transport_address == first.source)
    assert pair.state == "failed"
    assert script.agent.route(1) is None


@pytest.mark.parametrize("stage", STAGES)
def test_empty_datagrams(stage):
    """Dropped by default, from validated addresses too."""
    script = at_stage(stage)
    before = snapshot(script)
    for _ in range(3):
        script.peer.send(b"")
    script.settle()
    assert script.node.data == []
    assert snapshot(script) == before
    if stage != "closed":
        assert script.counted("drop.empty") == 3


def test_every_first_byte():
    """RFC 7983: on a validated path everything but STUN is the application's, and nothing breaks a parser; from
    elsewhere nothing passes."""
    script = at_stage("completed")
    stranger = script.peer.open()
    for first in range(256):
        script.peer.send(bytes([first]) + bytes(30), socket=stranger)
        script.peer.send(bytes([first]) + bytes(30))
    script.settle()
    assert [received.data[0] for received in script.node.data] == list(range(256))
    assert script.counted("drop.data.unvalidated") == 256


def test_a_request_of_rfc_3489_is_data():
    """5389-3: no compatibility mode where STUN shares a port with another protocol."""
    script = at_stage("completed")
    classic = b"\x00\x01\x00\x00" + bytes(range(16))
    script.peer.send(classic)
    script.settle()
    assert [received.data for received in script.node.data] == [classic]


def test_data_is_only_taken_from_the_socket_and_the_address_that_were_validated():
    """The right address on the wrong socket, the right host on another port: dropped and counted."""
    script = scripted(agent_addresses=("10.0.0.1", "10.0.0.3"))
    script.gather()
    script.set_credentials()
    first, second = (each.transport_address for each in script.agent.local_candidates)
    script.peer.request(to=first)
    script.settle()
    script.peer.send(b"\x80right", to=first)
    script.peer.send(b"\x80wrong socket", to=second)
    script.peer.send(b"\x80wrong port", to=first, socket=script.peer.open())
    script.settle()
    assert [received.data for received in script.node.data] == [b"\x80right"]
    assert script.counted("drop.data.unvalidated") == 2


# -- amplification -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["v4", "v6"])
def test_no_reply_is_larger_than_its_request(family):
    """Security 4d 4: whatever is asked, however small: an unauthenticated request gets no larger answer than itself,
    an authenticated check no larger one than a usual check."""
    addresses = (("10.0.0.1",), ("10.0.0.2",)) if family == "v4" else (("2001:db8::1",), ("2001:db8::2",))
    script = scripted(agent_addresses=addresses[0], peer_addresses=addresses[1])
    script.gather()
    script.set_credentials()
    peer = script.peer
    size = {}
    forms = [
        {
            "username": username,
            "key": key,
            "priority": priority,
            "controlling": role,
            "sha256": sha256,
            "sha1": sha1,
        }
        for username in (None, "a:b", f"{script.agent.local_credentials.ufrag}:{peer.credentials.ufrag}")
        for key in (None, WRONG, peer.agent_key)
        for priority in (None, 1)
        for role in (None, True, False)
        for sha1, sha256 in ((True, False), (False, True), (True, True))
    ]
    forms += [{"attributes": [(0x7000 + n, b"") for n in range(count)]} for count in (1, 2, 20, 300)]
    for form in forms:
        data = peer.build_request(**form)
        size[data[8:20]] = len(data)
        peer.send(data)
    bare = MessageBuilder(Method.BINDING, MessageClass.REQUEST).build(fingerprint=True)
    size[bare[8:20]] = len(bare)
    peer.send(bare)
    script.settle()
    assert peer.responses
    for seen in peer.responses:
        assert len(seen.message) <= size[seen.id], seen
    assert {seen.code for seen in peer.responses} >= {None, 400, 401, 420}


def test_an_error_is_not_sent_where_it_would_be_larger():
    """The smallest request there can be gets no answer rather than a larger one."""
    script = scripted()
    script.gather()
    bare = MessageBuilder(Method.BINDING, MessageClass.REQUEST).build(fingerprint=True)
    script.peer.send(bare)
    script.settle()
    assert script.peer.responses == []
    assert script.counted("drop.request.reply-too-large") == 1


def test_the_voice_hammer():
    """Security 4d 4, RFC 8445 19.5.1: 150 candidates that are all one victim: a hundred pairs at most, checks on
    fifty of them, one every Ta, and it ends. No data goes there, for no check was ever answered."""
    script = scripted()
    victim = script.sim.network.add_host("192.0.2.200", name="victim")
    script.gather()
    script.set_credentials()
    for port in range(10000, 10150):
        candidate = script.peer.candidate(address=("192.0.2.200", port), foundation=f"f{port}")
        script.agent.add_remote_candidate(candidate, 0.0)
    script.agent.add_remote_candidate(None, 0.0)
    assert len(script.agent.pairs) == 100
    script.sim.run_until(lambda: script.agent.state == "failed", limit=1200)
    packets = [
        packet
        for packet in script.sim.network.sent(script.node.host)
        if packet.destination[0] in victim.addresses
    ]
    firsts = sorted({packet.data[8:20]: packet.sent_at for packet in reversed(packets)}.values())
    assert len(firsts) == 50
    assert script.counted("check.over-limit") == 50
    assert all(later - earlier > 0.0499 for earlier, later in pairwise(firsts))
    assert len(packets) <= 350
    busiest = max(sum(start <= packet.sent_at < start + 1 for packet in packets) for start in range(400))
    assert busiest <= 45  # new checks at Ta, and the retransmissions of those before
    assert script.agent.route(1) is None
    assert script.agent.next_timer() is None


# -- hostile candidates ------------------------------------------------------------------------------------------------

PRIORITY = (126 << 24) | (65535 << 8) | 255


def candidate(**changes) -> Candidate:
    fields = {
        "foundation": "1",
        "component": 1,
        "transport": "udp",
        "priority": PRIORITY,
        "address": "10.0.0.2",
        "port": 5000,
        "type": "host",
    }
    return Candidate(**{**fields, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"address": ""},
        {"address": " "},
        {"address": "10.0.0"},
        {"address": "10.0.0.256"},
        {"address": "10.0.0.2/24"},
        {"address": "0x0a000002"},
        {"address": "167772162"},
        {"address": "010.0.0.2"},
        {"address": "10.0.0.2\x00"},
        {"address": "10.0.0.2\n"},
        {"address": "0.0.0.0"},
        {"address": "::"},
        {"address": "255.255.255.255"},
        {"address": "224.0.0.251"},
        {"address": "ff02::fb"},
        {"address": "::ffff:10.0.0.2"},
        {"address": "::10.0.0.2"},
        {"address": "fec0::1"},
        {"address": "metadata.google.internal"},
        {"address": "4f2ea5a5-6d3f-4a77-9c76-0c4c9bc37c4.local"},
        {"address": "x" * 100_000},
        {"address": "%n%s" * 20},
        {"address": "\N{RIGHT-TO-LEFT OVERRIDE}gro.live"},
        {"port": 0},
        {"port": -1},
        {"port": 65536},
        {"port": 2**31},
        {"priority": 0},
        {"priority": -5},
        {"priority": 2**32},
        {"priority": 2**80},
        {"component": 0},
        {"component": -1},
        {"component": 2},
        {"component": 256},
        {"component": 2**40},
        {"transport": "tcp"},
        {"transport": "tcp", "tcptype": "passive", "port": 0},
        {"transport": "tcp", "tcptype": "active", "port": 0},
        {"transport": "tcp", "tcptype": "both"},
        {"transport": "UDP"},
        {"transport": ""},
        {"transport": "sctp" * 10_000},
        {"ufrag": "otherfrag"},
        {"ufrag": "o" * 100_000},
    ],
    ids=lambda changes: ",".join(f"{key}={str(value)[:20]!a}" for key, value in changes.items()),
)
def test_a_candidate_that_cannot_be_used_is_ignored_with_a_reason(changes):
    """Security 4d 5: never raises, never sends, says why; what it says is short and printable."""
    script = scripted()
    script.gather()
    script.set_credentials()
    script.agent.add_remote_candidate(candidate(**changes), 0.0)
    script.sim.run_for(2)
    assert script.agent.remote_candidates == []
    assert script.agent.pairs == []
    assert script.sim.network.sent(script.node.host) == []
    ((name, reason),) = script.agent.report(script.now).ignored_candidates
    for text in (name, reason):
        assert text.isprintable() and text.isascii() and len(text) < 300
    assert reason
    assert script.counted("remote-candidate.ignored") == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"foundation": ""},
        {"foundation": "f" * 10_000},
        {"foundation": "prflx1"},
        {"priority": 1},
        {"priority": 2**32 - 1},
        {"type": "relay", "related_address": "0.0.0.0", "related_port": 0},
        {"type": "srflx", "related_address": "nonsense", "related_port": -7},
        {"type": "prflx"},
        {"extensions": (("network-cost", "999"), ("x", "y" * 5000))},
        {"tcptype": "so"},
        {"address": "10.0.0.2%eth0"},
    ],
    ids=lambda changes: ",".join(f"{key}={str(value)[:20]!a}" for key, value in changes.items()),
)
def test_a_candidate_that_is_odd_but_usable_is_used(changes):
    """Security 4d 5: `raddr 0.0.0.0 rport 0` (libjuice), extensions, priorities above 2**31 - 1."""
    script = scripted()
    script.meet(candidate(**{"port": script.peer.address()[1], **changes}))
    script.peer.answer(script.peer.next_check())
    script.settle()
    assert script.agent.state == "connected"


def test_our_own_address_makes_no_pair_with_itself():
    """A peer that reflects our candidates: no pair sends from a socket to the same socket; a pair between two of our
    sockets is checked and fails, for our own check is not the peer's."""
    script = scripted(agent_addresses=("10.0.0.1", "10.0.0.3"))
    script.gather()
    script.set_credentials()
    for own in script.agent.local_candidates:
        script.agent.add_remote_candidate(replace(own, ufrag=None), 0.0)
    assert len(script.agent.pairs) == 2
    script.sim.run_for(60)
    assert script.agent.route(1) is None
    assert script.agent.state == "failed"
    assert script.counted("request.refused.401") > 0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(
            candidate,
            foundation=st.text(max_size=8),
            component=st.integers(-1, 3),
            transport=st.sampled_from(["udp", "tcp", "UDP", ""]) | st.text(max_size=5),
            priority=st.integers(-1, 2**33),
            address=st.sampled_from(["10.0.0.2", "10.0.0.1", "2001:db8::2", "fe80::2", "127.0.0.1"])
            | st.ip_addresses().map(str)
            | st.text(max_size=12),
            port=st.integers(-1, 70000),
            type=st.sampled_from(["host", "srflx", "prflx", "relay"]),
            related_address=st.none() | st.text(max_size=8),
            ufrag=st.none() | st.just("peerfrag") | st.text(max_size=8),
        ),
        max_size=12,
    ),
    st.booleans(),
)
def test_any_candidates(candidates, early):
    """Never raises; what is sent goes to the address of a candidate that was taken, and every one has an outcome."""
    script = scripted(agent_addresses=("10.0.0.1", "2001:db8::1", "fe80::1"), components=2)
    script.gather()
    if not early:
        script.set_credentials()
    for each in candidates:
        script.agent.add_remote_candidate(each, 0.0)
    if early:
        script.set_credentials()
    script.sim.run_for(3)
    taken = {each.transport_address for each in script.agent.remote_candidates}
    assert {packet.destination for packet in script.sim.network.sent(script.node.host)} <= taken
    ignored = script.agent.report(0.0).ignored_candidates
    assert len(script.agent.remote_candidates) + len(ignored) == len(candidates)
    assert script.agent.report(0.0).to_json()


def test_a_signalled_prflx_candidate_is_replaced_by_none():
    """8445-42: only one that was learnt from a check is; the second signalled with its address is known already."""
    script = scripted()
    script.gather()
    script.set_credentials()
    first = script.peer.candidate()
    script.agent.add_remote_candidate(replace(first, type="prflx"), 0.0)
    script.agent.add_remote_candidate(first, 0.0)
    assert [each.type for each in script.agent.remote_candidates] == ["prflx"]
    assert [why for _, why in script.agent.report(0.0).ignored_candidates] == ["known already"]


# -- fuzzing -----------------------------------------------------------------------------------------------------------


@cache
def target(stage: str) -> tuple[Script, tuple[bytes, ...], tuple[object, ...]]:
    """An agent at this stage, messages that mean something to it, and its snapshot: one for all examples, for none of
    them may change it."""
    script = at_stage(stage)
    return script, genuine(script), snapshot(script)


def genuine(script: Script) -> tuple[bytes, ...]:
    """Messages that mean something to the agent at this moment: checks, answers to what is outstanding, and others."""
    peer = script.peer
    messages = [
        peer.build_request(),
        peer.build_request(use_candidate=True),
        peer.build_request(controlling=True, tiebreaker=2**64 - 1),
        peer.build_request(controlling=False, tiebreaker=0),
        peer.build_request(sha1=False, sha256=True),
        peer.build_request(message_class=MessageClass.INDICATION),
        MessageBuilder(Method.BINDING, MessageClass.REQUEST).build(),
    ]
    for seen in peer.requests[-2:]:
        messages += [
            peer.build_answer(seen),
            peer.build_answer(seen, code=487),
            peer.build_answer(seen, code=403),
        ]
    return tuple(messages)


@st.composite
def mutations(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """A way to spoil a message."""
    kind = draw(st.sampled_from(["flip", "cut", "extend", "insert", "length", "swap"]))
    position = draw(st.integers(0, 10_000))
    value = draw(st.integers(1, 255))
    extra = draw(st.binary(min_size=1, max_size=12))

    def mutate(data: bytes) -> bytes:
        at = position % len(data)
        if kind == "flip":
            return data[:at] + bytes([data[at] ^ value]) + data[at + 1 :]
        if kind == "cut":
            return data[:at]
        if kind == "extend":
            return data + extra
        if kind == "insert":
            return data[:at] + extra + data[at:]
        if kind == "length":
            return data[:2] + (position % 65536).to_bytes(2, "big") + data[4:]
        return data[at:] + data[:at]

    return mutate


@settings(max_examples=60, deadline=None)
@given(spoils=st.lists(st.tuples(st.integers(0, 100), mutations(), st.booleans()), min_size=1, max_size=12))
@pytest.mark.parametrize("stage", STAGES)
def test_spoilt_messages_change_nothing(stage, spoils):
    """Mutated real messages, from the peer's address and from others, at every state: nothing raises, nothing is
    learnt, nothing but plain data passes, and that from validated addresses only."""
    script, messages, before = target(stage)
    sockets = list(script.node.host.sockets) or [1]
    for number, mutate, own in spoils:
        original = messages[number % len(messages)]
        spoilt = mutate(original)
        if spoilt == original:
            continue
        source = script.peer.address() if own else ("192.0.2.250", 9)
        validated = (sockets[0], source) in script.agent._paths
        result = script.agent.datagram_received(sockets[0], spoilt, source, script.now)
        looks_like_stun = len(spoilt) >= 8 and spoilt[0] < 4 and spoilt[4:8] == b"\x21\x12\xa4\x42"
        assert result == (spoilt if spoilt and validated and not looks_like_stun else None)
    assert snapshot(script) == before
    transmits = script.agent.take_transmits()
    assert all(parse(each.data).message_class == MessageClass.ERROR for each in transmits)


@settings(max_examples=100, deadline=None)
@given(
    stage=st.sampled_from(STAGES),
    datagrams=st.lists(
        st.binary(max_size=80)
        | st.binary(max_size=60).map(lambda data: b"\x00\x01\x00\x00\x21\x12\xa4\x42" + data),
        max_size=20,
    ),
    own=st.booleans(),
)
def test_any_bytes(stage, datagrams, own):
    """Arbitrary bytes never raise and never pass from an address that is not validated."""
    script, _, before = target(stage)
    socket = (script.node.host.sockets or [1])[0]
    source = script.peer.address() if own else ("192.0.2.250", 9)
    for datagram in datagrams:
        validated = (socket, source) in script.agent._paths
        result = script.agent.datagram_received(socket, datagram, source, script.now)
        assert result is None or (validated and result == datagram and datagram)
    assert snapshot(script) == before
    assert script.agent.take_transmits() == []


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=40), st.sampled_from(STAGES))
def test_a_socket_that_is_not_the_agents(data, stage):
    """A driver that mixes up its sockets: no exception, no answer."""
    script, messages, _ = target(stage)
    for datagram in (data, *messages):
        assert script.agent.datagram_received(987654, datagram, script.peer.address(), script.now) is None
    assert script.agent.take_transmits() == []


def test_two_agents_are_not_disturbed_by_a_stranger_who_floods_them():
    """Ten thousand packets of every kind while they connect: they connect as fast as without."""
    quiet = ice_pair()
    expected = quiet.connect()
    pair = ice_pair(limits=Limits(early_checks=10))
    stranger = pair.sim.network.add_host("10.0.0.66", name="stranger")

    class Deaf:
        def packet_received(self, socket, data, address, now):
            pass

        def error_received(self, socket, address, reason, now):
            pass

    socket = stranger.bind("10.0.0.66", 0, Deaf())  # type: ignore[arg-type]
    pair.start()
    pair.sim.run_for(0)
    targets = [candidate.transport_address for agent in pair.agents for candidate in agent.local_candidates]
    bare = MessageBuilder(Method.BINDING, MessageClass.REQUEST).build(WRONG, fingerprint=True)
    for number in range(2500):
        for target in targets:
            data = bare if number % 2 else b"\x80" + bytes(number % 50)
            pair.sim.call_at(
                number * 0.0001, lambda target=target, data=data: stranger.send_from(socket, target, data)
            )
    assert pair.connect() == pytest.approx(expected)
    for node in pair.nodes:
        assert node.data == []
        assert len(node.agent.remote_candidates) == 1
