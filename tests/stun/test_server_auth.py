"""Whom a server believes, and what it answers to the others."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasticePy import stun
from fasticePy.stun import (
    Attribute,
    Authenticator,
    BindingServer,
    IntegrityKey,
    Message,
    MessageBuilder,
    MessageClass,
    Method,
    PasswordAlgorithm,
    ShortTermAuthenticator,
    long_term_key,
    userhash,
)
from fasticePy.stun.server_auth import ROTATION, Grant, Refusal

CLIENT = ("192.0.2.7", 40000)
CLIENT6 = ("2001:db8::7", 40000)
ID = bytes(range(12))
REALM = "example.org"
USERS = {"user": "pass", "other": "word"}
MD5, SHA256 = PasswordAlgorithm.MD5, PasswordAlgorithm.SHA256
KEYS = {algorithm: IntegrityKey.long_term("user", REALM, "pass", algorithm) for algorithm in (MD5, SHA256)}
WRONG = IntegrityKey.from_bytes(b"something else")
LISTED = bytes.fromhex("0002000000010000")
AUTHENTICATION = {
    Attribute.USERNAME,
    Attribute.USERHASH,
    Attribute.MESSAGE_INTEGRITY,
    Attribute.MESSAGE_INTEGRITY_SHA256,
}


def make(**options: object) -> Authenticator:
    arguments = {"realm": REALM, "users": USERS, "rng": random.Random(1).randbytes, **options}
    return Authenticator(**arguments)


class Desk:
    """A Binding server with an authenticator, and a client of it with credentials that a test may spoil."""

    def __init__(self, authentication: object = None, **options: object) -> None:
        self.server = BindingServer(authentication=authentication or make(), **options)
        self.challenge: dict[int, object] = {}

    def raw(self, data: bytes, source: tuple[str, int] = CLIENT, now: float = 0.0) -> bytes | None:
        assert self.server.datagram_received(5, data, source, now) is None
        transmits = self.server.take_transmits()
        assert [(each.socket, each.address) for each in transmits] == [(5, source)] * len(transmits)
        return transmits[0].data if transmits else None

    def ask(
        self,
        *attributes: tuple[int, object],
        source: tuple[str, int] = CLIENT,
        now: float = 0.0,
        kind: int = MessageClass.REQUEST,
        **build: object,
    ) -> Message | None:
        builder = MessageBuilder(Method.BINDING, kind, ID)
        for attribute, value in attributes:
            builder.add(attribute, value)
        reply = self.raw(builder.build(**build), source, now)
        return None if reply is None else stun.parse(reply)

    @staticmethod
    def blank() -> bytes:
        """The shortest request."""
        return MessageBuilder(Method.BINDING, MessageClass.REQUEST, ID).build()

    def meet(self, now: float = 0.0, source: tuple[str, int] = CLIENT) -> Desk:
        """Take a challenge."""
        reply = self.ask(now=now, source=source)
        assert reply.get(Attribute.ERROR_CODE) == (401, "")
        names = (Attribute.REALM, Attribute.NONCE, Attribute.PASSWORD_ALGORITHMS)
        self.challenge = {name: reply.raw(name) for name in names}
        return self

    def sign(
        self,
        *extra: tuple[int, object],
        key: IntegrityKey | None = None,
        algorithm: int | None = None,
        without: int | None = None,
        sha256: bool | None = None,
        username: str = "user",
        **options: object,
    ) -> Message | None:
        """Ask as the challenge wants it, signed."""
        attributes: dict[int, object] = {
            Attribute.USERNAME: username,
            Attribute.REALM: self.challenge[Attribute.REALM],
            Attribute.NONCE: self.challenge[Attribute.NONCE],
        }
        if algorithm is not None:
            attributes[Attribute.PASSWORD_ALGORITHMS] = self.challenge[Attribute.PASSWORD_ALGORITHMS]
            attributes[Attribute.PASSWORD_ALGORITHM] = (algorithm, b"")
        attributes.pop(without, None)
        both = algorithm is not None if sha256 is None else sha256
        return self.ask(
            *attributes.items(),
            *extra,
            key=key or KEYS[algorithm or MD5],
            sha1=not both,
            sha256=both,
            **options,
        )


def types(message: Message) -> list[int]:
    return [attribute for attribute, _ in message.attributes()]


def code(message: Message | None) -> int | None:
    error = None if message is None else message.get(Attribute.ERROR_CODE)
    return None if error is None else error[0]


# --- the challenge


def test_who_is_bare_is_challenged():
    """8489-42: REALM and NONCE, no user name and no integrity; a nonce without features has zeros (8489-38). T4:
    PASSWORD-ALGORITHMS only with bit 0."""
    reply = Desk().ask()
    assert types(reply) == [Attribute.ERROR_CODE, Attribute.REALM, Attribute.NONCE]
    assert reply.message_class == MessageClass.ERROR
    assert reply.transaction_id == ID
    assert code(reply) == 401
    assert reply.get(Attribute.REALM) == REALM
    assert reply.get(Attribute.NONCE).startswith("obMatJos2AAAA")


def test_features_are_told_by_the_cookie():
    """8489-42, 8489-38: bit 0 with PASSWORD-ALGORITHMS, bit 1 for anonymity."""
    for options, cookie, listed in (
        ({"algorithms": [SHA256, MD5]}, "obMatJos2gAAA", LISTED),
        ({"anonymity": True}, "obMatJos2QAAA", None),
        ({"algorithms": [SHA256], "anonymity": True}, "obMatJos2wAAA", LISTED[:4]),
    ):
        reply = Desk(make(**options)).ask()
        assert reply.get(Attribute.NONCE).startswith(cookie)
        assert reply.raw(Attribute.PASSWORD_ALGORITHMS) == listed
        assert not AUTHENTICATION & set(types(reply))


def test_sizes_of_what_strangers_get():
    """A 401 has 72 bytes for 20 with a realm of 12 bytes, 8489-6: and never more than 548."""
    assert len(Desk().raw(bytes.fromhex("00010000 2112a442") + ID)) == 72
    sizes = {}
    for realm in ("turn", "example.org", "example.org.", "\u00e9" * 127):
        for algorithms in ((), (SHA256,), (SHA256, MD5)):
            desk = Desk(make(realm=realm, algorithms=algorithms))
            sizes[realm, len(algorithms)] = len(desk.raw(bytes.fromhex("00010000 2112a442") + ID))
    assert [sizes["turn", count] for count in (0, 1, 2)] == [64, 72, 76]
    assert [sizes["example.org", count] for count in (0, 1, 2)] == [72, 80, 84]
    assert sizes["example.org.", 0] == 72
    assert max(sizes.values()) <= 548


@pytest.mark.parametrize("algorithms", [(), (SHA256, MD5)])
def test_a_438_and_a_400_are_shorter_than_what_they_answer(algorithms):
    desk = Desk(make(algorithms=algorithms)).meet()
    algorithm = algorithms[0] if algorithms else None
    request = 20 + 8 + 16 + 28 + (24 if not algorithms else 36 + 12 + 8)
    stale = desk.sign(algorithm=algorithm, now=700.0)
    assert code(stale) == 438
    assert len(stale) == (72 if not algorithms else 84) <= request
    desk.meet()
    assert len(desk.sign(algorithm=algorithm, without=Attribute.USERNAME)) == 28


def test_no_nonce_is_given_to_two_sources():
    """8489-43: two sockets, two nonces; and B cannot use A's: 438."""
    desk = Desk(make(challenges_per_second=None))
    sources = [(host, port) for host in ("192.0.2.7", "192.0.2.8") for port in range(1000, 1500)]
    assert len({desk.ask(source=source).get(Attribute.NONCE) for source in sources}) == 1000
    desk.meet()
    assert code(desk.sign()) is None
    assert code(desk.sign(source=(CLIENT[0], CLIENT[1] + 1))) == 438
    assert code(desk.sign(source=CLIENT6)) == 438


def test_a_nonce_of_another_transport_is_stale():
    """The nonce is bound to all of the 5-tuple that the server knows."""
    transports = {5: "udp"}
    desk = Desk(transport_of=transports.get).meet()
    transports[5] = "tcp"
    assert code(desk.sign()) == 438


# --- requests with integrity


@pytest.mark.parametrize(
    "missing", [Attribute.USERNAME, Attribute.REALM, Attribute.NONCE], ids=["user", "realm", "nonce"]
)
def test_integrity_without_the_rest_is_a_400(missing):
    """8489-44: without any attribute of authentication."""
    reply = Desk().meet().sign(without=missing)
    assert code(reply) == 400
    assert types(reply) == [Attribute.ERROR_CODE]


@pytest.mark.parametrize("attribute", [Attribute.USERNAME, Attribute.REALM, Attribute.NONCE])
@pytest.mark.parametrize("value", [b"\xff\xfe", b"x" * 760 + b"\xff"])
def test_what_cannot_be_read_is_missing(attribute, value):
    """8489-44: a user name or nonce that is no UTF-8; a nonce of 128 characters."""
    assert code(Desk().meet().sign((attribute, value), without=attribute)) == 400
    assert code(Desk().meet().sign((Attribute.NONCE, b"n" * 128), without=Attribute.NONCE)) == 400


@pytest.mark.parametrize("name", ["%s%n", "' OR 1=1 --", "a\0b", "line\nline", "u" * 508, "\u0130\u3000"])
def test_names_are_only_names(name):
    """Whatever stands in USERNAME, it is an unknown user."""
    desk = Desk().meet()
    assert code(desk.sign(username=name)) == 401
    assert code(desk.sign((Attribute.USERNAME, b"u" * 763), without=Attribute.USERNAME)) == 401


def test_the_right_key_is_let_in():
    """8489-48: MESSAGE-INTEGRITY in the answer to who knows no algorithms; no realm, nonce or name."""
    reply = Desk().meet().sign()
    assert types(reply) == [Attribute.XOR_MAPPED_ADDRESS, Attribute.MESSAGE_INTEGRITY]
    assert reply.verify_integrity(KEYS[MD5])


@pytest.mark.parametrize("algorithm", [MD5, SHA256])
@pytest.mark.parametrize("both", [False, True])
def test_a_named_algorithm_is_answered_with_sha256(algorithm, both):
    """8489-48: explicit MD5 means MESSAGE-INTEGRITY-SHA256 with the MD5 key. T5: a request with both is fine."""
    desk = Desk(make(algorithms=[SHA256, MD5])).meet()
    reply = desk.sign(algorithm=algorithm) if not both else desk.sign(algorithm=algorithm, sha256=False)
    assert types(reply) == [Attribute.XOR_MAPPED_ADDRESS, Attribute.MESSAGE_INTEGRITY_SHA256]
    assert reply.verify_integrity(KEYS[algorithm])


def test_an_old_client_is_served_as_md5():
    """8489-45, 5766-3: neither list nor choice against a nonce with bit 0: MD5, answered with MESSAGE-INTEGRITY."""
    reply = Desk(make(algorithms=[SHA256, MD5])).meet().sign()
    assert types(reply) == [Attribute.XOR_MAPPED_ADDRESS, Attribute.MESSAGE_INTEGRITY]
    assert reply.verify_integrity(KEYS[MD5])


def test_a_server_may_refuse_md5():
    """By a list without it: nobody has an MD5 key then."""
    desk = Desk(make(algorithms=[SHA256])).meet()
    assert code(desk.sign()) == 401
    assert code(desk.sign(algorithm=SHA256)) is None
    assert code(desk.sign(algorithm=MD5)) == 400


@pytest.mark.parametrize(
    ("listed", "chosen"),
    [
        (LISTED, None),
        (None, (SHA256, b"")),
        (LISTED[4:] + LISTED[:4], (SHA256, b"")),
        (LISTED + bytes.fromhex("77770000"), (SHA256, b"")),
        (LISTED[:4], (SHA256, b"")),
        (LISTED, (0x7777, b"")),
        (LISTED, (SHA256, b"abcd")),
        (LISTED, b"\0"),
        (b"", (SHA256, b"")),
    ],
)
def test_lists_and_choices_that_do_not_fit_are_a_400(listed, chosen):
    """8489-45: one without the other, reordered, extended, cut, a choice that is not on the list."""
    extra = [(Attribute.PASSWORD_ALGORITHMS, listed), (Attribute.PASSWORD_ALGORITHM, chosen)]
    desk = Desk(make(algorithms=[SHA256, MD5])).meet()
    reply = desk.sign(*((name, value) for name, value in extra if value is not None), sha256=True)
    assert code(reply) == 400
    assert types(reply) == [Attribute.ERROR_CODE]


def test_a_nonce_without_the_bit_asks_nothing_of_lists():
    """8489-45: the rules are for nonces with bit 0; who took the bit away has no valid nonce either (bid-down)."""
    desk = Desk(make(algorithms=[SHA256, MD5])).meet()
    desk.challenge[Attribute.NONCE] = b"obMatJos2AAAA" + desk.challenge[Attribute.NONCE][13:]
    reply = desk.sign()
    assert code(reply) == 438
    assert reply.get(Attribute.NONCE).startswith("obMatJos2gAAA")
    assert reply.raw(Attribute.PASSWORD_ALGORITHMS) == LISTED


@pytest.mark.parametrize("algorithms", [(), (SHA256, MD5)])
def test_unknown_users_and_wrong_passwords_look_alike(algorithms):
    """8489-46: 401 with REALM, NONCE and the list (T4), no name and no integrity."""
    algorithm = algorithms[0] if algorithms else None
    desk = Desk(make(algorithms=algorithms)).meet()
    unknown = desk.sign(username="nobody", algorithm=algorithm)
    wrong = desk.sign(key=WRONG, algorithm=algorithm)
    assert unknown.data == wrong.data
    assert code(wrong) == 401
    expected = [Attribute.ERROR_CODE, Attribute.REALM, Attribute.NONCE]
    assert types(wrong) == expected + [Attribute.PASSWORD_ALGORITHMS] * bool(algorithms)
    assert desk.server.counters["401: unknown user"] == desk.server.counters["401: wrong integrity"] == 1


def test_the_same_work_is_done_for_unknown_users():
    """8489-46: one verification each, and one look for a key each, in whatever form the users are."""
    verified: list[object] = []
    looked: list[str] = []

    class Spy:
        def __init__(self, message: Message) -> None:
            self.message = message

        def __getattr__(self, name: str) -> object:
            return getattr(self.message, name)

        def __contains__(self, attribute: int) -> bool:
            return attribute in self.message

        def verify_integrity(self, key: object) -> bool:
            verified.append(key)
            return self.message.verify_integrity(key)

    def lookup(name: str, realm: str, algorithm: int) -> bytes | None:
        looked.append(name)
        return long_term_key(name, realm, USERS[name], algorithm)  # KeyError for others

    hashes = {userhash(name, REALM): name for name in USERS}
    for authenticator in (make(), make(users=lookup, anonymity=True, find_user=hashes.get)):
        nonce = dict(authenticator.check(stun.parse(Desk().blank()), CLIENT, 0.0).attributes)[Attribute.NONCE]
        for who in (
            (Attribute.USERNAME, "user"),
            (Attribute.USERNAME, "nobody"),
            (Attribute.USERHASH, userhash("user", REALM)),
            (Attribute.USERHASH, bytes(32)),
        ):
            verified.clear()
            looked.clear()
            builder = MessageBuilder(Method.BINDING, MessageClass.REQUEST, ID)
            for attribute, value in (who, (Attribute.REALM, REALM), (Attribute.NONCE, nonce)):
                builder.add(attribute, value)
            verdict = authenticator.check(Spy(stun.parse(builder.build(WRONG))), CLIENT, 0.0)
            assert verdict.code == 401
            assert len(verified) == 1
            assert len(looked) == bool(authenticator._lookup)


def test_a_hash_stands_for_a_name():
    """8489-46, 8489-42: USERHASH is looked up, an unknown one is an unknown user; a name is taken too."""
    desk = Desk(make(anonymity=True)).meet()
    known, unknown = (Attribute.USERHASH, userhash("user", REALM)), (Attribute.USERHASH, bytes(32))
    assert code(desk.sign(known, without=Attribute.USERNAME)) is None
    assert code(desk.sign(unknown, without=Attribute.USERNAME)) == 401
    assert code(desk.sign(unknown, without=Attribute.USERNAME, key=WRONG)) == 401
    assert code(desk.sign()) is None


def test_a_stale_nonce_is_told_to_who_knows_the_password():
    """8489-47: checked last: old nonce and wrong password: 401; old nonce and right password: 438 with a nonce that is
    good, realm and list. Nothing is signed."""
    for algorithms in ((), (SHA256, MD5)):
        algorithm = algorithms[0] if algorithms else None
        desk = Desk(make(algorithms=algorithms)).meet()
        assert code(desk.sign(algorithm=algorithm, key=WRONG, now=700.0)) == 401
        reply = desk.sign(algorithm=algorithm, now=700.0)
        assert code(reply) == 438
        assert not AUTHENTICATION & set(types(reply))
        assert reply.get(Attribute.REALM) == REALM
        assert reply.raw(Attribute.PASSWORD_ALGORITHMS) == (LISTED if algorithms else None)
        desk.challenge[Attribute.NONCE] = reply.raw(Attribute.NONCE)
        assert code(desk.sign(algorithm=algorithm, now=700.5)) is None


def test_a_nonce_from_the_future_is_stale():
    desk = Desk().meet(now=100.0)
    assert code(desk.sign(now=96.0)) is None
    assert code(desk.sign(now=90.0)) == 438


def test_secrets_change_and_the_nonces_of_before_last_out():
    """A new secret each hour of use, or when told; the previous one is still known."""
    desk = Desk(make(nonce_life=3600.0)).meet(now=0.0)
    desk.meet(now=ROTATION - 1)
    assert code(desk.sign(now=ROTATION + 1)) is None
    desk.meet(now=ROTATION + 2)
    desk.meet(now=2 * ROTATION + 3)
    assert code(desk.sign(now=2 * ROTATION + 4)) is None

    shared = [make(secret=bytes(32), rng=random.Random(seed).randbytes) for seed in (1, 2)]
    first, second = Desk(shared[0]).meet(), Desk(shared[1])
    second.challenge = first.challenge
    assert code(second.sign()) is None
    shared[1].rotate(bytes(31) + b"1")
    assert code(second.sign()) is None
    shared[1].rotate(bytes(31) + b"2")
    assert code(second.sign()) == 438


def test_unknown_attributes_come_after_authentication():
    """8489-18: bad integrity and an unknown required attribute: 401; right integrity: 420, signed (8489-48)."""
    desk = Desk().meet()
    assert code(desk.sign((0x7777, b""), key=WRONG)) == 401
    assert code(desk.ask((0x7777, b""))) == 401
    reply = desk.sign((0x7777, b""))
    assert (code(reply), reply.get(Attribute.UNKNOWN_ATTRIBUTES)) == (420, (0x7777,))
    assert reply.verify_integrity(KEYS[MD5])


def test_what_stands_behind_the_integrity_is_not_there():
    """8489-30: a user name behind MESSAGE-INTEGRITY names nobody."""
    desk = Desk().meet()
    builder = MessageBuilder(Method.BINDING, MessageClass.REQUEST, ID)
    builder.add(Attribute.REALM, REALM)
    builder.add(Attribute.NONCE, desk.challenge[Attribute.NONCE])
    data = bytearray(builder.build(KEYS[MD5]) + struct.pack("!HH4s", Attribute.USERNAME, 4, b"user"))
    data[2:4] = struct.pack("!H", len(data) - 20)
    assert code(stun.parse(desk.raw(bytes(data)))) == 400


def test_challenges_run_out_and_come_back():
    """Ten at once and per second for a source, silence after, and all of it counted; who is authenticated is not
    concerned."""
    desk = Desk().meet()
    replies = [desk.ask() for _ in range(20)]
    assert [code(reply) for reply in replies] == [401] * 9 + [None] * 11
    assert desk.server.counters == {"401: without integrity": 10, "401 over budget": 11}
    assert desk.sign(key=WRONG) is None
    assert code(desk.sign()) is None
    assert desk.sign() is not None
    assert code(desk.ask(source=("192.0.2.8", 1))) == 401
    assert code(desk.ask(now=0.2)) == 401
    unlimited = Desk(make(challenges_per_second=None))
    assert [code(unlimited.ask()) for _ in range(100)] == [401] * 100


def test_a_flood_of_strangers_leaves_nothing_behind():
    """No state before a nonce verifies: only the budget remembers sources, and not more than it may."""
    from fasticePy.stun.budget import MAX_SOURCES

    authenticator = make()
    message = stun.parse(Desk().blank())
    for number in range(MAX_SOURCES + 1000):
        authenticator.check(message, (f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", number), 0.0)
    assert len(authenticator._budget) == MAX_SOURCES


# --- users


def test_users_may_be_found_by_a_function():
    """It gives keys; what it does not know, or raises LookupError or ValueError for, is an unknown user."""

    def lookup(name: str, realm: str, algorithm: int) -> bytes | None:
        assert realm == REALM
        if name == "none":
            return None
        return long_term_key(name, realm, USERS[name], algorithm)

    desk = Desk(make(users=lookup, algorithms=[SHA256, MD5])).meet()
    assert code(desk.sign()) is None
    assert code(desk.sign(algorithm=SHA256)) is None
    for name in ("none", "nobody", "\x07"):
        assert code(desk.sign(username=name)) == 401
    with pytest.raises(ValueError, match="function"):
        make(users=lookup).set_users({})


def test_users_can_be_replaced():
    authenticator = make()
    desk = Desk(authenticator).meet()
    authenticator.set_users({"user": "new"})
    assert code(desk.sign()) == 401
    assert code(desk.sign(key=IntegrityKey.long_term("user", REALM, "new"))) is None
    with pytest.raises(ValueError, match="empty"):
        authenticator.set_users({"user": ""})
    assert code(desk.sign(key=IntegrityKey.long_term("user", REALM, "new"))) is None


def test_what_began_with_a_key_goes_on_with_it():
    """A session's grant: its user is verified by its key, whatever became of the user; others are not."""
    authenticator = make(algorithms=[SHA256, MD5])
    desk = Desk(authenticator).meet()
    data = {}

    class Recorder:
        attributes: frozenset[int] = frozenset()

        def check(self, message: Message, source: tuple[str, int], now: float, **options: object) -> object:
            data["message"] = message
            return authenticator.check(message, source, now, **options)

    desk.server = BindingServer(authentication=Recorder())
    assert code(desk.sign(algorithm=SHA256)) is None
    message = data["message"]
    grant = authenticator.check(message, CLIENT, 0.0, context="udp")
    assert isinstance(grant, Grant)
    assert (grant.username, grant.algorithm, grant.sha256, grant.lifetime) == ("user", SHA256, True, None)
    authenticator.set_users({})
    assert isinstance(authenticator.check(message, CLIENT, 0.0, context="udp"), Refusal)
    assert authenticator.check(message, CLIENT, 0.0, context="udp", session=grant) == grant
    assert authenticator.check(message, CLIENT, 700.0, context="udp", session=grant).code == 438
    other = Grant("other", grant.keys, sha256=True, algorithm=SHA256)
    assert authenticator.check(message, CLIENT, 0.0, context="udp", session=other).code == 401
    weaker = Grant("user", grant.keys, sha256=True, algorithm=MD5)
    assert authenticator.check(message, CLIENT, 0.0, context="udp", session=weaker).code == 401


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"realm": ""}, "empty"),
        ({"realm": "\x07"}, "0007"),
        ({"realm": "r" * 128}, "127"),
        ({"users": {"user": ""}}, "empty"),
        ({"users": {"\u00ad": "x"}}, "00AD"),
        ({"algorithms": [3]}, "password algorithms"),
        ({"algorithms": [MD5, MD5]}, "at most once"),
        ({"users": lambda *_: None, "anonymity": True}, "find_user"),
        ({"nonce_life": 4000.0}, "3600"),
        ({"secret": b"short"}, "16 bytes"),
        ({"secret": b""}, "16 bytes"),
        ({"challenges_per_second": 0}, "more than 0"),
    ],
)
def test_mistakes_are_found_when_it_is_made(options, what):
    with pytest.raises(ValueError, match=what):
        make(**options)


def test_nothing_secret_is_shown():
    shown = repr(make()) + repr(make().check(stun.parse(Desk().blank()), CLIENT, 0.0))
    assert "pass" not in shown
    assert REALM in shown


# --- the short term

SHORT = IntegrityKey.short_term("VOkJxbRl1RmTxUk/WvJxBt")


def short_desk() -> Desk:
    users = {"evtj:h6vY": "VOkJxbRl1RmTxUk/WvJxBt"}
    return Desk(ShortTermAuthenticator(users, rng=random.Random(1).randbytes))


NAME = (Attribute.USERNAME, "evtj:h6vY")


@pytest.mark.parametrize("kind", [MessageClass.REQUEST, MessageClass.INDICATION])
def test_the_short_term_refuses_in_this_order(kind):
    """8489-32, 8489-34: no integrity or no name: 400; unknown name or wrong MAC: 401; nothing of these three is in the
    answer; indications are dropped."""
    desk = short_desk()
    for attributes, build, expected in (
        ((), {}, 400),
        ((NAME,), {}, 400),
        ((), {"key": SHORT}, 400),
        (((Attribute.USERNAME, "evtj:xxxx"),), {"key": SHORT}, 401),
        ((NAME,), {"key": WRONG}, 401),
    ):
        reply = desk.ask(*attributes, kind=kind, **build)
        if kind == MessageClass.INDICATION:
            assert reply is None
        else:
            assert (code(reply), types(reply)) == (expected, [Attribute.ERROR_CODE])


def test_indications_are_judged_too():
    """8489-32: those that fail are refused in silence, the others are granted."""
    authenticator = ShortTermAuthenticator({"a": "b"}, rng=random.Random(1).randbytes)
    for key, granted in ((IntegrityKey.short_term("b"), True), (WRONG, False), (None, False)):
        builder = MessageBuilder(Method.BINDING, MessageClass.INDICATION, ID)
        builder.add(Attribute.USERNAME, "a")
        verdict = authenticator.check(stun.parse(builder.build(key)), CLIENT, 0.0)
        assert isinstance(verdict, Grant) == granted
        assert granted or verdict.code is None


@pytest.mark.parametrize(("sha1", "sha256"), [(True, False), (False, True), (True, True)])
def test_the_short_term_answers_with_one_mac(sha1, sha256):
    """8489-34: MESSAGE-INTEGRITY-SHA256 if the request had it, else MESSAGE-INTEGRITY; never a user name."""
    reply = short_desk().ask(NAME, key=SHORT, sha1=sha1, sha256=sha256)
    mac = Attribute.MESSAGE_INTEGRITY_SHA256 if sha256 else Attribute.MESSAGE_INTEGRITY
    assert types(reply) == [Attribute.XOR_MAPPED_ADDRESS, mac]
    assert reply.verify_integrity(SHORT)
    error = short_desk().ask(NAME, (0x7777, b""), key=SHORT, sha1=sha1, sha256=sha256)
    assert code(error) == 420
    assert error.verify_integrity(SHORT)


def test_with_two_macs_sha256_decides():
    """8489-33: MI good and MI256 bad: 401; MI bad and MI256 good: accepted."""
    builder = MessageBuilder(Method.BINDING, MessageClass.REQUEST, ID)
    builder.add(*NAME)
    data = bytearray(builder.build(SHORT, sha256=True))
    data[-1] ^= 1
    assert code(stun.parse(short_desk().raw(bytes(data)))) == 401
    # the other way round: a wrong MESSAGE-INTEGRITY under a right MESSAGE-INTEGRITY-SHA256
    data = bytearray(builder.build(SHORT, sha256=True))
    at = len(data) - 36 - 20
    data[at] ^= 1
    import hashlib
    import hmac

    data[-32:] = hmac.new(b"VOkJxbRl1RmTxUk/WvJxBt", bytes(data[:-36]), hashlib.sha256).digest()
    assert code(stun.parse(short_desk().raw(bytes(data)))) is None


def test_short_term_users_may_be_found_by_a_function():
    keys = {"a": SHORT}
    desk = Desk(ShortTermAuthenticator(keys.get, rng=random.Random(1).randbytes))
    assert code(desk.ask((Attribute.USERNAME, "a"), key=SHORT)) is None
    assert code(desk.ask((Attribute.USERNAME, "b"), key=SHORT)) == 401
    with pytest.raises(ValueError, match="empty"):
        ShortTermAuthenticator({"a": ""}, rng=random.Random(1).randbytes)


# --- the server around it


def test_classic_clients_are_not_let_in_where_others_must_show_who_they_are():
    desk = Desk()
    assert desk.raw(struct.pack("!HH", 1, 0) + bytes(range(100, 116))) is None
    assert desk.server.counters == {"no cookie": 1}


def test_a_fingerprint_is_mirrored_in_refusals_and_answers():
    desk = Desk()
    assert desk.ask(fingerprint=True).verify_fingerprint()
    reply = desk.meet().sign(fingerprint=True)
    assert reply.verify_fingerprint()
    assert reply.verify_integrity(KEYS[MD5])


def test_software_is_in_signed_answers_and_challenges_when_wanted():
    desk = Desk(software="x")
    assert desk.ask().get(Attribute.SOFTWARE) == "x"
    assert desk.meet().sign().get(Attribute.SOFTWARE) == "x"


@pytest.mark.parametrize("method", [Method.BINDING, Method.ALLOCATE, 0xFFF])
@pytest.mark.parametrize("authentication", [None, make()])
def test_over_dtls_nobody_speaks_rfc_3489(method, authentication):
    """8489-57: a request without the cookie gets a 500, an indication nothing; with the cookie all is well."""
    server = BindingServer(authentication=authentication, transport_of=lambda socket: "dtls")
    id = bytes(range(100, 116))
    type = (method & 0xF80) << 2 | (method & 0x70) << 1 | method & 0xF
    for kind, answered in ((0x000, True), (0x010, False), (0x100, False), (0x110, False)):
        server.datagram_received(1, struct.pack("!HH", type | kind, 0) + id, CLIENT, 0.0)
        transmits = server.take_transmits()
        assert len(transmits) == answered
        if answered:
            assert transmits[0].data == struct.pack("!HH", type | 0x110, 8) + id + bytes.fromhex(
                "0009000400000500"
            )
    server.datagram_received(1, struct.pack("!HH4s", 1, 0, bytes.fromhex("2112a442")) + ID, CLIENT, 0.0)
    (transmit,) = server.take_transmits()
    assert code(stun.parse(transmit.data)) == (None if authentication is None else 401)


# --- anything at all

ATTRIBUTES = st.lists(
    st.tuples(
        st.sampled_from(
            [
                Attribute.USERNAME,
                Attribute.USERHASH,
                Attribute.REALM,
                Attribute.NONCE,
                Attribute.PASSWORD_ALGORITHM,
                Attribute.PASSWORD_ALGORITHMS,
                Attribute.ACCESS_TOKEN,
                Attribute.MESSAGE_INTEGRITY,
                Attribute.MESSAGE_INTEGRITY_SHA256,
                0x7777,
            ]
        ),
        st.binary(max_size=40)
        | st.sampled_from([b"user", REALM.encode(), b"obMatJos2gAAA", b"obMatJos2wAAAAAAAAAAAAAA", LISTED]),
    ),
    max_size=8,
)


@settings(max_examples=200)
@given(ATTRIBUTES, st.booleans(), st.sampled_from([(), (SHA256, MD5)]), st.booleans())
def test_no_request_without_the_password_is_let_in(attributes, short, algorithms, anonymity):
    """Any attributes: refused with a small answer or in silence, never an exception."""
    body = b"".join(
        struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4) for kind, value in attributes
    )
    data = struct.pack("!HH4s12s", 1, len(body), bytes.fromhex("2112a442"), ID) + body
    desk = short_desk() if short else Desk(make(algorithms=algorithms, anonymity=anonymity))
    reply = desk.raw(data)
    assert reply is not None
    message = stun.parse(reply)
    assert code(message) in (400, 401)
    assert not AUTHENTICATION & set(types(message))
    assert len(reply) <= max(84, len(data))
