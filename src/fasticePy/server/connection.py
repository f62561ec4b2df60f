"""A TCP connection of a server: whole messages in, answers out, and an end for whoever wastes it.

Where TLS is served, the first byte tells whether the client speaks it.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import Literal, Protocol

from fasticePy.aio.sockaddr import from_sockaddr
from fasticePy.machine import Address
from fasticePy.server.limits import ServerLimits
from fasticePy.server.tls import HANDSHAKE_BYTE, TlsFilter
from fasticePy.stun import ParseError, StreamDecoder

_NO_STUN = "tcp stream that is not STUN, or a message longer than the limit"
_NO_TLS = "tcp stream without tls on a port for tls"
_NOT_READING = "tcp client that does not read"


@dataclass(frozen=True, slots=True)
class Security:
    """Which streams a port takes."""

    tls: ssl.SSLContext | None = None
    """What TLS is spoken with; None: it is not."""
    plain: bool = True
    """Whether streams without TLS are taken."""


class ConnectionOwner(Protocol):
    """Who a connection reports to."""

    def connection_opened(self, connection: Connection) -> bool:
        """Whether it may stay."""
        ...

    def messages_received(self, connection: Connection, messages: list[bytes]) -> None:
        """Whole messages came."""

    def connection_ended(self, connection: Connection, reason: str | None) -> None:
        """It is gone. `reason` tells why we ended it; None: the client did."""


class Connection(asyncio.Protocol):
    """One client over TCP or TLS. `id` is the socket's number for the machine."""

    def __init__(
        self,
        id: int,
        owner: ConnectionOwner,
        limits: ServerLimits,
        decoder: StreamDecoder,
        loop: asyncio.AbstractEventLoop,
        security: Security,
    ) -> None:
        self.id = id
        self.remote: Address = ("", 0)
        self._owner = owner
        self._limits = limits
        self._decoder = decoder
        self._loop = loop
        self._security = security
        self._begun = False
        self._tls: TlsFilter | None = None
        self._transport: asyncio.Transport | None = None
        self._reason: str | None = None
        self._timer: asyncio.TimerHandle | None = None
        # the client must do something until then, or the connection ends for this reason
        self._deadline = 0.0
        self._deadline_reason = ""
        self._unfinished_since: float | None = None
        self._used = False

    @property
    def protocol(self) -> Literal["tcp", "tls"]:
        """What carries the messages."""
        return "tcp" if self._tls is None else "tls"

    def send(self, data: bytes, address: Address) -> bool:
        """Send one message; False when the connection is going down."""
        if self._transport is None or self._transport.is_closing():
            return False
        if self._tls is None:
            self._transport.write(data)
            return True
        try:
            self._tls.send(data)
        except ssl.SSLError:
            return False
        self._transport.write(self._tls.take())
        return True

    def abort(self, reason: str) -> None:
        """End it at once; what was not sent yet is lost."""
        if self._reason is None:
            self._reason = reason
        if self._transport is not None:
            self._transport.abort()

    # -- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The client is connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        peername = transport.get_extra_info("peername")
        if peername is None:  # it was reset before we looked
            self.abort("tcp connection reset at once")
            return
        self.remote = from_sockaddr(peername)
        transport.set_write_buffer_limits(high=self._limits.unsent_bytes)
        if not self._owner.connection_opened(self):
            transport.abort()
            return
        self._expect(self._limits.first_message, "tcp connection without a message")

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if not self._begun and not self._begin(data[0]):
            return
        if self._tls is not None:
            data = self._decrypt(self._tls, data)
            if not data:
                return
        try:
            messages = self._decoder.feed(data)
        except ParseError:
            self.abort(_NO_STUN)
            return
        self._note_progress(bool(messages))
        if messages:
            self._owner.messages_received(self, messages)
        if self._decoder.error is not None:
            self._close(_NO_STUN)
        elif self._tls is not None and self._tls.ended:
            self._close(None)

    def eof_received(self) -> bool:
        """The client sends no more: what it asked for still goes out (RFC 8489 6.2.2), then we close."""
        self._close(None)
        return True

    def pause_writing(self) -> None:
        """The client does not read what it asked for: take no more requests from it."""
        if self._transport is not None:
            self._transport.pause_reading()
        self._expect(self._limits.stalled, _NOT_READING)

    def resume_writing(self) -> None:
        """It reads again."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
            self._unfinished_since = None
            self._note_progress(True)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._owner.connection_ended(self, self._reason)

    def _close(self, reason: str | None) -> None:
        """End it once our answers have gone out."""
        if self._reason is None:
            self._reason = reason
        if self._transport is None or self._transport.is_closing():
            return
        if self._tls is not None:
            self._tls.finish()
            self._transport.write(self._tls.take())
        self._transport.close()
        self._expect(self._limits.stalled, _NOT_READING)

    # -- TLS

    def _begin(self, first: int) -> bool:
        """The first byte is here. Whether the stream may go on; a TLS handshake without TLS is just no STUN."""
        self._begun = True
        if self._security.tls is not None and first == HANDSHAKE_BYTE:
            self._tls = TlsFilter(self._security.tls)
            self._expect(self._limits.handshake, "tls handshake that does not end")
        elif not self._security.plain:
            self.abort(_NO_TLS)
            return False
        return True

    def _decrypt(self, tls: TlsFilter, data: bytes) -> bytes:
        """The plaintext, perhaps none; the handshake is done on the way."""
        assert self._transport is not None
        established = tls.established
        try:
            plaintext = tls.receive(data)
        except ssl.SSLError:
            self._transport.write(tls.take())  # the alert that tells the client why
            self._close("tls handshake failed" if not tls.established else "tls stream broken")
            return b""
        self._transport.write(tls.take())
        if tls.established and not established:
            self._expect(self._limits.first_message, "tcp connection without a message")
        if tls.ended and not plaintext:
            self._close(None)
        return plaintext

    # -- deadlines

    def _note_progress(self, message_ended: bool) -> None:
        """Bytes were taken; the time for a message counts from its first byte."""
        now = self._loop.time()
        if message_ended:
            self._used = True
            self._unfinished_since = None
        if not self._used:
            return  # the time for the first message runs from the beginning
        if not self._decoder.pending:
            self._unfinished_since = None
            self._expect(self._limits.idle, "idle tcp connection")
        elif self._unfinished_since is None:
            self._unfinished_since = now
            self._expect(self._limits.message, "tcp message that does not end")

    def _expect(self, within: float, reason: str) -> None:
        """Something must happen `within` seconds. The timer itself moves only when it must come earlier."""
        self._deadline = self._loop.time() + within
        self._deadline_reason = reason
        if self._timer is None or self._timer.when() > self._deadline:
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._deadline, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        if self._loop.time() >= self._deadline:
            self.abort(self._deadline_reason)
        else:
            self._arm()
