"""What `fasticepy connect` does once connected: standard input to the other side, the other side to standard output."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from fasticePy.aio import Agent
from fasticePy.cli.command import ExitCode
from fasticePy.cli.output import say
from fasticePy.cli.reliable import BUFFER_LIMIT, ReliableStream
from fasticePy.cli.stdio import READ_SIZE, ByteSink
from fasticePy.errors import IceError

FAREWELLS = 3
"""How often the other side is told that we end before we are done; each may be lost."""


class Conversation:
    """A `ReliableStream` between standard input and output and the agent's pair."""

    def __init__(self, agent: Agent, reader: asyncio.StreamReader, output: int, *, interactive: bool) -> None:
        """`output` is the file descriptor that gets what the other side sends. When `interactive`, a person types at
        our end, and we hang up when the other side did."""
        self._agent = agent
        self._reader = reader
        self._interactive = interactive
        self._loop = asyncio.get_running_loop()
        self._stream = ReliableStream()
        self._sink = ByteSink(output, self._wake)
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._woken = False
        self._lost = ""
        agent.on_data = lambda data, pair: self._receive(data)
        agent.on_state = self._state_changed

    async def run(self) -> int:
        """Until both directions ended; the exit code tells whether everything arrived both ways."""
        pump = asyncio.ensure_future(self._pump_input())
        self._wake()
        try:
            while not (self._stream.closed or self._lost or self._sink.error):
                if self._interactive and self._stream.at_eof and not pump.done():
                    pump.cancel()
                    self._stream.write_eof(self._loop.time())
                    self._wake()
                await self._wait()
            await self._finish_output()
        finally:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
            self._end()
        return self._verdict()

    def _verdict(self) -> int:
        if self._sink.error:
            say(f"Cannot write what the other side sends: {self._sink.error.strerror}")
        elif self._stream.reset:
            say("The other side left.")
        elif self._lost:
            say(f"The connection was lost: {self._lost}")
        else:
            return ExitCode.OK
        return ExitCode.FAILED

    async def _pump_input(self) -> None:
        while data := await self._reader.read(READ_SIZE):
            self._stream.write(data, self._loop.time())
            self._wake()
            while not self._stream.writable:
                await self._wait()
        self._stream.write_eof(self._loop.time())
        self._wake()

    async def _wait(self) -> None:
        """Until something changed."""
        changed = self._changed
        await changed.wait()

    async def _finish_output(self) -> None:
        self._flush()
        self._sink.end()
        while self._sink.pending and not self._sink.error:
            await self._wait()

    def _end(self) -> None:
        """Say goodbye if the other side does not know yet that we end; stop all timers."""
        if not self._stream.closed:
            for _ in range(FAREWELLS):
                self._stream.abort()
        self._send()
        self._sink.end()
        if self._timer is not None:
            self._timer.cancel()

    def _receive(self, data: bytes) -> None:
        self._stream.datagram_received(data, self._loop.time())
        self._wake()

    def _state_changed(self, state: str, reason: str) -> None:
        if state in ("failed", "closed"):
            self._lost = reason or state
            self._wake()

    def _wake(self) -> None:
        """Flush once per turn of the loop: one acknowledgement then answers all that came in it."""
        if not self._woken:
            self._woken = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._woken = False
        self._flush()
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _flush(self) -> None:
        if self._sink.pending < BUFFER_LIMIT and (data := self._stream.read()):
            self._sink.write(data)
        self._send()
        if self._timer is not None:
            self._timer.cancel()
        at = self._stream.next_timer()
        self._timer = None if at is None else self._loop.call_at(at, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._stream.handle_timer(self._loop.time())
        self._wake()

    def _send(self) -> None:
        datagrams = self._stream.take_datagrams()
        if datagrams:
            with suppress(
                IceError, OSError
            ):  # like a loss on the way: sent again, or the agent's state tells
                self._agent.send_many(datagrams)
