"""Offers and answers as a target of fuzzing: two sides with a `Negotiation` each, and what happens to their SDP."""

from __future__ import annotations

from dataclasses import replace

from fuzz_harness import Reader

from fasticePy.errors import ParseError, StateError
from fasticePy.ice import Candidate, Description, Negotiation, SessionLines, StreamFacts, read_streams

PROTOCOLS = {"udp": "RTP/AVP", "tcp": "TCP/RTP/AVP"}
POOL = tuple(
    Candidate.from_sdp(f"candidate:{line}")
    for line in (
        "1 1 udp 2130706431 10.0.1.1 8998 typ host",
        "1 2 udp 2130706430 10.0.1.1 8999 typ host",
        "2 1 udp 1694498815 192.0.2.3 45664 typ srflx raddr 10.0.1.1 rport 8998",
        "7 1 udp 2130706431 2001:db8::1 8998 typ host",
        "5 1 udp 2130706431 1f4712db-ea17-4bcf-a596-105139dfd8bf.local 8998 typ host",
        "3 1 tcp 2128609279 10.0.1.1 9 typ host tcptype active",
        "4 1 tcp 2124414975 10.0.1.1 9000 typ host tcptype passive",
        "6 1 udp 16777215 198.51.100.7 3500 typ relay raddr 192.0.2.3 rport 45664",
    )
)
STEPS = 32
MAX_STREAMS = 4


def session_text(lines: SessionLines) -> str:
    """A whole session description with these ICE lines."""
    text = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", *lines.attributes]
    for index, stream in enumerate(lines.streams):
        text += [f"m=audio {stream.port} {PROTOCOLS[stream.transport]} 0", f"a=mid:{index}", *stream.lines]
    return "\r\n".join(text) + "\r\n"


def changed(text: str, reader: Reader) -> str:
    """Changed somewhere: cut, overwritten, a line doubled, dropped or moved."""
    kind, at = reader.number() % 6, reader.number() * 256 + reader.number()
    lines = text.split("\r\n")
    if kind < 2:
        piece = reader.piece().decode("latin-1")
        at %= len(text) + 1
        return text[:at] + piece + text[at + (len(piece) if kind else 0) :]
    at %= len(lines)
    line = lines[at]
    if kind == 2:
        lines.insert(at, line)
    elif kind == 3:
        del lines[at]
    elif kind == 4:
        lines.append(lines.pop(at))
    else:
        lines[at] = reader.piece().decode("latin-1")
    return "\r\n".join(lines)


def negotiation(data: bytes) -> None:
    """Any text, then two sides that offer and answer by turns, with changes on the way. Nothing raises but ParseError
    for what the peer sent and StateError for what is out of turn; what was refused has changed nothing; what is
    written can be read, with the same credentials; two sides whose lines nobody changes understand each other."""
    _anything(data)
    reader = Reader(data)
    run = _Run()
    for _ in range(STEPS):
        if not reader:
            break
        run.step(reader.number(), reader)


def _anything(data: bytes) -> None:
    text = data.decode("latin-1")
    for answer in (False, True):
        try:
            read_streams(text, answer=answer)
        except ParseError:
            continue
    receiver = Negotiation()
    try:
        receiver.remote_offer(text)
    except ParseError:
        return
    side = _Side(1)
    side.grow(len(read_streams(text)))
    receiver.answer(side.all_facts())


class _Side:
    """One end: what its agent would know, and its `Negotiation`."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.negotiation = Negotiation()
        self.generations = [0]
        self.candidates = [POOL[number : number + 2]]
        self.state = 0

    def facts(self, index: int) -> StreamFacts:
        generation, candidates = self.generations[index], self.candidates[index]
        ufrag = f"side{self.number}{index}{generation}"
        description = Description(ufrag, ufrag.ljust(22, "p"), candidates, complete=bool(self.state & 1))
        facts = StreamFacts(description, controlling=self.number == 0, mid=str(index))
        if self.state & 2 and candidates and candidates[0].component == 1:
            facts = replace(facts, checklist="completed", nominated=((candidates[0], POOL[self.state % 4]),))
        return replace(facts, checklist="failed") if self.state & 12 == 12 else facts

    def all_facts(self) -> list[StreamFacts | None]:
        return [self.facts(index) for index in range(len(self.generations))]

    def grow(self, streams: int) -> None:
        while len(self.generations) < streams:
            self.generations.append(0)
            self.candidates.append(POOL[:2])

    def known(self) -> object:
        """What is to stay as it is when the peer sends nonsense."""
        each = self.negotiation
        return [
            (each.uses_ice(index), each.local_description(index), each.remote_description(index))
            for index in range(MAX_STREAMS)
        ]


class _Run:
    def __init__(self) -> None:
        self.sides = (_Side(0), _Side(1))

    def step(self, what: int, reader: Reader) -> None:
        action, variant = what % 8, what // 16
        side = self.sides[what // 8 % 2]
        if action < 3:
            self.exchange(side, self.sides[side.number - 1], variant, reader)
        elif action == 3:
            self.restart(side, variant)
        elif action == 4:
            index = variant % len(side.candidates)
            first = reader.number() % len(POOL)
            side.candidates[index] = POOL[first : first + 1 + variant // 4]
        elif action == 5:
            side.state = variant
        elif action == 6:
            self.take(side, reader.piece().decode("latin-1"), answer=bool(variant & 1))
        elif len(side.generations) < MAX_STREAMS:
            for each in self.sides:
                each.grow(len(each.generations) + 1)
        for each in self.sides:
            repr(each.negotiation.next_steps(each.all_facts()))

    def restart(self, side: _Side, variant: int) -> None:
        side.generations[variant % len(side.generations)] += 1

    def take(self, side: _Side, text: str, *, answer: bool) -> bool:
        """The other side's lines; whether they were understood."""
        before = side.known()
        take = side.negotiation.remote_answer if answer else side.negotiation.remote_offer
        try:
            news = take(text)
        except (ParseError, StateError):
            assert side.known() == before
            return False
        repr(news)
        for each in news.streams:
            if each.race is not None:
                repr(each.race.decide([]))
        return True

    def exchange(self, side: _Side, other: _Side, variant: int, reader: Reader) -> None:
        """This side offers, the other one answers; on the way both may be changed, or lost."""
        try:
            lines = side.negotiation.offer(side.all_facts())
        except StateError:  # ICE was lost: it has to restart
            self.restart(side, variant)
            return
        text = session_text(lines)
        for index, stream in enumerate(read_streams(text)):
            ours = side.facts(index).description
            assert stream.description is None or stream.description.ufrag == ours.ufrag
        if variant & 1:
            text = changed(text, reader)
        if self.take(other, text, answer=False) and not variant & 2:
            self.answer(side, other, text, variant, reader)
        for each in self.sides:
            each.negotiation.rollback()

    def answer(self, side: _Side, other: _Side, offer: str, variant: int, reader: Reader) -> None:
        sections = len(read_streams(offer))
        for each in self.sides:  # what the peer says is there cannot be left out again
            each.grow(sections)
        for index, stream in enumerate(read_streams(offer)):
            old = other.negotiation.remote_description(index)
            if old is not None and stream.description is not None:
                new = stream.description
                # an agent restarts where the offer does
                other.generations[index] += (new.ufrag, new.pwd) != (old.ufrag, old.pwd)
        try:
            lines = other.negotiation.answer(other.all_facts())
        except ValueError:
            # only where the offer that was changed on its way says what no agent does
            assert variant & 1
            return
        text = session_text(lines)
        if variant & 4:
            text = changed(text, reader)
        self.take(side, text, answer=True)
