"""Access tokens: the form, the server that takes them, and the client that shows them (RFC 7635)."""

from __future__ import annotations

import random
import struct
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fasticePy import stun
from fasticePy.stun import (
    Attribute,
    Authenticator,
    BindingServer,
    IntegrityKey,
    LongTermCredentials,
    Message,
    MessageBuilder,
    MessageClass,
    Method,
    ParseError,
    ResponseReceived,
    StunAgent,
    TokenCredentials,
)
from fasticePy.stun.access_token import AccessToken, TokenKey, TokenVerifier, token_keys
from fasticePy.stun.server_auth import Grant

CLIENT = ("192.0.2.7", 40000)
ID = bytes(range(12))
NAME = "turn.example.org"
KEY = TokenKey(bytes(range(32)))
MAC_KEY = b"ZksjpweoixXmvn67534m"
BORN = 1_700_000_000.0
NONCE = b"twelve bytes"
TOKEN = AccessToken(MAC_KEY, BORN, 3600)


@pytest.mark.parametrize("name", ["V12-A256GCM", "V12-A128GCM"])
def test_the_vectors(vectors, name):
    """7635-4, 7635-5: V12 both ways: the timestamp is 48 bits of seconds and 16 bits of fractions."""
    vector = vectors[name]
    key = TokenKey(bytes.fromhex(vector["key_hex"]), name[4:])
    token = AccessToken.decode(bytes.fromhex(vector["token_hex"]), key, vector["aad"])
    assert token.mac_key == vector["mac_key"].encode()
    assert token.timestamp == vector["timestamp"] >> 16 == 1410984813
    assert token.lifetime == vector["lifetime"]
    assert token.encode(key, vector["aad"], b"h4j3k2l2n4b5").hex() == vector["token_hex"]


@pytest.mark.parametrize("timestamp", [0.0, 1.5, BORN + 0.25, BORN + 63999 / 64000, 2.0**31])
def test_fractions_of_a_second(timestamp):
    """7635-5: in 1/64000 s."""
    token = AccessToken(MAC_KEY, timestamp, 1)
    read = AccessToken.decode(token.encode(KEY, NAME, NONCE), KEY, NAME)
    assert read == token
    assert AccessToken(MAC_KEY, BORN + 0.9999999, 1).encode(KEY, NAME, NONCE) == AccessToken(
        MAC_KEY, BORN + 1, 1
    ).encode(KEY, NAME, NONCE)


@pytest.mark.parametrize("size", [16, 20, 32, 64])
def test_keys_of_all_sizes(size):
    """7635-4: 160 bits must be supported; and others for other hashes."""
    token = AccessToken(bytes(size), BORN, 3600)
    assert AccessToken.decode(token.encode(KEY, NAME, NONCE), KEY, NAME) == token


def test_another_key_or_name_reads_nothing():
    """7635-4: the name of the server is authenticated with the token."""
    token = TOKEN.encode(KEY, NAME, NONCE)
    for key, name in ((TokenKey(bytes(32)), NAME), (KEY, "other.example.org"), (KEY, "")):
        with pytest.raises(ParseError, match="another"):
            AccessToken.decode(token, key, name)


def sealed(plain: bytes, nonce: bytes = NONCE) -> bytes:
    return len(nonce).to_bytes(2, "big") + nonce + KEY.cipher().encrypt(nonce, plain, NAME.encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00\x0c",
        bytes(59),
        bytes(108),
        bytes(10_000),
        b"\xff\xff" + bytes(62),
        b"\x00\x40" + bytes(62),
        sealed(struct.pack("!H20sQI", 20, MAC_KEY, 0, 0), bytes(13)),
        sealed(struct.pack("!H20sQI", 20, MAC_KEY, 0, 0), bytes(8) + bytes(3)),
        sealed(struct.pack("!H20sQI", 19, MAC_KEY, 0, 0)),
        sealed(struct.pack("!H20sQI", 21, MAC_KEY, 0, 0)),
        sealed(struct.pack("!H20sQI", 0xFFFF, MAC_KEY, 0, 0)),
        sealed(struct.pack("!H20sQI", 0, MAC_KEY, 0, 0)),
        sealed(struct.pack("!H20sQI", 20, MAC_KEY, 0, 0) + b"\0"),
        sealed(struct.pack("!H15sQI", 15, MAC_KEY[:15], 0, 0)),
        sealed(bytes(20)),
    ],
)
def test_lengths_are_bounded_before_they_are_used(data):
    """7635-4: CVE-2026-43994: the length of the nonce comes from anybody; the length of the key, from the issuer."""
    with pytest.raises(ParseError):
        AccessToken.decode(data, KEY, NAME)


@given(st.binary(max_size=120) | st.binary(min_size=62, max_size=62).map(lambda rest: b"\x00\x0c" + rest))
@example(TOKEN.encode(KEY, NAME, NONCE)[:-1])
def test_anything_else_is_a_parse_error(data):
    with pytest.raises(ParseError):
        AccessToken.decode(data, KEY, NAME)


@given(st.integers(0, 63), st.integers(1, 255))
def test_no_bit_of_it_can_be_changed(position, flip):
    data = bytearray(TOKEN.encode(KEY, NAME, NONCE))
    data[position] ^= flip
    with pytest.raises(ParseError):
        AccessToken.decode(bytes(data), KEY, NAME)


def test_what_cannot_be_a_token_or_a_key():
    for wrong, what in (
        (AccessToken(bytes(15), BORN, 1), "MAC key"),
        (AccessToken(bytes(65), BORN, 1), "MAC key"),
        (AccessToken(MAC_KEY, -1.0, 1), "48 bits"),
        (AccessToken(MAC_KEY, 2.0**48, 1), "48 bits"),
        (AccessToken(MAC_KEY, BORN, -1), "lifetime"),
        (AccessToken(MAC_KEY, BORN, 1 << 32), "lifetime"),
    ):
        with pytest.raises(ValueError, match=what):
            wrong.encode(KEY, NAME, NONCE)
    with pytest.raises(ValueError, match="12"):
        TOKEN.encode(KEY, NAME, b"short")
    for key, algorithm in ((bytes(16), "A256GCM"), (bytes(32), "A128GCM"), (bytes(32), "A256CBC-HS512")):
        with pytest.raises(ValueError, match=algorithm):
            TokenKey(key, algorithm)
    assert "Zksj" not in repr(TOKEN)
    assert "x01" not in repr(KEY)


def test_the_package_for_it_is_imported_when_it_is_needed():
    """Importing fasticePy.stun does not load cryptography, for most programs never see a token."""
    program = "import sys; import fasticePy.stun, fasticePy.stun.access_token; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_without_the_package_it_is_said_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(ImportError, match="need the package cryptography"):
        TokenVerifier(NAME, {"kid-1": KEY}, lambda now: now)


# --- the server


class Desk:
    """A server that takes tokens and passwords, the clock of which began 1000 s before the token was made."""

    def __init__(self, software: str | None = None, **options: object) -> None:
        verifier = TokenVerifier(NAME, {"kid-1": KEY}, lambda now: BORN - 1000 + now)
        self.authenticator = Authenticator(
            "example.org", {"user": "pass"}, rng=random.Random(1).randbytes, tokens=verifier, **options
        )
        self.server = BindingServer(authentication=self.authenticator, software=software)

    def ask(
        self,
        *attributes: tuple[int, object],
        now: float = 1000.0,
        method: int = Method.BINDING,
        **build: object,
    ) -> Message:
        builder = MessageBuilder(method, MessageClass.REQUEST, ID)
        for attribute, value in attributes:
            builder.add(attribute, value)
        self.server.datagram_received(5, builder.build(**build), CLIENT, now)
        (transmit,) = self.server.take_transmits()
        return stun.parse(transmit.data)

    def show(
        self,
        token: bytes,
        *,
        kid: str = "kid-1",
        key: IntegrityKey | None = None,
        now: float = 1000.0,
        nonce: object = None,
        **build: object,
    ) -> Message:
        key = key or IntegrityKey.from_bytes(MAC_KEY)
        nonce = self.ask(now=now).get(Attribute.NONCE) if nonce is None else nonce
        return self.ask(
            (Attribute.USERNAME, kid),
            (Attribute.REALM, "example.org"),
            (Attribute.NONCE, nonce),
            (Attribute.ACCESS_TOKEN, token),
            now=now,
            key=key,
            **build,
        )


def code(message: Message) -> int | None:
    error = message.get(Attribute.ERROR_CODE)
    return None if error is None else error[0]


def test_strangers_are_told_that_tokens_are_taken():
    """7635-1: NONCE, SOFTWARE where it is on, and the name of the server."""
    reply = Desk("software").ask()
    assert code(reply) == 401
    assert reply.get(Attribute.THIRD_PARTY_AUTHORIZATION) == NAME
    assert reply.get(Attribute.SOFTWARE) == "software"
    assert reply.get(Attribute.NONCE) is not None


def test_a_good_token_is_let_in():
    """7635-6: and the answer has MESSAGE-INTEGRITY with the mac_key."""
    reply = Desk().show(TOKEN.encode(KEY, NAME, NONCE))
    assert reply.message_class == MessageClass.SUCCESS
    assert [attribute for attribute, _ in reply.attributes()] == [
        Attribute.XOR_MAPPED_ADDRESS,
        Attribute.MESSAGE_INTEGRITY,
    ]
    assert reply.verify_integrity(IntegrityKey.from_bytes(MAC_KEY))


@pytest.mark.parametrize("sha256", [False, True])
def test_a_token_for_sha256_is_let_in_by_both(sha256):
    """7635-11: 256 bits are the key for MESSAGE-INTEGRITY-SHA256, their SHA-1 that for MESSAGE-INTEGRITY."""
    keys = token_keys(bytes(32))
    token = AccessToken(bytes(32), BORN, 3600).encode(KEY, NAME, NONCE)
    reply = Desk().show(token, key=keys[sha256], sha1=not sha256, sha256=sha256)
    assert code(reply) is None
    assert reply.integrity_kind == ("sha256" if sha256 else "sha1")
    assert reply.verify_integrity(keys[sha256])
    assert code(Desk().show(token, key=keys[not sha256], sha1=not sha256, sha256=sha256)) == 401


@pytest.mark.parametrize(
    ("offset", "good"),
    [(0, True), (3604.99, True), (3605.0, False), (3606, False), (-3604.99, True), (-3605.0, False)],
)
def test_a_token_is_good_for_its_life_and_five_seconds(offset, good):
    """7635-6: lifetime + Delta > abs(now - timestamp)."""
    now = 1000.0
    token = AccessToken(MAC_KEY, BORN - offset, 3600).encode(KEY, NAME, NONCE)
    assert code(Desk().show(token, now=now)) == (None if good else 401)


@pytest.mark.parametrize(
    ("token", "options"),
    [
        (TOKEN.encode(KEY, "other.example.org", NONCE), {}),
        (TOKEN.encode(TokenKey(bytes(32)), NAME, NONCE), {}),
        (TOKEN.encode(KEY, NAME, NONCE), {"kid": "kid-2"}),
        (TOKEN.encode(KEY, NAME, NONCE), {"kid": "user"}),
        (TOKEN.encode(KEY, NAME, NONCE), {"key": IntegrityKey.from_bytes(b"another mac_key.")}),
        (b"", {}),
        (bytes(64), {}),
        (bytes(5000), {}),
    ],
)
def test_other_tokens_are_refused(token, options):
    """7635-6, 7635-4: another server's name, another key, an unknown kid, a MAC with another key: 401, unsigned."""
    reply = Desk().show(token, **options)
    assert code(reply) == 401
    assert not reply.has_integrity
    assert reply.get(Attribute.THIRD_PARTY_AUTHORIZATION) == NAME


def test_the_rest_of_the_mechanism_holds_for_tokens():
    """7635-6: the checks of the long-term mechanism too: nonce and realm there, and the nonce a good one."""
    token = TOKEN.encode(KEY, NAME, NONCE)
    assert code(Desk().show(token, nonce="obMatJos2AAAAsomething")) == 438
    reply = Desk().ask((Attribute.ACCESS_TOKEN, token), key=IntegrityKey.from_bytes(MAC_KEY))
    assert code(reply) == 400
    hashed = (Attribute.USERHASH, bytes(32))
    desk = Desk()
    nonce = desk.ask().get(Attribute.NONCE)
    reply = desk.ask(
        hashed,
        (Attribute.REALM, "example.org"),
        (Attribute.NONCE, nonce),
        (Attribute.ACCESS_TOKEN, token),
        key=IntegrityKey.from_bytes(MAC_KEY),
    )
    assert code(reply) == 401


def test_a_token_that_nobody_asked_for_is_unknown():
    """7635-7: a server without third-party authorization: 420 with ACCESS-TOKEN in the list."""
    servers = [
        BindingServer(),
        BindingServer(authentication=Authenticator("r", {"a": "b"}, rng=random.Random(1).randbytes)),
    ]
    key = IntegrityKey.long_term("a", "r", "b")
    for server in servers:
        server.datagram_received(1, MessageBuilder(1, 0, ID).build(), CLIENT, 0.0)
        (transmit,) = server.take_transmits()
        challenge = stun.parse(transmit.data)
        builder = MessageBuilder(Method.BINDING, MessageClass.REQUEST, ID)
        builder.add(Attribute.USERNAME, "a")
        builder.add(Attribute.REALM, "r")
        builder.add(Attribute.NONCE, challenge.get(Attribute.NONCE) or "nonce")
        builder.add(Attribute.ACCESS_TOKEN, b"token")
        server.datagram_received(1, builder.build(key), CLIENT, 0.0)
        (transmit,) = server.take_transmits()
        reply = stun.parse(transmit.data)
        assert code(reply) == 420
        assert reply.get(Attribute.UNKNOWN_ATTRIBUTES) == (Attribute.ACCESS_TOKEN,)


def test_what_is_left_of_a_token_is_told():
    """What an allocation's lifetime is limited by: lifetime + Delta - abs(now - timestamp). And later requests of the
    session need no token, only its key, until then and after."""
    desk = Desk()
    request = MessageBuilder(Method.ALLOCATE, MessageClass.REQUEST, ID)
    nonce = dict(desk.authenticator.check(stun.parse(request.build()), CLIENT, 1000.0).attributes)[
        Attribute.NONCE
    ]
    names = [(Attribute.USERNAME, "kid-1"), (Attribute.REALM, "example.org"), (Attribute.NONCE, nonce)]
    for attribute, value in names:
        request.add(attribute, value)
    later = stun.parse(request.build(IntegrityKey.from_bytes(MAC_KEY)))
    request.add(Attribute.ACCESS_TOKEN, AccessToken(MAC_KEY, BORN - 20, 100).encode(KEY, NAME, NONCE))
    first = stun.parse(request.build(IntegrityKey.from_bytes(MAC_KEY)))
    grant = desk.authenticator.check(first, CLIENT, 1000.0)
    assert isinstance(grant, Grant)
    assert (grant.username, grant.algorithm, grant.lifetime) == ("kid-1", None, pytest.approx(85.0))
    assert desk.authenticator.check(later, CLIENT, 1000.0).code == 401
    assert isinstance(desk.authenticator.check(later, CLIENT, 1400.0, session=grant), Grant)
    other = Grant("kid-2", grant.keys, sha256=False, lifetime=85.0)
    assert desk.authenticator.check(later, CLIENT, 1400.0, session=other).code == 401


def test_client_and_server_meet():
    """7635-2, 7635-6: bare, challenged, token shown, let in; with the password where there is no token."""
    desk = Desk()
    agent = StunAgent(random.Random(2).randbytes)
    token = AccessToken(MAC_KEY, BORN, 3600).encode(KEY, NAME, NONCE)
    for credentials, mechanism in (
        (TokenCredentials("kid-1", token, MAC_KEY), "token"),
        (LongTermCredentials("user", "pass"), "MD5"),
    ):
        agent.request(1, ("192.0.2.1", 3478), Method.BINDING, (), 1000.0, credentials=credentials)
        for _ in range(2):
            (transmit,) = agent.take_transmits()
            desk.server.datagram_received(5, transmit.data, CLIENT, 1000.0)
            (reply,) = desk.server.take_transmits()
            agent.datagram_received(1, reply.data, ("192.0.2.1", 3478), 1000.1)
        challenged, received = agent.take_events()
        assert challenged.mechanism == mechanism
        assert isinstance(received, ResponseReceived)
        assert received.authenticated
