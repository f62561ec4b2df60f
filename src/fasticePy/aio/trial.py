"""One attempt at one address of a STUN server: connect if need be, ask, and say in words what came of it."""

from __future__ import annotations

import asyncio
import errno
import importlib
import os
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fasticePy.aio.host import source_towards
from fasticePy.aio.stun_client import StunClient
from fasticePy.aio.stun_stream import StunStream, connect_tcp, open_stream
from fasticePy.aio.tls import Alpn, TlsError, client_context
from fasticePy.machine import Address, Event
from fasticePy.stun import (
    Challenged,
    ErrorCode,
    IntegrityKey,
    Message,
    Method,
    Redirected,
    RequestFailed,
    ResponseReceived,
    mapped_address,
)
from fasticePy.stun.client_auth import Credentials
from fasticePy.stun.discovery import Transport
from fasticePy.stun.outcome import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialOptions:
    """How to ask."""

    local: str | None = None
    attributes: Sequence[tuple[int, object]] = ()
    credentials: Credentials | None = None
    key: IntegrityKey | None = None
    ssl_context: ssl.SSLContext | None = None
    tls_name: str = ""
    """The name that the server's certificate must have."""
    alpn: Alpn = "stun.nat-discovery"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a trial ended."""

    outcome: Outcome
    detail: str
    code: int | None = None
    response: Message | None = None
    server: Address = ("", 0)
    """Who answered: another one after a redirection."""
    local: Address = ("", 0)
    rtt: float | None = None
    setup: float = 0.0
    realm: str | None = None
    authenticated: bool = False


class Trial:
    """Asks once. `run` gives the ending; when it is cancelled, `expired` and `overtaken` do."""

    def __init__(
        self,
        transport: Transport,
        address: Address,
        options: TrialOptions,
        on_established: Callable[[Trial], None],
    ) -> None:
        """`on_established(self)` is called when a connection stands, and the server is who it should be."""
        self.transport: Transport = transport
        self.address = address
        self._options = options
        self._on_established = on_established
        self._client = StunClient(on_event=self._heard)
        self._connections: list[_Closable] = []
        self._locals: dict[int, Address] = {}
        self._waits_for = "answer"
        self._setup = 0.0
        self._realm: str | None = None
        self._redirection: asyncio.Task[None] | None = None

    async def run(self) -> Ending:
        """Never raises anything but CancelledError."""
        try:
            socket = await self._way_to(self.address, self._options.tls_name)
            if self.transport in ("tcp", "tls"):
                self._on_established(self)
            return await self._ask(socket)
        except (OSError, ValueError, ImportError) as error:
            return self._not_reached(error)
        finally:
            await self._close()

    def expired(self, seconds: float) -> Ending:
        """Time was over after `seconds`."""
        if self._waits_for != "answer":
            return Ending(outcome="timeout", detail=f"no {self._waits_for} within {seconds:.1f} s")
        return self._silence(f"no answer within {seconds:.1f} s")

    @staticmethod
    def overtaken() -> Ending:
        """Another one was faster."""
        return Ending(outcome="overtaken", detail="given up: another address was faster")

    # -- the way there

    async def _way_to(self, address: Address, tls_name: str) -> int:
        """A socket of the client from which `address` can be asked. Raises OSError and ValueError."""
        if self.transport == "udp":
            return self._open_udp(address)
        if self.transport == "dtls":
            return await self._associate(address, tls_name)
        return await self._connect(address, tls_name)

    def _open_udp(self, address: Address) -> int:
        socket, bound = self._client.open_udp(self._any(address))
        self._locals[socket] = _seen_from(bound, address)
        return socket

    def _any(self, address: Address) -> Address:
        """Where to bind a UDP socket that is for `address`."""
        return self._options.local or ("::" if ":" in address[0] else "0.0.0.0"), 0

    async def _connect(self, address: Address, tls_name: str) -> int:
        loop = asyncio.get_running_loop()
        secure = self.transport == "tls"
        context = await self._context() if secure else None
        began = loop.time()
        self._waits_for = "connection"
        local = self._options.local
        sock = await connect_tcp((local, 0) if local is not None else None, address)
        self._waits_for = "end of the TLS handshake" if secure else "answer"
        stream = StunStream(self._client.reserve(), address, self._client)
        self._client.attach(stream.id, stream)
        self._connections.append(stream)
        await open_stream(sock, stream, tls=context, tls_name=tls_name)
        self._setup = loop.time() - began
        self._waits_for = "answer"
        self._locals[stream.id] = stream.local
        return stream.id

    async def _associate(self, address: Address, tls_name: str) -> int:
        await asyncio.to_thread(importlib.import_module, "fasticePy.aio.dtls")  # it takes a while
        from fasticePy.aio.dtls import DtlsChannel  # noqa: PLC0415 - it needs an extra

        loop = asyncio.get_running_loop()
        began = loop.time()
        self._waits_for = "end of the DTLS handshake"
        channel = DtlsChannel(self._client.reserve(), address, self._client, self._client.agent.counters)
        self._client.attach(channel.id, channel)
        self._connections.append(channel)
        options = self._options
        await channel.open(self._any(address), tls_name, alpn=options.alpn, tls=options.ssl_context)
        self._setup = loop.time() - began
        self._waits_for = "answer"
        self._locals[channel.id] = _seen_from(channel.local, address)
        return channel.id

    async def _context(self) -> ssl.SSLContext:
        if self._options.ssl_context is not None:
            return self._options.ssl_context
        return await asyncio.to_thread(
            client_context, self._options.alpn
        )  # it reads hundreds of certificates

    async def _close(self) -> None:
        if self._redirection is not None:
            self._redirection.cancel()
            await asyncio.gather(self._redirection, return_exceptions=True)
        for connection in self._connections:
            await connection.close()
        await self._client.close()

    # -- asking

    async def _ask(self, socket: int) -> Ending:
        options = self._options
        result = await self._client.request(
            socket,
            self.address,
            Method.BINDING,
            options.attributes,
            credentials=options.credentials,
            key=options.key,
            stream=self.transport in ("tcp", "tls"),
            redirects=True,
        )
        return self._answered(result) if isinstance(result, ResponseReceived) else self._failed(result)

    def _heard(self, event: Event) -> None:
        if isinstance(event, Challenged):
            self._realm = event.realm
        elif isinstance(event, Redirected):
            self._redirection = asyncio.ensure_future(self._redirect(event))

    async def _redirect(self, event: Redirected) -> None:
        """Go on at another server, over the same transport (RFC 8489 10)."""
        try:
            socket = await self._way_to(event.alternate, event.domain or self._options.tls_name)
        except (OSError, ValueError, ImportError) as error:
            host, port = event.alternate
            reason = self._not_reached(error).detail
            self._client.decline(event.request, f"redirected to {host} port {port}: {reason}")
        else:
            self._client.follow(event.request, socket)

    # -- endings

    def _answered(self, result: ResponseReceived) -> Ending:
        mapped = mapped_address(result.message)
        assert mapped is not None  # or the machine had failed it
        host = f"[{mapped[0]}]" if ":" in mapped[0] else mapped[0]
        return Ending(
            outcome="ok",
            detail=f"you are {host}:{mapped[1]}",
            response=result.message,
            server=result.address,
            local=self._locals[result.socket],
            rtt=result.rtt,
            setup=self._setup,
            realm=self._realm,
            authenticated=result.authenticated,
        )

    def _failed(self, result: RequestFailed) -> Ending:
        if result.reason == "timeout":
            return self._silence(result.detail)
        outcome: Outcome = result.reason
        if result.code == ErrorCode.UNAUTHENTICATED:
            outcome = "unauthenticated"
        elif outcome == "unreachable" and self._setup and self._redirection is None:
            outcome = "closed"  # there was a connection
        return Ending(
            outcome=outcome,
            detail=result.detail,
            code=result.code,
            response=result.message,
        )

    def _silence(self, detail: str) -> Ending:
        """Nobody answered; but perhaps something came."""
        counters = self._client.agent.counters
        if self._client.sends != 1:
            detail += f", asked {self._client.sends} times"
        hints = [hint for reason, hint in _HINTS.items() if counters[reason]]
        outcome: Outcome = "integrity violated" if counters["integrity violated"] else "timeout"
        return Ending(outcome=outcome, detail="; ".join([detail, *hints]))

    def _not_reached(self, error: OSError | ValueError | ImportError) -> Ending:
        """There is no way to the server, and this is why."""
        if isinstance(error, ImportError):
            detail = f"DTLS needs pyOpenSSL, which pip install 'fasticePy[dtls]' brings ({error})"
            return Ending(outcome="unusable", detail=detail)
        if isinstance(error, ValueError):
            return Ending(outcome="unusable", detail=str(error))
        if isinstance(error, TlsError):
            return Ending(outcome="certificate" if error.certificate else "tls", detail=str(error))
        if error.errno in _LOCAL:
            return Ending(outcome="unusable", detail=_in_words(error))
        if self._waits_for == "end of the TLS handshake":
            detail = "the server closed the connection during the TLS handshake"
            return Ending(outcome="closed", detail=detail)
        return Ending(outcome="unreachable", detail=_in_words(error))


def _seen_from(bound: Address, server: Address) -> Address:
    """Where a socket that is bound to a wildcard address sends from."""
    host, port = bound
    if host in ("0.0.0.0", "::"):
        host = source_towards(server[0]) or host
    return host, port


class _Closable(Protocol):
    async def close(self) -> None:
        """Close it."""


def _in_words(error: OSError) -> str:
    """asyncio puts texts of its own into errors of `connect`."""
    return os.strerror(error.errno).lower() if error.errno else str(error.strerror or error)


_HINTS = {
    "integrity violated": "answers came without the right integrity",
    "resent after 5xx": "the server keeps answering with an error 5xx",
    "response from elsewhere": "answers came from another address",
    "response of another method": "answers to another method came",
    "unknown transaction": "answers to other requests came",
    "bad fingerprint": "answers with a wrong fingerprint came",
    "malformed": "malformed messages came",
    "not STUN": "something came that is not STUN",
}
"""What a machine counts while it waits, in words."""
_LOCAL = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EADDRINUSE, errno.EMFILE, errno.ENFILE})
