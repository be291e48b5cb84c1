import pytest

from playhead.db.hosts import each_host


@pytest.mark.parametrize(
    ("url", "found"),
    [
        (
            "postgresql://me:p%2Fw@one.example:1,[::1]:2,three.example/audio?sslmode=require",
            [
                "postgresql://me:p%2Fw@one.example:1/audio?sslmode=require",
                "postgresql://me:p%2Fw@[::1]:2/audio?sslmode=require",
                "postgresql://me:p%2Fw@three.example/audio?sslmode=require",
            ],
        ),
        (
            "postgresql://me:p%2Fw@/audio?host=/tmp/a,/tmp/b&port=1,2",
            [
                "postgresql://me:p%2Fw@/audio?host=/tmp/a&port=1",
                "postgresql://me:p%2Fw@/audio?host=/tmp/b&port=2",
            ],
        ),
        (
            "postgresql:///audio?host=/tmp/a,/tmp/b&port=1&user=me",
            ["postgresql:///audio?host=/tmp/a&port=1&user=me", "postgresql:///audio?host=/tmp/b&port=1&user=me"],
        ),
        ("postgresql://one,two", ["postgresql://one", "postgresql://two"]),
    ],
)
def test_an_address_with_several_hosts_is_one_for_each(url: str, found: list[str]) -> None:
    assert each_host(url) == found


@pytest.mark.parametrize(
    "url",
    [
        "",
        "postgresql://",
        "postgresql://me@one.example:5432/audio",
        "postgresql:///audio?host=/tmp/a",
        "postgresql:///audio?host=/tmp/a,/tmp/b&port=1,2,3",
    ],
)
def test_another_address_is_left_to_the_driver(url: str) -> None:
    assert each_host(url) == [url]
