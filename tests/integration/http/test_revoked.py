"""The address of a session ends with it; an edge that holds a media key is told so, page by page, and no other one."""

import asyncio
from urllib.parse import urlsplit

import pytest

from playhead.auth.media_paths import MediaSigner
from playhead.auth.revocations import Revocation, taken_back
from playhead.http import revoked
from playhead.http.media_refusals import DOES_NOT_OPEN
from playhead.http.revoked import REVOKED_PATH
from playhead.sessions.redis_store import RedisStore
from playhead.sessions.revocations import revoke
from tests.integration.http.world import MEDIA_KEYS, Caller, Reply, World, new_id

TIMEOUT_S = 20.0


def _of_edge(world: World, prefix: str = REVOKED_PATH, valid_s: int = 60, key: str = "old") -> str:
    """The path that an edge asks with, which may sign with another key than the server."""
    now_s = world.services.clock.now_ms() // 1000
    signed = MediaSigner({key: MEDIA_KEYS.get(key, "unknown")}).sign(prefix, now_s + valid_s)
    return signed.removesuffix(prefix) + REVOKED_PATH


async def _refused(caller: Caller, path: str) -> Reply:
    """The answer, as soon as it is a refusal."""
    async with asyncio.timeout(TIMEOUT_S):
        while (reply := await caller.get(path)).status == 200:
            await asyncio.sleep(0.02)
    return reply


async def test_the_address_ends_with_its_session_and_the_next_session_has_another(world: World) -> None:
    anna, nobody = world.listener(), world.nobody()
    script = await world.script(anna)
    first = await anna.play(script.script_id)
    without_session = urlsplit((await anna.get(f"/stream/{script.script_id}")).json["stream_url"]).path
    path = urlsplit(first["stream_url"]).path
    assert (await nobody.get(path)).status == 200
    assert (await anna.delete(f"/session/{first['session_id']}")).status == 200
    reply = await _refused(nobody, path)
    assert (reply.status, reply.code, reply.json["detail"]) == (403, "forbidden", DOES_NOT_OPEN)
    assert reply.headers["Cache-Control"] == "no-store"
    again = await anna.play(script.script_id)
    assert again["session_id"] != first["session_id"]
    assert (await nobody.get(urlsplit(again["stream_url"]).path)).status == 200
    assert (await nobody.get(without_session)).status == 200, "of no session: it ends when it expires"
    listed = (await nobody.get(_of_edge(world))).json["revoked"]
    assert first["session_id"] in {subject for subject, _ in listed}
    assert again["session_id"] not in {subject for subject, _ in listed}


async def test_a_script_taken_back_is_refused_until_it_is_asked_for_again(world: World, store: RedisStore) -> None:
    anna, nobody = world.listener(), world.nobody()
    script = await world.script(anna)
    clock = world.services.clock
    path = urlsplit((await anna.get(f"/stream/{script.script_id}")).json["stream_url"]).path
    prefix = path[path.index("/t/") : path.rindex("/") + 1]
    # of the length that the addresses are for, and a while ago: what is signed now is newer
    await revoke(store.calls, taken_back(prefix, clock.now_ms(), script.duration_ms))
    assert (await _refused(nobody, path)).json["detail"] == DOES_NOT_OPEN
    other = await world.script(anna)
    assert (await anna.get(f"/stream/{other.script_id}")).status == 200
    ended = (await anna.play(script.script_id))["session_id"]
    await anna.delete(f"/session/{ended}")
    async with asyncio.timeout(TIMEOUT_S):
        while not world.services.revocations.has_ended(ended):
            await asyncio.sleep(0.02)
    listed = (await nobody.get(_of_edge(world))).json
    assert {subject for subject, _ in listed["revoked"]} >= {prefix, ended}
    assert prefix in listed["by_operator"] and ended not in listed["by_operator"], "an edge keeps them apart"


async def test_an_edge_reads_the_list_page_by_page_and_then_only_what_is_new(
    world: World, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revoked, "PAGE_MAX", 7)
    nobody, until_s = world.nobody(), world.services.clock.now_ms() // 1000 + 1_000
    ids = [new_id() for _ in range(30)]
    for subject in ids:
        await revoke(store.calls, Revocation(subject=subject, at_ms=0, until_s=until_s))
    async with asyncio.timeout(TIMEOUT_S):
        while not all(world.services.revocations.has_ended(subject) for subject in ids):
            await asyncio.sleep(0.02)
    path, found, since = _of_edge(world), [], 0
    while True:
        answer = (await nobody.get(f"{path}?since={since}")).json
        found += answer["revoked"]
        since = answer["next"]
        if not answer["more"]:
            break
    assert {subject for subject, until in found if until == until_s} >= {*ids}
    assert len(found) == len({subject for subject, _ in found})
    gzipped = await nobody.get(f"{path}?since=0", headers={"Accept-Encoding": "gzip"})
    assert gzipped.headers["Cache-Control"] == "no-store" and gzipped.json["more"] is True


class TestWhoMayAsk:
    @pytest.mark.parametrize(
        "options",
        [{"valid_s": -1}, {"prefix": "/t/"}, {"prefix": "/revokedx"}, {"key": "third"}],
        ids=["expired", "a stream's", "another path's", "a key of nobody's"],
    )
    async def test_nobody_without_a_token_for_it(self, world: World, options: dict[str, object]) -> None:
        reply = await world.nobody().get(_of_edge(world, **options))  # type: ignore[arg-type]
        assert (reply.status, reply.code) == (403, "forbidden")

    async def test_no_listener(self, world: World) -> None:
        anna = world.listener()
        script = await world.script(anna)
        token = urlsplit((await anna.play(script.script_id))["stream_url"]).path.split("/")[2]
        assert (await anna.get(f"/p/{token}{REVOKED_PATH}")).status == 403
        assert (await anna.get(f"/p/x{REVOKED_PATH}")).status == 403

    @pytest.mark.parametrize(
        "query", ["since=", "since=-1", "since=1.5", "since=x", f"since={10**15}", "since=1&since=2"]
    )
    async def test_what_is_no_time_is_422_and_what_else_is_asked_too(self, world: World, query: str) -> None:
        for asked in (query, "until=5"):
            reply = await world.nobody().get(f"{_of_edge(world)}?{asked}")
            assert (reply.status, reply.code) == (422, "invalid")
