"""The rungs: the bitrates that every script is offered in. AAC-LC, 48 kHz, stereo, on one common grid."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rung:
    """One bitrate of the ladder. `name` is its path part; `bits_per_s` what the encoder is asked for."""

    name: str
    bits_per_s: int


LADDER = (Rung("low", 64_000), Rung("medium", 128_000), Rung("high", 256_000))
FIRST_RUNG = LADDER[1]
"""Listed first in the multivariant playlist: players start with it."""


def in_playing_order() -> list[Rung]:
    """The ladder as playlists list it: FIRST_RUNG, then the others."""
    return sorted(LADDER, key=lambda rung: rung is not FIRST_RUNG)


_BY_NAME = {rung.name: rung for rung in LADDER}


def rung_named(name: str) -> Rung | None:
    """The rung called `name`, or None when the ladder has none of that name."""
    return _BY_NAME.get(name)
