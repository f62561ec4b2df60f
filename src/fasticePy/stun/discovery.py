"""Where the server of a URI is: which DNS questions to ask, and what follows from the answers (RFC 8489 8, RFC 5928).

Nothing here asks. `Discovery` tells the questions, is told the records, and ends with targets: a transport, a host and
a port each, in the order in which they are tried. The addresses of the hosts are looked up by whoever tries them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Literal, TypeAlias

from fasticePy.errors import IceError
from fasticePy.machine import Rng
from fasticePy.stun.uri import DEFAULT_PORT, DEFAULT_TLS_PORT, ServerUrl

MAX_TARGETS = 16
"""Targets of one URI; records beyond are not looked at."""
MAX_RECORDS = 64
"""Records taken from one answer."""
MAX_CHAIN = 4
"""NAPTR records that may point to each other in a row; a loop ends there too."""
MAX_STEPS = 32
"""NAPTR records of one URI that are followed."""

Transport: TypeAlias = Literal["udp", "tcp", "tls", "dtls"]
"""What STUN runs over."""
TRANSPORTS: tuple[Transport, ...] = ("udp", "tcp", "tls", "dtls")
SECURE: frozenset[Transport] = frozenset({"tls", "dtls"})


class DiscoveryError(IceError):
    """The URI does not go with the transports that there are."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question for the DNS; `str()` gives `SRV _stun._udp.example.org`."""

    type: Literal["SRV", "NAPTR"]
    name: str

    def __str__(self) -> str:
        return f"{self.type} {self.name}"


@dataclass(frozen=True, slots=True)
class SrvRecord:
    """Where a service is (RFC 2782). The target "." says that the domain does not have the service."""

    priority: int
    weight: int
    port: int
    target: str


@dataclass(frozen=True, slots=True)
class NaptrRecord:
    """Which services a domain has, and where to go on (RFC 3958)."""

    order: int
    preference: int
    flags: str
    """"s": an SRV record follows, "a": addresses, "": another NAPTR record."""
    services: str
    """Such as `RELAY:turn.udp:turn.tcp`."""
    regexp: str
    replacement: str


Record: TypeAlias = SrvRecord | NaptrRecord
Answers: TypeAlias = Mapping[Question, Sequence[Record]]
"""Records by question; a question without records, or whose lookup failed, has none or is missing."""


@dataclass(frozen=True, slots=True)
class Target:
    """Something to try: `host`, a name or a numeric address, at `port` over `transport`."""

    transport: Transport
    host: str
    port: int

    @property
    def numeric(self) -> bool:
        """Whether the host is an IP address, which needs no looking up."""
        try:
            ip_address(self.host.partition("%")[0])
        except ValueError:
            return False
        return True

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.transport} {host}:{self.port}"


_Steps: TypeAlias = Generator[tuple[Question, ...], Answers, list[Target]]


class Discovery:
    """The search for the server of one URI.

    ```python
    search = Discovery(url, transports=("udp",), rng=os.urandom)
    while search.questions:
        search.answer({question: records_of(question) for question in search.questions})
    search.targets
    ```
    A URI with an IP address or a port asks nothing. Each search begins anew and remembers nothing (RFC 5928 3).
    """

    def __init__(self, url: ServerUrl, *, transports: Sequence[Transport], rng: Rng) -> None:
        """`transports` are those that the application has, best first; `rng` orders SRV records of equal priority.
        Raises DiscoveryError when the URI asks for another one."""
        self.questions: tuple[Question, ...] = ()
        """What to ask now, all at the same time. Empty when the search has ended."""
        self.targets: tuple[Target, ...] = ()
        """The result, best first; empty when the DNS says that there is no such server."""
        self._steps = _search(url, usable_transports(url, transports), rng)
        self._advance(None)

    def answer(self, answers: Answers) -> None:
        """Take the answers to all of `questions`; new questions may follow."""
        if self.questions:
            self._advance(answers)

    def _advance(self, answers: Answers | None) -> None:
        try:
            self.questions = next(self._steps) if answers is None else self._steps.send(answers)
        except StopIteration as end:
            self.questions = ()
            self.targets = tuple(dict.fromkeys(end.value))[:MAX_TARGETS]


def usable_transports(url: ServerUrl, transports: Sequence[Transport]) -> tuple[Transport, ...]:
    """Those of `transports` (best first) that the URI allows (RFC 5928 3, RFC 7350 4.6.2, RFC 7064 3.2). Raises
    DiscoveryError when none is left."""
    if url.relay and url.transport_given:
        wanted = _transport_of(url)
        if wanted not in transports:
            raise DiscoveryError(
                f"{url}: {wanted} is not among the transports to use, {', '.join(transports) or 'none'}"
            )
        return (wanted,)
    left: tuple[Transport, ...]
    if url.secure:
        left = tuple(each for each in transports if each in SECURE)
    elif url.relay:
        left = tuple(transports)
    else:  # secure transports go by stuns: (RFC 7064 3.2)
        left = tuple(each for each in transports if each not in SECURE)
    if not left:
        raise DiscoveryError(
            f"{url}: a {url.scheme}: URI does not run over {', '.join(transports) or 'nothing'}"
        )
    return left


def default_transport(url: ServerUrl) -> Transport:
    """The transport of a URI when nobody asks for another: UDP, and TLS for `stuns:` and `turns:`. Raises
    DiscoveryError for a transport that is not known."""
    return _transport_of(url)


def default_port(transport: Transport) -> int:
    """3478, and 5349 over TLS and DTLS (RFC 8489 8.1, RFC 7350 4.6)."""
    return DEFAULT_TLS_PORT if transport in SECURE else DEFAULT_PORT


def srv_question(url: ServerUrl, transport: Transport) -> Question:
    """Such as `_stun._udp.example.org`, `_turns._tcp.example.org`."""
    service = ("turn" if url.relay else "stun") + ("s" if transport in SECURE else "")
    protocol = "udp" if transport in ("udp", "dtls") else "tcp"
    return Question("SRV", f"_{service}._{protocol}.{url.host.removesuffix('.')}")


def srv_order(records: Iterable[SrvRecord], rng: Rng) -> list[SrvRecord]:
    """The order in which to try them (RFC 2782): by priority, and within one at random in proportion to the weights."""
    by_priority: dict[int, list[SrvRecord]] = {}
    for record in list(records)[:MAX_RECORDS]:
        by_priority.setdefault(record.priority, []).append(record)
    ordered: list[SrvRecord] = []
    for priority in sorted(by_priority):
        # those of weight 0 first: they have a very small chance then, beside others
        left = sorted(by_priority[priority], key=lambda record: record.weight > 0)
        while left:
            ordered.append(left.pop(_draw([record.weight for record in left], rng)))
    return ordered


def _draw(weights: Sequence[int], rng: Rng) -> int:
    """The place of the first running sum that is not below a random number between 0 and the whole sum."""
    drawn = int.from_bytes(rng(8), "big") % (sum(weights) + 1)
    running = 0
    for place, weight in enumerate(weights):
        running += weight
        if running >= drawn:
            return place
    raise AssertionError("the last running sum is the whole sum")


def _transport_of(url: ServerUrl) -> Transport:
    """RFC 5928 table 1, with the line that RFC 7350 4.6.2 adds."""
    match url.transport:
        case "udp":
            return "dtls" if url.secure else "udp"
        case "tcp":
            return "tls" if url.secure else "tcp"
    raise DiscoveryError(f"{url}: the transport {url.transport!r} is not known")


# --- the search

_TAGS: dict[str, Transport] = {"turn.udp": "udp", "turn.tcp": "tcp", "turn.tls": "tls", "turn.dtls": "dtls"}
"""Application protocol tags of NAPTR records (RFC 5928 3, RFC 7350 4.6.2)."""


def _search(url: ServerUrl, transports: tuple[Transport, ...], rng: Rng) -> _Steps:
    if url.numeric:
        return [
            Target(each, url.host, url.port if url.port_given else default_port(each)) for each in transports
        ]
    if url.port_given:  # RFC 5928 3, step 2
        return [Target(each, url.host, url.port) for each in transports]
    if not _in_dns(url.host):
        return [_at_default_port(url, each) for each in transports]
    if url.relay and not url.transport_given:
        targets = yield from _by_naptr(url, transports, rng)
        if targets is not None:
            return targets
    return (yield from _by_srv(url, transports, rng))


def _in_dns(host: str) -> bool:
    """Names of this host and of mDNS are not for name servers (RFC 6761 6.3, RFC 6762 3)."""
    return host.removesuffix(".").rpartition(".")[2] not in ("localhost", "local")


def _at_default_port(url: ServerUrl, transport: Transport) -> Target:
    return Target(transport, url.host, default_port(transport))


def _by_srv(url: ServerUrl, transports: tuple[Transport, ...], rng: Rng) -> _Steps:
    """RFC 8489 8.1; RFC 5928 3, steps 3 and 5. Without SRV records the host itself serves, at the default port."""
    questions: dict[Transport, Question] = {
        transport: srv_question(url, transport) for transport in transports
    }
    answers = yield tuple(questions.values())
    targets: list[Target] = []
    for transport, question in questions.items():
        records = _srv_records(answers, question)
        if records:
            targets += _srv_targets(records, transport, rng)
        else:
            targets.append(_at_default_port(url, transport))
    return targets


def _srv_records(answers: Answers, question: Question) -> list[SrvRecord]:
    return [record for record in answers.get(question, ()) if isinstance(record, SrvRecord)]


def _srv_targets(records: Iterable[SrvRecord], transport: Transport, rng: Rng) -> list[Target]:
    return [
        Target(transport, _host(record.target), record.port)
        for record in srv_order(records, rng)
        if record.target not in (".", "")  # decidedly not here (RFC 2782)
    ]


def _host(name: str) -> str:
    return name.removesuffix(".").lower()


def _by_naptr(
    url: ServerUrl, transports: tuple[Transport, ...], rng: Rng
) -> Generator[tuple[Question, ...], Answers, list[Target] | None]:
    """RFC 5928 3, step 4. None when the host has no NAPTR records for us: step 5 follows."""
    walk = _Walk(rng)
    first = Question("NAPTR", url.host.removesuffix("."))
    ranked = _ranked((yield from walk.ask(first)), transports)
    if not ranked:
        return None
    targets: list[Target] = []
    for transport, record in ranked:
        targets += yield from walk.follow(record, transport, frozenset({first.name}))
    return targets


def _ranked(
    records: Iterable[Record], transports: Sequence[Transport]
) -> list[tuple[Transport, NaptrRecord]]:
    """The records of the relay service that have one of our transports, each once for each: by their ranking first,
    then as the application prefers."""
    ranked: list[tuple[tuple[int, int, int], Transport, NaptrRecord]] = []
    for record in list(records)[:MAX_RECORDS]:
        if not isinstance(record, NaptrRecord) or record.regexp:
            continue
        service, *tags = record.services.split(":")
        if service.upper() != "RELAY":
            continue
        offered = {_TAGS.get(tag.lower()) for tag in tags}
        for place, transport in enumerate(transports):
            if transport in offered:
                ranked.append(((record.order, record.preference, place), transport, record))
    return [(transport, record) for _, transport, record in sorted(ranked, key=lambda entry: entry[0])]


@dataclass(slots=True)
class _Walk:
    """The way from NAPTR record to NAPTR record; no question is asked twice."""

    rng: Rng
    answers: dict[Question, Sequence[Record]] = field(default_factory=dict)
    steps: int = 0

    def ask(self, question: Question) -> Generator[tuple[Question, ...], Answers, Sequence[Record]]:
        if question not in self.answers:
            answers = yield (question,)
            self.answers[question] = answers.get(question, ())
        return self.answers[question]

    def follow(self, record: NaptrRecord, transport: Transport, passed: frozenset[str]) -> _Steps:
        """Where one record leads for one transport (RFC 3958 2.2)."""
        name = _host(record.replacement)
        flag = record.flags.lower()
        self.steps += 1
        if not name or self.steps > MAX_STEPS:
            return []
        if flag == "a":
            return [Target(transport, name, default_port(transport))]
        if flag == "s":
            records = yield from self.ask(Question("SRV", name))
            found = (each for each in records if isinstance(each, SrvRecord))
            return _srv_targets(found, transport, self.rng)
        if flag or name in passed or len(passed) >= MAX_CHAIN:
            return []
        targets: list[Target] = []
        for _, following in _ranked((yield from self.ask(Question("NAPTR", name))), (transport,)):
            targets += yield from self.follow(following, transport, passed | {name})
        return targets
