"""`playhead dead-letters`: shows what PostgreSQL has refused of the journal, puts it back, or drops it."""

import argparse
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from playhead.app.errors import CommandFailed
from playhead.runtime.settings import Settings
from playhead.sessions.dead_letters import DeadLetter, DeadLetters, JournalFull

Act = Callable[[str], Awaitable[bool]]


async def dead_letters(settings: Settings, options: argparse.Namespace) -> int:
    """Carries out one action. Raises CommandFailed and StoreUnavailable."""
    async with _opened(settings) as letters:
        if options.action == "list":
            return await _list(letters, options.limit)
        act, done = (letters.retry, "put back") if options.action == "retry" else (letters.drop, "dropped")
        try:
            return await (_on_all(letters, act, done) if options.all else _on_some(options.names, act, done))
        except JournalFull as error:
            raise CommandFailed(str(error)) from None


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[DeadLetters]:
    assert settings.redis_url is not None
    letters = DeadLetters(settings.redis_url.get_secret_value())
    try:
        yield letters
    finally:
        await letters.stop()


async def _list(letters: DeadLetters, limit: int) -> int:
    shown = 0
    async for letter in letters.all():
        if shown == limit:
            break
        print(_line(letter))
        shown += 1
    print(f"{shown} of {await letters.count()} dead letters.", file=sys.stderr)
    return 0


async def _on_all(letters: DeadLetters, act: Act, done: str) -> int:
    count = 0
    try:
        async for letter in letters.all():
            count += await act(letter.name)
    finally:
        print(f"{count} {done}.")
    return 0


async def _on_some(names: Sequence[str], act: Act, done: str) -> int:
    missing = [name for name in names if not await act(name)]
    print(f"{len(names) - len(missing)} {done}.")
    if missing:
        raise CommandFailed(f"There is no dead letter {', '.join(missing)}.")
    return 0


def _line(letter: DeadLetter) -> str:
    """What names things and rules: no place, no device, nothing that is the listener's own."""
    at = datetime.fromtimestamp(letter.buried_at_ms / 1000, UTC).isoformat(timespec="seconds")
    state = None if letter.entry is None else letter.entry.state
    of = "-" if state is None else f"session={state.session_id} script={state.script_id} revision={state.revision}"
    return f"{letter.name}  {at}  {of}  {letter.reason}"
