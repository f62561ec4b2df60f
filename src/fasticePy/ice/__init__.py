"""ICE (RFC 8445): candidates, checks, nomination, consent. Sans-IO: `fasticePy.aio` runs it on sockets."""

from __future__ import annotations

from fasticePy.ice.addresses import LocalAddress
from fasticePy.ice.agent import IceAgent
from fasticePy.ice.candidate import Candidate, CandidateType, candidate_priority
from fasticePy.ice.credentials import Credentials
from fasticePy.ice.description import Description
from fasticePy.ice.events import (
    CancelConnection,
    CandidateGathered,
    CloseSocket,
    GatheringState,
    GatheringStateChanged,
    IceState,
    NeedAddresses,
    NeedConnection,
    NeedSocket,
    PairSelected,
    PublishName,
    Restarted,
    Role,
    RoleChanged,
    Route,
    ServerFinished,
    StateChanged,
    WithdrawName,
)
from fasticePy.ice.negotiation import Negotiation, SessionNews
from fasticePy.ice.nomination_race import NominationRace, RaceDecision
from fasticePy.ice.offer_lines import SessionLines, StreamFacts, StreamLines
from fasticePy.ice.options import IceOptions, Limits, Timeouts
from fasticePy.ice.pacing import Pacer
from fasticePy.ice.pair import CandidatePair, pair_priority
from fasticePy.ice.remote_session import RemoteStream, read_streams
from fasticePy.ice.report import IceFailed, Report
from fasticePy.ice.rewrite import Rewrite
from fasticePy.ice.stream_negotiation import Action, Change, NegotiationError, NextStep, StreamNews

__all__ = [
    "Action",
    "CancelConnection",
    "Candidate",
    "CandidateGathered",
    "CandidatePair",
    "CandidateType",
    "Change",
    "CloseSocket",
    "Credentials",
    "Description",
    "GatheringState",
    "GatheringStateChanged",
    "IceAgent",
    "IceFailed",
    "IceOptions",
    "IceState",
    "Limits",
    "LocalAddress",
    "NeedAddresses",
    "NeedConnection",
    "NeedSocket",
    "Negotiation",
    "NegotiationError",
    "NextStep",
    "NominationRace",
    "Pacer",
    "PairSelected",
    "PublishName",
    "RaceDecision",
    "RemoteStream",
    "Report",
    "Restarted",
    "Rewrite",
    "Role",
    "RoleChanged",
    "Route",
    "ServerFinished",
    "SessionLines",
    "SessionNews",
    "StateChanged",
    "StreamFacts",
    "StreamLines",
    "StreamNews",
    "Timeouts",
    "WithdrawName",
    "candidate_priority",
    "pair_priority",
    "read_streams",
]
