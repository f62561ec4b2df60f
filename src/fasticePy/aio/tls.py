"""TLS towards STUN and TURN servers: the context, and its errors in words (RFC 8489 6.2.3, RFC 7443)."""

from __future__ import annotations

import ssl
from typing import Literal, TypeAlias

Alpn: TypeAlias = Literal["stun.nat-discovery", "stun.turn"]
"""What a flow is for (RFC 7443): asking for our address, or relaying."""


def client_context(alpn: Alpn) -> ssl.SSLContext:
    """TLS 1.2 or later, certificates and names verified by the system's authorities, no compression, ephemeral keys
    only; DHE- and ECDHE-RSA-AES128-GCM-SHA256 are among the cipher suites, as RFC 8489 6.2.3 asks. Reads files."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([alpn])
    return context


def explain(error: ssl.SSLError, name: str) -> str:
    """Why the server was not accepted, in words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        message = error.verify_message.rstrip(".")
        return f"the certificate is not accepted as that of {name}: {message[:1].lower()}{message[1:]}"
    reason = (error.reason or str(error)).lower().replace("_", " ")
    if reason in ("wrong version number", "record layer failure", "http request"):
        return f"the server does not speak TLS there ({reason})"
    return f"the TLS handshake failed: {reason}"
