"""What goes wrong in a schedule, and how it is mended."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.simulation.device import Device
from tests.simulation.node import Node
from tests.simulation.schedule import EVERYSEC_MS, Calamity
from tests.simulation.valkey import Snapshot

if TYPE_CHECKING:
    from tests.simulation.world import World


class Calamities:
    """`calm`: nothing goes wrong any more."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.calm = False
        self._mends: dict[int, Callable[[], None]] = {}
        self._count = 0
        self._snapshots: dict[Calamity, Snapshot] = {}

    def begin(self) -> None:
        for calamity in self._world.plan.calamities:
            loses_ms = self._loses_ms(calamity)
            if loses_ms:
                # the moment that the store will go back to
                self._at(max(0, calamity.at_ms - loses_ms), self._remember, calamity)
            self._at(calamity.at_ms, self._strike, calamity)

    def _loses_ms(self, calamity: Calamity) -> int:
        if calamity.kind == "store_crash":
            return min(calamity.loses_ms, EVERYSEC_MS) if self._world.plan.persistence == "everysec" else 0
        return calamity.loses_ms if calamity.kind == "store_failover" else 0

    def _at(self, at_ms: int, do: Callable[[Calamity], None], calamity: Calamity) -> None:
        self._world.loop.call_later(at_ms / 1000, do, calamity)

    def _remember(self, calamity: Calamity) -> None:
        self._snapshots[calamity] = self._world.valkey.snapshot()

    def _strike(self, calamity: Calamity) -> None:
        if self.calm:
            return
        self._world.note("CALAMITY", "%s", calamity)
        getattr(self, f"_{calamity.kind}")(calamity)

    def _for(self, lasts_ms: int, mend: Callable[[], None]) -> None:
        """`mend` is called after that time, or when everything is mended."""
        self._count += 1
        number = self._count
        self._mends[number] = mend
        self._world.loop.call_later(lasts_ms / 1000, self._mend, number)

    def _mend(self, number: int) -> None:
        mend = self._mends.pop(number, None)
        if mend is not None:
            mend()

    def mend_everything(self) -> None:
        self.calm = True
        for number in list(self._mends):
            self._mend(number)
        world = self._world
        for node in world.nodes.values():
            node.wire.calm = True
        for flusher in world.flushers:
            flusher.wire.calm = True
        for device in world.devices:
            if device.link is not None:
                device.link.calm_down()

    # the state store

    def _store_away(self, calamity: Calamity) -> None:
        valkey = self._world.valkey
        if valkey.up:
            valkey.up = False
            self._cut_buses(calamity.lasts_ms)
            self._for(calamity.lasts_ms, self._store_is_back)

    def _store_is_back(self) -> None:
        self._world.valkey.up = True

    def _store_crash(self, calamity: Calamity) -> None:
        world = self._world
        if not world.valkey.up:
            return
        snapshot, loses_ms = self._snapshots.pop(calamity, None), self._loses_ms(calamity)
        if snapshot is not None and snapshot.life != world.valkey.life:
            # what a life began with is on disk
            snapshot, loses_ms = None, 0
        world.valkey.up = False
        self._cut_buses(calamity.lasts_ms)
        self._for(calamity.lasts_ms, lambda: self._store_lives_again(calamity, snapshot, loses_ms))

    _store_failover = _store_crash

    def _store_lives_again(self, calamity: Calamity, snapshot: Snapshot | None, loses_ms: int) -> None:
        valkey = self._world.valkey
        valkey.come_back(calamity.kind, snapshot, loses_ms)
        valkey.up = True

    def _store_emptied(self, _calamity: Calamity) -> None:
        if self._world.valkey.up:
            self._world.valkey.lose_everything()

    def _cut_buses(self, lasts_ms: int) -> None:
        for node in self._world.nodes.values():
            node.bus.cut(lasts_ms + self._world.chance.ms(0, 1_000))

    # processes

    def _node_of(self, calamity: Calamity) -> Node:
        nodes = list(self._world.nodes.values())
        return nodes[calamity.which % len(nodes)]

    def _node_killed(self, calamity: Calamity) -> None:
        node = self._node_of(calamity)
        if calamity.which % 3 == 0:
            # with a deadline in hand
            node.doomed = lambda: self._kill(node, calamity.lasts_ms)
        else:
            self._kill(node, calamity.lasts_ms)

    def _kill(self, node: Node, lasts_ms: int) -> None:
        if node.serves and not self.calm:
            node.kill()
            self._for(lasts_ms, lambda: self._world.start_node(node.name))

    def _node_drained(self, calamity: Calamity) -> None:
        node = self._node_of(calamity)
        if node.serves:
            self._world.loop.create_task(node.drain())
            self._for(calamity.lasts_ms, lambda: self._world.start_node(node.name))

    def _database_away(self, calamity: Calamity) -> None:
        self._world.rows.up = False
        self._for(calamity.lasts_ms, self._database_is_back)

    def _database_is_back(self) -> None:
        self._world.rows.up = True

    def _flusher_killed(self, calamity: Calamity) -> None:
        number = calamity.which % len(self._world.flushers)
        if not self._world.flushers[number].dead:
            self._world.flushers[number].kill()
            self._for(calamity.lasts_ms, lambda: self._world.start_flusher(number))

    def _bus_cut(self, calamity: Calamity) -> None:
        self._node_of(calamity).bus.cut(calamity.lasts_ms)

    # devices

    def _device_of(self, calamity: Calamity) -> Device:
        device = self._world.devices[calamity.which % len(self._world.devices)]
        device.disturbed = True
        return device

    def _device_cut(self, calamity: Calamity) -> None:
        device = self._device_of(calamity)
        device.offline = True
        device.cut()
        self._for(calamity.lasts_ms, lambda: setattr(device, "offline", False))

    def _device_half_open(self, calamity: Calamity) -> None:
        device = self._device_of(calamity)
        if device.link is not None:
            device.link.go_silent()

    def _device_asleep(self, calamity: Calamity) -> None:
        device = self._device_of(calamity)
        if device.asleep:
            return
        device.go_to_sleep()
        if device.link is not None and calamity.lasts_ms > 20_000:
            device.link.go_silent()
        self._for(calamity.lasts_ms, device.wake_up)

    def _device_slow(self, calamity: Calamity) -> None:
        device = self._device_of(calamity)
        link = device.link
        if link is not None:
            link.reading = False
            self._for(calamity.lasts_ms, lambda: None if device.asleep else link.read_on())

    def _clock_jump(self, calamity: Calamity) -> None:
        # forwards: a client's clock does not run backwards
        self._device_of(calamity).clock.jump(self._world.chance.pick((700, 1_800, 60_000, 5 * 3_600_000)))

    def everybody_away(self, lasts_ms: int) -> None:
        """Every device sleeps for hours, some of them noticed, some of them not."""
        world = self._world
        for device in world.devices:
            if not device.asleep:
                device.go_to_sleep()
                if device.link is not None:
                    device.link.go_silent()
                self._for(lasts_ms + world.chance.ms(0, 5_000), device.wake_up)
        world.loop.advance(world.loop.now_us // 1000 + lasts_ms + 6_000)
