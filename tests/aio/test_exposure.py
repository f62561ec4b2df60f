"""RFC 8828 5.2: how much of the host's addresses others may learn."""

from __future__ import annotations

from typing import Any

import pytest

from fasticePy.aio.interfaces import AddressPolicy, InterfaceAddress, Selection, select


def on(interface: str, address: str, prefix: int | None = None, **more: Any) -> InterfaceAddress:
    defaults: dict[str, Any] = {"kind": "ethernet", "prefix": prefix or (64 if ":" in address else 24)}
    return InterfaceAddress(interface=interface, address=address, **{**defaults, **more})


LO = on("lo", "127.0.0.1", 8, kind="loopback")
LAN = on("eth0", "192.168.1.7", default=True)
LAN_TOO = on("eth0", "10.1.1.7")
ULA = on("eth0", "fd00::7")
GLOBAL = on("eth0", "2001:db8::7", default=True)
GLOBAL_TOO = on("eth0", "2001:db8:1::7")
LINK = on("eth0", "fe80::7%eth0")
WIFI = on("wlan0", "192.168.2.7", kind="wifi")
WIFI_GLOBAL = on("wlan0", "2001:db8:2::7", kind="wifi")
HOST = [LO, LAN, LAN_TOO, ULA, GLOBAL, GLOBAL_TOO, LINK, WIFI, WIFI_GLOBAL]


def exposed(found: list[InterfaceAddress] = HOST, **policy: Any) -> tuple[set[str], set[str]]:
    """The addresses that others may learn, and those that are used without being told."""
    selection = select(found, AddressPolicy(**policy))
    assert selection.hidden <= set(selection.addresses)
    return set(selection.addresses) - selection.hidden, set(selection.hidden)


def reason(selection: Selection, address: str) -> str:
    return next(decision.reason for decision in selection.decisions if decision.address == address)


def test_mode_1_tells_all_of_them() -> None:
    everything = {entry.address for entry in HOST} - {LO.address, LINK.address}
    assert exposed() == exposed(exposure="all") == (everything, set())


def test_mode_2_tells_the_default_addresses_and_the_private_ones_beside_them() -> None:
    assert exposed(exposure="default-and-private") == (
        {LAN.address, LAN_TOO.address, ULA.address, GLOBAL.address},
        set(),
    )
    selection = select(HOST, AddressPolicy(exposure="default-and-private"))
    assert reason(selection, WIFI.address) == (
        "exposure 'default-and-private': the default routes' addresses and private ones of the same interfaces only "
        "(RFC 8828 5.2 mode 2)"
    )


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "172.31.0.1", "192.168.0.1", "100.64.0.1", "169.254.0.1", "fd00::1"]
)
def test_mode_2_takes_these_for_private(address: str) -> None:
    beside = on("eth0", address)
    assert address in exposed([LAN, GLOBAL, beside], exposure="default-and-private")[0]


@pytest.mark.parametrize("address", ["172.32.0.1", "100.128.0.1", "11.0.0.1", "2001:db8:9::1"])
def test_mode_2_takes_these_for_public(address: str) -> None:
    beside = on("eth0", address)
    assert exposed([LAN, GLOBAL, beside], exposure="default-and-private") == (
        {LAN.address, GLOBAL.address},
        set(),
    )


def test_mode_3_sends_from_a_private_address_without_telling_it() -> None:
    assert exposed(exposure="default") == ({GLOBAL.address}, {LAN.address})
    selection = select(HOST, AddressPolicy(exposure="default"))
    assert reason(selection, LAN.address) == (
        "default route; not told to anybody: exposure 'default' (RFC 8828 5.2 mode 3)"
    )
    assert reason(selection, GLOBAL.address) == "default route"
    assert reason(selection, LAN_TOO.address) == (
        "exposure 'default': the default routes' addresses only (RFC 8828 5.2 mode 3)"
    )


def test_mode_4_tells_nothing_and_still_reaches_servers() -> None:
    assert exposed(exposure="relay") == (set(), {LAN.address, GLOBAL.address})
    assert "RFC 8828 5.2 mode 4" in reason(select(HOST, AddressPolicy(exposure="relay")), GLOBAL.address)


@pytest.mark.parametrize("exposure", ["default-and-private", "default", "relay"])
def test_nothing_else_that_was_asked_for_overrules_it(exposure: Any) -> None:
    for more in (
        {"addresses": [WIFI.address]},
        {"addresses": lambda entry: entry is WIFI},
        {"interfaces": ["wlan*"]},
        {"interfaces": lambda entry: entry is LO, "include_loopback": True},
    ):
        assert exposed(exposure=exposure, **more) == (set(), set())


def test_other_options_narrow_it_further() -> None:
    assert exposed(exposure="default-and-private", ipv6=False) == ({LAN.address, LAN_TOO.address}, set())
    assert exposed(exposure="default-and-private", addresses=["!10.0.0.0/8"], ipv6=False) == (
        {LAN.address},
        set(),
    )
    assert exposed(exposure="default", interfaces=["!eth0"]) == (set(), set())


@pytest.mark.parametrize("exposure", ["default-and-private", "default", "relay"])
def test_without_a_default_route_nothing_is_used_and_the_reason_says_why(exposure: Any) -> None:
    bridge = on("docker0", "172.17.0.1", kind="bridge")
    selection = select([WIFI, bridge], AddressPolicy(exposure=exposure))
    assert selection.addresses == ()
    for decision in selection.decisions:
        assert "this host has no default route" in decision.reason


def test_each_family_may_have_its_default_route_on_an_interface_of_its_own() -> None:
    wifi = on("wlan0", "2001:db8:2::7", kind="wifi", default=True)
    assert exposed([LAN, LAN_TOO, ULA, WIFI, wifi], exposure="default-and-private") == (
        {LAN.address, LAN_TOO.address, ULA.address, WIFI.address, wifi.address},
        set(),
    )
    assert exposed([LAN, LAN_TOO, ULA, WIFI, wifi], exposure="default") == ({wifi.address}, {LAN.address})


def test_the_default_address_is_not_displaced_by_one_that_may_not_be_known() -> None:
    """8445-3 keeps a stable address out beside a temporary one that is gathered; here the latter is not."""
    temporary = on("eth0", "2001:db8::99", temporary=True)
    assert exposed([GLOBAL, temporary]) == ({temporary.address}, set())
    assert exposed([GLOBAL, temporary], exposure="default") == ({GLOBAL.address}, set())
    assert exposed([on("eth0", "fd00::8", temporary=True), ULA, GLOBAL], exposure="default-and-private") == (
        {"fd00::8", GLOBAL.address},
        set(),
    )


def test_the_limit_of_a_family_can_be_chosen() -> None:
    found = [on("eth0", f"10.0.0.{n}") for n in range(1, 5)] + [GLOBAL, GLOBAL_TOO]
    selection = select(found, AddressPolicy(max_addresses=1))
    assert selection.addresses == (GLOBAL.address, "10.0.0.1")
    assert reason(selection, "10.0.0.2") == "more than 1 IPv4 addresses"
    assert len(select(found, AddressPolicy(max_addresses=3)).addresses) == 5


def test_mistakes_of_the_caller_raise() -> None:
    with pytest.raises(ValueError, match="exposure is one of all, default-and-private, default, relay, not"):
        AddressPolicy(exposure="none")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1"):
        AddressPolicy(max_addresses=0)
