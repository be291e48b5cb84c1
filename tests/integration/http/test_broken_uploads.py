"""Uploads that break off, broken forms, and parts that fail meanwhile: nothing is left of them."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from playhead.db import DatabaseUnavailable
from playhead.http import Services, create_app
from playhead.http.intake import UPLOADS_MAX
from playhead.http.route import API
from playhead.http.upload_bodies import FIELD_BYTES_MAX
from tests.integration.http.uploading import AUDIO, DEADLINE_S, Interrupted, files, form_of, until
from tests.integration.http.world import UPLOAD_BYTES_MAX, World
from tests.support.counted import requests_counted

PART_BYTES = 2_000_000
"""So much that the storage has begun to write it down."""


@pytest.mark.usefixtures("nothing_is_left")
class TestBrokenForms:
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"no boundary at all",
            b"--x--\r\n",
            b'--x\r\nContent-Disposition: form-data; name="title"\r\n\r\nA title\r\n--x--\r\n',
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nthe file without an end',
            b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nthe file\r\n--y--\r\n',
            b'--x\r\nContent-Disposition: form-data; name="file"',
            b"--x\r\n\r\n\r\n--x--\r\n",
        ],
    )
    async def test_a_form_without_a_whole_file_is_422(self, world: World, body: bytes) -> None:
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        reply = await world.listener().call("POST", "/scripts", data=body, headers=headers)
        assert (reply.status, reply.code) == (422, "invalid"), reply.body

    @pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=" + "x" * 100])
    async def test_a_form_without_a_good_boundary_is_422(self, world: World, content_type: str) -> None:
        reply = await world.listener().call("POST", "/scripts", data=b"x", headers={"Content-Type": content_type})
        assert (reply.status, reply.code) == (422, "invalid")

    async def test_a_form_with_two_files_is_422(self, world: World, mp3: bytes) -> None:
        form = form_of(mp3)
        form.add_field("file", mp3, filename="second.mp3")
        assert (await world.listener().call("POST", "/scripts", data=form)).code == "invalid"

    async def test_a_form_that_names_a_field_twice_is_422(self, world: World, mp3: bytes) -> None:
        form = form_of(mp3, title="One")
        form.add_field("title", "Two")
        assert (await world.listener().call("POST", "/scripts", data=form)).code == "invalid"

    async def test_a_form_with_too_many_parts_is_422(self, world: World, mp3: bytes) -> None:
        fields = {f"field{number}": "x" for number in range(20)}
        assert (await world.listener().call("POST", "/scripts", data=form_of(mp3, **fields))).code == "invalid"

    @pytest.mark.parametrize(("length", "names"), [(FIELD_BYTES_MAX, "title"), (FIELD_BYTES_MAX + 1, "may hold")])
    async def test_a_field_of_a_form_is_read_up_to_its_limit(
        self, world: World, mp3: bytes, length: int, names: str
    ) -> None:
        reply = await world.listener().call("POST", "/scripts", data=form_of(mp3, title="x" * length))
        assert reply.code == "invalid"
        assert names in reply.json["detail"]

    async def test_a_field_of_a_form_that_is_not_utf_8_is_422(self, world: World) -> None:
        body = b'--x\r\nContent-Disposition: form-data; name="title"\r\n\r\n\xff\xfe\r\n--x--\r\n'
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        assert (await world.listener().call("POST", "/scripts", data=body, headers=headers)).code == "invalid"

    @pytest.mark.parametrize("times", [1, 2])
    async def test_a_field_whose_name_is_not_utf_8_is_422(self, world: World, times: int) -> None:
        field = b'--x\r\nContent-Disposition: form-data; name="caf\xe9"\r\n\r\nx\r\n'
        body = field * times + b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nthe file\r\n--x--\r\n'
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        reply = await world.listener().call("POST", "/scripts", data=body, headers=headers)
        assert (reply.status, reply.code) == (422, "invalid")
        assert "caf\ufffd" in reply.json["detail"]


@pytest.mark.parametrize("content_type", ["audio/mpeg", "multipart/form-data; boundary=x"])
async def test_a_client_that_goes_away_amid_its_upload_leaves_nothing(
    world: World, media_folder: Path, content_type: str
) -> None:
    anna = world.listener()
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"x" * PART_BYTES
    writer = await Interrupted(world, anna).send(content_type, UPLOAD_BYTES_MAX, part)
    await until(lambda: files(media_folder))
    writer.close()
    await until(lambda: requests_counted(world.services.metrics, "POST", f"{API}/scripts", "408") == 1)
    assert files(media_folder) == []
    assert not [row for row in (await anna.get("/scripts")).json["scripts"] if row["owned"]]


async def test_an_upload_that_is_cancelled_leaves_nothing(services: Services, media_folder: Path) -> None:
    """As a server that cancels handlers does it when their client goes away."""
    client = TestClient(TestServer(create_app(services)))
    await client.start_server()
    cancelling = World(client=client, services=services)
    writer = await Interrupted(cancelling, cancelling.listener()).send(
        "audio/mpeg", UPLOAD_BYTES_MAX, b"x" * PART_BYTES
    )
    await until(lambda: files(media_folder))
    writer.close()
    await until(lambda: not files(media_folder))
    await client.close()


async def test_past_so_many_uploads_at_once_the_next_is_told_to_wait(world: World, mp3: bytes) -> None:
    anna = world.listener()
    writers = [await Interrupted(world, world.listener()).send("audio/mpeg", 1_000, b"x") for _ in range(UPLOADS_MAX)]

    async def refused() -> bool:
        reply = await anna.call("POST", "/scripts", data=b"", headers=AUDIO)
        return reply.status == 503 and reply.code == "overloaded" and reply.headers["Retry-After"] == "1"

    async with asyncio.timeout(DEADLINE_S):
        while not await refused():
            await asyncio.sleep(0.01)
    for writer in writers:
        writer.close()
    async with asyncio.timeout(DEADLINE_S):
        while (await anna.call("POST", "/scripts", data=mp3, headers=AUDIO)).status != 201:
            await asyncio.sleep(0.01)


async def _surface(services: Services) -> "TestClient[Any, Any]":
    client = TestClient(TestServer(create_app(services)))
    await client.start_server()
    return client


@pytest.mark.usefixtures("nothing_is_left")
async def test_a_measuring_that_breaks_is_500_and_leaves_nothing(world: World, mp3: bytes) -> None:
    async def broken(source_key: str, source_bytes: int, media_version: str) -> Any:
        raise RuntimeError("secret details")

    client = await _surface(replace(world.services, ingest=broken))
    anna = replace(world.listener(), client=client)
    reply = await anna.call("POST", "/scripts", data=mp3, headers=AUDIO)
    assert (reply.status, reply.code) == (500, "internal")
    assert b"secret" not in reply.body
    await client.close()


async def test_a_job_that_cannot_be_queued_now_does_not_cost_the_upload(world: World, mp3: bytes) -> None:
    async def away(script_id: str) -> None:
        raise DatabaseUnavailable("gone for a moment")

    client = await _surface(replace(world.services, enqueue=away))
    anna = replace(world.listener(), client=client)
    reply = await anna.call("POST", "/scripts", data=mp3, headers=AUDIO)
    assert (reply.status, reply.json["status"]) == (201, "queued")
    await client.close()
