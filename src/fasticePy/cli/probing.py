"""What `fasticepy probe` finds out: one server by every transport and both families, all at the same time."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Literal, TypeAlias

from fasticePy.aio.diary import Diary
from fasticePy.aio.discover import address_question, find_addresses, find_targets
from fasticePy.aio.dns import DnsResolver
from fasticePy.aio.host import source_towards
from fasticePy.aio.query import query
from fasticePy.aio.resolver import Resolver
from fasticePy.machine import Address
from fasticePy.stun import Attribute
from fasticePy.stun.client_auth import Credentials
from fasticePy.stun.discovery import SECURE, DiscoveryError, Target, Transport, default_transport
from fasticePy.stun.outcome import Attempt, Outcome, QueryResult, StunError
from fasticePy.stun.uri import DEFAULT_TLS_PORT, ServerUrl

UNWANTED_TIMEOUT = 2.0
"""Seconds, at most, for transports that the URL does not ask for: most servers are silent there."""
HEAD_START = 0.5
"""Seconds, at most, before those are tried."""
MAX_TARGETS = 4
"""Servers of the SRV records of one transport that are tried."""

CheckStatus: TypeAlias = Literal["ok", "asks for credentials", "failed", "skipped"]
ServerStatus: TypeAlias = Literal["ok", "degraded", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeOptions:
    """How to probe."""

    credentials: Credentials | None = None
    families: frozenset[int] = frozenset({4, 6})
    timeout: float = 5.0
    """Seconds for the resolution, and for each check."""
    tls_context: ssl.SSLContext | None = None
    dtls_context: ssl.SSLContext | None = None
    resolver: Resolver | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One transport at one address."""

    transport: Transport
    wanted: bool
    """Whether the URL asks for this transport; others are tried for information."""
    status: CheckStatus
    detail: str
    address: Address | None = None
    reason: Outcome = "ok"
    code: int | None = None
    realm: str | None = None
    result: QueryResult | None = None
    took: float = 0.0

    @property
    def family(self) -> Literal[4, 6] | None:
        """Of the address, if there is one."""
        if self.address is None:
            return None
        return 6 if ":" in self.address[0] else 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerReport:
    """Everything that was found out about one server."""

    url: str
    resolution: tuple[Attempt, ...]
    checks: tuple[Check, ...]
    with_credentials: bool
    took: float

    @property
    def status(self) -> ServerStatus:
        """What it comes to. "ok": the transport of the URL works over every family that this host has a way for.
        "degraded": over some only, or the server asks for credentials, or other transports alone work. "failed":
        nothing works."""
        wanted = [check.status for check in self.checks if check.wanted and check.status != "skipped"]
        if wanted and set(wanted) == {"ok"}:
            return "ok"
        answered = any(check.status in ("ok", "asks for credentials") for check in self.checks)
        return "degraded" if answered else "failed"

    @property
    def software(self) -> str | None:
        """What the server says that it is."""
        return next(
            (each.result.software for each in self.checks if each.result and each.result.software), None
        )


async def probe(url: ServerUrl, options: ProbeOptions) -> ServerReport:
    """Find out what there is to know about a server. Never raises for anything that the network or the server does."""
    return await _Probe(url, options).run()


def transports_to_try(url: ServerUrl) -> list[tuple[ServerUrl, Transport, bool]]:
    """The URL for each transport, and whether it is the one that the URL asks for. A URL that names a transport is
    about that one alone; secured ones need a name that a certificate can prove."""
    own = default_transport(url)
    if url.relay and url.transport_given:
        return [(url, own, True)]
    secure = replace(
        url,
        scheme=url.scheme.removesuffix("s") + "s",
        port=url.port if url.port_given else DEFAULT_TLS_PORT,
    )
    provable = not url.numeric or url.tls_name is not None
    plan: list[tuple[ServerUrl, Transport, bool]] = []
    if not url.secure:
        plan.extend([(url, "udp", own == "udp"), (url, "tcp", own == "tcp")])
    if provable or url.secure:
        plan.extend([(secure, "tls", own == "tls"), (secure, "dtls", own == "dtls")])
    return plan


class _Probe:
    def __init__(self, url: ServerUrl, options: ProbeOptions) -> None:
        self._url = url
        self._options = options
        self._resolver = options.resolver or DnsResolver()
        self._loop = asyncio.get_running_loop()
        self._diary = Diary(self._loop.time())
        self._deadline = self._diary.begun + options.timeout
        self._addresses: dict[str, asyncio.Task[list[Address]]] = {}

    async def run(self) -> ServerReport:
        try:
            plan = transports_to_try(self._url)
        except DiscoveryError as error:
            return self._report([Check(transport="udp", wanted=True, status="failed", detail=str(error))])
        tasks = []
        for wanted in (True, False):
            tasks += [asyncio.ensure_future(self._try_transport(*each)) for each in plan if each[2] is wanted]
            if tasks:  # handshakes take time of the processor that would count as that of the network
                await asyncio.wait(tasks, timeout=HEAD_START if wanted else None)
        return self._report([check for task in tasks for check in task.result()])

    def _report(self, checks: Sequence[Check]) -> ServerReport:
        return ServerReport(
            url=str(self._url),
            resolution=self._diary.in_order(),
            checks=tuple(checks),
            with_credentials=self._options.credentials is not None,
            took=self._loop.time() - self._diary.begun,
        )

    async def _try_transport(self, url: ServerUrl, transport: Transport, wanted: bool) -> list[Check]:
        targets = await find_targets(
            url, transport, self._resolver, deadline=self._deadline, diary=self._diary
        )
        check = partial(Check, transport=transport, wanted=wanted)
        if not targets:
            return [check(status="failed", detail="its domain says that there is no such server")]
        found = [address for target in targets[:MAX_TARGETS] for address in await self._find(target)]
        if not found:
            return [check(status="failed", detail=self._why_not_found(targets[0]), reason="unresolved")]
        return list(await asyncio.gather(*(self._check(url, each, transport, wanted) for each in found)))

    async def _find(self, target: Target) -> list[Address]:
        """The first address of each family of a host, which is looked up once."""
        families = self._options.families
        task = self._addresses.get(target.host)
        if task is None:
            task = self._addresses[target.host] = asyncio.ensure_future(
                find_addresses(target, families, self._resolver, deadline=self._deadline, diary=self._diary)
            )
        by_family = groupby(sorted(await task, key=_family), _family)
        return [(next(addresses)[0], target.port) for _, addresses in by_family]

    def _why_not_found(self, target: Target) -> str:
        if target.numeric:
            return f"there is no IPv{min(self._options.families)} address"
        question = address_question(target.host, self._options.families)
        return next(each.detail for each in self._diary.attempts if each.target == question)

    async def _check(self, url: ServerUrl, address: Address, transport: Transport, wanted: bool) -> Check:
        check = partial(Check, transport=transport, wanted=wanted, address=address)
        if source_towards(address[0]) is None:
            return check(status="skipped", detail=f"this host has no way to IPv{_family(address)} addresses")
        began = self._loop.time()
        numeric = replace(
            url,
            host=address[0],
            port=address[1],
            port_given=True,
            tls_name=(url.tls_name or url.host) if transport in SECURE else None,
        )
        try:
            result = await query(
                numeric,
                transport=transport,
                credentials=self._options.credentials,
                timeout=self._options.timeout if wanted else min(self._options.timeout, UNWANTED_TIMEOUT),
                ssl_context=self._options.dtls_context if transport == "dtls" else self._options.tls_context,
            )
        except StunError as error:
            return _failed(check, error, self._loop.time() - began)
        return check(
            status="ok",
            detail="",
            realm=result.realm,
            result=result,
            took=self._loop.time() - began,
        )


def _failed(check: partial[Check], error: StunError, took: float) -> Check:
    if not error.attempts:
        return check(status="failed", detail=str(error), reason="unusable", took=took)
    attempt = error.attempts[-1]
    realm = attempt.response.get(Attribute.REALM) if attempt.response is not None else None
    status: CheckStatus = "failed"
    if attempt.outcome == "unauthenticated":
        status = "asks for credentials"
    elif attempt.outcome == "unusable":
        status = "skipped"
    return check(
        status=status,
        detail=attempt.detail,
        reason=attempt.outcome,
        code=attempt.code,
        realm=realm,
        took=took,
    )


def _family(address: Address) -> int:
    return 6 if ":" in address[0] else 4
