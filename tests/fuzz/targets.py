"""What is fuzzed: each target takes any bytes, calls what bytes from a network reach, and asserts what always holds.

Nothing here needs a fuzzer: `fuzz.py` feeds the targets by atheris, `test_targets.py` with the seeds in every test run.
Exceptions that are not documented come out, which is how a fuzzer notices them.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import struct
import zlib
from collections.abc import Callable

from fuzz_harness import COOKIE, ID, KEY, SECRET, Reader, exact, oracle
from fuzz_ice import ice
from fuzz_machines import machines
from fuzz_mdns import mdns
from fuzz_negotiation import negotiation

from fasticePy import stun
from fasticePy._native import crc, integrity
from fasticePy.cli.capture import Analysis, read_capture
from fasticePy.cli.capture.analysis import read_bytes
from fasticePy.ice import Candidate, Description
from fasticePy.ice.signalling.sdpfrag import FragmentReader
from fasticePy.stun import (
    Attribute,
    ChannelData,
    Message,
    MessageBuilder,
    MessageClass,
    Method,
    PacketKind,
    ParseError,
    StreamDecoder,
    describe,
)
from fasticePy.stun.precis import opaque_string
from fasticePy.stun.uri import parse_server_url

INTEGRITY = {Attribute.MESSAGE_INTEGRITY, Attribute.MESSAGE_INTEGRITY_SHA256, Attribute.FINGERPRINT}


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
    assert bytes([kind, stun.classify(data)]) == stun.classify_all([data, exact(data)])
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
    assert repr(found).isprintable()
    assert all(line.isprintable() for line in [describe.summary(found), *describe.describe(found)])
    json.dumps(describe.as_dict(found, describe.fingerprint_verdict(found)))
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


# ----------------------------------------------------------------------------------------------------------- captures


def capture(data: bytes) -> None:
    """What `fasticepy decode` reads: files of packets, pasted bytes. Nothing raises but ParseError."""
    analysis = Analysis()
    try:
        for record in read_capture(io.BytesIO(data)):
            for finding in analysis.record(record):
                repr(finding)
    except ParseError:
        pass
    for finding in read_bytes(data):
        repr(finding)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "message": message,
    "framing": framing,
    "text": text,
    "machines": machines,
    "ice": ice,
    "capture": capture,
    "mdns": mdns,
    "negotiation": negotiation,
}
