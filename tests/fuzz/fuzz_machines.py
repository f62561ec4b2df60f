"""The machines as a target of fuzzing: StunAgent and BindingServer, with and without credentials."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from fuzz_harness import COOKIE, ID, KEY, PASSWORD, SECRET, Reader, oracle

from fasticePy import stun
from fasticePy.stun import (
    Attribute,
    BindingServer,
    IntegrityKey,
    LongTermCredentials,
    MessageClass,
    Method,
    ShortTermCredentials,
    StunAgent,
    TokenCredentials,
)
from fasticePy.stun.access_token import AccessToken, TokenKey, TokenVerifier, token_keys
from fasticePy.stun.client_auth import Credentials
from fasticePy.stun.redirect import Alternate
from fasticePy.stun.server_auth import Authenticator, ShortTermAuthenticator

SERVER = ("192.0.2.1", 3478)
CLIENT = ("198.51.100.1", 40000)
REALM = "realm"
MAC_KEY = bytes(32)
TOKEN_KEY = TokenKey(bytes(range(32)))
TOKEN = AccessToken(MAC_KEY, 0.0, 3600).encode(TOKEN_KEY, "server", bytes(12))
CREDENTIALS = (
    None,
    ShortTermCredentials("user", PASSWORD),
    ShortTermCredentials("user", PASSWORD, sha256=False),
    LongTermCredentials("user", PASSWORD),
    TokenCredentials("kid", TOKEN, MAC_KEY, fallback=LongTermCredentials("user", PASSWORD)),
)
LONG_TERM = [
    stun.long_term_key("user", REALM, PASSWORD),
    stun.long_term_key("user", REALM, PASSWORD, stun.PasswordAlgorithm.SHA256),
]
KEYS = (KEY, *map(IntegrityKey.from_bytes, LONG_TERM), *token_keys(MAC_KEY))
COMMON = (*sorted(Attribute), 0x7FFF, 0xBFFF)
LONGEST_BEYOND_REQUEST = 24  # what BindingServer promises where nobody has to prove anything
LONGEST_CHALLENGE = 200


def machines(data: bytes) -> None:
    """StunAgent and BindingServer: the input is a sequence of requests, datagrams, answers and time.

    Nothing raises, every request ends exactly once, what is sent is well-formed, answers of a server that everybody may
    ask are short, and nobody without a key gets anything but challenges out of the others.
    """
    run = _Run()
    reader = Reader(data)
    for _ in range(48):
        if not reader:
            break
        run.step(reader.number(), reader)
    run.end()


def _servers(rng: Callable[[int], bytes]) -> tuple[BindingServer, ...]:
    tokens = TokenVerifier("server", {"kid": TOKEN_KEY}, lambda now: now)
    users = {"user": PASSWORD}
    algorithms = (stun.PasswordAlgorithm.SHA256, stun.PasswordAlgorithm.MD5)
    return (
        BindingServer(software="fuzzed"),
        BindingServer(
            authentication=Authenticator(REALM, users, rng=rng), alternate=Alternate((("192.0.2.2", 3478),))
        ),
        BindingServer(
            authentication=Authenticator(
                REALM, users, rng=rng, algorithms=algorithms, anonymity=True, tokens=tokens
            )
        ),
        BindingServer(authentication=ShortTermAuthenticator(users, rng=rng)),
    )


class _Run:
    def __init__(self) -> None:
        numbers = count(1)

        def rng(size: int) -> bytes:
            return next(numbers).to_bytes(size, "big")

        self.agent = StunAgent(rng)
        self.servers = _servers(rng)
        self.now = 0.0
        self.requests: set[int] = set()
        self.sent: list[bytes] = []

    def step(self, what: int, reader: Reader) -> None:
        action, variant = what % 8, what // 8
        if action == 0:
            self.request(variant, CREDENTIALS[reader.number() % len(CREDENTIALS)])
        elif action == 1:
            self.wait(variant)
        elif action == 2:
            raw = (
                reader.piece()
                if variant & 4
                else self.built(reader, MessageClass.REQUEST, ID, reader.number())
            )
            self.to_server(variant % 4, raw)
        elif action == 3:
            for answer in self.to_server(variant % 4, self.changed(reader, self.last(), variant & 4)):
                self.to_agent(self.changed(reader, answer, variant & 8))
        elif action == 4:
            self.to_agent(reader.piece())
        elif action == 5:
            self.to_agent(self.built(reader, variant % 4, ID, variant))
        else:
            kind = MessageClass.SUCCESS if action == 6 else MessageClass.ERROR
            self.to_agent(self.built(reader, kind, self.last()[8:20], variant))
        self.collect()

    def request(self, variant: int, credentials: Credentials | None) -> None:
        if len(self.requests) < 16:
            self.requests.add(
                self.agent.request(
                    1,
                    SERVER,
                    Method.BINDING,
                    (),
                    self.now,
                    credentials=credentials,
                    fingerprint=variant & 2 != 0,
                    stream=variant & 4 != 0,
                    count_sends=variant & 8 != 0,
                    redirects=variant & 16 != 0,
                )
            )

    def wait(self, variant: int) -> None:
        due = self.agent.next_timer()
        self.now = max(self.now, due) if due is not None and variant % 2 else self.now + variant / 8
        self.agent.handle_timer(self.now)

    def last(self) -> bytes:
        """What the agent sent last."""
        return self.sent[-1] if self.sent else b"\0\1\0\0" + COOKIE + ID

    def changed(self, reader: Reader, data: bytes, change: int) -> bytes:
        """One byte of it replaced, where the input wants that."""
        if not change:
            return data
        at = reader.number() % len(data)
        return data[:at] + bytes([reader.number()]) + data[at + 1 :]

    def built(self, reader: Reader, kind: int, transaction_id: bytes, variant: int) -> bytes:
        """A message of the input's attributes, by turns signed with the password, with the key of a challenge, or
        not at all."""
        attributes = []
        while reader and len(attributes) < 12 and (attribute := reader.number()) != 0xFF:
            attributes.append((COMMON[attribute % len(COMMON)], reader.piece()))
        secret = {1: SECRET, 2: LONG_TERM[0], 3: LONG_TERM[1]}.get(variant % 4)
        return bytes(
            oracle.build(
                Method.BINDING,
                kind,
                transaction_id,
                attributes,
                secret,
                sha1=variant & 4 == 0,
                sha256=variant & 4 != 0,
                fingerprint=variant & 8 != 0,
            )
        )

    def to_server(self, which: int, data: bytes) -> list[bytes]:
        server = self.servers[which]
        assert server.datagram_received(1, data, CLIENT, self.now) is None
        answers = [transmit.data for transmit in server.take_transmits()]
        assert len(answers) <= 1
        for answer in answers:
            # an answer to a client of RFC 3489 repeats its 16 bytes
            parsed = stun.parse(answer[:4] + COOKIE + answer[8:])
            unknown = parsed.get(Attribute.UNKNOWN_ATTRIBUTES) or ()
            if which == 0:
                assert len(answer) <= len(data) + LONGEST_BEYOND_REQUEST + len(unknown) * 2 + 16
            else:
                assert len(answer) <= len(data) + LONGEST_CHALLENGE + len(unknown) * 2
            if parsed.message_class == MessageClass.SUCCESS:
                asked = stun.parse(data[:4] + COOKIE + data[8:])
                assert which == 0 or any(map(asked.verify_integrity, KEYS))
            else:
                assert parsed.message_class == MessageClass.ERROR
        assert server.take_events() == []
        return answers

    def to_agent(self, data: bytes) -> None:
        given = self.agent.datagram_received(1, data, SERVER, self.now)
        assert given is None or given is data

    def collect(self) -> None:
        for transmit in self.agent.take_transmits():
            assert stun.parse(transmit.data).message_class == MessageClass.REQUEST
            self.sent.append(transmit.data)
        for event in self.agent.take_events():
            repr(event)
            if isinstance(event, stun.Redirected):
                if event.alternate[1] % 2:
                    self.agent.decline(event.request, "no way", self.now)
                else:
                    self.agent.follow(event.request, 1, self.now)
            elif isinstance(event, (stun.ResponseReceived, stun.RequestFailed)):
                self.requests.remove(event.request)
                if isinstance(event, stun.ResponseReceived) and event.authenticated:
                    assert any(map(event.message.verify_integrity, KEYS))
            elif isinstance(event, stun.IndicationReceived):
                assert event.message.message_class == MessageClass.INDICATION
        assert self.agent.next_timer() is not None or not self.requests

    def end(self) -> None:
        self.agent.close(self.now)
        for event in self.agent.take_events():
            if isinstance(event, stun.RequestFailed):
                self.requests.remove(event.request)
        assert not self.requests
        assert self.agent.next_timer() is None
