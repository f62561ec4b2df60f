"""STUN (RFC 8489): messages, keys, framing, transactions. Sans-IO: nothing here opens a socket or reads a clock."""

from __future__ import annotations

from fasticePy._native.framing import ChannelData, StreamDecoder, classify, rfc4571_frame
from fasticePy._native.stun import Message, MessageBuilder, ParseError, is_stun, parse
from fasticePy.stun.agent import (
    IndicationReceived,
    RequestFailed,
    ResponseReceived,
    StunAgent,
    mapped_address,
)
from fasticePy.stun.credentials import (
    IntegrityKey,
    long_term_key,
    nonce_cookie,
    opaque_string,
    security_features,
    userhash,
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
from fasticePy.stun.rto import RtoEstimator
from fasticePy.stun.server import BindingServer
from fasticePy.stun.transaction import Transaction, Transactions

__all__ = [
    "MAGIC_COOKIE",
    "Attribute",
    "BindingServer",
    "ChannelData",
    "ErrorCode",
    "IndicationReceived",
    "IntegrityKey",
    "Message",
    "MessageBuilder",
    "MessageClass",
    "Method",
    "PacketKind",
    "ParseError",
    "PasswordAlgorithm",
    "RequestFailed",
    "ResponseReceived",
    "RtoEstimator",
    "SecurityFeature",
    "StreamDecoder",
    "StunAgent",
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
