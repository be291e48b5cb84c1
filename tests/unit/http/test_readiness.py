"""`/readyz`: one question for all who ask, and an answer that is never old."""

import asyncio

from playhead.http.health import OK, PROCESS, NotReady, process_check
from playhead.http.readiness import KEPT_S, Readiness


class Part:
    """A part that counts how often it is asked, and answers when it may."""

    def __init__(self) -> None:
        self.asked = 0
        self.wrong = False
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def is_asked(self) -> None:
        while not self.asked:
            await asyncio.sleep(0)

    async def check(self) -> None:
        self.asked += 1
        await self.may_answer.wait()
        if self.wrong:
            raise NotReady("it is wrong")


class Desk:
    def __init__(self) -> None:
        self.now_s, self.going_away, self.part = 100.0, False, Part()
        process = process_check(lambda: self.going_away)
        self.readiness = Readiness({PROCESS: process, "part": self.part.check}, lambda: self.now_s)

    async def told(self) -> str:
        return (await self.readiness.answers())["part"]


async def test_all_who_ask_meanwhile_share_one_question() -> None:
    desk = Desk()
    desk.part.may_answer.clear()
    asking = [asyncio.create_task(desk.told()) for _ in range(100)]
    await desk.part.is_asked()
    desk.part.may_answer.set()
    assert await asyncio.gather(*asking) == [OK] * 100
    assert desk.part.asked == 1


async def test_who_goes_away_before_the_answer_takes_it_from_nobody() -> None:
    desk = Desk()
    desk.part.may_answer.clear()
    first, second = asyncio.create_task(desk.told()), asyncio.create_task(desk.told())
    await desk.part.is_asked()
    first.cancel()
    desk.part.may_answer.set()
    assert await second == OK


async def test_an_answer_is_kept_for_a_second_from_its_question_on_and_no_longer() -> None:
    desk = Desk()
    assert await desk.told() == OK
    desk.part.wrong = True
    desk.now_s += KEPT_S - 0.01
    assert await desk.told() == OK
    desk.now_s += 0.01
    assert await desk.told() == "it is wrong"
    desk.part.wrong = False
    desk.now_s += KEPT_S
    assert await desk.told() == OK
    assert desk.part.asked == 3


async def test_what_took_longer_than_that_is_not_kept() -> None:
    desk = Desk()
    desk.part.may_answer.clear()
    asking = asyncio.create_task(desk.told())
    await desk.part.is_asked()
    desk.now_s += KEPT_S
    desk.part.may_answer.set()
    await asking
    await desk.told()
    assert desk.part.asked == 2


async def test_a_process_that_goes_away_says_so_at_once() -> None:
    desk = Desk()
    assert set((await desk.readiness.answers()).values()) == {OK}
    desk.going_away = True
    told = await desk.readiness.answers()
    assert "going away" in told[PROCESS] and list(told) == [PROCESS, "part"]
    assert desk.part.asked == 1
