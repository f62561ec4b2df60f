"""How a server tells whether a request comes from whom it says: the credential mechanisms of RFC 8489 9 and RFC 7635.

An authenticator looks at a request and gives either a `Grant`, which also signs the answer, or a `Refusal`, which says
what to answer instead. It remembers nothing of clients but how many challenges they got of late.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from fasticePy._native.integrity import MacKey
from fasticePy._native.stun import Message, MessageBuilder
from fasticePy.machine import Address, Rng
from fasticePy.stun.access_token import TokenVerifier, token_keys
from fasticePy.stun.budget import CHALLENGES_PER_SECOND, ChallengeBudget
from fasticePy.stun.credentials import IntegrityKey, long_term_key, security_features, userhash
from fasticePy.stun.nonces import LIFE, Nonces
from fasticePy.stun.precis import opaque_string
from fasticePy.stun.registry import (
    Attribute,
    ErrorCode,
    MessageClass,
    PasswordAlgorithm,
    SecurityFeature,
)

ROTATION = 3600.0
"""Seconds after which an authenticator takes a new secret for its nonces; it is never less than their life."""

KeyLookup: TypeAlias = Callable[[str, str, int], bytes | None]
"""`lookup(username, realm, algorithm)` gives the long-term key, as `long_term_key` makes it, or None for an unknown
user or an algorithm without a key. Anybody's requests call it, with any name: it should take the same time for all."""


@dataclass(frozen=True, slots=True)
class Grant:
    """The request is authenticated."""

    username: str
    keys: tuple[MacKey, MacKey]
    """The keys for MESSAGE-INTEGRITY and for MESSAGE-INTEGRITY-SHA256; only tokens have two different ones."""
    sha256: bool
    """Which of them signs the answer."""
    algorithm: int | None = None
    """The password algorithm of a long-term key."""
    lifetime: float | None = None
    """Seconds for which the access token is good still (RFC 7635 9); None without a token."""

    def sign(self, builder: MessageBuilder, *, fingerprint: bool = False) -> bytes:
        """The answer with its integrity: exactly one (RFC 8489 9.1.3, 9.2.4)."""
        key = self.keys[self.sha256]
        return builder.build(key, fingerprint=fingerprint, sha1=not self.sha256, sha256=self.sha256)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The request is not authenticated. `code` None: it is not answered at all."""

    code: int | None
    reason: str
    """For counters."""
    attributes: tuple[tuple[int, object], ...] = ()
    """What the error response has besides ERROR-CODE."""


class Authentication(Protocol):
    """What servers need of an authenticator."""

    @property
    def attributes(self) -> frozenset[int]:
        """Comprehension-required attributes that it understands besides those of RFC 8489."""
        ...

    def check(
        self,
        message: Message,
        source: Address,
        now: float,
        *,
        context: str = "",
        session: Grant | None = None,
    ) -> Grant | Refusal:
        """Judge a request from `source`. `context` is what nonces are bound to besides, such as the transport;
        `session` the grant that this client's allocation began with, if there is one."""
        ...


@dataclass(frozen=True, slots=True)
class _Found:
    """Who a request says that it is from, and by which keys to verify that."""

    username: str
    keys: tuple[MacKey, MacKey]
    sha256: bool
    algorithm: int | None = None
    lifetime: float | None = None
    problem: str = ""


class Authenticator:
    """The long-term mechanism (RFC 8489 9.2.4), and access tokens (RFC 7635 7).

    A 401 without password algorithms and with a realm of up to 12 bytes has 72 bytes, 3.6 times the shortest request;
    each algorithm that is offered adds 4 to 8. A 438 goes only to who knows the password, and is shorter than its
    request. To each source only so many 401s are sent; beyond, there is silence.
    """

    __slots__ = (
        "_algorithms",
        "_budget",
        "_find_user",
        "_hashes",
        "_keys",
        "_listed",
        "_lookup",
        "_nobody",
        "_nonces",
        "_rng",
        "_rotate_at",
        "_rotation",
        "_tokens",
        "attributes",
        "realm",
    )

    def __init__(
        self,
        realm: str,
        users: Mapping[str, str] | KeyLookup,
        *,
        rng: Rng,
        secret: bytes | None = None,
        algorithms: Sequence[int] = (),
        anonymity: bool = False,
        find_user: Callable[[bytes], str | None] | None = None,
        nonce_life: float = LIFE,
        tokens: TokenVerifier | None = None,
        challenges_per_second: float | None = CHALLENGES_PER_SECOND,
    ) -> None:
        """`users` are passwords by name, or a function that finds keys.

        `rng` gives the secret of the nonces, a new one each hour. With a `secret` that is shared by several processes
        they take each other's nonces, and `rotate` is the owner's to call. `algorithms` are offered in this order
        (PASSWORD-ALGORITHMS); old clients use MD5 all the same, unless there are some and MD5 is not among them.
        `anonymity` asks for USERHASH instead of USERNAME; with a function for `users` it needs `find_user`, which gives
        the name to a hash. `tokens` takes access tokens too. `challenges_per_second` None sets no limit to 401s.
        Raises ValueError for names, passwords and algorithms that cannot be.
        """
        unknown = set(algorithms) - set(PasswordAlgorithm)
        if unknown or len(set(algorithms)) != len(algorithms):
            raise ValueError(f"password algorithms are each of {list(PasswordAlgorithm)} at most once")
        if anonymity and callable(users) and find_user is None:
            raise ValueError("anonymity needs find_user, which gives the name to a hash")
        opaque_string(realm)
        self.realm = realm
        self.attributes = frozenset({Attribute.ACCESS_TOKEN} if tokens is not None else ())
        self._algorithms = tuple(algorithms) or (PasswordAlgorithm.MD5,)
        features = SecurityFeature.NONE
        if algorithms:
            features |= SecurityFeature.PASSWORD_ALGORITHMS
        if anonymity:
            features |= SecurityFeature.USERNAME_ANONYMITY
        self._listed = _encode_list(algorithms) if algorithms else None
        self._tokens = tokens
        self._rng = rng
        self._rotation = None if secret is not None else max(ROTATION, nonce_life)
        self._rotate_at: float | None = None
        self._nonces = Nonces(rng(32) if secret is None else secret, features=features, life=nonce_life)
        self._budget = None if challenges_per_second is None else ChallengeBudget(challenges_per_second)
        self._nobody = IntegrityKey.from_bytes(
            rng(32)
        )  # verified where there is no key: the same work for all
        self._lookup: KeyLookup | None = None
        self._find_user = find_user
        self._keys: dict[str, dict[int, IntegrityKey]] = {}
        self._hashes: dict[bytes, str] = {}
        if callable(users):
            self._lookup = users
        else:
            self.set_users(users)
        builder = MessageBuilder(0, MessageClass.ERROR, bytes(12))  # what cannot be sent is found out now
        for attribute, value in self._challenge(("", 1), 0.0, ""):
            builder.add(attribute, value)

    def __repr__(self) -> str:
        return f"<Authenticator of realm {self.realm!r}>"

    def set_users(self, users: Mapping[str, str]) -> None:
        """These are the users from now on, passwords by name. Raises ValueError, and changes nothing, when one of them
        cannot be; and when users are found by a function."""
        if self._lookup is not None:
            raise ValueError("the users of this authenticator are found by a function")
        keys: dict[str, dict[int, IntegrityKey]] = {}
        for name, password in users.items():
            keys[opaque_string(name)] = {
                algorithm: IntegrityKey.from_bytes(long_term_key(name, self.realm, password, algorithm))
                for algorithm in self._algorithms
            }
        self._hashes = {userhash(name, self.realm): name for name in keys}
        self._keys = keys

    def rotate(self, secret: bytes) -> None:
        """Make nonces with this secret from now on; those of the one before are still good for their life."""
        self._nonces.rotate(secret)

    def check(
        self,
        message: Message,
        source: Address,
        now: float,
        *,
        context: str = "",
        session: Grant | None = None,
    ) -> Grant | Refusal:
        """The checks of RFC 8489 9.2.4, in that order, and for requests with a token those of RFC 7635 7.

        `session` is for requests that come after the first: with its user name they are verified by its key, so that a
        credential or token that is no longer given out does not end what it began.
        """
        self._rotate_if_due(now)
        if not message.has_integrity:
            return self._unauthenticated("without integrity", source, now, context)
        username: str | None = message.get(Attribute.USERNAME)
        hashed: bytes | None = message.get(Attribute.USERHASH)
        nonce: str | None = message.get(Attribute.NONCE)
        if (username is None and hashed is None) or nonce is None or message.get(Attribute.REALM) is None:
            return Refusal(ErrorCode.BAD_REQUEST, "400: user name, realm or nonce missing")
        if Attribute.ACCESS_TOKEN in message and self._tokens is not None:
            found = self._by_token(self._tokens, message, username, now)
        elif session is not None and session.algorithm is None and username == session.username:
            found = _Found(session.username, session.keys, message.integrity_kind == "sha256")
        else:
            algorithm = self._algorithm(message, nonce)
            if algorithm is None:
                return Refusal(ErrorCode.BAD_REQUEST, "400: password algorithms are not those offered")
            found = self._by_password(message, username, hashed, algorithm, session)
        # verified whether there is a user or not, so that the time it takes does not tell
        verified = message.verify_integrity(found.keys[message.integrity_kind == "sha256"])
        if found.problem:
            return self._unauthenticated(found.problem, source, now, context)
        if not verified:
            return self._unauthenticated("wrong integrity", source, now, context)
        if not self._nonces.valid(nonce, source, now, context):
            challenge = self._challenge(source, now, context)
            return Refusal(ErrorCode.STALE_NONCE, "438: nonce stale", tuple(challenge))
        return Grant(found.username, found.keys, found.sha256, found.algorithm, found.lifetime)

    # --- who it is

    def _algorithm(self, message: Message, nonce: str) -> int | None:
        """The password algorithm of a request; None when it does not fit what was offered."""
        listed, chosen = message.raw(Attribute.PASSWORD_ALGORITHMS), message.raw(Attribute.PASSWORD_ALGORITHM)
        features = security_features(nonce) or SecurityFeature.NONE
        if not features & SecurityFeature.PASSWORD_ALGORITHMS or listed is chosen is None:
            return PasswordAlgorithm.MD5
        algorithm: tuple[int, bytes] | None = message.get(Attribute.PASSWORD_ALGORITHM)
        if (
            algorithm is None
            or listed != self._listed
            or algorithm[1]
            or algorithm[0] not in self._algorithms
        ):
            return None
        return algorithm[0]

    def _by_password(
        self,
        message: Message,
        username: str | None,
        hashed: bytes | None,
        algorithm: int,
        session: Grant | None,
    ) -> _Found:
        # RFC 8489 9.2.4: MESSAGE-INTEGRITY only for who knows of no password algorithms
        sha256 = Attribute.PASSWORD_ALGORITHM in message or Attribute.PASSWORD_ALGORITHMS in message
        if username is None and hashed is not None:
            username = self._find_user(hashed) if self._find_user is not None else self._hashes.get(hashed)
        if session is not None and (session.username, session.algorithm) == (username, algorithm):
            return _Found(session.username, session.keys, sha256, algorithm)
        key = self._key(username or "", algorithm)  # for the hash of nobody too, for the time that it takes
        if key is None or username is None:
            return _Found("", (self._nobody, self._nobody), sha256, problem="unknown user")
        return _Found(username, (key, key), sha256, algorithm)

    def _key(self, username: str, algorithm: int) -> MacKey | None:
        if algorithm not in self._algorithms:
            return None
        if self._lookup is None:
            keys = self._keys.get(username)
            return None if keys is None else keys.get(algorithm)
        try:
            raw = self._lookup(username, self.realm, algorithm)
        except (LookupError, ValueError):  # names come from anybody: no such user, or no name at all
            return None
        return None if raw is None else IntegrityKey.from_bytes(raw)

    def _by_token(self, tokens: TokenVerifier, message: Message, kid: str | None, now: float) -> _Found:
        token: bytes | None = message.get(Attribute.ACCESS_TOKEN)
        verified = tokens.verify(kid or "", token or b"", now)
        if verified is None or kid is None:
            return _Found("", (self._nobody, self._nobody), sha256=False, problem="bad token")
        access, remaining = verified
        sha256 = message.integrity_kind == "sha256"
        return _Found(kid, token_keys(access.mac_key), sha256, lifetime=remaining)

    # --- what is answered to others

    def _unauthenticated(self, reason: str, source: Address, now: float, context: str) -> Refusal:
        if self._budget is not None and not self._budget.take(source, now):
            return Refusal(None, "401 over budget")
        return Refusal(
            ErrorCode.UNAUTHENTICATED, f"401: {reason}", tuple(self._challenge(source, now, context))
        )

    def _challenge(self, source: Address, now: float, context: str) -> list[tuple[int, object]]:
        challenge: list[tuple[int, object]] = [
            (Attribute.REALM, self.realm),
            (Attribute.NONCE, self._nonces.make(source, now, context)),
        ]
        if self._listed is not None:
            challenge.append((Attribute.PASSWORD_ALGORITHMS, self._listed))
        if self._tokens is not None:
            challenge.append((Attribute.THIRD_PARTY_AUTHORIZATION, self._tokens.server_name))
        return challenge

    def _rotate_if_due(self, now: float) -> None:
        if self._rotation is None:
            return
        if self._rotate_at is None:
            self._rotate_at = now + self._rotation
        elif now >= self._rotate_at:
            self._rotate_at = now + self._rotation
            self._nonces.rotate(self._rng(32))


class ShortTermAuthenticator:
    """The short-term mechanism (RFC 8489 9.1.3): names and passwords that were agreed on elsewhere."""

    __slots__ = ("_find", "_nobody", "attributes")

    def __init__(self, users: Mapping[str, str] | Callable[[str], MacKey | None], *, rng: Rng) -> None:
        """`users` are passwords by name, or a function that gives the key to a name, or None. Raises ValueError for
        passwords that cannot be."""
        self.attributes: frozenset[int] = frozenset()
        self._nobody = IntegrityKey.from_bytes(rng(32))
        if callable(users):
            self._find = users
        else:
            keys = {opaque_string(name): IntegrityKey.short_term(users[name]) for name in users}
            self._find = keys.get

    def check(
        self,
        message: Message,
        source: Address,
        now: float,
        *,
        context: str = "",
        session: Grant | None = None,
    ) -> Grant | Refusal:
        """The checks in their order; an indication that fails one is not answered."""
        silent = message.message_class != MessageClass.REQUEST
        username: str | None = message.get(Attribute.USERNAME)
        if username is None or not message.has_integrity:
            return Refusal(None if silent else ErrorCode.BAD_REQUEST, "400: user name or integrity missing")
        key = self._find(username)
        verified = message.verify_integrity(self._nobody if key is None else key)
        if key is None or not verified:
            reason = "401: unknown user" if key is None else "401: wrong integrity"
            return Refusal(None if silent else ErrorCode.UNAUTHENTICATED, reason)
        return Grant(username, (key, key), message.integrity_kind == "sha256")


def _encode_list(algorithms: Sequence[int]) -> bytes:
    """PASSWORD-ALGORITHMS as it is sent, and must come back: none of ours has parameters (RFC 8489 14.11)."""
    return b"".join(algorithm.to_bytes(2, "big") + b"\0\0" for algorithm in algorithms)
