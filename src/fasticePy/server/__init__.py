"""The servers that a program embeds: `StunServer` answers STUN Binding requests over UDP, TCP, TLS and DTLS."""

from __future__ import annotations

from fasticePy.server.certificate import Certificate, self_signed_certificate
from fasticePy.server.limits import ServerLimits
from fasticePy.server.stun_server import StunServer

__all__ = ["Certificate", "ServerLimits", "StunServer", "self_signed_certificate"]
