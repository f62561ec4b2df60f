"""Which of several addresses to connect to, in which order and when: RFC 6724 6 and Happy Eyeballs (RFC 8305).

As data: nothing here connects or reads a clock. Times are in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network
from typing import TypeAlias

from fasticePy.machine import Address

ATTEMPT_DELAY = 0.25
"""Between the beginnings of two attempts (RFC 8305 5)."""
MINIMUM_DELAY = 0.01
"""Between them when the first has failed already: never less (RFC 8305 5)."""
RESOLUTION_DELAY = 0.05
"""How long IPv4 addresses wait for IPv6 ones that are still being looked up (RFC 8305 3)."""

SourceOf: TypeAlias = Callable[[str], str | None]
"""The local address that the host would use towards an address, or None when it has no way there."""

_POLICY = sorted(
    (
        (IPv6Network(prefix), precedence, label)
        for prefix, precedence, label in (
            ("::1/128", 50, 0),
            ("::/0", 40, 1),
            ("::ffff:0:0/96", 35, 4),
            ("2002::/16", 30, 2),
            ("2001::/32", 5, 5),
            ("fc00::/7", 3, 13),
            ("::/96", 1, 3),
            ("fec0::/10", 1, 11),
            ("3ffe::/16", 1, 12),
        )
    ),
    key=lambda row: -row[0].prefixlen,
)
"""The policy table of RFC 6724 2.1, longest prefix first: network, precedence, label."""

_LINK_LOCAL, _SITE_LOCAL, _GLOBAL = 2, 5, 14  # RFC 4291 2.7


def sort_addresses(addresses: Iterable[Address], source_of: SourceOf) -> list[Address]:
    """Destination address selection (RFC 6724 6), best first.

    Rules 3, 4 and 7 (deprecated and home addresses, tunnels) are left to the operating system: it chose the source
    addresses. Addresses that cannot be reached come last.
    """
    return sorted(addresses, key=lambda address: _rank(address[0], source_of(address[0])))


def interleave(addresses: Sequence[Address], first_family_count: int = 1) -> list[Address]:
    """The families by turns, beginning with `first_family_count` of the family of the first address (RFC 8305 4)."""
    if not addresses:
        return []
    first = _is_ipv6(addresses[0])
    leading = [address for address in addresses if _is_ipv6(address) == first]
    others = [address for address in addresses if _is_ipv6(address) != first]
    mixed, leading = leading[:first_family_count], leading[first_family_count:]
    for place in range(max(len(leading), len(others))):
        mixed += others[place : place + 1] + leading[place : place + 1]
    return mixed


class Attempts:
    """When to begin connecting to which address, as the addresses become known and attempts end.

    `add` what the resolver finds, `begin` the attempts that are due, and say what became of each: `established` or
    `failed`. `next_timer` tells when to call `begin` again.
    """

    __slots__ = (
        "_complete",
        "_delay",
        "_due",
        "_known",
        "_last",
        "_last_at",
        "_resolution_delay",
        "_running",
        "_source_of",
        "_sources",
        "_waiting",
        "_won",
    )

    def __init__(
        self, source_of: SourceOf, *, delay: float = ATTEMPT_DELAY, resolution_delay: float = RESOLUTION_DELAY
    ) -> None:
        """`source_of` is asked once for each address. The delays are in seconds; that between attempts is 0.1 to 2 for
        connections (RFC 8305 5), and 0 where all addresses may be asked at the same time."""
        self._source_of = source_of
        self._sources: dict[str, str | None] = {}
        self._delay = delay
        self._resolution_delay = resolution_delay
        self._waiting: list[Address] = []  # best first
        self._running: list[Address] = []
        self._known: set[Address] = set()
        self._complete = False
        self._due = 0.0  # when the next attempt may begin
        self._last: Address | None = None  # the attempt that began last, and when
        self._last_at = 0.0
        self._won: Address | None = None

    @property
    def running(self) -> tuple[Address, ...]:
        """Attempts that have begun and not ended."""
        return tuple(self._running)

    @property
    def exhausted(self) -> bool:
        """Whether all addresses are known, and all have failed."""
        return self._complete and not self._waiting and not self._running

    def add(self, addresses: Iterable[Address], now: float, *, final: bool) -> None:
        """Some addresses were found; `final` when there will be no more. They take their places among those that have
        not been tried (RFC 8305 6)."""
        first_ones = not self._known
        new = [address for address in dict.fromkeys(addresses) if address not in self._known]
        self._known.update(new)
        self._complete = final
        self._waiting = self._arrange([*self._waiting, *new])
        if self._last is not None:
            return
        if final or any(map(_is_ipv6, self._known)):
            self._due = now
        elif first_ones:  # IPv6 addresses are worth a moment's patience (RFC 8305 3)
            self._due = now + self._resolution_delay

    def begin(self, now: float) -> Address | None:
        """The attempt that begins now, if any; call again until there is none."""
        if not self._waiting or self._won is not None or now < self._due:
            return None
        self._last, self._last_at = self._waiting.pop(0), now
        self._running.append(self._last)
        self._due = now + self._delay
        return self._last

    def next_timer(self) -> float | None:
        """When to call `begin`, or None when that depends on other things than time."""
        return None if not self._waiting or self._won is not None else self._due

    def established(self, address: Address) -> tuple[Address, ...]:
        """An attempt has led to a connection. Gives the other running ones, which are cancelled, and no more begin (RFC
        8305 5) - unless the connection turns out to be useless and `failed` is told: then those are tried again."""
        losers = tuple(each for each in self._running if each != address)
        self._won, self._running = address, [address]
        self._waiting = [*losers, *self._waiting]
        return losers

    def failed(self, address: Address, now: float) -> None:
        """An attempt, or the connection that it led to, has failed: the next one may begin."""
        if address in self._running:
            self._running.remove(address)
        elif address in self._waiting:  # a loser that ended by itself before it could be cancelled
            self._waiting.remove(address)
        if self._won == address:
            self._won = None
        self._due = min(self._due, max(now, self._last_at + min(self._delay, MINIMUM_DELAY)))

    def _arrange(self, addresses: Sequence[Address]) -> list[Address]:
        """Best first, the families by turns."""
        ordered = interleave(sort_addresses(addresses, self._source))
        if self._last is None:
            return ordered
        # after an attempt over one family it is the other one's turn
        turn = next((address for address in ordered if _is_ipv6(address) != _is_ipv6(self._last)), None)
        return interleave(([turn] if turn else []) + [address for address in ordered if address != turn])

    def _source(self, host: str) -> str | None:
        if host not in self._sources:
            self._sources[host] = self._source_of(host)
        return self._sources[host]


def _is_ipv6(address: Address) -> bool:
    return ":" in address[0]


# --- RFC 6724

_Rank: TypeAlias = tuple[bool, bool, bool, int, int, int]


def _rank(host: str, source: str | None) -> _Rank:
    """A key that sorts as the rules of RFC 6724 6 compare, rule 1 first."""
    if source is None:
        return (True, False, False, 0, 0, 0)
    here, there = _as_ipv6(source), _as_ipv6(host)
    scope = _scope(there)
    precedence, label = _policy(there)
    return (
        False,
        scope != _scope(here),
        label != _policy(here)[1],
        -precedence,
        scope,
        # rule 9 compares addresses of one family; those of two never get here with equal precedence
        -_common_prefix(here, there),
    )


def _as_ipv6(host: str) -> IPv6Address:
    plain = host.partition("%")[0]
    return IPv6Address(plain) if ":" in plain else IPv6Address(f"::ffff:{IPv4Address(plain)}")


def _policy(address: IPv6Address) -> tuple[int, int]:
    for network, precedence, label in _POLICY:
        if address in network:
            return precedence, label
    raise AssertionError("::/0 has every address")


def _scope(address: IPv6Address) -> int:
    """RFC 6724 3.1; IPv4 loopback and link-local addresses are link-local, all others global (RFC 6724 3.2)."""
    ipv4 = address.ipv4_mapped
    if ipv4 is not None:
        return _LINK_LOCAL if ipv4.is_loopback or ipv4.is_link_local else _GLOBAL
    if address.is_multicast:
        return address.packed[1] & 0xF
    if address.is_loopback or address.is_link_local:
        return _LINK_LOCAL
    return _SITE_LOCAL if address.is_site_local else _GLOBAL


def _common_prefix(source: IPv6Address, destination: IPv6Address) -> int:
    """Leading bits that both have in common; of IPv6 addresses the 64 that name the network (RFC 6724 2.2)."""
    bits = 128 - (int(source) ^ int(destination)).bit_length()
    return bits if source.ipv4_mapped is not None else min(bits, 64)
