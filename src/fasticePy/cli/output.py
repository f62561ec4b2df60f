"""How commands print: plain text tables, JSON lines, and numbers that people can read."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence


def table(rows: Iterable[Sequence[object]], *, indent: int = 1, gap: int = 2) -> str:
    """The rows as aligned columns, one line each, without trailing blanks; None prints as nothing."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    columns = max((len(row) for row in cells), default=0)
    widths = [max((len(row[i]) for row in cells if i < len(row)), default=0) for i in range(columns)]
    lines = []
    for row in cells:
        line = (" " * gap).join(cell.ljust(width) for cell, width in zip(row, widths, strict=False))
        lines.append((" " * indent + line).rstrip())
    return "\n".join(lines)


def section(title: str, rows: Iterable[Sequence[object]]) -> str:
    """A table whose first column names the section in its first row."""
    return table([title if index == 0 else "", *row] for index, row in enumerate(rows))


def say(text: str) -> None:
    """Tell the person at the terminal something that is not the command's output (standard error)."""
    print(text, file=sys.stderr, flush=True)


def print_json(value: Mapping[str, object]) -> None:
    """One object on one line of standard output, at once."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def milliseconds(seconds: float | None) -> str:
    """A duration as people read it: `0.42 ms`, `12.3 ms`, `1240 ms`; nothing for None."""
    if seconds is None:
        return ""
    value = seconds * 1000
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:.{digits}f} ms"


def host_port(address: tuple[str, int]) -> str:
    """An address as it is written in URLs: `192.0.2.1:3478`, `[2001:db8::1]:3478`."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
