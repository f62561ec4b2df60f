"""The helpers of these tests themselves: two agents connect, and the scripted peer plays a whole session."""

from __future__ import annotations

import pytest
from ice_harness import append_attribute, append_fingerprint, ice_pair, scripted

from fasticePy.stun import Attribute, MessageClass, parse


def test_two_agents_connect_and_talk():
    pair = ice_pair()
    pair.connect()
    assert pair.same_pair()
    assert pair.left.send(1, b"hello")
    assert pair.right.send(1, b"world")
    pair.sim.run_for(0.1)
    assert [received.data for received in pair.right.data] == [b"hello"]
    assert [received.data for received in pair.left.data] == [b"world"]


@pytest.mark.parametrize(
    ("left", "right", "family"),
    [
        (("2001:db8::1",), ("2001:db8::2",), 6),
        (("10.0.0.1", "2001:db8::1"), ("2001:db8::2",), 6),
        (("2001:db8::1", "10.0.0.1"), ("10.0.0.2", "2001:db8::2"), 6),  # the controlling side's order decides
        (("10.0.0.1", "2001:db8::1"), ("2001:db8::2", "10.0.0.2"), 4),
    ],
)
def test_families(left, right, family):
    pair = ice_pair(left=left, right=right)
    pair.connect()
    assert pair.same_pair()
    assert pair.left.agent.selected_pair(1).remote.ip_version == family


def test_a_controlling_agent_completes_with_the_scripted_peer():
    script = scripted(controlling=True)
    script.meet(end=True)
    script.complete()
    assert script.agent.state == "completed"


def test_a_controlled_agent_completes_with_the_scripted_peer():
    script = scripted(controlling=False)
    script.meet(end=True)
    script.complete()
    assert script.agent.state == "completed"


def test_messages_that_are_put_together_by_hand_are_well_formed():
    script = scripted()
    script.gather()
    data = script.peer.build_request(fingerprint=False)
    message = parse(append_fingerprint(append_attribute(data, Attribute.SOFTWARE, b"abc")))
    assert message.verify_fingerprint()
    assert message.verify_integrity(script.peer.agent_key)
    assert message.message_class == MessageClass.REQUEST
    whole = script.peer.build_request(id=bytes(12))
    assert append_fingerprint(script.peer.build_request(id=bytes(12), fingerprint=False)) == whole
