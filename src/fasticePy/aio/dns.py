"""SRV and NAPTR records, through `dnspython`. Addresses come from the operating system, as ever (`resolver`).

`dnspython` is imported when the first such record is asked for: a URI with an address or a port needs none.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from fasticePy.aio.resolver import TIMEOUT, GetAddrInfo, Resolver, SystemResolver
from fasticePy.machine import Address
from fasticePy.stun.discovery import MAX_RECORDS, NaptrRecord, Question, Record, SrvRecord

if TYPE_CHECKING:
    from dns.asyncresolver import Resolver as DnsPythonResolver
    from dns.rdata import Rdata

RECORDS_TIMEOUT = 2.0
"""Seconds. Some home routers never answer a question of these types, and the host's addresses do without."""


class DnsError(OSError):
    """The DNS did not answer a question; the text says why."""


@runtime_checkable
class RecordResolver(Resolver, Protocol):
    """A resolver that knows service records besides addresses; an application may bring its own."""

    async def records(self, question: Question) -> Sequence[Record]:
        """The records, none when there are none. Raises DnsError."""
        ...


class DnsResolver(SystemResolver):
    """The operating system's resolver for addresses, its name servers for service records."""

    def __init__(
        self,
        *,
        timeout: float = TIMEOUT,
        records_timeout: float = RECORDS_TIMEOUT,
        name_servers: Sequence[Address] = (),
        getaddrinfo: GetAddrInfo = socket.getaddrinfo,
    ) -> None:
        """`timeout` is for addresses, `records_timeout` for service records (seconds). `name_servers` are asked for
        service records instead of the system's."""
        super().__init__(timeout=timeout, getaddrinfo=getaddrinfo)
        self.records_timeout = records_timeout
        self._name_servers = tuple(name_servers)
        self._resolver: DnsPythonResolver | None = None

    async def records(self, question: Question) -> Sequence[Record]:
        """The records, none when the name or such records do not exist. Raises DnsError."""
        try:
            if self._resolver is None:  # files are read: not in the event loop
                self._resolver = await asyncio.to_thread(_make_resolver, self._name_servers)
            return await _ask(self._resolver, question, self.records_timeout)
        except ImportError as error:
            raise DnsError(f"service records need the package dnspython: {error}") from None


def _make_resolver(name_servers: Sequence[Address]) -> DnsPythonResolver:
    from dns import asyncresolver, exception, nameserver  # noqa: PLC0415

    try:
        resolver = asyncresolver.Resolver(configure=not name_servers)
    except exception.DNSException as error:
        raise DnsError(f"this host's name servers are not known: {error}") from None
    if name_servers:
        resolver.nameservers = [nameserver.Do53Nameserver(host, port) for host, port in name_servers]
    return resolver


async def _ask(resolver: DnsPythonResolver, question: Question, timeout: float) -> list[Record]:
    from dns import exception  # noqa: PLC0415
    from dns.resolver import NXDOMAIN, LifetimeTimeout, NoNameservers  # noqa: PLC0415

    try:
        answer = await resolver.resolve(
            f"{question.name.removesuffix('.')}.", question.type, lifetime=timeout, raise_on_no_answer=False
        )
    except NXDOMAIN:
        return []
    except LifetimeTimeout:
        raise DnsError(f"the name servers did not answer within {timeout:g} s") from None
    except NoNameservers:
        raise DnsError("the name servers answered with failures") from None
    except (exception.DNSException, OSError, ValueError) as error:
        raise DnsError(f"the question failed: {error}") from error
    found = (_record(rdata) for rdata in list(answer.rrset or ())[:MAX_RECORDS])
    return [record for record in found if record is not None]


def _record(rdata: Rdata) -> Record | None:
    from dns.rdtypes.IN.NAPTR import NAPTR  # noqa: PLC0415
    from dns.rdtypes.IN.SRV import SRV  # noqa: PLC0415

    if isinstance(rdata, SRV):
        return SrvRecord(rdata.priority, rdata.weight, rdata.port, rdata.target.to_text())
    if isinstance(rdata, NAPTR):
        flags, services, regexp = (
            text.decode("ascii", "replace") for text in (rdata.flags, rdata.service, rdata.regexp)
        )
        return NaptrRecord(
            rdata.order, rdata.preference, flags, services, regexp, rdata.replacement.to_text()
        )
    return None
