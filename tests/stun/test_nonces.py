"""Stateless nonces, and the budget of challenges."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasticePy.stun import SecurityFeature, nonce_cookie, security_features
from fasticePy.stun.budget import MAX_SOURCES, ChallengeBudget
from fasticePy.stun.nonces import MAX_AHEAD, Nonces

SECRET = bytes(range(32))
SOURCE = ("192.0.2.7", 40000)


@pytest.mark.parametrize("bits", [0, 1 << 23, 1 << 22, 3 << 22])
def test_a_nonce_begins_with_the_cookie_and_its_bits(bits):
    """8489-38: the features, all zeros where there is none, counted from the left (T1); 24 characters of base64."""
    features = SecurityFeature(bits)
    nonce = Nonces(SECRET, features=features).make(SOURCE, 12.5)
    assert nonce.startswith(nonce_cookie(features))
    assert security_features(nonce) == features
    assert len(nonce) == 24
    assert set(nonce) <= set(string.ascii_letters + string.digits + "+/")


@pytest.mark.parametrize("start", [0.0, 1.75, -5.0, 65535.9, 65536.0, 1e9])
@pytest.mark.parametrize("life", [1.0, 10.0, 600.0, 3600.0])
def test_a_nonce_is_good_for_its_life(start, life):
    """A second of it may be lost, for that is how exactly the time stands in it."""
    nonces = Nonces(SECRET, life=life)
    nonce = nonces.make(SOURCE, start)
    for age in (0.0, (life - 1) / 2, life - 1):
        assert nonces.valid(nonce, SOURCE, start + age)
    for age in (life + 1e-3, 2 * life + 1, 65536.0, 65536.0 * 3):
        assert not nonces.valid(nonce, SOURCE, start + age)


def test_a_nonce_from_the_future_is_none():
    """Five seconds are the difference of clocks, more is an attempt."""
    nonces = Nonces(SECRET)
    nonce = nonces.make(SOURCE, 1000.0)
    assert nonces.valid(nonce, SOURCE, 1000.0 - MAX_AHEAD)
    assert not nonces.valid(nonce, SOURCE, 1000.0 - MAX_AHEAD - 0.01)
    assert not nonces.valid(nonce, SOURCE, 0.0)


def test_a_nonce_is_good_for_one_source_and_context():
    """8489-43: the address, the port, and what else it is bound to."""
    nonces = Nonces(SECRET)
    nonce = nonces.make(SOURCE, 0.0, "udp")
    assert nonces.valid(nonce, SOURCE, 0.0, "udp")
    for source in (("192.0.2.7", 40001), ("192.0.2.8", 40000), ("192.0.2.74", 0), ("192.0.2.7\x0040000", 0)):
        assert not nonces.valid(nonce, source, 0.0, "udp")
    assert not nonces.valid(nonce, SOURCE, 0.0, "tcp")
    many = {nonces.make(("192.0.2.7", port), 0.0) for port in range(1, 5001)}
    assert len(many) == 5000


def test_the_previous_secret_is_good_for_a_while_and_the_one_before_is_not():
    nonces = Nonces(SECRET)
    old = nonces.make(SOURCE, 0.0)
    nonces.rotate(b"another secret 1")
    new = nonces.make(SOURCE, 0.0)
    assert old != new
    assert nonces.valid(old, SOURCE, 1.0)
    assert nonces.valid(new, SOURCE, 1.0)
    nonces.rotate(b"another secret 2")
    assert not nonces.valid(old, SOURCE, 1.0)
    assert nonces.valid(new, SOURCE, 1.0)


def test_processes_that_share_a_secret_take_each_others_nonces():
    assert Nonces(SECRET).valid(Nonces(SECRET).make(SOURCE, 7.0), SOURCE, 8.0)
    assert not Nonces(SECRET).valid(Nonces(bytes(32)).make(SOURCE, 7.0), SOURCE, 8.0)
    assert not Nonces(SECRET).valid(
        Nonces(SECRET, features=SecurityFeature.PASSWORD_ALGORITHMS).make(SOURCE, 7.0), SOURCE, 8.0
    )


@pytest.mark.parametrize("life", [0.0, 0.9, -1.0, 3600.1, float("nan"), float("inf")])
def test_lives_that_are_refused(life):
    with pytest.raises(ValueError, match="3600"):
        Nonces(SECRET, life=life)


def test_secrets_that_are_refused():
    with pytest.raises(ValueError, match="16"):
        Nonces(bytes(15))
    nonces = Nonces(SECRET)
    with pytest.raises(ValueError, match="16"):
        nonces.rotate(b"")


@given(
    st.text(max_size=30)
    | st.text(string.ascii_letters + string.digits + "+/=", min_size=11, max_size=11).map(
        lambda text: nonce_cookie(SecurityFeature.NONE) + text
    ),
    st.floats(-1e6, 1e6),
)
def test_no_text_is_a_nonce_by_chance(text, now):
    assert not Nonces(SECRET).valid(text, SOURCE, now)


@given(st.integers(0, 23), st.integers(33, 126))
def test_a_changed_nonce_is_none(position, character):
    nonce = Nonces(SECRET).make(SOURCE, 0.0)
    changed = nonce[:position] + chr(character) + nonce[position + 1 :]
    # the last character of base64 has two bits that nothing is made of
    assert Nonces(SECRET).valid(changed, SOURCE, 0.0) == (changed == nonce) or position == 23


def test_a_source_gets_so_many_challenges_at_once_and_per_second():
    budget = ChallengeBudget(10)
    assert [budget.take(SOURCE, 0.0) for _ in range(15)] == [True] * 10 + [False] * 5
    assert budget.take(("192.0.2.8", 1), 0.0)
    assert [budget.take(SOURCE, 0.5) for _ in range(6)] == [True] * 5 + [False]
    assert not budget.take(SOURCE, -100.0)  # a clock that goes back gives nothing
    granted = sum(budget.take(SOURCE, 1000 + number / 100) for number in range(1000))
    assert granted == pytest.approx(110, abs=1)


def test_who_has_many_addresses_or_ports_is_one_source():
    budget = ChallengeBudget(2)
    hosts = ["2001:db8:1:2::1", "2001:db8:1:2:ffff::", "2001:db8:1:2::3%eth0"]
    assert [budget.take((host, port), 0.0) for port, host in enumerate(hosts)] == [True, True, False]
    assert budget.take(("2001:db8:1:3::1", 1), 0.0)
    assert [budget.take((host, 1), 0.0) for host in ("10.0.0.1", "::ffff:10.0.0.1", "10.0.0.1")] == [
        True,
        True,
        False,
    ]


def test_sources_remembered_are_limited():
    budget = ChallengeBudget(1)
    for number in range(MAX_SOURCES + 100):
        budget.take((f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 1), 0.0)
    assert len(budget) == MAX_SOURCES
    assert not budget.take(("10.0.64.99", 1), 0.0)  # one of the last
    assert budget.take(("10.0.0.0", 1), 0.0)  # forgotten


def test_less_than_one_challenge_per_second():
    budget = ChallengeBudget(0.1)
    assert [budget.take(SOURCE, at) for at in (0.0, 1.0, 9.0, 11.0)] == [True, False, False, True]
    with pytest.raises(ValueError, match="more than 0"):
        ChallengeBudget(0)
