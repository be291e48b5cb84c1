"""Cuts a stream of ADTS bytes, as they arrive from the encoder's pipe, into raw AAC frames.

ISO/IEC 13818-7 section 6.2: a header of 7 bytes (9 with a checksum) whose 13-bit length counts the header too.
"""

_HEADER_BYTES = 7
_CHECKSUM_BYTES = 2


class BrokenStream(ValueError):
    """The bytes are not ADTS: whoever wrote them wrote something else."""


class AdtsSlicer:
    """Feed it bytes in any portions; it returns the frames that are complete, without their headers."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that `data` completes. Raises BrokenStream when a frame does not begin with a sync word."""
        self._pending += data
        frames = []
        at = 0
        while len(self._pending) - at >= _HEADER_BYTES:
            header_bytes, frame_bytes = self._measure(at)
            if len(self._pending) - at < frame_bytes:
                break
            frames.append(bytes(self._pending[at + header_bytes : at + frame_bytes]))
            at += frame_bytes
        del self._pending[:at]
        return frames

    def _measure(self, at: int) -> tuple[int, int]:
        """Lengths of the header and of the whole frame that begins at `at`."""
        header = self._pending[at : at + _HEADER_BYTES]
        if header[0] != 0xFF or header[1] & 0xF6 != 0xF0:
            raise BrokenStream("no ADTS sync word where a frame should begin")
        header_bytes = _HEADER_BYTES if header[1] & 1 else _HEADER_BYTES + _CHECKSUM_BYTES
        frame_bytes = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
        if frame_bytes <= header_bytes:
            raise BrokenStream("an ADTS frame without content")
        return header_bytes, frame_bytes
