"""A STUN client on real sockets: runs one `StunAgent` over UDP endpoints and over streams that are connected."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from itertools import count
from typing import Protocol

from fasticePy.aio.endpoint import Endpoint
from fasticePy.aio.endpoint_transport import open_endpoint
from fasticePy.aio.machine_timer import MachineTimer
from fasticePy.aio.udp_socket import open_udp_socket
from fasticePy.machine import Address, Event
from fasticePy.stun import IntegrityKey, Method, RequestFailed, ResponseReceived, StunAgent
from fasticePy.stun.agent import Attributes
from fasticePy.stun.client_auth import Credentials


class Channel(Protocol):
    """What carries messages to a server besides UDP endpoints: a connection."""

    def send(self, data: bytes, address: Address) -> bool:
        """Send one message; False when it was not sent."""
        ...


class StunClient:
    """Sends requests and waits for what becomes of them. Make it inside a running event loop, and close it.

    It is the `EndpointHandler` of its sockets, and of channels that are attached.
    """

    def __init__(
        self, agent: StunAgent | None = None, *, on_event: Callable[[Event], None] | None = None
    ) -> None:
        """`on_event` hears of what happens to requests before they end: Challenged, Redirected."""
        self.agent = agent or StunAgent(os.urandom)
        self._on_event = on_event
        self.sends = 0
        """Messages sent."""
        self._loop = asyncio.get_running_loop()
        self._numbers = count(1)
        self._endpoints: list[Endpoint] = []
        self._channels: dict[int, Channel] = {}
        self._waiting: dict[int, asyncio.Future[ResponseReceived | RequestFailed]] = {}
        self._timer = MachineTimer(self._loop, self.agent, self._flush)
        self._closed = False

    def open_udp(self, local: Address) -> tuple[int, Address]:
        """Open a UDP socket on a local address (port 0: any). Gives its number, and where it is bound. Raises OSError
        and ValueError."""
        number = next(self._numbers)
        endpoint = open_endpoint(self._loop, number, open_udp_socket(local), self, self.agent.counters)
        self._endpoints.append(endpoint)
        self._channels[number] = endpoint
        return number, endpoint.address

    def reserve(self) -> int:
        """A socket number for a channel that will be attached."""
        return next(self._numbers)

    def attach(self, number: int, channel: Channel) -> None:
        """Send what is for socket `number` through `channel`; whoever owns it closes it."""
        self._channels[number] = channel

    async def request(
        self,
        socket: int,
        address: Address,
        method: int = Method.BINDING,
        attributes: Attributes = (),
        *,
        credentials: Credentials | None = None,
        key: IntegrityKey | None = None,
        stream: bool = False,
        redirects: bool = False,
    ) -> ResponseReceived | RequestFailed:
        """Send a request as `StunAgent.request` does, and return what became of it. When this is cancelled, nothing is
        sent again and an answer means nothing."""
        number = self.agent.request(
            socket,
            address,
            method,
            attributes,
            self._loop.time(),
            credentials=credentials,
            key=key,
            stream=stream,
            count_sends=not stream,
            redirects=redirects,
        )
        future: asyncio.Future[ResponseReceived | RequestFailed] = self._loop.create_future()
        self._waiting[number] = future
        self._flush()
        try:
            return await future
        finally:
            self._waiting.pop(number, None)
            self.agent.cancel(number, self._loop.time())
            self._flush()

    async def close(self) -> None:
        """Fail what is on its way and close the UDP sockets. Idempotent."""
        if not self._closed:
            self._closed = True
            self.agent.close(self._loop.time())
            self._deliver(self.agent.take_events())
            self._timer.cancel()
            for endpoint in self._endpoints:
                endpoint.close()
        for endpoint in self._endpoints:
            await endpoint.wait_closed()

    # -- EndpointHandler

    def datagram_received(self, socket: int, data: bytes, address: Address) -> None:
        """One datagram, or one message of a stream."""
        if self.agent.datagram_received(socket, data, address, self._loop.time()) is not None:
            self.agent.counters["not STUN"] += 1

    def batch_ended(self) -> None:
        """No more for now."""
        self._flush()

    def follow(self, request: int, socket: int) -> None:
        """Answer to Redirected: go on from this socket."""
        self.agent.follow(request, socket, self._loop.time())
        self._flush()

    def decline(self, request: int, reason: str) -> None:
        """Answer to Redirected: there is no way."""
        self.agent.decline(request, reason, self._loop.time())
        self._flush()

    def socket_error(self, socket: int, address: Address | None, reason: str) -> None:
        """What was sent did not get there, or (address None) the socket or connection is of no more use."""
        self.agent.socket_error(socket, address, reason, self._loop.time())
        self._flush()

    # -- the machine

    def _flush(self) -> None:
        # an error that a send meets may let the next request go
        while transmits := self.agent.take_transmits():
            for transmit in transmits:
                channel = self._channels.get(transmit.socket)
                if channel is not None and channel.send(transmit.data, transmit.address):
                    self.sends += 1
        self._deliver(self.agent.take_events())
        if not self._closed:
            self._timer.follow()

    def _deliver(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, ResponseReceived | RequestFailed):
                future = self._waiting.pop(event.request, None)
                if future is not None and not future.done():
                    future.set_result(event)
            elif self._on_event is not None:
                self._on_event(event)
