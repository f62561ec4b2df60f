"""`StunServer`: a STUN Binding server (RFC 8489) on UDP and TCP that a program starts in one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from types import TracebackType

from fasticePy.errors import StateError
from fasticePy.machine import Address
from fasticePy.server.limits import ServerLimits
from fasticePy.server.listening import is_wildcard, local_addresses, parse_listen
from fasticePy.server.runtime import ServerRuntime
from fasticePy.stun import BindingServer
from fasticePy.stun.uri import ServerUrl


class StunServer:
    """Tells whoever asks from which address the question came.

    ```python
    async with StunServer(listen=["127.0.0.1:0"]) as server:
        print(server.urls)
    ```
    Nothing is authenticated and nothing is remembered: answering costs no memory. TCP connections are limited by
    `limits`. An answer leaves from the address that was asked, on wildcard addresses too.
    """

    def __init__(
        self,
        listen: Sequence[str] = ("127.0.0.1:0",),
        *,
        udp: bool = True,
        tcp: bool = True,
        software: str | None = None,
        limits: ServerLimits | None = None,
    ) -> None:
        """`listen` holds numeric addresses with ports, such as `0.0.0.0:3478` and `[::]:3478`, each of its own family;
        with port 0 a free port is taken, the same for UDP and TCP. `software` is sent as SOFTWARE; by default nothing
        is, so that answers stay small and tell no version. Raises ValueError when `listen` cannot be read.
        """
        if not listen or not (udp or tcp):
            raise ValueError("a server needs an address and a transport to listen on")
        self._listen: list[Address] = [parse_listen(text) for text in listen]
        self._transports = (udp, tcp)
        self._software = software
        self._limits = limits or ServerLimits()
        self._own_counters: Counter[str] = Counter()
        self._machine = BindingServer(software=software)
        self._runtime: ServerRuntime | None = None

    async def start(self) -> None:
        """Bind and answer from now on. Raises OSError that names the address that cannot be had, and StateError when
        called twice."""
        if self._runtime is not None:
            raise StateError("a server is started once")
        udp, tcp = self._transports
        self._runtime = ServerRuntime(
            self._machine,
            self._listen,
            udp=udp,
            tcp=tcp,
            decoder="stun",
            limits=self._limits,
            counters=self._own_counters,
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
        first, or for its loopback address when it has no other."""
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
        """TCP connections that are open now."""
        return self._runtime.connection_count if self._runtime else 0

    @property
    def udp_addresses(self) -> tuple[Address, ...]:
        """Where it answers over UDP, in the order of `listen`."""
        return self._runtime.udp_addresses if self._runtime else ()

    @property
    def tcp_addresses(self) -> tuple[Address, ...]:
        """Where it answers over TCP, in the order of `listen`."""
        return self._runtime.tcp_addresses if self._runtime else ()
