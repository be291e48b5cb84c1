"""The client as apps use it: asyncio around `core.Conversation`, where everything is decided.

async with Client("https://audio.example.com", fetch_token, Device(id="desk-1", name="Desk")) as client:
    await client.join(script_id=script_id)
    played = await client.play(script_id=script_id)
    await client.seek(played.state.session_id, 120.5)
    async for event in client.events():
        ...
"""

import random
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Self, TypeVar

from playhead.client.core import wishes
from playhead.client.core.conversation import PATIENCE_MS, Conversation
from playhead.client.core.errors import Refused, Unanswered
from playhead.client.core.events import Event
from playhead.client.core.offline import OfflineLog
from playhead.client.core.reports import Sound
from playhead.client.core.wire import (
    Accepted,
    ConnectedDevice,
    Credited,
    Device,
    Mode,
    Played,
    Refusal,
    Snapshot,
    State,
)
from playhead.client.core.wishes import Wish
from playhead.client.driver import Driver, FetchTokenFunction
from playhead.client.inbox import Inbox
from playhead.client.socketio_transport import SocketIoTransport
from playhead.client.transport import SystemTiming, Timing, Transport

Wanted = TypeVar("Wanted", bound=Event)
TARGETS = ("session_id", "script_id")
"""Fields of which a command has one."""


def canonical(text: str) -> str:
    """An id as the server spells it; what is none is left for the server to refuse."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return text


class Client:
    """One device of one listener. Use it with `async with`, or call `start` and `close`.

    `urls`: servers, the next one is tried when one fails. `token`: a token, or a function that fetches a fresh one; it
    is called for every connection, and when a token runs out. `sound`: what plays here; None: a remote that reports
    nothing. `first_seq`: for a device that has numbered reports higher than server time in ms, as others are.

    Commands raise Refused (the server said no), Unanswered (nobody knows) or Stopped (the client is closed, or not let
    in). Each waits for a broken line for `patience_ms`. Fields are seconds and server ms, as on the wire. Ids are taken
    in any spelling, and told in lower case.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        token: str | FetchTokenFunction,
        device: Device,
        *,
        sound: Sound | None = None,
        first_seq: int = 0,
        patience_ms: float = PATIENCE_MS,
        transport: Transport | None = None,
        timing: Timing | None = None,
        chance: Callable[[], float] = random.random,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
    ) -> None:
        self._patience_ms = patience_ms
        self._timing = timing or SystemTiming()
        self._conversation = Conversation(
            [urls] if isinstance(urls, str) else urls,
            device,
            chance=chance,
            new_id=new_id,
            sound=sound,
            first_seq=first_seq,
        )
        self._inbox = Inbox()
        self._driver = Driver(self._conversation, transport or SocketIoTransport(), self._timing, token, self._inbox)

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    def start(self) -> None:
        """Connects, and stays connected until `close`. Returns at once: commands wait for the connection."""
        self._driver.start()

    async def close(self) -> None:
        """Ends the connection. The server takes a sounding device for one that may come back: `leave` first."""
        await self._driver.close()

    # what is known

    @property
    def device(self) -> Device:
        return self._conversation.device

    @property
    def devices(self) -> tuple[ConnectedDevice, ...]:
        """The listener's connected devices."""
        return self._conversation.devices

    @property
    def connected(self) -> bool:
        return self._conversation.line.open

    @property
    def refusal(self) -> Refusal | None:
        """Why the server does not let this client in, once it has said so for good."""
        return self._conversation.line.refusal

    @property
    def server_ms(self) -> int | None:
        """Server time; None before it is known."""
        return self._conversation.time.now_ms(self._timing.now_ms())

    def state(self, session_id: str) -> State | None:
        """The latest state that the server has told."""
        return self._conversation.state(canonical(session_id))

    def live(self, script_id: str) -> State | None:
        """The latest state of the script's live session."""
        return self._conversation.sessions.live(canonical(script_id))

    def shown(self, session_id: str) -> State | None:
        """What to show and to sound: the latest state with this device's commands under way already applied."""
        return self._conversation.shown(canonical(session_id))

    def position(self, session_id: str) -> float | None:
        """Where the playhead is now; None while the session or server time is not known."""
        return self._conversation.position(canonical(session_id), self._timing.now_ms())

    def events(self) -> AsyncGenerator[Event, None]:
        """Everything from now on, in order, until the client is closed. Raises TooSlow for who does not read."""
        return self._inbox.reader()

    def on(self, kind: type[Wanted], callback: Callable[[Wanted], None]) -> Callable[[], None]:
        """Calls `callback` with every event of that kind; call what is returned to end that."""
        return self._inbox.subscribe(kind, callback)

    # what a device may ask

    async def join(self, *, script_id: str | None = None, session_id: str | None = None) -> Snapshot:
        """Follows a script or a session from now on, over every reconnect; its first snapshot."""
        if (session_id is None) == (script_id is None):
            raise ValueError("give either `session_id` or `script_id`")
        follow = partial(
            self._conversation.follow,
            script_id=None if script_id is None else canonical(script_id),
            session_id=None if session_id is None else canonical(session_id),
        )
        answer: Snapshot = await self._driver.ask(follow)
        return answer

    async def press(self, wish: Wish, patience_ms: float | None = None) -> Any:
        """Sends any command of `wishes`, and answers its ack."""
        patience = self._patience_ms if patience_ms is None else patience_ms
        targets = {name: canonical(wish.payload[name]) for name in TARGETS if name in wish.payload}
        wish = replace(wish, payload=wish.payload | targets)
        return await self._driver.ask(partial(self._conversation.press, wish, patience_ms=patience))

    async def play(
        self,
        *,
        session_id: str | None = None,
        script_id: str | None = None,
        position: float | None = None,
        device_id: str | None = None,
        expected_revision: int | None = None,
    ) -> Played:
        """Resumes a session, or a script: its live session, else a new one where the listener stopped."""
        wish = wishes.play(
            session_id=session_id,
            script_id=script_id,
            position=position,
            device_id=device_id,
            expected_revision=expected_revision,
        )
        answer: Played = await self.press(wish)
        return answer

    async def pause(
        self, session_id: str, *, position: float | None = None, expected_revision: int | None = None
    ) -> Accepted:
        """`position`: the place that the listener heard, where the sound is on this device."""
        return await self._accepted(wishes.pause(session_id, position=position, expected_revision=expected_revision))

    async def seek(
        self, session_id: str, position: float, *, heard: float | None = None, expected_revision: int | None = None
    ) -> Accepted:
        """`heard`: the place that the listener heard before, where the sound is on this device."""
        wish = wishes.seek(session_id, position, heard=heard, expected_revision=expected_revision)
        return await self._accepted(wish)

    async def loop(
        self, session_id: str, start: float, end: float, *, enabled: bool = True, expected_revision: int | None = None
    ) -> Accepted:
        wish = wishes.loop(session_id, start, end, enabled=enabled, expected_revision=expected_revision)
        return await self._accepted(wish)

    async def rate(self, session_id: str, rate: float, *, expected_revision: int | None = None) -> Accepted:
        return await self._accepted(wishes.rate(session_id, rate, expected_revision=expected_revision))

    async def transfer(self, session_id: str, device_id: str, *, expected_revision: int | None = None) -> Accepted:
        """Moves the sound to a connected device."""
        return await self._accepted(wishes.transfer(session_id, device_id, expected_revision=expected_revision))

    async def mode(self, session_id: str, mode: Mode, *, expected_revision: int | None = None) -> Accepted:
        return await self._accepted(wishes.mode(session_id, mode, expected_revision=expected_revision))

    async def sleep(
        self,
        session_id: str,
        *,
        after: float | None = None,
        at_end_of_loop: bool = False,
        expected_revision: int | None = None,
    ) -> Accepted:
        """Pauses by itself after so many seconds, or when the loop ends; without either, no longer."""
        wish = wishes.sleep(session_id, after=after, at_end_of_loop=at_end_of_loop, expected_revision=expected_revision)
        return await self._accepted(wish)

    async def restore(self, session_id: str, entry_id: str, *, expected_revision: int | None = None) -> Accepted:
        """Goes back to the place of an entry of the session's history."""
        return await self._accepted(wishes.restore(session_id, entry_id, expected_revision=expected_revision))

    async def leave(self, session_id: str) -> Accepted:
        """Follows the session no longer; if it sounds here, it stops."""
        return await self._accepted(wishes.leave(session_id))

    async def end(self, session_id: str, *, expected_revision: int | None = None) -> Accepted:
        return await self._accepted(wishes.end(session_id, expected_revision=expected_revision))

    def report(self) -> None:
        """The sound has started, stopped or stalled here: the server is told as soon as may be."""
        self._driver.report()

    def play_on(self, session_id: str) -> OfflineLog:
        """The sound goes on here without a connection: begins its log, which `offline` tells.

        Until it is told no report is sent, nor a command of the session that comes now: the server would count the same
        time twice, or take the command for a later one than the log. A jump that the sound makes meanwhile belongs
        into the log alone: as a `seek` it would be done after it. Raises ValueError for a session that is not held.
        """
        base = self.state(session_id)
        if base is None:
            raise ValueError("join the session first")
        log = OfflineLog(base)
        self._driver.open_log(log)
        return log

    def drop(self, played: OfflineLog) -> None:
        """Leaves the log untold: where the session has played on all the while, the next report tells the same."""
        self._driver.close_log(played)

    async def offline(self, played: OfflineLog, *, mine: bool = False) -> Credited:
        """Tells what was played without a connection. All of it is credited; its end becomes the place.

        Raises Refused `conflict` when somebody moved the playhead meanwhile: `state` is where the session is,
        `reported` where this device was. `mine`: the listener has chosen the latter; send the same log again. What was
        told may be told again: a place that the last batch has moved on is no conflict.
        Raises Unanswered where the line has broken once more, and Refused with `retry` where the server could not take
        it yet: reports and commands still wait, send the same log again. Who gives up to wait for the answer has them
        go on.
        """
        self._driver.open_log(played)
        told_later = False
        try:
            return await self._told(played, mine)
        except (Unanswered, Refused) as error:
            told_later = isinstance(error, Unanswered) or error.retry
            raise
        finally:
            if not told_later:
                self._driver.close_log(played)

    async def _told(self, played: OfflineLog, mine: bool) -> Credited:
        base, answer, conflict = None if mine else played.base, None, None
        for batch in played.batches():
            try:
                answer = await self.press(batch.wish(played.base.script_id, base))
            except Refused as refused:
                if refused.code != "conflict":
                    raise
                conflict = refused
            else:
                base = None if mine else answer.state
                conflict = None
        if conflict is not None:
            raise conflict
        assert isinstance(answer, Credited)
        return answer

    async def _accepted(self, wish: Wish) -> Accepted:
        answer: Accepted = await self.press(wish)
        return answer
