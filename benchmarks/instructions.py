#!/usr/bin/env python3
"""Counts the instructions that each operation of the codec takes, under valgrind's callgrind, and gates their growth.

    instructions.py             counts, and shows the counts beside the stored ones
    instructions.py --check     the same, and fails when one grew beyond its tolerance
    instructions.py --update    stores the counts in instructions.json

Time on a shared machine is no gate, instructions are: two runs of the same program count the same. Where the program
is another one, counts differ for reasons that are not ours, so two figures are kept for each operation:

- `own`: instructions inside our compiled modules, which depend on the compiler and on what Cython makes for this minor
  version of Python. They may grow by OWN_TOLERANCE.
- `total`: all instructions, interpreter and allocator included, divided by those of a plain Python function counted in
  the same run, because builds of one Python version differ. It may grow by TOTAL_TOLERANCE: one object more shows.

Figures are stored by Python's minor version, the compiler's major one, and the flags that Python's own build brings
along. Where these have none, nothing fails: the counts inform. The portable kernels are counted everywhere
(FASTICEPY_PORTABLE), for valgrind does not know all others.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from typing import TypeAlias

STORE = Path(__file__).with_name("instructions.json")
OWN_TOLERANCE = 0.03
TOTAL_TOLERANCE = 0.10
FEW, MANY = 1_000, 11_000
"""How often an operation is repeated; the difference of both leaves out what happens once."""
MARK = "getppid"
"""A function that nobody calls but us: callgrind writes a profile at each call."""
REFERENCE = "reference"
LINEAR = ("read 1023 attributes", "read 16368 attributes", 16)
"""An operation, the same on so many times as much, and how many times: parsing is linear, or it is an attack."""
LINEAR_TOLERANCE = 0.03

FORMS = (("own", ",.0f"), ("total", ".2f"))

Counts: TypeAlias = dict[str, dict[str, float]]


def operations() -> dict[str, Callable[[], object]]:
    """What is counted, by name; each works on the check of 104 bytes that the benchmarks use, or on media."""
    from fasticePy import stun

    attribute, channel = stun.Attribute, stun.ChannelData
    key = stun.IntegrityKey.short_term("VOkJxbRl1RmTxUk/WvJxBt")
    identifier, address = b"0123456789ab", ("2001:db8:1234:5678:11:2233:4455:6677", 32853)

    def build() -> bytes:
        builder = stun.MessageBuilder(1, 0, identifier)
        builder.add(attribute.USERNAME, "abcdefgh:ijklmnop1234")
        builder.add(attribute.USE_CANDIDATE)
        builder.add(attribute.ICE_CONTROLLING, 0x932FF9B151263B36)
        builder.add(attribute.PRIORITY, 0x6E0001FF)
        return builder.build(key, fingerprint=True)

    def build_address() -> bytes:
        builder = stun.MessageBuilder(1, 2, identifier)
        builder.add(attribute.XOR_MAPPED_ADDRESS, address)
        return builder.build()

    def reference() -> bytes:
        return check[4:24] + check[:4]

    def read(data: bytes) -> object:
        found = stun.parse(data)
        missing = found.get(attribute.SOFTWARE), found.get_all(attribute.REALM), found.verify_integrity(key)
        return missing, found.attributes(), found.unknown_required(()), found.verify_fingerprint()

    def attributes(number: int) -> bytes:
        return b"\0\1" + (4 * number).to_bytes(2, "big") + check[4:20] + b"\xbf\xff\0\0" * number

    check = build()
    few, many = attributes(1023), attributes(1023 * LINEAR[2])
    message, answer = stun.parse(check), stun.parse(build_address())
    payload = bytes(1200)
    packed = channel.build(0x4000, payload, stream=True)
    decoder, batch = stun.StreamDecoder("turn"), [check, packed, payload, b""] * 8
    return {
        REFERENCE: reference,
        "parse": lambda: stun.parse(check),
        "verify fingerprint": message.verify_fingerprint,
        "verify integrity": lambda: message.verify_integrity(key),
        "read username": lambda: message.get(attribute.USERNAME),
        "read address": lambda: answer.get(attribute.XOR_MAPPED_ADDRESS),
        "build and sign": build,
        "build an address": build_address,
        "unpack ChannelData": lambda: channel.parse(packed),
        "pack ChannelData": lambda: channel.build(0x4000, payload),
        "split a stream": lambda: decoder.feed(packed),
        "classify": lambda: stun.classify(check),
        "classify 32 at once": lambda: stun.classify_all(batch),
        LINEAR[0]: lambda: read(few),
        LINEAR[1]: lambda: read(many),
    }


def repetitions(name: str) -> tuple[int, int]:
    """How often an operation is repeated in its two runs."""
    return (2, 6) if name in LINEAR else (FEW, MANY)


def work() -> None:
    """The program that is counted: every operation FEW and MANY times, marks around."""
    everything = operations()
    gc.disable()
    for name, function in everything.items():
        for times in repetitions(name):
            os.getppid()
            for _ in repeat(None, times):
                function()
    os.getppid()


# --- counting --------------------------------------------------------------------------------------------------------


def measure() -> Counts:
    """Run `work` under callgrind; own and total instructions of one operation each."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *no_randomisation(),
            *("valgrind", "--tool=callgrind", "--compress-strings=no", "--compress-pos=no"),
            *(f"--dump-before={MARK}", f"--callgrind-out-file={folder}/profile"),
            *(sys.executable, str(Path(__file__).resolve()), "--work"),
        ]
        environment = {**os.environ, "PYTHONHASHSEED": "0", "FASTICEPY_PORTABLE": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
        # number n is what happened before the n-th mark; the first one is the start of the program
        profiles = sorted(Path(folder).glob("profile.*"), key=lambda path: int(path.suffix[1:]))
        costs = [read_profile(path.read_text(encoding="utf-8", errors="replace")) for path in profiles]
    names = list(operations())
    if len(costs) < 2 * len(names) + 1:
        raise SystemExit(
            f"{len(costs)} profiles instead of {2 * len(names) + 1}: is there a {MARK}() in libc?"
        )
    counts: Counts = {}
    for index, name in enumerate(names):
        few, many = costs[2 * index + 1], costs[2 * index + 2]
        less, more = repetitions(name)
        own, total = ((b - a) / (more - less) for a, b in zip(few, many, strict=True))
        counts[name] = {"own": round(own, 1), "total": total}
    base = counts.pop(REFERENCE)["total"]
    for name, entry in counts.items():
        entry["total"] = round(entry["total"] / base, 3)
        if name in LINEAR:
            del entry["total"]  # thousands of objects: mostly the allocator's way to get memory
    return counts


def no_randomisation() -> list[str]:
    """`setarch -R` where it may be used: containers may forbid it, and counts hardly depend on it."""
    prefix = ["setarch", "-R"]
    if shutil.which("setarch") and subprocess.run([*prefix, "true"], check=False).returncode == 0:
        return prefix
    return []


def read_profile(text: str) -> tuple[int, int]:
    """Instructions in our modules, and all, of one file of callgrind: the costs of each function itself."""
    own = total = 0
    ours = inclusive = False
    for line in text.splitlines():
        if line.startswith("ob="):
            ours = "/fasticePy/_native/" in line
        elif line.startswith("calls="):
            inclusive = True  # the next line is the cost of the function called, which has lines of its own
        elif line[:1].isdigit() or line[:1] in "+-*":
            if not inclusive:
                cost = int(line.partition(" ")[2] or 0)
                total += cost
                own += cost if ours else 0
            inclusive = False
    return own, total


def this_build() -> str:
    """Which figures are comparable: Python's minor version, the compiler of the extensions, and the flags of Python's
    own build that they are compiled with."""
    compiler = subprocess.run(
        [os.environ.get("CC", "cc"), "--version"], check=False, capture_output=True, text=True
    ).stdout
    version = re.search(r"\) (\d+)|version (\d+)", compiler)
    kind = "clang" if "clang" in compiler else "gcc"
    number = next((group for group in version.groups() if group), "?") if version else "?"
    flags = [
        flag
        for flag in str(sysconfig.get_config_var("CFLAGS")).split()
        if flag.startswith(("-O", "-f", "-m"))
    ]
    flags = [flag for flag in dict.fromkeys(flags) if "prefix-map" not in flag]
    return " ".join(
        [f"{sys.version_info[0]}.{sys.version_info[1]}", kind, number, os.uname().machine, *flags]
    )


# --- comparing -------------------------------------------------------------------------------------------------------


def compare(counts: Counts, stored: Counts) -> tuple[list[str], list[str]]:
    """The lines of a Markdown table, and what grew too much, in words."""
    lines = [
        "| operation | own | stored | total / reference | stored |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    grown = []
    for name, found in counts.items():
        before = stored.get(name, {})
        cells = [
            f"{side[kind]:{form}}" if kind in side else "" for kind, form in FORMS for side in (found, before)
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
        for kind, tolerance in (("own", OWN_TOLERANCE), ("total", TOTAL_TOLERANCE)):
            if kind in before and kind in found and found[kind] > before[kind] * (1 + tolerance):
                grown.append(
                    f"{name}: {kind} grew from {before[kind]:g} to {found[kind]:g}, more than {tolerance:.0%}"
                )
    return lines, grown


def not_linear(counts: Counts) -> list[str]:
    """Whether so many times the attributes take more than so many times the instructions, in words."""
    less, more, times = LINEAR
    ratio = counts[more]["own"] / counts[less]["own"]
    return [f"{more} takes {ratio:.1f} times {less}"] if ratio > times * (1 + LINEAR_TOLERANCE) else []


def main() -> int:
    """Run the command line; gives the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true", help="fail when a count grew beyond its tolerance")
    action.add_argument("--update", action="store_true", help="store the counts of this build")
    action.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work()
        return 0
    if shutil.which("valgrind") is None:
        raise SystemExit("install valgrind (Debian, Ubuntu: apt install valgrind)")
    stored: dict[str, Counts] = json.loads(STORE.read_text(encoding="utf-8")) if STORE.exists() else {}
    build, counts = this_build(), measure()
    lines, grown = compare(counts, stored.get(build, {}))
    print(f"Instructions of one operation, {build}:\n")
    print("\n".join(lines))
    if args.update:
        stored[build] = counts
        STORE.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    elif build not in stored:
        print(
            f"\nNo counts of {build} are stored ({', '.join(stored) or 'none at all'}): nothing to compare with."
        )
    wrong = grown + not_linear(counts)
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if args.check and wrong else 0


if __name__ == "__main__":
    sys.exit(main())
