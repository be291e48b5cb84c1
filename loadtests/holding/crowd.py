"""All listeners of one load process: they connect, report and seek, and come back when they are cut off.

Owns: when what is sent, and the counts. Must not know: the other load processes, servers' processes.
Reports lie on a wheel of BUCKETS, so that they are spread evenly over `report_every_s` without a timer a device.
"""

import asyncio
import random
import sys
import time
import traceback
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from picows import WSError, ws_connect

from loadtests.holding.device import Answer, Device, Refused
from loadtests.holding.lines import connected
from loadtests.holding.pair import PLACE_S_MAX, Order, Pair, Seek, order_of
from loadtests.holding.waits import RETRIES_MAX, backoff_s, refused_over_http, retry_s

REPORT_EVERY_S = 10.0
"""As our player does, while it sounds."""
BUCKETS = 100
CHECKED_AT_ONCE = 5
"""Buckets whose devices are asked at a tick whether an ack is overdue: every device every 2 s."""
OPENING_AT_ONCE = 64
"""At the beginning. Who comes back waits for nobody but by rule 1."""
CONNECT_TIMEOUT_S = 20.0
ARRIVAL_TIMEOUT_S = 10.0
"""How long a state may take to the other device before it counts as not arrived."""
TRIES_MAX = 120
"""Connection attempts in a row before a client gives up; with the back-off some ten minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where to connect, and from where: a source address has 28,232 ports at most."""

    host: str
    port: int
    sources: Sequence[str]
    script_id: str
    report_every_s: float = REPORT_EVERY_S


class Crowd:
    """`counts` and `times_ms` are taken, and begun anew, by whoever tells them on."""

    def __init__(self, target: Target, tokens: Sequence[str], on_full: Callable[[], None]) -> None:
        self.counts: Counter[str] = Counter()
        self.times_ms: defaultdict[str, list[float]] = defaultdict(list)
        self.joined = 0
        self.pairs: list[Pair] = []
        self.late_ms = 0.0
        """The longest that this process itself was behind its time."""
        self._target = target
        self._tokens = tokens
        self._on_full = on_full
        self._closing = False
        self._seeking: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._handshakes: dict[Device, asyncio.Future[Refused | None]] = {}
        self._asking: dict[Device, asyncio.Future[tuple[Answer, float]]] = {}
        self._lost_at_s: dict[Device, float] = {}
        self._buckets: list[list[Pair]] = [[] for _ in range(BUCKETS)]
        self._opening = asyncio.Semaphore(OPENING_AT_ONCE)

    # what the process is told to do

    async def open(self, until: int, per_s: float) -> None:
        """Lets listeners in until there are so many, at most `per_s` sockets a second; returns when all are joined."""
        start_s, first = time.monotonic(), len(self.pairs)
        opening = []
        for number in range(first, until):
            await _until(start_s + 2 * (number - first) / per_s)
            pair = Pair()
            pair.devices = tuple(Device(self, pair, place, self._tokens[number]) for place in (0, 1))
            self.pairs.append(pair)
            self._buckets[number % BUCKETS].append(pair)
            await self._opening.acquire()
            opening.append(asyncio.create_task(self._open(pair)))
        await asyncio.gather(*opening)

    def seek(self, per_s: float) -> None:
        """So many seeks a second from now on."""
        if self._seeking is not None:
            self._seeking.cancel()
        self._seeking = asyncio.create_task(self._seek_for_ever(per_s)) if per_s else None

    async def tick_for_ever(self) -> None:
        """Reports, and dead lines."""
        tick, start_s = 0, time.monotonic()
        while True:
            tick += 1
            due_s = start_s + tick * self._target.report_every_s / BUCKETS
            await _until(due_s)
            self.late_ms = max(self.late_ms, (time.monotonic() - due_s) * 1000)
            for pair in self._buckets[tick % BUCKETS]:
                if pair.sounds():
                    self._report(pair)
            for offset in range(CHECKED_AT_ONCE):
                self._check(self._buckets[(tick * CHECKED_AT_ONCE + offset) % BUCKETS])

    def close(self) -> None:
        self._closing = True
        for task in (*self._tasks, *([self._seeking] if self._seeking else [])):
            task.cancel()
        for pair in self.pairs:
            for device in pair.devices:
                device.close()

    # connections

    async def _open(self, pair: Pair) -> None:
        try:
            for device in pair.devices:
                await self._come(device)
        finally:
            self._opening.release()

    async def _come(self, device: Device) -> None:
        """Connects and joins, however often that takes."""
        began_s = time.perf_counter()
        for _ in range(TRIES_MAX):
            least_s = await self._attempt(device)
            if least_s is None and await self._join(device):
                break
            device.close()
            device.failures += 1
            self.counts["attempts_failed"] += 1
            await asyncio.sleep(max(backoff_s(device.failures), least_s or 0.0))
        else:
            self.counts["gave_up"] += 1
            return
        self.times_ms["connect"].append((time.perf_counter() - began_s) * 1000)
        lost_at_s = self._lost_at_s.pop(device, None)
        if lost_at_s is not None:
            self.times_ms["back"].append((time.monotonic() - lost_at_s) * 1000)
        self._repeat(device)

    async def _attempt(self, device: Device) -> float | None:
        """None: connected. Else how long to wait at least."""
        done: asyncio.Future[Refused | None] = asyncio.get_running_loop().create_future()
        self._handshakes[device] = done
        source = random.choice(self._target.sources)
        url = f"ws://{self._target.host}:{self._target.port}/socket.io/?EIO=4&transport=websocket"
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await ws_connect(
                    lambda: device,
                    url,
                    read_buffer_init_size=1_024,
                    websocket_handshake_timeout=CONNECT_TIMEOUT_S,
                    socket_factory=lambda url: connected(source, str(url.host), url.port),
                    use_aiofastnet=False,  # what it is made for costs more where each connection is a new one
                )
                refused = await done
        except (OSError, TimeoutError, WSError) as error:
            self.counts[f"failed_{type(error).__name__}"] += 1
            refused = refused_over_http(error)
            return refused.retry_after_ms / 1000 if refused else 0.0
        finally:
            del self._handshakes[device]
        if refused is None:
            return None
        self.counts[f"refused_{refused.code}"] += 1
        return refused.retry_after_ms / 1000

    async def _join(self, device: Device) -> bool:
        """Joins, and plays where nothing does yet. False: the line is dead, or the server will not."""
        pair: Pair = device.pair
        known = pair.states[device.place]
        seen = {} if known is None else {"seen": {"epoch": known["epoch"], "revision": known["revision"]}}
        acked = pair.acked  # later ones may be acknowledged while the answer is on its way
        answer = await self._asked(device, "join", {"script_id": self._target.script_id, **seen})
        if answer is None or not answer["ok"]:
            return False
        state = answer["state"]
        if known is not None and pair.lost_acked(state, acked):
            self.counts["acked_lost"] += 1
        if state is None:
            fields = {"script_id": self._target.script_id, "position": 0.0, "device_id": pair.devices[0].id}
            answer = await self._asked(device, "play", {**fields, "command_id": str(uuid.uuid4())})
            if answer is None or not answer["ok"]:
                return False
            state = answer["state"]
        self._take(device, state)
        if not device.open:
            return False
        device.joined = True
        self.joined += 1
        if self.joined == 2 * len(self.pairs):
            self._on_full()
        return True

    async def _asked(self, device: Device, event: str, fields: dict[str, Any]) -> Answer | None:
        """The ack; None when it does not come. What the server will take later is asked again."""
        for tries in range(RETRIES_MAX):
            came: asyncio.Future[tuple[Answer, float]] = asyncio.get_running_loop().create_future()
            self._asking[device] = came
            device.ask(event, fields, partial(_came, came))
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    answer, elapsed_s = await came
            except (TimeoutError, ConnectionError):
                self.counts[f"unanswered_{event}"] += 1
                return None
            finally:
                del self._asking[device]
            self.times_ms[event].append(elapsed_s * 1000)
            if answer["ok"] or not answer["error"]["retry"]:
                return answer
            self.counts[f"{event}_{answer['error']['code']}"] += 1
            await asyncio.sleep(retry_s(tries))
        return None

    def connected(self, device: Device, refused: Refused | None) -> None:
        done = self._handshakes.get(device)
        if done is not None and not done.done():
            done.set_result(refused)

    def closed(self, device: Device) -> None:
        self.connected(device, Refused(code="closed", retry=True, retry_after_ms=0))
        asking = self._asking.get(device)
        if asking is not None and not asking.done():
            asking.set_exception(ConnectionError())
        if not device.joined:
            return
        device.joined = False
        self.joined -= 1
        if self._closing:
            return
        self.counts["lost"] += 1
        self._lost_at_s.setdefault(device, time.monotonic())
        seek = device.pair.seek
        if seek is not None:
            seek.measured = False
        self._spawn(self._come_back(device))

    async def _come_back(self, device: Device) -> None:
        await asyncio.sleep(backoff_s(0))
        await self._come(device)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.counts["errors"] += 1
            traceback.print_exception(error, file=sys.stderr)

    def _check(self, pairs: Sequence[Pair]) -> None:
        now_s = time.perf_counter()
        for pair in pairs:
            for device in pair.devices:
                if device.joined and device.overdue(now_s):
                    self.counts["dead_lines"] += 1
                    device.close()
            seek = pair.seek
            if seek is not None and seek.answered and now_s - seek.began_s > ARRIVAL_TIMEOUT_S:
                self.counts["not_arrived"] += seek.measured
                pair.seek = None

    # what comes in

    def event(self, device: Device, name: str, data: Any) -> None:
        if name == "state":
            self.counts["states"] += 1
            self._take(device, data)
            seek = device.pair.seek
            cause = data["cause"]
            if seek is not None and device is seek.witness and cause and cause["command_id"] == seek.command_id:
                self._arrived(device.pair, seek)
        elif name == "draining":
            self.counts["drained"] += 1
            self._spawn(self._leave(device, data["retry_after_ms"] / 1000))
        else:
            self.counts[f"event_{name}"] += 1
            if name == "resync":
                self._spawn(self._look_again(device))

    async def _leave(self, device: Device, after_s: float) -> None:
        """Rule 5: after that time, once what was asked is answered, to another process."""
        await asyncio.sleep(after_s)
        until_s = time.monotonic() + CONNECT_TIMEOUT_S
        while device.open and device.waits and time.monotonic() < until_s:
            await asyncio.sleep(0.05)
        device.close()

    async def _look_again(self, device: Device) -> None:
        await asyncio.sleep(random.random())
        device.ask("join", {"script_id": self._target.script_id}, self._looked)

    def _looked(self, device: Device, answer: Answer, _elapsed_s: float) -> None:
        if answer["ok"] and answer["state"] is not None:
            self._take(device, answer["state"])

    def _take(self, device: Device, state: dict[str, Any]) -> None:
        pair: Pair = device.pair
        was = pair.paused
        pair.take(device, state)
        if pair.paused and not was:
            self.counts["paused"] += 1
            self.counts[f"paused_by_{(state['cause'] or {}).get('command', 'snapshot')}"] += 1

    # reports

    def _report(self, pair: Pair) -> None:
        self.counts["reports"] += 1
        assert pair.states[0] is not None
        sent = order_of(pair.states[0])
        pair.devices[0].ask(
            "progress", pair.report(), lambda device, answer, s: self._reported(device, answer, s, sent)
        )

    def _reported(self, device: Device, answer: Answer, elapsed_s: float, sent: Order) -> None:
        self.times_ms["progress"].append(elapsed_s * 1000)
        if answer["ok"]:
            self._take(device, answer["state"])
            return
        error, state = answer["error"], answer["error"].get("state")
        # another device moved the playhead while this report was on its way: so it is told, and that is no failure
        crossed = error["code"] == "conflict" and state is not None and order_of(state) > sent
        self.counts["reports_crossed" if crossed else f"reports_refused_{error['code']}"] += 1
        if state is not None:
            self._take(device, state)

    # seeks

    async def _seek_for_ever(self, per_s: float) -> None:
        start_s, number = time.monotonic(), 0
        while True:
            number += 1
            await _until(start_s + number / per_s)
            pair = random.choice(self.pairs)
            if pair.seek is None and all(device.joined for device in pair.devices):
                position_s = round(random.uniform(0, PLACE_S_MAX), 3)
                self._send(pair, pair.begin_seek(random.randrange(2), position_s))

    def _send(self, pair: Pair, seek: Seek) -> None:
        self.counts["seeks"] += seek.tries == 0
        self.counts["seeks_repeated"] += seek.tries > 0
        seek.tries += 1
        fields = {"session_id": pair.session_id, "position": seek.position_s, "command_id": seek.command_id}
        seek.sender.ask("seek", fields, lambda device, answer, s: self._sought(pair, seek, answer, s))

    def _repeat(self, device: Device) -> None:
        """Rule 9: what was not answered goes again, under its id."""
        seek = device.pair.seek
        if seek is not None and seek.sender is device and not seek.answered:
            self._send(device.pair, seek)

    def _sought(self, pair: Pair, seek: Seek, answer: Answer, elapsed_s: float) -> None:
        if answer["ok"]:
            seek.answered = True
            if seek.tries == 1:
                self.times_ms["seek_ack"].append(elapsed_s * 1000)
            pair.note_acked(answer["state"])
            self._take(seek.sender, answer["state"])
            if seek.arrived or not seek.measured:
                pair.seek = None
            return
        code = answer["error"]["code"]
        self.counts[f"seeks_refused_{code}"] += 1
        if answer["error"]["retry"] and seek.tries <= RETRIES_MAX:
            wait_s = max(retry_s(seek.tries), (answer["error"].get("retry_after_ms") or 0) / 1000)
            asyncio.get_running_loop().call_later(wait_s, self._repeat, seek.sender)
        else:
            pair.seek = None
            self.counts["seeks_failed"] += 1

    def _arrived(self, pair: Pair, seek: Seek) -> None:
        seek.arrived = True
        if seek.measured:
            self.times_ms["seek"].append((time.perf_counter() - seek.began_s) * 1000)
        if seek.answered:
            pair.seek = None


def _came(future: asyncio.Future[tuple[Answer, float]], _device: Device, answer: Answer, elapsed_s: float) -> None:
    if not future.done():
        future.set_result((answer, elapsed_s))


async def _until(at_s: float) -> None:
    wait_s = at_s - time.monotonic()
    if wait_s > 0:
        await asyncio.sleep(wait_s)
