"""Every snippet of the guides, the README and the other pages runs as printed, on loopback; every command exists.

How a page says what a snippet needs: `tests/docs/pages.py` and `tests/docs/guide_world.py`.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import doctest
import gc
import inspect
import io
import re
import shlex
import sys
import warnings
from collections.abc import Iterator
from contextlib import AsyncExitStack, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from guide_world import SETUPS, use_host, world
from pages import PAGES, PROJECT, Block, anchors, blocks, of_language, output_of, prose

import fasticePy as ice
from fasticePy.cli.app import make_parser

LANGUAGES = {"python", "sh", "text", "json", "yaml", "dockerfile", ""}
LONGEST = 20.0
"""Seconds after which a snippet counts as hanging; a snippet should take a small part of one."""
OTHER_PROGRAMS = {"docker", "pip", "python", "python3", "pytest", "git"}
"""What shell blocks may call that is not ours; their arguments are not checked."""

PYTHON = of_language("python")
SHELL = of_language("sh")


def ids(found: list[Block]) -> list[str]:
    return [block.name for block in found]


def compiled(block: Block) -> Any:
    """The code, with `await` allowed anywhere, and line numbers of the page."""
    tree = ast.parse(block.code, block.name)
    ast.increment_lineno(tree, block.line - 1)
    return compile(tree, block.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


async def run_inside(block: Block, code: Any, patch: pytest.MonkeyPatch) -> None:
    ours = asyncio.all_tasks()  # before Python 3.12, `wait_for` around this is a task of its own
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    names: dict[str, Any] = {"__name__": "__main__", "asyncio": asyncio, "ice": ice}
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(world(patch, block.code))
        for setup in block.listed("setup"):
            names.update(await stack.enter_async_context(SETUPS[setup]()))
        result = eval(code, names)
        if inspect.iscoroutine(result):
            await result
        names.clear()
    left = asyncio.all_tasks() - ours
    assert not left, f"tasks left behind: {left}"
    assert not complaints, f"errors that only the event loop saw: {complaints}"


def run(block: Block, patch: pytest.MonkeyPatch) -> str:
    code = compiled(block)
    use_host(patch, block.listed("host"))
    with redirect_stdout(io.StringIO()) as printed:
        if "asyncio.run(" in block.code:  # a whole program
            exec(code, {"__name__": "__main__"})
        else:
            asyncio.run(asyncio.wait_for(run_inside(block, code, patch), LONGEST))
    return printed.getvalue()


def check_python(block: Block, patch: pytest.MonkeyPatch) -> str:
    """Run a snippet as the page says; gives what is wrong with what it printed, or nothing. Raises what it raises."""
    if "not run" in block.marks:
        compiled(block)
        return "" if len(block.marks["not run"]) > 10 else "say why it cannot be run"
    gc.freeze()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        printed = run(block, patch)
    expected = output_of(block)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    if expected is None or doctest.OutputChecker().check_output(expected, printed, flags):
        return ""
    return f"it prints:\n{printed}"


@pytest.mark.parametrize("block", PYTHON, ids=ids(PYTHON))
def test_snippet(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    platform, _, why = block.marks.get("only", "").partition(",")
    if platform and sys.platform != platform:
        pytest.skip(f"on {platform} only: {why.strip()}")
    fault = check_python(block, monkeypatch)
    assert not fault, fault


def commands(block: Block) -> Iterator[list[str]]:
    """The commands of a shell block, as words."""
    text = block.code.replace("\\\n", " ")
    for line in text.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in lexer:
            if set(word) <= set("|&;"):
                yield from [words] if words else []
                words = []
            elif not set(word) <= set("<>"):
                words.append(word)
        if words:
            yield words


def own_arguments(words: list[str]) -> list[str] | None:
    """The arguments for `fasticepy`, or None when it is something else."""
    if words[0].rsplit("/", 1)[-1] == "fasticepy":
        return words[1:]
    if words[0].startswith("python") and words[1:3] == ["-m", "fasticePy"]:
        return words[3:]
    return None


def shell_fault(words: list[str]) -> str:
    """What is wrong with a command, or nothing."""
    words = list(words)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        del words[0]
    if words[0] == "docker" and "fasticepy" in words:
        words = words[words.index("fasticepy") :]
    arguments = own_arguments(words)
    if arguments is None:
        program = words[0].removeprefix(".venv/bin/")
        known = program in OTHER_PROGRAMS or (PROJECT / program).is_file()
        return "" if known else f"there is no program {program}"
    try:
        make_parser().parse_args(arguments)
    except SystemExit as end:
        return f"fasticepy does not take {arguments}" if end.code else ""
    return ""


@pytest.mark.parametrize("block", SHELL, ids=ids(SHELL))
def test_shell_block(block: Block) -> None:
    assert [fault for words in commands(block) if (fault := shell_fault(words))] == []


def subparsers() -> dict[str, argparse.ArgumentParser]:
    for action in make_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise AssertionError("fasticepy has no commands")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_commands_in_the_text_exist(page: Path) -> None:
    known = subparsers()
    for number, line in prose(page):
        for verb, rest in re.findall(r"`fasticepy ([a-z-]+)([^`]*)`", line):
            assert verb in known, f"{page}:{number}: fasticepy {verb}"
            options = set(known[verb]._option_string_actions)
            options |= {name for inner in _inner(known[verb]) for name in inner._option_string_actions}
            for option in re.findall(r"(?<![\w-])--[a-z-]+", rest):
                assert option in options, f"{page}:{number}: fasticepy {verb} {option}"


def _inner(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    actions = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    return [inner for action in actions for inner in action.choices.values()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_links_and_blocks(page: Path) -> None:
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{block.name}: {block.language}"
        assert set(block.listed("setup")) <= set(SETUPS), block.name
    for number, line in prose(page):
        for target in re.findall(r"\]\(([^)]+)\)", line):
            if "://" in target:
                continue
            path, _, anchor = target.partition("#")
            linked = (page.parent / path).resolve() if path else page
            assert linked.exists(), f"{page}:{number}: {target}"
            if anchor:
                assert anchor in anchors(linked), f"{page}:{number}: {target}"


def python(code: str, **marks: str) -> Block:
    return Block(PROJECT / "README.md", 10_000, "python", code, marks)


def test_faults_of_snippets_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(NameError):
        check_python(python("await nobody()"), monkeypatch)
    with pytest.raises(AssertionError, match="tasks left behind"):
        check_python(python("task = asyncio.create_task(asyncio.sleep(9))"), monkeypatch)
    with pytest.raises(AssertionError, match="only the event loop saw"):
        check_python(
            python("asyncio.get_running_loop().call_soon(int, 'x'); await asyncio.sleep(0)"), monkeypatch
        )
    assert check_python(python("print(1)", **{"not run": ""}), monkeypatch)
    with pytest.raises(SyntaxError):
        check_python(python("print(", **{"not run": "it is not whole"}), monkeypatch)
    page = tmp_path / "page.md"
    page.write_text("```python\nprint('yes')\n```\n<!-- output -->\n```text\nno\n```\n", encoding="utf-8")
    block = blocks(page)[0]
    assert output_of(block) == "no\n"
    assert check_python(replace(block, page=page), monkeypatch) == "it prints:\nyes\n"


@pytest.mark.parametrize(
    "line",
    ["fasticepy gather --nonsense", "fasticepy nonsense", "fasticpy gather", "python -m fasticePy probe"],
)
def test_wrong_commands_are_found(line: str) -> None:
    assert shell_fault(line.split())


def test_every_command_of_a_line_is_seen() -> None:
    block = Block(PROJECT / "README.md", 1, "sh", "A=1 pip install x && fasticepy \\\n  demo | tail # yes\n")
    assert list(commands(block)) == [["A=1", "pip", "install", "x"], ["fasticepy", "demo"], ["tail"]]


@pytest.mark.parametrize("text", ["<!-- colour: blue -->\n", "```python\n", "<!-- output -->\ntext\n"])
def test_marks_that_cannot_be_are_errors(text: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"page\.md:\d: "):
        blocks(page)
