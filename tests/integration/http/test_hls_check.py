"""What the origin serves, as validators read it: our own check-hls, hls-parser in strict mode, m3u8, ffprobe."""

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import m3u8
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry

from playhead.app.errors import CommandFailed
from playhead.app.hls_check import check_hls
from playhead.media import LADDER, Grid, multivariant_playlist, segment_key
from playhead.runtime.metrics import create_metrics
from playhead.storage import LocalStorage
from playhead.transcode import Encoder, EncoderSource
from playhead.transcode.preparation import Preparation, Target
from tests.integration.http.uploading import AUDIO
from tests.integration.http.world import World
from tests.support.audio import Kind, make, wheel_programs
from tests.support.hls_readers import Refused, hls_parser, packets

RATE, DURATION_S = 44_100, 20.0
GRID = Grid(source_rate=RATE, source_samples=round(RATE * DURATION_S))
SCRIPT_ID, VERSION = "5f1d7a84-0c5e-4b3c-9a53-0f6c4f7f9f11", "0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Encoded:
    """A source and all its segments, by rung and number."""

    source: bytes
    segments: dict[tuple[str, int], bytes]


@dataclass(frozen=True, slots=True)
class Served:
    """A script that a server serves, and where; `world` has its storage."""

    world: World
    url: str
    script_id: str
    media_version: str

    def key(self, rung: str, segment: int) -> str:
        return segment_key(self.script_id, self.media_version, rung, segment)


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Encoded:
    """Encoded once, as the worker does it."""
    folder = tmp_path_factory.mktemp("encoded")
    path = make(folder, Kind("sound.flac", "-c:a flac", rate=RATE), DURATION_S)
    return Encoded(path.read_bytes(), asyncio.run(_segments(path, LocalStorage(folder / "media"))))


async def _segments(path: Path, storage: LocalStorage) -> dict[tuple[str, int], bytes]:
    async def told(_share: float) -> None:
        pass

    preparation = Preparation(Encoder(wheel_programs()), storage, create_metrics(CollectorRegistry()), slots=2)
    source = EncoderSource(path=path, grid=GRID, start_s=0.0)
    await preparation.run(Target(script_id=SCRIPT_ID, media_version=VERSION, source=source), told)
    found = {}
    for rung in LADDER:
        for segment in range(GRID.segments):
            body = await storage.get(segment_key(SCRIPT_ID, VERSION, rung.name, segment))
            assert body is not None
            found[rung.name, segment] = body
    return found


@pytest.fixture
async def served(world: World, encoded: Encoded) -> Served:
    """Uploaded over REST; its address is the one that a player is given."""
    anna = world.listener()
    uploaded = await anna.call("POST", "/scripts", data=BytesIO(encoded.source), headers=AUDIO)
    assert uploaded.status == 201, uploaded.body
    script_id = uploaded.json["script_id"]
    stream = (await anna.get(f"/stream/{script_id}")).json
    url = str(world.client.make_url(urlsplit(stream["stream_url"]).path))
    script = Served(world, url, script_id, stream["media_version"])
    for (rung, segment), body in encoded.segments.items():
        await world.services.storage.put(script.key(rung, segment), body)
    return script


async def test_what_is_served_breaks_no_rule(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert await check_hls(served.url, None) == 0
    *on_purpose, sum_up = capsys.readouterr().out.splitlines()
    assert [line.split()[3] for line in on_purpose] == ["2.9", "2.19", "1.27"]
    assert "high/init.mp4" not in on_purpose[1] and "medium/init.mp4 and 2 more" in on_purpose[1]
    assert sum_up == f"0 rules are broken in 3 media playlists and {3 * GRID.segments} of {3 * GRID.segments} segments."


async def command(*arguments: str) -> tuple[int | None, str, str]:
    """`playhead check-hls`: its exit code, and what it says on its two outputs."""
    pipe = asyncio.subprocess.PIPE
    program = (sys.executable, "-m", "playhead.app", "check-hls", *arguments)
    process = await asyncio.create_subprocess_exec(*program, stdout=pipe, stderr=pipe)
    said, told = await process.communicate()
    return process.returncode, said.decode(), told.decode()


async def test_the_command_ends_with_0_for_what_breaks_no_rule_and_with_1_for_what_does(
    served: Served, encoded: Encoded
) -> None:
    everything = 3 * GRID.segments
    code, said, told = await command(served.url, "--all")
    *on_purpose, sum_up = said.splitlines()
    assert (code, told) == (0, "") and all(line.startswith("on purpose: Apple ") for line in on_purpose)
    assert sum_up == f"0 rules are broken in 3 media playlists and {everything} of {everything} segments."
    await served.world.services.storage.delete_prefix(served.key("low", 1))
    await served.world.services.storage.put(served.key("low", 1), encoded.segments["low", 2])
    code, said, told = await command(served.url, "--segments", "2")
    first, second, *_, sum_up = said.splitlines()
    assert (code, told) == (1, "")
    assert [line.partition(":")[0] for line in (first, second)] == [
        "Apple 8.1 (MUST) low/index.m3u8, segment 1",
        "Apple 7.3 (MUST) low/index.m3u8, segment 1",
    ]
    assert sum_up == f"2 rules are broken in 3 media playlists and 6 of {everything} segments."


async def test_a_sample_is_of_neighbours_and_the_report_says_how_much_it_saw(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await check_hls(served.url, 2) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(f" 6 of {3 * GRID.segments} segments.")


async def test_a_segment_in_anothers_place_and_one_that_will_never_come_are_told(
    served: Served, encoded: Encoded, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = served.world.services.storage
    await storage.delete_prefix(served.key("low", 1))
    await storage.put(served.key("low", 1), encoded.segments["low", 2])
    await storage.delete_prefix(served.key("high", 0))
    await served.world.fail(served.script_id)
    assert await check_hls(served.url, None) == 1
    said = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("on purpose")]
    assert [line.partition(":")[0] for line in said[:-1]] == [
        "Apple 8.1 (MUST) low/index.m3u8, segment 1",
        "Apple 7.3 (MUST) low/index.m3u8, segment 1",
        "Apple 7.3 (MUST) low/index.m3u8, segment 2",
        "RFC 8216 6.2.1 (MUST) high/0.m4s",
    ]
    assert said[-1].startswith("4 rules are broken")


async def test_the_report_shows_no_token(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    await check_hls(served.url, 2)
    assert urlsplit(served.url).path.split("/")[2] not in capsys.readouterr().out


async def test_other_peoples_readers_find_what_we_mean(served: Served) -> None:
    read = await hls_parser(served.url)
    assert read["independent"] is True
    text = (await served.world.client.session.get(served.url)).text()
    variants = m3u8.loads(await text, uri=served.url).playlists
    assert [variant["uri"] for variant in read["variants"]] == [variant.uri for variant in variants]
    for variant in read["variants"]:
        assert (variant["type"], variant["endlist"], variant["map"]) == ("VOD", True, "init.mp4")
        assert variant["segments"] == GRID.segments
        assert abs(variant["duration"] - GRID.frames * 1_024 / 48_000) < 1e-5
        found = await packets(urljoin(served.url, variant["uri"]))
        assert (found["codec_name"], found["profile"], found["sample_rate"], found["channels"]) == (
            "aac",
            "LC",
            "48000",
            2,
        )
        assert int(found["nb_read_packets"]) == GRID.frames


class Elsewhere:
    """A server of broken HLS: what it is given, by path."""

    def __init__(self) -> None:
        self.answers: dict[str, web.Response] = {}
        self.asked: list[str] = []

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        answer = self.answers.get(request.path)
        return web.Response(status=404) if answer is None else _copy(answer)


def _copy(answer: web.Response) -> web.Response:
    return web.Response(body=answer.body, status=answer.status, headers=answer.headers)


def playlist(text: str, status: int = 200, **headers: str) -> web.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return web.Response(text=text, status=status, headers={"Content-Type": "application/vnd.apple.mpegurl", **sent})


@pytest.fixture
async def elsewhere() -> AsyncIterator[tuple[Elsewhere, str]]:
    broken, app = Elsewhere(), web.Application()
    app.router.add_get("/{path:.*}", broken.serve)
    async with TestServer(app) as server:
        yield broken, str(server.make_url("/t/master.m3u8"))


async def test_a_playlist_without_what_it_must_have_is_refused_by_hls_parser_too(
    elsewhere: tuple[Elsewhere, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """So that both are known to see it."""
    server, url = elsewhere
    server.answers["/t/master.m3u8"] = playlist(multivariant_playlist())
    for rung in LADDER:
        server.answers[f"/t/{rung.name}/index.m3u8"] = playlist("#EXTM3U\n#EXTINF:6,\n0.m4s\n#EXT-X-ENDLIST\n")
    with pytest.raises(Refused, match="TARGETDURATION"):
        await hls_parser(url)
    assert await check_hls(url, None) == 1
    said = capsys.readouterr().out
    for clause in ("Apple 10.1", "RFC 8216 4.3.3.1", "Apple 8.6", "Apple 8.20"):
        assert f"{clause} (MUST) medium/index.m3u8" in said or f"{clause} (MUST) master.m3u8" in said


async def test_what_is_not_ready_is_asked_for_again_and_what_is_not_there_is_not(
    elsewhere: tuple[Elsewhere, str], capsys: pytest.CaptureFixture[str]
) -> None:
    server, url = elsewhere
    server.answers["/t/master.m3u8"] = playlist("busy", 503, Retry_After="0")
    assert await check_hls(url, None) == 1
    assert len(server.asked) == 6
    assert "RFC 8216 6.2.1 (MUST) master.m3u8" in capsys.readouterr().out
    server.answers.clear()
    server.asked.clear()
    assert await check_hls(url, None) == 1
    assert len(server.asked) == 1


async def test_a_redirect_is_told(elsewhere: tuple[Elsewhere, str], served: Served, capsys: Any) -> None:
    server, url = elsewhere
    server.answers["/t/master.m3u8"] = playlist("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nlow/index.m3u8\n")
    here = '#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXT-X-MAP:URI="init.mp4"\n#EXTINF:6,\n0.m4s\n#EXT-X-ENDLIST\n'
    server.answers["/t/low/index.m3u8"] = playlist(here)
    there = urljoin(served.url, "low/init.mp4")
    server.answers["/t/low/init.mp4"] = web.Response(status=302, headers={"Location": there})
    assert await check_hls(url, None) == 1
    assert "Apple 8.18 (MUST) low/init.mp4" in capsys.readouterr().out


@pytest.mark.parametrize("address", ["master.m3u8", "ftp://example.org/master.m3u8", "http://"])
async def test_what_is_no_address_is_said_to_be_none(address: str) -> None:
    with pytest.raises(CommandFailed, match="no http"):
        await check_hls(address, None)


async def test_a_server_that_does_not_answer_is_said_not_to(free_port: int) -> None:
    with pytest.raises(CommandFailed, match="does not answer"):
        await check_hls(f"http://127.0.0.1:{free_port}/master.m3u8", None)
