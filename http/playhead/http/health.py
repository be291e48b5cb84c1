"""Whether this process can serve: `/readyz` asks every part at once and names those that fail.

What PostgreSQL or Valkey said of it may tell where they are, so that goes to the log alone.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog
from redis.asyncio import Redis

from playhead.http.valkey_refusals import refusal_of, told_by
from playhead.runtime.redis import NotPrimary
from playhead.runtime.redis_clients import primaries_of
from playhead.runtime.store_clock import UNCERTAINTY_MS_MAX, StoreClock

log = structlog.get_logger(__name__)

CHECK_TIMEOUT_S = 2.0
EVICTION_POLICY = "noeviction"
NO_ANSWER = "does not answer; see the log"
OK = "ok"
PROCESS = "process"
"""The check of the process itself, which asks nobody else."""

Check = Callable[[], Awaitable[None]]
"""Returns when the part works; raises NotReady, or whatever the part raises when it does not."""


class NotReady(Exception):
    """A part does not work. The text says what to do; `/readyz` shows it, so it holds no secret and no address."""


def valkey_check(client: Redis) -> Check:
    """Valkey answers, is a primary, keeps what it was given (under another eviction policy it would forget), and takes
    more: one that refuses what is written answers all the same.

    Of a cluster's primaries each that answers is asked: one that is away, or takes nothing more, takes no other's
    listeners their places.
    """

    async def check() -> None:
        told = await asyncio.gather(*map(told_by, await primaries_of(client)), return_exceptions=True)
        answers = [answer for answer in told if isinstance(answer, dict)]
        if not answers:
            raise _no_answer(told)
        for policy in {str(answer.get("maxmemory_policy")) for answer in answers} - {EVICTION_POLICY}:
            raise NotReady(f"maxmemory-policy is {policy}; set it to {EVICTION_POLICY}")
        refusals = [refusal_of(answer) for answer in answers]
        if all(refusals):
            raise NotReady(refusals[0])

    return check


def _no_answer(told: Sequence[object]) -> BaseException:
    """Why there was none."""
    error = next((answer for answer in told if isinstance(answer, BaseException)), None)
    if error is None:
        return NotReady("the cluster has no slots; see CLUSTER INFO")
    if isinstance(error, NotPrimary):
        return NotReady("its address leads to a replica; PLAYHEAD_REDIS_URL has to lead to the primary")
    return error


def clock_check(clock: StoreClock) -> Check:
    """This process knows what time it is for all of them: else it would move playheads by its error."""

    async def check() -> None:
        if clock.certain:
            return
        if math.isinf(clock.uncertainty_ms):
            raise NotReady("the state store has not told the time yet; see `valkey`")
        if abs(clock.correction_ms) > UNCERTAINTY_MS_MAX:
            raise NotReady(
                f"this process's clock is {clock.correction_ms / -1000:+.3f} s from server time and follows slowly; "
                "restart it, or wait; keep the clocks of all machines right with NTP"
            )
        raise NotReady(
            f"server time is uncertain by {clock.uncertainty_ms:.0f} ms, more than {UNCERTAINTY_MS_MAX}: the state "
            "store answers late or not at all; give this process less work, or a shorter way to the store"
        )

    return check


def process_check(going_away: Callable[[], bool]) -> Check:
    """The process stays: one that goes away still answers, and must get nothing new."""

    async def check() -> None:
        if going_away():
            raise NotReady("this process is going away; send nothing new to it")

    return check


async def run_checks(checks: Mapping[str, Check], timeout_s: float = CHECK_TIMEOUT_S) -> dict[str, str]:
    """By name: `ok`, or what is wrong. All at once; one that takes longer than `timeout_s` does not answer."""
    results = await asyncio.gather(*(_run(name, check, timeout_s) for name, check in checks.items()))
    return dict(zip(checks, results, strict=True))


async def _run(name: str, check: Check, timeout_s: float) -> str:
    try:
        async with asyncio.timeout(timeout_s):
            await check()
    except NotReady as error:
        return str(error)
    except Exception as error:
        log.warning("A part is not ready.", action="not_ready", part=name, error=f"{type(error).__name__}: {error}")
        return NO_ANSWER
    return OK
