from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import netlink_messages as nl
import pytest

from fasticePy.aio import netlink
from fasticePy.aio.debounce import MAX_REASONS, MAX_SETTLE, MIN_INTERVAL, SETTLE, Debounce
from fasticePy.aio.interfaces import InterfaceAddress
from fasticePy.aio.network_view import Change
from fasticePy.aio.watch import MAX_PER_WAKE, POLL_INTERVAL, NetworkWatcher


class FakeHandle:
    def __init__(self, at: float, callback: Callable[[], None]) -> None:
        self.at = at
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeLoop:
    """An event loop in virtual time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[FakeHandle] = []
        self.readers: dict[Any, Callable[[], None]] = {}
        self.complaints: list[dict[str, Any]] = []
        self.closed = False

    def time(self) -> float:
        return self.now

    def call_at(self, at: float, callback: Callable[[], None]) -> FakeHandle:
        self.timers.append(FakeHandle(at, callback))
        return self.timers[-1]

    def call_later(self, delay: float, callback: Callable[[], None]) -> FakeHandle:
        return self.call_at(self.now + delay, callback)

    def add_reader(self, sock: Any, callback: Callable[[], None]) -> None:
        self.readers[sock] = callback

    def remove_reader(self, sock: Any) -> None:
        del self.readers[sock]

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.complaints.append(context)

    def is_closed(self) -> bool:
        return self.closed

    @property
    def waiting(self) -> list[FakeHandle]:
        return [timer for timer in self.timers if not timer.cancelled]

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while due := [timer for timer in self.waiting if timer.at <= end + 1e-9]:
            timer = min(due, key=lambda timer: timer.at)
            self.timers.remove(timer)
            self.now = max(self.now, timer.at)
            timer.callback()
        self.now = end


@pytest.fixture
def loop() -> Any:
    return FakeLoop()


class Told(list[tuple[float, str]]):
    """The calls of a callback, with their times since the start."""

    def __init__(self, loop: FakeLoop) -> None:
        super().__init__()
        self.loop, self.start = loop, loop.now

    def __call__(self, reason: str) -> None:
        self.append((round(self.loop.now - self.start, 6), reason))

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self]

    @property
    def reasons(self) -> list[str]:
        return [reason for _, reason in self]


# -- when changes are told
# -------------------------------------------------------------------------------------------------


def gain(reason: str = "gain") -> list[Change]:
    return [Change(reason, loss=False)]


def loss(reason: str = "loss") -> list[Change]:
    return [Change(reason, loss=True)]


def test_a_loss_is_told_at_once_and_an_addition_when_it_has_settled(loop: Any) -> None:
    told = Told(loop)
    debounce = Debounce(loop, told)
    debounce.add(loss("a"))
    loop.run(1)
    debounce.add(gain("b"))
    loop.run(1)
    assert told == [(0.0, "a"), (1 + SETTLE, "b")]
    assert not loop.waiting


def test_additions_in_a_burst_are_told_together(loop: Any) -> None:
    told = Told(loop)
    debounce = Debounce(loop, told)
    for name in "ab":
        debounce.add(gain(name))
        loop.run(SETTLE * 0.9)
    loop.run(1)
    assert told == [(round(SETTLE * 1.9, 6), "a, b")]


def test_additions_that_do_not_end_are_told_all_the_same(loop: Any) -> None:
    told = Told(loop)
    debounce = Debounce(loop, told)
    for _ in range(50):
        debounce.add(gain())
        loop.run(SETTLE / 2)
    assert told.times == [MAX_SETTLE, MAX_SETTLE * 2]


def test_a_loss_takes_waiting_additions_along(loop: Any) -> None:
    told = Told(loop)
    debounce = Debounce(loop, told)
    debounce.add(gain("a"))
    debounce.add(loss("b"))
    debounce.add(gain("c"))
    loop.run(1)
    assert told == [(0.0, "a, b, c")]


def test_a_storm_is_told_a_few_times_a_second(loop: Any) -> None:
    told = Told(loop)
    debounce = Debounce(loop, told)
    for number in range(1000):
        debounce.add(loss(str(number)))
        loop.run(0.001)
    assert len(told) <= 1 / MIN_INTERVAL + 1
    assert all(
        later - at >= MIN_INTERVAL - 1e-6 for at, later in zip(told.times, told.times[1:], strict=False)
    )
    loop.run(1)
    assert "more" in told.reasons[-1]
    assert told.reasons[-1].count(",") == MAX_REASONS
    assert not loop.waiting


def test_a_storm_of_additions_costs_no_storm_of_timers(loop: Any) -> None:
    debounce = Debounce(loop, Told(loop))
    for _ in range(1000):
        debounce.add(gain())
        loop.now += 0.0001
    assert len(loop.timers) == 1


def test_the_same_change_twice_is_one_reason(loop: Any) -> None:
    told = Told(loop)
    debounce = Debounce(loop, told)
    debounce.add([*loss("a"), *loss("a")])
    loop.run(1)
    assert told.reasons == ["a"]


def test_after_cancel_nothing_is_told_until_something_new_comes(loop: Any) -> None:
    told = Told(loop)
    debounce = Debounce(loop, told)
    debounce.add(loss("a"))
    debounce.cancel()
    loop.run(1)
    assert told == []
    debounce.add(gain("b"))
    loop.run(1)
    assert told.reasons == ["b"]


# -- the kernel tells
# ------------------------------------------------------------------------------------------------------


class FakeSocket:
    """What the kernel sends; an exception is raised instead of read."""

    def __init__(self) -> None:
        self.reads: list[bytes | OSError] = []
        self.closed = False

    def recvfrom(self, size: int) -> tuple[bytes, tuple[int, int]]:
        if not self.reads:
            raise BlockingIOError
        read = self.reads.pop(0)
        if isinstance(read, OSError):
            raise read
        return read, (0, 1)

    def close(self) -> None:
        self.closed = True


KNOWN = nl.link(3, "eth0") + nl.address(3, "192.0.2.7")


class Kernel:
    """A watcher with its kernel."""

    def __init__(self, loop: FakeLoop, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loop = loop
        self.sockets: list[FakeSocket] = []
        self.snapshots = 0
        self.reads = 0
        self.known = KNOWN
        self.host = [entry("192.0.2.7")]
        monkeypatch.setattr(netlink, "snapshot", self.snapshot)
        self.watcher = NetworkWatcher(loop=loop, open_netlink=self.open, read=self.read)  # type: ignore[arg-type]

    def snapshot(self) -> list[netlink.News]:
        self.snapshots += 1
        return netlink.parse(self.known)

    def open(self) -> FakeSocket:
        self.sockets.append(FakeSocket())
        return self.sockets[-1]

    def read(self) -> list[InterfaceAddress]:
        self.reads += 1
        return list(self.host)

    def say(self, *reads: bytes | OSError) -> None:
        """What the kernel sends arrives."""
        sock = self.sockets[-1]
        sock.reads += reads
        while sock.reads and sock in self.loop.readers:
            self.loop.readers[sock]()


def entry(address: str, **more: Any) -> InterfaceAddress:
    return InterfaceAddress(**{"interface": "eth0", "address": address, "prefix": 24, **more})


@pytest.fixture
def kernel(loop: Any, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(loop, monkeypatch)


REMOVED = nl.address(3, "192.0.2.7", kind=nl.DELADDR)
ADDED = nl.address(3, "192.0.2.8")


def test_subscribers_hear_what_the_kernel_tells(kernel: Kernel) -> None:
    """8445-9: interfaces are monitored."""
    one, other = Told(kernel.loop), Told(kernel.loop)
    kernel.watcher.subscribe(one)
    kernel.watcher.subscribe(other)
    assert kernel.watcher.source == "netlink"
    kernel.say(KNOWN, REMOVED)
    kernel.loop.run(1)
    assert one == other == [(0.0, "192.0.2.7 on eth0 was removed")]
    kernel.say(ADDED)
    kernel.loop.run(1)
    assert one.reasons[1:] == ["192.0.2.8 on eth0 was added"]


def test_all_subscribers_of_a_watcher_cost_one_socket_and_the_last_one_closes_it(kernel: Kernel) -> None:
    subscriptions = [kernel.watcher.subscribe(Told(kernel.loop)) for _ in range(1000)]
    assert len(kernel.sockets) == len(kernel.loop.readers) == 1
    for subscription in subscriptions[1:]:
        subscription.cancel()
        subscription.cancel()
    assert kernel.watcher.source == "netlink"
    subscriptions[0].cancel()
    assert not subscriptions[0].active
    assert kernel.watcher.source is None
    assert kernel.sockets[0].closed
    assert not kernel.loop.readers
    kernel.watcher.subscribe(Told(kernel.loop))
    assert [sock.closed for sock in kernel.sockets] == [True, False]


def test_nothing_is_told_after_cancel_or_close(kernel: Kernel) -> None:
    told, late = Told(kernel.loop), Told(kernel.loop)
    kernel.watcher.subscribe(told)
    cancelled = kernel.watcher.subscribe(late)
    kernel.say(REMOVED)
    cancelled.cancel()
    kernel.loop.run(0.1)
    assert (len(told), len(late)) == (1, 0)
    kernel.say(ADDED)
    kernel.watcher.close()
    kernel.watcher.close()
    assert not kernel.loop.waiting
    kernel.loop.run(1)
    assert len(told) == 1
    with pytest.raises(RuntimeError, match="closed"):
        kernel.watcher.subscribe(told)


def test_a_subscriber_may_cancel_others_and_itself_while_it_is_called(kernel: Kernel) -> None:
    told = Told(kernel.loop)

    def cancel_all(reason: str) -> None:
        for subscription in subscriptions:
            subscription.cancel()

    subscriptions = [kernel.watcher.subscribe(callback) for callback in (cancel_all, told)]
    kernel.say(REMOVED)
    kernel.loop.run(1)
    assert told == []
    assert kernel.sockets[0].closed


def test_a_subscriber_that_fails_takes_nothing_from_the_others(kernel: Kernel) -> None:
    told = Told(kernel.loop)

    def fail(reason: str) -> None:
        raise ZeroDivisionError

    kernel.watcher.subscribe(fail)
    kernel.watcher.subscribe(told)
    kernel.say(REMOVED)
    kernel.loop.run(1)
    assert len(told) == 1
    assert isinstance(kernel.loop.complaints[0]["exception"], ZeroDivisionError)


def test_an_overrun_means_that_something_changed_and_the_view_is_taken_anew(kernel: Kernel) -> None:
    told = Told(kernel.loop)
    kernel.watcher.subscribe(told)
    kernel.known = KNOWN + ADDED
    kernel.say(OSError(errno.ENOBUFS, "no buffer space"), OSError(errno.ENOBUFS, "no buffer space"))
    kernel.loop.run(1)
    assert told == [(0.0, "messages about changes were lost")]
    assert kernel.snapshots == 2
    kernel.say(ADDED)
    kernel.loop.run(1)
    assert len(told) == 1
    kernel.say(nl.message(nl.OVERRUN, b""))
    kernel.loop.run(1)
    assert (len(told), kernel.snapshots) == (2, 3)


def test_a_broken_socket_ends_in_polling(kernel: Kernel) -> None:
    told = Told(kernel.loop)
    kernel.watcher.subscribe(told)
    kernel.say(OSError(errno.EBADF, "bad file descriptor"))
    assert kernel.sockets[0].closed
    assert kernel.watcher.source == "polling"
    kernel.host = []
    kernel.loop.run(POLL_INTERVAL + 1)
    assert told.reasons == ["messages about changes were lost", "192.0.2.7 on eth0 was removed"]
    kernel.watcher.close()
    assert not kernel.loop.waiting


def test_a_storm_leaves_the_event_loop_its_turn(kernel: Kernel) -> None:
    told = Told(kernel.loop)
    kernel.watcher.subscribe(told)
    sock = kernel.sockets[0]
    sock.reads = [REMOVED, ADDED] * MAX_PER_WAKE
    kernel.loop.readers[sock]()
    assert len(sock.reads) == MAX_PER_WAKE


def test_without_a_snapshot_the_first_repetition_is_news(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> list[netlink.News]:
        raise PermissionError

    monkeypatch.setattr(netlink, "snapshot", refused)
    told = Told(kernel.loop)
    kernel.watcher.subscribe(told)
    kernel.say(KNOWN, KNOWN)
    kernel.loop.run(1)
    assert told.reasons == ["192.0.2.7 on eth0 was added"]


def test_addresses_are_read_once_for_all_until_the_kernel_says_something(kernel: Kernel) -> None:
    kernel.watcher.subscribe(Told(kernel.loop))
    for _ in range(1000):
        assert kernel.watcher.addresses() == kernel.host
    assert kernel.reads == 1
    kernel.host = []
    kernel.say(nl.address(3, "fe80::7"))  # told to nobody, and it may matter to who looks
    assert kernel.watcher.addresses() == []
    assert kernel.reads == 2


def test_addresses_are_read_afresh_while_nobody_listens(kernel: Kernel) -> None:
    kernel.watcher.addresses()
    kernel.watcher.addresses()
    assert kernel.reads == 2


def test_what_addresses_gives_belongs_to_the_caller(kernel: Kernel) -> None:
    kernel.watcher.subscribe(Told(kernel.loop))
    kernel.watcher.addresses().clear()
    assert kernel.watcher.addresses() == kernel.host


def test_mistakes_of_the_caller_raise(kernel: Kernel) -> None:
    async def waits(reason: str) -> None: ...

    with pytest.raises(TypeError, match="plain function"):
        kernel.watcher.subscribe(waits)
    with pytest.raises(ValueError, match="poll_interval"):
        NetworkWatcher(loop=kernel.loop, poll_interval=0)  # type: ignore[arg-type]
    assert not kernel.sockets


# -- polling
# ---------------------------------------------------------------------------------------------------------------


def no_netlink() -> socket.socket:
    raise OSError("not here")


class Host:
    """Where addresses are read."""

    def __init__(self) -> None:
        self.addresses = [entry("192.0.2.7"), entry("2001:db8::7")]
        self.reads = 0
        self.error: OSError | None = None

    def __call__(self) -> list[InterfaceAddress]:
        self.reads += 1
        if self.error is not None:
            raise self.error
        return list(self.addresses)


def test_where_there_is_no_netlink_readings_are_compared(loop: Any) -> None:
    host, told = Host(), Told(loop)
    watcher = NetworkWatcher(told, loop=loop, open_netlink=no_netlink, read=host, poll_interval=2.0)
    assert watcher.source == "polling"
    loop.run(10)
    assert told == []
    assert host.reads == 6
    host.addresses.pop()
    loop.run(2)
    assert told == [(12.0, "2001:db8::7 on eth0 was removed")]
    host.addresses.append(entry("2001:db8::8"))
    loop.run(2.5)
    assert told[1:] == [(14 + SETTLE, "2001:db8::8 on eth0 was added")]
    watcher.close()
    assert not loop.waiting


def test_a_reading_that_fails_changes_nothing(loop: Any) -> None:
    host, told = Host(), Told(loop)
    NetworkWatcher(told, loop=loop, open_netlink=no_netlink, read=host)
    host.error = OSError("busy")
    loop.run(POLL_INTERVAL)
    host.error = None
    loop.run(POLL_INTERVAL)
    assert told == []
    assert host.reads == 3


def test_an_event_loop_without_readers_polls(
    loop: Any, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(sock: Any, callback: Any) -> None:
        raise NotImplementedError

    monkeypatch.setattr(loop, "add_reader", refused)
    kernel.watcher.subscribe(Told(loop))
    assert kernel.watcher.source == "polling"
    assert kernel.sockets[0].closed


def test_when_polling_addresses_are_read_a_few_times_a_second(loop: Any) -> None:
    host = Host()
    watcher = NetworkWatcher(Told(loop), loop=loop, open_netlink=no_netlink, read=host)
    for _ in range(1000):
        watcher.addresses()
    assert host.reads == 1
    loop.run(MIN_INTERVAL)
    watcher.addresses()
    assert host.reads == 2


# -- one for each event loop
# -----------------------------------------------------------------------------------------------


def test_the_watcher_of_an_event_loop_is_shared(run: Any) -> None:
    """Nothing is left behind when the last subscription is cancelled: no task, no descriptor."""

    async def body() -> None:
        watcher = NetworkWatcher.shared()
        subscriptions = [NetworkWatcher.shared().subscribe(lambda reason: None) for _ in range(1000)]
        assert NetworkWatcher.shared(asyncio.get_running_loop()) is watcher
        assert watcher.source is not None
        assert watcher.addresses()
        for subscription in subscriptions:
            subscription.cancel()
        assert watcher.source is None
        again = NetworkWatcher.shared().subscribe(lambda reason: None)
        NetworkWatcher.shared().close()
        assert not again.active

    run(body())


def test_a_shared_watcher_that_is_subscribed_to_again_is_the_shared_one_again(loop: Any) -> None:
    watcher = NetworkWatcher.shared(loop)
    watcher._open_netlink = no_netlink
    watcher.subscribe(Told(loop)).cancel()
    subscription = watcher.subscribe(Told(loop))
    assert NetworkWatcher.shared(loop) is watcher
    subscription.cancel()


def test_a_closed_watcher_is_not_shared_any_more(loop: Any) -> None:
    watcher = NetworkWatcher.shared(loop)
    watcher.close()
    other = NetworkWatcher.shared(loop)
    assert other is not watcher
    other.close()


def test_the_watcher_of_an_event_loop_that_was_closed_lets_go_of_its_socket(
    loop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(netlink, "snapshot", list)
    sock, other = FakeSocket(), FakeLoop()
    watcher = NetworkWatcher.shared(loop)
    watcher._open_netlink = lambda: sock  # type: ignore[assignment, return-value]
    watcher.subscribe(Told(loop))
    loop.closed = True
    assert NetworkWatcher.shared(other) is not watcher  # type: ignore[arg-type]
    assert sock.closed
    NetworkWatcher.shared(other).close()  # type: ignore[arg-type]


# -- a real kernel
# ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def namespace() -> list[str]:
    """The beginning of a command that runs the rest in a network namespace of its own."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("needs unshare and ip")
    command = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
    tried = subprocess.run(
        [*command, "ip", "link", "add", "v0", "type", "veth"], capture_output=True, check=False
    )
    if tried.returncode != 0:
        pytest.skip(f"no network namespaces here: {tried.stderr.decode().strip()}")
    return command


@pytest.mark.natlab
def test_each_change_in_a_network_namespace_is_told(namespace: list[str]) -> None:
    """8445-9: addresses, carrier, links and default routes of a real kernel."""
    script = Path(__file__).with_name("watch_in_namespace.py")
    done = subprocess.run(
        [*namespace, sys.executable, str(script)], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["source"] == "netlink"
    missing = [step for step in report["steps"] if not any(step[1] in reason for reason in step[2])]
    assert not missing
