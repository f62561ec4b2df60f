"""The engine: brings local and remote candidates together, runs the checks, and derives the state of the agent.

`IceAgent` is its surface towards drivers; the parts below it (gathering, checks, requests, selection) know only the
shared `Session` and tell the engine what they find out.
"""

from __future__ import annotations

from fasticePy.ice.addresses import is_link_local, is_loopback, scope_of
from fasticePy.ice.candidate import Candidate
from fasticePy.ice.checklist import Checklist, ChecklistSet
from fasticePy.ice.checks import Checker
from fasticePy.ice.credentials import Credentials
from fasticePy.ice.events import CandidateGathered, IceState, RoleChanged, StateChanged
from fasticePy.ice.gathering import Gatherer
from fasticePy.ice.nomination import make_policy
from fasticePy.ice.pair import CandidatePair, LocalCandidate
from fasticePy.ice.paths import Path, Paths
from fasticePy.ice.remote import RemoteCandidates
from fasticePy.ice.requests import InboundCheck, RequestHandler
from fasticePy.ice.selection import Selector
from fasticePy.ice.session import Session
from fasticePy.machine import Address
from fasticePy.stun import Message, MessageClass, Method, ParseError, parse


class Engine:
    """One generation of one ICE session: from its first candidate to its end."""

    __slots__ = (
        "_checker",
        "_early",
        "_local_of",
        "_patience_over",
        "_requests",
        "checklist",
        "checklists",
        "failure",
        "gatherer",
        "paths",
        "remotes",
        "selector",
        "session",
        "state",
        "state_reason",
    )

    def __init__(self, session: Session) -> None:
        options = session.options
        self.session = session
        self.gatherer = Gatherer(session, self)
        self.remotes = RemoteCandidates(session)
        self.paths = Paths(options.limits.validated_addresses)
        self.checklist = Checklist()
        self.checklists = ChecklistSet([self.checklist], options.limits.pairs)
        self._checker = Checker(session, self.checklists, self)
        self._checker.loopback_only = True
        policy = make_policy(options.nomination, options.timeouts)
        self.selector = Selector(session, self.checklist, self._checker, self.paths, policy, self)
        self._requests = RequestHandler(session)
        self._early: dict[tuple[int, Address], InboundCheck] = {}
        self._local_of: dict[int, LocalCandidate] = {}
        self._patience_over = False
        self.state: IceState = "new"
        self.state_reason = "created"
        self.failure = ""

    @property
    def ended(self) -> bool:
        """Whether nothing can happen any more."""
        return self.state in ("failed", "closed")

    # -- the peer's description ------------------------------------------------------------------------------------

    def set_remote(self, credentials: Credentials, now: float) -> None:
        """The peer's credentials are known: checks can begin, and patience too (RFC 8863 4)."""
        self.session.set_remote(credentials)
        self.session.outbox.timers.schedule(now + self.session.options.timeouts.patience, self._lose_patience)
        for candidate in self.remotes.take_held():
            self.add_remote(candidate, now)
        early, self._early = self._early, {}
        for key, check in early.items():
            if self._foreign(check):
                self.paths.forget(key)
            else:
                self._learn_from(check, now)
        self._checker.wake(now)
        self._update_state("the peer's credentials are known", now)

    def add_remote(self, candidate: Candidate | None, now: float) -> None:
        """A candidate of the peer, or None when there will be no more."""
        if self.ended or self.remotes.hold(candidate, now):
            return
        if candidate is None:
            self._end_of_candidates(now)
            return
        taken = self.remotes.add(candidate, now)
        if taken is None:
            return
        remote, learnt = taken
        if learnt is not None:
            self._replace_learnt(learnt, remote)
        for local in list(self._local_of.values()):
            self._form_pair(local, remote, now)
        self._checker.wake(now)
        self._update_state("the peer has candidates", now)

    def _end_of_candidates(self, now: float) -> None:
        if self.remotes.ended:
            return
        self.remotes.ended = True
        self.session.record.add(now, "remote", "candidates", "the peer has no more")
        self._more_expected_changed(now)
        self._update_state("the peer has no more candidates", now)

    def _replace_learnt(self, learnt: Candidate, signalled: Candidate) -> None:
        # RFC 8445 7.3.1.3, RFC 8838 11: pair, state and priority stay; type and foundation are the signalled ones
        for pair in self.checklist.pairs:
            if pair.remote is learnt:
                pair.remote = signalled

    def switch_role(self, reason: str, now: float) -> None:
        """Take the other role and rank the pairs anew (RFC 8445 7.3.1.1)."""
        self.session.switch_role()
        for pair in self.checklist.pairs:
            pair.update_priority(self.session.controlling)
            if not self.session.controlling:
                pair.nominating = False
        self.checklist.sort()
        self.session.outbox.count("role.switched")
        self.session.record.add(now, "role", self.session.role, reason)
        self.session.outbox.emit(RoleChanged(at=now, role=self.session.role))
        self.selector.consider_all(now)

    # -- pairs -----------------------------------------------------------------------------------------------------

    def _form_pair(
        self, local: LocalCandidate, remote: Candidate, now: float, *, heard: bool = False
    ) -> CandidatePair | None:
        if not _fit(local, remote):
            return None
        destination = (remote.address + _scope(local, remote), remote.port)
        if destination == local.base or self.checklist.find(local.socket, destination) is not None:
            return None
        pair = CandidatePair(local, remote, destination, 0)
        pair.update_priority(self.session.controlling)
        # RFC 8445 8.1.2: this component is settled, unless the peer itself comes this way
        pair.retired = self.selector.components[pair.component].nominated is not None and not heard
        dropped = self.checklists.add(self.checklist, pair, heard=heard)
        if dropped is not None:
            self.session.outbox.count("pair.over-limit")
            self.session.record.add(
                now, "pair", str(dropped), f"dropped: more than {self.checklists.max_pairs} pairs"
            )
            if dropped.transaction is not None:
                self.session.transactions.forget(dropped.transaction)
            if dropped is pair:
                return None
        self._checker.loopback_only = self._checker.loopback_only and is_loopback(destination[0])
        return pair

    # -- datagrams -------------------------------------------------------------------------------------------------

    def stun_received(self, socket: int, data: bytes, address: Address, now: float) -> None:
        """Something that has the magic cookie. It is never the application's."""
        count = self.session.outbox.count
        try:
            message = parse(data)
        except ParseError:
            count("drop.stun.malformed")
            return
        if message.method != Method.BINDING:
            count("drop.stun.method")
        elif message.message_class == MessageClass.REQUEST:
            self._request_received(message, socket, address, now)
        elif message.message_class == MessageClass.INDICATION:
            count("indication.received")  # a keepalive: it refreshed the NAT on its way (RFC 8445 11)
        else:
            self._response_received(message, socket, address, now)

    def _response_received(self, message: Message, socket: int, address: Address, now: float) -> None:
        transaction = self.session.transactions.find(message.transaction_id)
        if transaction is None:
            self.session.outbox.count("drop.response.unknown")
            return
        transaction.on_response(transaction, message, socket, address, now)

    def _request_received(self, message: Message, socket: int, address: Address, now: float) -> None:
        count = self.session.outbox.count
        if self.ended:
            # an answer would let the peer believe in a path, and keep its consent, while nobody listens here
            count("drop.request.ended")
            return
        if not message.verify_fingerprint():  # RFC 8445 7.2.4: demanded in every check
            count("drop.request.fingerprint")
            return
        if socket not in self._local_of:
            # nothing on this socket was ever given to the peer: whoever asks here only guesses
            count("drop.request.no-candidate")
            return
        check, switch = self._requests.handle(message, socket, address)
        if check is None:
            return
        if self._foreign(check):
            return
        if switch:
            self.switch_role("the peer has our role and the larger tie-breaker, or the smaller", now)
        path = self.paths.validate(socket, address, now)
        if path is None:
            count("drop.request.too-many-addresses")
            return
        self.path_returned(path, now)
        if self.session.remote is None:
            self._remember_early(check)
        else:
            self._learn_from(check, now)

    def _foreign(self, check: InboundCheck) -> bool:
        # RFC 8445 7.3 has it answered, for the first half of USERNAME is ours. But our password came to somebody who
        # is not this peer (another branch of a forked call, an earlier generation): that teaches us nothing.
        if self.session.remote is None or check.ufrag == self.session.remote.ufrag:
            return False
        self.session.outbox.count("drop.request.other-peer")
        return True

    def _remember_early(self, check: InboundCheck) -> None:
        # RFC 8445 5.3: checks may be there before the answer is; what they teach waits for the credentials
        key = (check.socket, check.address)
        known = self._early.get(key)
        if known is None and len(self._early) >= self.session.options.limits.early_checks:
            self.session.outbox.count("drop.request.too-many-early")
            return
        self.session.outbox.count("request.early")
        if known is None or check.use_candidate or not known.use_candidate:
            self._early[key] = check

    def _learn_from(self, check: InboundCheck, now: float) -> None:
        """RFC 8445 7.3.1.3 to 7.3.1.5."""
        pair = self.checklist.find(check.socket, check.address) or self._learn_pair(check, now)
        if pair is None:
            return
        pair.requests_received += 1
        if pair.expired:
            self.session.outbox.count("drop.request.consent-expired")
            return
        if (path := self.paths.by_key.get(pair.path)) is not None:
            path.pair = pair
        if pair.retired:
            if not check.use_candidate:
                return
            pair.retired = False  # the peer moves its nomination to a pair that we gave up
        self._checker.trigger(pair, self.checklist, now)
        if check.use_candidate and not self.session.controlling:
            self.selector.peer_nominates(pair, now)
        self._update_state("a check of the peer came", now)

    def _learn_pair(self, check: InboundCheck, now: float) -> CandidatePair | None:
        local = self._local_of[check.socket]
        component = local.candidate.component
        host, port = check.address
        remote = self.remotes.find(component, (host.partition("%")[0], port))
        if remote is None:
            remote = self.remotes.learn(component, check.address, check.priority, now)
        return None if remote is None else self._form_pair(local, remote, now, heard=True)

    def path_returned(self, path: Path, now: float) -> None:
        """A packet came on a path; it may have been silent."""
        if not path.silent:
            return
        for selection in self.selector.components.values():
            if selection.monitor is not None and selection.monitor.path is path:
                selection.monitor.heard(now)
        path.silent = False
        self._update_state("packets come again", now)

    def socket_error(self, socket: int, address: Address | None, reason: str, now: float) -> None:
        """An ICMP error, or a broken socket. It ends a check, never the session (RFC 8445 7.2.5.2.2): what has been
        valid lives and dies by consent, for anybody can forge an ICMP message."""
        self.session.outbox.count("socket.error")
        self.gatherer.socket_error(socket, address, reason, now)
        for pair in list(self.checklist.pairs):
            if pair.socket != socket or address not in (None, pair.destination):
                continue
            if pair.state == "in-progress" and not pair.valid:
                self._checker.fail(pair, self.checklist, reason, now)

    # -- what the gatherer tells (GatheringObserver) ---------------------------------------------------------------

    def candidate_found(self, candidate: LocalCandidate, now: float) -> None:
        """See `GatheringObserver`."""
        self.session.outbox.emit(CandidateGathered(at=now, candidate=candidate.candidate))
        if candidate.socket in self._local_of:
            return  # RFC 8445 6.1.2.4: a reflexive candidate is replaced by its base, which has its pairs already
        self._local_of[candidate.socket] = candidate
        for remote in self.remotes.all():
            if not self.remotes.is_learnt(
                remote
            ):  # RFC 8445 7.3.1.3: paired with the local candidate that heard it only
                self._form_pair(candidate, remote, now)
        self._checker.wake(now)
        self._update_state("there is a local candidate", now)

    def gathering_ended(self, now: float) -> None:
        """See `GatheringObserver`."""
        self._more_expected_changed(now)
        self._update_state("gathering is complete", now)

    def _more_expected_changed(self, now: float) -> None:
        self.selector.more_expected = not self.remotes.ended or self.gatherer.state != "complete"
        self.selector.consider_all(now)
        self._check_failed(now)

    # -- what the checks tell (CheckObserver) ----------------------------------------------------------------------

    def pair_succeeded(self, pair: CandidatePair, nominating: bool, now: float) -> None:
        """See `CheckObserver`."""
        path = self.paths.of_pair(pair, now)
        path.last_received = now
        self.path_returned(path, now)
        if not self.ended:
            self.selector.pair_valid(pair, nominating, now)
            self._update_state(f"{pair} works", now)

    def pair_failed(self, pair: CandidatePair, nominating: bool, now: float) -> None:
        """See `CheckObserver`."""
        # RFC 8445 7.2.5.3.4 and 7.3.1.5 fail the checklist with a pair whose nomination fails. But nothing was
        # nominated successfully, so another one may take its place; without one, it fails as soon as patience allows.
        pair.nominate_on_success = False
        if pair.valid:
            self.selector.drop(pair, now)
            self.selector.update(pair.component, now)
        self.selector.consider(pair.component, now)
        self._update_state(f"{pair} failed", now)
        self._check_failed(now, f": {pair}: {pair.failure}" if nominating else "")

    def role_conflict(self, now: float) -> None:
        """See `CheckObserver`."""
        self.switch_role("the peer answered 487 Role Conflict", now)

    def local_candidate_at(self, pair: CandidatePair, address: Address) -> LocalCandidate | None:
        """See `CheckObserver`."""
        for candidate in self.gatherer.candidates:
            if (
                candidate.candidate.component == pair.component
                and candidate.candidate.transport_address == address
            ):
                return candidate
        return None

    # -- what consent tells (ConsentObserver) ----------------------------------------------------------------------

    def consent_lost(self, pair: CandidatePair, reason: str, now: float) -> None:
        """See `ConsentObserver`."""
        final = pair.nominated
        self._checker.expire(pair, self.checklist, reason)
        self.selector.drop(pair, now)
        reason = f"consent to send on {pair} ended: {reason}"
        if final:
            self._fail(reason, now)
            return
        self.selector.update(pair.component, now)
        self._check_failed(now, f": {reason}")
        self._update_state(reason, now)

    def path_silent(self, path: Path, now: float) -> None:
        """See `ConsentObserver`."""
        self._update_state(f"nothing received for {now - path.last_received:.1f} s", now)

    # -- state -----------------------------------------------------------------------------------------------------

    def close(self, now: float) -> None:
        """End everything at once."""
        if self.state == "closed":
            return
        self._stop(now)
        self._set_state("closed", "closed by the application", now)

    def _lose_patience(self, now: float) -> None:
        self._patience_over = True
        self._check_failed(now)

    def _check_failed(self, now: float, why: str = "") -> None:
        # RFC 8863 4: until patience ends no checklist fails; after that it fails as soon as nothing is open. That it
        # also stands in for a missing end-of-candidates is RFC 8863 5.
        if not self._patience_over or self.ended or self.gatherer.state == "gathering":
            return
        for component, selection in self.selector.components.items():
            if selection.selected is None and not any(self.checklist.open_pairs(component)):
                self._fail(f"component {component}: no pair works and no check is left{why}", now)
                return

    def _fail(self, reason: str, now: float) -> None:
        self.failure = reason
        self.checklist.state = "failed"
        self._stop(now)
        self._set_state("failed", reason, now)

    def _stop(self, now: float) -> None:
        self._checker.stop()
        self.selector.stop()
        self.gatherer.stop(now)
        self.session.transactions.clear()
        self.session.outbox.timers.clear()

    def _update_state(self, reason: str, now: float) -> None:
        if self.ended:
            return
        if self.selector.all_nominated and self.checklist.state == "running":
            self.checklist.state = "completed"  # RFC 8445 8.1.2
            self.gatherer.release()
        state = self._derive_state()
        if state != self.state:
            self._set_state(state, reason, now)

    def _derive_state(self) -> IceState:
        selector = self.selector
        if not selector.all_selected:
            started = self.session.remote is not None and bool(self.checklist.pairs)
            return "checking" if started else "new"
        if selector.any_silent:
            return "disconnected"
        return "completed" if selector.all_nominated and not selector.more_expected else "connected"

    def _set_state(self, state: IceState, reason: str, now: float) -> None:
        self.state = state
        self.state_reason = reason
        self.session.record.add(now, "agent", "state", f"{state}: {reason}")
        self.session.outbox.emit(StateChanged(at=now, state=state, reason=reason))


def _fit(local: LocalCandidate, remote: Candidate) -> bool:
    # RFC 8445 6.1.2.2: same component, same family, and link-local only with link-local
    if local.candidate.component != remote.component:
        return False
    base = local.base[0]
    if (":" in base) != (":" in remote.address) or is_link_local(base) != is_link_local(remote.address):
        return False
    return is_loopback(base) == is_loopback(remote.address)


def _scope(local: LocalCandidate, remote: Candidate) -> str:
    return scope_of(local.base[0]) if is_link_local(remote.address) else ""
