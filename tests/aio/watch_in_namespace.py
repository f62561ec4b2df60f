"""Run by test_watch.py inside a network namespace of its own: changes the network step by step and prints, for each
step, what a watcher told of it."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys

from fasticePy.aio.watch import NetworkWatcher

GUARD = 5.0
"""Seconds after which a change that was not told is missing."""

# a command, and what its report must contain
STEPS = [
    ("ip address add 192.0.2.8/24 dev v0", "192.0.2.8 on v0 was added"),
    ("ip address add 2001:db8::8/64 dev v0 nodad", "2001:db8::8 on v0 was added"),
    (
        "ip address change 2001:db8::8/64 dev v0 preferred_lft 0 valid_lft 1000",
        "2001:db8::8 on v0 is deprecated",
    ),
    ("ip route add default via 192.0.2.1", "new IPv4 default route over v0"),
    ("ip route replace default via 192.0.2.2", "new IPv4 default route over v0"),
    ("ip route del default", "IPv4 default route over v0 was removed"),
    ("ip address del 192.0.2.8/24 dev v0", "192.0.2.8 on v0 was removed"),
    ("ip link set v1 down", "v0 lost its carrier"),
    ("ip link set v1 up", "v0 has a carrier"),
    ("ip link set v0 down", "v0 is down"),
    ("ip link set v0 up", "v0 is up"),
    # duplicate address detection takes a second or two
    ("ip address add 2001:db8::9/64 dev v0", "2001:db8::9 on v0 was added"),
    ("ip link del v0", "192.0.2.7 on v0 was removed"),
]


async def report(told: asyncio.Queue[str], wanted: str) -> list[str]:
    """What is told until `wanted` comes, or until nothing more does."""
    reasons: list[str] = []
    while not any(wanted in reason for reason in reasons):
        try:
            reasons.append(await asyncio.wait_for(told.get(), GUARD))
        except asyncio.TimeoutError:
            break
    return reasons


async def main() -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    watcher = NetworkWatcher(told.put_nowait)
    source, steps = watcher.source, []
    for command, wanted in STEPS:
        process = await asyncio.create_subprocess_exec(*command.split())
        if await process.wait() != 0:
            steps.append((command, wanted, ["the command failed"]))
            continue
        steps.append((command, wanted, await report(told, wanted)))
    watcher.close()
    json.dump({"source": source, "steps": steps}, sys.stdout)


def prepare() -> None:
    """A pair of cables. Only where nothing but the loopback is: in a namespace that was just made."""
    if [name for _, name in socket.if_nameindex()] != ["lo"]:
        sys.exit(
            "this changes the network, and runs in a network namespace of its own only: see test_watch.py"
        )
    for command in (
        "ip link add v0 type veth peer name v1",
        "ip link set v1 up",
        "ip address add 192.0.2.7/24 dev v0",
        "ip link set v0 up",
    ):
        subprocess.run(command.split(), check=True)


if __name__ == "__main__":
    prepare()
    asyncio.run(main())
