"""What changes of the host's network mean: which of the kernel's messages matter, and in what words.

Pure: `NetworkView` keeps what it was told and knows what is new; `compare` does the same for two readings of all
addresses. IPv6 link-local addresses are passed over: agents do not use them unless told to, and each container that
starts on a host makes one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fasticePy.aio.interfaces import InterfaceAddress
from fasticePy.aio.netlink import AddressNews, LinkNews, Lost, News, RouteNews

MAX_ROUTES = 256
"""Sets of default routes that are remembered; one that was forgotten is news again."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something about the host's network is different now."""

    reason: str
    """In words."""
    loss: bool
    """Something that may have carried data does not any more: the sooner that is known, the better."""


class NetworkView:
    """What the kernel has told so far."""

    __slots__ = ("_addresses", "_links", "_routes")

    def __init__(self, news: Iterable[News] = ()) -> None:
        self._links: dict[int, LinkNews] = {}
        self._addresses: dict[tuple[int, str], AddressNews] = {}
        self._routes: dict[tuple[int, int, int], frozenset[tuple[int, str]]] = {}
        for entry in news:
            self.apply(entry)

    def apply(self, news: News) -> Change | None:
        """Take note of `news`; what it changes, if it matters. The kernel repeats itself: each router advertisement
        and each renewed lease brings the address anew, each scan of a Wi-Fi card the link."""
        match news:
            case LinkNews():
                return self._link(news)
            case AddressNews():
                return self._address(news)
            case RouteNews():
                return self._route(news)
            case Lost():
                return Change("messages about changes were lost", loss=True)
            case _:
                return None

    def _link(self, news: LinkNews) -> Change | None:
        before = self._links.get(news.index)
        if not news.up:
            self._forget_routes(news.index)
        if news.gone:
            self._links.pop(news.index, None)
            lost = [key for key in self._addresses if key[0] == news.index]
            for key in lost:
                del self._addresses[key]
            return Change(f"{news.name} was removed", loss=True) if lost else None
        self._links[news.index] = news
        if before is None or not any(index == news.index for index, _ in self._addresses):
            return None  # where there is no address nothing is lost, and one that comes is news of its own
        if before.up != news.up:
            return Change(f"{news.name} is {'up' if news.up else 'down'}", loss=not news.up)
        if before.carrier != news.carrier:
            return Change(
                f"{news.name} {'has a' if news.carrier else 'lost its'} carrier", loss=not news.carrier
            )
        return None

    def _address(self, news: AddressNews) -> Change | None:
        if passed_over(news.address):
            return None
        key, where = (news.index, news.address), f"{news.address} on {self._name(news.index)}"
        before = self._addresses.pop(key, None)
        if news.gone:
            self._forget_routes(news.index)
            return Change(f"{where} was removed", loss=True) if _usable(before) else None
        self._addresses[key] = news
        if not _usable(before):
            return Change(f"{where} was added", loss=False) if _usable(news) else None
        if not _usable(news):
            return Change(f"{where} is not unique any more", loss=True)
        if before is not None and before.deprecated != news.deprecated:
            return Change(f"{where} is {'' if news.deprecated else 'not '}deprecated", loss=False)
        return None

    def _route(self, news: RouteNews) -> Change | None:
        key, way = (news.version, news.table, news.priority), (news.index, news.gateway)
        before = self._routes.pop(key, frozenset())
        # where IPv6 adds a route to the others, IPv4 puts it first
        kept = frozenset() if news.replaces or news.version == 4 else before
        after = before - {way} if news.gone else kept | {way}
        if after:
            self._routes[key] = after
            if len(self._routes) > MAX_ROUTES:
                del self._routes[next(iter(self._routes))]
        over = f" over {self._name(news.index)}" if news.index else ""
        if news.gone:
            return Change(f"the IPv{news.version} default route{over} was removed", loss=False)
        if before == after and news.index:  # the same once more
            return None
        return Change(f"there is a new IPv{news.version} default route{over}", loss=False)

    def _forget_routes(self, index: int) -> None:
        """The kernel removes the routes of what goes away without a word: that they come back is news."""
        for key, ways in list(self._routes.items()):
            self._routes[key] = frozenset(way for way in ways if way[0] != index)
            if not self._routes[key]:
                del self._routes[key]

    def _name(self, index: int) -> str:
        link = self._links.get(index)
        return link.name if link is not None else f"interface {index}"


def compare(before: Sequence[InterfaceAddress], after: Sequence[InterfaceAddress]) -> list[Change]:
    """What changed between two readings of all addresses."""
    old, new = _by_place(before), _by_place(after)
    changes = [
        Change(f"{address} on {interface} was removed", loss=True)
        for interface, address in old
        if (interface, address) not in new
    ]
    for (interface, address), entry in new.items():
        was, where = old.get((interface, address)), f"{address} on {interface}"
        if was is None:
            changes.append(Change(f"{where} was added", loss=False))
        elif was.up != entry.up:
            changes.append(Change(f"{interface} is {'up' if entry.up else 'down'}", loss=not entry.up))
        elif was.carrier != entry.carrier:
            words = "has a" if entry.carrier else "lost its"
            changes.append(Change(f"{interface} {words} carrier", loss=not entry.carrier))
        elif was.deprecated != entry.deprecated:
            changes.append(Change(f"{where} is {'' if entry.deprecated else 'not '}deprecated", loss=False))
        elif entry.default and not was.default:
            changes.append(Change(f"the default route leads over {where} now", loss=False))
        elif was.default and not entry.default:
            changes.append(Change(f"the default route does not lead over {where} any more", loss=False))
    return changes


def _by_place(found: Sequence[InterfaceAddress]) -> dict[tuple[str, str], InterfaceAddress]:
    return {
        (entry.interface, entry.address): entry
        for entry in found
        if not entry.tentative and not passed_over(entry.address)
    }


def passed_over(address: str) -> bool:
    """Whether changes of this address are nobody's concern: an IPv6 link-local one."""
    return ":" in address and ipaddress.IPv6Address(address.partition("%")[0]).is_link_local


def _usable(news: AddressNews | None) -> bool:
    return news is not None and not news.tentative
