"""Selection: which pair carries the data of a component, how it came to be nominated, and its consent."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from fasticePy.ice.checklist import Checklist
from fasticePy.ice.checks import Checker
from fasticePy.ice.consent import ConsentMonitor, ConsentObserver
from fasticePy.ice.events import PairSelected, Route
from fasticePy.ice.nomination import NominationPolicy, follows
from fasticePy.ice.pair import CandidatePair
from fasticePy.ice.paths import Path
from fasticePy.ice.session import Generation, Session
from fasticePy.machine import Timer


@dataclass(slots=True)
class Selection:
    """The choice of one component."""

    component: int
    selected: CandidatePair | None = None
    nominated: CandidatePair | None = None
    nominated_at: float = 0.0
    monitor: ConsentMonitor | None = None
    path: Path | None = None
    """The selected pair's."""
    route: Route | None = None
    again: Timer | None = None


class Selector:
    """Selects a pair per component: the nominated one, or until there is one the best that is valid
    (RFC 8445 8.1, 12.1)."""

    __slots__ = (
        "_checker",
        "_checklist",
        "_generation",
        "_observer",
        "_policy",
        "_session",
        "components",
        "more_expected",
        "worked",
    )

    def __init__(
        self,
        session: Session,
        generation: Generation,
        checklist: Checklist,
        checker: Checker,
        policy: NominationPolicy | None,
        observer: ConsentObserver,
    ) -> None:
        self._session = session
        self._generation = generation
        self._checklist = checklist
        self._checker = checker
        self._policy = policy
        self._observer = observer
        self.more_expected = True
        """Whether candidates of either side may still come."""
        self.worked = False
        """Whether a pair was ever selected."""
        self.components = {number: Selection(number) for number in range(1, session.options.components + 1)}

    @property
    def all_selected(self) -> bool:
        """Whether every component has a pair that carries data."""
        return all(selection.selected is not None for selection in self.components.values())

    @property
    def any_selected(self) -> bool:
        """Whether some component has one."""
        return any(selection.selected is not None for selection in self.components.values())

    @property
    def all_nominated(self) -> bool:
        """Whether every component has its final pair."""
        return all(selection.nominated is not None for selection in self.components.values())

    @property
    def any_silent(self) -> bool:
        """Whether some component has heard nothing for long."""
        return any(each.path is not None and each.path.silent for each in self.components.values())

    def pair_valid(self, pair: CandidatePair, nominating: bool, now: float) -> None:
        """A check of this pair was answered."""
        if nominating or (pair.nominate_on_success and not self._session.controlling):
            self._nominate(pair, now)
        self.update(pair.component, now)
        self.consider(pair.component, now)

    def peer_nominates(self, pair: CandidatePair, now: float) -> None:
        """USE-CANDIDATE came on this pair (RFC 8445 7.3.1.5)."""
        if pair.state != "succeeded":
            pair.nominate_on_success = True  # its triggered check decides
            return
        self._nominate(pair, now)
        self.update(pair.component, now)

    def consider_all(self, now: float) -> None:
        """Something changed that nomination may hang on."""
        for component in self.components:
            self.consider(component, now)

    def consider(self, component: int, now: float) -> None:
        """As controlling agent, nominate if the policy finds it is time (RFC 8445 8.1.1)."""
        selection = self.components[component]
        pairs = [pair for pair in self._checklist.pairs if pair.component == component]
        if (
            self._policy is None
            or not self._session.controlling
            or selection.nominated is not None
            or any(pair.nominating for pair in pairs)
        ):
            return
        decision = self._policy.decide(pairs, self.more_expected, now)
        timers = self._session.outbox.timers
        timers.cancel(selection.again)
        if decision.nominate is not None:
            self._checker.nominate(decision.nominate, self._checklist, now)
        elif decision.again_at is not None:
            selection.again = timers.schedule(max(decision.again_at, now), partial(self.consider, component))

    def update(self, component: int, now: float) -> None:
        """Select the pair that deserves it."""
        selection = self.components[component]
        best = selection.nominated or self._best_valid(component, now)
        if best is selection.selected:
            return
        self._stop(selection)
        selection.selected = best
        if best is None:
            return
        selection.route = Route(best.socket, best.destination)
        path = selection.path = self._session.paths.of_pair(best, self._generation, now)
        selection.monitor = ConsentMonitor(self._session, self._generation, best, path, self._observer)
        selection.monitor.start(now)
        self._emit(selection, best, now)

    def drop(self, pair: CandidatePair, now: float) -> None:
        """This pair may carry data no more."""
        selection = self.components[pair.component]
        pair.valid = False
        pair.nominated = False
        if selection.nominated is pair:
            selection.nominated = None
        if selection.selected is pair:
            self._stop(selection)
            selection.selected = None

    def heard(self, path: Path, now: float) -> None:
        """A packet came on a path that had been silent."""
        for selection in self.components.values():
            if selection.monitor is not None and selection.monitor.path is path:
                selection.monitor.heard(now)

    def stop_deciding(self) -> None:
        """What is selected stays so."""
        for selection in self.components.values():
            self._session.outbox.timers.cancel(selection.again)

    def stop(self) -> None:
        """Send nothing more."""
        self.stop_deciding()
        for selection in self.components.values():
            self._stop(selection)

    def _best_valid(self, component: int, now: float) -> CandidatePair | None:
        oldest = now - self._session.options.timeouts.consent_expiry
        fresh = (
            p
            for p in self._checklist.valid_pairs(component)
            if p.consent_at is not None and p.consent_at > oldest
        )
        return next(fresh, None)

    def _nominate(self, pair: CandidatePair, now: float) -> None:
        selection = self.components[pair.component]
        pair.nominate_on_success = False
        current = selection.nominated
        if pair is current or not follows(pair, current, selection.nominated_at, now):
            return
        if current is not None:
            current.nominated = False
        pair.nominated = True
        pair.retired = False
        selection.nominated = pair
        selection.nominated_at = now
        self._session.record.add(now, "pair", str(pair), "nominated")
        if selection.selected is pair:
            self._emit(selection, pair, now)
        for other in self._checklist.pairs:
            if other is pair or other.component != pair.component or other.retired:
                continue
            if other.nominate_on_success and other.priority > pair.priority:
                continue  # an aggressive peer nominated this one too and will use it, for it is better
            self._checker.retire(other, self._checklist, now)

    def _emit(self, selection: Selection, pair: CandidatePair, now: float) -> None:
        self.worked = True
        assert selection.route is not None
        self._session.record.add(now, "pair", str(pair), "selected, final" if pair.nominated else "selected")
        self._session.outbox.emit(
            PairSelected(
                at=now,
                component=pair.component,
                pair=pair,
                route=selection.route,
                nominated=pair.nominated,
                stream=pair.stream,
            )
        )

    @staticmethod
    def _stop(selection: Selection) -> None:
        if selection.monitor is not None:
            selection.monitor.stop()
        selection.monitor = None
        selection.path = None
        selection.route = None
