"""How tests of the asyncio runtime run: on a debugging event loop, and nothing may be left behind."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

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
        gc.collect()
        before = descriptors() if loop is None else set()
        loop = loop or asyncio.new_event_loop()
        loop.set_debug(True)
        try:
            result = loop.run_until_complete(supervise(body))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()
        gc.collect()
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
