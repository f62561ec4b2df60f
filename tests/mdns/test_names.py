from __future__ import annotations

import re

import pytest

from fasticePy.mdns import is_mdns_name, is_uuid_name, make_name


def test_a_name_is_a_version_4_uuid_and_local(make_rng) -> None:
    """mdns-1: a UUIDv4 and ".local"; each address gets its own, so no two calls give the same."""
    rng = make_rng(1)
    names = [make_name(rng) for _ in range(200)]
    for name in names:
        assert re.fullmatch(
            r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\.local", name
        )
        assert is_mdns_name(name) and is_uuid_name(name)
    assert len(set(names)) == 200


def test_all_bits_but_six_are_random() -> None:
    assert make_name(lambda n: b"\xff" * n) == "ffffffff-ffff-4fff-bfff-ffffffffffff.local"
    assert make_name(bytes) == "00000000-0000-4000-8000-000000000000.local"


@pytest.mark.parametrize(
    ("host", "mdns", "uuid"),
    [
        ("bfff6135-4b2c-43fb-9968-b03bd812f3a2.local", True, True),
        ("BFFF6135-4B2C-43FB-9968-B03BD812F3A2.LOCAL", True, True),
        ("printer.local", True, False),
        ("bfff6135-4b2c-43fb-9968-b03bd812f3a2", False, False),
        ("bfff61354b2c43fb9968b03bd812f3a2.local", True, False),
        ("bfff6135-4b2c-43fb-9968-b03bd812f3a2.local.", False, False),
        ("bfff6135-4b2c-43fb-9968-b03bd812f3a2.example.local", False, False),
        ("bfff6135-4b2c-43fb-9968-b03bd812f3ag.local", True, False),
        ("bfff6135-4b2c-43fb-9968-b03bd812f3a2.local\n", False, False),
        ("local", False, False),
        (".local", False, False),
        ("example.org", False, False),
        ("192.0.2.1", False, False),
        ("", False, False),
    ],
)
def test_which_names_are_asked_for(host: str, mdns: bool, uuid: bool) -> None:
    """mdns-4, mdns-5: exactly one dot before "local"; of those, only the form of a UUID is resolved."""
    assert (is_mdns_name(host), is_uuid_name(host)) == (mdns, uuid)
