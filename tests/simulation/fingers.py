"""What listeners do: everything that a device may ask for, in any order, and some things that it must not."""

from collections.abc import Callable
from typing import Any

from playhead.client import State, Wish, wishes
from playhead.playback.history import Move
from tests.simulation.chance import Chance
from tests.simulation.device import Device

RATES = (0.25, 0.5, 1.0, 1.0, 1.25, 2.0, 4.0)
Act = Callable[["Fingers", Device, State], None]


class Fingers:
    """Presses buttons on devices. `history`: the entries of a session, as its listener would see them over REST."""

    def __init__(self, chance: Chance, script_ids: list[str], history: Callable[[str], tuple[Move, ...]]) -> None:
        self._chance = chance
        self._script_ids = script_ids
        self._history = history
        self._said: list[tuple[str, str, dict[str, Any]]] = []
        """Device, event and payload of commands that were sent before."""

    def act(self, device: Device) -> None:
        """One press on this device; without a live session it can only be a play."""
        chance = self._chance
        script_id = chance.pick(self._script_ids)
        state = device.talk.sessions.live(script_id)
        if state is None or chance.happens(0.15):
            self._play_script(device, script_id)
            return
        _pick(chance)(self, device, state)

    def _place_s(self, state: State) -> float:
        """Somewhere in the script, at one of its ends more often than by chance."""
        if self._chance.happens(0.1):
            return self._chance.pick((0.0, state.duration, max(0.0, state.duration - 1)))
        return self._chance.ms(0, round(state.duration * 1000)) / 1000

    def _own_place_s(self, device: Device, state: State) -> float | None:
        sounds = device.speaker.state is not None and device.speaker.state.session_id == state.session_id
        if not sounds or not self._chance.happens(0.7):
            return None
        return min(state.duration, device.speaker.place_ms() / 1000)

    def _expected(self, state: State) -> int | None:
        return state.revision if self._chance.happens(0.15) else None

    def _play_script(self, device: Device, script_id: str) -> None:
        device.press(wishes.play(script_id=script_id))

    def play(self, device: Device, state: State) -> None:
        others = [row.id for row in device.talk.devices]
        place_s = self._place_s(state) if self._chance.happens(0.3) else None
        target = self._chance.pick(others) if others and self._chance.happens(0.2) else None
        device.press(
            wishes.play(
                session_id=state.session_id,
                position=place_s,
                device_id=target,
                expected_revision=self._expected(state),
            )
        )

    def pause(self, device: Device, state: State) -> None:
        place_s = self._own_place_s(device, state)
        device.press(wishes.pause(state.session_id, position=place_s, expected_revision=self._expected(state)))

    def seek(self, device: Device, state: State) -> None:
        heard_s = self._own_place_s(device, state)
        place_s = self._place_s(state)
        device.press(wishes.seek(state.session_id, place_s, heard=heard_s, expected_revision=self._expected(state)))

    def loop(self, device: Device, state: State) -> None:
        chance = self._chance
        if state.loop is not None and chance.happens(0.5):
            start_s, end_s, enabled = state.loop.start, state.loop.end, not state.loop.enabled
        else:
            start_s = chance.ms(0, round((state.duration - 1) * 1000)) / 1000
            end_s = min(state.duration, start_s + chance.pick((0.3, 2.0, 7.0, 12.0)))
            enabled = chance.happens(0.8)
        device.press(wishes.loop(state.session_id, round(start_s, 3), round(end_s, 3), enabled=enabled))

    def rate(self, device: Device, state: State) -> None:
        device.press(wishes.rate(state.session_id, self._chance.pick(RATES)))

    def transfer(self, device: Device, state: State) -> None:
        others = [row.id for row in device.talk.devices] or [device.device_id]
        device.press(wishes.transfer(state.session_id, self._chance.pick(others)))

    def mode(self, device: Device, state: State) -> None:
        device.press(wishes.mode(state.session_id, self._chance.pick(("handoff", "together"))))

    def sleep(self, device: Device, state: State) -> None:
        if self._chance.happens(0.3):
            device.press(wishes.sleep(state.session_id, at_end_of_loop=True))
        else:
            after_s = self._chance.pick((None, 1.5, 6.0, 20.0, 3_000.0))
            device.press(wishes.sleep(state.session_id, after=after_s))

    def restore(self, device: Device, state: State) -> None:
        entries = self._history(state.session_id)
        if entries:
            entry = self._chance.pick(sorted(entries, key=lambda entry: entry.entry_id))
            device.press(wishes.restore(state.session_id, entry.entry_id))

    def leave(self, device: Device, state: State) -> None:
        device.press(wishes.leave(state.session_id))
        device.talk.follow(device.clock.now_ms(), script_id=state.script_id)

    def end(self, device: Device, state: State) -> None:
        device.press(wishes.end(state.session_id))

    def stall(self, device: Device, state: State) -> None:
        device.stall(self._chance.ms(200, 9_000))

    # what it must not

    def remember(self, device_id: str, event: str, payload: dict[str, Any]) -> None:
        if payload.get("command_id") is not None or event == "progress":
            self._said.append((device_id, event, payload))

    def nonsense(self, device: Device, foreign: str | None) -> None:
        """`foreign`: the session of another listener."""
        chance = self._chance
        state = device.talk.sessions.live(chance.pick(self._script_ids))
        if state is None:
            device.send_raw("seek", {"session_id": chance.uuid(), "position": 1.0})
            return
        ids = {"session_id": state.session_id}
        kind = chance.ms(0, 8)
        if kind <= 2:
            self._say_again(device)
        elif kind == 3:
            device.send_raw("seek", {**ids, "position": chance.pick((-1.0, 1e9, "0", None, state.duration + 0.001))})
        elif kind == 4:
            device.send_raw(chance.pick(("fly", "state", "$too_large")), {})
        elif kind == 5 and foreign is not None:
            device.send_raw("pause", {"session_id": foreign})
        elif kind == 6:
            # an old revision, or somebody who does not sound
            revision = max(0, state.revision - chance.ms(0, 2))
            place_s = self._place_s(state)
            seq = max(0, device.last_seq + chance.ms(0, 10) - 5)
            device.send_raw("progress", {**ids, "position": place_s, "revision": revision, "seq": seq})
        elif kind == 7:
            device.send_raw("loop", {**ids, "start": 5.0, "end": chance.pick((5.1, 4.0)), "enabled": True})
        else:
            device.send_raw("seek", {**ids, "position": self._place_s(state), "expected_revision": 999_999})

    def _say_again(self, device: Device) -> None:
        """A command that was sent before under its id: the same, or another one."""
        mine = [(event, payload) for device_id, event, payload in self._said if device_id == device.device_id]
        if not mine:
            return
        event, payload = self._chance.pick(mine[-12:])
        if event in ("seek", "pause") and self._chance.happens(0.3):
            device.send_raw("seek", {**payload, "position": 3.25})
            return
        device.send_raw(event, payload)


_ACTS: tuple[tuple[int, Act], ...] = (
    (14, Fingers.play),
    (10, Fingers.pause),
    (18, Fingers.seek),
    (7, Fingers.loop),
    (6, Fingers.rate),
    (9, Fingers.transfer),
    (3, Fingers.mode),
    (5, Fingers.sleep),
    (5, Fingers.restore),
    (2, Fingers.leave),
    (2, Fingers.end),
    (3, Fingers.stall),
)
_DRAWN: tuple[Act, ...] = tuple(act for weight, act in _ACTS for _ in range(weight))


def _pick(chance: Chance) -> Act:
    return chance.pick(_DRAWN)


__all__ = ["Fingers", "Wish"]
