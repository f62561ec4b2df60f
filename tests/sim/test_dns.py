from __future__ import annotations

from fasticePy.sim import Dns, DnsAnswer


def test_names_are_answered_whatever_their_case():
    dns = Dns()
    dns.add("Stun.Example", "192.0.2.1", "2001:db8::1")
    assert dns.ask("stun.EXAMPLE") == [DnsAnswer(dns.delay, ("192.0.2.1", "2001:db8::1"))]


def test_families_may_be_answered_apart_and_in_any_order():
    dns = Dns()
    dns.add("stun.example", "2001:db8::1", delay=2.0)
    dns.add("stun.example", "192.0.2.1", delay=0.1)
    assert [answer.addresses for answer in dns.ask("stun.example")] == [("192.0.2.1",), ("2001:db8::1",)]


def test_unknown_failing_and_silent_names():
    dns = Dns()
    dns.fail("broken.example", "server failure", delay=5.0)
    dns.silence("dead.example")
    assert dns.ask("unknown.example") == [DnsAnswer(dns.delay, (), "no such name")]
    assert dns.ask("broken.example") == [DnsAnswer(5.0, (), "server failure")]
    assert dns.ask("dead.example") == []


def test_a_number_is_its_own_answer_at_once():
    assert Dns().ask("2001:DB8::1") == [DnsAnswer(0.0, ("2001:db8::1",))]
