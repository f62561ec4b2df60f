"""Selection: which pair carries the data of a component, how it came to be nominated, and its consent."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Protocol

from fasticePy.errors import StateError
from fasticePy.ice.checking.checklist import Checklist
from fasticePy.ice.checking.checks import Checker
from fasticePy.ice.checking.consent import ConsentMonitor, ConsentObserver
from fasticePy.ice.events import PairSelected, Route
from fasticePy.ice.pair import CandidatePair
from fasticePy.ice.paths import Path
from fasticePy.ice.selecting.nomination import NominationPolicy, follows
from fasticePy.ice.session import Generation, Session
from fasticePy.machine import Timer


class Monitor(Protocol):
    """Watches over a pair that carries data, and tells of its silence and its end."""

    pair: CandidatePair
    path: Path

    def start(self, now: float) -> None:
        """Begin."""

    def stop(self) -> None:
        """End."""

    def heard(self, now: float) -> None:
        """A packet came after a silence."""

    def refreshed(self, now: float) -> None:
        """A packet of the peer's ICE came."""


@dataclass(slots=True)
class Selection:
    """The choice of one component."""

    component: int
    selected: CandidatePair | None = None
    nominated: CandidatePair | None = None
    nominated_at: float = 0.0
    monitor: Monitor | None = None
    path: Path | None = None
    """The selected pair's."""
    route: Route | None = None
    preferred: CandidatePair | None = None
    """The pair that carries data although another one is nominated: until the next nomination, or its end."""
    standby: Monitor | None = None
    """Keeps consent for the nominated pair meanwhile."""
    again: Timer | None = None
    worked: bool = False
    """Whether a pair was ever selected."""


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
        self.components = {number: Selection(number) for number in range(1, session.options.components + 1)}

    @property
    def all_selected(self) -> bool:
        """Whether every component has a pair that carries data."""
        return None not in [selection.selected for selection in self.components.values()]

    @property
    def worked(self) -> bool:
        """Whether a pair was ever selected."""
        return any(selection.worked for selection in self.components.values())

    @property
    def all_worked(self) -> bool:
        """Whether each component has had one, so that what is missing now was lost."""
        return all(selection.worked for selection in self.components.values())

    @property
    def goes_on(self) -> bool:
        """Whether pairs are checked and nominated for as long as the generation lives."""
        return self._session.options.nomination == "continuous" or self._generation.renomination.in_use

    @property
    def any_selected(self) -> bool:
        """Whether some component has one."""
        return any(selection.selected is not None for selection in self.components.values())

    @property
    def all_nominated(self) -> bool:
        """Whether every component has its final pair."""
        return None not in [selection.nominated for selection in self.components.values()]

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

    def choose(self, pair: CandidatePair, now: float) -> None:
        """The application wants this pair. Raises StateError when it is not valid."""
        self.nominate(pair, now, at_once=True)

    def nominate(self, pair: CandidatePair, now: float, *, at_once: bool = False) -> None:
        """Settle on this valid pair even though another one is nominated already.

        The controlling agent checks it with USE-CANDIDATE, and data moves when that is answered; with `at_once` it
        moves now, if there is consent. The controlled agent has no say in what is nominated: it moves its own data,
        until the peer nominates another pair. Raises StateError when the pair is not valid.
        """
        if not pair.valid or pair not in self._checklist.pairs:
            raise StateError(f"{pair} cannot be selected: no check of it has been answered, or it is lost")
        selection = self.components[pair.component]
        if self._session.controlling:
            if selection.nominated not in (None, pair):
                # Without renomination the peer expects one nomination only (RFC 8445 8.1.1). In the field all follow
                # the latest one; those that did not would still take and send data on the pair that they know.
                self._session.outbox.count("nomination.again")
                self._session.record.add(now, "pair", str(pair), "to be nominated instead of another one")
            if pair is not selection.nominated:
                self._checker.nominate(pair, self._checklist, now)
        elif not self._has_consent(pair, now):
            # a check like others, for the role leaves out the flag
            self._checker.nominate(pair, self._checklist, now)
        if at_once or not self._session.controlling or pair is selection.nominated:
            selection.preferred = pair
            self.update(pair.component, now)

    def update(self, component: int, now: float) -> None:
        """Select the pair that deserves it."""
        selection = self.components[component]
        best = self._preferred(selection, now) or selection.nominated or self._best_valid(component, now)
        self._guard_nominated(selection, best, now)
        if best is selection.selected:
            return
        self._stop(selection)
        selection.selected = best
        if best is None:
            return
        selection.route = Route(best.socket, best.destination)
        path = selection.path = self._session.paths.of_pair(best, self._generation, now)
        selection.monitor = self._watch(best, path)
        selection.monitor.start(now)
        self._emit(selection, best, now)

    def drop(self, pair: CandidatePair, now: float) -> None:
        """This pair may carry data no more."""
        selection = self.components[pair.component]
        pair.valid = False
        pair.nominated = False
        if selection.nominated is pair:
            selection.nominated = None
        if selection.preferred is pair:
            selection.preferred = None
        if selection.standby is not None and selection.standby.pair is pair:
            selection.standby.stop()
            selection.standby = None
        if selection.selected is pair:
            self._stop(selection)
            selection.selected = None

    def heard(self, path: Path, now: float) -> None:
        """A packet came on a path that had been silent."""
        for selection in self.components.values():
            for monitor in (selection.monitor, selection.standby):
                if monitor is not None and monitor.path is path:
                    monitor.heard(now)

    def refreshed(self, path: Path, now: float) -> None:
        """A check of the peer came on a path."""
        for selection in self.components.values():
            for monitor in (selection.monitor, selection.standby):
                if monitor is not None and monitor.path is path:
                    monitor.refreshed(now)

    def stop_deciding(self) -> None:
        """What is selected stays so."""
        for selection in self.components.values():
            self._session.outbox.timers.cancel(selection.again)

    def stop(self) -> None:
        """Send nothing more."""
        self.stop_deciding()
        for selection in self.components.values():
            self._stop(selection)
            if selection.standby is not None:
                selection.standby.stop()
                selection.standby = None

    def _watch(self, pair: CandidatePair, path: Path) -> Monitor:
        return ConsentMonitor(self._session, self._generation, pair, path, self._observer)

    def _best_valid(self, component: int, now: float) -> CandidatePair | None:
        valid = self._checklist.valid_pairs(component)
        return next((pair for pair in valid if self._has_consent(pair, now)), None)

    def _has_consent(self, pair: CandidatePair, now: float) -> bool:
        oldest = now - self._session.options.timeouts.consent_expiry
        return pair.consent_at is not None and pair.consent_at > oldest

    def _preferred(self, selection: Selection, now: float) -> CandidatePair | None:
        pair = selection.preferred
        if pair is None or not (pair is selection.selected or self._has_consent(pair, now)):
            return None
        return pair

    def _guard_nominated(self, selection: Selection, best: CandidatePair | None, now: float) -> None:
        """Consent for the nominated pair lives on while another one carries the data (RFC 7675 5.1)."""
        wanted = selection.nominated if selection.nominated is not best else None
        standby = selection.standby
        if (standby.pair if standby is not None else None) is wanted:
            return
        if standby is not None:
            standby.stop()
            selection.standby = None
        if wanted is not None:
            path = self._session.paths.of_pair(wanted, self._generation, now)
            selection.standby = self._watch(wanted, path)
            selection.standby.start(now)

    def _follows(self, pair: CandidatePair, now: float) -> bool:
        """Whether this nomination counts: ours always, that of a controlling peer not if it is an outdated one."""
        selection = self.components[pair.component]
        if self._session.controlling:
            return True
        if self._generation.renomination.outdated(pair.component, pair.nomination):
            return False
        if pair.nomination is not None:
            return True  # the latest one, whatever its priority (draft-thatcher-tsvwg-renomination)
        return follows(pair, selection.nominated, selection.nominated_at, now)

    def _nominate(self, pair: CandidatePair, now: float) -> None:
        selection = self.components[pair.component]
        pair.nominate_on_success = False
        current = selection.nominated
        if pair is current or not self._follows(pair, now):
            return
        if current is not None:
            current.nominated = False
        pair.nominated = True
        pair.retired = False
        selection.nominated = pair
        selection.nominated_at = now
        selection.preferred = None
        self._session.record.add(now, "pair", str(pair), "nominated")
        if selection.selected is pair:
            self._emit(selection, pair, now)
        if self._generation.renomination.in_use:
            return  # the others may be nominated yet
        for other in self._checklist.pairs:
            if other is pair or other.component != pair.component or other.retired:
                continue
            if other.nominate_on_success and other.priority > pair.priority:
                continue  # an aggressive peer nominated this one too and will use it, for it is better
            self._checker.retire(other, self._checklist, now)

    def _emit(self, selection: Selection, pair: CandidatePair, now: float) -> None:
        selection.worked = True
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
