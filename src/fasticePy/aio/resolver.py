"""Host names to addresses: A and AAAA asked at the same time, each answer delivered as it comes.

Each question has a thread of its own. The event loop's executor has few threads and an application needs
them, so a name server that says nothing would delay everybody; and asyncio waits for them when the program
ends.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from fasticePy.aio.sockaddr import from_sockaddr
from fasticePy.machine import Address

TIMEOUT = 5.0
"""Seconds after which a name server that says nothing is given up."""
MAX_ANSWERS = 8
"""Addresses of one family that are taken from an answer; the name server has put the best ones first."""

GetAddrInfo: TypeAlias = Callable[[str, int, int, int], Sequence[tuple[Any, ...]]]
"""`getaddrinfo(host, port, family, type)`, as `socket.getaddrinfo`."""


class LookupHandler(Protocol):
    """Who a lookup reports to, always from the event loop, never from inside `resolve`."""

    def addresses_found(self, addresses: Sequence[Address], final: bool) -> None:
        """Some addresses; `final` when no more will come."""

    def lookup_failed(self, reason: str) -> None:
        """There are no (more) addresses: the reason in words. The last thing that is heard."""


class Resolver(Protocol):
    """Where addresses come from; an application may bring its own."""

    def resolve(
        self, host: str, port: int, handler: LookupHandler, *, ipv4: bool = True, ipv6: bool = True
    ) -> Lookup:
        """Begin to look for the addresses of `host`. Called inside a running event loop; returns at once."""
        ...


class Lookup(Protocol):
    """A lookup on its way."""

    def cancel(self) -> None:
        """Nothing more is heard of it. Idempotent."""


class SystemResolver:
    """The operating system's resolver, with its hosts file, its caches and its search domains.

    `getaddrinfo` is called in threads. `timeout` is in seconds.
    """

    def __init__(self, *, timeout: float = TIMEOUT, getaddrinfo: GetAddrInfo = socket.getaddrinfo) -> None:
        self.timeout = timeout
        self._getaddrinfo = getaddrinfo

    def resolve(
        self, host: str, port: int, handler: LookupHandler, *, ipv4: bool = True, ipv6: bool = True
    ) -> Lookup:
        """Begin to look for the addresses of `host`; numeric ones need no resolver."""
        families = [socket.AF_INET] * ipv4 + [socket.AF_INET6] * ipv6
        lookup = _SystemLookup(asyncio.get_running_loop(), handler, host)
        numeric = _numeric(host)
        if numeric is not None or not families:
            lookup.answer_soon(
                _Answer(None, ((numeric, port),) if numeric else (), "no address family to ask for")
            )
            return lookup
        lookup.pending = set(families)
        lookup.timer = lookup.loop.call_later(self.timeout, lookup.time_out, self.timeout)
        for family in families:
            arguments = (lookup, self._getaddrinfo, host, port, family)
            threading.Thread(
                target=_ask, args=arguments, name=f"resolve {host} {_RECORDS[family]}", daemon=True
            ).start()
        return lookup


@dataclass(frozen=True, slots=True)
class _Answer:
    family: socket.AddressFamily | None
    addresses: Sequence[Address]
    failure: str


@dataclass(slots=True, eq=False)
class _SystemLookup:
    loop: asyncio.AbstractEventLoop
    handler: LookupHandler
    host: str
    pending: set[socket.AddressFamily] = field(default_factory=set)
    timer: asyncio.TimerHandle | None = None
    found: bool = False
    failures: list[str] = field(default_factory=list)
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True
        if self.timer is not None:
            self.timer.cancel()

    def answer_soon(self, answer: _Answer) -> None:
        self.loop.call_soon(self.answered, answer)

    def answered(self, answer: _Answer) -> None:
        """One family's answer, in the event loop."""
        if self.cancelled:
            return
        self.pending.discard(answer.family)
        if answer.addresses:
            self.found = True
        else:
            self.failures.append(answer.failure)
        final = not self.pending
        if final:
            self.cancel()
        if answer.addresses:
            self.handler.addresses_found(answer.addresses, final)
        elif final:
            self._end()

    def time_out(self, seconds: float) -> None:
        self.cancel()
        names = " and ".join(sorted(_RECORDS[family] for family in self.pending))
        self.failures.append(f"the name servers did not say in {seconds:g} s what {names} records there are")
        self._end()

    def _end(self) -> None:
        if self.found:
            self.handler.addresses_found((), True)
        else:
            self.handler.lookup_failed("; ".join(dict.fromkeys(self.failures)))


_RECORDS = {socket.AF_INET: "A", socket.AF_INET6: "AAAA"}


def _ask(
    lookup: _SystemLookup, getaddrinfo: GetAddrInfo, host: str, port: int, family: socket.AddressFamily
) -> None:
    """The life of a thread."""
    try:
        found = getaddrinfo(host, port, family, socket.SOCK_DGRAM)
        addresses = [from_sockaddr(entry[4]) for entry in found if entry[0] == family]
        answer = _Answer(
            family, tuple(dict.fromkeys(addresses))[:MAX_ANSWERS], f"no {_RECORDS[family]} record"
        )
    except (OSError, ValueError) as error:  # ValueError: a label that cannot be encoded
        answer = _Answer(family, (), explain(error, family))
    try:
        lookup.loop.call_soon_threadsafe(lookup.answered, answer)
    except RuntimeError:  # the event loop was closed meanwhile
        return


def explain(error: Exception, family: socket.AddressFamily) -> str:
    """A resolver's error in words, telling a name that does not exist from a name server that does not
    answer."""
    if not isinstance(error, socket.gaierror):
        return f"the name cannot be looked up: {error}"
    match error.errno:
        case socket.EAI_NONAME:
            return "the name does not exist"
        case socket.EAI_AGAIN:
            return "the name servers do not answer (temporary failure)"
        case socket.EAI_FAIL:
            return "the name server answered with a failure"
        case code if code in _NO_RECORD:
            return f"no {_RECORDS[family]} record"
    return f"the name cannot be looked up: {error.strerror or error}"


_NO_RECORD = frozenset(
    getattr(socket, name) for name in ("EAI_NODATA", "EAI_ADDRFAMILY", "EAI_FAMILY") if hasattr(socket, name)
)


def _numeric(host: str) -> str | None:
    plain, percent, scope = host.partition("%")
    try:
        return f"{ipaddress.ip_address(plain)}{percent}{scope}"
    except ValueError:
        return None
