"""Who is connected: leases that are renewed while a socket is open, a limit, and everybody told of each change."""

import asyncio
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from playhead.playback.commands import REST_DEVICE_ID, Origin
from playhead.sessions import presence as presence_module
from playhead.sessions import turns as turns_module
from playhead.sessions.codec import Packet, decode_packet
from playhead.sessions.memory_store import MemoryStore
from playhead.sessions.presence import Presence
from playhead.sessions.store import PRESENCE_LEASE_MS, Connection, StoreUnavailable
from tests.simulation.loop import VirtualLoop
from tests.support.sessions import SetClock
from tests.support.states import LISTENER_ID, NOW_MS, OTHER_LISTENER_ID

PHONE = Origin(device_id="phone", connection_id="phone-1")


class Store(MemoryStore):
    """A memory store of which a test can take away a part."""

    def __init__(self, clock: SetClock) -> None:
        super().__init__(clock, self.take)
        self.sent: list[Packet] = []
        self.fails: set[str] = set()
        self.error: Exception = StoreUnavailable("away")
        self.failed = asyncio.Event()
        self.renewing: asyncio.Event | None = None
        self.may_renew = asyncio.Event()
        self.slow_s: float | None = None
        self.at_once = self.most_at_once = 0

    async def take(self, _listener_id: str, packet: bytes) -> None:
        self.sent.append(decode_packet(packet))

    async def hold_connections(self, listener_id: str, connections: Sequence[Connection]) -> None:
        self._maybe_fail("hold_connections")
        assert connections, "an empty write is an error in Redis"
        if self.renewing is not None:
            self.renewing.set()
            await self.may_renew.wait()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        if self.slow_s is not None:
            await asyncio.sleep(self.slow_s)
        self.at_once -= 1
        await super().hold_connections(listener_id, connections)

    async def drop_connection(
        self, listener_id: str, connection_id: str, now_ms: int, lapsed_by_ms: int | None = None
    ) -> bool:
        self._maybe_fail("drop_connection")
        return await super().drop_connection(listener_id, connection_id, now_ms, lapsed_by_ms)

    async def publish(self, listener_id: str, packet: bytes) -> None:
        self._maybe_fail("publish")
        await super().publish(listener_id, packet)

    def _maybe_fail(self, name: str) -> None:
        if name in self.fails:
            self.failed.set()
            raise self.error


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def store(clock: SetClock) -> Store:
    store = Store(clock)
    await store.subscribe(LISTENER_ID)
    return store


@pytest.fixture
def presence(store: Store, clock: SetClock) -> Presence:
    return Presence(store, clock, connections_max=3)


async def attach(presence: Presence, device_id: str, number: int = 1) -> bool:
    return await presence.attach(LISTENER_ID, f"{device_id}-{number}", device_id, f"My {device_id}", "browser")


async def test_devices_are_told_oldest_first_with_their_newest_name(
    presence: Presence, clock: SetClock, store: Store
) -> None:
    await attach(presence, "phone")
    clock.advance(5)
    await attach(presence, "desk")
    clock.advance(5)
    assert await presence.attach(LISTENER_ID, "phone-2", "phone", "Renamed", "phone")
    assert await presence.devices(LISTENER_ID) == [
        {"id": "phone", "name": "Renamed", "kind": "phone", "connected_at": NOW_MS},
        {"id": "desk", "name": "My desk", "kind": "browser", "connected_at": NOW_MS + 5},
    ]
    assert await presence.devices(OTHER_LISTENER_ID) == []


async def test_every_change_is_told_to_all_but_the_connection_that_joined(presence: Presence, store: Store) -> None:
    await attach(presence, "phone")
    await attach(presence, "desk")
    await presence.detach(LISTENER_ID, "phone-1")
    assert [packet.event for packet in store.sent] == ["devices"] * 3
    assert [packet.skip_connection_id for packet in store.sent] == ["phone-1", "desk-1", None]
    told = [{row["id"] for row in packet.data["devices"]} for packet in store.sent]
    assert told == [{"phone"}, {"phone", "desk"}, {"desk"}]


async def test_a_device_is_there_while_any_of_its_connections_is(presence: Presence, clock: SetClock) -> None:
    await attach(presence, "phone", 1)
    clock.advance(1)
    await attach(presence, "phone", 2)
    assert await presence.connected(LISTENER_ID, PHONE) == {"phone": "phone-2"}
    await presence.detach(LISTENER_ID, "phone-2")
    assert await presence.connected(LISTENER_ID, PHONE) == {"phone": "phone-1"}
    await presence.detach(LISTENER_ID, "phone-1")
    assert await presence.connected(LISTENER_ID, PHONE) == {}


async def test_the_rest_device_is_there_for_itself_alone(presence: Presence) -> None:
    await attach(presence, "phone")
    assert await presence.connected(LISTENER_ID, Origin(device_id=REST_DEVICE_ID)) == {
        "phone": "phone-1",
        REST_DEVICE_ID: None,
    }
    assert REST_DEVICE_ID not in await presence.connected(LISTENER_ID, PHONE)


async def test_detaching_what_is_not_attached_tells_nobody(presence: Presence, store: Store) -> None:
    await presence.detach(LISTENER_ID, "phone-1")
    await attach(presence, "phone")
    await presence.detach(LISTENER_ID, "phone-1")
    await presence.detach(LISTENER_ID, "phone-1")
    assert len(store.sent) == 2


# the limit


async def test_at_the_limit_no_further_connection_is_let_in(presence: Presence, store: Store) -> None:
    assert [await attach(presence, "phone", number) for number in range(4)] == [True, True, True, False]
    assert len(await store.connections(LISTENER_ID, NOW_MS)) == 3
    assert len(store.sent) == 3
    await presence.renew()
    assert len(await store.connections(LISTENER_ID, NOW_MS)) == 3
    await presence.detach(LISTENER_ID, "phone-0")
    assert await attach(presence, "phone", 9)
    assert await presence.attach(OTHER_LISTENER_ID, "theirs", "phone", "Theirs", "phone")


async def test_many_that_come_at_once_do_not_get_past_the_limit(presence: Presence, store: Store) -> None:
    let_in = await asyncio.gather(*(attach(presence, "phone", number) for number in range(9)))
    assert sum(let_in) == 3 == len(await store.connections(LISTENER_ID, NOW_MS))


# leases


async def test_a_lease_lasts_its_time_and_renewing_makes_it_as_long_again(presence: Presence, clock: SetClock) -> None:
    await attach(presence, "phone")
    clock.advance(PRESENCE_LEASE_MS - 1)
    assert await presence.devices(LISTENER_ID) != []
    await presence.renew()
    clock.advance(PRESENCE_LEASE_MS - 1)
    assert await presence.devices(LISTENER_ID) != []
    clock.advance(1)
    assert await presence.devices(LISTENER_ID) == []


async def test_what_another_node_does_not_renew_runs_out(presence: Presence, store: Store, clock: SetClock) -> None:
    dead = Presence(store, clock, connections_max=3)
    await attach(dead, "desk")
    await attach(presence, "phone")
    clock.advance(PRESENCE_LEASE_MS - 1)
    await presence.renew()
    clock.advance(1)
    assert set(await presence.connected(LISTENER_ID, PHONE)) == {"phone"}


async def test_leases_are_renewed_in_the_background_also_after_a_failure(
    presence: Presence, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence_module, "RENEW_INTERVAL_S", 0)
    await attach(presence, "phone")
    store.fails = {"hold_connections"}
    presence.start()
    try:
        for _ in range(10):
            await asyncio.sleep(0)
        store.fails = set()
        store.renewing = asyncio.Event()
        async with asyncio.timeout(5):
            await store.renewing.wait()
    finally:
        await presence.stop()


async def test_the_leases_of_more_listeners_than_go_to_the_store_at_once_are_all_renewed(
    store: Store, clock: SetClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns_module, "TURNS", 1)
    monkeypatch.setattr(presence_module, "RENEWED_AT_ONCE", 2)
    monkeypatch.setattr(presence_module, "PARTS_UNDER_WAY_MIN", 1)
    presence = Presence(store, clock, connections_max=3)
    listeners = [str(uuid.UUID(int=number)) for number in range(5)]
    for listener_id in listeners:
        assert await presence.attach(listener_id, f"{listener_id}-1", "phone", "My phone", "phone")
    clock.advance(PRESENCE_LEASE_MS - 1)
    store.slow_s = 0.0
    await presence.renew()
    clock.advance(1)
    assert all([await presence.devices(listener_id) for listener_id in listeners])
    assert store.most_at_once == 2


@pytest.mark.parametrize(("call_s", "whole_s"), [(0.0, 30.0), (1.0, 31.0), (12.0, 65.0)])
def test_a_slow_store_holds_up_no_renewal_but_where_too_many_wait(
    monkeypatch: pytest.MonkeyPatch, call_s: float, whole_s: float
) -> None:
    monkeypatch.setattr(presence_module, "RENEWED_AT_ONCE", 1)
    errors: list[dict[str, Any]] = []
    loop, clock = VirtualLoop(errors.append), SetClock()
    store = Store(clock)
    presence = Presence(store, clock, connections_max=1)
    ended_s: list[float] = []

    async def renew() -> None:
        for number in range(40):
            await presence.attach(str(uuid.UUID(int=number)), f"phone-{number}", "phone", "My phone", "phone")
        store.slow_s = call_s
        await presence.renew(over_s=30.0)
        ended_s.append(loop.time())

    renewing = loop.create_task(renew())
    loop.advance(120_000)
    assert renewing.done() and errors == []
    assert ended_s == [pytest.approx(whole_s, abs=1.0)]
    assert store.most_at_once <= presence_module.PARTS_UNDER_WAY_MIN
    loop.close()


async def test_a_connection_that_ends_while_its_lease_is_renewed_leaves_no_ghost(
    presence: Presence, store: Store
) -> None:
    await attach(presence, "phone")
    await attach(presence, "desk")
    store.renewing = asyncio.Event()
    renewal = asyncio.create_task(presence.renew())
    await store.renewing.wait()
    await presence.detach(LISTENER_ID, "phone-1")
    store.may_renew.set()
    await renewal
    assert [row.device_id for row in await store.connections(LISTENER_ID, NOW_MS)] == ["desk"]


# the store is away


@pytest.mark.parametrize("call", ["hold_connections", "publish"])
async def test_a_connection_that_could_not_be_attached_is_not_renewed(
    presence: Presence, store: Store, clock: SetClock, call: str
) -> None:
    store.fails = {call}
    with pytest.raises(StoreUnavailable):
        await attach(presence, "phone")
    store.fails = set()
    clock.advance(PRESENCE_LEASE_MS - 1)
    await presence.renew()
    clock.advance(1)
    assert await presence.devices(LISTENER_ID) == []


async def test_a_departure_while_the_store_is_away_is_told_by_the_lease(
    presence: Presence, store: Store, clock: SetClock
) -> None:
    await attach(presence, "phone")
    store.fails = {"drop_connection"}
    await presence.detach(LISTENER_ID, "phone-1")
    store.fails = set()
    assert await presence.devices(LISTENER_ID) != []
    await presence.renew()
    clock.advance(PRESENCE_LEASE_MS)
    assert await presence.devices(LISTENER_ID) == []


async def test_a_presence_that_never_started_stops(presence: Presence) -> None:
    await presence.stop()


async def test_lists_have_an_order_in_which_every_later_look_at_them_is_higher(
    presence: Presence, clock: SetClock, store: Store
) -> None:
    await attach(presence, "phone")
    await attach(presence, "desk")
    await presence.detach(LISTENER_ID, "phone-1")
    clock.advance(PRESENCE_LEASE_MS)
    await presence.restore(LISTENER_ID)
    orders = [(row["epoch"], row["version"]) for packet in store.sent for row in [packet.data["devices_order"]]]
    assert len(orders) == 4 and orders == sorted(set(orders))
    await presence.renew()
    present = await presence.present(LISTENER_ID)
    assert present["devices"] == await presence.devices(LISTENER_ID)
    assert tuple(present["devices_order"].values()) == orders[-1]


async def test_of_many_that_depart_while_the_store_is_away_the_log_has_a_line(presence: Presence, store: Store) -> None:
    for device_id in ("phone", "desk", "tablet"):
        await attach(presence, device_id)
    store.fails = {"drop_connection"}
    with capture_logs() as logs:
        for device_id in ("phone", "desk", "tablet"):
            await presence.detach(LISTENER_ID, f"{device_id}-1")
    assert [(line["action"], line["times"]) for line in logs] == [("presence_untold", 1)]


async def test_connections_that_the_store_has_lost_are_told_to_it_again(
    presence: Presence, clock: SetClock, store: Store
) -> None:
    await attach(presence, "phone")
    await attach(presence, "desk")
    await store.drop_connection(LISTENER_ID, "phone-1", clock.now_ms())
    store.sent.clear()
    await presence.restore(LISTENER_ID)
    assert {row["id"] for row in await presence.devices(LISTENER_ID)} == {"phone", "desk"}
    (told,) = store.sent
    assert {row["id"] for row in told.data["devices"]} == {"phone", "desk"}


async def test_leases_that_ran_out_while_the_store_was_away_are_new_at_once(
    presence: Presence, clock: SetClock, store: Store
) -> None:
    await attach(presence, "phone")
    await attach(presence, "desk")
    clock.advance(PRESENCE_LEASE_MS)
    assert await presence.devices(LISTENER_ID) == []
    store.sent.clear()
    await presence.restore(LISTENER_ID)
    clock.advance(PRESENCE_LEASE_MS - 1)
    assert {row["id"] for row in await presence.devices(LISTENER_ID)} == {"phone", "desk"}
    assert [packet.event for packet in store.sent] == ["devices"]


@pytest.mark.parametrize("error", [StoreUnavailable("away"), ValueError("a bug")])
async def test_leases_that_could_not_be_renewed_are_tried_again_soon(
    presence: Presence, clock: SetClock, store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    await attach(presence, "phone")
    store.fails, store.error, store.renewing = {"hold_connections"}, error, asyncio.Event()
    store.may_renew.set()
    monkeypatch.setattr(presence_module, "RENEW_INTERVAL_S", 0.0)
    monkeypatch.setattr(presence_module, "RETRY_INTERVAL_S", 0.001)
    presence.start()
    await asyncio.sleep(0)
    # its first look is at once, and another would be in an hour
    monkeypatch.setattr(presence_module, "RENEW_INTERVAL_S", 3_600.0)
    async with asyncio.timeout(5):
        await store.failed.wait()
        clock.advance(PRESENCE_LEASE_MS)
        store.fails = set()
        await store.renewing.wait()
    await presence.stop()
    assert len(await presence.devices(LISTENER_ID)) == 1


async def test_where_the_store_has_lost_no_connection_nobody_is_told(presence: Presence, store: Store) -> None:
    await attach(presence, "phone")
    store.sent.clear()
    await presence.restore(LISTENER_ID)
    await presence.restore(OTHER_LISTENER_ID)
    assert store.sent == []


async def test_a_connection_that_goes_while_it_is_told_again_does_not_live_on(
    presence: Presence, clock: SetClock, store: Store
) -> None:
    await attach(presence, "phone")
    await store.drop_connection(LISTENER_ID, "phone-1", clock.now_ms())
    store.renewing = asyncio.Event()
    restoring = asyncio.create_task(presence.restore(LISTENER_ID))
    await store.renewing.wait()
    await presence.detach(LISTENER_ID, "phone-1")
    store.may_renew.set()
    await restoring
    assert await presence.devices(LISTENER_ID) == []
