"""Statistics by the names of W3C webrtc-stats (RTCIceCandidateStats, RTCIceCandidatePairStats, RTCTransportStats).

What an ICE agent knows is there. Sent data is not: it goes from the application to the socket past the machine, which
only says where to. Timestamps are seconds of the agent's clock, of which `fasticePy.Agent` makes W3C's milliseconds
since 1970. Requests and responses count consent checks too, as one transaction each; `totalRoundTripTime` adds up what
was measured: nothing for a check that was sent more than once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fasticePy.ice.candidate import Candidate
from fasticePy.ice.credentials import Credentials
from fasticePy.ice.engine import Engine
from fasticePy.ice.pair import CandidatePair, LocalCandidate
from fasticePy.ice.paths import Path
from fasticePy.ice.session import Session
from fasticePy.ice.stream import Stream


def statistics(session: Session, streams: Sequence[Stream], now: float) -> dict[str, dict[str, Any]]:
    """One dict for each candidate, each pair, and each stream's transport, by its `id`: of the latest generation, and
    of the one before it while that carries data."""
    return {entry["id"]: entry for stream in streams for entry in _Statistics(session, stream, now).entries()}


class _Statistics:
    """Of one stream."""

    def __init__(self, session: Session, stream: Stream, now: float) -> None:
        self._session = session
        self._stream = stream
        self._now = now
        self._transport = "transport" if stream.index == 0 else f"transport-{stream.index}"

    def entries(self) -> Iterator[dict[str, Any]]:
        for engine in reversed(list(self._stream.engines())):
            remote = engine.generation.remote
            pairs = engine.checklist.pairs
            # those of the pairs too: peer-reflexive ones, and those that are told to nobody
            for local in [
                *(pair.mapped or pair.local_candidate for pair in pairs),
                *engine.gatherer.candidates.all,
            ]:
                yield self._local(engine, local)
            for candidate in engine.remotes.all():
                yield self._candidate(engine, "remote-candidate", candidate, remote)
            for pair in pairs:
                yield self._pair(engine, pair)
        yield self._whole()

    def _entry(self, kind: str, id: str, **values: Any) -> dict[str, Any]:
        return {"id": id, "type": kind, "timestamp": self._now, **values}

    def _place(self, engine: Engine) -> str:
        return f"{self._stream.index}.{engine.generation.number}"

    def _candidate_id(self, engine: Engine, kind: str, candidate: Candidate) -> str:
        tcp = "" if candidate.tcptype is None else f"-{candidate.tcptype}"
        return f"{kind}-{self._place(engine)}-{candidate.component}-{candidate.type}{tcp}-{_end(candidate)}"

    def _pair_id(self, engine: Engine, pair: CandidatePair) -> str:
        where = f"{self._place(engine)}-{pair.component}-{pair.socket}"
        kind = "" if pair.remote.tcptype is None else f"{pair.remote.tcptype}-"
        return f"candidate-pair-{where}-{kind}{_end(pair.remote)}"

    def _local(self, engine: Engine, local: LocalCandidate) -> dict[str, Any]:
        entry = self._candidate(engine, "local-candidate", local.candidate, engine.generation.local)
        entry["url"] = local.url
        if local.candidate.type == "relay" and local.url is not None:
            entry["relayProtocol"] = _relay_protocol(local.url)
        return entry

    def _candidate(
        self, engine: Engine, kind: str, candidate: Candidate, owner: Credentials | None
    ) -> dict[str, Any]:
        return self._entry(
            kind,
            self._candidate_id(engine, kind, candidate),
            transportId=self._transport,
            address=_address(candidate),
            port=candidate.port,
            protocol=candidate.transport,
            candidateType=candidate.type,
            priority=candidate.priority,
            foundation=candidate.foundation,
            relatedAddress=candidate.related_address,
            relatedPort=candidate.related_port,
            usernameFragment=candidate.ufrag or (None if owner is None else owner.ufrag),
            tcpType=candidate.tcptype,
        )

    def _pair(self, engine: Engine, pair: CandidatePair) -> dict[str, Any]:
        path = self._path(pair)
        return self._entry(
            "candidate-pair",
            self._pair_id(engine, pair),
            transportId=self._transport,
            localCandidateId=self._candidate_id(engine, "local-candidate", pair.local),
            remoteCandidateId=self._candidate_id(engine, "remote-candidate", pair.remote),
            state=pair.state,
            nominated=pair.nominated,
            requestsSent=pair.requests_sent,
            requestsReceived=pair.requests_received,
            responsesReceived=pair.responses_received,
            responsesSent=pair.requests_received,  # what counts as received was answered
            consentRequestsSent=pair.consent_requests_sent,
            packetsReceived=0 if path is None else path.packets_received,
            bytesReceived=0 if path is None else path.bytes_received,
            lastPacketReceivedTimestamp=None if path is None else path.last_received,
            currentRoundTripTime=pair.rtt,
            totalRoundTripTime=pair.total_rtt,
        )

    def _whole(self) -> dict[str, Any]:
        stream = self._stream
        selected = stream.selected_pair(1)
        engine = next((each for each in stream.engines() if selected in each.checklist.pairs), None)
        known = {pair.path: self._path(pair) for each in stream.engines() for pair in each.checklist.pairs}
        paths = [path for path in known.values() if path is not None]
        return self._entry(
            "transport",
            self._transport,
            iceRole=self._session.role,
            iceState=stream.state,
            iceLocalUsernameFragment=stream.generation.local.ufrag,
            selectedCandidatePairId=None
            if selected is None or engine is None
            else self._pair_id(engine, selected),
            selectedCandidatePairChanges=stream.selections,
            packetsReceived=sum(path.packets_received for path in paths),
            bytesReceived=sum(path.bytes_received for path in paths),
        )

    def _path(self, pair: CandidatePair) -> Path | None:
        return self._session.paths.by_key.get(pair.path)


def _end(candidate: Candidate) -> str:
    """What tells a candidate from others of its kind: concealed ones have foundations of their own."""
    hidden = _address(candidate) is None
    return f"{candidate.foundation if hidden else candidate.address}-{candidate.port}"


def _address(candidate: Candidate) -> str | None:
    """None where nobody may see it, as W3C has it."""
    return None if candidate.address in ("0.0.0.0", "::") else candidate.address


def _relay_protocol(url: str) -> str:
    """How we speak to the TURN server: udp, tcp or tls."""
    if url.startswith("turns:"):
        return "tls"
    return "tcp" if "transport=tcp" in url else "udp"
