"""`fasticepy bench`: how fast the codec is on this machine, beside aioice when that is installed."""

from __future__ import annotations

import argparse
import platform
from dataclasses import asdict
from statistics import median
from typing import TypeAlias

from fasticePy.cli.bench_codec import CALLS, OURS, Operation, aioice_operations, fasticepy_operations
from fasticePy.cli.command import Command, ExitCode, UsageError
from fasticePy.cli.output import print_json, say, table
from fasticePy.stun.kernels import native_features

Times: TypeAlias = dict[str, dict[str, float]]
"""Seconds of one operation, by row and library."""

ROUNDS = 60
MAX_ROUNDS = 100_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `fasticepy bench`."""
    parser.add_argument(
        "suite",
        choices=["codec"],
        help="codec: reading, verifying and building messages, and telling packets apart",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=ROUNDS,
        metavar="N",
        help=f"how often each is timed; the median counts (default {ROUNDS}, which takes seconds)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object a line, times in nanoseconds"
    )


def run(args: argparse.Namespace) -> int:
    """Measure and print; FAILED when a result is wrong."""
    if not 1 <= args.rounds <= MAX_ROUNDS:
        raise UsageError(f"--rounds {args.rounds} is not between 1 and {MAX_ROUNDS}")
    libraries = {OURS: fasticepy_operations()}
    try:
        libraries["aioice"] = aioice_operations()
    except ImportError:
        say("aioice is not installed (pip install aioice): nothing to compare with")
    wrong = [op.row for found in libraries.values() for op in found if op.result() != op.expected]
    if wrong:
        say(f"wrong results: {', '.join(wrong)}")
        return ExitCode.FAILED
    times = measure(libraries, args.rounds)
    if args.json:
        _print_lines(times)
    else:
        _print_table(times)
    return ExitCode.OK


def measure(libraries: dict[str, list[Operation]], rounds: int) -> Times:
    """The median seconds of each operation. The libraries take turns, so that a busy machine hits them alike."""
    times: Times = {}
    for row in dict.fromkeys(op.row for found in libraries.values() for op in found):
        taking = [
            (library, op, op.timer()) for library, found in libraries.items() for op in found if op.row == row
        ]
        samples: dict[str, list[float]] = {library: [] for library, _, _ in taking}
        for _ in range(rounds):
            for library, op, timer in taking:
                samples[library].append(timer(CALLS[library]) / CALLS[library] / op.operations)
        times[row] = {library: median(found) for library, found in samples.items()}
    return times


def _ratio(entry: dict[str, float]) -> float | None:
    return entry["aioice"] / entry[OURS] if "aioice" in entry and OURS in entry else None


def _print_table(times: Times) -> None:
    rows: list[list[object]] = [["", OURS, "aioice", "aioice / fasticePy"]]
    for row, entry in times.items():
        ratio = _ratio(entry)
        shown = [_human(entry[library]) if library in entry else "" for library in (OURS, "aioice")]
        rows.append([row, *shown, "" if ratio is None else f"{ratio:.1f}"])
    print(table(rows))
    features = native_features()
    print(
        f"\n {platform.python_implementation()} {platform.python_version()}, {platform.machine()}; kernels: "
        f"SHA-1 {features.sha1}, SHA-256 {features.sha256}, CRC-32 {features.crc32}"
    )


def _print_lines(times: Times) -> None:
    for row, entry in times.items():
        print_json(
            {
                "event": "operation",
                "name": row,
                **{f"{library}_ns": round(seconds * 1e9, 1) for library, seconds in entry.items()},
                "ratio": None if (ratio := _ratio(entry)) is None else round(ratio, 1),
            }
        )
    print_json(
        {
            "event": "done",
            "python": platform.python_version(),
            "machine": platform.machine(),
            "kernels": asdict(native_features()),
        }
    )


def _human(seconds: float) -> str:
    nanoseconds = seconds * 1e9
    return f"{nanoseconds / 1000:.3g} us" if nanoseconds >= 1000 else f"{nanoseconds:.3g} ns"


COMMAND = Command(
    "bench", "measure the codec on this machine, beside aioice if installed", add_arguments, run
)
