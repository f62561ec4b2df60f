"""What others, and we ourselves, can make a machine hold or do at most."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds of one `MdnsMachine`."""

    sockets: int = 64
    """Links."""
    names: int = 256
    """Names of ours that are published."""
    requests: int = 512
    """Names that are being resolved."""
    cached: int = 256
    """Names of others that are remembered; the one heard of first goes first."""
    cached_seconds: float = 120.0
    """How long one is remembered at most, whatever its TTL: as long as those of ICE agents."""
    answers: int = 8
    """Answers for one name on one link in a row, multicast and unicast counted apart, and then
    `answers_per_second`."""
    answers_per_second: float = 1.0
