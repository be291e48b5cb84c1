"""The fixed grid: where every frame and segment of a script lies, from nothing but the length of its source.

    one frame    1,024 samples at 48 kHz
    one segment  270 frames = 276,480 samples = 5.760 s, the same boundaries in every rung
    frame k      codes samples [(k - 1) * 1024, (k + 1) * 1024); frame 0 is the encoder's priming, which players hide

So a stream of n samples has ceil(n / 1024) + 1 frames. Lengths are whole samples; seconds appear only in playlists.
"""

from dataclasses import dataclass

OUTPUT_RATE_HZ = 48_000
FRAME_SAMPLES = 1_024
PRIMING_SAMPLES = FRAME_SAMPLES
"""Delay of ffmpeg's AAC encoder: one frame."""
SEGMENT_FRAMES = 270
SEGMENT_SAMPLES = SEGMENT_FRAMES * FRAME_SAMPLES

SOURCE_RATE_HZ_MIN = 1_000
SOURCE_RATE_HZ_MAX = 768_000


def _ceil_div(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The grid of one script. `source_samples` counts the source's own samples per channel, at `source_rate` Hz.

    Raises ValueError for a rate outside SOURCE_RATE_HZ_MIN … SOURCE_RATE_HZ_MAX or for a source without samples.
    """

    source_rate: int
    source_samples: int

    def __post_init__(self) -> None:
        if not SOURCE_RATE_HZ_MIN <= self.source_rate <= SOURCE_RATE_HZ_MAX:
            raise ValueError(
                f"a source rate of {self.source_rate} Hz is outside {SOURCE_RATE_HZ_MIN} … {SOURCE_RATE_HZ_MAX}"
            )
        if self.source_samples < 1:
            raise ValueError("a source without samples has no grid")

    @property
    def total_samples(self) -> int:
        """Length of the script in samples at 48 kHz."""
        return _ceil_div(self.source_samples * OUTPUT_RATE_HZ, self.source_rate)

    @property
    def frames(self) -> int:
        """AAC frames of the whole stream, the priming frame included."""
        return _ceil_div(self.total_samples, FRAME_SAMPLES) + 1

    @property
    def segments(self) -> int:
        return _ceil_div(self.frames, SEGMENT_FRAMES)

    @property
    def duration_ms(self) -> int:
        """Length of the script in ms, rounded up, so that every sample has a place within it."""
        return _ceil_div(self.total_samples * 1_000, OUTPUT_RATE_HZ)

    def segment_frames(self, segment: int) -> range:
        """The frames of segment number `segment`, counted in the whole stream. Raises IndexError past the end."""
        if not 0 <= segment < self.segments:
            raise IndexError(f"segment {segment} of {self.segments}")
        first = segment * SEGMENT_FRAMES
        return range(first, min(first + SEGMENT_FRAMES, self.frames))

    def segment_samples(self, segment: int) -> int:
        """Exact duration of segment number `segment` in samples at 48 kHz: 276,480, less in the last one."""
        return len(self.segment_frames(segment)) * FRAME_SAMPLES
