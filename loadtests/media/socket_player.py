"""A device on a socket, which plays as its commands are answered: what `play` and `seek` cost, and what they warm.

first sound    `play` → its ack with the address → playlists, init section, first segment
seek           `seek` → its ack → the segment there
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from socketio.exceptions import SocketIOError

from loadtests.media.firsts import Player
from loadtests.media.listener import INTO_SEGMENT_S, SEGMENT_S, Listener, NotPlayed, Playlist, listening
from loadtests.media.place import Place
from tests.support.sockets import Client


class SocketPlayer:
    """One device of a listener whom nobody knows yet. Times in ms, until the last byte of what sounds."""

    def __init__(self, client: Client, listener: Listener) -> None:
        self._client = client
        self._listener = listener
        self._session_id = ""
        self._playlist: Playlist | None = None

    async def first_sound(self, script_id: str) -> float:
        began_s = time.perf_counter()
        ack = await self._answered("play", {"script_id": script_id, "position": 0.0})
        self._session_id = ack["state"]["session_id"]
        self._playlist = await self._listener.first_sound_of(ack["stream_url"])
        return (time.perf_counter() - began_s) * 1_000

    async def seek(self, segment: int) -> float:
        assert self._playlist is not None
        began_s = time.perf_counter()
        position_s = segment * SEGMENT_S + INTO_SEGMENT_S
        await self._answered("seek", {"session_id": self._session_id, "position": position_s})
        await self._listener.segment(self._playlist, segment)
        return (time.perf_counter() - began_s) * 1_000

    async def settled(self) -> None:
        """It fetches what it is told to, and no more."""

    async def _answered(self, event: str, payload: dict[str, Any]) -> dict[str, Any]:
        try:
            ack = await self._client.call_with(event, payload)
        except (SocketIOError, TimeoutError) as error:
            raise NotPlayed(f"{event}: {error!r}") from error
        if not ack.get("ok"):
            raise NotPlayed(f"{event}: {ack.get('error')}")
        return ack


@asynccontextmanager
async def socket_player(place: Place) -> AsyncIterator[Player]:
    """Connected. Raises NotPlayed."""
    token = place.listener_token()
    try:
        client = await Client.open(place.url, token)
    except (SocketIOError, TimeoutError) as error:
        raise NotPlayed(f"no connection: {error!r}") from error
    try:
        async with listening(place) as listener:
            yield SocketPlayer(client, listener)
    finally:
        await client.abandon()
