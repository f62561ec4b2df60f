"""When sockets can be read and written, on every event loop. Windows' ProactorEventLoop has no `add_reader`, so a
thread waits for them there, in `select`; it costs two changes of thread each time."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import select
import socket
import threading
import weakref
from collections.abc import Callable
from typing import Protocol, TypeAlias

MAX_WATCHED = 500
"""Sockets that the thread can wait for: `select` takes 512 on Windows."""
RETRY = 0.01
"""Seconds until the thread looks again when a socket was closed under it."""

_Callbacks: TypeAlias = dict[int, Callable[[], None]]


class Readiness(Protocol):
    """The part of an event loop that tells when a socket is ready. Whoever is registered is called as long as it is."""

    def add_reader(self, sock: socket.socket, callback: Callable[[], None], /) -> object:
        """Call `callback` when `sock` can be read."""

    def remove_reader(self, sock: socket.socket, /) -> object:
        """Do so no more. `sock` is still open."""

    def add_writer(self, sock: socket.socket, callback: Callable[[], None], /) -> object:
        """Call `callback` when `sock` can be written, or a connection came about or failed."""

    def remove_writer(self, sock: socket.socket, /) -> object:
        """Do so no more. `sock` is still open."""


def readiness(loop: asyncio.AbstractEventLoop) -> Readiness:
    """The event loop itself where it can, else the thread for its sockets."""
    if type(loop).add_reader is not asyncio.AbstractEventLoop.add_reader:
        return loop
    with _threads_lock:
        known = _threads.get(loop)
        if known is None:
            known = _threads[loop] = SelectThread(loop)
        return known


class SelectThread:
    """A thread that lives as long as a socket is registered, and calls back in the event loop. Used from there."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)
        self._readers: _Callbacks = {}
        self._writers: _Callbacks = {}
        self._lock = threading.Lock()
        self._run: _Run | None = None

    def add_reader(self, sock: socket.socket, callback: Callable[[], None], /) -> None:
        """See `Readiness`. Raises OSError when there are too many."""
        self._add(self._readers, sock.fileno(), callback)

    def remove_reader(self, sock: socket.socket, /) -> None:
        """See `Readiness`."""
        self._remove(self._readers, sock.fileno())

    def add_writer(self, sock: socket.socket, callback: Callable[[], None], /) -> None:
        """See `Readiness`. Raises OSError when there are too many."""
        self._add(self._writers, sock.fileno(), callback)

    def remove_writer(self, sock: socket.socket, /) -> None:
        """See `Readiness`."""
        self._remove(self._writers, sock.fileno())

    def wanted(self) -> tuple[_Callbacks, _Callbacks]:
        """Whom to wait for, for reading and for writing; asked by the thread."""
        with self._lock:
            return self._readers.copy(), self._writers.copy()

    def dispatch(self, run: _Run, readable: _Callbacks, writable: _Callbacks) -> None:
        """These are ready; called in the event loop, and the thread waits until it is done."""
        try:
            for table, ready in ((self._readers, readable), (self._writers, writable)):
                for number, callback in ready.items():
                    # one of them may have closed another one, whose number may be that of a new socket by now
                    if table.get(number) == callback:
                        callback()
        finally:
            run.go_on()

    def _add(self, table: _Callbacks, number: int, callback: Callable[[], None]) -> None:
        others = (self._readers.keys() | self._writers.keys()) - {number}
        if len(others) >= MAX_WATCHED:
            raise OSError(errno.EMFILE, "Too many TCP sockets for an event loop without add_reader")
        with self._lock:
            table[number] = callback
        loop = self._loop()
        if self._run is not None:
            self._run.look_again()
        elif loop is not None:
            self._run = _Run(self, loop)

    def _remove(self, table: _Callbacks, number: int) -> None:
        with self._lock:
            known = table.pop(number, None)
        if known is None or self._run is None:
            return
        if self._readers or self._writers:
            self._run.look_again()
        else:
            self._run.stop()
            self._run = None


class _Run:
    """One life of the thread."""

    def __init__(self, owner: SelectThread, loop: asyncio.AbstractEventLoop) -> None:
        self._owner = owner
        self._loop = loop
        self._stopping = threading.Event()
        self._handled = threading.Event()
        self._bell, self._button = socket.socketpair()
        self._bell.setblocking(False)
        self._button.setblocking(False)
        self._thread = threading.Thread(target=self._work, name="fasticePy sockets", daemon=True)
        self._thread.start()

    def look_again(self) -> None:
        """There are others to wait for."""
        with contextlib.suppress(OSError):  # full: it was told often enough
            self._button.send(b"!")

    def go_on(self) -> None:
        """What it found has been taken care of."""
        self._handled.set()

    def stop(self) -> None:
        """Return when the thread has ended, which takes no time: it never waits for the event loop alone."""
        self._stopping.set()
        self.look_again()
        self._handled.set()
        self._thread.join()
        self._bell.close()
        self._button.close()

    def _work(self) -> None:
        while not self._stopping.is_set():
            readable, writable = self._wait()
            if not readable and not writable:
                continue
            self._handled.clear()
            if self._stopping.is_set():
                break
            try:
                self._loop.call_soon_threadsafe(self._owner.dispatch, self, readable, writable)
            except RuntimeError:  # the event loop was closed
                break
            self._handled.wait()

    def _wait(self) -> tuple[_Callbacks, _Callbacks]:
        bell = self._bell.fileno()
        readers, writers = self._owner.wanted()
        try:
            # Windows tells of a connection that failed as of an exceptional condition
            readable, writable, failed = select.select([bell, *readers], writers, writers)
        except (OSError, ValueError):  # a socket was closed meanwhile
            select.select([bell], [], [], RETRY)
            readable, writable, failed = [bell], [], []
        if bell in readable:
            readable.remove(bell)
            with contextlib.suppress(OSError):
                self._bell.recv(4096)
        return (
            {number: readers[number] for number in readable},
            {number: writers[number] for number in (*writable, *failed)},
        )


_threads: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, SelectThread] = weakref.WeakKeyDictionary()
_threads_lock = threading.Lock()
