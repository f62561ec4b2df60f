"""Runs one root machine on one host of the virtual network, as `fasticePy.aio` runs it on a real one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from fasticePy.machine import Address, Event, Machine, Timer
from fasticePy.sim.errors import BindError, SimulationError
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
        self._backlog: list[Callable[[float], object]] = []
        self._asked: dict[int, int] = {}  # connections that the machine has asked for, by their requests
        self._refused: set[int] = set()
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

    def connect(self, request: int, base: Address, peer: Address) -> None:
        """Begin the TCP connection that the machine has asked for; it is told what comes of it under `request`."""
        try:
            self._asked[request] = self.host.connect(base, peer, self)
        except BindError as error:
            self._tell("connection_failed", request, str(error), self.now)

    def cancel(self, request: int) -> None:
        """Give up the connection that the machine has asked for, or close it when it is open."""
        socket = self._asked.pop(request, None)
        if socket is not None:
            self.host.close(socket)

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
            self._backlog.append(lambda later: self._take(socket, data, address, later))
            return
        self._take(socket, data, address, now)
        self.pump()

    def connection_accepted(self, listener: int, socket: int, peer: Address, now: float) -> None:
        """Somebody connected to a listener; the connection stays unless the machine refuses it."""

        def tell(now: float) -> None:
            if self._tell("connection_accepted", listener, socket, peer, now) is False:
                self._refused.add(socket)
                self.host.close(socket)

        self._when_awake(tell)

    def connection_opened(self, socket: int, address: Address, now: float) -> None:
        """A connection that the machine has asked for is open."""
        self._answer_request(socket, "connection_opened", socket, address)

    def connection_failed(self, socket: int, reason: str, now: float) -> None:
        """A connection that the machine has asked for came to nothing."""
        self._answer_request(socket, "connection_failed", reason, over=True)

    def connection_closed(self, socket: int, reason: str, now: float) -> None:
        """A connection ended that the machine has not closed."""

        def tell(now: float) -> None:
            self._forget_request(socket)
            if socket not in self._refused:
                self._tell("connection_closed", socket, reason, now)

        self._when_awake(tell)

    def error_received(self, socket: int, address: Address, reason: str, now: float) -> None:
        """A datagram came to nothing; machines that have `socket_error` are told."""
        socket_error = getattr(self.machine, "socket_error", None)
        if socket_error is not None:
            socket_error(socket, address, reason, now)
            self.pump()

    def _when_awake(self, act: Callable[[float], object]) -> None:
        if self._stalled_until > self.now:
            self._backlog.append(act)
            return
        act(self.now)
        self.pump()

    def _tell(self, method: str, *arguments: object) -> object:
        tell = getattr(self.machine, method, None)  # machines without TCP have no such methods
        return None if tell is None else tell(*arguments)

    def _answer_request(self, socket: int, method: str, *answer: object, over: bool = False) -> None:
        def tell(now: float) -> None:
            request = self._forget_request(socket) if over else self._request_of(socket)
            if request is not None:  # else it was given up meanwhile
                self._tell(method, request, *answer, now)

        self._when_awake(tell)

    def _request_of(self, socket: int) -> int | None:
        return next((request for request, each in self._asked.items() if each == socket), None)

    def _forget_request(self, socket: int) -> int | None:
        request = self._request_of(socket)
        if request is not None:
            del self._asked[request]
        return request

    def _take(self, socket: int, data: bytes, address: Address, now: float) -> None:
        if socket in self._refused:
            return
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
        for act in backlog:  # sockets are drained before timers run
            act(now)
        self._refused.clear()  # what came of those was in the backlog
        self.machine.handle_timer(now)
        self.pump()
