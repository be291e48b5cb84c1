"""Listeners with two devices and an app over REST, pressing what real ones press, until they are told to be quiet.

Everything that is pressed follows from the seed and from what the servers answer. A session that has come to
REVISIONS_MAX is ended and another one begun: PostgreSQL keeps the last 100 moves of a session, and all are checked.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from random import Random

import aiohttp

from loadtests.chaos.device import RETRY_WAIT_S, Device
from loadtests.chaos.record import Payload, Record, order_of
from loadtests.chaos.wishes import Look, Wish, choose, new_id, report

API = "/api/v1/audio"
REST_TIMEOUT_S = 5.0
POLL_S = 0.005
REVISIONS_MAX = 80
"""With what is under way when it is reached, a session stays below the 100 moves that are kept of it."""
START_PLACE_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Who does how much. Paces are the mean seconds between two things that one device, or one app, does."""

    seed: int = 1
    listeners: int = 6
    device_pace_s: float = 0.06
    rest_pace_s: float = 0.3
    reports: float = 0.5
    """Share of what a sounding device sends."""
    drops: float = 0.01
    """Share of a device's turns in which it loses its connection."""
    lost_acks: float = 0.03
    """Share of the answers to commands and reports that a broken connection swallows."""
    hurry: float = 1.0
    """The part of the client's jittered waits that is waited at most."""
    rotates: bool = True
    """Whether a long session is ended and another one begun."""

    def of_round(self, number: int) -> "Plan":
        """The same by other listeners, who press otherwise."""
        return replace(self, seed=self.seed * 1_000_003 + number)


class Gate:
    """Lets everybody through, or nobody; closed at first."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self.busy = 0
        """How many have passed and are not done."""

    @asynccontextmanager
    async def passage(self) -> AsyncIterator[None]:
        while not self._open.is_set():
            # it may have been closed again before this task's turn came
            await self._open.wait()
        self.busy += 1
        try:
            yield
        finally:
            self.busy -= 1

    def open(self) -> None:
        self._open.set()

    def close(self) -> None:
        self._open.clear()


class App:
    """An app of the listener's that knows nothing but REST: it asks one server, and another one where that is away."""

    device_id = "rest"

    def __init__(
        self,
        *,
        listener_id: str,
        token: str,
        urls: list[str],
        record: Record,
        http: aiohttp.ClientSession,
        chance: Random,
        lost_acks: float,
    ) -> None:
        self._listener_id = listener_id
        self._headers = {"Authorization": f"Bearer {token}"}
        self._urls = urls
        self._record = record
        self._http = http
        self._lost_acks = lost_acks
        self.chance = chance

    async def press(self, wish: Wish) -> None:
        """Sends until there is an answer that is final."""
        payload = {**wish.fields, "command_id": new_id(self.chance)}
        asked = self._record.begin(self._listener_id, self.device_id, wish.event, payload)
        while True:
            asked.sends += 1
            ack = await self._sent(wish.event, payload)
            if self.chance.random() < self._lost_acks:
                ack = None
            if ack is not None and (ack["ok"] or not ack["error"]["retry"]):
                self._record.finish(asked, ack)
                return
            if ack is not None:
                self._record.refused(ack["error"]["code"], asked)
            self._urls = [*self._urls[1:], self._urls[0]]
            await asyncio.sleep(self.chance.uniform(*RETRY_WAIT_S))

    async def _sent(self, event: str, payload: Payload) -> Payload | None:
        """The answer in the form of an ack; None where there is none."""
        url = f"{self._urls[0]}{API}/{event}"
        timeout = aiohttp.ClientTimeout(total=REST_TIMEOUT_S)
        with suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with self._http.post(url, json=payload, headers=self._headers, timeout=timeout) as response:
                body: Payload = await response.json(content_type=None)
                if response.status >= 400:
                    return {"ok": False, "error": body}
                # a state is answered with the time of the answer beside its fields
                state = body["state"] if "state" in body else {key: body[key] for key in body if key != "server_time"}
                return {"ok": True, "state": state, "server_time": body["server_time"]}
        return None


class Listener:
    """One person: who presses on which device, and in which session."""

    def __init__(
        self, *, listener_id: str, script_id: str, devices: tuple[Device, ...], app: App, plan: Plan, gate: Gate
    ) -> None:
        self.listener_id = listener_id
        self.devices = devices
        self.app = app
        self.session_id = ""
        self._gone = False
        self._script_id = script_id
        self._plan = plan
        self._gate = gate
        self._own_gate = Gate()
        self._own_gate.open()

    @property
    def state(self) -> Payload | None:
        """The newest that any device shows; None when they have learned that there is no such session any more."""
        shown = (device.shown(self.session_id) for device in self.devices)
        return max((state for state in shown if state is not None), key=order_of, default=None)

    @property
    def _over(self) -> bool:
        """Whether another session is to be begun."""
        state = self.state
        return self._gone or state is None or (self._plan.rotates and bool(state["revision"] >= REVISIONS_MAX))

    async def begin(self) -> None:
        """A session of its own, sounding on the first device. Every device shows it."""
        phone = self.devices[0]
        while code := await phone.press(Wish("play", {"script_id": self._script_id, "position": START_PLACE_S})):
            assert code == "unavailable", code
        session_id = phone.live_session_id
        for device in self.devices:
            await device.expect(lambda device: device.shown(session_id) is not None)
        self.session_id = session_id

    async def use(self, device: Device) -> None:
        """A device in somebody's hand, for ever."""
        lag_ms = device.chance.randint(20, 150)
        while True:
            await asyncio.sleep(device.chance.expovariate(1 / self._plan.device_pace_s))
            async with self._gate.passage():
                async with self._own_gate.passage():
                    if device.chance.random() < self._plan.drops:
                        device.drop()
                    else:
                        await self._press(device, lag_ms)
                if device is self.devices[0] and self._over:
                    await self._rotate()

    async def use_app(self) -> None:
        """An app that now and then presses over REST, for ever."""
        chance = self.app.chance
        while True:
            await asyncio.sleep(chance.expovariate(1 / self._plan.rest_pace_s))
            async with self._gate.passage(), self._own_gate.passage():
                if (state := self.state) is None:
                    continue
                wish = choose(self._look(self.app.device_id, state, None), chance)
                if wish.event == "play":
                    # over REST the device that shall sound is the one that asks
                    wish = Wish("play", {**wish.fields, "device_id": chance.choice(self.devices).device_id})
                await self.app.press(wish)

    async def _press(self, device: Device, lag_ms: int) -> None:
        state = device.shown(self.session_id)
        if state is None or state["ended"]:
            return
        look = self._look(device.device_id, state, lag_ms)
        if look.sounds_here and device.chance.random() < self._plan.reports:
            code = await device.report(report(look))
        else:
            code = await device.press(choose(look, device.chance))
        # where the store may lose something, that may be a session that had just begun
        self._gone = self._gone or code == "not_found"

    def _look(self, device_id: str, state: Payload, lag_ms: int | None) -> Look:
        others = [device.device_id for device in self.devices if device.device_id != device_id]
        return Look(state=state, device_id=device_id, others=others, now_ms=round(time.time() * 1000), lag_ms=lag_ms)

    async def _rotate(self) -> None:
        """Ends the session and begins another one, while nothing of the listener's is under way.

        A report whose answer was lost and that is sent again after the end is refused: nobody would know whether the
        first one was counted.
        """
        phone = self.devices[0]
        self._own_gate.close()
        while self._own_gate.busy:
            await asyncio.sleep(POLL_S)
        if not self._gone and self.state is not None:
            await phone.press(Wish("end", {"session_id": self.session_id}))
        await self.begin()
        self._gone = False
        self._own_gate.open()


class Traffic:
    """All listeners. `start` returns when every device is joined and every session plays."""

    def __init__(self, listeners: list[Listener], gate: Gate, record: Record) -> None:
        self.listeners = listeners
        self.record = record
        self._gate = gate
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def devices(self) -> list[Device]:
        return [device for listener in self.listeners for device in listener.devices]

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(device.run()) for device in self.devices]
        await asyncio.gather(*(device.expect(lambda device: device.joined) for device in self.devices))
        await asyncio.gather(*(listener.begin() for listener in self.listeners))
        for listener in self.listeners:
            self._tasks += [asyncio.create_task(listener.use(device)) for device in listener.devices]
            self._tasks.append(asyncio.create_task(listener.use_app()))
        self._gate.open()

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        done = await asyncio.gather(*self._tasks, return_exceptions=True)
        for error in done:
            if isinstance(error, Exception):
                raise error

    def require_alive(self) -> None:
        """Raises what has ended a task: they all go on for ever."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def quiet(self) -> None:
        """Nobody presses any more, and whatever was under way has its answer."""
        self._gate.close()
        await self.until(lambda: self._gate.busy == 0)

    def resume(self) -> None:
        self._gate.open()

    async def answers(self, count: int) -> None:
        """Returns when so many more answers have come."""
        wanted = self.record.answered + count
        await self.until(lambda: self.record.answered >= wanted)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns when it has come to be so."""
        while not condition():
            self.require_alive()
            await asyncio.sleep(POLL_S)
