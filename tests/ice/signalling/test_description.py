"""Descriptions: as SDP, as JSON, and what of bad ones is refused or left out."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasticePy.errors import ParseError
from fasticePy.ice.candidate import Candidate
from fasticePy.ice.signalling import sdp
from fasticePy.ice.signalling.description import MAX_PACING_MS, Description

FIXTURES = Path(__file__).parents[2] / "fixtures"
UFRAG = "8hhY"
PWD = "asd88fgpdd777uzjYhagZg"
HOST = "candidate:1 1 udp 2130706431 10.0.1.1 8998 typ host"
SRFLX = "candidate:2 1 udp 1694498815 192.0.2.3 45664 typ srflx raddr 10.0.1.1 rport 8998"
LINES = f"ice-ufrag:{UFRAG}\nice-pwd:{PWD}\n"
FULL = Description(
    UFRAG,
    PWD,
    (Candidate.from_sdp(HOST), Candidate.from_sdp(SRFLX)),
    options=("ice2", "trickle", "renomination"),
    pacing_ms=20,
    complete=True,
)


class TestPrinting:
    """The attribute lines, whole and by level."""

    def test_all_lines(self) -> None:
        """8839-9 (part: candidates, ufrag, pwd, ice2, ice-pacing), 8839-3: what an offer or answer must have."""
        assert FULL.to_sdp() == (
            "a=ice-options:ice2 trickle renomination\r\n"
            "a=ice-pacing:20\r\n"
            f"a=ice-ufrag:{UFRAG}\r\n"
            f"a=ice-pwd:{PWD}\r\n"
            f"a={HOST}\r\n"
            f"a={SRFLX}\r\n"
            "a=end-of-candidates\r\n"
        )
        assert str(FULL) == FULL.to_sdp()

    def test_defaults(self) -> None:
        """8839-3: `ice2` always; 8840-1 (part): `trickle` too."""
        description = Description(UFRAG, PWD)
        assert description.session_lines() == ["a=ice-options:ice2 trickle", "a=ice-pacing:50"]
        assert description.media_lines() == [f"a=ice-ufrag:{UFRAG}", f"a=ice-pwd:{PWD}"]

    def test_lite(self) -> None:
        """8839-2: `ice-lite` by lite agents only; 8839-9: and those have no `ice-pacing`."""
        description = dataclasses.replace(FULL, lite=True)
        assert description.session_lines() == ["a=ice-lite", "a=ice-options:ice2 trickle renomination"]
        assert "ice-lite" not in str(FULL)
        assert "ice-pacing" not in str(description)

    def test_levels_do_not_overlap(self) -> None:
        assert FULL.session_lines() + FULL.media_lines() == FULL.to_sdp().split("\r\n")[:-1]
        assert not [line for line in FULL.session_lines() if "ufrag" in line or "candidate" in line]

    @pytest.mark.parametrize("tag", ["", "a b", "a\r\nb", "rtp-ecn", "\u00e9", "x" * 65])
    def test_bad_options_are_not_printed(self, tag: str) -> None:
        with pytest.raises(ValueError, match="ICE option"):
            Description(UFRAG, PWD, options=(tag,)).to_sdp()

    def test_no_secret_in_repr(self) -> None:
        assert PWD not in repr(FULL)
        assert UFRAG in repr(FULL)

    def test_json(self) -> None:
        assert json.loads(FULL.to_json()) == {
            "ufrag": UFRAG,
            "pwd": PWD,
            "candidates": [HOST, SRFLX],
            "options": ["ice2", "trickle", "renomination"],
            "lite": False,
            "pacing_ms": 20,
            "complete": True,
        }


class TestReading:
    """SDP lines, whole SDP, our JSON, and a browser's."""

    @pytest.mark.parametrize("line_end", ["\r\n", "\n", "\r", " \n"])
    @pytest.mark.parametrize("prefix", ["a=", ""])
    def test_lines(self, line_end: str, prefix: str) -> None:
        """8840-2 (part): end-of-candidates counts beside the ufrag and pwd of its generation."""
        text = FULL.to_sdp().replace("a=", prefix).replace("\r\n", line_end)
        assert Description.parse(text) == FULL
        assert Description.parse(text).ignored == ()

    def test_everything_that_a_description_may_have(self) -> None:
        """6544-6, mdns-3 (part): TCP candidates of every type, mDNS names and option tags of extensions, as SDP and
        as JSON; an active candidate has its real address and port 9."""
        lines = (
            "candidate:3 1 tcp 2128609279 10.0.1.1 9 typ host tcptype active",
            "candidate:4 1 tcp 2124414975 10.0.1.1 9000 typ host tcptype passive",
            "candidate:5 1 tcp 2120220671 10.0.1.1 9001 typ host tcptype so",
            "candidate:6 1 tcp 1684013055 192.0.2.3 9 typ srflx raddr 10.0.1.1 rport 9 tcptype active",
            "candidate:7 1 udp 2130706431 1f4712db-ea17-4bcf-a596-105139dfd8bf.local 8998 typ host",
        )
        options = ("ice2", "trickle", "renomination", "renomination2")
        description = Description(UFRAG, PWD, tuple(map(Candidate.from_sdp, lines)), options)
        assert [candidate.to_sdp() for candidate in description.candidates] == [*lines]
        for read in (Description.parse(str(description)), Description.parse(description.to_json())):
            assert read == description and read.ignored == ()
            assert read.has_option("renomination2") and read.has_option("renomination")
            assert [candidate.tcptype for candidate in read.candidates][:3] == ["active", "passive", "so"]

    @pytest.mark.parametrize("browser", ["chromium", "firefox"])
    def test_browsers(self, browser: str) -> None:
        text = (FIXTURES / f"{browser}_offer.sdp").read_bytes().decode()
        ufrag, pwd = {
            "chromium": ("1cRM", "+1Ws2RZurNVYKZR427hruuVI"),
            "firefox": ("259611f1", "ac52d34530ab9ec8ef41be2f84d854d6"),
        }[browser]
        expected = Description(ufrag, pwd, options=("trickle",), pacing_ms=None)
        assert Description.parse(text) == expected
        assert Description.parse(json.dumps({"type": "offer", "sdp": text})) == expected
        assert Description.parse(text, mid="0") == expected
        assert expected.expects_more and not expected.has_option("ice2")
        assert Description.parse(str(expected)) == expected == Description.parse(expected.to_json())

    def test_what_is_not_said_has_its_default(self) -> None:
        """8839-3: no `ice2` is a peer of RFC 5245. 8839-25: no `ice-pacing` is 50 ms."""
        description = Description.parse(LINES)
        assert description == Description(UFRAG, PWD, options=(), pacing_ms=None)
        assert not description.has_option("ice2")
        assert Description.parse(json.dumps({"ufrag": UFRAG, "pwd": PWD})) == description

    def test_an_unsupported_candidate_does_not_harm_the_others(self) -> None:
        """8839-19: six bad lines and a good one; the good one is used, and each of the others has its reason."""
        bad = {
            "candidate:1 1 udp 1 peer.example.org 1 typ host": "address",
            "candidate:1 1 udp 1 49.0000.80000524 1 typ host": "address",
            "candidate:1 1 sctp 1 192.0.2.1 1 typ host": "transport",
            "candidate:1 1 udp 1 192.0.2.1 1 typ token": "type",
            "candidate:1 1 udp 1 224.0.0.1 1 typ host": "address",
            "candidate:1 1 udp 4294967296 192.0.2.1 1 typ host": "priority",
        }
        text = LINES + "".join(f"a={line}\n" for line in [*[*bad][:3], SRFLX, *[*bad][3:]])
        for description in (
            Description.parse(text),
            Description.parse(json.dumps({"ufrag": UFRAG, "pwd": PWD, "candidates": [*bad, SRFLX]})),
        ):
            assert description.candidates == (Candidate.from_sdp(SRFLX),)
            assert [line for line, _ in description.ignored] == [*bad]
            assert [reason.partition(":")[0] for _, reason in description.ignored] == [*bad.values()]

    def test_names_that_are_generated_are_numeric(self) -> None:
        """8839-19: what we print has no FQDN unless a peer's mDNS name was read."""
        mdns = "candidate:1 1 udp 1 1f4712db-ea17-4bcf-a596-105139dfd8bf.local 1 typ host"
        description = Description.parse(LINES + mdns + "\ncandidate:1 1 udp 1 www.example.org 1 typ host")
        assert [candidate.to_sdp() for candidate in description.candidates] == [mdns]

    def test_candidates_of_another_generation_are_left_out(self) -> None:
        text = LINES + f"{HOST} ufrag {UFRAG}\n{SRFLX} ufrag abcd\n"
        description = Description.parse(text)
        assert [candidate.type for candidate in description.candidates] == ["host"]
        assert description.ignored == (
            (f"{SRFLX} ufrag abcd", "it belongs to another generation (RFC 8838 9)"),
        )

    @pytest.mark.parametrize(
        ("ufrag", "pwd", "words"),
        [
            ("abc", PWD, "ufrag must have 4 to 256 characters, this one has 3"),
            ("a" * 257, PWD, "ufrag must have 4 to 256 characters, this one has 257"),
            (UFRAG, PWD[:21], "pwd must have 22 to 256 characters, this one has 21"),
            (UFRAG, "a" * 257, "pwd must have 22 to 256 characters, this one has 257"),
            ("ab:cd", PWD, "ufrag may only have the characters"),
            ("ab\x00cd", PWD, "ufrag may only have the characters"),
            (UFRAG, PWD + "\uff11", "pwd may only have the characters"),
        ],
    )
    def test_bad_credentials(self, ufrag: str, pwd: str, words: str) -> None:
        """8839-24: shorter and longer ones are refused, without the password in the error."""
        for text in (f"a=ice-ufrag:{ufrag}\na=ice-pwd:{pwd}", json.dumps({"ufrag": ufrag, "pwd": pwd})):
            with pytest.raises(ParseError, match=words) as caught:
                Description.parse(text)
            assert pwd not in str(caught.value)
        with pytest.raises(ValueError, match=words):
            Description(ufrag, pwd)

    @pytest.mark.parametrize("length", [4, 32, 256])
    def test_long_ufrags_are_taken(self, length: int) -> None:
        """8839-24: up to 256 characters, in SDP and in JSON."""
        description = Description("u" * length, "p" * 256)
        assert Description.parse(str(description)) == description == Description.parse(description.to_json())

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "no ice-ufrag"),
            ("hello", "no ice-ufrag"),
            ("a=ice-ufrag:8hhY", "no ice-pwd"),
            (f"a=ice-pwd:{PWD}", "no ice-ufrag"),
            ("{", "description: not JSON"),
            ("{}", "ufrag is missing"),
            (json.dumps({"ufrag": UFRAG}), "pwd is missing"),
            (json.dumps({"ufrag": 5, "pwd": PWD}), "ufrag is of type int, not str"),
            (json.dumps({"ufrag": UFRAG, "pwd": PWD, "lite": 1}), "lite is of type int, not bool"),
            (json.dumps({"ufrag": UFRAG, "pwd": PWD, "complete": "no"}), "complete is of type str"),
            (json.dumps({"ufrag": UFRAG, "pwd": PWD, "pacing_ms": 1.5}), "pacing_ms is of type float"),
            (json.dumps({"ufrag": UFRAG, "pwd": PWD, "pacing_ms": True}), "pacing_ms is of type bool"),
            (
                json.dumps({"ufrag": UFRAG, "pwd": PWD, "candidates": HOST}),
                "candidates is not a list of texts",
            ),
            (
                json.dumps({"ufrag": UFRAG, "pwd": PWD, "candidates": [{}]}),
                "candidates is not a list of texts",
            ),
            (json.dumps({"ufrag": UFRAG, "pwd": PWD, "options": None}), "options is not a list of texts"),
            (json.dumps({"type": "offer", "sdp": None}), "sdp is missing"),
            (json.dumps({"type": "offer", "sdp": "v=0"}), "no ice-ufrag"),
            ('{"a":' * 100_000, "description: not JSON"),
            ("{" + " " * sdp.MAX_SDP_LENGTH, "the limit is 1048576"),
            ("a=x\n" * (sdp.MAX_SDP_LENGTH // 4) + "a", "the limit is 1048576"),
        ],
        ids=range(20),
    )
    def test_refuses_what_is_no_description(self, text: str, words: str) -> None:
        with pytest.raises(ParseError, match=words) as caught:
            Description.parse(text)
        assert len(str(caught.value)) < 300


class TestLimits:
    """What a peer can make a description hold."""

    def test_candidates(self) -> None:
        lines = [f"candidate:1 1 udp 1 192.0.2.1 {port} typ host" for port in range(1, 1001)]
        description = Description.parse(LINES + "\n".join(lines))
        assert len(description.candidates) == sdp.MAX_CANDIDATES
        assert description.candidates[-1].port == sdp.MAX_CANDIDATES
        assert description.ignored[0] == (lines[sdp.MAX_CANDIDATES], "there are more than 200")
        assert len(description.ignored) == sdp.MAX_IGNORED

    def test_long_lines(self) -> None:
        description = Description.parse(LINES + HOST + " a b" * 16384 + "\n" + SRFLX)
        assert len(description.candidates) == 1
        [(line, reason)] = description.ignored
        assert len(line) == sdp.MAX_IGNORED_LINE + 3
        assert reason.endswith("the limit is 1024")

    def test_options(self) -> None:
        tags = [f"tag{number}" for number in range(40)]
        description = Description.parse(LINES + "ice-options:" + " ".join(tags))
        assert description.options == tuple(tags[: sdp.MAX_OPTIONS])
        assert len(description.ignored) == 40 - sdp.MAX_OPTIONS


class TestMeaning:
    """What follows from a description."""

    @pytest.mark.parametrize(
        ("ours", "theirs", "agreed"),
        [
            (20, None, 50),
            (20, 100, 100),
            (100, 20, 100),
            (None, None, 50),
            (5, 5, 5),
            (50, 10**9, MAX_PACING_MS),
        ],
    )
    def test_pacing(self, ours: int | None, theirs: int | None, agreed: int) -> None:
        """8839-25: an absent one is 50 ms, both use the larger; what is beyond reason is cut."""
        local, remote = Description(UFRAG, PWD, pacing_ms=ours), Description("abcd", PWD, pacing_ms=theirs)
        assert local.agreed_pacing_ms(remote) == remote.agreed_pacing_ms(local) == agreed

    @pytest.mark.parametrize("value", ["", "x", "-1", "1.5", "50 ", "12345678901", "\u0665"])
    def test_bad_pacing_is_as_good_as_none(self, value: str) -> None:
        """8839-25: one to ten digits."""
        description = Description.parse(LINES + f"a=ice-pacing:{value}")
        if value == "50 ":
            assert (description.pacing_ms, description.ignored) == (50, ())
        else:
            assert description.pacing_ms is None
            assert description.ignored[0][1].startswith("ice-pacing: ")

    def test_options_of_both_levels(self) -> None:
        """8839-25: `trickle ice2 renomination` at both levels, unknown tags included, each once."""
        text = (
            "v=0\na=ice-options:trickle ice2\nm=audio 9 x 0\n" + LINES + "a=ice-options:ice2 renomination x\n"
        )
        description = Description.parse(text)
        assert description.options == ("trickle", "ice2", "renomination", "x")
        assert description.has_option("ice2") and not description.has_option("ice")

    def test_odd_option_tags_are_left_out(self) -> None:
        description = Description.parse(LINES + "a=ice-options:google-ice trickle")
        assert description.options == ("trickle",)
        assert description.ignored == (("ice-options:google-ice", "this is no option tag (RFC 8839 5.6)"),)
        assert Description.parse(str(description)) == description

    @pytest.mark.parametrize("level", ["session", "media"])
    def test_trickle(self, level: str) -> None:
        """8838-1 (part: how to know it): at either level; a peer without it has told all it will tell."""
        option = "a=ice-options:trickle\n"
        text = (
            f"v=0\n{option if level == 'session' else ''}m=audio 9 x 0\n{option if level == 'media' else ''}"
        )
        assert Description.parse(text + LINES).expects_more
        assert not Description.parse(text + LINES + "a=end-of-candidates").expects_more
        assert not Description.parse("m=audio 9 x 0\n" + LINES + HOST).expects_more
        assert Description.parse("m=audio 9 x 0\n" + LINES).expects_more

    def test_components(self) -> None:
        assert Description(UFRAG, PWD).components == 1
        assert FULL.components == 1
        rtcp = dataclasses.replace(FULL.candidates[0], component=2)
        assert FULL.with_candidates([*FULL.candidates, rtcp]).components == 2

    def test_with_candidates(self) -> None:
        empty = FULL.with_candidates([], complete=False)
        assert (empty.candidates, empty.complete, empty.options) == ((), False, FULL.options)
        assert empty.with_candidates(iter(FULL.candidates)).complete is False
        assert empty.with_candidates(iter(FULL.candidates), complete=True) == FULL

    def test_copies_and_pickles(self) -> None:
        for twin in (
            copy.copy(FULL),
            copy.deepcopy(FULL),
            *(pickle.loads(pickle.dumps(FULL, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)),
        ):
            assert twin == FULL
            assert hash(twin) == hash(FULL)

    def test_lines_left_out_make_no_difference(self) -> None:
        """`==` asks what a description says, and that does not change when it is passed on."""
        description = Description.parse(str(FULL) + "a=candidate:nonsense\r\n")
        assert description.ignored
        assert description == FULL == Description.parse(str(description))


ICE_CHARS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


@settings(deadline=None)
@given(
    st.builds(
        Description,
        ufrag=st.text(ICE_CHARS, min_size=4, max_size=256),
        pwd=st.text(ICE_CHARS, min_size=22, max_size=256),
        candidates=st.lists(st.sampled_from(FULL.candidates), max_size=4).map(tuple),
        options=st.lists(st.text(ICE_CHARS, min_size=1, max_size=16), unique=True, max_size=8).map(tuple),
        lite=st.booleans(),
        pacing_ms=st.none() | st.integers(0, 10**10 - 1),
        complete=st.booleans(),
    )
)
def test_round_trip(description: Description) -> None:
    """8839-22, 8839-24: nothing is lost as JSON, and as SDP only the pace of a lite agent, which has none."""
    assert Description.parse(description.to_json()) == description
    expected = dataclasses.replace(description, pacing_ms=None) if description.lite else description
    assert Description.parse(str(description)) == expected


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5
)
KEYS = st.sampled_from(
    ["ufrag", "pwd", "candidates", "options", "lite", "pacing_ms", "complete", "sdp", "type"]
)


@settings(deadline=None)
@given(st.text() | st.dictionaries(KEYS, VALUES).map(json.dumps) | st.text().map(lambda text: LINES + text))
def test_no_text_raises_anything_but_parse_error(text: str) -> None:
    """And what is taken can be passed on."""
    description = None
    with suppress(ParseError):
        description = Description.parse(text)
    if description is not None:
        pacing_ms = None if description.lite else description.pacing_ms
        assert Description.parse(str(description)) == dataclasses.replace(description, pacing_ms=pacing_ms)


@settings(deadline=None)
@given(st.dictionaries(KEYS.filter("sdp".__ne__), VALUES))
def test_no_json_beside_good_credentials_raises_anything_but_parse_error(value: dict[str, object]) -> None:
    with suppress(ParseError):
        Description.parse(json.dumps({**value, "ufrag": UFRAG, "pwd": PWD}))
