"""How loud a script is (EBU R128), and by how much a player turns it up or down. Never part of what is encoded.

    gain = min(-16 LUFS - integrated loudness, -1.5 dBTP - true peak), within bounds

So scripts sound equally loud one after the other, and none is turned up so far that it clips.
"""

from dataclasses import dataclass

TARGET_LUFS = -16.0
"""Of speech and music on headphones and small speakers (AES TD1008)."""
TRUE_PEAK_DBTP_MAX = -1.5
INTEGRATED_LUFS_MIN = -70.0
"""The absolute gate of ITU-R BS.1770: what is as quiet, or shorter than a block of 0.4 s, has no loudness."""
INTEGRATED_LUFS_MAX = 70.0
"""More than floating point samples of any real recording hold."""
TRUE_PEAK_DBTP_MIN, TRUE_PEAK_DBTP_LIMIT = -120.0, 70.0
GAIN_DB_MIN, GAIN_DB_MAX = -30.0, 15.0
"""More than that would lift the noise of the room, not the voice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loudness:
    """Of a whole script, as it is heard: in stereo. Both values within the bounds above; silence has the lowest."""

    integrated_lufs: float
    true_peak_dbtp: float

    @property
    def gain_db(self) -> float:
        """What a player adds. Silence is left alone, and so is what is too short to have a loudness, but for peaks."""
        audible = self.integrated_lufs > INTEGRATED_LUFS_MIN
        wanted_db = TARGET_LUFS - self.integrated_lufs if audible else 0.0
        gain_db = min(wanted_db, TRUE_PEAK_DBTP_MAX - self.true_peak_dbtp)
        return round(min(max(gain_db, GAIN_DB_MIN), GAIN_DB_MAX), 1)


def bounded_loudness(integrated_lufs: float, true_peak_dbtp: float) -> Loudness:
    """The loudness of values that may be infinite: silence has a peak of -inf dBTP."""
    return Loudness(
        integrated_lufs=min(max(integrated_lufs, INTEGRATED_LUFS_MIN), INTEGRATED_LUFS_MAX),
        true_peak_dbtp=min(max(true_peak_dbtp, TRUE_PEAK_DBTP_MIN), TRUE_PEAK_DBTP_LIMIT),
    )
