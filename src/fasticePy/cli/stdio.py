"""Standard input and output beside an event loop that must never wait for them.

Each is served by a thread: asyncio's own pipe transports refuse regular files, and all of them on Windows. The
threads are daemons, so that a read that nobody will ever answer does not keep the process alive.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable
from types import FrameType

READ_SIZE = 65536
READ_AHEAD = 4
"""Reads whose bytes wait for the event loop to take them."""
BUFFER_LIMIT = 1 << 20
"""Bytes read ahead of, or not yet written for, the program; a line may be as long."""


class _Throttle(asyncio.ReadTransport):
    """What a StreamReader pauses when its buffer is full: here, the reading thread."""

    def __init__(self) -> None:
        super().__init__()
        self.may_read = threading.Event()
        self.may_read.set()
        self.on_its_way = threading.Semaphore(READ_AHEAD)
        """What was read and has not reached the reader yet."""

    def pause_reading(self) -> None:
        self.may_read.clear()

    def resume_reading(self) -> None:
        self.may_read.set()


def open_reader(descriptor: int | None = None) -> asyncio.StreamReader:
    """A stream reader over a file descriptor (standard input when None): pipe, file or terminal.

    Call it inside a running loop. A reading error counts as the end of the input.
    """
    reader = asyncio.StreamReader(limit=BUFFER_LIMIT)
    if descriptor is None:
        if sys.stdin is None:  # no console at all (pythonw)
            reader.feed_eof()
            return reader
        descriptor = sys.stdin.fileno()
    throttle = _Throttle()
    reader.set_transport(throttle)
    loop = asyncio.get_running_loop()
    arguments = (descriptor, reader, throttle, loop)
    threading.Thread(target=_read_all, args=arguments, name="fasticepy-stdin", daemon=True).start()
    return reader


def _read_all(
    descriptor: int, reader: asyncio.StreamReader, throttle: _Throttle, loop: asyncio.AbstractEventLoop
) -> None:
    def feed(data: bytes) -> None:
        throttle.on_its_way.release()
        if data:
            reader.feed_data(data)
        else:
            reader.feed_eof()

    while True:
        throttle.may_read.wait()
        throttle.on_its_way.acquire()
        try:
            # os.read, not sys.stdin: no lock of a buffered file is held when the interpreter ends
            data = os.read(descriptor, READ_SIZE)
        except OSError:
            data = b""
        try:
            loop.call_soon_threadsafe(feed, data)
        except RuntimeError:  # the loop is closed: nobody listens any more
            return
        if not data:
            return


class ByteSink:
    """Writes to a file descriptor in a thread, in order; `pending` tells how much is not written yet."""

    def __init__(self, descriptor: int, on_room: Callable[[], None]) -> None:
        """`on_room()` is called in the running loop each time that something was written, or writing failed."""
        self.error: OSError | None = None
        self._descriptor = descriptor
        self._on_room = on_room
        self._loop = asyncio.get_running_loop()
        self._chunks: deque[bytes] = deque()
        self._pending = 0
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._write_all, name="fasticepy-stdout", daemon=True)
        self._thread.start()

    @property
    def pending(self) -> int:
        """Bytes taken and not yet written."""
        return self._pending

    def write(self, data: bytes) -> None:
        """Take bytes to write; never waits."""
        with self._changed:
            self._chunks.append(data)
            self._pending += len(data)
            self._changed.notify()

    def end(self) -> None:
        """No more will come: the thread ends when all is written."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._chunks or self._ended)
                if not self._chunks:
                    return
                data = self._chunks.popleft()
            if self.error is None:
                self._write(data)
            with self._changed:
                self._pending -= len(data)
            try:
                self._loop.call_soon_threadsafe(self._on_room)
            except RuntimeError:  # the loop is closed
                return

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:  # the reader of our output has gone: the rest is thrown away
            self.error = error


class StopSignals:
    """While entered, SIGINT and SIGTERM set `requested` instead of ending the process by force."""

    def __init__(self) -> None:
        self.requested = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._previous: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is not threading.main_thread():
            return self  # only the main thread may set handlers; whoever runs us there has its own way to stop us
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self.requested.set)
