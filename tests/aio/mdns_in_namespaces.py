"""Two hosts with a cable between them, each a network namespace and a process: one publishes names, the other resolves
them. A program for test_mdns.py; needs root and prints what was found as JSON."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import subprocess
from collections.abc import Sequence

from fasticePy.aio.mdns import MdnsHub
from fasticePy.machine import Address

NAMES = tuple(f"0000000{number}-0000-4000-8000-000000000000.local" for number in range(3))
HOSTS = ("10.77.0.2", "fd77::2", "fe80::2%cable1")


class Handler:
    def __init__(self) -> None:
        self.found: list[str] = []
        self.done = asyncio.get_running_loop().create_future()

    def addresses_found(self, addresses: Sequence[Address], final: bool) -> None:
        self.found += [f"{host} {port}" for host, port in addresses]
        if final:
            self.done.set_result(self.found)

    def lookup_failed(self, reason: str) -> None:
        self.done.set_result(reason)


def own_namespace() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x40000000):  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), "unshare")
    with open("/proc/sys/net/ipv6/conf/default/accept_dad", "w", encoding="ascii") as file:
        file.write("0")


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def set_up(name: str, number: int) -> None:
    ip("link", "set", "lo", "up")
    ip("link", "set", name, "addrgenmode", "none")
    ip("link", "set", name, "up")
    for address in (f"10.77.0.{number}/24", f"fd77::{number}/64", f"fe80::{number}/64"):
        ip("addr", "add", address, "dev", name, *(("nodad",) if ":" in address else ()))


async def publish(ready: int, stop: int) -> None:
    """The other host: three names."""
    hub = MdnsHub.shared()
    publications = [hub.publish(name, host) for name, host in zip(NAMES, HOSTS, strict=True)]
    assert [publication.failure for publication in publications] == [None] * 3, hub.problems
    os.write(ready, b".")
    await asyncio.get_running_loop().run_in_executor(None, os.read, stop, 1)
    for publication in publications:
        publication.withdraw()
    assert not hub.is_open


async def resolve() -> dict[str, object]:
    hub = MdnsHub.shared()
    handlers = [Handler() for _ in NAMES]
    for name, handler in zip(NAMES, handlers, strict=True):
        hub.resolve(name, 5000, handler)
    found = [await handler.done for handler in handlers]
    was_open = hub.is_open
    problems = hub.problems
    return {"found": found, "open": was_open, "problems": problems, "counters": dict(hub.counters)}


def main() -> None:
    own_namespace()
    (ready, tell_ready), (stop, tell_stop) = os.pipe(), os.pipe()
    (linked, tell_linked) = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(40)
        own_namespace()
        os.write(tell_ready, b".")
        os.read(linked, 1)
        set_up("cable1", 2)
        asyncio.run(publish(tell_ready, stop))
        os._exit(0)
    os.read(ready, 1)
    ip("link", "add", "cable0", "type", "veth", "peer", "name", "cable1", "netns", str(child))
    set_up("cable0", 1)
    os.write(tell_linked, b".")
    os.read(ready, 1)
    result = asyncio.run(resolve())
    os.write(tell_stop, b".")
    _, status = os.waitpid(child, 0)
    print(json.dumps({**result, "status": status}))


if __name__ == "__main__":
    main()
