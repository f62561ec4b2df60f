"""`application/trickle-ice-sdpfrag` bodies (RFC 8840 4.4, 9)."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasticePy.errors import ParseError
from fasticePy.ice.candidate import Candidate
from fasticePy.ice.signalling import sdpfrag
from fasticePy.ice.signalling.description import Description
from fasticePy.ice.signalling.sdpfrag import FragmentNews, FragmentReader, FragmentStream, write_fragment

PWD = "asd88fgpdd777uzjYhagZg"
OTHER_PWD = "YH75Fviy6338Vbrhrlp8Yh"
HOST = Candidate.from_sdp("candidate:1 1 udp 2130706431 10.0.1.1 8998 typ host")
SRFLX = Candidate.from_sdp("candidate:2 1 udp 1694498815 192.0.2.3 45664 typ srflx raddr 10.0.1.1 rport 8998")
RELAY = Candidate.from_sdp(
    "candidate:3 1 udp 16777215 198.51.100.7 50123 typ relay raddr 192.0.2.3 rport 45664"
)
LOCAL = Description("8hhY", PWD)

PIECES = (
    *("m=audio 9 RTP/AVP 0", "m=", "a=mid:0", "a=mid:1", "a=ice-ufrag:8hhY", "a=ice-ufrag:abcd"),
    *(f"a=ice-pwd:{PWD}", "a=ice-pwd:", f"a={HOST.to_sdp()}", "a=candidate:", "a=end-of-candidates"),
)

# after figure 7 of RFC 8840, with fewer candidates
FIGURE_7 = """\
a=ice-pwd:asd88fgpdd777uzjYhagZg
a=ice-ufrag:8hhY
m=audio 9 RTP/AVP 0
a=mid:1
a=candidate:1 1 UDP 2130706432 2001:db8:a0b:12f0::1 5000 typ host
a=candidate:1 2 UDP 2130706432 2001:db8:a0b:12f0::1 5001 typ host
a=candidate:1 1 UDP 2130706431 192.0.2.1 5010 typ host
a=candidate:2 2 UDP 1694498815 192.0.2.3 5011 typ srflx raddr 192.0.2.1 rport 8998
a=end-of-candidates
m=audio 9 RTP/AVP 0
a=mid:2
a=candidate:1 1 UDP 2130706432 2001:db8:a0b:12f0::1 6000 typ host
a=candidate:2 2 UDP 1694498815 192.0.2.3 6011 typ srflx raddr 192.0.2.1 rport 9998
"""


class TestWriting:
    """What we send."""

    def test_credentials_at_media_level(self) -> None:
        """8840-3: ufrag and pwd beside the candidates, the default pseudo m= line, mid right before the candidates."""
        assert write_fragment([FragmentStream("0", LOCAL.with_candidates([HOST, SRFLX]))]) == (
            "m=audio 9 RTP/AVP 0\r\n"
            "a=ice-ufrag:8hhY\r\n"
            f"a=ice-pwd:{PWD}\r\n"
            "a=mid:0\r\n"
            f"a={HOST.to_sdp()}\r\n"
            f"a={SRFLX.to_sdp()}\r\n"
        )

    def test_credentials_at_session_level(self) -> None:
        """8840-3: at the level of the offer; 8840-2: end-of-candidates of one stream, beside the credentials of all."""
        streams = [
            FragmentStream(
                "a", LOCAL.with_candidates([HOST], complete=True), "video 5000 UDP/TLS/RTP/SAVPF 96"
            ),
            FragmentStream("b", LOCAL.with_candidates([SRFLX])),
        ]
        assert write_fragment(streams, session_credentials=True) == (
            "a=ice-ufrag:8hhY\r\n"
            f"a=ice-pwd:{PWD}\r\n"
            "m=video 5000 UDP/TLS/RTP/SAVPF 96\r\n"
            "a=mid:a\r\n"
            f"a={HOST.to_sdp()}\r\n"
            "a=end-of-candidates\r\n"
            "m=audio 9 RTP/AVP 0\r\n"
            "a=mid:b\r\n"
            f"a={SRFLX.to_sdp()}\r\n"
        )

    def test_end_of_the_whole_session(self) -> None:
        """8840-2: before the first m= line it is for all streams."""
        text = write_fragment([FragmentStream("0", LOCAL)], session_credentials=True, complete=True)
        assert text.split("\r\n")[2:4] == ["a=end-of-candidates", "m=audio 9 RTP/AVP 0"]

    def test_every_fragment_repeats_what_was_before(self) -> None:
        """8840-4: a later body begins as the earlier one, and new candidates come at the end."""
        candidates = [HOST, SRFLX, RELAY]
        bodies = [
            write_fragment([FragmentStream("0", LOCAL.with_candidates(candidates[:count]))])
            for count in range(4)
        ]
        for earlier, later in pairwise(bodies):
            assert later.startswith(earlier)

    def test_what_cannot_be_written(self) -> None:
        with pytest.raises(ValueError, match="needs a stream"):
            write_fragment([])
        streams = [FragmentStream("a", LOCAL), FragmentStream("b", Description("8hhY", OTHER_PWD))]
        with pytest.raises(ValueError, match="different credentials"):
            write_fragment(streams, session_credentials=True)
        for mid in ("", "a b", "a\r\nb", "\u00e9"):
            with pytest.raises(ValueError, match="mid"):
                write_fragment([FragmentStream(mid, LOCAL)])
        with pytest.raises(ValueError, match="m= line"):
            write_fragment([FragmentStream("0", LOCAL, "audio 9\r\na=x")])


class TestReading:
    """What a peer sends."""

    def test_figure_7(self) -> None:
        """8840-3: the example of the RFC, one stream after the other and both together."""
        peer = Description("8hhY", PWD)
        first = FragmentReader(peer, "1").read(FIGURE_7)
        assert [(c.component, c.port) for c in first.candidates] == [
            (1, 5000),
            (2, 5001),
            (1, 5010),
            (2, 5011),
        ]
        assert first.complete
        second = FragmentReader(peer, "2").read(FIGURE_7)
        assert [(c.component, c.port) for c in second.candidates] == [(1, 6000), (2, 6011)]
        assert not second.complete
        both = FragmentReader(peer).read(FIGURE_7)
        assert both.candidates == first.candidates + second.candidates
        assert FragmentReader(peer, "3").read(FIGURE_7) == FragmentNews()

    def test_each_candidate_is_handed_on_once_and_in_order(self) -> None:
        """8840-4: cumulative input; what the description had is known, a lost body does no harm."""
        reader = FragmentReader(LOCAL.with_candidates([HOST]), "0")
        for upto, new, complete in (
            (1, (), False),
            (3, (SRFLX, RELAY), False),
            (2, (), False),
            (3, (), True),
        ):
            description = LOCAL.with_candidates([HOST, SRFLX, RELAY][:upto], complete=complete)
            news = reader.read(write_fragment([FragmentStream("0", description)]))
            assert (news.candidates, news.complete) == (new, complete)

    @pytest.mark.parametrize(
        ("line", "known"),
        [
            ("candidate:9 1 UDP 7 10.0.1.1 8998 typ srflx raddr 10.0.0.9 rport 9 generation 0", True),
            ("candidate:1 1 udp 2130706431 10.0.1.2 8998 typ host", False),
            ("candidate:1 1 udp 2130706431 10.0.1.1 8999 typ host", False),
            ("candidate:1 2 udp 2130706431 10.0.1.1 8998 typ host", False),
            ("candidate:1 1 tcp 2130706431 10.0.1.1 8998 typ host tcptype passive", False),
        ],
    )
    def test_what_makes_two_the_same(self, line: str, known: bool) -> None:
        """8840-4: address, port, transport and component, and nothing else."""
        text = f"a=ice-ufrag:8hhY\na=ice-pwd:{PWD}\nm=audio 9 RTP/AVP 0\na=mid:0\na={line}\n"
        news = FragmentReader(LOCAL.with_candidates([HOST])).read(text)
        assert news.candidates == (() if known else (Candidate.from_sdp(line),))

    @pytest.mark.parametrize(("ufrag", "pwd"), [("abcd", PWD), ("8hhY", OTHER_PWD)])
    def test_another_generation_is_ignored(self, ufrag: str, pwd: str) -> None:
        """8840-3, 8840-2: its candidates and its end-of-candidates mean nothing now, and the reason is told."""
        stale = Description(ufrag, pwd, (SRFLX,), complete=True)
        reader = FragmentReader(LOCAL)
        for level in (True, False):
            text = write_fragment([FragmentStream("0", stale)], session_credentials=level, complete=True)
            news = reader.read(text)
            assert (news.candidates, news.complete) == ((), False)
            assert news.ignored == ((f"ice-ufrag:{ufrag}", "another generation or stream (RFC 8840 4.4)"),)
        mixed = write_fragment(
            [FragmentStream("0", stale), FragmentStream("1", LOCAL.with_candidates([HOST]))]
        )
        assert reader.read(mixed).candidates == (HOST,)

    def test_end_of_candidates(self) -> None:
        """8840-2: at session level for every stream, at media level for its own."""
        credentials = f"a=ice-ufrag:8hhY\na=ice-pwd:{PWD}\n"
        streams = "m=audio 9 RTP/AVP 0\na=mid:a\na=end-of-candidates\nm=audio 9 RTP/AVP 0\na=mid:b\n"
        assert FragmentReader(LOCAL, "a").read(credentials + streams).complete
        assert not FragmentReader(LOCAL, "b").read(credentials + streams).complete
        assert FragmentReader(LOCAL, "b").read(credentials + "a=end-of-candidates\n" + streams).complete

    def test_tolerance(self) -> None:
        """8840-3: unknown attributes are ignored, names may have any case, the m= line may say anything."""
        text = (
            f"a=ICE-UFRAG:8hhY\na=Ice-Pwd:{PWD}\na=ice-options:ice2\na=x-new:1\na=group:BUNDLE 0\n"
            f"m=nonsense\na=MID:0\na=x\na=Candidate:{HOST.to_sdp()[10:]}\na=rtcp-mux\na=End-of-Candidates\n"
        )
        news = FragmentReader(LOCAL, "0").read(text)
        assert news == FragmentNews((HOST,), complete=True)

    def test_bad_candidates_do_not_harm_the_others(self) -> None:
        text = write_fragment([FragmentStream("0", LOCAL.with_candidates([HOST]))])
        text += "a=candidate:1 1 udp 1 www.example.org 1 typ host\r\n" + f"a={RELAY.to_sdp()}\r\n"
        news = FragmentReader(LOCAL).read(text)
        assert news.candidates == (HOST, RELAY)
        assert [reason.partition(":")[0] for _, reason in news.ignored] == ["address"]

    def test_without_credentials(self) -> None:
        """8840-3: every body must have them, or nobody knows its generation."""
        for text in ("", "m=audio 9 RTP/AVP 0\na=mid:0\n", "a=ice-ufrag:8hhY\n", f"a=ice-pwd:{PWD}\n"):
            with pytest.raises(ParseError, match="generation is unknown"):
                FragmentReader(LOCAL).read(text)

    def test_without_a_stream(self) -> None:
        credentials = f"a=ice-ufrag:8hhY\na=ice-pwd:{PWD}\n"
        assert FragmentReader(LOCAL).read(credentials) == FragmentNews()
        assert FragmentReader(LOCAL).read(credentials + "a=end-of-candidates\n").complete

    def test_each_stream_has_room_of_its_own(self) -> None:
        streams = [
            FragmentStream(
                mid,
                LOCAL.with_candidates(
                    Candidate("1", 1, "udp", 1, "192.0.2.1", port, "host")
                    for port in range(first, first + 150)
                ),
            )
            for mid, first in (("a", 1), ("b", 1001))
        ]
        news = FragmentReader(LOCAL).read(write_fragment(streams))
        assert len(news.candidates) == 300
        assert news.ignored == ()

    def test_memory_is_bounded(self) -> None:
        reader = FragmentReader(LOCAL)
        found, news = 0, FragmentNews()
        for first in range(1, 2000, 100):
            candidates = [
                Candidate("1", 1, "udp", 1, "192.0.2.1", port, "host") for port in range(first, first + 100)
            ]
            news = reader.read(write_fragment([FragmentStream("0", LOCAL.with_candidates(candidates))]))
            found += len(news.candidates)
        assert found == sdpfrag.MAX_KNOWN
        assert news.ignored[0][1] == f"there are more than {sdpfrag.MAX_KNOWN}"

    @settings(deadline=None)
    @given(st.lists(st.sampled_from(PIECES) | st.text(max_size=12)))
    def test_no_text_raises_anything_but_parse_error(self, lines: list[str]) -> None:
        """8840-4: and nothing is handed on twice."""
        reader = FragmentReader(LOCAL, "0")
        first = None
        with suppress(ParseError):
            first = reader.read("\n".join(lines))
        if first is not None:
            assert len(set(first.candidates)) == len(first.candidates)
            assert reader.read("\n".join(lines)).candidates == ()
