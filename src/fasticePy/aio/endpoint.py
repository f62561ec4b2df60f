"""A UDP endpoint: a bound socket that reads in batches, sends at once and never lets an error out.

`UdpEndpoint` drains its socket from `loop.add_reader`. asyncio's own datagram transport receives one datagram
per turn into a fresh 256 KiB buffer, which costs four to six times as much.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from fasticePy.aio import errqueue
from fasticePy.aio.sockaddr import AddressBook
from fasticePy.aio.udp_socket import bound_address
from fasticePy.machine import Address

MAX_PER_WAKE = 64
"""Datagrams taken from one socket before the event loop and the other sockets get their turn."""
MAX_DATAGRAM = 65536
"""Bytes of the receive buffer: no UDP datagram is longer, so none is ever truncated."""
MAX_FAILED_READS = 16
"""Reads that may fail in a row before the socket counts as broken and is read no more."""

LONE_WAKES = 16
"""After so many wakes that found one datagram each, a socket is read until it is empty only every so many
wakes."""

SPACE_SOON = 0.005
"""Seconds after which sending is worth another try when the operating system has no room for a datagram and cannot
tell when it has."""

_SEND_TRIES = 3
_FULL = frozenset({errno.EAGAIN, errno.EWOULDBLOCK})
_NO_SPACE = _FULL | {errno.ENOBUFS, getattr(errno, "WSAENOBUFS", errno.ENOBUFS)}


class EndpointHandler(Protocol):
    """Who an endpoint reports to. `socket` is the number that the endpoint was given."""

    def datagram_received(self, socket: int, data: bytes, address: Address) -> None:
        """One datagram came from `address`."""

    def batch_ended(self) -> None:
        """No more datagrams for now: the time to answer."""

    def socket_error(self, socket: int, address: Address | None, reason: str) -> None:
        """What was sent to `address` did not get there; with None the socket itself is broken."""


class Endpoint:
    """What every kind of endpoint has alike: identity, sending and the reporting of errors.

    `id` is a number of the owner's choice, `counters` where outcomes are counted that nobody else hears of.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        id: int,
        sock: socket.socket,
        handler: EndpointHandler,
        counters: Counter[str],
    ) -> None:
        self.id = id
        self.address = bound_address(sock)
        """Where the socket is bound."""
        self.on_writable: Callable[[int], None] | None = None
        """Called with `id` when there was no room for a datagram and may be now."""
        self._loop = loop
        self._sock = sock
        self._handler = handler
        self._counters = counters
        self._book = AddressBook()
        self._known = self._book.known
        self._closed = False
        self._view = receive_buffer(loop)
        self._failed_reads = 0
        self._space: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<{type(self).__name__} {self.id} {self.address[0]}:{self.address[1]} {state}>"

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def blocked(self) -> bool:
        """Whether there was no room for a datagram, and `on_writable` is still to be called."""
        return self._space is not None

    @property
    def buffer_sizes(self) -> tuple[int, int]:
        """SO_RCVBUF and SO_SNDBUF as the operating system granted them, in its own way of counting bytes."""
        return (
            self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF),
            self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF),
        )

    def send(self, data: bytes | bytearray | memoryview, address: Address) -> bool:
        """Send one datagram now, empty ones too. False when it was not sent: the reason is counted or
        reported to the handler, and never raised. `address` is numeric."""
        try:
            self._sock.sendto(data, self._known.get(address) or self._book.sockaddr(address))
        except OSError as error:
            return self._send_again(error, data, address)
        except ValueError as error:
            self._handler.socket_error(self.id, address, str(error))
            return False
        return True

    def drain(self, limit: int = MAX_PER_WAKE) -> int:
        """Take what is waiting in the socket, at most `limit` datagrams, and give their number. Whoever calls
        it from outside looks after the answers too: no batch ends."""
        receive, view = self._sock.recvfrom_into, self._view
        deliver, translate, id = self._handler.datagram_received, self._book.address, self.id
        taken = 0
        while taken < limit and not self._closed:
            try:
                size, sockaddr = receive(view)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                if not self._read_failed(error):
                    break
                continue
            self._failed_reads = 0
            taken += 1
            # an IPv4 socket address is an `Address` as it is
            deliver(id, view[:size].tobytes(), sockaddr if len(sockaddr) == 2 else translate(sockaddr))
        return taken

    def close(self) -> None:
        """Stop reading and close the socket. Idempotent."""
        if not self._closed:
            self._closed = True
            self._stop_reading()
            self._stop_watching()
            self._sock.close()

    async def wait_closed(self) -> None:
        """Return when the event loop has let go of the socket too."""

    def _read_failed(self, error: OSError) -> bool:
        """An ICMP error about something sent earlier, as a rule. Whether reading may go on."""
        self._failed_reads += 1
        self._take_queued_errors()
        if self._closed:
            return False
        if self._failed_reads < MAX_FAILED_READS:
            return True
        # reading would fail for ever and keep the event loop busy
        self._stop_reading()
        self._handler.socket_error(self.id, None, f"reading failed: {in_words(error)}")
        return False

    def _stop_reading(self) -> None:
        """Ask the event loop for nothing more."""

    def _watch(self, buffer_full: bool) -> None:
        """Tell when there is room again: in this socket's buffer, if that is what is full."""
        if self._space is None:
            self._space = self._loop.call_later(SPACE_SOON, self._space_found)

    def _space_found(self) -> None:
        self._stop_watching()
        if self.on_writable is not None:
            self.on_writable(self.id)

    def _stop_watching(self) -> None:
        if self._space is not None:
            self._space.cancel()
            self._space = None

    def _send_again(self, error: OSError, data: bytes | bytearray | memoryview, address: Address) -> bool:
        """The errno may be about an earlier datagram to someone else: the operating system hands ICMP errors
        to whichever call comes next, and does not do what that call asked for."""
        for _ in range(_SEND_TRIES):
            if self._closed:
                return False
            if error.errno in _NO_SPACE:
                self._counters["drop.send.buffer-full"] += 1
                if self.on_writable is not None:
                    self._watch(error.errno in _FULL)
                return False
            if error.errno == errno.EMSGSIZE:
                self._counters["drop.send.too-long"] += 1
                return False
            if not self._take_queued_errors():
                break
            try:
                self._sock.sendto(data, self._book.sockaddr(address))
            except OSError as again:
                error = again
            else:
                return True
        self._handler.socket_error(self.id, address, in_words(error))
        return False

    def _take_queued_errors(self) -> bool:
        """Report what the error queue holds; whether it held anything."""
        queued = errqueue.drain(self._sock) if errqueue.AVAILABLE else []
        for entry in queued:
            address = self._book.address(entry.destination) if entry.destination else None
            if entry.hard and address is not None:
                self._handler.socket_error(self.id, address, entry.reason)
            else:  # a router in trouble, or word of the path MTU: retransmissions find out
                self._counters[transient(entry.what)] += 1
        return bool(queued)


class UdpEndpoint(Endpoint):
    """An endpoint that drains its socket itself, on event loops that have `add_reader`.

    Takes over `sock`, which must be bound and non-blocking. Raises NotImplementedError, and leaves the socket
    alone, when the event loop has no `add_reader`.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        id: int,
        sock: socket.socket,
        handler: EndpointHandler,
        counters: Counter[str],
    ) -> None:
        super().__init__(loop, id, sock, handler, counters)
        self._lone = 0
        self._watching = False
        loop.add_reader(sock, self._readable)

    @property
    def blocked(self) -> bool:
        """See `Endpoint`."""
        return self._watching or self._space is not None

    def _stop_reading(self) -> None:
        self._loop.remove_reader(self._sock)

    def _watch(self, buffer_full: bool) -> None:
        if not buffer_full:
            super()._watch(buffer_full)
        elif not self._watching:
            self._watching = True
            self._loop.add_writer(self._sock, self._space_found)

    def _stop_watching(self) -> None:
        super()._stop_watching()
        if self._watching:
            self._watching = False
            self._loop.remove_writer(self._sock)

    def _readable(self) -> None:
        # To know that a socket is empty takes a read that fails. Where each of the latest wakes found one
        # datagram only, one is read; every so often it is made sure that this is still so.
        sparing = self._lone >= LONE_WAKES and self._lone % LONE_WAKES
        try:
            taken = self.drain(1 if sparing else MAX_PER_WAKE)
            if taken == 0 and not self._closed:
                self._take_queued_errors()  # what woke us was an error that a send has seen already
            self._lone = self._lone + 1 if sparing or taken == 1 else 0
        finally:
            self._handler.batch_ended()


_buffers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = weakref.WeakKeyDictionary()
_buffers_lock = threading.Lock()


def receive_buffer(loop: asyncio.AbstractEventLoop) -> memoryview:
    """One buffer for all endpoints of an event loop: a datagram is copied out before anything else
    happens."""
    with _buffers_lock:
        buffer = _buffers.get(loop)
        if buffer is None:
            buffer = _buffers[loop] = memoryview(bytearray(MAX_DATAGRAM))
        return buffer


def in_words(error: OSError) -> str:
    """The text of an operating system error, as part of a sentence."""
    return (error.strerror or str(error) or type(error).__name__).lower()


def transient(what: str) -> str:
    """The counter for an error that ends nothing; there are few different ones."""
    return f"error.{what.lower().replace(' ', '-')}"
