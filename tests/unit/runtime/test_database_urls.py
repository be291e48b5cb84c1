"""What is wrong with a database's URL is told before anybody connects, and nothing of it is quoted."""

import pytest

from playhead.runtime.database_urls import check_url

LOGIN = "postgresql://me:s3cret@"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://",
        "postgres://db.example",
        f"{LOGIN}db.example:5432/audio?sslmode=require",
        f"{LOGIN}db.example:/audio",
        f"{LOGIN}one.example:1,two.example:65535/audio?target_session_attrs=read-write",
        f"{LOGIN}one.example,two.example/audio",
        f"{LOGIN}[::1]:5432/audio",
        f"{LOGIN}one.example:5432,[::1]:5433/audio",
        f"{LOGIN}/audio?host=/tmp/a,/tmp/b&port=5432,5433",
        "postgresql://me:%23%2F%3A%3F%40@db.example/audio",
        "postgresql:///audio?host=/tmp/pg&user=me&password=s3cret",
        "postgresql://me@%2Ftmp%2Fpg/audio",
    ],
)
def test_urls_that_can_be_used(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql://me:s3cret@host", "must begin with postgresql:// or postgres://"),
        (f"{LOGIN}db.example:54x2/audio", "number from 1 to 65535"),
        (f"{LOGIN}db.example:0/audio", "number from 1 to 65535"),
        (f"{LOGIN}db.example:65536/audio", "number from 1 to 65535"),
        (f"{LOGIN}one.example:5432,two.example:x/audio", "number from 1 to 65535"),
        (f"{LOGIN}/audio?host=/tmp/pg&port=x", "number from 1 to 65535"),
        (f"{LOGIN}/audio?host=/tmp/pg&port=65536", "number from 1 to 65535"),
        ("postgresql://me:s3cret/x@db.example/audio", "%2F for /"),
        ("postgresql://me:s3cret#x@db.example/audio", "%23 for #"),
        ("postgresql://me:s3cret?x@db.example/audio", "%3F for ?"),
        ("postgresql://me:s3cret@x@db.example/audio", "%40 for @"),
        (f"{LOGIN}[::1/audio", "between brackets"),
        (f"{LOGIN}one.example,[::1/audio", "between brackets"),
        (f"{LOGIN}db..example/audio", "looked up"),
        (f"{LOGIN}db.example/audio?sslmode=yes", "disable, allow, prefer"),
        (f"{LOGIN}db.example/audio?target_session_attrs=write", "read-write"),
    ],
)
def test_what_is_wrong_with_others(url: str, told: str) -> None:
    with pytest.raises(ValueError) as refusal:
        check_url(url)
    assert told in str(refusal.value)
    assert "s3cret" not in str(refusal.value)
    assert "must " in str(refusal.value)
