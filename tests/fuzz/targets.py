"""What is fuzzed: each target takes any bytes, calls what bytes from a network reach, and asserts what always holds.

Nothing here needs a fuzzer: `fuzz.py` feeds the targets by atheris, `test_targets.py` with the seeds in every test run.
Exceptions that are not documented come out, which is how a fuzzer notices them.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib.util
import struct
import zlib
from array import array
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import ModuleType

from fasticePy import stun
from fasticePy._native import crc, integrity
from fasticePy.ice import Candidate, Description
from fasticePy.ice.sdpfrag import FragmentReader
from fasticePy.stun import (
    Attribute,
    BindingServer,
    ChannelData,
    IntegrityKey,
    LongTermCredentials,
    Message,
    MessageBuilder,
    MessageClass,
    Method,
    PacketKind,
    ParseError,
    ShortTermCredentials,
    StreamDecoder,
    StunAgent,
)
from fasticePy.stun.precis import opaque_string
from fasticePy.stun.uri import parse_server_url

PASSWORD = "VOkJxbRl1RmTxUk/WvJxBt"
SECRET = PASSWORD.encode()
KEY = IntegrityKey.from_bytes(SECRET)
COOKIE = bytes.fromhex("2112a442")
ID = bytes(range(12))
INTEGRITY = {Attribute.MESSAGE_INTEGRITY, Attribute.MESSAGE_INTEGRITY_SHA256, Attribute.FINGERPRINT}


def _oracle() -> ModuleType:
    path = Path(__file__).resolve().parents[1] / "oracle/codec.py"
    spec = importlib.util.spec_from_file_location("fasticepy_fuzz_oracle", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


oracle = _oracle()


def exact(data: bytes) -> array[int]:
    """The same bytes in memory that ends with them, unlike that of `bytes`: a sanitizer sees one byte too many read."""
    return array("B", data)[:]  # a copy of it has no room to grow


class Reader:
    """Takes numbers and pieces from the front of the input; zeros and nothing when it has ended."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def __bool__(self) -> bool:
        return self.at < len(self.data)

    def number(self) -> int:
        self.at += 1
        return self.data[self.at - 1] if self.at <= len(self.data) else 0

    def piece(self) -> bytes:
        """A piece whose length stands before it in one byte, in units of 4 above 127."""
        size = self.number()
        size = size if size < 128 else (size - 96) * 4
        found = self.data[self.at : self.at + size]
        self.at += size
        return found


# ----------------------------------------------------------------------------------------------------------- messages


def message(data: bytes) -> None:
    """The kernels, the parser and all that a message answers, beside the plain codec of tests/oracle. Then the same as
    the attributes of a message whose header is right, signed and not."""
    kernels(data)
    one_message(data)
    body = data[: len(data) // 4 * 4]
    header = struct.pack("!HH", int.from_bytes(data[:2], "big") & 0x3FFF, len(body)) + COOKIE + ID
    one_message(header + body)
    one_message(signed(header + body))


def kernels(data: bytes) -> None:
    """The hashes and the checksum, chosen and portable, in memory that ends with the input."""
    given = exact(data)
    assert crc.crc32(given) == crc.crc32_portable(given) == zlib.crc32(data)
    assert integrity.hmac_sha1(KEY, given) == hmac.digest(SECRET, data, "sha1")
    assert integrity.hmac_sha256(KEY, given) == hmac.digest(SECRET, data, "sha256")
    for portable in (False, True):
        assert integrity.sha1(given, portable=portable) == hashlib.sha1(data, usedforsecurity=False).digest()
        assert integrity.sha256(given, portable=portable) == hashlib.sha256(data).digest()


def signed(data: bytes) -> bytes:
    """The message with a right MESSAGE-INTEGRITY and FINGERPRINT at its end."""
    mac = oracle.mac(data, len(data), SECRET, 20, "sha1")
    data = data[:2] + struct.pack("!H", len(data) - 20 + 24) + data[4:] + oracle.tlv(0x0008, mac)
    data = data[:2] + struct.pack("!H", len(data) - 20 + 8) + data[4:]
    return bytes(data + oracle.tlv(0x8028, struct.pack("!I", zlib.crc32(data) ^ 0x5354554E)))


def one_message(data: bytes) -> None:
    kind = stun.classify(exact(data))
    assert kind == stun.classify(data)
    assert (kind == PacketKind.EMPTY) == (not data)
    try:
        expected = oracle.parse(data)
    except oracle.OracleError:
        expected = None
    try:
        found = stun.parse(data)
    except ParseError:
        assert expected is None
        return
    assert expected is not None
    assert (kind == PacketKind.STUN) == (data[0] < 4)  # RFC 7983 gives STUN the methods below 0x180 only
    assert stun.is_stun(exact(data))
    assert (found.method, found.message_class, found.transaction_id) == expected[:3]
    assert found.attributes() == expected.visible
    assert found.verify_fingerprint() == oracle.verify_fingerprint(data)
    for minimum in (16, 32):
        right = oracle.verify_integrity(data, SECRET, minimum)
        assert found.verify_integrity(KEY, minimum) == right
    values(found)


def values(found: Message) -> None:
    """Getters agree with each other and with the oracle; what they give can be built again."""
    repr(found)
    visible = found.attributes()
    present = dict(reversed(visible))  # the first of duplicates counts
    unknown = found.unknown_required(frozenset())
    assert unknown == tuple(
        dict.fromkeys(
            attribute for attribute, _ in visible if attribute < 0x8000 and attribute not in INTEGRITY
        )
    )
    for attribute, raw in present.items():
        assert attribute in found
        assert found.raw(attribute) == raw
        value = found.get(attribute)
        everything = found.get_all(attribute)
        assert (value is None) or everything[0] == value
        expected = oracle.decode(attribute, raw, found.transaction_id)
        if expected is not NotImplemented and not isinstance(value, tuple):
            assert value == expected
        if value is not None and attribute not in INTEGRITY:
            rebuilt(attribute, value, found.transaction_id)


def rebuilt(attribute: int, value: object, transaction_id: bytes) -> None:
    builder = MessageBuilder(Method.BINDING, MessageClass.REQUEST, transaction_id)
    try:
        builder.add(attribute, value)
    except ValueError:  # what may be sent is narrower than what is read (RFC 8489 14.3, 14.8-14.10)
        assert isinstance(value, (str, tuple))
        assert len(builder) == 20
        return
    again = stun.parse(builder.build()).get(attribute)
    assert again == value, (attribute, value, again)


# ------------------------------------------------------------------------------------------------------------ streams


def framing(data: bytes) -> None:
    """All modes of StreamDecoder: any cuts give the same messages and the same verdict, within a bound on memory."""
    reader = Reader(data)
    mode = ("stun", "turn", "rfc4571")[reader.number() % 3]
    sizes = [reader.number() + 1 for _ in range(8)]
    stream = data[reader.at :]
    whole = frames(mode, [stream])
    cuts, at = [], 0
    for size in sizes * (len(stream) // sum(sizes) + 1):
        cuts.append(stream[at : at + size])
        at += size
    assert frames(mode, cuts) == whole
    if mode == "rfc4571":
        assert whole[1] is None
        frame = b"".join(map(stun.rfc4571_frame, whole[0]))
        assert stream.startswith(frame)
    for found in whole[0]:
        channel = ChannelData.parse(exact(found))
        if mode == "turn" and found[0] >= 0x40:
            assert channel is not None
            assert ChannelData.build(channel.channel, exact(channel.payload)) == found
            assert stun.classify(found) == PacketKind.CHANNEL_DATA
        elif mode != "rfc4571":
            assert stun.is_stun(found)
    other = ChannelData.parse(exact(stream))
    assert other is None or stream.startswith(ChannelData.build(other.channel, other.payload))


def frames(mode: str, pieces: list[bytes]) -> tuple[list[bytes], str | None]:
    decoder = StreamDecoder(mode)  # type: ignore[arg-type]
    found: list[bytes] = []
    failures = 0
    for piece in pieces:
        try:
            found += decoder.feed(exact(piece))  # type: ignore[arg-type]
        except ParseError:
            failures += 1
        assert decoder.pending < 65556
    assert failures <= 1
    assert decoder.error is None or decoder.pending == 0
    return found, decoder.error


# --------------------------------------------------------------------------------------------------------------- text


def text(data: bytes) -> None:
    """Candidate lines, descriptions, fragments, URIs, strings of credentials: a value or ParseError."""
    reader = Reader(data)
    kind = reader.number() % 5
    given = (
        data[1:].decode("utf-8", "surrogatepass" if kind % 2 else "replace")
        if _decodes(data[1:])
        else (data[1:].decode("latin-1"))
    )
    (_candidate, _description, _fragment, _url, _opaque)[kind](given)


def _decodes(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def _candidate(given: str) -> None:
    try:
        candidate = Candidate.parse(given)
    except ParseError:
        return
    if candidate is not None:
        line = candidate.to_sdp()
        assert Candidate.from_sdp(line).to_sdp() == line
        assert Candidate.parse(candidate.to_json()) is not None


def _description(given: str) -> None:
    try:
        description = Description.parse(given)
    except ParseError:
        return
    printed = str(description)
    assert str(Description.parse(printed)) == printed
    again = Description.parse(description.to_json())
    assert (again.ufrag, again.pwd) == (description.ufrag, description.pwd)


BASE = Description("8hhY", "asd88fgpdd777uzjYhagZg")


def _fragment(given: str) -> None:
    reader = FragmentReader(BASE)
    try:
        reader.read(given)
        assert reader.read(given).candidates == ()  # each candidate once
    except ParseError:
        return


def _url(given: str) -> None:
    try:
        url = parse_server_url(given)
    except ParseError:
        return
    assert str(parse_server_url(str(url))) == str(url)
    assert 0 < url.port < 65536


def _opaque(given: str) -> None:
    try:
        prepared = opaque_string(given)
    except ParseError:
        raise
    except ValueError:
        return
    assert opaque_string(prepared) == prepared


# ----------------------------------------------------------------------------------------------------------- machines

SERVER = ("192.0.2.1", 3478)
CLIENT = ("198.51.100.1", 40000)
CREDENTIALS = (
    None,
    ShortTermCredentials("user", PASSWORD),
    ShortTermCredentials("user", PASSWORD, sha256=False),
    LongTermCredentials("user", PASSWORD),
)
LONGEST_BEYOND_REQUEST = 24  # what BindingServer promises


def machines(data: bytes) -> None:
    """StunAgent and BindingServer: the input is a sequence of requests, datagrams, answers and time.

    Nothing raises, every request ends exactly once, what is sent is well-formed, answers of the server are short.
    """
    run = _Run()
    reader = Reader(data)
    for _ in range(48):
        if not reader:
            break
        run.step(reader.number(), reader)
    run.end()


class _Run:
    def __init__(self) -> None:
        numbers = count(1)
        self.agent = StunAgent(lambda size: next(numbers).to_bytes(size, "big"))
        self.server = BindingServer(software="fuzzed")
        self.now = 0.0
        self.requests: set[int] = set()
        self.sent: list[bytes] = []

    def step(self, what: int, reader: Reader) -> None:
        action, variant = what % 8, what // 8
        if action == 0:
            self.request(variant)
        elif action == 1:
            self.wait(variant)
        elif action == 2:
            self.to_server(reader.piece())
        elif action == 3:
            self.to_server(self.built(reader, MessageClass.REQUEST, ID, variant))
        elif action == 4:
            self.to_agent(reader.piece())
        elif action == 5:
            self.to_agent(self.built(reader, variant % 4, ID, variant))
        else:
            kind = MessageClass.SUCCESS if action == 6 else MessageClass.ERROR
            self.to_agent(self.built(reader, kind, self.sent[-1][8:20] if self.sent else ID, variant))
        self.collect()

    def request(self, variant: int) -> None:
        if len(self.requests) < 16:
            self.requests.add(
                self.agent.request(
                    1,
                    SERVER,
                    Method.BINDING,
                    (),
                    self.now,
                    credentials=CREDENTIALS[variant % 4],
                    stream=variant & 4 != 0,
                    count_sends=variant & 8 != 0,
                    redirects=variant & 16 != 0,
                )
            )

    def wait(self, variant: int) -> None:
        due = self.agent.next_timer()
        self.now = max(self.now, due) if due is not None and variant % 2 else self.now + variant / 8
        self.agent.handle_timer(self.now)

    def built(self, reader: Reader, kind: int, transaction_id: bytes, variant: int) -> bytes:
        """A message of the input's attributes, by turns signed with the password, with the key of a challenge, or
        not at all."""
        attributes = []
        while reader and len(attributes) < 12 and (attribute := reader.number()) != 0xFF:
            attributes.append((COMMON[attribute % len(COMMON)], reader.piece()))
        secret = {1: SECRET, 2: LONG_TERM[0], 3: LONG_TERM[1]}.get(variant % 4)
        return bytes(
            oracle.build(
                Method.BINDING,
                kind,
                transaction_id,
                attributes,
                secret,
                sha1=variant & 4 == 0,
                sha256=variant & 4 != 0,
                fingerprint=variant & 8 != 0,
            )
        )

    def to_server(self, data: bytes) -> None:
        assert self.server.datagram_received(1, data, CLIENT, self.now) is None
        for transmit in self.server.take_transmits():
            assert transmit.address == CLIENT
            answer = bytearray(transmit.data)
            answer[4:8] = COOKIE  # an answer to a client of RFC 3489 repeats its 16 bytes
            parsed = stun.parse(bytes(answer))
            assert parsed.message_class in {MessageClass.SUCCESS, MessageClass.ERROR}
            unknown = parsed.get(Attribute.UNKNOWN_ATTRIBUTES) or ()
            assert len(transmit.data) <= len(data) + LONGEST_BEYOND_REQUEST + len(unknown) * 2 + 16
        assert self.server.take_events() == []

    def to_agent(self, data: bytes) -> None:
        given = self.agent.datagram_received(1, data, SERVER, self.now)
        assert given is None or given is data

    def collect(self) -> None:
        for transmit in self.agent.take_transmits():
            assert stun.parse(transmit.data).message_class == MessageClass.REQUEST
            self.sent.append(transmit.data)
        for event in self.agent.take_events():
            repr(event)
            if isinstance(event, stun.Redirected):
                if event.alternate[1] % 2:
                    self.agent.follow(event.request, 1, self.now)
                else:
                    self.agent.decline(event.request, "no way", self.now)
            elif isinstance(event, (stun.ResponseReceived, stun.RequestFailed)):
                self.requests.remove(event.request)
            elif isinstance(event, stun.IndicationReceived):
                assert event.message.message_class == MessageClass.INDICATION
        assert self.agent.next_timer() is not None or not self.requests

    def end(self) -> None:
        self.agent.close(self.now)
        for event in self.agent.take_events():
            if isinstance(event, stun.RequestFailed):
                self.requests.remove(event.request)
        assert not self.requests
        assert self.agent.next_timer() is None


REALM = "realm"
LONG_TERM = [
    stun.long_term_key("user", REALM, PASSWORD),
    stun.long_term_key("user", REALM, PASSWORD, stun.PasswordAlgorithm.SHA256),
]
COMMON = (*sorted(Attribute), 0x7FFF, 0xBFFF)

TARGETS: dict[str, Callable[[bytes], None]] = {
    "message": message,
    "framing": framing,
    "text": text,
    "machines": machines,
}
