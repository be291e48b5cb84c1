"""A device of a listener: the reference client, with its connection listened in on, and a truthful player's reports."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from random import Random
from uuid import UUID

from loadtests.chaos.record import Payload, Record
from loadtests.chaos.tap import Lost, Tap
from loadtests.chaos.wishes import Wish
from playhead import client
from playhead.client import Client, Refused, StateChanged

PATIENCE_MS = 600_000.0
"""A command is sent until there is an answer, whatever dies meanwhile."""
RETRY_WAIT_S = (0.05, 0.25)
"""Before a report that was refused for the moment is sent again."""

Condition = Callable[["Device"], bool]


class Device:
    """Run it with `run`; `press` and `report` return when there is an answer.

    `urls`: its servers, the one that it begins with first. `hurry`: the part of the client's jittered waits that is
    waited at most; 1 for all of it. `lost_acks`: the share of answers with which its connection breaks.
    """

    def __init__(
        self,
        *,
        device_id: str,
        listener_id: str,
        script_id: str,
        token: str,
        urls: list[str],
        record: Record,
        chance: Random,
        hurry: float,
        lost_acks: float,
    ) -> None:
        self.device_id = device_id
        self.listener_id = listener_id
        self.chance = chance
        self.joined_at_s = 0.0
        """When it last had a snapshot after a connect."""
        self.joined = False
        self._script_id = script_id
        self._record = record
        self._command_id = ""
        self._seq = 0
        self._expected: list[tuple[Condition, asyncio.Future[None]]] = []
        self._tap = Tap(
            listener_id,
            device_id,
            record,
            on_join=self._has_joined,
            on_loss=self._has_lost,
            loses_ack=lambda: chance.random() < lost_acks,
        )
        self._client = Client(
            urls,
            token,
            client.Device(id=device_id, name=device_id, kind="phone"),
            patience_ms=PATIENCE_MS,
            transport=self._tap,
            chance=lambda: chance.random() * hurry,
            new_id=self._new_id,
        )
        self._client.on(StateChanged, lambda _: self._tell())

    @property
    def url(self) -> str:
        """The server that it is connected to, or tries to be."""
        return self._tap.url

    @property
    def live(self) -> Payload | None:
        """The script's live session as it shows it, as in an event."""
        state = self._client.live(self._script_id)
        return None if state is None else asdict(state)

    @property
    def live_session_id(self) -> str:
        """The script's live session."""
        state = self._client.live(self._script_id)
        assert state is not None
        return state.session_id

    def shown(self, session_id: str) -> Payload | None:
        """The session as it shows it, as in an event."""
        state = self._client.state(session_id)
        return None if state is None else asdict(state)

    async def run(self) -> None:
        """Connects, and connects again, until it is cancelled."""
        async with self._client:
            await self._client.join(script_id=self._script_id)
            await asyncio.get_running_loop().create_future()

    def drop(self) -> None:
        """Loses its connection, as on a train; it goes on elsewhere."""
        self._tap.drop()

    async def press(self, wish: Wish) -> str | None:
        """Sends until there is an answer that is final: the code of a refusal, None where it was accepted."""
        try:
            await self._client.press(client.Wish(wish.event, wish.fields))
        except Refused as refused:
            error = {"code": refused.code, "message": refused.message, "retry": refused.retry}
            self._tap.given_up(self._command_id, {"ok": False, "error": error})
            return refused.code
        return None

    async def report(self, fields: Payload) -> str | None:
        """The same for a report: it gets its number here, and keeps it until it is answered."""
        self._seq += 1
        payload = {**fields, "seq": self._seq}
        asked = self._record.begin(self.listener_id, self.device_id, "progress", payload)
        while True:
            await self.expect(lambda device: device.joined)
            asked.sends += 1
            with suppress(Lost):
                ack = await self._tap.report(payload)
                if ack["ok"] or not ack["error"]["retry"]:
                    self._record.finish(asked, ack)
                    return asked.code
                self._record.refused(ack["error"]["code"], asked)
                await asyncio.sleep(self.chance.uniform(*RETRY_WAIT_S))

    async def expect(self, condition: Condition) -> None:
        """Returns when it has come to be so; asked again with every state, every join and every loss."""
        if condition(self):
            return
        row = (condition, asyncio.get_running_loop().create_future())
        self._expected.append(row)
        try:
            await row[1]
        finally:
            self._expected.remove(row)

    def _new_id(self) -> str:
        self._command_id = str(UUID(int=self.chance.getrandbits(128), version=4))
        return self._command_id

    def _has_joined(self) -> None:
        self.joined, self.joined_at_s = True, time.time()
        self._tell()

    def _has_lost(self) -> None:
        self.joined = False
        self._tell()

    def _tell(self) -> None:
        for condition, told in self._expected:
            if not told.done() and condition(self):
                told.set_result(None)
