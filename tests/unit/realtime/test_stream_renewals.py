"""A stream's address is signed anew in time, once, for whoever may still hear it; a database away is waited for."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from playhead.auth.media_paths import VALID_BEYOND_DURATION_S, MediaSigner
from playhead.db import DatabaseUnavailable, Script
from playhead.playback.reducer import Cause
from playhead.playback.rejections import Code, Rejection
from playhead.realtime.connections import Connection, Connections, GivenStream
from playhead.realtime.stream_renewals import RENEW_BEFORE_MS, RETRY_MS, StreamRenewals
from playhead.sessions.answers import Outcome
from playhead.sessions.memory_store import MemoryStore
from playhead.sessions.requests import Device
from playhead.sessions.streams import StreamLinks
from tests.support.sessions import HeldScripts, SetClock, make_principal, make_script
from tests.support.states import (
    DURATION_MS,
    LISTENER_ID,
    MEDIA_VERSION,
    NOW_MS,
    OTHER_SCRIPT_ID,
    SCRIPT_ID,
    SESSION_ID,
    make_state,
)

ENDS_MS = NOW_MS + RENEW_BEFORE_MS + 1_000
VALID_MS = DURATION_MS + VALID_BEYOND_DURATION_S * 1_000


class Rows(HeldScripts):
    """Scripts that a test can take away, make fail, or answer late."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.failure: Exception | None = None
        self.gate: asyncio.Event | None = None

    async def get(self, claims: Mapping[str, str], script_id: str) -> Script | None:
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return await super().get(claims, script_id)


class Desk:
    """One connection with an address, and what it is sent."""

    def __init__(self) -> None:
        self.clock, self.rows = SetClock(), Rows()
        self.sent: asyncio.Queue[tuple[str, str, dict[str, Any]]] = asyncio.Queue()
        self.connections = Connections(MemoryStore(self.clock))
        self.over: set[str] = set()
        """Sessions that have ended."""
        signer = MediaSigner({"kid": "k" * 32})
        links = StreamLinks(signer, "https://media.example", self.clock, self.over.__contains__)
        self.renewals = StreamRenewals(self.connections, self.rows, self, links, self, self.clock)  # type: ignore[arg-type]
        self.session = make_state()
        """What `renew` gives another file, unless it is `gone`."""
        self.gone = False
        self.connection = self.make("c1")

    @staticmethod
    def make(connection_id: str) -> Connection:
        given = GivenStream(
            script_id=SCRIPT_ID, session_id=SESSION_ID, expires_at_ms=ENDS_MS, media_version=MEDIA_VERSION
        )
        device = Device(id="phone", name="n", kind="phone")
        return Connection(
            connection_id=connection_id,
            principal=make_principal(),
            device=device,
            last_packet_at_ms=NOW_MS,
            stream=given,
        )

    async def send(self, connection_id: str, event: str, data: dict[str, Any]) -> None:
        await self.sent.put((connection_id, event, data))

    async def renew(self, listener_id: str, session_id: str, script: Script) -> Outcome | Rejection:
        assert (listener_id, session_id) == (LISTENER_ID, SESSION_ID)
        if self.gone:
            return Rejection(code=Code.NOT_FOUND)
        self.session = replace(self.session, media_version=script.media_version, duration_ms=script.duration_ms)
        return Outcome(state=self.session, cause=Cause(command="renew"), server_time_ms=0, published=True, told=b"")

    async def told(self) -> tuple[str, str, dict[str, Any]]:
        async with asyncio.timeout(5):
            return await self.sent.get()

    def look(self) -> bool:
        """Whether the connection's turn has come now."""
        self.renewals.look(self.connection, self.clock.now_ms())
        due = "c1" in self.renewals._due
        self.renewals._due.clear()
        return due


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    await desk.connections.enter(desk.connection)
    yield desk
    await desk.renewals.stop()


async def test_ten_minutes_before_its_end_an_address_is_signed_anew_and_once(desk: Desk) -> None:
    desk.clock.advance(999)
    assert not desk.look()
    desk.clock.advance(1)
    assert desk.look()
    await desk.renewals.renew(desk.connection)
    connection_id, event, data = await desk.told()
    assert (connection_id, event) == ("c1", "stream")
    url = data.pop("stream_url")
    assert url.startswith("https://media.example/p/") and f"/t/{SCRIPT_ID}/" in url
    ends_ms = (desk.clock.time_ms + VALID_MS) // 1_000 * 1_000
    assert data == {"script_id": SCRIPT_ID, "session_id": SESSION_ID, "expires_at": ends_ms}
    assert not desk.look()
    desk.clock.time_ms = ends_ms - RENEW_BEFORE_MS
    assert desk.look(), "the next one in its turn"


async def test_what_the_watch_shows_is_renewed_in_the_background(desk: Desk) -> None:
    others = [desk.make(f"c{number}") for number in range(2, 5)]
    for other in others:
        await desk.connections.enter(other)
    desk.clock.advance(1_000)
    desk.renewals.start()
    for _ in range(3):
        for connection in (desk.connection, *others):
            desk.renewals.look(connection, desk.clock.now_ms())
    assert [(await desk.told())[0] for _ in range(4)] == ["c1", "c2", "c3", "c4"]
    assert desk.rows.asked == 4


async def test_one_that_fails_keeps_none_of_the_others_from_it(desk: Desk) -> None:
    other = desk.make("c2")
    await desk.connections.enter(other)
    desk.rows.failure = RuntimeError("a bug")
    desk.clock.advance(1_000)
    desk.renewals.start()
    desk.renewals.look(desk.connection, desk.clock.now_ms())
    while desk.rows.asked == 0 or desk.renewals._due:
        await asyncio.sleep(0)
    assert not desk.look(), "not every second"
    desk.rows.failure = None
    desk.renewals.look(other, desk.clock.now_ms())
    assert (await desk.told())[0] == "c2"


async def test_while_the_database_is_away_it_is_tried_again_after_a_while(desk: Desk) -> None:
    desk.clock.advance(1_000)
    desk.rows.failure = DatabaseUnavailable("away")
    await desk.renewals.renew(desk.connection)
    assert desk.sent.empty() and not desk.look()
    desk.clock.advance(RETRY_MS)
    assert desk.look()
    desk.rows.failure = None
    await desk.renewals.renew(desk.connection)
    assert (await desk.told())[1] == "stream"


async def test_who_may_not_hear_it_any_more_gets_nothing_and_is_not_asked_for_again(desk: Desk) -> None:
    desk.rows.by_id.clear()
    await desk.renewals.renew(desk.connection)
    desk.clock.time_ms = ENDS_MS
    assert desk.sent.empty() and not desk.look()


async def test_an_address_that_a_play_gave_in_the_meantime_stands(desk: Desk) -> None:
    desk.rows.gate = asyncio.Event()
    renewing = asyncio.create_task(desk.renewals.renew(desk.connection))
    await asyncio.sleep(0)
    newer = GivenStream(script_id=OTHER_SCRIPT_ID, session_id=SESSION_ID, expires_at_ms=ENDS_MS + VALID_MS)
    desk.connection.stream = newer
    desk.rows.gate.set()
    await renewing
    assert desk.connection.stream is newer and desk.sent.empty()


async def test_where_the_script_has_another_file_the_session_takes_it_over_before_its_address_is_given(
    desk: Desk,
) -> None:
    desk.rows.by_id[SCRIPT_ID] = make_script(media_version="f" * 16, duration_ms=60_000)
    await desk.renewals.renew(desk.connection)
    url = (await desk.told())[2]["stream_url"]
    assert f"/t/{SCRIPT_ID}/{'f' * 16}/" in url
    assert (desk.session.media_version, desk.session.duration_ms) == ("f" * 16, 60_000)
    assert desk.connection.stream is not None and desk.connection.stream.media_version == "f" * 16


async def test_no_address_of_another_file_is_given_where_the_session_did_not_take_it_over(desk: Desk) -> None:
    desk.rows.by_id[SCRIPT_ID] = make_script(media_version="f" * 16)
    desk.gone = True
    await desk.renewals.renew(desk.connection)
    assert desk.sent.empty() and desk.connection.stream is None


async def test_a_connection_that_has_gone_or_never_played_is_left_out(desk: Desk) -> None:
    desk.clock.advance(1_000)
    desk.renewals.look(desk.connection, desk.clock.now_ms())
    await desk.connections.leave("c1")
    silent = desk.make("c2")
    silent.stream = None
    await desk.connections.enter(silent)
    desk.renewals.look(silent, desk.clock.now_ms())
    await desk.renewals.renew(silent)
    desk.renewals.start()
    while desk.renewals._due:
        await asyncio.sleep(0)
    assert desk.rows.asked == 0 and desk.sent.empty()


async def test_of_a_session_that_has_ended_no_other_address_is_signed(desk: Desk) -> None:
    desk.clock.advance(1_000)
    desk.over.add(SESSION_ID)
    await desk.renewals.renew(desk.connection)
    assert desk.connection.stream is None and desk.rows.asked == 0 and desk.sent.empty()
    assert not desk.look(), "nor looked at again"
