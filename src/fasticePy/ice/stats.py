"""Statistics by the names of W3C webrtc-stats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fasticePy.ice.candidate import Candidate
from fasticePy.ice.events import IceState
from fasticePy.ice.pair import CandidatePair
from fasticePy.ice.paths import Paths
from fasticePy.ice.session import Generation, Session


def statistics(
    session: Session,
    generation: Generation,
    state: IceState,
    local: Sequence[Candidate],
    remote: Sequence[Candidate],
    pairs: Sequence[CandidatePair],
    selected: CandidatePair | None,
    now: float,
) -> dict[str, dict[str, Any]]:
    """One dict for each candidate, each pair and the transport, by its `id`; times are seconds of the agent's clock."""
    others = [pair.local for pair in pairs]  # peer-reflexive ones, and those that are told to nobody
    transport = {
        "id": "transport",
        "type": "transport",
        "timestamp": now,
        "iceRole": session.role,
        "iceState": state,
        "iceLocalUsernameFragment": generation.local.ufrag,
        "selectedCandidatePairId": None if selected is None else _pair_id(selected),
    }
    entries = [
        *(_candidate("local-candidate", candidate, now) for candidate in [*others, *local]),
        *(_candidate("remote-candidate", candidate, now) for candidate in remote),
        *(_pair(pair, session.paths, now) for pair in pairs),
        transport,
    ]
    return {entry["id"]: entry for entry in entries}


def _candidate_id(kind: str, candidate: Candidate) -> str:
    transport = "" if candidate.tcptype is None else f"-tcp-{candidate.tcptype}"
    return f"{kind}-{candidate.component}{transport}-{candidate.type}-{_place(candidate)}"


def _place(candidate: Candidate) -> str:
    """What tells a candidate from others of its kind: concealed ones have foundations of their own."""
    hidden = _address(candidate) is None
    return f"{candidate.foundation if hidden else candidate.address}-{candidate.port}"


def _address(candidate: Candidate) -> str | None:
    """None where nobody may see it, as W3C has it."""
    return None if candidate.address in ("0.0.0.0", "::") else candidate.address


def _pair_id(pair: CandidatePair) -> str:
    return f"candidate-pair-{pair.component}-{pair.socket}-{_place(pair.remote)}"


def _candidate(kind: str, candidate: Candidate, now: float) -> dict[str, Any]:
    return {
        "id": _candidate_id(kind, candidate),
        "type": kind,
        "timestamp": now,
        "address": _address(candidate),
        "port": candidate.port,
        "protocol": candidate.transport,
        "tcpType": candidate.tcptype,
        "candidateType": candidate.type,
        "priority": candidate.priority,
        "foundation": candidate.foundation,
        "relatedAddress": candidate.related_address,
        "relatedPort": candidate.related_port,
    }


def _pair(pair: CandidatePair, paths: Paths, now: float) -> dict[str, Any]:
    path = paths.by_key.get(pair.path)
    return {
        "id": _pair_id(pair),
        "type": "candidate-pair",
        "timestamp": now,
        "localCandidateId": _candidate_id("local-candidate", pair.local),
        "remoteCandidateId": _candidate_id("remote-candidate", pair.remote),
        "state": pair.state,
        "nominated": pair.nominated,
        "requestsSent": pair.requests_sent,
        "requestsReceived": pair.requests_received,
        "responsesReceived": pair.responses_received,
        "packetsReceived": 0 if path is None else path.packets_received,
        "bytesReceived": 0 if path is None else path.bytes_received,
        "lastPacketReceivedTimestamp": None if path is None else path.last_received,
        "currentRoundTripTime": pair.rtt,
    }
