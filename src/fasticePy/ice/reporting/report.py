"""The report of an agent: what was tried, what came back, and one sentence that says why it stands as it does."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fasticePy.errors import IceError
from fasticePy.ice.addresses import address_text
from fasticePy.ice.candidate import Candidate
from fasticePy.ice.engine import Engine
from fasticePy.ice.events import GatheringState, IceState, Role, StateEntry
from fasticePy.ice.gathering.servers import ServerResult
from fasticePy.ice.pair import CandidatePair
from fasticePy.ice.paths import Path
from fasticePy.ice.reporting.conclusion import Situation, conclude
from fasticePy.ice.reporting.record import Entry
from fasticePy.ice.session import Session
from fasticePy.ice.stream import Stream


@dataclass(frozen=True, slots=True)
class PairReport:
    """How far one pair has come."""

    pair: str
    state: str
    valid: bool
    nominated: bool
    requests_sent: int
    responses_received: int
    requests_received: int
    rtt: float | None
    failure: str
    stream: int = 0
    generation: int = 0
    component: int = 1
    answered_at: float | None = None
    """When the latest answer to a check came."""
    heard_at: float | None = None
    """When the latest packet came, once it is known to be the peer's."""

    @classmethod
    def of(cls, pair: CandidatePair, generation: int = 0, path: Path | None = None) -> PairReport:
        """Of a pair as it is now."""
        return cls(
            str(pair),
            pair.state,
            pair.valid,
            pair.nominated,
            pair.requests_sent,
            pair.responses_received,
            pair.requests_received,
            pair.rtt,
            pair.failure,
            pair.stream,
            generation,
            pair.component,
            pair.consent_at,
            None if path is None else path.last_received,
        )


@dataclass(frozen=True, slots=True)
class StreamReport:
    """How one stream stands."""

    index: int
    generation: int
    """How often it has restarted."""
    previous: int | None
    """The generation whose pairs carry data until the latest one has some."""
    state: IceState
    reason: str
    states: tuple[StateEntry, ...]
    """The latest states, each with its time and reason."""
    selected: tuple[str | None, ...]
    """The pair that carries the data of each component."""
    conclusion: str


@dataclass(frozen=True, slots=True)
class Report:
    """A snapshot. `str()` gives it as text for people, `to_json()` for programs; it holds no secret. Times are those of
    the agent's clock, in seconds."""

    at: float
    role: Role
    state: IceState
    reason: str
    gathering: GatheringState
    conclusion: str
    """One sentence: the cause, and what to change. With several streams, that of the one which is worst off."""
    states: tuple[StateEntry, ...]
    """The latest states of all streams, oldest first: time, state and reason of each."""
    streams: tuple[StreamReport, ...]
    local_candidates: tuple[str, ...]
    remote_candidates: tuple[str, ...]
    ignored_candidates: tuple[tuple[str, str], ...]
    sockets_failed: tuple[tuple[str, str], ...]
    servers: tuple[dict[str, Any], ...]
    pairs: tuple[PairReport, ...]
    counters: dict[str, int]
    entries: tuple[Entry, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def to_json(self) -> str:
        """As one JSON object."""
        return json.dumps(self.to_dict())

    def __str__(self) -> str:
        several = len(self.streams) > 1 or any(stream.generation for stream in self.streams)
        return "\n".join(
            [
                f"ICE {self.state} as {self.role}: {self.reason}",
                *_section("states", [self._state_line(told) for told in self.states]),
                *_section("streams", [_stream_line(stream) for stream in self.streams] if several else []),
                *_section("servers", [_server_line(server) for server in self.servers]),
                *_section("sockets that failed", [f"{name}: {why}" for name, why in self.sockets_failed]),
                *_section("candidates", _count_lines(self.local_candidates, self.remote_candidates)),
                *_section("local candidates", self.local_candidates),
                *_section("remote candidates", self.remote_candidates),
                *_section("ignored candidates", [f"{name}: {why}" for name, why in self.ignored_candidates]),
                *_section("pairs", [self._pair_line(pair, several) for pair in self.pairs]),
                self.conclusion,
            ]
        )

    def _state_line(self, told: StateEntry) -> str:
        return f"{_ago(self.at - told.at)}  {told.state}: {told.reason}"

    def _pair_line(self, pair: PairReport, several: bool) -> str:
        where = f"stream {pair.stream}, generation {pair.generation}: " if several else ""
        return where + _pair_line(pair)


class IceFailed(IceError, ConnectionError):
    """No working path was found, or it was lost. `report` says what was tried and what came back."""

    def __init__(self, message: str, report: Report | None = None) -> None:
        super().__init__(message)
        self.report = report


def candidate_text(candidate: Candidate) -> str:
    """A candidate for people."""
    kind = candidate.transport if candidate.tcptype is None else f"{candidate.transport} {candidate.tcptype}"
    return f"{candidate.type} {kind} {address_text(candidate.transport_address)}"


def server_dict(result: ServerResult) -> dict[str, Any]:
    """What became of a server, as plain data."""
    return {
        "url": result.url,
        "ok": result.ok,
        "finished": result.finished,
        "reason": result.reason,
        "resolved": list(result.resolved),
        "outcomes": [list(outcome) for outcome in result.outcomes],
    }


def make_report(
    session: Session,
    streams: Sequence[Stream],
    state: IceState,
    reason: str,
    gathering: GatheringState,
    now: float,
) -> Report:
    """What was tried and what came back."""
    latest = [stream.engine for stream in streams]
    told = sorted((each for stream in streams for each in stream.told), key=lambda each: each.at)
    reports = tuple(_stream(session, stream, now) for stream in streams)
    return Report(
        at=now,
        role=session.role,
        state=state,
        reason=reason,
        gathering=gathering,
        conclusion=next(report.conclusion for report in reports if report.state == state),
        states=tuple(told),
        streams=reports,
        local_candidates=tuple(candidate_text(each) for engine in latest for each in _local(engine)),
        remote_candidates=tuple(candidate_text(each) for engine in latest for each in engine.remotes.all()),
        ignored_candidates=tuple(each for engine in latest for each in engine.remotes.ignored),
        sockets_failed=tuple(each for engine in latest for each in engine.gatherer.failures),
        servers=tuple(server_dict(each) for engine in latest for each in engine.gatherer.results),
        pairs=tuple(
            PairReport.of(pair, engine.generation.number, session.paths.by_key.get(pair.path))
            for stream in streams
            for engine in stream.engines()
            for pair in engine.checklist.pairs
        ),
        counters=dict(session.outbox.counters),
        entries=session.record.entries(),
    )


def _stream(session: Session, stream: Stream, now: float) -> StreamReport:
    components = range(1, session.options.components + 1)
    selected = (stream.selected_pair(component) for component in components)
    return StreamReport(
        index=stream.index,
        generation=stream.generation.number,
        previous=None if stream.previous is None else stream.previous.generation.number,
        state=stream.state,
        reason=stream.state_reason,
        states=tuple(stream.told),
        selected=tuple(None if pair is None else str(pair) for pair in selected),
        conclusion=conclude(_situation(session, stream, now)),
    )


def _situation(session: Session, stream: Stream, now: float) -> Situation:
    engine, generation = stream.engine, stream.generation
    pairs = [pair for each in stream.engines() for pair in each.checklist.pairs]
    paths = (session.paths.by_key.get(pair.path) for pair in pairs if pair.validated_at is not None)
    return Situation(
        now=now,
        state=stream.state,
        reason=stream.state_reason,
        local=_local(engine),
        remote=engine.remotes.all(),
        pairs=pairs,
        servers=engine.gatherer.results,
        ignored=engine.remotes.ignored,
        sockets_failed=engine.gatherer.failures,
        addresses_given=stream.addresses_given,
        credentials_known=generation.remote is not None,
        echo=generation.remote == generation.local,
        generation=generation.number,
        early_checks=engine.inbound.remembered,
        strangers=engine.inbound.stranger_ufrags,
        lite=session.options.lite,
        peer_lite=session.peer_lite,
        heard_at=max((path.last_received for path in paths if path is not None), default=None),
        counters=session.outbox.counters,
    )


def _local(engine: Engine) -> list[Candidate]:
    return [local.candidate for local in engine.gatherer.candidates.all]


# -- text --------------------------------------------------------------------------------------------------------------


def _section(title: str, lines: Iterable[str]) -> list[str]:
    indented = [f"    {line}" for line in lines]
    return [f"  {title}", *indented] if indented else []


def _ago(seconds: float) -> str:
    return f"{seconds:9.3f} s ago"


def _stream_line(stream: StreamReport) -> str:
    carrying = "" if stream.previous is None else f", generation {stream.previous} still there"
    selected = ", ".join(f"{number}: {pair or 'no pair'}" for number, pair in enumerate(stream.selected, 1))
    return f"stream {stream.index}: {stream.state}, generation {stream.generation}{carrying}; components {selected}"


def _count_lines(local: Sequence[str], remote: Sequence[str]) -> list[str]:
    """How many there are of each type and transport, of ours and of the peer's."""
    counts = [Counter(text.rpartition(" ")[0] for text in texts) for texts in (local, remote)]
    kinds = list(dict.fromkeys([*counts[0], *counts[1]]))
    lines = [f"{kind:<18}{counts[0][kind]:>4} ours{counts[1][kind]:>6} the peer's" for kind in kinds]
    return lines if local and remote else []


def _server_line(server: dict[str, Any]) -> str:
    outcomes = ", ".join(f"{name}: {outcome}" for name, outcome in server["outcomes"])
    word = "ok" if server["ok"] else server["reason"] or "pending"
    return f"{server['url']}: {word}" + (f" ({outcomes})" if outcomes else "")


def _pair_line(pair: PairReport) -> str:
    marks = " nominated" if pair.nominated else " valid" if pair.valid else ""
    rtt = "" if pair.rtt is None else f", {pair.rtt * 1000:.1f} ms"
    why = f", {pair.failure}" if pair.failure else ""
    return (
        f"{pair.pair}: {pair.state}{marks}, {pair.requests_sent} sent, {pair.responses_received} answered, "
        f"{pair.requests_received} received{rtt}{why}"
    )
