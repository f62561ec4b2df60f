"""Candidates: priorities, foundations, and the forms in which they travel."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import json
import pickle

import pytest

from fasticePy.errors import ParseError
from fasticePy.ice.candidate import (
    MAX_LOCAL_PREFERENCE,
    TYPE_PREFERENCES,
    Candidate,
    CandidateType,
    FoundationTable,
    candidate_priority,
    prflx_priority,
)

LINE = "candidate:2 1 udp 1694498815 192.0.2.3 45664 typ srflx raddr 203.0.113.141 rport 8998"
TYPES: tuple[CandidateType, ...] = ("host", "prflx", "srflx", "relay")


class TestPriority:
    """RFC 8445 5.1.2."""

    @pytest.mark.parametrize(
        ("type", "component", "priority"),
        [
            ("host", 1, 2130706431),
            ("host", 2, 2130706430),
            ("prflx", 1, 1862270975),
            ("srflx", 1, 1694498815),
            ("srflx", 2, 1694498814),
            ("relay", 1, 16777215),
            ("relay", 256, 16776960),
        ],
    )
    def test_worked_numbers(self, type: CandidateType, component: int, priority: int) -> None:
        """8445-11: 2**24 type preference + 2**8 local preference + (256 - component)."""
        assert candidate_priority(type, MAX_LOCAL_PREFERENCE, component) == priority

    def test_type_preferences(self) -> None:
        """8445-11: 0 to 126, one for each type, and peer-reflexive above server-reflexive."""
        assert [TYPE_PREFERENCES[type] for type in TYPES] == [126, 110, 100, 0]
        assert TYPE_PREFERENCES["prflx"] > TYPE_PREFERENCES["srflx"]

    def test_type_counts_more_than_local_preference_and_that_more_than_component(self) -> None:
        """8445-11: the three parts never run into each other, at the ends of their ranges either."""
        ordered = [
            candidate_priority(type, local, component)
            for type in TYPES
            for local in (65535, 65534, 1, 0)
            for component in (1, 2, 255, 256)
        ]
        assert ordered == sorted(ordered, reverse=True)
        assert len(set(ordered)) == len(ordered)
        assert ordered[-1] == 0 and ordered[0] < 2**31

    @pytest.mark.parametrize("type", TYPES)
    def test_checks_promise_a_peer_reflexive_candidate(self, type: CandidateType) -> None:
        """The PRIORITY of a check differs from its candidate's in the type preference only (RFC 8445 7.1.1)."""
        assert prflx_priority(candidate_priority(type, 777, 2)) == candidate_priority("prflx", 777, 2)


class TestFoundations:
    """RFC 8445 5.1.1.3."""

    def test_same_exactly_when_all_four_are_the_same(self) -> None:
        """8445-8: type, base address, server address and transport."""
        table = FoundationTable()
        types: tuple[CandidateType, ...] = ("host", "srflx")
        keys = list(itertools.product(types, ("10.0.0.1", "fd00::1"), ("", "192.0.2.1"), ("udp", "tcp")))
        first = {key: table.foundation(*key) for key in keys}
        again = {key: table.foundation(*key) for key in reversed(keys)}
        assert first == again
        assert len(set(first.values())) == len(keys)

    def test_the_port_does_not_matter(self) -> None:
        """8445-8: two components on the same address have the same foundation, for ports are no part of it."""
        table = FoundationTable()
        rtp = table.foundation("srflx", "10.0.0.1", "192.0.2.1", "udp")
        rtcp = table.foundation("srflx", "10.0.0.1", "192.0.2.1", "udp")
        assert rtp == rtcp
        assert table.foundation("relay", "10.0.0.1", "192.0.2.1", "udp") != rtp

    def test_they_are_printed_as_they_are(self) -> None:
        """8839-22: 1 to 32 ice-chars."""
        table = FoundationTable()
        for number in range(100):
            foundation = table.foundation("host", f"10.0.0.{number}", "", "udp")
            candidate = Candidate(foundation, 1, "udp", 1, "192.0.2.1", 1, "host")
            assert candidate.to_sdp().startswith(f"candidate:{foundation} 1 ")


class TestForms:
    """Objects, JSON and pickles; lines have their own tests."""

    def test_properties(self) -> None:
        candidate = Candidate.from_sdp(LINE)
        assert candidate.transport_address == ("192.0.2.3", 45664)
        assert candidate.ip_version == 4
        assert dataclasses.replace(candidate, address="2001:db8::1").ip_version == 6

    def test_copies_and_pickles(self) -> None:
        candidate = Candidate.from_sdp(LINE + " ufrag 8hhY generation 0")
        for twin in (
            copy.copy(candidate),
            copy.deepcopy(candidate),
            *(
                pickle.loads(pickle.dumps(candidate, protocol))
                for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
            ),
        ):
            assert twin == candidate
            assert hash(twin) == hash(candidate)

    def test_is_immutable(self) -> None:
        candidate = Candidate.from_sdp(LINE)
        with pytest.raises(dataclasses.FrozenInstanceError):
            candidate.port = 1  # type: ignore[misc]

    def test_json_is_what_browsers_take(self) -> None:
        candidate = Candidate.from_sdp(LINE + " ufrag 8hhY")
        assert json.loads(candidate.to_json()) == {
            "candidate": LINE + " ufrag 8hhY",
            "usernameFragment": "8hhY",
        }
        assert Candidate.parse(candidate.to_json()) == candidate

    def test_reads_what_browsers_send(self) -> None:
        sent = {"candidate": LINE, "sdpMid": "0", "sdpMLineIndex": 0, "usernameFragment": "8hhY"}
        assert Candidate.parse(json.dumps(sent)) == dataclasses.replace(
            Candidate.from_sdp(LINE), ufrag="8hhY"
        )
        sent["usernameFragment"] = None
        assert Candidate.parse(json.dumps(sent)) == Candidate.from_sdp(LINE)

    def test_the_ufrag_in_the_line_counts_more(self) -> None:
        sent = {"candidate": LINE + " ufrag abcd", "usernameFragment": "efgh"}
        candidate = Candidate.parse(json.dumps(sent))
        assert candidate is not None and candidate.ufrag == "abcd"

    @pytest.mark.parametrize(
        "text",
        [
            "",
            " \r\n",
            "null",
            "end-of-candidates",
            "a=end-of-candidates\r\n",
            '{"candidate": ""}',
            '{"candidate": " ", "sdpMid": "0"}',
            '{"candidate":"","sdpMid":"0","usernameFragment":"8hhY"}',
        ],
    )
    def test_end_of_candidates(self, text: str) -> None:
        """Browsers send an empty candidate or null, SDP an attribute."""
        assert Candidate.parse(text) is None

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("{", "candidate JSON: "),
            ("{}", "no text under the key 'candidate'"),
            ('{"candidate": 5}', "no text under the key 'candidate'"),
            ('{"candidate": null}', "no text under the key 'candidate'"),
            ('{"candidate": "x"}', "fields"),
            (json.dumps({"candidate": LINE, "usernameFragment": "a b"}), "ufrag: 'a b'"),
            (json.dumps({"candidate": LINE, "x": "y" * 2048}), "the limit is 2048"),
            ('{"a":' * 300, "candidate JSON: "),
            ('{"candidate": ' + "9" * 2000 + "}", "no text under the key"),
            ("[]", "fields"),
            ("nulL", "fields"),
        ],
    )
    def test_bad_json(self, text: str, words: str) -> None:
        with pytest.raises(ParseError, match=words):
            Candidate.parse(text)
