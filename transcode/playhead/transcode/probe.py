"""Measures an uploaded file, or says why it cannot be played. Reads all packets, decodes nothing.

    overview   container, first audio stream, number of packets     one ffprobe run, 0.15 s for an hour of mp3
    edges      first packets and last second: where exactly it begins and ends            another, about as long
    frames     of mp3 and ADTS: whether rate or channels change on the way                see frames.py

How a file that was cut off is told from a whole one depends on what its container says of itself:

    wav, aiff, flac, mp3 with Xing/Info/VBRI   a length, which the packets must reach
    matroska              its Segment's size, which the file must reach; its length is that of all tracks together
    mp4                   moov at the end: missing; at the front: its table has more packets than the file, and the last
                          one that is there does not reach the end
    ogg                   the last page must be whole and marked as the end
    aac (ADTS)            only a cut inside a frame shows
    mp3 without such a frame, streamed wav, flac or webm without a length     cannot be told: what is there is played
"""

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from pathlib import Path

from pydantic import ValidationError

from playhead.media import SOURCE_RATE_HZ_MAX, SOURCE_RATE_HZ_MIN
from playhead.transcode.arguments import CODECS, FORMATS_TEXT, edges_arguments, measure_arguments
from playhead.transcode.chains import ogg_sounds
from playhead.transcode.endings import adts_ends, matroska_ends, mp3_frames, ogg_ends, wav_length_s
from playhead.transcode.frames import all_alike
from playhead.transcode.packets import (
    FIRST_PACKETS,
    AudioStream,
    Overview,
    Packet,
    PacketEdges,
    exact_samples,
    in_order,
)
from playhead.transcode.processes import Finished, OutputTooLong
from playhead.transcode.programs import Limits, Programs
from playhead.transcode.protection import mp4_sound_is_encrypted
from playhead.transcode.tries import TRIES_MAX, run_on_file

SOURCE_DURATION_S_MAX = 24 * 3_600
CUT_OFF_TOLERANCE_S = 0.5
"""How much less than its container claims a file may hold."""
PROBE_RUN_LIMITS = Limits(cpu_s=120)
PROBE_TIMEOUT_S = 240.0
"""Twice that: a file that takes too much is refused on whatever shares the core."""
OUTPUT_BYTES_MAX = 4 * 1024 * 1024
TAIL_S = 1.0
MPEG_1_RATE_HZ_MIN = 32_000
"""A frame of MPEG-2 layer III, for lower rates, has half as many samples."""
CHANGING_CHAIN = (
    "The file is several recordings in one, and a later one has another sample rate, number of channels or codec than "
    "the first. Upload them one by one, or convert the file."
)
"""ffmpeg would leave the later ones out, and say nothing."""
_NO_MEMORY = ("Cannot allocate memory", "Out of memory")
"""What the C library, or ffmpeg for it, says of ENOMEM."""


class RefusalKind(StrEnum):
    EMPTY = "empty"
    NOT_AUDIO = "not_audio"
    NO_AUDIO_STREAM = "no_audio_stream"
    UNSUPPORTED = "unsupported"
    PROTECTED = "protected"
    CUT_OFF = "cut_off"
    NO_SOUND = "no_sound"
    TOO_LONG = "too_long"
    TOO_LARGE = "too_large"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a file is not taken; `reason` is a sentence for whoever uploaded it."""

    kind: RefusalKind
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """A file that can be played. Lengths in samples per channel at `rate` Hz.

    `samples` is None for one that is not regular (see packets.py), or `mixed`, whose rate or channels change on the
    way: it must be decoded to be measured.
    `claimed_s` is what its container says, where that is worth anything; `start_s` where in the file the audio begins.
    """

    codec: str
    rate: int
    samples: int | None
    start_s: float
    claimed_s: float | None
    mixed: bool = False


async def measure(programs: Programs, path: Path) -> Measures | Refusal:
    """Measures the file. Raises ProbeFailed when that is not possible here and now."""
    if (await asyncio.to_thread(path.stat)).st_size == 0:
        return Refusal(RefusalKind.EMPTY, "The file is empty. Upload it again.")
    overview = await _overview(programs, path)
    if isinstance(overview, Refusal):
        return overview
    if not overview.streams:
        return Refusal(RefusalKind.NO_AUDIO_STREAM, "The file has no sound track.")
    stream = overview.streams[0]
    if refusal := _unsupported(stream):
        return refusal
    if "mov" in overview.formats and await asyncio.to_thread(mp4_sound_is_encrypted, path):
        return Refusal(RefusalKind.PROTECTED, "The file is protected against copying (DRM) and cannot be played.")
    sounds = await asyncio.to_thread(ogg_sounds, path) if "ogg" in overview.formats else set()
    if len(sounds) > 1 and {sound.codec for sound in sounds} != {"flac"}:
        return Refusal(RefusalKind.UNSUPPORTED, CHANGING_CHAIN)
    packets = await _edges(programs, path, overview)
    claimed_s = await asyncio.to_thread(_claimed_s, path, overview, packets)
    if await asyncio.to_thread(_ends_early, path, overview, packets, claimed_s):
        return _cut_off()
    samples = exact_samples(stream, packets)
    if samples is not None and (refusal := refused_length(samples, stream.sample_rate, claimed_s)):
        return refusal
    mixed = len(sounds) > 1 or await asyncio.to_thread(_is_mixed, path, overview, packets)
    return Measures(
        codec=stream.codec_name,
        rate=stream.sample_rate,
        samples=None if mixed else samples,
        start_s=max(0.0, stream.start_time - overview.format.start_time),
        claimed_s=claimed_s,
        mixed=mixed,
    )


def refused_length(samples: int, rate: int, claimed_s: float | None) -> Refusal | None:
    """Why a source of this length is not taken: none at all, too long, or less than it claims to have."""
    if samples < 1:
        return _no_sound()
    if samples > SOURCE_DURATION_S_MAX * rate:
        hours = SOURCE_DURATION_S_MAX // 3_600
        return Refusal(RefusalKind.TOO_LONG, f"The file is longer than {hours} hours. Split it.")
    if claimed_s is not None and claimed_s - samples / rate > CUT_OFF_TOLERANCE_S:
        return _cut_off(f" It should last {claimed_s:.1f} s and has {samples / rate:.1f} s.")
    return None


def damaged(done: Finished) -> Refusal | None:
    """Why the file is to blame for the end of a program (of run_on_file) that crashed, or found a limit of ours."""
    if done.code == 0 or (done.code > 0 and not any(words in done.errors for words in _NO_MEMORY)):
        return None
    return Refusal(
        RefusalKind.BROKEN,
        "The file is damaged so badly that reading it fails, or takes more memory or time than any may.",
    )


def _cut_off(detail: str = "") -> Refusal:
    return Refusal(RefusalKind.CUT_OFF, f"The file is cut off: its end is missing.{detail} Upload the whole file.")


def _not_audio() -> Refusal:
    kinds = f"The file is not audio, or of a kind that is not taken: send {FORMATS_TEXT}."
    return Refusal(RefusalKind.NOT_AUDIO, kinds)


def _no_sound() -> Refusal:
    return Refusal(RefusalKind.NO_SOUND, "The file has a sound track, but no sound in it.")


async def _overview(programs: Programs, path: Path) -> Overview | Refusal:
    try:
        done = await _ffprobe(programs, measure_arguments(programs.ffprobe, path))
    except OutputTooLong:
        return Refusal(RefusalKind.BROKEN, "The file describes itself at absurd length.")
    if done.code == 0:
        try:
            return Overview.model_validate_json(done.output)
        except ValidationError:
            return Refusal(RefusalKind.BROKEN, "The file's description of itself makes no sense.")
    if "moov atom not found" in done.errors:
        return _cut_off(" It lacks its index (moov), which is written last.")
    return damaged(done) or _not_audio()


async def _edges(programs: Programs, path: Path, overview: Overview) -> list[Packet]:
    """First and last packets; none where ffprobe cannot say, which makes the source one to be decoded."""
    length_s = overview.streams[0].duration or overview.format.duration
    if length_s is None:
        return []
    tail_from_s = max(0.0, overview.format.start_time + length_s - TAIL_S)
    try:
        done = await _ffprobe(programs, edges_arguments(programs.ffprobe, path, FIRST_PACKETS, tail_from_s))
        return in_order(PacketEdges.model_validate_json(done.output).packets) if done.code == 0 else []
    except (OutputTooLong, ValidationError):
        return []


async def _ffprobe(programs: Programs, arguments: list[str]) -> Finished:
    return await run_on_file(
        programs,
        arguments,
        PROBE_RUN_LIMITS,
        timeout_s=PROBE_TIMEOUT_S,
        output_bytes_max=OUTPUT_BYTES_MAX,
        timeouts=TRIES_MAX,
    )


def _unsupported(stream: AudioStream) -> Refusal | None:
    """Why the stream itself is not taken, by what its header says."""
    if not stream.sample_rate or not stream.channels:
        return _not_audio()
    if stream.codec_name not in CODECS:
        return Refusal(
            RefusalKind.UNSUPPORTED,
            f"The sound is coded as {stream.codec_name or 'something unknown'}, which is not taken.",
        )
    if not SOURCE_RATE_HZ_MIN <= stream.sample_rate <= SOURCE_RATE_HZ_MAX:
        return Refusal(RefusalKind.UNSUPPORTED, f"A sample rate of {stream.sample_rate} Hz is not taken.")
    if stream.nb_read_packets == 0 and stream.nb_frames:
        # ffprobe says nothing, and ends well, when the memory for an mp4's index is not to be had
        return Refusal(RefusalKind.BROKEN, f"The file lists {stream.nb_frames} packets, of which none can be read.")
    return _no_sound() if stream.nb_read_packets == 0 else None


def _mp3_length_s(path: Path, rate: int, packets: list[Packet]) -> float | None:
    """By the number of frames that the file states of itself. It may have more: files are joined by appending them."""
    frames = mp3_frames(path, packets[0].pos) if packets and packets[0].pos is not None else None
    if frames is None:
        return None
    unheard = packets[0].skip_samples + packets[-1].discard_samples
    return (frames * (1_152 if rate >= MPEG_1_RATE_HZ_MIN else 576) - unheard) / rate


def _ends_early(path: Path, overview: Overview, packets: list[Packet], claimed_s: float | None) -> bool:
    """Whether the structure itself shows that the end is missing."""
    stream, formats = overview.streams[0], overview.formats
    last_at = packets[-1].pos if packets else None
    if "ogg" in formats:
        return not ogg_ends(path)
    if "matroska" in formats:
        return not matroska_ends(path)
    if "aac" in formats:
        return last_at is not None and not adts_ends(path, last_at)
    if "mov" in formats:
        # of PCM it lists samples, and what an edit list drops it lists too
        listed = stream.nb_frames is None or stream.nb_read_packets >= stream.nb_frames
        return not listed and not _reaches_its_end(stream, packets)
    if stream.codec_name.startswith("pcm_") and packets and claimed_s is not None:
        at_most_s = stream.nb_read_packets * (packets[0].duration or 0) / stream.sample_rate
        return claimed_s - at_most_s > CUT_OFF_TOLERANCE_S
    return False


def _reaches_its_end(stream: AudioStream, packets: list[Packet]) -> bool:
    """Whether the last packet ends where the stream, as its edit list leaves it, should."""
    if not packets or stream.duration is None:
        return False
    last = packets[-1]
    end_s = float(((last.pts or 0) + (last.duration or 0)) * Fraction(stream.time_base)) - stream.start_time
    return stream.duration - end_s <= CUT_OFF_TOLERANCE_S


def _is_mixed(path: Path, overview: Overview, packets: list[Packet]) -> bool:
    """Whether rate or channels change on the way, where a container lets them."""
    if not {"mp3", "aac"} & set(overview.formats) or not packets or packets[0].pos is None:
        return False
    return not all_alike(path, packets[0].pos, adts="aac" in overview.formats)


def _claimed_s(path: Path, overview: Overview, packets: list[Packet]) -> float | None:
    """The container's own word on its length, in seconds. ffprobe's is a guess from the bitrate where there is none."""
    formats = overview.formats
    if "wav" in formats:
        return wav_length_s(path)
    if "mp3" in formats:
        return _mp3_length_s(path, overview.streams[0].sample_rate, packets)
    if {"flac", "aiff"} & set(formats):
        return overview.streams[0].duration or overview.format.duration
    return None
