"""`Stream`: one data stream of an `Agent`, with its description, its candidates and its data."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias

from fasticePy.aio.callbacks import Callback, HasCallbacks, check_callback
from fasticePy.aio.inbox import Inbox
from fasticePy.aio.runtime import Runtime, log
from fasticePy.aio.waiting import Log, Signal
from fasticePy.errors import StateError
from fasticePy.ice import (
    Candidate,
    CandidateGathered,
    CandidatePair,
    Credentials,
    Description,
    GatheringState,
    GatheringStateChanged,
    IceFailed,
    IceState,
    PairSelected,
    Restarted,
    Route,
    StreamFacts,
)
from fasticePy.ice.candidate_line import UnsupportedCandidate
from fasticePy.machine import Address

Data: TypeAlias = bytes | bytearray | memoryview
StreamEvent: TypeAlias = CandidateGathered | GatheringStateChanged | PairSelected | Restarted

MAX_DATAGRAM = 65507
"""Bytes that fit into one UDP datagram over IPv4."""
KEPT_CANDIDATES = 4096
"""Candidates kept for readers of `candidates()`; more are never gathered."""
OVER = ("failed", "closed")
"""States in which no data comes any more."""


class Stream(HasCallbacks):
    """One data stream of an agent: `agent.streams[index]`. The agent itself offers the same for the first one.

    Callbacks run in the event loop, never inside the call that causes them, except `close()`; what they raise goes to
    the event loop's exception handler.
    """

    def __init__(self, runtime: Runtime, index: int) -> None:
        self.index = index
        """Its number, from 0: both sides count alike."""
        self._runtime = runtime
        self._machine = runtime.machine
        self._core = runtime.machine.streams[index]
        self._inbox = Inbox()
        self._room = Signal()
        self._candidates: Log[Candidate | None] = Log(KEPT_CANDIDATES)
        self._first = 0  # number of the latest generation's first entry in the log
        self._told: Credentials = self._core.generation.local  # those of the generation that is being told of
        self._addresses_read = False
        self._on_data: Callable[[bytes, CandidatePair | None], object] | None = None

    # -- callbacks -------------------------------------------------------------------------------------------

    on_candidate = Callback[[Candidate | None]]()
    """`on_candidate(candidate)`: pass it on to the peer; None says that there will be no more in this generation."""
    on_selected = Callback[[CandidatePair]]()
    """`on_selected(pair)`: data of the pair's component travels on it from now on."""
    on_gathering_state = Callback[[GatheringState]]()
    """`on_gathering_state(state)`."""
    on_restart = Callback[[Description]]()
    """`on_restart(description)`: ICE restarts, because `restart()` was called, because the peer does so, or by itself.
    Send the description to the peer, and the candidates that follow."""
    on_writable = Callback[[]]()
    """`on_writable()`: sending is worth another try after `send` gave False."""

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
        driver = self._runtime.driver
        if callback is not None and driver is not None and self._inbox.queue:
            driver.loop.call_soon(self._empty_inbox)

    # -- the peer --------------------------------------------------------------------------------------------

    def set_remote_description(self, description: Description | str | Mapping[str, Any]) -> None:
        """The peer's description: an object, SDP, JSON, or what JSON holds: a browser's RTCSessionDescriptionInit
        (`type`, `sdp`) or what `Description.to_json` gives. Raises ParseError for other text and mappings, TypeError
        for other things.

        Other credentials than before mean that the peer restarts ICE. Unless this is the answer to a restart of ours,
        we restart too: `on_restart` is called with the description to send back (RFC 8445 9)."""
        if isinstance(description, str | Mapping):
            description = Description.parse(description)
        elif not isinstance(description, Description):
            raise TypeError(
                f"a description is an object, text or a mapping, not {type(description).__name__}"
            )
        self._machine.set_remote_description(description, self._runtime.now(), stream=self.index)
        self._runtime.wake()

    def set_remote_credentials(self, ufrag: str, pwd: str) -> None:
        """The peer's credentials, for signalling that sends them by themselves; see `set_remote_description`.
        Raises ValueError when they are malformed."""
        self._machine.set_remote_credentials(ufrag, pwd, self._runtime.now(), stream=self.index)
        self._runtime.wake()

    def add_remote_candidate(self, candidate: Candidate | str | Mapping[str, Any] | None) -> None:
        """A candidate of the peer: an object, a candidate line, or a browser's RTCIceCandidateInit (`candidate`,
        `usernameFragment`), as JSON or as a mapping. None and empty text say that there will be no more. In any order
        with everything else. Raises ParseError for text and mappings that are none of these, TypeError for other
        things; what is well formed and cannot be used is recorded in the report."""
        if isinstance(candidate, str | Mapping):
            try:
                candidate = Candidate.parse(candidate, names=self._machine.options.resolve_names)
            except UnsupportedCandidate as error:  # RFC 8839 5.1: ignored, and the others used
                self._machine.counters["drop.candidate.unsupported"] += 1
                log.info("[%s] a candidate of the peer is ignored: %s", self._runtime.name, error)
                return
        elif candidate is not None and not isinstance(candidate, Candidate):
            raise TypeError(
                f"a candidate is an object, text, a mapping or None, not {type(candidate).__name__}"
            )
        self._machine.add_remote_candidate(candidate, self._runtime.now(), stream=self.index)
        self._runtime.wake()

    def restart(self, ufrag: str | None = None, pwd: str | None = None) -> Description:
        """Restart ICE with these credentials, or fresh ones, on the addresses that the host has now (RFC 8445 9).

        Gives the new description at once; `on_restart` gets it too, and the candidates follow. Data goes on
        travelling on the old pair until the new generation has one. Raises ValueError for malformed credentials,
        StateError once the agent is closed, and what callables among the options raise.
        """
        runtime = self._runtime
        started = runtime.driver is not None and not runtime.closed
        if started:
            runtime.read_addresses()
        self._machine.restart(runtime.now(), ufrag=ufrag, pwd=pwd, stream=self.index)
        self._addresses_read = started
        runtime.wake()
        return self.local_description

    # -- data ------------------------------------------------------------------------------------------------

    def send(self, data: Data, component: int = 1, pair: CandidatePair | None = None) -> bool:
        """Send one datagram now: on the selected pair of the component, or on any other valid `pair` of this stream.

        False when it was dropped for want of buffer space or by the operating system, which `report().counters`
        counts: slow down, and go on when `on_writable` is called or `drain()` returns. Nothing is queued, except a
        little on a TCP pair.

        Raises StateError before there is a path, IceFailed when there is none any more (closed, failed, consent
        expired), ValueError for more than 65507 bytes.
        """
        route = self._core.route(component) if pair is None else self._route_of(pair)
        driver = self._runtime.driver
        if route is None or driver is None:
            raise self._no_route(component, pair)
        payload = route.prefix + bytes(data) if route.prefix else data
        if driver.send(route.socket, payload, route.address):
            return True
        if memoryview(data).nbytes > MAX_DATAGRAM - len(route.prefix):
            raise ValueError(f"{memoryview(data).nbytes} bytes do not fit into a datagram: {MAX_DATAGRAM} do")
        return False

    def send_many(
        self, datagrams: Iterable[Data], component: int = 1, pair: CandidatePair | None = None
    ) -> int:
        """Send several datagrams in order and give the number of those that were sent: it stops at the first
        that was dropped. Raises what `send` raises."""
        sent = 0
        for data in datagrams:
            if not self.send(data, component, pair):
                break
            sent += 1
        return sent

    async def drain(self, component: int = 1, pair: CandidatePair | None = None) -> None:
        """Return when sending is worth a try: at once, unless a `send` has found no room and there is still none.
        Raises what `send` raises when there is no path."""
        while True:
            route = self._core.route(component) if pair is None else self._route_of(pair)
            driver = self._runtime.driver
            if route is None or driver is None:
                raise self._no_route(component, pair)
            if not driver.blocked(route.socket):
                return
            await self._room.wait()

    async def recv(self) -> bytes:
        """The next datagram of any component. Cancelling loses none. Raises IceFailed when ICE has failed,
        once what came before is read, or the agent is closed; StateError while `on_data` is set."""
        return (await self._receive())[0]

    async def recvfrom(self) -> tuple[bytes, int]:
        """As `recv`, with the component."""
        data, component, _ = await self._receive()
        return data, component

    def select(self, pair: CandidatePair) -> None:
        """Let data of the pair's component travel on this pair; the controlling agent nominates it, so that the peer
        follows. Raises ValueError for a pair of another stream, StateError for one that is not valid."""
        self._check_stream(pair)
        self._machine.select(pair, self._runtime.now())
        self._runtime.wake()

    # -- what is known ---------------------------------------------------------------------------------------

    def candidates(self) -> AsyncIterator[Candidate | None]:
        """Our candidates of the latest generation, from the first on, as they are found; None at the end of
        candidates (RFC 8838 13), after which the iterator ends. A restart and closing end it too: ask for a new one
        in `on_restart`.

        An agent that gathers continually finds more whenever the network changes: there the iterator goes on after
        None, and through restarts, until the agent is closed."""
        return self._candidates.follow(self._first)

    @property
    def local_description(self) -> Description:
        """What the peer has to be told: credentials, options, and the candidates so far."""
        return self._machine.description_of(self.index)

    def facts(self, *, mid: str | None = None, transport: Literal["udp", "tcp"] | None = None) -> StreamFacts:
        """What `Negotiation` needs to know of this stream for the next offer or answer: description, selected
        pairs, role. `mid` is that of its m= section, `transport` what is spoken there when no pair says it."""
        return self._machine.facts(self.index, mid=mid, transport=transport)

    @property
    def state(self) -> IceState:
        """The W3C state of this stream."""
        return self._core.state

    @property
    def gathering_state(self) -> GatheringState:
        """How far gathering is, in the latest generation."""
        return self._core.engine.gatherer.state

    @property
    def local_candidates(self) -> list[Candidate]:
        """The candidates found so far."""
        return [found.candidate for found in self._core.engine.gatherer.candidates.all]

    @property
    def remote_candidates(self) -> list[Candidate]:
        """The peer's candidates, signalled and peer-reflexive ones."""
        return list(self._core.engine.remotes.all())

    @property
    def pairs(self) -> list[CandidatePair]:
        """All pairs, best first."""
        return list(self._core.engine.checklist.pairs)

    @property
    def selected(self) -> CandidatePair | None:
        """The pair that carries the data of component 1."""
        return self._core.selected_pair(1)

    def selected_pair(self, component: int = 1) -> CandidatePair | None:
        """The pair that carries the data of a component."""
        return self._core.selected_pair(component)

    def __repr__(self) -> str:
        return f"<fasticePy.Stream {self.index} of {self._runtime.name} {self.state}>"

    def __reduce__(self) -> str:
        raise TypeError("a Stream holds sockets and cannot be pickled or copied; its descriptions can")

    # -- for the agent ---------------------------------------------------------------------------------------

    def take_data(self, data: bytes, socket: int, address: Address) -> None:
        """A datagram has come."""
        on_data = self._on_data
        if on_data is None:
            self._keep(data, socket, address)
            return
        if self._inbox.queue:
            self._empty_inbox()
        try:
            on_data(data, self._machine.pair_for(socket, address))
        except Exception as error:  # noqa: BLE001 - an application's mistake must not stop the agent
            self._runtime.complain(error)

    def take_event(self, event: StreamEvent) -> None:
        """The machine tells something about this stream."""
        runtime = self._runtime
        match event:
            case CandidateGathered(candidate=found):
                if self._outdated:
                    return
                log.debug("[%s] %s candidate %s %d", runtime.name, found.type, found.address, found.port)
                self._candidates.append(found)
                runtime.call(self.on_candidate, found)
            case GatheringStateChanged():
                self._gathering_changed(event.state)
            case PairSelected():
                word = "nominated" if event.nominated else "in use"
                log.info("[%s] component %d: %s %s", runtime.name, event.component, event.pair, word)
                runtime.changed.notify()
                self._room.notify()
                runtime.call(self.on_selected, event.pair)
            case Restarted():
                self._restarted(event)

    def state_changed(self) -> None:
        """The stream's state is another one: who waits for data or room looks again."""
        self._room.notify()
        if self.state in OVER:
            self._inbox.wake_all()

    def writable(self) -> None:
        """One of its sockets that had no room has some now."""
        self._room.notify()
        self._runtime.call(self.on_writable)

    def end(self) -> None:
        """The agent is closed."""
        self._inbox.close()
        self._candidates.end()
        self._room.notify()

    # -- inside ----------------------------------------------------------------------------------------------

    @property
    def _outdated(self) -> bool:
        """Whether a restart is under way that the application has not been told of: what comes before that belongs to
        a generation that is over."""
        return self._told != self._core.generation.local

    def _gathering_changed(self, state: GatheringState) -> None:
        runtime = self._runtime
        runtime.changed.notify()
        if self._outdated:
            return
        runtime.call(self.on_gathering_state, state)
        if state == "complete" and not runtime.closed:
            log.info("[%s] gathered %d candidates", runtime.name, len(self.local_candidates))
            self._candidates.append(None)
            if not runtime.continual:
                self._candidates.end()
            runtime.call(self.on_candidate, None)

    def _restarted(self, event: Restarted) -> None:
        if event.credentials != self._core.generation.local:
            return  # yet another restart came after it
        self._told = event.credentials
        runtime = self._runtime
        log.info("[%s] restart: %s", runtime.name, event.reason)
        if runtime.continual:
            self._first = self._candidates.count
        else:
            self._candidates.end()
            self._candidates = Log(KEPT_CANDIDATES)
        if not self._addresses_read:
            runtime.call(runtime.read_addresses)
        self._addresses_read = False
        runtime.changed.notify()
        runtime.call(self.on_restart, self.local_description)

    async def _receive(self) -> tuple[bytes, int, CandidatePair | None]:
        if self._on_data is not None:
            self._check_receiving()
        return await self._inbox.get(self._check_receiving)

    def _check_receiving(self) -> None:
        """Raise when nothing will ever come to the inbox."""
        if self._on_data is not None:
            raise StateError("on_data is set: data goes there")
        if self.state in OVER:
            raise self._runtime.failure(self._core.state_reason)

    def _keep(self, data: bytes, socket: int, address: Address) -> None:
        machine = self._machine
        try:
            component = machine.component_of(socket)
        except KeyError:  # closed a moment ago, and still being read
            machine.counters["drop.data.closed"] += 1
            return
        if not self._inbox.put((data, component, machine.pair_for(socket, address))):
            machine.counters["drop.data.unread"] += 1

    def _empty_inbox(self) -> None:
        while self._inbox.queue and self._on_data is not None:
            data, _, pair = self._inbox.pop()
            self._runtime.call(self._on_data, data, pair)

    def _check_stream(self, pair: CandidatePair) -> None:
        if pair.stream != self.index:
            raise ValueError(f"{pair} belongs to stream {pair.stream}, not to stream {self.index}")

    def _route_of(self, pair: CandidatePair) -> Route | None:
        self._check_stream(pair)
        return self._machine.route_of(pair, self._runtime.now())

    def _no_route(self, component: int, pair: CandidatePair | None) -> Exception:
        state, reason = self.state, self._core.state_reason
        if state in OVER:
            return self._runtime.failure(reason)
        what = f"no path for component {component}"
        if pair is not None:
            why = pair.failure or "it is not valid, or consent to send on it is too old"
            what, reason = f"{pair} cannot carry data", why
        elif state in {"new", "checking"}:
            return StateError(f"{what} yet: await connect() first")
        return IceFailed(f"{what}: {reason}", self._runtime.report())
