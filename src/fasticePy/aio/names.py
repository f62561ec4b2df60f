"""The host names of one machine: looked up by DNS, or by multicast DNS when they end in `.local` and never otherwise
(RFC 6762 3), and our own ones published."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from fasticePy.aio.resolver import Lookup, Resolver
from fasticePy.machine import Address

_log = logging.getLogger("fasticePy.aio")


class Publication(Protocol):
    """A name that is answered for. If it has a `failure` that is not empty, it is not, and that is why."""

    def withdraw(self) -> None:
        """Answer for it no more. Idempotent."""


@runtime_checkable
class MdnsResolver(Resolver, Protocol):
    """Multicast DNS: a resolver that answers as well."""

    def publish(self, name: str, address: str) -> Publication:
        """Answer for `name` with `address`, a numeric one."""
        ...


class NameOwner(Protocol):
    """Who wants to know. `request` is a number of its choice."""

    def addresses_found(self, request: int, addresses: Sequence[Address], final: bool) -> None:
        """A lookup has found something; `final` when that is all."""

    def lookup_failed(self, request: int, reason: str) -> None:
        """A lookup has found nothing (more)."""


class Names:
    """Lookups and publications until `close`. `mdns` None: names of the link are neither asked nor answered for;
    `families` (4, 6) are those of the addresses to look for."""

    def __init__(
        self,
        owner: NameOwner,
        resolver: Resolver,
        mdns: Resolver | MdnsResolver | None = None,
        *,
        families: frozenset[int] = frozenset({4, 6}),
    ) -> None:
        self._owner = owner
        self._resolver = resolver
        self._mdns = mdns
        self._families = families
        self._lookups: dict[int, Lookup] = {}
        self._published: dict[str, list[Publication]] = {}

    def use_families(self, families: frozenset[int]) -> None:
        """Ask for addresses of these families from now on."""
        self._families = families

    def look_up(self, request: int, host: str, port: int) -> str | None:
        """Begin to look for the addresses of `host`; the owner hears of them later. When that cannot begin: why."""
        resolver = self._mdns if is_link_local_name(host) else self._resolver
        if resolver is None:
            return "mDNS is off"
        ipv4, ipv6 = 4 in self._families, 6 in self._families
        try:
            handle = resolver.resolve(host, port, _Request(self, request), ipv4=ipv4, ipv6=ipv6)
        except Exception as error:  # noqa: BLE001 - an application's resolver may do anything
            return f"the resolver failed: {error!r}"
        self._lookups[request] = handle
        return None

    def publish(self, name: str, address: str) -> bool:
        """Answer for `name` from now on; False when there is nothing to answer with."""
        if not isinstance(self._mdns, MdnsResolver):
            return False
        try:
            publication = self._mdns.publish(name, address)
        except Exception as error:  # noqa: BLE001 - an application's resolver may do anything
            _log.warning("the name of an address of ours cannot be published: %r", error)
            return False
        self._published.setdefault(name, []).append(publication)
        return not getattr(publication, "failure", None)

    def withdraw(self, name: str) -> None:
        """Answer for `name` no more."""
        for publication in self._published.pop(name, ()):
            publication.withdraw()

    def close(self) -> None:
        """End all lookups and publications."""
        for lookup in self._lookups.values():
            lookup.cancel()
        self._lookups.clear()
        for name in list(self._published):
            self.withdraw(name)

    def found(self, request: int, addresses: Sequence[Address], final: bool) -> None:
        """A lookup has found something."""
        if final:
            self._lookups.pop(request, None)
        self._owner.addresses_found(request, addresses, final)

    def failed(self, request: int, reason: str) -> None:
        """A lookup has found nothing."""
        self._lookups.pop(request, None)
        self._owner.lookup_failed(request, reason)


class _Request:
    """Tells for what these addresses were asked."""

    __slots__ = ("_names", "_request")

    def __init__(self, names: Names, request: int) -> None:
        self._names = names
        self._request = request

    def addresses_found(self, addresses: Sequence[Address], final: bool) -> None:
        self._names.found(self._request, addresses, final)

    def lookup_failed(self, reason: str) -> None:
        self._names.failed(self._request, reason)


def is_link_local_name(host: str) -> bool:
    """Whether a name is looked up by multicast DNS."""
    return host.rstrip(".").lower().endswith(".local")
