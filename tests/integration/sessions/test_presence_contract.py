"""The contract of the state store for who is connected: in memory, in memory on PostgreSQL, and on Valkey."""

from typing import Any

import pytest
from msgspec import structs

from playhead.sessions.store import LEASE_DOUBTFUL_MS, LEASE_ENDED_MS, PRESENCE_LEASE_MS, Connection, LapsedConnection
from tests.integration.sessions.lines import Line
from tests.integration.sessions.test_store_contract import neighbour
from tests.support.states import LISTENER_ID, NOW_MS, OTHER_LISTENER_ID


def connection(number: int, **fields: Any) -> Connection:
    row = Connection(
        connection_id=f"connection-{number}",
        device_id="phone",
        name="Ünïcode",
        kind="phone",
        connected_at_ms=NOW_MS + number,
        expires_at_ms=NOW_MS + PRESENCE_LEASE_MS,
    )
    return structs.replace(row, **fields)


async def test_connections_are_told_oldest_first(line: Line) -> None:
    rows = [connection(number) for number in range(5)]
    tie = connection(4, connection_id="connection-3b", connected_at_ms=NOW_MS + 3)
    await line.store.hold_connections(LISTENER_ID, [rows[3], rows[1], tie])
    await line.store.hold_connections(LISTENER_ID, [rows[0], rows[4], rows[2]])
    expected = (*rows[:4], tie, rows[4])
    assert await line.store.connections(LISTENER_ID, NOW_MS) == expected
    for listener_id in (OTHER_LISTENER_ID, neighbour()):
        assert await line.store.connections(listener_id, NOW_MS) == ()


async def test_whatever_becomes_of_connections_gives_a_higher_order_and_looking_gives_none(line: Line) -> None:
    store = line.store
    orders = []
    for number in range(3):
        await store.hold_connections(LISTENER_ID, [connection(number)])
        orders.append((await store.present(LISTENER_ID, NOW_MS)).order)
    await store.drop_connection(LISTENER_ID, "connection-0", NOW_MS)
    present = await store.present(LISTENER_ID, NOW_MS)
    assert present == await store.present(LISTENER_ID, NOW_MS)
    assert present.connections == (connection(1), connection(2)) == await store.connections(LISTENER_ID, NOW_MS)
    orders.append(present.order)
    for number in (1, 2):
        await store.drop_connection(LISTENER_ID, f"connection-{number}", NOW_MS)
        orders.append((await store.present(LISTENER_ID, NOW_MS)).order)
    await store.hold_connections(LISTENER_ID, [connection(1)])
    orders.append((await store.present(LISTENER_ID, NOW_MS)).order)
    assert orders == sorted(set(orders))
    assert {epoch for epoch, _ in orders} == {(await store.live(LISTENER_ID)).epoch}
    assert (await store.present(OTHER_LISTENER_ID, NOW_MS)).connections == ()


async def test_orders_have_that_of_the_list_of_connections(line: Line) -> None:
    listeners = [LISTENER_ID, neighbour(), OTHER_LISTENER_ID]
    for number, listener_id in enumerate(listeners[:2]):
        await line.store.hold_connections(listener_id, [connection(number)])
    found = await line.store.orders(listeners)
    for listener_id in listeners:
        assert found[listener_id].present == (await line.store.present(listener_id, NOW_MS)).order
    assert found[LISTENER_ID].present[1] > 0 == found[OTHER_LISTENER_ID].present[1]


async def test_a_lease_that_is_renewed_in_time_changes_no_list_and_one_that_may_have_run_out_does(line: Line) -> None:
    store = line.store

    async def order() -> tuple[int, int]:
        return (await store.present(LISTENER_ID, NOW_MS)).order

    doubtful_ms = NOW_MS + LEASE_DOUBTFUL_MS
    await store.hold_connections(LISTENER_ID, [connection(1), connection(2, expires_at_ms=doubtful_ms)])
    before = await order()
    renewed = [
        connection(1, expires_at_ms=NOW_MS + 5 * PRESENCE_LEASE_MS),
        connection(2, expires_at_ms=doubtful_ms - 1),
    ]
    await store.hold_connections(LISTENER_ID, renewed)
    assert await order() == before
    await store.hold_connections(LISTENER_ID, renewed)
    assert await order() > before


async def test_who_enters_sees_itself_with_all_that_are_there_in_the_latest_order(line: Line) -> None:
    store = line.store
    await store.hold_connections(LISTENER_ID, [connection(1), connection(2, expires_at_ms=NOW_MS + 1)])
    before = await store.present(LISTENER_ID, NOW_MS)
    entered = await store.enter(LISTENER_ID, connection(3), NOW_MS + 1)
    assert entered.connections == (connection(1), connection(3))
    assert entered == await store.present(LISTENER_ID, NOW_MS + 1)
    assert entered.order > before.order
    last_ms = NOW_MS + PRESENCE_LEASE_MS - 1
    assert await store.connections(LISTENER_ID, last_ms) == (connection(1), connection(3))
    assert await store.connections(LISTENER_ID, last_ms + 1) == ()


async def test_when_connections_are_read_those_whose_lease_ran_out_are_left_out(line: Line) -> None:
    await line.store.hold_connections(LISTENER_ID, [connection(1), connection(2, expires_at_ms=NOW_MS + 1)])
    assert (await line.store.present(LISTENER_ID, NOW_MS + 1)).connections == (connection(1),)


async def test_a_connection_is_gone_when_it_is_dropped_and_others_stay(line: Line) -> None:
    await line.store.hold_connections(LISTENER_ID, [connection(1), connection(2)])
    await line.store.drop_connection(LISTENER_ID, "connection-1", NOW_MS)
    await line.store.drop_connection(LISTENER_ID, "never-there", NOW_MS)
    assert await line.store.connections(LISTENER_ID, NOW_MS) == (connection(2),)


async def test_a_lease_that_is_not_renewed_runs_out(line: Line) -> None:
    await line.store.hold_connections(LISTENER_ID, [connection(1), connection(2)])
    renewed = connection(2, expires_at_ms=NOW_MS + 2 * PRESENCE_LEASE_MS)
    await line.store.hold_connections(LISTENER_ID, [renewed])
    last_ms = NOW_MS + PRESENCE_LEASE_MS - 1
    assert await line.store.connections(LISTENER_ID, last_ms) == (connection(1), renewed)
    assert await line.store.connections(LISTENER_ID, last_ms + 1) == (renewed,)
    assert await line.store.connections(LISTENER_ID, NOW_MS + 2 * PRESENCE_LEASE_MS) == ()


async def test_a_lease_that_was_renewed_since_somebody_looked_is_not_dropped(line: Line) -> None:
    store, lapsed_ms = line.store, NOW_MS + PRESENCE_LEASE_MS
    await store.hold_connections(LISTENER_ID, [connection(1)])
    renewed = connection(1, expires_at_ms=lapsed_ms + 1, name='"expires_at_ms":1')
    await store.hold_connections(LISTENER_ID, [renewed])
    before = await store.present(LISTENER_ID, NOW_MS)
    assert not await store.drop_connection(LISTENER_ID, "connection-1", lapsed_ms, lapsed_by_ms=lapsed_ms)
    assert await store.present(LISTENER_ID, NOW_MS) == before
    lapsed = LapsedConnection(listener_id=LISTENER_ID, connection_id="connection-1")
    assert await store.due(lapsed_ms, 10) == ()
    assert await store.due(lapsed_ms + 1, 10) == (lapsed,), "it comes up when the new lease is over"
    assert await store.left_at_ms(LISTENER_ID) is None
    assert await store.drop_connection(LISTENER_ID, "connection-1", lapsed_ms + 1, lapsed_by_ms=lapsed_ms + 1)
    after = await store.present(LISTENER_ID, NOW_MS)
    assert after.connections == () and after.order > before.order
    assert await store.left_at_ms(LISTENER_ID) == lapsed_ms + 1


async def test_a_lease_that_its_node_ended_counts_for_nobody_and_comes_up_at_once(line: Line) -> None:
    store = line.store
    await store.hold_connections(LISTENER_ID, [connection(1), connection(2)])
    ended = connection(1, expires_at_ms=LEASE_ENDED_MS)
    await store.hold_connections(LISTENER_ID, [ended])
    assert await store.connections(LISTENER_ID, NOW_MS) == (connection(2),)
    assert await store.connections(LISTENER_ID, 0) == (ended, connection(2)), (
        "whose it was is known until it is removed"
    )
    lapsed = LapsedConnection(listener_id=LISTENER_ID, connection_id="connection-1")
    assert await store.due(NOW_MS, 10) == (lapsed,)
    before = await store.present(LISTENER_ID, NOW_MS)
    assert await store.drop_connection(LISTENER_ID, "connection-1", NOW_MS, lapsed_by_ms=NOW_MS)
    after = await store.present(LISTENER_ID, NOW_MS)
    assert after.connections == (connection(2),) and after.order > before.order


@pytest.mark.parametrize("lapsed_by_ms", [None, NOW_MS + PRESENCE_LEASE_MS])
async def test_who_drops_what_another_has_dropped_changes_no_list(line: Line, lapsed_by_ms: int | None) -> None:
    store = line.store
    await store.hold_connections(LISTENER_ID, [connection(1), connection(2)])
    drops = [await store.drop_connection(LISTENER_ID, "connection-1", NOW_MS, lapsed_by_ms)]
    before = await store.present(LISTENER_ID, NOW_MS)
    for connection_id in ("connection-1", "never-there"):
        drops.append(await store.drop_connection(LISTENER_ID, connection_id, NOW_MS, lapsed_by_ms))
    assert drops == [True, False, False]
    assert await store.present(LISTENER_ID, NOW_MS) == before
    # a claim is no connection: what another one has taken to look at meanwhile is there once
    await store.due(NOW_MS + PRESENCE_LEASE_MS, 10)
    drops = [await store.drop_connection(LISTENER_ID, "connection-2", NOW_MS, lapsed_by_ms) for _ in range(2)]
    assert drops == [True, False]
