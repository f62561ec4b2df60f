"""Nonces that a server makes and recognizes without remembering any (RFC 8489 9.2)."""

from __future__ import annotations

import base64
import binascii
import math
import struct

from fasticePy._native.integrity import MacKey, equal_bytes, hmac_sha256
from fasticePy.machine import Address
from fasticePy.stun.credentials import nonce_cookie
from fasticePy.stun.registry import SecurityFeature

LIFE = 600.0
"""Seconds for which a nonce is good."""
MIN_LIFE = 1.0
MAX_LIFE = 3600.0
"""Seconds (RFC 8656 5); a nonce knows in which second it was made, not when in it."""
MAX_AHEAD = 5.0
"""Seconds by which a nonce may come from the future: from another process, whose clock is ahead of ours."""
MIN_SECRET = 16
"""Bytes of a secret."""

_MAC = 6
"""Bytes of the proof in a nonce. Who guesses one (2^48) gains nothing without a password: the nonce is not what
authenticates a request, and a captured request holds the nonce that it was signed with."""
_FORM = struct.Struct(f"!H{_MAC}s")
_TEXT = 11  # what base64 makes of it, without the padding that says nothing


class Nonces:
    """Makes nonces for sources, and recognizes its own, whoever made them with the same secret.

    A nonce is the cookie with the feature bits, the second in which it was made, and a MAC over that, the source and
    whatever else it is bound to: 24 characters, so that the 401 that carries it stays small.
    """

    __slots__ = ("_cookie", "_keys", "_life")

    def __init__(
        self, secret: bytes, *, features: SecurityFeature = SecurityFeature.NONE, life: float = LIFE
    ) -> None:
        """`secret` is random and at least 16 bytes long; processes that share it must share a clock too. A nonce is
        good for `life` seconds, 1 to 3600. Raises ValueError otherwise."""
        if not MIN_LIFE <= life <= MAX_LIFE:
            raise ValueError(f"a nonce lives for {MIN_LIFE:g} to {MAX_LIFE:g} s (RFC 8656 5), not {life:g} s")
        self._cookie = nonce_cookie(features)
        self._life = life
        self._keys: tuple[MacKey, ...] = (_key(secret),)

    def rotate(self, secret: bytes) -> None:
        """Make nonces with another secret from now on. Those of the previous one are still good for their life, older
        ones no longer."""
        self._keys = (_key(secret), self._keys[0])

    def make(self, source: Address, now: float, context: str = "") -> str:
        """A nonce for `source`, and nobody else; `context` is what else it is bound to, such as the transport."""
        second = math.floor(now)
        mac = self._mac(self._keys[0], second, source, context)
        body = base64.b64encode(_FORM.pack(second & 0xFFFF, mac)).decode()
        return self._cookie + body[:_TEXT]

    def valid(self, nonce: str, source: Address, now: float, context: str = "") -> bool:
        """Whether it was made for this source and context, and is not too old."""
        if len(nonce) != len(self._cookie) + _TEXT or not nonce.startswith(self._cookie):
            return False
        try:
            low, mac = _FORM.unpack(base64.b64decode(nonce[len(self._cookie) :] + "=", validate=True))
        except (binascii.Error, ValueError, struct.error):
            return False
        present = math.floor(now)
        second = present + ((low - present + 0x8000) & 0xFFFF) - 0x8000  # of all that end so, the nearest
        if not -MAX_AHEAD <= now - second <= self._life:
            return False
        # all keys, so that the time it takes does not tell which was right
        matches = [equal_bytes(self._mac(key, second, source, context), mac) for key in self._keys]
        return any(matches)

    def _mac(self, key: MacKey, second: int, source: Address, context: str) -> bytes:
        host, port = source
        text = f"{self._cookie}\0{second}\0{host}\0{port}\0{context}"
        return hmac_sha256(key, text.encode())[:_MAC]


def _key(secret: bytes) -> MacKey:
    if len(secret) < MIN_SECRET:
        raise ValueError(f"the secret of nonces has at least {MIN_SECRET} bytes, not {len(secret)}")
    return MacKey(secret)
