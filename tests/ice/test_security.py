"""What a hostile peer or network may try with a whole agent: as a hammer on others, as a sink for media that nobody
wants, as a hole for memory, as a parser that breaks. Single datagrams are the matter of test_hostile.py."""

from __future__ import annotations

import gc
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from ice_harness import Script, ice_pair, scripted

from fasticePy.ice import Candidate, Description, Limits, Timeouts
from fasticePy.sim import Packet
from fasticePy.stun import MessageClass, ParseError, is_stun, parse

VICTIM = "192.0.2.200"


def victim_packets(script: Script) -> list[Packet]:
    return [
        packet
        for packet in script.sim.network.sent(script.node.host)
        if packet.destination[0].startswith("192.0.2.")
    ]


def target(script: Script, number: int, host: str = VICTIM, **changes: Any) -> Candidate:
    return replace(script.peer.candidate(address=(host, 10_000 + number), foundation=f"f{number}"), **changes)


# -- the voice hammer (security 4d 4; RFC 8445 19.5.1) ---------------------------------------------------------------


@pytest.mark.parametrize("streams", [1, 2])
def test_candidates_that_keep_coming_hammer_nobody(streams):
    """Security 4d 4: for ten minutes the peer trickles another address of the same victim every second, to each stream.
    The packets are as few as for the first fifty, and none leaves when they are used up."""
    script = scripted(controlling=False, streams=streams, timeouts=Timeouts(patience=10_000.0))
    victim = script.sim.network.add_host(VICTIM, name="victim")
    script.gather()
    for stream in range(streams):
        credentials = script.peer.credentials
        script.agent.set_remote_credentials(credentials.ufrag, credentials.pwd, 0.0, stream=stream)
    for number in range(600):
        for stream in range(streams):
            script.agent.add_remote_candidate(target(script, number), script.now, stream=stream)
        script.sim.run_for(1.0)
    packets = victim_packets(script)
    limits = Limits()
    assert len(packets) <= 7 * limits.checks_per_address * streams
    assert len({packet.data[8:20] for packet in packets}) == limits.checks_per_address * streams
    assert packets[-1].sent_at < 100
    assert max(len(packet.data) for packet in packets) < 150
    assert not any(not is_stun(packet.data) for packet in packets)
    assert victim.sockets == []


def test_many_victims_are_one_packet_every_ta_at_most():
    """Security 4d 4: two hundred addresses: a hundred pairs, new checks 50 ms apart, all over when they have ended."""
    script = scripted(controlling=False)
    script.gather()
    script.set_credentials()
    for number in range(300):
        script.agent.add_remote_candidate(target(script, number, f"192.0.2.{number % 200 + 1}"), 0.0)
    script.agent.add_remote_candidate(None, 0.0)
    script.sim.run_until(lambda: script.agent.state == "failed", 200)
    firsts: dict[bytes, float] = {}
    for packet in victim_packets(script):
        firsts.setdefault(packet.data[8:20], packet.sent_at)
    times = sorted(firsts.values())
    assert len(times) == 100
    assert all(later - earlier > 0.0499 for earlier, later in pairwise(times))
    sent = len(script.sim.network.sent(script.node.host))
    script.sim.run_for(600)
    assert len(script.sim.network.sent(script.node.host)) == sent


def test_a_victim_that_answers_without_the_password_gets_no_more_and_no_data():
    """Security 4d 4: it may be a STUN server, which answers everybody: that is no consent."""
    script = scripted()
    script.sim.add_stun_server(script.sim.network.add_host(VICTIM))
    script.gather()
    script.set_credentials()
    candidate = script.peer.candidate(address=(VICTIM, 3478))
    script.agent.add_remote_candidate(candidate, 0.0)
    script.sim.run_for(120)
    assert script.agent.route() is None
    assert script.node.send(1, b"\x80media") is False
    assert len(victim_packets(script)) <= 7
    assert script.agent.state == "failed"


def test_a_peer_that_stops_consenting_gets_nothing_after_30_s_however_much_it_sends():
    """Security 4d 4: media and even checks of the peer keep coming; only the answers to ours are missing."""
    pair = ice_pair()
    pair.connect()
    began = pair.sim.now

    def drop(packet: Packet) -> bool:
        return (
            is_stun(packet.data)
            and packet.source[0] == "10.0.0.2"
            and parse(packet.data).message_class != MessageClass.REQUEST
        )

    pair.sim.network.drop(drop)
    for _ in range(100 * 60):
        pair.left.send(1, b"\x80to the right")
        pair.right.send(1, b"\x80to the left")
        pair.sim.run_for(0.01)
    data = [packet.sent_at for packet in pair.sim.network.sent(pair.left.host) if not is_stun(packet.data)]
    assert began + 23 < data[-1] <= began + 30.1
    assert len(pair.left.data) > 2900  # it came as long as the other side had consent
    assert pair.left.agent.state == "failed"
    assert pair.left.agent.route() is None


# -- memory (security 4d 5) ------------------------------------------------------------------------------------------


def test_thousands_of_candidates_cost_what_two_hundred_do():
    """Security 4d 5: 1000 candidates, then 2000 more, trickled with all that makes them large: less than a megabyte,
    and nothing more for those beyond the limits. The simulation's packet log does not count."""
    script = scripted(controlling=False)
    script.gather()
    script.set_credentials()
    script.sim.network.log = type(script.sim.network.log)(maxlen=10)
    script.peer.requests = _Forgetful()

    def flood(first: int, count: int) -> None:
        for number in range(first, first + count):
            script.agent.add_remote_candidate(
                target(
                    script,
                    number,
                    f"192.0.{number // 250}.{number % 250 + 1}",
                    extensions=(("x" * 100, "y" * 400),),
                    foundation=f"{number}".rjust(32, "f"),
                ),
                script.now,
            )
            script.agent.add_remote_candidate(
                replace(script.peer.candidate(), address="x" * 100_000), script.now
            )
            script.node.events.clear()

    tracemalloc.start()
    try:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        flood(0, 1000)
        script.sim.run_for(5)
        gc.collect()
        thousand = tracemalloc.get_traced_memory()[0] - before
        flood(1000, 2000)
        script.sim.run_for(5)
        gc.collect()
        all_of_them = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert thousand < 1_000_000
    # two thousand more have more than a megabyte of text; caches of fixed size may still fill
    assert all_of_them < thousand + 300_000


class _Forgetful(list[Any]):
    def append(self, item: Any) -> None:
        pass


# -- text (security 4d 5) --------------------------------------------------------------------------------------------

LONG = "x" * 65_536
GOOD = "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n"
CANDIDATE = "candidate:1 1 udp 2130706431 10.0.0.2 5000 typ host"


def read(text: str) -> tuple[Description | None, str]:
    """What was read, or why not."""
    try:
        return Description.parse(text), ""
    except ParseError as error:
        return None, str(error)


@pytest.mark.parametrize(
    "line",
    [
        LONG,
        f"a={LONG}",
        f"a={LONG}:{LONG}",
        f"a=candidate:{LONG}",
        f"a={CANDIDATE} {LONG} {LONG}",
        f"a=candidate:{LONG} 1 udp 1 10.0.0.2 5000 typ host",
        f"a=candidate:1 {'9' * 65_536} udp 1 10.0.0.2 5000 typ host",
        f"a=candidate:1 1 udp {'9' * 65_536} 10.0.0.2 5000 typ host",
        f"a=candidate:1 1 udp 1 {'1.' * 32_768} 5000 typ host",
        f"a=candidate:1 1 udp 1 {':' * 65_536} 5000 typ host",
        f"a=ice-ufrag:{LONG}",
        f"a=ice-pwd:{LONG}",
        f"a=ice-options:{'x ' * 32_768}",
        f"a=ice-pacing:{'9' * 65_536}",
        f"a=end-of-candidates:{LONG}",
        f"m={LONG}",
        f"c=IN IP4 {LONG}",
        f"a=mid:{LONG}",
        "a=ice-lite\r\n" * 6000,
        f"a={CANDIDATE}\r\n" * 1200,
        " " * 65_536,
        "\r" * 65_536,
        "\N{COMBINING ACUTE ACCENT}" * 65_536,
    ],
    ids=lambda line: line[:24].encode("unicode_escape").decode(),
)
def test_sdp_lines_of_64_kib(line):
    """Security 4d 5: a clear ParseError, or it is left out with a reason; what is read is small, so is each message."""
    for text in (GOOD + line, line + "\r\n" + GOOD, line):
        description, problem = read(text)
        assert len(problem) < 500
        if description is None:
            continue
        assert len(str(description)) < 30_000
        assert len(description.candidates) <= 200
        assert all(len(name) < 500 and len(why) < 500 for name, why in description.ignored)
        script = scripted()
        script.gather()
        with suppress(ValueError):
            script.agent.set_remote_description(description, 0.0)
        script.sim.run_for(1)
        assert script.agent.report(1.0).to_json()
    with pytest.raises(ParseError) as caught:
        Candidate.from_sdp(line.removeprefix("a="))
    assert len(str(caught.value)) < 500
