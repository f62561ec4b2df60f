"""The addresses of this host and what is known about them: `ifaddr` for the addresses, on Linux the kernel's
files for the rest, and the routing table's choice of a source address.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import os
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import ifaddr

from fasticePy.aio.interfaces import InterfaceAddress, InterfaceKind, parse_address
from fasticePy.aio.sockaddr import family_of, from_sockaddr, to_sockaddr

# far away and well known, so that nothing but the default route leads there; nothing is sent
_FAR_AWAY = ((socket.AF_INET, ("1.1.1.1", 53)), (socket.AF_INET6, ("2606:4700:4700::1111", 53, 0, 0)))

_NAMES: dict[InterfaceKind, str] = {
    "loopback": "lo lo0",
    "bridge": "docker[0-9]* br-* virbr* bridge[0-9]* lxcbr* lxdbr* cni[0-9]* cni-*",
    "virtual": "veth* vnet* vmnet* vboxnet* cali* lxc* flannel* cilium* weave* podman* kube-* nodelocaldns* "
    "dummy* ifb* awdl* llw* anpi* ap[0-9] docker_gwbridge vEthernet* VMware* VirtualBox*",
    "tunnel": "tun* tap* utun* wg* ppp* ipsec* tailscale* zt* gif* stf* sit*",
    "cellular": "wwan* rmnet* pdp_ip*",
    "wifi": "wl* Wi-Fi* WLAN*",
    "ethernet": "eth* en* Ethernet*",
}
_DEVTYPES: dict[str, InterfaceKind] = {
    "bridge": "bridge",
    "wlan": "wifi",
    "wwan": "cellular",
    "wireguard": "tunnel",
    "ppp": "tunnel",
    "vlan": "ethernet",
    "bond": "ethernet",
}
_TUNNEL_TYPES = frozenset(
    {512, 768, 769, 776, 778, 823, 65534}
)  # ARPHRD_PPP, _TUNNEL, _TUNNEL6, _SIT, _IPGRE, ...
_ARPHRD_LOOPBACK = 772
_IFF_UP = 0x1

# linux/if_addr.h
_IFA_F_TEMPORARY, _IFA_F_DADFAILED, _IFA_F_DEPRECATED, _IFA_F_TENTATIVE = 0x01, 0x08, 0x20, 0x40


@dataclass(frozen=True, slots=True)
class RawAddress:
    """An address as `ifaddr` gives it."""

    interface: str
    address: str
    prefix: int


@dataclass(frozen=True, slots=True)
class Link:
    """What is known about an interface."""

    kind: InterfaceKind
    up: bool = True
    carrier: bool = True
    uplink: bool = False


def host_addresses() -> list[InterfaceAddress]:
    """All addresses of this host."""
    kernel = LinuxFiles() if sys.platform == "linux" else None
    return describe(_from_ifaddr(), kernel, default_sources())


def describe(
    found: Iterable[RawAddress], kernel: LinuxFiles | None, sources: frozenset[str]
) -> list[InterfaceAddress]:
    """Put together what is known: addresses, the kernel's files where there are any, and the addresses that
    the operating system sends from by default."""
    flags = kernel.ipv6_flags() if kernel else {}
    links: dict[str, Link] = {}
    result = []
    for raw in found:
        name = raw.interface
        if name not in links:
            links[name] = (kernel.link(name) if kernel else None) or Link(kind_by_name(name))
        link, plain = links[name], raw.address.partition("%")[0]
        flag = flags.get((name, plain), 0)
        result.append(
            InterfaceAddress(
                interface=name,
                address=raw.address,
                prefix=raw.prefix,
                kind="loopback" if parse_address(plain).is_loopback else link.kind,
                up=link.up,
                carrier=link.carrier,
                uplink=link.uplink,
                default=plain in sources,
                temporary=bool(flag & _IFA_F_TEMPORARY),
                deprecated=bool(flag & _IFA_F_DEPRECATED),
                tentative=bool(flag & (_IFA_F_TENTATIVE | _IFA_F_DADFAILED)),
            )
        )
    return result


def default_sources(open_socket: Callable[..., socket.socket] = socket.socket) -> frozenset[str]:
    """The addresses that the operating system sends from when it follows its default routes, at most one a
    family. Connecting a UDP socket asks the routing table and sends nothing."""
    sources = set()
    for family, far_away in _FAR_AWAY:
        try:
            with open_socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect(far_away)
                sources.add(str(parse_address(probe.getsockname()[0].partition("%")[0])))
        except OSError:  # no route, or no such family
            continue
    return frozenset(sources)


def source_towards(host: str, open_socket: Callable[..., socket.socket] = socket.socket) -> str | None:
    """The address that the operating system would send from to the numeric address `host`, or None when it knows no way
    there. As in `default_sources`, nothing is sent."""
    try:
        with open_socket(family_of(host), socket.SOCK_DGRAM) as probe:
            probe.connect(to_sockaddr((host, 9)))
            return from_sockaddr(probe.getsockname())[0]
    except (OSError, ValueError):
        return None


def kind_by_name(name: str) -> InterfaceKind:
    """What an interface probably is; used where the operating system does not say."""
    for kind, patterns in _NAMES.items():
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns.split()):
            return kind
    return "unknown"


def _from_ifaddr() -> list[RawAddress]:
    found = []
    for adapter in ifaddr.get_adapters():
        # Windows: a GUID is the name, and people know the other one
        name = adapter.nice_name if sys.platform == "win32" else adapter.name
        for ip in adapter.ips:
            if isinstance(ip.ip, str):
                found.append(RawAddress(name, ip.ip, ip.network_prefix))
                continue
            text, _, scope = ip.ip
            address = str(parse_address(text.partition("%")[0]))
            found.append(RawAddress(name, _scoped(address, scope, name), ip.network_prefix))
    return found


def _scoped(address: str, scope: int, name: str) -> str:
    if not parse_address(address).is_link_local:
        return address
    return f"{address}%{scope if sys.platform == 'win32' else name}"


class LinuxFiles:
    """Readers of /proc/net/if_inet6 and /sys/class/net. What is missing or unreadable is unknown, never an
    error: containers hide parts of both."""

    def __init__(self, root: str = "/") -> None:
        self._if_inet6 = os.path.join(root, "proc/net/if_inet6")
        self._net = os.path.join(root, "sys/class/net")

    def ipv6_flags(self) -> dict[tuple[str, str], int]:
        """The flags (IFA_F_*) of each IPv6 address, by interface and address."""
        flags = {}
        for line in (_text(self._if_inet6) or "").splitlines():
            fields = line.split()
            try:
                flags[fields[5], _text_of_hex(fields[0])] = int(fields[4], 16)
            except (ValueError, IndexError):
                continue
        return flags

    def link(self, name: str) -> Link | None:
        """What /sys says of an interface, or None when it does not know it."""
        folder = f"{self._net}/{name}"
        flags = _number(f"{folder}/flags", 16)
        if flags is None:
            return None
        up = bool(flags & _IFF_UP)
        return Link(
            kind=self._kind(name, folder),
            up=up,
            # reading the carrier of an interface that is down is an error
            carrier=not up or _text(f"{folder}/carrier") != "0",
            uplink=any(os.path.exists(f"{self._net}/{port}/device") for port in _names(f"{folder}/brif")),
        )

    @staticmethod
    def _kind(name: str, folder: str) -> InterfaceKind:
        hardware = _number(f"{folder}/type", 10)
        if hardware == _ARPHRD_LOOPBACK:
            return "loopback"
        uevent = (_text(f"{folder}/uevent") or "").splitlines()
        devtype = next((line[8:] for line in uevent if line.startswith("DEVTYPE=")), "")
        if (kind := _DEVTYPES.get(devtype)) is not None:
            return kind
        if os.path.isdir(f"{folder}/bridge"):
            return "bridge"
        if os.path.exists(f"{folder}/wireless") or os.path.exists(f"{folder}/phy80211"):
            return "wifi"
        if os.path.exists(f"{folder}/tun_flags") or hardware in _TUNNEL_TYPES:
            return "tunnel"
        if os.path.exists(f"{folder}/device"):
            return "ethernet"
        return kind_by_name(name)


@lru_cache(maxsize=1024)
def _text_of_hex(digits: str) -> str:
    return str(ipaddress.IPv6Address(int(digits, 16)))


def _text(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return file.read().decode("ascii", "replace").strip()
    except OSError:
        return None


def _number(path: str, base: int) -> int | None:
    try:
        return int(_text(path) or "", base)
    except ValueError:
        return None


def _names(folder: str) -> Sequence[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return ()
