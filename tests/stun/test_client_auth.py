"""How the client signs and whom it believes, against servers played by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from fasticePy import stun
from fasticePy.stun import (
    Attribute,
    Challenged,
    IntegrityKey,
    LongTermCredentials,
    Message,
    MessageBuilder,
    MessageClass,
    Method,
    PasswordAlgorithm,
    RequestFailed,
    ResponseReceived,
    ShortTermCredentials,
    StunAgent,
    TokenCredentials,
)
from fasticePy.stun.agent import MAX_MECHANISMS
from fasticePy.stun.client_auth import LongTermMechanism
from fasticePy.stun.requests import MAX_CHALLENGES, MAX_RESENDS

SERVER = ("192.0.2.1", 3478)
OTHER = ("192.0.2.2", 3478)
XMA = (Attribute.XOR_MAPPED_ADDRESS, ("198.51.100.7", 7000))
USER = LongTermCredentials("user", "pass")
MD5_KEY = IntegrityKey.long_term("user", "realm", "pass")
SHA256_KEY = IntegrityKey.long_term("user", "realm", "pass", PasswordAlgorithm.SHA256)
SHORT = ShortTermCredentials("evtj:h6vY", "VOkJxbRl1RmTxUk/WvJxBt")
SHORT_KEY = IntegrityKey.short_term(SHORT.password)
BOTH = ((PasswordAlgorithm.SHA256, b""), (PasswordAlgorithm.MD5, b""))
PLAIN, LISTED, ANONYMOUS = "nonce-1", "obMatJos2gAAAnonce-1", "obMatJos2QAAAnonce-1"
AUTHENTICATION = {
    Attribute.USERNAME,
    Attribute.USERHASH,
    Attribute.MESSAGE_INTEGRITY,
    Attribute.MESSAGE_INTEGRITY_SHA256,
    Attribute.REALM,
    Attribute.NONCE,
    Attribute.PASSWORD_ALGORITHMS,
    Attribute.PASSWORD_ALGORITHM,
    Attribute.ACCESS_TOKEN,
}


def counting_rng() -> Callable[[int], bytes]:
    counter = itertools.count(1)
    return lambda n: next(counter).to_bytes(n, "big")


class Hand:
    """One agent, with time and the server in a test's hands."""

    def __init__(self, credentials: object = USER, **options: object) -> None:
        self.agent = StunAgent(counting_rng(), software=None)
        self.credentials = credentials
        self.options = options
        self.request: Message | None = None

    def ask(self, now: float = 0.0, method: int = Method.BINDING, **options: object) -> Message:
        """Send a request, and give what went out."""
        arguments = {"socket": 1, "address": SERVER, **self.options, **options}
        self.agent.request(
            method=method, attributes=(), now=now, **{"credentials": self.credentials, **arguments}
        )
        (self.request,) = self.sent()
        return self.request

    def sent(self) -> list[Message]:
        return [stun.parse(transmit.data) for transmit in self.agent.take_transmits()]

    def answer(
        self,
        *attributes: tuple[int, object],
        code: int | None = None,
        now: float = 0.1,
        to: Message | None = None,
        **build: object,
    ) -> list[object]:
        """Answer the last request, with success or an error, and give the events."""
        to = to or self.request
        kind = MessageClass.SUCCESS if code is None else MessageClass.ERROR
        builder = MessageBuilder(to.method, kind, to.transaction_id)
        if code is not None:
            builder.add(Attribute.ERROR_CODE, (code, ""))
        for attribute, value in attributes:
            builder.add(attribute, value)
        assert self.agent.datagram_received(1, builder.build(**build), SERVER, now) is None
        return self.agent.take_events()

    def challenge(
        self,
        nonce: str | bytes = PLAIN,
        algorithms: object = None,
        *extra: tuple[int, object],
        code: int = 401,
        realm: str | bytes = "realm",
        **options: object,
    ) -> list[object]:
        attributes = [(Attribute.REALM, realm), (Attribute.NONCE, nonce), *extra]
        if algorithms is not None:
            attributes.append((Attribute.PASSWORD_ALGORITHMS, algorithms))
        return self.answer(*attributes, code=code, **options)

    def retried(self, *arguments: object, **options: object) -> Message:
        """Challenge, and give the request that answers it."""
        (event,) = self.challenge(*arguments, **options)
        assert isinstance(event, Challenged)
        (self.request,) = self.sent()
        return self.request

    def refused(self, *arguments: object, **options: object) -> RequestFailed:
        """Challenge, and give the failure that it leads to, without another datagram."""
        (event,) = self.challenge(*arguments, **options)
        assert isinstance(event, RequestFailed)
        assert self.sent() == []
        assert self.agent.next_timer() is None
        assert event.reason == "unauthenticated"
        assert event.message is not None
        return event

    def run_to(self, end: float) -> list[object]:
        events = self.agent.take_events()
        while (at := self.agent.next_timer()) is not None and at <= end:
            self.agent.handle_timer(at)
            events += self.agent.take_events()
        return events


def types(message: Message) -> list[int]:
    return [attribute for attribute, _ in message.attributes()]


# --- long-term: the first request, and the answer to a challenge


def test_the_first_request_is_bare():
    """8489-40: none of the attributes of authentication, whatever credentials there are."""
    for credentials in (USER, TokenCredentials("kid", b"token", bytes(20))):
        assert not AUTHENTICATION & set(types(Hand(credentials).ask()))


def test_an_old_server_is_answered_as_rfc_5389_has_it():
    """8489-50, 8489-39: another id, USERNAME, REALM and NONCE, MESSAGE-INTEGRITY with the MD5 key, nothing else."""
    hand = Hand()
    first = hand.ask()
    (event,) = hand.challenge(PLAIN)
    assert isinstance(event, Challenged)
    assert (event.request, event.code, event.realm, event.mechanism, event.anonymous) == (
        1,
        401,
        "realm",
        "MD5",
        False,
    )
    (second,) = hand.sent()
    assert second.transaction_id != first.transaction_id
    assert types(second) == [
        Attribute.USERNAME,
        Attribute.REALM,
        Attribute.NONCE,
        Attribute.MESSAGE_INTEGRITY,
    ]
    assert (second.get(Attribute.USERNAME), second.get(Attribute.NONCE)) == ("user", PLAIN)
    assert second.verify_integrity(MD5_KEY)
    (event,) = hand.answer(XMA, to=second, key=MD5_KEY, now=0.2)
    assert isinstance(event, ResponseReceived)
    assert event.authenticated
    assert event.sends == 2


@pytest.mark.parametrize(
    ("listed", "chosen", "key"),
    [
        (bytes.fromhex("0002000000010000"), PasswordAlgorithm.SHA256, SHA256_KEY),
        (bytes.fromhex("0001000000020000"), PasswordAlgorithm.MD5, MD5_KEY),
        (bytes.fromhex("7777000361626358 00020000"), PasswordAlgorithm.SHA256, SHA256_KEY),
        (bytes.fromhex("00010000 77770001 61"), PasswordAlgorithm.MD5, MD5_KEY),
        (bytes.fromhex("0002000161000000 00010000"), PasswordAlgorithm.MD5, MD5_KEY),
    ],
)
def test_the_first_password_algorithm_that_is_known_is_taken(listed, chosen, key):
    """8489-50: unknown ones are skipped with their parameters, and known ones with parameters that they do not have;
    the list goes back byte for byte, padding that is not zero or not there included. T5, 8489-54: after a list, nothing
    but MESSAGE-INTEGRITY-SHA256, also with an MD5 key."""
    hand = Hand()
    hand.ask()
    second = hand.retried(LISTED, listed)
    assert second.raw(Attribute.PASSWORD_ALGORITHMS) == listed
    assert second.get(Attribute.PASSWORD_ALGORITHM) == (chosen, b"")
    assert second.integrity_kind == "sha256"
    assert Attribute.MESSAGE_INTEGRITY not in second
    assert second.verify_integrity(key)


def test_realm_and_nonce_go_back_byte_for_byte():
    """8489-50: also where they are not what a careful server would send."""
    realm, nonce = '"räalm"'.encode(), "nönce ".encode()
    hand = Hand()
    hand.ask()
    second = hand.retried(nonce, realm=realm)
    assert (second.raw(Attribute.REALM), second.raw(Attribute.NONCE)) == (realm, nonce)
    assert second.verify_integrity(
        IntegrityKey.long_term("user", "räalm", "pass")
    )  # RFC 8489 9.2.2: no quotes


def test_a_server_that_wants_no_names_gets_a_hash():
    """8489-50, T1: USERHASH for bit 1, the second from the left, and USERNAME for all others: `AAAC` is another bit."""
    hand = Hand()
    hand.ask()
    (event,) = hand.challenge(ANONYMOUS)
    assert event.anonymous
    (second,) = hand.sent()
    assert Attribute.USERNAME not in second
    assert second.get(Attribute.USERHASH).hex() == (
        "6a3029116b47aa98bcaa325399733dc1a23cd57e26b81bef3ff6531ce624e2da"
    )
    hand = Hand()
    hand.ask()
    assert hand.retried("obMatJos2AAACnonce").get(Attribute.USERNAME) == "user"


def test_vector_8_is_what_we_send(vectors):
    """8489-39, 8489-50: the whole retry, byte for byte."""
    agent = StunAgent(lambda n: bytes(range(n)), software=None)
    agent.request(1, SERVER, Method.ALLOCATE, [(Attribute.REQUESTED_TRANSPORT, 17)], 0.0, credentials=USER)
    agent.take_transmits()
    builder = MessageBuilder(Method.ALLOCATE, MessageClass.ERROR, bytes(range(12)))
    for attribute, value in (
        (Attribute.ERROR_CODE, (401, "")),
        (Attribute.REALM, "realm"),
        (Attribute.NONCE, "obMatJos2gAAAnonce"),
        (Attribute.PASSWORD_ALGORITHMS, BOTH),
    ):
        builder.add(attribute, value)
    agent.datagram_received(1, builder.build(), SERVER, 0.1)
    (transmit,) = agent.take_transmits()
    assert transmit.data.hex() == vectors["V8"]["message_hex"]


def test_names_are_prepared_before_they_are_sent():
    """T2: OpaqueString, not SASLprep: what it cannot prepare is refused when the credentials are made."""
    hand = Hand(LongTermCredentials("\u30de\u30c8\u3000x", "The\u00a0Matrix"))
    hand.ask()
    second = hand.retried()
    assert second.get(Attribute.USERNAME) == "\u30de\u30c8 x"
    assert second.verify_integrity(IntegrityKey.long_term("\u30de\u30c8 x", "realm", "The Matrix"))
    for make in (LongTermCredentials, ShortTermCredentials):
        with pytest.raises(ValueError, match="00AD"):
            make("user", "The\u00adM\u00aatr\u2168")
        with pytest.raises(ValueError, match="empty"):
            make("", "password")
        with pytest.raises(ValueError, match="508"):
            make("u" * 509, "password")


def test_credentials_show_no_secret():
    secrets = (USER, SHORT, TokenCredentials("kid", b"secret token", b"secret key 123456"))
    hand = Hand()
    hand.ask()
    hand.challenge()
    for shown in (*map(repr, secrets), repr(hand.agent._mechanisms)):
        assert "pass" not in shown.replace("password", "")
        assert "VOkJ" not in shown
        assert "secret" not in shown


# --- long-term: later requests


def test_later_requests_are_signed_at_once():
    """8489-41: Refresh after Allocate is one round trip, with user name, realm, nonce, the algorithms and a MAC."""
    for nonce, listed, key in ((PLAIN, None, MD5_KEY), (LISTED, BOTH, SHA256_KEY)):
        hand = Hand()
        hand.ask(method=Method.ALLOCATE)
        sha256 = listed is not None
        hand.retried(nonce, listed)
        assert len(hand.answer(key=key, sha1=not sha256, sha256=sha256)) == 1
        refresh = hand.ask(1.0, method=Method.REFRESH)
        assert (refresh.get(Attribute.NONCE), refresh.get(Attribute.REALM)) == (nonce, "realm")
        assert refresh.get(Attribute.USERNAME) == "user"
        assert refresh.get(Attribute.PASSWORD_ALGORITHMS) == listed
        assert refresh.get(Attribute.PASSWORD_ALGORITHM) == (BOTH[0] if sha256 else None)
        assert refresh.verify_integrity(key)
        assert refresh.integrity_kind == ("sha256" if sha256 else "sha1")  # 8489-54
        (event,) = hand.answer(key=key, sha1=not sha256, sha256=sha256, now=1.1)
        assert (type(event), event.sends) == (ResponseReceived, 1)


def test_the_hash_goes_into_later_requests_too():
    """8489-41: USERHASH instead of USERNAME."""
    hand = Hand()
    hand.ask()
    hand.retried(ANONYMOUS)
    hand.answer(XMA, key=MD5_KEY)
    later = hand.ask(1.0)
    assert Attribute.USERHASH in later
    assert Attribute.USERNAME not in later


def test_a_nonce_is_for_the_socket_and_the_server_that_it_came_from():
    """8489-43: servers give different ones to different sources, so another socket begins anew."""
    hand = Hand()
    hand.ask()
    hand.retried()
    hand.answer(XMA, key=MD5_KEY)
    assert types(hand.ask(1.0, socket=2)) == []
    assert types(hand.ask(1.0, address=OTHER)) == []
    assert types(hand.ask(1.0, credentials=LongTermCredentials("user", "other"))) == []
    assert Attribute.NONCE in hand.ask(1.0)


def test_servers_remembered_are_limited():
    hand = Hand()
    for port in range(MAX_MECHANISMS + 10):
        hand.ask(address=("192.0.2.9", 1000 + port))
    assert len(hand.agent._mechanisms) == MAX_MECHANISMS


def test_requests_that_wait_are_signed_with_what_was_learnt_meanwhile():
    """8489-41: the eleventh of eleven waits; it goes out signed, and with the latest nonce."""
    hand = Hand()
    for _ in range(10):
        first = hand.ask()
    hand.agent.request(1, SERVER, Method.BINDING, (), 0.0, credentials=USER)
    hand.challenge(PLAIN, to=first)
    (tenth,) = hand.sent()
    hand.answer(XMA, key=MD5_KEY, to=tenth)
    (eleventh,) = hand.sent()
    assert eleventh.get(Attribute.NONCE) == PLAIN
    assert eleventh.verify_integrity(MD5_KEY)


# --- long-term: what is not answered


@pytest.mark.parametrize("code", [401, 438])
def test_a_nonce_that_promises_algorithms_without_any_is_not_answered(code):
    """8489-49: bid-down: somebody may have taken PASSWORD-ALGORITHMS away. No second request."""
    hand = Hand()
    hand.ask()
    event = hand.refused(LISTED, code=code)
    assert event.code == code
    assert "password algorithms is missing" in event.detail


@pytest.mark.parametrize("code", [None, 300, 420, 500])
def test_other_answers_with_such_a_nonce_are_ignored(code):
    """8489-49: as if they had not come; the genuine answer counts."""
    hand = Hand()
    request = hand.ask()
    assert hand.answer(XMA, (Attribute.NONCE, LISTED), code=code) == []
    assert hand.sent() == []
    assert len(hand.answer(XMA, to=request)) == 1


def test_a_server_that_offered_algorithms_cannot_stop_offering_them():
    """8489-54, 8489-49: all later requests use MESSAGE-INTEGRITY-SHA256, so a challenge for less is not answered,
    neither when the nonce is said to be stale nor when a later request begins anew."""
    hand = Hand()
    hand.ask()
    hand.retried(LISTED, BOTH)
    hand.refused("plain nonce", code=438)
    assert types(hand.ask(1.0)) == []
    hand.refused(PLAIN)
    hand.ask(2.0)
    assert hand.retried(LISTED, BOTH).integrity_kind == "sha256"


@pytest.mark.parametrize("listed", [((0x7777, b"abc"), (0x7778, b"")), (), b"\x00\x02\x00", ((2, b"?"),)])
def test_without_an_algorithm_that_is_known_there_is_no_retry(listed):
    """8489-50: unknown ones, none at all, a list that cannot be read."""
    hand = Hand()
    hand.ask()
    assert "none of the password algorithms is known" in hand.refused(LISTED, listed).detail


@pytest.mark.parametrize("drop", [Attribute.REALM, Attribute.NONCE])
@pytest.mark.parametrize("value", [None, b"", b"\xff\xfe", b"x" * 200])
def test_a_challenge_needs_a_realm_and_a_nonce(drop, value):
    hand = Hand()
    hand.ask()
    attributes = {Attribute.REALM: b"realm", Attribute.NONCE: b"nonce"}
    attributes[drop] = value
    (event,) = hand.answer(
        *((key, value) for key, value in attributes.items() if value is not None), code=401
    )
    assert (event.reason, event.code) == ("unauthenticated", 401)
    assert hand.sent() == []


@pytest.mark.parametrize("realm", ['"', "\x07", "re\u00adalm", "\0\0"])
def test_a_realm_that_makes_no_key_is_no_exception(realm):
    hand = Hand()
    hand.ask()
    assert "realm cannot be used" in hand.refused(realm=realm).detail


def test_wrong_credentials_are_tried_once():
    """8489-51: 401 twice: failure after two requests. The next request begins anew (8489-40)."""
    hand = Hand()
    hand.ask()
    hand.retried("nonce-1")
    event = hand.refused("nonce-2")
    assert (event.code, event.sends) == (401, 2)
    assert event.detail == "error 401: the credentials are refused in the realm 'realm'"
    assert types(hand.ask(1.0)) == []


def test_another_realm_is_another_chance_but_not_for_ever():
    """8489-51: the realm changed, so it may be tried; a server with a new realm each time is left."""
    hand = Hand()
    hand.ask()
    for number in range(MAX_CHALLENGES):
        request = hand.retried(realm=f"realm {number}")
        assert request.get(Attribute.REALM) == f"realm {number}"
    event = hand.refused(realm="one more")
    assert event.sends == 1 + MAX_CHALLENGES
    assert "more than 3 times" in event.detail


def test_a_stale_nonce_is_replaced():
    """8489-52: 438: again with the new nonce, a new id and all the rest."""
    for extra in ({}, {"realm": "realm"}):
        hand = Hand()
        hand.ask()
        first = hand.retried("nonce-1")
        (event,) = hand.answer(
            (Attribute.NONCE, "nonce-2"), *((Attribute.REALM, v) for v in extra.values()), code=438
        )
        assert (type(event), event.code) == (Challenged, 438)
        (second,) = hand.sent()
        assert second.transaction_id != first.transaction_id
        assert types(second) == types(first)
        assert second.get(Attribute.NONCE) == "nonce-2"
        assert second.get(Attribute.REALM) == "realm"
        assert second.verify_integrity(MD5_KEY)


def test_a_server_for_which_all_nonces_are_stale_is_left():
    """8489-52: once per new nonce, and bounded."""
    hand = Hand()
    hand.ask()
    for number in range(MAX_CHALLENGES):
        hand.retried(f"nonce-{number}", code=438 if number else 401)
    assert hand.refused("nonce-x", code=438).sends == 1 + MAX_CHALLENGES
    hand = Hand()
    hand.ask()
    hand.retried("nonce-1")
    assert "stale" in hand.refused("nonce-1", code=438).detail


def test_answers_to_old_nonces_do_not_disturb_newer_ones():
    """Two requests with one nonce, each told that it is stale: both go on, with a nonce each."""
    hand = Hand()
    hand.ask()
    hand.retried("nonce-1")
    hand.answer(XMA, key=MD5_KEY)
    first, second = hand.ask(1.0), hand.ask(1.0)
    for number, request in enumerate((first, second)):
        assert (
            hand.retried(f"nonce-{number + 2}", code=438, to=request).get(Attribute.NONCE)
            == f"nonce-{number + 2}"
        )


# --- long-term: what is not believed


def test_a_400_that_nobody_signed_is_not_believed_once_credentials_were_sent():
    """8489-53: spoofed 400, then success: success. Retransmissions go on meanwhile."""
    hand = Hand()
    hand.ask()
    request = hand.retried()
    assert hand.answer(code=400) == []
    assert hand.run_to(0.7) == []
    (again,) = hand.sent()
    assert again.data == request.data
    (event,) = hand.answer(XMA, key=MD5_KEY, now=0.8)
    assert isinstance(event, ResponseReceived)


def test_a_400_in_answer_to_a_bare_request_ends_it():
    """8489-53: nothing was signed, so there is nothing to expect."""
    hand = Hand()
    hand.ask()
    (event,) = hand.answer(code=400)
    assert (event.reason, event.code) == ("error response", 400)


@pytest.mark.parametrize(
    ("code", "build", "detail"),
    [
        (None, {}, "an answer came without integrity"),
        (400, {}, "error 400 came without integrity"),
        (None, {"key": SHA256_KEY}, "an answer came with wrong integrity"),
        (500, {}, "error 500 came without integrity"),
        (300, {}, "error 300 came without integrity"),
        (
            None,
            {"key": MD5_KEY, "sha1": False, "sha256": True},
            "an answer came with integrity by sha256 instead of sha1",
        ),
    ],
)
def test_only_unsigned_answers_to_a_signed_request_are_a_violation(code, build, detail):
    """8489-36: discarded, retransmitted, and at the end reported as a violation; over TCP at once."""
    hand = Hand()
    hand.ask()
    hand.retried()
    assert hand.answer(XMA, code=code, **build) == []
    (event,) = hand.run_to(1000.0)
    assert (event.reason, event.detail, event.sends) == ("integrity violated", detail, 8)
    hand = Hand(stream=True)
    hand.ask()
    hand.retried()
    (event,) = hand.answer(XMA, code=code, **build)
    assert (event.reason, event.detail) == ("integrity violated", detail)


def test_after_a_list_of_algorithms_sha1_proves_nothing():
    """8489-54: only MESSAGE-INTEGRITY-SHA256 was sent, so that is what comes back (8489-48)."""
    hand = Hand()
    hand.ask()
    hand.retried(LISTED, BOTH)
    assert hand.answer(XMA, key=SHA256_KEY) == []
    assert len(hand.answer(XMA, key=SHA256_KEY, sha1=False, sha256=True)) == 1


def test_a_signed_error_of_another_kind_ends_the_request():
    """8489-26: 4xx fails; and 5xx is sent again, signed."""
    hand = Hand()
    hand.ask()
    hand.retried()
    (event,) = hand.answer(code=403, key=MD5_KEY)
    assert (event.reason, event.code) == ("error response", 403)
    hand.ask(1.0)
    assert hand.answer(code=500, key=MD5_KEY, now=1.1) == []
    hand.run_to(hand.agent.next_timer())
    (again,) = hand.sent()
    assert again.verify_integrity(MD5_KEY)


def test_a_server_without_authentication_is_not_asked_for_proof():
    hand = Hand()
    hand.ask()
    (event,) = hand.answer(XMA)
    assert isinstance(event, ResponseReceived)
    assert not event.authenticated


def test_a_challenge_with_unknown_required_attributes_fails():
    """8489-26 and RFC 8489 6.3.4: before the credentials are thought of."""
    hand = Hand()
    hand.ask()
    (event,) = hand.challenge(PLAIN, None, (0x7777, b""))
    assert event.reason == "bad response"
    assert hand.sent() == []


def test_a_bare_request_without_credentials_fails_as_before():
    """8489-26: 4xx: failed."""
    hand = Hand(credentials=None)
    hand.ask()
    (event,) = hand.challenge()
    assert (event.reason, event.code) == ("error response", 401)


def test_turn_takes_sha256_wherever_it_stands():
    """8656-11: MD5 first in the list and SHA-256 second: SHA-256 all the same."""
    listed = ((PasswordAlgorithm.MD5, b""), (PasswordAlgorithm.SHA256, b""))
    for strongest, algorithm in ((True, PasswordAlgorithm.SHA256), (False, PasswordAlgorithm.MD5)):
        mechanism = LongTermMechanism(USER, strongest=strongest)
        builder = MessageBuilder(Method.ALLOCATE, MessageClass.ERROR, bytes(12))
        builder.add(Attribute.ERROR_CODE, (401, ""))
        builder.add(Attribute.REALM, "realm")
        builder.add(Attribute.NONCE, LISTED)
        builder.add(Attribute.PASSWORD_ALGORITHMS, listed)
        mechanism.challenge(mechanism.proof(Method.ALLOCATE), stun.parse(builder.build()))
        assert (Attribute.PASSWORD_ALGORITHM, (algorithm, b"")) in mechanism.proof(Method.ALLOCATE).attributes


# --- short-term


def test_short_term_requests_carry_both_macs():
    """8489-31: USERNAME, MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256, in requests and indications."""
    hand = Hand(SHORT)
    hand.agent.indicate(1, SERVER, Method.BINDING, credentials=SHORT)
    (indication,) = hand.sent()
    for message in (hand.ask(), indication):
        assert types(message) == [
            Attribute.USERNAME,
            Attribute.MESSAGE_INTEGRITY,
            Attribute.MESSAGE_INTEGRITY_SHA256,
        ]
        assert message.get(Attribute.USERNAME) == SHORT.username
        assert message.verify_integrity(SHORT_KEY)


@pytest.mark.parametrize(("sha1", "sha256"), [(True, False), (False, True)])
def test_one_mac_where_it_is_known_which(sha1, sha256):
    """8489-31, 8489-35: one of the two, as ICE has it; and an answer with the other is not believed."""
    hand = Hand(ShortTermCredentials(SHORT.username, SHORT.password, sha1=sha1, sha256=sha256))
    assert (Attribute.MESSAGE_INTEGRITY in hand.ask()) == sha1
    assert (Attribute.MESSAGE_INTEGRITY_SHA256 in hand.request) == sha256
    assert hand.answer(XMA, key=SHORT_KEY, sha1=not sha1, sha256=not sha256) == []
    assert len(hand.answer(XMA, key=SHORT_KEY, sha1=sha1, sha256=sha256)) == 1
    with pytest.raises(ValueError, match="SHA-1"):
        ShortTermCredentials("user", "password", sha1=False, sha256=False)


@pytest.mark.parametrize("sha256", [False, True])
def test_later_requests_have_the_mac_of_the_first_answer(sha256):
    """8489-37: one MAC from then on, to that address and port from any socket; others get both. 8489-35: the other
    algorithm proves nothing any more."""
    hand = Hand(SHORT)
    hand.ask()
    (event,) = hand.answer(XMA, key=SHORT_KEY, sha1=not sha256, sha256=sha256)
    assert event.authenticated
    for socket in (1, 2):
        later = hand.ask(1.0, socket=socket)
        assert (Attribute.MESSAGE_INTEGRITY_SHA256 in later) == sha256
        assert (Attribute.MESSAGE_INTEGRITY in later) != sha256
    hand.ask(1.0)
    assert hand.answer(XMA, key=SHORT_KEY, sha1=sha256, sha256=not sha256, now=1.1) == []
    for address in (OTHER, (SERVER[0], 3479)):
        other = hand.ask(1.0, address=address)
        assert {Attribute.MESSAGE_INTEGRITY, Attribute.MESSAGE_INTEGRITY_SHA256} <= set(types(other))


def test_an_error_with_a_mac_shows_the_algorithm_too():
    """8489-37: any response does."""
    hand = Hand(SHORT)
    hand.ask()
    hand.answer(code=403, key=SHORT_KEY)
    assert Attribute.MESSAGE_INTEGRITY_SHA256 not in hand.ask(1.0)


@pytest.mark.parametrize("code", [None, 400, 401, 438, 500])
def test_short_term_answers_without_a_mac_are_not_believed(code):
    """8489-36: whatever they say, a challenge included; nothing is learnt from them (8489-37)."""
    hand = Hand(SHORT)
    hand.ask()
    assert hand.answer(XMA, (Attribute.REALM, "realm"), (Attribute.NONCE, "nonce"), code=code) == []
    (event,) = hand.run_to(1000.0)
    assert event.reason == "integrity violated"
    hand.sent()
    assert len(types(hand.ask(2000.0))) == 3


def test_a_signed_challenge_has_no_answer_in_the_short_term():
    hand = Hand(SHORT)
    hand.ask()
    (event,) = hand.answer(code=401, key=SHORT_KEY)
    assert (event.reason, event.code) == ("unauthenticated", 401)


def test_credentials_or_a_key():
    hand = Hand()
    with pytest.raises(ValueError, match="credentials or with a key"):
        hand.agent.request(1, SERVER, Method.BINDING, (), 0.0, credentials=USER, key=MD5_KEY)
    with pytest.raises(ValueError, match="sha1 or sha256"):
        hand.agent.request(1, SERVER, Method.BINDING, (), 0.0, key=MD5_KEY, sha1=False)


def test_what_cannot_be_sent_is_the_callers_mistake_and_found_at_once():
    hand = Hand()
    for _ in range(12):  # where it would wait too
        hand.agent.request(1, SERVER, Method.BINDING, (), 0.0, credentials=USER)
    with pytest.raises(ValueError, match="60000"):
        hand.agent.request(
            1, SERVER, Method.BINDING, [(Attribute.DATA, bytes(60_000))], 0.0, credentials=USER
        )
    assert len(hand.run_to(1000.0)) == 12


def test_long_requests_are_counted():
    """8489-6: longer than any path is sure to carry."""
    hand = Hand()
    for address, size in ((SERVER, 548), (("2001:db8::1", 3478), 1232)):
        hand.agent.request(1, address, Method.BINDING, [(Attribute.DATA, bytes(size - 24))], 0.0)
        assert hand.agent.counters["request longer than a safe datagram"] == 0
        hand.agent.request(1, address, Method.BINDING, [(Attribute.DATA, bytes(size - 20))], 0.0, stream=True)
        assert hand.agent.counters["request longer than a safe datagram"] == 0
        hand.agent.request(1, address, Method.BINDING, [(Attribute.DATA, bytes(size - 20))], 0.0)
        assert hand.agent.counters.pop("request longer than a safe datagram") == 1


# --- tokens (RFC 7635)

MAC_KEY = b"ZksjpweoixXmvn67534m"
TOKEN = TokenCredentials("kid-1", b"opaque \0 token", MAC_KEY)
OFFER = (Attribute.THIRD_PARTY_AUTHORIZATION, "turn.example.org")


def test_a_token_is_shown_to_who_takes_tokens():
    """7635-2: USERNAME is the kid, ACCESS-TOKEN the token as it is, MESSAGE-INTEGRITY last with the mac_key itself. It
    has precedence over a password, and over password algorithms."""
    both = TokenCredentials(TOKEN.kid, TOKEN.token, MAC_KEY, fallback=USER)
    for credentials, listed in itertools.product((TOKEN, both), (None, BOTH)):
        hand = Hand(credentials)
        hand.ask(method=Method.ALLOCATE)
        (event,) = hand.challenge(PLAIN if listed is None else LISTED, listed, OFFER)
        assert (event.mechanism, event.anonymous) == ("token", False)
        (request,) = hand.sent()
        assert types(request) == [
            Attribute.USERNAME,
            Attribute.REALM,
            Attribute.NONCE,
            Attribute.ACCESS_TOKEN,
            Attribute.MESSAGE_INTEGRITY,
        ]
        assert request.get(Attribute.USERNAME) == "kid-1"
        assert request.get(Attribute.ACCESS_TOKEN) == TOKEN.token
        assert request.verify_integrity(IntegrityKey.from_bytes(MAC_KEY))


def test_a_server_that_takes_no_tokens_gets_the_password_or_nothing():
    """7635-2: first-party authentication is what is left (RFC 7635 6.1)."""
    hand = Hand(TokenCredentials(TOKEN.kid, TOKEN.token, MAC_KEY, fallback=USER))
    hand.ask()
    assert hand.retried().verify_integrity(MD5_KEY)
    hand = Hand(TOKEN)
    hand.ask()
    assert hand.refused().detail == "error 401: the server takes no tokens"
    hand = Hand(USER)  # not capable of it
    hand.ask()
    assert hand.retried(PLAIN, None, OFFER).verify_integrity(MD5_KEY)


def test_a_token_is_not_shown_to_a_server_that_it_is_not_for():
    """RFC 7635 6.1: tokens are made for a server by name."""
    for name, shown in (("turn.example.org", True), ("other.example.org", False)):
        hand = Hand(TokenCredentials(TOKEN.kid, TOKEN.token, MAC_KEY, server_name=name))
        hand.ask()
        if shown:
            assert Attribute.ACCESS_TOKEN in hand.retried(PLAIN, None, OFFER)
        else:
            assert "'turn.example.org'" in hand.refused(PLAIN, None, OFFER).detail


def test_an_expired_token_ends_the_request_with_words_and_a_new_one_begins_anew():
    """7635-8: an answer without the right integrity is discarded; for a token that is refused, a new one is needed."""
    hand = Hand(TOKEN)
    hand.ask(method=Method.ALLOCATE)
    hand.retried(PLAIN, None, OFFER)
    assert hand.answer() == []
    assert hand.answer(key=MD5_KEY) == []
    event = hand.refused(PLAIN, None, OFFER)
    assert event.detail == "error 401: the token is refused in the realm 'realm'"
    assert event.message.get(Attribute.THIRD_PARTY_AUTHORIZATION) == "turn.example.org"
    fresh = TokenCredentials("kid-1", b"another token", MAC_KEY)
    assert types(hand.ask(1.0, method=Method.ALLOCATE, credentials=fresh)) == []
    assert hand.retried(PLAIN, None, OFFER).get(Attribute.ACCESS_TOKEN) == b"another token"
    (event,) = hand.answer(key=IntegrityKey.from_bytes(MAC_KEY))
    assert event.authenticated


def test_in_turn_the_token_goes_into_allocate_and_refresh_only():
    """7635-9: the other requests have the kid and the integrity, and not the token."""
    hand = Hand(TOKEN)
    hand.ask(method=Method.ALLOCATE)
    key = IntegrityKey.from_bytes(MAC_KEY)
    assert Attribute.ACCESS_TOKEN in hand.retried(PLAIN, None, OFFER)
    hand.answer(key=key)
    assert Attribute.ACCESS_TOKEN in hand.ask(1.0, method=Method.REFRESH)
    for method in (Method.CREATE_PERMISSION, Method.CHANNEL_BIND, Method.CONNECT, Method.CONNECTION_BIND):
        request = hand.ask(1.0, method=method)
        assert Attribute.ACCESS_TOKEN not in request
        assert request.get(Attribute.USERNAME) == "kid-1"
        assert request.verify_integrity(key)


def test_a_key_for_sha256_makes_one_for_sha1():
    """7635-11: 256 bits for HMAC-SHA256; MESSAGE-INTEGRITY has the SHA-1 of them, 160 bits."""
    import hashlib

    hand = Hand(TokenCredentials("kid", b"token", bytes(range(32))))
    hand.ask()
    request = hand.retried(PLAIN, None, OFFER)
    assert request.verify_integrity(IntegrityKey.from_bytes(hashlib.sha1(bytes(range(32))).digest()))


def test_the_longest_token_fits_a_datagram():
    """7635-3: with a usual challenge the request has at most 548 bytes; a longer token is refused when it is given."""
    hand = Hand(TokenCredentials("22BIjxU93h/IgwEb", bytes(320), MAC_KEY))
    hand.agent = StunAgent(counting_rng())  # with SOFTWARE
    hand.ask(method=Method.ALLOCATE)
    request = hand.retried("n" * 40, None, OFFER, realm="some.where.example.org")
    assert len(request) <= 548
    for wrong in (b"", bytes(321)):
        with pytest.raises(ValueError, match="320"):
            TokenCredentials("kid", wrong, MAC_KEY)
    for wrong in (b"", bytes(15), bytes(65)):
        with pytest.raises(ValueError, match="MAC key"):
            TokenCredentials("kid", b"token", wrong)


def test_limits_have_names():
    assert (MAX_CHALLENGES, MAX_RESENDS) == (3, 4)
