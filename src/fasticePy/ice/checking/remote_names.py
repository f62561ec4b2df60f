"""Host names in the peer's candidates: which are looked up, and what comes of it
(draft-ietf-mmusic-mdns-ice-candidates 3.2, RFC 8839 5.1).

A name stays what everybody sees of its candidate; the address behind it serves for pairs and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from fasticePy.errors import ParseError
from fasticePy.ice.addresses import is_host_name, is_loopback, normalize, parse_ip, refusal
from fasticePy.ice.candidate import Candidate
from fasticePy.ice.gathering.resolution import Resolutions
from fasticePy.ice.options import IceOptions
from fasticePy.ice.session import Session
from fasticePy.ice.signalling.description import Description
from fasticePy.machine import Address, Timer
from fasticePy.mdns import is_mdns_name, is_uuid_name


def plain_name(host: str) -> str:
    """A name in the one spelling that it is compared in."""
    return host.lower().removesuffix(".")


def objection(host: str, options: IceOptions) -> str | None:
    """Why a candidate with this name in the place of an address is ignored, or None: it is looked up."""
    name = plain_name(host)
    if name.endswith(".local"):
        if options.mdns == "off":
            return "an mDNS name, and mDNS is off"
        if options.candidate_types <= {"relay"}:
            return "an mDNS name, which is of no use to relayed candidates"
        if not is_mdns_name(name):
            return "a name under .local has one dot only"
        # 3.2.2 of the draft: others may be those of printers and the like
        return None if is_uuid_name(name) else "no mDNS name of an ICE agent: it is not looked up"
    if not options.resolve_names:
        return "not an IP address: names are not resolved"
    if not is_host_name(name):
        return "neither an IP address nor a host name"
    return None


def named_candidates(description: Description) -> list[Candidate]:
    """Those candidates of a description that were left out for nothing but a host name in the place of an address."""
    found: list[Candidate] = []
    for line, _ in description.ignored:
        try:
            candidate = Candidate.from_sdp(line, names=True)
        except ParseError:
            continue
        if parse_ip(candidate.address) is None:
            found.append(candidate)
    return found


def is_ipv6(host: str) -> bool:
    """Whether a numeric address is of IPv6."""
    return ":" in host


class NamesObserver(Protocol):
    """Who takes the results."""

    @property
    def on_loopback(self) -> bool:
        """Whether we have a loopback address ourselves."""
        ...

    def name_resolved(self, candidate: Candidate, hosts: Sequence[str], now: float) -> None:
        """A candidate can be reached at these addresses: one of a family, and perhaps later one of the other."""

    def name_failed(self, candidate: Candidate, reason: str, now: float) -> None:
        """A candidate cannot be reached."""

    def names_settled(self, now: float) -> None:
        """No name is being looked up any more."""


@dataclass(slots=True, eq=False)
class _Name:
    host: str
    candidates: list[Candidate] = field(default_factory=list)
    hosts: tuple[str, ...] = ()
    objections: list[str] = field(default_factory=list)
    """Why addresses of it were not used."""
    failure: str = ""
    ended: bool = False
    timer: Timer | None = None


class RemoteNames:
    """The names of one generation: one question for each, however many candidates have it."""

    __slots__ = ("_names", "_observer", "_resolutions", "_session")

    def __init__(self, session: Session, resolutions: Resolutions, observer: NamesObserver) -> None:
        self._session = session
        self._resolutions = resolutions
        self._observer = observer
        self._names: dict[str, _Name] = {}

    @property
    def pending(self) -> bool:
        """Whether an address may still come."""
        return any(not name.ended for name in self._names.values())

    def ask(self, candidate: Candidate, now: float) -> None:
        """Look up the name of this candidate; the observer hears of it, at once if it is known already."""
        name = self._names.get(candidate.address)
        if name is not None:
            name.candidates.append(candidate)
            self._repeat(name, candidate, now)
            return
        limit = self._session.options.limits.remote_names
        if len(self._names) >= limit:
            self._observer.name_failed(candidate, f"more than {limit} names", now)
            return
        name = self._names[candidate.address] = _Name(candidate.address, [candidate])
        patience = self._session.options.timeouts.resolution
        name.timer = self._session.outbox.timers.schedule(
            now + patience, partial(self._failed, name, f"not resolved in {patience:g} s")
        )
        self._resolutions.ask(
            self, name.host, candidate.port, partial(self._found, name), partial(self._failed, name), now
        )

    def stop(self) -> None:
        """Answers are of no use any more."""
        self._resolutions.forget(self)
        for name in self._names.values():
            name.ended = True
            self._session.outbox.timers.cancel(name.timer)

    def _repeat(self, name: _Name, candidate: Candidate, now: float) -> None:
        if name.hosts:
            self._observer.name_resolved(candidate, name.hosts, now)
        elif name.ended:
            self._observer.name_failed(candidate, name.failure, now)

    def _found(self, name: _Name, addresses: Sequence[Address], final: bool, now: float) -> None:
        if name.ended:
            return
        fresh = self._usable(name, addresses)
        if fresh:
            name.hosts += fresh
            for candidate in name.candidates:
                self._observer.name_resolved(candidate, fresh, now)
        if final:
            self._end(name, "it has no address", now)

    def _failed(self, name: _Name, reason: str, now: float) -> None:
        if not name.ended:
            self._end(name, reason, now)

    def _end(self, name: _Name, reason: str, now: float) -> None:
        name.ended = True
        self._session.outbox.timers.cancel(name.timer)
        if not name.hosts:
            name.failure = "; ".join(dict.fromkeys(name.objections)) or reason
            self._session.outbox.count("remote-name.failed")
            for candidate in name.candidates:
                self._observer.name_failed(candidate, name.failure, now)
        if not self.pending:
            self._observer.names_settled(now)

    def _usable(self, name: _Name, addresses: Sequence[Address]) -> tuple[str, ...]:
        """The first usable address of each family that has none yet."""
        hosts: list[str] = []
        for address in dict.fromkeys(addresses):
            host = normalize((address[0].partition("%")[0], 0))[0]
            reason = self._objection_to(host)
            if reason is None:
                hosts.append(host)
            else:
                name.objections.append(f"it stands for what cannot be used ({reason})")
        hosts = list(dict.fromkeys(hosts))
        if name.host.endswith(".local") and len({is_ipv6(host) for host in hosts}) < len(hosts):
            # 3.2.2 of the draft: a name of an ICE agent is for one address
            name.objections.append("it has more than one address of a family, so none is used")
            return ()
        taken = {is_ipv6(host) for host in name.hosts}
        fresh: dict[bool, str] = {}
        for host in hosts:
            if is_ipv6(host) not in taken:
                fresh.setdefault(is_ipv6(host), host)
        return tuple(fresh.values())

    def _objection_to(self, host: str) -> str | None:
        if (reason := refusal(host)) is not None:
            return reason
        # or a peer could have us talk to what listens on this host alone
        return "loopback address" if is_loopback(host) and not self._observer.on_loopback else None
