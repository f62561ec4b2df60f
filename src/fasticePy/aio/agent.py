"""`Agent`: ICE for asyncio programs. Sockets, interfaces, names and time around the sans-IO `IceAgent`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

from fasticePy.aio.advertise import NamesInRules
from fasticePy.aio.callbacks import Callback
from fasticePy.aio.driver import Closing, Driver
from fasticePy.aio.facade import FirstStream
from fasticePy.aio.interfaces import MAX_ADDRESSES, AddressTest, Decision, Exposure, Ipv6Choice
from fasticePy.aio.mdns import MdnsHub
from fasticePy.aio.network import Network
from fasticePy.aio.options import AgentOptions, MdnsMode, Policy, TcpChoice
from fasticePy.aio.resolver import Resolver, SystemResolver
from fasticePy.aio.runtime import Runtime, log
from fasticePy.aio.servers import IceServer, ServerLike
from fasticePy.aio.stream import OVER, Stream
from fasticePy.aio.waiting import Log
from fasticePy.errors import StateError
from fasticePy.ice import (
    Candidate,
    CandidateGathered,
    CandidatePair,
    CandidateType,
    GatheringState,
    GatheringStateChanged,
    IceAgent,
    IceFailed,
    IceState,
    Pacer,
    PairSelected,
    Report,
    Restarted,
    Role,
    ServerFinished,
    StateChanged,
    StateEntry,
    Timeouts,
)
from fasticePy.ice.addresses import LocalAddress
from fasticePy.ice.agent import worst_state
from fasticePy.ice.gathering.rewrite import Rewrite
from fasticePy.ice.reporting.conclusion import NO_PORT
from fasticePy.machine import Address, Event

KEPT_STATES = 64
"""State changes kept, in `state_history` and for a reader of `states()` that does not keep up."""

_pacer = Pacer()  # RFC 8445 14.2: what paces transactions is shared by all agents of the process
_TIMESTAMPS = frozenset({"timestamp", "lastPacketReceivedTimestamp"})
_UP = ("connected", "completed")


class Agent(FirstStream):
    """One side of an ICE session.

    - `controlling`: the side that chooses the pair; by convention the one that sent the offer. A wrong choice
      is repaired while connecting.
    - `servers`: STUN and TURN servers, as URLs, `IceServer` objects or RTCIceServer mappings.
    - `policy`: "relay" gathers and uses relayed candidates only.
    - `interfaces`, `addresses`, `include_loopback`, `ipv4`, `ipv6`, `exposure`, `max_addresses`: which local addresses
      are used and told, see `fasticePy.aio.AddressPolicy`; `decisions` tells what came of it.
    - `ports`: the range that local ports come from.
    - `candidate_types`: the types that are gathered and signalled, all by default.
    - `tcp`: TCP candidates beside UDP ones (RFC 6544): True for active and passive ones, or the kinds that are wanted.
      None, the default, gathers none, but connects to passive candidates when the peer has some, as browsers do; False
      does not even that.
    - `mdns`: "resolve" asks the link for names in the peer's candidates, "publish" also hides our addresses behind
      such names, "off" does neither. `resolve_names` looks up other host names in the peer's candidates, by DNS.
    - `advertise`: what to signal in place of local addresses that a NAT maps one to one, as `fasticePy.Rewrite`
      rules or their text (`"10.0.0.0/8=203.0.113.7"`). Host names in them are looked up before gathering begins.
    - `local_candidate`: a function that sees each of our candidates before the peer does, and gives it back, a changed
      one, or None to leave it out.
    - `lite`: host candidates and answers only (RFC 8445 2.5), for a host that everybody can reach.
    - `streams`: data streams under this session, see `Agent.streams`; what the agent itself offers is the first's.
    - `components`: how many flows of datagrams in each stream; RTP with separate RTCP needs two.
    - `local_ufrag`, `local_pwd`: credentials of the first stream, when they must be known before; random otherwise.
    - `nomination`: "regular", "fastest", or "continuous", which goes on looking for a better pair; None is "continuous"
      for a `continual` agent (a peer that has changed its address is followed at once), else "regular".
      `renomination` offers the peer to nominate more than once.
    - `continual`: gather whenever the network changes, which is watched, or a NAT's mapping does. `auto_restart`:
      restart ICE when the last path is lost, instead of failing; handle `on_restart`.
    - `timeouts`: see `Timeouts`. `dscp`: the class (0 to 63) that our packets ask routers for (RFC 2474).
    - `resolver`: where addresses of host names come from, the operating system by default.

    An agent belongs to the event loop in which it is first used, and is used from its thread only. Callbacks
    run in the event loop, never inside the call that causes them, except `close()`; what they raise goes to
    the event loop's exception handler. Raises ValueError or TypeError for options that cannot be, or not together.
    """

    def __init__(
        self,
        *,
        controlling: bool,
        servers: ServerLike | Iterable[ServerLike] = (),
        policy: Policy = "all",
        interfaces: Sequence[str] | AddressTest | None = None,
        addresses: Sequence[str] | AddressTest | None = None,
        ports: range | None = None,
        include_loopback: bool = False,
        ipv4: bool = True,
        ipv6: bool | Ipv6Choice = True,
        exposure: Exposure = "all",
        max_addresses: int = MAX_ADDRESSES,
        candidate_types: Iterable[CandidateType] | None = None,
        tcp: TcpChoice | None = None,
        mdns: MdnsMode = "resolve",
        resolve_names: bool = False,
        advertise: Rewrite | str | Iterable[Rewrite | str] = (),
        local_candidate: Callable[[Candidate], Candidate | None] | None = None,
        lite: bool = False,
        streams: int = 1,
        components: int = 1,
        local_ufrag: str | None = None,
        local_pwd: str | None = None,
        nomination: str | None = None,
        renomination: bool = False,
        continual: bool = False,
        auto_restart: bool = False,
        timeouts: Timeouts | None = None,
        dscp: int | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        options = AgentOptions(
            controlling=controlling,
            servers=servers,
            policy=policy,
            interfaces=interfaces,
            addresses=addresses,
            ports=ports,
            include_loopback=include_loopback,
            ipv4=ipv4,
            ipv6=ipv6,
            exposure=exposure,
            max_addresses=max_addresses,
            candidate_types=candidate_types,
            tcp=tcp,
            mdns=mdns,
            resolve_names=resolve_names,
            advertise=advertise,
            local_candidate=local_candidate,
            lite=lite,
            streams=streams,
            components=components,
            local_ufrag=local_ufrag,
            local_pwd=local_pwd,
            nomination=nomination,
            renomination=renomination,
            continual=continual,
            auto_restart=auto_restart,
            timeouts=timeouts,
            dscp=dscp,
        )
        self._ports, self._dscp, self._rules = options.ports, options.dscp, options.rules
        self.servers: tuple[IceServer, ...] = options.ice_servers
        self._resolver = resolver or SystemResolver()
        self._network = Network(options.address_policy, local_candidate, self._complain)
        hook = None if self._network.discloses_all else self._network.disclose
        self._machine = IceAgent(options.machine_options(hook), rng=os.urandom, pacer=_pacer)
        self._runtime = Runtime(self._machine, self, self._read_addresses, continual=continual)
        self.streams = tuple(Stream(self._runtime, index) for index in range(streams))
        self._names: NamesInRules | None = None
        self._stream_states: list[IceState] = [stream.state for stream in self.streams]
        self._states: Log[StateEntry] = Log(KEPT_STATES)
        self._state = self._machine.state
        self._states.append(StateEntry(self._runtime.now(), self._state, self._machine.state_reason))

    # -- callbacks -------------------------------------------------------------------------------------------

    on_state = Callback[[IceState, str]]()
    """`on_state(state, reason)`."""
    on_server = Callback[[ServerFinished]]()
    """`on_server(event)`: what became of a server, or of a server on one local address."""

    # -- what the application does ---------------------------------------------------------------------------

    async def gather(self) -> None:
        """Gather candidates, and return when that has ended. Optional: `connect()` begins it when nobody did,
        and each candidate is announced as it comes. Cancelling the wait does not stop the gathering.

        Raises IceFailed when the agent is closed meanwhile, or when `ports` has no free port left for even one socket,
        and what callables among the options raise.
        """
        self._start()
        runtime = self._runtime
        await runtime.changed.wait_for(lambda: runtime.closed or self.gathering_state == "complete")
        if self.gathering_state != "complete":
            raise IceFailed("the agent was closed before gathering ended", self.report())
        if self._ports is not None and runtime.driver is not None and not runtime.driver.sockets:
            report = self.report()
            exhausted = dict.fromkeys(why for _, why in report.sockets_failed if NO_PORT in why)
            if exhausted:
                raise IceFailed("; ".join(exhausted), report)

    async def connect(self, timeout: float | None = None) -> CandidatePair:
        """Wait until data can travel on all components of all streams, and give the pair of the very first one that is
        not closed.

        Raises IceFailed, with a report of what was tried, when ICE fails, when the agent is closed, or after
        `timeout` seconds; after a timeout the agent goes on, and `connect` may be called again.
        """
        self._start()
        in_time = await self._runtime.changed.wait_for(
            lambda: self.state in _UP or self.state in OVER, timeout
        )
        if self.state in _UP:
            open_streams = (stream for stream in self.streams if stream.state != "closed")
            if (pair := next(open_streams).selected) is not None:
                return pair
        if not in_time:
            report = self.report()
            raise IceFailed(f"not connected after {timeout:g} s: {report.conclusion}", report)
        raise self._runtime.failure(self._machine.state_reason)

    def close(self) -> Coroutine[Any, Any, None]:
        """Close at once, and idempotently. All who wait are woken: `connect`, `gather` and `recv` raise
        IceFailed, the iterators end. Awaiting what it returns makes sure that the event loop, too, has let go
        of every socket; in a callback simply call it. A task may be made of it, too."""
        runtime = self._runtime
        if not runtime.closed:
            runtime.closed = True
            self._network.close()
            if self._names is not None:
                self._names.cancel()
            if runtime.driver is not None:
                runtime.driver.close()
            else:
                self._machine.close(runtime.now())
                for event in self._machine.take_events():
                    self._on_event(event)
            for stream in self.streams:
                stream.end()
            self._states.end()
            runtime.changed.notify()
        return Closing(runtime.driver)

    async def __aenter__(self) -> Agent:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    # -- streams ---------------------------------------------------------------------------------------------

    def add_stream(self) -> Stream:
        """One more stream, as an offer adds it in the middle of a session (RFC 8839 4.4.3): the last of `streams` from
        now on. It gathers at once if the others do or did; set its callbacks before anything else is awaited.

        Raises StateError when the agent is closed, ValueError when there are too many.
        """
        runtime = self._runtime
        self._machine.add_stream(runtime.now())
        stream = Stream(runtime, len(self.streams))
        self.streams = (*self.streams, stream)
        self._stream_states.append(stream.state)
        if runtime.driver is not None:
            runtime.driver.hand_data_to(self._take_data)
        runtime.wake()
        return stream

    def close_stream(self, stream: Stream | int) -> None:
        """End one stream, given itself or by its number, because it was removed or rejected (RFC 8839 4.4.3): its
        sockets are closed, who waits for its data is woken. The others go on, and its number is not used again. Raises
        ValueError for a stream that is not this agent's."""
        index = stream if isinstance(stream, int) else stream.index
        if not 0 <= index < len(self.streams) or stream not in (index, self.streams[index]):
            raise ValueError(f"{stream} is no stream of {self}")
        self._machine.close_stream(index, self._runtime.now())
        self.streams[index].end()
        self._runtime.wake()

    # -- what is known ---------------------------------------------------------------------------------------

    def states(self) -> AsyncIterator[tuple[IceState, str]]:
        """States with their reasons: the present one, and each change until the agent is closed."""
        entries = self._states.follow(self._states.count - 1)
        return ((entry.state, entry.reason) async for entry in entries)

    @property
    def state_history(self) -> tuple[StateEntry, ...]:
        """The states that the agent has been in, each with its time and reason; the latest `KEPT_STATES`."""
        return self._states.kept()

    @property
    def state(self) -> IceState:
        """The W3C state; of several streams that of the one which is worst off."""
        return self._machine.state

    @property
    def gathering_state(self) -> GatheringState:
        """How far gathering is, in all streams together."""
        return self._machine.gathering_state

    @property
    def role(self) -> Role:
        """Our role now; a conflict may have changed it."""
        return self._machine.role

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """Which local addresses are used and which are left out, and why; empty before gathering."""
        return self._network.selection.decisions

    def report(self) -> Report:
        """What was tried and what came back, for people and programs; no secret is in it."""
        return self._runtime.report()

    def get_stats(self) -> dict[str, dict[str, Any]]:
        """Statistics by the names of W3C webrtc-stats. Timestamps are milliseconds since 1970, as there; all other
        times of an agent (`Report`, `StateEntry`, `Event.at`) are seconds of `time.monotonic()`."""
        now = self._runtime.now()
        stats = self._machine.stats(now)
        began = time.time() - now  # taken anew each time: somebody may have set the clock
        for entry in stats.values():
            for name in _TIMESTAMPS & entry.keys():
                if entry[name] is not None:
                    entry[name] = (began + entry[name]) * 1000
        return stats

    def __repr__(self) -> str:
        return f"<fasticePy.Agent {self._runtime.name} {self.role} {self.state}>"

    def __reduce__(self) -> str:
        raise TypeError("an Agent holds sockets and cannot be pickled or copied; its descriptions can")

    # -- starting --------------------------------------------------------------------------------------------

    def _start(self) -> None:
        runtime = self._runtime
        if runtime.closed:
            raise IceFailed("the agent is closed", self.report())
        if runtime.driver is not None:
            if runtime.driver.loop is not asyncio.get_running_loop():
                raise StateError(
                    "the agent belongs to another event loop: it is used in the one that it began in"
                )
            return
        if runtime.continual:
            self._network.watch(self._network_changed)
        try:
            addresses = self._network.read()
        except BaseException:
            self._network.close()
            raise
        for decision in self.decisions:
            log.debug("[%s] %s", runtime.name, decision)
        families = self._network.families
        runtime.driver = Driver(
            self._machine,
            on_event=self._on_event,
            on_data=self.streams[0].take_data if len(self.streams) == 1 else self._take_data,
            on_writable=self._writable,
            resolver=self._resolver,
            # It opens its sockets when the first name is asked for or published, and not before: macOS asks the user
            # for permission then (local network privacy).
            mdns=None if self._machine.options.mdns == "off" else MdnsHub.shared(),
            ports=self._ports,
            families=families,
            dscp=self._dscp,
            now=runtime.now,
        )
        if any(rule.names for rule in self._rules):
            self._names = NamesInRules(
                self._rules,
                self._resolver,
                lambda rules: self._gather(addresses, rules),
                families=families,
            )
        else:
            self._gather(addresses, self._rules)

    def _gather(self, addresses: Sequence[LocalAddress], rules: Sequence[Rewrite]) -> None:
        """Everything is known that gathering needs."""
        self._machine.set_advertise(rules)
        urls = [url for server in self.servers for url in server.parsed]
        self._machine.gather(addresses, urls, self._runtime.now())
        self._runtime.wake()

    # -- the network -----------------------------------------------------------------------------------------

    def _read_addresses(self) -> None:
        """Tell the machine which addresses the host has now."""
        try:
            addresses = self._network.read()
        except OSError as error:
            log.warning("[%s] the addresses of this host cannot be read: %s", self._runtime.name, error)
            return
        if self._runtime.driver is not None:
            self._runtime.driver.use_families(self._network.families)
            if self._machine.options.mdns != "off":
                MdnsHub.shared().refresh()
        self._machine.addresses_changed(addresses, self._runtime.now())

    def _network_changed(self) -> None:
        self._read_addresses()
        self._runtime.wake()

    # -- from the driver -------------------------------------------------------------------------------------

    def _take_data(self, data: bytes, socket: int, address: Address) -> None:
        try:
            stream = self._machine.stream_of(socket)
        except KeyError:  # closed a moment ago, and still being read
            self._machine.counters["drop.data.closed"] += 1
            return
        self.streams[stream].take_data(data, socket, address)

    def _writable(self, socket: int) -> None:
        if self._runtime.closed:
            return
        with suppress(KeyError):  # closed a moment ago
            self.streams[self._machine.stream_of(socket)].writable()

    def _on_event(self, event: Event) -> None:
        if self._runtime.closed and not (isinstance(event, StateChanged) and event.state == "closed"):
            return
        match event:
            case StateChanged():
                self._state_changed(event)
            case CandidateGathered() | GatheringStateChanged() | PairSelected() | Restarted():
                self.streams[event.stream].take_event(event)
            case ServerFinished():
                if not event.ok:
                    log.info("[%s] server %s: %s", self._runtime.name, event.url, event.reason)
                self._runtime.call(self.on_server, event)

    def _state_changed(self, event: StateChanged) -> None:
        self._stream_states[event.stream] = event.state
        self.streams[event.stream].state_changed()
        self._runtime.changed.notify()
        state = worst_state(self._stream_states)
        if state == self._state:
            return
        self._state = state
        if state == "failed":
            report = self.report()
            log.info("[%s] failed: %s. %s", self._runtime.name, event.reason, report.conclusion)
            log.debug("[%s] %s", self._runtime.name, report)
        else:
            log.info("[%s] %s: %s", self._runtime.name, state, event.reason)
        self._states.append(StateEntry(event.at, state, event.reason))
        self._runtime.call(self.on_state, state, event.reason)

    def _complain(self, error: Exception) -> None:
        self._runtime.complain(error)
