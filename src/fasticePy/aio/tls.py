"""TLS towards STUN and TURN servers: the context, and its errors in words (RFC 8489 6.2.3, RFC 7443)."""

from __future__ import annotations

import ssl
from typing import Literal, TypeAlias

Alpn: TypeAlias = Literal["stun.nat-discovery", "stun.turn"]
"""What a flow is for (RFC 7443): asking for our address, or relaying."""

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20:ECDHE+AES:DHE+AES:!aNULL:!aDSS:!PSK:!SRP:!SHA1:!AESCCM"
"""For TLS 1.2, as OpenSSL reads it. Named here, because what a Python offers by itself depends on who built it."""


def client_context(alpn: Alpn) -> ssl.SSLContext:
    """TLS 1.2 or later, certificates and names verified by the system's authorities, no compression, ephemeral keys
    only; DHE- and ECDHE-RSA-AES128-GCM-SHA256 are among the cipher suites, as RFC 8489 6.2.3 asks. Reads files."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols([alpn])
    return context


class TlsError(OSError):
    """No TLS or DTLS with this server; the text says why. `certificate` tells whether its certificate is the reason."""

    def __init__(self, text: str, *, certificate: bool = False) -> None:
        super().__init__(text)
        self.certificate = certificate


def bad_certificate(name: str, reason: str) -> TlsError:
    """The server did not prove that it is `name`."""
    return TlsError(f"the certificate is not accepted as that of {name}: {reason}", certificate=True)


def in_words(error: ssl.SSLError, name: str) -> TlsError:
    """An error of `ssl` as people understand it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        message = error.verify_message.rstrip(".")
        return bad_certificate(name, f"{message[:1].lower()}{message[1:]}")
    reason = (error.reason or str(error)).lower().replace("_", " ")
    if reason in _NO_TLS:
        return TlsError(f"the server does not speak TLS there ({reason})")
    return TlsError(f"the TLS handshake failed: {reason}")


_NO_TLS = frozenset(
    {"wrong version number", "record layer failure", "http request", "packet length too long"}
)
