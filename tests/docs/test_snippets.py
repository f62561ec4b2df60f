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
import warnings
from collections.abc import Iterator
from contextlib import AsyncExitStack, redirect_stdout
from typing import Any

import pytest

import fasticePy as ice
from fasticePy.cli.app import make_parser
from guide_world import SETUPS, use_host, world
from pages import PAGES, PROJECT, Block, anchors, blocks, of_language, output_of, prose

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
    left = asyncio.all_tasks() - {asyncio.current_task()}
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


@pytest.mark.parametrize("block", PYTHON, ids=ids(PYTHON))
def test_snippet(block: Block, monkeypatch: pytest.MonkeyPatch) -> None:
    if "not run" in block.marks:
        assert len(block.marks["not run"]) > 10, "say why it cannot be run"
        compiled(block)
        return
    gc.freeze()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        printed = run(block, monkeypatch)
    expected = output_of(block)
    if expected is not None:
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        assert doctest.OutputChecker().check_output(expected, printed, flags), f"it prints:\n{printed}"


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


@pytest.mark.parametrize("block", SHELL, ids=ids(SHELL))
def test_shell_block(block: Block) -> None:
    for words in commands(block):
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            del words[0]
        if words[0] == "docker" and "fasticepy" in words:
            words = words[words.index("fasticepy") :]
        arguments = own_arguments(words)
        if arguments is not None:
            try:
                make_parser().parse_args(arguments)
            except SystemExit as end:
                assert end.code == 0, f"fasticepy does not take {arguments}"
            continue
        program = words[0].removeprefix(".venv/bin/")
        assert program in OTHER_PROGRAMS or (PROJECT / program).is_file(), f"{block.name}: {program}"


def subparsers() -> dict[str, argparse.ArgumentParser]:
    for action in make_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise AssertionError("fasticepy has no commands")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_commands_in_the_text_exist(page: Any) -> None:
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
def test_links_and_blocks(page: Any) -> None:
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
