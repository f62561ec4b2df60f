#!/usr/bin/env python3
"""The seeds of fuzzing, made from the vectors and from what browsers sent: `corpus.py FOLDER` writes one folder for
each target."""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
FOUND = Path(__file__).resolve().parent / "found"
"""Inputs that once failed, as TARGET-name: every test run takes them again."""

URLS = (
    "stun:stun.example.org",
    "stun:192.0.2.1:3479",
    "stuns:stun.example.org:443",
    "turn:[2001:db8::1]:3478?transport=tcp",
    "turns:turn.example.org?transport=udp",
    "stun:[fe80::1%25eth0]",
)
STRINGS = (
    "password",
    "pass word",
    "\u00a0caf\u00e9",
    "\u1100\u1161",
    "l\u00b7l",
    "\u0661\u06f1",
    "a\u200db",
    "\ufb01",
)
CANDIDATES = (
    "candidate:1 1 udp 2130706431 192.0.2.1 40000 typ host",
    "candidate:2 1 UDP 1694498815 203.0.113.1 40001 typ srflx raddr 192.0.2.1 rport 40000 generation 0 ufrag 8hhY",
    "candidate:3 1 tcp 1518149375 2001:db8::1 9 typ host tcptype active",
    "candidate:4 2 udp 41885439 0b6ff4c5-b5ae-4c1b-9d5e-5f1f25e1b1a9.local 50000 typ host network-cost 999",
    '{"candidate": "candidate:1 1 udp 1 192.0.2.1 9 typ host", "sdpMid": "0", "usernameFragment": "8hhY"}',
    "end-of-candidates",
)
FRAGMENT = (
    "a=ice-ufrag:8hhY\r\na=ice-pwd:asd88fgpdd777uzjYhagZg\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n"
    "a=candidate:1 1 udp 2130706431 192.0.2.1 40000 typ host\r\na=end-of-candidates\r\n"
)
HTTP = b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"


def recorded() -> list[bytes]:
    """The messages of the vectors, and the datagrams of the browsers' sessions, each form once."""
    vectors = json.loads((TESTS / "vectors/test_vectors.json").read_text(encoding="utf-8"))
    found = [bytes.fromhex(entry["message_hex"]) for entry in vectors if "message_hex" in entry]
    for path in sorted((TESTS / "fixtures").glob("*.jsonl")):
        forms: set[tuple[bytes, int]] = set()
        for line in path.read_text(encoding="utf-8").splitlines():
            data = bytes.fromhex(json.loads(line)["hex"])
            if (form := (data[:2], len(data) // 16)) not in forms:
                forms.add(form)
                found.append(data)
    return found


def messages() -> Iterator[bytes]:
    """What `message` starts from: the recorded ones, and the malformed ones that others fell over."""
    yield from recorded()

    def one(*attributes: tuple[int, int, bytes]) -> bytes:
        body = b"".join(struct.pack("!HH", kind, size) + value for kind, size, value in attributes)
        return struct.pack("!HHI", 1, len(body), 0x2112A442) + bytes(12) + body

    yield one((0x0009, 3, b"\0\0\4\0"))  # ERROR-CODE shorter than itself (CVE-2021-37706)
    yield one((0x0006, 0xFFFC, b""))  # reaches beyond the end (CVE-2022-23547)
    yield one((0x0024, 1, bytes(4)), (0x802A, 4, bytes(4)))  # numbers that are too short
    yield one((0x8002, 8, b"\0\2\xff\xff\0\1\0\0"), (0x001D, 4, b"\0\2\0\1"))  # lengths inside of lengths
    yield one((0x0008, 20, bytes(20)), (0x000D, 4, bytes(4)), (0x001C, 32, bytes(32)), (0x8028, 4, bytes(4)))
    yield one((0x0006, 513, bytes(516)))  # CVE-2026-25994
    yield one(*[(0x7F00 + number, 0, b"") for number in range(64)])
    yield HTTP


def streams() -> Iterator[bytes]:
    """What `framing` starts from."""
    stun = [data for data in recorded() if data[0] < 4]
    channel = struct.pack("!HH", 0x4001, 5) + b"hello\0\0\0"
    largest = struct.pack("!HH", 0x4000, 0xFFFD)
    for sizes in (bytes([255] * 8), bytes([0, 1, 2, 3, 4, 7, 19, 40])):
        yield b"\0" + sizes + b"".join(stun[:3]) + HTTP
        yield b"\1" + sizes + stun[0] + channel + stun[1] + channel * 2 + largest
        yield b"\2" + sizes + b"".join(struct.pack("!H", len(data)) + data for data in [*stun[:2], b"", b"x"])
        yield b"\2" + sizes + b"\xff\xff\0"
        yield b"\1" + sizes + HTTP


def texts() -> Iterator[bytes]:
    """What `text` starts from; the first byte chooses what reads it."""
    for line in CANDIDATES:
        yield b"\0" + line.encode()
    for path in sorted((TESTS / "fixtures").glob("*_candidates.txt")):
        for line in path.read_text(encoding="utf-8").splitlines():
            yield b"\0" + line.encode()
    for path in sorted((TESTS / "fixtures").glob("*.sdp")):
        yield b"\1" + path.read_bytes()
        yield b"\1" + json.dumps({"type": "offer", "sdp": path.read_text(encoding="utf-8")}).encode()
    yield b"\1" + b'{"ufrag": "8hhY", "pwd": "asd88fgpdd777uzjYhagZg", "candidates": [], "pacing_ms": 50}'
    yield b"\2" + FRAGMENT.encode()
    for url in URLS:
        yield b"\3" + url.encode()
    for string in STRINGS:
        yield b"\4" + string.encode()


def conversations() -> Iterator[bytes]:
    """What `machines` starts from: requests with all credentials, to all servers, and answers of all kinds to them."""
    for who in range(5):
        for variant in (0, 3, 5, 9, 16, 26):
            ask, answers = bytes([8 * variant, who]), [bytes([kind + 8 * (variant % 32)]) for kind in (6, 7)]
            mapped = bytes([15, 8]) + bytes.fromhex("0001a147e112a643")
            code = bytes([6, 4]) + b"\0\0\4\1"
            challenge = code + bytes([11, 5]) + b"realm" + bytes([12, 5]) + b"nonce" + b"\xff"
            yield ask + answers[0] + mapped + b"\xff" + b"\x09" + answers[1] + code + b"\xff"
            yield ask + answers[1] + challenge + answers[0] + mapped + b"\xff" + b"\x79\x79"
            elsewhere = (
                bytes([6, 4]) + b"\0\0\3\0" + bytes([30, 8]) + bytes.fromhex("00010d96c0000202") + b"\xff"
            )
            yield ask + answers[1] + elsewhere
        for server in range(4):
            deliver, wait = bytes([3 + 8 * server]), b"\x09"
            yield bytes([8 * 18, who]) + deliver * 4
            yield bytes([0, who]) + deliver + wait + deliver + b"\xf9" * 8 + deliver * 3
            yield (
                bytes([0, who])
                + deliver
                + bytes([3 + 8 * (server + 4), 21, 9])
                + bytes([3 + 8 * (server + 8), 30, 4])
            )
    for data in recorded()[:12]:
        if len(data) < 128:
            yield bytes([2 + 8 * 4, len(data)]) + data + bytes([4, len(data)]) + data


def sessions() -> Iterator[bytes]:
    """What `ice` starts from: agents of all kinds that find each other, with and without disturbance; restarts from
    both sides; checks of strangers; what applications, drivers and peers may say at any time."""
    wait, late, deliver, signal = b"\x20", b"\xe0", b"\x01", b"\x08\x18"
    on = (wait + deliver + signal) * 10
    priority = bytes([1, 4]) + bytes.fromhex("6e0001ff")
    role = bytes([4, 8]) + bytes(8)
    for variant in (1, 3, 5, 9, 17, 33, 65, 128, 0, 2):
        yield bytes([variant, 0, 0]) + (wait + deliver) * 30
        yield (
            bytes([variant, 0, 0])
            + (wait + deliver * 2) * 8
            + b"\x02\x04\x80abc"
            + b"\x12\x04\x80abc"
            + late * 8
        )
        yield bytes([variant, 0, 0]) + (wait + bytes([1 + 32, 40, 7]) + deliver) * 12
        for side in (0, 1):
            check = bytes([3 + 16 * side, 4]) + priority + role + b"\xff\x02"
            yield bytes([variant, 0, 0]) + check + wait + deliver + bytes([2 + 16 * side, 3]) + b"\x80ab\x02"
            line = CANDIDATES[0].encode().replace(b"192.0.2.1", b"198.51.100.9")
            yield bytes([variant, 0, 0, 10 + 16 * side, len(line)]) + line + (wait + deliver) * 8
            yield (
                bytes([variant, 0, 0])
                + (wait + deliver) * 6
                + bytes([6 + 16 * side, 0, 38 + 16 * side, 0])
                + (wait + deliver) * 6
            )
    kinds = (
        (1, 0),
        (2, 0),
        (4, 0),
        (8, 0),
        (16, 0),
        (32, 0),
        (192, 0),
        (0, 1),
        (0, 2),
        (0, 3),
        (0, 16),
        (0, 8),
    )
    for kind, more in (*kinds, (13, 0), (44, 16), (200, 16), (24, 0), (5, 2), (39, 4)):
        begin = bytes([1, kind, more])
        yield begin + on + b"\x0e" + on + b"\x1e" + on
        yield begin + on[:9] + b"\x0e\x1e" + signal * 6 + on + b"\x2e\x3e" + on
        yield begin + on + b"\x1c" + on + b"\x3c\x2c" + on + late * 3
        yield begin + on[:5] + b"\x09\x19" + on + b"\x0e\x09" + on + b"\x8d\x09" + on[:3] + b"\xad\1\x09"
        yield begin + on + late * 6 + on
        yield begin + b"\x25\0\x45\0\x05\0" + on + b"\x65\2\xa5\0" + on + b"\xc5\0\xe5\0" + on
        yield begin + on + b"\x0d\1\x1d\2" + on + b"\xcd\xed\0" + on
    for path in sorted((TESTS / "fixtures").glob("*.sdp")):
        text = path.read_bytes()[:635]
        text += b"\n" * (-len(text) % 4)
        yield bytes([1, 1, 0, 10, len(text) // 4 + 96]) + text + on
    name = CANDIDATES[3].encode()
    yield bytes([1, 0, 4, 10, len(name)]) + name + b"\x2b\0\0\x8b\0\1\x0b\0" + on


def offers() -> Iterator[bytes]:
    """What `negotiation` starts from: descriptions of browsers; offers of both sides, whole, changed, and lost;
    restarts, more streams, nominations."""
    for path in sorted((TESTS / "fixtures").glob("*.sdp")):
        yield path.read_bytes()
    ours, theirs = b"\x00", b"\x08"
    for between in (
        b"",
        b"\x03",
        b"\x0b",
        b"\x03\x0b",
        b"\x07",
        b"\x25\x2d",
        b"\x15",
        b"\xc5",
        b"\x04\5",
        b"\x24\6",
    ):
        yield ours + between + theirs + between + ours * 2
        yield theirs + between + b"\x20" + ours
        for kind in range(6):
            cut = bytes([kind, 1, 90, 4]) + b"0 0\n"
            yield ours + between + b"\x10" + cut + ours
            yield ours + between + b"\x48" + cut + theirs


def captures() -> Iterator[bytes]:
    """What `capture` starts from: one packet in files of both formats, over UDP and TCP, IPv4 and IPv6."""
    for payload in (*recorded()[:3], struct.pack("!HH", 0x4001, 5) + b"hello"):
        udp = struct.pack("!HHHH", 40000, 3478, 8 + len(payload), 0) + payload
        tcp = struct.pack("!HHIIBBHHH", 40000, 3478, 1, 0, 0x50, 0x18, 1024, 0, 0) + payload
        for protocol, segment in ((17, udp), (6, tcp)):
            v4 = (
                struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 1, 0, 64, protocol, 0)
                + bytes(range(8))
                + segment
            )
            v6 = struct.pack("!IHBB", 6 << 28, len(segment), protocol, 64) + bytes(32) + segment
            for packet in (bytes(12) + b"\x08\0" + v4, bytes(12) + b"\x86\xdd" + v6):
                record = struct.pack("<IIII", 1, 2, len(packet), len(packet)) + packet
                yield struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1) + record * 2
                padded = packet + bytes(-len(packet) % 4)
                size = 32 + len(padded)
                block = struct.pack("<IIIIIII", 6, size, 0, 0, 1, len(packet), len(packet)) + padded
                yield (
                    struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
                    + struct.pack("<IIHHII", 1, 20, 1, 0, 65535, 20)
                    + block
                    + struct.pack("<I", size)
                )
    yield from recorded()[:3]


def networks() -> Iterator[bytes]:
    """What `mdns` starts from: messages as browsers send them, names asked for, published, answered and withdrawn."""
    name = b"\x2400000000-0000-4000-8000-000000000000\5local\0"
    other = b"\x2400000001-0000-4000-8000-000000000000\5local\0"
    a = name + struct.pack("!HHIH", 1, 0x8001, 120, 4) + bytes([10, 0, 0, 2])
    aaaa = name + struct.pack("!HHIH", 28, 0x8001, 120, 16) + bytes(15) + b"\2"
    nsec = b"\xc0\x0c" + struct.pack("!HHIH", 47, 0x8001, 120, 5) + b"\xc0\x46\0\1\x40"
    messages = [
        struct.pack("!6H", 0, 0x8400, 0, 1, 0, 1) + a + nsec,
        struct.pack("!6H", 0, 0x8400, 0, 1, 1, 0) + a + aaaa,
        struct.pack("!6H", 0, 0x8400, 0, 2, 0, 0) + a + a[:-1] + b"\3",
        struct.pack("!6H", 0, 0x8400, 0, 1, 0, 0) + a.replace(struct.pack("!I", 120), bytes(4)),
        struct.pack("!6H", 0, 0, 1, 0, 0, 0) + other + struct.pack("!HH", 1, 1),
        struct.pack("!6H", 0, 0, 2, 0, 0, 0) + other + b"\0\1\x80\1\xc0\x0c\0\xff\0\1",
    ]
    wait, resolve, publish, withdraw, again = b"\x08", b"\1", b"\x0a\0", b"\x0b", b"\x87\xff"
    for message in messages:
        yield message
        padded = message + bytes(-len(message) % 4)
        piece = (
            bytes([len(padded) // 4 + 96]) + padded if len(padded) > 127 else bytes([len(message)]) + message
        )
        receive = b"\6" + piece
        yield resolve + wait * 3 + receive + wait * 3
        yield receive + resolve * 2 + b"\5\1" + wait * 9
        yield publish + receive * 4 + wait + receive + withdraw + receive
        yield b"\x14\x24" + publish + resolve + wait + again * 3 + receive + b"\x44" + wait * 4


SEEDS = {
    "message": messages,
    "framing": streams,
    "text": texts,
    "machines": conversations,
    "ice": sessions,
    "capture": captures,
    "mdns": networks,
    "negotiation": offers,
}


def failed_once(target: str) -> list[bytes]:
    """Inputs that once failed in this target."""
    return [path.read_bytes() for path in sorted(FOUND.glob(f"{target}-*"))]


def main() -> None:
    """Write all seeds as libFuzzer reads them."""
    for target, make in SEEDS.items():
        folder = Path(sys.argv[1], target)
        folder.mkdir(parents=True, exist_ok=True)
        for seed in [*make(), *failed_once(target)]:
            (folder / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)


if __name__ == "__main__":
    main()
