"""Address-rewrite rules: what is signalled for a local address that a NAT maps one to one."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasticePy.errors import ParseError
from fasticePy.ice.gathering.rewrite import MAX_ADDRESSES, MAX_TEXT, Advertised, Rewrite, advertised

PUBLIC = "203.0.113.7"
PUBLIC6 = "2001:db8::7"


def told(*rules: Rewrite, base: str = "10.0.0.5", port: int = 5000, interface: str = "eth0") -> list[str]:
    """What is signalled, as short text."""
    found = advertised(rules, base, port, interface)
    return [
        f"{entry.type} {entry.address}" + (f" {entry.port}" if entry.port != port else "") for entry in found
    ]


def test_without_a_rule_the_address_stands_for_itself() -> None:
    assert advertised([], "10.0.0.5", 5000, "eth0") == [Advertised("10.0.0.5", 5000, "host")]
    assert told(Rewrite("192.168.0.0/16", to=PUBLIC)) == ["host 10.0.0.5"]
    assert told(base="FE80::1%eth0") == ["host fe80::1%eth0"]


def test_replace_leaves_the_local_address_out_and_append_does_not() -> None:
    assert told(Rewrite(to=PUBLIC)) == [f"host {PUBLIC}"]
    assert told(Rewrite(to=PUBLIC, mode="append")) == ["host 10.0.0.5", f"host {PUBLIC}"]
    assert told(Rewrite(to=PUBLIC, mode="append", as_type="srflx")) == ["host 10.0.0.5", f"srflx {PUBLIC}"]
    assert told(Rewrite(to=PUBLIC, as_type="srflx")) == [f"srflx {PUBLIC}"]


def test_several_addresses_keep_their_order() -> None:
    assert told(Rewrite(to=["203.0.113.9", PUBLIC, "203.0.113.9"])) == ["host 203.0.113.9", f"host {PUBLIC}"]


@pytest.mark.parametrize(
    ("local", "base", "covered"),
    [
        ("10.0.0.5", "10.0.0.5", True),
        ("10.0.0.5", "10.0.0.6", False),
        ("10.0.0.5/8", "10.255.0.1", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.0/8", "fd00::1", False),
        ("fd00::/8", "fd00::1", True),
        ("fe80::/10", "fe80::1%eth0", True),
        (None, "192.0.2.1", True),
        (None, "fd00::1", True),
    ],
)
def test_which_local_addresses_a_rule_covers(local: str | None, base: str, covered: bool) -> None:
    to = [PUBLIC, PUBLIC6] if local is None else PUBLIC6 if ":" in local else PUBLIC
    assert Rewrite(local, to=to).covers(base, "eth0") is covered


def test_interface_and_family_narrow_a_rule() -> None:
    assert Rewrite(to=PUBLIC, interface="eth*").covers("10.0.0.5", "eth1")
    assert not Rewrite(to=PUBLIC, interface="eth*").covers("10.0.0.5", "wlan0")
    assert not Rewrite(to=PUBLIC, interface="eth*").covers("10.0.0.5")
    assert Rewrite(to=PUBLIC6, family=6).covers("fd00::1")
    assert not Rewrite(to=PUBLIC6, family=6).covers("10.0.0.5")
    assert not Rewrite(to=PUBLIC).covers("no address")


def test_each_family_becomes_addresses_of_its_own() -> None:
    rule = Rewrite(to=[PUBLIC6, PUBLIC])
    assert told(rule) == [f"host {PUBLIC}"]
    assert told(rule, base="fd00::1") == [f"host {PUBLIC6}"]
    # a rule without an address of the family says nothing about it: the next one decides
    assert told(Rewrite(to=PUBLIC), base="fd00::1") == ["host fd00::1"]
    assert told(Rewrite(to=PUBLIC), rule, base="fd00::1") == [f"host {PUBLIC6}"]


def test_the_first_rule_of_each_type_decides() -> None:
    assert told(Rewrite("10.0.0.5", to="203.0.113.1"), Rewrite(to="203.0.113.2")) == ["host 203.0.113.1"]
    mixed = [
        Rewrite(to="203.0.113.3", as_type="srflx", mode="append"),
        Rewrite(to="203.0.113.1", mode="append"),
        Rewrite(to="203.0.113.2"),
        Rewrite(to="203.0.113.4", as_type="srflx"),
    ]
    assert told(*mixed) == ["host 10.0.0.5", "host 203.0.113.1", "srflx 203.0.113.3"]
    assert told(*mixed[2:]) == ["host 203.0.113.2", "srflx 203.0.113.4"]
    assert told(*mixed[1:2], mixed[3]) == ["host 203.0.113.1", "srflx 203.0.113.4"]


def test_nothing_is_told_twice() -> None:
    assert told(Rewrite(to="10.0.0.5", mode="append")) == ["host 10.0.0.5"]
    assert told(Rewrite(to=PUBLIC), Rewrite(to=PUBLIC, as_type="srflx")) == [f"host {PUBLIC}"]


def test_ports_that_are_published_under_another_number() -> None:
    rule = Rewrite(to=PUBLIC, mode="append", ports={8443: 8448})
    assert told(rule, port=8443) == ["host 10.0.0.5", f"host {PUBLIC} 8448"]
    assert told(rule, port=8444) == ["host 10.0.0.5", f"host {PUBLIC}"]
    # only the port differs: two transport addresses
    assert told(Rewrite(to="10.0.0.5", mode="append", ports={1: 2}), port=1) == [
        "host 10.0.0.5",
        "host 10.0.0.5 2",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"local": "eth0", "to": PUBLIC}, "'eth0' is neither an IP address nor a network"),
        ({"local": "10.0.0.0/33", "to": PUBLIC}, "neither an IP address nor a network"),
        ({"local": "", "to": PUBLIC}, "neither an IP address nor a network"),
        ({"local": "10.0.0.0/8", "to": PUBLIC6}, "10.0.0.0/8 cannot become 2001:db8::7, which is IPv6"),
        ({"local": "fd00::1", "to": [PUBLIC6, PUBLIC]}, "fd00::1 cannot become 203.0.113.7, which is IPv4"),
        ({"family": 4, "to": PUBLIC6}, "family=4 cannot become 2001:db8::7"),
        ({"local": "10.0.0.0/8", "family": 6, "to": PUBLIC}, "10.0.0.0/8 is IPv4, and family=6"),
        ({"family": 5, "to": PUBLIC}, "family is 4 or 6, not 5"),
        ({"to": ()}, "no address to advertise"),
        ({"to": ""}, "neither an IP address nor a host name"),
        ({"to": "203.0.113.300"}, "neither an IP address nor a host name"),
        ({"to": "203.0.113.0/24"}, "neither an IP address nor a host name"),
        ({"to": "host name"}, "neither an IP address nor a host name"),
        ({"to": "x" * 64 + ".example"}, "neither an IP address nor a host name"),
        ({"to": "x." * 126 + "xy"}, "neither an IP address nor a host name"),
        ({"to": "0.0.0.0"}, "cannot be advertised: unspecified"),
        ({"to": "224.0.0.1"}, "cannot be advertised: multicast"),
        ({"to": "::ffff:203.0.113.7"}, "cannot be advertised: IPv4-mapped"),
        ({"to": "fe80::1%eth0"}, "cannot be advertised: it has a scope"),
        ({"to": [f"203.0.113.{n}" for n in range(MAX_ADDRESSES + 1)]}, "17 addresses, the limit is 16"),
        ({"to": PUBLIC, "ports": {0: 8443}}, "port 0 is not a number from 1 to 65535"),
        ({"to": PUBLIC, "ports": {8443: 65536}}, "port 65536 is not"),
        ({"to": PUBLIC, "mode": "both"}, "mode is replace or append, not 'both'"),
        ({"to": PUBLIC, "as_type": "relay"}, "as_type is host or srflx, not 'relay'"),
        ({"to": PUBLIC, "interface": ""}, "empty interface name"),
    ],
)
def test_what_cannot_be_is_said(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rewrite(**arguments)


def test_a_rule_is_a_value() -> None:
    ports = {8443: 8448}
    rule = Rewrite("10.1.2.3/8", to=PUBLIC, ports=ports)
    same = Rewrite("10.0.0.0/8", to=[PUBLIC, PUBLIC], ports=dict(ports))
    ports[1] = 2  # what the caller does with it later changes nothing
    assert rule == same and hash(rule) == hash(same)
    assert rule != Rewrite("10.0.0.0/8", to=PUBLIC)
    assert pickle.loads(pickle.dumps(rule)) == copy.deepcopy(rule) == rule


# -- names -------------------------------------------------------------------------------------------------


def test_names_are_looked_up_by_others() -> None:
    rule = Rewrite(to=["edge.Example.org", PUBLIC, "other.example.org"], mode="append")
    assert rule.names == ("edge.example.org", "other.example.org")
    resolved = rule.resolved(
        {
            "edge.example.org": ["2001:DB8::1", "203.0.113.1", "0.0.0.0", "nonsense", "fe80::1%eth0"],
            "other.example.org": [PUBLIC],
        }
    )
    assert resolved is not None and resolved.names == ()
    assert resolved.to == ("2001:db8::1", "203.0.113.1", PUBLIC)
    assert resolved.mode == "append"
    assert rule.names  # and may be looked up again later


def test_of_a_name_only_the_family_of_the_rule_is_used() -> None:
    both = {"edge.example.org": ["2001:db8::1", "203.0.113.1"]}
    for rule in (Rewrite("10.0.0.0/8", to="edge.example.org"), Rewrite(family=4, to="edge.example.org")):
        resolved = rule.resolved(both)
        assert resolved is not None and resolved.to == ("203.0.113.1",)


def test_a_name_without_addresses_leaves_nothing_to_advertise() -> None:
    rule = Rewrite(to="edge.example.org")
    assert rule.resolved({"edge.example.org": []}) is None
    assert Rewrite("10.0.0.0/8", to="edge.example.org").resolved({"edge.example.org": [PUBLIC6]}) is None
    assert Rewrite(to=PUBLIC).resolved({}) == Rewrite(to=PUBLIC)


def test_a_name_has_no_more_addresses_than_a_rule_may() -> None:
    many = [f"203.0.113.{n}" for n in range(40)]
    resolved = Rewrite(to="edge.example.org").resolved({"edge.example.org": many})
    assert resolved is not None and resolved.to == tuple(many[:MAX_ADDRESSES])


def test_a_rule_with_names_cannot_be_used() -> None:
    rule = Rewrite(to=[PUBLIC, "edge.example.org"])
    with pytest.raises(ValueError, match=r"edge\.example\.org not resolved"):
        advertised([rule], "10.0.0.5", 5000, "eth0")
    with pytest.raises(ValueError, match=r"edge\.example\.org not resolved"):
        rule.resolved({})


# -- text --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("203.0.113.7", Rewrite(to=PUBLIC)),
        ("*=203.0.113.7", Rewrite(to=PUBLIC)),
        (
            "10.0.0.0/8=203.0.113.7,mode=append,port=8443:8448",
            Rewrite("10.0.0.0/8", to=PUBLIC, mode="append", ports={8443: 8448}),
        ),
        (" 10.0.0.5 = 203.0.113.7 , edge.example.org ", None),
        ("203.0.113.7, 2001:db8::7", Rewrite(to=[PUBLIC, PUBLIC6])),
        (
            "fd00::/8=2001:db8::7,family=6,as=srflx",
            Rewrite("fd00::/8", to=PUBLIC6, family=6, as_type="srflx"),
        ),
        (
            "203.0.113.7,interface=eth*,port=1:2,port=3:4",
            Rewrite(to=PUBLIC, interface="eth*", ports={1: 2, 3: 4}),
        ),
    ],
)
def test_rules_are_read_from_text(text: str, rule: Rewrite | None) -> None:
    rule = rule or Rewrite("10.0.0.5", to=[PUBLIC, "edge.example.org"])
    assert Rewrite.parse(text) == rule
    assert Rewrite.parse(str(rule)) == rule


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is neither an IP address nor a host name"),
        ("10.0.0.0/8=", "'' is neither"),
        ("10.0.0.0/8=2001:db8::7", "cannot become"),
        ("mode=append", "'mode' is neither an IP address nor a network"),
        ("203.0.113.7,modus=append", "'modus' is none of interface, family, mode, as, port"),
        ("203.0.113.7,mode=both", "mode is replace or append"),
        ("203.0.113.7,mode=append,mode=replace", "mode is given twice"),
        ("203.0.113.7,family=5", "family is 4 or 6, not '5'"),
        ("203.0.113.7,port=8443", "write port=LOCAL:ADVERTISED"),
        ("203.0.113.7,port=1:\u0662", "write port=LOCAL:ADVERTISED"),
        ("203.0.113.7,port=1:2,port=1:3", "port 1 is mapped twice"),
        ("203.0.113.7,port=70000:1", "port 70000 is not"),
        ("x" * (MAX_TEXT + 1), "the limit is 4096"),
    ],
)
def test_text_that_is_no_rule(text: str, message: str) -> None:
    with pytest.raises(ParseError, match=message):
        Rewrite.parse(text)


# -- whatever the rules are --------------------------------------------------------------------------------

V4 = st.integers(0x0A000001, 0x0A000003).map(lambda value: f"10.0.0.{value & 255}")
V6 = st.integers(1, 3).map(lambda value: f"fd00::{value}")
PORTS = st.integers(1, 4)


@st.composite
def rules(draw: st.DrawFn) -> Rewrite:
    family: Any = draw(st.sampled_from([None, 4, 6]))
    any_address = {None: st.one_of(V4, V6), 4: V4, 6: V6}[family]
    local = draw(st.none() | any_address | any_address.map(lambda a: a + ("/127" if ":" in a else "/31")))
    if local is not None:
        any_address = V6 if ":" in local else V4
    return Rewrite(
        local,
        to=draw(st.lists(any_address, min_size=1, max_size=3)),
        family=family,
        interface=draw(st.sampled_from([None, "eth0", "e*", "wlan?"])),
        mode=draw(st.sampled_from(["replace", "append"])),
        as_type=draw(st.sampled_from(["host", "srflx"])),
        ports=draw(st.dictionaries(PORTS, PORTS, max_size=2)),
    )


@given(st.lists(rules(), max_size=5), V4 | V6, PORTS, st.sampled_from(["eth0", "wlan0", ""]))
def test_what_always_holds(given_rules: list[Rewrite], base: str, port: int, interface: str) -> None:
    found = advertised(given_rules, base, port, interface)
    assert found  # something is always told
    transport_addresses = [(entry.address, entry.port) for entry in found]
    assert len(set(transport_addresses)) == len(found)
    assert all((":" in entry.address) == (":" in base) for entry in found)
    assert found == advertised(iter(given_rules), base, port, interface)
    assert [entry.type for entry in found] == sorted(entry.type for entry in found)  # host before srflx
    covering = [rule for rule in given_rules if rule.covers(base, interface)]
    if not covering:
        assert found == [Advertised(base, port, "host")]
    # rules that do not cover the address, and later ones of the same type, change nothing
    first = [next((r for r in covering if r.as_type == kind), None) for kind in ("srflx", "host")]
    assert found == advertised([rule for rule in first if rule], base, port, interface)


@given(rules())
def test_text_and_rule_say_the_same(rule: Rewrite) -> None:
    assert Rewrite.parse(str(rule)) == rule


PIECES = ["10.0.0.1", "*", "=", ",", "mode=", "port=", "1:2", "as=", "::", "/8", "x", "interface=", "append"]


@given(
    st.text(max_size=60)
    | st.lists(
        st.sampled_from(["10.0.0.1", "*", "=", ",", "mode=", "port=", "1:2", "as=", "::", "/8", "x"])
    ).map("".join)
)
def test_any_text_is_a_rule_or_a_parse_error(text: str) -> None:
    try:
        rule = Rewrite.parse(text)
    except ParseError:
        return
    assert Rewrite.parse(str(rule)) == rule
