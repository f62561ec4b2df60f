"""The compiled extensions. Everything else is declared in pyproject.toml.

FASTICEPY_BUILD selects how they are compiled:
  release   (default) optimised
  debug     -O0 -g, bounds checks on
  trace     line tracing for coverage (Cython.Coverage)
  sanitize  AddressSanitizer + UndefinedBehaviorSanitizer
FASTICEPY_ANNOTATE=1 also writes the cython -a report beside each .pyx.
"""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

PROFILE = os.environ.get("FASTICEPY_BUILD", "release")
if PROFILE not in ("release", "debug", "trace", "sanitize"):
    raise SystemExit(f"FASTICEPY_BUILD={PROFILE!r}: not one of release, debug, trace, sanitize")
MSVC = sys.platform == "win32"
NATIVE = Path("src/_native")                    # .pyx, .c, .h
PACKAGE = Path("src/fasticePy/_native")         # .pxd, .pyi: what is shipped

cflags = ["/std:c11", "/W3"] if MSVC else ["-std=c11", "-Wall", "-Wextra", "-fvisibility=hidden"]
ldflags: list[str] = []
macros: list[tuple[str, str]] = []
if PROFILE == "release":
    cflags += ["/O2"] if MSVC else ["-O3"]
elif PROFILE == "debug":
    cflags += ["/Od", "/Zi"] if MSVC else ["-O0", "-g3", "-UNDEBUG"]
elif PROFILE == "sanitize":
    san = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
    cflags += [*san, "-O1", "-g", "-UNDEBUG"]
    ldflags += san[:1]
else:
    macros += [("CYTHON_TRACE_NOGIL", "1"), ("CYTHON_USE_SYS_MONITORING", "0")]

EXTENSIONS = {                                  # module of fasticePy._native -> its C files
    "crc": ["crc32.c", "cpu.c"],
    "integrity": ["hmac.c", "sha1.c", "sha256.c", "cpu.c"],
    "attributes": ["address.c"],
    "stun": [],
    "framing": [],
}


def extension(name: str, c_files: list[str]) -> Extension:
    pyx, pxd = NATIVE / f"{name}.pyx", PACKAGE / f"{name}.pxd"
    if pxd.exists() and pxd.stat().st_mtime > pyx.stat().st_mtime:
        os.utime(pyx)       # cythonize looks for a module's own .pxd beside its .pyx only
    return Extension(
        f"fasticePy._native.{name}",
        [pyx.as_posix(), *((NATIVE / c).as_posix() for c in c_files)],
        include_dirs=[NATIVE.as_posix()],
        depends=[h.as_posix() for h in NATIVE.glob("*.h")],
        define_macros=macros,
        extra_compile_args=cflags,
        extra_link_args=ldflags,
    )


setup(
    ext_modules=cythonize(
        [extension(name, c_files) for name, c_files in EXTENSIONS.items()],
        include_path=["src"],                   # so that fasticePy._native.*.pxd are found
        # the coverage plugin looks for the .c beside the .pyx
        build_dir=None if PROFILE == "trace" else f"build/cython-{PROFILE}",
        annotate=bool(os.environ.get("FASTICEPY_ANNOTATE")),
        compiler_directives={
            "language_level": "3",
            "freethreading_compatible": True,
            "auto_pickle": False,
            "autotestdict": False,
            "embedsignature": True,
            "boundscheck": PROFILE == "debug",
            "wraparound": False,
            "initializedcheck": PROFILE == "debug",
            "cdivision": True,
            "linetrace": PROFILE == "trace",
        },
    ),
    options={"build_ext": {"parallel": os.cpu_count()}},
)
