"""How well it sounds, as devices tell it with their reports: figures for whoever runs the servers, and no more.

No state depends on them, so they are believed as they come; only their size has a limit.
"""

from typing import Annotated

from pydantic import BaseModel, Field

from playhead.runtime.metrics import Metrics

SOUND_MS_MAX = 600_000
"""Longest silence that a device may tell of: nobody waits for longer."""

Silence = Annotated[float, Field(strict=True, ge=0, le=SOUND_MS_MAX, allow_inf_nan=False)]


class SoundFigures(BaseModel):
    """What a report may carry of the sound since the one before."""

    stalled_ms: Silence | None = Field(None, description="How long the sound stood still for want of media.")
    first_audio_ms: Silence | None = Field(None, description="From a press or a jump to the sound of it.")

    def note(self, metrics: Metrics) -> None:
        if self.stalled_ms is not None:
            metrics.sound.stalled_seconds.observe(self.stalled_ms / 1000)
        if self.first_audio_ms is not None:
            metrics.sound.first_audio_seconds.observe(self.first_audio_ms / 1000)
