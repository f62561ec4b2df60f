"""One attempt at one address of a STUN server: connect if need be, ask, and say in words what came of it."""

from __future__ import annotations

import asyncio
import errno
import os
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fasticePy.aio.endpoint import in_words
from fasticePy.aio.host import source_towards
from fasticePy.aio.stun_client import StunClient
from fasticePy.aio.stun_stream import StunStream, connect_tcp, open_stream
from fasticePy.aio.tls import Alpn, client_context, explain
from fasticePy.machine import Address
from fasticePy.stun import IntegrityKey, Message, Method, RequestFailed, ResponseReceived, mapped_address
from fasticePy.stun.discovery import Transport
from fasticePy.stun.outcome import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialOptions:
    """How to ask."""

    local: str | None = None
    attributes: Sequence[tuple[int, object]] = ()
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
    rtt: float | None = None
    setup: float = 0.0
    local: Address = ("", 0)


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
        self.transport = transport
        self.address = address
        self._options = options
        self._on_established = on_established
        self._client = StunClient()
        self._waits_for = "answer"
        self._setup = 0.0

    async def run(self) -> Ending:
        """Never raises anything but CancelledError."""
        try:
            if self.transport == "udp":
                return await self._over_udp()
            return await self._over_stream()
        except ssl.SSLCertVerificationError as error:
            return Ending(outcome="certificate", detail=explain(error, self._options.tls_name))
        except ssl.SSLError as error:
            return Ending(outcome="tls", detail=explain(error, self._options.tls_name))
        except (OSError, ValueError) as error:
            return self._not_reached(error)
        finally:
            await self._client.close()

    def expired(self, seconds: float) -> Ending:
        """Time was over after `seconds`."""
        if self._waits_for != "answer":
            return Ending(outcome="timeout", detail=f"no {self._waits_for} within {seconds:.1f} s")
        return self._silence(f"no answer within {seconds:.1f} s")

    @staticmethod
    def overtaken() -> Ending:
        """Another one was faster."""
        return Ending(outcome="overtaken", detail="given up: another address was faster")

    # -- transports

    async def _over_udp(self) -> Ending:
        local = self._options.local or ("::" if ":" in self.address[0] else "0.0.0.0")
        socket = self._client.open_udp((local, 0))
        return await self._ask(socket, self._local(self._client.local_address(socket)))

    async def _over_stream(self) -> Ending:
        loop = asyncio.get_running_loop()
        secure = self.transport == "tls"
        context = await self._context() if secure else None
        began = loop.time()
        self._waits_for = "connection"
        local = self._options.local
        sock = await connect_tcp((local, 0) if local is not None else None, self.address)
        self._waits_for = "end of the TLS handshake" if secure else "answer"
        stream = StunStream(self._client.reserve(), self.address, self._client)
        self._client.attach(stream.id, stream)
        try:
            await open_stream(sock, stream, tls=context, tls_name=self._options.tls_name)
            self._setup = loop.time() - began
            self._waits_for = "answer"
            self._on_established(self)
            return await self._ask(stream.id, stream.local)
        finally:
            await stream.close()

    async def _context(self) -> ssl.SSLContext:
        if self._options.ssl_context is not None:
            return self._options.ssl_context
        return await asyncio.to_thread(
            client_context, self._options.alpn
        )  # it reads hundreds of certificates

    async def _ask(self, socket: int, local: Address) -> Ending:
        result = await self._client.request(
            socket,
            self.address,
            Method.BINDING,
            self._options.attributes,
            key=self._options.key,
            stream=self.transport in ("tcp", "tls"),
        )
        if isinstance(result, ResponseReceived):
            return self._answered(result, local)
        return self._failed(result)

    def _local(self, bound: Address) -> Address:
        """Where a socket on a wildcard address sends from."""
        if bound[0] not in ("0.0.0.0", "::"):
            return bound
        return source_towards(self.address[0]) or bound[0], bound[1]

    # -- endings

    def _answered(self, result: ResponseReceived, local: Address) -> Ending:
        mapped = mapped_address(result.message)
        assert mapped is not None  # or the machine had failed it
        host = f"[{mapped[0]}]" if ":" in mapped[0] else mapped[0]
        return Ending(
            outcome="ok",
            detail=f"you are {host}:{mapped[1]}",
            response=result.message,
            rtt=result.rtt,
            setup=self._setup,
            local=local,
        )

    def _failed(self, result: RequestFailed) -> Ending:
        if result.reason == "timeout":
            return self._silence(result.detail)
        return Ending(outcome=result.reason, detail=result.detail, code=result.code, response=result.message)

    def _silence(self, detail: str) -> Ending:
        """Nobody answered; but perhaps something came."""
        counters = self._client.agent.counters
        if self._client.sends != 1:
            detail += f", asked {self._client.sends} times"
        hints = [hint for reason, hint in _HINTS.items() if counters[reason]]
        outcome: Outcome = "integrity violated" if counters["integrity violated"] else "timeout"
        return Ending(outcome=outcome, detail="; ".join([detail, *hints]))

    def _not_reached(self, error: OSError | ValueError) -> Ending:
        if not isinstance(error, OSError):
            return Ending(outcome="unusable", detail=str(error))
        if self._waits_for == "answer" and self.transport == "udp":
            return Ending(outcome="unusable", detail=f"no socket: {_in_words(error)}")
        if error.errno in _LOCAL:
            return Ending(outcome="unusable", detail=_in_words(error))
        if self._waits_for == "connection":
            return Ending(outcome="unreachable", detail=_in_words(error))
        return Ending(outcome="closed", detail="the server closed the connection during the TLS handshake")


def _in_words(error: OSError) -> str:
    """asyncio puts texts of its own into errors of `connect`."""
    return os.strerror(error.errno).lower() if error.errno else in_words(error)


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
