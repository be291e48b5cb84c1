"""What a script's playlists are made of, for those who make them elsewhere: an edge, from one small answer of ours.

All else that a playlist says are constants of the grid.
"""

from pydantic import BaseModel, ConfigDict, Field

from playhead.media import Grid, in_playing_order

FACTS_TYPE = "application/json"


class RungFacts(BaseModel):
    """One bitrate that the script is offered in. `name` is its path part."""

    name: str
    bits_per_s: int


class MediaFacts(BaseModel):
    """The length of a script and its rungs: its playlists are a function of them."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "media_version": "0123456789abcdef",
                    "total_samples": 172_800_000,
                    "rungs": [{"name": "medium", "bits_per_s": 128_000}, {"name": "low", "bits_per_s": 64_000}],
                }
            ]
        }
    )

    media_version: str
    total_samples: int = Field(description="Length at 48 kHz.")
    rungs: list[RungFacts] = Field(description="In the order of the multivariant playlist.")


def media_facts(grid: Grid, media_version: str) -> MediaFacts:
    rungs = [RungFacts(name=rung.name, bits_per_s=rung.bits_per_s) for rung in in_playing_order()]
    return MediaFacts(media_version=media_version, total_samples=grid.total_samples, rungs=rungs)
