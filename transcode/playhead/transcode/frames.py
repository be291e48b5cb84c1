"""Whether all frames of an mp3 or ADTS file are of one kind. Often such a file is several, appended to one another.

Nothing in it says so, and ffmpeg begins anew where rate or channels change, and counts samples anew: what is made of
such a file depends on where a run began. So each frame's header is looked at (ISO/IEC 11172-3 section 2.4.1.3, 13818-7
section 6.2); tags and damage between frames are passed. Reads the whole file once, in blocks: 24 hours take 1 to 2 s.
"""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

_BLOCK_BYTES = 256 * 1024
_FRAME_BYTES_MAX = 8_191
"""Of ADTS, whose length has 13 bits; mp3's are shorter."""
_NEEDED_BYTES = 2 * (_FRAME_BYTES_MAX + 8)
"""A frame and the header of the next one, and some."""
_LAYER_2, _LAYER_3 = 2, 1
_KBITS_PER_S = {
    (3, _LAYER_3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (3, _LAYER_2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
}
_KBITS_PER_S_LOW = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
"""By the header's version: MPEG-1, 2, 2.5."""

_Frame = tuple[int, int]
"""Its size in bytes, 0 where there is none, and its kind: the same number for the same rate and channels."""
_NONE: _Frame = (0, 0)


def all_alike(path: Path, first_frame_at: int, adts: bool) -> bool:
    """Whether all frames from `first_frame_at` on have one rate and one number of channels."""
    frame_at, first = _adts_frame if adts else _mpeg_frame(), 0
    with path.open("rb") as file:
        file.seek(first_frame_at)
        window = _Window(file)
        while True:
            if len(window.data) - window.at < _NEEDED_BYTES:
                window.move_on()
            size, kind = frame_at(window.data, window.at)
            if size:
                first = first or kind
                if kind != first:
                    return False
                window.at += size
            elif not _found_again(window, frame_at):
                return True


class _Window:
    """A part of the file, of at least _NEEDED_BYTES or up to its end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.data = file.read(_BLOCK_BYTES)
        self.at = 0

    def move_on(self) -> None:
        self.data = self.data[self.at :] + self._file.read(_BLOCK_BYTES)
        self.at = 0


def _found_again(window: _Window, frame_at: Callable[[bytes, int], _Frame]) -> bool:
    """Moves on to the next frame, which is one if another of its kind follows. False: there is none."""
    while True:
        if len(window.data) - window.at < _NEEDED_BYTES:
            window.move_on()
        sync = window.data.find(b"\xff", window.at + 1)
        if sync < 0 and len(window.data) < _NEEDED_BYTES:
            return False
        window.at = sync if sync >= 0 else len(window.data) - 1
        size, kind = frame_at(window.data, window.at)
        if size and frame_at(window.data, window.at + size)[1] == kind:
            return True


def _mpeg_frame() -> Callable[[bytes, int], _Frame]:
    known: dict[bytes, _Frame] = {}

    def frame_at(data: bytes, at: int) -> _Frame:
        head = data[at : at + 4]
        found = known.get(head)
        if found is None:
            found = _mpeg_frame_of(head)
            if found[0]:
                known[head] = found
        return found

    return frame_at


def _mpeg_frame_of(head: bytes) -> _Frame:
    if len(head) < 4 or head[0] != 0xFF or head[1] < 0xE0:
        return _NONE
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bits, rate, mono = head[2] >> 4, head[2] >> 2 & 3, head[3] >> 6 == 3
    if version == 1 or layer not in (_LAYER_2, _LAYER_3) or bits in (0, 15) or rate == 3:
        return _NONE
    kbits_per_s = _KBITS_PER_S.get((version, layer), _KBITS_PER_S_LOW)[bits - 1]
    samples = 576 if layer == _LAYER_3 and version != 3 else 1_152
    size = samples // 8 * kbits_per_s * 1_000 // _RATES_HZ[version][rate] + (head[2] >> 1 & 1)
    return size, 1 + (version << 5 | layer << 3 | rate << 1 | mono)


def _adts_frame(data: bytes, at: int) -> _Frame:
    if len(data) - at < 7 or data[at] != 0xFF or data[at + 1] & 0xF6 != 0xF0:
        return _NONE
    size = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
    return (size, 1 + (data[at + 2] & 0xFD) * 4 + (data[at + 3] >> 6)) if size >= 7 else _NONE
