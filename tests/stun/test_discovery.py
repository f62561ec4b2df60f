"""The DNS questions of a STUN or TURN URI, and the targets that follow from the answers (RFC 8489 8, RFC 5928)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasticePy.errors import ParseError
from fasticePy.stun import discovery
from fasticePy.stun.discovery import (
    TRANSPORTS,
    Discovery,
    DiscoveryError,
    NaptrRecord,
    Question,
    Record,
    SrvRecord,
    Transport,
    default_transport,
    srv_order,
)
from fasticePy.stun.uri import parse_server_url

Rng = Callable[[int], bytes]
Zone = dict[str, Sequence[Record]]
ALL: Sequence[Transport] = TRANSPORTS


def lowest(n: int) -> bytes:
    """Randomness that always draws the first record."""
    return bytes(n)


class Search:
    """One discovery, answered from a zone: `asked` holds the questions of each round."""

    def __init__(
        self, text: str, zone: Zone | None = None, *, transports: Sequence[Any] = ("udp",), rng: Rng = lowest
    ) -> None:
        search = Discovery(parse_server_url(text), transports=transports, rng=rng)
        self.asked: list[list[str]] = []
        while search.questions:
            assert len(self.asked) < 100
            self.asked.append([str(question) for question in search.questions])
            search.answer(
                {each: (zone or {})[str(each)] for each in search.questions if str(each) in (zone or {})}
            )
        self.targets = [str(target) for target in search.targets]


def srv(target: str, port: int = 3478, *, priority: int = 0, weight: int = 0) -> SrvRecord:
    return SrvRecord(priority, weight, port, target)


def naptr(order: int, preference: int, flags: str, services: str, replacement: str) -> NaptrRecord:
    return NaptrRecord(order, preference, flags, services, "", replacement)


# --- stun and stuns


@pytest.mark.parametrize(
    ("url", "transport", "question"),
    [
        ("stun:example.org", "udp", "SRV _stun._udp.example.org"),
        ("stun:example.org", "tcp", "SRV _stun._tcp.example.org"),
        ("stuns:example.org", "tls", "SRV _stuns._tcp.example.org"),
        ("stuns:example.org", "dtls", "SRV _stuns._udp.example.org"),
        ("stun:example.org.", "udp", "SRV _stun._udp.example.org"),
    ],
)
def test_srv_name_is_made_of_scheme_and_transport(url: str, transport: str, question: str) -> None:
    """8489-28: `_stun` or `_stuns`, `_udp` or `_tcp`. 7350-1: `_stuns._udp` for DTLS."""
    search = Search(url, transports=[transport])
    assert search.asked == [[question]]


@pytest.mark.parametrize(
    ("url", "transport", "target"),
    [
        ("stun:example.org", "udp", "udp example.org:3478"),
        ("stun:example.org", "tcp", "tcp example.org:3478"),
        ("stuns:example.org", "tls", "tls example.org:5349"),
        ("stuns:example.org", "dtls", "dtls example.org:5349"),
    ],
)
def test_without_srv_records_the_host_serves_at_the_default_port(
    url: str, transport: str, target: str
) -> None:
    """8489-29: default port 3478, over TLS and DTLS 5349."""
    assert Search(url, transports=[transport]).targets == [target]
    only_others: Zone = {"SRV _turn._udp.example.org": [srv("other.example.org")]}
    assert Search(url, only_others, transports=[transport]).targets == [target]


def test_srv_records_by_priority_with_their_ports() -> None:
    """8489-28: the port is that of the record, and the order that of RFC 2782; all of them remain to be tried."""
    zone: Zone = {
        "SRV _stun._udp.example.org": [
            srv("third.example.org.", 3, priority=20),
            srv("First.example.org.", 1, priority=5),
            srv("second.example.org", 2, priority=10),
        ]
    }
    search = Search("stun:example.org", zone)
    assert search.targets == [
        "udp first.example.org:1",
        "udp second.example.org:2",
        "udp third.example.org:3",
    ]


def test_srv_weights_are_proportions_within_a_priority(rng: Rng) -> None:
    """8489-28: which record of a priority comes first is drawn in proportion to the weights, ever anew."""
    records = [
        srv("heavy", weight=60),
        srv("light", weight=20),
        srv("backup", priority=1),
        srv("zero", weight=0),
    ]
    draws = 4000
    orders = [[record.target for record in srv_order(records, rng)] for _ in range(draws)]
    assert all(order[-1] == "backup" and len(set(order)) == 4 for order in orders)
    first = Counter(order[0] for order in orders)
    assert first["heavy"] / draws == pytest.approx(60 / 80, abs=0.03)
    assert first["light"] / draws == pytest.approx(20 / 80, abs=0.03)
    assert 0 < first["zero"] < draws * 0.03  # a very small chance, but a chance
    of_two = Counter(
        next(name for name in order if name in ("light", "zero")) for order in orders if order[0] == "heavy"
    )
    assert of_two["light"] > of_two["zero"] * 10


def test_srv_records_of_equal_priority_without_weights_keep_no_fixed_order_but_all_come() -> None:
    records = [srv(name) for name in "abcd"]
    assert sorted(record.target for record in srv_order(records, random.Random(1).randbytes)) == list("abcd")
    assert srv_order([], lowest) == []


def test_a_draw_takes_the_first_running_sum_that_is_not_smaller() -> None:
    """8489-28: RFC 2782's algorithm, number by number."""
    records = [srv("a", weight=10), srv("b", weight=30), srv("c", weight=60)]
    for drawn, first in ((0, "a"), (10, "a"), (11, "b"), (40, "b"), (41, "c"), (100, "c")):
        assert srv_order(records, lambda n, drawn=drawn: drawn.to_bytes(n, "big"))[0].target == first  # type: ignore[misc]


def test_a_domain_can_say_that_it_has_no_such_server() -> None:
    """8489-28: the target "." ends it, without a fallback to the host itself (RFC 2782)."""
    assert Search("stun:example.org", {"SRV _stun._udp.example.org": [srv(".", 0)]}).targets == []
    assert Search("stun:example.org", {"SRV _stun._udp.example.org": [srv("", 0)]}).targets == []


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("stun:192.0.2.1", "udp 192.0.2.1:3478"),
        ("stun:192.0.2.1:99", "udp 192.0.2.1:99"),
        ("stun:[2001:db8::1]", "udp [2001:db8::1]:3478"),
        ("stun:example.org:19302", "udp example.org:19302"),
        ("stun:example.org:3478", "udp example.org:3478"),
        ("stun:localhost", "udp localhost:3478"),
        ("stun:printer.local", "udp printer.local:3478"),
        ("turn:a.localhost.", "udp a.localhost.:3478"),
    ],
)
def test_addresses_ports_and_local_names_ask_nothing(url: str, target: str) -> None:
    """8489-28: SRV records are for names without a port alone, of names that name servers know."""
    search = Search(url)
    assert search.asked == []
    assert search.targets == [target]


def test_stuns_with_an_address_is_refused() -> None:
    """8489-27, 7350-3: unless a name to verify comes with it."""
    for url in ("stuns:192.0.2.1", "stuns:[2001:db8::1]", "turns:192.0.2.1:443"):
        with pytest.raises(ParseError, match="host name"):
            parse_server_url(url)
        named = parse_server_url(url, tls_name="example.org")
        search = Discovery(named, transports=("tls",), rng=lowest)
        assert not search.questions
        assert search.targets[0].port == (443 if "443" in url else 5349)


# --- turn and turns (RFC 5928)


@pytest.mark.parametrize(
    ("url", "transport"),
    [
        ("turn:example.org?transport=udp", "udp"),
        ("turn:example.org?transport=tcp", "tcp"),
        ("turns:example.org?transport=tcp", "tls"),
        ("turns:example.org?transport=udp", "dtls"),
        ("turn:example.org", "udp"),
        ("turns:example.org", "tls"),
        ("stun:example.org", "udp"),
        ("stuns:example.org", "tls"),
    ],
)
def test_scheme_and_transport_make_the_transport(url: str, transport: str) -> None:
    """5928-1: table 1, and the line that RFC 7350 4.6.2 adds."""
    assert default_transport(parse_server_url(url)) == transport
    if "?" in url:
        assert [target.split()[0] for target in Search(url, transports=ALL).targets] == [transport]
        others = [each for each in ALL if each != transport]
        with pytest.raises(DiscoveryError, match=f"{transport} is not among"):
            Search(url, transports=others)


def test_transports_that_the_uri_does_not_allow_are_left_out() -> None:
    """5928-1: turns: removes UDP and TCP, stun: what is secured."""
    assert [each.split()[0] for each in Search("turns:example.org:1", transports=ALL).targets] == [
        "tls",
        "dtls",
    ]


def test_unknown_transports_and_empty_lists_are_errors() -> None:
    """5928-1: an unknown transport or an empty list is an error. RFC 7064 3.2: stun: is not secured."""
    with pytest.raises(DiscoveryError, match="'sctp' is not known"):
        Search("turn:example.org?transport=sctp", transports=ALL)
    for url, transports in (
        ("turns:example.org", ["udp", "tcp"]),
        ("stuns:example.org", ["udp", "tcp"]),
        ("stun:example.org", ["tls", "dtls"]),
        ("turn:example.org", []),
    ):
        with pytest.raises(DiscoveryError, match="does not run over"):
            Search(url, transports=transports)


@pytest.mark.parametrize(
    ("url", "targets"),
    [
        ("turn:192.0.2.1", ["tls 192.0.2.1:5349", "tcp 192.0.2.1:3478", "udp 192.0.2.1:3478"]),
        ("turn:192.0.2.1:80", ["tls 192.0.2.1:80", "tcp 192.0.2.1:80", "udp 192.0.2.1:80"]),
        ("turn:192.0.2.1?transport=tcp", ["tcp 192.0.2.1:3478"]),
        ("turn:example.net:80", ["tls example.net:80", "tcp example.net:80", "udp example.net:80"]),
        ("turn:example.net:80?transport=udp", ["udp example.net:80"]),
        ("turns:example.net:443", ["tls example.net:443"]),
    ],
)
def test_turn_with_an_address_or_a_port(url: str, targets: list[str]) -> None:
    """5928-2: the default or the given port, transports by preference, no SRV; names are left to A and AAAA."""
    search = Search(url, transports=["tls", "tcp", "udp"])
    assert search.asked == []
    assert search.targets == targets


def test_turn_with_a_transport_asks_for_its_srv_records() -> None:
    """5928-3: `_turn` or `_turns` with the protocol of the transport, and no NAPTR."""
    for url, question in (
        ("turn:example.net?transport=udp", "SRV _turn._udp.example.net"),
        ("turn:example.net?transport=tcp", "SRV _turn._tcp.example.net"),
        ("turns:example.net?transport=tcp", "SRV _turns._tcp.example.net"),
        ("turns:example.net?transport=udp", "SRV _turns._udp.example.net"),
    ):
        search = Search(url, {question: [srv("a.example.net", 5000)]}, transports=ALL)
        assert search.asked == [[question]]
        assert [target.split()[1] for target in search.targets] == ["a.example.net:5000"]


RFC_5928_FIGURE_1: Zone = {
    "NAPTR example.net": [
        naptr(200, 10, "", "RELAY:turn.tcp:turn.tls", "stream.example.net."),
        naptr(100, 10, "", "RELAY:turn.udp", "datagram.example.net."),
    ],
    "NAPTR datagram.example.net": [naptr(100, 10, "S", "RELAY:turn.udp", "_turn._udp.example.net.")],
    "NAPTR stream.example.net": [
        naptr(100, 10, "S", "RELAY:turn.tcp", "_turn._tcp.example.net."),
        naptr(200, 10, "A", "RELAY:turn.tls", "a.example.net."),
    ],
    "SRV _turn._udp.example.net": [srv("a.example.net.", 3478)],
    "SRV _turn._tcp.example.net": [srv("a.example.net.", 5000)],
}
RFC_5928_TABLE_2 = ["udp a.example.net:3478", "tls a.example.net:5349", "tcp a.example.net:5000"]


def test_naptr_records_lead_to_targets() -> None:
    """5928-3: the examples of RFC 5928 4.1 and 4.2; the first NAPTR set decides the order of the transports, then the
    preference of the application."""
    preference = ["tls", "tcp", "udp"]
    assert Search("turn:example.net", RFC_5928_FIGURE_1, transports=preference).targets == RFC_5928_TABLE_2
    hosted: Zone = {
        **RFC_5928_FIGURE_1,
        "NAPTR example.com": [naptr(100, 10, "", "RELAY:turn.udp:turn.tcp:turn.tls", "example.net.")],
    }
    # one set names all three in one record: the preference of the application alone decides
    assert Search("turn:example.com", hosted, transports=preference).targets == [
        "tls a.example.net:5349",
        "tcp a.example.net:5000",
        "udp a.example.net:3478",
    ]
    only_udp = Search("turn:example.net", RFC_5928_FIGURE_1, transports=["udp"])
    assert only_udp.targets == ["udp a.example.net:3478"]
    assert only_udp.asked == [
        ["NAPTR example.net"],
        ["NAPTR datagram.example.net"],
        ["SRV _turn._udp.example.net"],
    ]


def test_dtls_has_a_tag_of_its_own() -> None:
    """5928-3 with RFC 7350 4.6.2: `turn.dtls`, default port 5349."""
    zone: Zone = {"NAPTR example.net": [naptr(1, 1, "a", "relay:TURN.DTLS:turn.sctp", "a.example.net")]}
    assert Search("turns:example.net", zone, transports=["tls", "dtls"]).targets == [
        "dtls a.example.net:5349"
    ]


def test_without_naptr_records_srv_follows_and_then_the_host() -> None:
    """5928-3: step 5: SRV for each transport at the same time, else the host itself with the default port."""
    zone: Zone = {
        "NAPTR example.net": [
            naptr(1, 1, "s", "SIP+D2U", "_sip._udp.example.net"),
            NaptrRecord(1, 1, "u", "RELAY:turn.udp", "!^.*$!turn:x.example!", "."),
        ],
        "SRV _turn._tcp.example.net": [srv("t.example.net", 5000)],
    }
    search = Search("turn:example.net", zone, transports=["udp", "tcp"])
    assert search.asked == [
        ["NAPTR example.net"],
        ["SRV _turn._udp.example.net", "SRV _turn._tcp.example.net"],
    ]
    assert search.targets == ["udp example.net:3478", "tcp t.example.net:5000"]
    secure = Search("turns:example.net", transports=["tls", "dtls"])
    assert secure.asked[1] == ["SRV _turns._tcp.example.net", "SRV _turns._udp.example.net"]
    assert secure.targets == ["tls example.net:5349", "dtls example.net:5349"]


def test_naptr_records_that_lead_nowhere_are_the_end() -> None:
    """5928-3: when the first NAPTR query has a result, nothing else is asked."""
    for dead in (
        naptr(1, 1, "s", "RELAY:turn.udp", "_turn._udp.example.net"),
        naptr(1, 1, "x", "RELAY:turn.udp", "a.example.net"),
        naptr(1, 1, "a", "RELAY:turn.udp", "."),
        naptr(1, 1, "", "RELAY:turn.udp", "example.net"),
        naptr(1, 1, "", "RELAY:turn.udp", "nothing.example.net"),
    ):
        assert Search("turn:example.net", {"NAPTR example.net": [dead]}).targets == []


def test_naptr_loops_and_thickets_end() -> None:
    """What the DNS says is bounded: records that point to each other, and sets of many that all do."""
    names = [f"n{i}.example.net" for i in range(40)]
    everywhere = [naptr(i, 1, "", "RELAY:turn.udp:turn.tcp", name) for i, name in enumerate(names)]
    zone: Zone = {f"NAPTR {name}": everywhere for name in ["example.net", *names]}
    search = Search("turn:example.net", zone, transports=["udp", "tcp"])
    assert search.targets == []
    assert len(search.asked) <= discovery.MAX_STEPS + 1
    chain: Zone = {
        f"NAPTR n{i}.example.net": [naptr(1, 1, "", "RELAY:turn.udp", f"n{i + 1}.example.net")]
        for i in range(20)
    }
    assert len(Search("turn:n0.example.net", chain).asked) == discovery.MAX_CHAIN


def test_the_same_question_is_asked_once_and_the_same_target_tried_once() -> None:
    zone: Zone = {
        "NAPTR example.net": [
            naptr(1, 1, "", "RELAY:turn.tcp", "x.example.net"),
            naptr(2, 1, "", "RELAY:turn.tcp:turn.tls", "x.example.net"),
        ],
        "NAPTR x.example.net": [naptr(1, 1, "a", "RELAY:turn.tcp:turn.tls", "a.example.net")],
    }
    search = Search("turn:example.net", zone, transports=["tcp", "tls"])
    assert search.asked == [["NAPTR example.net"], ["NAPTR x.example.net"]]
    assert search.targets == ["tcp a.example.net:3478", "tls a.example.net:5349"]


def test_the_number_of_targets_is_bounded() -> None:
    zone: Zone = {"SRV _stun._udp.example.org": [srv(f"h{i}.example.org") for i in range(5000)]}
    assert len(Search("stun:example.org", zone).targets) == discovery.MAX_TARGETS


def test_each_search_begins_anew() -> None:
    """5928-4: nothing is remembered from one search to the next."""
    url = parse_server_url("stun:example.org")
    for port in (1, 2):
        search = Discovery(url, transports=("udp",), rng=lowest)
        search.answer({Question("SRV", "_stun._udp.example.org"): [srv("a", port)]})
        assert [target.port for target in search.targets] == [port]
        search.answer({})  # too late: it has ended
        assert [target.port for target in search.targets] == [port]


_records: st.SearchStrategy[Record] = st.one_of(
    st.builds(SrvRecord, *[st.integers(0, 65535)] * 3, st.sampled_from([".", "", "a", "b.example.net."])),
    st.builds(
        NaptrRecord,
        st.integers(0, 3),
        st.integers(0, 3),
        st.sampled_from(["", "s", "A", "u", "sa"]),
        st.sampled_from(["RELAY:turn.udp", "relay:turn.tcp:turn.tls", "RELAY", "", ":::", "x:turn.udp"]),
        st.sampled_from(["", "!a!b!"]),
        st.sampled_from(["example.net", "a", "b.", ".", ""]),
    ),
)


@given(
    st.sampled_from(["turn:example.net", "stun:example.net", "turns:example.net"]),
    st.dictionaries(st.sampled_from(["example.net", "a", "b"]), st.lists(_records, max_size=6)),
    st.binary(min_size=8, max_size=8),
)
@settings(max_examples=100, deadline=None)
def test_any_answers_end_in_targets(url: str, zone: dict[str, list[Record]], seed: bytes) -> None:
    """Whatever the DNS answers, the search ends, and with targets that can be tried."""
    search = Discovery(parse_server_url(url), transports=ALL, rng=random.Random(seed).randbytes)
    rounds = 0
    while search.questions:
        rounds += 1
        assert rounds <= discovery.MAX_STEPS + 2
        search.answer({each: zone.get(each.name.split(".", 2)[-1], ()) for each in search.questions})
    assert len(search.targets) <= discovery.MAX_TARGETS
    assert all(target.host not in ("", ".") and target.transport in ALL for target in search.targets)
