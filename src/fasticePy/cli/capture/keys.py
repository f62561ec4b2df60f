"""Checks the integrity of messages with the passwords that somebody knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fasticePy.stun import (
    Attribute,
    IntegrityKey,
    Message,
    ParseError,
    PasswordAlgorithm,
    parse,
)

MAX_REMEMBERED = 10_000
"""Requests whose user and realm are remembered, for responses tell neither."""
MINIMUM_SHA256 = 16
"""Bytes of the shortest MESSAGE-INTEGRITY-SHA256 (RFC 8489 14.6)."""

_ALGORITHMS = {PasswordAlgorithm.MD5: "MD5", PasswordAlgorithm.SHA256: "SHA-256"}
_SIZE_OF_MI = 24


@dataclass(frozen=True, slots=True)
class Integrity:
    """What came of checking one attribute."""

    right: bool | None
    """None: there was nothing to check it with."""
    words: str


class Keys:
    """All keys that can be made of the passwords."""

    def __init__(
        self, passwords: Sequence[str], *, user: str | None = None, realm: str | None = None
    ) -> None:
        """`user` and `realm` are for the long-term mechanism; those that messages have are tried too. Raises
        ValueError for a password, user or realm that cannot be."""
        self._passwords = passwords
        self._user = user
        self._realm = realm
        self._short_term = [IntegrityKey.short_term(password) for password in passwords]
        self._long_term: dict[tuple[str, str], list[tuple[str, IntegrityKey]]] = {}
        self._asked: dict[bytes, tuple[str | None, str | None]] = {}
        if user is not None and realm is not None:
            for password in passwords:
                IntegrityKey.long_term(user, realm, password)

    def check(self, message: Message) -> dict[int, Integrity]:
        """What is to be said about each integrity attribute of a message."""
        if not message.has_integrity:
            self._remember(message)
            return {}
        whole = {"sha1": Attribute.MESSAGE_INTEGRITY, "sha256": Attribute.MESSAGE_INTEGRITY_SHA256}
        kind = whole[message.integrity_kind or "sha1"]
        results: dict[int, Integrity] = {kind: self._verdict(message)}
        if kind == Attribute.MESSAGE_INTEGRITY_SHA256 and Attribute.MESSAGE_INTEGRITY in message:
            # both are there, and receivers look at the newer one alone (RFC 8489 9.1.3)
            results[Attribute.MESSAGE_INTEGRITY] = self._verdict(_without_sha256(message))
        self._remember(message)
        return results

    def _verdict(self, message: Message) -> Integrity:
        if not self._passwords:
            return Integrity(None, "not checked: no password")
        for words, key in self._candidates(message):
            if message.verify_integrity(key, MINIMUM_SHA256):
                return Integrity(True, f"right: {words}")
        number = (
            "the password" if len(self._passwords) == 1 else f"any of the {len(self._passwords)} passwords"
        )
        return Integrity(False, f"wrong for {number}")

    def _candidates(self, message: Message) -> Iterator[tuple[str, IntegrityKey]]:
        for key in self._short_term:
            yield "short-term", key
        asked = self._asked.get(message.transaction_id, (None, None))
        users = (self._user, message.get(Attribute.USERNAME), asked[0])
        realms = (self._realm, message.get(Attribute.REALM), asked[1])
        for user in dict.fromkeys(filter(None, users)):
            for realm in dict.fromkeys(filter(None, realms)):
                yield from self._long_term_keys(user, realm)

    def _long_term_keys(self, user: str, realm: str) -> list[tuple[str, IntegrityKey]]:
        known = self._long_term.get((user, realm))
        if known is not None:
            return known
        made = []
        for password in self._passwords:
            for algorithm, name in _ALGORITHMS.items():
                try:
                    made.append(
                        (f"long-term, {name}", IntegrityKey.long_term(user, realm, password, algorithm))
                    )
                except ValueError:  # names in messages may be no names
                    continue
        self._long_term[user, realm] = made
        if len(self._long_term) > MAX_REMEMBERED:
            del self._long_term[next(iter(self._long_term))]
        return made

    def _remember(self, message: Message) -> None:
        user, realm = message.get(Attribute.USERNAME), message.get(Attribute.REALM)
        if user is None and realm is None:
            return
        self._asked[message.transaction_id] = (user, realm)
        if len(self._asked) > MAX_REMEMBERED:
            del self._asked[next(iter(self._asked))]


def _without_sha256(message: Message) -> Message:
    """The message up to its MESSAGE-INTEGRITY, which does not depend on what follows (RFC 8489 14.5)."""
    data, position = message.data, 20
    while position + 4 <= len(data):
        attribute, size = (int.from_bytes(data[at : at + 2], "big") for at in (position, position + 2))
        if attribute == Attribute.MESSAGE_INTEGRITY:
            end = position + _SIZE_OF_MI
            try:
                return parse(data[:2] + (end - 20).to_bytes(2, "big") + data[4:end])
            except ParseError:
                break
        position += 4 + (size + 3) // 4 * 4
    return message
