"""Asking the DNS where a server is: runs `stun.discovery.Discovery` against a resolver."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence

from fasticePy.aio.diary import Diary
from fasticePy.aio.dns import DnsError, RecordResolver
from fasticePy.aio.resolver import Resolver
from fasticePy.machine import Address
from fasticePy.stun.discovery import Discovery, Question, Record, Target, Transport
from fasticePy.stun.outcome import Outcome
from fasticePy.stun.uri import ServerUrl

RECORDS_SHARE = 3
"""Service records may take the third part of the time: some networks never answer such questions, and the addresses of
the host and the server itself are to be asked after that."""


async def find_targets(
    url: ServerUrl, transport: Transport, resolver: Resolver, *, deadline: float, diary: Diary
) -> Sequence[Target]:
    """What to try for a URI, best first; nothing when the DNS says that there is no such server. Ends long before
    `deadline` (loop time). Raises DiscoveryError when the URI does not go with the transport."""
    search = Discovery(url, transports=(transport,), rng=os.urandom)
    while search.questions:
        answers = await asyncio.gather(*(_ask(each, resolver, deadline, diary) for each in search.questions))
        search.answer(dict(zip(search.questions, answers, strict=True)))
    return search.targets


async def _ask(question: Question, resolver: Resolver, deadline: float, diary: Diary) -> Sequence[Record]:
    """The records; none when the DNS does not say, for then the host itself is asked (RFC 2782)."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    if not isinstance(resolver, RecordResolver):
        diary.note("dns", str(question), "unusable", "the resolver knows addresses only", began, began)
        return ()
    asking = asyncio.ensure_future(resolver.records(question))
    try:
        await asyncio.wait({asking}, timeout=max(0.0, deadline - began) / RECORDS_SHARE)
    finally:
        asking.cancel()
        await asyncio.wait({asking})
    outcome, detail, records = _told(asking)
    now = loop.time()
    diary.note("dns", str(question), outcome, detail or f"no answer within {now - began:.1f} s", began, now)
    return records


def _told(asking: asyncio.Future[Sequence[Record]]) -> tuple[Outcome, str, Sequence[Record]]:
    if asking.cancelled():
        return "timeout", "", ()
    error = asking.exception()
    if isinstance(error, DnsError):
        return "unresolved", str(error), ()
    if error is not None:  # an application's resolver may do anything
        return "unresolved", f"the resolver failed: {error!r}", ()
    records = asking.result()
    if not records:
        return "unresolved", "no such record", ()
    return "ok", f"{len(records)} record{'s' * (len(records) != 1)}", records


async def find_addresses(
    target: Target, families: frozenset[int], resolver: Resolver, *, deadline: float, diary: Diary
) -> list[Address]:
    """The addresses of a target's host, both families asked at the same time; those known at `deadline` (loop time)."""
    if target.numeric:
        family = 6 if ":" in target.host else 4
        return [(target.host, target.port)] if family in families else []
    loop = asyncio.get_running_loop()
    began = loop.time()
    answer = _Answer(loop)
    lookup = resolver.resolve(target.host, target.port, answer, ipv4=4 in families, ipv6=6 in families)
    try:
        await asyncio.wait({answer.ended}, timeout=max(0.0, deadline - began))
    finally:
        lookup.cancel()
    outcome: Outcome = "ok" if answer.found else "unresolved"
    hosts = ", ".join(dict.fromkeys(host for host, _ in answer.found))
    if not answer.ended.done() and not answer.found:
        outcome, answer.failure = "timeout", f"no answer within {loop.time() - began:.1f} s"
    diary.note(
        "dns", address_question(target.host, families), outcome, hosts or answer.failure, began, loop.time()
    )
    return list(dict.fromkeys(answer.found))


def address_question(host: str, families: frozenset[int]) -> str:
    """The question for the addresses of a host, as reports have it."""
    return (
        " and ".join(record for family, record in ((4, "A"), (6, "AAAA")) if family in families) + f" {host}"
    )


class _Answer:
    """Collects what a lookup finds."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.found: list[Address] = []
        self.failure = "no addresses"
        self.ended: asyncio.Future[None] = loop.create_future()

    def addresses_found(self, addresses: Sequence[Address], final: bool) -> None:
        """See `LookupHandler`."""
        self.found += addresses
        if final:
            self._end()

    def lookup_failed(self, reason: str) -> None:
        """See `LookupHandler`."""
        self.failure = reason
        self._end()

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
