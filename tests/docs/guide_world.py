"""The world in which the snippets of the guides run: this machine's loopback, dressed up.

The host has one network card, `eth0`, whose address is 127.0.0.1, unless a page says otherwise. Of the names that
the guides use these are known: `stun.example.org` and `stun2.example.org` answer, `silent.example.org` says nothing,
`closed.example.org` has nobody on that port. No other name exists; nothing leaves this machine.

A page gets these by `<!-- setup: NAME -->`:

- `agent`: an agent that has not begun; controlling.
- `pair`: `alice` and `bob`, two connected agents; alice controls.
- `signalling`: an object with `await send(text)` and `await receive()`, at whose other end somebody answers: a
  description with a description and candidates, and data that comes over ICE with the same data.
- `channel`: `here` and `there`, the two ends of a channel: `await here.send(text)`, `async for text in there`.
- `silent`: `description`, that of a peer whom nothing reaches.
- `failed`: `failed`, an agent whose peer never answered.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest

import fasticePy as ice
from fasticePy.aio.interfaces import AddressPolicy, InterfaceAddress, InterfaceKind, Selection
from fasticePy.aio.resolver import Lookup, LookupHandler
from fasticePy.aio.watch import NetworkWatcher
from fasticePy.machine import Address
from fasticePy.server import StunServer

LOOPBACK = InterfaceAddress(interface="eth0", address="127.0.0.1", prefix=8, kind="ethernet", default=True)


class Names:
    """A resolver that knows the names of the guides."""

    def __init__(self) -> None:
        self.known: dict[str, Address] = {}

    def resolve(
        self, host: str, port: int, handler: LookupHandler, *, ipv4: bool = True, ipv6: bool = True
    ) -> Lookup:
        return _Answer(self.known.get(host), host, port, handler)


class _Answer:
    def __init__(self, known: Address | None, host: str, port: int, handler: LookupHandler) -> None:
        numeric = host.replace(".", "").isdigit()
        self.addresses = [(host, port)] if numeric else [known] if known else []
        self.handler = handler
        self.handle = asyncio.get_running_loop().call_soon(self.answer)

    def answer(self) -> None:
        if self.addresses:
            self.handler.addresses_found(self.addresses, True)
        else:
            self.handler.lookup_failed("the name does not exist")

    def cancel(self) -> None:
        self.handle.cancel()


def use_host(patch: pytest.MonkeyPatch, described: Sequence[str]) -> None:
    """Let agents find these addresses on this host: texts like `docker0 bridge 172.17.0.1`; none: loopback alone."""
    entries = [_entry(text, first=number == 0) for number, text in enumerate(described)] or [LOOPBACK]
    from fasticePy.aio import interfaces

    select = interfaces.select

    def select_here(found: Sequence[InterfaceAddress], policy: AddressPolicy) -> Selection:
        # 127.0.0.1 plays the part of an ordinary address
        if not described:
            object.__setattr__(policy, "include_loopback", True)
        return select(found, policy)

    for module in _modules_with("host_addresses"):
        patch.setattr(module, "host_addresses", lambda: list(entries))
    for module in _modules_with("select"):
        patch.setattr(module, "select", select_here)

    def read() -> list[InterfaceAddress]:
        return list(entries)

    def no_netlink() -> socket.socket:
        raise OSError("this host has no netlink")

    patch.setattr(NetworkWatcher, "shared", lambda: NetworkWatcher(read=read, open_netlink=no_netlink))


def _modules_with(name: str) -> list[Any]:
    """The modules of the runtime that use something by this name."""
    found = [module for path, module in sys.modules.items() if path.startswith("fasticePy.aio.")]
    return [module for module in found if hasattr(module, name)]


def _entry(text: str, *, first: bool) -> InterfaceAddress:
    interface, kind, address = text.split()
    kinds: dict[str, InterfaceKind] = {
        "ethernet": "ethernet",
        "wifi": "wifi",
        "bridge": "bridge",
        "tunnel": "tunnel",
        "virtual": "virtual",
        "loopback": "loopback",
    }
    prefix = 64 if ":" in address else 8 if kind == "loopback" else 16
    return InterfaceAddress(
        interface=interface, address=address, prefix=prefix, kind=kinds[kind], default=first
    )


@asynccontextmanager
async def world(patch: pytest.MonkeyPatch, code: str) -> AsyncIterator[None]:
    """Names and servers, for as long as a snippet runs."""
    names = Names()
    for module in _modules_with("SystemResolver"):
        patch.setattr(module, "SystemResolver", lambda: names)
    async with AsyncExitStack() as stack:
        for host in ("stun.example.org", "stun2.example.org"):
            if host in code:
                server = await stack.enter_async_context(StunServer())
                names.known[host] = server.udp_addresses[0]
        for host in ("silent.example.org", "closed.example.org"):
            if host in code:
                quiet = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                quiet.bind(("127.0.0.1", 0))
                names.known[host] = quiet.getsockname()
                if host.startswith("silent"):
                    stack.callback(quiet.close)
                else:
                    quiet.close()
        yield


@asynccontextmanager
async def _agent() -> AsyncIterator[dict[str, Any]]:
    async with ice.Agent(controlling=True) as agent:
        yield {"agent": agent}


@asynccontextmanager
async def _pair() -> AsyncIterator[dict[str, Any]]:
    async with ice.Agent(controlling=True) as alice, ice.Agent(controlling=False) as bob:
        await asyncio.gather(alice.gather(), bob.gather())
        alice.set_remote_description(bob.local_description)
        bob.set_remote_description(alice.local_description)
        await asyncio.gather(alice.connect(5), bob.connect(5))
        yield {"alice": alice, "bob": bob}


class Signalling:
    """One end of a channel with a peer at the other."""

    def __init__(self, peer: ice.Agent) -> None:
        self._peer = peer
        self._inbound: asyncio.Queue[str] = asyncio.Queue()

    async def send(self, message: str) -> None:
        if "ufrag" in message and "pwd" in message:
            self._peer.set_remote_description(message)
            self._inbound.put_nowait(str(self._peer.local_description))
        else:
            self._peer.add_remote_candidate(message)

    async def receive(self) -> str:
        return await self._inbound.get()

    def __aiter__(self) -> Signalling:
        return self

    async def __anext__(self) -> str:
        return await self._inbound.get()


@asynccontextmanager
async def _signalling() -> AsyncIterator[dict[str, Any]]:
    async with ice.Agent(controlling=False) as peer:
        await peer.gather()
        echo = asyncio.create_task(_echo(peer))
        yield {"signalling": Signalling(peer)}
        await peer.close()
        await echo


async def _echo(peer: ice.Agent) -> None:
    with suppress(ice.IceFailed):
        await peer.connect()
        while True:
            peer.send(await peer.recv())


class End:
    """One end of a channel in memory."""

    def __init__(self) -> None:
        self.inbound: asyncio.Queue[str] = asyncio.Queue()
        self.other = self

    async def send(self, text: str) -> None:
        self.other.inbound.put_nowait(text)

    def __aiter__(self) -> End:
        return self

    async def __anext__(self) -> str:
        return await self.inbound.get()


@asynccontextmanager
async def _channel() -> AsyncIterator[dict[str, Any]]:
    here, there = End(), End()
    here.other, there.other = there, here
    yield {"here": here, "there": there}


@asynccontextmanager
async def _silent() -> AsyncIterator[dict[str, Any]]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as quiet:
        quiet.bind(("127.0.0.1", 0))
        candidate = f"candidate:1 1 udp 2130706431 127.0.0.1 {quiet.getsockname()[1]} typ host"
        lines = ["a=ice-ufrag:EsAw", "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1", f"a={candidate}"]
        yield {"description": "\r\n".join(lines)}


@asynccontextmanager
async def _failed() -> AsyncIterator[dict[str, Any]]:
    timeouts = ice.Timeouts(patience=0.1, pacing=0.005)
    async with (
        ice.Agent(controlling=True, timeouts=timeouts) as agent,
        ice.Agent(controlling=False) as silent,
    ):
        await asyncio.gather(agent.gather(), silent.gather())
        description = silent.local_description
        await silent.close()
        agent.set_remote_description(description)
        with pytest.raises(ice.IceFailed):
            await agent.connect(5)
        yield {"failed": agent}


SETUPS: dict[str, Callable[[], Any]] = {
    "agent": _agent,
    "pair": _pair,
    "signalling": _signalling,
    "channel": _channel,
    "silent": _silent,
    "failed": _failed,
}

Body = Callable[[dict[str, Any]], Awaitable[None]]
