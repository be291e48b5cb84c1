"""How far scripts are prepared: told by the worker, heard by the nodes whose devices wait for it.

    worker ── ScriptTeller ──► channel `audio:script:<id>` (sharded pub/sub) ──► ScriptNews of each node that follows it

Nothing told here is the truth, which is the script's row: news may be lost, and whoever follows a script reads its row
every `look_interval_s`. Without Redis nothing is told, and the row is read more often.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
import structlog
from redis.asyncio import Redis

from playhead.db import Script
from playhead.runtime.cluster_subscriptions import ClusterSubscriptions
from playhead.runtime.metrics import Metrics
from playhead.runtime.redis_clients import client_of, subscriptions_of
from playhead.runtime.subscriptions import NotConfirmed, Subscriptions
from playhead.runtime.tasks import cancelled
from playhead.sessions.codec import prepare_payload
from playhead.sessions.failures import FAILURES
from playhead.sessions.keys import script_channel, script_of_channel
from playhead.sessions.store import StoreUnavailable

log = structlog.get_logger(__name__)

TELL_INTERVAL_S = 1.0
"""Between two news of one script; that it is ready, or has failed, waits for nothing."""
TELL_TIMEOUT_S = 2.0
UNTOLD_MAX = 100
"""Scripts with news that have not been told yet; a worker has one or two."""
LOOK_INTERVAL_S = 30.0
LOOK_INTERVAL_ALONE_S = 1.0
"""Where nobody tells."""
EVERYBODY = "listeners"
"""The audience of a script that every listener may hear; that of a private one is its owner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """`prepare`: what devices are told. `audience`: who may hear the script; if it changes, all are asked for anew."""

    audience: str
    prepare: dict[str, Any]

    @property
    def final(self) -> bool:
        return self.prepare["status"] in ("ready", "failed")


def news_of(script: Script) -> News:
    """What is to be told of a script as its row says."""
    audience = EVERYBODY if script.visibility == "listeners" else script.owner_id
    return News(audience=audience, prepare=prepare_payload(script))


OnNews = Callable[[str, News], Awaitable[None]]
"""Of which script, and what."""
OnMissed = Callable[[str], Awaitable[None]]
"""The script that news of may have been lost."""


class ScriptNews(Protocol):
    """News of the scripts that this process follows, and of no others."""

    look_interval_s: float
    """How often a script's row is to be read, whether or not anything is heard."""

    def start(self, heard: OnNews, missed: OnMissed) -> None: ...

    async def stop(self) -> None: ...

    async def follow(self, script_id: str) -> None:
        """Returns when all later news will be heard. Raises StoreUnavailable: then they will be some time."""
        ...

    def unfollow(self, script_id: str) -> None: ...


class UntoldNews:
    """ScriptNews where the worker and the server share nothing but PostgreSQL: all there is is read from the rows."""

    look_interval_s = LOOK_INTERVAL_ALONE_S

    def start(self, heard: OnNews, missed: OnMissed) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def follow(self, script_id: str) -> None:
        pass

    def unfollow(self, script_id: str) -> None:
        pass


class RedisNews:
    """ScriptNews on one Valkey/Redis primary, over a connection of its own."""

    look_interval_s = LOOK_INTERVAL_S

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._subscriptions: Subscriptions | ClusterSubscriptions | None = None
        self._heard: OnNews | None = None
        self._missed: OnMissed | None = None

    def start(self, heard: OnNews, missed: OnMissed) -> None:
        self._heard, self._missed = heard, missed
        self._subscriptions = subscriptions_of(self._client, self._arrived, self._lost)
        self._subscriptions.start()

    async def stop(self) -> None:
        if self._subscriptions is not None:
            await self._subscriptions.stop()

    def reopen(self) -> None:
        """Another server has the news, or will soon."""
        if self._subscriptions is not None:
            self._subscriptions.reopen()

    async def follow(self, script_id: str) -> None:
        assert self._subscriptions is not None
        try:
            await self._subscriptions.subscribe(script_channel(script_id))
        except NotConfirmed as error:
            raise StoreUnavailable(str(error)) from error

    def unfollow(self, script_id: str) -> None:
        assert self._subscriptions is not None
        self._subscriptions.unsubscribe(script_channel(script_id))

    async def _arrived(self, channel: str, message: bytes) -> None:
        assert self._heard is not None
        await self._heard(script_of_channel(channel), News(**orjson.loads(message)))

    async def _lost(self, channel: str) -> None:
        assert self._missed is not None
        await self._missed(script_of_channel(channel))


class ScriptTeller:
    """The worker's side. Nobody waits for the telling; of one script at most one piece of news each `interval_s`,
    always the latest, and the end of it at once. What cannot be told is counted and dropped.
    """

    def __init__(self, url: str, metrics: Metrics, interval_s: float = TELL_INTERVAL_S) -> None:
        self._client = client_of(url)
        self._metrics = metrics
        self._interval_s = interval_s
        self._untold: dict[str, News] = {}
        self._rests_until_s: dict[str, float] = {}
        """When a script may be told of again, in the loop's time; forgotten then."""
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._tell_for_ever(), name="script-news")

    async def stop(self) -> None:
        """Tells the ends that wait, and stops."""
        await cancelled(self._task)
        for script_id in [key for key, news in self._untold.items() if news.final]:
            await self._publish(script_id)
        await self._client.aclose()

    def tell(self, script: Script) -> None:
        """The script has come so far."""
        self._untold.pop(script.script_id, None)
        self._untold[script.script_id] = news_of(script)
        if len(self._untold) > UNTOLD_MAX:
            del self._untold[next(iter(self._untold))]
        self._wanted.set()

    async def _tell_for_ever(self) -> None:
        while True:
            self._wanted.clear()
            now_s = asyncio.get_running_loop().time()
            self._rests_until_s = {key: until_s for key, until_s in self._rests_until_s.items() if until_s > now_s}
            rests = self._rests_until_s
            for script_id in [key for key, news in self._untold.items() if news.final or key not in rests]:
                await self._publish(script_id)
            resting = [self._rests_until_s[key] for key in self._untold if key in self._rests_until_s]
            try:
                async with asyncio.timeout_at(min(resting, default=None)):
                    await self._wanted.wait()
            except TimeoutError:
                pass

    async def _publish(self, script_id: str) -> None:
        news = self._untold.pop(script_id)
        self._rests_until_s[script_id] = asyncio.get_running_loop().time() + self._interval_s
        try:
            async with asyncio.timeout(TELL_TIMEOUT_S):
                await self._client.spublish(script_channel(script_id), orjson.dumps(news))
        except FAILURES as error:
            self._metrics.announcements.labels("prepare", "lost").inc()
            log.warning("Progress could not be told.", action="script_news_lost", error=str(error))
        else:
            self._metrics.announcements.labels("prepare", "told").inc()
