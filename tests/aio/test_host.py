from __future__ import annotations

import socket
from pathlib import Path

import pytest

from fasticePy.aio.host import (
    Link,
    LinuxFiles,
    RawAddress,
    default_sources,
    describe,
    host_addresses,
    kind_by_name,
)
from fasticePy.aio.interfaces import AddressPolicy, select


class Sys:
    """Writes the files of /proc and /sys that Linux would have."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "proc/net").mkdir(parents=True)
        (root / "sys/class/net").mkdir(parents=True)

    def link(
        self, name: str, *, flags: int = 0x1003, type: int = 1, carrier: str | None = "1", devtype: str = ""
    ) -> Path:
        folder = self.root / "sys/class/net" / name
        folder.mkdir()
        (folder / "flags").write_text(f"{flags:#x}\n")
        (folder / "type").write_text(f"{type}\n")
        if carrier is not None:
            (folder / "carrier").write_text(f"{carrier}\n")
        (folder / "uevent").write_text((f"DEVTYPE={devtype}\n" if devtype else "") + f"INTERFACE={name}\n")
        return folder

    def if_inet6(self, *lines: str) -> None:
        (self.root / "proc/net/if_inet6").write_text("".join(f"{line}\n" for line in lines))

    @property
    def files(self) -> LinuxFiles:
        return LinuxFiles(str(self.root))


@pytest.fixture
def sys_files(tmp_path: Path) -> Sys:
    return Sys(tmp_path)


def test_kinds_from_the_files_of_the_kernel(sys_files: Sys) -> None:
    sys_files.link("lo", type=772, flags=0x9)
    (sys_files.link("enp3s0") / "device").mkdir()
    wifi = sys_files.link("wlp2s0", devtype="wlan")
    (wifi / "device").mkdir()
    sys_files.link("wg-office", type=65534, devtype="wireguard")
    (sys_files.link("tap7") / "tun_flags").write_text("0x1002\n")
    bridge = sys_files.link("uplink", devtype="bridge")
    (bridge / "brif/enp3s0").mkdir(parents=True)
    lonely = sys_files.link("containers")
    (lonely / "bridge").mkdir()
    (lonely / "brif/veth1").mkdir(parents=True)
    sys_files.link("veth1")
    sys_files.link("eth0")
    sys_files.link("strange0", type=519)
    files = sys_files.files
    assert files.link("lo") == Link("loopback")
    assert files.link("enp3s0") == Link("ethernet")
    assert files.link("wlp2s0") == Link("wifi")
    assert files.link("wg-office") == Link("tunnel")
    assert files.link("tap7") == Link("tunnel")
    assert files.link("uplink") == Link("bridge", uplink=True)
    assert files.link("containers") == Link("bridge")
    assert files.link("veth1") == Link("virtual")
    assert files.link("eth0") == Link("ethernet")
    assert files.link("strange0") == Link("unknown")
    assert files.link("nowhere") is None


def test_links_that_are_down_or_unplugged(sys_files: Sys) -> None:
    sys_files.link("eth0", flags=0x1002, carrier=None)
    sys_files.link("eth1", carrier="0")
    assert sys_files.files.link("eth0") == Link("ethernet", up=False)
    assert sys_files.files.link("eth1") == Link("ethernet", carrier=False)


def test_address_flags_from_if_inet6_and_nonsense_in_it(sys_files: Sys) -> None:
    """8445-3: which addresses are temporary is read from the kernel."""
    sys_files.link("eth0")
    sys_files.if_inet6(
        "20010db8000000000000000000000007 02 40 00 80     eth0",
        "20010db80000000000000000a1b2c3d4 02 40 00 01     eth0",
        "20010db8000000000000000000000009 02 40 00 a0     eth0",
        "20010db800000000000000000000000a 02 40 00 48     eth0",
        "not hexadecimal",
        "20010db8 02",
        "",
    )
    raw = [RawAddress("eth0", f"2001:db8::{end}", 64) for end in ("7", "a1b2:c3d4", "9", "a")]
    found = describe(raw, sys_files.files, frozenset({"2001:db8::a1b2:c3d4"}))
    assert [entry.temporary for entry in found] == [False, True, False, False]
    assert [entry.deprecated for entry in found] == [False, False, True, False]
    assert [entry.tentative for entry in found] == [False, False, False, True]
    assert [entry.default for entry in found] == [False, True, False, False]
    assert select(found, AddressPolicy()).addresses == ("2001:db8::a1b2:c3d4",)


def test_without_the_files_names_decide(tmp_path: Path) -> None:
    raw = [
        RawAddress("docker0", "172.17.0.1", 16),
        RawAddress("en0", "192.0.2.7", 24),
        RawAddress("lo0", "127.0.0.1", 8),
    ]
    for kernel in (None, LinuxFiles(str(tmp_path))):
        found = describe(raw, kernel, frozenset())
        assert [entry.kind for entry in found] == ["bridge", "ethernet", "loopback"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("lo", "loopback"),
        ("utun3", "tunnel"),
        ("br-0a1b2c3d4e5f", "bridge"),
        ("docker_gwbridge", "virtual"),
        ("vEthernet (WSL)", "virtual"),
        ("Ethernet 2", "ethernet"),
        ("Wi-Fi", "wifi"),
        ("wlan0", "wifi"),
        ("rmnet_data0", "cellular"),
        ("awdl0", "virtual"),
        ("mystery7", "unknown"),
    ],
)
def test_kinds_by_name(name: str, kind: str) -> None:
    assert kind_by_name(name) == kind


class Probe:
    """A socket as `default_sources` uses it."""

    def __init__(self, family: int, kind: int) -> None:
        assert kind == socket.SOCK_DGRAM
        self.family = family

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def connect(self, address: tuple[object, ...]) -> None:
        if self.family == socket.AF_INET6:
            raise OSError("Network is unreachable")

    def getsockname(self) -> tuple[str, int]:
        return ("192.0.2.7", 5000)


def test_the_default_source_comes_from_the_routing_table() -> None:
    assert default_sources(Probe) == {"192.0.2.7"}  # type: ignore[arg-type]


def test_this_host() -> None:
    found = host_addresses()
    assert any(entry.kind == "loopback" for entry in found)
    selection = select(found, AddressPolicy(include_loopback=True))
    assert "127.0.0.1" in selection.addresses
    assert len(selection.decisions) == len(found)
    for address in selection.addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((address.partition("%")[0], 0))
