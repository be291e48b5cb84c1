"""Readiness: all parts at once, each by name, no secrets."""

import asyncio

from playhead.db import DatabaseUnavailable
from playhead.http.health import NO_ANSWER, NotReady, run_checks


async def _well() -> None:
    return None


async def _wrong_policy() -> None:
    raise NotReady("maxmemory-policy is allkeys-lru; set it to noeviction")


async def _away() -> None:
    raise DatabaseUnavailable("PostgreSQL cannot serve this now: password for user secret is wrong.")


async def _for_ever() -> None:
    await asyncio.Event().wait()


async def test_each_part_is_named_with_what_is_wrong_with_it() -> None:
    found = await run_checks({"a": _well, "b": _wrong_policy})
    assert found == {"a": "ok", "b": "maxmemory-policy is allkeys-lru; set it to noeviction"}


async def test_what_a_part_said_of_itself_is_not_shown() -> None:
    assert await run_checks({"postgresql": _away}) == {"postgresql": NO_ANSWER}


async def test_a_part_that_does_not_answer_holds_nobody_up() -> None:
    assert await run_checks({"a": _for_ever, "b": _well}, timeout_s=0.01) == {"a": NO_ANSWER, "b": "ok"}


async def test_parts_are_asked_at_once() -> None:
    asked = asyncio.Barrier(2)

    async def meet() -> None:
        await asked.wait()

    assert await run_checks({"a": meet, "b": meet}) == {"a": "ok", "b": "ok"}


async def test_without_parts_everything_is_well() -> None:
    assert await run_checks({}) == {}
