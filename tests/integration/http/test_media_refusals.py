"""Whatever is wrong with a media token, the answer is the same: nobody finds out by it what was signed here."""

import json
from pathlib import Path

import pytest

from playhead.auth.media_paths import TOKEN_BYTES_MAX, InvalidMediaToken, MediaSigner, media_prefix
from playhead.auth.revocations import ended, taken_back
from playhead.db import Script
from playhead.http.revoked import REVOKED_PATH
from tests.integration.http.world import MEDIA_KEYS, Caller, Reply, World, new_id

REFUSAL = json.loads((Path(__file__).parents[2] / "vectors" / "media_tokens.json").read_text())["refusal"]
VARYING = ("Date",)
TAKEN_BACK = "0" * 16
WRONG = {
    "too long": "too long",
    "malformed": "malformed",
    "forged": "not valid",
    "cut short": "not valid",
    "by a key of the same name": "not valid",
    "by an unknown key": "not valid",
    "expired": "expired",
    "of another script": "another script",
    "of another version": "another script",
    "of an ended session": "revoked",
    "of a script taken back": "revoked",
}
"""By what is wrong: what the reason says, which nobody is told."""


@pytest.fixture
def anna(world: World) -> Caller:
    return world.listener()


@pytest.fixture
async def script(world: World, anna: Caller) -> Script:
    return await world.script(anna)


def _tokens(world: World, script: Script) -> dict[str, str]:
    """Tokens for the script, by what is wrong with them; what must be revoked for it is."""
    now_ms, signer = world.services.clock.now_ms(), world.services.signer
    until_s, prefix = now_ms // 1_000 + 60, media_prefix(script.script_id, script.media_version)
    session_id, back = new_id(), media_prefix(script.script_id, TAKEN_BACK)
    world.services.revocations.add([ended(session_id, now_ms, 1_000), taken_back(back, now_ms, 1_000)], now_ms)
    good = _token(signer.sign(prefix, until_s))
    return {
        "good": good,
        "too long": "x" * (TOKEN_BYTES_MAX + 1),
        "malformed": "a.b",
        "forged": good[:-2] + ("AA" if good[-2:] != "AA" else "BA"),
        "cut short": good.partition(".")[0],
        "by a key of the same name": _token(MediaSigner({"new": "somebody else's"}).sign(prefix, until_s)),
        "by an unknown key": _token(MediaSigner({"third": MEDIA_KEYS["new"]}).sign(prefix, until_s)),
        "expired": _token(signer.sign(prefix, now_ms // 1_000 - 1)),
        "of another script": _token(signer.sign(media_prefix(new_id(), script.media_version), until_s)),
        "of another version": _token(signer.sign(media_prefix(script.script_id, "f" * 16), until_s)),
        "of an ended session": _token(signer.sign(prefix, until_s, session_id)),
        "of a script taken back": _token(signer.sign(back, until_s)),
    }


def _token(signed: str) -> str:
    return signed.split("/")[2]


def _below(script: Script, wrong: str = "") -> str:
    """What the token would have to be for."""
    version = TAKEN_BACK if wrong == "of a script taken back" else script.media_version
    return media_prefix(script.script_id, version)


def _told(reply: Reply) -> tuple[int, bytes, list[tuple[str, str]]]:
    """All that the caller learns."""
    return reply.status, reply.body, [(name, value) for name, value in reply.headers.items() if name not in VARYING]


@pytest.mark.parametrize("wrong", WRONG)
async def test_of_media_every_refusal_is_the_same_byte_for_byte(world: World, script: Script, wrong: str) -> None:
    tokens, nobody = _tokens(world, script), world.nobody()
    below = _below(script, wrong)
    for tail in ("master.m3u8", "low/index.m3u8", "low/0.m4s"):
        refused = await nobody.get(f"/p/{tokens[wrong]}{below}{tail}")
        assert (refused.status, refused.body.decode()) == (403, REFUSAL)
        assert _told(refused) == _told(await nobody.get(f"/p/x{below}{tail}"))
        heads = [await nobody.call("HEAD", f"/p/{token}{below}{tail}") for token in (tokens[wrong], "x")]
        assert _told(heads[0]) == _told(heads[1])


@pytest.mark.parametrize("wrong", ["good", *WRONG])
async def test_so_it_is_for_what_an_edge_asks_for(world: World, script: Script, wrong: str) -> None:
    """No token of a listener opens it, however good it is."""
    nobody = world.nobody()
    refused = await nobody.get(f"/p/{_tokens(world, script)[wrong]}{REVOKED_PATH}?since=x")
    assert (refused.status, refused.body.decode()) == (403, REFUSAL)
    assert _told(refused) == _told(await nobody.get(f"/p/x{REVOKED_PATH}"))


async def test_the_tokens_are_refused_for_what_they_are_called_by(world: World, script: Script) -> None:
    """Else the tests above would show nothing."""
    tokens = _tokens(world, script)
    assert (await world.nobody().get(f"/p/{tokens.pop('good')}{_below(script)}master.m3u8")).status == 200
    assert set(tokens) == set(WRONG)
    for wrong, token in tokens.items():
        with pytest.raises(InvalidMediaToken, match=WRONG[wrong]):
            claims = world.services.signer.verify(token, _below(script, wrong), world.services.clock.now_ms() // 1_000)
            world.services.revocations.check(claims)
