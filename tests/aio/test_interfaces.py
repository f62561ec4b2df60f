from __future__ import annotations

from typing import Any, get_args

import pytest

from fasticePy.aio.interfaces import (
    MAX_ADDRESSES,
    NETWORK_COST,
    AddressPolicy,
    InterfaceAddress,
    InterfaceKind,
    Selection,
    interleave,
    select,
)


def eth(address: str, prefix: int | None = None, **more: Any) -> InterfaceAddress:
    defaults: dict[str, Any] = {"interface": "eth0", "kind": "ethernet", "address": address}
    return InterfaceAddress(**{**defaults, "prefix": prefix or (64 if ":" in address else 24), **more})


LO4 = eth("127.0.0.1", 8, interface="lo", kind="loopback")
LO6 = eth("::1", 128, interface="lo", kind="loopback")
V4 = eth("192.0.2.7", default=True)
V6 = eth("2001:db8::7", default=True)
LINK = eth("fe80::7%eth0")
DOCKER = eth("172.17.0.1", 16, interface="docker0", kind="bridge")


def used(found: list[InterfaceAddress], **policy: Any) -> list[str]:
    return list(select(found, AddressPolicy(**policy)).addresses)


def reason(selection: Selection, address: str) -> str:
    return next(decision.reason for decision in selection.decisions if decision.address == address)


def test_every_address_has_a_decision_with_a_reason() -> None:
    found = [LO4, LO6, V4, V6, LINK, DOCKER]
    selection = select(found, AddressPolicy())
    assert selection.addresses == ("2001:db8::7", "192.0.2.7")
    assert [decision.address for decision in selection.decisions] == [entry.address for entry in found]
    assert all(decision.reason for decision in selection.decisions)
    assert str(selection.decisions[5]) == (
        "docker0 172.17.0.1 (bridge): left out, a bridge without a network card in it or a default route over it"
    )


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.9.1",
        "::1",
        "::192.0.2.7",
        "::ffff:192.0.2.7",
        "fec0::7",
        "0.0.0.0",
        "::",
        "ff02::1",
        "224.0.0.1",
    ],
)
def test_addresses_that_are_never_candidates(address: str) -> None:
    """8445-2: loopback, IPv4-compatible, site-local and IPv4-mapped addresses are not gathered."""
    entry = eth(address)
    assert used([V4, entry]) == ["192.0.2.7"]
    assert used([entry]) == []
    if not entry.ip.is_loopback:
        assert used([entry], addresses=[address], include_loopback=True) == []


def test_loopback_only_when_asked_for() -> None:
    """8445-2: the switch is for tests."""
    assert used([LO4, LO6, V4], include_loopback=True) == ["192.0.2.7", "127.0.0.1", "::1"]
    assert used([LO4, LO6, V4], addresses=["127.0.0.1"]) == ["127.0.0.1"]


def test_beside_a_temporary_address_none_of_the_same_prefix_can_be_tracked() -> None:
    """8445-3: stable address of the prefix and link-local are left out; another prefix and interface are
    not."""
    stable = eth("2001:db8:0:1::7")
    temporary = eth("2001:db8:0:1:a1b2:c3d4:e5f6:1", temporary=True)
    other_prefix = eth("2001:db8:0:2::7")
    other_interface = eth("2001:db8:0:1::8", interface="eth1")
    found = [stable, temporary, other_prefix, other_interface, LINK]
    selection = select(found, AddressPolicy())
    assert set(selection.addresses) == {temporary.address, other_prefix.address, other_interface.address}
    assert "can be tracked" in reason(selection, stable.address)
    assert "link-local" in reason(selection, LINK.address)


def test_a_deprecated_temporary_address_does_not_displace_the_stable_one() -> None:
    stable = eth("2001:db8:0:1::7")
    old = eth("2001:db8:0:1:a1b2:c3d4:e5f6:1", temporary=True, deprecated=True)
    assert used([stable, old]) == [stable.address]


def test_a_deprecated_address_is_used_when_its_interface_has_no_other() -> None:
    old = eth("2001:db8::7", deprecated=True)
    assert used([old]) == [old.address]
    assert used([old, eth("2001:db8:0:2::7")]) == ["2001:db8:0:2::7"]
    assert used([old, eth("2001:db8:0:2::7", interface="eth1")]) == [old.address, "2001:db8:0:2::7"]


@pytest.mark.parametrize(
    ("flags", "word"),
    [({"tentative": True}, "unique"), ({"up": False}, "down"), ({"carrier": False}, "carrier")],
)
def test_addresses_that_would_not_work(flags: dict[str, bool], word: str) -> None:
    entry = eth("2001:db8::9", **flags)
    assert word in reason(select([V6, entry], AddressPolicy()), entry.address)
    assert used([entry]) == []


def test_bridges_and_virtual_interfaces_are_judged_by_what_they_are() -> None:
    assert used([V4, DOCKER]) == ["192.0.2.7"]
    assert used([V4, eth("10.0.0.1", interface="br0", kind="bridge", uplink=True)]) == [
        "192.0.2.7",
        "10.0.0.1",
    ]
    assert used([eth("10.0.0.1", interface="br0", kind="bridge", default=True), DOCKER]) == ["10.0.0.1"]
    assert used([V4, eth("10.0.0.1", interface="veth12", kind="virtual")]) == ["192.0.2.7"]


def test_the_default_route_of_one_family_vouches_for_the_interface() -> None:
    v6 = eth("2001:db8::7", interface="veth1", kind="virtual")
    v4 = eth("10.0.0.2", interface="veth1", kind="virtual", default=True)
    assert set(used([v6, v4])) == {v6.address, v4.address}


def test_what_is_doubtful_is_taken_when_there_is_nothing_else() -> None:
    selection = select([LO4, DOCKER], AddressPolicy())
    assert selection.addresses == ("172.17.0.1",)
    assert "nothing better" in reason(selection, "172.17.0.1")


@pytest.mark.parametrize(
    ("interfaces", "expected"),
    [
        (["eth*"], ["192.0.2.7"]),
        (["docker0"], ["172.17.0.1"]),
        (["*", "!eth0"], ["10.8.0.2", "172.17.0.1"]),
        (["!tun*"], ["192.0.2.7"]),
        (["nothing"], []),
        ([], ["192.0.2.7", "10.8.0.2"]),
        (lambda entry: entry.kind == "tunnel", ["10.8.0.2"]),
        (lambda entry: True, ["192.0.2.7", "10.8.0.2", "172.17.0.1"]),
    ],
)
def test_interfaces_by_name_pattern_and_callable(interfaces: Any, expected: list[str]) -> None:
    tunnel = eth("10.8.0.2", interface="tun0", kind="tunnel")
    assert used([DOCKER, tunnel, V4, LO4], interfaces=interfaces) == expected


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (["192.0.2.7"], ["192.0.2.7"]),
        (["192.0.2.0/24", "!192.0.2.7"], []),
        (["172.16.0.0/12"], ["172.17.0.1"]),
        (["!2001:db8::/32"], ["192.0.2.7"]),
        (["fe80::7"], ["fe80::7%eth0"]),
        (["fe80::7%eth0"], ["fe80::7%eth0"]),
        (["fe80::7%eth1"], []),
        (lambda entry: entry.version == 6, ["2001:db8::7"]),
    ],
)
def test_addresses_by_value_network_and_callable(addresses: Any, expected: list[str]) -> None:
    assert used([V4, V6, LINK, DOCKER, LO4], addresses=addresses) == expected


def test_an_address_that_the_host_does_not_have_is_explained() -> None:
    selection = select([V4], AddressPolicy(addresses=["198.51.100.1"]))
    assert "no interface of this host" in reason(selection, "198.51.100.1")
    assert reason(selection, "192.0.2.7") == "not among the addresses asked for"


def test_mistakes_of_the_caller_raise() -> None:
    with pytest.raises(ValueError, match="neither an IP address nor a network"):
        AddressPolicy(addresses=["eth0"])
    with pytest.raises(TypeError, match="list of strings"):
        AddressPolicy(interfaces="eth0")


def test_families_can_be_switched_off() -> None:
    assert used([V4, V6], ipv6=False) == ["192.0.2.7"]
    assert used([V4, V6], ipv4=False) == ["2001:db8::7"]


def test_ipv6_gets_a_head_start_and_then_takes_turns() -> None:
    """8421-1: with two IPv4 and six IPv6 addresses an IPv4 one comes after four IPv6 ones."""
    v4 = [eth(f"192.0.2.{n}") for n in (1, 2)]
    v6 = [eth(f"2001:db8::{n}") for n in range(1, 7)]
    mixed = interleave([*v4, *v6])
    assert [entry.version for entry in mixed] == [6, 6, 6, 6, 4, 6, 4, 6]
    assert [entry for entry in mixed if entry.version == 4] == v4
    assert [entry for entry in mixed if entry.version == 6] == v6
    assert [entry.version for entry in interleave(v4)] == [4, 4]
    assert [entry.version for entry in interleave([*v4, v6[0]])] == [6, 4, 4]


def test_what_is_known_to_be_worse_goes_last_without_taking_turns() -> None:
    """8421-2: tunnels, bridges and the like have the lowest preferences whatever their family."""
    tunnel = eth("2001:db8:9::1", interface="wg0", kind="tunnel")
    found = [tunnel, eth("169.254.1.2"), V4, V6, eth("192.0.2.8", interface="wlan0", kind="wifi")]
    assert used(found) == ["2001:db8::7", "192.0.2.7", "192.0.2.8", "169.254.1.2", "2001:db8:9::1"]
    full_tunnel = eth("10.8.0.2", interface="tun0", kind="tunnel", default=True)
    assert used([eth("192.0.2.7"), full_tunnel]) == ["10.8.0.2", "192.0.2.7"]


def test_each_family_has_a_limit_and_duplicates_count_once() -> None:
    many = [eth(f"10.0.0.{n}") for n in range(1, 15)]
    selection = select([*many, many[0], V6], AddressPolicy())
    assert len(selection.addresses) == MAX_ADDRESSES + 1
    assert reason(selection, "10.0.0.14") == f"more than {MAX_ADDRESSES} IPv4 addresses"


# -- what a path over them costs
# ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "cost"),
    [
        ("ethernet", 0),
        ("wifi", 10),
        ("cellular", 900),
        ("unknown", 50),
        ("bridge", 50),
        ("virtual", 50),
        ("tunnel", 51),
        ("loopback", 0),
    ],
)
def test_the_cost_of_an_address_is_that_of_its_kind(kind: str, cost: int) -> None:
    """The numbers that browsers signal as network-cost."""
    assert eth("192.0.2.7", kind=kind).cost == cost


def test_each_kind_of_interface_has_a_cost() -> None:
    assert set(NETWORK_COST) == set(get_args(InterfaceKind))
    assert all(0 <= cost <= 999 for cost in NETWORK_COST.values())


def test_a_selection_tells_interface_kind_and_cost_of_what_is_used() -> None:
    wifi = eth("192.0.2.8", interface="wlan0", kind="wifi")
    mobile = eth("192.0.2.9", interface="wwan0", kind="cellular")
    selection = select([mobile, LO4, wifi, DOCKER, V4], AddressPolicy())
    assert selection.used == (V4, wifi, mobile)
    assert selection.addresses == tuple(entry.address for entry in selection.used)
    assert [(entry.interface, entry.cost) for entry in selection.used] == [
        ("eth0", 0),
        ("wlan0", 10),
        ("wwan0", 900),
    ]
    assert select([], AddressPolicy()).used == ()


# -- which IPv6 addresses
# --------------------------------------------------------------------------------------------------

STABLE = eth("2001:db8:0:1::7")
TEMPORARY = eth("2001:db8:0:1:a1b2:c3d4:e5f6:1", temporary=True)
OTHER_PREFIX = eth("2001:db8:0:2::7")


@pytest.mark.parametrize(
    ("ipv6", "expected"),
    [
        (True, {TEMPORARY, OTHER_PREFIX}),
        ("auto", {TEMPORARY, OTHER_PREFIX}),
        ("stable", {STABLE, OTHER_PREFIX}),
        ("temporary", {TEMPORARY}),
        (False, set()),
    ],
)
def test_stable_or_temporary_ipv6_addresses(ipv6: Any, expected: set[InterfaceAddress]) -> None:
    """8445-3, 8835-1: the application may want only those that keep, or only those that cannot be tracked."""
    selection = select([STABLE, TEMPORARY, OTHER_PREFIX, V4], AddressPolicy(ipv6=ipv6))
    assert set(selection.used) == {*expected, V4}


def test_the_reason_names_the_choice_of_ipv6_addresses() -> None:
    stable = select([STABLE, TEMPORARY], AddressPolicy(ipv6="stable"))
    temporary = select([STABLE, TEMPORARY], AddressPolicy(ipv6="temporary"))
    assert "stable IPv6 addresses are asked for" in reason(stable, TEMPORARY.address)
    assert "temporary IPv6 addresses are asked for" in reason(temporary, STABLE.address)


def test_an_unwanted_ipv6_address_displaces_none_that_is_wanted() -> None:
    """A deprecated address of the wanted kind is better than none: the fresh one of the other kind does not
    count."""
    old = eth("2001:db8:0:1:a1b2:c3d4:e5f6:2", temporary=True, deprecated=True)
    assert used([STABLE, old], ipv6="temporary") == [old.address]
    assert used([STABLE, old, TEMPORARY], ipv6="temporary") == [TEMPORARY.address]
    old_stable = eth("2001:db8:0:1::8", deprecated=True)
    assert used([old_stable, TEMPORARY], ipv6="stable") == [old_stable.address]
    assert used([old_stable, TEMPORARY]) == [TEMPORARY.address]


def test_the_choice_of_ipv6_addresses_leaves_loopback_and_literal_addresses_alone() -> None:
    assert used([LO6], ipv6="temporary", include_loopback=True) == ["::1"]
    assert used([STABLE, TEMPORARY], ipv6="temporary", addresses=[STABLE.address]) == [STABLE.address]


@pytest.mark.parametrize("ipv6", ["off", "", None, 2])
def test_an_unknown_choice_of_ipv6_addresses_raises(ipv6: Any) -> None:
    with pytest.raises(ValueError, match="ipv6 takes"):
        AddressPolicy(ipv6=ipv6)
