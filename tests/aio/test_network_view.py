from __future__ import annotations

from typing import Any

import netlink_messages as nl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasticePy.aio.interfaces import InterfaceAddress
from fasticePy.aio.netlink import parse
from fasticePy.aio.network_view import MAX_ROUTES, Change, NetworkView, compare


def changes(view: NetworkView, *messages: bytes) -> list[Change]:
    found = (view.apply(news) for data in messages for news in parse(data))
    return [change for change in found if change is not None]


def reasons(view: NetworkView, *messages: bytes) -> list[str]:
    return [change.reason for change in changes(view, *messages)]


def view(*addresses: str) -> NetworkView:
    """eth0 is interface 3."""
    known = nl.link(3, "eth0") + b"".join(nl.address(3, address) for address in addresses)
    return NetworkView(parse(known))


def test_an_address_comes_and_goes() -> None:
    """8445-9: what interfaces have is followed."""
    seen = view()
    assert changes(seen, nl.address(3, "192.0.2.7")) == [Change("192.0.2.7 on eth0 was added", loss=False)]
    assert changes(seen, nl.address(3, "192.0.2.7")) == []
    gone = nl.address(3, "192.0.2.7", kind=nl.DELADDR)
    assert changes(seen, gone) == [Change("192.0.2.7 on eth0 was removed", loss=True)]
    assert changes(seen, gone) == []


def test_what_a_snapshot_has_is_not_news() -> None:
    assert changes(view("192.0.2.7"), nl.link(3, "eth0"), nl.address(3, "192.0.2.7")) == []


def test_an_address_counts_once_it_is_known_to_be_unique() -> None:
    seen = view()
    assert reasons(seen, nl.address(3, "2001:db8::7", nl.TENTATIVE)) == []
    assert reasons(seen, nl.address(3, "2001:db8::7")) == ["2001:db8::7 on eth0 was added"]
    duplicate = changes(seen, nl.address(3, "2001:db8::7", nl.DADFAILED))
    assert duplicate == [Change("2001:db8::7 on eth0 is not unique any more", loss=True)]
    assert changes(seen, nl.address(3, "2001:db8::7", kind=nl.DELADDR)) == []


def test_an_address_becomes_deprecated_and_is_preferred_again() -> None:
    seen = view("2001:db8::7")
    deprecated = nl.address(3, "2001:db8::7", nl.DEPRECATED)
    assert changes(seen, deprecated, deprecated) == [Change("2001:db8::7 on eth0 is deprecated", loss=False)]
    assert reasons(seen, nl.address(3, "2001:db8::7")) == ["2001:db8::7 on eth0 is not deprecated"]


def test_link_local_addresses_are_passed_over() -> None:
    assert changes(view(), nl.address(3, "fe80::7"), nl.address(3, "fe80::7", kind=nl.DELADDR)) == []


def test_a_link_goes_down_loses_its_carrier_and_comes_back() -> None:
    seen = view("192.0.2.7")
    assert changes(seen, nl.link(3, "eth0", nl.UP)) == [Change("eth0 lost its carrier", loss=True)]
    assert changes(seen, nl.link(3, "eth0")) == [Change("eth0 has a carrier", loss=False)]
    assert changes(seen, nl.link(3, "eth0", 0)) == [Change("eth0 is down", loss=True)]
    assert changes(seen, nl.link(3, "eth0")) == [Change("eth0 is up", loss=False)]


def test_links_without_addresses_do_not_matter() -> None:
    seen = view()
    assert changes(seen, nl.link(3, "eth0", 0), nl.link(3, "eth0"), nl.link(8, "veth8")) == []
    assert changes(seen, nl.link(8, "veth8", kind=nl.DELLINK)) == []


def test_a_link_is_removed_with_its_addresses() -> None:
    seen = view("192.0.2.7", "2001:db8::7")
    assert changes(seen, nl.link(3, "eth0", kind=nl.DELLINK)) == [Change("eth0 was removed", loss=True)]
    assert changes(seen, nl.address(3, "192.0.2.7", kind=nl.DELADDR)) == []


def test_a_default_route_comes_is_repeated_replaced_and_goes() -> None:
    seen = view("192.0.2.7")
    there = ["there is a new IPv4 default route over eth0"]
    assert reasons(seen, nl.route("192.0.2.1")) == there
    assert reasons(seen, nl.route("192.0.2.1"), nl.route("192.0.2.1", replaces=True)) == []
    assert reasons(seen, nl.route("192.0.2.2", replaces=True)) == there
    assert reasons(seen, nl.route("192.0.2.1", replaces=True)) == there
    gone = nl.route("192.0.2.1", kind=nl.DELROUTE)
    assert changes(seen, gone) == [Change("the IPv4 default route over eth0 was removed", loss=False)]


def test_two_ipv6_routers_repeat_themselves_in_turns() -> None:
    seen = view()
    one, other = nl.route("2001:db8::1"), nl.route("2001:db8::2")
    assert len(reasons(seen, one, other)) == 2
    assert reasons(seen, one, other, one) == []


def test_an_ipv6_router_that_is_replaced_and_comes_back_is_news() -> None:
    seen = view()
    one, other = nl.route("2001:db8::1", replaces=True), nl.route("2001:db8::2", replaces=True)
    assert len(reasons(seen, one, other, one)) == 3


def test_an_ipv4_default_route_that_is_put_before_another_is_used_instead() -> None:
    seen = view()
    one, other = nl.route("192.0.2.1"), nl.route("192.0.2.2")
    assert len(reasons(seen, one, other, one)) == 3


@pytest.mark.parametrize(
    "loss",
    [
        nl.link(3, "eth0", 0),
        nl.link(3, "eth0", kind=nl.DELLINK),
        nl.address(3, "192.0.2.7", kind=nl.DELADDR),
    ],
)
def test_the_same_default_route_after_a_loss_is_news(loss: bytes) -> None:
    """The kernel does not tell that it removes the routes of what goes away."""
    seen = view("192.0.2.7")
    changes(seen, nl.route("192.0.2.1"), nl.route("198.51.100.1", index=4, priority=9), loss)
    assert len(changes(seen, nl.link(3, "eth0"), nl.route("192.0.2.1"))) >= 1
    assert changes(seen, nl.route("198.51.100.1", index=4, priority=9)) == []


def test_a_route_over_several_interfaces_is_always_news() -> None:
    seen = view()
    assert reasons(seen, *[nl.route("192.0.2.1", index=0)] * 2) == ["there is a new IPv4 default route"] * 2


def test_of_many_routes_the_oldest_are_forgotten() -> None:
    seen = view()
    routes = [nl.route("192.0.2.1", priority=number) for number in range(MAX_ROUTES + 1)]
    assert len(changes(seen, *routes)) == len(routes)
    assert changes(seen, routes[-1]) == []
    assert len(changes(seen, routes[0])) == 1


def test_lost_messages_are_a_loss() -> None:
    assert [change.loss for change in changes(view(), nl.message(nl.OVERRUN, b""))] == [True]


def test_an_interface_without_a_name_has_its_number() -> None:
    assert reasons(view(), nl.address(7, "192.0.2.7")) == ["192.0.2.7 on interface 7 was added"]


@given(
    st.lists(st.tuples(st.sampled_from([nl.NEWADDR, nl.DELADDR]), st.integers(1, 3), st.integers(0, 0xFF)))
)
def test_what_is_there_is_what_was_told_last(steps: list[tuple[int, int, int]]) -> None:
    """Additions and removals alternate, whatever is repeated in between."""
    seen, there = view(), set[str]()
    for kind, last, flags in steps:
        address = f"2001:db8::{last}"
        usable = kind == nl.NEWADDR and not flags & (nl.TENTATIVE | nl.DADFAILED)
        for change in changes(seen, nl.address(3, address, flags, kind=kind)):
            if "deprecated" not in change.reason:
                assert change.loss != usable
                assert (address in there) == change.loss
        (there.add if usable else there.discard)(address)


# -- two readings
# ----------------------------------------------------------------------------------------------------------


def eth(address: str, **more: Any) -> InterfaceAddress:
    return InterfaceAddress(**{"interface": "eth0", "address": address, "prefix": 24, **more})


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([], [eth("192.0.2.7")], ("192.0.2.7 on eth0 was added", False)),
        ([eth("192.0.2.7")], [], ("192.0.2.7 on eth0 was removed", True)),
        ([eth("192.0.2.7")], [eth("192.0.2.7", up=False)], ("eth0 is down", True)),
        ([eth("192.0.2.7", up=False)], [eth("192.0.2.7")], ("eth0 is up", False)),
        ([eth("192.0.2.7")], [eth("192.0.2.7", carrier=False)], ("eth0 lost its carrier", True)),
        ([eth("192.0.2.7", carrier=False)], [eth("192.0.2.7")], ("eth0 has a carrier", False)),
        ([eth("::7")], [eth("::7", deprecated=True)], ("::7 on eth0 is deprecated", False)),
        ([eth("::7", tentative=True)], [eth("::7")], ("::7 on eth0 was added", False)),
        ([eth("::7")], [eth("::7", default=True)], ("the default route leads over ::7 on eth0 now", False)),
        (
            [eth("::7", default=True)],
            [eth("::7")],
            ("the default route does not lead over ::7 on eth0 any more", False),
        ),
    ],
)
def test_two_readings_are_compared(
    before: list[InterfaceAddress], after: list[InterfaceAddress], expected: tuple[str, bool]
) -> None:
    other = eth("198.51.100.1", interface="eth1")
    assert compare([other, *before], [*after, other]) == [Change(*expected)]


def test_readings_that_differ_in_nothing_that_matters() -> None:
    same = [eth("192.0.2.7"), eth("::7", tentative=True)]
    assert compare(same, list(reversed(same))) == []
    assert compare([eth("fe80::7%eth0")], [eth("fe80::8%eth0")]) == []
