"""Offers and answers of sessions with several streams: two sides, each with a `Negotiation`, that exchange real SDP."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasticePy.errors import ParseError, StateError
from fasticePy.ice.candidate import Candidate
from fasticePy.ice.pair import CandidatePair, LocalCandidate
from fasticePy.ice.signalling.description import Description
from fasticePy.ice.signalling.negotiation import Negotiation, SessionNews
from fasticePy.ice.signalling.nomination_race import AnnouncedPair, RaceDecision
from fasticePy.ice.signalling.offer_lines import SessionLines, StreamFacts
from fasticePy.ice.signalling.remote_session import MAX_STREAMS, RemoteStream, read_streams
from fasticePy.ice.signalling.stream_negotiation import Action, Change, NegotiationError

PWD = "asd88fgpdd777uzjYhagZg"
OTHER_PWD = "YH75Fviy6338Vbrhrlp8Yh"
MDNS_NAME = "1f4712db-ea17-4bcf-a596-105139dfd8bf.local"


def candidate(text: str) -> Candidate:
    return Candidate.from_sdp("candidate:" + text)


HOST = candidate("1 1 udp 2130706431 10.0.1.1 8998 typ host")
RTCP = candidate("1 2 udp 2130706430 10.0.1.1 8999 typ host")
SRFLX = candidate("2 1 udp 1694498815 192.0.2.3 45664 typ srflx raddr 10.0.1.1 rport 8998")
SRFLX_RTCP = candidate("2 2 udp 1694498814 192.0.2.3 45700 typ srflx raddr 10.0.1.1 rport 8999")
PRFLX = candidate("9 1 udp 1862270975 192.0.2.3 50000 typ prflx raddr 10.0.1.1 rport 8998")
V6 = candidate("7 1 udp 2130706431 2001:db8::1 8998 typ host")
MDNS = candidate(f"5 1 udp 2130706431 {MDNS_NAME} 8998 typ host")
ACTIVE = candidate("3 1 tcp 2128609279 10.0.1.1 9 typ host tcptype active")
PASSIVE = candidate("4 1 tcp 2124414975 10.0.1.1 9000 typ host tcptype passive")
SO = candidate("8 1 tcp 2120220671 10.0.1.1 9001 typ host tcptype so")
PEER = candidate("1 1 udp 2130706431 198.51.100.1 6000 typ host")
PEER_RTCP = candidate("1 2 udp 2130706430 198.51.100.1 6001 typ host")
PEER_SRFLX = candidate("2 1 udp 1694498815 203.0.113.9 7000 typ srflx raddr 198.51.100.1 rport 6000")


def describe(ufrag: str, *candidates: Candidate, **changes: Any) -> Description:
    return Description(ufrag, ufrag.ljust(22, "p"), candidates, **{"complete": True, **changes})


def facts(ufrag: str, *candidates: Candidate, **changes: Any) -> StreamFacts:
    return StreamFacts(describe(ufrag, *candidates), **changes)


def concluded(given: StreamFacts, *pairs: tuple[Candidate, Candidate], **changes: Any) -> StreamFacts:
    return replace(given, checklist="completed", nominated=pairs, **changes)


US = facts("usus", HOST, SRFLX, controlling=True)
THEM = facts("them", PEER, PEER_SRFLX)
RTP_PROTOCOLS = {"udp": "RTP/AVP", "tcp": "TCP/RTP/AVP"}


def sdp(lines: SessionLines, *extra: str) -> str:
    """A whole session description with these ICE lines; `extra` goes to the session level."""
    text = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", *extra, *lines.attributes]
    for index, stream in enumerate(lines.streams):
        text += [
            f"m=audio {stream.port} {RTP_PROTOCOLS[stream.transport]} 0",
            f"a=mid:{index}",
            *stream.lines,
        ]
    return "\r\n".join(text) + "\r\n"


def changes(news: SessionNews) -> list[Change]:
    return [each.change for each in news.streams]


def candidate_lines(lines: SessionLines, index: int = 0) -> list[str]:
    return [line for line in lines.streams[index].attributes if line.startswith("a=candidate:")]


def lines_of(*candidates: Candidate) -> list[str]:
    return [f"a={each.to_sdp()}" for each in candidates]


@dataclass
class Session:
    """Both ends of a dialogue."""

    ours: Negotiation
    theirs: Negotiation

    def we_offer(
        self, us: Sequence[StreamFacts | None], them: Sequence[StreamFacts | None]
    ) -> tuple[SessionNews, SessionNews]:
        """The news of both: theirs of our offer, ours of their answer."""
        offered = self.theirs.remote_offer(sdp(self.ours.offer(us)))
        return offered, self.ours.remote_answer(sdp(self.theirs.answer(them)))

    def they_offer(
        self, us: Sequence[StreamFacts | None], them: Sequence[StreamFacts | None]
    ) -> tuple[SessionNews, SessionNews]:
        offered = self.ours.remote_offer(sdp(self.theirs.offer(them)))
        return offered, self.theirs.remote_answer(sdp(self.ours.answer(us)))


def session(us: StreamFacts | None = US, them: StreamFacts | None = THEM) -> Session:
    """One stream, offered by us and answered."""
    both = Session(Negotiation(), Negotiation())
    both.we_offer([us], [them])
    return both


@dataclass
class FakePair:
    """A pair of a checklist."""

    local: Candidate
    remote: Candidate
    state: str = "succeeded"
    valid: bool = False

    @property
    def open(self) -> bool:
        return self.state in ("frozen", "waiting", "in-progress")


class TestInitialExchange:
    """RFC 8839 4.3."""

    def test_both_sides_get_what_the_other_described(self) -> None:
        """8839-9: candidates, ufrag, pwd, ice2 and ice-pacing are in the offer and in the answer."""
        both = Session(Negotiation(), Negotiation())
        offer = both.ours.offer([US])
        assert offer.attributes == ("a=ice-options:ice2 trickle", "a=ice-pacing:50")
        assert offer.streams[0].lines == (
            "c=IN IP4 192.0.2.3",
            "a=ice-ufrag:usus",
            f"a=ice-pwd:{US.description.pwd}",
            *lines_of(HOST, SRFLX),
            "a=end-of-candidates",
        )
        assert offer.streams[0].port == 45664
        offered = both.theirs.remote_offer(sdp(offer))
        answered = both.ours.remote_answer(sdp(both.theirs.answer([THEM])))
        for news, description in ((offered, US.description), (answered, THEM.description)):
            [stream] = news.streams
            assert (stream.change, stream.description, stream.mid) == (Change.NEW, description, "0")
            assert news.uses_ice and news.reason == ""
        assert both.ours.uses_ice(0) and both.theirs.uses_ice(0)
        assert both.ours.local_description(0) == both.theirs.remote_description(0) == US.description

    def test_descriptions_instead_of_sdp(self) -> None:
        ours = Negotiation()
        ours.offer([US, None])
        news = ours.remote_answer([THEM.description, None])
        assert changes(news) == [Change.NEW, Change.REMOVED]
        assert news.streams[0].description == THEM.description
        assert not ours.uses_ice(1) and not ours.uses_ice(2)
        assert ours.remote_description(2) is ours.local_description(2) is None

    def test_lite_has_no_pace(self) -> None:
        """8839-9, 8839-2: a lite agent says so and prints no ice-pacing, in offers and in answers."""
        lite = replace(US, description=replace(US.description, lite=True))
        assert Negotiation().offer([lite]).attributes == ("a=ice-lite", "a=ice-options:ice2 trickle")
        theirs = Negotiation()
        theirs.remote_offer(sdp(Negotiation().offer([THEM])))
        assert theirs.answer([lite]).attributes == ("a=ice-lite", "a=ice-options:ice2 trickle")

    def test_rtp_and_rtcp(self) -> None:
        """8839-5: candidates for both components, and a=rtcp unless it is the next port."""
        two = facts("usus", HOST, RTCP, SRFLX, SRFLX_RTCP, components=2)
        lines = Negotiation().offer([two])
        assert candidate_lines(lines) == lines_of(HOST, RTCP, SRFLX, SRFLX_RTCP)
        assert "a=rtcp:45700 IN IP4 192.0.2.3" in lines.streams[0].attributes
        assert lines.streams[0].destinations == (("192.0.2.3", 45664), ("192.0.2.3", 45700))
        [news] = Negotiation().remote_offer(sdp(lines)).streams
        assert news.change is Change.NEW
        plain = Negotiation().offer([facts("usus", HOST, RTCP, components=2)])
        assert not [line for line in plain.streams[0].attributes if line.startswith("a=rtcp")]
        assert Negotiation().remote_offer(sdp(plain)).uses_ice

    def test_rtcp_without_candidates(self) -> None:
        """8839-5, 8840-1: no a=rtcp while nothing is known; what is only half known makes no mismatch."""
        lines = Negotiation().offer([facts("usus", components=2)])
        assert lines.streams[0].lines[0] == "c=IN IP4 0.0.0.0"
        assert not [line for line in lines.streams[0].attributes if line.startswith("a=rtcp")]
        half = Negotiation().offer([facts("usus", HOST, components=2)])
        assert "a=rtcp:9 IN IP4 0.0.0.0" in half.streams[0].attributes
        other_half = Negotiation().offer([facts("usus", MDNS, RTCP, components=2)])
        assert "a=rtcp:8999 IN IP4 10.0.1.1" in other_half.streams[0].attributes
        for each in (lines, half, other_half):
            assert Negotiation().remote_offer(sdp(each)).uses_ice

    def test_unknown_in_ipv6(self) -> None:
        """8840-1: `::` when all candidates are IPv6 ones, none of which is over UDP here."""
        tcp6 = candidate("4 1 tcp 2124414975 2001:db8::1 9000 typ host tcptype passive")
        stream = Negotiation().offer([facts("usus", tcp6, transport="udp")]).streams[0]
        assert (stream.connection, stream.port) == ("c=IN IP6 ::", 9)
        assert Negotiation().offer([facts("usus", V6)]).streams[0].connection == "c=IN IP6 2001:db8::1"

    def test_options_that_differ_go_to_the_streams(self) -> None:
        other = replace(US, description=describe("abcd", HOST, options=("ice2",)))
        lines = Negotiation().offer([US, other])
        assert lines.attributes == ("a=ice-pacing:50",)
        streams = read_streams(sdp(lines))
        assert [each.description.options for each in streams if each.description] == [
            ("ice2", "trickle"),
            ("ice2",),
        ]

    def test_lite_and_full_streams_cannot_be_mixed(self) -> None:
        lite = replace(US, description=replace(US.description, lite=True))
        with pytest.raises(ValueError, match="some of its streams are lite"):
            Negotiation().offer([US, lite])

    def test_shared_ufrags(self) -> None:
        """8839-23: streams may share ufrag and pwd, never the ufrag alone, on either side."""
        twin = StreamFacts(Description("usus", OTHER_PWD))
        with pytest.raises(ValueError, match="'usus' have different ice-pwd"):
            Negotiation().offer([US, twin])
        with pytest.raises(ParseError, match="'usus' have different ice-pwd"):
            Negotiation().remote_offer([US.description, twin.description])
        text = sdp(Negotiation().offer([US, US]))
        assert changes(Negotiation().remote_offer(text)) == [Change.NEW, Change.NEW]
        with pytest.raises(ParseError, match="'usus' have different ice-pwd"):
            Negotiation().remote_offer(text.replace(US.description.pwd, OTHER_PWD, 1))


class TestWithoutIce:
    """RFC 8839 4.2.5: who does not use it, and when somebody on the way has changed addresses."""

    OFFER = sdp(Negotiation().offer([US, facts("abcd", HOST)]))

    def test_offer_without_ice(self) -> None:
        """8839-8: an offer without ICE gets an answer without any ICE attribute."""
        theirs = Negotiation()
        news = theirs.remote_offer("v=0\r\nc=IN IP4 192.0.2.77\r\nm=audio 4000 RTP/AVP 0\r\n")
        assert (changes(news), news.uses_ice) == ([Change.OFF], False)
        assert news.reason == "no stream of the offer can use ICE"
        answer = theirs.answer([THEM])
        assert answer.attributes == () and answer.streams[0].attributes == ()
        assert (answer.streams[0].connection, answer.streams[0].port) == ("c=IN IP4 203.0.113.9", 7000)
        assert not theirs.uses_ice(0)

    def test_a_stream_without_ice_beside_one_with_it(self) -> None:
        """8839-8: ICE is per stream."""
        text = self.OFFER.replace("a=ice-ufrag:abcd\r\n", "")
        theirs = Negotiation()
        assert changes(theirs.remote_offer(text)) == [Change.NEW, Change.OFF]
        answer = theirs.answer([THEM, facts("efgh", PEER)])
        assert answer.streams[1].attributes == ()
        assert candidate_lines(answer) == lines_of(PEER, PEER_SRFLX)

    def test_mismatch_in_the_offer(self) -> None:
        """8839-8: answered with ice-mismatch and without candidates for that stream; the other one uses ICE."""
        ours, theirs = Negotiation(), Negotiation()
        text = sdp(ours.offer([US, facts("abcd", HOST)])).replace("m=audio 8998", "m=audio 62000")
        news = theirs.remote_offer(text)
        assert changes(news) == [Change.NEW, Change.OFF]
        assert "10.0.1.1:62000" in news.streams[1].reason
        answer = theirs.answer([THEM, facts("efgh", PEER)])
        assert answer.streams[1].attributes == ("a=ice-mismatch",)
        news = ours.remote_answer(sdp(answer))
        assert changes(news) == [Change.NEW, Change.OFF]
        assert "ice-mismatch" in news.streams[1].reason
        assert (
            [ours.uses_ice(0), ours.uses_ice(1)] == [theirs.uses_ice(0), theirs.uses_ice(1)] == [True, False]
        )

    def test_ice_mismatch_on_all_streams(self) -> None:
        """8839-8: the session does without ICE; what is offered later without new credentials has none either."""
        ours, theirs = Negotiation(), Negotiation()
        theirs.remote_offer(sdp(ours.offer([US])).replace("45664 RTP", "45665 RTP"))
        answer = theirs.answer([THEM])
        assert answer.attributes[0].startswith("a=ice-options:ice2")
        news = ours.remote_answer(sdp(answer))
        assert (changes(news), news.uses_ice) == ([Change.OFF], False)
        assert news.reason == "the answer uses ICE for no stream"
        assert ours.next_steps([US]) == ()
        assert ours.offer([US]).streams[0].attributes == ()
        assert candidate_lines(ours.offer([facts("new1", HOST)])) == lines_of(HOST)

    def test_answer_without_ice(self) -> None:
        """8839-8: ICE is over for the session."""
        ours = Negotiation()
        ours.offer([US, facts("abcd", HOST)])
        news = ours.remote_answer("c=IN IP4 192.0.2.9\nm=audio 4000 RTP/AVP 0\nm=audio 0 RTP/AVP 0\n")
        assert (changes(news), news.uses_ice) == ([Change.OFF, Change.REMOVED], False)
        assert not ours.uses_ice(0) and ours.remote_description(0) is None

    def test_mismatch_in_the_answer(self) -> None:
        """8839-8: found by the offerer in one stream of the initial answer, it ends ICE for all."""
        ours, theirs = Negotiation(), Negotiation()
        theirs.remote_offer(sdp(ours.offer([US, facts("abcd", HOST)])))
        answer = sdp(theirs.answer([THEM, facts("efgh", PEER)])).replace("m=audio 6000", "m=audio 62000")
        news = ours.remote_answer(answer)
        assert changes(news) == [Change.OFF, Change.OFF]
        assert news.reason.startswith("stream 1: the default destination")
        assert news.streams[0].reason.startswith("ICE is not used in the session")

    @pytest.mark.parametrize(
        "destination", ["0.0.0.0 9", ":: 9", "host.example.org 4000", f"{MDNS_NAME} 8998"]
    )
    def test_no_mismatch(self, destination: str) -> None:
        """8839-7, 6544-6 (part): unknown addresses and names are none, whatever the transport."""
        host, port = destination.split()
        family = "IP6" if ":" in host else "IP4"
        text = self.OFFER.replace("c=IN IP4 192.0.2.3", f"c=IN {family} {host}").replace(
            "45664 RTP", f"{port} RTP"
        )
        assert changes(Negotiation().remote_offer(text)) == [Change.NEW, Change.NEW]

    def test_other_transport(self) -> None:
        """8839-6: the transport of the m= line counts too."""
        text = self.OFFER.replace("8998 RTP/AVP", "8998 TCP/RTP/AVP")
        assert changes(Negotiation().remote_offer(text)) == [Change.NEW, Change.OFF]

    def test_a_default_that_is_an_unsupported_candidate(self) -> None:
        """8839-6, 8839-19: a candidate that we ignore is a candidate all the same."""
        text = self.OFFER.replace("10.0.1.1 8998 typ host", "10.0.1.1 8998 typ martian")
        assert changes(Negotiation().remote_offer(text)) == [Change.NEW, Change.NEW]

    def test_rtcp_mismatch(self) -> None:
        """8839-6: each component has its default destination."""
        two = facts("usus", HOST, RTCP, SRFLX, SRFLX_RTCP, components=2)
        text = sdp(Negotiation().offer([two])).replace("a=rtcp:45700", "a=rtcp:45701")
        [news] = Negotiation().remote_offer(text).streams
        assert news.change is Change.OFF and "of component 2" in news.reason
        muxed = text.replace("a=mid:0", "a=mid:0\r\na=rtcp-mux")
        assert changes(Negotiation().remote_offer(muxed)) == [Change.NEW]

    def test_ice_lost_by_an_answer(self) -> None:
        """8839-18: an answer without ICE in the middle: fall back, no error; the next offer has to restart."""
        both = session()
        both.ours.offer([US])
        news = both.ours.remote_answer("c=IN IP4 192.0.2.9\nm=audio 4000 RTP/AVP 0\n")
        assert changes(news) == [Change.OFF]
        [step] = both.ours.next_steps([US])
        assert (step.action, step.index, step.at_once) == (Action.RESTART, 0, False)
        with pytest.raises(StateError, match="a new offer has to restart"):
            both.ours.offer([US])
        offered, answered = both.we_offer(
            [facts("us22", HOST, SRFLX, controlling=True)], [facts("th22", PEER)]
        )
        assert (changes(offered), changes(answered)) == ([Change.RESTART], [Change.RESTART])
        assert both.ours.uses_ice(0) and both.ours.next_steps([facts("us22", HOST)]) == ()

    def test_ice_comes_back_with_the_peers_offer(self) -> None:
        """8839-18: the one that had ICE all along offers again, with the credentials that it had."""
        both = session()
        both.ours.offer([US])
        both.ours.remote_answer("c=IN IP4 192.0.2.9\nm=audio 4000 RTP/AVP 0\n")
        offered, answered = both.they_offer([US], [THEM])
        assert (changes(offered), changes(answered)) == ([Change.UNCHANGED], [Change.UNCHANGED])
        assert both.ours.uses_ice(0)


class TestStreams:
    """Streams that come and go."""

    def test_removed(self) -> None:
        """8839-4, 8839-18: port 0, no candidates, no ICE attributes; the peer learns that it is to be flushed."""
        both = session()
        lines = both.ours.offer([None])
        assert lines.attributes == () and lines.streams[0].lines == ("c=IN IP4 0.0.0.0",)
        assert lines.streams[0].port == 0
        assert changes(both.theirs.remote_offer(sdp(lines))) == [Change.REMOVED]
        answer = both.theirs.answer([THEM])
        assert answer.streams[0].port == 0 and answer.streams[0].attributes == ()
        assert changes(both.ours.remote_answer(sdp(answer))) == [Change.REMOVED]
        assert not both.ours.uses_ice(0) and both.ours.local_description(0) is None

    def test_inactive(self) -> None:
        """8839-4: an inactive stream, or one without bandwidth, keeps its ICE attributes: neither is any fact here, and
        what the peer prints beside them does not matter."""
        both = session()
        lines = both.ours.offer([US])
        assert candidate_lines(lines) == lines_of(HOST, SRFLX)
        text = sdp(lines).replace("a=mid:0", "b=AS:0\r\na=mid:0\r\na=inactive")
        assert changes(both.theirs.remote_offer(text)) == [Change.UNCHANGED]
        assert candidate_lines(both.theirs.answer([THEM])) == lines_of(PEER, PEER_SRFLX)

    def test_rejected_by_the_answer(self) -> None:
        """8839-18: an answer that rejects an offered stream; ICE of the other goes on."""
        both = Session(Negotiation(), Negotiation())
        offered, answered = both.we_offer([US, facts("abcd", HOST)], [THEM, None])
        assert changes(offered) == [Change.NEW, Change.NEW]
        assert changes(answered) == [Change.NEW, Change.REMOVED]
        assert both.ours.uses_ice(0) and not both.ours.uses_ice(1)

    def test_added(self) -> None:
        """8839-18: a new stream begins as in an initial offer, the others are unchanged; the place of a removed one
        can be used again."""
        both = session()
        offered, answered = both.we_offer([US, facts("abcd", HOST)], [THEM, facts("efgh", PEER)])
        assert changes(offered) == changes(answered) == [Change.UNCHANGED, Change.NEW]
        both.we_offer([US, None], [THEM, None])
        offered, _ = both.they_offer([US, facts("ijkl", HOST)], [THEM, facts("mnop", PEER)])
        assert changes(offered) == [Change.UNCHANGED, Change.NEW]

    def test_more_candidates_while_running(self) -> None:
        """8839-18 (part): the description for the agent has the candidates of both offers, of which it recomputes its
        checklist."""
        both = session()
        more = replace(US, description=describe("usus", HOST, SRFLX, PRFLX))
        offered, _ = both.we_offer([more], [THEM])
        assert offered.streams[0].description == more.description

    def test_streams_never_vanish(self) -> None:
        both = Session(Negotiation(), Negotiation())
        both.we_offer([US, facts("abcd", HOST)], [THEM, None])
        with pytest.raises(ValueError, match="1 streams after 2"):
            both.ours.offer([US])
        with pytest.raises(NegotiationError, match="1 m= sections after 2"):
            both.ours.remote_offer([THEM.description])
        both.ours.offer([US, None])
        with pytest.raises(NegotiationError, match="the answer has 1 m= sections, the offer 2"):
            both.ours.remote_answer([THEM.description])

    def test_bundle(self) -> None:
        """RFC 9143: what the answer bundles shares the address of the first; it has no ICE of its own then."""
        both = Session(Negotiation(), Negotiation())
        us, them = [US, facts("abcd", HOST)], [THEM, replace(THEM, bundled_with=0)]
        assert (
            changes(both.theirs.remote_offer(sdp(both.ours.offer(us), "a=group:BUNDLE 0 1")))
            == [Change.NEW] * 2
        )
        answer = both.theirs.answer(them)
        assert (answer.streams[1].lines, answer.streams[1].port) == (("c=IN IP4 203.0.113.9",), 7000)
        news = both.ours.remote_answer(sdp(answer, "a=group:BUNDLE 0 1"))
        assert changes(news) == [Change.NEW, Change.BUNDLED]
        assert news.streams[1].carrier == 0
        next_offer = sdp(both.ours.offer([US, replace(US, bundled_with=0)]), "a=group:BUNDLE 0 1")
        assert changes(both.theirs.remote_offer(next_offer)) == [Change.UNCHANGED, Change.BUNDLED]
        news = both.ours.remote_answer(sdp(both.theirs.answer([THEM, THEM]), "a=group:BUNDLE 0 1"))
        assert changes(news) == [Change.UNCHANGED, Change.BUNDLED]

    @pytest.mark.parametrize("carrier", [0, 1, 2, -1])
    def test_bundled_with_nothing(self, carrier: int) -> None:
        with pytest.raises(ValueError, match="has no transport of its own"):
            Negotiation().offer([None, replace(US, bundled_with=carrier)])

    def test_bundle_with_credentials_of_the_session_level(self) -> None:
        """RFC 9143: credentials for all do not give a bundled section a transport of its own."""
        level = f"a=group:BUNDLE 0 1\na=ice-ufrag:usus\na=ice-pwd:{PWD}\n"
        first = f"m=audio 8998 RTP/AVP 0\nc=IN IP4 10.0.1.1\na=mid:0\na={HOST.to_sdp()}\n"
        second = "m=audio 8998 RTP/AVP 0\nc=IN IP4 10.0.1.1\na=mid:1\n"
        assert [each.carrier for each in read_streams(level + first + second)] == [None, 0]
        own = second + f"a={HOST.to_sdp()}\n"
        assert [each.carrier for each in read_streams(level + first + own)] == [None, None]
        assert [each.carrier for each in read_streams(level + first + own, answer=True)] == [None, 0]
        only = "m=audio 0 RTP/AVP 0\na=bundle-only\na=mid:1\n"
        assert [each.carrier for each in read_streams(level + first + only)] == [None, 0]


class TestRestart:
    """RFC 8839 4.4.1.1.1 and 4.4.2.1."""

    def test_both_change(self) -> None:
        """8839-12, 8839-18: both sides get new credentials, and candidates begin anew."""
        both = session()
        new_us, new_them = facts("us22", HOST, controlling=True), facts("th22", PEER)
        offered, answered = both.we_offer([new_us], [new_them])
        assert (changes(offered), changes(answered)) == ([Change.RESTART], [Change.RESTART])
        assert offered.streams[0].description == new_us.description
        assert answered.streams[0].description == new_them.description

    def test_moving_between_levels_is_none(self) -> None:
        """8839-12: the same values at the other level."""
        both = session()
        text = sdp(both.ours.offer([US]))
        values = [f"a=ice-ufrag:usus\r\na=ice-pwd:{US.description.pwd}\r\n"]
        moved = text.replace(values[0], "").replace("t=0 0\r\n", "t=0 0\r\n" + values[0])
        assert moved != text
        assert changes(both.theirs.remote_offer(moved)) == [Change.UNCHANGED]

    def test_hold_does_not_change_the_address(self) -> None:
        """8839-12: c=0.0.0.0 is never written for hold, and no restart when a peer that knows no address writes it."""
        both = session()
        text = sdp(both.ours.offer([US]))
        assert "0.0.0.0" not in text
        held = text.replace("c=IN IP4 192.0.2.3", "c=IN IP4 0.0.0.0").replace("m=audio 45664", "m=audio 9")
        assert changes(both.theirs.remote_offer(held)) == [Change.UNCHANGED]

    @pytest.mark.parametrize(
        ("ufrag", "pwd", "which"), [("us22", None, "ice-ufrag"), ("usus", OTHER_PWD, "ice-pwd")]
    )
    def test_only_one_changes(self, ufrag: str, pwd: str | None, which: str) -> None:
        """8839-12: half a restart is none, neither from the peer nor from us; the state stays as it was."""
        both = session()
        half = Description(ufrag, pwd or US.description.pwd, US.description.candidates)
        with pytest.raises(NegotiationError, match=f"only {which} has changed"):
            both.theirs.remote_offer([half])
        with pytest.raises(ValueError, match=f"only {which} has changed"):
            both.ours.offer([replace(US, description=half)])
        assert changes(both.we_offer([US], [THEM])[0]) == [Change.UNCHANGED]

    @pytest.mark.parametrize(
        ("change", "named"),
        [
            ({"options": ("ice2",)}, "ice-options"),
            ({"pacing_ms": 20}, "ice-pacing"),
            ({"lite": True}, "ice-pacing and ice-lite"),
        ],
    )
    def test_what_only_a_restart_may_change(self, change: dict[str, Any], named: str) -> None:
        """8839-13: such an offer is rejected with the reason, and ours is not written; with a restart it is fine."""
        both = session()
        changed = replace(US.description, **change)
        with pytest.raises(NegotiationError, match=f"^{named} changed without a restart"):
            both.theirs.remote_offer([changed])
        with pytest.raises(ValueError, match=f"^{named} cannot change without a restart"):
            both.ours.offer([replace(US, description=changed)])
        restarted = replace(changed, ufrag="us22", pwd=OTHER_PWD)
        assert changes(both.theirs.remote_offer([restarted])) == [Change.RESTART]

    def test_what_says_the_same(self) -> None:
        """8839-13, 8839-25: the order of options, and 50 ms said or not."""
        both = session()
        same = replace(US.description, options=("trickle", "ice2"), pacing_ms=None)
        assert changes(both.theirs.remote_offer([same])) == [Change.UNCHANGED]

    def test_an_answer_that_changes_them(self) -> None:
        """8839-13: an answer cannot be rejected: what was before stays, with a note."""
        both = session()
        both.ours.offer([US])
        [news] = both.ours.remote_answer([replace(THEM.description, pacing_ms=20)]).streams
        assert news.description == THEM.description
        assert news.notes == (
            "ice-pacing changed without a restart (RFC 8839 4.4.1.1.1): what was before stays",
        )

    def test_the_answer_must_restart_too(self) -> None:
        """8839-12: both change on both sides (RFC 8839 4.4.2.1)."""
        both = session()
        restarted = facts("us22", HOST, controlling=True)
        both.theirs.remote_offer(sdp(both.ours.offer([restarted])))
        with pytest.raises(ValueError, match="restart this stream too"):
            both.theirs.answer([THEM])
        with pytest.raises(NegotiationError, match="the answer has the old credentials"):
            both.ours.remote_answer([THEM.description])
        both.theirs.answer([facts("th22", PEER)])
        assert changes(both.ours.remote_answer([describe("th22", PEER)])) == [Change.RESTART]

    def test_one_of_two_streams(self) -> None:
        """8839-12: a restart is for one stream."""
        both = Session(Negotiation(), Negotiation())
        both.we_offer([US, facts("abcd", HOST)], [THEM, facts("efgh", PEER)])
        offered, answered = both.we_offer([US, facts("ab22", HOST)], [THEM, facts("ef22", PEER)])
        assert changes(offered) == changes(answered) == [Change.UNCHANGED, Change.RESTART]

    def test_an_agent_that_restarted_meanwhile(self) -> None:
        """8839-12: only an offer of ours may tell; the answer repeats what was."""
        both = session()
        restarted = facts("us22", HOST, controlling=True)
        offered, answered = both.they_offer([restarted], [THEM])
        assert changes(offered) == changes(answered) == [Change.UNCHANGED]
        assert answered.streams[0].description == US.description
        [step] = both.ours.next_steps([restarted])
        assert (step.action, step.at_once) == (Action.RESTART, True)
        both.we_offer([restarted], [facts("th22", PEER)])
        assert both.ours.next_steps([restarted]) == ()

    def test_a_restart_that_was_not_offered_yet(self) -> None:
        both = session()
        [step] = both.ours.next_steps([facts("us22", HOST)])
        assert step.action is Action.RESTART and "was not told" in step.reason

    def test_an_answer_with_new_credentials(self) -> None:
        """8839-12: no restart was offered; the agent follows, and that has to be offered."""
        both = session()
        both.ours.offer([US])
        [news] = both.ours.remote_answer([describe("th22", PEER)]).streams
        assert news.change is Change.RESTART and len(news.notes) == 1
        assert [step.action for step in both.ours.next_steps([facts("us22", HOST)])] == [Action.RESTART]

    def test_a_failed_offer_leaves_no_trace(self) -> None:
        """RFC 8839 4.4: as if it had never been made."""
        both = session()
        both.ours.offer([facts("us22", HOST)])
        both.ours.rollback()
        assert changes(both.we_offer([US], [THEM])[0]) == [Change.UNCHANGED]
        both.theirs.remote_offer([describe("us33", HOST)])
        both.theirs.rollback()
        assert changes(both.we_offer([US], [THEM])[0]) == [Change.UNCHANGED]


class TestSubsequentOffers:
    """RFC 8839 4.4.1.2 and 4.4.1.3."""

    def test_before_nomination(self) -> None:
        """8839-14: the same again, in the same order, though the agent may have lost one; new ones come after."""
        both = session()
        later = replace(US, description=describe("usus", SRFLX, PRFLX))
        lines = both.ours.offer([later])
        assert candidate_lines(lines) == lines_of(HOST, SRFLX, PRFLX)
        both.theirs.remote_offer(sdp(lines))
        both.ours.remote_answer(sdp(both.theirs.answer([THEM])))
        assert candidate_lines(both.ours.offer([US])) == lines_of(HOST, SRFLX, PRFLX)

    def test_after_nomination(self) -> None:
        """8839-15, 8839-1: the nominated candidate alone, also as default; controlling adds remote-candidates."""
        both = session()
        done = concluded(US, (HOST, PEER))
        [stream] = both.ours.offer([done]).streams
        assert (stream.connection, stream.port) == ("c=IN IP4 10.0.1.1", 8998)
        assert stream.attributes == (
            "a=ice-ufrag:usus",
            f"a=ice-pwd:{US.description.pwd}",
            "a=remote-candidates:1 198.51.100.1 6000",
            *lines_of(HOST),
            "a=end-of-candidates",
        )

    def test_a_peer_that_hides_its_address(self) -> None:
        """mdns-6: remote-candidates repeats names that were signalled; an address that was not stays out of it."""
        named = replace(PEER, address="6e1b7e2c-11aa-4f5e-9d2c-2f9a2c3d4e5f.local")
        offer = sdp(session().ours.offer([concluded(US, (HOST, named))]))
        assert f"a=remote-candidates:1 {named.address} {named.port}" in offer
        hidden = replace(PEER, address="0.0.0.0", type="prflx")
        offer = sdp(session().ours.offer([concluded(US, (HOST, hidden))]))
        assert "remote-candidates" not in offer

    def test_remote_candidates_in_no_other_case(self) -> None:
        """8839-15: not while running, not when controlled, not in an answer."""
        both = session()
        done = concluded(US, (HOST, PEER))
        for us in (US, replace(done, checklist="running"), replace(done, controlling=False)):
            assert "remote-candidates" not in sdp(both.ours.offer([us]))
        both.ours.rollback()
        both.ours.remote_offer(sdp(both.theirs.offer([THEM])))
        answer = both.ours.answer([done])
        assert "remote-candidates" not in sdp(answer)
        assert candidate_lines(answer) == lines_of(HOST)
        assert answer.streams[0].port == 8998

    def test_every_component(self) -> None:
        """8839-15: one candidate per component; with one of them nominated yet, all are still there."""
        two = facts("usus", HOST, RTCP, SRFLX, SRFLX_RTCP, components=2, controlling=True)
        both = session(two, facts("them", PEER, PEER_RTCP, components=2))
        lines = both.ours.offer([concluded(two, (HOST, PEER), (SRFLX_RTCP, PEER_RTCP))])
        assert candidate_lines(lines) == lines_of(HOST, SRFLX_RTCP)
        assert "a=remote-candidates:1 198.51.100.1 6000 2 198.51.100.1 6001" in lines.streams[0].attributes
        assert "a=rtcp:45700 IN IP4 192.0.2.3" in lines.streams[0].attributes
        half = both.ours.offer([concluded(two, (HOST, PEER))])
        assert candidate_lines(half) == lines_of(HOST, RTCP, SRFLX, SRFLX_RTCP)
        assert half.streams[0].port == 8998 and "remote-candidates" not in sdp(half)

    def test_a_nominated_prflx_candidate(self) -> None:
        """8839-14, 8839-15: the default destination always has its candidate line."""
        both = session()
        for done in (concluded(US, (PRFLX, PEER)), replace(US, nominated=((PRFLX, PEER),))):
            lines = both.ours.offer([done])
            assert lines.streams[0].port == 50000
            assert lines_of(PRFLX)[0] in candidate_lines(lines)
            assert Negotiation().remote_offer(sdp(lines)).uses_ice

    def test_a_restart_forgets_the_nominated_pair(self) -> None:
        """8839-12: the old pair may still carry data, the offer is as an initial one."""
        both = session()
        lines = both.ours.offer([concluded(facts("us22", HOST, SRFLX, controlling=True), (HOST, PEER))])
        assert candidate_lines(lines) == lines_of(HOST, SRFLX)
        assert lines.streams[0].port == 45664 and "remote-candidates" not in sdp(lines)

    def test_lite(self) -> None:
        """8839-17: all candidates while Running, no new ones without a restart, the nominated one once Completed;
        remote-candidates when controlling, which is between two lite agents only."""
        lite = StreamFacts(describe("usus", HOST, lite=True))
        both = session(lite)
        assert candidate_lines(both.ours.offer([lite])) == lines_of(HOST)
        more = replace(lite, description=describe("usus", HOST, V6, lite=True))
        with pytest.raises(ValueError, match="a lite agent adds candidates with a restart only"):
            both.ours.offer([more])
        restarted = replace(more, description=describe("us22", HOST, V6, lite=True))
        assert candidate_lines(both.ours.offer([restarted])) == lines_of(HOST, V6)
        done = concluded(lite, (HOST, PEER))
        assert "remote-candidates" not in sdp(both.ours.offer([done]))
        assert both.ours.offer([done]).streams[0].port == 8998
        controlling = both.ours.offer([replace(done, controlling=True)])
        assert "a=remote-candidates:1 198.51.100.1 6000" in controlling.streams[0].attributes

    def test_lite_peer_of_remote_candidates(self) -> None:
        """8839-17: they complete its checklist, and make it controlled whatever it was."""
        lite = StreamFacts(describe("usus", HOST, lite=True), controlling=True)
        other = StreamFacts(describe("them", PEER, lite=True), controlling=True)
        both = session(lite, other)
        [news] = both.theirs.remote_offer(sdp(both.ours.offer([concluded(lite, (HOST, PEER))]))).streams
        assert news.completes and news.race is None
        assert news.announced == (AnnouncedPair(1, ("198.51.100.1", 6000), ("10.0.1.1", 8998)),)
        done = concluded(replace(other, controlling=False), (PEER, HOST))
        assert candidate_lines(both.theirs.answer([done])) == lines_of(PEER)

    def test_facts_of_an_agent(self) -> None:
        pairs = [
            CandidatePair(LocalCandidate(local, 1, local.transport_address), PEER, PEER.transport_address, 1)
            for local in (HOST, SRFLX, PRFLX)
        ]
        pairs[1].nominated = pairs[2].nominated = True
        made = StreamFacts.from_pairs(US.description, [None, *pairs], checklist="completed", controlling=True)
        assert made == concluded(US, (SRFLX, PEER))

    def test_facts_that_cannot_be(self) -> None:
        with pytest.raises(ValueError, match="two nominated pairs"):
            facts("usus", nominated=((HOST, PEER), (SRFLX, PEER)))
        with pytest.raises(ValueError, match="1 to 256 components, not 0"):
            facts("usus", components=0)


class TestTcp:
    """RFC 6544 4.3 and 4.5."""

    def test_udp_before_tcp(self) -> None:
        """6544-4: the default is a UDP candidate while there is one."""
        [stream] = Negotiation().offer([facts("usus", ACTIVE, PASSIVE, SO, HOST)]).streams
        assert (stream.transport, stream.port, stream.tcp) == ("udp", 8998, ())

    @pytest.mark.parametrize(
        ("lite", "candidates", "port", "setup"),
        [
            (False, (PASSIVE, SO, ACTIVE), 9, "active"),
            (False, (SO, PASSIVE), 9000, "passive"),
            (True, (ACTIVE, PASSIVE), 9000, "passive"),
        ],
    )
    def test_tcp_only(self, lite: bool, candidates: tuple[Candidate, ...], port: int, setup: str) -> None:
        """6544-4, 6544-6: active with a=setup:active, for lite agents passive, never simultaneous-open."""
        given = StreamFacts(describe("usus", *candidates, lite=lite))
        [stream] = Negotiation().offer([given]).streams
        assert (stream.transport, stream.connection, stream.port) == ("tcp", "c=IN IP4 10.0.1.1", port)
        assert stream.tcp == (f"a=setup:{setup}", "a=connection:new")
        assert stream.lines[-2:] == stream.tcp

    def test_so_alone_is_no_default(self) -> None:
        """6544-4: there is a candidate, but none to be the default."""
        [stream] = Negotiation().offer([facts("usus", SO)]).streams
        assert (stream.transport, stream.port) == ("tcp", 9)
        assert stream.connection == "c=IN IP4 0.0.0.0"

    def test_tcp_by_nature(self) -> None:
        """6544-4: the application may want TCP, though there is UDP."""
        [stream] = Negotiation().offer([facts("usus", HOST, ACTIVE, transport="tcp")]).streams
        assert (stream.transport, stream.port) == ("tcp", 9)

    @pytest.mark.parametrize(
        ("offered", "candidates", "port", "setup"),
        [
            ("active", (ACTIVE, PASSIVE), 9000, "passive"),
            ("passive", (PASSIVE, ACTIVE), 9, "active"),
            ("actpass", (PASSIVE, ACTIVE), 9, "active"),
            ("holdconn", (ACTIVE,), 9, "holdconn"),
            ("active", (ACTIVE,), 9, "passive"),
        ],
    )
    def test_answers(self, offered: str, candidates: tuple[Candidate, ...], port: int, setup: str) -> None:
        """6544-6: a=setup of an answer fits that of the offer (RFC 4145 4.1), and so does the default."""
        peer = candidate("1 1 tcp 2124414975 198.51.100.1 9 typ host tcptype active")
        text = sdp(Negotiation().offer([facts("them", peer)])).replace("setup:active", f"setup:{offered}")
        ours = Negotiation()
        assert ours.remote_offer(text).uses_ice
        [stream] = ours.answer([facts("usus", *candidates)]).streams
        assert (stream.transport, stream.port) == ("tcp", port)
        assert stream.tcp == (f"a=setup:{setup}", "a=connection:new")
        unknown = (offered, candidates) == ("active", (ACTIVE,))
        assert stream.connection == f"c=IN IP4 {'0.0.0.0' if unknown else '10.0.1.1'}"

    def test_the_answer_keeps_the_transport(self) -> None:
        """8839-10: an offer of UDP, an answer with TCP candidates only, and the other way round."""
        ours = Negotiation()
        ours.remote_offer(sdp(Negotiation().offer([THEM])))
        [stream] = ours.answer([facts("usus", ACTIVE, PASSIVE)]).streams
        assert (stream.transport, stream.connection, stream.port, stream.tcp) == (
            "udp",
            "c=IN IP4 0.0.0.0",
            9,
            (),
        )
        ours = Negotiation()
        peer = candidate("1 1 tcp 2124414975 198.51.100.1 9 typ host tcptype active")
        ours.remote_offer(sdp(Negotiation().offer([facts("them", peer)])))
        [stream] = ours.answer([facts("usus", HOST)]).streams
        assert (stream.transport, stream.connection, stream.port) == ("tcp", "c=IN IP4 0.0.0.0", 9)
        assert stream.tcp == ("a=setup:passive", "a=connection:new")

    def test_nominated_of_another_transport(self) -> None:
        """8839-10, 8839-15: an offer changes the transport with the nominated pair, an answer cannot."""
        peer = candidate("4 1 tcp 2124414975 198.51.100.1 9000 typ host tcptype passive")
        us = facts("usus", HOST, ACTIVE, controlling=True)
        both = session(us, facts("them", PEER, peer))
        done = concluded(us, (ACTIVE, peer))
        [stream] = both.ours.offer([done]).streams
        assert (stream.transport, stream.port) == ("tcp", 9)
        assert stream.tcp == ("a=setup:active", "a=connection:existing")
        both.ours.rollback()
        both.ours.remote_offer(sdp(both.theirs.offer([facts("them", PEER, peer)])))
        answer = both.ours.answer([done])
        assert (answer.streams[0].transport, answer.streams[0].port) == ("udp", 9)
        assert candidate_lines(answer) == lines_of(ACTIVE)

    def test_an_existing_connection(self) -> None:
        """6544-6: an answer goes on with the connection only if the offer does (RFC 4145 5.1)."""
        peer = candidate("4 1 tcp 2124414975 198.51.100.1 9000 typ host tcptype passive")
        us, them = facts("usus", ACTIVE, controlling=True), facts("them", peer)
        for connection in ("existing", "new"):
            both = session(us, them)
            text = sdp(both.ours.offer([concluded(us, (ACTIVE, peer))]))
            both.theirs.remote_offer(text.replace("connection:existing", f"connection:{connection}"))
            [stream] = both.theirs.answer([concluded(them, (peer, ACTIVE))]).streams
            assert stream.tcp == ("a=setup:passive", f"a=connection:{connection}")
        so = concluded(facts("usus", SO), (SO, peer))
        both = session(us, them)
        both.ours.rollback()
        assert session(facts("usus", SO), them).ours.offer([so]).streams[0].tcp == (
            "a=setup:actpass",
            "a=connection:existing",
        )


class TestConcealed:
    """draft-ietf-mmusic-mdns-ice-candidates 3.1.2.4."""

    @pytest.mark.parametrize("nominated", [None, MDNS, HOST])
    def test_host(self, nominated: Candidate | None) -> None:
        """mdns-3: the name is in the candidate line and nowhere else, before nomination and after it, even when the
        pair has the address."""
        us = facts("usus", MDNS, controlling=True)
        both = session(us)
        concealed = replace(HOST, foundation=MDNS.foundation)
        given = us if nominated is None else concluded(us, (MDNS if nominated is MDNS else concealed, PEER))
        [stream] = both.ours.offer([given]).streams
        assert (stream.connection, stream.port) == ("c=IN IP4 0.0.0.0", 9)
        assert [line for line in stream.lines if MDNS_NAME in line] == lines_of(MDNS)
        assert "10.0.1.1" not in "".join(stream.lines)
        assert both.theirs.remote_offer(sdp(both.ours.offer([given]))).uses_ice

    def test_an_address_without_a_name(self) -> None:
        """mdns-3: one that was never signalled stays at home."""
        us = facts("usus", MDNS, controlling=True)
        lines = session(us).ours.offer([concluded(us, (HOST, PEER))])
        assert "10.0.1.1" not in sdp(lines)

    @pytest.mark.parametrize("reflexive", [SRFLX, PRFLX])
    def test_related_address(self, reflexive: Candidate) -> None:
        """mdns-3: the base of a nominated reflexive candidate is concealed as well."""
        us = facts("usus", MDNS, controlling=True)
        lines = session(us).ours.offer([concluded(us, (reflexive, PEER))])
        assert lines.streams[0].connection == "c=IN IP4 192.0.2.3"
        assert "10.0.1.1" not in sdp(lines)
        assert candidate_lines(lines)[0].endswith("raddr 0.0.0.0 rport 9")

    def test_remote_candidates(self) -> None:
        """mdns-3, 8839-16: a peer's name is repeated as it came, and taken by the peer as its own."""
        us = facts("usus", HOST, controlling=True)
        them = facts("them", MDNS)
        both = session(us, them)
        lines = both.ours.offer([concluded(us, (HOST, MDNS))])
        assert f"a=remote-candidates:1 {MDNS_NAME} 8998" in lines.streams[0].attributes
        [news] = both.theirs.remote_offer(sdp(lines)).streams
        assert news.race is not None
        assert news.race.decide([FakePair(MDNS, HOST, valid=True)]) is RaceDecision.ANSWER
        [stream] = both.theirs.answer([them]).streams
        assert (stream.connection, stream.port) == ("c=IN IP4 0.0.0.0", 9)
        assert lines_of(MDNS)[0] in stream.attributes


class TestRace:
    """RFC 8839 4.4.2: remote-candidates against the checks themselves."""

    def offered(self) -> tuple[Session, Any]:
        both = session()
        lines = both.ours.offer([concluded(US, (HOST, PEER))])
        [news] = both.theirs.remote_offer(sdp(lines)).streams
        assert news.race is not None and news.change is Change.UNCHANGED and not news.completes
        assert news.announced == (AnnouncedPair(1, ("198.51.100.1", 6000), ("10.0.1.1", 8998)),)
        return both, news.race

    def test_the_checks_won(self) -> None:
        """8839-16: the pair is valid: its candidate is the default of the answer, and has its candidate line."""
        both, race = self.offered()
        assert (
            race.decide([FakePair(PEER_SRFLX, SRFLX), FakePair(PEER, HOST, valid=True)])
            is RaceDecision.ANSWER
        )
        answer = both.theirs.answer([THEM])
        assert (answer.streams[0].connection, answer.streams[0].port) == ("c=IN IP4 198.51.100.1", 6000)
        assert candidate_lines(answer) == lines_of(PEER)
        assert both.theirs.next_steps([THEM]) == ()
        assert changes(both.ours.remote_answer(sdp(answer))) == [Change.UNCHANGED]

    @pytest.mark.parametrize("state", ["in-progress", "waiting", "frozen"])
    def test_the_offer_won(self, state: str) -> None:
        """8839-16: wait for the checks, decide again as each ends."""
        both, race = self.offered()
        pair = FakePair(PEER, HOST, state=state)
        other = FakePair(PEER_SRFLX, HOST, state="failed")
        assert race.decide([other, pair]) is RaceDecision.WAIT
        assert "checks are still under way" in race.reason
        pair.state, pair.valid = "succeeded", True
        assert race.decide([other, pair]) is RaceDecision.ANSWER
        assert both.theirs.answer([THEM]).streams[0].port == 6000

    def test_the_checks_failed(self) -> None:
        """8839-16: no check In-Progress and one Failed: a plain answer, then a restart."""
        both, race = self.offered()
        pairs = [FakePair(PEER, HOST, state="failed"), FakePair(PEER_SRFLX, HOST, valid=True)]
        assert race.decide(pairs) is RaceDecision.ANSWER_THEN_RESTART
        answer = both.theirs.answer([THEM])
        assert answer.streams[0].port == 7000
        assert candidate_lines(answer) == lines_of(PEER, PEER_SRFLX)
        [step] = both.theirs.next_steps([THEM])
        assert (step.action, step.at_once) == (Action.RESTART, True)
        assert step.reason == "component 1, 198.51.100.1:6000 -> 10.0.1.1:8998: the checks have failed"

    def test_no_such_pair(self) -> None:
        """8839-16 (what the RFC leaves open): nothing to wait for and nothing broken."""
        both, race = self.offered()
        assert race.decide([FakePair(PEER, SRFLX, valid=True)]) is RaceDecision.ANSWER_PLAINLY
        assert both.theirs.answer([THEM]).streams[0].port == 7000
        assert both.theirs.next_steps([THEM]) == ()

    def test_nobody_decided(self) -> None:
        both, _ = self.offered()
        assert both.theirs.answer([THEM]).streams[0].port == 7000

    def test_components_are_told_apart(self) -> None:
        """8839-16: there must be no losing pair at all."""
        us = facts("usus", HOST, RTCP, components=2, controlling=True)
        them = facts("them", PEER, PEER_RTCP, components=2)
        both = session(us, them)
        lines = both.ours.offer([concluded(us, (HOST, PEER), (RTCP, PEER_RTCP))])
        [news] = both.theirs.remote_offer(sdp(lines)).streams
        assert news.race is not None
        rtp, rtcp = FakePair(PEER, HOST, valid=True), FakePair(PEER_RTCP, RTCP, state="in-progress")
        assert news.race.decide([rtp, rtcp]) is RaceDecision.WAIT
        assert news.race.winners == {}
        rtcp.valid = True
        assert news.race.decide([rtp, rtcp]) is RaceDecision.ANSWER
        assert news.race.winners == {1: PEER, 2: PEER_RTCP}
        rtcp.valid, rtcp.state = False, "failed"
        rtp.valid, rtp.state = False, "in-progress"
        assert news.race.decide([rtp, rtcp]) is RaceDecision.ANSWER_THEN_RESTART

    def test_a_concealed_default(self) -> None:
        """8839-16, mdns-3: the peer's address is not told: our candidate alone tells the pair."""
        both = session()
        offer = RemoteStream(
            0,
            US.description,
            destinations=((1, ("0.0.0.0", 9)),),
            remote_candidates=((1, "198.51.100.1", 6000),),
        )
        [news] = both.theirs.remote_offer([offer]).streams
        assert news.race is not None and news.announced[0].remote is None
        assert news.race.decide([FakePair(PEER, PRFLX, valid=True)]) is RaceDecision.ANSWER

    @pytest.mark.parametrize(
        "value", ["", "1 192.0.2.1", "1 192.0.2.1 x", "0 192.0.2.1 1", "1 ? 1", "1 a 1 1 b 1"]
    )
    def test_malformed(self, value: str) -> None:
        """8839-16: an attribute that says nothing is left out with its reason."""
        text = sdp(Negotiation().offer([US])) + f"a=remote-candidates:{value}\r\n"
        [stream] = read_streams(text)
        assert stream.remote_candidates == () and stream.description is not None
        if value:
            assert stream.description.ignored[-1][0] == f"remote-candidates:{value}"

    def test_not_with_a_restart(self) -> None:
        """8839-16: it is about pairs that are gone."""
        both = session()
        text = sdp(both.ours.offer([concluded(US, (HOST, PEER))])).replace("usus", "us22")
        [news] = both.theirs.remote_offer(text).streams
        assert (news.change, news.race, news.announced) == (Change.RESTART, None, ())


class TestNextSteps:
    """RFC 8839 4.3.4."""

    def old_peer(self) -> StreamFacts:
        return StreamFacts(replace(THEM.description, options=()))

    def test_a_peer_without_ice2(self) -> None:
        """8839-11: another pair than the default one was nominated: an updated offer, once."""
        both = session(them=self.old_peer())
        done = concluded(US, (HOST, PEER))
        [step] = both.ours.next_steps([done])
        assert (step.action, step.index, step.at_once) == (Action.UPDATED_OFFER, 0, True)
        lines = both.ours.offer([done])
        assert both.ours.next_steps([done]) == ()
        both.theirs.remote_offer(sdp(lines))
        both.ours.remote_answer(sdp(both.theirs.answer([self.old_peer()])))
        assert both.ours.next_steps([done]) == ()

    def test_a_peer_with_ice2(self) -> None:
        """8839-11: nothing now; the next offer, whatever it is for, has the nominated candidate."""
        both = session()
        done = concluded(US, (HOST, PEER))
        assert both.ours.next_steps([done]) == ()
        assert both.ours.offer([done]).streams[0].port == 8998

    def test_the_default_was_nominated(self) -> None:
        """8839-11: nothing to align, nor for the controlled side."""
        both = session(them=self.old_peer())
        assert both.ours.next_steps([concluded(US, (SRFLX, PEER_SRFLX))]) == ()
        assert [step.action for step in both.ours.next_steps([concluded(US, (SRFLX, PEER))])] == [
            Action.UPDATED_OFFER
        ]
        assert both.ours.next_steps([concluded(US, (HOST, PEER), controlling=False)]) == ()

    def test_concealed_defaults_cannot_be_aligned(self) -> None:
        """8839-11, mdns-3: an unknown address stands for a name."""
        us = facts("usus", MDNS, controlling=True)
        both = session(us, StreamFacts(describe("them", MDNS, options=())))
        assert both.ours.next_steps([concluded(us, (MDNS, MDNS))]) == ()

    def test_a_failed_checklist(self) -> None:
        """8839-11: the stream is removed, also with ice2; not before everything is concluded."""
        both = Session(Negotiation(), Negotiation())
        second = facts("abcd", HOST, controlling=True)
        both.we_offer([US, second], [THEM, facts("efgh", PEER)])
        failed = replace(second, checklist="failed")
        assert both.ours.next_steps([US, failed]) == ()
        done = concluded(US, (HOST, PEER))
        [step] = both.ours.next_steps([done, failed])
        assert (step.action, step.index) == (Action.OFFER_PORT_0, 1)
        assert both.ours.next_steps([done, replace(failed, controlling=False)]) == ()
        offered, _ = both.we_offer([done, None], [THEM, None])
        assert changes(offered) == [Change.UNCHANGED, Change.REMOVED]
        assert both.ours.next_steps([done, None]) == ()

    def test_calls_out_of_order(self) -> None:
        ours = Negotiation()
        with pytest.raises(StateError, match="no offer that waits for an answer"):
            ours.remote_answer([THEM.description])
        with pytest.raises(StateError, match="no offer of the peer to answer"):
            ours.answer([US])
        ours.offer([US])
        with pytest.raises(StateError, match="our own offer waits"):
            ours.remote_offer([THEM.description])
        ours.rollback()
        ours.remote_offer([THEM.description])
        with pytest.raises(StateError, match="has to be answered"):
            ours.offer([US])
        with pytest.raises(StateError, match="no offer that waits for an answer"):
            ours.remote_answer([THEM.description])
        with pytest.raises(ValueError, match="the offer has 1 streams, and these are 2"):
            ours.answer([US, US])
        ours.answer([US])
        assert ours.uses_ice(0)


PIECES = (
    *(
        "m=audio 9 RTP/AVP 0",
        "m=",
        "m=x 0",
        "m=a 99999 TCP/x y",
        "c=",
        "c=IN IP4 0.0.0.0",
        "c=IN IP4 224.2.1.1/127",
    ),
    *(
        "c=IN IP6 ::",
        "a=mid:0",
        "a=mid:1",
        "a=group:BUNDLE 0 1",
        "a=bundle-only",
        "a=ice-lite",
        "a=ice-mismatch",
    ),
    *(
        "a=ice-ufrag:8hhY",
        "a=ice-ufrag:abcd",
        f"a=ice-pwd:{PWD}",
        "a=ice-pwd:x",
        "a=rtcp",
        "a=rtcp:",
        "a=rtcp:1",
    ),
    *(
        "a=rtcp:x IN",
        "a=rtcp-mux",
        "a=remote-candidates:1 192.0.2.3 5",
        "a=remote-candidates",
        "a=setup",
        "a=setup:x",
    ),
    *(
        *lines_of(HOST, RTCP, PASSIVE, MDNS),
        "a=candidate:",
        "a=ice-options:ice2 \x00",
        "a=ice-pacing:7",
        "\x00",
    ),
)


class TestHostile:
    """Nonsense, and much of it."""

    def test_streams_are_limited(self) -> None:
        text = "m=a 9 x\n" * (MAX_STREAMS + 1)
        with pytest.raises(ParseError, match="1001 m= sections, the limit is 1000"):
            Negotiation().remote_offer(text)
        with pytest.raises(ParseError, match="1001 streams, the limit is 1000"):
            Negotiation().remote_offer([None] * (MAX_STREAMS + 1))

    def test_the_session_level_is_read_once(self) -> None:
        """A megabyte of options and candidates at session level, and as many streams as may be."""
        level = f"a=ice-ufrag:usus\na=ice-pwd:{PWD}\na=ice-options:" + "x y " * 120_000 + "\n"
        level += f"{lines_of(HOST)[0]}\n" * 5000 + "a=group:BUNDLE " + "0 " * 30_000 + "\n"
        streams = read_streams(level + "m=a 9 x\na=mid:0\n" * MAX_STREAMS)
        assert len(streams) == MAX_STREAMS
        assert {each.description.options for each in streams if each.description} == {("x", "y")}

    @settings(deadline=None)
    @given(st.lists(st.lists(st.sampled_from(PIECES) | st.text(max_size=20)), max_size=4), st.booleans())
    def test_nothing_but_parse_errors(self, texts: list[list[str]], answers: bool) -> None:
        ours = Negotiation()
        for lines in texts:
            if answers:
                with suppress(StateError):  # ICE was lost by an earlier answer: only a restart may follow
                    ours.offer([US] + [None] * 20)
                with suppress(ParseError, StateError):
                    ours.remote_answer("\n".join(lines) + "\nm=a 0 x" * 20)
                ours.rollback()
                continue
            with suppress(ParseError):
                news = ours.remote_offer("\n".join(lines))
                known = [facts(f"us{each.index:02}", HOST, RTCP, components=2) for each in news.streams]
                with suppress(ValueError):
                    ours.answer(known)
            ours.rollback()
            ours.next_steps([US] * 5)
