"""The compiled extensions. Everything else is declared in pyproject.toml.

FASTICEPY_BUILD selects how they are compiled:
  release   (default) optimised
  debug     -O0 -g, bounds checks on
  trace     line tracing for coverage (Cython.Coverage)
  sanitize  AddressSanitizer + UndefinedBehaviorSanitizer
  fuzz      the same with coverage counters for a fuzzer; clang only (CC=clang)
FASTICEPY_ANNOTATE=1 also writes the cython -a report beside each .pyx.
"""

import os
import sys
import sysconfig
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CCompilerError, PlatformError

PROFILE = os.environ.get("FASTICEPY_BUILD", "release")
if PROFILE not in ("release", "debug", "trace", "sanitize", "fuzz"):
    raise SystemExit(f"FASTICEPY_BUILD={PROFILE!r}: not one of release, debug, trace, sanitize, fuzz")
NATIVE = Path("src/_native")  # .pyx, .c, .h
PACKAGE = Path("src/fasticePy/_native")  # .pxd, .pyi: what is shipped

EXTENSIONS = {  # module of fasticePy._native -> its C files
    "crc": ["crc32.c", "cpu.c"],
    "integrity": ["hmac.c", "sha1.c", "sha256.c", "cpu.c"],
    "attributes": ["address.c"],
    "stun": [],
    "framing": [],
}

SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
COMPILE_ARGS = {
    "release": ["-O3", "-g0"],  # Python adds its own -g, with which a wheel is several times larger
    "debug": ["-O0", "-g3", "-UNDEBUG"],
    "trace": [],
    "sanitize": [*SANITIZERS, "-O1", "-g", "-UNDEBUG"],
    "fuzz": [*SANITIZERS, "-fsanitize=fuzzer-no-link", "-O1", "-g", "-UNDEBUG"],
}
MSVC_ARGS = {
    "release": ["/O2"],
    "debug": ["/Od", "/Zi"],
    "trace": [],
    "sanitize": ["/fsanitize=address", "/Zi"],
    "fuzz": ["/fsanitize=address", "/Zi"],
}

WHAT_TO_INSTALL = {
    "linux": "a C compiler and Python's headers (Debian, Ubuntu: apt install build-essential python3-dev; "
    "Fedora: dnf install gcc python3-devel; Alpine: apk add build-base python3-dev)",
    "darwin": "Apple's compiler (xcode-select --install)",
    "win32": 'the "Desktop development with C++" of the Visual Studio Build Tools',
}


class BuildExtensions(build_ext):
    """Compiles with the flags of the compiler at hand, and says what to install where there is none."""

    def build_extensions(self) -> None:
        """Called when the compiler is chosen."""
        self.try_compiler()
        msvc = self.compiler.compiler_type == "msvc"
        for extension in self.extensions:
            if msvc:
                extension.extra_compile_args = ["/std:c11", "/W3", *MSVC_ARGS[PROFILE]]
            else:
                extension.extra_compile_args = [
                    "-std=c11",
                    "-Wall",
                    "-Wextra",
                    "-fvisibility=hidden",
                    *COMPILE_ARGS[PROFILE],
                ]
                extension.extra_link_args = SANITIZERS[:1] if PROFILE in ("sanitize", "fuzz") else []
        super().build_extensions()

    def try_compiler(self) -> None:
        """One sentence instead of a page of a compiler's complaints about a file that nobody has heard of."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, "probe.c")
            source.write_text("#include <Python.h>\n", encoding="ascii")
            try:
                self.compiler.compile([str(source)], output_dir=folder, include_dirs=self.include_dirs)
            except (CCompilerError, PlatformError, OSError) as error:
                needed = WHAT_TO_INSTALL.get(sys.platform, "a C compiler and Python's headers")
                raise SystemExit(f"fasticePy cannot be built from source without {needed}: {error}") from None


def extension(name: str, c_files: list[str]) -> Extension:
    pyx, pxd = NATIVE / f"{name}.pyx", PACKAGE / f"{name}.pxd"
    if pxd.exists() and pxd.stat().st_mtime > pyx.stat().st_mtime:
        os.utime(pyx)  # cythonize looks for a module's own .pxd beside its .pyx only
    macros: list[tuple[str, str | None]] = []
    if PROFILE == "trace":
        macros += [("CYTHON_TRACE_NOGIL", "1"), ("CYTHON_USE_SYS_MONITORING", "0")]
    if sys.platform == "win32" and sysconfig.get_config_var("Py_GIL_DISABLED"):
        macros += [("Py_GIL_DISABLED", "1")]  # Windows has one pyconfig.h for both builds
    return Extension(
        f"fasticePy._native.{name}",
        [pyx.as_posix(), *((NATIVE / c).as_posix() for c in c_files)],
        include_dirs=[NATIVE.as_posix()],
        depends=[h.as_posix() for h in NATIVE.glob("*.h")],
        define_macros=macros,
    )


setup(
    cmdclass={"build_ext": BuildExtensions},
    ext_modules=cythonize(
        [extension(name, c_files) for name, c_files in EXTENSIONS.items()],
        include_path=["src"],  # so that fasticePy._native.*.pxd are found
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
