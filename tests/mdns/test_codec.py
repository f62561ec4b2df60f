from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mdns_wire import (
    CHROMIUM_ANSWER,
    CHROMIUM_GOODBYE,
    CHROMIUM_NAME,
    CHROMIUM_QUERY,
    CHROMIUM_UNSPECIFIED,
    CHROMIUM_UNSPECIFIED_NAME,
    FIREFOX_ANSWER,
    FIREFOX_NAME,
    address_record,
    name_bytes,
    query,
    question,
    record,
    response,
)

from fasticePy.errors import ParseError
from fasticePy.mdns.codec import (
    AAAA,
    ANY,
    MAX_DATAGRAM,
    MAX_ENTRIES,
    MAX_LABELS,
    MAX_POINTERS,
    A,
    AddressRecord,
    Message,
    Question,
    build,
    parse,
)

NAME = "0b6ff4c5-b5ae-4c1b-9d5e-5f1f25e1b1a9.local"

labels = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=".\\"), min_size=1)
names = st.lists(labels.map(lambda label: label[:63].lower()), max_size=4).map(".".join)
questions = st.builds(Question, names, st.sampled_from((A, AAAA, ANY)), st.booleans())
records = st.builds(
    AddressRecord, names, st.ip_addresses().map(str), st.integers(0, 2**31 - 1), st.booleans()
)
messages = st.builds(
    Message,
    st.booleans(),
    st.lists(questions, max_size=4).map(tuple),
    st.lists(records, max_size=4).map(tuple),
    st.integers(0, 0xFFFF),
)


def pointer(at: int) -> bytes:
    return struct.pack("!H", 0xC000 | at)


def reason(data: bytes) -> str:
    with pytest.raises(ParseError) as raised:
        parse(data)
    return str(raised.value)


# --- what browsers send


def test_chromium_answers_with_a_compressed_name_in_an_nsec_record() -> None:
    assert pointer(0x46) in CHROMIUM_ANSWER
    assert parse(CHROMIUM_ANSWER) == Message(
        True, (), (AddressRecord(CHROMIUM_NAME, "10.77.0.1", 120, True),)
    )


def test_chromium_announces_unspecified_addresses_and_says_goodbye() -> None:
    assert parse(CHROMIUM_UNSPECIFIED).records == (AddressRecord(CHROMIUM_UNSPECIFIED_NAME, "::"),)
    assert parse(CHROMIUM_GOODBYE).records == (
        AddressRecord(CHROMIUM_UNSPECIFIED_NAME, "::", 0),
        AddressRecord(CHROMIUM_NAME, "10.77.0.1", 0),
    )


def test_firefox_answers_without_additional_records() -> None:
    assert parse(FIREFOX_ANSWER).records == (AddressRecord(FIREFOX_NAME, "10.77.0.1"),)


def test_what_we_send_is_what_browsers_send() -> None:
    asked = Message(False, (Question(CHROMIUM_NAME, A),))
    assert parse(CHROMIUM_QUERY) == asked
    assert build(asked) == CHROMIUM_QUERY
    assert build(parse(FIREFOX_ANSWER)) == FIREFOX_ANSWER


# --- reading


def test_all_sections_are_looked_at_and_other_records_stepped_over() -> None:
    other = record(name_bytes("_http._tcp.local"), 12, pointer(0xFFF), qualifier=1)
    data = response(
        other,
        address_record(NAME, "192.0.2.1"),
        authority=(address_record(NAME, "192.0.2.2", qualifier=1), other),
        additional=(record(b"\0", 41, b"", qualifier=1440), address_record(NAME, "2001:db8::3", ttl=9)),
    )
    assert parse(data).records == (
        AddressRecord(NAME, "192.0.2.1"),
        AddressRecord(NAME, "192.0.2.2", flush=False),
        AddressRecord(NAME, "2001:db8::3", ttl=9),
    )


def test_questions_for_addresses_and_the_unicast_bit() -> None:
    """mdns-4: the top bit of the class asks for a unicast answer."""
    data = query(
        question(NAME, A),
        question(NAME, AAAA, 0x8001),
        question(NAME, ANY, 0x80FF),
        question(NAME, 12),
        question(NAME, A, 3),  # another class
    )
    assert parse(data).questions == (Question(NAME, A), Question(NAME, AAAA, True), Question(NAME, ANY, True))


def test_compressed_names() -> None:
    data = bytearray(query(question("host.local", A)))
    data[4:6] = struct.pack("!H", 4)
    data += pointer(12) + struct.pack("!HH", A, 1)  # the whole name
    data += b"\3two" + pointer(17) + struct.pack("!HH", A, 1)  # another label before "local"
    at = len(data) - 10
    data += b"\5three" + pointer(at) + struct.pack("!HH", A, 1)  # a pointer to a name with a pointer
    found = [entry.name for entry in parse(bytes(data)).questions]
    assert found == ["host.local", "host.local", "two.local", "three.two.local"]


def test_names_are_compared_in_lower_case_and_odd_bytes_are_told_apart() -> None:
    data = query(
        question("MiXed.LOCAL", A),
        b"\5a.b\\c\0" + struct.pack("!HH", A, 1),
        b"\2\xc3\xa9\0" + struct.pack("!HH", A, 1),
        b"\0" + struct.pack("!HH", A, 1),
    )
    assert [entry.name for entry in parse(data).questions] == [
        "mixed.local",
        "a\\046b\\092c",
        "\\195\\169",
        "",
    ]


def test_a_time_to_live_with_the_top_bit_is_zero() -> None:
    assert parse(response(address_record(NAME, "192.0.2.1", ttl=0x80000001))).records[0].ttl == 0


# --- hostile


def test_loops_and_forward_pointers_are_refused() -> None:
    tail = struct.pack("!HH", A, 1)
    assert "earlier" in reason(query(pointer(12) + tail))  # to itself
    assert "earlier" in reason(query(pointer(14) + tail, b"\1a\0" + tail))  # forward
    assert "earlier" in reason(query(pointer(4) + tail))  # into the header
    assert "earlier" in reason(query(b"\1a\0" + tail, b"\1b" + pointer(19) + tail))  # to its own first label
    assert "earlier" in reason(
        query(b"\1a\0" + tail, b"\1b" + pointer(21) + tail)
    )  # to itself, behind a label


def test_long_chains_of_pointers_are_refused() -> None:
    def message(pointers: int) -> bytes:
        # 12: an unknown record at the root whose data (from 23) are "a", 0, then pointers, each to the one before
        data = bytearray(b"\1a\0")
        at = 23
        for _ in range(pointers - 1):
            data += pointer(at)
            at = 23 + len(data) - 2
        return response(record(b"\0", 16, bytes(data)), record(pointer(at), A, bytes([192, 0, 2, 1])))

    assert parse(message(MAX_POINTERS)).records[0].name == "a"
    assert "pointers" in reason(message(MAX_POINTERS + 1))


def test_long_names_are_refused() -> None:
    label = b"\x3f" + b"a" * 63
    tail = struct.pack("!HH", A, 1)
    longest = label * 3 + b"\x3d" + b"a" * 61 + b"\0"
    assert len(longest) == 255
    assert len(parse(query(longest + tail)).questions[0].name) == 253
    assert "longer" in reason(query(label * 3 + b"\x3e" + b"a" * 62 + b"\0" + tail))
    # made long by a pointer: 3 labels and once more those 3
    assert "longer" in reason(query(label * 3 + b"\0" + tail, label + pointer(12) + tail))
    assert len(parse(query(b"\1a" * MAX_LABELS + b"\0" + tail)).questions) == 1
    assert "parts" in reason(query(b"\1a" * (MAX_LABELS + 1) + b"\0" + tail))


def test_other_faults() -> None:
    assert "header" in reason(bytes(11))
    assert "longer" in reason(bytes(MAX_DATAGRAM + 1))
    assert "kind" in reason(query(b"\x40a\0" + struct.pack("!HH", A, 1)))
    assert "kind" in reason(query(b"\x80a\0" + struct.pack("!HH", A, 1)))
    assert "length of an address" in reason(response(record(b"\0", A, bytes(5))))
    assert "length of an address" in reason(response(record(b"\0", AAAA, bytes(4))))
    assert "beyond" in reason(response(record(b"\0", 16, bytes(4)))[:-1])
    assert "questions and records" in reason(
        struct.pack("!6H", 0, 0x8400, 0, MAX_ENTRIES, 1, 0) + bytes(8000)
    )
    for flags in (0x0800, 0x7800, 0x8403, 0x0001):  # another operation, an error code
        assert "not 0" in reason(struct.pack("!6H", 0, flags, 0, 0, 0, 0))
    assert parse(struct.pack("!6H", 0, 0x07F0, 0, 0, 0, 0)) == Message(False)  # the other bits do not matter


# --- any input


@given(messages)
def test_what_is_built_is_read(message: Message) -> None:
    assert parse(build(message)) == message


@given(messages, st.data())
def test_every_truncation_is_refused(message: Message, data: st.DataObject) -> None:
    whole = build(message)
    assert parse(whole + b"\0\1\2") == message  # what comes behind is not looked at
    with pytest.raises(ParseError):
        parse(whole[: data.draw(st.integers(0, len(whole) - 1))])


@pytest.mark.parametrize("whole", [CHROMIUM_ANSWER, CHROMIUM_QUERY, CHROMIUM_GOODBYE, FIREFOX_ANSWER])
def test_every_truncation_of_what_browsers_send(whole: bytes) -> None:
    for size in range(len(whole)):
        reason(whole[:size])


@given(st.binary(max_size=200), st.integers(0, 4), st.integers(0, 4))
def test_any_bytes(body: bytes, asked: int, answered: int) -> None:
    for data in (body, struct.pack("!6H", 0, 0x8400, asked, answered, 0, 0) + body):
        try:
            message = parse(data)
        except ParseError:
            continue
        assert len(message.questions) + len(message.records) <= MAX_ENTRIES


# --- building


@pytest.mark.parametrize(
    "message",
    [
        Message(False, (Question("a..local", A),)),
        Message(False, (Question("a" * 64 + ".local", A),)),
        Message(False, (Question(".".join(["a" * 60] * 5), A),)),
        Message(False, (Question("caf\u00e9.local", A),)),
        Message(False, (Question("a b.local", A),)),
        Message(False, (Question("a\\046b", A),)),
        Message(True, (), (AddressRecord(NAME, "nowhere"),)),
        Message(True, (), (AddressRecord(NAME, "192.0.2.1", -1),)),
        Message(True, (), (AddressRecord(NAME, "192.0.2.1", 2**31),)),
        Message(True, (), (AddressRecord(NAME, "192.0.2.1"),) * (MAX_ENTRIES + 1)),
        Message(True, (), (AddressRecord(NAME, "2001:db8::1"),) * MAX_ENTRIES),
    ],
)
def test_what_cannot_be_sent(message: Message) -> None:
    with pytest.raises(ValueError, match=r"name|address|TTL|at most"):
        build(message)
