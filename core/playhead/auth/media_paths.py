"""Signed media paths: `/p/<token>/t/<script_id>/<media_version>/…`, the token bound to that prefix and to a time.

    token = base64url(claims) "." base64url(HMAC-SHA256(key, base64url(claims)))
    claims = {"v": 1, "k": key id, "p": prefix, "e": expiry in Unix seconds, "s": session id if there is one,
              "l": the listener's pseudonym}

The pseudonym tells listeners apart and says nothing of them: base64url(HMAC-SHA256(key, NUL listener id)), cut to
12 characters. It opens nothing, so an edge need not know it; tokens of earlier releases have none.
Relative addresses in playlists inherit the token, so media and playlists are the same bytes for every listener.
Two keys are valid at a time: the first of the settings signs, both verify.
"""

import base64
import functools
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

TOKEN_VERSION = 1
TOKEN_BYTES_MAX = 1_024
PSEUDONYM_CHARS = 12
"""72 bits: no two listeners are taken for one."""
PSEUDONYMS_MAX = 10_000
"""Of the listeners who were signed for last; some 2 MB."""
VALID_BEYOND_DURATION_S = 12 * 3600


class InvalidMediaToken(Exception):
    """The media token is malformed, forged, expired, revoked or made for another path.

    Its message is for logs and tests: whoever asked is told the same whatever it is.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaClaims:
    """What a media token allows: everything below `prefix`, until `expires_at_s`."""

    key_id: str
    prefix: str
    expires_at_s: int
    session_id: str | None = None
    listener: str | None = None
    """The pseudonym of whom the token was given to."""


def media_prefix(script_id: str, media_version: str) -> str:
    """The part of the path that a token is bound to, and the cache key of all below it."""
    return f"/t/{script_id}/{media_version}/"


def expiry_s(signed_at_ms: int, duration_ms: int) -> int:
    """When a token ends that is signed at that time, in Unix seconds: it lasts to hear the script through, and 12 h."""
    return signed_at_ms // 1000 + duration_ms // 1000 + VALID_BEYOND_DURATION_S


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class MediaSigner:
    """Signs and verifies media paths with `keys`: key id to secret, the first one signs."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        if not keys:
            raise ValueError("media paths need at least one signing key")
        self._macs = {key_id: hmac.new(secret.encode(), digestmod=hashlib.sha256) for key_id, secret in keys.items()}
        """Each with its key taken in: a copy of it goes on with what is signed."""
        self._signing_key_id = next(iter(keys))
        self._pseudonym = functools.lru_cache(PSEUDONYMS_MAX)(self._make_pseudonym)

    def sign(
        self, prefix: str, expires_at_s: int, session_id: str | None = None, listener_id: str | None = None
    ) -> str:
        """The signed form of `prefix`: `/p/<token><prefix>`."""
        claims: dict[str, object] = {"v": TOKEN_VERSION, "k": self._signing_key_id, "p": prefix, "e": expires_at_s}
        if session_id is not None:
            claims["s"] = session_id
        if listener_id is not None:
            claims["l"] = self._pseudonym(listener_id)
        body = _encode(msgspec.json.encode(claims))
        return f"/p/{body}.{self._mac(self._signing_key_id, body)}{prefix}"

    def verify(self, token: str, path: str, now_s: int) -> MediaClaims:
        """The claims of `token`, which must allow `path` (from `/t/` on) at `now_s`. Raises InvalidMediaToken."""
        if len(token) > TOKEN_BYTES_MAX or not token.isascii():
            raise InvalidMediaToken("The media token is too long, or no ASCII text.")
        body, _, mac = token.partition(".")
        claims = self._claims(body, mac)
        if claims.expires_at_s <= now_s:
            raise InvalidMediaToken("The media token has expired.")
        if not path.startswith(claims.prefix):
            raise InvalidMediaToken("The media token is for another script.")
        return claims

    def _claims(self, body: str, mac: str) -> MediaClaims:
        try:
            raw = json.loads(_decode(body))
            listener = raw.get("l")
            claims = MediaClaims(
                key_id=raw["k"],
                prefix=raw["p"],
                expires_at_s=raw["e"],
                session_id=raw.get("s"),
                listener=listener if isinstance(listener, str) else None,
            )
            known = raw["v"] == TOKEN_VERSION and claims.key_id in self._macs and _well_formed(claims)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise InvalidMediaToken("The media token is malformed.") from None
        # compared as text: base64 has several spellings of the same bytes
        if not known or not hmac.compare_digest(mac.encode(), self._mac(claims.key_id, body).encode()):
            raise InvalidMediaToken("The media token is not valid.")
        return claims

    def _make_pseudonym(self, listener_id: str) -> str:
        """No token's body has a NUL, so no token is signed by it."""
        return self._mac(self._signing_key_id, f"\0{listener_id}")[:PSEUDONYM_CHARS]

    def _mac(self, key_id: str, body: str) -> str:
        mac = self._macs[key_id].copy()
        mac.update(body.encode())
        return _encode(mac.digest())


def _well_formed(claims: MediaClaims) -> bool:
    texts = (claims.prefix, claims.session_id or "")
    return all(isinstance(text, str) for text in texts) and type(claims.expires_at_s) is int
