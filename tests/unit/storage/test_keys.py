import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.media import media_prefix, segment_key, source_key
from playhead.storage import InvalidKey
from playhead.storage.interface import KEY_CHARS_MAX, KEY_PART_CHARS_MAX, checked

SCRIPT = "5f1d7a84-0c5e-4b3c-9a53-0f6c4f7f9f11"
VERSION = "0123456789abcdef"

TRAVERSALS = [
    "..",
    "../secret",
    "a/../b",
    "a/..",
    "/etc/passwd",
    "a//b",
    "a/",
    "/",
    "",
    ".",
    "a/./b",
    ".hidden",
    "a/.hidden",
    "a\\b",
    "a\\..\\b",
    "C:/b",
    "a\0b",
    "a/b\n",
    "a b",
    "a%2e%2e/b",
    "~/b",
    "a#1",
    "ä",
    "a/\u2024\u2024/b",
    "-rf",
]


@pytest.mark.parametrize("key", TRAVERSALS)
def test_names_that_could_leave_the_root_or_hide_are_no_keys(key: str) -> None:
    with pytest.raises(InvalidKey):
        checked(key)


@pytest.mark.parametrize(
    "key",
    [
        "a",
        source_key(SCRIPT, VERSION),
        media_prefix(SCRIPT, VERSION),
        segment_key(SCRIPT, VERSION, "low", 15_000),
        "a..b/c",
    ],
)
def test_what_media_is_called_is_a_key(key: str) -> None:
    assert checked(key) == key


@given(st.text())
def test_no_text_that_passes_has_a_part_that_means_something_to_a_file_system(key: str) -> None:
    try:
        checked(key)
    except InvalidKey:
        return
    assert not {"", ".", ".."} & set(key.split("/"))
    assert key.isascii() and key.isprintable() and "\\" not in key


@pytest.mark.parametrize("key", ["a" * KEY_PART_CHARS_MAX, "/".join(["a" * 63] * 8)])
def test_keys_at_the_limits_are_taken(key: str) -> None:
    assert len(key) in (KEY_PART_CHARS_MAX, KEY_CHARS_MAX - 1)
    assert checked(key) == key


@pytest.mark.parametrize("key", ["a" * (KEY_PART_CHARS_MAX + 1), "/".join(["a" * 63] * 8) + "bb"])
def test_keys_past_the_limits_are_refused(key: str) -> None:
    with pytest.raises(InvalidKey):
        checked(key)
