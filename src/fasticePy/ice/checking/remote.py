"""The peer's candidates: which are taken, and how a peer-reflexive one becomes a signalled one (RFC 8445 7.3.1.3)."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

from fasticePy.ice.addresses import address_text, is_loopback, normalize, parse_ip, refusal
from fasticePy.ice.candidate import Candidate, TcpType
from fasticePy.ice.candidate_line import MAX_PORT, MAX_PRIORITY_READ, shown
from fasticePy.ice.checking.remote_names import objection, plain_name
from fasticePy.ice.gathering.concealment import unspecified
from fasticePy.ice.session import Generation, Session
from fasticePy.machine import Address

MAX_HOST_LENGTH = 253
"""Longest text in the place of an address that the record repeats; no name is longer."""

_Key: TypeAlias = "tuple[int, TcpType | None, Address]"


class RemoteCandidates:
    """The table of the peer's candidates, by component, kind (None is UDP) and transport address."""

    __slots__ = (
        "_generation",
        "_hosts",
        "_known",
        "_learnt",
        "_learnt_count",
        "_named",
        "_open",
        "_resolved",
        "_session",
        "_signalled",
        "_waiting",
        "ended",
        "ignored",
    )

    def __init__(self, session: Session, generation: Generation) -> None:
        self._session = session
        self._generation = generation
        self._known: dict[_Key, Candidate] = {}
        self._waiting: list[Candidate | None] = []
        self._learnt: dict[_Key, None] = {}  # an empty dict takes 64 bytes, a set 216
        self._learnt_count = 0
        self._resolved: dict[_Key, Candidate] = {}
        self._hosts: dict[_Key, tuple[str, ...]] = {}
        self._signalled: set[str] = set()
        self._named = False
        self._open = False
        self.ended = False
        """The peer has told that no more will come (RFC 8838 14)."""
        self.ignored: list[tuple[str, str]] = []
        """Candidates that were not taken, and why; as many as are taken at most."""

    def __len__(self) -> int:
        return len(self._known)

    def all(self) -> list[Candidate]:
        """Every candidate taken, in the order in which they came."""
        return list(self._known.values())

    def signalled(self) -> list[Candidate]:
        """Those that are not known from a check only: what is signalled may be of the type prflx too."""
        return [candidate for key, candidate in self._known.items() if key not in self._learnt]

    def find(self, component: int, address: Address, tcptype: TcpType | None = None) -> Candidate | None:
        """The one with this address, or with a name that stands for it."""
        key = (component, tcptype, address)
        return self._known.get(key) or self._resolved.get(key)

    def hosts(self, candidate: Candidate) -> tuple[str, ...]:
        """Where a signalled candidate can be reached: its address, or those that its name stands for, as far as they
        are known."""
        if parse_ip(candidate.address) is not None:
            return (candidate.address,)
        return self._hosts.get(_key(candidate), ())

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
        """What was kept, in order, now that the peer's credentials are known."""
        held, self._waiting = self._waiting, []
        if self._generation.number > 0 and None in held and not self._ours(held):
            held.remove(None)
        return held

    def _ours(self, held: list[Candidate | None]) -> bool:
        """Whether an end-of-candidates was of this generation. It says nothing itself (RFC 8838 13), and that of the
        generation before may have crossed our restart: then all that follows would be ignored."""
        before = held[: held.index(None)]
        last, remote = before[-1] if before else None, self._generation.remote
        return last is not None and remote is not None and last.ufrag == remote.ufrag

    def add(self, candidate: Candidate, now: float) -> tuple[Candidate, Candidate | None] | None:
        """Take a signalled candidate. Gives it, and the peer-reflexive one that it replaces; None: it is ignored."""
        reason = self._reason_against(candidate)
        if reason is not None:
            self._ignore(candidate, reason, now)
            return None
        # the scope of a link-local address means something on the peer's machine only
        address = normalize((candidate.address.partition("%")[0], candidate.port))
        if parse_ip(address[0]) is None:
            address = (plain_name(candidate.address), candidate.port)
        candidate = replace(candidate, address=address[0])
        key = _key(candidate)
        known = self._known.get(key)
        if known is not None and key not in self._learnt:
            self._ignore(candidate, "known already", now)
            return None
        limit = self._session.options.limits.remote_candidates
        if known is None and len(self._known) >= limit:
            self._ignore(candidate, f"more than {limit} candidates", now)
            return None
        self._note_openness(candidate)
        self._known[key] = candidate
        self._learnt.pop(key, None)
        self._session.record.add(
            now, "remote", _name(candidate), "taken" if known is None else "taken: was peer-reflexive"
        )
        return candidate, known

    def learn(
        self, component: int, address: Address, priority: int, now: float, tcptype: TcpType | None = None
    ) -> Candidate | None:
        """A check came from an unknown address: a peer-reflexive candidate; None when there are too many."""
        if len(self._known) >= self._session.options.limits.remote_candidates:
            self._session.outbox.count("drop.request.too-many-candidates")
            return None
        host = address[0].partition("%")[0]
        # draft-ietf-mmusic-mdns-ice-candidates 3.3.1: a name of the peer may stand for this address
        text = host if self._may_show(host) else unspecified(host)
        candidate = Candidate(
            self._fresh_foundation(),
            component,
            "udp" if tcptype is None else "tcp",
            priority,
            text,
            address[1],
            "prflx",
            tcptype=tcptype,
        )
        key = (component, tcptype, (host, address[1]))
        self._known[key] = candidate
        self._learnt[key] = None
        self._session.record.add(now, "remote", _name(candidate), "learnt from a check")
        return candidate

    def resolved(self, candidate: Candidate, host: str, now: float) -> Candidate | None:
        """The name of a candidate stands for this address. Gives the peer-reflexive one that it replaces, if any."""
        name = _key(candidate)
        key = (candidate.component, _kind(candidate), (host, candidate.port))
        self._hosts[name] = (*self._hosts.get(name, ()), host)
        learnt = None
        if key in self._learnt:
            self._learnt.pop(key, None)
            learnt = self._known.pop(key)
        if key not in self._known:
            self._resolved.setdefault(key, candidate)
        outcome = "its name is resolved" + ("" if learnt is None else ": was peer-reflexive")
        self._session.record.add(now, "remote", _name(candidate), outcome)
        return learnt

    def unresolved(self, candidate: Candidate, reason: str, now: float) -> None:
        """The name stands for nothing. The candidate stays in sight, as 3.3.1 of the draft wants it."""
        self._ignore(candidate, reason, now)

    def reveal(self) -> list[tuple[Candidate, Candidate]]:
        """Learnt candidates whose addresses may be seen by now, each before and after."""
        revealed: list[tuple[Candidate, Candidate]] = []
        for key in self._learnt:
            before, host = self._known[key], key[2][0]
            if before.address != host and self._may_show(host):
                after = self._known[key] = replace(before, address=host)
                revealed.append((before, after))
        return revealed

    def _note_openness(self, candidate: Candidate) -> None:
        if parse_ip(candidate.address) is None:
            self._named = True
            return
        self._signalled.add(candidate.address)
        related = parse_ip(candidate.related_address or "")
        self._open = (
            self._open or candidate.type == "host" or (related is not None and not related.is_unspecified)
        )

    def _may_show(self, host: str) -> bool:
        """Whether the peer has told this address itself, with whatever port, or hides none of its own."""
        return host in self._signalled or (self._open and not self._named) or is_loopback(host)

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
        if candidate.transport not in ("udp", "tcp"):
            return f"transport {shown(candidate.transport)} is not supported"
        if candidate.transport == "tcp":
            if self._session.options.tcp == frozenset():
                return "TCP is not wanted"
            if candidate.tcptype not in ("active", "passive", "so"):
                return "TCP without a tcptype"  # lines always have one once they are read
        if not 1 <= candidate.port <= MAX_PORT:
            return f"port {candidate.port}"
        if not 1 <= candidate.priority <= MAX_PRIORITY_READ:
            return f"priority {candidate.priority}"
        if parse_ip(candidate.address) is None:
            return objection(candidate.address, self._session.options)
        return refusal(candidate.address)

    def refuse(self, candidate: Candidate, reason: str, now: float) -> None:
        """A candidate came that is of no use any more."""
        self._ignore(candidate, reason, now)

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
    transport = f" tcp {candidate.tcptype}" if candidate.transport == "tcp" else ""
    return f"{candidate.type}{transport} {address_text((host if known else shown(host), port))}"


def _kind(candidate: Candidate) -> TcpType | None:
    return candidate.tcptype if candidate.transport == "tcp" else None


def _key(candidate: Candidate) -> _Key:
    return (candidate.component, _kind(candidate), candidate.transport_address)
