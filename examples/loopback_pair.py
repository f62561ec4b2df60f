"""Two agents in one program find each other and exchange a few messages.

What `str(agent.local_description)` gives is text: in a real program it travels over whatever connects the two sides
already (a web socket, a chat, a QR code), and each side has one agent.
"""

from __future__ import annotations

import asyncio

import fasticePy as ice


async def main() -> None:
    # loopback addresses are left out unless asked for: no peer on another machine could use them
    async with (
        ice.Agent(controlling=True, include_loopback=True) as alice,
        ice.Agent(controlling=False, include_loopback=True) as bob,
    ):
        await asyncio.gather(alice.gather(), bob.gather())
        alice.set_remote_description(str(bob.local_description))
        bob.set_remote_description(str(alice.local_description))

        pair, _ = await asyncio.gather(alice.connect(timeout=10), bob.connect(timeout=10))
        print("connected:", pair)

        for number in range(3):
            alice.send(f"message {number}".encode())
            print("bob received", await bob.recv())
        bob.send(b"thanks")
        print("alice received", await alice.recv())


if __name__ == "__main__":
    asyncio.run(main())
