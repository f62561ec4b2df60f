"""What the tests of servers share: clients over UDP and TCP, and runs that leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from fasticePy import stun
from fasticePy.server import StunServer

Address = tuple[str, int]

needs_ipv6 = pytest.mark.skipif(
    not os.path.exists("/proc/net/if_inet6") and sys.platform == "linux", reason="this kernel has no IPv6"
)
needs_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8 on loopback"
)


def descriptors() -> set[str]:
    """The open file descriptors with what they are open on, where the system tells."""
    folder = "/proc/self/fd"
    found = set()
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        with suppress(OSError):  # the one that listed the folder
            found.add(f"{name}: {os.readlink(f'{folder}/{name}')}")
    return found


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run an async test; nothing may be left behind by it, and nothing may go wrong unseen."""
    complaints: list[dict[str, Any]] = []

    async def guarded() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        await asyncio.wait_for(main(), 20)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left

    before = descriptors()
    asyncio.run(guarded())
    gc.collect()  # a future whose exception nobody saw complains when it goes
    assert not complaints
    assert descriptors() <= before


def request(**attributes: Any) -> bytes:
    builder = stun.MessageBuilder(stun.Method.BINDING, stun.MessageClass.REQUEST)
    for name, value in attributes.items():
        builder.add(stun.Attribute[name], value)
    return builder.build()


def mapped(data: bytes) -> Address | None:
    message = stun.parse(data)
    assert message.message_class == stun.MessageClass.SUCCESS
    value = message.get(stun.Attribute.XOR_MAPPED_ADDRESS)
    assert value is None or isinstance(value, tuple)
    return value


def udp_client(host: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    sock.bind((host, 0))
    return sock


async def ask_udp(sock: socket.socket, data: bytes, server: Address) -> tuple[bytes, Any]:
    loop = asyncio.get_running_loop()
    sock.sendto(data, server)
    return await asyncio.wait_for(loop.run_in_executor(None, _blocking_receive, sock), 5)


def _blocking_receive(sock: socket.socket) -> tuple[bytes, Any]:
    sock.settimeout(5)
    return sock.recvfrom(2000)


@asynccontextmanager
async def connection(
    server: StunServer, **options: Any
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*server.tcp_addresses[0], **options)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def read_message(reader: asyncio.StreamReader) -> bytes:
    header = await reader.readexactly(20)
    return header + await reader.readexactly(int.from_bytes(header[2:4], "big"))


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - the server has no hook for tests
        await asyncio.sleep(0.005)


async def ended(reader: asyncio.StreamReader) -> bool:
    """Whether the server has ended the connection: nothing more can be read."""
    try:
        return await reader.read(1) == b""
    except ConnectionError:
        return True
