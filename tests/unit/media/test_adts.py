import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.media import AdtsSlicer, BrokenStream

FRAMES = st.lists(st.binary(min_size=1, max_size=700), max_size=12)


def adts(frame: bytes, checksum: bool = False) -> bytes:
    """One ADTS frame as ISO/IEC 13818-7 section 6.2 lays it out, bit by bit."""
    length = len(frame) + (9 if checksum else 7)
    bits = f"{0xFFF:012b}" + "0" + "00" + ("0" if checksum else "1")
    bits += f"{1:02b}{3:04b}" + "0" + f"{2:03b}" + "0000" + f"{length:013b}" + f"{0x7FF:011b}" + "00"
    return int(bits, 2).to_bytes(7, "big") + (b"\xab\xcd" if checksum else b"") + frame


@given(FRAMES, st.booleans(), st.data())
def test_frames_come_out_whole_however_the_bytes_arrive(
    frames: list[bytes], checksum: bool, data: st.DataObject
) -> None:
    stream = b"".join(adts(frame, checksum) for frame in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    slicer = AdtsSlicer()
    received: list[bytes] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        received += slicer.feed(stream[start:end])
    assert received == frames


def test_a_frame_is_given_out_as_soon_as_its_last_byte_is_there() -> None:
    stream = adts(b"first") + adts(b"second")
    slicer = AdtsSlicer()
    assert slicer.feed(stream[:11]) == []
    assert slicer.feed(stream[11:-1]) == [b"first"]
    assert slicer.feed(stream[-1:]) == [b"second"]


def test_the_largest_frame_fits() -> None:
    frame = bytes(0x1FFF - 7)
    assert AdtsSlicer().feed(adts(frame)) == [frame]


@pytest.mark.parametrize("data", [b"\x00" * 7, b"\xff\x01" + bytes(5), b"ID3\x04\x00\x00\x00"])
def test_bytes_without_a_sync_word_are_refused(data: bytes) -> None:
    with pytest.raises(BrokenStream, match="sync word"):
        AdtsSlicer().feed(data)


@pytest.mark.parametrize("checksum", [False, True])
def test_a_frame_without_content_is_refused_instead_of_looping(checksum: bool) -> None:
    with pytest.raises(BrokenStream, match="without content"):
        AdtsSlicer().feed(adts(b"", checksum))
