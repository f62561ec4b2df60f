"""How the two sides of `fasticepy connect` meet: which description goes when, until the agent is connected."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from fasticePy.aio import Agent
from fasticePy.cli.output import say
from fasticePy.cli.signalling import (
    Line,
    Note,
    SignallingError,
    parse_note,
    read_file,
    read_pasted,
    write_file,
)
from fasticePy.errors import ParseError
from fasticePy.ice.candidate import Candidate
from fasticePy.ice.pair import CandidatePair

CONNECT_TIMEOUT = 45.0
"""Seconds to connect, once both sides have each other's description: RFC 8863 asks for 39.5."""


async def meet_by_notes(
    agent: Agent,
    reader: asyncio.StreamReader,
    *,
    offer: bool,
    out: Path | None,
    in_file: Path | None,
    timeout: float,
) -> CandidatePair:
    """Exchange whole descriptions by file or by pasting, each side one, and connect.

    The offer goes first. Raises `SignallingError`, `IceFailed` and `asyncio.TimeoutError`.
    """
    own_ufrag = agent.local_description.ufrag

    async def receive(answers: str | None) -> Note:
        if in_file is None:
            say(f"Paste the other side's {'answer' if offer else 'offer'} here:")
        waiting = read_pasted(reader) if in_file is None else read_file(in_file, answers=answers)
        note = await asyncio.wait_for(waiting, timeout)
        if note.description.ufrag == own_ufrag:
            raise SignallingError("that is our own description; the other side's is needed")
        agent.set_remote_description(note.description)
        return note

    theirs = None if offer else await receive(None)
    await agent.gather()
    ours = Note(agent.local_description, answers=theirs.description.ufrag if theirs else None)
    if out is not None:
        write_file(out, ours.to_blob())
        say(f"Our description is in {out}.")
    else:
        say(f"Give this line to the other side:\n\n{ours.to_blob()}\n")
    if offer:
        await receive(own_ufrag)
        return await agent.connect(timeout=CONNECT_TIMEOUT)
    # the offering side begins when a person has pasted our answer there
    return await agent.connect(timeout=timeout)


async def meet_over(line: Line, agent: Agent, theirs: Note | None) -> CandidatePair:
    """Exchange descriptions and trickle candidates (RFC 8838) over a TCP line, and connect.

    `theirs` is the other side's note if it came already. Raises `SignallingError` and `IceFailed`.
    """
    agent.on_candidate = lambda candidate: line.send({"candidate": _candidate_text(candidate)})
    line.send(json.loads(Note(agent.local_description).to_json()))
    following = asyncio.ensure_future(_follow(line, agent, theirs))
    connecting = asyncio.ensure_future(agent.connect(timeout=CONNECT_TIMEOUT))
    try:
        await asyncio.wait({following, connecting}, return_when=asyncio.FIRST_COMPLETED)
        if following.done() and not connecting.done():
            following.result()
        return await connecting
    finally:
        agent.on_candidate = None
        for task in (following, connecting):
            task.cancel()
        await asyncio.gather(following, connecting, return_exceptions=True)


def _candidate_text(candidate: Candidate | None) -> str:
    return "" if candidate is None else candidate.to_sdp()


async def _follow(line: Line, agent: Agent, theirs: Note | None) -> None:
    """Take the other side's description, then its candidates until it closes the line."""
    try:
        if theirs is None:
            value = await line.receive()
            if value is None:
                raise SignallingError("the other side hung up before it sent a description")
            theirs = parse_note(json.dumps(value))
        agent.set_remote_description(theirs.description)
        while (value := await line.receive()) is not None:
            _take_candidate(agent, value.get("candidate"))
    except ParseError as error:
        raise SignallingError(f"the other side sent something that is not signalling: {error}") from error


def _take_candidate(agent: Agent, text: object) -> None:
    if not isinstance(text, str):
        return  # signalling of some later version
    try:
        agent.add_remote_candidate(text or None)
    except ParseError as error:  # the others may do
        say(f"A candidate of the other side is left out: {error}")
