"""The endpoint for event loops without `add_reader` (Windows' ProactorEventLoop): asyncio's transport reads
for it. `open_endpoint` chooses between it and the one that reads itself.

It sends like any other endpoint, straight from its socket, so only reading takes the long way.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from typing import Protocol, cast, runtime_checkable

from fasticePy.aio.endpoint import (
    MAX_DATAGRAM,
    Endpoint,
    EndpointHandler,
    UdpEndpoint,
    in_words,
    transient,
)
from fasticePy.aio.sockaddr import SockAddr


def open_endpoint(
    loop: asyncio.AbstractEventLoop,
    id: int,
    sock: socket.socket,
    handler: EndpointHandler,
    counters: Counter[str],
) -> Endpoint:
    """The endpoint for a bound, non-blocking socket that this event loop can have."""
    try:
        return UdpEndpoint(loop, id, sock, handler, counters)
    except NotImplementedError:  # Windows' ProactorEventLoop
        return TransportEndpoint(loop, id, sock, handler, counters)


class TransportEndpoint(Endpoint):
    """An endpoint whose datagrams arrive through `loop.create_datagram_endpoint`. Takes over `sock`, which
    must be bound and non-blocking; what arrives before reading has begun waits in the socket."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        id: int,
        sock: socket.socket,
        handler: EndpointHandler,
        counters: Counter[str],
    ) -> None:
        super().__init__(loop, id, sock, handler, counters)
        self._begun = False
        self._transport: asyncio.DatagramTransport | None = None
        self._batch: asyncio.Handle | None = None
        self._lost: asyncio.Future[None] = loop.create_future()
        self._start = loop.create_task(self._start_reading())

    def close(self) -> None:
        """Stop reading and close the socket. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._stop_watching()
        self._start.cancel()
        if self._batch is not None:
            self._batch.cancel()
        if self._transport is not None:
            self._transport.abort()  # which closes the socket
        elif not self._begun:
            self._sock.close()  # otherwise the event loop does, when its half of the start is cancelled

    async def wait_closed(self) -> None:
        """Return when the event loop has let go of the socket too."""
        await asyncio.wait({self._start})
        if self._transport is not None:
            await asyncio.wait({self._lost})

    async def _start_reading(self) -> None:
        self._begun = True
        try:
            await self._loop.create_datagram_endpoint(lambda: _Reader(self), sock=self._sock)
        except OSError as error:
            self.lost(error)

    def made(self, transport: asyncio.BaseTransport) -> None:
        """The transport exists."""
        if isinstance(transport, _Sized):
            transport.max_size = MAX_DATAGRAM
        # a cast, not a check: until Python 3.12 asyncio's own class did not derive from DatagramTransport
        self._transport = cast(asyncio.DatagramTransport, transport)

    def received(self, data: bytes, sockaddr: SockAddr) -> None:
        """One datagram, from the transport."""
        if self._closed:
            return
        self._handler.datagram_received(self.id, data, self._book.address(sockaddr))
        self._end_batch_soon()

    def failed(self, error: OSError) -> None:
        """An error without a destination, from the transport: the operating system's delayed report."""
        self._counters[transient(in_words(error))] += 1
        if not self._closed and self._take_queued_errors():
            self._end_batch_soon()

    def lost(self, error: Exception | None) -> None:
        """The transport ended, by our will or not."""
        if not self._lost.done():
            self._lost.set_result(None)
        if not self._closed:
            reason = in_words(error) if isinstance(error, OSError) else "the event loop closed it"
            self._handler.socket_error(self.id, None, f"reading failed: {reason}")
            self._end_batch_soon()

    def _end_batch_soon(self) -> None:
        """The transport calls once per datagram: answer when it has handed over all that it has."""
        if self._batch is None and not self._closed:
            self._batch = self._loop.call_soon(self._end_batch)

    def _end_batch(self) -> None:
        self._batch = None
        self._handler.batch_ended()


@runtime_checkable
class _Sized(Protocol):
    """The proactor's transport: it takes a buffer of this size for each receive, 256 KiB if nobody says otherwise."""

    max_size: int


class _Reader(asyncio.DatagramProtocol):
    """What asyncio calls."""

    def __init__(self, endpoint: TransportEndpoint) -> None:
        self._endpoint = endpoint

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._endpoint.made(transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._endpoint.received(data, addr)

    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, OSError):
            self._endpoint.failed(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self._endpoint.lost(exc)
