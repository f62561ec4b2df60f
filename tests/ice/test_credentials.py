"""User fragments and passwords."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fasticePy.ice.credentials import ICE_CHARS, PWD_LENGTH, UFRAG_LENGTH, Credentials, random_ice_string

UFRAG = "8hhY"
PWD = "asd88fgpdd777uzjYhagZg"


def test_generated_ones_are_long_enough(rng: Callable[[int], bytes]) -> None:
    """8445-14: 6 random bits a character, so at least 4 and 22 of them; 8839-24: and no ufrag longer than 32."""
    for _ in range(100):
        credentials = Credentials.generate(rng)
        assert len(credentials.ufrag) == UFRAG_LENGTH and 24 <= 6 * len(credentials.ufrag) <= 6 * 32
        assert len(credentials.pwd) == PWD_LENGTH and 6 * len(credentials.pwd) >= 128
        assert set(credentials.ufrag + credentials.pwd) <= set(ICE_CHARS)


def test_generated_ones_are_distinct(rng: Callable[[int], bytes]) -> None:
    """8445-14, 8839-23 (part: random for each session): ten thousand of them have nothing in common."""
    many = [Credentials.generate(rng) for _ in range(10_000)]
    assert len({credentials.ufrag for credentials in many}) == 10_000
    assert len({credentials.pwd for credentials in many}) == 10_000


def test_every_character_is_equally_likely() -> None:
    """8445-14: no bit of the randomness is lost and none counts twice: 256 byte values give each character 4 times."""
    text = random_ice_string(lambda n: bytes(range(n)), 256)
    assert sorted(text) == sorted(ICE_CHARS * 4)


def test_one_call_of_the_source_for_each_string() -> None:
    asked: list[int] = []

    def source(n: int) -> bytes:
        asked.append(n)
        return bytes(n)

    assert Credentials.generate(source) == Credentials("A" * UFRAG_LENGTH, "A" * PWD_LENGTH)
    assert asked == [UFRAG_LENGTH, PWD_LENGTH]


@pytest.mark.parametrize(("length", "good"), [(3, False), (4, True), (32, True), (256, True), (257, False)])
def test_lengths_of_ufrags(length: int, good: bool) -> None:
    """8839-24: up to 256 characters are accepted, fewer than 4 are not."""
    if good:
        assert Credentials("u" * length, PWD).ufrag == "u" * length
    else:
        with pytest.raises(
            ValueError, match=f"ICE ufrag must have 4 to 256 characters, this one has {length}"
        ):
            Credentials("u" * length, PWD)


@pytest.mark.parametrize(("length", "good"), [(21, False), (22, True), (256, True), (257, False)])
def test_lengths_of_passwords(length: int, good: bool) -> None:
    """8839-24: 22 to 256 characters. The text of the error does not repeat the password."""
    if good:
        assert Credentials(UFRAG, "p" * length).pwd == "p" * length
    else:
        with pytest.raises(
            ValueError, match=f"ICE pwd must have 22 to 256 characters, this one has {length}"
        ):
            Credentials(UFRAG, "p" * length)


@pytest.mark.parametrize(("length", "good"), [(3, False), (4, True), (32, True), (33, False), (257, False)])
def test_ufrags_that_we_may_send(length: int, good: bool) -> None:
    """8839-24: what is ours has 32 characters at most."""
    if good:
        assert Credentials.own("u" * length, PWD) == Credentials("u" * length, PWD)
    else:
        with pytest.raises(ValueError, match="ICE ufrag"):
            Credentials.own("u" * length, PWD)


@pytest.mark.parametrize("character", ["-", ":", " ", "=", "\x00", "\n", "\u00e9", "\uff11"])
def test_other_characters(character: str) -> None:
    """8839-24: ice-chars only, so that a USERNAME has one colon and a line no end too early."""
    with pytest.raises(ValueError, match="ICE ufrag may only have"):
        Credentials(UFRAG + character, PWD)
    with pytest.raises(ValueError, match="ICE pwd may only have") as caught:
        Credentials(UFRAG, PWD + character)
    assert PWD not in str(caught.value)


def test_the_password_is_not_shown() -> None:
    assert PWD not in repr(Credentials(UFRAG, PWD))
    assert UFRAG in repr(Credentials(UFRAG, PWD))
