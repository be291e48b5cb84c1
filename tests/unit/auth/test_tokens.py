"""Listener tokens: which are let in, and that every other one, however it is made, ends in the same refusal."""

import base64
import hashlib
import hmac
import json
import uuid
from datetime import UTC, datetime, tzinfo
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from playhead.auth.tokens import (
    LEEWAY_S,
    SCOPES_MAX,
    TOKEN_BYTES_MAX,
    UPLOAD_SCOPE,
    InvalidToken,
    TokenVerifier,
    issue,
)

KEY = "a secret that is long enough for every hash: " + "x" * 32
NOW_S = 1_767_225_600
LISTENER_ID = "11111111-1111-4111-8111-111111111111"
INFINITE = float("inf")
CLAIMS: dict[str, Any] = {"sub": LISTENER_ID, "aud": "playhead", "exp": NOW_S + 60}


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stops the clock that PyJWT reads at NOW_S."""

    class Stopped(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Stopped":
            return cls.fromtimestamp(NOW_S, tz)

    monkeypatch.setattr("jwt.api_jwt.datetime", Stopped)


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def verifier(**options: Any) -> TokenVerifier:
    return TokenVerifier(**{"key": KEY, "algorithms": ["HS256"], "audience": "playhead", **options})


def token(key: Any = KEY, algorithm: str | None = "HS256", headers: Any = None, **claims: Any) -> str:
    return jwt.encode({**CLAIMS, **claims}, key, algorithm=algorithm, headers=headers)


def without(*names: str) -> str:
    return jwt.encode({name: value for name, value in CLAIMS.items() if name not in names}, KEY)


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(payload: bytes, header: bytes = b'{"alg":"HS256","typ":"JWT"}', key: bytes = KEY.encode()) -> str:
    """Any bytes at all, signed correctly."""
    message = f"{base64url(header)}.{base64url(payload)}"
    return f"{message}.{base64url(hmac.digest(key, message.encode(), hashlib.sha256))}"


def refused(candidate: object, **options: Any) -> str:
    with pytest.raises(InvalidToken) as caught:
        verifier(**options).verify(candidate)
    assert len(str(candidate)) < 8 or str(candidate) not in str(caught.value)
    return str(caught.value)


# what was verified before


def test_a_token_that_comes_again_is_known_until_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = float(NOW_S)
    checks = verifier(time_s=lambda: now_s)
    good = token()
    principal = checks.verify(good)
    assert checks.verify(good) is principal
    now_s = NOW_S + 60 + LEEWAY_S - 0.001
    assert checks.verify(good) is principal
    now_s = NOW_S + 60 + LEEWAY_S
    monkeypatch.setattr("jwt.api_jwt.datetime", datetime)
    with pytest.raises(InvalidToken, match="expired"):
        checks.verify(good)
    with pytest.raises(InvalidToken, match="expired"):
        checks.verify(good)


def test_a_known_token_makes_no_other_one_good() -> None:
    checks = verifier(time_s=lambda: NOW_S)
    good = token()
    checks.verify(good)
    head, payload, signature = good.split(".")
    other = base64url(json.dumps({**CLAIMS, "sub": str(uuid.uuid4())}).encode())
    for candidate in (f"{head}.{other}.{signature}", f"{head}.{payload}.{signature[:-2]}", good[:-1]):
        with pytest.raises(InvalidToken):
            checks.verify(candidate)
    with pytest.raises(InvalidToken):
        verifier(key=KEY + "2", time_s=lambda: NOW_S).verify(good)


def test_of_too_many_tokens_the_one_is_forgotten_that_came_longest_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("playhead.auth.tokens.VERIFIED_MAX", 2)
    checks = verifier(time_s=lambda: NOW_S)
    first, second, third = (token(sub=str(uuid.uuid4())) for _ in range(3))
    principals = {each: checks.verify(each) for each in (first, second)}
    assert checks.verify(first) is principals[first]
    checks.verify(third)
    assert checks.verify(first) is principals[first]
    assert checks.verify(second) is not principals[second]


OTHER_KEY, THIRD_KEY = (f"another secret, number {number}: {'y' * 32}" for number in (2, 3))


@pytest.mark.parametrize("key", [KEY, OTHER_KEY, THIRD_KEY])
def test_while_keys_are_rotated_tokens_of_each_are_good(key: str) -> None:
    checks = verifier(other_keys=[OTHER_KEY, THIRD_KEY])
    assert checks.verify(token(key)).listener_id == LISTENER_ID
    if key != KEY:
        assert "not valid for this service" in refused(token(key))


def test_another_key_makes_no_other_token_good() -> None:
    options: dict[str, Any] = {"other_keys": [OTHER_KEY]}
    assert "expired" in refused(token(OTHER_KEY, exp=NOW_S - 60), **options)
    for candidate in (
        token(THIRD_KEY),
        token(OTHER_KEY, aud="others"),
        token(OTHER_KEY, "HS384"),
        token(None, "none"),
        jwt.encode({"sub": LISTENER_ID, "aud": "playhead"}, OTHER_KEY),
    ):
        assert "not valid for this service" in refused(candidate, **options)


def test_public_keys_of_several_kinds_each_verify_their_own_algorithm(rsa_key: rsa.RSAPrivateKey) -> None:
    """As in a change from RS256 to ES256; and the text of none of them is a secret."""
    curve = ec.generate_private_key(ec.SECP256R1())
    texts = [
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        for key in (rsa_key, curve)
    ]
    for first, second in (texts, texts[::-1]):
        options: dict[str, Any] = {"key": first, "other_keys": [second], "algorithms": ["RS256", "ES256"]}
        for key, algorithm in ((rsa_key, "RS256"), (curve, "ES256")):
            assert verifier(**options).verify(token(key, algorithm)).listener_id == LISTENER_ID
        stranger = ec.generate_private_key(ec.SECP256R1())
        for candidate in (token(stranger, "ES256"), token(rsa_key, "RS512"), signed(json.dumps(CLAIMS).encode())):
            assert "not valid for this service" in refused(candidate, **options)
        forged = signed(json.dumps(CLAIMS).encode(), key=second.encode())
        assert "not valid for this service" in refused(forged, **options)


def test_a_good_token_names_the_listener() -> None:
    principal = verifier().verify(token())
    assert (principal.listener_id, principal.role, principal.expires_at_s) == (LISTENER_ID, "authenticated", NOW_S + 60)
    assert principal.scopes == frozenset() and not principal.may_publish
    assert principal.claims == {"sub": LISTENER_ID, "role": "authenticated"}


def test_a_token_that_we_issue_is_good_with_every_field() -> None:
    mine = issue(
        KEY,
        listener_id=LISTENER_ID,
        audience="playhead",
        expires_at_s=NOW_S + 5,
        issuer="us",
        role="service_role",
        scopes=["a", "b"],
        algorithm="HS512",
    )
    principal = verifier(algorithms=["HS512"], issuer="us").verify(mine)
    assert principal.role == "service_role" and principal.scopes == {"a", "b"}
    assert principal.may_publish


def test_the_shortest_token_that_we_issue_is_good() -> None:
    mine = issue(KEY, listener_id=LISTENER_ID, audience="playhead", expires_at_s=NOW_S + 5)
    assert set(jwt.decode(mine, options={"verify_signature": False})) == {"sub", "aud", "exp", "role"}
    assert verifier().verify(mine).role == "authenticated"


@pytest.mark.parametrize("spelling", [LISTENER_ID.replace("-", ""), f"urn:uuid:{LISTENER_ID}", f"{{{LISTENER_ID}}}"])
def test_every_spelling_of_a_listeners_id_is_the_same_listener(spelling: str) -> None:
    assert verifier().verify(token(sub=spelling)).listener_id == LISTENER_ID
    upper = str(uuid.UUID(int=0xABCDEF)).upper()
    assert verifier().verify(token(sub=upper)).listener_id == upper.lower()


@pytest.mark.parametrize("nothing", [None, "", 3, b"", {}, [], True])
def test_what_is_no_text_is_no_token(nothing: object) -> None:
    with pytest.raises(InvalidToken, match="A token is needed"):
        verifier().verify(nothing)


def test_a_token_as_bytes_is_refused() -> None:
    refused(token().encode())


@pytest.mark.parametrize("garbage", ["a", "a.b", "a.b.c", "....", "\udcff.a.b", "ä.ö.ü", "null", "\x00"])
def test_garbage_is_refused(garbage: str) -> None:
    refused(garbage)


def of_length(length: int) -> str:
    """A good token of exactly so many characters: spaces in its header and payload, which JSON allows."""
    for header_spaces in range(3):
        header = b'{"alg":"HS256","typ":"JWT"}' + b" " * header_spaces
        for payload_spaces in range(3 * length // 4 - 250, 3 * length // 4):
            good = signed(json.dumps(CLAIMS).encode() + b" " * payload_spaces, header)
            if len(good) == length:
                return good
    raise AssertionError(f"no token has {length} characters")


def test_the_longest_token_is_read_and_a_longer_one_is_not() -> None:
    assert verifier().verify(of_length(TOKEN_BYTES_MAX))
    assert "A token is needed" in refused(of_length(TOKEN_BYTES_MAX + 1))


# signatures


def test_an_unsigned_token_is_refused() -> None:
    refused(token(key=None, algorithm="none"))
    refused(token(key=None, algorithm="none"), algorithms=["none", "HS256"])
    header, payload, _ = token().split(".")
    refused(f"{header}.{payload}.")


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "hs256", "", None, 3, ["HS256"], {"a": 1}])
def test_the_header_does_not_choose_the_algorithm(alg: object) -> None:
    refused(signed(json.dumps(CLAIMS).encode(), json.dumps({"alg": alg}).encode()))


def test_another_key_and_another_algorithm_of_the_same_key_are_refused() -> None:
    refused(token(key=KEY + "!"))
    refused(token(algorithm="HS512"))
    assert verifier(algorithms=["HS256", "HS512"]).verify(token(algorithm="HS512"))


def test_a_public_key_is_no_secret(rsa_key: rsa.RSAPrivateKey) -> None:
    public = rsa_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    private = rsa_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    good = {"key": public.decode(), "algorithms": ["RS256"]}
    assert verifier(**good).verify(token(private, "RS256")).listener_id == LISTENER_ID
    forged = signed(json.dumps(CLAIMS).encode(), key=public)
    refused(forged, **good)
    refused(forged, key=public.decode(), algorithms=["RS256", "HS256"])


def test_an_elliptic_key_verifies_its_own_tokens_alone(rsa_key: rsa.RSAPrivateKey) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    good = {"key": public, "algorithms": ["ES256"]}
    assert verifier(**good).verify(token(key, "ES256"))
    refused(token(rsa_key, "RS256"), **good)
    refused(token(ec.generate_private_key(ec.SECP256R1()), "ES256"), **good)


def test_a_change_of_any_character_is_noticed() -> None:
    good = token()
    for at, character in enumerate(good[:-1]):
        changed = good[:at] + ("A" if character != "A" else "B") + good[at + 1 :]
        refused(changed)


def test_a_critical_extension_that_is_not_known_is_refused() -> None:
    refused(signed(json.dumps(CLAIMS).encode(), b'{"alg":"HS256","crit":["b64"],"b64":false}'))


# claims


@pytest.mark.parametrize("name", ["exp", "aud", "sub"])
def test_a_token_without_its_required_claims_is_refused(name: str) -> None:
    refused(without(name))
    refused(token(**{name: None}))


@pytest.mark.parametrize(("ago_s", "good"), [(-1, True), (0, True), (LEEWAY_S - 1, True), (LEEWAY_S, False)])
def test_a_token_expires_after_the_leeway(ago_s: int, good: bool) -> None:
    expiring = token(exp=NOW_S - ago_s)
    if good:
        assert verifier().verify(expiring).expires_at_s == NOW_S - ago_s
    else:
        assert "expired" in refused(expiring)


@pytest.mark.parametrize("claim", ["nbf", "iat"])
@pytest.mark.parametrize(("ahead_s", "good"), [(LEEWAY_S, True), (LEEWAY_S + 1, False)])
def test_a_token_from_the_future_is_refused(claim: str, ahead_s: int, good: bool) -> None:
    early = signed(json.dumps({**CLAIMS, claim: NOW_S + ahead_s}).encode())
    if good:
        assert verifier().verify(early)
    else:
        refused(early)


@pytest.mark.parametrize("audience", ["other", "", ["other"], "Playhead", "playhea", {"playhead": 1}, 3])
def test_a_token_for_another_service_is_refused(audience: object) -> None:
    refused(token(aud=audience))


def test_one_of_several_audiences_is_enough() -> None:
    assert verifier().verify(token(aud=["other", "playhead"]))


def test_the_issuer_is_checked_where_one_is_set() -> None:
    assert verifier(issuer="us").verify(token(iss="us"))
    assert verifier().verify(token(iss="anybody"))
    refused(token(iss="them"), issuer="us")
    refused(token(), issuer="us")


@pytest.mark.parametrize("subject", ["", "somebody", "1111", 17, ["a"], {"a": 1}, f"{LISTENER_ID}0", "../../etc"])
def test_a_subject_that_is_no_uuid_is_refused(subject: object) -> None:
    refused(token(sub=subject) if isinstance(subject, str) else signed(json.dumps({**CLAIMS, "sub": subject}).encode()))


@pytest.mark.parametrize("role", ["anon", "postgres", "", None, 3, ["service_role"], {"a": 1}, "SERVICE_ROLE"])
def test_a_role_that_we_do_not_know_is_refused(role: object) -> None:
    assert "role" in refused(token(role=role))


@pytest.mark.parametrize(
    "payload",
    [
        b"3",
        b"[]",
        b"null",
        b"{",
        b"\xff\xfe",
        b"[" * 4_000,
        b'{"a":' * 1_000,
        *(
            json.dumps({**CLAIMS, "exp": value}).encode()
            for value in ("soon", {"a": 1}, [1], float("inf"), float("nan"))
        ),
        *(json.dumps({**CLAIMS, claim: float("inf")}).encode() for claim in ("nbf", "iat")),
    ],
)
def test_claims_of_any_form_end_in_a_refusal(payload: bytes) -> None:
    refused(signed(payload))


@pytest.mark.parametrize("header", [b"3", b"[]", b"null", b"{", b"\xff", b"[" * 5_000, b'{"alg":"HS256","kid":3}'])
def test_a_header_of_any_form_ends_in_a_refusal(header: bytes) -> None:
    refused(signed(json.dumps(CLAIMS).encode(), header))


# scopes


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"scope": "a b  a"}, {"a", "b"}),
        ({"scopes": ["a", "b"]}, {"a", "b"}),
        ({"scope": "a", "scopes": ["b", 3, None]}, {"a", "b"}),
        ({"scope": 3, "scopes": "a b"}, set()),
        ({"scope": None, "scopes": None}, set()),
        ({"scope": " ".join(f"s{number}" for number in range(SCOPES_MAX + 1))}, {f"s{n}" for n in range(SCOPES_MAX)}),
    ],
)
def test_scopes_are_read_from_both_claims_up_to_the_limit(claims: dict[str, Any], expected: set[str]) -> None:
    assert verifier().verify(token(**claims)).scopes == expected


def test_who_may_publish_is_the_service_or_has_the_scope() -> None:
    assert verifier().verify(token(scope=f"other {UPLOAD_SCOPE}")).may_publish
    assert verifier().verify(token(role="service_role")).may_publish
    assert not verifier().verify(token(scope="scripts:writer")).may_publish


def test_the_clock_of_these_tests_stands_still() -> None:
    assert datetime.fromtimestamp(NOW_S, UTC).year == 2026
