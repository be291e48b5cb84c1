"""Reads of single rows that many ask for at once, as few statements: after a restart all devices come back together.

    nobody reads   a statement begins, in the same turn of the loop
    one runs       who asks meanwhile gets the next one, together with all others who do

So nobody is answered with what was read before the question, and a row that a thousand ask for is read once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from itertools import islice
from typing import Generic, TypeVar

GATHERED_MAX = 200
"""Keys of one statement."""

Key = TypeVar("Key", bound=Hashable)
Row = TypeVar("Row")


class Gathered(Generic[Key, Row]):
    """`read` answers the rows that there are by their keys. What it raises, all whom it was for are told."""

    def __init__(self, read: Callable[[Sequence[Key]], Awaitable[Mapping[Key, Row]]]) -> None:
        self._read = read
        self._asked: dict[Key, list[asyncio.Future[Row | None]]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def get(self, key: Key) -> Row | None:
        """The row as it is now; None: there is none."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Row | None] = loop.create_future()
        self._asked.setdefault(key, []).append(answer)
        if self._reading is None or self._reading.done():
            self._reading = loop.create_task(self._read_all(), name="gathered-reads")
        return await answer

    async def _read_all(self) -> None:
        while self._asked:
            keys = tuple(islice(self._asked, GATHERED_MAX))
            waiting = {key: self._asked.pop(key) for key in keys}
            answers = [answer for each in waiting.values() for answer in each]
            try:
                rows = await self._read(keys)
            except Exception as error:
                for answer in _unanswered(answers):
                    answer.set_exception(error)
            except BaseException:
                for answer in _unanswered(answers):
                    answer.cancel()
                raise
            else:
                for key, each in waiting.items():
                    for answer in _unanswered(each):
                        answer.set_result(rows.get(key))


def _unanswered(answers: Sequence[asyncio.Future[Row | None]]) -> list[asyncio.Future[Row | None]]:
    """Without those that nobody waits for any more."""
    return [answer for answer in answers if not answer.done()]
