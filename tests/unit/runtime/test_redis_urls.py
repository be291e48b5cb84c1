"""How people write where the state store is."""

import pytest

from playhead.runtime.redis_urls import HOSTS_MAX, SentinelUrl, addresses, check_url, cluster_url, sentinel_url


def test_one_server_is_left_to_the_library() -> None:
    for url in ("redis://host:6379/1", "rediss://host", "unix:///run/valkey.sock"):
        check_url(url)
        assert sentinel_url(url) is None and cluster_url(url) is None


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


def test_servers_of_a_cluster_are_spoken_to_with_its_login_and_options() -> None:
    found = cluster_url("rediss+cluster://me:p%40ss@one:1,two,[::1]:3/0?ssl_ca_certs=%2Fca.pem")
    assert found is not None and found.nodes == (("one", 1), ("two", 6379), ("::1", 3))
    assert found.node_url(("10.0.0.1", 7)) == "rediss://me:p%40ss@10.0.0.1:7?ssl_ca_certs=%2Fca.pem"
    assert found.node_url(("::1", 3)) == "rediss://me:p%40ss@[::1]:3?ssl_ca_certs=%2Fca.pem"
    least = cluster_url("redis+cluster://one")
    assert least is not None and least.node_url(least.nodes[0]) == "redis://one:6379"
    check_url("redis+cluster://one,two")


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("http://s3cret@host", "must begin with one of redis://"),
        ("redis:host", "must begin with one of redis://"),
        ("redis://me:s3cret@host:63x9", "as port"),
        ("rediss://me:s3cret@host:65536/1", "as port"),
        ("redis://me:s3cret/x@host:6379/1", "%2F for /"),
        ("redis+sentinel://s3cret@host:26379", "must name the service"),
        ("redis+sentinel://s3cret@host:26379/", "must name the service"),
        ("redis+sentinel://s3cret@host:x/playhead", "as each port"),
        ("redis+sentinel://s3cret@host:70000/playhead", "as each port"),
        ("redis+sentinel://s3cret@host,/playhead", "must name a host"),
        ("redis+sentinel://s3cret@one,[::1:1/playhead", "an IPv6 address in brackets"),
        ("redis+cluster://s3cret@host:6379/1", "no database other than 0"),
        ("redis+cluster://s3cret@host,", "must name a host"),
        ("redis+sentinel://host/playhead/s3cret", "must have the database's number"),
        (f"redis+sentinel://{','.join(['host'] * (HOSTS_MAX + 1))}/playhead", f"{HOSTS_MAX} hosts at most"),
    ],
)
def test_a_wrong_url_is_told_what_to_write_and_not_repeated(url: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule) as caught:
        check_url(url)
    assert "s3cret" not in str(caught.value)


def test_as_many_hosts_as_allowed() -> None:
    assert len(addresses(",".join(["host"] * HOSTS_MAX), 1)) == HOSTS_MAX
