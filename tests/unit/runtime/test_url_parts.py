"""URLs of several hosts in their parts, on any Python."""

import pytest

from playhead.runtime.url_parts import UrlParts, split_url


def test_a_url_with_everything_in_it() -> None:
    url = "postgresql://me:p%40@w@one:1,[::1]:2/a/b?x=1&y=%2F?#z"
    parts = split_url(url)
    assert parts == UrlParts(
        scheme="postgresql", login="me:p%40@w", hosts="one:1,[::1]:2", path="/a/b", query="x=1&y=%2F?", fragment="z"
    )
    assert parts.url == url


@pytest.mark.parametrize(
    "url",
    ["redis+sentinel://a,b/service", "postgresql://", "postgresql:///db?host=/tmp/a,/tmp/b", "redis://h?db=1", "a://#"],
)
def test_what_is_not_there_is_empty(url: str) -> None:
    parts = split_url(url)
    assert (parts.login, parts.fragment) == ("", "")
    assert parts.url == url.rstrip("#")
