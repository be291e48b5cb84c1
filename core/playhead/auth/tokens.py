"""Listener tokens: JWTs verified strictly (RFC 8725): fixed algorithms; `exp`, `aud` and a UUID `sub` required."""

import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

import jwt

TOKEN_BYTES_MAX = 8_192
SCOPES_MAX = 64
LEEWAY_S = 5
"""How far the issuer's clock may differ from ours."""
VERIFIED_MAX = 10_000
"""Tokens whose signature need not be checked again, some 6 MB; of more, the one is forgotten that came longest ago."""

NO_SCOPES: frozenset[str] = frozenset()
Role = Literal["authenticated", "service_role"]
UPLOAD_SCOPE = "scripts:write"
"""Uploads with it are for every listener, unless they say otherwise."""


class InvalidToken(Exception):
    """The token is missing, malformed, expired or not meant for this service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A verified listener: `listener_id` is the token's `sub` in canonical form, `expires_at_s` its `exp`."""

    listener_id: str
    role: Role
    scopes: frozenset[str]
    expires_at_s: int

    @property
    def claims(self) -> dict[str, str]:
        """What row level security needs to know of the principal."""
        return {"sub": self.listener_id, "role": self.role}

    @property
    def expires_at_ms(self) -> int:
        return self.expires_at_s * 1000

    def expired(self, now_ms: int) -> bool:
        """Whether the token it came from has run out by `now_ms`, the issuer's clock being given its leeway."""
        return now_ms > (self.expires_at_s + LEEWAY_S) * 1000

    @property
    def may_publish(self) -> bool:
        """Whether what this principal uploads is for every listener by default."""
        return self.role == "service_role" or UPLOAD_SCOPE in self.scopes


class TokenVerifier:
    """Verifies tokens with a key (a secret, or a public key in PEM) and the algorithms that are allowed with it.

    `other_keys`: whose tokens are as good, while keys are rotated; of the same kind, for the same algorithms.
    Keys, audience and issuer never change in a verifier, so a token that was valid stays so until it expires: it is
    then known by its digest. `time_s` is Unix time.
    """

    def __init__(
        self,
        key: str,
        algorithms: Sequence[str],
        audience: str,
        issuer: str | None = None,
        time_s: Callable[[], float] = time.time,
        other_keys: Sequence[str] = (),
    ) -> None:
        self._keys = (key, *other_keys)
        self._algorithms = list(algorithms)
        self._audience = audience
        self._issuer = issuer
        self._time_s = time_s
        self._verified: OrderedDict[bytes, Principal] = OrderedDict()

    def verify(self, token: object) -> Principal:
        """The principal of `token`. Raises InvalidToken, which says in general terms what is wrong."""
        if not isinstance(token, str) or not token.isascii() or not 0 < len(token) <= TOKEN_BYTES_MAX:
            raise InvalidToken("A token is needed: a JWT as text.")
        digest = sha256(token.encode()).digest()
        known = self._verified.pop(digest, None)
        if known is None or self._time_s() >= known.expires_at_s + LEEWAY_S:
            known = self._checked(token)
        self._verified[digest] = known
        if len(self._verified) > VERIFIED_MAX:
            self._verified.popitem(last=False)
        return known

    def _checked(self, token: str) -> Principal:
        for key in self._keys:
            try:
                return _principal(self._claims(token, key))
            except jwt.ExpiredSignatureError:  # the signature was looked at before
                raise InvalidToken("The token has expired. Get a new one.") from None
            except (jwt.InvalidSignatureError, jwt.InvalidKeyError):
                continue
            except jwt.PyJWTError:
                break
        raise InvalidToken("The token is not valid for this service.")

    def _claims(self, token: str, key: str) -> dict[str, Any]:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=self._algorithms,
            audience=self._audience,
            issuer=self._issuer,
            leeway=LEEWAY_S,
            options={"require": ["exp", "aud", "sub"]},
        )
        return claims


def _principal(claims: dict[str, Any]) -> Principal:
    try:
        listener_id = str(uuid.UUID(claims["sub"]))
    except (ValueError, TypeError, AttributeError):
        raise InvalidToken("The token's `sub` must be a UUID.") from None
    role = claims.get("role", "authenticated")
    if role not in ("authenticated", "service_role"):
        raise InvalidToken("The token's `role` must be `authenticated` or `service_role`.")
    return Principal(listener_id=listener_id, role=role, scopes=_scopes(claims), expires_at_s=int(claims["exp"]))


def _scopes(claims: dict[str, Any]) -> frozenset[str]:
    """Scopes from `scope` (RFC 8693: words in one text) or `scopes` (a list)."""
    text = claims.get("scope", "")
    words = text.split() if isinstance(text, str) else []
    listed = claims.get("scopes", [])
    more = [word for word in listed if isinstance(word, str)] if isinstance(listed, list) else []
    # an empty set of its own would be 216 bytes of each connection
    return frozenset([*words, *more][:SCOPES_MAX]) or NO_SCOPES


def issue(
    key: str,
    *,
    listener_id: str,
    audience: str,
    expires_at_s: int,
    issuer: str | None = None,
    role: Role = "authenticated",
    scopes: Sequence[str] = (),
    algorithm: str = "HS256",
) -> str:
    """A token for `listener_id`, for development, tests and own services. Expires at Unix time `expires_at_s`."""
    claims: dict[str, Any] = {"sub": listener_id, "aud": audience, "exp": expires_at_s, "role": role}
    if issuer is not None:
        claims["iss"] = issuer
    if scopes:
        claims["scope"] = " ".join(scopes)
    return jwt.encode(claims, key, algorithm=algorithm)
