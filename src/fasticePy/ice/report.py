"""The report of an agent: what was tried, what came back, and one sentence that says why it stands as it does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fasticePy.errors import IceError
from fasticePy.ice.addresses import address_text, parse_ip
from fasticePy.ice.candidate import Candidate
from fasticePy.ice.events import GatheringState, IceState, Role
from fasticePy.ice.pair import CandidatePair
from fasticePy.ice.record import Entry
from fasticePy.ice.servers import ServerResult


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

    @classmethod
    def of(cls, pair: CandidatePair) -> PairReport:
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
        )


@dataclass(frozen=True, slots=True)
class Report:
    """A snapshot. `str()` gives it as text for people, `to_json()` for programs; it holds no secret."""

    at: float
    role: Role
    state: IceState
    reason: str
    gathering: GatheringState
    conclusion: str
    """One sentence: the cause, and what to change."""
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
        return "\n".join(
            [
                f"ICE {self.state} as {self.role}: {self.reason}",
                *_section("servers", [_server_line(server) for server in self.servers]),
                *_section("sockets that failed", [f"{name}: {why}" for name, why in self.sockets_failed]),
                *_section("local candidates", self.local_candidates),
                *_section("remote candidates", self.remote_candidates),
                *_section("ignored candidates", [f"{name}: {why}" for name, why in self.ignored_candidates]),
                *_section("pairs", [_pair_line(pair) for pair in self.pairs]),
                self.conclusion,
            ]
        )


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


def conclude(
    state: IceState,
    reason: str,
    local: Sequence[Candidate],
    remote: Sequence[Candidate],
    pairs: Sequence[CandidatePair],
    servers: Sequence[ServerResult],
    credentials_known: bool,
    ignored: Sequence[tuple[str, str]] = (),
    sockets_failed: Sequence[tuple[str, str]] = (),
) -> str:
    """The sentence at the end of a report."""
    if state in ("connected", "completed"):
        return "A path works."
    if state == "closed":
        return "The agent was closed."
    if state == "disconnected":
        return f"The path went silent: {reason}. It may come back as long as there is consent to send."
    if not credentials_known:
        return "The peer's description never came: check the signalling."
    if not local:
        why = _because(servers, sockets_failed)
        return f"There is no local candidate{why}: check interfaces, address filters and port range."
    if ignored and not pairs and all(parse_ip(candidate.address) is None for candidate in remote):
        name, why = ignored[0]
        others = f" and {len(ignored) - 1} more" if len(ignored) > 1 else ""
        return f"None of the peer's candidates can be used ({name}: {why}{others}), and no check of it came."
    if not remote:
        return "The peer sent no candidate and no check came: look at the signalling and at the peer's gathering."
    if any(pair.validated_at is not None for pair in pairs):
        return f"A path worked and was lost: {reason}."
    if not pairs:
        ours, theirs = _types(local), _types(remote)
        return f"No candidates fit together (families, components): we have {ours}, the peer {theirs}."
    if refused := [pair for pair in pairs if pair.refused]:
        return (
            f"The peer refuses our checks ({refused[0]}: {refused[0].failure}): "
            "look at ufrag and password in the signalling."
        )
    return _unanswered(local, remote, pairs, servers)


def _unanswered(
    local: Sequence[Candidate],
    remote: Sequence[Candidate],
    pairs: Sequence[CandidatePair],
    servers: Sequence[ServerResult],
) -> str:
    sent = sum(pair.requests_sent for pair in pairs)
    came = sum(pair.requests_received for pair in pairs)
    theirs = f"{_count(came, 'check')} of the peer arrived" if came else "the peer's checks never arrived"
    if came and sent:
        advice = (
            "our checks do not reach the peer, or its answers not us: look at firewalls and at the password"
        )
    elif any(candidate.type == "relay" for candidate in (*local, *remote)):
        advice = "even the relay does not carry: look at the TURN server's peer permissions and at firewalls"
    else:
        ours, others = _types(local), _types(remote)
        advice = f"we have {ours}, the peer {others} candidates: a relay is needed, add a TURN server"
    checks = f"{_count(sent, 'check')} sent on {_count(len(pairs), 'pair')}, none answered"
    return f"{checks}; {theirs}; {advice}{_because(servers)}."


def _count(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"


def _because(servers: Sequence[ServerResult], sockets: Sequence[tuple[str, str]] = ()) -> str:
    failed = [f"{name}: {why}" for name, why in sockets]
    failed += [f"{server.url}: {server.reason}" for server in servers if server.finished and not server.ok]
    return f" ({'; '.join(failed)})" if failed else ""


def _types(candidates: Sequence[Candidate]) -> str:
    return "only " + " and ".join(dict.fromkeys(candidate.type for candidate in candidates))


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"  {title}", *(f"    {line}" for line in lines)] if lines else []


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
