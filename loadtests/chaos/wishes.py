"""What a listener presses next: seeded choices among commands that make sense in the state that the device shows.

A place that was heard goes with the revision that it was heard at (`expected_revision`), so that an accepted one was
certainly taken as true: `model.py` counts on it. Loops are longer than any delay here, for the same reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from uuid import UUID

from loadtests.chaos.places import heard_ms, milliseconds, place_ms
from loadtests.chaos.record import Payload

SEEK_MS = (150_000, 3_300_000)
"""Far enough from both ends of an hour for a loop before the place, and for the time that a session plays on."""
JUMP_MS_MIN = 5_000
LOOP_MS = (120_000, 140_000)
RATES = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
LOOP_BEHIND_MS = 5_000
"""A loop that ends so far behind the playhead makes it jump to the loop's start."""


@dataclass(frozen=True, slots=True)
class Wish:
    event: str
    fields: Payload


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the device shows. `others`: the listener's other devices; `lag_ms`: None where nothing can sound here."""

    state: Payload
    device_id: str
    others: Sequence[str]
    now_ms: int
    lag_ms: int | None

    @property
    def sounds_here(self) -> bool:
        return self.lag_ms is not None and self.state["playing"] and self.state["active_device"] == self.device_id

    @property
    def heard(self) -> Payload:
        """The place that was heard, and the revision that it was heard at."""
        assert self.lag_ms is not None
        place = heard_ms(self.state, self.now_ms, self.lag_ms)
        return {"place": place / 1000, "revision": self.state["revision"]}


def new_id(chance: Random) -> str:
    return str(UUID(int=chance.getrandbits(128), version=4))


def choose(look: Look, chance: Random) -> Wish:
    """The next press."""
    if not look.state["playing"]:
        names, weights = ("play", "seek", "rate", "loop", "transfer", "pause"), (60, 14, 6, 8, 8, 4)
    elif look.sounds_here:
        names, weights = ("seek", "pause", "rate", "loop", "transfer", "play"), (40, 18, 14, 16, 8, 4)
    else:
        names, weights = ("seek", "pause", "rate", "loop", "transfer", "play"), (36, 14, 10, 14, 16, 10)
    name = chance.choices(names, weights)[0]
    return Wish(name, {"session_id": look.state["session_id"], **_FIELDS[name](look, chance)})


def report(look: Look) -> Payload:
    """Where the sound is."""
    heard = look.heard
    return {
        "session_id": look.state["session_id"],
        "position": heard["place"],
        "revision": heard["revision"],
        "playing": True,
    }


def _play(look: Look, chance: Random) -> Payload:
    fields: Payload = {}
    if chance.random() < 0.3:
        fields["position"] = _far(look, chance) / 1000
    if chance.random() < 0.5 and look.others:
        fields["device_id"] = chance.choice(list(look.others))
    return fields


def _pause(look: Look, chance: Random) -> Payload:
    if not look.sounds_here or chance.random() < 0.3:
        return {}
    return {"position": look.heard["place"], "expected_revision": look.heard["revision"]}


def _seek(look: Look, chance: Random) -> Payload:
    loop = look.state["loop"]
    if loop and loop["enabled"] and chance.random() < 0.4:
        # so close to the end that the sound folds back before long
        to_ms = milliseconds(loop["end"]) - chance.randint(300, 1_500)
    else:
        to_ms = _far(look, chance)
    fields: Payload = {"position": to_ms / 1000}
    if look.sounds_here and chance.random() < 0.7:
        fields |= {"from": look.heard["place"], "expected_revision": look.heard["revision"]}
    return fields


def _rate(_look: Look, chance: Random) -> Payload:
    return {"rate": chance.choice(RATES)}


def _loop(look: Look, chance: Random) -> Payload:
    place, length = place_ms(look.state, look.now_ms), chance.randint(*LOOP_MS)
    if look.state["loop"] and chance.random() < 0.3:
        return {"start": look.state["loop"]["start"], "end": look.state["loop"]["end"], "enabled": False}
    if chance.random() < 0.3 and place > length + LOOP_BEHIND_MS:
        end = place - LOOP_BEHIND_MS
        return {"start": (end - length) / 1000, "end": end / 1000, "enabled": True}
    start = max(0, place - chance.randint(1_000, 20_000))
    return {"start": start / 1000, "end": (start + length) / 1000, "enabled": True}


def _transfer(look: Look, chance: Random) -> Payload:
    return {"device_id": chance.choice([*look.others, *([] if look.lag_ms is None else [look.device_id])])}


def _far(look: Look, chance: Random) -> int:
    """A place that nobody would take for the one where the sound is."""
    here = place_ms(look.state, look.now_ms)
    while abs((place := chance.randint(*SEEK_MS)) - here) < JUMP_MS_MIN:
        pass
    return place


_FIELDS = {"play": _play, "pause": _pause, "seek": _seek, "rate": _rate, "loop": _loop, "transfer": _transfer}
