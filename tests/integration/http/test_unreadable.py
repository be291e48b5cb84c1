"""Heads that cannot be read, over bare TCP to the application as `playhead serve` has it: behind the sockets' front."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

import pytest
from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from playhead.engine.front import Site
from playhead.engine.socket_server import SocketServer
from playhead.http import Services, create_app, unreadable
from playhead.http.unreadable import HEADER_BYTES_MAX, HEADERS_MAX, TARGET_BYTES_MAX, Runner
from playhead.runtime.metrics import Metrics
from tests.integration.http.uploading import until
from tests.support.bare_http import LONG, READABLE, SECRET, UNREADABLE, Answer, bare_http, request
from tests.support.counted import requests_counted


@dataclass(frozen=True, slots=True)
class Origin:
    """A server that listens."""

    port: int
    metrics: Metrics
    runner: Runner

    @property
    def connections(self) -> int:
        assert isinstance(self.runner.server, web.Server)
        return len(self.runner.server.connections)

    def counted(self, status: int) -> float:
        return requests_counted(self.metrics, "other", "unreadable", str(status))


@pytest.fixture
async def origin(services: Services) -> AsyncIterator[Origin]:
    sockets, app = SocketServer(), create_app(services)
    sockets.attach(app)
    runner = Runner(app, access_log=None)
    await runner.setup()
    await Site(runner, sockets.eio, "127.0.0.1", 0).start()
    yield Origin(runner.addresses[0][1], services.metrics, runner)
    await sockets.shutdown()
    await runner.cleanup()


def told_nothing(answer: Answer) -> None:
    """It is a problem of ours, like all others, and quotes nothing."""
    assert "content-type: application/problem+json" in answer.head
    assert "server: playhead\r\n" in answer.head and "cache-control: no-store" in answer.head
    assert SECRET[:6].lower() not in answer.head + answer.body.decode().lower()
    assert answer.json["status"] == answer.status


@pytest.mark.parametrize("before", [0, 2], ids=["first", "third"])
@pytest.mark.parametrize("kind", UNREADABLE)
async def test_what_cannot_be_read_is_a_problem_that_quotes_nothing_counted_and_ends_the_connection(
    origin: Origin, kind: str, before: int
) -> None:
    sent, status, code = UNREADABLE[kind]
    async with bare_http(origin.port) as client:
        for _ in range(before):
            await client.send(READABLE)
            assert (await client.answer()).status == 200
        await client.send(sent)
        answer = await client.answer()
        assert (answer.status, answer.json["code"], answer.json["retry"]) == (status, code, False)
        told_nothing(answer)
        assert await client.ended() == b""
    assert origin.counted(status) == 1
    await until(lambda: origin.connections == 0)


async def test_who_still_sends_is_heard_out_for_a_moment_and_reads_the_answer(origin: Origin) -> None:
    async with bare_http(origin.port) as client:
        await client.send(f"GET /p/{LONG}".encode())
        await until(lambda: origin.counted(414) == 1)
        for _ in range(20):
            await client.send(LONG.encode())
            await asyncio.sleep(0)
        assert (await client.answer()).status == 414
        assert await client.ended() == b""
    assert origin.counted(414) == 1


async def test_who_does_not_close_is_closed(origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unreadable, "LINGER_S", 0.05)
    async with bare_http(origin.port) as client:
        await client.send(request(f"/{LONG}"))
        await until(lambda: origin.counted(414) == 1)
        await until(lambda: origin.connections == 0)


async def test_who_has_gone_before_the_answer_is_made_is_no_bug(
    origin: Origin, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def gone(request: web.BaseRequest, _answer: web.StreamResponse) -> None:
        assert request.transport is not None
        request.transport.abort()
        while request.transport is not None:
            await asyncio.sleep(0)

    monkeypatch.setattr(unreadable, "set_headers", gone)
    async with bare_http(origin.port) as client:
        await client.send(request(f"/{LONG}"))
        with suppress(ConnectionError):
            assert await client.ended() == b""
    await until(lambda: origin.connections == 0)
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [LineTooLong]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request("/p/".ljust(TARGET_BYTES_MAX, "x")), 404),
        (request("/p/".ljust(TARGET_BYTES_MAX + 1, "x")), 414),
        (request("/healthz", "X: " + "x" * HEADER_BYTES_MAX), 200),
        (request("/healthz", "X: " + "x" * (HEADER_BYTES_MAX + 1)), 431),
        (request("/healthz", *["X: y"] * (HEADERS_MAX - 1)), 200),
        (request("/healthz", *["X: y"] * HEADERS_MAX), 400),
    ],
    ids=["address", "longer address", "header", "longer header", "headers", "more headers"],
)
async def test_a_head_is_read_up_to_its_limits(origin: Origin, sent: bytes, status: int) -> None:
    async with bare_http(origin.port) as client:
        await client.send(sent)
        assert (await client.answer()).status == status
