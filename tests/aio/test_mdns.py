"""Multicast DNS on real sockets."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from fasticePy.aio.interfaces import InterfaceAddress
from fasticePy.aio.mdns import MdnsHub
from fasticePy.aio.mdns_sockets import MAX_INTERFACES, MdnsInterface, open_mdns_socket, usable
from fasticePy.aio.resolver import Resolver
from fasticePy.machine import Address
from fasticePy.mdns import make_name

NAME = "0b6ff4c5-b5ae-4c1b-9d5e-5f1f25e1b1a9.local"
NOWHERE = InterfaceAddress(interface="nowhere0", address="203.0.113.9", prefix=24)


def entry(interface: str, address: str, prefix: int = 24, **more: Any) -> InterfaceAddress:
    return InterfaceAddress(interface=interface, address=address, prefix=prefix, **more)


LOOPBACK = [entry("lo", "127.0.0.1", 8, kind="loopback")]


class Handler:
    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.done = asyncio.get_running_loop().create_future()

    def addresses_found(self, addresses: Sequence[Address], final: bool) -> None:
        self.heard.append((tuple(addresses), final))
        if final:
            self.done.set_result(self.heard)

    def lookup_failed(self, reason: str) -> None:
        self.heard.append(reason)
        self.done.set_result(self.heard)


@pytest.fixture
def multicast_on_loopback() -> None:
    """Skips where what is sent to the group on loopback is not heard there."""
    name = socket.if_nameindex()[0][1]
    lo = next((name for _, name in socket.if_nameindex() if name in {"lo", "lo0"}), name)
    try:
        sock = open_mdns_socket(MdnsInterface(lo, socket.if_nametoindex(lo), False, ("127.0.0.1",)))
    except OSError as error:
        pytest.skip(f"no multicast on loopback here: {error}")
    with sock:
        sock.setblocking(True)
        sock.settimeout(2)
        try:
            sock.sendto(b"probe", ("224.0.0.251", 5353))
            while sock.recv(9000) != b"probe":
                continue
        except OSError as error:
            pytest.skip(f"no multicast on loopback here: {error}")


def hub_on_loopback() -> MdnsHub:
    return MdnsHub(addresses=lambda: LOOPBACK)


# --- over loopback


@pytest.mark.usefixtures("multicast_on_loopback")
def test_what_one_hub_publishes_another_resolves(run, make_rng) -> None:
    """mdns-1, mdns-4: over the group, between two hubs that know nothing of each other."""
    name = make_name(make_rng(os.getpid()))

    async def body() -> None:
        one, other = hub_on_loopback(), hub_on_loopback()
        resolver: Resolver = other
        publication = one.publish(name, "192.0.2.7")
        assert (publication.failure, publication.name) == (None, name)
        handler = Handler()
        resolver.resolve(name, 4000, handler, ipv6=False)
        assert handler.heard == []  # never from inside the call
        assert await handler.done == [((("192.0.2.7", 4000),), True)]
        assert not other.is_open  # nobody uses it any more
        publication.withdraw()
        publication.withdraw()
        assert not one.is_open

    run(body())


@pytest.mark.usefixtures("multicast_on_loopback")
def test_who_listens_needs_no_question(run, make_rng) -> None:
    name = make_name(make_rng(os.getpid() + 1))

    async def body() -> None:
        one, other = hub_on_loopback(), hub_on_loopback()
        heard, batch_ended = asyncio.Event(), other.batch_ended

        def ended() -> None:
            batch_ended()
            heard.set()

        async def until(cached: int) -> None:
            while other._machine.cached != cached:
                heard.clear()
                await heard.wait()

        other.batch_ended = ended  # type: ignore[method-assign]
        listening = other.listen()
        assert other.is_open
        publication = one.publish(name, "192.0.2.7")
        await until(1)
        publication.withdraw()
        await until(0)  # the goodbye was heard, too
        listening.close()
        listening.close()
        assert not other.is_open

    run(body())


# --- one event loop, one hub


def test_one_hub_for_each_event_loop(run) -> None:
    hubs = []

    async def body() -> None:
        hub = MdnsHub.shared()
        assert MdnsHub.shared() is hub
        assert not hub.is_open
        hubs.append(hub)

    run(body())
    run(body())
    assert hubs[0] is not hubs[1]
    with pytest.raises(RuntimeError):
        MdnsHub.shared()


def test_our_own_names_are_resolved_without_the_network(run) -> None:
    async def body() -> None:
        hub = MdnsHub(addresses=list)
        publication = hub.publish(NAME, "192.0.2.7")
        handler = Handler()
        hub.resolve(NAME.upper(), 4000, handler)
        assert await handler.done == [((("192.0.2.7", 4000),), True)]
        publication.withdraw()

    run(body())


def test_a_name_published_twice_stays_until_both_are_withdrawn(run) -> None:
    async def body() -> None:
        hub = MdnsHub(addresses=list)
        one, two = hub.publish(NAME, "192.0.2.7"), hub.publish(NAME, "192.0.2.7")
        assert "another address" in (hub.publish(NAME, "192.0.2.8").failure or "")
        one.withdraw()
        one.withdraw()
        handler = Handler()
        hub.resolve(NAME, 1, handler)
        assert (await handler.done)[0][1]
        two.withdraw()
        assert hub._users == set()

    run(body())


def test_cancelling(run) -> None:
    async def body() -> None:
        hub = MdnsHub(addresses=list)
        handler = Handler()
        lookup = hub.resolve(NAME, 1, handler)
        lookup.cancel()
        lookup.cancel()
        for _ in range(3):
            await asyncio.sleep(0)
        assert handler.heard == []
        assert hub._users == set()

    run(body())


def test_a_handler_may_ask_for_the_next_name_at_once(run) -> None:
    async def body() -> None:
        hub = MdnsHub(addresses=list)
        second = Handler()

        class Chain(Handler):
            def lookup_failed(self, reason: str) -> None:
                hub.resolve(NAME, 1, second)

        hub.resolve(NAME, 1, Chain())
        assert len(await second.done) == 1
        assert hub._users == set()

    run(body())


# --- when it does not work


@pytest.mark.parametrize(
    ("addresses", "words"),
    [
        (list, "this host has no interface for it"),
        (lambda: [NOWHERE], "nowhere0 IPv4: "),
        (
            lambda: [entry("nowhere0", "2001:db8::1")],
            "nowhere0 IPv6: the number of this interface is not known",
        ),
    ],
)
def test_without_a_socket(run, addresses: Callable[[], Sequence[InterfaceAddress]], words: str) -> None:
    """mdns-1: publishing never raises, and says what is wrong; mdns-4: so does resolving."""

    async def body() -> None:
        hub = MdnsHub(addresses=addresses)
        publication = hub.publish(NAME, "192.0.2.7")
        assert (publication.failure or "").startswith(f"multicast DNS is not available: {words}")
        handler = Handler()
        hub.resolve(make_name(bytes), 4000, handler)
        assert handler.heard == []
        await handler.done
        assert handler.heard[0].startswith(f"multicast DNS is not available: {words}")
        publication.withdraw()

    run(body())


def test_the_interfaces_cannot_be_listed(run) -> None:
    def broken() -> list[InterfaceAddress]:
        raise PermissionError(13, "Permission denied")

    async def body() -> None:
        hub = MdnsHub(addresses=broken)
        handler = Handler()
        hub.resolve(NAME, 4000, handler)
        assert "cannot be listed: permission denied" in (await handler.done)[0]

    run(body())


def test_names_and_addresses_that_are_none(run) -> None:
    """mdns-5: names that are no UUID are not resolved, and nothing is raised."""

    async def body() -> None:
        hub = MdnsHub(addresses=list)
        for name, address in (("example.org", "192.0.2.7"), (NAME, "nowhere")):
            publication = hub.publish(name, address)
            assert publication.failure
            publication.withdraw()
        handler = Handler()
        hub.resolve("printer.local", 1, handler)
        assert await handler.done == ["only names that are a UUID and .local are resolved"]
        assert not hub.is_open

    run(body())


# --- interfaces


def test_which_interfaces_are_used() -> None:
    found = [
        entry("lo", "127.0.0.1", 8, kind="loopback"),
        entry("docker0", "172.17.0.1", 16, carrier=False),
        entry("eth1", "192.0.2.1"),
        entry("eth0", "198.51.100.1", default=True),
        entry("eth0", "2001:db8::1", 64),
        entry("eth2", "192.0.2.65", up=False),
        entry("eth3", "2001:db8::3", 64, tentative=True),
    ]

    def names(**options: bool) -> list[tuple[str, bool]]:
        options.setdefault("include_loopback", False)
        return [(each.name, each.ipv6) for each in usable(found, **options)]

    assert names() == [("eth0", False), ("eth0", True), ("eth1", False)]
    assert names(include_loopback=True)[-2:] == [("lo", False), ("eth1", False)]
    assert [each.name for each in usable(found[:1], include_loopback=False)] == ["lo"]
    many = [entry(f"eth{number}", f"192.0.2.{number}") for number in range(1, 99)]
    assert len(usable(many, include_loopback=False)) == MAX_INTERFACES
    assert usable(found, include_loopback=False)[0].addresses == ("198.51.100.1", "2001:db8::1")


def test_sources_elsewhere_are_not_heard(run) -> None:
    """RFC 6762 11: whoever knows our name may not ask from afar for what it hides."""

    async def body() -> None:
        hub = MdnsHub(addresses=lambda: [NOWHERE, entry("nowhere0", "2001:db8::1", 64)])
        listening = hub.listen()
        for host in ("203.0.113.77", "2001:db8::77", "fe80::77%nowhere0"):
            hub.datagram_received(1, b"", (host, 5353))
        assert "drop.mdns.source-elsewhere" not in hub.counters
        for host in ("198.51.100.1", "2001:db8:1::77", "203.0.114.1", "198.51.100.1"):
            hub.datagram_received(1, b"", (host, 5353))
        assert hub.counters["drop.mdns.source-elsewhere"] == 4
        listening.close()
        assert hub.counters["drop.mdns.unknown-socket"] == 3

    run(body())


@pytest.mark.usefixtures("multicast_on_loopback")
def test_interfaces_come_and_go(run) -> None:
    async def body() -> None:
        found = list(LOOPBACK)
        hub = MdnsHub(addresses=lambda: found)
        hub.refresh()
        assert not hub.is_open  # nobody uses it
        listening = hub.listen()
        assert hub.is_open
        found.clear()
        publication = hub.publish(NAME, "192.0.2.7")
        assert publication.failure is None  # it was looked a moment ago
        hub.refresh()
        assert not hub.is_open
        found.extend(LOOPBACK)
        hub.refresh()
        assert hub.is_open
        hub.socket_error(next(iter(hub._sockets.endpoints)), ("192.0.2.9", 5353), "host unreachable")
        assert hub.is_open
        hub.socket_error(next(iter(hub._sockets.endpoints)), None, "reading failed")
        assert not hub.is_open
        assert hub.problems == ("lo IPv4: reading failed",)
        publication.withdraw()
        listening.close()

    run(body())


# --- two hosts


@pytest.mark.natlab
@pytest.mark.skipif(sys.platform != "linux", reason="network namespaces are Linux")
def test_two_hosts_on_one_network() -> None:
    """mdns-1, mdns-4: IPv4, IPv6 and link-local addresses of a host on the other end of a cable."""
    if os.geteuid():
        pytest.skip("needs root, to make network namespaces")
    if not hasattr(ctypes.CDLL(None), "unshare"):
        pytest.skip("the C library has no unshare")
    script = Path(__file__).with_name("mdns_in_namespaces.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["found"] == [["10.77.0.2 5000"], ["fd77::2 5000"], ["fe80::2%cable0 5000"]]
    assert (result["status"], result["open"], result["problems"]) == (0, False, [])
