"""Keys and names of STUN's credential mechanisms (RFC 8489 9, 14.4, 18.1)."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING

from fasticePy._native.integrity import MacKey
from fasticePy.stun.precis import opaque_string
from fasticePy.stun.registry import PasswordAlgorithm, SecurityFeature

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["IntegrityKey", "long_term_key", "nonce_cookie", "opaque_string", "security_features", "userhash"]

_COOKIE = "obMatJos2"
"""How a nonce with feature bits begins; four base64 characters follow (RFC 8489 9.2)."""


def long_term_key(username: str, realm: str, password: str, algorithm: int = PasswordAlgorithm.MD5) -> bytes:
    """The key of the long-term mechanism (RFC 8489 9.2.2, 18.5.1): 16 bytes with MD5, 32 with SHA-256.

    The strings are prepared as OpaqueStrings. Raises ValueError when they cannot be, or for an unknown algorithm.
    """
    text = f"{opaque_string(username)}:{opaque_string(realm)}:{opaque_string(password)}".encode()
    if algorithm == PasswordAlgorithm.MD5:
        return hashlib.md5(text, usedforsecurity=False).digest()
    if algorithm == PasswordAlgorithm.SHA256:
        return hashlib.sha256(text).digest()
    raise ValueError(f"password algorithm {algorithm} is not known")


def userhash(username: str, realm: str) -> bytes:
    """The 32 bytes of USERHASH, which stands for a username that should not be seen (RFC 8489 14.4)."""
    return hashlib.sha256(f"{opaque_string(username)}:{opaque_string(realm)}".encode()).digest()


def nonce_cookie(features: SecurityFeature) -> str:
    """The 13 characters with which a server's nonces begin (RFC 8489 9.2)."""
    return _COOKIE + base64.b64encode(int(features).to_bytes(3, "big")).decode()


def security_features(nonce: str) -> SecurityFeature | None:
    """The feature bits in the nonce cookie at the beginning of a nonce (RFC 8489 9.2); None when it has none."""
    if not nonce.startswith(_COOKIE):
        return None
    try:
        bits = base64.b64decode(nonce[len(_COOKIE) : len(_COOKIE) + 4], validate=True)
    except (binascii.Error, ValueError):
        return None
    return SecurityFeature(int.from_bytes(bits, "big")) if len(bits) == 3 else None


class IntegrityKey(MacKey):
    """The key of MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256, with the hashing that depends on it alone done once.

    Made by `short_term`, `long_term` or `from_bytes`. It is immutable, threads may share it, its text shows nothing.
    """

    __slots__ = ()

    @classmethod
    def short_term(cls, password: str) -> Self:
        """The key of a short-term password, such as ICE's (RFC 8489 9.1.1). Raises ValueError for an impossible one."""
        return cls(opaque_string(password).encode())

    @classmethod
    def long_term(
        cls, username: str, realm: str, password: str, algorithm: int = PasswordAlgorithm.MD5
    ) -> Self:
        """The key of a username and password in a realm, as `long_term_key` makes it."""
        return cls(long_term_key(username, realm, password, algorithm))

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """The key with these bytes, when it was made elsewhere."""
        return cls(raw)
