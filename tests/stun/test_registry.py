"""The numbers of the IANA registry, all of them."""

from __future__ import annotations

import csv
from enum import IntEnum
from pathlib import Path

import pytest

from fasticePy import stun
from fasticePy.stun import Attribute, ErrorCode, MessageClass, Method, PacketKind, PasswordAlgorithm

REGISTRY = Path(__file__).resolve().parents[1] / "vectors/iana-stun-parameters-2024-12-20.csv"
FROM_RFC3489 = {
    2: "RESPONSE_ADDRESS",
    4: "SOURCE_ADDRESS",
    5: "CHANGED_ADDRESS",
    7: "PASSWORD",
    11: "REFLECTED_FROM",
}


def registered(name: str) -> dict[int, str]:
    """Number -> name in capitals with underscores, without what is reserved."""
    rows = csv.DictReader(REGISTRY.read_text(encoding="utf-8").splitlines())
    found = {}
    for row in rows:
        if row["registry"] == name and not row["name"].startswith(("Reserved", "Unassigned")):
            label = row["name"].replace("GOOG-PING", "GOOG_PING")
            if name == "method" and "_" not in label:
                label = "".join(f"_{c}" if c.isupper() else c for c in label).lstrip("_")
            found[int(row["value"], 16 if name != "error" else 10)] = (
                label.upper().replace("-", "_").replace(" ", "_")
            )
    return found


@pytest.mark.parametrize(
    ("name", "enum", "more"),
    [
        ("method", Method, {}),
        ("attribute", Attribute, FROM_RFC3489 | {0x0003: "CHANGE_REQUEST", 0x0030: "NOMINATION"}),
        ("error", ErrorCode, {}),
        ("password-algorithm", PasswordAlgorithm, {2: "SHA256"}),
    ],
)
def test_every_registered_number_has_its_name(name: str, enum: type[IntEnum], more: dict[int, str]) -> None:
    assert {member.value: member.name for member in enum} == registered(name) | more


def test_comprehension_required_is_the_lower_half() -> None:
    for attribute in Attribute:
        assert attribute.comprehension_required == (attribute < 0x8000)


def test_the_magic_cookie_and_classes() -> None:
    assert stun.MAGIC_COOKIE == 0x2112A442
    assert [int(c) for c in MessageClass] == [0, 1, 2, 3]
    assert [c.name for c in MessageClass] == ["REQUEST", "INDICATION", "SUCCESS", "ERROR"]


def test_the_kinds_of_packets_are_those_that_classify_gives() -> None:
    firsts = {"STUN": 0, "DROP": 4, "ZRTP": 16, "DTLS": 20, "CHANNEL_DATA": 64, "QUIC": 80, "RTP": 128}
    for name, first in firsts.items():
        assert stun.classify(bytes([first])) == PacketKind[name]
    assert stun.classify(b"") == PacketKind.EMPTY
    assert len(PacketKind) == 1 + len(firsts)
