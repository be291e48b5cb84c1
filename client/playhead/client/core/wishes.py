"""What a device may ask for: the event, its payload, and what it means to the playhead. One function a command.

Places are in seconds. `expected_revision`: refuse with `conflict` unless the session is exactly there, in the epoch of
the press.
What only the server can foretell (a place of the history) has no meaning here: nothing is predicted.
"""

from dataclasses import dataclass
from typing import Any

from playhead.client.core.prediction import milliseconds
from playhead.client.core.wire import Mode, Payload
from playhead.playback.commands import (
    Command,
    End,
    Leave,
    Pause,
    Play,
    Seek,
    SetLoop,
    SetMode,
    SetRate,
    SetSleep,
    Transfer,
)


@dataclass(frozen=True, slots=True)
class Wish:
    """One command, not yet named."""

    event: str
    payload: Payload
    command: Command | None = None


def play(
    *,
    session_id: str | None = None,
    script_id: str | None = None,
    position: float | None = None,
    device_id: str | None = None,
    expected_revision: int | None = None,
) -> Wish:
    """Resume a session or a script, one of the two; `device_id`: the device that shall sound."""
    if (session_id is None) == (script_id is None):
        raise ValueError("give either `session_id` or `script_id`")
    payload = {"session_id": session_id, "script_id": script_id, "position": position, "device_id": device_id}
    command = Play(position_ms=_optional_ms(position), device_id=device_id)
    return Wish("play", _given(payload, expected_revision), command)


def pause(session_id: str, *, position: float | None = None, expected_revision: int | None = None) -> Wish:
    """`position`: the place that the listener heard, where the sound is on this device."""
    payload = {"session_id": session_id, "position": position}
    return Wish("pause", _given(payload, expected_revision), Pause(position_ms=_optional_ms(position)))


def seek(session_id: str, position: float, *, heard: float | None = None, expected_revision: int | None = None) -> Wish:
    """`heard`: the place that the listener heard before, where the sound is on this device."""
    payload = {"session_id": session_id, "position": position, "from": heard}
    command = Seek(position_ms=milliseconds(position), from_ms=_optional_ms(heard))
    return Wish("seek", _given(payload, expected_revision), command)


def loop(
    session_id: str, start: float, end: float, *, enabled: bool = True, expected_revision: int | None = None
) -> Wish:
    payload = {"session_id": session_id, "start": start, "end": end, "enabled": enabled}
    command = SetLoop(start_ms=milliseconds(start), end_ms=milliseconds(end), enabled=enabled)
    return Wish("loop", _given(payload, expected_revision), command)


def rate(session_id: str, value: float, *, expected_revision: int | None = None) -> Wish:
    return Wish("rate", _given({"session_id": session_id, "rate": value}, expected_revision), SetRate(rate=value))


def transfer(session_id: str, device_id: str, *, expected_revision: int | None = None) -> Wish:
    payload = {"session_id": session_id, "device_id": device_id}
    return Wish("transfer", _given(payload, expected_revision), Transfer(device_id=device_id))


def mode(session_id: str, value: Mode, *, expected_revision: int | None = None) -> Wish:
    return Wish("mode", _given({"session_id": session_id, "mode": value}, expected_revision), SetMode(mode=value))


def sleep(
    session_id: str,
    *,
    after: float | None = None,
    at_end_of_loop: bool = False,
    expected_revision: int | None = None,
) -> Wish:
    """Pause by itself after so many seconds, or when the loop ends; neither: no longer."""
    payload: dict[str, Any] = {"session_id": session_id, "after": after, "at_end_of_loop": at_end_of_loop or None}
    command = SetSleep(after_ms=_optional_ms(after), at_end_of_loop=at_end_of_loop)
    return Wish("sleep", _given(payload, expected_revision), command)


def restore(session_id: str, entry_id: str, *, expected_revision: int | None = None) -> Wish:
    """Back to the place of an entry of the history."""
    return Wish("restore", _given({"session_id": session_id, "entry_id": entry_id}, expected_revision))


def leave(session_id: str) -> Wish:
    """This device shows the session no longer; if it sounds here, it stops."""
    return Wish("leave", {"session_id": session_id}, Leave())


def end(session_id: str, *, expected_revision: int | None = None) -> Wish:
    return Wish("end", _given({"session_id": session_id}, expected_revision), End())


def _given(payload: dict[str, Any], expected_revision: int | None) -> Payload:
    """What was given; fields that were not are left out."""
    fields = {**payload, "expected_revision": expected_revision}
    return {name: value for name, value in fields.items() if value is not None}


def _optional_ms(seconds: float | None) -> int | None:
    return None if seconds is None else milliseconds(seconds)
