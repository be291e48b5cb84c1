"""Reads MP4 boxes back (ISO/IEC 14496-12), from the standard's side, so that the writer is not checked by itself."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fragment:
    """What one media segment says of itself."""

    sequence: int
    decode_time: int
    """tfdt: in units of the track's timescale."""
    default_duration: int
    sizes: tuple[int, ...]
    frames: tuple[bytes, ...]
    """The media data, cut where trun's data offset and sizes say."""


def children(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The boxes that `data` consists of: kind and content. Raises ValueError when they do not fill it exactly."""
    at = 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if size < 8 or at + size > len(data):
            raise ValueError(f"box {kind!r} at {at} has an impossible size of {size}")
        yield kind.decode("ascii"), data[at + 8 : at + size]
        at += size


def find(data: bytes, path: str) -> bytes:
    """Content of the first box at `path`, as in `moov/trak/edts/elst`. Raises KeyError when there is none."""
    for name in path.split("/"):
        for kind, content in children(data):
            if kind == name:
                data = content
                break
        else:
            raise KeyError(path)
    return data


def timescale(init: bytes) -> int:
    value: int = struct.unpack_from(">I", find(init, "moov/trak/mdia/mdhd"), 12)[0]
    return value


def edit_list(init: bytes) -> list[tuple[int, int]]:
    """(segment_duration, media_time) of each edit; the box must be of version 1."""
    content = find(init, "moov/trak/edts/elst")
    version, count = content[0], struct.unpack_from(">I", content, 4)[0]
    assert version == 1
    return [struct.unpack_from(">Qq", content, 8 + 20 * entry) for entry in range(count)]


def fragment(segment: bytes) -> Fragment:
    """Reads a media segment. Raises ValueError or KeyError when a box is missing or has other flags."""
    moof = find(segment, "moof")
    sequence = struct.unpack_from(">I", find(moof, "mfhd"), 4)[0]
    tfhd = find(moof, "traf/tfhd")
    tfhd_flags = int.from_bytes(tfhd[1:4], "big")
    if tfhd_flags & 0x020000 == 0 or tfhd_flags & 0x08 == 0 or tfhd_flags & 0x13:
        raise ValueError(f"unexpected tfhd flags {tfhd_flags:#x}")
    tfdt = find(moof, "traf/tfdt")
    if tfdt[0] != 1:
        raise ValueError("tfdt is not of version 1")
    trun = find(moof, "traf/trun")
    if int.from_bytes(trun[1:4], "big") != 0x000201:
        raise ValueError("trun does not carry exactly data offset and sizes")
    count, offset = struct.unpack_from(">Ii", trun, 4)
    sizes = struct.unpack_from(f">{count}I", trun, 12)
    data_at = segment.index(b"moof") - 4 + offset
    frames = []
    for size in sizes:
        frames.append(segment[data_at : data_at + size])
        data_at += size
    if data_at != len(segment):
        raise ValueError("the sizes do not add up to the media data")
    return Fragment(
        sequence=sequence,
        decode_time=struct.unpack_from(">Q", tfdt, 4)[0],
        default_duration=struct.unpack_from(">I", tfhd, 8)[0],
        sizes=sizes,
        frames=tuple(frames),
    )
