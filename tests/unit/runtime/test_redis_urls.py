"""How people write where the state store is."""

import pytest

from playhead.runtime.redis_urls import SENTINELS_MAX, SentinelUrl, addresses, check_url, sentinel_url


def test_one_server_is_left_to_the_library() -> None:
    for url in ("redis://host:6379/1", "rediss://host", "unix:///run/valkey.sock"):
        check_url(url)
        assert sentinel_url(url) is None


def test_sentinels_with_everything_that_may_be_said_of_them() -> None:
    found = sentinel_url(
        "rediss+sentinel://me:p%40ss@one:1,two,[::1]:3/play%2Dhead/2"
        "?sentinel_password=s%26p&ssl_ca_certs=%2Fca.pem&sentinel_username=us"
    )
    assert found == SentinelUrl(
        sentinels=(("one", 1), ("two", 26379), ("::1", 3)),
        service="play-head",
        server_url="rediss://me:p%40ss@localhost/2?ssl_ca_certs=%2Fca.pem",
        username="us",
        password="s&p",
    )


def test_sentinels_with_the_least() -> None:
    found = sentinel_url("redis+sentinel://one/playhead")
    assert found is not None
    assert (found.sentinels, found.service, found.server_url) == (
        (("one", 26379),),
        "playhead",
        "redis://localhost/0",
    )
    assert (found.username, found.password) == (None, None)


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("http://s3cret@host", "must begin with one of redis://"),
        ("redis:host", "must begin with one of redis://"),
        ("redis+sentinel://s3cret@host:26379", "must name the service"),
        ("redis+sentinel://s3cret@host:26379/", "must name the service"),
        ("redis+sentinel://s3cret@host:x/playhead", "as each port"),
        ("redis+sentinel://s3cret@host:70000/playhead", "as each port"),
        ("redis+sentinel://s3cret@host,/playhead", "must name a host"),
        ("redis+sentinel://host/playhead/s3cret", "must have the database's number"),
        (f"redis+sentinel://{','.join(['host'] * (SENTINELS_MAX + 1))}/playhead", f"{SENTINELS_MAX} hosts at most"),
    ],
)
def test_a_wrong_url_is_told_what_to_write_and_not_repeated(url: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule) as caught:
        check_url(url)
    assert "s3cret" not in str(caught.value)


def test_as_many_hosts_as_allowed() -> None:
    assert len(addresses(",".join(["host"] * SENTINELS_MAX), 1)) == SENTINELS_MAX
