"""The servers that a program embeds: `StunServer` answers STUN Binding requests over UDP and TCP."""

from __future__ import annotations

from fasticePy.server.limits import ServerLimits
from fasticePy.server.stun_server import StunServer

__all__ = ["ServerLimits", "StunServer"]
