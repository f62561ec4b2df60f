"""The "continuous" way of selecting (RFC 8445 8.1.1 leaves the choice to agents): pairs are kept warm, and data moves
to the best one at any time, at once when the one in use falls silent."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from fasticePy.ice.checking.checklist import Checklist
from fasticePy.ice.checking.checks import Checker
from fasticePy.ice.checking.consent import ConsentObserver
from fasticePy.ice.checking.live_checks import LiveChecks
from fasticePy.ice.events import Route
from fasticePy.ice.pair import CandidatePair
from fasticePy.ice.paths import Path
from fasticePy.ice.selecting.pair_health import PairHealth, Strength, SwitchingLimits, next_check_at, warm
from fasticePy.ice.selecting.reasons import SwitchReason
from fasticePy.ice.selecting.selector import Selection, Selector
from fasticePy.ice.selecting.switching import ContinuousPolicy, Switch
from fasticePy.ice.session import Generation, Session
from fasticePy.machine import Address, Timer


class ContinuousObserver(ConsentObserver, Protocol):
    """Who is told of trouble, too."""

    def path_weak(self, component: int, reason: str, now: float) -> None:
        """The selected pair does not answer, and there is no other one to take."""

    def path_strong(self, component: int, now: float) -> None:
        """There is one again that answers."""

    def mapping_changed(self, pair: CandidatePair, now: float) -> None:
        """The peer sees us at another address than before on this pair."""


class _Kept:
    """A valid pair that is checked, or may be."""

    __slots__ = ("checks", "health", "mapped", "packets", "timer")

    def __init__(self, health: PairHealth, checks: LiveChecks) -> None:
        self.health = health
        self.checks = checks
        self.timer: Timer | None = None
        self.mapped: Address | None = None
        self.packets = 0

    def listen(self, path: Path | None) -> None:
        """Note what has come on its path meanwhile."""
        if path is None:
            return
        self.health.heard_at = max(self.health.heard_at or path.last_received, path.last_received)
        if path.packets_received != self.packets:
            self.packets = path.packets_received
            self.health.data_at = path.last_received


class ContinuousSelector(Selector):
    """Keeps pairs warm, and selects among them whenever something changes."""

    __slots__ = ("_kept", "_limits", "_policies", "_troubled", "_watcher")

    def __init__(
        self,
        session: Session,
        generation: Generation,
        checklist: Checklist,
        checker: Checker,
        observer: ContinuousObserver,
    ) -> None:
        super().__init__(session, generation, checklist, checker, None, observer)
        self._watcher = observer
        self._limits = SwitchingLimits(consent=session.options.timeouts.consent_expiry)
        self._kept: dict[CandidatePair, _Kept] = {}
        self._policies = {
            component: ContinuousPolicy(session.controlling, self._limits) for component in self.components
        }
        self._troubled: set[int] = set()

    # -- what the checks find ----------------------------------------------------------------------------------------

    def pair_valid(self, pair: CandidatePair, nominating: bool, now: float) -> None:
        """See `Selector`."""
        kept = self._keep(pair, now)
        kept.health.answer_received(pair.rtt, now)
        if nominating:
            self._note_nomination(pair, now)
        elif pair.nominate_on_success and not self._session.controlling:
            self._follow(pair, now)
        self._decide(pair.component, now)
        self._rearm(pair.component, now)

    def peer_nominates(self, pair: CandidatePair, now: float) -> None:
        """See `Selector`."""
        if pair.state != "succeeded" or pair not in self._kept:
            pair.nominate_on_success = True  # its triggered check decides
            return
        self._follow(pair, now)
        self._decide(pair.component, now)

    def consider(self, component: int, now: float) -> None:
        """See `Selector`."""
        self._policies[component].controlling = self._session.controlling
        self._decide(component, now)

    def update(self, component: int, now: float) -> None:
        """See `Selector`."""
        self._decide(component, now)

    def drop(self, pair: CandidatePair, now: float) -> None:
        """See `Selector`."""
        super().drop(pair, now)
        kept = self._kept.pop(pair, None)
        if kept is not None:
            self._session.outbox.timers.cancel(kept.timer)
            kept.checks.stop()

    def choose(self, pair: CandidatePair, now: float) -> None:
        """The application wants this valid pair."""
        self._policies[pair.component].application_chose(self._keep(pair, now).health)
        self._decide(pair.component, now)

    def stop(self) -> None:
        """See `Selector`."""
        super().stop()
        for kept in self._kept.values():
            self._session.outbox.timers.cancel(kept.timer)
            kept.checks.stop()
        self._kept.clear()

    def stop_deciding(self) -> None:
        """What is selected stays so: only that is checked from now on."""
        super().stop_deciding()
        selected = {selection.selected for selection in self.components.values()}
        for pair in [pair for pair in self._kept if pair not in selected]:
            kept = self._kept.pop(pair)
            self._session.outbox.timers.cancel(kept.timer)
            kept.checks.stop()

    # -- answers (LiveCheckObserver) -------------------------------------------------------------------------------

    def answered(self, pair: CandidatePair, rtt: float | None, mapped: Address | None, now: float) -> None:
        """See `LiveCheckObserver`."""
        kept = self._kept.get(pair)
        if kept is None:
            return
        path = self._session.paths.of_pair(pair, self._generation, now)
        path.last_received = now
        kept.health.answer_received(rtt, now)
        if mapped is not None and kept.mapped is not None and mapped != kept.mapped:
            self._session.outbox.count("mapping.changed")
            self._watcher.mapping_changed(pair, now)
        kept.mapped = mapped or kept.mapped
        self._observer.path_returned(path, now)
        if self.components[pair.component].selected is pair and pair.component in self._troubled:
            self._troubled.discard(pair.component)
            self._watcher.path_strong(pair.component, now)
        self._decide(pair.component, now)
        self._arm(kept, now)

    def consent_refused(self, pair: CandidatePair, now: float) -> None:
        """See `LiveCheckObserver`."""
        self._lose(pair, "the peer took consent back (403)", now)

    def role_conflict(self, now: float) -> None:
        """See `LiveCheckObserver`."""
        self._observer.role_conflict(now)

    # -- keeping pairs warm ------------------------------------------------------------------------------------------

    def _keep(self, pair: CandidatePair, now: float) -> _Kept:
        kept = self._kept.get(pair)
        if kept is None:
            health = PairHealth.of(pair, now, cost=pair.cost, limits=self._limits)
            checks = LiveChecks(self._session, self._generation, pair, self)
            kept = self._kept[pair] = _Kept(health, checks)
            kept.mapped = None if pair.mapped is None else pair.mapped.candidate.transport_address
        return kept

    def _rearm(self, component: int, now: float) -> None:
        """The selected pair is another one, or in trouble: those kept warm may be others, and wanted sooner."""
        selected = self._selected(component)
        every = [kept for pair, kept in self._kept.items() if pair.component == component]
        wanted = warm([kept.health for kept in every], None if selected is None else selected.health, now)
        timers = self._session.outbox.timers
        for kept in every:
            if kept is selected or any(health is kept.health for health in wanted):
                self._arm(kept, now)
            else:
                timers.cancel(kept.timer)

    def _arm(self, kept: _Kept, now: float) -> None:
        component = kept.health.pair.component
        selected = self._selected(component)
        trouble = None if selected is None else selected.health.trouble_since(now)
        at = next_check_at(
            kept.health,
            selected=kept is selected,
            now=now,
            uniform=self._session.uniform,
            trouble_since=trouble,
        )
        timers = self._session.outbox.timers
        timers.cancel(kept.timer)
        kept.timer = timers.schedule(at, partial(self._tick, kept))

    def _tick(self, kept: _Kept, now: float) -> None:
        pair = kept.health.pair
        if not kept.health.usable(now):
            expiry = self._session.options.timeouts.consent_expiry
            self._lose(pair, f"no authenticated answer for {expiry:g} s", now)
            return
        moment = now if self._checker.loopback_only else self._session.pacer.reserve(now)
        if moment > now:  # RFC 8445 14.2: other agents of the process have the moments before
            kept.timer = self._session.outbox.timers.schedule(moment, partial(self._check, kept))
            return
        self._check(kept, now)

    def _check(self, kept: _Kept, now: float) -> None:
        pair = kept.health.pair
        selection = self.components[pair.component]
        is_selected = selection.selected is pair
        # Nominations that follow each other soon may arrive in another order, or not be followed at once: said again
        # and again, the latest one holds in the end.
        kept.checks.send(now, nominating=is_selected and selection.nominated is pair)
        kept.health.check_sent(now)
        if is_selected:
            self._look_for_silence(pair, now)
        if is_selected and kept.health.unanswered == 2:
            self._rearm(pair.component, now)  # the others may be needed soon
        else:
            self._arm(kept, now)
        self._decide(pair.component, now)

    def _look_for_silence(self, pair: CandidatePair, now: float) -> None:
        path = self._session.paths.of_pair(pair, self._generation, now)
        if not path.silent and now - path.last_received >= self._session.options.timeouts.disconnected:
            path.silent = True
            self._observer.path_silent(path, now)

    def _lose(self, pair: CandidatePair, reason: str, now: float) -> None:
        """RFC 7675 5.1: a pair without consent carries nothing any more."""
        if self.components[pair.component].selected is not pair:
            self._session.record.add(now, "consent", str(pair), "not kept warm any more", reason)
            self.drop(pair, now)
            pair.state, pair.failure = "failed", reason
            return
        self._session.outbox.count("consent.lost")
        self._session.record.add(now, "consent", str(pair), "lost", reason)
        self._observer.consent_lost(pair, reason, now)

    # -- deciding ----------------------------------------------------------------------------------------------------

    def _selected(self, component: int) -> _Kept | None:
        pair = self.components[component].selected
        return None if pair is None else self._kept.get(pair)

    def _decide(self, component: int, now: float) -> None:
        selection, policy = self.components[component], self._policies[component]
        selected = self._selected(component)
        every = [kept for pair, kept in self._kept.items() if pair.component == component]
        for kept in every:
            kept.listen(self._session.paths.by_key.get(kept.health.pair.path))
        pairs = [kept.health for kept in every]
        health = None if selected is None else selected.health
        decision = policy.decide(health, pairs, now)
        timers = self._session.outbox.timers
        timers.cancel(selection.again)
        if decision.again_at is not None:
            selection.again = timers.schedule(max(decision.again_at, now), partial(self._decide, component))
        if decision.switch is not None:
            self._switch(selection, decision.switch, now)
        elif health is not None and health.strength(now) <= Strength.WEAK and component not in self._troubled:
            self._troubled.add(component)
            reason = f"{health.unanswered} checks unanswered on {health.pair}"
            self._watcher.path_weak(component, reason, now)

    def _switch(self, selection: Selection, switch: Switch, now: float) -> None:
        pair, old = switch.pair, selection.selected
        pair.switch_reason = switch.reason
        selection.selected = pair
        selection.route = Route(pair.socket, pair.destination)
        selection.path = self._session.paths.of_pair(pair, self._generation, now)
        selection.path.silent = False
        self._session.record.add(now, "pair", str(pair), "data moves here", switch.reason.value)
        self._session.outbox.count(f"switch.{switch.reason.name.lower().replace('_', '-')}")
        if (
            old is not None
            and not self._session.controlling
            and switch.reason is not SwitchReason.PEER_NOMINATED
        ):
            self._session.outbox.count("switch.before-the-peer")
        self._emit(selection, pair, now)
        if pair.component in self._troubled:
            self._troubled.discard(pair.component)
            self._watcher.path_strong(pair.component, now)
        if self._session.controlling and selection.nominated is not pair:
            self._checker.nominate(pair, self._checklist, now)
        self._rearm(pair.component, now)

    def _follow(self, pair: CandidatePair, now: float) -> None:
        pair.nominate_on_success = False
        if not self._follows(pair, now):
            return
        self._note_nomination(pair, now)
        policy = self._policies[pair.component]
        policy.controlling = self._session.controlling
        policy.peer_nominated(self._keep(pair, now).health)

    def _note_nomination(self, pair: CandidatePair, now: float) -> None:
        selection = self.components[pair.component]
        if selection.nominated is pair:
            return
        if selection.nominated is not None:
            selection.nominated.nominated = False
        pair.nominated = True
        selection.nominated, selection.nominated_at = pair, now
        self._session.record.add(now, "pair", str(pair), "nominated")
        if selection.selected is pair:
            self._emit(selection, pair, now)
