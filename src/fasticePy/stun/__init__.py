"""STUN (RFC 8489): messages, keys, framing, transactions. Sans-IO: nothing here opens a socket or reads a clock."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from fasticePy._native.framing import ChannelData, StreamDecoder, classify, classify_all, rfc4571_frame
from fasticePy._native.stun import Message, MessageBuilder, ParseError, is_stun, parse
from fasticePy.stun.agent import StunAgent
from fasticePy.stun.client_auth import LongTermCredentials, ShortTermCredentials, TokenCredentials
from fasticePy.stun.credentials import (
    IntegrityKey,
    long_term_key,
    nonce_cookie,
    opaque_string,
    security_features,
    userhash,
)
from fasticePy.stun.events import (
    Challenged,
    IndicationReceived,
    Redirected,
    RequestFailed,
    ResponseReceived,
)
from fasticePy.stun.outcome import Attempt, QueryResult, StunError
from fasticePy.stun.registry import (
    MAGIC_COOKIE,
    Attribute,
    ErrorCode,
    MessageClass,
    Method,
    PacketKind,
    PasswordAlgorithm,
    SecurityFeature,
)
from fasticePy.stun.responses import mapped_address
from fasticePy.stun.rto import RtoEstimator
from fasticePy.stun.server import BindingServer
from fasticePy.stun.server_auth import Authenticator, ShortTermAuthenticator
from fasticePy.stun.transaction import Transaction, Transactions

if TYPE_CHECKING:
    from fasticePy.aio.query import query

__all__ = [
    "MAGIC_COOKIE",
    "Attempt",
    "Attribute",
    "Authenticator",
    "BindingServer",
    "Challenged",
    "ChannelData",
    "ErrorCode",
    "IndicationReceived",
    "IntegrityKey",
    "LongTermCredentials",
    "Message",
    "MessageBuilder",
    "MessageClass",
    "Method",
    "PacketKind",
    "ParseError",
    "PasswordAlgorithm",
    "QueryResult",
    "Redirected",
    "RequestFailed",
    "ResponseReceived",
    "RtoEstimator",
    "SecurityFeature",
    "ShortTermAuthenticator",
    "ShortTermCredentials",
    "StreamDecoder",
    "StunAgent",
    "StunError",
    "TokenCredentials",
    "Transaction",
    "Transactions",
    "classify",
    "classify_all",
    "is_stun",
    "long_term_key",
    "mapped_address",
    "nonce_cookie",
    "opaque_string",
    "parse",
    "query",
    "rfc4571_frame",
    "security_features",
    "userhash",
]


def __getattr__(name: str) -> object:
    """`query` opens sockets and lives in `fasticePy.aio`: it is imported when somebody wants it, and not before."""
    if name == "query":
        return importlib.import_module("fasticePy.aio.query").query
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
