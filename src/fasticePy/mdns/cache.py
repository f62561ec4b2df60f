"""What was said on the network about the names of others, asked for or not."""

from __future__ import annotations

from dataclasses import dataclass

from fasticePy.mdns.limits import Limits

ADDRESSES_PER_NAME = 4
"""Two of one family already make a name useless; more are not worth remembering."""
SAME_BURST = 1.0
"""Seconds within which records of one host belong together; older ones give way to a record with the cache-flush
bit (RFC 6762 10.2)."""


@dataclass(slots=True)
class _Heard:
    at: float
    until: float


class Cache:
    """Addresses by name, in lower case."""

    __slots__ = ("_limits", "_names")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._names: dict[str, dict[str, _Heard]] = {}

    def __len__(self) -> int:
        return len(self._names)

    def put(self, name: str, address: str, ttl: int, flush: bool, now: float) -> None:
        """`name` has `address` for `ttl` seconds; with 0 it has it no more (RFC 6762 10.1)."""
        known = self._names.get(name)
        if ttl == 0:
            if known is not None:
                known.pop(address, None)
                if not known:
                    del self._names[name]
            return
        if known is None:
            if len(self._names) >= self._limits.cached:
                del self._names[next(iter(self._names))]
            known = self._names.setdefault(name, {})
        if flush:
            for other, heard in list(known.items()):
                if (":" in other) == (":" in address) and heard.at < now - SAME_BURST:
                    del known[other]
        if address in known or len(known) < ADDRESSES_PER_NAME:
            known[address] = _Heard(now, now + min(ttl, self._limits.cached_seconds))

    def addresses(self, name: str, now: float) -> list[str]:
        """What `name` has at the moment, in the order in which it was heard."""
        known = self._names.get(name)
        if known is None:
            return []
        for address, heard in list(known.items()):
            if heard.until <= now:
                del known[address]
        if not known:
            del self._names[name]
        return list(known)

    def clear(self) -> None:
        """Forget everything."""
        self._names.clear()
