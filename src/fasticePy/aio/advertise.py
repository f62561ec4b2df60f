"""Host names in address-rewrite rules: looked up before gathering begins."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence

from fasticePy.aio.resolver import Lookup, Resolver
from fasticePy.ice.gathering.rewrite import Rewrite
from fasticePy.machine import Address

_log = logging.getLogger("fasticePy.ice")


def as_rules(advertise: Rewrite | str | Iterable[Rewrite | str]) -> tuple[Rewrite, ...]:
    """Rules from one or several, as objects or as text (`Rewrite.parse`). Raises ParseError for text that is no rule,
    TypeError for other things."""
    if isinstance(advertise, Rewrite | str):
        advertise = (advertise,)
    rules = []
    for rule in advertise:
        if not isinstance(rule, Rewrite | str):
            raise TypeError(f"advertise takes Rewrite rules or their text, not {type(rule).__name__}")
        rules.append(Rewrite.parse(rule) if isinstance(rule, str) else rule)
    return tuple(rules)


class NamesInRules:
    """Looks up the names of some rules; `done(rules)` gets the rules with addresses in place of names, once. A name
    without addresses is left out, and so is a rule that has nothing else, with a word in the log."""

    def __init__(
        self,
        rules: Sequence[Rewrite],
        resolver: Resolver,
        done: Callable[[tuple[Rewrite, ...]], None],
        *,
        families: frozenset[int],
    ) -> None:
        self._rules = rules
        self._done = done
        self._found: dict[str, list[str]] = {name: [] for rule in rules for name in rule.names}
        self._pending = set(self._found)
        self._lookups: dict[str, Lookup] = {}
        for name in list(self._found):
            self._look_up(name, resolver, families)

    def _look_up(self, name: str, resolver: Resolver, families: frozenset[int]) -> None:
        handler = _Name(self, name)
        try:
            self._lookups[name] = resolver.resolve(name, 0, handler, ipv4=4 in families, ipv6=6 in families)
        except Exception as error:  # noqa: BLE001 - an application's resolver may do anything
            self.failed(name, f"the resolver failed: {error!r}")

    def cancel(self) -> None:
        """Nothing more is heard of it. Idempotent."""
        for lookup in self._lookups.values():
            lookup.cancel()
        self._lookups.clear()
        self._pending.clear()

    def found(self, name: str, addresses: Sequence[Address], final: bool) -> None:
        """A lookup has found something."""
        self._found[name] += [host for host, _ in addresses]
        if final:
            self._ended(name)

    def failed(self, name: str, reason: str) -> None:
        """A lookup has found nothing (more)."""
        _log.warning("advertise: %s has no address to advertise: %s", name, reason)
        self._ended(name)

    def _ended(self, name: str) -> None:
        if name not in self._pending:
            return
        self._pending.discard(name)
        self._lookups.pop(name, None)
        if self._pending:
            return
        resolved = [rule.resolved(self._found) for rule in self._rules]
        self._done(tuple(rule for rule in resolved if rule is not None))


class _Name:
    """Tells which name was looked up."""

    __slots__ = ("_name", "_owner")

    def __init__(self, owner: NamesInRules, name: str) -> None:
        self._owner = owner
        self._name = name

    def addresses_found(self, addresses: Sequence[Address], final: bool) -> None:
        self._owner.found(self._name, addresses, final)

    def lookup_failed(self, reason: str) -> None:
        self._owner.failed(self._name, reason)
