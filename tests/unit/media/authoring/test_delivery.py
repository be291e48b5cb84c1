"""Each rule of HTTP: an answer that breaks it, and it alone."""

from dataclasses import replace

import pytest

from playhead.media.authoring import Delivery, Rule, check_media_delivery, check_playlist_delivery

PLAYLIST = Delivery(
    name="master.m3u8",
    status=200,
    scheme="https",
    host="media.example.org",
    redirected=False,
    content_type="application/vnd.apple.mpegurl; charset=utf-8",
    content_encoding="gzip",
)
SEGMENT = replace(PLAYLIST, name="low/0.m4s", content_type="audio/mp4", content_encoding="")


@pytest.mark.parametrize(
    ("delivery", "rules"),
    [
        (PLAYLIST, []),
        (replace(PLAYLIST, status=404, content_encoding=""), [Rule.AVAILABLE]),
        (replace(PLAYLIST, content_encoding=""), [Rule.GZIP]),
        (replace(PLAYLIST, content_encoding="br"), [Rule.GZIP]),
        (replace(PLAYLIST, content_type="text/plain"), [Rule.PLAYLIST_TYPE]),
        (replace(PLAYLIST, content_type=""), [Rule.PLAYLIST_TYPE]),
        (replace(PLAYLIST, scheme="http"), [Rule.TLS]),
        (replace(PLAYLIST, scheme="http", host="127.0.0.1"), []),
        (replace(PLAYLIST, redirected=True), []),
    ],
)
def test_playlists(delivery: Delivery, rules: list[Rule]) -> None:
    assert [breach.rule for breach in check_playlist_delivery(delivery)] == rules


@pytest.mark.parametrize(
    ("delivery", "rules"),
    [
        (SEGMENT, []),
        (replace(SEGMENT, status=503), [Rule.AVAILABLE]),
        (replace(SEGMENT, redirected=True), [Rule.NO_REDIRECT]),
        (replace(SEGMENT, content_type="application/octet-stream"), [Rule.MEDIA_TYPE]),
        (replace(SEGMENT, content_type="video/iso.segment"), []),
        (replace(SEGMENT, scheme="http"), [Rule.TLS]),
        (replace(SEGMENT, scheme="http", host="[::1]"), []),
    ],
)
def test_media(delivery: Delivery, rules: list[Rule]) -> None:
    assert [breach.rule for breach in check_media_delivery(delivery)] == rules
