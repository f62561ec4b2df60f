"""The operations of the STUN codec that are timed, ours and aioice's, on a connectivity check of 104 bytes as browsers
send it, its answer, and media. `fasticepy bench` and the project's benchmarks time the same.

Each side is used as its own ICE agent uses it: aioice decodes all attributes and checks FINGERPRINT while parsing, ours
decodes what is asked for; so "parse" compares what a received datagram costs before anybody looks at it, and "take a
check" everything up to the values that an agent acts on.
"""

from __future__ import annotations

import importlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from timeit import Timer
from typing import Any

from fasticePy import stun

OURS = "fasticePy"
ID = b"0123456789ab"
PASSWORD = "VOkJxbRl1RmTxUk/WvJxBt"
USERNAME = "abcdefgh:ijklmnop1234"
TIE_BREAKER = 0x932FF9B151263B36
PRIORITY = 0x6E0001FF
MAPPED = {"v4": ("192.0.2.1", 32853), "v6": ("2001:db8:1234:5678:11:2233:4455:6677", 32853)}
RTP = bytes.fromhex("8060") + bytes(1198)
PAYLOADS = [bytes(160), bytes(1200)]  # 20 ms of audio, a packet of video
CHECK_VALUES = (USERNAME, PRIORITY, TIE_BREAKER, True)
BATCH = 32
CALLS = {OURS: 1000, "aioice": 50}
"""How often an operation runs between two looks at the clock."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One expression, what it refers to, and what it must give."""

    row: str
    expression: str
    names: dict[str, Any] = field(repr=False)
    expected: object = field(default=True, repr=False)
    operations: int = 1
    """How many of the operation that `row` names it does."""

    def result(self) -> object:
        """What it gives, to see that it is right."""
        return eval(self.expression, dict(self.names))

    def timer(self) -> Callable[[int], float]:
        """Repeats it, and gives the seconds: the expression itself in a loop, with no call around it."""
        return Timer(self.expression, globals=dict(self.names)).timeit


def fasticepy_operations() -> list[Operation]:
    """By our codec."""
    key = stun.IntegrityKey.short_term(PASSWORD)
    binding, request, success = stun.Method.BINDING, stun.MessageClass.REQUEST, stun.MessageClass.SUCCESS
    username, priority = stun.Attribute.USERNAME, stun.Attribute.PRIORITY
    controlling, nominate = stun.Attribute.ICE_CONTROLLING, stun.Attribute.USE_CANDIDATE
    mapped, builder_of, parse = stun.Attribute.XOR_MAPPED_ADDRESS, stun.MessageBuilder, stun.parse

    def build_check() -> bytes:
        builder = builder_of(binding, request, ID)
        builder.add(username, USERNAME)
        builder.add(nominate)
        builder.add(controlling, TIE_BREAKER)
        builder.add(priority, PRIORITY)
        return builder.build(key, fingerprint=True)

    def build_answer(address: tuple[str, int]) -> bytes:
        builder = builder_of(binding, success, ID)
        builder.add(mapped, address)
        return builder.build(key, fingerprint=True)

    def take_check(data: bytes) -> tuple[object, ...]:
        message = parse(data)
        assert message.verify_fingerprint()
        assert message.verify_integrity(key)
        return message.get(username), message.get(priority), message.get(controlling), nominate in message

    def take_answer(data: bytes) -> object:
        message = parse(data)
        assert message.verify_fingerprint()
        assert message.verify_integrity(key)
        return message.get(mapped)

    check = build_check()
    names = {
        "parse": parse,
        "check": check,
        "key": key,
        "username": username,
        "mapped": mapped,
        "ID": ID,
        "build_check": build_check,
        "build_answer": build_answer,
        "builder_of": builder_of,
        "take_check": take_check,
        "take_answer": take_answer,
        "classify": stun.classify,
        "RTP": RTP,
        "classify_all": stun.classify_all,
        "batch": [check, RTP] * (BATCH // 2),
    }
    verify = "(m := parse(check)).verify_fingerprint() and m.verify_integrity(key)"
    found = [
        Operation("parse a check", "parse(check).data", names, check),
        Operation("parse and verify a check", verify, names),
        Operation("take a check: parse, verify, read", "take_check(check)", names, CHECK_VALUES),
        Operation("build and sign a check", "build_check()", names, check),
    ]
    for family, address in MAPPED.items():
        answer = build_answer(address)
        own = {**names, "answer": answer, "address": address, "message": parse(answer)}
        found += [
            Operation(f"build and sign an answer ({family})", "build_answer(address)", own, answer),
            Operation(f"take an answer: parse, verify, read ({family})", "take_answer(answer)", own, address),
            Operation(
                f"encode an XOR address ({family})", "builder_of(1, 2, ID).add(mapped, address)", own, None
            ),
            Operation(f"decode an XOR address ({family})", "message.get(mapped)", own, address),
        ]
    found += [
        Operation("tell media from STUN", "classify(RTP)", names, stun.PacketKind.RTP),
        Operation(
            f"tell media from STUN, {BATCH} at once", "classify_all(batch)", names, b"\1\7" * 16, BATCH
        ),
    ]
    for payload in PAYLOADS:
        packed = _packed(payload)
        # looked up once, as a relay does for its data path
        own = {
            "unpack": stun.ChannelData.parse,
            "pack": stun.ChannelData.build,
            "packed": packed,
            "payload": payload,
        }
        size = f"ChannelData of {len(payload)} bytes"
        found += [
            Operation(f"unpack {size}", "unpack(packed).payload", own, payload),
            Operation(f"pack {size}", "pack(0x4000, payload)", own, packed),
        ]
    return found


def aioice_operations() -> list[Operation]:
    """By aioice's codec, as its ice.py and turn.py call it. Raises ImportError when it is not installed."""
    codec: Any = importlib.import_module("aioice.stun")
    is_channel_data: Any = importlib.import_module("aioice.turn").is_channel_data
    key, parse = PASSWORD.encode(), codec.parse_message

    def build(kind: Any, attributes: dict[str, object]) -> bytes:
        message = codec.Message(codec.Method.BINDING, kind, ID)
        message.attributes.update(attributes)
        message.add_message_integrity(key)
        return bytes(message)

    def build_check() -> bytes:
        return build(
            codec.Class.REQUEST,
            {
                "USERNAME": USERNAME,
                "USE-CANDIDATE": None,
                "ICE-CONTROLLING": TIE_BREAKER,
                "PRIORITY": PRIORITY,
            },
        )

    def build_answer(address: tuple[str, int]) -> bytes:
        return build(codec.Class.RESPONSE, {"XOR-MAPPED-ADDRESS": address})

    def verify(data: bytes) -> Any:
        message = parse(data)
        if hasattr(message, "check_message_integrity"):
            assert message.check_message_integrity(key)
        else:  # aioice before 0.13
            parse(bytes(message), integrity_key=key)
        return message.attributes

    def take_check(data: bytes) -> tuple[object, ...]:
        values = verify(data)
        return values["USERNAME"], values["PRIORITY"], values["ICE-CONTROLLING"], "USE-CANDIDATE" in values

    def is_media(data: bytes) -> bool:
        try:
            parse(data)
        except ValueError:
            return True
        return False

    def unpack(data: bytes) -> bytes:
        assert len(data) >= 4
        assert is_channel_data(data)
        _, length = struct.unpack("!HH", data[0:4])
        return data[4 : 4 + length]

    check = build_check()
    names = {
        "parse": parse,
        "check": check,
        "verify": verify,
        "take_check": take_check,
        "RTP": RTP,
        "ID": ID,
        "build_check": build_check,
        "build_answer": build_answer,
        "is_media": is_media,
        "pack_xor": codec.pack_xor_address,
        "unpack_xor": codec.unpack_xor_address,
    }
    found = [
        Operation("parse a check", "parse(check).transaction_id", names, ID),
        Operation("parse and verify a check", "verify(check) is not None", names),
        Operation("take a check: parse, verify, read", "take_check(check)", names, CHECK_VALUES),
        Operation("build and sign a check", "build_check()", names, check),
    ]
    for family, address in MAPPED.items():
        answer, value = build_answer(address), codec.pack_xor_address(address, ID)
        own = {**names, "answer": answer, "address": address, "value": value}
        taken = "verify(answer)['XOR-MAPPED-ADDRESS']"
        found += [
            Operation(f"build and sign an answer ({family})", "build_answer(address)", own, answer),
            Operation(f"take an answer: parse, verify, read ({family})", taken, own, address),
            Operation(f"encode an XOR address ({family})", "pack_xor(address, ID)", own, value),
            Operation(f"decode an XOR address ({family})", "unpack_xor(value, ID)", own, address),
        ]
    found.append(Operation("tell media from STUN", "is_media(RTP)", names))
    for payload in PAYLOADS:
        packed = _packed(payload)
        own = {"unpack": unpack, "pack": struct.pack, "packed": packed, "payload": payload}
        size = f"ChannelData of {len(payload)} bytes"
        found += [
            Operation(f"unpack {size}", "unpack(packed)", own, payload),
            Operation(f"pack {size}", "pack('!HH', 0x4000, len(payload)) + payload", own, packed),
        ]
    return found


def _packed(payload: bytes) -> bytes:
    return struct.pack("!HH", 0x4000, len(payload)) + payload
