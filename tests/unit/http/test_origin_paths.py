"""The grammar of media paths: what is one, and everything that only looks like one."""

import pytest

from playhead.http.origin_paths import MediaPath, parse_media_path
from playhead.media import rung_named

SCRIPT = "3f1f2b0e-7c8a-4a43-9a53-0a1d2e3f4a5b"
VERSION = "0123456789abcdef"
BASE = f"/p/token-_.1/t/{SCRIPT}/{VERSION}/"


def _path(kind: str, rung: str | None, segment: int | None, tail: str) -> MediaPath:
    return MediaPath(
        token="token-_.1",
        path=f"/t/{SCRIPT}/{VERSION}/{tail}",
        script_id=SCRIPT,
        media_version=VERSION,
        kind=kind,  # type: ignore[arg-type]
        rung=rung_named(rung) if rung else None,
        segment=segment,
    )


@pytest.mark.parametrize(
    ("tail", "kind", "rung", "segment"),
    [
        ("master.m3u8", "multivariant", None, None),
        ("grid.json", "facts", None, None),
        ("low/index.m3u8", "playlist", "low", None),
        ("medium/init.mp4", "init", "medium", None),
        ("high/0.m4s", "segment", "high", 0),
        ("high/7.m4s", "segment", "high", 7),
        ("high/1234567.m4s", "segment", "high", 1_234_567),
    ],
)
def test_what_a_path_names(tail: str, kind: str, rung: str | None, segment: int | None) -> None:
    assert parse_media_path(BASE + tail) == _path(kind, rung, segment, tail)


@pytest.mark.parametrize(
    "tail",
    [
        "",
        "index.m3u8",
        "master.m3u8/",
        "master.m3u8\n",
        "master_m3u8",
        "MASTER.m3u8",
        "low/master.m3u8",
        "low/grid.json",
        "huge/index.m3u8",
        "LOW/index.m3u8",
        "low//index.m3u8",
        "low/./index.m3u8",
        "low/../low/index.m3u8",
        "../../../../etc/passwd",
        "low/%2e%2e/index.m3u8",
        "low%2Findex.m3u8",
        "low/index.m3u8%00",
        "low/index%2em3u8",
        "low/01.m4s",
        "low/00.m4s",
        "low/+1.m4s",
        "low/-1.m4s",
        "low/1_0.m4s",
        "low/1.0.m4s",
        "low/1e1.m4s",
        "low/ 1.m4s",
        "low/%31.m4s",
        "low/\uff11.m4s",
        "low/12345678.m4s",
        "low/.m4s",
        "low/1.m4s/",
        "low/1.m4s.gz",
        "low/1.mp4",
        "low/init.m4s",
    ],
)
def test_what_only_looks_like_a_path_below_a_version_is_not_there(tail: str) -> None:
    assert parse_media_path(BASE + tail) is None


@pytest.mark.parametrize(
    "path",
    [
        f"/p/token/t/{SCRIPT.upper()}/{VERSION}/master.m3u8",
        f"/p/token/t/{SCRIPT.replace('-', '')}/{VERSION}/master.m3u8",
        f"/p/token/t/{{{SCRIPT}}}/{VERSION}/master.m3u8",
        f"/p/token/t/{SCRIPT}/{VERSION.upper()}/master.m3u8",
        f"/p/token/t/{SCRIPT}/{VERSION[:-1]}/master.m3u8",
        f"/p/token/t/{SCRIPT}/{VERSION}0/master.m3u8",
        f"/p/token/t/{SCRIPT}//master.m3u8",
        f"/p//t/{SCRIPT}/{VERSION}/master.m3u8",
        f"/p/to%6ben/t/{SCRIPT}/{VERSION}/master.m3u8",
        f"/p/to/ken/t/{SCRIPT}/{VERSION}/master.m3u8",
        f"//p/token/t/{SCRIPT}/{VERSION}/master.m3u8",
        f"/x/p/token/t/{SCRIPT}/{VERSION}/master.m3u8",
        f"/t/{SCRIPT}/{VERSION}/master.m3u8",
        "/p/token/",
        "",
    ],
)
def test_what_only_looks_like_a_signed_path_is_not_there(path: str) -> None:
    assert parse_media_path(path) is None
