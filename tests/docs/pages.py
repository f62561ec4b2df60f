"""The pages people read, taken apart: fenced blocks with the comments above them, links, headings.

What a comment above a block may say:

- `<!-- setup: pair -->`: what the block finds ready, see `tests/docs/guide_world.py`; several with commas.
- `<!-- not run: why -->`: the block is compiled and not run, for the reason given.
- `<!-- output -->` above a `text` block: exactly what the Python block before it prints; `...` stands for any text.
- `<!-- only: linux, why -->`: the block does this on one system only (`sys.platform`), and is skipped elsewhere.
- `<!-- host: name kind address[, ...] -->`: the host has these addresses only, and sockets cannot be opened on them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
PAGES = (
    PROJECT / "README.md",
    PROJECT / "examples" / "README.md",
    *sorted((PROJECT / "docs").rglob("*.md")),
)

_FENCE = re.compile(r"^```(\S*)\s*$")
_COMMENT = re.compile(r"^<!--\s*(.*?)\s*-->$")
_KNOWN_MARKS = ("setup", "not run", "output", "host", "only")


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int
    """Of the first line inside, from 1."""
    language: str
    code: str
    marks: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        page = self.page.relative_to(PROJECT) if self.page.is_relative_to(PROJECT) else self.page
        return f"{page}:{self.line}"

    def listed(self, mark: str) -> list[str]:
        return [each.strip() for each in self.marks.get(mark, "").split(",") if each.strip()]


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page; comments that are not about the next block are skipped."""
    found: list[Block] = []
    marks: dict[str, str] = {}
    language: str | None = None
    start = 0
    inside: list[str] = []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence, comment = _FENCE.match(line), _COMMENT.match(line)
        if language is not None:
            if line.strip() == "```":
                found.append(Block(page, start, language, "\n".join(inside) + "\n", marks))
                language, inside, marks = None, [], {}
            else:
                inside.append(line)
        elif fence:
            language, start = fence[1], number + 1
        elif comment:
            key, _, value = comment[1].partition(":")
            if key.strip() not in _KNOWN_MARKS:
                raise ValueError(f"{page}:{number}: unknown mark {key.strip()!r}")
            marks[key.strip()] = value.strip()
        elif line.strip() and marks:
            raise ValueError(f"{page}:{number}: a mark that is not above a block: {marks}")
    if language is not None:
        raise ValueError(f"{page}:{start}: the block does not end")
    return found


def of_language(language: str) -> list[Block]:
    return [block for page in PAGES for block in blocks(page) if block.language == language]


def output_of(block: Block) -> str | None:
    """What the page says that a block prints: the text block after it, if that is marked so."""
    later = [each for each in blocks(block.page) if each.line > block.line]
    return later[0].code if later and "output" in later[0].marks else None


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """The lines outside of fenced blocks, with their numbers."""
    inside = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("```"):
            inside = not inside
        elif not inside:
            yield number, line


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for _, line in prose(page):
        if heading := re.match(r"#+\s+(.*)", line):
            text = re.sub(r"[^\w\- ]", "", heading[1].lower())
            found.add(text.strip().replace(" ", "-"))
    return found
