"""Candidates travel one by one, as they are found, so that checks begin before gathering ends (RFC 8838)."""

from __future__ import annotations

import asyncio

import fasticePy as ice


async def main() -> None:
    async with (
        ice.Agent(controlling=True, include_loopback=True) as alice,
        ice.Agent(controlling=False, include_loopback=True) as bob,
    ):
        # None is the end of the candidates, and travels like one
        alice.on_candidate = bob.add_remote_candidate
        bob.on_candidate = alice.add_remote_candidate
        alice.on_state = lambda state, reason: print(f"alice is {state}: {reason}")

        # the credentials are known at once; connect() starts gathering
        alice.set_remote_description(bob.local_description)
        bob.set_remote_description(alice.local_description)
        pair, _ = await asyncio.gather(alice.connect(timeout=10), bob.connect(timeout=10))

        alice.send(b"ping")
        print(f"{await bob.recv()!r} came over {pair}")


if __name__ == "__main__":
    asyncio.run(main())
