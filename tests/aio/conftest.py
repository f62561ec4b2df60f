"""How tests of the asyncio runtime run: on a debugging event loop, and nothing may be left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from fasticePy.aio import Agent, UdpEndpoint, open_udp_socket
from fasticePy.machine import Address
from fasticePy.stun import BindingServer

T = TypeVar("T")
Run = Callable[..., T]


def descriptors() -> set[str]:
    """The open file descriptors with what they are open on, where the system tells."""
    folder = "/proc/self/fd"
    found = set()
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        try:
            found.add(f"{name}: {os.readlink(f'{folder}/{name}')}")
        except OSError:  # the one that listed the folder
            continue
    return found


async def supervise(body: Coroutine[Any, Any, T]) -> T:
    """Await `body`; then no task may be running and no error may have gone to the event loop's handler."""
    loop = asyncio.get_running_loop()
    complaints: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    result = await body
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"tasks left behind: {left}"
    gc.collect()  # a future whose exception nobody saw complains when it goes
    assert not complaints, f"errors that only the event loop saw: {complaints}"
    return result


@pytest.fixture
def run() -> Run[Any]:
    """`run(coroutine)` runs it to its end and gives its result; tasks, descriptors and warnings left behind
    fail."""

    def run(body: Coroutine[Any, Any, T], *, loop: asyncio.AbstractEventLoop | None = None) -> T:
        gc.freeze()  # what was there before is not looked at: collecting takes no time then
        before = descriptors() if loop is None else set()
        loop = loop or asyncio.new_event_loop()
        loop.set_debug(True)
        try:
            result = loop.run_until_complete(supervise(body))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()
            gc.collect()
            gc.unfreeze()
        if before:
            left = descriptors() - before
            assert not left, f"descriptors left behind: {left}"
        return result

    return run


@pytest.fixture
def ipv6_loopback() -> str:
    """`::1`, where this host has it."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError as error:
        pytest.skip(f"no IPv6 loopback on this host: {error}")
    return "::1"


@pytest.fixture
def closed_port() -> Callable[[str], tuple[str, int]]:
    """`closed_port(host)` is an address at which nobody listens."""

    def closed_port(host: str) -> tuple[str, int]:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((host, 0))
            return (host, sock.getsockname()[1])

    return closed_port


# --- agents
# -----------------------------------------------------------------------------------------------------------


def make_agent(*, controlling: bool, **options: Any) -> Agent:
    """An agent on IPv4 loopback, unless told otherwise."""
    if not {"addresses", "interfaces", "include_loopback"} & set(options):
        options["addresses"] = ["127.0.0.1"]
    return Agent(controlling=controlling, **options)


def trickle(one: Agent, other: Agent) -> None:
    """Everything that `one` finds is told to `other` at once."""
    one.on_candidate = other.add_remote_candidate
    other.set_remote_credentials(one.local_description.ufrag, one.local_description.pwd)


class Pair:
    """Two agents, `a` controlling, that trickle to each other."""

    def __init__(self, **options: Any) -> None:
        self.a = make_agent(controlling=True, **options)
        self.b = make_agent(controlling=False, **options)

    def introduce(self) -> None:
        trickle(self.a, self.b)
        trickle(self.b, self.a)

    async def connect(self) -> Pair:
        self.introduce()
        await asyncio.gather(self.a.connect(), self.b.connect())
        return self

    async def close(self) -> None:
        await self.a.close()
        await self.b.close()


@pytest.fixture
def agent() -> Callable[..., Agent]:
    """`agent(controlling=..., **options)` makes an agent on IPv4 loopback, unless told otherwise."""
    return make_agent


@pytest.fixture
def pair() -> Callable[..., Pair]:
    """`pair(**options)` makes two agents; `await pair().connect()` connects them."""
    return Pair


class StunServer:
    """A STUN server on loopback, in the event loop of the test. A silent one only listens."""

    def __init__(self, host: str = "127.0.0.1", *, silent: bool = False) -> None:
        self.machine = BindingServer()
        self.silent = silent
        self.requests = 0
        self.asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        self.endpoint = UdpEndpoint(loop, 1, open_udp_socket((host, 0)), self, self.machine.counters)
        port = self.endpoint.address[1]
        self.url = f"stun:[{host}]:{port}" if ":" in host else f"stun:{host}:{port}"

    def datagram_received(self, socket: int, data: bytes, address: Address) -> None:
        self.requests += 1
        self.asked.set()
        if not self.silent:
            self.machine.datagram_received(socket, data, address, 0.0)

    def batch_ended(self) -> None:
        for transmit in self.machine.take_transmits():
            self.endpoint.send(transmit.data, transmit.address)

    def socket_error(self, socket: int, address: Address | None, reason: str) -> None:
        """The client went away."""

    async def close(self) -> None:
        self.endpoint.close()
        await self.endpoint.wait_closed()


@pytest.fixture
def stun_server() -> type[StunServer]:
    """The class: make one inside the event loop, and close it."""
    return StunServer
