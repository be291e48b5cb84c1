"""What ffmpeg and ffprobe are asked: numbers and paths in, command lines out. Graphs are built with ffmpeg-python.

Uploads are untrusted. Input is a file and never a URL (`protocol_whitelist`), opened only as one of the formats that
hold audio in themselves (`format_whitelist`: no playlists or concat scripts, which name other files), and decoded only
by the decoders named here (`codec_whitelist`: sound, and for ffprobe the usual pictures and texts beside it).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import ffmpeg

from playhead.media import OUTPUT_RATE_HZ, ChunkPlan, Rung

FORMATS = ("wav", "aiff", "flac", "mp3", "aac", "ogg", "mov", "matroska")
"""ffmpeg's names of the containers that are taken; `mov` is mp4, m4a and 3gp too, `matroska` is webm too."""
FORMATS_TEXT = "mp3, m4a/mp4, aac, wav, aiff, flac, ogg/opus or webm/mka"
TAG_NAMES = ("title", "artist", "author", "album_artist", "performer")
"""What is asked of what a container says of itself."""
_PCM = (
    "s16le",
    "s24le",
    "s32le",
    "f32le",
    "f64le",
    "s16be",
    "s24be",
    "s32be",
    "f32be",
    "f64be",
    "u8",
    "s8",
    "alaw",
    "mulaw",
)
CODECS = ("mp3", "mp2", "aac", "alac", "flac", "vorbis", "opus", *(f"pcm_{name}" for name in _PCM))
"""ffmpeg's names of the codecs that are taken."""
_DECODERS = (*CODECS, "mp3float", "mp2float", "libopus", "libvorbis")
"""Names of decoders for these codecs: some differ from the codec's."""

_COMPANIONS = ("mjpeg", "png", "bmp", "gif", "tiff", "webp", "h264", "hevc", "mpeg4", "vp8", "vp9", "av1", "libdav1d")
"""Decoders of covers and pictures. ffprobe opens one for every track of a file, or fails; ffmpeg leaves them closed."""
_TEXT = ("mov_text", "text", "webvtt", "subrip")
"""Likewise, of chapters and subtitles."""

Coder = Literal["twoloop", "fast"]
"""How ffmpeg's AAC encoder looks for its quantizers. `twoloop` takes four times as long for the first seconds of a run,
and has found its way after ten; until then `fast` sounds better (docs/decisions/0021-on-demand.md)."""

HOLE_S_MIN = 0.002
"""Shorter than any packet but some of PCM, and longer than what rounded times differ from the number of samples."""

INPUT_LIMITS = {
    "protocol_whitelist": "file,pipe",
    "format_whitelist": ",".join(FORMATS),
    "codec_whitelist": ",".join(_DECODERS),
}
PROBE_LIMITS = {**INPUT_LIMITS, "codec_whitelist": ",".join((*_DECODERS, *_COMPANIONS, *_TEXT))}
_QUIET = ("-hide_banner", "-nostdin", "-v", "error", "-y")
_TELLING = ("-hide_banner", "-nostdin", "-nostats", "-v", "info")
"""Filters tell what they have measured as information."""
_ONE_THREAD = ("-filter_threads", "1")
"""Filters of sound use one; without a limit as many wait as there are cores, each with its own memory."""


def measure_arguments(ffprobe: str, path: Path) -> list[str]:
    """ffprobe: JSON with the container, its first audio stream, and the number of that stream's packets."""
    stream = "codec_name,codec_type,sample_rate,channels,time_base,start_time,duration,nb_frames,nb_read_packets"
    entries = f"stream={stream}:format=format_name,start_time,duration"
    return [*_probe(ffprobe), "-count_packets", "-show_entries", entries, "-of", "json", _url(path)]


def edges_arguments(ffprobe: str, path: Path, first_packets: int, tail_from_s: float) -> list[str]:
    """ffprobe: JSON with the first few packets of the first audio stream, and those from `tail_from_s` to the end."""
    entries = "packet=pts,duration,pos,flags:packet_side_data=skip_samples,discard_padding"
    intervals = f"%+#{first_packets},{tail_from_s:.3f}%"
    return [*_probe(ffprobe), "-read_intervals", intervals, "-show_entries", entries, "-of", "json", _url(path)]


def conform_arguments(
    program: str, path: Path, target: Path, duration_s_max: float, bytes_max: int, *, mixed: bool = False
) -> list[str]:
    """ffmpeg: decodes the first audio stream once, from its beginning, into FLAC at its own rate, mono or stereo.

    `mixed`: mono sound may become stereo on the way, so it is all stereo; another rate becomes the first one. It stops
    without an error when the file has `bytes_max`, or a little more.
    """
    audio = ffmpeg.input(_url(path), **INPUT_LIMITS, threads=1, vn=None, sn=None, dn=None)["a:0"]
    audio = audio.filter("aformat", channel_layouts="stereo" if mixed else "mono|stereo")
    limits = {"t": duration_s_max, "fs": bytes_max}
    output = ffmpeg.output(audio, _url(target), **limits, f="flac", compression_level=1, map_metadata=-1)
    return _compiled(output, program)


def tags_arguments(ffprobe: str, path: Path) -> list[str]:
    """ffprobe: JSON with what the container and its tracks say of themselves, and which tracks are pictures."""
    names = ",".join(TAG_NAMES)
    entries = (
        f"format_tags={names}:stream=index,codec_name,codec_type:stream_disposition=attached_pic"
        f":stream_tags={names},comment"
    )
    return [*_opened(ffprobe), "-show_entries", entries, "-of", "json=compact=1", _url(path)]


def chapters_arguments(ffprobe: str, path: Path) -> list[str]:
    """ffprobe: JSON with the chapters: where they begin, in seconds of the file, and what they are called."""
    entries = "chapter=start_time:chapter_tags=title"
    return [*_opened(ffprobe), "-show_entries", entries, "-of", "json=compact=1", _url(path)]


def cover_arguments(program: str, path: Path, track: int) -> list[str]:
    """ffmpeg: the picture in that track to standard output, byte for byte. Nothing is decoded."""
    picture = ffmpeg.input(_url(path), **INPUT_LIMITS, threads=1, an=None, sn=None, dn=None)[str(track)]
    return _compiled(ffmpeg.output(picture, "pipe:1", **{"c": "copy", "frames:v": 1, "f": "image2pipe"}), program)


def trial_arguments(program: str, path: Path, duration_s: float) -> list[str]:
    """ffmpeg: encodes the beginning of the first audio stream as segments are, and keeps nothing."""
    source = ffmpeg.input(_url(path), **INPUT_LIMITS, t=duration_s, threads=1, vn=None, sn=None, dn=None)
    return _compiled(ffmpeg.output(_as_heard(source["a:0"]), "pipe:1", **{"c:a": "aac", "f": "null"}), program)


def loudness_arguments(program: str, path: Path) -> list[str]:
    """ffmpeg: decodes the first audio stream as it will be heard, and tells its loudness at the end (EBU R128)."""
    source = ffmpeg.input(_url(path), **INPUT_LIMITS, threads=1, vn=None, sn=None, dn=None)
    audio = _as_heard(source["a:0"]).filter("ebur128", peak="true", framelog="quiet")
    return _compiled(ffmpeg.output(audio, "pipe:1", f="null"), program, _TELLING)


def filter_help_arguments(program: str, name: str) -> list[str]:
    """ffmpeg: the filter's options, each in a line; none of a filter that it does not have."""
    return [program, "-hide_banner", "-h", f"filter={name}"]


def chunk_arguments(
    program: str,
    path: Path,
    start_s: float,
    plan: ChunkPlan,
    rungs: Sequence[Rung],
    pipes: Sequence[int],
    coder: Coder = "twoloop",
) -> list[str]:
    """ffmpeg: one chunk as ADTS, each rung to its file descriptor of `pipes`.

    `start_s` is where the audio begins, counted from the beginning of the file, as ffmpeg counts when it seeks.
    """
    seek = {"ss": f"{start_s + plan.seek_s:.6f}"} if plan.seek_s else {}
    source = ffmpeg.input(_url(path), **INPUT_LIMITS, **seek, threads=1, vn=None, sn=None, dn=None)
    audio = _without_holes(source["a:0"], start_s if not plan.seek_s else 0.0)
    audio = _on_the_grid(audio, plan)
    copies = audio.filter_multi_output("asplit", len(rungs))
    outputs = [
        ffmpeg.output(
            copies[number],
            f"pipe:{pipe}",
            **{"c:a": "aac", "b:a": rung.bits_per_s, "aac_coder": coder, "f": "adts", "flush_packets": 1},
        )
        for number, (rung, pipe) in enumerate(zip(rungs, pipes, strict=True))
    ]
    return _compiled(ffmpeg.merge_outputs(*outputs), program)


def _without_holes(audio: Any, start_s: float) -> Any:
    """Silence where a packet cannot be decoded, so that what is counted from here on is the source's own samples.

    `start_s`: the time of the first sample. What is whole goes through as it is, at its own rate.
    """
    if start_s:
        audio = audio.filter("asetpts", f"PTS-{start_s:.6f}/TB")
    return audio.filter("aresample", **{"async": 1, "min_hard_comp": HOLE_S_MIN, "first_pts": 0}, rematrix_maxval=1)


def _on_the_grid(audio: Any, plan: ChunkPlan) -> Any:
    """The filters that turn what is decoded after the seek into exactly `plan.output_samples` samples on the grid."""
    audio = audio.filter("atrim", start_sample=plan.trim_start_samples, end_sample=plan.trim_end_samples)
    audio = audio.filter("asetpts", "PTS-STARTPTS")
    audio = _as_heard(audio)
    if plan.silence_samples:
        audio = audio.filter("adelay", f"{plan.silence_samples}S", all=1)
    return audio.filter("apad", pad_len=plan.padding_samples).filter("atrim", end_sample=plan.output_samples)


def _as_heard(audio: Any) -> Any:
    """At the rate and in the channels of the segments."""
    # More than two channels are mixed down: without a limit the sum of five would clip.
    audio = audio.filter("aresample", OUTPUT_RATE_HZ, rematrix_maxval=1)
    return audio.filter("aformat", sample_fmts="fltp", channel_layouts="stereo")


def _probe(ffprobe: str) -> list[str]:
    return [*_opened(ffprobe), "-select_streams", "a:0"]


def _opened(ffprobe: str) -> list[str]:
    limits = [part for name, value in PROBE_LIMITS.items() for part in (f"-{name}", value)]
    return [ffprobe, "-hide_banner", "-v", "error", *limits]


def _compiled(output: Any, program: str, options: Sequence[str] = _QUIET) -> list[str]:
    command: list[str] = output.global_args(*options, *_ONE_THREAD).compile(cmd=program)
    return command


def _url(path: Path) -> str:
    """With its protocol, so that no name of a file can be taken for another one."""
    return f"file:{path}"
