"""A TCP connection of ICE (RFC 6544): whole packets in and out of a stream of frames (RFC 4571).

It never blocks and never lets an error out. What a peer can make it hold is bounded in both directions: one frame and
one read that is not delivered yet on the way in, `MAX_QUEUED` bytes on the way out.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter, deque
from collections.abc import Callable
from typing import Protocol

from fasticePy.aio.endpoint import MAX_PER_WAKE, in_words, receive_buffer
from fasticePy.aio.readiness import readiness
from fasticePy.aio.udp_socket import bound_address
from fasticePy.machine import Address
from fasticePy.stun import MAGIC_COOKIE, ParseError, StreamDecoder, rfc4571_frame

MAX_FRAME = 65535
"""Bytes of a packet that is taken from a peer: as many as a frame can have."""
MAX_FIRST_FRAME = 2048
"""Bytes of the first packet, which is a STUN message. Those of text protocols and of TLS would be longer, so their
speakers are found out by the first two bytes."""
FIRST_FRAME_TIMEOUT = 10.0
"""Seconds that whoever connected to us has for its first whole packet: it connects in order to send a check."""
MAX_QUEUED = 256 * 1024
"""Bytes that wait because the peer does not read, beyond what the operating system takes. They fill when the network
is slower than the sender, and what waits longer than a second or so is of no use to a call."""
READS_PER_WAKE = 4
"""Reads (64 KiB each) from one connection before the event loop and the other sockets get their turn."""
LINGER = 1.0
"""Seconds that a closed connection has for what was not sent yet."""

_STUN_HEADER = 20
_LENGTH = 2
_TELLING = 10
"""Bytes that tell whether a stream begins with a STUN message: the frame's length, its type and length, the cookie."""


class ConnectionHandler(Protocol):
    """Who a connection reports to. `socket` is the number that the connection was given."""

    def datagram_received(self, socket: int, data: bytes, address: Address) -> None:
        """One packet came from the peer."""

    def batch_ended(self) -> None:
        """No more packets for now: the time to answer."""

    def connection_ended(self, socket: int, reason: str) -> None:
        """It is over, and not by our `close`: the last that is heard of it."""


class TcpConnection:
    """A connection that exists. Takes over `sock`, which must be connected and prepared (`tcp_socket.prepare`); `peer`
    is who is at its other end, `id` a number of the owner's choice, `counters` where outcomes are counted that nobody
    else hears of.

    With `first_frame` (seconds) it ends when the peer has not said anything by then; `on_settled` is called once, when
    the peer has, or when the connection is over. `max_frame` and `max_queued` are limits in bytes.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        id: int,
        sock: socket.socket,
        peer: Address,
        handler: ConnectionHandler,
        counters: Counter[str],
        *,
        first_frame: float | None = None,
        max_frame: int = MAX_FRAME,
        max_queued: int = MAX_QUEUED,
    ) -> None:
        self.id = id
        self.peer = peer
        """Who is at the other end."""
        self.address = bound_address(sock)
        """Our end."""
        self.on_settled: Callable[[TcpConnection], None] | None = None
        """Called once: the peer has said something, or the connection is over."""
        self.on_writable: Callable[[int], None] | None = None
        """Called with `id` when `send` has refused something and would not do so any more."""
        self._loop = loop
        self._io = readiness(loop)
        self._sock = sock
        self._handler = handler
        self._counters = counters
        self._max_queued = max_queued
        self._view = receive_buffer(loop)
        self._opening: bytearray | None = bytearray()
        self._decoder = StreamDecoder("rfc4571", _LENGTH + max_frame)
        self._frames: deque[bytes] = deque()
        self._ending: str | None = None
        self._unsent = bytearray()
        self._refused = False
        self._closed = False
        self._open = True
        self._reading = True
        self._again: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._gone: asyncio.Future[None] | None = None
        self._io.add_reader(sock, self._readable)
        if first_frame is not None:
            self._timer = loop.call_later(first_frame, self._silent, first_frame)

    def __repr__(self) -> str:
        state = "closed" if self._closed else "open"
        ends = f"{self.address[0]}:{self.address[1]} to {self.peer[0]}:{self.peer[1]}"
        return f"<{type(self).__name__} {self.id} {ends} {state}>"

    @property
    def closed(self) -> bool:
        """Whether it is over, by `close` or otherwise."""
        return self._closed

    @property
    def lingers(self) -> bool:
        """Whether it was closed and what was not sent yet still goes out."""
        return self._closed and self._open

    @property
    def blocked(self) -> bool:
        """Whether `send` has refused something for want of room, and `on_writable` is still to be called."""
        return self._refused and not self._closed

    @property
    def queued(self) -> int:
        """Bytes that the operating system has not taken yet, those that precede each packet among them."""
        return len(self._unsent)

    # -- output ----------------------------------------------------------------------------------------------

    def send(self, data: bytes | bytearray | memoryview, address: Address) -> bool:
        """Send one packet to the peer, which `address` cannot change. False when it was not sent, not even in part:
        the connection is over, too much is waiting already, or it fits into no frame; each is counted."""
        if self._closed:
            self._counters["drop.send.closed"] += 1
            return False
        try:
            frame = rfc4571_frame(data)
        except ValueError:
            self._counters["drop.send.too-long"] += 1
            return False
        unsent = self._unsent
        if unsent:
            if len(unsent) + len(frame) > self._max_queued:
                self._counters["drop.send.queue-full"] += 1
                self._refused = True
                return False
            unsent += frame
            return True
        try:
            sent = self._sock.send(frame)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            self._counters["drop.send.closed"] += 1
            self.end(in_words(error))
            return False
        if sent < len(frame):
            unsent += memoryview(frame)[sent:]
            self._io.add_writer(self._sock, self._writable)
        return True

    def _writable(self) -> None:
        unsent = self._unsent
        try:
            sent = self._sock.send(unsent)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            if self._closed:
                self._release()
            else:
                self.end(in_words(error))
                self._handler.batch_ended()
            return
        del unsent[:sent]
        if not unsent:
            self._io.remove_writer(self._sock)
            if self._closed:
                self._release()
        if self._refused and not self._closed and len(unsent) <= self._max_queued // 2:
            self._refused = False
            if self.on_writable is not None:
                self.on_writable(self.id)

    # -- input -----------------------------------------------------------------------------------------------

    def drain(self, limit: int = MAX_PER_WAKE) -> int:
        """Take what is waiting, at most `limit` packets, and give their number. Whoever calls it from outside looks
        after the answers too: no batch ends."""
        deliver, frames = self._handler.datagram_received, self._frames
        taken = 0
        reads = READS_PER_WAKE
        try:
            while taken < limit and not self._closed:
                if frames:
                    taken += 1
                    deliver(self.id, frames.popleft(), self.peer)
                elif self._ending is not None:
                    self.end(self._ending)
                elif reads > 0:
                    reads = reads - 1 if self._read() else 0
                else:
                    break
        finally:
            self._follow()
        return taken

    def _readable(self) -> None:
        self._again = None
        try:
            self.drain()
        finally:
            self._handler.batch_ended()

    def _follow(self) -> None:
        """What has been read is delivered before more is read, and lets the others have their turn between."""
        if self._closed:
            return
        waiting = bool(self._frames) or self._ending is not None
        if waiting and self._again is None:
            self._again = self._loop.call_soon(self._readable)
        if waiting == self._reading:
            self._reading = not waiting
            if waiting:
                self._io.remove_reader(self._sock)
            else:
                self._io.add_reader(self._sock, self._readable)

    def _read(self) -> bool:
        """Read once; whether there may be more."""
        try:
            size = self._sock.recv_into(self._view)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            self._ending = in_words(error)
            return False
        if size == 0:
            half = self._opening or self._decoder.pending
            self._ending = "the peer closed the connection" + (" inside a frame" if half else "")
            return False
        if self._opening is None:
            self._feed(self._view[:size])
        else:
            self._begin(self._opening, self._view[:size])
        return size == len(self._view)

    def _begin(self, opening: bytearray, data: memoryview) -> None:
        """The stream begins. Frames have no mark that would tell them from something else (RFC 4571 2), but the first
        one holds a STUN message, from both sides: whoever sends something else speaks another protocol."""
        opening += data
        empty = (len(opening) - len(opening.lstrip(b"\0"))) // _LENGTH
        if empty:
            self._counters["tcp.keepalives"] += empty
            del opening[: empty * _LENGTH]
        if not _may_be_stun(opening):
            seen = bytes(opening[:_TELLING])
            self._ending = f"the peer does not speak ICE over TCP: its stream begins with {seen!r}"
        elif len(opening) >= _TELLING:
            self._opening = None
            self._feed(opening)

    def _feed(self, data: bytearray | memoryview) -> None:
        try:
            messages = self._decoder.feed(data)
        except ParseError:
            messages = []
        if self._decoder.error is not None:
            self._ending = f"the peer sent a frame that is not taken: {self._decoder.error}"
        frames = [message for message in messages if message]  # empty ones keep NAT mappings alive
        if len(frames) < len(messages):
            self._counters["tcp.keepalives"] += len(messages) - len(frames)
        if frames:
            self._frames.extend(frames)
            if self._timer is not None or self.on_settled is not None:
                self._settle()

    # -- the end ---------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Take and give nothing more; what is not sent yet has `LINGER` seconds. Idempotent."""
        if self._closed:
            return
        self._stop()
        if self._unsent:
            self._timer = self._loop.call_later(LINGER, self._release)
        else:
            self._release()

    def abort(self) -> None:
        """Close it at once; what is not sent yet is lost. Idempotent, and ends a `close` that lingers."""
        self._stop()
        self._release()

    def end(self, reason: str) -> None:
        """Abort it and tell the handler, unless it is over already."""
        if not self._closed:
            self.abort()
            self._handler.connection_ended(self.id, reason)

    async def wait_closed(self) -> None:
        """Return when the socket is closed, which is at once unless `close` lingers."""
        if self._open and self._closed:
            if self._gone is None:
                self._gone = self._loop.create_future()
            await asyncio.wait({self._gone})

    def _silent(self, seconds: float) -> None:
        self._timer = None
        self._counters["tcp.silent"] += 1
        self.end(f"the peer connected and said nothing for {seconds:g} s")
        self._handler.batch_ended()

    def _settle(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        told, self.on_settled = self.on_settled, None
        if told is not None:
            told(self)

    def _stop(self) -> None:
        """Read nothing more."""
        if self._closed:
            return
        self._closed = True
        self._frames.clear()
        if self._reading:
            self._io.remove_reader(self._sock)
        if self._again is not None:
            self._again.cancel()
        self._settle()

    def _release(self) -> None:
        """Close the socket."""
        if not self._open:
            return
        self._open = False
        if self._timer is not None:
            self._timer.cancel()
        self._io.remove_writer(self._sock)
        self._unsent.clear()
        self._sock.close()
        if self._gone is not None:
            self._gone.set_result(None)


def _may_be_stun(opening: bytearray) -> bool:
    """Whether a stream that begins like this may begin with a STUN message in a frame."""
    if len(opening) < _LENGTH:
        return True
    length = int.from_bytes(opening[:2], "big")
    if not _STUN_HEADER <= length <= MAX_FIRST_FRAME:
        return False
    if len(opening) > _LENGTH and opening[_LENGTH] & 0xC0:
        return False
    if len(opening) < _TELLING:
        return True
    body = int.from_bytes(opening[4:6], "big")
    return body == length - _STUN_HEADER and int.from_bytes(opening[6:10], "big") == MAGIC_COOKIE
