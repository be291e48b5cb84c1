"""The functions that the state store runs, as a library for each text of them, so that two releases run side by side.

While a rolling restart goes from one release to the next, both have processes at work. Names are one space for all
libraries of a server, so those of the library and of its functions end in a mark of the text: neither release replaces
what the other calls. What older releases have left is deleted when there is too much of it; whoever still needs one of
those loads it again.
"""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from importlib.resources import files
from typing import Any

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from playhead.runtime.redis import ask

NAME = "playhead"
LIBRARIES_MAX = 8
"""On one server. Each is some 50 KB of its memory."""


class Library:
    """One text, in which `MARK` stands for the end of all names."""

    def __init__(self, text: str) -> None:
        mark = hashlib.sha256(text.encode()).hexdigest()[:8]
        self.name = f"{NAME}_{mark}"
        self.source = f"#!lua name={self.name}\nlocal MARK = '_{mark}'\n{text}"
        self._mark = mark

    def function(self, name: str) -> str:
        """What a server calls that function of this text."""
        return f"{name}_{self._mark}"

    async def load(self, connection: AbstractConnection) -> None:
        """Loads it there, and makes room where others have left too many. Raises what the connection raises."""
        await ask(connection, "FUNCTION", "LOAD", "REPLACE", self.source)
        there = _names(await ask(connection, "FUNCTION", "LIST", "LIBRARYNAME", f"{NAME}_*"))
        if len(there) > LIBRARIES_MAX:
            for name in there:
                if name != self.name:
                    with suppress(ResponseError):  # another process has been faster
                        await ask(connection, "FUNCTION", "DELETE", name)


def _names(listed: Sequence[Any]) -> list[str]:
    """Of `FUNCTION LIST`: each library a list of names and values in turn (RESP2), or a mapping (RESP3)."""
    rows = (row if isinstance(row, dict) else dict(zip(row[::2], row[1::2], strict=True)) for row in listed)
    return [row[b"library_name"].decode() for row in rows]


def is_lacking(answer: object) -> bool:
    """Whether a server has answered that it has no such function: it was emptied, or another release made room."""
    return isinstance(answer, ResponseError) and "Function not found" in str(answer)


LIBRARY = Library(files("playhead.sessions").joinpath("functions.lua").read_text())
