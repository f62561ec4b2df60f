"""Two machines, two terminals: each prints a line that you paste into the other, then both are connected.

python manual_signalling.py offer [stun:HOST[:PORT]]
python manual_signalling.py answer [stun:HOST[:PORT]]
"""

from __future__ import annotations

import asyncio
import sys

import fasticePy as ice


async def read_line() -> str:
    """A line of standard input, read beside the event loop: the agent works on while we wait."""
    line: str = await asyncio.to_thread(sys.stdin.readline)
    return line.strip()


async def main(role: str, servers: list[str]) -> None:
    # people are slow: stay hopeful for ten minutes instead of RFC 8863's 39.5 seconds
    timeouts = ice.Timeouts(patience=600)
    async with ice.Agent(
        controlling=role == "offer", servers=servers, timeouts=timeouts, include_loopback=True
    ) as agent:
        await agent.gather()
        print("Paste this line at the other side:", file=sys.stderr)
        print(agent.local_description.to_json(), flush=True)
        print("and its line here:", file=sys.stderr)
        agent.set_remote_description(await read_line())

        print("connected:", await agent.connect(timeout=600), file=sys.stderr)
        agent.send(f"hello from the {role}".encode())
        print((await agent.recv()).decode(), flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in ("offer", "answer"):
        sys.exit(__doc__)
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
