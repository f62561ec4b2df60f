"""Renomination: the controlling agent nominates again and again, and numbers tell which nomination is the latest
(draft-thatcher-tsvwg-renomination; the draft has no RFC, and its numbers no entry at IANA).

Two forms are in use. The draft's has the option `renomination2` and the attribute NOMINATION, 0x0030, which has to be
refused by whoever does not know it. The older one, of browsers and pion, has the option `renomination` and the number
0xC001, which may be ignored (and which IANA has given to somebody else). Neither is used unless both sides signal its
option.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum

from fasticePy.stun import Attribute, Message, MessageBuilder

OPTION = "renomination2"
DEPLOYED_OPTION = "renomination"
OPTIONS = (OPTION, DEPLOYED_OPTION)
"""What a description says of an agent that renominates."""
DEPLOYED_ATTRIBUTE = Attribute.ENF_FLOW_DESCRIPTION
"""0xC001: an unsigned number in 4 bytes, of which some peers use 3."""
_LAST = 0xFFFFFFFF


class Verdict(Enum):
    """What a USE-CANDIDATE of the peer means."""

    REGULAR = "regular"
    """A nomination as RFC 8445 has it: renomination is not in use, or could not be known to be."""
    LATEST = "latest"
    """A nomination that follows all before it."""
    IGNORED = "ignored"
    """An older one that came late, a repeated one, or one without a number."""


class Renomination:
    """The numbers of one generation: those that we send, and those that we have accepted."""

    __slots__ = ("_accepted", "_deployed", "_sent", "_standard", "_undecided")

    def __init__(self, offered: bool = False) -> None:
        self._undecided = offered  # the peer's options are not known: take either form, and none
        self._standard = False
        self._deployed = False
        self._sent: dict[int, int] = {}
        self._accepted: dict[int, int] = {}

    @property
    def in_use(self) -> bool:
        """Whether both sides want it."""
        return self._standard or self._deployed

    @property
    def understands_attribute(self) -> bool:
        """Whether NOMINATION is known to us in a check; without renomination it is refused (RFC 8489 6.3.1)."""
        return self._standard or self._undecided

    def negotiate(self, options: Collection[str]) -> None:
        """The peer's options are these. They count once in a generation."""
        if self._undecided:
            self._undecided = False
            self._standard = OPTION in options
            self._deployed = DEPLOYED_OPTION in options

    def add_to(self, builder: MessageBuilder, component: int) -> None:
        """Number a check that nominates: higher than all before it in this component."""
        if not self.in_use:
            return
        number = self._sent[component] = min(self._sent.get(component, 0) + 1, _LAST)
        if self._standard:
            builder.add(Attribute.NOMINATION, number)
        else:
            builder.add(DEPLOYED_ATTRIBUTE, number.to_bytes(4, "big"))

    def number_in(self, message: Message) -> int | None:
        """The number in a check of the peer, or None. A malformed one is none."""
        if self.understands_attribute:
            number = message.get(Attribute.NOMINATION)
            if number is not None:
                return int(number)
        if self._deployed or self._undecided:
            raw = message.get(DEPLOYED_ATTRIBUTE)
            if isinstance(raw, bytes) and len(raw) == 4:
                return int.from_bytes(raw, "big")
        return None

    def judge(self, component: int, number: int | None, *, early: bool) -> Verdict:
        """What a nomination with this number means; `early`: it came before the peer's options were known."""
        if not self.in_use:
            return Verdict.REGULAR
        # pion numbers only what it nominates later; the draft wants a number from the first on
        first_may_lack_it = early or not self._standard
        if number is None and first_may_lack_it and component not in self._accepted:
            return Verdict.REGULAR
        if number is None or not self.accepts(component, number):
            return Verdict.IGNORED
        self._accepted[component] = number
        return Verdict.LATEST

    def accepts(self, component: int, number: int) -> bool:
        """Whether it is higher than the highest accepted so far."""
        return number > self._accepted.get(component, -1)

    def outdated(self, component: int, number: int | None) -> bool:
        """Whether a nomination that was accepted once is not the latest any more."""
        latest = self._accepted.get(component)
        return latest is not None and (number is None or number < latest)
