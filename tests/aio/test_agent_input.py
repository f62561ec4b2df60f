"""What applications hand in: candidates and descriptions in every shape that signalling has, and mistakes."""

from __future__ import annotations

import asyncio
import json
from types import MappingProxyType

import pytest

from fasticePy.errors import ParseError
from fasticePy.ice import Candidate, Description

LINE = "candidate:1 1 udp 2130706431 192.0.2.1 9 typ host"
FORMS = [
    Description.to_json,
    lambda d: json.loads(d.to_json()),
    lambda d: {"type": "offer", "sdp": str(d)},
    lambda d: MappingProxyType({"type": "answer", "sdp": str(d)}),
]


@pytest.mark.parametrize("form", FORMS, ids=["json", "our dict", "init dict", "any mapping"])
def test_a_description_in_every_form(run, agent, form) -> None:
    async def body() -> None:
        async with agent(controlling=True) as a, agent(controlling=False) as b:
            await b.gather()
            a.set_remote_description(form(b.local_description))
            assert a.remote_candidates == list(b.local_description.candidates)

    run(body())


def test_a_candidate_as_browsers_have_it(agent) -> None:
    a = agent(controlling=True)
    a.set_remote_credentials("EsAw", "P2uYro0UCOQ4zxjKXaWCBui1")
    a.add_remote_candidate({"candidate": LINE, "sdpMid": "0", "usernameFragment": "EsAw"})
    (candidate,) = a.remote_candidates
    assert (candidate.address, candidate.ufrag) == ("192.0.2.1", "EsAw")
    a.add_remote_candidate({"candidate": "candidate:1 1 quic 1 192.0.2.1 9 typ host"})
    assert a.report().counters["drop.candidate.unsupported"] == 1
    a.add_remote_candidate({"candidate": "", "sdpMid": "0"})
    assert any("no more" in entry.outcome for entry in a.report().entries)


@pytest.mark.parametrize(
    "wrong", [{}, {"candidate": None}, {"candidate": 5}, {"candidate": "nonsense"}], ids=str
)
def test_mappings_that_are_no_candidates(agent, wrong) -> None:
    with pytest.raises(ParseError):
        agent(controlling=True).add_remote_candidate(wrong)


@pytest.mark.parametrize("wrong", [5, LINE.encode(), [LINE], object(), False], ids=str)
def test_what_is_no_candidate_at_all(agent, wrong) -> None:
    with pytest.raises(TypeError, match=f"a candidate is .*, not {type(wrong).__name__}"):
        agent(controlling=True).add_remote_candidate(wrong)


@pytest.mark.parametrize("wrong", [{}, {"type": "offer"}, {"sdp": 5}, {"ufrag": "abcd"}], ids=str)
def test_mappings_that_are_no_descriptions(agent, wrong) -> None:
    with pytest.raises(ParseError):
        agent(controlling=True).set_remote_description(wrong)


@pytest.mark.parametrize("wrong", [None, 5, b"v=0", Candidate.from_sdp(LINE)], ids=str)
def test_what_is_no_description_at_all(agent, wrong) -> None:
    with pytest.raises(TypeError, match=f"a description is .*, not {type(wrong).__name__}"):
        agent(controlling=True).set_remote_description(wrong)


def test_closing_in_every_way(run, agent) -> None:
    """Awaited, awaited twice, as a task, with a time limit, or not at all, which warns of nothing."""

    async def started() -> object:
        one = agent(controlling=True)
        await one.gather()
        return one

    async def body() -> None:
        await asyncio.create_task((await started()).close())
        await asyncio.wait_for((await started()).close(), 5)
        await asyncio.gather(*[(await started()).close() for _ in range(2)])
        closing = (await started()).close()
        await closing
        await closing
        one = await started()
        one.close()
        one.close().close()
        task = asyncio.ensure_future(one.close())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.create_task(one.close())

    run(body())
    asyncio.run(agent(controlling=True).close())


@pytest.mark.parametrize("name", ["on_candidat", "on_message", "on_Data"])
def test_a_callback_that_does_not_exist(agent, name) -> None:
    one = agent(controlling=True)
    for each, known in ((one, "on_server"), (one.streams[0], "on_candidate")):
        with pytest.raises(AttributeError, match=f"has no {name}: its callbacks are .*{known}"):
            setattr(each, name, print)
    one.note = "an attribute of the application's own"
