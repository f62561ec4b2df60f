"""Building from source: without a compiler, and from other people's Cython modules."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(sys.platform == "win32", reason="CC is how POSIX chooses a compiler"),
]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of what a build needs."""
    pytest.importorskip("Cython", reason="building needs Cython and setuptools, which the dev extra brings")
    pytest.importorskip("setuptools")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, tmp_path)
    shutil.copytree(PROJECT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("*.so", "*.egg-info"))
    return tmp_path


def build(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=280,
    )


def test_without_a_compiler_one_sentence_says_what_to_install(source: Path) -> None:
    done = build(source, CC="/nonexistent")
    assert done.returncode == 1
    told = done.stderr.strip().splitlines()
    assert len(told) == 1
    assert "cannot be built from source without" in told[0]
    assert ("build-essential" in told[0]) == (sys.platform == "linux")


def test_an_unknown_profile_is_refused(source: Path) -> None:
    done = build(source, FASTICEPY_BUILD="fast")
    assert done.returncode == 1
    assert done.stderr.strip() == "FASTICEPY_BUILD='fast': not one of release, debug, trace, sanitize, fuzz"


USER_MODULE = """
from libc.stdint cimport uint8_t
from fasticePy._native.crc cimport crc32_of
from fasticePy._native.stun cimport PARSE_OK, Layout, Message, scan
from fasticePy._native.framing cimport KIND_STUN, kind_of_first_byte

def look(bytes data):
    cdef Layout layout
    cdef const uint8_t *p = data
    cdef int code
    with nogil:
        code = scan(p, 28, &layout)
    return code == PARSE_OK, layout.fingerprint, crc32_of(p, 20), kind_of_first_byte(p[0]) == KIND_STUN

def size(Message message):
    return len(message.data)
"""

USER_SETUP = """
from setuptools import Extension, setup
from Cython.Build import cythonize
setup(name="user", ext_modules=cythonize([Extension("user", ["user.pyx"])], language_level=3))
"""

USER_RUN = """
import zlib, user
from fasticePy import stun
data = bytes.fromhex("000100082112a442000102030405060708090a0b802800045b0ff6fc")
assert user.look(data) == (True, 20, zlib.crc32(data[:20]), True), user.look(data)
assert user.size(stun.parse(data)) == 28
print("works")
"""


def test_other_modules_can_cimport_ours(source: Path) -> None:
    """The .pxd files that we ship are enough to use the native functions from Cython, without the GIL."""
    user = source / "user"
    user.mkdir()
    (user / "user.pyx").write_text(USER_MODULE, encoding="ascii")
    (user / "setup.py").write_text(USER_SETUP, encoding="ascii")
    assert build(user).returncode == 0
    done = subprocess.run(
        [sys.executable, "-c", USER_RUN], cwd=user, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout.strip()) == (0, "works"), done.stderr
