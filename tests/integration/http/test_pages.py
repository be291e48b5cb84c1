"""Pages for people: the player, the documentation, and the headers that keep them to themselves."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from playhead.http import Services, create_app
from playhead.http.app import DOCUMENTS
from playhead.http.pages import player_policy
from playhead.http.problems import HTTP_REASONS
from playhead.http.routes import ROUTES
from playhead.playback.rejections import REASONS
from tests.integration.http.world import MEDIA_URL, Reply, World, read

INDEX = "<!doctype html><title>the page</title>"
SCRIPT = "console.log('hello')"


async def _get(client: "TestClient[Any, Any]", path: str, method: str = "GET", **headers: str) -> Reply:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    url = URL(str(client.make_url("/")).rstrip("/") + path, encoded=True)
    async with client.session.request(method, url, allow_redirects=False, headers=sent) as response:
        return await read(response)


@pytest.fixture
def player_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "player" / "dist"
    folder.mkdir(parents=True)
    (folder / "index.html").write_text(INDEX)
    (folder / "page-A1B2C3.js").write_text(SCRIPT)
    (folder / "licences.txt").write_text("MIT")
    (folder / ".hidden").write_text("secret")
    (folder / "folder").mkdir()
    (folder / "folder" / "inner.js").write_text("secret")
    (folder.parent / "outside.txt").write_text("secret")
    (folder / "link-1.js").symlink_to(folder.parent / "outside.txt")
    return folder


@pytest.fixture
async def client(services: Services, player_dir: Path) -> AsyncIterator["TestClient[Any, Any]"]:
    """A server that has the player page."""
    async with TestClient(TestServer(create_app(replace(services, player_dir=player_dir)))) as opened:
        yield opened


class TestPlayer:
    async def test_the_page_is_served_and_asked_for_each_time(self, client: "TestClient[Any, Any]") -> None:
        reply = await _get(client, "/")
        assert (reply.status, reply.body.decode()) == (200, INDEX)
        assert reply.headers["Content-Type"].startswith("text/html")
        assert reply.headers["Cache-Control"] == "no-cache"

    async def test_its_policy_allows_what_it_needs_and_no_inline_code(self, client: "TestClient[Any, Any]") -> None:
        policy = (await _get(client, "/")).headers["Content-Security-Policy"]
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        assert rules["default-src"] == "'none'"
        assert rules["script-src"] == rules["style-src"] == "'self'"
        assert set(rules["worker-src"].split()) == {"'self'", "blob:"}
        assert set(rules["media-src"].split()) == {"'self'", "blob:", MEDIA_URL}
        assert set(rules["connect-src"].split()) == {"'self'", MEDIA_URL}
        assert rules["frame-ancestors"] == rules["base-uri"] == "'none'"
        assert "unsafe" not in policy

    async def test_it_names_all_below_the_path_of_a_cdn(self) -> None:
        assert "media-src 'self' blob: https://cdn.example/audio/;" in player_policy("https://cdn.example/audio")
        assert "connect-src 'self' https://cdn.example;" in player_policy("https://cdn.example")

    async def test_files_whose_name_carries_a_hash_are_kept_for_ever(self, client: "TestClient[Any, Any]") -> None:
        hashed, plain = await _get(client, "/player/page-A1B2C3.js"), await _get(client, "/player/licences.txt")
        assert (hashed.status, hashed.body.decode()) == (200, SCRIPT)
        assert "javascript" in hashed.headers["Content-Type"]
        assert hashed.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert plain.headers["Cache-Control"] == "no-cache"

    @pytest.mark.parametrize(
        "name",
        [
            "missing-1.js",
            "index.html",
            ".hidden",
            "folder",
            "folder/inner.js",
            "folder%2Finner.js",
            "../outside.txt",
            "..%2Foutside.txt",
            "%2e%2e%2foutside.txt",
            "..",
            "link-1.js",
            "",
            "page-A1B2C3.js%00",
            "x" * 300,
        ],
    )
    async def test_nothing_else_is_served(self, client: "TestClient[Any, Any]", name: str) -> None:
        reply = await _get(client, f"/player/{name}")
        assert (reply.status, reply.code) == (404, "not_found")
        assert b"secret" not in reply.body

    async def test_a_page_that_is_not_built_says_how_to_build_it(self, world: World, services: Services) -> None:
        reply = await _get(world.client, "/")
        assert reply.status == 503
        assert reply.headers["Content-Type"].startswith("text/html")
        assert "PLAYHEAD_PLAYER_DIR" in reply.body.decode()
        assert (await _get(world.client, "/player/page-A1B2C3.js")).code == "not_found"

    async def test_a_folder_without_the_page_is_one_that_is_not_built(self, services: Services, tmp_path: Path) -> None:
        app = create_app(replace(services, player_dir=tmp_path / "nothing"))
        async with TestClient(TestServer(app)) as client:
            assert (await _get(client, "/")).status == 503


class TestDocumentation:
    async def test_the_document_is_served_as_it_is_made(self, world: World) -> None:
        reply = await _get(world.client, "/openapi.json")
        assert reply.status == 200
        assert {path for path in reply.json["paths"]} == {route.path for route in ROUTES}

    async def test_documents_are_made_when_somebody_asks_for_them_first_and_once(self, services: Services) -> None:
        made = []

        def asyncapi() -> dict[str, str]:
            made.append("asyncapi")
            return {"asyncapi": "3.0.0"}

        async with TestClient(TestServer(create_app(replace(services, asyncapi=asyncapi)))) as client:
            await _get(client, "/openapi.json")
            assert made == []
            at_once = await asyncio.gather(*(_get(client, "/asyncapi.json") for _ in range(10)))
            for reply in (*at_once, await _get(client, "/asyncapi.json")):
                assert reply.json == {"asyncapi": "3.0.0"}
            encoded = await client.app[DOCUMENTS].get("asyncapi")
            assert encoded is await client.app[DOCUMENTS].get("asyncapi"), "kept as it is sent"
        assert made == ["asyncapi"]

    @pytest.mark.parametrize("path", ["/openapi.json", "/asyncapi.json", "/docs"])
    async def test_a_copy_of_a_document_that_is_still_good_is_304(self, world: World, path: str) -> None:
        zipped = await _get(world.client, path, Accept_Encoding="gzip")
        plain = await _get(world.client, path, Accept_Encoding="identity")
        assert (zipped.body, zipped.headers["Content-Encoding"]) == (plain.body, "gzip")
        assert zipped.headers["ETag"] != plain.headers["ETag"] and plain.headers["Cache-Control"] == "no-cache"
        for known in (zipped, plain):
            coding = known.headers.get("Content-Encoding", "identity")
            again = await _get(world.client, path, Accept_Encoding=coding, If_None_Match=known.headers["ETag"])
            assert (again.status, again.body, again.headers["ETag"]) == (304, b"", known.headers["ETag"])

    async def test_the_page_shows_every_route_and_every_code(self, world: World) -> None:
        page = (await _get(world.client, "/docs")).body.decode()
        for route in ROUTES:
            assert f'<h3 id="{route.name}">' in page
        for code in (*REASONS, *HTTP_REASONS):
            assert f'id="problem-{code.value}"' in page

    async def test_the_page_runs_nothing_and_loads_nothing(self, world: World) -> None:
        reply = await _get(world.client, "/docs")
        page = reply.body.decode()
        assert not re.search(r"<script|<img|<link|javascript:|\bon\w+=|src=", page)
        assert not [target for target in re.findall(r'href="([^"]*)"', page) if not target.startswith(("/", "#"))]
        assert reply.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")

    @pytest.mark.parametrize("code", [code.value for code in (*REASONS, *HTTP_REASONS)])
    async def test_a_problem_s_type_leads_to_its_documentation(self, world: World, code: str) -> None:
        reply = await _get(world.client, f"/problems/{code}")
        assert (reply.status, reply.headers["Location"]) == (303, f"/docs#problem-{code}")

    async def test_a_problem_that_is_none_leads_nowhere(self, world: World) -> None:
        assert (await _get(world.client, "/problems/unheard_of")).code == "not_found"


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/healthz", "/nothing", "/api/v1/audio/scripts"])
async def test_every_answer_keeps_its_type_its_address_and_its_maker_to_itself(world: World, path: str) -> None:
    reply = await _get(world.client, path)
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["Referrer-Policy"] == "no-referrer"
    assert reply.headers["Server"] == "playhead"
