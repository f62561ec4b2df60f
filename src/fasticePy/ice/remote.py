"""The peer's candidates: which are taken, and how a peer-reflexive one becomes a signalled one (RFC 8445 7.3.1.3)."""

from __future__ import annotations

from dataclasses import replace

from fasticePy.ice.addresses import address_text, normalize, parse_ip, refusal
from fasticePy.ice.candidate import Candidate
from fasticePy.ice.candidate_line import MAX_PORT, MAX_PRIORITY_READ, shown
from fasticePy.ice.session import Generation, Session
from fasticePy.machine import Address

MAX_HOST_LENGTH = 253
"""Longest text in the place of an address that the record repeats; no name is longer."""


class RemoteCandidates:
    """The table of the peer's candidates, by component and transport address."""

    __slots__ = (
        "_generation",
        "_known",
        "_learnt",
        "_learnt_count",
        "_session",
        "_waiting",
        "ended",
        "ignored",
    )

    def __init__(self, session: Session, generation: Generation) -> None:
        self._session = session
        self._generation = generation
        self._known: dict[tuple[int, Address], Candidate] = {}
        self._waiting: list[Candidate | None] = []
        self._learnt: set[tuple[int, Address]] = set()
        self._learnt_count = 0
        self.ended = False
        """The peer has told that no more will come (RFC 8838 14)."""
        self.ignored: list[tuple[str, str]] = []
        """Candidates that were not taken, and why; as many as are taken at most."""

    def __len__(self) -> int:
        return len(self._known)

    def all(self) -> list[Candidate]:
        """Every candidate taken, in the order in which they came."""
        return list(self._known.values())

    def find(self, component: int, address: Address) -> Candidate | None:
        """The one with this address."""
        return self._known.get((component, address))

    def is_learnt(self, candidate: Candidate) -> bool:
        """Whether it is known from a check only: a candidate that is signalled may be of the type prflx too."""
        return (candidate.component, candidate.transport_address) in self._learnt

    def hold(self, candidate: Candidate | None, now: float) -> bool:
        """Keep what came before the peer's credentials: only they tell its generation (RFC 8838 9). True when kept."""
        if self._generation.remote is not None:
            return False
        if candidate is None:
            if None not in self._waiting:
                self._waiting.append(None)
        elif len(self._waiting) >= self._session.options.limits.remote_candidates:
            self._ignore(candidate, "too many candidates before the credentials", now)
        else:
            self._waiting.append(candidate)
        return True

    def take_held(self) -> list[Candidate | None]:
        """What was kept, in order."""
        held, self._waiting = self._waiting, []
        return held

    def add(self, candidate: Candidate, now: float) -> tuple[Candidate, Candidate | None] | None:
        """Take a signalled candidate. Gives it, and the peer-reflexive one that it replaces; None: it is ignored."""
        reason = self._reason_against(candidate)
        if reason is not None:
            self._ignore(candidate, reason, now)
            return None
        # the scope of a link-local address means something on the peer's machine only
        address = normalize((candidate.address.partition("%")[0], candidate.port))
        candidate = replace(candidate, address=address[0])
        key = (candidate.component, address)
        known = self._known.get(key)
        if known is not None and key not in self._learnt:
            self._ignore(candidate, "known already", now)
            return None
        limit = self._session.options.limits.remote_candidates
        if known is None and len(self._known) >= limit:
            self._ignore(candidate, f"more than {limit} candidates", now)
            return None
        self._known[key] = candidate
        self._learnt.discard(key)
        self._session.record.add(
            now, "remote", _name(candidate), "taken" if known is None else "taken: was peer-reflexive"
        )
        return candidate, known

    def learn(self, component: int, address: Address, priority: int, now: float) -> Candidate | None:
        """A check came from an unknown address: a peer-reflexive candidate; None when there are too many."""
        if len(self._known) >= self._session.options.limits.remote_candidates:
            self._session.outbox.count("drop.request.too-many-candidates")
            return None
        host = address[0].partition("%")[0]
        candidate = Candidate(self._fresh_foundation(), component, "udp", priority, host, address[1], "prflx")
        key = (component, (host, address[1]))
        self._known[key] = candidate
        self._learnt.add(key)
        self._session.record.add(now, "remote", _name(candidate), "learnt from a check")
        return candidate

    def _fresh_foundation(self) -> str:
        used = {candidate.foundation for candidate in self._known.values()}
        while True:
            self._learnt_count += 1
            if (foundation := f"prflx{self._learnt_count}") not in used:
                return foundation

    def _reason_against(self, candidate: Candidate) -> str | None:
        remote = self._generation.remote
        if candidate.ufrag is not None and remote is not None and candidate.ufrag != remote.ufrag:
            return f"of another generation (ufrag {shown(candidate.ufrag)})"  # RFC 8838 9
        if self.ended and not self._session.options.continual:
            # RFC 8838 14; agents that gather continually say so to each other by other means
            return "came after end-of-candidates"
        if not 1 <= candidate.component <= self._session.options.components:
            return f"component {candidate.component} is not in use"
        if candidate.transport != "udp":
            return f"transport {shown(candidate.transport)} is not supported"
        if not 1 <= candidate.port <= MAX_PORT:
            return f"port {candidate.port}"
        if not 1 <= candidate.priority <= MAX_PRIORITY_READ:
            return f"priority {candidate.priority}"
        return refusal(candidate.address)

    def _ignore(self, candidate: Candidate, reason: str, now: float) -> None:
        self._session.outbox.count("remote-candidate.ignored")
        self._session.record.add(now, "remote", _name(candidate), "ignored", reason)
        if len(self.ignored) < self._session.options.limits.remote_candidates:
            self.ignored.append((_name(candidate), reason))


def _name(candidate: Candidate) -> str:
    host, port = candidate.transport_address
    # what is no address may be anything: text that the record and the report can do without
    known = parse_ip(host) is not None or (
        len(host) <= MAX_HOST_LENGTH and host.isascii() and host.isprintable()
    )
    return f"{candidate.type} {address_text((host if known else shown(host), port))}"
