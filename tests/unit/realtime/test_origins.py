"""Origins as they are compared: written in whatever way, they are the same or not."""

import pytest

from playhead.realtime.origins import Origins, origin_of


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://audio.example.com", "https://audio.example.com:443"),
        ("https://Audio.Example.com:443/player/", "https://audio.example.com:443"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://::1:8080"),
        ("http://localhost", "http://localhost:80"),
        ("", None),
        ("null", None),
        ("https://", None),
        ("file:///tmp/page.html", None),
        ("https://audio.example.com:99999", None),
        ("http://[", None),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, origin: str | None) -> None:
    assert origin_of(url) == origin


def test_without_settings_a_request_names_the_only_origin() -> None:
    origins = Origins(None, ())
    assert origins.allow("http://audio.example.com", {"HTTP_HOST": "audio.example.com:80"})
    assert not origins.allow("https://audio.example.com", {"HTTP_HOST": "audio.example.com"})
    assert not origins.allow("http://audio.example.com", {})
    assert not origins.allow(None, {"HTTP_HOST": "audio.example.com"})


def test_the_outermost_proxy_says_how_the_page_was_reached() -> None:
    forwarded = {"HTTP_HOST": "audio.example.com", "HTTP_X_FORWARDED_PROTO": "https,http"}
    assert Origins(None, ()).allow("https://audio.example.com", forwarded)
    assert not Origins(None, ()).allow("http://audio.example.com", forwarded)
