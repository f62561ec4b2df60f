"""What others may learn of the addresses of this host (draft-ietf-mmusic-mdns-ice-candidates, RFC 8828).

An address is shown as it is, hides behind an mDNS name, or is not shown at all. The driver alone always gets numbers,
for it has to bind and to send; candidates, events, statistics, the report and the record get what `shown` gives.
"""

from __future__ import annotations

import re

from fasticePy.ice.addresses import is_loopback, mentions
from fasticePy.ice.events import PublishName, WithdrawName
from fasticePy.machine import Address, Outbox, Rng
from fasticePy.mdns import make_name

DISCARD = 9
"""The port that stands beside an address that is not told (RFC 8839 5.1)."""


def unspecified(host: str) -> str:
    """What stands for an address that is not told: 0.0.0.0, or :: for IPv6."""
    return "::" if ":" in host else "0.0.0.0"


class Concealment:
    """The addresses of one agent that are not simply shown. Names are kept for the life of the agent and no longer
    (3.1.1 of the draft, step 5, and 3.3.3)."""

    __slots__ = ("_hidden", "_names", "_outbox", "_pattern", "_published", "_rng", "_withheld")

    def __init__(self, outbox: Outbox, rng: Rng) -> None:
        self._outbox = outbox
        self._rng = rng
        self._names: dict[str, str] = {}
        # dicts in the place of sets: most agents conceal nothing, and an empty set takes 216 bytes, an empty dict 64
        self._published: dict[str, None] = {}
        self._hidden: dict[str, None] = {}
        self._withheld: dict[str, None] = {}
        self._pattern: re.Pattern[str] | None = None

    def conceal(self, host: str, now: float) -> None:
        """Show a name instead, one for each address, and have the driver answer for it. Loopback addresses are the
        same everywhere and tell nothing."""
        if is_loopback(host) or host in self._hidden:
            return
        name = self._names.get(host)
        if name is None:
            name = self._names[host] = make_name(self._rng)
            self._pattern = None
        if host not in self._published:
            self._published[host] = None
            self._outbox.emit(PublishName(at=now, name=name, address=host.partition("%")[0]))

    def hide(self, host: str) -> None:
        """Show nothing of it."""
        if host not in self._hidden:
            self._hidden[host] = None
            self._pattern = None

    def reveal(self, host: str) -> None:
        """It may be seen after all: the rules for it are others now."""
        if host in self._hidden:
            del self._hidden[host]
            self._pattern = None

    def withhold(self, host: str) -> None:
        """Do not tell it as the address that other candidates are related to: another one stands in its place."""
        self._withheld[host] = None

    def covers(self, host: str) -> bool:
        """Whether the number must not be seen."""
        return host in self._hidden or host in self._names

    def hides(self, host: str) -> bool:
        """Whether it has not even a name."""
        return host in self._hidden

    def shown(self, host: str) -> str:
        """How an address of ours appears in what others may see."""
        return unspecified(host) if host in self._hidden else self._names.get(host, host)

    def related(self, base: Address) -> Address:
        """The related address and port of a candidate with this base (RFC 8839 5.1; 3.1.2.2 of the draft)."""
        host = base[0]
        if self.covers(host) or host in self._withheld:
            return (unspecified(host), DISCARD)
        return (host.partition("%")[0], base[1])

    def scrub(self, text: str) -> str:
        """Words of the driver's, in which the operating system may have named an address."""
        known = {host.partition("%")[0]: self.shown(host) for host in (*self._names, *self._hidden)}
        if not known:
            return text
        if self._pattern is None:
            self._pattern = mentions(known)
        return self._pattern.sub(lambda found: known[found[1]], text)

    def withdraw(self, now: float, keep: frozenset[str] = frozenset()) -> None:
        """These addresses are all that is left of this host: answer for no others."""
        for host in sorted(self._published.keys() - keep):
            del self._published[host]
            self._outbox.emit(WithdrawName(at=now, name=self._names[host]))
