"""What a seed stands for: how many devices and nodes, what goes wrong how often, and which calamities come when.

Each schedule has a few kinds of fault, not all: what goes wrong together with everything else hides what goes wrong
alone. A kind that is off costs nothing and leaves its oracle at its strictest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from tests.simulation.chance import Chance

Persistence = Literal["always", "everysec"]
"""What a crash of the state store loses: nothing, or at most the last two seconds."""
EVERYSEC_MS = 2_000
REPLICA_LAG_MS_MAX = 5_000
NODE_CLOCK_MS_MAX = 50
"""How far a node's clock may be from server time: above, it serves nobody."""
HOUR_MS = 3_600_000

CalamityKind = Literal[
    "store_crash",
    "store_failover",
    "store_emptied",
    "store_away",
    "node_killed",
    "node_drained",
    "database_away",
    "flusher_killed",
    "bus_cut",
    "device_cut",
    "device_half_open",
    "device_asleep",
    "device_slow",
    "clock_jump",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calamity:
    """Something that goes wrong at `at_ms` and is mended `lasts_ms` later. `which`: of several, by number."""

    kind: CalamityKind
    at_ms: int
    lasts_ms: int
    which: int = 0
    loses_ms: int = 0
    """Of the store: how far back its state goes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Chances per call or packet."""

    store_before: float = 0.0
    """A call to the store fails, and nothing was done."""
    store_after: float = 0.0
    """A call to the store was carried out, and its answer is lost."""
    database: float = 0.0
    bus_drop: float = 0.0
    """A packet is lost and with it the connection: the gap is seen later."""
    bus_lost: float = 0.0
    """A packet is lost, and nobody sees it."""
    bus_double: float = 0.0
    bus_late: float = 0.0
    """A packet comes so late to a node that others, and acks, overtake it."""
    ack_lost: float = 0.0
    """The answer of a command is lost, with its socket."""
    stall: float = 0.0
    """The sound of a device stands still for a while."""
    nonsense: float = 0.0
    """A device asks what it must not."""
    rest: float = 0.0
    """The listener uses an app that speaks REST alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A schedule before it is run."""

    seed: int
    nodes: int
    flushers: int
    listeners: int
    devices: int
    """Of each listener."""
    durations_ms: tuple[int, ...]
    """Of the scripts."""
    persistence: Persistence
    actions: int
    pause_ms: int
    """Between two actions, on average."""
    store_ms: int
    """The longest usual way to the store."""
    network_ms: int
    """The longest usual way between a device and a node."""
    faults: Faults
    calamities: tuple[Calamity, ...]
    connections_max: int
    journal_max: int
    quiet_ms: int
    """From when everything is mended until it is first asked whether all agree."""
    hours_apart: bool
    """Everybody is away for hours between two halves of the schedule."""
    to_the_end: bool
    """At the end everybody goes, and the sessions have to end by themselves."""
    clock_shift_ms: int = 0
    """Added to the clock of every device; nothing may change by it."""
    node_clock_ms: int = NODE_CLOCK_MS_MAX

    @property
    def store_is_sound(self) -> bool:
        """Nothing keeps the store from doing its work."""
        kinds = {calamity.kind for calamity in self.calamities}
        broken = kinds & {"store_crash", "store_failover", "store_away", "node_killed", "node_drained"}
        return not broken and not self.faults.store_before and not self.faults.store_after and not self.faults.database

    @property
    def tells_in_time(self) -> bool:
        """Every device that is there learns soon of everything: whatever goes wrong does so with single devices."""
        faults = self.faults
        kinds = {calamity.kind for calamity in self.calamities}
        alone = kinds <= set(OF_DEVICES)
        on_time = not faults.bus_drop and not faults.bus_lost and not faults.bus_late
        return alone and self.store_is_sound and on_time

    @property
    def hears_true(self) -> bool:
        """Every device learns soon what it has to play, has one thing to play, and tells no lies."""
        faults = self.faults
        quiet = len(self.durations_ms) == 1 and not self.calamities and not faults.ack_lost and not self.hours_apart
        return quiet and self.tells_in_time and not faults.nonsense and not faults.rest

    @property
    def telling_ms(self) -> int:
        """The longest that a state takes to a device that reads, where nothing keeps it."""
        return 500 + 2 * 10 * self.store_ms + 2 * 5 * self.network_ms

    @property
    def hearing_slack_ms(self) -> int:
        """What may be credited beyond what was played: rule 3's tolerance, and what runs while a state is under way."""
        return 2_000 + 4 * (10 * self.network_ms + 20 * self.store_ms + 2 * self.node_clock_ms + 200)


def make_plan(seed: int) -> tuple[Plan, Chance]:
    """The plan of a seed, and the generator that its run goes on with."""
    chance = Chance(seed)
    nodes, devices = chance.pick((1, 2, 2, 3)), chance.pick((1, 2, 2, 3, 4))
    actions = chance.pick((4, 7, 10, 14, 22))
    pause_ms = chance.pick((400, 1_500, 3_000, 6_000))
    # with devices alone, the oracles of time are at their strictest
    devices_alone = chance.happens(0.12)
    plan = Plan(
        seed=seed,
        nodes=nodes,
        flushers=chance.pick((1, 1, 2)),
        listeners=chance.pick((1, 1, 2)),
        devices=devices,
        durations_ms=tuple(chance.pick((20_000, 300_000, 3_600_000)) for _ in range(chance.pick((1, 2)))),
        persistence=chance.pick(("always", "everysec")),
        actions=actions,
        pause_ms=pause_ms,
        store_ms=chance.pick((0, 3, 20, 150)),
        network_ms=chance.pick((5, 60, 400)),
        faults=Faults() if devices_alone else _faults(chance),
        calamities=_calamities(chance, actions * pause_ms, OF_DEVICES if devices_alone else tuple(_KINDS)),
        connections_max=2 if chance.happens(0.04) else 32,
        journal_max=chance.pick((2, 6)) if chance.happens(0.05) else 100_000,
        quiet_ms=chance.pick((1_000, 2_000, 2_000, 8_000, 45_000)),
        hours_apart=chance.happens(0.15),
        to_the_end=chance.happens(0.35),
    )
    return plan, chance


def _faults(chance: Chance) -> Faults:
    """Most are off."""

    def rate(on: float, most: float) -> float:
        return chance.random() * most if chance.happens(on) else 0.0

    return Faults(
        store_before=rate(0.25, 0.08),
        store_after=rate(0.25, 0.08),
        database=rate(0.2, 0.1),
        bus_drop=rate(0.25, 0.15),
        bus_lost=rate(0.15, 0.2),
        bus_double=rate(0.2, 0.2),
        bus_late=rate(0.25, 0.3),
        ack_lost=rate(0.3, 0.1),
        stall=rate(0.3, 0.3),
        nonsense=rate(0.4, 0.25),
        rest=rate(0.15, 0.3),
    )


OF_DEVICES: tuple[CalamityKind, ...] = (
    "device_cut",
    "device_half_open",
    "device_asleep",
    "device_slow",
    "device_slow",
    "clock_jump",
)
"""What befalls a single device, and must not be felt by any other."""
_MS = 1_000
_KINDS: dict[CalamityKind, Callable[[Chance], int]] = {
    "store_crash": lambda chance: chance.ms(50, 5 * _MS),
    "store_failover": lambda chance: chance.ms(100, 15 * _MS),
    "store_emptied": lambda chance: 0,
    "store_away": lambda chance: chance.ms(100, 20 * _MS),
    "node_killed": lambda chance: chance.ms(200, 30 * _MS),
    "node_drained": lambda chance: chance.ms(200, 10 * _MS),
    "database_away": lambda chance: chance.ms(500, 90 * _MS),
    "flusher_killed": lambda chance: chance.ms(100, 20 * _MS),
    "bus_cut": lambda chance: chance.ms(50, 10 * _MS),
    "device_cut": lambda chance: chance.ms(50, 60 * _MS),
    "device_half_open": lambda chance: chance.ms(500, 60 * _MS),
    "device_asleep": lambda chance: chance.pick((chance.ms(1 * _MS, 100 * _MS), chance.ms(1, 5) * HOUR_MS)),
    "device_slow": lambda chance: chance.ms(500, 30 * _MS),
    "clock_jump": lambda chance: 0,
}
"""How long each lasts."""


def _calamities(chance: Chance, active_ms: int, kinds_to_pick: Sequence[CalamityKind]) -> tuple[Calamity, ...]:
    """Of at most three kinds, up to six in all."""
    kinds = [chance.pick(kinds_to_pick) for _ in range(chance.pick((0, 1, 1, 2, 3)))]
    found = []
    for kind in kinds:
        for _ in range(chance.pick((1, 1, 2))):
            loses_ms = {
                "store_crash": chance.pick((0, chance.ms(0, EVERYSEC_MS))),
                "store_failover": chance.pick((0, chance.ms(0, REPLICA_LAG_MS_MAX))),
            }.get(kind, 0)
            found.append(
                Calamity(
                    kind=kind,
                    at_ms=chance.ms(0, active_ms),
                    lasts_ms=_KINDS[kind](chance),
                    which=chance.ms(0, 11),
                    loses_ms=loses_ms,
                )
            )
    return tuple(sorted(found, key=lambda calamity: calamity.at_ms))
