"""Asks a STUN server from which address it sees us: the client machine of `fasticePy.stun` driven by hand.

    python own_address.py [stun:HOST[:PORT]]

A machine touches no socket and no clock, so it runs under anything: here a blocking socket and a loop of a few
lines. Without a URL the program starts a server of its own, which of course sees the socket's own address.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time

from fasticePy.server import StunServer
from fasticePy.stun import RequestFailed, ResponseReceived, StunAgent, mapped_address
from fasticePy.stun.uri import parse_server_url


def drive(agent: StunAgent, sock: socket.socket) -> ResponseReceived | RequestFailed:
    """Run the machine until its request has ended: send what it wants, wake it when it asks, feed it what comes."""
    while True:
        for transmit in agent.take_transmits():
            sock.send(transmit.data)  # it is connected to the only address that we send to
        for event in agent.take_events():
            if isinstance(event, (ResponseReceived, RequestFailed)):
                return event
        wake = agent.next_timer()
        sock.settimeout(None if wake is None else max(0.001, wake - time.monotonic()))
        try:
            data, source = sock.recvfrom(2048)
            agent.datagram_received(0, data, source[:2], time.monotonic())
        except TimeoutError:
            agent.handle_timer(time.monotonic())
        except OSError as error:  # an ICMP error about what was sent: no need to wait for a timeout
            agent.socket_error(0, None, str(error), time.monotonic())


def ask(url: str) -> str:
    """One line: what the server said, or why it said nothing."""
    server = parse_server_url(url)
    family, _, _, _, address = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect(address)  # so that the kernel says which of our addresses leads there
        host, port = sock.getsockname()[:2]
        agent = StunAgent(os.urandom)
        agent.binding(0, (str(address[0]), int(address[1])), time.monotonic())
        end = drive(agent, sock)
    if isinstance(end, RequestFailed):
        return f"{url}: {end.detail}"
    mapped = mapped_address(end.message)
    assert mapped is not None  # a Binding response without one is a RequestFailed
    return f"{host}:{port} is seen as {mapped[0]}:{mapped[1]} by {url}"


async def ask_own_server() -> str:
    async with StunServer() as server:
        return await asyncio.to_thread(ask, server.urls[0])


if __name__ == "__main__":
    print(ask(sys.argv[1]) if len(sys.argv) > 1 else asyncio.run(ask_own_server()))
