"""`/healthz` and `/readyz`. Whoever asks needs no token, and is not paced, so asking must cost nothing.

the process itself       asked each time: who goes away says so at once
databases and the rest   asked once for all who ask meanwhile, and their answer is kept for KEPT_S
"""

import time
from collections.abc import Callable, Mapping

from aiohttp import web

from playhead.cache import Flights
from playhead.http.answers import HealthAnswer, ReadyAnswer
from playhead.http.health import OK, PROCESS, Check, run_checks
from playhead.http.route import Answer, respond_with
from playhead.http.services import SERVICES

KEPT_S = 1.0
"""How old an answer may be, from the moment on at which its question began."""


class Readiness:
    """What the checks of one process say."""

    def __init__(self, checks: Mapping[str, Check], now_s: Callable[[], float] = time.monotonic) -> None:
        self._own = {name: check for name, check in checks.items() if name == PROCESS}
        self._others = {name: check for name, check in checks.items() if name != PROCESS}
        self._now_s = now_s
        self._asking: Flights[Mapping[str, str]] = Flights()
        self._kept: Mapping[str, str] = {}
        self._kept_until_s = float("-inf")

    async def answers(self) -> Mapping[str, str]:
        """By name: `ok`, or what is wrong."""
        kept = self._kept if self._now_s() < self._kept_until_s else await self._asking.join(None, self._asked)
        return {**await run_checks(self._own), **kept}

    async def _asked(self) -> Mapping[str, str]:
        until_s = self._now_s() + KEPT_S
        self._kept = await run_checks(self._others)
        self._kept_until_s = until_s
        return self._kept


READINESS = web.AppKey("readiness", Readiness)


async def healthz(request: web.Request) -> web.StreamResponse:
    return respond_with(Answer(HealthAnswer(status="ok")))


async def readyz(request: web.Request) -> web.StreamResponse:
    checks = await request.app[READINESS].answers()
    ready = all(result == OK for result in checks.values())
    body = ReadyAnswer(status="ready" if ready else "not_ready", store=request.app[SERVICES].store, checks=dict(checks))
    return respond_with(Answer(body, status=200 if ready else 503))
