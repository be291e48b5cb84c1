from playhead.media import (
    LADDER,
    cover_key,
    cover_type,
    media_prefix,
    media_version,
    rung_named,
    segment_key,
    source_key,
)

SCRIPT = "5f1d7a84-0c5e-4b3c-9a53-0f6c4f7f9f11"


def test_keys_of_a_script_lie_under_its_id_and_version() -> None:
    version = media_version("0123456789abcdef" * 4)
    assert version == "0123456789abcdef"
    assert source_key(SCRIPT, version) == f"sources/{SCRIPT}/{version}"
    assert segment_key(SCRIPT, version, "low", 7) == f"media/{SCRIPT}/{version}/low/7.m4s"
    assert segment_key(SCRIPT, version, "low", 7).startswith(media_prefix(SCRIPT, version) + "/")


def test_rungs_are_found_by_their_path_part() -> None:
    assert [rung_named(rung.name) for rung in LADDER] == list(LADDER)
    assert rung_named("../low") is None


def test_a_cover_lies_beside_its_upload_and_says_what_it_is() -> None:
    upload = source_key(SCRIPT, "one")
    assert [cover_key(upload, suffix) for suffix in ("jpg", "png")] == [f"{upload}.cover.jpg", f"{upload}.cover.png"]
    assert [cover_type(cover_key(upload, suffix)) for suffix in ("jpg", "png")] == ["image/jpeg", "image/png"]
