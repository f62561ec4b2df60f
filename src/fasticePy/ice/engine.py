"""The engine: one generation of one stream. Brings local and remote candidates together, and runs the checks.

`Stream` owns it; the parts below it (gathering, checks, requests, selection) know only the shared `Session` and the
`Generation`, and tell the engine what they find out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fasticePy.ice.addresses import LocalAddress, is_loopback, parse_ip
from fasticePy.ice.candidate import Candidate
from fasticePy.ice.checking.checklist import Checklist
from fasticePy.ice.checking.checks import Checker
from fasticePy.ice.checking.connections import Connections
from fasticePy.ice.checking.inbound import InboundChecks
from fasticePy.ice.checking.pairing import Pairing
from fasticePy.ice.checking.remote import RemoteCandidates
from fasticePy.ice.checking.remote_names import RemoteNames
from fasticePy.ice.checking.requests import InboundCheck
from fasticePy.ice.checking.tcp_pairs import TcpPairs
from fasticePy.ice.credentials import Credentials
from fasticePy.ice.events import CandidateGathered, IceState
from fasticePy.ice.gathering.gatherer import Gatherer
from fasticePy.ice.gathering.resolution import Resolutions
from fasticePy.ice.gathering.sockets import Base, Sockets
from fasticePy.ice.pair import CandidatePair, LocalCandidate
from fasticePy.ice.paths import Path
from fasticePy.ice.reporting.conclusion import TOO_LATE
from fasticePy.ice.selecting.continuous import ContinuousSelector
from fasticePy.ice.selecting.nomination import make_policy
from fasticePy.ice.selecting.renomination import Renomination, Verdict
from fasticePy.ice.selecting.selector import Selector
from fasticePy.ice.session import Generation, Session
from fasticePy.ice.signalling.description import Description
from fasticePy.machine import Address, Timer
from fasticePy.stun import Message
from fasticePy.stun.uri import ServerUrl


class EngineOwner(Protocol):
    """Who an engine belongs to."""

    def engine_changed(self, engine: Engine, reason: str, now: float) -> None:
        """The state of the engine, or which pair it has selected, may be another one."""

    def switch_role(self, reason: str, now: float) -> None:
        """The session takes the other role."""

    def path_weak(self, engine: Engine, reason: str, now: float) -> None:
        """A selected pair does not answer, and no other one does."""

    def path_strong(self, engine: Engine, now: float) -> None:
        """There is a selected pair again that answers."""


class Engine:
    """One generation of a stream: from its first candidate to its end."""

    __slots__ = (
        "_checker",
        "_owner",
        "_pairing",
        "_patience",
        "_patience_over",
        "checklist",
        "failure",
        "frozen",
        "gatherer",
        "generation",
        "inbound",
        "names",
        "remotes",
        "selector",
        "session",
        "tcp",
    )

    def __init__(
        self,
        session: Session,
        generation: Generation,
        checker: Checker,
        sockets: Sockets,
        connections: Connections,
        resolutions: Resolutions,
        owner: EngineOwner,
    ) -> None:
        self.session = session
        self.generation = generation
        generation.renomination = Renomination(session.options.renomination)
        self._owner = owner
        self.gatherer = Gatherer(session, generation, sockets, resolutions, self)
        self.remotes = RemoteCandidates(session, generation)
        self.names = RemoteNames(session, resolutions, self)
        self.checklist = Checklist()
        self._checker = checker
        checker.register(self.checklist, generation, self)
        self.selector = self._make_selector()
        self.tcp = TcpPairs(session, generation, connections, self.checklist, checker, self.selector, self)
        self._pairing = Pairing(
            session, generation, self.checklist, checker, self.selector, self.remotes, self.tcp
        )
        self.inbound = InboundChecks(session, generation)
        self._patience: Timer | None = None
        self._patience_over = False
        self.failure = ""
        """Why it failed; empty as long as it did not."""
        self.frozen = False
        """Another generation has begun: what is selected here carries data until the other one has a pair."""

    def _make_selector(self) -> Selector:
        options = self.session.options
        if options.nomination == "continuous":
            return ContinuousSelector(self.session, self.generation, self.checklist, self._checker, self)
        policy = make_policy(options.nomination, options.timeouts)
        return Selector(self.session, self.generation, self.checklist, self._checker, policy, self)

    @property
    def continuous(self) -> bool:
        """Whether pairs are checked and selected for as long as the generation lives: by our own choice, or because
        renomination is in use, for which other pairs have to be there (draft-thatcher-tsvwg-renomination)."""
        return self.selector.goes_on

    @property
    def state(self) -> IceState:
        """The state of this generation alone."""
        if self.failure:
            return "failed"
        selector = self.selector
        if not selector.all_selected:
            if self.tcp.reopening or selector.all_worked:
                return "disconnected"
            pairs = bool(self.checklist.pairs) or selector.worked
            started = self.generation.remote is not None and pairs
            return "checking" if started else "new"
        if selector.any_silent:
            return "disconnected"
        return "completed" if selector.all_nominated and not selector.more_expected else "connected"

    # -- life --------------------------------------------------------------------------------------------------------

    def gather(
        self, addresses: Sequence[LocalAddress], servers: Sequence[ServerUrl], now: float, *, fresh: bool
    ) -> None:
        """Begin to gather."""
        self.gatherer.start(addresses, servers, now, fresh=fresh)

    def freeze(self, now: float) -> None:
        """A new generation begins beside this one: it checks and gathers no more, and keeps its selected pairs
        (RFC 8445 9)."""
        self.frozen = True
        self._stop_checking()
        self.tcp.freeze(now)
        self.gatherer.freeze()

    def stop(self, now: float) -> None:
        """End: nothing is sent any more, and sockets that nobody else uses are closed."""
        self._stop_checking()
        self.selector.stop()
        self.tcp.stop(now)
        self.gatherer.stop(now)

    def _stop_checking(self) -> None:
        self.session.outbox.timers.cancel(self._patience)
        self.selector.stop_deciding()
        self._checker.unregister(self.checklist)
        self.names.stop()

    def _fail(self, reason: str, now: float) -> None:
        self.failure = reason
        self.checklist.state = "failed"
        self._stop_checking()
        self.selector.stop()
        for selection in self.selector.components.values():
            selection.selected = None  # of several components the others may have had a pair that worked
        self.tcp.stop(now)
        self.gatherer.freeze()
        self._changed(reason, now)

    def _changed(self, reason: str, now: float) -> None:
        if self.failure and not self.frozen and reason != self.failure:
            return
        self.tcp.settle(now)
        if self.selector.all_nominated and self.checklist.state == "running":
            if not self.continuous:
                self.checklist.state = "completed"  # RFC 8445 8.1.2
            if not self.session.options.continual:
                self.gatherer.release()
        self._owner.engine_changed(self, reason, now)

    # -- the peer's description ------------------------------------------------------------------------------------

    def set_remote(
        self, credentials: Credentials, now: float, description: Description | None = None
    ) -> None:
        """The peer's credentials are known, perhaps from its description: checks can begin, and patience too
        (RFC 8863 4)."""
        self.generation.set_remote(credentials)
        self.session.record.add(now, "agent", "remote credentials", f"ufrag {credentials.ufrag}")
        if description is not None:
            self.generation.renomination.negotiate(description.options)
        timers = self.session.outbox.timers
        timers.cancel(self._patience)
        self._patience = timers.schedule(now + self.session.options.timeouts.patience, self._lose_patience)
        for candidate in self.remotes.take_held():
            self.add_remote(candidate, now)
        for check in self.inbound.take_remembered():
            if self.inbound.is_foreign(check):
                self.session.paths.forget((check.socket, check.address), self.generation)
            else:
                self._learn_from(check, now)
        self._checker.wake(now)
        self._changed("the peer's credentials are known", now)

    def add_remote(self, candidate: Candidate | None, now: float) -> None:
        """A candidate of the peer, or None when there will be no more."""
        if self.failure:
            if candidate is not None:
                self.remotes.refuse(candidate, TOO_LATE, now)
            return
        if self.remotes.hold(candidate, now):
            return
        if candidate is None:
            self._end_of_candidates(now)
            return
        taken = self.remotes.add(candidate, now)
        if taken is None:
            return
        remote, learnt = taken
        if learnt is not None:
            self._pairing.replace_learnt(learnt, remote)
        for before, after in self.remotes.reveal():
            self._pairing.replace_learnt(before, after)
        if parse_ip(remote.address) is None and remote.tcptype != "active":
            self.names.ask(remote, now)
            return
        self._pair_with(remote, self.remotes.hosts(remote), now)
        self._changed("the peer has candidates", now)

    def _pair_with(self, remote: Candidate, hosts: Sequence[str], now: float) -> None:
        if remote.tcptype == "passive":
            self.gatherer.form_active(now)
        self._pairing.add_remote(remote, hosts, now)

    # -- what becomes of the peer's names (NamesObserver) ------------------------------------------------------------

    @property
    def on_loopback(self) -> bool:
        """See `NamesObserver`."""
        return any(is_loopback(base.address[0]) for base in self.gatherer.bases)

    def name_resolved(self, candidate: Candidate, hosts: Sequence[str], now: float) -> None:
        """See `NamesObserver`."""
        for host in hosts:
            learnt = self.remotes.resolved(candidate, host, now)
            if learnt is not None:
                self._pairing.replace_learnt(learnt, candidate)
        self._pair_with(candidate, hosts, now)
        self._changed("a name of the peer is resolved", now)

    def name_failed(self, candidate: Candidate, reason: str, now: float) -> None:
        """See `NamesObserver`."""
        self.remotes.unresolved(candidate, reason, now)

    def names_settled(self, now: float) -> None:
        """See `NamesObserver`."""
        self._more_expected_changed(now)

    def _end_of_candidates(self, now: float) -> None:
        if self.remotes.ended:
            return
        self.remotes.ended = True
        self.session.record.add(now, "remote", "candidates", "the peer has no more")
        self._more_expected_changed(now)
        self._changed("the peer has no more candidates", now)

    def role_switched(self, now: float) -> None:
        """The session has the other role: rank the pairs anew (RFC 8445 7.3.1.1)."""
        for pair in self.checklist.pairs:
            pair.update_priority(self.session.controlling)
            if not self.session.controlling:
                pair.nominating = False
        self.checklist.sort()
        if not self.frozen:
            self.selector.consider_all(now)

    # -- pairs -----------------------------------------------------------------------------------------------------

    def base_gone(self, base: Base, now: float) -> None:
        """See `GatheringObserver`."""
        for pair in self._pairing.remove_base(base):
            self._lose_pair(pair, "the local address is gone", now)
        self.session.paths.drop_socket(base.socket)

    def _lose_pair(self, pair: CandidatePair, reason: str, now: float) -> None:
        """A pair can carry nothing any more: it leaves the checklist."""
        self._checker.forget(pair)
        self.tcp.release(pair, now)
        self.session.record.add(now, "pair", str(pair), "removed", reason)
        self.checklist.remove(pair)
        pair.state, pair.failure = "failed", reason
        if self.selector.components[pair.component].nominated is pair:
            self._reopen(pair.component)
        self.selector.drop(pair, now)
        if self.failure:
            return  # of the others none may be selected any more
        self.selector.update(pair.component, now)
        self.selector.consider(pair.component, now)
        self._checker.wake(now)
        self._changed(f"{pair}: {reason}", now)
        self._check_failed(now, f": {pair}: {reason}")

    def _reopen(self, component: int) -> None:
        """What was settled (RFC 8445 8.1.2) is so no more: every pair of the component gets its chance again."""
        self.checklist.state = "running"
        for pair in self.checklist.pairs:
            if pair.component == component and pair.retired and not pair.expired:
                pair.retired = False
                pair.state = "waiting"

    # -- requests --------------------------------------------------------------------------------------------------

    def request_received(self, message: Message, socket: int, address: Address, now: float) -> None:
        """A Binding request for this generation."""
        count = self.session.outbox.count
        if self.failure:
            # an answer would let the peer believe in a path, and keep its consent, while nobody listens here
            count("drop.request.ended")
            return
        if not message.verify_fingerprint():  # RFC 8445 7.2.4: demanded in every check
            count("drop.request.fingerprint")
            return
        if self._pairing.local_at(socket) is None:
            # nothing on this socket was ever given to the peer: whoever asks here only guesses
            count("drop.request.no-candidate")
            return
        known = self.checklist.find(socket, address)
        if known is not None and known.expired:
            # we shall send nothing on this pair again; an answer would let the peer nominate it
            count("drop.request.consent-expired")
            return
        check, switch = self.inbound.handle(message, socket, address)
        if check is None:
            return
        self.tcp.proven(socket, now)
        if self.inbound.is_foreign(check):
            return
        if switch:
            self._owner.switch_role("the peer has our role and the larger tie-breaker, or the smaller", now)
        path = self.session.paths.validate(socket, address, self.generation, now)
        if path is None:
            count("drop.request.too-many-addresses")
            return
        self.path_returned(path, now)
        self.selector.refreshed(path, now)
        if self.generation.remote is None:
            self.inbound.remember(check)
        elif not self.frozen:
            self._learn_from(check, now)

    def _learn_from(self, check: InboundCheck, now: float) -> None:
        """RFC 8445 7.3.1.3 to 7.3.1.5."""
        pair = self._pairing.of_check(check, now)
        if pair is None:
            return
        pair.requests_received += 1
        if pair.expired:
            self.session.outbox.count("drop.request.consent-expired")
            return
        if (path := self.session.paths.by_key.get(pair.path)) is not None:
            path.pair = pair
        nominates = check.use_candidate and self._counts(check, pair)
        if pair.retired:
            if not nominates:
                return
            pair.retired = False  # the peer moves its nomination to a pair that we gave up
        self._check_back(pair, now)
        if nominates and not self.session.controlling:
            self.selector.peer_nominates(pair, now)
        self._changed("a check of the peer came", now)

    def _counts(self, check: InboundCheck, pair: CandidatePair) -> bool:
        """Whether this nomination is one that renomination allows, if that is in use."""
        renomination = self.generation.renomination
        verdict = renomination.judge(pair.component, check.nomination, early=check.early)
        if verdict is Verdict.IGNORED:
            self.session.outbox.count("nomination.ignored")
            return False
        if verdict is Verdict.LATEST:
            pair.nomination = check.nomination
        return True

    def _check_back(self, pair: CandidatePair, now: float) -> None:
        """The peer has checked this pair (RFC 8445 7.3.1.4)."""
        if pair.state == "succeeded" and not self._consents(pair, now):
            pair.state = (
                "waiting"  # it worked long ago: only a new answer allows to send on it (RFC 7675 5.1)
            )
        self._checker.trigger(pair, self.checklist, now)

    def _consents(self, pair: CandidatePair, now: float) -> bool:
        expiry = self.session.options.timeouts.consent_expiry
        return pair.consent_at is not None and now - pair.consent_at < expiry

    def path_returned(self, path: Path, now: float) -> None:
        """A packet came on a path; it may have been silent."""
        if not path.silent:
            return
        self.selector.heard(path, now)
        path.silent = False
        self._changed("packets come again", now)

    def socket_error(self, socket: int, address: Address | None, reason: str, now: float) -> None:
        """An ICMP error, or a broken socket. It ends a check, never the session (RFC 8445 7.2.5.2.2): what has been
        valid lives and dies by consent, for anybody can forge an ICMP message."""
        self.gatherer.socket_error(socket, address, reason, now)
        if self.frozen:
            return
        for pair in list(self.checklist.pairs):
            if pair.socket != socket or address not in (None, pair.destination):
                continue
            if pair.state == "in-progress" and not pair.valid:
                self._checker.fail(pair, self.checklist, reason, now)
                pair.error = pair.failure

    # -- what the gatherer tells (GatheringObserver) ---------------------------------------------------------------

    def candidate_found(self, candidate: LocalCandidate, now: float) -> None:
        """See `GatheringObserver`."""
        self.session.outbox.emit(
            CandidateGathered(at=now, candidate=candidate.candidate, stream=self.generation.stream)
        )
        self.base_usable(candidate, now)

    def base_usable(self, local: LocalCandidate, now: float) -> None:
        """See `GatheringObserver`."""
        if self._pairing.add_local(local, now):
            self._changed("there is a local candidate", now)

    def gathering_ended(self, now: float) -> None:
        """See `GatheringObserver`."""
        self._more_expected_changed(now)
        self._changed("gathering is complete", now)

    def _more_expected_changed(self, now: float) -> None:
        pending = self.names.pending or self.gatherer.state != "complete"
        self.selector.more_expected = pending or not self.remotes.ended
        self.selector.consider_all(now)
        self._check_failed(now)

    # -- what the checks tell (CheckObserver) ----------------------------------------------------------------------

    def pair_succeeded(self, pair: CandidatePair, nominating: bool, now: float) -> None:
        """See `CheckObserver`."""
        path = self.session.paths.of_pair(pair, self.generation, now)
        path.last_received = now
        self.path_returned(path, now)
        self.tcp.proven(pair.socket, now)
        if not self.failure:
            self.selector.pair_valid(pair, nominating, now)
            self._changed(f"{pair} works", now)

    def pair_failed(self, pair: CandidatePair, nominating: bool, now: float) -> None:
        """See `CheckObserver`."""
        # RFC 8445 7.2.5.3.4 and 7.3.1.5 fail the checklist with a pair whose nomination fails. But nothing was
        # nominated successfully, so another one may take its place; without one, it fails as soon as patience allows.
        pair.nominate_on_success = False
        if pair.valid:
            self.selector.drop(pair, now)
            self.selector.update(pair.component, now)
        self.tcp.pair_failed(pair, now)
        self.selector.consider(pair.component, now)
        self._changed(f"{pair} failed", now)
        self._check_failed(now, f": {pair}: {pair.failure}" if nominating else "")

    def role_conflict(self, now: float) -> None:
        """See `CheckObserver`."""
        if self.session.peer_lite and self.session.controlling:
            return  # RFC 8445 6.1.1: we control all the same, and check again with another tie-breaker
        self._owner.switch_role("the peer answered 487 Role Conflict", now)

    def local_candidate_at(self, pair: CandidatePair, address: Address) -> LocalCandidate | None:
        """See `CheckObserver`."""
        for candidate in self.gatherer.candidates.all:
            if (
                candidate.candidate.component == pair.component
                and candidate.candidate.transport == pair.transport
                and candidate.candidate.tcptype == pair.local_candidate.candidate.tcptype
                and candidate.candidate.transport_address == address
            ):
                return candidate
        return None

    def connection_wanted(self, pair: CandidatePair, now: float) -> None:
        """See `CheckObserver`."""
        self.tcp.connect(pair, now)

    # -- what becomes of connections (TcpObserver) -----------------------------------------------------------------

    def nomination_lost(self, component: int, now: float) -> None:
        """See `TcpObserver`."""
        self._reopen(component)
        self._checker.wake(now)

    def tcp_changed(self, reason: str, now: float) -> None:
        """See `TcpObserver`."""
        self._changed(reason, now)

    def tcp_given_up(self, reason: str, now: float) -> None:
        """See `TcpObserver`."""
        if self.continuous:
            self._check_failed(now, f": {reason}")
        else:
            self._fail(reason, now)

    # -- what consent tells (ConsentObserver) ----------------------------------------------------------------------

    def consent_lost(self, pair: CandidatePair, reason: str, now: float) -> None:
        """See `ConsentObserver`."""
        selected = self.selector.components[pair.component].selected is pair
        final = pair.nominated and selected and not self.continuous
        self._checker.expire(pair, self.checklist, reason)
        self.selector.drop(pair, now)
        self.tcp.release(pair, now)
        reason = f"consent to send on {pair} ended: {reason}"
        if self.frozen:
            self._changed(reason, now)
            return
        if final:
            self._fail(reason, now)
            return
        self.selector.update(pair.component, now)
        self._look_for_another(pair.component, now)
        self._check_failed(now, f": {reason}")
        self._changed(reason, now)

    def _look_for_another(self, component: int, now: float) -> None:
        """Pairs that worked once may do so again: what answers carries data and is nominated (renomination)."""
        if self.selector.components[component].selected is None:
            for pair in self.checklist.pairs:
                if pair.component == component and pair.valid and pair.state == "succeeded":
                    pair.state = "waiting"
            self._checker.wake(now)
        self.selector.consider(component, now)

    def path_silent(self, path: Path, now: float) -> None:
        """See `ConsentObserver`."""
        self._changed(f"nothing received for {now - path.last_received:.1f} s", now)

    # -- what the continuous selector tells (ContinuousObserver) ---------------------------------------------------

    def path_weak(self, component: int, reason: str, now: float) -> None:
        """See `ContinuousObserver`."""
        if self.frozen:
            return
        self.session.record.add(now, "network", f"component {component}", "looking for another path", reason)
        # perhaps a NAT has forgotten us: what we are mapped to now, the peer learns from new candidates
        self.gatherer.ask_again(now)
        for pair in self.checklist.pairs:
            if pair.component == component and pair.state == "failed" and not pair.expired:
                pair.state = "waiting"
        self._checker.wake(now)
        self._owner.path_weak(self, reason, now)

    def path_strong(self, component: int, now: float) -> None:
        """See `ContinuousObserver`."""
        self._owner.path_strong(self, now)

    def mapping_changed(self, pair: CandidatePair, now: float) -> None:
        """See `ContinuousObserver`."""
        if not self.frozen:
            self.gatherer.ask_again(now)

    # -- failing ---------------------------------------------------------------------------------------------------

    def _lose_patience(self, now: float) -> None:
        self._patience_over = True
        self._check_failed(now)

    def _check_failed(self, now: float, why: str = "") -> None:
        # RFC 8863 4: until patience ends no checklist fails; after that it fails as soon as nothing is open. That it
        # also stands in for a missing end-of-candidates is RFC 8863 5.
        pending = self.names.pending or self.gatherer.state == "gathering"
        if not self._patience_over or self.failure or self.frozen or pending:
            return
        for component, selection in self.selector.components.items():
            if self.tcp.awaits(component):
                continue
            if selection.selected is None and not any(self.checklist.open_pairs(component)):
                self._fail(f"component {component}: no pair works and no check is left{why}", now)
                return
