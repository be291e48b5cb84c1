"""Reads the boxes of fragmented MP4 (ISO/IEC 14496-12) that the rules ask about. Raises BadBoxes where they lie."""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_SAMPLE_ENTRY_BYTES = 28
"""What precedes the boxes in an audio sample entry (14496-12 section 12.2.3)."""
_DESCRIPTOR_CONFIG = 5
"""Tag of the AudioSpecificConfig (14496-1 section 7.2.6.7)."""
_LONG_FORM = 31
"""An audio object type in more bits follows (14496-3 section 1.6.2.1)."""


class BadBoxes(ValueError):
    """Boxes that do not fill what holds them, or end too early."""


@dataclass(frozen=True, slots=True)
class Box:
    kind: str
    body: bytes

    def child(self, *path: str) -> "Box | None":
        """The first box at that path within this one."""
        found: Box | None = self
        for kind in path:
            assert found is not None
            found = next((box for box in boxes(found.body) if box.kind == kind), None)
            if found is None:
                return None
        return found

    def children(self, kind: str) -> "list[Box]":
        return [box for box in boxes(self.body) if box.kind == kind]

    def unpack(self, layout: str, at: int) -> tuple[int, ...]:
        try:
            return struct.unpack_from(layout, self.body, at)
        except struct.error:
            raise BadBoxes(f"{self.kind} ends too early") from None

    @property
    def version(self) -> int:
        return self.unpack(">B", 0)[0]

    @property
    def flags(self) -> int:
        return self.unpack(">I", 0)[0] & 0xFFFFFF


def boxes(body: bytes) -> Iterator[Box]:
    """The boxes that `body` consists of."""
    at = 0
    while at < len(body):
        if at + 8 > len(body):
            raise BadBoxes(f"{len(body) - at} bytes are left over")
        size, name = struct.unpack_from(">I4s", body, at)
        header = 8
        if size == 1 and at + 16 <= len(body):
            size, header = struct.unpack_from(">Q", body, at + 8)[0], 16
        if size < header or at + size > len(body):
            raise BadBoxes(f"a box {name!r} has the size {size}, where {len(body) - at} bytes are left")
        yield Box(name.decode("latin-1"), body[at + header : at + size])
        at += size


def full_duration(box: Box) -> int:
    """The duration of an mvhd or tkhd; -1 (all bits) counts as none."""
    wide = box.version == 1
    before = {"mvhd": (16, 24), "tkhd": (20, 28)}[box.kind][wide]
    (duration,) = box.unpack(">Q" if wide else ">I", before)
    return 0 if duration == (2**64 - 1 if wide else 2**32 - 1) else duration


def timescale(mdhd: Box) -> int:
    return mdhd.unpack(">I", 20 if mdhd.version == 1 else 12)[0]


def edit_start(elst: Box) -> int:
    """The media time of the first edit, which is what is hidden before it."""
    if elst.unpack(">I", 4)[0] == 0:
        return 0
    return elst.unpack(">q", 16)[0] if elst.version == 1 else elst.unpack(">i", 12)[0]


def sample_counts(stbl: Box) -> Iterator[int]:
    """How many entries the tables of an init section have, which should have none."""
    for kind, at in (("stts", 4), ("stsc", 4), ("stsz", 8), ("stco", 4), ("co64", 4)):
        if table := stbl.child(kind):
            yield table.unpack(">I", at)[0]


def codec(stsd: Box) -> str:
    """The first sample entry's format, as CODECS writes it (RFC 6381): `mp4a.40.2`; others by their name alone."""
    entry = next(boxes(stsd.body[8:]), None)
    if entry is None:
        return ""
    if entry.kind != "mp4a":
        return entry.kind
    esds = Box("mp4a", entry.body[_SAMPLE_ENTRY_BYTES:]).child("esds")
    kind = _audio_object_type(esds.body[4:]) if esds else None
    return f"mp4a.40.{kind}" if kind else "mp4a"


def _audio_object_type(descriptors: bytes) -> int | None:
    """Descriptors hold each other: ES (3 bytes of its own), decoder configuration (13), AudioSpecificConfig."""
    own_bytes = {3: 3, 4: 13}
    at = 0
    while at + 2 <= len(descriptors):
        tag = descriptors[at]
        at += 1
        while at < len(descriptors) and descriptors[at] & 0x80:
            at += 1
        at += 1
        if tag == _DESCRIPTOR_CONFIG:
            if at + 2 > len(descriptors):
                return None
            first = int.from_bytes(descriptors[at : at + 2], "big")
            return first >> 11 if first >> 11 != _LONG_FORM else 32 + (first >> 5 & 0x3F)
        at += own_bytes.get(tag, 0)
    return None


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for samples that say nothing themselves: duration in ticks, size in bytes."""

    duration: int
    size: int


def trex_defaults(trex: Box) -> tuple[int, Defaults]:
    """The track that it is for, and its defaults."""
    track, _, duration, size = trex.unpack(">IIII", 4)
    return track, Defaults(duration, size)


def tfhd_defaults(tfhd: Box, before: Defaults) -> Defaults:
    at = 8 + sum(size for flag, size in ((0x01, 8), (0x02, 4)) if tfhd.flags & flag)
    duration, size = before.duration, before.size
    if tfhd.flags & 0x08:
        duration, at = tfhd.unpack(">I", at)[0], at + 4
    if tfhd.flags & 0x10:
        size = tfhd.unpack(">I", at)[0]
    return Defaults(duration, size)


def decode_time(tfdt: Box) -> int:
    return tfdt.unpack(">Q" if tfdt.version == 1 else ">I", 4)[0]


def samples(trun: Box, defaults: Defaults) -> Sequence[tuple[int, int]]:
    """(duration, size) of each sample."""
    (count,) = trun.unpack(">I", 4)
    at = 8 + sum(4 for flag in (0x01, 0x04) if trun.flags & flag)
    fields = [flag for flag in (0x100, 0x200, 0x400, 0x800) if trun.flags & flag]
    if not fields:
        return [(defaults.duration, defaults.size)] * min(count, len(trun.body) * 1_000)
    found = []
    for _ in range(count):
        values = dict(zip(fields, trun.unpack(f">{len(fields)}I", at), strict=True))
        found.append((values.get(0x100, defaults.duration), values.get(0x200, defaults.size)))
        at += 4 * len(fields)
    return found
