"""Makes `media_tokens.json`: media paths, and what every implementation that verifies them must answer.

Owns: which paths are tried. The answers come from the origin's grammar, `MediaSigner` and `Revocations`, the reference;
the edge is the other implementation. Run `python -m tests.vectors.make_media_tokens` after the rule has changed on
purpose, and read the difference.
"""

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

from aiohttp import web

from playhead.auth.media_paths import TOKEN_BYTES_MAX, InvalidMediaToken, MediaSigner, media_prefix
from playhead.auth.revocations import Revocation, Revocations
from playhead.http.media_refusals import DOES_NOT_OPEN
from playhead.http.origin_paths import parse_media_path
from playhead.http.problems import problem, respond
from playhead.playback.rejections import Code

PATH = Path(__file__).with_name("media_tokens.json")
KEYS = {"new": "n" * 32, "old": "o" * 32}
SCRIPT, OTHER_SCRIPT = "33333333-3333-4333-8333-333333333333", "44444444-4444-4444-8444-444444444444"
VERSION, OTHER_VERSION = "0123456789abcdef", "fedcba9876543210"
PREFIX = media_prefix(SCRIPT, VERSION)
NOW_S = 1_767_225_600
UNTIL_S = NOW_S + 60
ENDED = "a session that has ended"
TAKEN_BACK = media_prefix(SCRIPT, "0" * 16)
REVOKED = {ENDED: UNTIL_S, TAKEN_BACK: UNTIL_S}


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _signed(claims: object, secret: str = KEYS["new"]) -> str:
    """Any claims at all, signed correctly."""
    raw = claims if isinstance(claims, bytes) else json.dumps(claims, separators=(",", ":")).encode()
    body = _encode(raw)
    return f"{body}.{_encode(hmac.digest(secret.encode(), body.encode(), hashlib.sha256))}"


def _claims(**fields: Any) -> dict[str, Any]:
    return {"v": 1, "k": "new", "p": PREFIX, "e": UNTIL_S, **fields}


def _without(name: str) -> dict[str, Any]:
    return {key: value for key, value in _claims().items() if key != name}


GOOD = _signed(_claims())
BODY, MAC = GOOD.split(".")
SEGMENT = f"{PREFIX}low/17.m4s"


def _respelled(mac: str) -> str:
    """The same 32 bytes in another spelling: two bits of the last character are in no byte."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return mac[:-1] + alphabet[alphabet.index(mac[-1]) ^ 1]


def _long(size: int) -> str:
    """A good token of exactly `size` characters."""
    room = next(n for n in range(size) if len(_signed(_claims(s="s" * n))) >= size)
    return _signed(_claims(s="s" * room))


def tokens() -> dict[str, str]:
    """Tokens for `SEGMENT`, by what is special about them."""
    return {
        "good": GOOD,
        "with a session": _signed(_claims(s="session")),
        "with a session of null": _signed(_claims(s=None)),
        "with a listener": _signed(_claims(s="session", l="abcdef012345")),
        "with a listener that is no text": _signed(_claims(l=3)),
        "signed by the second key": _signed(_claims(k="old"), KEYS["old"]),
        "with letters of all alphabets": _signed(json.dumps(_claims(s="ü→𝄞"), ensure_ascii=False).encode()),
        "one second left": _signed(_claims(e=NOW_S + 1)),
        "expired this second": _signed(_claims(e=NOW_S)),
        "expired long ago": _signed(_claims(e=0)),
        "expired before there was time": _signed(_claims(e=-1)),
        "for another script": _signed(_claims(p=media_prefix(OTHER_SCRIPT, VERSION))),
        "for another version": _signed(_claims(p=media_prefix(SCRIPT, OTHER_VERSION))),
        "for everything": _signed(_claims(p="/")),
        "for nothing": _signed(_claims(p="/t/x")),
        "by an unknown key": _signed(_claims(k="third")),
        "by a key of the map's own names": _signed(_claims(k="constructor")),
        "by a key of the same name with another secret": _signed(_claims(), "x" * 32),
        "by the other key than it says": _signed(_claims(k="old")),
        "with a key that is no text": _signed(_claims(k=3)),
        "of version 2": _signed(_claims(v=2)),
        "of version one in letters": _signed(_claims(v="1")),
        "with a prefix that is no text": _signed(_claims(p=[PREFIX])),
        "with a time in letters": _signed(_claims(e=str(UNTIL_S))),
        "with a time of true": _signed(_claims(e=True)),
        "with a time of null": _signed(_claims(e=None)),
        "with a session that is no text": _signed(_claims(s=3)),
        **{f"without {name}": _signed(_without(name)) for name in "vkpe"},
        "with no claims": _signed(b""),
        "with claims that are a number": _signed(b"3"),
        "with claims that are a list": _signed(b"[]"),
        "with claims that are null": _signed(b"null"),
        "with half an object": _signed(b"{"),
        "with bytes that are no text": _signed(b"\xff"),
        "with another body": f"{_encode(json.dumps(_claims(e=UNTIL_S + 9)).encode())}.{MAC}",
        "with a body one character longer": f"{BODY}A.{MAC}",
        "with a tampered mac": f"{BODY}.{'B' if MAC[0] == 'A' else 'A'}{MAC[1:]}",
        "with a tampered last character": f"{BODY}.{MAC[:-1]}{'B' if MAC[-1] == 'A' else 'A'}",
        "with the mac in another spelling": f"{BODY}.{_respelled(MAC)}",
        "with a mac cut off": f"{BODY}.{MAC[:-1]}",
        "with a mac one character longer": f"{BODY}.{MAC}A",
        "with an empty mac": f"{BODY}.",
        "without a mac": BODY,
        "without a body": f".{MAC}",
        "with a second mac": f"{GOOD}.{MAC}",
        "of one dot": ".",
        "of garbage": "a.b",
        "as long as may be": _long(TOKEN_BYTES_MAX),
        "too long": _long(TOKEN_BYTES_MAX + 1),
        "much too long": "a" * 20_000,
        "empty": "",
        "with an encoded dot": GOOD.replace(".", "%2E"),
        "with padding": f"{GOOD}=",
    }


def tails() -> dict[str, str]:
    """Ends of paths below a good token, from `/t/` on, by what is special about them."""
    return {
        "the multivariant playlist": f"{PREFIX}master.m3u8",
        "the facts": f"{PREFIX}grid.json",
        "a playlist": f"{PREFIX}high/index.m3u8",
        "an init segment": f"{PREFIX}medium/init.mp4",
        "the first segment": f"{PREFIX}low/0.m4s",
        "a segment far out": f"{PREFIX}low/9999999.m4s",
        "a segment farther out": f"{PREFIX}low/10000000.m4s",
        "another script's segment": f"{media_prefix(OTHER_SCRIPT, VERSION)}low/0.m4s",
        "another version's segment": f"{media_prefix(SCRIPT, OTHER_VERSION)}low/0.m4s",
        "the prefix itself": PREFIX,
        "nothing": "",
        "a rung that is none": f"{PREFIX}huge/index.m3u8",
        "a rung in capitals": f"{PREFIX}LOW/index.m3u8",
        "a number with a zero before it": f"{PREFIX}low/01.m4s",
        "a number with a sign": f"{PREFIX}low/-1.m4s",
        "a number in other digits": f"{PREFIX}low/\uff11.m4s",
        "an encoded slash": f"{PREFIX}low%2F17.m4s",
        "an encoded slash in lower case": f"{PREFIX}low%2f17.m4s",
        "an encoded letter": f"{PREFIX}low/17%2em4s",
        "a way up": f"{PREFIX}low/../low/17.m4s",
        "a way up to another script": f"{PREFIX}../../{OTHER_SCRIPT}/{VERSION}/low/17.m4s",
        "an encoded way up": f"{PREFIX}low/%2e%2e/low/17.m4s",
        "a way up twice encoded": f"{PREFIX}%252e%252e/low/17.m4s",
        "a backslash": f"{PREFIX}low\\17.m4s",
        "a slash twice": f"{PREFIX}low//17.m4s",
        "a dot between": f"{PREFIX}low/./17.m4s",
        "a zero byte": f"{PREFIX}low/17.m4s%00",
        "a line's end": f"{PREFIX}low/17.m4s\n",
        "a slash at the end": f"{PREFIX}low/17.m4s/",
        "a parameter": f"{PREFIX}low/17.m4s;x",
    }


def _revocations() -> Revocations:
    revocations = Revocations(lambda: None)
    for name, until_s in REVOKED.items():
        row = Revocation(subject=name, at_ms=NOW_S * 1000, until_s=until_s, by_operator=name == TAKEN_BACK)
        revocations.add([row], NOW_S * 1000)
    return revocations


def of_revoked() -> dict[str, str]:
    """Paths whose tokens were revoked, or just not, by what is special about them."""
    back = f"{TAKEN_BACK}low/17.m4s"
    return {
        "a session that has ended": f"/p/{_signed(_claims(s=ENDED))}{SEGMENT}",
        "a session that has ended, signed later": f"/p/{_signed(_claims(s=ENDED, e=UNTIL_S + 9))}{SEGMENT}",
        "another session of the script": f"/p/{_signed(_claims(s='another'))}{SEGMENT}",
        "a session named as a prefix": f"/p/{_signed(_claims(s=TAKEN_BACK))}{SEGMENT}",
        "a script that was taken back": f"/p/{_signed(_claims(p=TAKEN_BACK))}{back}",
        "a script that was taken back, signed after it": f"/p/{_signed(_claims(p=TAKEN_BACK, e=UNTIL_S + 1))}{back}",
        "a session that has ended, expired": f"/p/{_signed(_claims(s=ENDED, e=NOW_S))}{SEGMENT}",
    }


def answer(path: str) -> dict[str, object]:
    """What the origin answers before it looks for the script: its status, and a refusal's detail.

    `reason`: what is wrong with the token, which no answer says.
    """
    asked = parse_media_path(path)
    if asked is None:
        return {"status": 404, "detail": problem(Code.NOT_FOUND).detail}
    try:
        _revocations().check(MediaSigner(KEYS).verify(asked.token, asked.path, NOW_S))
    except InvalidMediaToken as error:
        return {"status": 403, "detail": DOES_NOT_OPEN, "reason": str(error)}
    return {"status": 200, "kind": asked.kind}


def body_of(response: web.Response) -> str:
    assert isinstance(response.body, bytes)
    return response.body.decode()


def vectors() -> dict[str, object]:
    paths = {
        **{f"a token {name}": f"/p/{token}{SEGMENT}" for name, token in tokens().items()},
        **{f"a path of {name}": f"/p/{GOOD}{tail}" for name, tail in tails().items()},
        **{f"a token of {name}": path for name, path in of_revoked().items()},
        "no token at all": SEGMENT,
        "a capital P": f"/P/{GOOD}{SEGMENT}",
        "a slash before": f"//p/{GOOD}{SEGMENT}",
    }
    cases = [{"name": name, "path": path, **answer(path)} for name, path in paths.items()]
    refusal = body_of(respond(problem(Code.FORBIDDEN, DOES_NOT_OPEN)))
    revoked = [list(row) for row in REVOKED.items()]
    return {"keys": KEYS, "now_s": NOW_S, "revoked": revoked, "refusal": refusal, "cases": cases}


if __name__ == "__main__":
    PATH.write_text(json.dumps(vectors(), indent=1) + "\n", encoding="utf-8")
