#!/usr/bin/env python3
"""Checks what a built sdist and wheel hold: `check_dist.py DIST_FOLDER`.

The wheel has the compiled modules and what type checkers and Cython users read, and no sources of them; the
sdist has everything that building and testing need, and nothing that was generated.
"""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

SOURCES = (".c", ".h", ".pyx")
SHIPPED = (".py", ".pyi", ".pxd", ".so", ".pyd", "py.typed")
NEEDED = (
    "LICENSE", "README.md", "pyproject.toml", "setup.py", "docs/conformance.md", "examples/", "src/_native/",
    "src/fasticePy/py.typed", "tests/checklist.csv", "tests/conftest.py", "tools/checklist.py",
)  # fmt: skip
GENERATED = (".so", ".pyd", ".pyc", ".html")


def wheel_mistakes(names: list[str], modules: list[str]) -> list[str]:
    """What is wrong with the files of a wheel, given the names of the compiled modules."""
    files = [name for name in names if ".dist-info/" not in name]
    mistakes = [f"wheel ships {name}" for name in files if not name.endswith(SHIPPED)]
    mistakes += [
        f"wheel has {name} outside the package" for name in files if not name.startswith("fasticePy/")
    ]
    for module in modules:
        folder = "fasticePy/_native/"
        built = [
            name for name in files if name.startswith(f"{folder}{module}.") and name.endswith((".so", ".pyd"))
        ]
        if len(built) != 1:
            mistakes.append(f"wheel has {len(built)} builds of {folder}{module}")
        if f"{folder}{module}.pyi" not in files:
            mistakes.append(f"wheel lacks {folder}{module}.pyi")
    if "fasticePy/py.typed" not in files:
        mistakes.append("wheel lacks fasticePy/py.typed")
    return mistakes


def sdist_mistakes(names: list[str]) -> list[str]:
    """What is wrong with the files of an sdist (names without its top folder)."""
    mistakes = [f"sdist lacks {need}" for need in NEEDED if not any(name.startswith(need) for name in names)]
    mistakes += [f"sdist ships {name}" for name in names if name.endswith(GENERATED)]
    native = {Path(name) for name in names if name.startswith("src/_native/")}
    mistakes += [
        f"sdist ships the generated {path.with_suffix('.c')}"
        for path in native
        if path.suffix == ".pyx" and path.with_suffix(".c") in native
    ]
    return mistakes


def main(arguments: list[str]) -> int:
    """Run the command line; gives the exit code."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    folder = Path(arguments[0])
    sdists, wheels = sorted(folder.glob("*.tar.gz")), sorted(folder.glob("*.whl"))
    if len(sdists) != 1 or not wheels:
        print(f"{folder} has {len(sdists)} sdists and {len(wheels)} wheels", file=sys.stderr)
        return 1
    with tarfile.open(sdists[0]) as sdist:
        names = [member.name.partition("/")[2] for member in sdist.getmembers() if member.isfile()]
    mistakes = sdist_mistakes(names)
    modules = [Path(name).stem for name in names if name.startswith("src/_native/") and name.endswith(".pyx")]
    for path in wheels:
        with zipfile.ZipFile(path) as wheel:
            mistakes += wheel_mistakes(wheel.namelist(), modules)
    print(
        "\n".join(mistakes)
        or f"{sdists[0].name} and {len(wheels)} wheel(s) hold what they should: {', '.join(modules)}"
    )
    return 1 if mistakes else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
