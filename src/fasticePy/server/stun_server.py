"""`StunServer`: a STUN Binding server (RFC 8489) on UDP, TCP, TLS and DTLS that a program starts in one line."""

from __future__ import annotations

import importlib
import os
import ssl
from collections import Counter
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from fasticePy.errors import StateError
from fasticePy.machine import Address
from fasticePy.server import tls
from fasticePy.server.certificate import Certificate
from fasticePy.server.limits import ServerLimits
from fasticePy.server.listening import Listener, is_wildcard, local_addresses, parse_listen
from fasticePy.server.runtime import ServerRuntime
from fasticePy.stun import BindingServer
from fasticePy.stun.discovery import Transport
from fasticePy.stun.server_auth import Authentication, Authenticator, ShortTermAuthenticator
from fasticePy.stun.uri import ServerUrl

if TYPE_CHECKING:
    from OpenSSL import SSL


class StunServer:
    """Tells whoever asks from which address the question came.

    ```python
    async with StunServer(listen=["127.0.0.1:0"]) as server:
        print(server.urls)
    ```
    By default nothing is authenticated and nothing is remembered: answering costs no memory. Connections are limited
    by `limits`. An answer leaves from the address that was asked, on wildcard addresses too.
    """

    def __init__(
        self,
        listen: Sequence[str] = ("127.0.0.1:0",),
        *,
        udp: bool = True,
        tcp: bool = True,
        tls_listen: Sequence[str] = (),
        certificate: Certificate | None = None,
        ssl_context: ssl.SSLContext | None = None,
        dtls: bool = False,
        users: Mapping[str, str] | None = None,
        realm: str | None = None,
        authentication: Authentication | None = None,
        software: str | None = None,
        limits: ServerLimits | None = None,
    ) -> None:
        """`listen` holds numeric addresses with ports, such as `0.0.0.0:3478` and `[::]:3478`, each of its own family;
        with port 0 a free port is taken, the same for UDP and TCP.

        With `certificate`, or an `ssl_context` of your own, the TCP ports of `listen` take TLS too; those of
        `tls_listen` take nothing else. With `dtls` the same goes for UDP; it needs a `certificate` and pyOpenSSL.

        `users` are passwords by name: with `realm` by the long-term mechanism, without by the short-term one (RFC 8489
        9). `authentication` is anything else that judges requests.

        `software` is sent as SOFTWARE; by default nothing is, so that answers stay small and tell no version.

        Raises ValueError for addresses that cannot be read and options that do not fit together, ImportError when
        pyOpenSSL is needed and missing.
        """
        if not (listen or tls_listen) or not (udp or tcp):
            raise ValueError("a server needs an address and a transport to listen on")
        if certificate is not None and ssl_context is not None:
            raise ValueError("give a certificate or an SSL context, not both")
        self._tls = tls.server_context(certificate) if certificate is not None else ssl_context
        self._dtls = _dtls_context(certificate) if dtls else None
        if tls_listen and not (tcp and self._tls is not None) and not (udp and dtls):
            raise ValueError("tls_listen needs a certificate, and TCP or DTLS")
        if authentication is not None and users is not None:
            raise ValueError("give users or an authentication, not both")
        if users is not None:
            authentication = _authenticator(users, realm)
        elif realm is not None:
            raise ValueError("a realm is for users")
        self._listeners = [Listener(parse_listen(text), udp, tcp) for text in listen]
        secure = (dtls and udp, tcp and self._tls is not None)
        self._listeners += [Listener(parse_listen(text), *secure, secure=True) for text in tls_listen]
        self._limits = limits or ServerLimits()
        self._own_counters: Counter[str] = Counter()
        self._machine = BindingServer(
            software=software, authentication=authentication, transport_of=self._transport_of
        )
        self._runtime: ServerRuntime | None = None

    async def start(self) -> None:
        """Bind and answer from now on. Raises OSError that names the address that cannot be had, and StateError when
        called twice."""
        if self._runtime is not None:
            raise StateError("a server is started once")
        self._runtime = ServerRuntime(
            self._machine,
            self._listeners,
            decoder="stun",
            limits=self._limits,
            counters=self._own_counters,
            tls=self._tls,
            dtls=self._dtls,
        )
        await self._runtime.start()

    async def close(self) -> None:
        """Close every socket and connection at once. Idempotent."""
        if self._runtime is not None:
            await self._runtime.close()

    async def __aenter__(self) -> StunServer:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def urls(self) -> list[str]:
        """STUN URIs under which clients reach it (RFC 7064). A wildcard address stands for those of this host, best
        first, or for its loopback address when it has no other. Those of TLS and DTLS need the name in the certificate:
        see `tls_addresses`."""
        reachable: dict[str, None] = {}
        for host, port in (*self.udp_addresses, *self.tcp_addresses):
            hosts = local_addresses(host) if is_wildcard(host) else [host]
            reachable.update({str(ServerUrl("stun", each, port, "udp")): None for each in hosts})
        return list(reachable)

    @property
    def counters(self) -> Counter[str]:
        """How often each outcome happened, by reason: what was answered, dropped and refused."""
        return self._machine.counters + self._own_counters

    @property
    def connections(self) -> int:
        """Connections over TCP and TLS, and DTLS associations, that are open now."""
        return self._runtime.connection_count if self._runtime else 0

    @property
    def udp_addresses(self) -> tuple[Address, ...]:
        """Where it answers over UDP, in the order of `listen`."""
        return self._runtime.udp_addresses if self._runtime else ()

    @property
    def tcp_addresses(self) -> tuple[Address, ...]:
        """Where it answers over TCP, in the order of `listen`."""
        return self._runtime.tcp_addresses if self._runtime else ()

    @property
    def tls_addresses(self) -> tuple[Address, ...]:
        """Where it answers over TLS: first those of `tls_listen`, then those that also take plain TCP."""
        return self._runtime.tls_addresses if self._runtime else ()

    @property
    def dtls_addresses(self) -> tuple[Address, ...]:
        """Where it answers over DTLS, in the same order."""
        return self._runtime.dtls_addresses if self._runtime else ()

    def _transport_of(self, socket: int) -> Transport:
        return self._runtime.transport_of(socket) if self._runtime else "udp"


def _dtls_context(certificate: Certificate | None) -> SSL.Context:
    if certificate is None:
        raise ValueError("DTLS needs a certificate")
    try:
        module = importlib.import_module("fasticePy.server.dtls")
    except ImportError as error:
        raise ImportError("DTLS needs pyOpenSSL: pip install 'fasticePy[dtls]'") from error
    context: SSL.Context = module.server_context(certificate)
    return context


def _authenticator(users: Mapping[str, str], realm: str | None) -> Authentication:
    if realm is None:
        return ShortTermAuthenticator(users, rng=os.urandom)
    return Authenticator(realm, users, rng=os.urandom)
