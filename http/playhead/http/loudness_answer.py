"""What REST answers of a script's loudness."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from playhead.media import Loudness

LOUDNESS_EXAMPLE: dict[str, Any] = {"integrated_lufs": -19.3, "true_peak_dbtp": -3.1, "gain_db": 1.6}


class LoudnessAnswer(BaseModel):
    """How loud a script is (EBU R128), and what a player adds so that all sound alike. Segments hold none of it."""

    model_config = ConfigDict(json_schema_extra={"examples": [LOUDNESS_EXAMPLE]})

    integrated_lufs: float = Field(description="-70 for silence, and for what is too short to tell.")
    true_peak_dbtp: float = Field(description="-120 for silence.")
    gain_db: float = Field(description="To -16 LUFS, but no peak over -1.5 dBTP; between -30 and 15.")


def loudness_answer(loudness: Loudness | None) -> LoudnessAnswer | None:
    if loudness is None:
        return None
    return LoudnessAnswer(
        integrated_lufs=loudness.integrated_lufs, true_peak_dbtp=loudness.true_peak_dbtp, gain_db=loudness.gain_db
    )
