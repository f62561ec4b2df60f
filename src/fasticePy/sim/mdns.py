"""Multicast DNS in the virtual network: hosts of one segment ask each other for names.

What travels is no DNS message but a line of text, "who has NAME" or "NAME is at ADDRESS"; delay, loss and drop filters
apply to it as to any packet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from fasticePy.machine import Timer
from fasticePy.sim.packet import Packet, canonical

if TYPE_CHECKING:
    from fasticePy.sim.network import Host

PORT = 5353
GROUPS = ("224.0.0.251", "ff02::fb")
"""Where questions and answers go; they reach all hosts of the segment and never leave it."""
SCHEDULE = (0.0, 0.06, 0.25, 1.0, 2.0, 4.0)
"""When a question is asked, in seconds, until there is an answer."""
TIMEOUT = 10.0
"""After so many seconds a name is not answered for."""


class _Question:
    __slots__ = ("tell", "timers")

    def __init__(self, tell: Callable[[str, str], None], timers: list[Timer]) -> None:
        self.tell = tell
        self.timers = timers


class Mdns:
    """The multicast DNS of one host: the names that it answers for, and its questions."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._names: dict[str, str] = {}
        self._questions: dict[str, list[_Question]] = {}

    def publish(self, name: str, address: str) -> None:
        """Announce `name`, and answer for it from now on."""
        name = name.lower()
        self._names[name] = canonical(address)
        self._answer(name)

    def withdraw(self, name: str) -> None:
        """Answer for `name` no more; one that is not published is none either."""
        self._names.pop(name.lower(), None)

    def ask(self, name: str, tell: Callable[[str, str], None]) -> None:
        """Ask for `name`; `tell(address, failure)` is called once, with one of both empty."""
        name = name.lower()
        network = self._host.network
        now = network.clock.now
        timers = [network.timers.schedule(now + at, lambda _now: self._ask(name)) for at in SCHEDULE]
        question = _Question(tell, timers)
        timers.append(network.timers.schedule(now + TIMEOUT, lambda _now: self._give_up(name, question)))
        self._questions.setdefault(name, []).append(question)

    def receive(self, packet: Packet) -> None:
        """Take a question or an answer."""
        self._host.network.note("delivered", self._host.name, packet)
        words = packet.data.decode(errors="replace").split(" ")
        if words[:2] == ["who", "has"]:
            self._answer(words[-1])
        elif words[1:3] == ["is", "at"]:
            for question in self._questions.pop(words[0], []):
                self._finish(question, words[-1], "")

    def _ask(self, name: str) -> None:
        self._say(f"who has {name}")

    def _answer(self, name: str) -> None:
        address = self._names.get(name)
        if address is not None:
            self._say(f"{name} is at {address}")

    def _say(self, text: str) -> None:
        if not self._host.addresses:
            return
        address = self._host.addresses[0]
        group = GROUPS[":" in address]
        packet = self._host.network.packet((address, PORT), (group, PORT), text.encode(), transport="mdns")
        self._host.send(packet)

    def _give_up(self, name: str, question: _Question) -> None:
        left = self._questions[name]
        left.remove(question)
        if not left:
            del self._questions[name]
        self._finish(question, "", f"no answer in {TIMEOUT:g} s")

    def _finish(self, question: _Question, address: str, failure: str) -> None:
        for timer in question.timers:
            self._host.network.timers.cancel(timer)
        question.tell(address, failure)
