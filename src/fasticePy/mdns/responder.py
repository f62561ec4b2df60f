"""The names that we publish: announced, answered for, and withdrawn (RFC 6762 6, 8.3, 10.1).

There is no probing: a random UUID is nobody else's (draft-ietf-mmusic-mdns-ice-candidates 3.1.1).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace

from fasticePy.machine import Address, Outbox, Timer
from fasticePy.mdns.codec import ANY, AddressRecord, Message, Question, build
from fasticePy.mdns.limits import Limits
from fasticePy.mdns.links import PORT, Link, Links
from fasticePy.mdns.names import is_mdns_name

TTL = 120
"""Seconds for which others may remember an address (RFC 6762 10)."""
LEGACY_TTL = 10
"""The same for a simple resolver, which hears no goodbye (RFC 6762 6.7)."""
ANNOUNCE_AGAIN = 1.0
"""Seconds after which an announcement is repeated (RFC 6762 8.3)."""


@dataclass(slots=True)
class _Bucket:
    left: float
    at: float


@dataclass(slots=True)
class _Published:
    address: str
    """With its scope, if it has one."""
    record: AddressRecord
    again: Timer | None = None
    budgets: dict[tuple[int, bool], _Bucket] = field(default_factory=dict)


class Responder:
    """Answers for our names, and for no others."""

    __slots__ = ("_limits", "_links", "_names", "_outbox")

    def __init__(self, outbox: Outbox, links: Links, limits: Limits) -> None:
        self._outbox = outbox
        self._links = links
        self._limits = limits
        self._names: dict[str, _Published] = {}

    def __len__(self) -> int:
        return len(self._names)

    def address(self, name: str) -> str | None:
        """The address that we publish under a name in lower case."""
        published = self._names.get(name)
        return published.address if published is not None else None

    def publish(self, name: str, address: str, now: float) -> bool:
        """See `MdnsMachine.publish`."""
        name = name.lower()
        if not is_mdns_name(name):
            raise ValueError(f"{name!r} is no name of multicast DNS: one label and .local")
        plain, percent, scope = address.partition("%")
        ip = ipaddress.ip_address(plain)
        address = f"{ip}{percent}{scope}"
        if name in self._names:
            if self._names[name].address != address:
                raise ValueError(f"{name} stands for another address already")
            return True
        if len(self._names) >= self._limits.names:
            self._outbox.count("limit.mdns.names")
            return False
        published = _Published(address, AddressRecord(name, str(ip), TTL))
        build(Message(True, records=(published.record,)))  # raises for a label that cannot be sent
        self._names[name] = published
        self._announce(published)
        published.again = self._outbox.timers.schedule(
            now + ANNOUNCE_AGAIN, lambda _: self._announce(published)
        )
        return True

    def withdraw(self, name: str) -> None:
        """See `MdnsMachine.withdraw`."""
        published = self._names.pop(name.lower(), None)
        if published is None:
            return
        self._outbox.timers.cancel(published.again)
        self._say(published, 0)

    def withdraw_all(self) -> None:
        """Every name at once, in few messages."""
        goodbyes: dict[Link, list[AddressRecord]] = {}
        for published in self._names.values():
            self._outbox.timers.cancel(published.again)
            for link in self._links.of(published.address):
                goodbyes.setdefault(link, []).append(replace(published.record, ttl=0))
        self._names.clear()
        for link, records in goodbyes.items():
            self._links.respond(link, link.group, records)

    def link_added(self, link: Link) -> None:
        """Tell those on a new link what concerns them."""
        records = [
            published.record
            for published in self._names.values()
            if link in self._links.of(published.address)
        ]
        self._links.respond(link, link.group, records)

    def link_removed(self, socket: int) -> None:
        """Forget what was said there."""
        for published in self._names.values():
            for unicast in (False, True):
                published.budgets.pop((socket, unicast), None)

    def asked(self, link: Link, message: Message, source: Address, now: float) -> None:
        """Answer the questions that are about our names (RFC 6762 6)."""
        legacy = source[1] != PORT
        to_all: dict[str, AddressRecord] = {}
        to_one: dict[str, AddressRecord] = {}
        for question in message.questions:
            published = self._names.get(question.name)
            if published is None or question.type not in {published.record.type, ANY}:
                continue
            if link not in self._links.of(published.address):
                self._outbox.count("drop.mdns.question-on-other-link")
            elif legacy:
                self._answer_legacy(link, message, question, published, source, now)
            elif question.name in to_one or question.name in to_all:
                continue  # asked twice in one message
            elif self._granted(published, link, question.unicast, now):
                (to_one if question.unicast else to_all)[question.name] = published.record
        self._links.respond(link, link.group, list(to_all.values()))
        self._links.respond(link, source, list(to_one.values()))

    def _answer_legacy(
        self, link: Link, message: Message, question: Question, published: _Published, to: Address, now: float
    ) -> None:
        """To a simple resolver that asks from a port of its own (RFC 6762 6.7): in the way of unicast DNS."""
        if self._granted(published, link, True, now):
            record = replace(published.record, ttl=LEGACY_TTL, flush=False)
            asked = Question(question.name, question.type)
            answer = Message(True, (asked,), (record,), message.id)
            self._outbox.send(link.socket, to, build(answer))

    def _granted(self, published: _Published, link: Link, unicast: bool, now: float) -> bool:
        """Whether this name may be told once more on this link.

        RFC 6762 6 wants a second between two multicasts of a record. Whoever keeps to that to the letter, as
        Chromium does, keeps askers waiting for it; so a few are let through, and the rate in the long run is kept.
        Unicast answers have a budget of their own: who wastes one cannot silence the other.
        """
        burst = float(self._limits.answers)
        bucket = published.budgets.setdefault((link.socket, unicast), _Bucket(burst, now))
        bucket.left = min(burst, bucket.left + max(0.0, now - bucket.at) * self._limits.answers_per_second)
        bucket.at = now
        if bucket.left < 1:
            self._outbox.count("drop.mdns.answer-rate")
            return False
        bucket.left -= 1
        return True

    def _announce(self, published: _Published) -> None:
        self._say(published, TTL)

    def _say(self, published: _Published, ttl: int) -> None:
        for link in self._links.of(published.address):
            self._links.respond(link, link.group, [replace(published.record, ttl=ttl)])
