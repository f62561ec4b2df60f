"""`query`: ask a STUN server where we are seen, over any transport, and tell what was tried and what came back.

From the URI to the answer: the DNS questions (`stun.discovery`), the addresses of each host as they are found, attempts
at them in the order and at the pace of RFC 8305, and in each attempt one Binding request.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import Literal

from fasticePy.aio.credentials import CredentialSource
from fasticePy.aio.diary import Diary
from fasticePy.aio.discover import find_targets
from fasticePy.aio.dns import DnsResolver
from fasticePy.aio.race import Race
from fasticePy.aio.resolver import Resolver
from fasticePy.aio.servers import IceServer, as_servers
from fasticePy.aio.trial import Ending, Trial, TrialOptions
from fasticePy.stun import (
    Attribute,
    IntegrityKey,
    LongTermCredentials,
    MessageBuilder,
    MessageClass,
    Method,
    mapped_address,
)
from fasticePy.stun.client_auth import Credentials
from fasticePy.stun.discovery import (
    SECURE,
    TRANSPORTS,
    DiscoveryError,
    Target,
    Transport,
    default_transport,
    usable_transports,
)
from fasticePy.stun.outcome import QueryResult, StunError
from fasticePy.stun.uri import ServerUrl, parse_server_url

TIMEOUT = 10.0
"""Seconds for everything: resolution, connecting, the answer."""
PATIENCE = 45.0
"""Seconds for one server when there is no limit: a transaction takes 39.5 (RFC 8489 6.2), and names some more."""
MAX_SAID = 6
"""Attempts that the text of an error names; `attempts` has all."""


async def query(
    server: str | ServerUrl | IceServer | Mapping[str, object],
    *,
    transport: Transport | None = None,
    family: Literal[4, 6] | None = None,
    local: str | None = None,
    attributes: Sequence[tuple[int, object]] = (),
    credentials: Credentials | None = None,
    key: IntegrityKey | None = None,
    timeout: float | None = TIMEOUT,
    ssl_context: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    resolver: Resolver | None = None,
) -> QueryResult:
    """Ask a STUN server for the address that it sees us at (RFC 8489 Binding).

    ```python
    result = await stun.query("stun:stun.example.org")
    print(result.mapped_address, result.rtt)
    ```
    `server` is a `stun:` or `stuns:` URI, or `turn:` or `turns:`, whose servers answer too; or an RTCIceServer, whose
    URLs are asked one after the other. Names are looked up as RFC 8489 8 and RFC 5928 say: SRV (and for `turn:` NAPTR)
    records, unless there is a port, then A and AAAA. Over UDP all addresses of a host are asked at the same time, over
    TCP and TLS as RFC 8305 says, and the first answer counts; the next server of the SRV records comes when none does.

    `transport` is "udp", "tcp", "tls" or "dtls" (which needs the extra `fasticePy[dtls]`) instead of the URI's own.
    `family` is 4 or 6 for servers of that family alone; `local` a numeric address of this host to ask from.
    `attributes` go into the request. `credentials` are for servers that ask for them, those of an RTCIceServer are used
    as they are; a `key` signs the request where the attributes that go with it are given. `timeout` is in seconds, for
    all of it; None waits 39.5 s for each server. `ssl_context` replaces the default one, which verifies certificates;
    `server_hostname` is the name to verify when it is not the URI's, and lets `stuns:` have an IP address. `resolver`
    answers instead of the operating system and its name servers.

    Raises StunError, whose text and `attempts` say what was tried and what came back; ParseError for a URI that is
    none; ValueError and TypeError for other mistakes in the arguments. A function that gives the credential of an
    RTCIceServer is asked before `timeout` begins; CredentialError says that it failed.
    """
    urls, credentials = await _read(server, server_hostname, credentials)
    _check(family, transport, timeout)
    _check_request(attributes, credentials, key)
    source = None if local is None else _numeric(local)
    if source is not None:
        family = _family(source, family)
    options = TrialOptions(
        local=source,
        attributes=tuple(attributes),
        credentials=credentials,
        key=key,
        ssl_context=ssl_context,
    )
    return await _Query(
        options,
        transport=transport,
        families=frozenset({4, 6} if family is None else {family}),
        timeout=timeout,
        resolver=resolver if resolver is not None else DnsResolver(),
    ).run(urls)


async def _read(
    server: str | ServerUrl | IceServer | Mapping[str, object],
    tls_name: str | None,
    credentials: Credentials | None,
) -> tuple[tuple[ServerUrl, ...], Credentials | None]:
    """The URLs, with the name to verify, and the credentials."""
    if isinstance(server, str):
        return (parse_server_url(server, tls_name=tls_name),), credentials
    if isinstance(server, ServerUrl):
        urls: tuple[ServerUrl, ...] = (server,)
    else:
        (ice_server,) = as_servers(server)
        urls = ice_server.parsed
        credential = ice_server.credential
        if credentials is None and callable(credential):
            async with CredentialSource(ice_server) as source:
                credentials = (await source.get()).mechanism
        elif credentials is None and ice_server.username is not None and isinstance(credential, str):
            credentials = LongTermCredentials(ice_server.username, credential)
    return tuple(replace(url, tls_name=tls_name) for url in urls) if tls_name else urls, credentials


def _check(family: int | None, transport: str | None, timeout: float | None) -> None:
    if family not in (None, 4, 6):
        raise ValueError(f"family is 4 or 6, not {family!r}")
    if transport is not None and transport not in TRANSPORTS:
        raise ValueError(f"transport is udp, tcp, tls or dtls, not {transport!r}")
    if timeout is not None and not timeout > 0:
        raise ValueError("timeout is a number of seconds above 0, or None")


def _check_request(
    attributes: Sequence[tuple[int, object]], credentials: Credentials | None, key: IntegrityKey | None
) -> None:
    """Raises ValueError and TypeError for what could not be sent to anybody."""
    if credentials is not None and key is not None:
        raise ValueError("a request is signed with credentials or with a key")
    builder = MessageBuilder(Method.BINDING, MessageClass.REQUEST)
    for attribute, value in attributes:
        builder.add(attribute, value)


def _numeric(local: str) -> str:
    """Raises ValueError when the address is not numeric."""
    plain, percent, scope = local.partition("%")
    return f"{ip_address(plain)}{percent}{scope}"


def _family(local: str, wanted: Literal[4, 6] | None) -> Literal[4, 6]:
    own: Literal[4, 6] = 6 if ":" in local else 4
    if wanted not in (None, own):
        raise ValueError(f"local: {local} is not an IPv{wanted} address")
    return own


class _Query:
    """One call of `query`."""

    def __init__(
        self,
        options: TrialOptions,
        *,
        transport: Transport | None,
        families: frozenset[int],
        timeout: float | None,
        resolver: Resolver,
    ) -> None:
        self._options = options
        self._transport: Transport | None = transport
        self._families = families
        self._resolver = resolver
        self._loop = asyncio.get_running_loop()
        self._diary = Diary(self._loop.time())
        self._deadline = None if timeout is None else self._diary.begun + timeout

    async def run(self, urls: Sequence[ServerUrl]) -> QueryResult:
        """Raises StunError."""
        reasons: list[str] = []
        for place, url in enumerate(urls):
            others = len(urls) - place - 1
            try:
                targets = await self._find(url, self._share(1 + others))
            except DiscoveryError as error:
                reasons.append(str(error))
                continue
            if not targets:
                reasons.append(f"{url}: its domain says that there is no such server")
            for index, target in enumerate(targets):
                won = await self._race(url, target, self._share(len(targets) - index + others))
                if won is not None:
                    return self._result(url, *won)
        raise StunError(self._summary(urls, reasons), self._diary.in_order())

    async def _race(self, url: ServerUrl, target: Target, deadline: float) -> tuple[Trial, Ending] | None:
        options = replace(
            self._options,
            tls_name=url.tls_name or url.host.removesuffix("."),  # not that of an SRV record (RFC 8489 6.2.3)
            alpn="stun.turn" if url.relay else "stun.nat-discovery",
        )
        race = Race(
            target,
            options,
            resolver=self._resolver,
            families=self._families,
            deadline=deadline,
            diary=self._diary,
        )
        return await race.run()

    def _share(self, parts: int) -> float:
        """When to stop trying one of the `parts` servers that are left, so that each gets its time."""
        now = self._loop.time()
        return now + PATIENCE if self._deadline is None else now + max(0.0, self._deadline - now) / parts

    async def _find(self, url: ServerUrl, deadline: float) -> Sequence[Target]:
        transport = self._transport or default_transport(url)
        usable_transports(url, (transport,))
        if transport in SECURE and url.numeric and url.tls_name is None:  # RFC 7350 4.1.1
            raise DiscoveryError(
                f"{url}: a certificate proves a name, so an address needs server_hostname beside it"
            )
        return await find_targets(url, transport, self._resolver, deadline=deadline, diary=self._diary)

    # -- the end

    def _result(self, url: ServerUrl, trial: Trial, ending: Ending) -> QueryResult:
        message = ending.response
        assert message is not None
        mapped = mapped_address(message)
        assert mapped is not None
        return QueryResult(
            url=str(url),
            transport=trial.transport,
            server=ending.server,
            mapped_address=mapped,
            local_address=ending.local,
            rtt=ending.rtt,
            setup=ending.setup,
            software=message.get(Attribute.SOFTWARE),
            realm=ending.realm,
            authenticated=ending.authenticated,
            other_address=message.get(Attribute.OTHER_ADDRESS),
            response_origin=message.get(Attribute.RESPONSE_ORIGIN),
            attempts=self._diary.in_order(),
        )

    def _summary(self, urls: Sequence[ServerUrl], reasons: Sequence[str]) -> str:
        """What to say when nobody answered: what was tried, the questions to the DNS only where they failed."""
        told = [str(attempt) for attempt in self._diary.in_order() if not attempt.ok]
        asked = [attempt for attempt in self._diary.attempts if attempt.what != "dns"]
        if asked:  # the DNS did what it had to
            told = [str(attempt) for attempt in self._diary.in_order() if attempt.what != "dns"]
        lines = [*reasons, *told]
        if len(lines) > MAX_SAID:
            lines[MAX_SAID:] = [f"and {len(lines) - MAX_SAID} more"]
        return "; ".join(lines) if reasons else f"{', '.join(map(str, urls))}: {'; '.join(lines)}"
