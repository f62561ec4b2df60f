from __future__ import annotations

import pytest

from fasticePy.sim import VirtualClock


def test_it_stands_still_until_moved():
    clock = VirtualClock(5.0)
    assert clock.now == 5.0
    assert clock.advance(0.25) == 5.25
    assert clock.advance_to(7.0) == clock.now == 7.0
    assert clock.advance(0.0) == 7.0


@pytest.mark.parametrize("step", [-0.001, float("nan")])
def test_it_never_goes_back(step):
    clock = VirtualClock(5.0)
    with pytest.raises(ValueError, match="monotonic"):
        clock.advance(step)
    assert clock.now == 5.0
