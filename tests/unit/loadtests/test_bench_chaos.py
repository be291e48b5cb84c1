"""The goals and figures of the kills are said as they are."""

from loadtests.bench_chaos import BACK_GOAL_S, Seen, figures, goals, rows, slow
from loadtests.chaos.faults import Kill
from tests.support.figures import PAGE, filled, renew, table

FIGURES = {"wrong": 0.0, "server_back_max_s": 1.999, "everysec_lost_oldest_s": 1.999, "outage_failed": 0.0}
PAST = {"wrong": 1.0, "server_back_max_s": 2.0, "everysec_lost_oldest_s": 2.0, "outage_failed": 1.0}


def test_goals_hold_at_the_limit_and_not_past_it() -> None:
    assert all(goal.met for goal in goals(FIGURES).values())
    assert not any(goal.met for goal in goals(PAST).values())


def test_each_device_that_a_server_cut_off_counts_and_other_kills_as_a_whole() -> None:
    seen = Seen(wrong=["one"], outage={"s": 60.0, "failed": 0})
    seen.kills = [
        Kill(kind="server", at_s=0.0, recovered_s=0.9, back_s=(0.9, 0.5)),
        Kill(kind="server", at_s=1.0, recovered_s=0.7, back_s=(0.7,)),
        Kill(kind="valkey", at_s=2.0, recovered_s=0.4),
    ]
    told = figures(seen)
    assert (told["kills"], told["kills_server"], told["kills_valkey"], told["wrong"]) == (3, 2, 1, 1)
    assert (told["server_back_p50_s"], told["server_back_max_s"]) == (0.7, 0.9)
    assert (told["outage_s"], told["outage_failed"]) == (60.0, 0)
    assert [(row.name, row.count, row.p50_ms) for row in rows(seen)] == [("server", 3, 700.0), ("valkey", 1, 400.0)]


def test_only_a_server_whose_devices_came_back_too_late_is_named() -> None:
    quick, late = (
        Kill(kind="server", at_s=at_s, recovered_s=9.0, back_s=(0.1, back_s))
        for at_s, back_s in ((1.5, BACK_GOAL_S - 0.001), (2.5, BACK_GOAL_S))
    )
    alone = Kill(kind="server", at_s=3.5, recovered_s=9.0, back_s=())
    (told,) = slow([quick, late, alone, Kill(kind="valkey", at_s=4.5, recovered_s=9.0)])
    assert "2.500" in told


def test_the_figures_in_the_documentation_are_those_that_were_kept() -> None:
    text = PAGE.read_text()
    assert table("chaos") in text
    assert text == filled(text, "chaos")


if __name__ == "__main__":
    renew("chaos")
