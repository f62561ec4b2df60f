"""One generation of a stream of a lite agent: no checks, no pairs but those that the peer shows (RFC 8445 6.2, 7.3.2)
and, with a lite peer, those that follow from the candidates (RFC 8445 8.2)."""

from __future__ import annotations

from fasticePy.ice.engine import Engine
from fasticePy.ice.pair import CandidatePair
from fasticePy.ice.selecting.lite_selector import LiteSelector, preference
from fasticePy.ice.selecting.selector import Selector


class LiteEngine(Engine):
    """See `Engine`."""

    __slots__ = ()

    def _make_selector(self) -> Selector:
        return LiteSelector(self.session, self.generation, self.checklist, self._checker, None, self)

    def _check_back(self, pair: CandidatePair, now: float) -> None:
        pair.consent_at = now
        if not pair.valid:
            pair.state = "in-progress"  # the peer may nominate it

    def _more_expected_changed(self, now: float) -> None:
        super()._more_expected_changed(now)
        if not self.selector.more_expected and self.session.peer_lite and not (self.failure or self.frozen):
            self._pair_with_lite(now)

    def _pair_with_lite(self, now: float) -> None:
        """Both sides know all candidates, and nobody will check (RFC 8445 8.2)."""
        assert isinstance(self.selector, LiteSelector)
        self._pairing.add_all(now)
        by_component: dict[int, list[CandidatePair]] = {}
        for pair in self.checklist.pairs:
            # 12.2: data may come on any of them, should the peer choose another one than we do
            self.session.paths.of_pair(pair, self.generation, now)
            if pair.state in ("frozen", "waiting"):
                pair.state = "in-progress"
            by_component.setdefault(pair.component, []).append(pair)
        for pairs in by_component.values():
            if not any(pair.nominated for pair in pairs):
                self.selector.settle(max(pairs, key=preference), now)
        self._changed("the pairs of two lite agents follow from their candidates", now)

    def _lose_patience(self, now: float) -> None:
        heard = [pair.consent_at for pair in self.checklist.pairs if pair.consent_at is not None]
        hopeful = max(heard, default=0.0) + self.session.options.timeouts.consent_expiry
        if heard and now < hopeful and not self.selector.all_nominated:
            # the peer is there and has still to nominate
            self._patience = self.session.outbox.timers.schedule(hopeful, self._lose_patience)
            return
        super()._lose_patience(now)

    def _check_failed(self, now: float, why: str = "") -> None:
        if not self._patience_over or self.failure or self.frozen or self.gatherer.state == "gathering":
            return
        for component, selection in self.selector.components.items():
            if selection.nominated is None:
                came = sum(p.requests_received for p in self.checklist.pairs if p.component == component)
                what = (
                    f"{came} of its checks came, and it nominated no pair" if came else "no check of it came"
                )
                self._fail(f"component {component}: a lite agent waits for the peer, and {what}{why}", now)
                return
