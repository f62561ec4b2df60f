"""`Agent`: ICE for asyncio programs. Sockets, interfaces, names and time around the sans-IO `IceAgent`."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, TypeAlias

from fasticePy.aio.callbacks import Callback, check_callback
from fasticePy.aio.driver import Closing, Driver
from fasticePy.aio.host import host_addresses
from fasticePy.aio.inbox import Inbox
from fasticePy.aio.interfaces import AddressPolicy, AddressTest, Decision, Selection, select
from fasticePy.aio.resolver import Resolver, SystemResolver
from fasticePy.aio.servers import IceServer, ServerLike, as_servers
from fasticePy.aio.udp_socket import check_ports
from fasticePy.aio.waiting import Log, Signal
from fasticePy.errors import StateError
from fasticePy.ice import (
    Candidate,
    CandidateGathered,
    CandidatePair,
    CandidateType,
    Description,
    GatheringState,
    GatheringStateChanged,
    IceAgent,
    IceFailed,
    IceOptions,
    IceState,
    Pacer,
    PairSelected,
    Report,
    Role,
    ServerFinished,
    StateChanged,
    Timeouts,
)
from fasticePy.ice.candidate_line import UnsupportedCandidate
from fasticePy.machine import Address, Event

Data: TypeAlias = bytes | bytearray | memoryview

MAX_DATAGRAM = 65507
"""Bytes that fit into one UDP datagram over IPv4."""
KEPT_STATES = 64
"""State changes kept for a reader of `states()` that does not keep up."""
KEPT_CANDIDATES = 4096
"""Candidates kept for readers of `candidates()`; more are never gathered."""

_log = logging.getLogger("fasticePy.ice")
_pacer = Pacer()  # RFC 8445 14.2: what paces transactions is shared by all agents of the process
_UP = ("connected", "completed")
_OVER = ("failed", "closed")


class Agent:
    """One side of an ICE session.

    - `controlling`: the side that chooses the pair; by convention the one that sent the offer. A wrong choice
      is repaired while connecting.
    - `servers`: STUN servers, as URLs, `IceServer` objects or RTCIceServer mappings.
    - `interfaces`, `addresses`, `include_loopback`, `ipv4`, `ipv6`: which local addresses are used, see
      `fasticePy.aio.AddressPolicy`; `decisions` tells what came of it.
    - `ports`: the range that local ports come from.
    - `components`: how many streams of datagrams; RTP with separate RTCP needs two.
    - `local_ufrag`, `local_pwd`: credentials, when they must be known before; random otherwise.
    - `nomination`, `timeouts`: see `fasticePy.ice.IceOptions` and `Timeouts`.
    - `candidate_types`: the types that are gathered and signalled, all by default.
    - `resolver`: where addresses of host names come from, the operating system by default.

    An agent belongs to the event loop in which it is first used, and is used from its thread only. Callbacks
    run in the event loop, never inside the call that causes them, except `close()`; what they raise goes to
    the event loop's exception handler. Raises ValueError or TypeError for options that cannot be.
    """

    def __init__(
        self,
        *,
        controlling: bool,
        servers: ServerLike | Iterable[ServerLike] = (),
        interfaces: Sequence[str] | AddressTest | None = None,
        addresses: Sequence[str] | AddressTest | None = None,
        ports: range | None = None,
        include_loopback: bool = False,
        ipv4: bool = True,
        ipv6: bool = True,
        components: int = 1,
        local_ufrag: str | None = None,
        local_pwd: str | None = None,
        nomination: str = "regular",
        timeouts: Timeouts | None = None,
        candidate_types: Iterable[CandidateType] | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self.servers: tuple[IceServer, ...] = as_servers(servers)
        self._policy = AddressPolicy(
            interfaces=interfaces,
            addresses=addresses,
            include_loopback=include_loopback,
            ipv4=ipv4,
            ipv6=ipv6,
        )
        self._ports = check_ports(ports)
        options: dict[str, Any] = (
            {} if candidate_types is None else {"candidate_types": frozenset(candidate_types)}
        )
        self._machine = IceAgent(
            IceOptions(
                controlling=controlling,
                components=components,
                local_ufrag=local_ufrag,
                local_pwd=local_pwd,
                nomination=nomination,
                timeouts=timeouts or Timeouts(),
                **options,
            ),
            rng=os.urandom,
            pacer=_pacer,
        )
        self._resolver = resolver or SystemResolver()
        self._driver: Driver | None = None
        self._selection = Selection((), ())
        self._changed = Signal()
        self._inbox = Inbox()
        self._states: Log[tuple[IceState, str]] = Log(KEPT_STATES)
        self._states.append((self._machine.state, self._machine.state_reason))
        self._candidates: Log[Candidate | None] = Log(KEPT_CANDIDATES)
        self._closed = False
        self._name = self._machine.local_credentials.ufrag
        self._on_data: Callable[[bytes, CandidatePair | None], object] | None = None

    # -- callbacks -------------------------------------------------------------------------------------------

    on_candidate = Callback[[Candidate | None]]()
    """`on_candidate(candidate)`: pass it on to the peer; None says that there will be no more."""
    on_state = Callback[[IceState, str]]()
    """`on_state(state, reason)`."""
    on_selected = Callback[[CandidatePair]]()
    """`on_selected(pair)`: data of the pair's component travels on it from now on."""
    on_gathering_state = Callback[[GatheringState]]()
    """`on_gathering_state(state)`."""
    on_server = Callback[[ServerFinished]]()
    """`on_server(event)`: what became of a server, or of a server on one local address."""

    @property
    def on_data(self) -> Callable[[bytes, CandidatePair | None], object] | None:
        """`on_data(data, pair)`: the fast way to receive. `pair` is None while the peer's credentials are not
        known yet. What has come before it is set is delivered first. Setting it while someone awaits `recv()`
        raises StateError."""
        return self._on_data

    @on_data.setter
    def on_data(self, callback: Callable[[bytes, CandidatePair | None], object] | None) -> None:
        check_callback("on_data", callback)
        if callback is not None and self._inbox.awaited:
            raise StateError("someone awaits recv(): data goes there or to on_data, not to both")
        self._on_data = callback
        if callback is not None and self._driver is not None and self._inbox.queue:
            self._driver.loop.call_soon(self._empty_inbox)

    # -- what the application does ---------------------------------------------------------------------------

    async def gather(self) -> None:
        """Gather candidates, and return when that has ended. Optional: `connect()` begins it when nobody did,
        and each candidate is announced as it comes. Cancelling the wait does not stop the gathering.

        Raises IceFailed when the agent is closed meanwhile, and what callables among the options raise.
        """
        self._start()
        await self._changed.wait_for(lambda: self._closed or self.gathering_state == "complete")
        if self.gathering_state != "complete":
            raise IceFailed("the agent was closed before gathering ended", self.report())

    async def connect(self, timeout: float | None = None) -> CandidatePair:
        """Wait until data can travel on all components, and give the pair of the first one.

        Raises IceFailed, with a report of what was tried, when ICE fails, when the agent is closed, or after
        `timeout` seconds; after a timeout the agent goes on, and `connect` may be called again.
        """
        self._start()
        in_time = await self._changed.wait_for(lambda: self.state in _UP or self.state in _OVER, timeout)
        if self.state in _UP and (pair := self.selected) is not None:
            return pair
        report = self.report()
        if not in_time:
            raise IceFailed(f"not connected after {timeout:g} s: {report.conclusion}", report)
        raise self._failure(report)

    def set_remote_description(self, description: Description | str) -> None:
        """The peer's description: an object, SDP, or JSON. Raises ParseError for other text, and StateError
        for other credentials than before, which would mean an ICE restart."""
        if isinstance(description, str):
            description = Description.parse(description)
        self._machine.set_remote_description(description, self._now())
        self._wake()

    def set_remote_credentials(self, ufrag: str, pwd: str) -> None:
        """The peer's credentials, for signalling that sends them by themselves. Raises ValueError when they
        are malformed, StateError for others than before."""
        self._machine.set_remote_credentials(ufrag, pwd, self._now())
        self._wake()

    def add_remote_candidate(self, candidate: Candidate | str | None) -> None:
        """A candidate of the peer: an object, a candidate line, or JSON as browsers send it. None and empty
        text say that there will be no more. In any order with everything else. Raises ParseError for text
        that is none of these; what is well formed and cannot be used is recorded in the report."""
        if isinstance(candidate, str):
            try:
                candidate = Candidate.parse(candidate)
            except UnsupportedCandidate as error:  # RFC 8839 5.1: ignored, and the others used
                self._machine.counters["drop.candidate.unsupported"] += 1
                _log.info("[%s] a candidate of the peer is ignored: %s", self._name, error)
                return
        self._machine.add_remote_candidate(candidate, self._now())
        self._wake()

    def send(self, data: Data, component: int = 1) -> bool:
        """Send one datagram now. False when it was dropped for want of buffer space or by the operating
        system, which `report().counters` counts: slow down.

        Raises StateError before there is a path, IceFailed when there is none any more (closed, failed,
        consent expired), ValueError for more than 65507 bytes.
        """
        route = self._machine.route(component)
        if route is None or self._driver is None:
            raise self._no_route(component)
        payload = route.prefix + bytes(data) if route.prefix else data
        if self._driver.send(route.socket, payload, route.address):
            return True
        if memoryview(data).nbytes > MAX_DATAGRAM - len(route.prefix):
            raise ValueError(f"{memoryview(data).nbytes} bytes do not fit into a datagram: {MAX_DATAGRAM} do")
        return False

    def send_many(self, datagrams: Iterable[Data], component: int = 1) -> int:
        """Send several datagrams in order and give the number of those that were sent: it stops at the first
        that was dropped. Raises what `send` raises."""
        sent = 0
        for data in datagrams:
            if not self.send(data, component):
                break
            sent += 1
        return sent

    async def recv(self) -> bytes:
        """The next datagram of any component. Cancelling loses none. Raises IceFailed when ICE has failed,
        once what came before is read, or the agent is closed; StateError while `on_data` is set."""
        if self._on_data is not None:
            self._check_receiving()
        return (await self._inbox.get(self._check_receiving))[0]

    async def recvfrom(self) -> tuple[bytes, int]:
        """As `recv`, with the component."""
        if self._on_data is not None:
            self._check_receiving()
        data, socket, _ = await self._inbox.get(self._check_receiving)
        return data, self._machine.component_of(socket)

    def close(self) -> Awaitable[None]:
        """Close at once, and idempotently. All who wait are woken: `connect`, `gather` and `recv` raise
        IceFailed, the iterators end. Awaiting what it returns makes sure that the event loop, too, has let go
        of every socket; in a callback simply call it."""
        if not self._closed:
            self._closed = True
            if self._driver is not None:
                self._driver.close()
            else:
                self._machine.close(self._now())
                for event in self._machine.take_events():
                    self._on_event(event)
            self._inbox.close()
            self._states.end()
            self._candidates.end()
            self._changed.notify()
        return Closing(self._driver)

    async def __aenter__(self) -> Agent:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    # -- what is known ---------------------------------------------------------------------------------------

    def candidates(self) -> AsyncIterator[Candidate | None]:
        """Our candidates, from the first on, as they are found; None at the end of candidates (RFC 8838 13),
        after which the iterator ends. When the agent is closed before, it ends without."""
        return self._candidates.follow()

    def states(self) -> AsyncIterator[tuple[IceState, str]]:
        """States with their reasons: the present one, and each change until the agent is closed."""
        return self._states.follow(self._states.count - 1)

    @property
    def local_description(self) -> Description:
        """What the peer has to be told: credentials, options, and the candidates so far."""
        return self._machine.local_description

    @property
    def state(self) -> IceState:
        """The W3C state."""
        return self._machine.state

    @property
    def gathering_state(self) -> GatheringState:
        """How far gathering is."""
        return self._machine.gathering_state

    @property
    def role(self) -> Role:
        """Our role now; a conflict may have changed it."""
        return self._machine.role

    @property
    def local_candidates(self) -> list[Candidate]:
        """The candidates found so far."""
        return self._machine.local_candidates

    @property
    def remote_candidates(self) -> list[Candidate]:
        """The peer's candidates, signalled and peer-reflexive ones."""
        return self._machine.remote_candidates

    @property
    def pairs(self) -> list[CandidatePair]:
        """All pairs, best first."""
        return self._machine.pairs

    @property
    def selected(self) -> CandidatePair | None:
        """The pair that carries the data of component 1."""
        return self._machine.selected_pair(1)

    def selected_pair(self, component: int = 1) -> CandidatePair | None:
        """The pair that carries the data of a component."""
        return self._machine.selected_pair(component)

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Which local addresses are used and which are left out, and why; empty before gathering."""
        return self._selection.decisions

    def report(self) -> Report:
        """What was tried and what came back, for people and programs; no secret is in it."""
        return self._machine.report(self._now())

    def get_stats(self) -> dict[str, dict[str, Any]]:
        """Statistics by the names of W3C webrtc-stats."""
        return self._machine.stats(self._now())

    def __repr__(self) -> str:
        return f"<fasticePy.Agent {self._name} {self.role} {self.state}>"

    def __reduce__(self) -> str:
        raise TypeError("an Agent holds sockets and cannot be pickled or copied; its descriptions can")

    # -- inside ----------------------------------------------------------------------------------------------

    def _now(self) -> float:
        return time.monotonic()

    def _start(self) -> None:
        if self._closed:
            raise IceFailed("the agent is closed", self.report())
        if self._driver is not None:
            if self._driver.loop is not asyncio.get_running_loop():
                raise StateError(
                    "the agent belongs to another event loop: it is used in the one that it began in"
                )
            return
        selection = select(host_addresses(), self._policy)
        for decision in selection.decisions:
            _log.debug("[%s] %s", self._name, decision)
        driver = Driver(
            self._machine,
            on_event=self._on_event,
            on_data=self._data_received,
            resolver=self._resolver,
            ports=self._ports,
            families=frozenset(6 if ":" in address else 4 for address in selection.addresses),
            now=self._now,
        )
        self._selection = selection
        self._driver = driver
        urls = [url for server in self.servers for url in server.parsed]
        self._machine.gather([(address, 0) for address in selection.addresses], urls, self._now())
        driver.wake()

    def _wake(self) -> None:
        if self._driver is not None:
            self._driver.wake()

    def _data_received(self, data: bytes, socket: int, address: Address) -> None:
        """From the driver, for each datagram."""
        on_data = self._on_data
        if on_data is None:
            if not self._inbox.put((data, socket, address)):
                self._machine.counters["drop.data.unread"] += 1
            return
        if self._inbox.queue:
            self._empty_inbox()
        try:
            on_data(data, self._machine.pair_for(socket, address))
        except Exception as error:  # noqa: BLE001 - an application's mistake must not stop the agent
            self._complain(error)

    def _empty_inbox(self) -> None:
        while self._inbox.queue and self._on_data is not None:
            data, socket, address = self._inbox.pop()
            self._call(self._on_data, data, self._machine.pair_for(socket, address))

    def _check_receiving(self) -> None:
        """Raise when nothing will ever come to the inbox."""
        if self._on_data is not None:
            raise StateError("on_data is set: data goes there")
        if self.state in _OVER:
            raise self._failure(self.report())

    def _on_event(self, event: Event) -> None:
        if self._closed and not (isinstance(event, StateChanged) and event.state == "closed"):
            return
        match event:
            case StateChanged():
                self._state_changed(event)
            case CandidateGathered():
                found = event.candidate
                _log.debug("[%s] %s candidate %s %d", self._name, found.type, found.address, found.port)
                self._candidates.append(event.candidate)
                self._call(self.on_candidate, event.candidate)
            case GatheringStateChanged():
                self._gathering_changed(event.state)
            case PairSelected():
                word = "nominated" if event.nominated else "in use"
                _log.info("[%s] component %d: %s %s", self._name, event.component, event.pair, word)
                self._changed.notify()
                self._call(self.on_selected, event.pair)
            case ServerFinished():
                if not event.ok:
                    _log.info("[%s] server %s: %s", self._name, event.url, event.reason)
                self._call(self.on_server, event)

    def _state_changed(self, event: StateChanged) -> None:
        if event.state == "failed":
            report = self.report()
            _log.info("[%s] failed: %s. %s", self._name, event.reason, report.conclusion)
            _log.debug("[%s] %s", self._name, report)
        else:
            _log.info("[%s] %s: %s", self._name, event.state, event.reason)
        self._states.append((event.state, event.reason))
        self._changed.notify()
        if event.state in _OVER:
            self._inbox.wake_all()
        self._call(self.on_state, event.state, event.reason)

    def _gathering_changed(self, state: GatheringState) -> None:
        self._changed.notify()
        self._call(self.on_gathering_state, state)
        if state == "complete" and not self._closed:
            _log.info("[%s] gathered %d candidates", self._name, len(self.local_candidates))
            self._candidates.append(None)
            self._candidates.end()
            self._call(self.on_candidate, None)

    def _call(self, callback: Callable[..., object] | None, *arguments: object) -> None:
        if callback is None:
            return
        try:
            callback(*arguments)
        except Exception as error:  # noqa: BLE001 - an application's mistake must not stop the agent
            self._complain(error)

    def _complain(self, error: Exception) -> None:
        context = {"message": f"a callback of {self!r} raised", "exception": error, "agent": self}
        if self._driver is None:
            _log.error("%s", context["message"], exc_info=error)
        else:
            self._driver.loop.call_exception_handler(context)

    def _failure(self, report: Report) -> IceFailed:
        if self._closed:
            return IceFailed("the agent was closed", report)
        return IceFailed(f"{self._machine.state_reason}: {report.conclusion}", report)

    def _no_route(self, component: int) -> Exception:
        if self.state in _OVER:
            return self._failure(self.report())
        if self.state in {"new", "checking"}:
            return StateError(f"no path for component {component} yet: await connect() first")
        return IceFailed(f"no path for component {component}: {self._machine.state_reason}", self.report())
