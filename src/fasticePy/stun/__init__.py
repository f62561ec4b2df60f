"""STUN (RFC 8489): messages, keys, framing, transactions. Sans-IO: nothing here opens a socket or reads a clock."""

from __future__ import annotations

from fasticePy._native.framing import ChannelData, StreamDecoder, classify, rfc4571_frame
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
from fasticePy.stun.transaction import Transaction, Transactions

__all__ = [
    "MAGIC_COOKIE",
    "Attribute",
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
    "Redirected",
    "RequestFailed",
    "ResponseReceived",
    "RtoEstimator",
    "SecurityFeature",
    "ShortTermCredentials",
    "StreamDecoder",
    "StunAgent",
    "TokenCredentials",
    "Transaction",
    "Transactions",
    "classify",
    "is_stun",
    "long_term_key",
    "mapped_address",
    "nonce_cookie",
    "opaque_string",
    "parse",
    "rfc4571_frame",
    "security_features",
    "userhash",
]
