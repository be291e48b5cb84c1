"""What the benches of many sockets make of what they see: figures, goals, and what a client does by the protocol."""

import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loadtests.bench_hold import SOCKETS_A_SERVER, affordable, server_processes
from loadtests.bench_storm import AFTER_S, BACK_TIMEOUT_S, KILL, ROLLING, Storm, looked_until_s, not_run
from loadtests.bench_storm import figures_of as storm_figures
from loadtests.bench_storm import goals_of as storm_goals
from loadtests.bench_storm import rows_of as storm_rows
from loadtests.holding.device import Device, refusal
from loadtests.holding.figures import Asked, Held, figures_of, goals_of, rows_of, table
from loadtests.holding.files import RESERVED, SOCKETS_A_PROCESS_MAX, sockets_a_process
from loadtests.holding.loads import Loads
from loadtests.holding.pair import Pair
from loadtests.holding.pictures import draw_hold, draw_memory, percentiles_by_time
from loadtests.holding.rest import CACHED_STREAM, UPLOAD, Sampler
from loadtests.holding.waits import BACKOFF_MAX_S, RETRY_MAX_S, backoff_s, retry_s

SECOND = 100
ASKED = Asked(sockets=1_000, minutes=0.15, commands_per_s=4.0, report_every_s=50.0)


WEIGHED = (
    *("sockets_lost", "reports_refused", "commands_failed", "rest_failed", "paused"),
    *("rss_bytes_per_socket", "seek_p95_ms", "rest_p95_ms", "cached_stream_p95_ms"),
)
"""Figures with goals of their own."""


def seen(loads: Loads, number: int, at_s: int, joined: int, **more: Any) -> None:
    loads._note(number, {"at_s": at_s + 0.5, "joined": joined, "late_ms": 1.0, "counts": {}, "times_ms": {}, **more})


@pytest.fixture
def loads() -> Loads:
    loads = Loads(1_000, 2)
    seen(loads, 0, SECOND - 1, 500, times_ms={"connect": [9.0], "seek": [999.0]})
    seen(loads, 0, SECOND, 500, counts={"seeks": 20, "reports": 50}, times_ms={"seek": [1.0, 2.0], "progress": [3.0]})
    seen(loads, 1, SECOND, 500, counts={"seeks": 20, "reports": 50}, times_ms={"seek": [3.0, 4.0]}, late_ms=7.0)
    seen(loads, 0, SECOND + 1, 500, counts={"reports_crossed": 2})
    return loads


@pytest.fixture
def held(loads: Loads) -> Held:
    sampler = Sampler("http://127.0.0.1", "key", "script", 1.0)
    sampler.times_ms |= {CACHED_STREAM: [4.0], "POST /play": [90.0], UPLOAD: [2_000.0]}
    return Held(
        asked=ASKED,
        loads=loads,
        sampler=sampler,
        began_s=SECOND,
        ended_s=SECOND + 10,
        looks=[(SECOND, {"server": 5.0, "load": 1.0}), (SECOND + 10, {"server": 10.0, "load": 2.0})],
        server_rss=[(SECOND, 12_000_000), (SECOND + 5, 14_000_000), (SECOND + 10, 13_040_000)],
        joins_per_s=400.0,
        join_cpu_us={"server": 700.0},
        fresh={"rss": 1_000_000, "pss": 500_000},
        at_first={"rss": 11_000_000, "pss": 5_500_000},
        first_joined=1_000,
        at_last={"rss": 13_000_000, "pss": 7_000_000},
        valkey_bytes=2_000_000,
        network_bytes=1_500_000,
        rows_written=250,
        servers=2,
    )


def test_figures_are_those_of_the_time_that_was_measured(held: Held) -> None:
    figures = figures_of(held, ("server", "load"))
    assert (figures["sockets"], figures["commands_per_s"], figures["reports_per_s"]) == (1_000, 4.0, 10.0)
    assert (figures["seek_p50_ms"], figures["seek_p99_ms"], figures["report_p95_ms"]) == (3.0, 4.0, 3.0)
    assert (figures["server_cores"], figures["server_cpu_us_per_socket_s"]) == (0.5, 500.0)
    assert (figures["server_cpu_us_per_join"], figures["load_cores"]) == (700.0, 0.1)
    assert (figures["rss_bytes_per_socket"], figures["pss_bytes_per_socket"]) == (10_000, 5_000)
    assert (figures["end_rss_bytes_per_socket"], figures["valkey_bytes_per_socket"]) == (12_000, 2_000)
    assert figures["network_bytes_per_socket_s"] == 150.0
    assert figures["postgresql_rows_per_s"] == 25.0
    assert (figures["rest_p95_ms"], figures["upload_p95_ms"], figures["cached_stream_p95_ms"]) == (90.0, 2_000.0, 4.0)
    assert figures["load_late_ms"] == 7.0
    assert (figures["begin_server_rss_mb"], figures["end_server_rss_mb"]) == (12.0, 13.0)


def test_a_report_that_crossed_a_seek_is_no_failure(held: Held) -> None:
    seen(held.loads, 0, SECOND + 2, 500, counts={"reports_refused_invalid": 3})
    figures = figures_of(held, ("server",))
    assert (figures["reports_crossed"], figures["reports_refused"]) == (2, 3)


def test_only_what_the_server_has_done_is_reached(held: Held) -> None:
    seen(held.loads, 0, SECOND + 2, 500, counts={"reports_refused_invalid": 3}, times_ms={"progress": [1.0] * 20})
    figures = figures_of(held, ("server",))
    assert figures["reports_taken_per_s"] == 1.8, "21 answers, of which three said no"
    assert figures["commands_arrived_per_s"] == 0.4, "four of forty"


def test_goals_of_holding_hold_at_their_limits_and_not_past_them(held: Held) -> None:
    figures = figures_of(held, ("server",)) | {"rss_bytes_per_socket": 12_288.0, "seek_p95_ms": 49.9}
    reached = {"reports_taken_per_s": 9.5, "commands_arrived_per_s": 3.8}
    assert all(goal.met for goal in goals_of(figures | reached, ASKED).values())
    past = {
        "rss_bytes_per_socket": 12_289.0,
        "seek_p95_ms": 50.0,
        "rest_p95_ms": 300.0,
        "cached_stream_p95_ms": 50.0,
        **dict.fromkeys(("sockets_lost", "reports_refused", "commands_failed", "rest_failed", "paused"), 1.0),
    }
    more = replace(ASKED, sockets=1_100, minutes=0.18, commands_per_s=4.3)
    assert not any(goal.met for goal in goals_of(figures | reached | past, more).values())


def test_reports_and_seeks_are_to_reach_nearly_what_was_asked_for() -> None:
    asked = Asked(sockets=50_000, minutes=10.0, commands_per_s=500.0, report_every_s=10.0)
    figures = dict.fromkeys(WEIGHED, 0.0) | {"sockets": 50_000.0, "minutes_held": 10.0}
    for reports, commands, met in ((2_375.0, 475.0, True), (2_374.9, 474.9, False)):
        reached = {"reports_taken_per_s": reports, "commands_arrived_per_s": commands}
        goals = [goals_of(figures | reached, asked)[name] for name in reached]
        assert [(goal.goal, goal.met) for goal in goals] == [(">= 2375", met), (">= 475", met)]


def test_only_the_time_with_all_sockets_counts_as_held(held: Held) -> None:
    assert figures_of(held, ("server",))["minutes_held"] == 0.17, "ten seconds, of which the last eight were silent"
    seen(held.loads, 1, SECOND + 2, 499)
    seen(held.loads, 1, SECOND + 5, 500)
    assert figures_of(held, ("server",))["minutes_held"] == 0.12, "without three of them"
    held.began_s += 0.6
    assert figures_of(held, ("server",))["minutes_held"] == 0.11, "nor with what was before"


class Axes:
    """What is drawn."""

    def __init__(self) -> None:
        self.lines: list[tuple[list[float], list[float]]] = []

    def plot(self, x: list[float], y: list[float], label: str) -> None:
        self.lines.append((x, y))

    def set_ylim(self, bottom: float, top: float) -> None: ...
    def set_ylabel(self, text: str) -> None: ...


def test_the_servers_memory_is_drawn_by_time(held: Held, tmp_path: Path) -> None:
    axes = Axes()
    draw_memory(held, axes)
    assert axes.lines == [([0, 5, 10], [12.0, 14.0, 13.04])]
    draw_hold(held, "a run", tmp_path / "hold.svg")
    assert (tmp_path / "hold.svg").read_text().count('<g id="axes_') == 4


def test_rows_are_what_was_seen_over_sockets_and_every_route(held: Held) -> None:
    found = {row.name: row for row in rows_of(held)}
    assert found["seek → state on the other device"].p95_ms == 4.0
    assert found["a socket, until it is joined"].count == 1, "also those before"
    assert {UPLOAD, CACHED_STREAM, "POST /play"} <= found.keys()


def test_times_lie_in_bins(loads: Loads) -> None:
    starts, (p50, _p95, _p99) = percentiles_by_time(loads, "seek", SECOND - 10, SECOND + 10)
    assert (starts, p50) == ([0, 10], [999.0, 3.0])


def test_sockets_are_shared_out_among_processes() -> None:
    assert server_processes(50_000, 20_000) == -(-50_000 // SOCKETS_A_SERVER) == 4
    assert server_processes(500, 20_000) == 2
    assert server_processes(50_000, 1_024) == -(-50_000 // (1_024 - RESERVED))
    assert sockets_a_process(1_000_000) == SOCKETS_A_PROCESS_MAX
    assert sum(Loads(50_001, 3)._pairs) == 25_000


def test_more_sockets_than_there_is_memory_for_are_not_tried_and_that_is_said() -> None:
    notes: list[str] = []
    assert affordable(100, notes) == 100 and not notes
    assert affordable(10**12, notes) < 10**9 and len(notes) == 1


# storms


def storm(**changes: Any) -> Storm:
    fields: dict[str, Any] = {
        "name": "kill",
        "began_s": 10.0,
        "ended_s": 60.0,
        "back_s": 20.0,
        "missing": 0,
        "counts": Counter(lost=100, seeks=50, seeks_repeated=2),
        "back_ms": [1_000.0, 2_000.0, 20_000.0],
    }
    return Storm(**{**fields, **changes})


def test_a_storm_is_told_by_when_all_were_back() -> None:
    figures = storm_figures([storm()], 100)
    assert (figures["kill_all_back_s"], figures["kill_away_p50_s"], figures["kill_away_max_s"]) == (20.0, 2.0, 20.0)
    assert figures["kill_commands_repeated"] == 2
    assert all(goal.met for goal in storm_goals(figures).values())


def test_a_storm_whose_clients_do_not_all_come_back_misses_its_goals() -> None:
    counts = Counter(acked_lost=1, paused=1, gave_up=1, seeks_failed=1)
    figures = storm_figures([storm(back_s=None, missing=3, counts=counts)], 100)
    assert figures["kill_all_back_s"] == BACK_TIMEOUT_S
    goals = storm_goals(figures)
    assert len(goals) == 6 and not any(goal.met for goal in goals.values())


@pytest.mark.parametrize(("took_s", "looked_s"), [(20.0, 130.0), (105.0, 130.0), (106.0, 106.0 + AFTER_S)])
def test_after_a_kill_one_looks_until_the_last_lease_of_before_has_run_out(took_s: float, looked_s: float) -> None:
    assert looked_until_s(KILL, 50.0, 50.0 + took_s) == 50.0 + looked_s
    assert looked_until_s(ROLLING, 50.0, 50.0 + took_s) == 50.0 + took_s + AFTER_S


@pytest.mark.parametrize(
    ("order", "notes"),
    [
        ([KILL, ROLLING], []),
        ([KILL], ["The rolling restart was not run."]),
        ([ROLLING], ["The kill of all servers at once was not run."]),
    ],
)
def test_what_was_not_run_is_said(order: list[str], notes: list[str]) -> None:
    assert not_run(order) == notes


def test_a_table_has_a_line_a_row() -> None:
    head, line = table(storm_rows([storm()])).splitlines()
    assert head.split() == ["count", "failed", "p50", "ms", "p95", "ms", "p99", "ms"]
    assert line.split()[-5:] == ["3", "0", "2000", "20000", "20000"]
    assert len(line) == len(head)


# what a client does


class Nobody:
    """Whom nothing is told."""

    def connected(self, device: Device, refused: Any) -> None: ...
    def event(self, device: Device, name: str, data: Any) -> None: ...
    def closed(self, device: Device) -> None: ...


def state(pair: Pair, revision: int, **changes: Any) -> dict[str, Any]:
    fields = {"session_id": "s", "epoch": 7, "revision": revision, "position": 100.0, "anchored_at": 0, "rate": 1.0}
    return {**fields, "playing": True, "active_device": pair.devices[0].id, **changes}


@pytest.fixture
def pair() -> Pair:
    pair = Pair()
    pair.devices = tuple(Device(Nobody(), pair, place, "token") for place in (0, 1))
    return pair


def test_only_a_later_state_counts(pair: Pair) -> None:
    phone, desk = pair.devices
    assert pair.take(phone, state(pair, 2))
    assert not pair.take(phone, state(pair, 2)) and not pair.take(phone, state(pair, 1))
    assert pair.take(phone, state(pair, 1, epoch=8)) and pair.take(desk, state(pair, 1))
    assert not pair.paused
    pair.take(phone, state(pair, 2, epoch=8, playing=False))
    assert pair.paused


def test_a_report_tells_when_the_sound_was_at_its_place(pair: Pair) -> None:
    pair.take(pair.devices[0], state(pair, 1, anchored_at=round(time.time() * 1000), rate=4.0))
    told = pair.report()
    anchor = pair.states[0]
    assert anchor is not None
    assert told["position"] == pytest.approx(100.0 + 4 * (told["at"] - anchor["anchored_at"]) / 1000, abs=0.005)


def test_who_sounds_reports_but_not_beside_a_command_of_its_own(pair: Pair) -> None:
    phone = pair.devices[0]
    assert not pair.sounds()
    pair.take(phone, state(pair, 1))
    phone.joined = True
    assert pair.sounds()
    first, second = pair.report(), pair.report()
    assert (first["revision"], second["seq"]) == (1, first["seq"] + 1)
    pair.begin_seek(1, 5.0)
    assert pair.sounds(), "the other one's command"
    pair.begin_seek(0, 5.0)
    assert not pair.sounds()
    pair.seek = None
    pair.take(phone, state(pair, 2, active_device=pair.devices[1].id))
    assert not pair.sounds()


def test_an_acknowledged_seek_that_is_gone_is_seen(pair: Pair) -> None:
    assert not pair.lost_acked(None, pair.acked), "nothing was acknowledged"
    pair.note_acked(state(pair, 5, position=60.0))
    acked = pair.acked
    assert not pair.lost_acked(state(pair, 5, position=60.0), acked) and not pair.lost_acked(state(pair, 6), acked)
    assert pair.lost_acked(state(pair, 4), acked) and pair.lost_acked(None, acked)
    assert pair.lost_acked(state(pair, 5, position=61.0), acked), "another one in its place"


def test_waits_grow_and_are_bounded() -> None:
    assert 0.2 <= backoff_s(0) <= 0.6
    assert 0.5 * BACKOFF_MAX_S <= backoff_s(40) <= 1.5 * BACKOFF_MAX_S
    assert 0.125 <= retry_s(0) <= 0.375 and retry_s(40) <= 1.5 * RETRY_MAX_S


def test_a_refusal_says_when_to_come_back() -> None:
    said = refusal({"code": "overloaded", "message": "…", "retry": True, "retry_after_ms": 1_500})
    assert (said.code, said.retry, said.retry_after_ms) == ("overloaded", True, 1_500)
    assert refusal(None).retry_after_ms == 0
