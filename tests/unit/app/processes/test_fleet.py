"""Which process is started, replaced or ended when. Nothing runs here: the fleet is told what happened."""

import pytest

from playhead.app.development.children import Backoff
from playhead.app.processes.fleet import Effect, Fleet, Retire, Say, Start, Stop

BACKOFF = Backoff(first_s=1.0, longest_s=3.0, crashes_max=5, healthy_after_s=30.0)
KILLED = -9


def acts(effects: list[Effect]) -> list[Effect]:
    """Without what is only said."""
    return [effect for effect in effects if not isinstance(effect, Say)]


def said(effects: list[Effect]) -> list[str]:
    return [effect.action for effect in effects if isinstance(effect, Say)]


def up(processes: int) -> Fleet:
    """All serve and are ready: process n in slot n."""
    fleet = Fleet(processes, BACKOFF)
    fleet.begin()
    for process in range(processes):
        fleet.started(process)
        fleet.serving(process)
        fleet.ready(process)
    return fleet


def replaced(fleet: Fleet, old: int, new: int) -> list[Effect]:
    """`new` takes the place of `old`; what is to be done when `old` has ended."""
    fleet.started(new)
    fleet.serving(new)
    assert fleet.ready(new) == [Retire(old)]
    return fleet.ended(old, 0, 100.0)


def test_one_process_is_started_first_and_the_others_once_it_serves() -> None:
    fleet = Fleet(3, BACKOFF)
    assert fleet.begin() == [Start(0, 0)]
    assert fleet.started(0) == []
    assert fleet.serving(0) == [Start(1, 1), Start(2, 2)]
    assert fleet.started(1) == fleet.serving(1) == fleet.ready(1) == fleet.ready(0) == []


def test_a_process_that_cannot_start_at_all_ends_everything_with_its_code() -> None:
    fleet = Fleet(3, BACKOFF)
    fleet.begin()
    fleet.started(0)
    assert fleet.ended(0, 3, 0.1) == []
    assert fleet.over and fleet.exit_code == 3


def test_one_of_the_others_that_cannot_start_at_all_ends_those_that_can() -> None:
    fleet = Fleet(2, BACKOFF)
    fleet.begin()
    fleet.started(0)
    fleet.serving(0)
    fleet.started(1)
    assert fleet.ended(1, 1, 0.1) == [Stop(0)]
    assert not fleet.over
    fleet.ended(0, 0, 5.0)
    assert fleet.over and fleet.exit_code == 1


def test_a_process_that_is_killed_before_it_serves_is_started_again() -> None:
    fleet = Fleet(1, BACKOFF)
    fleet.begin()
    fleet.started(0)
    assert acts(fleet.ended(0, KILLED, 0.1)) == [Start(0, 1, 1.0)]


def test_a_process_that_dies_is_started_again_later_each_time_and_too_often_ends_everything() -> None:
    fleet = up(2)
    waits = []
    for process in (0, 2, 3, 4):
        (start,) = acts(fleet.ended(process, KILLED, 1.0))
        assert isinstance(start, Start) and start.slot == 0
        waits.append(start.after_s)
        fleet.started(start.process)
        fleet.serving(start.process)
    assert waits == [1.0, 2.0, 3.0, 3.0]
    last = fleet.ended(5, KILLED, 29.9)
    assert acts(last) == [Stop(1)] and said(last) == ["process_given_up"]
    assert fleet.exit_code == 1


def test_a_process_that_has_lived_long_enough_is_at_its_first_crash_again() -> None:
    fleet = up(1)
    fleet.ended(0, 1, 1.0)
    fleet.started(1)
    assert acts(fleet.ended(1, 1, 30.0)) == [Start(0, 2, 1.0)]


def test_the_crashes_of_one_slot_are_not_those_of_another() -> None:
    fleet = up(2)
    fleet.ended(0, 1, 1.0)
    assert acts(fleet.ended(1, 1, 1.0)) == [Start(1, 3, 1.0)]


def test_a_rolling_restart_replaces_one_after_the_other_each_when_the_one_before_is_gone() -> None:
    fleet = up(3)
    assert acts(fleet.restart()) == [Start(0, 3)]
    assert fleet.started(3) == fleet.serving(3) == []
    assert fleet.ready(3) == [Retire(0)]
    assert fleet.ended(0, 0, 100.0) == [Start(1, 4)]
    assert replaced(fleet, 1, 4) == [Start(2, 5)]
    assert said(replaced(fleet, 2, 5)) == ["restarted"]
    assert not fleet.restarting


def test_an_old_process_serves_until_its_successor_is_ready() -> None:
    fleet = up(2)
    fleet.restart()
    assert fleet.started(2) == fleet.serving(2) == []


@pytest.mark.parametrize("what", ["late", "ended"])
def test_a_successor_that_does_not_become_ready_ends_the_restart_and_nobody_else(what: str) -> None:
    fleet = up(2)
    fleet.restart()
    fleet.started(2)
    effects = fleet.late(2) if what == "late" else fleet.ended(2, 1, 0.5)
    assert acts(effects) == ([Stop(2)] if what == "late" else [])
    assert said(effects) == ["restart_given_up"]
    assert not fleet.restarting and not fleet.stopping
    if what == "late":
        assert fleet.ended(2, 0, 61.0) == []
    assert acts(fleet.restart()) == [Start(0, 3)], "it may be tried again"


def test_a_process_that_is_ready_in_time_is_never_late() -> None:
    fleet = up(1)
    fleet.restart()
    fleet.started(1)
    fleet.ready(1)
    assert fleet.late(1) == fleet.late(0) == []


def test_where_the_old_one_dies_during_the_start_of_its_successor_the_restart_goes_on() -> None:
    fleet = up(2)
    fleet.restart()
    fleet.started(2)
    assert acts(fleet.ended(0, KILLED, 1.0)) == []
    assert fleet.ready(2) == [Start(1, 3)]


def test_where_both_die_the_slot_is_filled_again_and_the_restart_is_given_up() -> None:
    fleet = up(2)
    fleet.restart()
    fleet.started(2)
    fleet.ended(0, KILLED, 1.0)
    assert acts(fleet.ended(2, 1, 0.5)) == [Start(0, 3, 1.0)]


def test_a_slot_whose_process_has_just_died_is_passed_over_by_a_restart() -> None:
    fleet = up(2)
    assert acts(fleet.ended(0, KILLED, 1.0)) == [Start(0, 2, 1.0)]
    assert acts(fleet.restart()) == [Start(1, 3)]


def test_a_process_that_dies_elsewhere_during_a_restart_comes_back_and_does_not_disturb_it() -> None:
    fleet = up(3)
    fleet.restart()
    fleet.started(3)
    assert acts(fleet.ended(2, KILLED, 1.0)) == [Start(2, 4, 1.0)]
    assert fleet.ready(3) == [Retire(0)]


def test_a_restart_that_is_asked_for_during_a_restart_follows_it() -> None:
    fleet = up(1)
    fleet.restart()
    assert fleet.restart() == fleet.restart() == []
    assert acts(replaced(fleet, 0, 1)) == [Start(0, 2)]
    assert said(replaced(fleet, 1, 2)) == ["restarted"]


def test_nothing_is_restarted_before_all_have_been_started() -> None:
    fleet = Fleet(2, BACKOFF)
    fleet.begin()
    assert said(fleet.restart()) == ["restart_refused"] and not fleet.restarting


def test_stopping_ends_all_that_run_and_starts_none_that_wait() -> None:
    fleet = up(3)
    fleet.ended(0, KILLED, 1.0)
    assert fleet.stop() == [Stop(1), Stop(2)]
    assert fleet.stop() == fleet.restart() == []
    assert fleet.ended(1, 0, 5.0) == [] and not fleet.over
    assert fleet.ended(2, KILLED, 5.0) == []
    assert fleet.over and fleet.exit_code == 0


def test_stopping_during_a_restart_ends_old_and_new() -> None:
    fleet = up(2)
    fleet.restart()
    fleet.started(2)
    assert fleet.stop() == [Stop(0), Stop(1), Stop(2)]
    assert fleet.ready(2) == []
    for process in range(3):
        assert fleet.ended(process, 0, 5.0) == []
    assert fleet.over


def test_a_successor_that_is_late_while_all_is_stopped_is_no_matter() -> None:
    fleet = up(2)
    fleet.restart()
    fleet.started(2)
    fleet.stop()
    assert fleet.late(2) == []


def test_a_late_successor_that_ends_during_the_next_restart_is_not_the_one_that_is_waited_for() -> None:
    fleet = up(2)
    fleet.restart()
    fleet.started(2)
    fleet.late(2)
    assert acts(fleet.restart()) == [Start(0, 3)]
    fleet.started(3)
    assert fleet.ready(3) == [Retire(0)]
    assert fleet.ended(2, 0, 70.0) == []
    assert acts(fleet.ended(0, 0, 900.0)) == [Start(1, 4)]


def test_stopping_before_anything_runs_is_over_at_once() -> None:
    fleet = Fleet(2, BACKOFF)
    fleet.begin()
    assert fleet.stop() == [] and fleet.over
