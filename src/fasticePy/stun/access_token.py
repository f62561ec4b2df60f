"""Access tokens of third-party authorization: what an authorization server puts into one, and how a STUN or TURN server
reads it (RFC 7635 6.2, 7). Clients never look into tokens.

The package `cryptography` does the encryption; it is imported when the first key is used.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from fasticePy._native.stun import ParseError
from fasticePy.stun.credentials import IntegrityKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TokenAlgorithm: TypeAlias = Literal["A256GCM", "A128GCM"]
"""Authenticated encryption of tokens; every server knows A256GCM (RFC 7635 4.1.1)."""

MAX_TOKEN = 320
"""Bytes of an access token: with a usual challenge, the request fits 548 bytes (RFC 7635 6.2)."""
MIN_MAC_KEY = 16
MAX_MAC_KEY = 64
"""Bytes of the key in a token; 20 is usual, 32 is for SHA-256 (RFC 7635 6.2, B)."""
DELTA = 5.0
"""Seconds by which clocks may differ (RFC 7635 7)."""

_KEY_SIZES = {"A256GCM": 32, "A128GCM": 16}
_NONCE = 12  # bytes, the only length that RFC 5116 5.1 has for AES-GCM
_TAG = 16
_TAIL = struct.Struct("!QI")  # timestamp and lifetime
_FRACTIONS = 64000  # of a second, in the 16 bits behind the seconds


@dataclass(frozen=True, slots=True)
class TokenKey:
    """The key that an authorization server and a STUN server share for tokens. Raises ValueError for a wrong length."""

    key: bytes = field(repr=False)
    algorithm: TokenAlgorithm = "A256GCM"

    def __post_init__(self) -> None:
        size = _KEY_SIZES.get(self.algorithm)
        if size is None:
            raise ValueError(f"token algorithm {self.algorithm!r} is not known")
        if len(self.key) != size:
            raise ValueError(f"a key for {self.algorithm} has {size} bytes, not {len(self.key)}")

    def cipher(self) -> AESGCM:
        """The cipher with this key. Raises ImportError when the package cryptography is not there."""
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - see above
        except ImportError as error:
            raise ImportError("access tokens need the package cryptography (extra [dtls])") from error
        return AESGCM(self.key)


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What is in a token: a session key, since when it is good (Unix time in seconds) and for how many seconds."""

    mac_key: bytes = field(repr=False)
    timestamp: float
    lifetime: int

    def encode(self, key: TokenKey, server_name: str, nonce: bytes) -> bytes:
        """The token for the server with this name. `nonce` is 12 bytes that this key never saw before. Raises
        ValueError for impossible values."""
        if not MIN_MAC_KEY <= len(self.mac_key) <= MAX_MAC_KEY:
            raise ValueError(f"a MAC key has {MIN_MAC_KEY} to {MAX_MAC_KEY} bytes, not {len(self.mac_key)}")
        if len(nonce) != _NONCE:
            raise ValueError(f"the nonce has {_NONCE} bytes, not {len(nonce)}")
        seconds, fractions = divmod(round(self.timestamp * _FRACTIONS), _FRACTIONS)
        if not 0 <= seconds < 1 << 48 or not 0 <= self.lifetime < 1 << 32:
            raise ValueError("the timestamp has 48 bits of seconds, the lifetime 32")
        plain = len(self.mac_key).to_bytes(2, "big") + self.mac_key
        plain += _TAIL.pack(seconds << 16 | fractions, self.lifetime)
        sealed = key.cipher().encrypt(nonce, plain, server_name.encode())
        return _NONCE.to_bytes(2, "big") + nonce + sealed

    @classmethod
    def decode(cls, token: bytes, key: TokenKey, server_name: str) -> AccessToken:
        """Read a token. Raises ParseError for anything that was not made with this key for this server."""
        return _decode(token, key.cipher(), server_name)

    def remaining(self, unix_time: float) -> float:
        """Seconds for which it is good; not good when that is not more than 0. An allocation made with it lasts no
        longer (RFC 7635 7, 9)."""
        return self.lifetime + DELTA - abs(unix_time - self.timestamp)


class TokenVerifier:
    """A server's side of third-party authorization: whose tokens it takes.

    `server_name` is what clients are told in THIRD-PARTY-AUTHORIZATION, and what tokens have to be made for. `keys` are
    the keys shared with authorization servers, by kid. `unix_time` turns the machine's clock into Unix time, both in
    seconds: `lambda now: now + difference`. Raises ImportError when the package cryptography is not there.
    """

    __slots__ = ("_ciphers", "_unix_time", "server_name")

    def __init__(
        self, server_name: str, keys: Mapping[str, TokenKey], unix_time: Callable[[float], float]
    ) -> None:
        self.server_name = server_name
        self._ciphers = {kid: key.cipher() for kid, key in keys.items()}
        self._unix_time = unix_time

    def verify(self, kid: str, token: bytes, now: float) -> tuple[AccessToken, float] | None:
        """A token that is good now, and for how many seconds more; None for all others."""
        cipher = self._ciphers.get(kid)
        if cipher is None:
            return None
        try:
            access = _decode(token, cipher, self.server_name)
        except ParseError:
            return None
        remaining = access.remaining(self._unix_time(now))
        return (access, remaining) if remaining > 0 else None


def token_keys(mac_key: bytes) -> tuple[IntegrityKey, IntegrityKey]:
    """The keys for MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256 that a token's mac_key makes: one of 256 bits is for
    SHA-256, and its SHA-1 is the key for the other (RFC 7635 B)."""
    sha1 = hashlib.sha1(mac_key, usedforsecurity=False).digest() if len(mac_key) == 32 else mac_key
    return IntegrityKey.from_bytes(sha1), IntegrityKey.from_bytes(mac_key)


def _decode(token: bytes, cipher: AESGCM, server_name: str) -> AccessToken:
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - it is there when there is a cipher

    overhead = 2 + _NONCE + 2 + _TAIL.size + _TAG
    # every length is bounded before it is used: they come from anybody
    if not overhead + MIN_MAC_KEY <= len(token) <= overhead + MAX_MAC_KEY:
        raise ParseError(f"{len(token)} bytes are no access token")
    if token[:2] != _NONCE.to_bytes(2, "big"):
        raise ParseError("the nonce of an access token has 12 bytes")
    try:
        plain = cipher.decrypt(token[2 : 2 + _NONCE], token[2 + _NONCE :], server_name.encode())
    except InvalidTag:
        raise ParseError("the access token was made with another key, or for another server") from None
    size = int.from_bytes(plain[:2], "big")
    if size != len(plain) - 2 - _TAIL.size:
        raise ParseError("the key in the access token does not fill it")
    timestamp, lifetime = _TAIL.unpack_from(plain, 2 + size)
    return AccessToken(plain[2 : 2 + size], (timestamp >> 16) + (timestamp & 0xFFFF) / _FRACTIONS, lifetime)
