"""Writes fragmented MP4 (CMAF-like) for AAC-LC: one init segment per rung, one moof + mdat per segment.

Boxes are those of ISO/IEC 14496-12; `mp4a` and `esds` of 14496-14; the AudioSpecificConfig of 14496-3 section 1.6.2.1.
Two things are chosen with care. The edit list starts at 1,024, which hides the encoder's priming frame. `tfdt` of
segment i is i * 276,480, which is the playlist's time exactly: a player that joins in the middle sits on the same
timeline as one that starts at 0.
"""

import struct
from collections.abc import Sequence

from playhead.media.grid import FRAME_SAMPLES, OUTPUT_RATE_HZ, PRIMING_SAMPLES, SEGMENT_SAMPLES
from playhead.media.ladder import Rung

CHANNELS = 2
_TRACK_ID = 1
_AAC_LC = 2
_RATE_INDEX_48_KHZ = 3
_SAMPLE_FLAGS_SYNC = 0x02000000
"""sample_depends_on = 2: every audio frame stands alone."""
_MATRIX = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)

_TFHD_DEFAULT_DURATION = 0x000008
_TFHD_DEFAULT_FLAGS = 0x000020
_TFHD_DEFAULT_BASE_IS_MOOF = 0x020000
_TRUN_DATA_OFFSET = 0x000001
_TRUN_SAMPLE_SIZES = 0x000200


def box(kind: bytes, *parts: bytes) -> bytes:
    return struct.pack(">I4s", 8 + sum(map(len, parts)), kind) + b"".join(parts)


def full_box(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def init_segment(rung: Rung) -> bytes:
    """ftyp and moov of `rung`: the same for every script."""
    ftyp = box(b"ftyp", b"iso6", struct.pack(">I", 1), b"iso6", b"cmfc", b"mp41")
    return ftyp + box(b"moov", _mvhd(), _trak(rung), box(b"mvex", _trex()))


def media_segment(segment: int, frames: Sequence[bytes]) -> bytes:
    """styp, moof and mdat of segment number `segment`, which holds `frames` (raw AAC, without ADTS headers)."""
    styp = box(b"styp", b"msdh", struct.pack(">I", 0), b"msdh", b"cmfs")
    # The offset counts from the start of the moof, so the box is built twice: its length does not depend on it.
    moof = _moof(segment, frames, data_offset=0)
    return styp + _moof(segment, frames, data_offset=len(moof) + 8) + box(b"mdat", *frames)


def _moof(segment: int, frames: Sequence[bytes], data_offset: int) -> bytes:
    mfhd = full_box(b"mfhd", 0, 0, struct.pack(">I", segment + 1))
    tfhd_flags = _TFHD_DEFAULT_BASE_IS_MOOF | _TFHD_DEFAULT_DURATION | _TFHD_DEFAULT_FLAGS
    tfhd = full_box(b"tfhd", 0, tfhd_flags, struct.pack(">III", _TRACK_ID, FRAME_SAMPLES, _SAMPLE_FLAGS_SYNC))
    tfdt = full_box(b"tfdt", 1, 0, struct.pack(">Q", segment * SEGMENT_SAMPLES))
    sizes = struct.pack(f">{len(frames)}I", *map(len, frames))
    trun_head = struct.pack(">Ii", len(frames), data_offset)
    trun = full_box(b"trun", 0, _TRUN_DATA_OFFSET | _TRUN_SAMPLE_SIZES, trun_head, sizes)
    return box(b"moof", mfhd, box(b"traf", tfhd, tfdt, trun))


def _mvhd() -> bytes:
    times = struct.pack(">IIIIIHHII", 0, 0, OUTPUT_RATE_HZ, 0, 0x10000, 0x0100, 0, 0, 0)
    return full_box(b"mvhd", 0, 0, times, _MATRIX, bytes(24), struct.pack(">I", _TRACK_ID + 1))


def _trak(rung: Rung) -> bytes:
    times = struct.pack(">IIIIIIIHHHH", 0, 0, _TRACK_ID, 0, 0, 0, 0, 0, 1, 0x0100, 0)
    tkhd = full_box(b"tkhd", 0, 7, times, _MATRIX, struct.pack(">II", 0, 0))
    to_the_end = 0
    elst = full_box(b"elst", 1, 0, struct.pack(">IQqHH", 1, to_the_end, PRIMING_SAMPLES, 1, 0))
    return box(b"trak", tkhd, box(b"edts", elst), _mdia(rung))


def _mdia(rung: Rung) -> bytes:
    undetermined_language = 0x55C4
    mdhd = full_box(b"mdhd", 0, 0, struct.pack(">IIIIHH", 0, 0, OUTPUT_RATE_HZ, 0, undetermined_language, 0))
    hdlr = full_box(b"hdlr", 0, 0, struct.pack(">I4s12s", 0, b"soun", b""), b"SoundHandler\0")
    smhd = full_box(b"smhd", 0, 0, struct.pack(">HH", 0, 0))
    dinf = box(b"dinf", full_box(b"dref", 0, 0, struct.pack(">I", 1), full_box(b"url ", 0, 1)))
    return box(b"mdia", mdhd, hdlr, box(b"minf", smhd, dinf, _stbl(rung)))


def _stbl(rung: Rung) -> bytes:
    """The sample table: one description, and no samples, which are all in fragments."""
    entry = struct.pack(">HIIHHHHI", 1, 0, 0, CHANNELS, 16, 0, 0, OUTPUT_RATE_HZ << 16)
    mp4a = box(b"mp4a", bytes(6), entry, _esds(rung.bits_per_s))
    stsd = full_box(b"stsd", 0, 0, struct.pack(">I", 1), mp4a)
    empty = [
        full_box(kind, 0, 0, bytes(length)) for kind, length in ((b"stts", 4), (b"stsc", 4), (b"stsz", 8), (b"stco", 4))
    ]
    return box(b"stbl", stsd, *empty)


def _esds(bits_per_s: int) -> bytes:
    audio_specific_config = struct.pack(">H", _AAC_LC << 11 | _RATE_INDEX_48_KHZ << 7 | CHANNELS << 3)
    mpeg4_audio, audio_stream, buffer_bytes = 0x40, 0x15, b"\x00\x18\x00"
    config = struct.pack(">BB3sII", mpeg4_audio, audio_stream, buffer_bytes, bits_per_s, bits_per_s)
    decoder = _descriptor(4, config + _descriptor(5, audio_specific_config))
    return full_box(b"esds", 0, 0, _descriptor(3, struct.pack(">HB", 0, 0) + decoder + _descriptor(6, b"\x02")))


def _descriptor(tag: int, payload: bytes) -> bytes:
    """ISO/IEC 14496-1 section 8.3.3: tag, length in four bytes of seven bits each, payload."""
    length = [len(payload) >> shift & 0x7F for shift in (21, 14, 7, 0)]
    return bytes([tag, *(byte | 0x80 for byte in length[:-1]), length[-1]]) + payload


def _trex() -> bytes:
    return full_box(b"trex", 0, 0, struct.pack(">IIIII", _TRACK_ID, 1, FRAME_SAMPLES, 0, _SAMPLE_FLAGS_SYNC))
