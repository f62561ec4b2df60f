"""Candidate lines: what is taken from peers, what is refused and in which words, and what is printed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasticePy.errors import ParseError
from fasticePy.ice import candidate_line
from fasticePy.ice.addresses import refusal
from fasticePy.ice.candidate import Candidate, CandidateType, UnsupportedCandidate

FIXTURES = Path(__file__).parent.parent / "fixtures"
MDNS = "bff66135-4b2c-44fb-968b-b03bd812f3a3.local"

LINES = {
    "chromium host": (
        "candidate:2911925955 1 udp 2122194687 10.77.0.1 38362 typ host generation 0 ufrag 1cRM network-id 1",
        Candidate(
            "2911925955",
            1,
            "udp",
            2122194687,
            "10.77.0.1",
            38362,
            "host",
            ufrag="1cRM",
            extensions=(("generation", "0"), ("network-id", "1")),
        ),
    ),
    "chromium relay, addresses hidden": (
        (
            "candidate:2234295925 1 udp 41885439 198.51.100.7 61480 typ relay raddr 0.0.0.0 rport 0 "
            "generation 0 ufrag 8hhY network-id 1 network-cost 50"
        ),
        Candidate(
            "2234295925",
            1,
            "udp",
            41885439,
            "198.51.100.7",
            61480,
            "relay",
            "0.0.0.0",
            0,
            ufrag="8hhY",
            extensions=(("generation", "0"), ("network-id", "1"), ("network-cost", "50")),
        ),
    ),
    "chromium tcp": (
        "candidate:3557949351 1 tcp 1518285567 fd77::1 9 typ host tcptype active generation 0 ufrag 1cRM network-id 2",
        Candidate(
            "3557949351",
            1,
            "tcp",
            1518285567,
            "fd77::1",
            9,
            "host",
            tcptype="active",
            ufrag="1cRM",
            extensions=(("generation", "0"), ("network-id", "2")),
        ),
    ),
    "chromium mdns": (
        f"candidate:1434301788 1 udp 2113937151 {MDNS} 48905 typ host generation 0 network-cost 999",
        Candidate(
            "1434301788",
            1,
            "udp",
            2113937151,
            MDNS,
            48905,
            "host",
            extensions=(("generation", "0"), ("network-cost", "999")),
        ),
    ),
    "chrome of 2012, reflexive without raddr": (
        "candidate:2083266753 1 udp 1912610559 217.92.224.18 35551 typ srflx generation 0",
        Candidate(
            "2083266753",
            1,
            "udp",
            1912610559,
            "217.92.224.18",
            35551,
            "srflx",
            extensions=(("generation", "0"),),
        ),
    ),
    "chrome of 2012, tcp without tcptype": (
        "candidate:2616218596 1 tcp 1694506751 172.23.0.86 54750 typ host generation 0",
        Candidate(
            "2616218596",
            1,
            "tcp",
            1694506751,
            "172.23.0.86",
            54750,
            "host",
            tcptype="passive",
            extensions=(("generation", "0"),),
        ),
    ),
    "firefox host": (
        "candidate:0 1 UDP 2122187007 10.77.0.1 51357 typ host",
        Candidate("0", 1, "udp", 2122187007, "10.77.0.1", 51357, "host"),
    ),
    "firefox relay, raddr is itself": (
        "candidate:4 1 UDP 92217343 198.51.100.7 61480 typ relay raddr 198.51.100.7 rport 61480",
        Candidate("4", 1, "udp", 92217343, "198.51.100.7", 61480, "relay", "198.51.100.7", 61480),
    ),
    "firefox tcp": (
        "candidate:3 1 TCP 2105524479 fd77::1 9 typ host tcptype active",
        Candidate("3", 1, "tcp", 2105524479, "fd77::1", 9, "host", tcptype="active"),
    ),
    "aioice, without a prefix and with a foundation of 32": (
        "6ddf21b60ef8b6aefbae22a1ca3d2a4e 1 udp 2130706431 192.168.1.5 50002 typ host",
        Candidate("6ddf21b60ef8b6aefbae22a1ca3d2a4e", 1, "udp", 2130706431, "192.168.1.5", 50002, "host"),
    ),
    "aioice relay": (
        "candidate:9f1a 2 udp 16777214 203.0.113.9 50002 typ relay raddr 0.0.0.0 rport 9",
        Candidate("9f1a", 2, "udp", 16777214, "203.0.113.9", 50002, "relay", "0.0.0.0", 9),
    ),
    "pion": (
        (
            "candidate:233762139 1 udp 1694498815 203.0.113.4 38700 typ srflx raddr 0.0.0.0 rport 38700 "
            "ufrag kLmNoPqRsTuVwXyZ generation 0"
        ),
        Candidate(
            "233762139",
            1,
            "udp",
            1694498815,
            "203.0.113.4",
            38700,
            "srflx",
            "0.0.0.0",
            38700,
            ufrag="kLmNoPqRsTuVwXyZ",
            extensions=(("generation", "0"),),
        ),
    ),
    "pion, empty foundation": (
        "candidate: 1 udp 500 192.0.2.10 80 typ host",
        Candidate("", 1, "udp", 500, "192.0.2.10", 80, "host"),
    ),
    "pion, tcptype before raddr": (
        (
            "candidate:647372371 1 tcp 1675624447 191.228.238.68 53991 typ srflx tcptype passive "
            "raddr nat-7.example rport 53991"
        ),
        Candidate(
            "647372371",
            1,
            "tcp",
            1675624447,
            "191.228.238.68",
            53991,
            "srflx",
            "nat-7.example",
            53991,
            "passive",
        ),
    ),
    "libjuice": (
        "a=candidate:2 1 UDP 1678769919 203.0.113.4 41230 typ srflx raddr 0.0.0.0 rport 0",
        Candidate("2", 1, "udp", 1678769919, "203.0.113.4", 41230, "srflx", "0.0.0.0", 0),
    ),
    "libnice": (
        "a=candidate:3 1 TCP 1010828287 10.0.0.1 43210 typ host tcptype passive\r\n",
        Candidate("3", 1, "tcp", 1010828287, "10.0.0.1", 43210, "host", tcptype="passive"),
    ),
    "libnice, active with port 0": (
        "candidate:4 1 TCP 1015022079 10.0.0.1 0 typ host",
        Candidate("4", 1, "tcp", 1015022079, "10.0.0.1", 0, "host", tcptype="active"),
    ),
    "pjnath": (
        "Hc0a80105 1 UDP 1694498815 192.168.1.5 4000 typ host",
        Candidate("Hc0a80105", 1, "udp", 1694498815, "192.168.1.5", 4000, "host"),
    ),
    "mediasoup": (
        "candidate:tcpcandidate 1 tcp 1076276479 192.0.2.30 40000 typ host tcptype passive",
        Candidate("tcpcandidate", 1, "tcp", 1076276479, "192.0.2.30", 40000, "host", tcptype="passive"),
    ),
    "RFC 8839": (
        "a=candidate:2 1 UDP 1694498815 192.0.2.3 45664 typ srflx raddr 203.0.113.141 rport 8998",
        Candidate("2", 1, "udp", 1694498815, "192.0.2.3", 45664, "srflx", "203.0.113.141", 8998),
    ),
}


@pytest.mark.parametrize(("line", "candidate"), LINES.values(), ids=LINES)
def test_reads_what_others_print(line: str, candidate: Candidate) -> None:
    """8839-21: pairs that we do not know do not matter; upper case, order and missing parts do not either."""
    assert Candidate.from_sdp(line) == candidate


@pytest.mark.parametrize("browser", ["chromium", "firefox"])
def test_reads_every_line_of_a_browser(browser: str) -> None:
    lines = (FIXTURES / f"{browser}_candidates.txt").read_text().split("\n")
    candidates = [Candidate.parse(line) for line in lines if line]
    assert [(c.transport, c.address, c.tcptype) for c in candidates if c] == [
        ("udp", "10.77.0.1", None),
        ("udp", "fd77::1", None),
        ("tcp", "10.77.0.1", "active"),
        ("tcp", "fd77::1", "active"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "candidate:1 1 udp 1 192.0.2.1 1 typ host",
        "CANDIDATE:1 1 UDP 1 192.0.2.1 1 TYP HOST",
        "1 1 UDP 1 192.0.2.1 1 Typ Host",
    ],
)
@pytest.mark.parametrize("before", ["", "a=", " \t", "\r\n a="])
@pytest.mark.parametrize("after", ["", " ", "  \t\r\n", "\n"])
def test_ignores_what_is_around_a_line(line: str, before: str, after: str) -> None:
    """T18 of the checklist, 8839-22: trailing blanks, letter case and line ends are the peer's business."""
    assert Candidate.from_sdp(before + line + after) == Candidate("1", 1, "udp", 1, "192.0.2.1", 1, "host")


@pytest.mark.parametrize("tcptype", ["active", "passive", "so"])
def test_tcp_types(tcptype: str) -> None:
    for written in (tcptype, tcptype.upper()):
        candidate = Candidate.from_sdp(f"candidate:1 1 TCP 1 192.0.2.1 9 typ host tcptype {written}")
        assert candidate.tcptype == tcptype
    assert Candidate.from_sdp(f"candidate:1 1 udp 1 192.0.2.1 9 typ host tcptype {tcptype}").tcptype is None


@pytest.mark.parametrize("priority", [1, 2**31 - 1, 2**31, 2**32 - 1])
def test_takes_priorities_of_32_bits_and_prints_31(priority: int) -> None:
    """T18 of the checklist: a priority above 2**31 - 1 is accepted, and never emitted."""
    candidate = Candidate.from_sdp(f"candidate:1 1 udp {priority} 192.0.2.1 1 typ host")
    assert candidate.priority == priority
    assert candidate.to_sdp() == f"candidate:1 1 udp {min(priority, 2**31 - 1)} 192.0.2.1 1 typ host"


UNSUPPORTED = {
    "FQDN": "candidate:1 1 udp 1 peer.example.org 1 typ host",
    "name of three labels under .local": "candidate:1 1 udp 1 a.b.local 1 typ host",
    "only .local": "candidate:1 1 udp 1 .local 1 typ host",
    "a family that is neither IPv4 nor IPv6": "candidate:1 1 udp 1 49.0000.80000524 1 typ host",
    "IPv4 with leading zeros": "candidate:1 1 udp 1 192.0.02.1 1 typ host",
    "three octets": "candidate:1 1 udp 1 192.0.2 1 typ host",
    "two double colons": "candidate:1 1 udp 1 2001::db8::1 1 typ host",
    "unknown transport": "candidate:1 1 sctp 1 192.0.2.1 1 typ host",
    "transport of Office Communicator": "candidate:1 1 TCP-PASS 1 192.0.2.1 1 typ host",
    "unknown type": "candidate:1 1 udp 1 192.0.2.1 1 typ token",
    "unknown tcptype": "candidate:1 1 tcp 1 192.0.2.1 1 typ host tcptype listen",
    "unspecified": "candidate:1 1 udp 1 0.0.0.0 1 typ host",
    "unspecified IPv6": "candidate:1 1 udp 1 :: 1 typ host",
    "multicast": "candidate:1 1 udp 1 224.0.0.251 1 typ host",
    "multicast IPv6": "candidate:1 1 udp 1 ff02::1 1 typ host",
    "broadcast": "candidate:1 1 udp 1 255.255.255.255 1 typ host",
    "IPv4 in IPv6": "candidate:1 1 udp 1 ::ffff:192.0.2.1 1 typ host",
    "site-local": "candidate:1 1 udp 1 fec0::1 1 typ host",
    "scope on IPv4": "candidate:1 1 udp 1 192.0.2.1%eth0 1 typ host",
}


@pytest.mark.parametrize("line", UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_tells_candidates_that_are_of_no_use(line: str) -> None:
    """8839-19 (part: each of them; `test_description.py` has the good one among bad ones)."""
    with pytest.raises(UnsupportedCandidate) as caught:
        Candidate.from_sdp(line)
    assert str(caught.value).partition(":")[0] in ("address", "transport", "type", "tcptype")


MALFORMED = {
    "": "candidate line: 1 fields",
    "candidate:": "candidate line: 1 fields",
    "candidate:1 1 udp 1 192.0.2.1 1 typ": "candidate line: 7 fields",
    "candidate:1 1 udp 1 192.0.2.1 1 host": "candidate line: 7 fields",
    "candidate:1 1 udp 1 192.0.2.1 1 host typ": "candidate line: 'host' in the place of 'typ'",
    "remote-candidates:1 192.0.2.1 1": "candidate line: 3 fields",
    f"candidate:{'f' * 129} 1 udp 1 192.0.2.1 1 typ host": "foundation: 129 characters, the limit is 128",
    "candidate:1 0 udp 1 192.0.2.1 1 typ host": "component: 0 is not between 1 and 256",
    "candidate:1 257 udp 1 192.0.2.1 1 typ host": "component: 257 is not between 1 and 256",
    "candidate:1 -1 udp 1 192.0.2.1 1 typ host": "component: '-1' is not a number",
    "candidate:1 +1 udp 1 192.0.2.1 1 typ host": "component: '+1' is not a number",
    "candidate:1 1_0 udp 1 192.0.2.1 1 typ host": "component: '1_0' is not a number",
    "candidate:1 1 udp 0 192.0.2.1 1 typ host": "priority: 0 is not between 1 and 4294967295",
    "candidate:1 1 udp 4294967296 192.0.2.1 1 typ host": "priority: 4294967296 is not between",
    f"candidate:1 1 udp {'9' * 600} 192.0.2.1 1 typ host": f"priority: '{'9' * 40}...' is not a number",
    "candidate:1 1 udp 1e9 192.0.2.1 1 typ host": "priority: '1e9' is not a number",
    "candidate:1 1 udp 1 192.0.2.1 65536 typ host": "port: 65536 is not between 0 and 65535",
    "candidate:1 1 udp 1 192.0.2.1 -1 typ host": "port: '-1' is not a number",
    "candidate:1 1 udp 1 192.0.2.1 1 typ srflx raddr 192.0.2.2 rport 65536": "rport: 65536 is not between",
    "candidate:1 1 udp 1 192.0.2.1 1 typ srflx raddr <x> rport 1": "raddr: '<x>' is no address",
    "candidate:1 1 udp 1 192.0.2.1 1 typ host ufrag abc": "ufrag: 'abc' is not 4 to 256",
    f"candidate:1 1 udp 1 192.0.2.1 1 typ host ufrag {'u' * 257}": "ufrag: 'uuuu",
    "candidate:1 1 udp 1 192.0.2.1 1 typ host ufrag ab-d": "ufrag: 'ab-d' is not 4 to 256",
    "candidate:1 1 udp 1 192.0.2.1 1 typ host" + " a b" * 33: "candidate line: more than 32 pairs",
    "candidate:1 1 udp 1 192.0.2.1 1 typ host a " + "b" * 1000: "the limit is 1024",
    "candidate:1 1 udp 1 192.0.2.1 1 typ host\x00": "not printable ASCII",
    "candidate:1 1 udp 1 192.0.2.1 1\x00 typ host": "not printable ASCII",
    "candidate:1 1 udp 1 192.0.2.1 1 typ host\r\na=x y": "not printable ASCII",
    "candidate:1 1 udp 1 192.0.2.1 1 typ host a \x7f": "not printable ASCII",
    "candidate:1\t1\tudp\t1\t192.0.2.1\t1\ttyp\thost": "not printable ASCII",
    "candidate:1 1 udp \u0663\u0664 192.0.2.1 1 typ host": "not printable ASCII",
    "candidate:1 1 udp 1 192.0.2.1 \uff11\uff12 typ host": "not printable ASCII",
    "candidate:1 \u00b2 udp 1 192.0.2.1 1 typ host": "not printable ASCII",
}


@pytest.mark.parametrize(("line", "words"), MALFORMED.items(), ids=range(len(MALFORMED)))
def test_says_what_is_wrong_with_a_line(line: str, words: str) -> None:
    """8839-22: what breaks the grammar is refused in words that name the field and repeat 40 characters at most."""
    with pytest.raises(ParseError) as caught:
        Candidate.from_sdp(line)
    assert words in str(caught.value)
    assert not isinstance(caught.value, UnsupportedCandidate)
    assert len(str(caught.value)) < 250
    assert str(caught.value).isprintable()


def test_a_very_long_line_is_refused_by_its_length() -> None:
    """The limit on lines holds before anything in them is looked at: 64 KiB cost next to nothing."""
    line = "candidate:1 1 udp 1 192.0.2.1 1 typ host" + " a b" * 16384
    with pytest.raises(
        ParseError, match=f"{len(line)} characters, the limit is {candidate_line.MAX_LINE_LENGTH}"
    ):
        Candidate.from_sdp(line)


@pytest.mark.parametrize(("field", "low", "high"), [(0, 1, 256), (2, 1, 2**32 - 1), (4, 0, 65535)])
def test_takes_the_ends_of_every_range(field: int, low: int, high: int) -> None:
    """8839-22: component 1 to 256, port 0 to 65535, and nothing beyond."""
    words = ["1", "udp", "1", "192.0.2.1", "1", "typ", "host"]
    for value, good in ((low, True), (high, True), (low - 1, False), (high + 1, False)):
        words[field] = str(value)
        line = "candidate:1 " + " ".join(words)
        if good:
            assert Candidate.from_sdp(line).to_sdp().split()[:2] == line.split()[:2]
        else:
            with pytest.raises(ParseError):
                Candidate.from_sdp(line)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("fe80::1%25", "fe80::1"),
        ("2001:db8::192.0.2.33", "2001:db8::c000:221"),
        (MDNS.upper(), MDNS),
        ("myhost.local", "myhost.local"),
    ],
)
def test_addresses_have_one_spelling(written: str, read: str) -> None:
    """8839-22: a colon means IPv6. A scope is dropped, it names an interface of the peer (RFC 4007 11)."""
    candidate = Candidate.from_sdp(f"candidate:1 1 udp 1 {written} 1 typ host")
    assert candidate.address == read
    assert candidate.ip_version == (6 if ":" in written else 4)


class TestPrinting:
    """What we print keeps to the grammar of RFC 8839 5.1 and RFC 6544 4.5."""

    def test_host_candidates_have_no_related_address(self) -> None:
        """8839-20: raddr and rport are absent for host candidates."""
        candidate = Candidate("1", 1, "udp", 1, "192.0.2.1", 1, "host", "192.0.2.1", 1)
        assert candidate.to_sdp() == "candidate:1 1 udp 1 192.0.2.1 1 typ host"

    @pytest.mark.parametrize("type", ["srflx", "prflx", "relay"])
    @pytest.mark.parametrize(
        ("address", "related", "printed"),
        [
            ("192.0.2.1", ("198.51.100.2", 500), "raddr 198.51.100.2 rport 500"),
            ("192.0.2.1", ("fd00::2", 500), "raddr fd00::2 rport 500"),
            ("2001:db8::1", ("fe80::2%eth0", 500), "raddr fe80::2 rport 500"),
            ("192.0.2.1", (None, None), "raddr 0.0.0.0 rport 9"),
            ("2001:db8::1", (None, None), "raddr :: rport 9"),
            ("192.0.2.1", ("0.0.0.0", 0), "raddr 0.0.0.0 rport 9"),
            ("2001:db8::1", ("::", 0), "raddr :: rport 9"),
            ("192.0.2.1", ("host.example.org", 500), "raddr 0.0.0.0 rport 9"),
            ("192.0.2.1", ("198.51.100.2", None), "raddr 0.0.0.0 rport 9"),
        ],
    )
    def test_others_have_one(
        self, type: str, address: str, related: tuple[str | None, int | None], printed: str
    ) -> None:
        """8839-20: present for srflx, prflx and relay; hidden ones are 0.0.0.0 or ::, and port 9."""
        line = f"candidate:1 1 udp 1 {address} 1 typ {type}"
        candidate = Candidate("1", 1, "udp", 1, address, 1, type, *related)  # type: ignore[arg-type]
        assert candidate.to_sdp() == f"{line} {printed}"

    def test_the_scope_stays_at_home(self) -> None:
        candidate = Candidate("1", 1, "udp", 1, "fe80::1%eth0", 1, "host")
        assert candidate.to_sdp() == "candidate:1 1 udp 1 fe80::1 1 typ host"

    def test_order_of_the_pairs(self) -> None:
        candidate = Candidate(
            "1",
            1,
            "tcp",
            1,
            "192.0.2.1",
            9,
            "srflx",
            "10.0.0.1",
            9,
            "active",
            "8hhY",
            (("generation", "0"), ("network-cost", "50")),
        )
        assert candidate.to_sdp() == (
            "candidate:1 1 tcp 1 192.0.2.1 9 typ srflx raddr 10.0.0.1 rport 9 tcptype active "
            "ufrag 8hhY generation 0 network-cost 50"
        )

    @pytest.mark.parametrize("foundation", ["", "a-b", "f" * 33, "a_b", 'x"y'])
    def test_odd_foundations_become_proper_ones(self, foundation: str) -> None:
        """8839-22: 1 to 32 ice-chars; equal foundations stay equal, and others stay others."""
        line = f"candidate:{foundation} 1 udp 1 192.0.2.1 1 typ host"
        candidate = Candidate.from_sdp(line)
        assert candidate.foundation == foundation
        printed = candidate.to_sdp().partition(" ")[0].removeprefix("candidate:")
        assert printed.isalnum() and len(printed) == 32
        other = Candidate.from_sdp(line.replace("192.0.2.1", "192.0.2.2"))
        assert other.to_sdp().startswith(f"candidate:{printed} ")
        different = Candidate.from_sdp(line.replace("candidate:", "candidate:-"))
        assert not different.to_sdp().startswith(f"candidate:{printed} ")

    @pytest.mark.parametrize(
        "candidate",
        [
            Candidate("1", 1, "udp", 1, "192.0.2.1\r\na=x", 1, "host"),
            Candidate("1", 1, "udp", 1, "192.0.2.1", 1, "host", extensions=(("a", "b\r\nc"),)),
            Candidate("1", 1, "udp", 1, "192.0.2.1", 1, "host", extensions=(("a", "b c"),)),
            Candidate("1", 1, "udp", 1, "192.0.2.1", 1, "host", extensions=(("a b", "c"),)),
            Candidate("1", 1, "udp", 1, "192.0.2.1", 1, "host", extensions=(("", "c"),)),
            Candidate("1", 1, "udp", 1, "192.0.2.1", 1, "host", extensions=(("a", ""),)),
            Candidate("1", 1, "udp", 1, "192.0.2.1", 1, "host", extensions=(("a", "\u00e9"),)),
        ],
        ids=range(7),
    )
    def test_nothing_can_be_smuggled_in(self, candidate: Candidate) -> None:
        with pytest.raises(ValueError, match="candidate"):
            candidate.to_sdp()


TYPES: tuple[CandidateType, ...] = ("host", "srflx", "prflx", "relay")
ICE_CHARS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
ICE_TEXT = st.text(ICE_CHARS, min_size=1, max_size=32)
ADDRESSES = (st.builds(str, st.ip_addresses(v=4)) | st.builds(str, st.ip_addresses(v=6))).filter(
    lambda text: refusal(text) is None
)
NAMES = st.builds("{}.local".format, st.uuids())
TOKENS = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12).filter(
    lambda name: name not in ("raddr", "rport", "tcptype", "ufrag")
)
VALUES = st.text([chr(code) for code in range(0x21, 0x7F)], min_size=1, max_size=12)


@st.composite
def candidates(draw: st.DrawFn) -> Candidate:
    """Every candidate that can be written as a line without loss."""
    type = draw(st.sampled_from(TYPES))
    transport = draw(st.sampled_from(["udp", "tcp"]))
    hidden = st.sampled_from([("0.0.0.0", 9), ("::", 9)])
    address = draw(ADDRESSES | NAMES)
    related = draw(st.tuples(ADDRESSES, st.integers(0, 65535)) | hidden)
    if related[1] == 9 and related[0] in ("0.0.0.0", "::"):
        related = ("::" if ":" in address else "0.0.0.0", 9)
    return Candidate(
        foundation=draw(ICE_TEXT),
        component=draw(st.integers(1, 256)),
        transport=transport,
        priority=draw(st.integers(1, 2**31 - 1)),
        address=address,
        port=draw(st.integers(0, 65535)),
        type=type,
        related_address=None if type == "host" else related[0],
        related_port=None if type == "host" else related[1],
        tcptype=draw(st.sampled_from(["active", "passive", "so"])) if transport == "tcp" else None,
        ufrag=draw(st.none() | st.text(ICE_CHARS, min_size=4, max_size=32)),
        extensions=tuple(draw(st.lists(st.tuples(TOKENS, VALUES), max_size=4))),
    )


@settings(deadline=None)
@given(candidates())
def test_lines_survive_a_round_trip(candidate: Candidate) -> None:
    """8839-22: round trip of every candidate that the grammar can express."""
    assert Candidate.from_sdp(candidate.to_sdp()) == candidate
    assert Candidate.parse(candidate.to_json()) == candidate


@settings(deadline=None)
@given(st.text())
def test_no_text_raises_anything_but_parse_error(text: str) -> None:
    """8839-22: fuzz."""
    for read in (Candidate.from_sdp, Candidate.parse):
        with suppress(ParseError):
            read(text)


WORDS = st.sampled_from(
    (
        *(
            "1",
            "0",
            "256",
            "65535",
            "4294967295",
            "udp",
            "TCP",
            "typ",
            "host",
            "srflx",
            "active",
            "8hhY",
            "generation",
        ),
        *(
            "192.0.2.1",
            "::1",
            "fe80::1%e",
            "x.local",
            "raddr",
            "rport",
            "tcptype",
            "ufrag",
            "",
            "%",
            "\u0661",
            "\x00",
        ),
    )
)


@settings(deadline=None)
@given(st.lists(WORDS | VALUES, min_size=4, max_size=24))
def test_what_is_taken_can_be_printed_and_read_again(words: list[str]) -> None:
    """8839-22: whatever a peer's line was like, ours for it keeps to the grammar and means the same."""
    line = "candidate:1 1 udp 1 192.0.2.1 1 typ " + " ".join(words)
    for text in (line, "candidate:" + " ".join(words)):
        try:
            candidate = Candidate.from_sdp(text)
        except ParseError:
            continue
        again = Candidate.from_sdp(candidate.to_sdp())
        assert Candidate.from_sdp(again.to_sdp()) == again
        assert again.transport_address == candidate.transport_address
        assert again.extensions == candidate.extensions


@settings(deadline=None)
@given(st.ip_addresses())
def test_canonical_ip_is_what_ipaddress_prints(address: IPv4Address | IPv6Address) -> None:
    assert candidate_line.canonical_ip(address.exploded) == str(address)
    assert candidate_line.canonical_ip(address.exploded + "x") is None


def outcome(read: Callable[[str], object], text: str) -> object:
    """What comes of reading `text`: fields, or the kind of the error and its words."""
    try:
        return read(text)
    except ParseError as error:
        return type(error), str(error)


GROUPS = st.lists(
    st.sampled_from(["0", "1", "db8", "00", "ffff", "2001", "", "fd00"]), min_size=2, max_size=9
)
NUMBERS = st.sampled_from(
    ["0", "1", "256", "257", "007", "65535", "65536", "4294967295", "4294967296", "-1", "x"]
)
HOSTS = st.one_of(
    st.sampled_from(
        [
            *(
                "0.0.0.0",
                "0.0.0.1",
                "223.255.255.255",
                "224.0.0.1",
                "239.1.1.1",
                "240.0.0.1",
                "255.255.255.255",
            ),
            *(
                "192.0.02.1",
                "256.0.0.1",
                "1.2.3",
                "1.2.3.4.5",
                "fe80::1%eth0",
                "::ffff:1.2.3.4",
                "fec0::1",
                "::1",
            ),
            *(MDNS, MDNS.upper(), "a.b.local", "<x>", "raddr"),
        ]
    ),
    ADDRESSES,
    st.builds(":".join, GROUPS),
    st.builds("2001:{}".format, st.builds(":".join, GROUPS)),
)
PAIRS = st.one_of(
    st.tuples(st.just("raddr"), HOSTS),
    st.tuples(st.just("rport"), NUMBERS),
    st.tuples(st.just("ufrag"), st.sampled_from(["abcd", "abc", "ab-d", "u" * 257])),
    st.tuples(st.just("tcptype"), st.sampled_from(["active", "SO", "listen"])),
    st.tuples(TOKENS, VALUES),
)


@st.composite
def nearly_lines(draw: st.DrawFn) -> str:
    """Lines with a field or two that may be odd."""
    words = ["842163049", "1", "udp", "1677729535", "203.0.113.4", "41230", "typ", "srflx"]
    odd = {
        0: st.sampled_from(["", "f" * 128, "f" * 129, "candidate:1", "a=", "a-b"]),
        1: NUMBERS,
        2: st.sampled_from(["UDP", "tcp", "TCP", "Udp", "sctp"]),
        3: NUMBERS,
        4: HOSTS,
        5: NUMBERS,
        6: st.sampled_from(["TYP", "type"]),
        7: st.sampled_from(["host", "HOST", "relay", "hosts", "token"]),
    }
    for place in draw(st.just([4]) | st.lists(st.sampled_from(sorted(odd)), max_size=2)):
        words[place] = draw(odd[place])
    if draw(st.booleans()):
        words += ["raddr", draw(HOSTS), "rport", draw(st.just("9") | NUMBERS)]
    for pair in draw(st.just([]) | st.lists(PAIRS, max_size=4)):
        words += pair
    words += ["n", "v"] * draw(st.sampled_from([0, 0, 0, 0, 0, 0, 28, 29, 30, 31, 32, 33]))
    words += draw(st.sampled_from([[], [], [], [], ["last"], ["", "n"], ["a" * 900], ["\x00"], ["\u0131"]]))
    before = draw(
        st.sampled_from(
            ["", "a=", "candidate:", "a=candidate:", "a=CANDIDATE:", "A=", " ", "cand\u0131date:"]
        )
    )
    return before + " ".join(words)


@settings(deadline=None, max_examples=400)
@given(nearly_lines())
def test_lines_mean_the_same_at_once_and_word_by_word(line: str) -> None:
    """8839-22: the quick way takes nothing that the other refuses or reads otherwise; errors are in the same words."""
    assert outcome(candidate_line.read_candidate, line) == outcome(
        candidate_line._read_words, line.strip(" \t\r\n")
    )


@pytest.mark.parametrize(
    "name", [name for name in LINES if name.startswith(("chromium", "firefox", "aioice", "RFC"))]
)
def test_lines_of_browsers_are_read_at_once(name: str) -> None:
    line, candidate = LINES[name]
    values = candidate_line._read_at_once(line)
    assert values is not None
    assert Candidate(*values) == candidate


def spellings() -> Iterator[str]:
    """IPv6 addresses with every arrangement of zeros, gaps and too many or too few groups."""
    for count in range(1, 10):
        for rest in product(("0", "ab1"), repeat=count - 1):
            groups = ["2001", *rest]
            yield ":".join(groups)
            for gap in range(1, count + 1):
                yield ":".join(groups[:gap]) + "::" + ":".join(groups[gap:])


def test_every_spelling_of_an_ipv6_address() -> None:
    """8839-22: what the quick way takes as it is needs no change; `ipaddress` knows."""
    for text in spellings():
        try:
            expected: object = str(IPv6Address(text))
        except ValueError:
            expected = UnsupportedCandidate
        try:
            read: object = Candidate.from_sdp(f"candidate:1 1 udp 1 {text} 1 typ host").address
        except ParseError as error:
            read = type(error)
        assert read == expected, text
