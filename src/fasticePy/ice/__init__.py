"""ICE (RFC 8445): candidates, checks, nomination, consent. Sans-IO: `fasticePy.aio` runs it on sockets."""

from __future__ import annotations

from fasticePy.ice.addresses import LocalAddress
from fasticePy.ice.agent import IceAgent
from fasticePy.ice.candidate import Candidate, CandidateType, candidate_priority
from fasticePy.ice.checking.pacing import Pacer
from fasticePy.ice.credentials import Credentials
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
    StateEntry,
    WithdrawName,
)
from fasticePy.ice.gathering.rewrite import Rewrite
from fasticePy.ice.options import IceOptions, Limits, Timeouts
from fasticePy.ice.pair import CandidatePair, pair_priority
from fasticePy.ice.reporting.report import IceFailed, Report
from fasticePy.ice.selecting.reasons import SwitchReason
from fasticePy.ice.signalling.description import Description
from fasticePy.ice.signalling.negotiation import Negotiation, SessionNews
from fasticePy.ice.signalling.nomination_race import NominationRace, RaceDecision
from fasticePy.ice.signalling.offer_lines import SessionLines, StreamFacts, StreamLines
from fasticePy.ice.signalling.remote_session import RemoteStream, read_streams
from fasticePy.ice.signalling.stream_negotiation import Action, Change, NegotiationError, NextStep, StreamNews

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
    "StateEntry",
    "StreamFacts",
    "StreamLines",
    "StreamNews",
    "SwitchReason",
    "Timeouts",
    "WithdrawName",
    "candidate_priority",
    "pair_priority",
    "read_streams",
]
