"""How a server under load is spoken to: the peers' few words, and playhead's as its clients use them.

A command carries its number, which comes back in the event that it causes.
"""

import time
from dataclasses import dataclass
from functools import cache
from typing import Protocol
from uuid import UUID

import orjson

from playhead.auth.tokens import issue

AUDIENCE = "authenticated"
TOKEN_S = 6 * 3600
PLACE_MS_MAX = 3_500_000
STEP_MS = 1_618
"""Between the places of two commands in a row, so that each of them changes something."""
SESSION_ID = b"6f1c2a4e-1f0b-4a57-9a3a-2f0a6b1f7c55"
T, COMMAND_ID = b'"t":', b'"command_id":"00000000-0000-4000-8000-'


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a client belongs: whoever has place 0 of a room sends, the others get its events."""

    room: int
    place: int

    @property
    def sends(self) -> bool:
        return self.place == 0


class Spoken(Protocol):
    """The payloads of one kind of server; `number` ones are of events."""

    def auth(self, seat: Seat) -> bytes:
        """JSON of the handshake."""
        ...

    def first(self, seat: Seat) -> bytes | None:
        """What is asked before anything else, if anything."""
        ...

    def session_id(self, answer: bytes) -> bytes:
        """Of the answer to that."""
        ...

    def command(self, session_id: bytes, number: int) -> bytes: ...

    def number(self, packet: bytes) -> int:
        """Of the command that caused a `state`; -1 where none is told."""
        ...


def place_ms(number: int) -> int:
    return number * STEP_MS % PLACE_MS_MAX


class PeerSpoken:
    """The peers have rooms, and nothing to check."""

    def auth(self, seat: Seat) -> bytes:
        return b'{"room":"r%d"}' % seat.room

    def first(self, seat: Seat) -> bytes | None:
        return None

    def session_id(self, answer: bytes) -> bytes:
        return SESSION_ID

    def command(self, session_id: bytes, number: int) -> bytes:
        position_s = place_ms(number) / 1000
        return b'["seek",{"session_id":"%s","position":%.3f,"rate":1.0,"t":%d}]' % (SESSION_ID, position_s, number)

    def number(self, packet: bytes) -> int:
        _, found, rest = packet.partition(T)
        return int(rest.partition(b"}")[0]) if found else -1


class PlayheadSpoken:
    """A room is a listener with two devices; one that has more sockets than two has them on the second device.

    `event`: what the commands are, `seek` or a `play` that jumps.
    """

    def __init__(self, jwt_key: str, script_id: str, event: bytes = b"seek") -> None:
        self._jwt_key = jwt_key
        self._script_id = script_id
        self._event = event
        self._token = cache(lambda room: _token(jwt_key, room))

    def playing(self) -> "PlayheadSpoken":
        return PlayheadSpoken(self._jwt_key, self._script_id, b"play")

    def auth(self, seat: Seat) -> bytes:
        name = "phone" if seat.sends else "desk"
        device = {"id": name, "name": name, "kind": "browser"}
        return orjson.dumps({"token": self._token(seat.room), "device": device, "protocol": 1})

    def first(self, seat: Seat) -> bytes | None:
        return orjson.dumps(["play" if seat.sends else "join", {"script_id": self._script_id}])

    def session_id(self, answer: bytes) -> bytes:
        state = orjson.loads(answer)[0]["state"]
        return b"" if state is None else str(state["session_id"]).encode()

    def command(self, session_id: bytes, number: int) -> bytes:
        fields = b'"session_id":"%s","position":%.3f' % (session_id, place_ms(number) / 1000)
        return b'["%s",{%s,%s%012x"}]' % (self._event, fields, COMMAND_ID, number)

    def number(self, packet: bytes) -> int:
        _, found, rest = packet.partition(COMMAND_ID)
        return int(rest[:12], 16) if found else -1


def listener_id(room: int) -> str:
    return str(UUID(int=room + (4 << 76) + (8 << 60)))


def _token(jwt_key: str, room: int) -> str:
    expires_at_s = int(time.time()) + TOKEN_S
    return issue(jwt_key, listener_id=listener_id(room), audience=AUDIENCE, expires_at_s=expires_at_s)
