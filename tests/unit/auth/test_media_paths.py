"""Signed media paths: the token opens its own prefix until its second, and nothing else ever."""

import base64
import hashlib
import hmac
import itertools
import json
import re
from typing import Any

import pytest

from playhead.auth.media_paths import TOKEN_BYTES_MAX, InvalidMediaToken, MediaSigner, media_prefix

KEYS = {"new": "n" * 32, "old": "o" * 32}
PREFIX = media_prefix("33333333-3333-4333-8333-333333333333", "0123456789abcdef")
NOW_S = 1_767_225_600
UNTIL_S = NOW_S + 60
SIGNER = MediaSigner(KEYS)


def token_of(path: str) -> str:
    found = re.fullmatch(r"/p/([^/]+)(/t/.*)", path)
    assert found is not None
    return found[1]


TOKEN = token_of(SIGNER.sign(PREFIX, UNTIL_S))


def forged(claims: object, key: str = KEYS["new"]) -> str:
    """Any claims at all, signed correctly."""
    raw = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    body = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    mac = base64.urlsafe_b64encode(hmac.digest(key.encode(), body.encode(), hashlib.sha256)).rstrip(b"=").decode()
    return f"{body}.{mac}"


def claims(**fields: Any) -> dict[str, Any]:
    return {"v": 1, "k": "new", "p": PREFIX, "e": UNTIL_S, **fields}


def refused(token: str, path: str = PREFIX, now_s: int = NOW_S, signer: MediaSigner = SIGNER) -> str:
    with pytest.raises(InvalidMediaToken) as caught:
        signer.verify(token, path, now_s)
    return str(caught.value)


def test_a_signed_prefix_opens_everything_below_it() -> None:
    signed = SIGNER.sign(PREFIX, UNTIL_S, session_id="session")
    assert signed.endswith(PREFIX)
    for path in (PREFIX, f"{PREFIX}master.m3u8", f"{PREFIX}low/17.m4s"):
        found = SIGNER.verify(token_of(signed), path, NOW_S)
        assert (found.key_id, found.prefix, found.expires_at_s, found.session_id) == ("new", PREFIX, UNTIL_S, "session")
    assert SIGNER.verify(TOKEN, PREFIX, NOW_S).session_id is None
    assert SIGNER.verify(forged(claims()), PREFIX, NOW_S).key_id == "new"


def test_a_token_tells_listeners_apart_and_says_nothing_of_them() -> None:
    def pseudonym(listener_id: str | None, session_id: str | None = None, signer: MediaSigner = SIGNER) -> str | None:
        signed = token_of(signer.sign(PREFIX, UNTIL_S, session_id, listener_id))
        assert len(signed) < TOKEN_BYTES_MAX / 2
        assert not listener_id or listener_id not in base64.urlsafe_b64decode(signed.partition(".")[0] + "==").decode()
        return signer.verify(signed, PREFIX, NOW_S).listener

    anna = pseudonym("anna")
    assert anna is not None and re.fullmatch(r"[A-Za-z0-9_-]{12}", anna)
    assert {pseudonym("anna", session_id) for session_id in ("one", "another")} == {anna}
    assert len({anna, pseudonym("boris"), pseudonym("anna", signer=MediaSigner({"old": KEYS["old"]}))}) == 3
    assert pseudonym(None) is None


@pytest.mark.parametrize("listener", [3, None, ["anna"], {"anna": 1}, True])
def test_a_listener_that_is_none_is_as_good_as_not_said(listener: object) -> None:
    """An edge does not look at it either."""
    assert SIGNER.verify(forged(claims(l=listener)), PREFIX, NOW_S).listener is None


def test_a_token_is_safe_in_a_path() -> None:
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", TOKEN)


@pytest.mark.parametrize(("now_s", "good"), [(UNTIL_S - 1, True), (UNTIL_S, False), (UNTIL_S + 1, False)])
def test_a_token_ends_at_its_second(now_s: int, good: bool) -> None:
    if good:
        assert SIGNER.verify(TOKEN, PREFIX, now_s)
    else:
        assert "expired" in refused(TOKEN, now_s=now_s)


@pytest.mark.parametrize(
    "path",
    [
        "/t/33333333-3333-4333-8333-333333333333/0123456789abcdefx/low/1.m4s",
        "/t/33333333-3333-4333-8333-333333333333/0123456789abcdef",
        "/t/33333333-3333-4333-8333-333333333333/",
        "/t/33333333-3333-4333-8333-33333333333/0123456789abcdef/",
        "/T/33333333-3333-4333-8333-333333333333/0123456789abcdef/low/1.m4s",
        "/t/44444444-4444-4444-8444-444444444444/0123456789abcdef/low/1.m4s",
        f"/x{PREFIX}low/1.m4s",
        PREFIX[1:],
        "",
        "/",
    ],
)
def test_a_token_opens_no_other_path(path: str) -> None:
    assert "another script" in refused(TOKEN, path)


def test_a_change_of_any_character_is_noticed() -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for at in range(len(TOKEN)):
        for character in alphabet + ".=!":
            if character != TOKEN[at]:
                refused(TOKEN[:at] + character + TOKEN[at + 1 :])


def test_a_character_more_or_less_is_noticed() -> None:
    for at in range(len(TOKEN) + 1):
        for more in ("A", "=", "!", ".", " "):
            refused(TOKEN[:at] + more + TOKEN[at:])
        if at < len(TOKEN):
            refused(TOKEN[:at] + TOKEN[at + 1 :])


def test_the_parts_of_two_tokens_do_not_fit_together() -> None:
    other = token_of(SIGNER.sign(PREFIX, UNTIL_S + 3_600))
    refused(f"{other.split('.')[0]}.{TOKEN.split('.')[1]}")


def test_after_a_rotation_the_old_key_still_opens_but_signs_no_more() -> None:
    before = MediaSigner({"old": KEYS["old"]})
    old = token_of(before.sign(PREFIX, UNTIL_S))
    assert SIGNER.verify(old, PREFIX, NOW_S).key_id == "old"
    assert SIGNER.verify(TOKEN, PREFIX, NOW_S).key_id == "new"
    refused(TOKEN, signer=before)
    refused(old, signer=MediaSigner({"new": KEYS["new"]}))


def test_in_the_documented_order_of_a_rotation_every_server_opens_what_any_other_one_signs() -> None:
    """docs/operations.md, "Changing keys": within a round some servers have the settings of the round before."""
    old, new = {"old": KEYS["old"]}, {"new": KEYS["new"]}
    rounds = [old, old | new, new | old]
    assert list(rounds[1]) == ["old", "new"] and list(rounds[2]) == ["new", "old"]
    for waiting, restarted in itertools.pairwise(rounds):
        for signs, opens in itertools.permutations([waiting, restarted]):
            MediaSigner(opens).verify(token_of(MediaSigner(signs).sign(PREFIX, UNTIL_S)), PREFIX, NOW_S)
    for signs, opens in itertools.permutations([rounds[-1], new]):  # no address of the old key is left
        MediaSigner(opens).verify(token_of(MediaSigner(signs).sign(PREFIX, UNTIL_S)), PREFIX, NOW_S)


def test_a_key_of_the_same_name_with_another_secret_opens_nothing() -> None:
    refused(TOKEN, signer=MediaSigner({"new": "x" * 32, "old": KEYS["old"]}))
    refused(forged(claims(k="old")))


def test_without_a_key_there_is_no_signer() -> None:
    with pytest.raises(ValueError, match="at least one"):
        MediaSigner({})


@pytest.mark.parametrize(
    "wrong",
    [
        {"v": 2},
        {"v": "1"},
        {"v": None},
        {"k": "unknown"},
        {"k": 3},
        {"k": ["new"]},
        {"k": {"new": 1}},
        {"k": None},
        {"p": 3},
        {"p": None},
        {"p": [PREFIX]},
        {"e": str(UNTIL_S)},
        {"e": None},
        {"e": float("inf")},
        {"e": True},
        {"e": [UNTIL_S]},
        {"s": 3},
        {"s": ["session"]},
    ],
)
def test_claims_of_the_wrong_type_are_refused_even_when_signed(wrong: dict[str, Any]) -> None:
    refused(forged(claims(**wrong)))


@pytest.mark.parametrize("name", ["v", "k", "p", "e"])
def test_claims_that_lack_a_part_are_refused(name: str) -> None:
    refused(forged({key: value for key, value in claims().items() if key != name}))


@pytest.mark.parametrize("body", [b"", b"3", b"[]", b"null", b'"text"', b"{", b"\xff", b"[" * 700])
def test_claims_of_any_form_are_refused(body: bytes) -> None:
    refused(forged(body))


@pytest.mark.parametrize("garbage", ["", ".", "a", "a.b", "=.=", "a" * 5 + ".", "ä.ö", "\udcff.a", "%2e%2e", "a.b.c"])
def test_garbage_is_refused(garbage: str) -> None:
    refused(garbage)


def test_a_token_longer_than_the_limit_is_not_even_read() -> None:
    long = forged(claims(s="s" * TOKEN_BYTES_MAX))
    assert len(long) > TOKEN_BYTES_MAX and "too long" in refused(long)
    fits = forged(claims(s="s" * 400))
    assert len(fits) < TOKEN_BYTES_MAX and SIGNER.verify(fits, PREFIX, NOW_S)
