"""How far the scripts are prepared that devices here have joined: the `prepare` event.

    a device joins → is its script still in work, and may its listener hear it? → follow the script's news, read its row
                   → the device is told how far it is now, and from then on what is heard, until it is ready

Handlers only note who has joined; a task does the rest, so that no join waits for it. Of a script that has been ready
for longer than `READY_TOLD_MS` nothing is told, and after the first time nothing is asked for a while: it may get
another file. What is lost on the way is found in the row, which is read again after a gap and every `look_interval_s`.
When a script's audience changes, its listeners are asked for anew.
"""

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from playhead.db import DatabaseUnavailable, Script
from playhead.realtime.connections import Connection, Connections
from playhead.runtime.clock import Clock
from playhead.runtime.tasks import cancelled
from playhead.sessions.script_news import EVERYBODY, News, ScriptNews, news_of
from playhead.sessions.store import StoreUnavailable

log = structlog.get_logger(__name__)

READY_TOLD_MS = 60 * 60 * 1000
"""Whoever joins within that time of its end is told it: a device may still show an earlier progress."""
READY_KNOWN_MAX = 10_000
READY_KNOWN_MS = 60 * 1000
"""So long a script that has been ready for long is not asked for again."""
FOLLOWED_MAX = 64
"""Scripts of one connection; it hears of those that it joined last."""
BATCH_MAX = 200
"""Scripts whose rows are read at once."""
RETRY_INTERVAL_S = 1.0
"""While PostgreSQL is away."""

Send = Callable[[str, str, dict[str, Any]], Awaitable[None]]


class PreparedScripts(Protocol):
    """Rows of scripts. May raise DatabaseUnavailable."""

    async def get(self, claims: Mapping[str, str], script_id: str) -> Script | None:
        """The script, if these claims may hear it."""
        ...

    async def stored_of(self, script_ids: Sequence[str]) -> tuple[Script, ...]:
        """Those that there are, whoever may hear them."""
        ...


@dataclass(slots=True, kw_only=True)
class _Followed:
    """A script in work. `heard` counts its news, so that a row which was read meanwhile is known to be older."""

    latest: News
    followers: set[str] = field(default_factory=set)
    heard: int = 0


class Preparations:
    """Run it with `start`."""

    def __init__(self, connections: Connections, scripts: PreparedScripts, news: ScriptNews, clock: Clock) -> None:
        self._connections = connections
        self._scripts = scripts
        self._news = news
        self._clock = clock
        self._send: Send | None = None
        self._joined: dict[str, dict[str, None]] = defaultdict(dict)
        """Scripts by connection, the one that it joined last at the end; without those that are ready."""
        self._newcomers: dict[str, dict[str, None]] = {}
        """Connections by the script that they have joined and are to be told of, in order."""
        self._followed: dict[str, _Followed] = {}
        self._doubtful: set[str] = set()
        """Scripts that news of may have been lost."""
        self._ready: OrderedDict[str, int] = OrderedDict()
        """Scripts that have long been ready, and until when that is believed; the latest at the end."""
        self._wanted = asyncio.Event()
        self._telling = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        connections.on_left = self.gone

    def start(self, send: Send) -> None:
        """`send` writes an event to a connection."""
        self._send = send
        self._news.start(self._hear, self._miss)
        self._task = asyncio.create_task(self._run(), name="preparations")

    async def stop(self) -> None:
        await cancelled(self._task)

    # what handlers say

    def join(self, connection: Connection, script_id: str) -> None:
        """The connection has joined the script, perhaps again."""
        if self._clock.now_ms() < self._ready.get(script_id, 0):
            return
        connection_id = connection.connection_id
        joined = self._joined[connection_id]
        joined.pop(script_id, None)
        joined[script_id] = None
        if len(joined) > FOLLOWED_MAX:
            self.leave(connection_id, next(iter(joined)))
        self._newcomers.setdefault(script_id, {})[connection_id] = None
        self._wanted.set()

    def leave(self, connection_id: str, script_id: str) -> None:
        """The connection follows the script no longer."""
        joined = self._joined.get(connection_id)
        if joined is None:
            return
        joined.pop(script_id, None)
        if not joined:
            del self._joined[connection_id]
        self._admitted(connection_id, script_id)
        followed = self._followed.get(script_id)
        if followed is not None:
            followed.followers.discard(connection_id)
            self._end_if_unfollowed(script_id, followed)

    def gone(self, connection_id: str) -> None:
        for script_id in tuple(self._joined.get(connection_id, ())):
            self.leave(connection_id, script_id)

    def _admitted(self, connection_id: str, script_id: str) -> None:
        """It is no newcomer any more."""
        newcomers = self._newcomers.get(script_id, {})
        newcomers.pop(connection_id, None)
        if not newcomers:
            self._newcomers.pop(script_id, None)

    def _end_if_unfollowed(self, script_id: str, followed: _Followed) -> None:
        if not followed.followers:
            del self._followed[script_id]
            self._doubtful.discard(script_id)
            self._news.unfollow(script_id)

    # what is heard

    async def _miss(self, script_id: str) -> None:
        self._doubtful.add(script_id)
        self._wanted.set()

    async def _hear(self, script_id: str, news: News) -> None:
        followed = self._followed.get(script_id)
        if followed is not None:
            followed.heard += 1
            await self._tell(script_id, followed, news)

    async def _tell(self, script_id: str, followed: _Followed, news: News) -> None:
        """Tells all followers, where it is news to them."""
        async with self._telling:
            if self._followed.get(script_id) is not followed:
                return
            if news.audience != followed.latest.audience:
                self._ask_again(script_id, followed)
            elif news != followed.latest:
                followed.latest = news
                for connection_id in tuple(followed.followers):
                    await self._send_to(connection_id, news)
                if news.prepare["status"] == "ready":
                    self._forget(script_id, followed)

    def _ask_again(self, script_id: str, followed: _Followed) -> None:
        """Other people may hear it than before."""
        for connection_id in tuple(followed.followers):
            self._newcomers.setdefault(script_id, {})[connection_id] = None
        followed.followers.clear()
        self._end_if_unfollowed(script_id, followed)
        self._wanted.set()

    def _forget(self, script_id: str, followed: _Followed) -> None:
        """There is nothing more to tell of it."""
        for connection_id in tuple(followed.followers):
            self.leave(connection_id, script_id)

    async def _send_to(self, connection_id: str, news: News) -> None:
        assert self._send is not None
        await self._send(connection_id, "prepare", news.prepare)

    # what the task does

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        look_at_s = loop.time() + self._news.look_interval_s
        away = False
        while True:
            try:
                async with asyncio.timeout_at(look_at_s):
                    await self._wanted.wait()
            except TimeoutError:
                self._doubtful |= self._followed.keys()
                look_at_s = loop.time() + self._news.look_interval_s
            self._wanted.clear()
            try:
                await self.work()
                away = False
            except DatabaseUnavailable as error:
                if not away:
                    log.warning("Progress cannot be read.", action="progress_unread", error=str(error))
                away = True
                await self._later()
            except Exception:
                log.exception("Progress was not told.", action="preparations_failed")
                await self._later()

    async def _later(self) -> None:
        """What is left is tried again, after a while."""
        await asyncio.sleep(RETRY_INTERVAL_S)
        self._wanted.set()

    async def work(self) -> None:
        """Looks at all that is new or in doubt. Raises DatabaseUnavailable; then the rest is still there."""
        while self._newcomers or self._doubtful:
            ids = list(dict.fromkeys((*self._newcomers, *self._doubtful)))[:BATCH_MAX]
            heard = {script_id: followed.heard for script_id, followed in self._followed.items()}
            rows = {script.script_id: script for script in await self._scripts.stored_of(ids)}
            for script_id in ids:
                await self._look(script_id, rows.get(script_id), heard.get(script_id))
                self._doubtful.discard(script_id)

    async def _look(self, script_id: str, script: Script | None, heard: int | None) -> None:
        """`heard`: how much news there had been when its row was read."""
        newcomers = tuple(self._newcomers.get(script_id, ()))
        if script is None or self._long_ready(script):
            for connection_id in newcomers:
                self.leave(connection_id, script_id)
            return
        followed = self._followed.get(script_id)
        if followed is not None and followed.heard == heard:
            await self._tell(script_id, followed, news_of(script))
        for connection_id in newcomers:
            await self._admit(connection_id, script)

    def _long_ready(self, script: Script) -> bool:
        since_ms = self._clock.now_ms() - round(script.updated_at.timestamp() * 1000)
        if script.status != "ready" or since_ms < READY_TOLD_MS:
            return False
        self._ready[script.script_id] = self._clock.now_ms() + READY_KNOWN_MS
        self._ready.move_to_end(script.script_id)
        if len(self._ready) > READY_KNOWN_MAX:
            self._ready.popitem(last=False)
        return True

    async def _admit(self, connection_id: str, script: Script) -> None:
        """Tells the connection how far the script is, and from now on what is heard of it."""
        script_id, connection = script.script_id, self._connections.get(connection_id)
        if connection is None or not await self._may_hear(connection, script):
            self.leave(connection_id, script_id)
            return
        followed = self._followed.get(script_id) or await self._follow(script)
        async with self._telling:
            # it may have left in the meantime, or the audience has changed: then it is asked again
            if connection_id not in self._newcomers.get(script_id, ()) or self._followed.get(script_id) is not followed:
                return
            self._admitted(connection_id, script_id)
            followed.followers.add(connection_id)
            await self._send_to(connection_id, followed.latest)
            if followed.latest.prepare["status"] == "ready":
                self.leave(connection_id, script_id)

    async def _may_hear(self, connection: Connection, script: Script) -> bool:
        """PostgreSQL is asked about private ones alone: many may come at once for one that is everybody's."""
        if news_of(script).audience == EVERYBODY:
            return True
        return await self._scripts.get(connection.principal.claims, script.script_id) is not None

    async def _follow(self, script: Script) -> _Followed:
        """From now on its news are heard; then its row is read again, as some may have come before."""
        followed = self._followed[script.script_id] = _Followed(latest=news_of(script))
        try:
            await self._news.follow(script.script_id)
        except StoreUnavailable as error:
            log.warning("News of a script may be late.", action="script_unfollowed", error=str(error))
        heard = followed.heard
        rows = await self._scripts.stored_of([script.script_id])
        if rows and followed.heard == heard:
            followed.latest = news_of(rows[0])
        return followed
