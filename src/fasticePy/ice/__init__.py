"""ICE (RFC 8445): candidates, checks, nomination, consent. Sans-IO: `fasticePy.aio` runs it on sockets."""

from __future__ import annotations

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
from fasticePy.ice.options import IceOptions, Limits, Timeouts
from fasticePy.ice.pacing import Pacer
from fasticePy.ice.pair import CandidatePair, pair_priority
from fasticePy.ice.report import IceFailed, Report

__all__ = [
    "CancelConnection",
    "Candidate",
    "CandidateGathered",
    "CandidatePair",
    "CandidateType",
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
    "NeedAddresses",
    "NeedConnection",
    "NeedSocket",
    "Pacer",
    "PairSelected",
    "PublishName",
    "Report",
    "Restarted",
    "Role",
    "RoleChanged",
    "Route",
    "ServerFinished",
    "StateChanged",
    "Timeouts",
    "WithdrawName",
    "candidate_priority",
    "pair_priority",
]
