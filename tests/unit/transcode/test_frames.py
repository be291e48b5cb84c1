"""Kinds of frames, on headers laid out by hand from the standards; and the search, beside one that looks everywhere."""

import re
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.transcode import frames
from playhead.transcode.frames import all_alike


def mpeg(*, version: int = 3, layer: int = 1, bits: int = 9, rate: int = 0, mode: int = 1, size: int = 417) -> bytes:
    """A frame; by default of MPEG-1, layer III, 128 kbit/s at 44.1 kHz, joint stereo."""
    return bytes([0xFF, 0xE0 | version << 3 | layer << 1 | 1, bits << 4 | rate << 2, mode << 6]) + bytes(size - 4)


def adts(*, rate: int = 4, channels: int = 2, size: int = 300, private: int = 0) -> bytes:
    head = [0xFF, 0xF1, 0x40 | rate << 2 | private << 1 | channels >> 2, (channels & 3) << 6 | size >> 11]
    return bytes([*head, size >> 3 & 0xFF, (size & 7) << 5, 0]) + bytes(size - 7)


STEREO, MONO = mpeg(), mpeg(mode=3)
TAG = b"ID3\x04\0\0\0\0\0\x7f" + bytes(127)
MPEG_CASES = [
    ("stereo", STEREO * 9, True),
    ("joint or not", STEREO * 3 + mpeg(mode=0) * 3 + mpeg(mode=2) * 3, True),
    ("variable", STEREO * 3 + mpeg(bits=14, size=1_044) * 3 + mpeg(bits=1, size=104) * 3, True),
    ("becomes mono", STEREO * 3 + MONO * 3, False),
    ("becomes stereo", MONO * 3 + STEREO * 3, False),
    ("mono at the very end", STEREO * 3 + MONO, False),
    ("another rate", STEREO * 3 + mpeg(rate=1, size=384) * 3, False),
    ("another version", STEREO * 3 + mpeg(version=2, bits=8, size=208) * 3, False),
    ("layer II", mpeg(layer=2, bits=8, rate=1, size=384) * 3, True),
    ("mpeg-2 layer III", mpeg(version=2, bits=8, size=208) * 3, True),
    ("mpeg-2.5", mpeg(version=0, bits=8, rate=2, size=576) * 3, True),
    ("padded", (STEREO + bytes([0xFF, 0xFB, 0x92, 0x40]) + bytes(414)) * 3, True),
    ("a tag between", STEREO * 3 + TAG + STEREO * 3, True),
    ("mono behind a tag", STEREO * 3 + TAG + MONO * 3, False),
    ("damage", STEREO * 3 + bytes(100) + b"\xff\xfb\x90\x40" + bytes(700) + STEREO * 3, True),
    ("a tag at the end", STEREO * 3 + b"TAG" + bytes(125), True),
    ("cut", (STEREO * 3)[:-200], True),
    ("cut in a header", (STEREO * 3)[: 2 * 417 + 3], True),
    ("nothing", b"", True),
    ("nothing of the kind", b"\xff\xff\xff\xff" * 9_000, True),
]


@pytest.mark.parametrize(("body", "alike"), [case[1:] for case in MPEG_CASES], ids=[case[0] for case in MPEG_CASES])
@pytest.mark.parametrize("block_bytes", [2_000, 1 << 20])
def test_whether_the_frames_of_an_mp3_are_of_one_kind(
    body: bytes, alike: bool, block_bytes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "_BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(frames, "_NEEDED_BYTES", 2_000)
    (tmp_path / "a.mp3").write_bytes(TAG + MONO + body)
    assert all_alike(tmp_path / "a.mp3", len(TAG + MONO), adts=False) is alike


def test_a_change_far_behind_the_beginning_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(STEREO * 3_000 + bytes(1 << 20) + STEREO * 3_000 + MONO)
    assert not all_alike(tmp_path / "a.mp3", 0, adts=False)


@pytest.mark.parametrize(
    ("body", "alike"),
    [
        (adts() * 3 + adts(size=200) * 3 + adts(private=1) + adts(size=8_191) * 3, True),
        (adts() * 3 + adts(channels=1) * 3, False),
        (adts() * 3 + adts(rate=3) * 3, False),
        (adts() * 3 + TAG + adts(channels=6) * 3, False),
        (adts() * 3 + TAG + adts() * 3, True),
        ((adts() * 3)[:-20], True),
        (b"\xff\xf1\x50\x80\0\0\0" * 50, True),
    ],
    ids=["variable", "becomes mono", "another rate", "surround behind a tag", "a tag", "cut", "of no length"],
)
def test_whether_the_frames_of_adts_are_of_one_kind(body: bytes, alike: bool, tmp_path: Path) -> None:
    (tmp_path / "a.aac").write_bytes(body)
    assert all_alike(tmp_path / "a.aac", 0, adts=True) is alike


def simply_alike(data: bytes, frame_at: Callable[[bytes, int], tuple[int, int]]) -> bool:
    """What all_alike shall find: looks at every byte, all of them at hand."""
    first = at = 0
    while at < len(data):
        size, kind = frame_at(data, at)
        if not size:
            at += 1
            while at < len(data):
                size, kind = frame_at(data, at)
                if size and frame_at(data, at + size)[1] == kind:
                    break
                at += 1
            else:
                return True
        first = first or kind
        if kind != first:
            return False
        at += size
    return True


PIECES = st.one_of(
    st.builds(
        bytes.__mul__, st.sampled_from([b"\xff", b"\xfb", b"\xff\xfb", b"\xff\xf1", b"\0"]), st.integers(1, 9_000)
    ),
    st.lists(st.sampled_from([0xFF, 0xFB, 0xF3, 0xF1, 0xF9, 0x90, 0x50, 0x40, 0]), max_size=60).map(bytes),
    st.binary(max_size=60),
    st.integers(1, 40).map(lambda number: TAG * number),
)
MPEG_FRAMES = st.sampled_from([*[STEREO] * 6, mpeg(bits=14, size=1_044), mpeg(bits=1, size=104), STEREO[:200], MONO])
ADTS_FRAMES = st.sampled_from([*[adts()] * 6, adts(size=8_191), adts(size=7), adts()[:200], adts(channels=1)])


def runs(of: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.builds(bytes.__mul__, of, st.integers(1, 9))


@pytest.mark.parametrize(
    ("adts", "pieces", "frame_at"),
    [(False, PIECES | runs(MPEG_FRAMES), frames._mpeg_frame()), (True, PIECES | runs(ADTS_FRAMES), frames._adts_frame)],
    ids=["mp3", "adts"],
)
@given(data=st.data())
def test_the_search_finds_what_a_look_at_every_byte_finds(
    adts: bool,
    pieces: st.SearchStrategy[bytes],
    frame_at: Callable[[bytes, int], tuple[int, int]],
    data: st.DataObject,
) -> None:
    """In blocks as short as may be, so that all lies across their borders."""
    body = b"".join(data.draw(st.lists(pieces, max_size=20)))
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(frames, "_BLOCK_BYTES", frames._NEEDED_BYTES)
        (Path(folder) / "a").write_bytes(body)
        assert all_alike(Path(folder) / "a", 0, adts) is simply_alike(body, frame_at)


@pytest.mark.parametrize("adts_first", [None, adts()], ids=["mp3", "adts"])
def test_the_search_finds_a_frame_wherever_the_border_of_a_block_lies_in_it(
    adts_first: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "_BLOCK_BYTES", 2_000)
    monkeypatch.setattr(frames, "_NEEDED_BYTES", 1_000)
    first, other = (STEREO, MONO) if adts_first is None else (adts_first, adts(channels=1))
    for other_at in range(2_000 - 2 * len(other) - 9, 2_009):
        between = b"\xff" * (other_at - len(first * 2))
        (tmp_path / "a").write_bytes(first * 2 + between + other * 2)
        assert not all_alike(tmp_path / "a", 0, adts_first is not None), other_at


@pytest.mark.parametrize("fill", [b"\xff", b"\xfb", b"\xff\xfb", b"\xff\xfb\xff", b"\0"], ids=bytes.hex)
def test_bytes_that_are_no_header_are_looked_at_by_no_line_of_python(
    fill: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = searches = 0
    real, shown = frames._mpeg_frame_of, frames._MPEG_SHOWN

    def counted(head: bytes) -> tuple[int, int]:
        nonlocal looks
        looks += 1
        return real(head)

    class Counted:
        def search(self, data: bytes, at: int) -> re.Match[bytes] | None:
            nonlocal searches
            searches += 1
            return shown.search(data, at)

    monkeypatch.setattr(frames, "_mpeg_frame_of", counted)
    monkeypatch.setattr(frames, "_MPEG_SHOWN", Counted())
    (tmp_path / "a.mp3").write_bytes(STEREO * 3 + fill * (3_000_000 // len(fill)) + STEREO * 3)
    assert all_alike(tmp_path / "a.mp3", 0, adts=False)
    assert looks <= 6 and searches <= 3_000_000 // frames._BLOCK_BYTES + 4


@pytest.mark.parametrize(("passed_bytes", "alike"), [(9_000, True), (9_001, False)])
def test_who_must_pass_too_many_bytes_cannot_tell(
    passed_bytes: int, alike: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "PASSED_BYTES_MAX", 9_000)
    for body in (bytes(passed_bytes), bytes(4_000) + STEREO * 9 + bytes(passed_bytes - 4_000) + STEREO * 9):
        (tmp_path / "a.mp3").write_bytes(STEREO * 9 + body)
        assert all_alike(tmp_path / "a.mp3", 0, adts=False) is alike


@pytest.mark.parametrize(("number", "alike"), [(70, True), (71, False)])
def test_who_must_pass_too_many_false_headers_cannot_tell(
    number: int, alike: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "FALSE_HEADERS_MAX", 70)
    false = STEREO[:4] + bytes(1_000)
    begins = STEREO * 9 + bytes(9)
    for body in (begins + false * number, begins + false * 30 + begins + false * (number - 30) + STEREO * 9):
        (tmp_path / "a.mp3").write_bytes(body)
        assert all_alike(tmp_path / "a.mp3", 0, adts=False) is alike


def test_so_many_frames_are_looked_at_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "many.aac"
    path.write_bytes(adts(size=7) * 1_000)
    monkeypatch.setattr(frames, "FRAMES_MAX", 1_001)
    assert all_alike(path, 0, adts=True)
    monkeypatch.setattr(frames, "FRAMES_MAX", 1_000)
    assert not all_alike(path, 0, adts=True)
