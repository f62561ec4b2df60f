"""Names of others: asked for on a schedule, and heard of without asking (RFC 6762 5)."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field

from fasticePy.machine import Address, Outbox, Timer
from fasticePy.mdns.cache import Cache
from fasticePy.mdns.codec import AAAA, A, AddressRecord, Message, Question, build
from fasticePy.mdns.events import NameFailed, NameResolved
from fasticePy.mdns.limits import Limits
from fasticePy.mdns.links import Link, Links
from fasticePy.mdns.names import is_mdns_name, is_uuid_name
from fasticePy.mdns.responder import Responder

QUERY_TIMES = (0.0, 0.06, 0.25, 1.0, 2.0, 4.0)
"""Seconds after the start at which a name is asked for. Firefox loses the first query after it registered a name.
With a longer timeout than RESOLVE_TIMEOUT, intervals go on to double (RFC 6762 5.2)."""
RESOLVE_TIMEOUT = 8.0
"""Seconds after which a name is given up: Chromium may answer a repeated question 2.6 s late."""
OTHER_FAMILY_WAIT = 0.1
"""Seconds for which the address of the other family may follow the first one. A browser's name has one address, but
that of a whole host has one of each."""
NO_SOCKET = "no socket for multicast DNS is open"
"""The reason of a failure about which the driver knows more."""

# The draft (3.2.1) wants the unicast-response bit, to spare the others on the network. But the first query has to
# be without it: Chromium passes over questions that have it, and answers at once what it was not asked within a
# second. The second has it, and does not use up Chromium's one answer a second; Firefox, which loses the first one,
# answers this one. A unicast answer reaches one process only of those that share the port on this host, so the
# third does without again.
_UNICAST = (False, True, False, True, False, False)


@dataclass(slots=True)
class _Request:
    number: int
    families: frozenset[int]
    """Types of records that are wanted."""
    timer: Timer
    found: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Pending:
    """A name that is being asked for, by one request or more."""

    name: str
    start: float
    sent: int = 0
    timer: Timer | None = None
    requests: dict[int, _Request] = field(default_factory=dict)


class Querier:
    """Finds the addresses of names."""

    def __init__(
        self, outbox: Outbox, links: Links, responder: Responder, limits: Limits, timeout: float
    ) -> None:
        self._outbox = outbox
        self._links = links
        self._responder = responder
        self._limits = limits
        self._timeout = timeout
        self._cache = Cache(limits)
        self._pending: dict[str, _Pending] = {}
        self._names: dict[int, str] = {}  # by request

    def __len__(self) -> int:
        return len(self._names)

    @property
    def cached(self) -> int:
        """Names in the cache."""
        return len(self._cache)

    def resolve(self, number: int, name: str, now: float, families: frozenset[int]) -> None:
        """See `MdnsMachine.resolve`."""
        if number in self._names:
            raise ValueError(f"request {number} is under way")
        name = name.lower()
        objection = self._objection(name, families)
        if objection:
            self._fail(number, objection, now)
            return
        own = self._responder.address(name)
        known = [own] if own is not None else self._cache.addresses(name, now)
        known = [address for address in known if _type(address) in families]
        if known:
            self._tell(number, known, now)
        elif not self._links:
            self._fail(number, NO_SOCKET, now)
        elif len(self._names) >= self._limits.requests:
            self._outbox.count("limit.mdns.requests")
            self._fail(number, f"more than {self._limits.requests} names are being resolved", now)
        else:
            self._begin(number, name, now, families)

    def cancel(self, number: int) -> None:
        """See `MdnsMachine.cancel`."""
        name = self._names.pop(number, None)
        if name is None:
            return
        pending = self._pending[name]
        self._outbox.timers.cancel(pending.requests.pop(number).timer)
        self._rest(pending)

    def heard(self, link: Link, records: Sequence[AddressRecord], source: Address, now: float) -> None:
        """Somebody on this link said this, whether we asked for it or not."""
        names = dict.fromkeys(
            record.name for record in records if self._learn(record, link.scope or _scope(source[0]), now)
        )
        for name in names:
            pending = self._pending.get(name)
            if pending is not None:
                known = self._cache.addresses(name, now)
                for request in list(pending.requests.values()):
                    self._answered(pending, request, known, now)

    def close(self, now: float) -> None:
        """Every request ends: it has failed, or has what it has."""
        for number, name in list(self._names.items()):
            begun = bool(self._pending[name].requests[number].found)
            self.cancel(number)
            if begun:
                self._outbox.emit(NameResolved(at=now, request=number, addresses=()))
            else:
                self._fail(number, "closed", now)
        self._cache.clear()

    # --- asking

    def _objection(self, name: str, families: frozenset[int]) -> str:
        if not is_mdns_name(name):
            return "not a name of multicast DNS"
        if not is_uuid_name(name):
            # draft 3.2.2: or a page could have us talk to devices with well-known names
            self._outbox.count("mdns.not-a-uuid")
            return "only names that are a UUID and .local are resolved"
        return "" if families else "no address family to ask for"

    def _begin(self, number: int, name: str, now: float, families: frozenset[int]) -> None:
        timer = self._outbox.timers.schedule(now + self._timeout, lambda at: self._timed_out(number, at))
        pending = self._pending.setdefault(name, _Pending(name, now))
        pending.requests[number] = _Request(number, families, timer)
        self._names[number] = name
        if pending.timer is None:  # new, or its queries are over: one who joins later shares them otherwise
            pending.start, pending.sent = now, 0
            self._ask(pending, now)

    def _ask(self, pending: _Pending, now: float) -> None:
        turn = pending.sent
        pending.sent += 1
        unicast = turn < len(_UNICAST) and _UNICAST[turn]
        wanted = frozenset[int]().union(*(request.families for request in pending.requests.values()))
        for family in sorted(wanted):
            # one question a message: Chromium passes over queries with more
            self._links.multicast(build(Message(False, (Question(pending.name, family, unicast),))))
        pending.timer = self._outbox.timers.schedule(
            pending.start + self._query_time(turn + 1), lambda at: self._ask(pending, at)
        )

    @staticmethod
    def _query_time(turn: int) -> float:
        if turn < len(QUERY_TIMES):
            return QUERY_TIMES[turn]
        return QUERY_TIMES[-1] * 2.0 ** min(turn - len(QUERY_TIMES) + 1, 64)

    def _rest(self, pending: _Pending) -> None:
        """Ask no more when nobody waits for a first answer, and forget it when nobody waits at all."""
        if all(request.found for request in pending.requests.values()):
            self._outbox.timers.cancel(pending.timer)
            pending.timer = None
        if not pending.requests:
            self._pending.pop(pending.name, None)

    def _timed_out(self, number: int, now: float) -> None:
        self.cancel(number)
        self._outbox.count("mdns.timeout")
        self._fail(
            number, f"nobody on the local network answered for this name within {self._timeout:g} s", now
        )

    # --- answers

    def _learn(self, record: AddressRecord, scope: str, now: float) -> bool:
        """Whether this record is news about a name that may be resolved."""
        if not is_uuid_name(record.name):
            self._outbox.count("mdns.other-name")  # what else lives on the network
            return False
        if self._responder.address(record.name) is not None:
            return False  # our own words, as a rule
        objection = _unusable(record.address, scope)
        if objection:
            self._outbox.count(f"drop.mdns.{objection}")
            return False
        address = f"{record.address}%{scope}" if _is_link_local(record.address) else record.address
        self._cache.put(record.name, address, record.ttl, record.flush, now)
        return record.ttl > 0

    def _answered(self, pending: _Pending, request: _Request, known: list[str], now: float) -> None:
        fresh = [
            address
            for address in known
            if _type(address) in request.families and _type(address) not in request.found
        ]
        if not fresh:
            return
        found = request.found | {_type(address) for address in fresh}
        if _ambiguous(fresh) or found == request.families:
            self.cancel(request.number)
            self._tell(request.number, fresh, now, begun=bool(request.found))
            return
        request.found = found
        self._outbox.timers.cancel(request.timer)
        number = request.number
        request.timer = self._outbox.timers.schedule(
            now + OTHER_FAMILY_WAIT, lambda at: self._one_family(number, at)
        )
        self._rest(pending)
        self._outbox.emit(NameResolved(at=now, request=number, addresses=tuple(fresh), final=False))

    def _one_family(self, number: int, now: float) -> None:
        self.cancel(number)
        self._outbox.emit(NameResolved(at=now, request=number, addresses=()))

    def _tell(self, number: int, addresses: list[str], now: float, *, begun: bool = False) -> None:
        """The end of a request; `begun`: it has had the address of the other family."""
        if not _ambiguous(addresses):
            addresses.sort(key=_type)
            self._outbox.emit(NameResolved(at=now, request=number, addresses=tuple(addresses)))
            return
        self._outbox.count("mdns.ambiguous")  # draft 3.2.2
        if begun:
            self._outbox.emit(NameResolved(at=now, request=number, addresses=()))
        else:
            self._fail(number, "the name has more than one address of a family, so none is used", now)

    def _fail(self, number: int, reason: str, now: float) -> None:
        self._outbox.emit(NameFailed(at=now, request=number, reason=reason))


def _type(address: str) -> int:
    return AAAA if ":" in address else A


def _ambiguous(addresses: Sequence[str]) -> bool:
    return len({_type(address) for address in addresses}) < len(addresses)


def _scope(host: str) -> str:
    return host.partition("%")[2]


def _is_link_local(address: str) -> bool:
    ip = ipaddress.ip_address(address)
    return ip.version == 6 and ip.is_link_local


def _unusable(address: str, scope: str) -> str:
    """Why nobody can be reached at this address, or ""."""
    ip = ipaddress.ip_address(address)
    if ip.is_unspecified:
        return "unspecified-address"  # Chromium announces them for its sockets that are bound to no address
    if ip.is_loopback:
        return "loopback-address"
    if ip.is_multicast or address == "255.255.255.255":
        return "multicast-address"
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        return "mapped-address"
    return "link-local-without-scope" if _is_link_local(address) and not scope else ""
