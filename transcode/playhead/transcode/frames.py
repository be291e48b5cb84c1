"""Whether all frames of an mp3 or ADTS file are of one kind. Often such a file is several, appended to one another.

Nothing in it says so, and ffmpeg begins anew where rate or channels change, and counts samples anew: what is made of
such a file depends on where a run began. So each frame's header is looked at (ISO/IEC 11172-3 section 2.4.1.3, 13818-7
section 6.2); tags and damage between frames are passed. Reads the whole file once, in blocks: 24 hours take 1 to 2 s.

What is passed is strangers' bytes, looked through by a compiled expression, 20 MB of 0xFF in 0.1 s; Python looks
only at what may be a header, and not for ever.
"""

import re
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
_THIRD = b"".join(rb"\x%x0-\x%xb" % (bits, bits) for bits in range(1, 15))
_MPEG_SHOWN = re.compile(rb"[\xe2-\xe5\xf2-\xf5\xfa-\xfd](?<=\xff.)[" + _THIRD + b"]", re.DOTALL)
_ADTS_SHOWN = re.compile(rb"[\xf0\xf1\xf8\xf9](?<=\xff.)", re.DOTALL)
"""The second byte of what may be a header, with what makes it one around it. The first is in none of these sets, so
that runs of 0xFF are skipped in one go: 3 ns a byte, and at most 14 where other bytes are made to take long."""
_SHOWING_BYTES = 3
"""Of a header that shows by these."""
PASSED_BYTES_MAX = 256 * 1024 * 1024
"""In one file, between frames or behind them: an ID3 tag, whose size has 28 bits, is not longer."""
FRAMES_MAX = 10_000_000
"""In one file: 24 hours of ADTS at 96 kHz have 8.1 million, which take 4 s. Frames of 7 bytes could be more."""
FALSE_HEADERS_MAX = 50_000
"""In one file, what looks like a frame's header and begins none. 400 MB of noise have so many; each takes 1 us."""

_Frame = tuple[int, int]
"""Its size in bytes, 0 where there is none, and its kind: the same number for the same rate and channels."""
_NONE: _Frame = (0, 0)


def all_alike(path: Path, first_frame_at: int, adts: bool) -> bool:
    """Whether all frames from `first_frame_at` on have one rate and one number of channels.

    False, too, where more had to be passed on the way than PASSED_BYTES_MAX and FALSE_HEADERS_MAX, or there are more
    than FRAMES_MAX: nobody knows then.
    """
    frame_at, first = _adts_frame if adts else _mpeg_frame(), 0
    with path.open("rb") as file:
        file.seek(first_frame_at)
        search = _Search(_Window(file), frame_at, _ADTS_SHOWN if adts else _MPEG_SHOWN)
        window = search.window
        for _ in range(FRAMES_MAX):
            if len(window.data) - window.at < _NEEDED_BYTES:
                window.move_on()
            size, kind = frame_at(window.data, window.at)
            if size:
                first = first or kind
                if kind != first:
                    return False
                window.at += size
            elif not search.found_again():
                return not search.gave_up
    return False


class _Window:
    """A part of the file, of at least _NEEDED_BYTES or up to its end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.data = b""
        self.at = 0
        self.is_last = False
        self.move_on()

    def move_on(self) -> None:
        if self.is_last:
            return
        more = self._file.read(_BLOCK_BYTES)
        self.data, self.at = self.data[self.at :] + more, 0
        self.is_last = len(more) < _BLOCK_BYTES


class _Search:
    """Finds the next frame in `window`. `gave_up`: that a limit ended it, not the file."""

    def __init__(self, window: _Window, frame_at: Callable[[bytes, int], _Frame], shown: re.Pattern[bytes]) -> None:
        self.window = window
        self.gave_up = False
        self._frame_at = frame_at
        self._shown = shown
        self._passed_bytes = 0
        self._false_headers = 0

    def found_again(self) -> bool:
        """Moves on to the next frame, which is one if another of its kind follows. False: there is none."""
        window = self.window
        while self._move_to_header():
            size, kind = self._frame_at(window.data, window.at)
            if size and self._frame_at(window.data, window.at + size)[1] == kind:
                return True
            self._false_headers += 1
            if self._false_headers > FALSE_HEADERS_MAX:
                self.gave_up = True
                return False
        return False

    def _move_to_header(self) -> bool:
        """To the next place behind this one where one may begin, with all that is needed behind it. False: as above."""
        window = self.window
        while True:
            shown = self._shown.search(window.data, window.at + 2)
            ends = shown is None and window.is_last
            # where nothing shows one, the last two bytes may be the first two of one
            behind = max(window.at, len(window.data) - (0 if ends else _SHOWING_BYTES))
            to = behind if shown is None else shown.start() - 1
            self._passed_bytes += to - window.at
            window.at = to
            if self._passed_bytes > PASSED_BYTES_MAX:
                self.gave_up = True
            if ends or self.gave_up:
                return False
            if len(window.data) - window.at < _NEEDED_BYTES:
                window.move_on()
            if shown is not None:
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
