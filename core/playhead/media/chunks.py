"""The plan of one encoder run: what to feed ffmpeg so that segments [first, end) come out as if cut from one whole run.

    source    ......[seek][decoder's margin][pre-roll 30 frames][ the chunk ][4 frames of look-ahead]......
    encoder                                 dropped              kept         dropped

The MDCT windows of a run lie on the grid of the whole stream when its input begins on a frame's boundary and its
resampler begins in the phase that the whole run has there. Both are true at frame q when q * 1024 * rate is divisible
by 48,000, so the pre-roll is lengthened to the next such frame: none at all for rates divisible by 25 (every common
one), at most 374 frames (8 s) for the odd ones. Numbers only; playhead.transcode turns them into a command.
"""

from dataclasses import dataclass
from math import gcd

from playhead.media.grid import FRAME_SAMPLES, OUTPUT_RATE_HZ, Grid

PREROLL_FRAMES = 30
"""Warms up the encoder's rate control and psychoacoustics; at the start of a script it is silence."""
LOOKAHEAD_FRAMES = 4
"""Keeps the encoder from seeing the end of its input before the chunk is complete."""
DECODE_MARGIN_S = 0.5
"""Decoded and thrown away after a seek, for mp3's bit reservoir and AAC's and Opus' overlap."""
RESAMPLER_TAIL_SAMPLES = 512
"""Source samples that the resampler's filter looks ahead, and more."""
PADDING_SLACK_S = 5
"""How much less than measured a source may decode to (damaged places give nothing): silence at the chunk's end. Beyond
that the run comes out short, which is an error."""

_PHASE_FRAMES = OUTPUT_RATE_HZ // gcd(OUTPUT_RATE_HZ, FRAME_SAMPLES)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkPlan:
    """One run for segments [first_segment, end_segment).

    Order of work: seek, drop samples up to `trim_start_samples`, stop at `trim_end_samples` (both counted from the
    seek, at the source's rate), resample, put `silence_samples` in front and `padding_samples` behind, cut to
    `output_samples` (all at 48 kHz), encode, drop the first `drop_frames` frames, keep `keep_frames`.
    """

    first_segment: int
    end_segment: int
    seek_s: int
    """Whole seconds after the source's first sample, so that it names one sample exactly at any rate. 0: no seek."""
    trim_start_samples: int
    trim_end_samples: int
    silence_samples: int
    padding_samples: int
    output_samples: int
    drop_frames: int
    keep_frames: int


def plan_chunk(grid: Grid, first_segment: int, end_segment: int) -> ChunkPlan:
    """The run that encodes segments [first_segment, end_segment) alone. Raises IndexError outside the grid."""
    if first_segment >= end_segment:
        raise IndexError(f"no segments in [{first_segment}, {end_segment})")
    first_frame = grid.segment_frames(first_segment).start
    end_frame = grid.segment_frames(end_segment - 1).stop
    start_frame = _start_frame(grid.source_rate, first_frame)
    output_frames = end_frame + LOOKAHEAD_FRAMES - start_frame
    source_start = max(0, start_frame) * FRAME_SAMPLES * grid.source_rate // OUTPUT_RATE_HZ
    source_length = output_frames * FRAME_SAMPLES * grid.source_rate // OUTPUT_RATE_HZ + RESAMPLER_TAIL_SAMPLES
    seek_s = max(0, source_start - round(DECODE_MARGIN_S * grid.source_rate)) // grid.source_rate
    source_end = min(source_start + source_length, grid.source_samples)
    silence = max(0, -start_frame) * FRAME_SAMPLES
    output = output_frames * FRAME_SAMPLES
    expected = silence + (source_end - source_start) * OUTPUT_RATE_HZ // grid.source_rate
    before = seek_s * grid.source_rate
    return ChunkPlan(
        first_segment=first_segment,
        end_segment=end_segment,
        seek_s=seek_s,
        trim_start_samples=source_start - before,
        trim_end_samples=source_end - before,
        silence_samples=silence,
        padding_samples=max(0, output - expected) + PADDING_SLACK_S * OUTPUT_RATE_HZ,
        output_samples=output,
        drop_frames=first_frame - start_frame,
        keep_frames=end_frame - first_frame,
    )


def _start_frame(source_rate: int, first_frame: int) -> int:
    """Where the run begins: the pre-roll before `first_frame`, or earlier; negative means silence before sample 0."""
    latest = first_frame - PREROLL_FRAMES
    if latest <= 0:
        return latest
    in_phase = _PHASE_FRAMES // gcd(source_rate, _PHASE_FRAMES)
    return latest - latest % in_phase
