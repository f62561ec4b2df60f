"""The Binding server, one datagram at a time."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fasticePy import stun
from fasticePy.machine import Transmit
from fasticePy.stun import Attribute, BindingServer, Message, MessageBuilder, MessageClass, Method

CLIENT = ("192.0.2.7", 40000)
CLIENT6 = ("2001:db8::7", 40000)
ID = bytes(range(12))
KEY = stun.IntegrityKey.short_term("password")


def binding(*attributes: tuple[int, object], kind: int = MessageClass.REQUEST, **build: object) -> bytes:
    builder = MessageBuilder(Method.BINDING, kind, ID)
    for attribute, value in attributes:
        builder.add(attribute, value)
    return builder.build(**build)


def ask(data: bytes, source: tuple[str, int] = CLIENT, server: BindingServer | None = None) -> Message | None:
    """The parsed answer of a server to one datagram; None when there is none."""
    reply = raw(data, source, server)
    return None if reply is None else stun.parse(reply)


def raw(data: bytes, source: tuple[str, int] = CLIENT, server: BindingServer | None = None) -> bytes | None:
    server = server or BindingServer()
    assert server.datagram_received(5, data, source, 0.0) is None
    transmits = server.take_transmits()
    assert all((each.socket, each.address) == (5, source) for each in transmits)
    assert server.take_events() == []
    assert server.next_timer() is None
    assert len(transmits) <= 1
    return transmits[0].data if transmits else None


@pytest.mark.parametrize(("source", "size"), [(CLIENT, 32), (CLIENT6, 44)])
def test_the_answer_is_the_address_of_the_sender(source, size):
    """8489-23, 8489-4: XOR-MAPPED-ADDRESS is the source as seen, v4 and v6; the id is echoed."""
    reply = ask(binding(), source)
    assert reply.method == Method.BINDING
    assert reply.message_class == MessageClass.SUCCESS
    assert reply.transaction_id == ID
    assert reply.get(Attribute.XOR_MAPPED_ADDRESS) == source
    assert Attribute.MAPPED_ADDRESS not in reply
    assert len(reply) == size  # next to a request of 20: nobody is worth spoofing
    assert len(reply.attributes()) == 1


def test_each_client_gets_its_own_answer_from_the_socket_it_asked():
    server = BindingServer()
    for socket, port in ((3, 1000), (4, 2000), (3, 3000)):
        server.datagram_received(socket, binding(), ("192.0.2.7", port), 0.0)
    assert [(each.socket, each.address[1]) for each in server.take_transmits()] == [
        (3, 1000),
        (4, 2000),
        (3, 3000),
    ]


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        (("fe80::1%eth0", 9), ("fe80::1", 9)),
        (("::ffff:192.0.2.7", 9), ("192.0.2.7", 9)),
    ],
)
def test_the_address_is_as_the_client_should_read_it(source, seen):
    """8489-23: without a scope, and IPv4 where a dual-stack socket shows a mapped address; sent to as it was seen."""
    assert ask(binding(), source).get(Attribute.XOR_MAPPED_ADDRESS) == seen


def test_a_retransmission_gets_the_same_answer():
    """8489-21: Binding is idempotent, so nothing is remembered and the answer is computed again."""
    server = BindingServer()
    assert raw(binding(), server=server) == raw(binding(), server=server)


def test_software_is_told_only_on_request():
    """8489-5: configurable. It is off by default here, because it makes answers longer for nobody's good."""
    assert Attribute.SOFTWARE not in ask(binding())
    assert ask(binding(), server=BindingServer(software="x")).get(Attribute.SOFTWARE) == "x"
    error = ask(binding((0x7777, b"")), server=BindingServer(software="x"))
    assert error.get(Attribute.SOFTWARE) == "x"


@pytest.mark.parametrize("kind", [MessageClass.INDICATION, MessageClass.SUCCESS, MessageClass.ERROR])
@pytest.mark.parametrize("extra", [(), ((0x7777, b""),)])
def test_only_requests_are_answered(kind, extra):
    """8489-11: 0 datagrams back for indications and responses, also on errors."""
    server = BindingServer()
    assert raw(binding(*extra, kind=kind), server=server) is None
    expected = "indication" if kind == MessageClass.INDICATION else "response"
    assert server.counters == {expected: 1}


@pytest.mark.parametrize("method", [0, 2, *(set(Method) - {Method.BINDING}), 0xFFF])
def test_other_methods_are_dropped(method):
    """8489-18: an unknown method is silently discarded."""
    server = BindingServer()
    assert raw(MessageBuilder(method, MessageClass.REQUEST, ID).build(), server=server) is None
    assert server.counters == {"unknown method": 1}


def test_unknown_required_attributes_are_listed_in_a_420():
    """8489-20, 8489-22: all of them, padded with zeros."""
    reply = raw(binding((0x7777, b""), (0x7001, b"abc"), (0x0FFF, bytes(8))))
    message = stun.parse(reply)
    assert message.message_class == MessageClass.ERROR
    assert message.method == Method.BINDING
    assert message.transaction_id == ID
    assert message.get(Attribute.ERROR_CODE) == (420, "")
    assert message.get(Attribute.UNKNOWN_ATTRIBUTES) == (0x7777, 0x7001, 0x0FFF)
    assert reply.endswith(bytes.fromhex("000a0006 7777 7001 0fff 0000"))
    assert Attribute.XOR_MAPPED_ADDRESS not in message


def test_what_only_other_servers_understand_is_unknown():
    """8489-20: CHANGE-REQUEST and the like, so that nobody takes this for a NAT discovery server."""
    types = (Attribute.CHANGE_REQUEST, Attribute.RESPONSE_PORT, Attribute.PADDING, Attribute.RESPONSE_ADDRESS)
    header = binding()[4:]
    body = b"".join(struct.pack("!HHI", attribute, 4, 0) for attribute in types)
    reply = ask(struct.pack("!HH", 1, len(body)) + header + body)
    assert reply.get(Attribute.UNKNOWN_ATTRIBUTES) == types


def test_attributes_without_a_meaning_here_are_ignored():
    """8489-19: 0x8FFF and LIFETIME in a Binding request: success."""
    reply = ask(binding((0x8FFF, b"x"), (Attribute.LIFETIME, 600), (Attribute.PRIORITY, 1)))
    assert reply.message_class == MessageClass.SUCCESS
    assert len(reply) == 32


def test_credentials_are_neither_asked_for_nor_minded():
    """8489-58: a stand-alone server does not authenticate."""
    data = binding((Attribute.USERNAME, "a:b"), key=KEY, sha256=True, fingerprint=True)
    assert ask(data).message_class == MessageClass.SUCCESS


def test_a_fingerprint_is_mirrored_and_never_required():
    """8489-58: it must not be required; who uses it gets it."""
    assert not ask(binding()).has_fingerprint
    reply = ask(binding(fingerprint=True))
    assert reply.verify_fingerprint()
    assert len(reply) == 40
    assert ask(binding((0x7777, b""), fingerprint=True)).verify_fingerprint()


def test_a_bad_fingerprint_is_silence_whatever_else_is_wrong():
    """8489-18: the fingerprint is looked at before the attributes."""
    for attributes in ((), ((0x7777, b""),)):
        data = bytearray(binding(*attributes, fingerprint=True))
        data[-1] ^= 1
        server = BindingServer()
        assert raw(bytes(data), server=server) is None
        assert server.counters == {"bad fingerprint": 1}


@pytest.mark.parametrize("count", [1, 2, 3, 100, 249, 250, 251, 256, 5000])
@pytest.mark.parametrize("fingerprint", [False, True])
def test_answers_are_never_much_longer_than_requests(count, fingerprint):
    """Nor do they exceed the 548 bytes of RFC 8489 6.1."""
    data = binding(*((0x4000 + number, b"") for number in range(count)), fingerprint=fingerprint)
    reply = raw(data)
    assert len(reply) <= len(data) + 12
    assert len(reply) <= 548
    assert len(stun.parse(reply).get(Attribute.UNKNOWN_ATTRIBUTES)) == min(count, 250)


def test_many_attributes_of_one_unknown_type_are_one():
    reply = ask(binding(*[(0x7777, b"")] * 1000))
    assert reply.get(Attribute.UNKNOWN_ATTRIBUTES) == (0x7777,)


def test_nobody_is_answered_at_port_0():
    server = BindingServer()
    assert raw(binding(), ("192.0.2.7", 0), server) is None
    assert server.counters == {"source port 0": 1}


def test_a_closed_server_is_silent():
    server = BindingServer()
    server.close(1.0)
    server.close(1.0)
    assert raw(binding(), server=server) is None


# --- RFC 3489 clients


def classic(*attributes: tuple[int, bytes], type: int = 1) -> bytes:
    body = b"".join(struct.pack("!HH", attribute, len(value)) + value for attribute, value in attributes)
    return struct.pack("!HH", type, len(body)) + bytes(range(100, 116)) + body


@pytest.mark.parametrize("source", [CLIENT, CLIENT6])
def test_a_classic_client_is_answered_in_its_own_way(source):
    """5389-1, 8489-58: the 16-byte id comes back, MAPPED-ADDRESS instead of XOR-MAPPED-ADDRESS."""
    reply = raw(classic(), source)
    assert reply[:2] == b"\x01\x01"
    assert reply[4:20] == bytes(range(100, 116))
    message = stun.parse(reply[:4] + stun.MAGIC_COOKIE.to_bytes(4, "big") + reply[8:])
    assert message.get(Attribute.MAPPED_ADDRESS) == source
    assert len(message.attributes()) == 1


@pytest.mark.parametrize("attribute", [Attribute.RESPONSE_ADDRESS, Attribute.CHANGE_REQUEST])
def test_a_classic_client_that_wants_another_source_is_refused(attribute):
    """5389-1: RESPONSE-ADDRESS or CHANGE-REQUEST: 420."""
    reply = raw(classic((attribute, bytes(8)), (Attribute.USERNAME, b"user")))
    assert reply[:2] == b"\x01\x11"
    assert reply[4:20] == bytes(range(100, 116))
    assert reply[20:] == bytes.fromhex("00090004 00000414 000a0002") + struct.pack("!HH", attribute, 0)


def test_classic_clients_can_be_left_out():
    server = BindingServer(classic=False)
    assert raw(classic(), server=server) is None
    assert server.counters == {"no cookie": 1}
    assert raw(binding(), server=server) is not None


@pytest.mark.parametrize("type", [0x0002, 0x0101, 0x0111, 0x0011, 0x0003])
def test_other_classic_messages_are_dropped(type):
    assert raw(classic(type=type)) is None


# --- anything at all

ADDRESSES = st.tuples(
    st.ip_addresses().map(str) | st.sampled_from(["fe80::1%eth0", "::ffff:10.0.0.1"]), st.integers(0, 65535)
)
STUN_LIKE = st.builds(
    lambda type, cookie, body: struct.pack("!HH", type, len(body)) + cookie + ID + body,
    st.integers(0, 0x3FFF),
    st.just(stun.MAGIC_COOKIE.to_bytes(4, "big")) | st.binary(min_size=4, max_size=4),
    st.binary(max_size=200),
)


@given(st.binary(max_size=300) | STUN_LIKE, ADDRESSES)
@example(b"", CLIENT)
@example(bytes(19), CLIENT)
def test_any_datagram_is_answered_once_or_dropped_and_counted(data, source):
    server = BindingServer(software="test")
    reply = raw(data, source, server)
    assert sum(server.counters.values()) == 1
    if reply is not None:
        assert data[:2] == b"\x00\x01"
        assert reply[4:20] == data[4:20]
        assert source[1] != 0
        assert raw(reply, source) is None  # two servers never talk to each other


@given(st.lists(st.tuples(st.integers(0x4000, 0x40FF), st.binary(max_size=8)), max_size=40), st.booleans())
def test_any_unknown_attributes_are_listed_once_each_in_order(attributes, fingerprint):
    """8489-20."""
    reply = ask(binding(*attributes, fingerprint=fingerprint))
    wanted = tuple(dict.fromkeys(attribute for attribute, _ in attributes))
    if wanted:
        assert reply.get(Attribute.UNKNOWN_ATTRIBUTES) == wanted
    else:
        assert reply.get(Attribute.XOR_MAPPED_ADDRESS) == CLIENT


def test_answers_are_plain_datagrams_for_the_driver():
    server = BindingServer()
    server.datagram_received(5, binding(), CLIENT, 0.0)
    (transmit,) = server.take_transmits()
    assert transmit == Transmit(5, CLIENT, transmit.data)
    assert type(transmit.data) is bytes
