"""What a picture must be to be shown."""

import pytest

from playhead.transcode.covers import COVER_PIXELS_MAX, PARTS_MAX, NotShown, picture
from tests.support.tags import jpeg, png

JPEG = jpeg()


@pytest.mark.parametrize(("data", "suffix"), [(png(), "png"), (JPEG, "jpg")])
def test_a_whole_picture_is_taken_without_what_stands_behind_it(data: bytes, suffix: str) -> None:
    for behind in (b"", b"<script>", b"\0" * 100):
        cover = picture(data + behind)
        assert (cover.suffix, cover.body) == (suffix, data)


def test_a_picture_inside_the_tables_of_another_is_not_taken_for_it() -> None:
    """As the preview that cameras write into their pictures: with an end of its own."""
    inner = b"Exif\0\0" + JPEG
    outer = JPEG[:2] + b"\xff\xe1" + (len(inner) + 2).to_bytes(2, "big") + inner + JPEG[2:]
    assert picture(outer).body == outer
    with pytest.raises(NotShown):
        picture(outer[: 4 + len(inner) + 20])


@pytest.mark.parametrize("data", [png(), JPEG])
def test_a_picture_that_is_cut_off_anywhere_is_left_out(data: bytes) -> None:
    for length in range(len(data) - 1):
        with pytest.raises(NotShown):
            picture(data[:length])


def test_a_png_with_a_wrong_bit_is_left_out() -> None:
    data = bytearray(png())
    data[45] ^= 1
    with pytest.raises(NotShown, match="damaged"):
        picture(bytes(data))


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a" + b"\0" * 50, b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\xff\xd8\xff" * 50]
)
def test_what_is_neither_jpeg_nor_png_is_left_out(data: bytes) -> None:
    with pytest.raises(NotShown):
        picture(data)


def test_a_picture_of_the_most_pixels_is_taken_and_one_past_it_is_not() -> None:
    side = 4_096
    assert side * side == COVER_PIXELS_MAX
    assert picture(png(side, side)).suffix == "png"
    for width, height in ((side + 1, side), (0, 5), (0xFFFFFFFF, 0xFFFFFFFF)):
        with pytest.raises(NotShown, match="pixels"):
            picture(png(width, height))


@pytest.mark.parametrize("data", [b"\xff\xd8" + b"\xff" * PARTS_MAX + JPEG[2:], png(parts=PARTS_MAX)])
def test_a_picture_of_too_many_parts_is_left_out(data: bytes) -> None:
    with pytest.raises(NotShown):
        picture(data)


@pytest.mark.parametrize("data", [b"\xff\xd8" + b"\xff" * 1_000 + JPEG[2:], png(parts=PARTS_MAX - 3)])
def test_a_picture_of_many_parts_is_taken(data: bytes) -> None:
    assert picture(data).body == data
