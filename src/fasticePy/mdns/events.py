"""What `MdnsMachine` tells its driver."""

from __future__ import annotations

from dataclasses import dataclass

from fasticePy.machine import Event


@dataclass(slots=True, kw_only=True)
class NameResolved(Event):
    """A name has these addresses, at most one of each family, numeric, link-local ones with their scope. Unless
    `final`, the other family's may follow within a moment; then another event, perhaps without any, is the last
    one."""

    request: int
    addresses: tuple[str, ...]
    final: bool = True


@dataclass(slots=True, kw_only=True)
class NameFailed(Event):
    """A name has no address: the reason in words. The last event of a request."""

    request: int
    reason: str
