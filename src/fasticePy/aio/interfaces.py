"""Which local addresses an agent uses, in which order, and why the others are left out (RFC 8445 5.1.1.1, RFC
8421).

`fasticePy.aio.host` reads what this host has; here it is judged. Nothing is guessed from address ranges: a
Docker bridge and an office network may both be 172.17.0.0/16. What an interface is decides, and each decision
has a reason.
"""

from __future__ import annotations

import fnmatch
import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

InterfaceKind: TypeAlias = Literal[
    "ethernet", "wifi", "cellular", "tunnel", "bridge", "virtual", "loopback", "unknown"
]
Exposure: TypeAlias = Literal["all", "default-and-private", "default", "relay"]
"""Which addresses the peer, and whoever else reads the signalling, may learn: the modes 1 to 4 of RFC 8828 5.2."""
Ipv6Choice: TypeAlias = Literal["auto", "stable", "temporary"]
MAX_ADDRESSES = 10
"""Addresses of one family that an agent uses at most: nodes of clusters have hundreds."""

_MODES: dict[Exposure, int] = {"all": 1, "default-and-private": 2, "default": 3, "relay": 4}
_PRIVATE = [
    ipaddress.ip_network(network)
    for network in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),  # RFC 1918
        "100.64.0.0/10",  # RFC 6598: between subscribers and the NAT of their provider
        "fc00::/7",  # RFC 4193
        *("127.0.0.0/8", "169.254.0.0/16", "::1/128", "fe80::/10"),  # of no use beyond host and link
    )
]

NETWORK_COST: dict[InterfaceKind, int] = {
    "ethernet": 0,
    "wifi": 10,
    "cellular": 900,
    "tunnel": 51,
    "bridge": 50,
    "virtual": 50,
    "loopback": 0,
    "unknown": 50,
}
"""The cost of using an interface, by its kind: of two paths that are otherwise alike the cheaper one is taken.

The scale and the numbers are those of libwebrtc, which every browser puts into its candidates
(`network-cost`), so that both sides of a session compare the same thing: none for a cable, 10 for Wi-Fi, 900
for a mobile network, 50 for what is not known, and 1 more for a tunnel than for what is below it, which is not
known either.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class InterfaceAddress:
    """One address of one interface, with what the operating system says about both."""

    interface: str
    address: str
    """Numeric; a link-local IPv6 address has its scope (`fe80::1%eth0`)."""
    prefix: int
    """Length of the network prefix in bits."""
    kind: InterfaceKind = "unknown"
    up: bool = True
    carrier: bool = True
    """False when nothing is plugged in, or in a bridge: none of its ports is in use."""
    uplink: bool = False
    """For a bridge: one of its ports is a real network card."""
    default: bool = False
    """The operating system sends from this address to the internet."""
    temporary: bool = False
    """An IPv6 privacy address (RFC 8981)."""
    deprecated: bool = False
    """Not for new connections any more (RFC 4862 5.5.4)."""
    tentative: bool = False
    """Not confirmed to be unique yet, or found not to be (RFC 4862 5.4)."""

    @property
    def version(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.address else 4

    @property
    def cost(self) -> int:
        """What a path over this address costs, 0 (nothing) to 999; see `NETWORK_COST`."""
        return NETWORK_COST[self.kind]

    @property
    def ip(self) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        """The address without its scope."""
        return parse_address(self.address.partition("%")[0])


@lru_cache(maxsize=1024)
def parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """A numeric address without a scope: hosts have few, and each new agent looks at all of them. Raises ValueError."""
    return ipaddress.ip_address(text)


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether an address is used, and why."""

    interface: str
    address: str
    kind: InterfaceKind
    used: bool
    reason: str

    def __str__(self) -> str:
        verdict = "used" if self.used else "left out"
        return f"{self.interface} {self.address} ({self.kind}): {verdict}, {self.reason}"


AddressTest: TypeAlias = Callable[[InterfaceAddress], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressPolicy:
    """What the application wants.

    `interfaces`: names and patterns (`eth*`), with `!` those not wanted, or a callable. A pattern that
    matches, or a callable that says yes, also brings back interfaces that are left out for what they are
    (`docker0`). `addresses`: numeric addresses and networks (`10.0.0.0/8`), with `!` those not wanted, or a
    callable. An address given literally is used whatever the defaults say.

    `ipv6`: False for none. "auto" (as True): a temporary address displaces those that can be tracked and are of
    the same prefix on the same interface (RFC 8445 5.1.1.1), others are used as they are. "stable": no temporary
    ones, for what has to keep its address for longer than the day that a temporary one lives. "temporary":
    nothing that can be tracked, even if that leaves no IPv6 at all. Which addresses are temporary is known on
    Linux only; elsewhere none is taken for one.

    `exposure` says how much of this host may be known elsewhere (RFC 8828 5.2), and no other option overrules it:

    - "all": every address, for the best path. RFC 8828 asks for the user's consent to it; that is for the
      application to obtain.
    - "default-and-private": for each family the address from which the operating system sends to the internet, and the
      private addresses of the same interfaces.
    - "default": that one address only. When it is private, packets leave from it and it is not told: the peer learns
      what STUN and TURN servers answer.
    - "relay": the same, and the peer learns no address of this host or of its NAT, only relayed ones.

    `max_addresses` caps the addresses of one family. Raises ValueError and TypeError for what cannot be.
    """

    interfaces: Sequence[str] | AddressTest | None = None
    addresses: Sequence[str] | AddressTest | None = None
    include_loopback: bool = False
    ipv4: bool = True
    ipv6: bool | Ipv6Choice = True
    exposure: Exposure = "all"
    max_addresses: int = MAX_ADDRESSES

    def __post_init__(self) -> None:
        if self.ipv6 not in {True, False, "auto", "stable", "temporary"}:
            raise ValueError(f'ipv6 takes a bool, "auto", "stable" or "temporary", not {self.ipv6!r}')
        if self.exposure not in _MODES:
            raise ValueError(f"exposure is one of {', '.join(_MODES)}, not {self.exposure!r}")
        if self.max_addresses < 1:
            raise ValueError(f"max_addresses is at least 1, not {self.max_addresses}")
        if isinstance(self.interfaces, str) or isinstance(self.addresses, str):
            raise TypeError("interfaces and addresses take a list of strings, or a callable")
        if self.addresses is not None and not callable(self.addresses):
            for entry in self.addresses:
                _network(entry.removeprefix("!"))


@dataclass(frozen=True, slots=True)
class Selection:
    """The outcome: addresses to use, best first, and a decision for each address of the host."""

    addresses: tuple[str, ...]
    """Where sockets are opened."""
    decisions: tuple[Decision, ...]
    hidden: frozenset[str] = frozenset()
    """Those of `addresses` that nobody may learn: no host candidates, and no related addresses of others."""
    used: tuple[InterfaceAddress, ...] = ()
    """What is known of each of `addresses`, in the same order: interface, kind, cost."""


def select(found: Sequence[InterfaceAddress], policy: AddressPolicy) -> Selection:
    """Judge every address of the host."""
    # what may not be known displaces nothing: no temporary address the stable one that the default route has
    visible = [entry for entry in found if _too_exposed(entry, found, policy) is None]
    verdicts = [_judge(entry, found, visible, policy) for entry in found]
    if not any(verdict.used for verdict in verdicts):
        # a machine whose only network is, say, a bridge between containers still wants to be reached
        verdicts = [verdict.reprieved() for verdict in verdicts]
    ordered = [entry for entry, verdict in zip(found, verdicts, strict=True) if verdict.used]
    kept = _within_limits(_in_order(ordered), policy.max_addresses)
    decisions = [
        _decision(entry, verdict, entry in kept, policy)
        for entry, verdict in zip(found, verdicts, strict=True)
    ]
    decisions += _not_found(found, policy)
    hidden = frozenset(entry.address for entry in kept if _hidden(entry, policy))
    return Selection(tuple(entry.address for entry in kept), tuple(decisions), hidden, tuple(kept))


# -- judging
# -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Verdict:
    used: bool
    reason: str
    second_choice: bool = False
    """Left out for what the interface is: taken when there is nothing else."""

    def reprieved(self) -> _Verdict:
        return _Verdict(True, f"nothing better on this host ({self.reason})") if self.second_choice else self


def _judge(
    entry: InterfaceAddress,
    found: Sequence[InterfaceAddress],
    visible: Sequence[InterfaceAddress],
    policy: AddressPolicy,
) -> _Verdict:
    reason = _impossible(entry) or _switched_off(entry, policy)
    if reason:
        return _Verdict(False, reason)
    named = _interface_wanted(entry, policy)
    listed = _address_wanted(entry, policy)
    if named is False:
        return _Verdict(False, "not among the interfaces asked for")
    if listed is False:
        return _Verdict(False, "not among the addresses asked for")
    reason = _too_exposed(entry, found, policy)
    if reason:
        return _Verdict(False, reason)
    literal = _given_literally(entry, policy)
    if literal:
        return _Verdict(True, "asked for by address")
    reason = _unusable(entry, visible, policy)
    if reason:
        return _Verdict(False, reason)
    if named or listed:
        return _Verdict(True, "asked for")
    doubtful = _doubtful_kind(entry, found)
    if doubtful:
        return _Verdict(False, doubtful, second_choice=True)
    return _Verdict(True, "default route" if entry.default else "usable")


def _impossible(entry: InterfaceAddress) -> str | None:
    """RFC 8445 5.1.1.1: these are never candidates, whatever anybody asks for."""
    ip = entry.ip
    if ip.is_unspecified or ip.is_multicast:
        return "no unicast address"
    if isinstance(ip, ipaddress.IPv4Address):
        return None
    if ip.ipv4_mapped is not None:
        return "IPv4-mapped IPv6 address"
    if ip.is_site_local:
        return "site-local IPv6 address, deprecated by RFC 3879"
    if int(ip) >> 32 == 0 and not ip.is_loopback:
        return "IPv4-compatible IPv6 address"
    return None


def _switched_off(entry: InterfaceAddress, policy: AddressPolicy) -> str | None:
    if entry.version == 4 and not policy.ipv4:
        return "IPv4 is switched off"
    if entry.version == 6 and not policy.ipv6:
        return "IPv6 is switched off"
    return None


def _too_exposed(
    entry: InterfaceAddress, found: Sequence[InterfaceAddress], policy: AddressPolicy
) -> str | None:
    """RFC 8828 5.2: what the mode does not let others know, nor send through."""
    if policy.exposure == "all" or entry.default:
        return None
    if policy.exposure == "default-and-private":
        allowed = "the default routes' addresses and private ones of the same interfaces only"
        if _private(entry) and any(other.default for other in found if other.interface == entry.interface):
            return None
    else:
        allowed = "the default routes' addresses only"
    nothing = "" if any(other.default for other in found) else ", and this host has no default route"
    return f"exposure {policy.exposure!r}: {allowed}{nothing} ({_mode(policy)})"


def _hidden(entry: InterfaceAddress, policy: AddressPolicy) -> bool:
    """RFC 8828 5.2: modes 3 and 4 send from a private address without telling it. A public one that packets leave from
    by default is what any STUN server would tell; only mode 4 keeps that back, too."""
    return policy.exposure == "relay" or (policy.exposure == "default" and _private(entry))


def _private(entry: InterfaceAddress) -> bool:
    return any(entry.ip in network for network in _PRIVATE)


def _mode(policy: AddressPolicy) -> str:
    return f"RFC 8828 5.2 mode {_MODES[policy.exposure]}"


def _unusable(
    entry: InterfaceAddress, found: Sequence[InterfaceAddress], policy: AddressPolicy
) -> str | None:
    """Defaults about the address itself; only a literal address overrules them."""
    if entry.ip.is_loopback and not policy.include_loopback:
        return "loopback (include_loopback=True to use it)"
    if entry.version == 6 and entry.ip.is_link_local:
        return "link-local IPv6 address (give it in addresses to use it)"
    if not entry.up:
        return "the interface is down"
    if not entry.carrier:
        return "the interface has no carrier"
    if entry.tentative:
        return "not confirmed to be unique on the link"
    unwanted = _ipv6_unwanted(entry, policy)
    if unwanted:
        return unwanted
    found = [other for other in found if not _ipv6_unwanted(other, policy)]
    if entry.deprecated and _has_better(entry, found, lambda other: not other.deprecated):
        return "deprecated, and the interface has an address that is not"
    # RFC 8445 5.1.1.1: a privacy address is of no use beside one that can be tracked
    if not entry.temporary and _has_better(
        entry, found, lambda other: other.temporary and _same_prefix(entry, other)
    ):
        return "can be tracked, and the interface has a temporary address of the same prefix"
    return None


def _ipv6_unwanted(entry: InterfaceAddress, policy: AddressPolicy) -> str | None:
    if entry.version == 4 or entry.ip.is_loopback:
        return None
    if policy.ipv6 == "stable" and entry.temporary:
        return "temporary, and stable IPv6 addresses are asked for"
    if policy.ipv6 == "temporary" and not entry.temporary:
        return "can be tracked, and temporary IPv6 addresses are asked for"
    return None


def _has_better(entry: InterfaceAddress, found: Sequence[InterfaceAddress], test: AddressTest) -> bool:
    return any(
        other is not entry
        and (other.interface, other.version) == (entry.interface, entry.version)
        and not (other.tentative or other.ip.is_link_local)
        and (entry.deprecated or not other.deprecated)
        and test(other)
        for other in found
    )


def _same_prefix(one: InterfaceAddress, other: InterfaceAddress) -> bool:
    return one.version == other.version == 6 and other.ip in ipaddress.IPv6Network(
        (int(one.ip), min(one.prefix, 64)), strict=False
    )


def _doubtful_kind(entry: InterfaceAddress, found: Sequence[InterfaceAddress]) -> str | None:
    if any(other.default for other in found if other.interface == entry.interface):
        return None
    if entry.kind == "bridge" and not entry.uplink:
        return "a bridge without a network card in it or a default route over it"
    if entry.kind == "virtual":
        return "a virtual interface without a default route over it"
    return None


# -- what was asked for
# --------------------------------------------------------------------------------------------


def _interface_wanted(entry: InterfaceAddress, policy: AddressPolicy) -> bool | None:
    """True or False when the application says so, None when it leaves it to the defaults."""
    if policy.interfaces is None:
        return None
    if callable(policy.interfaces):
        return bool(policy.interfaces(entry))
    wanted = [pattern for pattern in policy.interfaces if not pattern.startswith("!")]
    unwanted = [pattern[1:] for pattern in policy.interfaces if pattern.startswith("!")]
    if any(fnmatch.fnmatchcase(entry.interface, pattern) for pattern in unwanted):
        return False
    if not wanted:
        return None
    return any(fnmatch.fnmatchcase(entry.interface, pattern) for pattern in wanted)


def _address_wanted(entry: InterfaceAddress, policy: AddressPolicy) -> bool | None:
    if policy.addresses is None:
        return None
    if callable(policy.addresses):
        return bool(policy.addresses(entry))
    wanted = [network for network in policy.addresses if not network.startswith("!")]
    unwanted = [network[1:] for network in policy.addresses if network.startswith("!")]
    if any(_covers(network, entry) for network in unwanted):
        return False
    return any(_covers(network, entry) for network in wanted) if wanted else None


def _given_literally(entry: InterfaceAddress, policy: AddressPolicy) -> bool:
    return any("/" not in text and _covers(text, entry) for text in _listed(policy))


def _listed(policy: AddressPolicy) -> Sequence[str]:
    if policy.addresses is None or callable(policy.addresses):
        return ()
    return [text for text in policy.addresses if not text.startswith("!")]


def _covers(text: str, entry: InterfaceAddress) -> bool:
    plain, _, scope = text.partition("%")
    if scope and scope != entry.address.partition("%")[2]:
        return False
    network = _network(plain)
    return network.version == entry.version and entry.ip in network


@lru_cache(maxsize=1024)
def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text.partition("%")[0], strict=False)
    except ValueError:
        raise ValueError(f"addresses: {text!r} is neither an IP address nor a network") from None


def _not_found(found: Sequence[InterfaceAddress], policy: AddressPolicy) -> list[Decision]:
    """Literal addresses that this host does not have deserve a word, too."""
    return [
        Decision("-", text, "unknown", False, "no interface of this host has this address")
        for text in _listed(policy)
        if "/" not in text and not any(_covers(text, entry) for entry in found)
    ]


def _decision(entry: InterfaceAddress, verdict: _Verdict, kept: bool, policy: AddressPolicy) -> Decision:
    reason = verdict.reason
    if verdict.used and not kept:
        reason = f"more than {policy.max_addresses} IPv{entry.version} addresses"
    elif verdict.used and _hidden(entry, policy):
        reason += f"; not told to anybody: exposure {policy.exposure!r} ({_mode(policy)})"
    return Decision(entry.interface, entry.address, entry.kind, verdict.used and kept, reason)


# -- order
# ---------------------------------------------------------------------------------------------------------

_KIND_RANK: dict[InterfaceKind, int] = {
    "ethernet": 0,
    "wifi": 1,
    "unknown": 2,
    "cellular": 3,
    "tunnel": 4,
    "bridge": 5,
    "virtual": 6,
    "loopback": 7,
}


def _in_order(entries: Sequence[InterfaceAddress]) -> list[InterfaceAddress]:
    """Best first, the families mixed. What is known to be the worse way goes last, unmixed (RFC 8421 3)."""
    ranked = sorted(
        entries, key=lambda entry: (not entry.default, _KIND_RANK[entry.kind], _scope_rank(entry))
    )
    good = [entry for entry in ranked if _reliable(entry)]
    rest = [entry for entry in ranked if not _reliable(entry)]
    return interleave(good) + rest


def _reliable(entry: InterfaceAddress) -> bool:
    if entry.default:
        return True
    return _KIND_RANK[entry.kind] <= _KIND_RANK["unknown"] and not entry.ip.is_link_local


def _scope_rank(entry: InterfaceAddress) -> int:
    if entry.ip.is_loopback:
        return 3
    if entry.ip.is_link_local:
        return 2
    return 1 if entry.version == 6 and entry.ip.is_private else 0  # unique local IPv6 after global


def interleave(entries: Sequence[InterfaceAddress]) -> list[InterfaceAddress]:
    """The order of RFC 8421 4: IPv6 first, by a head start of (N4 + N6) / N4 addresses, then by turns."""
    v4 = [entry for entry in entries if entry.version == 4]
    v6 = [entry for entry in entries if entry.version == 6]
    if not v4 or not v6:
        return [*v6, *v4]
    head = min(len(v6), (len(v4) + len(v6)) // len(v4))
    mixed, v6 = v6[:head], v6[head:]
    for position, entry in enumerate(v4):
        mixed.append(entry)
        mixed += v6[position : position + 1]
    return mixed + v6[len(v4) :]


def _within_limits(entries: Sequence[InterfaceAddress], limit: int) -> list[InterfaceAddress]:
    kept: list[InterfaceAddress] = []
    count = {4: 0, 6: 0}
    seen: set[str] = set()
    for entry in entries:
        if entry.address in seen:
            continue
        count[entry.version] += 1
        if count[entry.version] <= limit:
            seen.add(entry.address)
            kept.append(entry)
    return kept
