"""Finding the ICE attributes of a stream in a session description, and the default destination."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasticePy.errors import ParseError
from fasticePy.ice.candidate import Candidate
from fasticePy.ice.signalling import sdp
from fasticePy.ice.signalling.description import Description
from fasticePy.ice.signalling.destination import (
    LITE_TCP_DEFAULTS,
    connection_line,
    default_candidate,
    default_destination,
    is_mismatch,
    read_destination,
    transport_of,
)

PWD = "asd88fgpdd777uzjYhagZg"
OTHER_PWD = "YH75Fviy6338Vbrhrlp8Yh"
HOST = "candidate:1 1 udp 2130706431 10.0.1.1 8998 typ host"
RTCP = "candidate:1 2 udp 2130706430 10.0.1.1 8999 typ host"
SRFLX = "candidate:2 1 udp 1694498815 192.0.2.3 45664 typ srflx raddr 10.0.1.1 rport 8998"
RELAY = "candidate:3 1 udp 16777215 198.51.100.7 50123 typ relay raddr 192.0.2.3 rport 45664"
TCP = "candidate:4 1 tcp 2124414975 10.0.1.1 9000 typ host tcptype passive"
MDNS = "candidate:5 1 udp 2130706431 1f4712db-ea17-4bcf-a596-105139dfd8bf.local 8998 typ host"

PIECES = (
    *("m=audio 9 x 0", "m=", "m=x 0", "m=x 0 y", "c=", "c=IN IP4 0.0.0.0", "a=", "", "=", "\x00"),
    *("a=mid:0", "a=mid:1", "a=group:BUNDLE 0 1", "a=group:", "a=bundle-only", "a=ice-lite", "a=ice-pacing:"),
    *(
        "a=ice-ufrag:8hhY",
        "a=ice-ufrag:",
        f"a=ice-pwd:{PWD}",
        f"a=ice-pwd:{OTHER_PWD}",
        "a=end-of-candidates",
    ),
    *("a=ice-options:", "a=ice-options:ice2 \x00", f"a={HOST}", "a=candidate:", "a=candidate"),
)

SESSION = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"


def stream(mid: str, *lines: str, port: int = 9) -> str:
    """An m= section."""
    return f"m=audio {port} UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\n" + "".join(
        f"a={line}\r\n" for line in (f"mid:{mid}", *lines)
    )


def credentials(ufrag: str, pwd: str = PWD) -> tuple[str, str]:
    return (f"ice-ufrag:{ufrag}", f"ice-pwd:{pwd}")


class TestLevels:
    """Session level and media level (RFC 8839 5.4)."""

    def test_media_level_has_precedence(self) -> None:
        """8839-23 (part): two streams, one with credentials of its own."""
        text = SESSION + f"a=ice-ufrag:sess\r\na=ice-pwd:{PWD}\r\n" + stream("0", HOST)
        text += stream("1", *credentials("medi", OTHER_PWD), SRFLX)
        first, second = Description.parse(text, mid="0"), Description.parse(text, mid="1")
        assert (first.ufrag, first.pwd) == ("sess", PWD)
        assert (second.ufrag, second.pwd) == ("medi", OTHER_PWD)
        assert [candidate.to_sdp() for candidate in first.candidates] == [HOST]
        assert [candidate.to_sdp() for candidate in second.candidates] == [SRFLX]

    def test_each_of_both_by_itself(self) -> None:
        text = SESSION + f"a=ice-pwd:{PWD}\r\n" + stream("0", "ice-ufrag:medi")
        assert (Description.parse(text).ufrag, Description.parse(text).pwd) == ("medi", PWD)

    def test_same_ufrag_wants_the_same_password(self) -> None:
        """8839-23: such a description is refused, whichever stream is asked for."""
        text = SESSION + stream("0", *credentials("same")) + stream("1", *credentials("same", OTHER_PWD))
        for mid in (None, "0", "1"):
            with pytest.raises(ParseError, match="ice-ufrag 'same' have different ice-pwd") as caught:
                Description.parse(text, mid=mid)
            assert OTHER_PWD not in str(caught.value)
        same = SESSION + stream("0", *credentials("same")) + stream("1", *credentials("same"))
        assert Description.parse(same, mid="1").ufrag == "same"
        stale = (
            SESSION + stream("0", *credentials("same"), port=0) + stream("1", *credentials("same", OTHER_PWD))
        )
        assert Description.parse(stale).pwd == OTHER_PWD

    def test_session_attributes(self) -> None:
        """8839-2, 8839-25: `ice-lite`, `ice-options` and `ice-pacing` are read from the session level."""
        text = (
            SESSION
            + "a=ice-lite\r\na=ice-options:ice2\r\na=ice-pacing:100\r\n"
            + stream("0", *credentials("medi"))
        )
        description = Description.parse(text)
        assert (description.lite, description.options, description.pacing_ms) == (True, ("ice2",), 100)

    @pytest.mark.parametrize("level", ["session", "media", "neither"])
    def test_end_of_candidates(self, level: str) -> None:
        """8840-2: at session level for all streams, at media level for one."""
        end = "a=end-of-candidates\r\n"
        text = SESSION + (end if level == "session" else "") + stream("0", *credentials("medi"))
        text += (end if level == "media" else "") + stream("1", *credentials("more"))
        assert Description.parse(text, mid="0").complete is (level != "neither")
        assert Description.parse(text, mid="1").complete is (level == "session")

    def test_names_of_attributes_may_be_upper_case(self) -> None:
        """8840-3 (part): names are compared without case."""
        text = f"a=ICE-UFRAG:medi\na=Ice-Pwd:{PWD}\na=CANDIDATE:{HOST[10:]}\na=End-Of-Candidates\n"
        assert Description.parse(text) == Description(
            "medi", PWD, (Candidate.from_sdp(HOST),), options=(), pacing_ms=None, complete=True
        )

    def test_other_lines_do_not_matter(self) -> None:
        text = stream(
            "0", *credentials("medi"), "rtpmap:111 opus/48000/2", "fmtp:111 x=candidate:1", "ssrc:1 cname:x"
        )
        text = SESSION + "b=AS:5\r\n\r\n\u2028a=x\r\n=\r\nz\r\na=\r\na=:\r\n" + text + "b=RS:0\r\n"
        assert Description.parse(text) == Description("medi", PWD, options=(), pacing_ms=None)


class TestChoice:
    """Which stream a description is taken from."""

    def test_first_with_ice(self) -> None:
        text = SESSION + stream("a") + stream("b", *credentials("bbbb")) + stream("c", *credentials("cccc"))
        assert Description.parse(text).ufrag == "bbbb"
        assert Description.parse(text, mid="c").ufrag == "cccc"

    def test_rejected_streams_do_not_count(self) -> None:
        text = SESSION + stream("a", *credentials("aaaa"), port=0) + stream("b", *credentials("bbbb"))
        assert Description.parse(text).ufrag == "bbbb"

    def test_none(self) -> None:
        with pytest.raises(ParseError, match="no m= section has ice-ufrag and ice-pwd"):
            Description.parse(SESSION + stream("a") + stream("b", "ice-ufrag:bbbb"))
        with pytest.raises(ParseError, match="no ice-ufrag"):
            Description.parse(SESSION + stream("a"), mid="a")
        with pytest.raises(ParseError, match="no m= section has the mid 'x'"):
            Description.parse(SESSION + stream("a", *credentials("aaaa")), mid="x")

    def test_bundled_streams_share_the_transport_of_the_first(self) -> None:
        """RFC 9143 7.2: only the tagged section of a group has the ICE attributes."""
        text = SESSION + "a=group:LS a b\r\na=group:BUNDLE b c\r\n" + stream("a", *credentials("aaaa"))
        text += stream("b", *credentials("bbbb"), HOST) + stream("c", "bundle-only", port=0)
        for mid, ufrag in (("a", "aaaa"), ("b", "bbbb"), ("c", "bbbb")):
            assert Description.parse(text, mid=mid).ufrag == ufrag
        assert Description.parse(text, mid="c").candidates == (Candidate.from_sdp(HOST),)

    def test_a_rejected_first_stream_hands_on_its_role(self) -> None:
        """RFC 9143 7.3.1: an answer may disable the stream that the offer had put first."""
        text = SESSION + "a=group:BUNDLE a b c\r\n" + stream("a", port=0)
        text += stream("b", *credentials("bbbb")) + stream("c", "bundle-only", port=0)
        assert Description.parse(text, mid="c").ufrag == "bbbb"
        assert Description.parse(text).ufrag == "bbbb"

    def test_a_stream_without_transport_is_never_the_one_that_has_it(self) -> None:
        text = SESSION + "a=group:BUNDLE a b\r\n" + stream("a", "bundle-only", port=0)
        assert Description.parse(text + stream("b", *credentials("bbbb")), mid="a").ufrag == "bbbb"

    def test_the_first_of_two_with_the_same_mid(self) -> None:
        text = SESSION + stream("a", *credentials("aaaa")) + stream("a", *credentials("bbbb"))
        assert Description.parse(text, mid="a").ufrag == "aaaa"

    def test_bundle_only_is_not_rejected(self) -> None:
        text = SESSION + stream("a", "bundle-only", *credentials("aaaa"), port=0)
        assert Description.parse(text).ufrag == "aaaa"

    def test_every_stream_rejected(self) -> None:
        text = SESSION + "a=group:BUNDLE a b\r\n" + stream("a", *credentials("aaaa"), port=0)
        with pytest.raises(ParseError, match="no m= section"):
            Description.parse(text + stream("b", *credentials("bbbb"), port=0))

    def test_group_of_unknown_streams(self) -> None:
        text = SESSION + "a=group:BUNDLE x a\r\na=group:\r\n" + stream("a", *credentials("aaaa"))
        assert Description.parse(text, mid="a").ufrag == "aaaa"


class TestExamples:
    """Whole descriptions as others write them."""

    def test_rfc_8839(self) -> None:
        """The example of RFC 8839 4.2.6."""
        text = (
            "v=0\no=jdoe 2890844526 2890842807 IN IP4 203.0.113.141\ns=\nc=IN IP4 192.0.2.3\nt=0 0\n"
            f"a=ice-options:ice2\na=ice-pacing:50\na=ice-pwd:{PWD}\na=ice-ufrag:8hhY\n"
            "m=audio 45664 RTP/AVP 0\nb=RS:0\nb=RR:0\na=rtpmap:0 PCMU/8000\n"
            "a=candidate:1 1 UDP 2130706431 203.0.113.141 8998 typ host\n"
            "a=candidate:2 1 UDP 1694498815 192.0.2.3 45664 typ srflx raddr 203.0.113.141 rport 8998\n"
        )
        description = Description.parse(text)
        assert (description.ufrag, description.pwd, description.options) == ("8hhY", PWD, ("ice2",))
        assert [candidate.priority for candidate in description.candidates] == [2130706431, 1694498815]
        assert not description.expects_more
        session, audio = sdp.read_sections(text)
        assert (session.connection, audio.port) == ("IN IP4 192.0.2.3", "45664")
        assert not is_mismatch(("192.0.2.3", 45664), description.candidates)

    def test_two_components(self) -> None:
        text = SESSION + stream("0", *credentials("medi"), HOST, RTCP)
        assert Description.parse(text).components == 2


class TestDefaultDestination:
    """The c= and m= lines (RFC 8839 4.2.1.2)."""

    @pytest.mark.parametrize(
        ("lines", "destination"),
        [
            ([HOST], ("10.0.1.1", 8998)),
            ([HOST, SRFLX], ("192.0.2.3", 45664)),
            ([RELAY, HOST, SRFLX], ("198.51.100.7", 50123)),
            ([TCP], ("0.0.0.0", 9)),
            ([TCP, HOST], ("10.0.1.1", 8998)),
            ([MDNS], ("0.0.0.0", 9)),
            ([RTCP], ("0.0.0.0", 9)),
            ([], ("0.0.0.0", 9)),
        ],
        ids=range(8),
    )
    def test_before_nomination(self, lines: list[str], destination: tuple[str, int]) -> None:
        """8839-1: the default candidate. 8840-1: port 9 and no address while there is none, which is no mismatch."""
        candidates = [Candidate.from_sdp(line) for line in lines]
        assert default_destination(candidates) == destination
        assert not is_mismatch(destination, candidates)

    def test_after_nomination(self) -> None:
        """8839-1: the nominated local candidate, whatever the default was before."""
        candidates = [Candidate.from_sdp(line) for line in (HOST, SRFLX, RELAY)]
        for nominated in candidates:
            assert default_destination(candidates, nominated=nominated) == nominated.transport_address

    def test_other_components(self) -> None:
        candidates = [Candidate.from_sdp(line) for line in (HOST, RTCP)]
        assert default_destination(candidates, 2) == ("10.0.1.1", 8999)

    def test_the_best_of_a_type(self) -> None:
        low, high = (
            Candidate.from_sdp(f"candidate:1 1 udp {priority} 10.0.0.{priority} 1 typ host")
            for priority in (1, 2)
        )
        assert default_candidate([low, high]) == default_candidate([high, low]) == high
        assert default_candidate([]) is None

    def test_unknown_in_ipv6(self) -> None:
        """8840-1: `::` is as good as 0.0.0.0."""
        assert default_destination([], unknown=("::", 9)) == ("::", 9)
        assert not is_mismatch(("::", 9), [])

    def test_connection_line(self) -> None:
        assert connection_line("192.0.2.1") == "c=IN IP4 192.0.2.1"
        assert connection_line("fe80::1%eth0") == "c=IN IP6 fe80::1"

    def test_a_scope_stays_at_home(self) -> None:
        candidate = Candidate("1", 1, "udp", 1, "fe80::1%eth0", 7, "host")
        assert default_destination([candidate]) == ("fe80::1", 7)

    @pytest.mark.parametrize(
        ("destination", "mismatch"),
        [
            (("192.0.2.3", 45664), False),
            (("192.0.2.3", 45665), True),
            (("192.0.2.4", 45664), True),
            (("0.0.0.0", 9), False),
            (("::", 9), False),
            (("0.0.0.0", 10), True),
            (("sip.example.org", 45664), False),
        ],
    )
    def test_mismatch(self, destination: tuple[str, int], mismatch: bool) -> None:
        """8839-6, 8839-7: a default destination that is no candidate, unless it is unknown or a name."""
        candidates = [Candidate.from_sdp(line) for line in (HOST, SRFLX)]
        assert is_mismatch(destination, candidates) is mismatch

    def test_mismatch_of_a_component(self) -> None:
        candidates = [Candidate.from_sdp(HOST)]
        assert is_mismatch(("10.0.1.1", 8998), candidates, component=2)

    def test_tcp_defaults(self) -> None:
        """6544-4: for TCP active before passive, as a lite agent the other way round, simultaneous-open never."""
        passive = Candidate.from_sdp(TCP)
        active = replace(passive, port=9, tcptype="active", priority=1)
        so = replace(passive, tcptype="so", priority=2**31 - 1)
        candidates = [so, passive, active, Candidate.from_sdp(HOST)]
        assert default_candidate(candidates, transport="tcp") == active
        assert default_candidate(candidates, transport="tcp", tcptypes=LITE_TCP_DEFAULTS) == passive
        assert default_candidate([so], transport="tcp") is None
        assert default_candidate(candidates) == Candidate.from_sdp(HOST)

    def test_mismatch_of_the_transport(self) -> None:
        """8839-6: the transport of the m= line counts where it is known."""
        candidates = [Candidate.from_sdp(TCP)]
        assert not is_mismatch(("10.0.1.1", 9000), candidates)
        assert not is_mismatch(("10.0.1.1", 9000), candidates, transport="tcp")
        assert is_mismatch(("10.0.1.1", 9000), candidates, transport="udp")

    @pytest.mark.parametrize(
        ("connection", "port", "destination"),
        [
            ("IN IP4 192.0.2.1", "4000", ("192.0.2.1", 4000)),
            ("IN IP6 2001:DB8::0:1", "4000", ("2001:db8::1", 4000)),
            ("IN IP4 224.2.1.1/127/3", "49170/2", ("224.2.1.1", 49170)),
            ("IN IP4 SIP.example.org", "4000", ("sip.example.org", 4000)),
            ("IN IP4", "4000", None),
            ("IN IP4 ?", "4000", None),
            ("IN IP4 192.0.2.1", "65536", None),
            ("IN IP4 192.0.2.1", None, None),
            (None, "4000", None),
        ],
    )
    def test_reading(
        self, connection: str | None, port: str | None, destination: tuple[str, int] | None
    ) -> None:
        """8839-6 (part): what the c= and m= lines say."""
        assert read_destination(connection, port) == destination

    @pytest.mark.parametrize(
        ("media", "transport"),
        [
            ("audio 9 RTP/AVP 0", "udp"),
            ("audio 9 UDP/TLS/RTP/SAVPF 111", "udp"),
            ("audio 9 TCP/RTP/AVP 0", "tcp"),
            ("image 9 tcp t38", "tcp"),
            ("audio 9", "udp"),
            ("", "udp"),
        ],
    )
    def test_transport_of_the_media_line(self, media: str, transport: str) -> None:
        """8839-10 (part): which transport an answer has to keep."""
        assert transport_of(media) == transport


class TestRemoteCandidates:
    """RFC 8839 5.2."""

    def test_round_trip(self) -> None:
        """8839-15 (part): one line for all components, in the order of those."""
        candidates = ((1, "192.0.2.3", 45664), (2, "2001:db8::1", 45665), (256, "peer.local", 9))
        line = sdp.remote_candidates_line(reversed(candidates))
        assert line == "a=remote-candidates:1 192.0.2.3 45664 2 2001:db8::1 45665 256 peer.local 9"
        assert sdp.read_remote_candidates([line.partition(":")[2]]) == candidates

    def test_several_lines(self) -> None:
        """8839-16 (part): the order does not matter, and peers print a line for each component."""
        read = sdp.read_remote_candidates([" 2 192.0.2.3  45665", "1 192.0.2.3 45664 "])
        assert read == ((1, "192.0.2.3", 45664), (2, "192.0.2.3", 45665))
        assert sdp.read_remote_candidates([]) == ()

    def test_own_scope_is_not_told(self) -> None:
        assert sdp.remote_candidates_line([(1, "fe80::1%eth0", 5)]) == "a=remote-candidates:1 fe80::1 5"

    @pytest.mark.parametrize(
        ("value", "words"),
        [
            ("1 192.0.2.3", "2 words"),
            ("x 192.0.2.3 1", "component: 'x' is not a number"),
            ("257 192.0.2.3 1", "component: 257 is not between"),
            ("1 192.0.2.3 65536", "port: 65536 is not between"),
            ("1 a?b 1", "'a\\?b' is no address"),
            ("1 192.0.2.3 1 1 192.0.2.4 1", "component 1 is there twice"),
            ("1 192.0.2.3 1 " * 257, "771 words"),
        ],
    )
    def test_bad_ones(self, value: str, words: str) -> None:
        with pytest.raises(ParseError, match=f"^remote-candidates: ?.*{words}"):
            sdp.read_remote_candidates([value])


class TestHostile:
    """Size and nonsense."""

    def test_reading_is_linear(self) -> None:
        """A megabyte of lines that would be costly if each were compared with each: it ends, with the right answer."""
        streams = "m=a 9 x\n" * 40_000
        text = "a=group:BUNDLE " + "x " * 100_000 + "\n" + "a=x\n" * 100_000 + streams
        text += "m=a 9 x\n" + "".join(f"a={line}\n" for line in ("mid:z", *credentials("last")))
        assert len(text) < sdp.MAX_SDP_LENGTH
        assert Description.parse(text).ufrag == "last"
        assert Description.parse(text, mid="z").ufrag == "last"

    @settings(deadline=None)
    @given(st.lists(st.sampled_from(PIECES) | st.text(max_size=20)), st.sampled_from([None, "0", "1", ""]))
    def test_no_lines_raise_anything_but_parse_error(self, lines: list[str], mid: str | None) -> None:
        description = None
        with suppress(ParseError):
            description = Description.parse("\n".join(lines), mid=mid)
        if description is not None:
            assert Description.parse(str(description)).candidates == description.candidates
