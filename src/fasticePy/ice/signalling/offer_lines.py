"""The ICE lines of an offer or answer, made from what an agent knows of each stream (RFC 8839 4, RFC 6544 4.5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from fasticePy.ice.candidate import Candidate, TcpType
from fasticePy.ice.candidate_line import MAX_COMPONENT, canonical_ip
from fasticePy.ice.pair import CandidatePair
from fasticePy.ice.signalling import sdp
from fasticePy.ice.signalling.description import Description
from fasticePy.ice.signalling.destination import (
    FULL_TCP_DEFAULTS,
    LITE_TCP_DEFAULTS,
    UNKNOWN_IPV4,
    UNKNOWN_IPV6,
    Transport,
    answer_tcptypes,
    connection_line,
    default_candidate,
    default_destination,
    rtcp_lines,
    tcp_lines,
)
from fasticePy.ice.signalling.remote_session import RemoteStream
from fasticePy.machine import Address

Checklist: TypeAlias = Literal["running", "completed", "failed"]
"""The states of a checklist (RFC 8445 6.1.2.1)."""
Usage: TypeAlias = Literal["ice", "mismatch", "plain"]
"""Whether a stream uses ICE, does not because its default destination was changed on the way, or does not."""


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What an agent knows of one stream now. A stream that is only inactive or without bandwidth has the same facts
    as any other (RFC 8839 4.2.1.6); for a removed or rejected one give None in the place of its facts.

    Raises ValueError when a component has two nominated pairs, or `components` is not 1 to 256.
    """

    description: Description
    """Our credentials and all candidates gathered so far, as they are signalled."""
    checklist: Checklist = "running"
    nominated: tuple[tuple[Candidate, Candidate], ...] = ()
    """Local and remote candidate of each nominated pair, one per component."""
    controlling: bool = False
    components: int = 1
    """2 when RTCP has a port of its own (RFC 8839 4.2.2)."""
    mid: str | None = None
    transport: Transport | None = None
    """The transport of the default destination in an offer. None: UDP if there are UDP candidates, which is right for
    all media that is not TCP by nature (RFC 6544 4.3)."""
    bundled_with: int | None = None
    """The index of the stream whose transport it shares (RFC 9143); nothing else here counts then."""

    def __post_init__(self) -> None:
        if not 1 <= self.components <= MAX_COMPONENT:
            raise ValueError(f"a stream has 1 to {MAX_COMPONENT} components, not {self.components}")
        components = [local.component for local, _ in self.nominated]
        if len(set(components)) != len(components):
            raise ValueError("a component has two nominated pairs")

    @classmethod
    def from_pairs(
        cls,
        description: Description,
        pairs: Iterable[CandidatePair | None],
        *,
        checklist: Checklist = "running",
        controlling: bool = False,
        components: int = 1,
        mid: str | None = None,
        transport: Transport | None = None,
    ) -> StreamFacts:
        """From the pairs of an agent, best first, or its selected ones: the nominated ones of them count, of each
        component the first."""
        nominated: dict[int, tuple[Candidate, Candidate]] = {}
        for pair in pairs:
            if pair is not None and pair.nominated:
                nominated.setdefault(pair.component, (pair.local, pair.remote))
        return cls(description, checklist, tuple(nominated.values()), controlling, components, mid, transport)

    @property
    def concluded(self) -> bool:
        """Whether the checklist is Completed, each component having its nominated pair (RFC 8445 8.1.2)."""
        return self.checklist == "completed" and len(self.nominated) >= self.components

    @property
    def default_tcptypes(self) -> Sequence[TcpType]:
        """The types of TCP candidates that may be the default destination, the preferred one first."""
        return LITE_TCP_DEFAULTS if self.description.lite else FULL_TCP_DEFAULTS

    def local(self, component: int) -> Candidate | None:
        """Our candidate of the component's nominated pair, as it may be shown; None without a nominated pair, and
        when its address is concealed behind a name that was not signalled."""
        found = next((local for local, _ in self.nominated if local.component == component), None)
        return None if found is None else shown_form(found, self.description.candidates)


def shown_form(candidate: Candidate, signalled: Sequence[Candidate]) -> Candidate | None:
    """A local candidate without anything that mDNS names among the signalled ones conceal: descriptions repeat the
    concealed form (draft-ietf-mmusic-mdns-ice-candidates 3.1.2.4). None when there is no such form of it."""
    named = [each for each in signalled if canonical_ip(each.address) is None]
    if not named or candidate in signalled:
        return candidate
    if candidate.type != "host" or canonical_ip(candidate.address) is None:
        return replace(candidate, related_address=None, related_port=None)
    return next((each for each in named if _twins(each, candidate)), None)


def _twins(first: Candidate, second: Candidate) -> bool:
    return all(
        getattr(first, name) == getattr(second, name)
        for name in ("foundation", "component", "transport", "type", "tcptype", "port")
    )


@dataclass(frozen=True, slots=True)
class StreamLines:
    """What one m= section has to say: numbers for its m= line, and lines to go below it."""

    port: int
    """For the m= line; 0: the stream is removed or rejected."""
    transport: Transport
    """What the protocol of the m= line has to be."""
    connection: str
    """The c= line."""
    attributes: tuple[str, ...] = ()
    """a= lines: a=rtcp and those of ICE; none when ICE is not used."""
    tcp: tuple[str, ...] = ()
    """a=setup and a=connection, when the default destination is TCP. Leave them out where DTLS has an a=setup of its
    own (RFC 6544 4.5)."""
    destinations: tuple[Address, ...] = ()
    """The default destination of each component."""

    @property
    def lines(self) -> tuple[str, ...]:
        """All lines below the m= line."""
        return (self.connection, *self.attributes, *self.tcp)


@dataclass(frozen=True, slots=True)
class SessionLines:
    """The ICE half of an offer or answer."""

    attributes: tuple[str, ...]
    """a= lines of the session level."""
    streams: tuple[StreamLines, ...]


@dataclass(frozen=True, slots=True)
class StreamPlan:
    """What is to be written for one stream."""

    facts: StreamFacts
    usage: Usage = "ice"
    candidates: tuple[Candidate, ...] = ()
    defaults: Mapping[int, Candidate] = field(default_factory=dict)
    """Default destinations that are settled, by component."""
    remote_candidates: tuple[sdp.RemoteCandidate, ...] = ()
    offered: RemoteStream | None = None
    """The section of the offer, when this is for an answer."""


def write_session(plans: Sequence[StreamPlan | int | None]) -> SessionLines:
    """The lines of a session. In the place of a plan, None is a section with port 0, and a number the section whose
    transport it shares. Raises ValueError when streams differ in what only the whole session can say."""
    described = [
        each.facts.description for each in plans if isinstance(each, StreamPlan) and each.usage != "plain"
    ]
    # options may be at either level, the rest cannot (RFC 8839 5.3, 5.5, 5.6)
    same_options = len({frozenset(each.options) for each in described}) < 2
    attributes: list[str] = []
    if described:
        if len({each.lite for each in described}) > 1:
            raise ValueError("ice-lite is for a whole session, and some of its streams are lite, others not")
        pacing = max((each.pacing_ms for each in described if each.pacing_ms is not None), default=None)
        options = described[0].options if same_options else ()
        attributes = sdp.session_lines(options, lite=described[0].lite, pacing_ms=pacing)
    streams = [
        _write_stream(plan, with_options=not same_options) if isinstance(plan, StreamPlan) else None
        for plan in plans
    ]
    final = [
        _shared(streams, plan) if line is None else line for plan, line in zip(plans, streams, strict=True)
    ]
    return SessionLines(tuple(attributes), tuple(final))


def _shared(streams: Sequence[StreamLines | None], plan: StreamPlan | int | None) -> StreamLines:
    """The lines of a bundled section, which has the address and port of the one that carries it and no ICE of its own
    (RFC 9143 7.1), or of a disabled one."""
    if plan is None:
        return StreamLines(0, "udp", connection_line(UNKNOWN_IPV4[0]))
    carrier = streams[plan] if isinstance(plan, int) and 0 <= plan < len(streams) else None
    if carrier is None:
        raise ValueError(f"a stream is bundled with number {plan}, which has no transport of its own")
    return replace(carrier, attributes=(), tcp=())


def _write_stream(plan: StreamPlan, *, with_options: bool) -> StreamLines:
    transport = _transport(plan)
    chosen = [_default(plan, component, transport) for component in range(1, plan.facts.components + 1)]
    unknown = _unknown(plan.candidates)
    destinations = tuple(
        unknown if each is None else default_destination((), nominated=each, unknown=unknown)
        for each in chosen
    )
    host, port = destinations[0]
    attributes = [] if len(destinations) < 2 else rtcp_lines(*destinations[:2])
    attributes += _ice_lines(plan, with_options=with_options)
    tcp = _tcp_lines(plan, chosen[0]) if transport == "tcp" else []
    return StreamLines(port, transport, connection_line(host), tuple(attributes), tuple(tcp), destinations)


def _transport(plan: StreamPlan) -> Transport:
    if plan.offered is not None:
        return plan.offered.transport  # an answer keeps it (RFC 8839 4.3.2)
    settled = plan.defaults.get(1)
    if settled is not None:
        return "tcp" if settled.transport == "tcp" else "udp"
    if plan.facts.transport is not None:
        return plan.facts.transport
    transports = {each.transport for each in plan.candidates if each.component == 1}
    return "tcp" if transports == {"tcp"} else "udp"


def _default(plan: StreamPlan, component: int, transport: Transport) -> Candidate | None:
    settled = plan.defaults.get(component)
    if settled is not None:
        return settled if settled.transport == transport else None
    tcptypes = plan.facts.default_tcptypes
    if plan.offered is not None:
        tcptypes = answer_tcptypes(plan.offered.setup, tcptypes)
    return default_candidate(plan.candidates, component, transport=transport, tcptypes=tcptypes)


def _unknown(candidates: Sequence[Candidate]) -> Address:
    """What stands for "no address": in IPv6 for those that have nothing else."""
    return UNKNOWN_IPV6 if candidates and all(each.ip_version == 6 for each in candidates) else UNKNOWN_IPV4


def _tcp_lines(plan: StreamPlan, default: Candidate | None) -> list[str]:
    tcptype = plan.facts.default_tcptypes[0] if default is None else default.tcptype or "passive"
    offered = None if plan.offered is None else (plan.offered.setup, plan.offered.connection)
    return tcp_lines(tcptype, connected=default is not None and 1 in plan.defaults, offered=offered)


def _ice_lines(plan: StreamPlan, *, with_options: bool) -> list[str]:
    if plan.usage == "plain":
        return []
    if plan.usage == "mismatch":  # which leaves out candidates (RFC 8839 4.2.5)
        return ["a=ice-mismatch"]
    description = plan.facts.description
    lines = sdp.session_lines(description.options, lite=False, pacing_ms=None) if with_options else []
    lines += sdp.credential_lines(description.ufrag, description.pwd)
    if plan.remote_candidates:
        lines.append(sdp.remote_candidates_line(plan.remote_candidates))
    return lines + sdp.candidate_lines(plan.candidates, complete=description.complete)
