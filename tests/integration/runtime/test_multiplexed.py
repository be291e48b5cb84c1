"""Calls of many tasks over one connection: what becomes of each, whatever the server does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError
from structlog.testing import capture_logs

from playhead.app.embedded import EmbeddedValkey
from playhead.runtime import multiplexed
from playhead.runtime.multiplexed import Multiplexed, NotSent, Overloaded
from playhead.runtime.redis import ask, take_over
from playhead.runtime.wire import CallLost
from tests.support.scripted_redis import GREETINGS, ScriptedRedis, echo, scripted_redis

SHORT_S = 0.05
Open = Callable[..., Multiplexed]


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    clients = []

    def open_one(url: str, *arguments: Any, **options: Any) -> Multiplexed:
        clients.append(Multiplexed(url, *arguments, **options))
        return clients[-1]

    yield open_one
    for client in clients:
        await client.aclose()


@pytest.fixture
async def server(run_folder: Path) -> AsyncIterator[ScriptedRedis]:
    async with scripted_redis(run_folder) as server:
        yield server


def nothing(_command: list[str]) -> None:
    """Answers nothing."""


def idle(client: Multiplexed) -> bool:
    return (client.calls_under_way, client.bytes_under_way) == (0, 0)


async def failures(*calls: asyncio.Future[Any]) -> list[type]:
    return [type(each) for each in await asyncio.gather(*calls, return_exceptions=True)]


# one connection for all


async def test_calls_of_one_turn_share_a_connection_and_a_write_and_each_has_its_answer(
    server: ScriptedRedis, opened: Open
) -> None:
    client = opened(server.url)
    await client.call("ECHO", "first")
    server.chunks.clear()
    answers = await asyncio.gather(*(client.call("ECHO", str(number)) for number in range(100)))
    assert answers == [str(number).encode() for number in range(100)]
    assert (server.connections, len(server.chunks)) == (1, 1)
    assert idle(client)


async def test_several_commands_of_one_call_are_answered_together(server: ScriptedRedis, opened: Open) -> None:
    client = opened(server.url)
    several, one, single = client.calls([("ECHO", "a"), ("ECHO", 1)]), client.call("ECHO", b"b"), [("ECHO", "c")]
    assert (await several, await one, await client.calls(single)) == ([b"a", b"1"], b"b", [b"c"])
    with pytest.raises(ValueError):
        client.calls([])


async def test_an_error_answer_goes_to_its_caller_alone(server: ScriptedRedis, opened: Open) -> None:
    client = opened(server.url)
    server.answer = lambda command: b"-ERR no\r\n" if command[1] == "2" else echo(command)
    calls = [client.call("ECHO", str(number)) for number in range(4)]
    assert await failures(*calls) == [bytes, bytes, ResponseError, bytes]
    assert server.connections == 1


async def test_who_stops_waiting_shifts_no_answer_of_others(server: ScriptedRedis, opened: Open) -> None:
    client = opened(server.url)
    await client.call("ECHO", "open")
    server.answer = nothing
    calls = [client.call("ECHO", str(number)) for number in range(3)]
    await server.wait_for(4)
    calls[1].cancel()
    server.write(b"+0\r\n+1\r\n+2\r\n")
    assert (await calls[0], await calls[2]) == (b"0", b"2")
    assert idle(client)


async def test_what_nobody_waits_for_any_more_is_not_sent(server: ScriptedRedis, opened: Open) -> None:
    client = opened(server.url)
    for word in ("opening", "open"):  # while the connection is opened, and when it is there
        client.call("ECHO", f"not wanted, {word}").cancel()
        await client.call("ECHO", word)
    assert server.commands == [["ECHO", "opening"], ["ECHO", "open"]]
    assert idle(client)


async def test_the_hook_is_done_before_any_call(server: ScriptedRedis, opened: Open) -> None:
    async def hook(connection: AbstractConnection) -> None:
        await ask(connection, "ECHO", "hook")

    client = opened(server.url, hook)
    await asyncio.gather(*(client.call("ECHO", "call") for _ in range(3)))
    server.cut()
    await server_has_gone(client)
    await client.call("ECHO", "again")
    assert [command[1] for command in server.commands] == ["hook", "call", "call", "call", "hook", "again"]


async def server_has_gone(client: Multiplexed) -> None:
    while client._wire is not None:
        await asyncio.sleep(0)


async def test_a_hook_that_fails_fails_the_calls_that_wait_with_its_reason(server: ScriptedRedis, opened: Open) -> None:
    async def hook(_connection: AbstractConnection) -> None:
        raise RedisError("the hook does not like it")

    async def broken(_connection: AbstractConnection) -> None:
        raise LookupError("a bug")

    with pytest.raises(NotSent, match="does not like it"):
        await opened(server.url, hook).call("ECHO", "x")
    with capture_logs() as logs, pytest.raises(NotSent, match="a bug"):
        await opened(server.url, broken).call("ECHO", "x")
    assert [row["action"] for row in logs] == ["wire_failed"]
    assert server.commands == []


# a server that goes, hangs, or is somebody else


async def test_in_flight_at_a_loss_may_have_happened_what_was_not_written_goes_to_the_next_connection(
    server: ScriptedRedis, opened: Open
) -> None:
    client = opened(server.url)
    await client.call("ECHO", "open")
    server.answer = nothing
    lost = client.call("ECHO", "lost")
    await server.wait_for(2)
    server.answer = echo
    server.cut()
    assert await failures(lost) == [CallLost]
    assert await client.call("ECHO", "later") == b"later"
    assert [command[1] for command in server.commands] == ["open", "lost", "later"], "nothing is sent twice"
    assert server.connections == 2 and idle(client)


async def test_a_server_that_never_answers_is_given_up_with_all_that_waits(server: ScriptedRedis, opened: Open) -> None:
    client = opened(server.url, answer_timeout_s=SHORT_S)
    await client.call("ECHO", "open")
    server.answer = nothing
    assert await failures(*(client.call("ECHO", "x") for _ in range(3))) == [CallLost] * 3
    server.answer = echo
    assert await client.call("ECHO", "y") == b"y"
    assert server.connections == 2 and idle(client)


async def test_a_server_that_lets_nobody_in_is_given_up_in_time(
    server: ScriptedRedis, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    for word in GREETINGS:
        monkeypatch.setitem(GREETINGS, word, b"")
    client = opened(server.url, answer_timeout_s=SHORT_S)
    assert await failures(*(client.call("ECHO", "x") for _ in range(3))) == [NotSent] * 3
    assert server.connections == 1 and idle(client)


async def test_while_a_server_reads_nothing_calls_wait_unwritten_and_happen_once_on_the_next_connection(
    server: ScriptedRedis, opened: Open
) -> None:
    client = opened(server.url, answer_timeout_s=30.0)
    await client.call("ECHO", "open")
    server.deafen()
    written = []
    while not (client._wire and client._wire.paused):
        written.append(client.call("ECHO", "x" * 100_000))
        await asyncio.sleep(0)
    waiting = client.call("ECHO", "waiting")
    await asyncio.sleep(0)
    server.cut()
    assert set(await failures(*written)) == {CallLost}
    assert await waiting == b"waiting"
    assert [command[1] for command in server.commands].count("waiting") == 1
    assert idle(client)


async def test_no_more_is_under_way_than_the_limits_say(server: ScriptedRedis, opened: Open) -> None:
    server.answer = nothing
    few, small = opened(server.url, calls_max=3), opened(server.url, bytes_max=100)
    calls = [few.call("ECHO", "x") for _ in range(3)]
    with pytest.raises(Overloaded):
        few.call("ECHO", "x")
    size = len(b"*2\r\n$4\r\nECHO\r\n$1\r\nx\r\n")
    calls.append(small.call("ECHO", "x" * (100 - size)))  # two digits for the length: one byte more
    with pytest.raises(Overloaded):
        small.call("ECHO", "x" * (102 - size))
    calls[0].cancel()
    await server.wait_for(3)
    with pytest.raises(Overloaded):  # one is not waited for, and the server has it all the same
        for _ in range(2):
            calls.append(few.call("ECHO", "x"))
    server.write(b"+1\r\n+2\r\n")
    await asyncio.wait(calls[1:2])


async def test_without_a_server_calls_fail_soon_and_attempts_are_few(
    server: ScriptedRedis, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []

    async def counted(*arguments: Any) -> Any:
        attempts.append(arguments)
        return await take_over(*arguments)

    monkeypatch.setattr("playhead.runtime.multiplexed.take_over", counted)
    client = opened(server.url)
    server.refuse()
    for tries in (1, 2, 3):
        not_before_s = client._not_before_s
        assert await failures(*(client.call("ECHO", "x") for _ in range(50))) == [NotSent] * 50
        assert len(attempts) == tries, "fifty calls wait for one attempt"
        assert not_before_s <= asyncio.get_running_loop().time() and not_before_s < client._not_before_s
    assert client._wait_s == 4 * multiplexed.RECONNECT_WAIT_MIN_S, "and each attempt waits twice as long"
    await server.start()
    assert await client.call("ECHO", "x") == b"x"
    assert idle(client)


async def test_a_server_that_ends_every_connection_is_not_asked_without_a_pause(
    server: ScriptedRedis, opened: Open
) -> None:
    client = opened(server.url)

    def cut(_command: list[str]) -> None:
        server.cut()

    server.answer = cut
    for _ in range(3):
        assert await failures(client.call("ECHO", "x")) == [CallLost]
    assert client._wait_s == 4 * multiplexed.RECONNECT_WAIT_MIN_S


async def test_a_replica_is_no_server(server: ScriptedRedis, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GREETINGS, "INFO", b"$10\r\nrole:slave\r\n")
    with pytest.raises(NotSent, match="leads to a replica"):
        await opened(server.url).call("ECHO", "x")
    assert server.commands == []


async def test_a_server_that_was_demoted_or_is_left_answers_what_it_has_and_gets_no_more(
    server: ScriptedRedis, opened: Open
) -> None:
    client = opened(server.url)
    for demoted in (True, False):
        await client.call("ECHO", "open")
        server.answer = nothing
        calls = [client.call("ECHO", "x") for _ in range(2)]
        await server.wait_for(len(server.commands) + 2)
        server.answer = echo
        before = server.connections
        if demoted:
            server.write(b"-READONLY You can't write against a read only replica.\r\n")
            await asyncio.wait(calls[:1])
        else:
            client.leave()
        assert await client.call("ECHO", "new") == b"new"
        assert server.connections == before + 1
        server.write(b"+last\r\n" if demoted else b"+last\r\n+last\r\n")
        assert await calls[1] == b"last"


async def test_an_ended_client_fails_what_waits_and_takes_no_more(server: ScriptedRedis, opened: Open) -> None:
    client = opened(server.url)
    await client.call("ECHO", "open")
    server.answer = nothing
    sent = client.call("ECHO", "sent")
    await server.wait_for(2)
    unsent = client.call("ECHO", "unsent")
    opening = opened(server.url)
    early = opening.call("ECHO", "early")
    await client.aclose()
    await opening.aclose()
    assert await failures(sent, unsent, early) == [CallLost, NotSent, NotSent]
    with pytest.raises(NotSent):
        client.call("ECHO", "late")
    assert idle(client) and idle(opening)


# a real one


async def test_a_killed_valkey_costs_what_was_in_flight_and_nothing_after_its_return(
    start_valkey: Callable[..., EmbeddedValkey], opened: Open
) -> None:
    valkey = start_valkey(append_sync="always")
    client = opened(valkey.url)
    for life in range(3):
        assert await client.call("INCR", "lives") == life + 1
        answers = asyncio.gather(*(client.call("INCR", "n") for _ in range(500)), return_exceptions=True)
        await asyncio.sleep(0)
        valkey.kill()
        assert {type(each) for each in await answers} <= {int, CallLost, NotSent}
        with pytest.raises(NotSent):
            await client.call("PING")
        valkey.start()
        assert await client.call("PING") == b"PONG"
    done = int(await client.call("GET", "n") or 0)
    assert done <= 1_500 and idle(client)


async def test_ten_thousand_calls_at_once_over_real_valkey_each_have_their_answer(
    valkey_url: str, opened: Open
) -> None:
    client = opened(valkey_url, calls_max=10_000)
    for _ in range(2):
        calls = [client.call("ECHO", f"{number}" * (number % 40)) for number in range(10_000)]
        with pytest.raises(Overloaded):
            client.call("PING")
        answers = await asyncio.gather(*calls)
        assert answers == [(f"{number}" * (number % 40)).encode() for number in range(10_000)]
