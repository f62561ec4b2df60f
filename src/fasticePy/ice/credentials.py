"""User fragment and password of one side (RFC 8445 5.3, RFC 8839 5.4)."""

from __future__ import annotations

from dataclasses import dataclass, field

from fasticePy.machine import Rng

ICE_CHARS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_ICE_CHAR_SET = frozenset(ICE_CHARS)
UFRAG_LENGTH = 8  # 48 random bits; at least 24 are asked for
PWD_LENGTH = 24  # 144 random bits; at least 128 are asked for
UFRAG_LIMITS = (4, 256)
PWD_LIMITS = (22, 256)
UFRAG_SENT_LIMIT = 32
"""Longest ufrag that we may send, though we take longer ones (RFC 8839 5.4)."""


def random_ice_string(rng: Rng, length: int) -> str:
    """`length` ice-chars, 6 random bits each, drawn with one call of `rng`."""
    return "".join(ICE_CHARS[byte & 0x3F] for byte in rng(length))


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user fragment and its password. Raises ValueError when one is too short, too long or has other characters."""

    ufrag: str
    pwd: str = field(repr=False)

    def __post_init__(self) -> None:
        _check("ufrag", self.ufrag, UFRAG_LIMITS)
        _check("pwd", self.pwd, PWD_LIMITS)

    @classmethod
    def generate(cls, rng: Rng) -> Credentials:
        """New random ones."""
        return cls(random_ice_string(rng, UFRAG_LENGTH), random_ice_string(rng, PWD_LENGTH))

    @classmethod
    def own(cls, ufrag: str, pwd: str) -> Credentials:
        """Ours, chosen by the application. Raises ValueError as the class does, and for a ufrag too long to be sent."""
        if len(ufrag) > UFRAG_SENT_LIMIT:
            raise ValueError(
                f"a local ICE ufrag has {UFRAG_SENT_LIMIT} characters at most, this one has {len(ufrag)}"
            )
        return cls(ufrag, pwd)


def _check(name: str, value: str, limits: tuple[int, int]) -> None:
    low, high = limits
    if not low <= len(value) <= high:
        raise ValueError(f"ICE {name} must have {low} to {high} characters, this one has {len(value)}")
    if not _ICE_CHAR_SET.issuperset(value):
        raise ValueError(f"ICE {name} may only have the characters A-Z a-z 0-9 + /")
