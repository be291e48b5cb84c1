"""The origin of HLS media: signed paths, exact bytes, and how caches and players may treat them."""

from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from yarl import URL

from playhead.auth.media_paths import MediaSigner, media_prefix
from playhead.db import Script
from playhead.http.origin import SEGMENT_TYPE
from playhead.media import (
    LADDER,
    OUTPUT_RATE_HZ,
    Grid,
    init_segment,
    media_playlist,
    multivariant_playlist,
    segment_key,
)
from tests.integration.http.uploading import AUDIO
from tests.integration.http.world import MEDIA_KEYS, Caller, Reply, World, new_id, read
from tests.support.audio import decoded, joined

SHORT = Grid(source_rate=48_000, source_samples=48_000 * 20)
"""Twenty seconds: four segments."""
SEGMENT = bytes(range(256)) * 100
EXPIRES_IN_S = 60


@pytest.fixture
def anna(world: World) -> Caller:
    return world.listener()


@pytest.fixture
async def script(world: World, anna: Caller) -> Script:
    """A script whose first segment of the lowest rung is encoded."""
    made = await world.script(anna, grid=SHORT)
    await world.services.storage.put(segment_key(made.script_id, made.media_version, "low", 0), SEGMENT)
    return made


def _signed(world: World, script: Script, signer: MediaSigner | None = None, expires_in_s: int = EXPIRES_IN_S) -> str:
    """The signed path that the script's media lie below."""
    expires_at_s = world.services.clock.now_ms() // 1000 + expires_in_s
    return (signer or world.services.signer).sign(media_prefix(script.script_id, script.media_version), expires_at_s)


async def _get(world: World, path: str, method: str = "GET", **headers: str) -> Reply:
    """Asks for exactly that path: nothing is normalised on the way."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    url = world.client.make_url("/").with_path(path, encoded=True)
    async with world.client.session.request(method, URL(str(url), encoded=True), headers=sent) as response:
        return await read(response)


async def test_a_player_finds_everything_from_the_stream_s_address_on(
    world: World, anna: Caller, script: Script
) -> None:
    stream = (await anna.get(f"/stream/{script.script_id}")).json
    master = urlsplit(stream["stream_url"]).path
    reply = await _get(world, master)
    assert (reply.status, reply.body.decode()) == (200, multivariant_playlist())
    below = master.rpartition("/")[0]
    for rung in LADDER:
        assert f"{rung.name}/index.m3u8" in reply.body.decode()
        playlist = await _get(world, f"{below}/{rung.name}/index.m3u8")
        assert playlist.body.decode() == media_playlist(SHORT)
        init = await _get(world, f"{below}/{rung.name}/init.mp4")
        assert (init.status, init.body) == (200, init_segment(rung))
    assert (await _get(world, f"{below}/low/0.m4s")).body == SEGMENT


async def test_the_facts_are_all_that_playlists_are_made_of(world: World, script: Script) -> None:
    facts = (await _get(world, _signed(world, script) + "grid.json")).json
    assert facts == {
        "media_version": script.media_version,
        "total_samples": SHORT.total_samples,
        "rungs": [
            {"name": "medium", "bits_per_s": 128_000},
            {"name": "low", "bits_per_s": 64_000},
            {"name": "high", "bits_per_s": 256_000},
        ],
    }


@pytest.mark.parametrize(
    ("tail", "content_type", "cache_control"),
    [
        ("master.m3u8", "application/vnd.apple.mpegurl", "public, max-age=300"),
        ("grid.json", "application/json", "public, max-age=300"),
        ("low/index.m3u8", "application/vnd.apple.mpegurl", "public, max-age=300"),
        ("low/init.mp4", "audio/mp4", "public, max-age=31536000, immutable"),
        ("low/0.m4s", "audio/mp4", "public, max-age=31536000, immutable"),
    ],
)
async def test_types_and_lifetimes(
    world: World, script: Script, tail: str, content_type: str, cache_control: str
) -> None:
    reply = await _get(world, _signed(world, script) + tail)
    assert reply.status == 200
    assert reply.headers["Content-Type"] == content_type
    assert reply.headers["Cache-Control"] == cache_control
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"


async def test_media_are_the_same_bytes_under_every_token(world: World, script: Script) -> None:
    for tail in ("master.m3u8", "low/index.m3u8", "low/init.mp4", "low/0.m4s"):
        one = await _get(world, _signed(world, script, expires_in_s=100) + tail)
        other = await _get(world, _signed(world, script, expires_in_s=200) + tail)
        assert (one.body, one.headers["ETag"]) == (other.body, other.headers["ETag"])


class TestSegmentsThatAreNotThere:
    async def test_are_encoded_while_the_player_waits_and_are_there_from_then_on(
        self, world: World, anna: Caller, mp3: bytes
    ) -> None:
        made = (await anna.call("POST", "/scripts", data=mp3, headers=AUDIO, params={"title": "Sound"})).json
        master = urlsplit((await anna.get(f"/stream/{made['script_id']}")).json["stream_url"]).path
        below = master.rpartition("/")[0]
        for rung in LADDER:
            first = await _get(world, f"{below}/{rung.name}/0.m4s")
            assert (first.status, first.headers["Content-Type"]) == (200, SEGMENT_TYPE)
            assert len(decoded(joined([first.body], rung))) >= 3 * OUTPUT_RATE_HZ
            key = segment_key(made["script_id"], made["media_version"], rung.name, 0)
            assert await world.services.storage.get(key) == first.body
            again = await _get(world, f"{below}/{rung.name}/0.m4s")
            assert (again.body, again.headers["ETag"]) == (first.body, first.headers["ETag"])

    async def test_are_those_too_that_a_power_failure_left_empty(
        self, world: World, script: Script, anna: Caller, mp3: bytes
    ) -> None:
        await world.services.storage.put(segment_key(script.script_id, script.media_version, "low", 1), b"")
        head = await _get(world, _signed(world, script) + "low/1.m4s", "HEAD")
        assert (head.status, head.headers["Retry-After"]) == (503, "1")
        made = (await anna.call("POST", "/scripts", data=mp3, headers=AUDIO, params={"title": "Sound"})).json
        key = segment_key(made["script_id"], made["media_version"], "low", 0)
        await world.services.storage.put(key, b"")
        master = urlsplit((await anna.get(f"/stream/{made['script_id']}")).json["stream_url"]).path
        found = await _get(world, f"{master.rpartition('/')[0]}/low/0.m4s")
        assert (found.status, found.body) == (200, await world.services.storage.get(key)) and found.body

    async def test_are_not_encoded_for_a_head(self, world: World, script: Script) -> None:
        reply = await _get(world, _signed(world, script) + "low/1.m4s", "HEAD")
        assert (reply.status, reply.headers["Retry-After"]) == (503, "1")
        get = await _get(world, _signed(world, script) + "low/1.m4s")
        assert "could not be decoded" in get.json["detail"], "which nobody had tried before"

    async def test_that_cannot_be_encoded_now_are_503_and_say_why_and_when_to_ask_again(
        self, world: World, script: Script
    ) -> None:
        base = _signed(world, script)
        for tail in ("low/1.m4s", f"high/{SHORT.segments - 1}.m4s"):
            reply = await _get(world, base + tail)
            assert (reply.status, reply.code) == (503, "segment_not_ready")
            assert "could not be decoded" in reply.json["detail"]
            assert (reply.headers["Retry-After"], reply.headers["Cache-Control"]) == ("10", "no-store")

    async def test_off_the_grid_is_404(self, world: World, script: Script) -> None:
        base = _signed(world, script)
        for number in (SHORT.segments, 9_999_999):
            assert (await _get(world, f"{base}low/{number}.m4s")).code == "not_found"

    async def test_of_a_script_that_failed_is_404_for_it_will_never_come(self, world: World, script: Script) -> None:
        await world.fail(script.script_id)
        await world.services.storage.put(segment_key(script.script_id, script.media_version, "low", 2), b"")
        base = _signed(world, script)
        assert (await _get(world, base + "low/0.m4s")).status == 200
        for missing in (1, 2):
            assert (await _get(world, base + f"low/{missing}.m4s")).code == "not_found"

    async def test_of_a_script_that_is_gone_or_of_another_version_is_404(self, world: World, script: Script) -> None:
        for other in (replace(script, script_id=new_id()), replace(script, media_version="0" * 16)):
            for tail in ("master.m3u8", "low/index.m3u8", "low/init.mp4", "low/0.m4s"):
                assert (await _get(world, _signed(world, other) + tail)).code == "not_found"


class TestTokens:
    async def test_the_key_before_the_one_that_signs_is_still_taken(self, world: World, script: Script) -> None:
        old = MediaSigner({"old": MEDIA_KEYS["old"]})
        assert (await _get(world, _signed(world, script, old) + "master.m3u8")).status == 200

    async def test_an_expired_token_is_403(self, world: World, script: Script) -> None:
        reply = await _get(world, _signed(world, script, expires_in_s=-1) + "master.m3u8")
        assert (reply.status, reply.code) == (403, "forbidden")
        assert reply.headers["Access-Control-Allow-Origin"] == "*"

    async def test_a_forged_token_is_403(self, world: World, script: Script) -> None:
        forged = MediaSigner({"new": "a key that is somebody else's, of good length"})
        unknown = MediaSigner({"third": MEDIA_KEYS["new"]})
        for signer in (forged, unknown):
            assert (await _get(world, _signed(world, script, signer) + "master.m3u8")).code == "forbidden"
        good = _signed(world, script)
        token = good.split("/")[2]
        for bad in (token[:-1], token + "A", token.partition(".")[0], "." + token, "x", "a.b", "x" * 2_000):
            reply = await _get(world, good.replace(token, bad) + "master.m3u8")
            assert (reply.status, reply.code) == (403, "forbidden"), bad

    async def test_the_token_of_another_script_or_version_is_403(
        self, world: World, anna: Caller, script: Script
    ) -> None:
        other = await world.script(anna, grid=SHORT)
        token = _signed(world, other).split("/")[2]
        prefix = media_prefix(script.script_id, script.media_version)
        assert (await _get(world, f"/p/{token}{prefix}master.m3u8")).code == "forbidden"
        older = _signed(world, replace(script, media_version="0" * 16)).split("/")[2]
        assert (await _get(world, f"/p/{older}{prefix}master.m3u8")).code == "forbidden"

    @pytest.mark.parametrize(
        "tail",
        [
            "",
            "low/01.m4s",
            "low/+1.m4s",
            "low/1_0.m4s",
            "low/%30.m4s",
            "low%2F0.m4s",
            "low/../low/0.m4s",
            "low/%2e%2e/low/0.m4s",
            "%2e%2e/%2e%2e/%2e%2e/etc/passwd",
            "../../../../../../etc/passwd",
            "low/0.m4s/",
            "low//0.m4s",
            "low/0.m4s%00",
            "other/0.m4s",
        ],
    )
    async def test_a_path_that_only_looks_like_one_is_404_also_with_a_good_token(
        self, world: World, script: Script, tail: str
    ) -> None:
        reply = await _get(world, _signed(world, script) + tail)
        assert (reply.status, reply.code) == (404, "not_found")


class TestRepresentations:
    async def test_playlists_are_zipped_for_those_who_take_it(self, world: World, script: Script) -> None:
        path = _signed(world, script) + "low/index.m3u8"
        zipped = await _get(world, path, Accept_Encoding="br, gzip;q=0.5")
        assert zipped.headers["Content-Encoding"] == "gzip"
        assert int(zipped.headers["Content-Length"]) < len(media_playlist(SHORT))
        assert zipped.body.decode() == media_playlist(SHORT)
        plain = await _get(world, path, Accept_Encoding="identity")
        assert "Content-Encoding" not in plain.headers
        assert plain.body.decode() == media_playlist(SHORT)
        assert zipped.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"
        assert zipped.headers["ETag"] != plain.headers["ETag"]

    @pytest.mark.parametrize("header", ["gzip;q=0", "br", "", "gzip; q=0.0, br", "identity"])
    async def test_who_does_not_take_gzip_gets_plain_text(self, world: World, script: Script, header: str) -> None:
        reply = await _get(world, _signed(world, script) + "master.m3u8", Accept_Encoding=header)
        assert "Content-Encoding" not in reply.headers

    @pytest.mark.parametrize("tail", ["master.m3u8", "low/index.m3u8", "low/init.mp4", "low/0.m4s"])
    async def test_a_copy_that_is_still_good_is_304(self, world: World, script: Script, tail: str) -> None:
        path = _signed(world, script) + tail
        first = await _get(world, path)
        for known in (first.headers["ETag"], f'"other", {first.headers["ETag"]}', f"W/{first.headers['ETag']}", "*"):
            reply = await _get(world, path, If_None_Match=known)
            assert (reply.status, reply.body) == (304, b"")
            assert reply.headers["ETag"] == first.headers["ETag"]
            assert reply.headers["Cache-Control"] == first.headers["Cache-Control"]
        assert (await _get(world, path, If_None_Match='"other"')).status == 200

    async def test_segments_take_byte_ranges(self, world: World, script: Script) -> None:
        path = _signed(world, script) + "low/0.m4s"
        whole = await _get(world, path)
        assert whole.headers["Accept-Ranges"] == "bytes"
        part = await _get(world, path, Range="bytes=100-199")
        assert (part.status, part.body) == (206, SEGMENT[100:200])
        assert part.headers["Content-Range"] == f"bytes 100-199/{len(SEGMENT)}"
        assert part.headers["ETag"] == whole.headers["ETag"]
        tail = await _get(world, path, Range="bytes=-50")
        assert (tail.status, tail.body) == (206, SEGMENT[-50:])
        past = await _get(world, path, Range=f"bytes={len(SEGMENT)}-")
        assert (past.status, past.code) == (416, "range_not_satisfiable")
        assert past.headers["Content-Range"] == f"bytes */{len(SEGMENT)}"
        assert (await _get(world, path, Range="bytes=0-1,5-6")).status == 200

    async def test_a_range_of_another_representation_is_all_of_this_one(self, world: World, script: Script) -> None:
        path = _signed(world, script) + "low/0.m4s"
        etag = (await _get(world, path)).headers["ETag"]
        assert (await _get(world, path, Range="bytes=0-9", If_Range=etag)).status == 206
        for other in ('"other"', f"W/{etag}", "Mon, 23 Nov 2026 03:11:00 GMT"):
            assert (await _get(world, path, Range="bytes=0-9", If_Range=other)).status == 200

    @pytest.mark.parametrize("tail", ["master.m3u8", "low/init.mp4", "low/0.m4s"])
    async def test_head_says_what_get_would_without_the_body(self, world: World, script: Script, tail: str) -> None:
        path = _signed(world, script) + tail
        get = await _get(world, path, Accept_Encoding="identity")
        head = await _get(world, path, "HEAD", Accept_Encoding="identity", Range="bytes=0-1")
        assert (head.status, head.body) == (200, b"")
        for name in ("Content-Length", "Content-Type", "ETag", "Cache-Control"):
            assert head.headers[name] == get.headers[name]


async def test_players_on_other_sites_may_ask_with_ranges(world: World, script: Script) -> None:
    reply = await _get(
        world,
        _signed(world, script) + "low/0.m4s",
        "OPTIONS",
        Origin="https://elsewhere.example",
        Access_Control_Request_Method="GET",
        Access_Control_Request_Headers="range",
    )
    assert reply.status == 204
    assert reply.headers["Access-Control-Allow-Origin"] == "*"
    assert "GET" in reply.headers["Access-Control-Allow-Methods"]
    assert "Range" in reply.headers["Access-Control-Allow-Headers"]


async def test_media_paths_take_no_other_method(world: World, script: Script) -> None:
    reply = await _get(world, _signed(world, script) + "low/0.m4s", "DELETE")
    assert (reply.status, reply.code) == (405, "method_not_allowed")
