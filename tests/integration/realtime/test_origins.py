"""From which pages a browser may connect, by websocket and by long polling: what the `Origin` header decides."""

from collections.abc import AsyncIterator, Mapping

import aiohttp
import pytest

from tests.support.nodes import Node, start_node
from tests.support.sessions import HeldRows, HeldScripts

PUBLIC = "https://audio.example.com"
APP = "https://app.example.org"
BEHIND_PROXY = {"Host": "audio.example.com"}
"""What reaches a server behind a proxy that ends TLS, keeps the host and says nothing else."""


@pytest.fixture
async def node(valkey_url: str, rows: HeldRows) -> AsyncIterator[Node]:
    async with start_node(valkey_url, rows, HeldScripts(), public_url=PUBLIC, cors_origins=(APP,)) as node:
        yield node


async def connects(node: Node, transport: str, origin: str, headers: Mapping[str, str]) -> bool:
    """Whether the transport opens for a page of that origin."""
    address = f"{node.url}/socket.io/?EIO=4&transport={transport}"
    sent = {"Origin": origin, **headers}
    async with aiohttp.ClientSession() as session:
        if transport == "polling":
            async with session.get(address, headers=sent) as answer:
                shared = answer.headers.get("Access-Control-Allow-Origin")
                assert shared == (origin if answer.status == 200 else None)
                return answer.status == 200
        try:
            async with session.ws_connect(address, headers=sent) as socket:
                return (await socket.receive_str()).startswith("0")
        except aiohttp.WSServerHandshakeError as error:
            assert error.status == 400
            return False


@pytest.mark.parametrize("transport", ["websocket", "polling"])
class TestOrigins:
    async def test_the_page_of_the_public_address_connects_behind_a_proxy_that_ends_tls(
        self, node: Node, transport: str
    ) -> None:
        assert await connects(node, transport, PUBLIC, BEHIND_PROXY)

    async def test_the_page_of_the_server_itself_connects_though_other_sites_are_named(
        self, node: Node, transport: str
    ) -> None:
        assert await connects(node, transport, node.url, {})

    async def test_a_page_of_a_named_site_connects(self, node: Node, transport: str) -> None:
        assert await connects(node, transport, APP, BEHIND_PROXY)

    async def test_a_page_connects_under_the_name_that_the_proxy_forwards(self, node: Node, transport: str) -> None:
        forwarded = {"X-Forwarded-Proto": "https, http", "X-Forwarded-Host": "other.example.com"}
        assert await connects(node, transport, "https://other.example.com", forwarded)

    @pytest.mark.parametrize(
        "origin",
        ["https://evil.example", "http://audio.example.com:81", f"{PUBLIC}.evil.example", "null", "%", "http://["],
    )
    async def test_a_page_of_any_other_site_is_refused(self, node: Node, transport: str, origin: str) -> None:
        assert not await connects(node, transport, origin, BEHIND_PROXY)

    async def test_with_a_star_every_page_connects(self, valkey_url: str, rows: HeldRows, transport: str) -> None:
        async with start_node(valkey_url, rows, HeldScripts(), cors_origins=("*",)) as node:
            assert await connects(node, transport, "https://evil.example", {})
