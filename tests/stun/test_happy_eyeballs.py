"""The order of addresses (RFC 6724 6) and when to try which (RFC 8305), in virtual time."""

from __future__ import annotations

import pytest

from fasticePy.machine import Address
from fasticePy.stun.happy_eyeballs import Attempts, interleave, sort_addresses


def at(*hosts: str) -> list[Address]:
    return [(host, 3478) for host in hosts]


def hosts(addresses: list[Address]) -> list[str]:
    return [host for host, _ in addresses]


def anywhere(host: str) -> str | None:
    """Sources as a host with global addresses of both families has them."""
    return "2001:db8:1::2" if ":" in host else "10.1.2.4"


# --- order


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        # the examples of RFC 6724 10.2 that do not need to know more than addresses
        (["2001:db8:1::2", "169.254.13.78"], ["2001:db8:1::1", "198.51.100.121"]),
        (["198.51.100.117", "fe80::1"], ["198.51.100.121", "2001:db8:1::1"]),
        (["2001:db8:1::2", "10.1.2.4"], ["2001:db8:1::1", "10.1.2.3"]),
        (["fe80::2", "2001:db8:1::2"], ["fe80::1", "2001:db8:1::1"]),
        (["2001:db8:1::2", "2001:db8:3f44::2"], ["2001:db8:1::1", "2001:db8:3ffe::1"]),
        (["2002:c633:6401::2", "2002:c633:6401::2"], ["2002:c633:6401::1", "2001:db8:1::1"]),
        (["2001:db8:1::2", "2002:c633:6401::2"], ["2001:db8:1::1", "2002:c633:6401::1"]),
        # rule 1: without a source address there is no way
        (["10.1.2.4", None], ["192.0.2.1", "2001:db8:1::1"]),
        # rule 6: the precedences of the table
        (["::1", "10.1.2.4"], ["::1", "192.0.2.1"]),
        (["10.1.2.4", "2001:0:1::2"], ["192.0.2.1", "2001:0:1::1"]),
        (["10.1.2.4", "fd00::2"], ["192.0.2.1", "fd00::1"]),
        (["2001:db8:1::2", "fd00::2"], ["2001:db8:1::1", "fd00::1"]),
        (["fd00::2", "3ffe::2"], ["fd00::1", "3ffe::1"]),
        # rule 8: the smaller scope among those of one precedence
        (["127.0.0.1", "10.1.2.4"], ["127.0.0.1", "192.0.2.1"]),
        (["169.254.1.2", "10.1.2.4"], ["169.254.1.1", "192.0.2.1"]),
        (["fe80::2", "2001:db8::2"], ["fe80::1%eth0", "2001:db8::1"]),
        # rule 9 for IPv4, rule 2 for site-local and multicast scopes
        (["10.1.2.4", "10.1.2.4"], ["10.1.2.3", "10.200.0.1"]),
        (["2001:db8::2", "2001:db8::2"], ["2001:db8::1", "fec0::1"]),
        (["2001:db8::2", "2001:db8::2"], ["ff0e::1", "ff02::1"]),
    ],
)
def test_destinations_are_sorted(sources: list[str | None], expected: list[str]) -> None:
    """8305-1: by RFC 6724, with its policy table."""
    table = dict(zip(expected, sources, strict=True))
    for order in (expected, expected[::-1]):
        assert hosts(sort_addresses(at(*order), lambda host: table[host])) == expected


def test_what_no_rule_decides_stays_as_the_resolver_gave_it() -> None:
    """8305-1: rule 10."""
    for order in (["192.0.2.1", "192.0.2.2"], ["192.0.2.2", "192.0.2.1"]):
        assert hosts(sort_addresses(at(*order), anywhere)) == order


def test_families_are_interleaved() -> None:
    """8305-1: the family of the best address first, then by turns, the rest as it is."""
    six, four = ["2001:db8::1", "2001:db8::2", "2001:db8::3"], ["192.0.2.1", "192.0.2.2"]
    assert hosts(interleave(at(*six, *four))) == [six[0], four[0], six[1], four[1], six[2]]
    assert hosts(interleave(at(*four, *six))) == [four[0], six[0], four[1], six[1], six[2]]
    assert hosts(interleave(at(*six, *four), 2)) == [six[0], six[1], four[0], six[2], four[1]]
    assert interleave([]) == []


# --- time


class Race:
    """Attempts in virtual time; `began` lists which one began when."""

    def __init__(self, **options: float) -> None:
        self.attempts = Attempts(anywhere, **options)
        self.now = 0.0
        self.began: list[tuple[float, str]] = []

    def run(self, until: float) -> None:
        """Let time pass; only the moments that `next_timer` names are looked at."""
        self._begin()
        while (at := self.attempts.next_timer()) is not None and at <= until:
            self.now = max(self.now, at)
            self._begin()
        self.now = until

    def add(self, *found: str, final: bool) -> None:
        self.attempts.add(at(*found), self.now, final=final)

    def fail(self, host: str) -> None:
        self.attempts.failed((host, 3478), self.now)

    def establish(self, host: str) -> list[str]:
        return [loser for loser, _ in self.attempts.established((host, 3478))]

    def _begin(self) -> None:
        while (address := self.attempts.begin(self.now)) is not None:
            self.began.append((round(self.now, 6), address[0]))


SIX, SIX2, FOUR, FOUR2 = "2001:db8:1::1", "2001:db8:1::3", "192.0.2.1", "192.0.2.2"


def test_attempts_are_250_ms_apart() -> None:
    """8305-1: one after the other, families by turns, each while the earlier ones go on."""
    race = Race()
    race.add(SIX, SIX2, FOUR, FOUR2, final=True)
    race.run(2.0)
    assert race.began == [(0.0, SIX), (0.25, FOUR), (0.5, SIX2), (0.75, FOUR2)]
    assert len(race.attempts.running) == 4
    assert race.attempts.next_timer() is None


def test_a_black_hole_costs_one_delay() -> None:
    """8489-29: v6 that never answers: v4 is used within the attempt delay."""
    race = Race()
    race.add(SIX, FOUR, final=True)
    race.run(0.3)
    assert race.began[-1] == (0.25, FOUR)
    assert race.establish(FOUR) == [SIX]
    assert race.attempts.running == (("192.0.2.1", 3478),)


def test_a_failure_lets_the_next_one_begin_but_not_within_10_ms() -> None:
    """8305-1: a refused connection does not cost the delay; attempts are never less than 10 ms apart."""
    race = Race()
    race.add(SIX, FOUR, SIX2, final=True)
    race.run(0.0)
    race.fail(SIX)
    race.run(0.1)
    race.fail(FOUR)
    race.run(0.2)
    assert race.began == [(0.0, SIX), (0.01, FOUR), (0.1, SIX2)]
    assert not race.attempts.exhausted
    race.fail(SIX2)
    assert race.attempts.exhausted


def test_ipv4_waits_50_ms_for_ipv6_that_is_still_looked_up() -> None:
    """8305-1: the resolution delay of RFC 8305 3."""
    race = Race()
    race.add(FOUR, final=False)
    race.run(0.03)
    race.add(SIX, final=True)
    race.run(1.0)
    assert race.began == [(0.03, SIX), (0.28, FOUR)]

    late = Race()
    late.add(FOUR, final=False)
    late.run(0.02)
    late.add(FOUR2, final=False)  # more of the same do not prolong it
    late.run(0.1)
    late.add(SIX, final=True)
    late.run(1.0)
    assert late.began == [(0.05, FOUR), (0.3, SIX), (0.55, FOUR2)]


@pytest.mark.parametrize("known", [[SIX], [FOUR]])
def test_nothing_waits_when_no_more_can_come_or_ipv6_is_there(known: list[str]) -> None:
    """8305-1: IPv6 addresses begin at once, and so do IPv4 ones without IPv6."""
    race = Race()
    race.add(*known, final=known == [FOUR])
    race.run(0.0)
    assert race.began == [(0.0, known[0])]


def test_word_that_nothing_more_comes_ends_the_wait() -> None:
    race = Race()
    race.add(FOUR, final=False)
    race.run(0.02)
    race.add(final=True)
    race.run(0.02)
    assert race.began == [(0.02, FOUR)]


def test_late_addresses_take_their_place_among_those_not_tried() -> None:
    """8305-1: RFC 8305 6; the other family's turn comes first, and no address is tried twice."""
    race = Race()
    race.add(SIX, SIX2, final=False)
    race.run(0.0)
    race.add(FOUR, SIX, SIX2, final=True)
    race.run(2.0)
    assert race.began == [(0.0, SIX), (0.25, FOUR), (0.5, SIX2)]


def test_a_winner_that_turns_out_useless_lets_the_others_go_on() -> None:
    """8305-1: losers are cancelled and nothing more begins - until the connection fails after all."""
    race = Race()
    race.add(SIX, FOUR, SIX2, final=True)
    race.run(0.3)
    assert race.establish(FOUR) == [SIX]
    race.run(5.0)
    assert len(race.began) == 2
    assert race.attempts.next_timer() is None
    race.fail(FOUR)
    race.run(6.0)
    assert race.began[2:] == [(5.0, SIX), (5.25, SIX2)]


def test_no_addresses_at_all() -> None:
    race = Race()
    assert not race.attempts.exhausted
    race.add(final=True)
    assert race.attempts.exhausted
    assert race.attempts.next_timer() is None


def test_the_delay_can_be_chosen_and_the_source_is_asked_for_once() -> None:
    asked: list[str] = []

    def source_of(host: str) -> str:
        asked.append(host)
        return "10.0.0.1"

    attempts = Attempts(source_of, delay=0.1)
    attempts.add(at(FOUR, FOUR2), 0.0, final=False)
    attempts.add(at("192.0.2.3"), 0.0, final=True)
    assert attempts.begin(0.0) is not None
    assert attempts.next_timer() == 0.1
    assert sorted(asked) == [FOUR, FOUR2, "192.0.2.3"]
