"""Names in the virtual network: what a resolver answers, and when."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address


@dataclass(frozen=True, slots=True)
class DnsAnswer:
    """One answer of the resolver, `delay` seconds after the question: addresses, or why there are none."""

    delay: float
    addresses: tuple[str, ...] = ()
    failure: str = ""


class Dns:
    """The names that exist. A name with several entries is answered in parts, as A and AAAA records come."""

    __slots__ = ("_answers", "delay")

    def __init__(self) -> None:
        self._answers: dict[str, list[DnsAnswer]] = {}
        self.delay = 0.01
        """What an answer takes (seconds) when its entry says nothing else."""

    def add(self, name: str, *addresses: str, delay: float | None = None) -> None:
        """Let `name` have these addresses as well, told `delay` seconds after the question."""
        self._put(name, DnsAnswer(self.delay if delay is None else delay, addresses))

    def fail(self, name: str, reason: str = "no such name", delay: float | None = None) -> None:
        """Let the question for `name` end in a failure."""
        self._put(name, DnsAnswer(self.delay if delay is None else delay, (), reason))

    def silence(self, name: str) -> None:
        """Let the question for `name` never be answered."""
        self._answers[name.lower()] = []

    def knows(self, name: str) -> bool:
        """Whether anything was said about `name`."""
        return name.lower() in self._answers

    def ask(self, name: str) -> list[DnsAnswer]:
        """All answers to one question, the earliest first; none when the resolver never answers."""
        try:
            return [DnsAnswer(0.0, (str(ip_address(name)),))]
        except ValueError:
            pass  # a name, not an address
        answers = self._answers.get(name.lower())
        return [DnsAnswer(self.delay, (), "no such name")] if answers is None else answers

    def _put(self, name: str, answer: DnsAnswer) -> None:
        answers = self._answers.setdefault(name.lower(), [])
        answers.append(answer)
        answers.sort(key=lambda entry: entry.delay)
