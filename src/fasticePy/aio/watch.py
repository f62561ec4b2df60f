"""The network watcher: tells when addresses, links or default routes of this host change.

On Linux the kernel says so (`fasticePy.aio.netlink`); elsewhere all addresses are read every few seconds and
compared. No task, no thread: a reader or a timer of the event loop.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import math
import socket
import threading
from collections.abc import Callable
from typing import Literal

from fasticePy.aio import netlink
from fasticePy.aio.callbacks import check_callback
from fasticePy.aio.debounce import MIN_INTERVAL, Debounce
from fasticePy.aio.host import host_addresses
from fasticePy.aio.interfaces import InterfaceAddress
from fasticePy.aio.network_view import Change, NetworkView, compare

POLL_INTERVAL = 3.0
"""Seconds between two readings of all addresses, where the operating system does not tell of changes."""
MAX_PER_WAKE = 64
"""Reads from the kernel before the event loop gets its turn."""

_log = logging.getLogger("fasticePy.aio")


class Subscription:
    """What `NetworkWatcher.subscribe` returns: `cancel()` ends it."""

    __slots__ = ("_callback", "_watcher")

    def __init__(self, watcher: NetworkWatcher, callback: Callable[[str], object]) -> None:
        self._watcher: NetworkWatcher | None = watcher
        self._callback = callback

    @property
    def active(self) -> bool:
        """False once it has been cancelled, or the watcher closed."""
        return self._watcher is not None

    def cancel(self) -> None:
        """The callback is not called any more. Idempotent."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher._cancelled(self)

    def _call(self, reason: str) -> None:
        if self.active:
            self._callback(reason)


class NetworkWatcher:
    """Calls back when what an agent can send from changes, in the event loop that runs when it is made.

    `on_change(reason)` is called with the reason in words ("192.0.2.7 on eth0 was removed"), at once when something was
    lost, otherwise when there was quiet for a moment, and never more often than a few times a second (the constants of
    `fasticePy.aio.debounce`). What it raises goes to the event loop's exception handler. `shared()` gives the one
    watcher of an event loop, for any number of subscribers. A watcher holds a socket or a timer only while it has
    subscribers, `on_change` being one.

    `poll_interval`: seconds between two readings where the kernel cannot be asked. `read` and `open_netlink` are
    where addresses and news come from.
    """

    def __init__(
        self,
        on_change: Callable[[str], object] | None = None,
        *,
        poll_interval: float = POLL_INTERVAL,
        read: Callable[[], list[InterfaceAddress]] = host_addresses,
        open_netlink: Callable[[], socket.socket] = netlink.open_socket,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        if not poll_interval > 0:
            raise ValueError(f"poll_interval takes a positive number of seconds, not {poll_interval}")
        self._loop = loop or asyncio.get_running_loop()
        self._poll_interval = poll_interval
        self._read = read
        self._open_netlink = open_netlink
        self._subscriptions: dict[Subscription, None] = {}
        self._debounce = Debounce(self._loop, self._tell)
        self._sock: socket.socket | None = None
        self._view = NetworkView()
        self._stale = False
        self._timer: asyncio.TimerHandle | None = None
        self._polled: list[InterfaceAddress] = []
        self._cache: list[InterfaceAddress] | None = None
        self._cached_at = -math.inf
        self._is_shared = False
        self._closed = False
        if on_change is not None:
            self.subscribe(on_change)

    @classmethod
    def shared(cls, loop: asyncio.AbstractEventLoop | None = None) -> NetworkWatcher:
        """The watcher of `loop`, or of the running event loop."""
        loop = loop or asyncio.get_running_loop()
        with _lock:
            for other in [other for other in _shared if other.is_closed()]:
                _shared.pop(other)._abandon()
            watcher = _shared.get(loop)
            if watcher is None:
                watcher = _shared[loop] = cls(loop=loop)
                watcher._is_shared = True
        return watcher

    @property
    def source(self) -> Literal["netlink", "polling"] | None:
        """Where news come from; None while nobody has subscribed."""
        if self._sock is not None:
            return "netlink"
        return "polling" if self._timer is not None else None

    def subscribe(self, on_change: Callable[[str], object]) -> Subscription:
        """Call `on_change(reason)` at each change from now on. Raises RuntimeError after `close`, TypeError for what
        cannot be called back."""
        check_callback("on_change", on_change)
        if self._closed:
            raise RuntimeError("the network watcher is closed")
        subscription = Subscription(self, on_change)
        if not self._subscriptions:
            self._start()
        self._subscriptions[subscription] = None
        return subscription

    def addresses(self) -> list[InterfaceAddress]:
        """All addresses of this host, as `host_addresses` gives them, read once for all who ask between two changes;
        where there is polling, once in `MIN_INTERVAL` seconds. Raises OSError."""
        now = self._loop.time()
        kept = self._sock is not None or now - self._cached_at < MIN_INTERVAL
        if self._cache is None or not kept or not self._subscriptions:
            self._cache, self._cached_at = self._read(), now
        return list(self._cache)

    def close(self) -> None:
        """End all subscriptions and let go of everything. Idempotent."""
        self._closed = True
        for subscription in list(self._subscriptions):
            subscription.cancel()
        self._stop()

    # -- start and stop --------------------------------------------------------------------------------------

    def _cancelled(self, subscription: Subscription) -> None:
        self._subscriptions.pop(subscription, None)
        if not self._subscriptions:
            self._stop()

    def _start(self) -> None:
        if self._is_shared:
            with _lock:
                _shared.setdefault(self._loop, self)
        self._cache = None
        if not self._listen():
            self._start_polling()

    def _stop(self) -> None:
        self._stop_listening()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._debounce.cancel()
        with _lock:
            if _shared.get(self._loop) is self:
                del _shared[self._loop]

    def _abandon(self) -> None:
        """The event loop is closed, and nobody cancelled."""
        sock, self._sock, self._timer = self._sock, None, None
        if sock is not None:
            sock.close()

    def _tell(self, reason: str) -> None:
        if self._stale:
            self._take_view()
        _log.info("the network changed: %s", reason)
        for subscription in list(self._subscriptions):
            try:
                subscription._call(reason)
            except Exception as error:  # noqa: BLE001 - one subscriber's fault is not another's loss
                self._loop.call_exception_handler(
                    {"message": "on_change of a NetworkWatcher failed", "exception": error}
                )

    # -- the kernel tells ------------------------------------------------------------------------------------

    def _listen(self) -> bool:
        try:
            sock = self._open_netlink()
        except OSError as error:
            _log.debug("no netlink (%s): polling for changes of the network", error)
            return False
        try:
            self._loop.add_reader(sock, self._readable)
        except NotImplementedError:
            sock.close()
            return False
        self._sock = sock
        self._take_view()  # only now: what changes meanwhile waits in the socket
        return True

    def _stop_listening(self) -> None:
        sock, self._sock = self._sock, None
        if sock is not None:
            self._loop.remove_reader(sock)
            sock.close()

    def _take_view(self) -> None:
        self._stale = False
        try:
            self._view = NetworkView(netlink.snapshot())
        except OSError as error:  # what is repeated is taken for new, then
            _log.debug("no snapshot of the network: %s", error)
            self._view = NetworkView()

    def _readable(self) -> None:
        for _ in range(MAX_PER_WAKE):
            if self._sock is None:
                return
            try:
                news = netlink.receive(self._sock)
            except OSError as error:
                self._read_failed(error)
                continue
            if news is None:
                return
            self._cache = None  # also for what is not told to anybody
            self._stale |= netlink.Lost() in news
            changes = map(self._view.apply, news)
            self._debounce.add(change for change in changes if change is not None)

    def _read_failed(self, error: OSError) -> None:
        self._cache = None
        self._stale = True
        if error.errno != errno.ENOBUFS:
            _log.warning("netlink failed (%s): polling for changes of the network", error)
            self._stop_listening()
            self._stale = False
            self._start_polling()
        self._debounce.add([Change("messages about changes were lost", loss=True)])

    # -- polling ---------------------------------------------------------------------------------------------

    def _start_polling(self) -> None:
        self._polled = self._reading([])
        self._timer = self._loop.call_later(self._poll_interval, self._poll)

    def _poll(self) -> None:
        self._timer = self._loop.call_later(self._poll_interval, self._poll)
        before, self._polled = self._polled, self._reading(self._polled)
        self._debounce.add(compare(before, self._polled))

    def _reading(self, otherwise: list[InterfaceAddress]) -> list[InterfaceAddress]:
        try:
            self._cache, self._cached_at = self._read(), self._loop.time()
        except OSError as error:
            _log.debug("the addresses of this host cannot be read: %s", error)
            return otherwise
        return self._cache


_shared: dict[asyncio.AbstractEventLoop, NetworkWatcher] = {}
_lock = threading.RLock()
