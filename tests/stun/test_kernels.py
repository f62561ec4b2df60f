"""Which kernels are in use is told, and can be forced."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import fasticePy
from fasticePy import stun

SHOW = "import fasticePy; f = fasticePy.native_features(); print(f.sha1, f.sha256, f.crc32)"


def shown(portable: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", SHOW],
        env={**os.environ, "FASTICEPY_PORTABLE": portable},
        capture_output=True,
        text=True,
        check=True,
        timeout=50,
    )
    return done.stdout.split()


def test_features_are_told() -> None:
    features = fasticePy.native_features()
    assert isinstance(features, fasticePy.NativeFeatures)
    assert {features.sha1, features.sha256} <= {"sha-ni", "armv8", "portable"}
    assert features.crc32 in {"pclmul", "armv8", "portable"}


def test_portable_ones_can_be_forced() -> None:
    assert shown("1") == ["portable"] * 3


def test_an_empty_variable_forces_nothing() -> None:
    """What this CPU has is used, and this process shows the same unless it is forced itself."""
    if os.environ.get("FASTICEPY_PORTABLE"):
        features = fasticePy.native_features()
        assert [features.sha1, features.sha256, features.crc32] == ["portable"] * 3
    else:
        features = fasticePy.native_features()
        assert shown("") == [features.sha1, features.sha256, features.crc32]


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="other systems tell CPU features otherwise")
@pytest.mark.skipif("clang" in str(sysconfig.get_config_var("CC")), reason="clang 15 hides the ones of ARMv8")
def test_what_the_cpu_has_is_used() -> None:
    words = set(Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").split())
    chosen = shown("")
    assert (chosen[0] != "portable") == bool(words & {"sha_ni", "sha1"})
    assert (chosen[1] != "portable") == bool(words & {"sha_ni", "sha2"})
    assert (chosen[2] != "portable") == bool(words & {"pclmulqdq", "crc32"})


def test_kinds_of_many_datagrams_at_once() -> None:
    """7983-1: the same as one by one."""
    datagrams = [bytes([first, 0]) for first in range(256)] + [b""]
    for from_turn_server in (True, False):
        kinds = stun.classify_all(datagrams, from_turn_server)
        assert list(kinds) == [stun.classify(data, from_turn_server) for data in datagrams]
        assert stun.classify_all(tuple(map(memoryview, datagrams)), from_turn_server) == kinds
        assert stun.classify_all(iter(datagrams), from_turn_server=from_turn_server) == kinds
    assert stun.classify_all([]) == b""
    with pytest.raises(TypeError):
        stun.classify_all([b"", "text"])  # type: ignore[list-item]
