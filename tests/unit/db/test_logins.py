import pytest

from playhead.db.logins import login_url, scram_verifier


@pytest.mark.parametrize(
    ("owner_url", "expected"),
    [
        (
            "postgresql://postgres@/postgres?host=/tmp/pg&port=5432",
            "postgresql://playhead_app:p%2Fw@/postgres?host=/tmp/pg&port=5432",
        ),
        (
            "postgresql:///audio?host=/tmp/pg&user=postgres&password=secret",
            "postgresql://playhead_app:p%2Fw@/audio?host=/tmp/pg",
        ),
        (
            "postgres://owner:s%40cret@db.example:6543/audio?sslmode=require",
            "postgres://playhead_app:p%2Fw@db.example:6543/audio?sslmode=require",
        ),
        (
            "postgresql://owner:secret@one.example:1,two.example:2/audio?target_session_attrs=read-write",
            "postgresql://playhead_app:p%2Fw@one.example:1,two.example:2/audio?target_session_attrs=read-write",
        ),
        ("postgresql://db.example", "postgresql://playhead_app:p%2Fw@db.example"),
        ("postgresql://owner@[::1]:5432/audio", "postgresql://playhead_app:p%2Fw@[::1]:5432/audio"),
        (
            "postgresql://owner@one.example,[::1]:5432/audio",
            "postgresql://playhead_app:p%2Fw@one.example,[::1]:5432/audio",
        ),
    ],
)
def test_a_logins_url_is_the_owners_with_another_user(owner_url: str, expected: str) -> None:
    assert login_url(owner_url, "playhead_app", "p/w") == expected


def test_the_verifier_is_the_one_of_the_standard() -> None:
    """The example exchange of RFC 7677 section 3: user, password `pencil`, this salt, 4096 iterations."""
    import base64

    verifier = scram_verifier("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="))
    assert verifier == (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ=="
        "$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )
