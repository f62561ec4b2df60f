from __future__ import annotations

import errno
import socket
import struct
import sys

import netlink_messages as nl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasticePy.aio import netlink
from fasticePy.aio.netlink import AddressNews, Ended, LinkNews, Lost, RouteNews, parse

# what a 6.x kernel sent for: ip addr add 192.0.2.8/24 dev v0; del; ip route add default via 192.0.2.1; replace;
# ip link del of the interface with a link-local address; ip addr add 2001:db8::8/64 (a route of its prefix)
RECORDED = [
    (
        (
            "4c00000014000000be0d026b4c050000021881000300000008000100c000020808000200c0000208070003007630000008000800"
            "8100000014000600ffffffffffffffff3215130032151300"
        ),
        [AddressNews(3, "192.0.2.8", gone=False, tentative=False, deprecated=False)],
    ),
    (
        (
            "4c00000015000000c50d026b73050000021881000300000008000100c000020808000200c0000208070003007630000008000800"
            "8100000014000600ffffffffffffffff3215130032151300"
        ),
        [AddressNews(3, "192.0.2.8", gone=True, tentative=False, deprecated=False)],
    ),
    (
        (
            "500000001500000000000000000000000a40c0fd0300000014000100fe80000000000000ac7f98fffed0a75014000600ffffffff"
            "ffffffffb8171300b817130008000800c000000005000b0003000000"
        ),
        [AddressNews(3, "fe80::ac7f:98ff:fed0:a750", gone=True, tentative=True, deprecated=False)],
    ),
    (
        "3400000018000006d70d026b3d06000002000000fe0300010000000008000f00fe00000008000500c00002010800040003000000",
        [RouteNews(4, 3, "192.0.2.1", 254, 0, gone=False, replaces=False)],
    ),
    (
        "3400000018000001d80d026b4506000002000000fe0300010000000008000f00fe00000008000500c00002020800040003000000",
        [RouteNews(4, 3, "192.0.2.2", 254, 0, gone=False, replaces=True)],
    ),
    (
        (
            "740000001800000600000000000000000a400000fe0200010000000008000f00fe0000001400010020010db80000000000000000"
            "000000000800060000010000080004000300000024000c0000000000000000000000000000000000000000000000000000000000"
            "000000000500140000000000"
        ),
        [],
    ),
]


@pytest.mark.skipif(sys.byteorder != "little", reason="recorded on a little-endian machine")
@pytest.mark.parametrize(("text", "expected"), RECORDED)
def test_messages_of_a_real_kernel(text: str, expected: list[netlink.News]) -> None:
    assert parse(bytes.fromhex(text)) == expected


def test_several_messages_in_one_read() -> None:
    data = (
        nl.link(3, "eth0")
        + nl.address(3, "192.0.2.7")
        + nl.route("192.0.2.1")
        + nl.message(nl.DONE, bytes(4))
    )
    assert parse(data) == [
        LinkNews(3, "eth0", gone=False, up=True, carrier=True),
        AddressNews(3, "192.0.2.7", gone=False, tentative=False, deprecated=False),
        RouteNews(4, 3, "192.0.2.1", 254, 0, gone=False, replaces=False),
        Ended(0),
    ]


@pytest.mark.parametrize(
    ("flags", "up", "carrier"),
    [(nl.UP | nl.LOWER_UP, True, True), (nl.UP, True, False), (nl.LOWER_UP, False, False), (0, False, False)],
)
def test_the_state_of_a_link(flags: int, up: bool, carrier: bool) -> None:
    assert parse(nl.link(2, "wlan0", flags)) == [LinkNews(2, "wlan0", gone=False, up=up, carrier=carrier)]


def test_a_link_that_is_removed_is_neither_up_nor_has_it_a_carrier() -> None:
    assert parse(nl.link(2, "wlan0", kind=nl.DELLINK)) == [
        LinkNews(2, "wlan0", gone=True, up=False, carrier=False)
    ]


def test_a_port_that_leaves_its_bridge_is_not_removed() -> None:
    assert parse(nl.link(2, "eth0", kind=nl.DELLINK, family=7)) == []


@pytest.mark.parametrize(
    ("flags", "tentative", "deprecated"),
    [
        (0, False, False),
        (nl.TENTATIVE, True, False),
        (nl.DADFAILED, True, False),
        (nl.DEPRECATED, False, True),
    ],
)
@pytest.mark.parametrize("long_flags", [True, False])
def test_the_state_of_an_address(flags: int, tentative: bool, deprecated: bool, long_flags: bool) -> None:
    expected = AddressNews(3, "2001:db8::7", gone=False, tentative=tentative, deprecated=deprecated)
    assert parse(nl.address(3, "2001:db8::7", flags, long_flags=long_flags)) == [expected]


@pytest.mark.parametrize(("own", "peer"), [("192.0.2.7", "192.0.2.1"), ("2001:db8::7", "2001:db8::1")])
def test_of_a_point_to_point_link_the_address_is_our_end(own: str, peer: str) -> None:
    (news,) = parse(nl.address(3, own, peer=peer))
    assert isinstance(news, AddressNews)
    assert news.address == own


def test_of_routes_only_default_ones_count() -> None:
    assert parse(nl.route("192.0.2.1", bits=24) + nl.route("2001:db8::1", bits=64)) == []
    assert parse(nl.route("192.0.2.1", route_type=7)) == []  # unreachable
    assert parse(nl.route("2001:db8::1", flags=0x200)) == []  # a copy for one destination
    assert parse(nl.route("192.0.2.1", table=255)) == []  # the host's own addresses
    halves = parse(nl.route("192.0.2.1", bits=1) + nl.route("2001:db8::1", bits=3))
    assert [news.version for news in halves if isinstance(news, RouteNews)] == [4, 6]


def test_a_route_has_its_table_priority_and_gateway() -> None:
    data = nl.route("2001:db8::1", table=51820, priority=1024, kind=nl.DELROUTE, index=0)
    assert parse(data) == [RouteNews(6, 0, "2001:db8::1", 51820, 1024, gone=True, replaces=False)]


def test_the_end_of_a_dump_its_refusal_and_an_overrun() -> None:
    refusal = nl.message(nl.ERROR, struct.pack("=i", -errno.EPERM) + bytes(16))
    assert parse(refusal) == [Ended(errno.EPERM)]
    assert parse(nl.message(nl.OVERRUN, b"")) == [Lost()]
    assert parse(nl.message(nl.ERROR, b"")) == []


@given(st.binary(max_size=300))
def test_garbage_never_raises(data: bytes) -> None:
    assert isinstance(parse(data), list)


WHOLE = [
    nl.link(3, "eth0"),
    nl.address(3, "192.0.2.7"),
    nl.address(3, "2001:db8::7", peer="2001:db8::1"),
    nl.route("2001:db8::1"),
    nl.message(nl.ERROR, bytes(20)),
]


@given(st.sampled_from(WHOLE), st.data())
def test_broken_messages_never_raise_and_spoil_none_before_them(data: bytes, draw: st.DataObject) -> None:
    broken = bytearray(data)
    for _ in range(draw.draw(st.integers(1, 4))):
        broken[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    cut = bytes(broken[: draw.draw(st.integers(0, len(data)))])
    first = nl.address(9, "198.51.100.9")
    assert parse(first + cut)[0] == parse(first)[0]


@given(st.integers(16, 25), st.binary(max_size=120))
def test_any_body_of_a_known_kind_never_raises(kind: int, body: bytes) -> None:
    assert len(parse(nl.message(kind, body))) <= 1


@pytest.mark.parametrize("kind", [16, 20, 24])
@pytest.mark.parametrize("size", range(30))
def test_bodies_that_are_cut_off(kind: int, size: int) -> None:
    assert len(parse(nl.message(kind, bytes(size)))) <= 1


needs_netlink = pytest.mark.skipif(not hasattr(socket, "AF_NETLINK"), reason="no netlink on this system")


@needs_netlink
def test_a_snapshot_has_the_loopback_interface() -> None:
    try:
        news = netlink.snapshot()
    except OSError as error:
        pytest.skip(f"no netlink here: {error}")
    names = {entry.name for entry in news if isinstance(entry, LinkNews)}
    assert names >= {name for _, name in socket.if_nameindex()}
    assert all(isinstance(entry, LinkNews | AddressNews) for entry in news)


def test_where_there_is_no_netlink_opening_raises_oserror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_NETLINK", raising=False)
    with pytest.raises(OSError, match="no netlink"):
        netlink.open_socket()


class Answers:
    """A socket with prepared reads."""

    def __init__(self, *reads: tuple[bytes, tuple[int, int]]) -> None:
        self.reads = list(reads)

    def recvfrom(self, size: int) -> tuple[bytes, tuple[int, int]]:
        if not self.reads:
            raise BlockingIOError
        return self.reads.pop(0)


def test_only_the_kernel_is_believed() -> None:
    data = nl.address(3, "192.0.2.7")
    sock = Answers((data, (4711, 0)), (data, (0, 16)))
    assert netlink.receive(sock) == []  # type: ignore[arg-type]
    assert netlink.receive(sock) == parse(data)  # type: ignore[arg-type]
    assert netlink.receive(sock) is None  # type: ignore[arg-type]
