"""Events on their way to the app: every reader gets all of them, in order, and a slow one holds nobody up."""

import asyncio
import logging

import pytest

from playhead.client.core.events import Event, ServerEvent, Status, StatusChanged
from playhead.client.inbox import UNREAD_MAX, Inbox, TooSlow

CONNECTED = StatusChanged(status=Status.CONNECTED)


def numbered(number: int) -> ServerEvent:
    return ServerEvent(name="bookmark", data={"number": number})


async def test_every_reader_gets_everything_from_its_beginning_until_the_end() -> None:
    inbox = Inbox()
    first = inbox.reader()
    inbox.put(CONNECTED)
    second = inbox.reader()
    inbox.put(numbered(1))
    inbox.close()
    assert [event async for event in first] == [CONNECTED, numbered(1)]
    assert [event async for event in second] == [numbered(1)]


async def test_a_reader_waits_for_what_has_not_come() -> None:
    inbox = Inbox()
    reader = inbox.reader()
    waiting = asyncio.ensure_future(anext(reader))
    await asyncio.sleep(0)
    assert not waiting.done()
    inbox.put(CONNECTED)
    assert await waiting == CONNECTED


async def test_a_reader_that_leaves_too_much_unread_is_cut_off_and_the_others_are_not() -> None:
    inbox = Inbox()
    slow, fast = inbox.reader(), inbox.reader()
    for number in range(UNREAD_MAX):
        inbox.put(numbered(number))
        assert await anext(fast) == numbered(number)
    assert await anext(slow) == numbered(0), "at the limit nothing is lost"
    inbox.put(numbered(UNREAD_MAX))
    inbox.put(numbered(UNREAD_MAX + 1))
    assert [await anext(slow) for _ in range(UNREAD_MAX)] == [numbered(1 + number) for number in range(UNREAD_MAX)]
    with pytest.raises(TooSlow, match="1000"):
        await anext(slow)
    assert await anext(fast) == numbered(UNREAD_MAX)


async def test_a_callback_gets_its_kind_until_it_is_ended() -> None:
    inbox, seen = Inbox(), list[Event]()
    end = inbox.subscribe(StatusChanged, seen.append)
    inbox.put(CONNECTED)
    inbox.put(numbered(1))
    end()
    end()
    inbox.put(CONNECTED)
    assert seen == [CONNECTED]


async def test_a_callback_that_fails_is_logged_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    inbox, seen = Inbox(), list[Event]()

    def broken(_event: StatusChanged) -> None:
        raise RuntimeError("broken")

    inbox.subscribe(StatusChanged, broken)
    inbox.subscribe(StatusChanged, seen.append)
    with caplog.at_level(logging.ERROR):
        inbox.put(CONNECTED)
    assert seen == [CONNECTED] and "StatusChanged" in caplog.text
