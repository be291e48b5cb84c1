"""What ffprobe answers about packets, and the exact length that follows.

A source is *regular* when its packets are all of one length but the last, follow each other without gaps, and have
timestamps that name single samples. Then its length is known from their number and the two ends, and a seek to a whole
second lands on a known sample. Everything else is decoded once into a file that is regular (see ingest).
"""

from fractions import Fraction

from pydantic import BaseModel, Field

FIRST_PACKETS = 4
"""How many are looked at before the tail: enough for what encoders put in front of the music."""


class SideData(BaseModel):
    skip_samples: int = 0
    discard_padding: int = 0


class Packet(BaseModel):
    """Times in the stream's time base. `flags` has a D for one that is not heard, a C for one that is damaged."""

    pts: int | None = None
    duration: int | None = None
    pos: int | None = None
    flags: str = ""
    side_data: list[SideData] = Field(default_factory=list, alias="side_data_list")

    @property
    def skip_samples(self) -> int:
        return sum(data.skip_samples for data in self.side_data)

    @property
    def discard_samples(self) -> int:
        return sum(data.discard_padding for data in self.side_data)


class PacketEdges(BaseModel):
    """The first packets and those of the last second; in a short file the same ones may appear twice."""

    packets: list[Packet] = Field(default_factory=list)


class AudioStream(BaseModel):
    codec_name: str = ""
    sample_rate: int = 0
    channels: int = 0
    time_base: str = "0/1"
    start_time: float = 0.0
    duration: float | None = None
    nb_frames: int | None = None
    nb_read_packets: int = 0


class Container(BaseModel):
    format_name: str = ""
    start_time: float = 0.0
    duration: float | None = None


class Overview(BaseModel):
    """`streams` has the first audio stream, or nothing."""

    streams: list[AudioStream] = Field(default_factory=list)
    format: Container

    @property
    def formats(self) -> list[str]:
        """ffmpeg's names of what the container may be: `mov` is among those of mp4."""
        return self.format.format_name.split(",")


def exact_samples(stream: AudioStream, packets: list[Packet]) -> int | None:
    """Samples per channel that are heard of a regular source; None when it is not regular.

    Two encoders' habits meet at the end: mp3's last packet is whole and says how much of it to discard; Opus' is
    already shortened by as much. So what is heard of it is the smaller of both. At the start, what is not heard is
    named (mp3), marked (mp4), or has a negative time (Ogg), or several of these.
    """
    ticks = _ticks_per_sample(stream)
    if ticks is None or len(packets) == 0:
        return None
    first, last = packets[0], packets[-1]
    whole = first.duration
    if first.pts is None or last.pts is None or not whole or not last.duration:
        return None
    length = last.pts + last.duration - first.pts
    if not _regular(stream, packets, whole, length) or whole % ticks or length % ticks:
        return None
    marked = sum("D" in packet.flags for packet in packets[:-1]) * (whole // ticks)
    before = max(first.skip_samples, marked, -first.pts // ticks)
    after = max(0, last.discard_samples - (whole - last.duration) // ticks)
    return max(0, length // ticks - before - after)


def _ticks_per_sample(stream: AudioStream) -> int | None:
    """How many units of the stream's time base a sample lasts; None when that is no whole number."""
    numerator, denominator = (int(part) for part in stream.time_base.split("/"))
    ticks = Fraction(denominator, (numerator or 1) * stream.sample_rate)
    return int(ticks) if ticks.denominator == 1 and ticks else None


def _regular(stream: AudioStream, packets: list[Packet], whole: int, length: int) -> bool:
    """Whether `nb_read_packets` packets of `whole` ticks, the last one maybe shorter, make up exactly `length`.

    After a seek PCM is cut into packets at other places than from the start, so for it only their number can be held
    against the length; it has no gaps.
    """
    last = packets[-1]
    assert last.duration is not None
    if any(packet.duration != whole or packet.discard_samples for packet in packets[:-1]) or last.duration > whole:
        return False
    before_last = (stream.nb_read_packets - 1) * whole
    if stream.codec_name.startswith("pcm_"):
        return before_last < length <= before_last + whole
    return length == before_last + last.duration


def in_order(packets: list[Packet]) -> list[Packet]:
    """Each packet once, by time; those without a time are left out."""
    by_time = {packet.pts: packet for packet in packets if packet.pts is not None}
    return [by_time[pts] for pts in sorted(by_time)]
