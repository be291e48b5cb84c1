"""Everything about media that is arithmetic: the ladder, the grid, playlists, fMP4, and the plan of an encoder run.

Pure: no I/O, no clock, no process. ffmpeg itself is run by playhead.transcode.

    Grid(source_rate, source_samples)   every length, exact, known before anything is encoded
    plan_chunk(grid, first, end)        what ffmpeg must be fed, and which of its frames are kept
    AdtsSlicer, media_segment, init_segment   from ffmpeg's ADTS to segments
    multivariant_playlist, media_playlist     what a player asks for first
    Loudness                            how loud a script is, and what a player makes of it
"""

from playhead.media.adts import AdtsSlicer, BrokenStream
from playhead.media.chunks import ChunkPlan, plan_chunk
from playhead.media.fmp4 import init_segment, media_segment
from playhead.media.grid import (
    FRAME_SAMPLES,
    OUTPUT_RATE_HZ,
    SEGMENT_FRAMES,
    SEGMENT_SAMPLES,
    SOURCE_RATE_HZ_MAX,
    SOURCE_RATE_HZ_MIN,
    Grid,
)
from playhead.media.keys import (
    MEDIA,
    SOURCES,
    UPLOADED,
    UPLOADS,
    cover_key,
    cover_type,
    media_prefix,
    media_version,
    segment_key,
    source_key,
    uploaded_key,
    uploads_prefix,
)
from playhead.media.ladder import FIRST_RUNG, LADDER, Rung, in_playing_order, rung_named
from playhead.media.loudness import Loudness, bounded_loudness
from playhead.media.playlists import media_playlist, multivariant_playlist

__all__ = [
    "FIRST_RUNG",
    "FRAME_SAMPLES",
    "LADDER",
    "MEDIA",
    "OUTPUT_RATE_HZ",
    "SEGMENT_FRAMES",
    "SEGMENT_SAMPLES",
    "SOURCES",
    "SOURCE_RATE_HZ_MAX",
    "SOURCE_RATE_HZ_MIN",
    "UPLOADED",
    "UPLOADS",
    "AdtsSlicer",
    "BrokenStream",
    "ChunkPlan",
    "Grid",
    "Loudness",
    "Rung",
    "bounded_loudness",
    "cover_key",
    "cover_type",
    "in_playing_order",
    "init_segment",
    "media_playlist",
    "media_prefix",
    "media_segment",
    "media_version",
    "multivariant_playlist",
    "plan_chunk",
    "rung_named",
    "segment_key",
    "source_key",
    "uploaded_key",
    "uploads_prefix",
]
