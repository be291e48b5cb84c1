"""What follows what in a chained Ogg: streams one behind the other, as a radio writes them (RFC 3533 section 4).

Each link begins with pages that are marked so, one for each stream in it, whose packet says what that stream is. Links
are found by their marks, so a file of 2 GiB takes a second; blocks on the disk.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_BLOCK_BYTES = 1024 * 1024
_BEGINNING = re.compile(rb"OggS\x00[\x02\x06]")
"""Marked as the first page of its stream; with 6 as the last, too."""
_BEGINNING_BYTES = 6
_HEAD_BYTES = 27
_PAGE_BYTES = _HEAD_BYTES + 255 + 255
"""Enough of a first page: its packet has under 100 bytes, but for Opus with many channels."""
_LINKS_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Sound:
    """How a link's first sound is coded. What changes in another way is decoded all the same."""

    codec: str
    rate: int
    channels: int


def ogg_sounds(path: Path) -> set[Sound]:
    """Of all links of the file: one where nothing changes between them."""
    sounds = set()
    with path.open("rb") as file:
        link_end = None
        in_link = False
        for _, at in zip(range(_LINKS_MAX), _first_pages(file), strict=False):
            if at != link_end:
                in_link = False
            sound, link_end = _page(file, at)
            if sound is not None and not in_link:
                sounds.add(sound)
                in_link = True
    return sounds


def _first_pages(file: BinaryIO) -> Iterator[int]:
    """Where they begin; the caller may read elsewhere meanwhile."""
    kept = _BEGINNING_BYTES - 1
    at, data = 0, b""
    while True:
        file.seek(at + len(data))
        more = file.read(_BLOCK_BYTES)
        if not more:
            return
        data += more
        for found in _BEGINNING.finditer(data):
            yield at + found.start()
        at, data = at + max(0, len(data) - kept), data[-kept:]


def _page(file: BinaryIO, at: int) -> tuple[Sound | None, int]:
    """The sound that the page begins, and where the page ends."""
    file.seek(at)
    page = file.read(_PAGE_BYTES)
    segments = page[_HEAD_BYTES - 1] if len(page) >= _HEAD_BYTES else 0
    packet_at = _HEAD_BYTES + segments
    return _sound(page[packet_at:]), at + packet_at + sum(page[_HEAD_BYTES:packet_at])


def _sound(packet: bytes) -> Sound | None:
    """By its identification header: RFC 7845 section 5.1, Vorbis I section 4.2.2, RFC 9639 section 10.1."""
    if packet.startswith(b"OpusHead") and len(packet) >= 19:
        return Sound("opus", 48_000, packet[9])
    if packet.startswith(b"\x01vorbis") and len(packet) >= 16:
        return Sound("vorbis", int.from_bytes(packet[12:16], "little"), packet[11])
    if packet.startswith(b"\x7fFLAC") and len(packet) >= 31:
        return Sound("flac", int.from_bytes(packet[27:30], "big") >> 4, (packet[29] >> 1 & 7) + 1)
    return Sound("speex", 0, 0) if packet.startswith(b"Speex   ") else None
