"""How TCP connections of ICE begin (RFC 6544 7): somebody connects to a listener of ours, or we connect to somebody."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from fasticePy.aio.endpoint import in_words
from fasticePy.aio.readiness import readiness
from fasticePy.aio.sockaddr import SockAddr, family_of, from_sockaddr, to_sockaddr
from fasticePy.aio.tcp_endpoint import TcpConnection
from fasticePy.aio.tcp_socket import open_connection, prepare
from fasticePy.aio.udp_socket import bound_address
from fasticePy.machine import Address

ACCEPTS_PER_WAKE = 16
"""Connections taken from one listener before the event loop and the other sockets get their turn."""
ACCEPT_PAUSE = 1.0
"""Seconds that a listener rests when the process or the host has no room for another connection."""
MAX_PENDING = 64
"""Connections of one listener that have said nothing yet. The one that has been silent for longest makes room for a new
one: a peer speaks as soon as it is connected, so it is never among them for long."""
CONNECT_TIMEOUT = 15.0
"""Seconds until a connection that does not come about is given up: the fourth SYN is sent after seven."""

_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_UNDER_WAY = frozenset(
    {0, errno.EINPROGRESS, errno.EWOULDBLOCK, errno.EINTR}
    | {getattr(errno, name) for name in ("WSAEWOULDBLOCK", "WSAEINPROGRESS") if hasattr(errno, name)}
)


class ListenerOwner(Protocol):
    """Who a listener reports to. `listener` is the number that it was given."""

    def connection_accepted(self, listener: int, sock: socket.socket, peer: Address) -> TcpConnection | None:
        """Somebody has connected: the connection made of it, or None when it is not wanted."""
        ...

    def batch_ended(self) -> None:
        """Nobody else for now: the time to answer."""

    def socket_error(self, socket: int, address: Address | None, reason: str) -> None:
        """The listener is broken."""


class TcpListener:
    """Accepts the connections of a listening, non-blocking socket, which it takes over. `id` is a number of the owner's
    choice, `counters` where outcomes are counted that nobody else hears of.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        id: int,
        sock: socket.socket,
        owner: ListenerOwner,
        counters: Counter[str],
        *,
        max_pending: int = MAX_PENDING,
    ) -> None:
        self.id = id
        self.address = bound_address(sock)
        """Where it listens."""
        self.on_writable: Callable[[int], None] | None = None
        """Never called: nothing can be sent from here."""
        self._loop = loop
        self._io = readiness(loop)
        self._sock = sock
        self._owner = owner
        self._counters = counters
        self._max_pending = max_pending
        self._pending: dict[TcpConnection, None] = {}
        self._pause: asyncio.Handle | None = None
        self._closed = False
        self._io.add_reader(sock, self._readable)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        return f"<{type(self).__name__} {self.id} {self.address[0]}:{self.address[1]} {state}>"

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    @property
    def pending(self) -> int:
        """Connections that have said nothing yet."""
        return len(self._pending)

    @property
    def blocked(self) -> bool:
        """Never: nothing can be sent from here."""
        return False

    def send(self, data: bytes | bytearray | memoryview, address: Address) -> bool:
        """False: what is sent to a peer goes through the connection with it."""
        self._counters["drop.send.listener"] += 1
        return False

    def drain(self, limit: int = ACCEPTS_PER_WAKE) -> int:
        """Accept who is waiting, `limit` at most, and give their number."""
        taken = 0
        while taken < limit and not self._closed and self._pause is None:
            try:
                sock, sockaddr = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                break
            except ConnectionError:  # gone before we looked
                self._counters["tcp.accept.aborted"] += 1
                taken += 1
                continue
            except OSError as error:
                self._accept_failed(error)
                break
            taken += 1
            self._accepted(sock, sockaddr)
        return taken

    def close(self) -> None:
        """Accept nobody any more. The connections that exist are their owner's. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._pause is None:
            self._io.remove_reader(self._sock)
        else:
            self._pause.cancel()
        for connection in self._pending:
            connection.on_settled = None
        self._pending.clear()
        self._sock.close()

    def abort(self) -> None:
        """As `close`."""
        self.close()

    async def wait_closed(self) -> None:
        """Return when the socket is closed: at once."""

    def _readable(self) -> None:
        try:
            self.drain()
        finally:
            self._owner.batch_ended()

    def _accepted(self, sock: socket.socket, sockaddr: SockAddr) -> None:
        try:
            prepare(sock)
            connection = self._owner.connection_accepted(self.id, sock, from_sockaddr(sockaddr))
        except OSError:  # reset before we looked: some operating systems refuse options then
            self._counters["tcp.accept.aborted"] += 1
            connection = None
        if connection is None:
            self._counters["tcp.accept.refused"] += 1
            sock.close()
            return
        self._counters["tcp.accepted"] += 1
        if self._closed:
            return  # by what its owner did
        self._pending[connection] = None
        connection.on_settled = self._settled
        if len(self._pending) > self._max_pending:
            self._counters["tcp.accept.crowded-out"] += 1
            next(iter(self._pending)).end("the peer said nothing, and others wait to be heard")

    def _settled(self, connection: TcpConnection) -> None:
        self._pending.pop(connection, None)

    def _accept_failed(self, error: OSError) -> None:
        self._io.remove_reader(self._sock)  # it stays readable and would keep the event loop busy
        if error.errno in _NO_ROOM:
            self._counters["tcp.accept.no-room"] += 1
            self._pause = self._loop.call_later(ACCEPT_PAUSE, self._resume)
            return
        self._pause = self._loop.call_soon(self._broken, in_words(error))

    def _resume(self) -> None:
        self._pause = None
        self._io.add_reader(self._sock, self._readable)

    def _broken(self, reason: str) -> None:
        self._owner.socket_error(self.id, None, f"accepting connections failed: {reason}")


class TcpConnecting:
    """A connection from `base` (port 0: one that nobody has, of `ports` if given; else exactly this port, which may be
    that of a listener) to `peer` that is on its way. One of the two is called once, from the event loop: `connected`
    with the connected socket, which the callee takes over, or `failed` with the reason in words.

    Raises OSError when it fails at once, ValueError for an address that is none.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        base: Address,
        peer: Address,
        *,
        connected: Callable[[socket.socket], None],
        failed: Callable[[str], None],
        ports: range | None = None,
        timeout: float = CONNECT_TIMEOUT,
    ) -> None:
        sockaddr = to_sockaddr(peer)
        if family_of(base[0]) != family_of(peer[0]):
            raise ValueError(f"{base[0]} and {peer[0]} are of different address families")
        self._loop = loop
        self._io = readiness(loop)
        self._connected = connected
        self._failed = failed
        self._sock = open_connection(base, ports=ports)
        self._over = False
        try:
            error = self._sock.connect_ex(sockaddr)
            if error not in _UNDER_WAY:
                raise OSError(error, os.strerror(error))
            self._io.add_writer(self._sock, self._writable)
        except BaseException:
            self._sock.close()
            raise
        self._timer = loop.call_later(timeout, self._timed_out, timeout)

    def cancel(self) -> None:
        """Give it up; nothing more is heard of it. Idempotent."""
        if not self._over:
            self._finish()
            self._sock.close()

    def _writable(self) -> None:
        error = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self._fail(os.strerror(error).lower())
            return
        try:
            itself = self._sock.getpeername() == self._sock.getsockname()
        except OSError as gone:
            self._fail(in_words(gone))
            return
        if itself:  # nobody listens there, and the operating system has chosen that very port for us
            self._fail("the socket was connected to itself")
            return
        self._finish()
        self._connected(self._sock)

    def _timed_out(self, seconds: float) -> None:
        self._fail(f"no answer in {seconds:g} s")

    def _fail(self, reason: str) -> None:
        self.cancel()
        self._failed(reason)

    def _finish(self) -> None:
        self._over = True
        self._timer.cancel()
        self._io.remove_writer(self._sock)
