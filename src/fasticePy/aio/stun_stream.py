"""A connection to a STUN server over TCP or TLS: whole messages in and out (RFC 8489 6.2.2)."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Literal

from fasticePy.aio.endpoint import EndpointHandler, in_words
from fasticePy.aio.sockaddr import family_of, from_sockaddr, to_sockaddr
from fasticePy.aio.tls import in_words as tls_in_words
from fasticePy.machine import Address
from fasticePy.stun import ParseError, StreamDecoder

MAX_MESSAGE = 8192
"""Bytes of a message that is taken from a server."""
UNSENT = 65536
"""Bytes that may wait because the server does not read; the connection is given up beyond that."""


class StunStream(asyncio.Protocol):
    """Splits the stream into messages for `handler`, who hears of its end as the error of socket `id`."""

    def __init__(
        self, id: int, remote: Address, handler: EndpointHandler, *, mode: Literal["stun", "turn"] = "stun"
    ) -> None:
        self.id = id
        self.remote = remote
        self._handler = handler
        self._decoder = StreamDecoder(mode, MAX_MESSAGE)
        self._transport: asyncio.Transport | None = None
        self._ended: str | None = None
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def local(self) -> Address:
        """Our end."""
        assert self._transport is not None
        return from_sockaddr(self._transport.get_extra_info("sockname"))

    def send(self, data: bytes, address: Address) -> bool:
        """Send one message; False when the connection is going down."""
        transport = self._transport
        if transport is None or self._ended is not None:
            self._handler.socket_error(self.id, None, self._ended or "there is no connection")
            return False
        transport.write(data)
        if transport.get_write_buffer_size() > UNSENT:
            self._end("the server does not read")
            return False
        return True

    async def close(self) -> None:
        """Close it and return when the event loop has let go of the socket. Idempotent."""
        self._ended = self._ended or "we closed the connection"
        if self._transport is None:
            return
        self._transport.close()  # over TLS this writes close_notify; nobody waits for the server's
        self._transport.abort()
        await asyncio.wait({self._lost})

    # -- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected; over TLS: and the server is who it should be. Nothing was sent before (RFC 8489 6.2.3)."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        try:
            messages = self._decoder.feed(data)
        except ParseError:
            messages = []
        for message in messages:
            self._handler.datagram_received(self.id, message, self.remote)
        if self._decoder.error is not None:
            self._end("the server sent something that is not STUN")
        self._handler.batch_ended()

    def eof_received(self) -> bool:
        """The server sends no more."""
        self._end("the server closed the connection")
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        if not self._lost.done():
            self._lost.set_result(None)
        self._end(in_words(exc) if isinstance(exc, OSError) else "the connection was closed")

    def _end(self, reason: str) -> None:
        """What waits for an answer fails (RFC 8489 6.2.2)."""
        if self._ended is None:
            self._ended = reason
            if self._transport is not None:
                self._transport.abort()
            self._handler.socket_error(self.id, None, reason)


async def connect_tcp(local: Address | None, remote: Address) -> socket.socket:
    """A TCP socket that is connected to `remote`, from `local` where that is given (port 0: any). Raises OSError and
    ValueError."""
    sock = socket.socket(family_of(remote[0]), socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if local is not None:
            sock.bind(to_sockaddr(local))
        await asyncio.get_running_loop().sock_connect(sock, to_sockaddr(remote))
    except BaseException:
        sock.close()
        raise
    return sock


async def open_stream(
    sock: socket.socket, stream: StunStream, *, tls: ssl.SSLContext | None = None, tls_name: str | None = None
) -> None:
    """Run `stream` on a connected socket, which it takes over, with `tls` after the server has proven that it is
    `tls_name`. Raises TlsError, or another OSError when the connection breaks."""
    try:
        await asyncio.get_running_loop().create_connection(
            lambda: stream, sock=sock, ssl=tls, server_hostname=tls_name if tls is not None else None
        )
    except ssl.SSLError as error:
        raise tls_in_words(error, tls_name or "") from error
