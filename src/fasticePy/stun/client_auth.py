"""How a client signs its requests and whom it believes: the credential mechanisms of RFC 8489 9 and RFC 7635.

Credentials are what the application has; a mechanism is those credentials at one server, with what was learnt of it
there: realm and nonce, the password algorithm, the hash that it uses. Who sends requests asks the mechanism for the
proof to put into each, and shows it each response.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeAlias

from fasticePy._native.integrity import MacKey
from fasticePy._native.stun import Message
from fasticePy.stun.access_token import MAX_MAC_KEY, MAX_TOKEN, MIN_MAC_KEY, token_keys
from fasticePy.stun.credentials import IntegrityKey, security_features, userhash
from fasticePy.stun.precis import opaque_string
from fasticePy.stun.registry import Attribute, ErrorCode, Method, PasswordAlgorithm, SecurityFeature
from fasticePy.stun.responses import describe, error_code

MAX_USERNAME = 508
"""Bytes of USERNAME (RFC 8489 14.3)."""

CHALLENGES = frozenset({ErrorCode.UNAUTHENTICATED, ErrorCode.STALE_NONCE})
"""Errors that ask for credentials, or for a newer nonce (RFC 8489 9.2.5)."""

_WITHOUT_TOKEN = frozenset(
    {Method.CREATE_PERMISSION, Method.CHANNEL_BIND, Method.CONNECT, Method.CONNECTION_BIND}
)  # RFC 7635 9: in TURN, only Allocate and Refresh carry the token
_NAMES = {PasswordAlgorithm.MD5: "MD5", PasswordAlgorithm.SHA256: "SHA-256"}


# --- what the application has


def _check_username(username: str) -> None:
    if not 0 < len(username.encode()) <= MAX_USERNAME:
        raise ValueError(f"a user name has 1 to {MAX_USERNAME} bytes (RFC 8489 14.3)")


@dataclass(frozen=True, slots=True)
class ShortTermCredentials:
    """A name and a password that both sides agreed on elsewhere, for a while (RFC 8489 9.1).

    Requests carry both MESSAGE-INTEGRITY-SHA256 and MESSAGE-INTEGRITY until the server has shown which it uses. Set
    `sha1` or `sha256` to False when it is known that the other one is right, as ICE knows. Raises ValueError for
    strings that cannot be prepared.
    """

    username: str
    password: str = field(repr=False)
    sha1: bool = True
    sha256: bool = True

    def __post_init__(self) -> None:
        opaque_string(self.password)
        _check_username(opaque_string(self.username))
        if not (self.sha1 or self.sha256):
            raise ValueError("requests are signed with SHA-1, SHA-256 or both")


@dataclass(frozen=True, slots=True)
class LongTermCredentials:
    """A user's name and password at a server (RFC 8489 9.2). Raises ValueError for strings that cannot be prepared."""

    username: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        opaque_string(self.password)
        _check_username(opaque_string(self.username))


@dataclass(frozen=True, slots=True)
class TokenCredentials:
    """An access token that an authorization server issued for a STUN or TURN server (RFC 7635).

    `kid` names the key that the two servers share, `token` is the token as bytes (base64 is undone), `mac_key` the key
    that came with it. `server_name` is the server that it is for; where it is given, the token is not shown to another.
    `fallback` is used at servers that take no tokens. Raises ValueError for impossible lengths.
    """

    kid: str
    token: bytes = field(repr=False)
    mac_key: bytes = field(repr=False)
    server_name: str | None = None
    fallback: LongTermCredentials | None = None

    def __post_init__(self) -> None:
        _check_username(self.kid)
        if not 0 < len(self.token) <= MAX_TOKEN:
            raise ValueError(f"an access token has 1 to {MAX_TOKEN} bytes, not {len(self.token)}")
        if not MIN_MAC_KEY <= len(self.mac_key) <= MAX_MAC_KEY:
            raise ValueError(f"a MAC key has {MIN_MAC_KEY} to {MAX_MAC_KEY} bytes, not {len(self.mac_key)}")


Credentials: TypeAlias = ShortTermCredentials | LongTermCredentials | TokenCredentials


# --- what becomes of it at a server


@dataclass(frozen=True, slots=True)
class Proof:
    """What one request carries to be believed: attributes, and the key of its integrity; nothing when empty."""

    attributes: tuple[tuple[int, object], ...] = field(default=(), repr=False)
    key: MacKey | None = None
    sha1: bool = True
    sha256: bool = False
    realm: bytes | None = None
    nonce: bytes | None = None
    with_token: bool = False


@dataclass(frozen=True, slots=True)
class Challenge:
    """A challenge that the next proof answers; the fields are those of the event `Challenged`."""

    realm: str
    mechanism: str
    anonymous: bool


class Mechanism(Protocol):
    """Credentials at one server."""

    @property
    def credentials(self) -> Credentials | None:
        """What it was made of; None when that goes for every server."""

    def proof(self, method: int) -> Proof:
        """What a request with this method carries now."""
        ...

    def doubt(self, proof: Proof, message: Message) -> str:
        """Why a response to a request with that proof is not to be believed, or ""."""
        ...

    def challenge(self, proof: Proof, message: Message) -> Challenge | str:
        """Take in a 401 or 438: what the next proof answers, or why the request must not be sent again."""
        ...

    def accepted(self, proof: Proof, message: Message) -> None:
        """Learn from a response without doubt."""


class KeyMechanism:
    """A key and nothing else: the attributes that go with it, and the rest, are the caller's (ICE)."""

    __slots__ = ("_proof", "credentials")

    credentials: Credentials | None

    def __init__(self, key: MacKey, *, sha1: bool = True, sha256: bool = False) -> None:
        """Raises ValueError when neither hash is used."""
        if not (sha1 or sha256):
            raise ValueError("a key needs sha1 or sha256")
        self.credentials = None
        self._proof = Proof(key=key, sha1=sha1, sha256=sha256)

    def proof(self, method: int) -> Proof:
        """The same in every request."""
        return self._proof

    def doubt(self, proof: Proof, message: Message) -> str:
        """Everything has to have integrity by the key (RFC 8489 9.1.4)."""
        return integrity_doubt(proof, message)

    def challenge(self, proof: Proof, message: Message) -> Challenge | str:
        """There is nothing else to offer."""
        return f"{describe(message)}: the credentials are refused"

    def accepted(self, proof: Proof, message: Message) -> None:
        """There is nothing to learn."""


class ShortTermMechanism(KeyMechanism):
    """Short-term credentials at one address and port (RFC 8489 9.1)."""

    __slots__ = ("_locked",)

    def __init__(self, credentials: ShortTermCredentials) -> None:
        super().__init__(
            IntegrityKey.short_term(credentials.password), sha1=credentials.sha1, sha256=credentials.sha256
        )
        self._proof = Proof(
            attributes=((Attribute.USERNAME, opaque_string(credentials.username)),),
            key=self._proof.key,
            sha1=credentials.sha1,
            sha256=credentials.sha256,
        )
        self.credentials = credentials
        self._locked = credentials.sha1 != credentials.sha256

    def accepted(self, proof: Proof, message: Message) -> None:
        """From the first answer on, requests have only the algorithm that it had (RFC 8489 9.1.5)."""
        if self._locked:
            return
        self._locked = True
        sha256 = message.integrity_kind == "sha256"
        self._proof = replace(proof, sha1=not sha256, sha256=sha256)


@dataclass(frozen=True, slots=True)
class _Signing:
    """How requests are signed since the last challenge."""

    challenge: Challenge
    proof: Proof
    token: bytes | None = field(default=None, repr=False)


class LongTermMechanism:
    """Long-term credentials or an access token at one server (RFC 8489 9.2, RFC 7635).

    The first request goes out bare; from the first challenge on requests are signed, with the latest nonce. One that
    is refused for its credentials makes the next one begin bare again.
    """

    __slots__ = ("_algorithms_seen", "_password", "_signing", "_strongest", "_token", "credentials")

    credentials: Credentials | None

    def __init__(
        self, credentials: LongTermCredentials | TokenCredentials, *, strongest: bool = False
    ) -> None:
        """`strongest` takes SHA-256 wherever it stands in the server's list, as TURN wants it (RFC 8656 6); else the
        first algorithm known is taken (RFC 8489 9.2.5)."""
        token = credentials if isinstance(credentials, TokenCredentials) else None
        self._token = token
        self._password = credentials.fallback if isinstance(credentials, TokenCredentials) else credentials
        self.credentials = credentials
        self._strongest = strongest
        self._signing: _Signing | None = None
        self._algorithms_seen = False

    def proof(self, method: int) -> Proof:
        """Nothing before the first challenge (RFC 8489 9.2.3.1)."""
        signing = self._signing
        if signing is None:
            return Proof()
        if signing.token is None or method in _WITHOUT_TOKEN:
            return signing.proof
        token = (Attribute.ACCESS_TOKEN, signing.token)
        return replace(signing.proof, attributes=(*signing.proof.attributes, token))

    def doubt(self, proof: Proof, message: Message) -> str:
        """A 401 or 438 is no matter of belief; all else has integrity, once the request had it (RFC 8489 9.2.5)."""
        if error_code(message) in CHALLENGES:
            return ""
        nonce: str | None = message.get(Attribute.NONCE)
        if nonce and _promises_algorithms(nonce) and Attribute.PASSWORD_ALGORITHMS not in message:
            return f"{describe(message)} has a nonce that promises password algorithms, and lists none"
        return "" if proof.key is None else integrity_doubt(proof, message)

    def challenge(self, proof: Proof, message: Message) -> Challenge | str:
        """Take over realm, nonce and algorithms for the next proofs (RFC 8489 9.2.5)."""
        what = describe(message)
        signing = self._answer(proof, message, stale=error_code(message) == ErrorCode.STALE_NONCE)
        if isinstance(signing, str):
            self._signing = None
            return f"{what}: {signing}"
        self._signing = signing
        return signing.challenge

    def accepted(self, proof: Proof, message: Message) -> None:
        """There is nothing to learn."""

    def _answer(self, proof: Proof, message: Message, *, stale: bool) -> _Signing | str:
        realm, nonce = message.raw(Attribute.REALM), message.raw(Attribute.NONCE)
        if stale and realm is None:
            realm = proof.realm
        elif message.get(Attribute.REALM) is None:
            realm = None
        nonce_text: str | None = message.get(Attribute.NONCE)
        if not realm or not nonce or nonce_text is None:
            return "there is no realm and nonce to answer it with"
        if stale and nonce == proof.nonce:
            return "the nonce is the one that it calls stale"
        if not stale and proof.key is not None and realm == proof.realm:
            what = "token is" if proof.with_token else "credentials are"
            return f"the {what} refused in the realm {realm.decode()!r}"
        listed = Attribute.PASSWORD_ALGORITHMS in message
        if not listed and (self._algorithms_seen or _promises_algorithms(nonce_text)):
            return "the list of password algorithms is missing, somebody may have taken it away"
        self._algorithms_seen |= listed
        try:
            return self._sign(message, realm, nonce, nonce_text)
        except ValueError as error:  # a realm with characters that a realm cannot have
            return f"the realm cannot be used: {error}"

    def _sign(self, message: Message, realm: bytes, nonce: bytes, nonce_text: str) -> _Signing | str:
        offer: str | None = message.get(Attribute.THIRD_PARTY_AUTHORIZATION)
        if self._token is not None and offer is not None and self._token.server_name in (None, offer):
            return _sign_with_token(self._token, realm, nonce)  # it has precedence (RFC 7635 6.1)
        if self._password is None:
            return "the server takes no tokens" if offer is None else f"it wants a token for {offer!r}"
        listed = message.raw(Attribute.PASSWORD_ALGORITHMS)
        algorithm: int | None = PasswordAlgorithm.MD5
        if listed is not None:
            algorithm = self._choose(message.get(Attribute.PASSWORD_ALGORITHMS) or ())
        if algorithm is None:
            return "none of the password algorithms is known"
        anonymous = bool(
            (security_features(nonce_text) or SecurityFeature.NONE) & SecurityFeature.USERNAME_ANONYMITY
        )
        return _sign_with_password(self._password, realm, nonce, listed, algorithm, anonymous)

    def _choose(self, offered: Iterable[tuple[int, bytes]]) -> int | None:
        # what is known has no parameters (RFC 8489 18.5.1): with some it is something else
        known = [algorithm for algorithm, parameters in offered if algorithm in _NAMES and not parameters]
        if self._strongest and PasswordAlgorithm.SHA256 in known:
            return PasswordAlgorithm.SHA256
        return known[0] if known else None


def mechanism_for(credentials: Credentials) -> Mechanism:
    """The mechanism that these credentials are for, at a server that nothing is known of."""
    if isinstance(credentials, ShortTermCredentials):
        return ShortTermMechanism(credentials)
    return LongTermMechanism(credentials)


def integrity_doubt(proof: Proof, message: Message) -> str:
    """Why the integrity of a response to a request with that proof is not right (RFC 8489 9.1.4), or ""."""
    if not message.has_integrity:
        return f"{describe(message)} came without integrity"
    sent = "sha1" if proof.sha1 else "sha256"
    if proof.sha1 != proof.sha256 and message.integrity_kind != sent:
        return f"{describe(message)} came with integrity by {message.integrity_kind} instead of {sent}"
    assert proof.key is not None
    return "" if message.verify_integrity(proof.key) else f"{describe(message)} came with wrong integrity"


def _promises_algorithms(nonce: str) -> bool:
    features = security_features(nonce)
    return features is not None and bool(features & SecurityFeature.PASSWORD_ALGORITHMS)


def _sign_with_password(
    credentials: LongTermCredentials,
    realm: bytes,
    nonce: bytes,
    listed: bytes | None,
    algorithm: int,
    anonymous: bool,
) -> _Signing:
    # RFC 8489 9.2.2: the strings count without quotes and trailing nulls
    name = realm.decode().rstrip("\0").strip('"')
    username = opaque_string(credentials.username)
    attributes: list[tuple[int, object]] = [
        (Attribute.USERHASH, userhash(username, name)) if anonymous else (Attribute.USERNAME, username),
        (Attribute.REALM, realm),
        (Attribute.NONCE, nonce),
    ]
    if listed is not None:
        attributes.append((Attribute.PASSWORD_ALGORITHMS, listed))
        attributes.append((Attribute.PASSWORD_ALGORITHM, (algorithm, b"")))
    key = IntegrityKey.long_term(username, name, credentials.password, algorithm)
    sha256 = listed is not None  # RFC 8489 9.2.5: after a list of algorithms, that alone
    proof = Proof(tuple(attributes), key, sha1=not sha256, sha256=sha256, realm=realm, nonce=nonce)
    return _Signing(Challenge(name, _NAMES[PasswordAlgorithm(algorithm)], anonymous), proof)


def _sign_with_token(credentials: TokenCredentials, realm: bytes, nonce: bytes) -> _Signing:
    attributes = ((Attribute.USERNAME, credentials.kid), (Attribute.REALM, realm), (Attribute.NONCE, nonce))
    proof = Proof(attributes, token_keys(credentials.mac_key)[0], realm=realm, nonce=nonce, with_token=True)
    return _Signing(Challenge(realm.decode(), "token", anonymous=False), proof, credentials.token)
