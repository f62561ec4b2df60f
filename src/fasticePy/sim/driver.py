"""Runs one root machine on one host of the virtual network, as `fasticePy.aio` runs it on a real one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from fasticePy.machine import Address, Event, Machine, Timer
from fasticePy.sim.errors import SimulationError
from fasticePy.sim.network import Host

if TYPE_CHECKING:
    from fasticePy.sim.simulation import Simulation

MAX_WAKES = 1000
"""So often a machine may ask for its timer while the clock stands still."""
MAX_ROUNDS = 1000
"""So often in a row a machine may have new output when its output was just taken."""
STANDSTILL = 1e-6
"""A clock that has moved by less than this (seconds) counts as standing still."""

M = TypeVar("M", bound=Machine)


class Received(NamedTuple):
    """Application data that a machine let through."""

    data: bytes
    socket: int
    address: Address


class Node(Generic[M]):
    """Runs one root machine on one host: sockets, transmits, timers. `Simulation.add` makes it.

    What the machine says is kept in `events` and `data`; `on_event` and `on_data`, when set, see it as it
    comes. Tests call the machine's own methods with `now=simulation.now`; what they cause goes out when
    time goes on."""

    def __init__(self, simulation: Simulation, host: Host, machine: M, name: str) -> None:
        self.simulation = simulation
        self.host = host
        self.machine = machine
        self.name = name
        self.events: list[Event] = []
        self.data: list[Received] = []
        self.on_event: Callable[[Event], None] | None = None
        self.on_data: Callable[[Received], None] | None = None
        self._wake: Timer | None = None
        self._stalled_until = -math.inf
        self._backlog: list[tuple[int, bytes, Address]] = []
        self._standing_at = -math.inf
        self._wakes = 0

    @property
    def now(self) -> float:
        """The simulation's time in seconds."""
        return self.simulation.now

    def bind(self, address: str | None = None, port: int = 0) -> int:
        """Open a socket on the host (its first address, any port) and give its number. Raises BindError."""
        return self.host.bind(address or self.host.addresses[0], port, self)

    def address_of(self, socket: int) -> Address:
        """The address that a socket is bound to."""
        return self.host.address_of(socket)

    def send_from(self, socket: int, address: Address, data: bytes) -> None:
        """Send a datagram past the machine, as the application may: data, or whatever a test makes up."""
        reason = self.host.send_from(socket, address, data)
        if reason:  # told from the timer: no output re-enters the machine
            self.simulation.call_later(0, lambda: self.error_received(socket, address, reason, self.now))

    def stall(self, seconds: float) -> None:
        """Let the runtime hang for so long: datagrams wait in their sockets, timers run late."""
        self._stalled_until = max(self._stalled_until, self.now + seconds)
        self.simulation.timers.schedule(self._stalled_until, lambda _now: self._resume())

    def close(self) -> None:
        """Close the machine and all sockets of the host."""
        self.machine.close(self.now)
        self.pump()
        for socket in self.host.sockets:
            self.host.close(socket)

    def pump(self) -> bool:
        """Carry out what the machine asks for, until it is content; tells whether there was anything."""
        machine = self.machine
        for rounds in range(MAX_ROUNDS):
            transmits, events = machine.take_transmits(), machine.take_events()
            if not transmits and not events:
                self._set_wake()
                return rounds > 0
            for transmit in transmits:
                self.send_from(transmit.socket, transmit.address, transmit.data)
            for event in events:
                self.events.append(event)
                self.handle_event(event)
                if self.on_event is not None:
                    self.on_event(event)
                    self.simulation.touch()
        raise SimulationError(f"{self.name} has more output each time it is taken, at {self.now}")

    def handle_event(self, event: Event) -> None:
        """Do what the machine asks for with an event; the nodes of particular machines know how."""

    # what the network calls

    def packet_received(self, socket: int, data: bytes, address: Address, now: float) -> None:
        """A datagram came."""
        if self._stalled_until > now:
            self._backlog.append((socket, data, address))
            return
        self._take(socket, data, address, now)
        self.pump()

    def error_received(self, socket: int, address: Address, reason: str, now: float) -> None:
        """A datagram came to nothing; machines that have `socket_error` are told."""
        socket_error = getattr(self.machine, "socket_error", None)
        if socket_error is not None:
            socket_error(socket, address, reason, now)
            self.pump()

    def _take(self, socket: int, data: bytes, address: Address, now: float) -> None:
        payload = self.machine.datagram_received(socket, data, address, now)
        if payload is None:
            return
        received = Received(payload, socket, address)
        self.data.append(received)
        if self.on_data is not None:
            self.on_data(received)
            self.simulation.touch()

    def _set_wake(self) -> None:
        at = self.machine.next_timer()
        if at is not None and not math.isfinite(at):
            raise SimulationError(f"{self.name} asks for a timer at {at}")
        wake = self._wake
        if wake is not None and wake.active and wake.at == at:
            return
        timers = self.simulation.timers
        timers.cancel(wake)
        self._wake = None if at is None else timers.schedule(at, self._run_timers)

    def _run_timers(self, now: float) -> None:
        if self._stalled_until > now:
            return  # `_resume` comes back to it
        if now - self._standing_at > STANDSTILL:
            self._standing_at, self._wakes = now, 0
        self._wakes += 1
        if self._wakes > MAX_WAKES:
            raise SimulationError(
                f"{self.name} has asked for its timer {self._wakes} times while the clock stands at {now}: "
                f"next_timer() says {self.machine.next_timer()} each time"
            )
        self.machine.handle_timer(now)
        self.pump()

    def _resume(self) -> None:
        now = self.now
        if self._stalled_until > now:
            return  # it was stalled again meanwhile
        backlog, self._backlog = self._backlog, []
        for socket, data, address in backlog:  # sockets are drained before timers run
            self._take(socket, data, address, now)
        self.machine.handle_timer(now)
        self.pump()
