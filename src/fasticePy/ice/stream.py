"""A stream: its generations, one after the other, and what the outside sees of them (RFC 8445 9).

A restart is staged: the new generation gathers and checks while the pairs that the old one has selected go on carrying
data, in both directions. Component by component, data moves over as soon as the new generation has a pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Protocol

from fasticePy.errors import StateError
from fasticePy.ice.addresses import LocalAddress
from fasticePy.ice.candidate import Candidate
from fasticePy.ice.checking.checks import Checker
from fasticePy.ice.checking.connections import Connections
from fasticePy.ice.checking.remote_names import named_candidates
from fasticePy.ice.credentials import Credentials
from fasticePy.ice.engine import Engine
from fasticePy.ice.events import IceState, Restarted, Route, StateChanged, StateEntry
from fasticePy.ice.gathering.resolution import Resolutions
from fasticePy.ice.gathering.sockets import Sockets
from fasticePy.ice.lite_engine import LiteEngine
from fasticePy.ice.pair import CandidatePair
from fasticePy.ice.session import Generation, Session
from fasticePy.ice.signalling.description import Description
from fasticePy.machine import Address, Timer
from fasticePy.stun import Attribute, Message
from fasticePy.stun.uri import ServerUrl

LINGER = 5.0
"""How long (seconds) data and checks of the old generation are still taken once the new one carries data: the peer
may move over later than we do, and what it has sent is still on its way."""


RESTART_AFTER = 1.0
"""When no path answers any more, other ones may still be found for so long (seconds) before the stream restarts by
itself, the controlled side for twice as long."""
MAX_AUTO_RESTARTS = 8
"""Restarts in a row without any path: each is an attempt of `Timeouts.patience` seconds."""

STATES_KEPT = 64
"""The states of a stream that are remembered, the latest ones."""


class StreamOwner(Protocol):
    """Who a stream belongs to."""

    def switch_role(self, reason: str, now: float) -> None:
        """The session takes the other role."""


class Stream:
    """One data stream of a session."""

    __slots__ = (
        "_auto_restart",
        "_checker",
        "_connections",
        "_dead",
        "_gathered",
        "_linger",
        "_owner",
        "_resolutions",
        "_restarts",
        "_selected",
        "_session",
        "_sockets",
        "engine",
        "index",
        "previous",
        "selections",
        "state",
        "state_reason",
        "told",
    )

    def __init__(
        self,
        index: int,
        session: Session,
        checker: Checker,
        sockets: Sockets,
        connections: Connections,
        resolutions: Resolutions,
        owner: StreamOwner,
    ) -> None:
        self.index = index
        self._session = session
        self._checker = checker
        self._sockets = sockets
        self._connections = connections
        self._resolutions = resolutions
        self._owner = owner
        self._gathered: tuple[Sequence[LocalAddress], Sequence[ServerUrl]] | None = None
        self._linger: Timer | None = None
        options = session.options
        ufrag = options.local_ufrag if index == 0 else None
        pwd = options.local_pwd if index == 0 else None
        self.engine = self._new_engine(Generation.create(index, 0, session.rng, ufrag, pwd))
        """The latest generation."""
        self.previous: Engine | None = None
        """The one before it, as long as it carries data or the peer may think so."""
        self._auto_restart: Timer | None = None
        self._restarts = 0
        self._dead = False
        self.told: list[StateEntry] = []
        """The latest states."""
        self.state: IceState = "new"
        self.state_reason = "created"
        self.selections = 0
        """How often another pair than before was selected for a component."""
        self._selected: list[CandidatePair | None] = [None] * options.components

    def _may_restart(self, engine: Engine) -> bool:
        """Whether a failure is answered by another attempt: once something has worked (`auto_restart`)."""
        worked = self.generation.number > 0 or engine.selector.worked
        return self._session.options.auto_restart and worked and self._restarts < MAX_AUTO_RESTARTS

    @property
    def ended(self) -> bool:
        """Whether nothing can happen any more but a restart."""
        return self.state in ("failed", "closed")

    @property
    def generation(self) -> Generation:
        """The latest generation's credentials."""
        return self.engine.generation

    def engines(self) -> Iterator[Engine]:
        """The latest generation, and the one before it if it is still there."""
        yield self.engine
        if self.previous is not None:
            yield self.previous

    @property
    def addresses_given(self) -> bool:
        """Whether there is an address to gather from, as far as that has begun."""
        return self._gathered is None or bool(self._gathered[0])

    def route(self, component: int) -> Route | None:
        """Where data of this component goes now."""
        selection = self.engine.selector.components.get(component)
        if selection is not None and selection.route is not None:
            return selection.route
        if self.previous is None:
            return None
        selection = self.previous.selector.components.get(component)
        return None if selection is None else selection.route

    def selected_pair(self, component: int) -> CandidatePair | None:
        """The pair that carries the data of this component."""
        selection = self.engine.selector.components.get(component)
        if selection is not None and selection.selected is not None:
            return selection.selected
        if self.previous is None:
            return None
        selection = self.previous.selector.components.get(component)
        return None if selection is None else selection.selected

    # -- gathering ---------------------------------------------------------------------------------------------------

    def gather(self, addresses: Sequence[LocalAddress], servers: Sequence[ServerUrl], now: float) -> None:
        """Begin to gather. Raises StateError when it was called before."""
        if self._gathered is not None:
            raise StateError("gathering has begun already: an agent gathers once")
        self._gathered = (addresses, servers)
        if not self.ended:
            self.engine.gather(addresses, servers, now, fresh=True)

    def addresses_changed(self, addresses: Sequence[LocalAddress], now: float) -> None:
        """The addresses of this host are these now."""
        if self._gathered is None or self.state == "closed":
            return
        self._gathered = (addresses, self._gathered[1])
        for engine in list(self.engines()):
            engine.gatherer.addresses_changed(addresses, now)

    # -- the peer ----------------------------------------------------------------------------------------------------

    def set_remote_description(self, description: Description, now: float) -> None:
        """See `IceAgent`."""
        self._take_credentials(Credentials(description.ufrag, description.pwd), description, now)
        if self.ended:
            return
        named = named_candidates(description) if self._session.options.resolve_names else []
        for candidate in (*description.candidates, *named):
            self.engine.add_remote(candidate, now)
        if not description.expects_more:
            self.engine.add_remote(None, now)

    def set_remote_credentials(self, ufrag: str, pwd: str, now: float) -> None:
        """See `IceAgent`."""
        self._take_credentials(Credentials(ufrag, pwd), None, now)

    def _take_credentials(
        self, credentials: Credentials, description: Description | None, now: float
    ) -> None:
        generation = self.generation
        if self.state == "closed" or credentials == generation.remote:
            return
        if generation.remote is None:
            if not self.ended:
                self.engine.set_remote(credentials, now, description)
            return
        restarting = generation.number > 0 and not self.engine.selector.any_selected
        if restarting or credentials.ufrag in self.engine.inbound.stranger_ufrags:
            # The messages of both sides have crossed: these credentials are the answer to ours, as checks that carry
            # both show, or those of a restart that waits for an answer. Ours are new in either case, and are told
            # once more. To answer with others each time would make two agents restart for ever.
            self._begin_again(generation, now, "the peer's credentials changed again")
        else:
            self.restart(now, None, None, "the peer restarted: its credentials changed")
        self.engine.set_remote(credentials, now, description)

    def _begin_again(self, generation: Generation, now: float, reason: str) -> None:
        """Begin the latest generation anew with our own credentials as they are."""
        again = Generation(self.index, generation.number + 1, generation.local, generation.local_key)
        old = self.engine
        self._announce(again, now, reason)
        self.engine.inbound.take_over(old.inbound)

    def restart(self, now: float, ufrag: str | None, pwd: str | None, reason: str) -> None:
        """Begin a new generation. Raises StateError once the stream is closed."""
        if self.state == "closed":
            raise StateError("the agent is closed")
        number = self.generation.number + 1
        generation = Generation.create(self.index, number, self._session.rng, ufrag, pwd)
        self._announce(generation, now, reason)

    def _announce(self, generation: Generation, now: float, reason: str) -> None:
        self._session.record.add(now, "agent", "restart", reason)
        self._session.outbox.emit(
            Restarted(at=now, stream=self.index, credentials=generation.local, reason=reason)
        )
        self._begin(generation, now, reason)

    def _begin(self, generation: Generation, now: float, reason: str) -> None:
        old = self.engine
        dead = self._dead or self.state in ("failed", "disconnected")
        self._dead = False
        self._session.outbox.timers.cancel(self._auto_restart)
        self._session.outbox.timers.cancel(self._linger)
        self._linger = None
        self.engine = self._new_engine(generation)
        if old.selector.any_selected or self.previous is None:
            replaced, self.previous = self.previous, old
            old.freeze(now)
            if replaced is not None:
                self._replace(replaced, now)
        else:
            self._replace(old, now)
        if self._gathered is not None:
            # on the same sockets, which NATs and firewalls know; unless nothing came through them any more
            self.engine.gather(*self._gathered, now, fresh=dead)
        if not self.previous.selector.any_selected:
            self._drop_previous(now)
        self._derive(reason, now)

    # -- what is received --------------------------------------------------------------------------------------------

    def request_received(self, message: Message, socket: int, address: Address, now: float) -> None:
        """A Binding request on one of the stream's sockets: USERNAME tells for which generation."""
        username = message.get(Attribute.USERNAME)
        own = (username or "").partition(":")[0]
        engine, previous = self.engine, self.previous
        if previous is not None and own == previous.generation.local.ufrag != engine.generation.local.ufrag:
            engine = previous
        engine.request_received(message, socket, address, now)

    # -- what the engines tell (EngineOwner) -------------------------------------------------------------------------

    def engine_changed(self, engine: Engine, reason: str, now: float) -> None:
        """See `EngineOwner`."""
        if self.state == "closed" or engine not in (self.engine, self.previous):
            return
        if engine is self.engine and engine.failure and self._may_restart(engine):
            self._restart_alone(engine.failure, now)
            return
        if engine is self.engine and engine.selector.all_selected:
            self._restarts = 0
        if self.previous is not None and self.engine.selector.all_selected and self._linger is None:
            # data has moved over; consent for the old pairs is not wanted any more
            self.previous.selector.stop()
            self._linger = self._session.outbox.timers.schedule(now + LINGER, self._drop_previous)
        self._count_selections()
        self._derive(reason, now)

    def _count_selections(self) -> None:
        for index, before in enumerate(self._selected):
            selected = self.selected_pair(index + 1)
            if selected is not before:
                self._selected[index] = selected
                self.selections += 1

    def switch_role(self, reason: str, now: float) -> None:
        """See `EngineOwner`."""
        self._owner.switch_role(reason, now)

    def path_weak(self, engine: Engine, reason: str, now: float) -> None:
        """See `EngineOwner`."""
        if engine is not self.engine or not self._session.options.auto_restart:
            return
        timers = self._session.outbox.timers
        timers.cancel(self._auto_restart)
        # one side is enough, and the controlling one is first
        wait = RESTART_AFTER if self._session.controlling else 2 * RESTART_AFTER
        self._auto_restart = timers.schedule(now + wait, partial(self._restart_alone, reason))

    def path_strong(self, engine: Engine, now: float) -> None:
        """See `EngineOwner`."""
        self._session.outbox.timers.cancel(self._auto_restart)

    def _restart_alone(self, reason: str, now: float) -> None:
        if self.state == "closed" or self._restarts >= MAX_AUTO_RESTARTS:
            return
        self._restarts += 1
        self._dead = True
        self.restart(now, None, None, f"no path answers any more: {reason}")

    def role_switched(self, now: float) -> None:
        """The session has the other role."""
        for engine in self.engines():
            engine.role_switched(now)

    # -- state -------------------------------------------------------------------------------------------------------

    def close(self, now: float) -> None:
        """End everything at once."""
        if self.state == "closed":
            return
        timers = self._session.outbox.timers
        timers.cancel(self._linger)
        timers.cancel(self._auto_restart)
        for engine in list(self.engines()):
            self._drop(engine, now)
        self.previous = None
        self._set_state("closed", "closed by the application", now)

    def _derive(self, reason: str, now: float) -> None:
        state = self._visible()
        if state != self.state:
            self._set_state(state, self.engine.failure or reason, now)

    def _visible(self) -> IceState:
        """W3C: a restart leads from `completed` to `connected`, and from `disconnected` and `failed` to `checking`."""
        latest = self.engine.state
        if latest not in ("new", "checking", "failed") or self.generation.number == 0:
            return latest
        previous = self.previous
        if previous is None or not previous.selector.all_selected:
            return "failed" if latest == "failed" else "checking"
        return "checking" if previous.selector.any_silent else "connected"

    def _set_state(self, state: IceState, reason: str, now: float) -> None:
        self.state = state
        self.state_reason = reason
        self.told.append(StateEntry(now, state, reason))
        del self.told[:-STATES_KEPT]
        self._session.record.add(now, "agent", "state", state, reason)
        self._session.outbox.emit(StateChanged(at=now, state=state, reason=reason, stream=self.index))

    # -- generations -------------------------------------------------------------------------------------------------

    def _new_engine(self, generation: Generation) -> Engine:
        engine = LiteEngine if self._session.options.lite else Engine
        return engine(
            self._session,
            generation,
            self._checker,
            self._sockets,
            self._connections,
            self._resolutions,
            self,
        )

    def _drop_previous(self, now: float) -> None:
        previous, self.previous = self.previous, None
        self._session.outbox.timers.cancel(self._linger)
        self._linger = None
        if previous is not None:
            self._drop(previous, now)

    def _replace(self, engine: Engine, now: float) -> None:
        """Two restarts in a row: this generation is over, but what the peer has sent to it is still on its way."""
        engine.stop(now)
        forget = partial(self._forget_paths, engine.generation)
        self._session.outbox.timers.schedule(now + LINGER, forget)

    def _drop(self, engine: Engine, now: float) -> None:
        engine.stop(now)
        self._forget_paths(engine.generation, now)

    def _forget_paths(self, generation: Generation, now: float) -> None:
        self._session.paths.drop_generation(generation)

    def add_remote(self, candidate: Candidate | None, now: float) -> None:
        """See `IceAgent.add_remote_candidate`."""
        if self.state != "closed":
            self.engine.add_remote(candidate, now)
