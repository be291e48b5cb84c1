"""The benchmark of the edge: what it asks for stands for whole hours, and its sums are right."""

from collections import Counter
from uuid import UUID

from loadtests.bench_edge import HOUR, LISTENERS, SCRIPTS, Round, Trace, figures_of


def test_what_is_asked_for_stands_for_a_whole_hour() -> None:
    for every in (1, 25, 120, 10_000):
        objects = Trace("", every).objects()
        assert round(sum(weight for _, weight in objects)) == 3 + HOUR.segments
        assert objects[3][0].endswith("/0.m4s")


def test_popularity_is_zipfs() -> None:
    trace = Trace("", 120)
    drawn = Counter(script for _ in range(50) for script in trace.draw())
    assert len(drawn) == SCRIPTS and all(str(UUID(script)) == script for script in drawn)
    first, tenth = (drawn.most_common(rank)[-1][1] for rank in (1, 10))
    assert 8 < first / tenth < 12
    assert abs(first / (50 * LISTENERS) - 1 / sum(1 / rank for rank in range(1, SCRIPTS + 1))) < 0.01


def test_figures_are_of_all_rounds_and_of_each() -> None:
    cold = Round(requests=100.0, hits=70.0, new=20.0, from_origin=25.0)
    warm = Round(requests=300.0, hits=297.0, new=3.0, from_origin=3.0, failed=1)
    warm.latencies_ms["hit"] = [1.0] * 40
    figures = figures_of([cold, warm], [2.0, 2.0], Counter(segment=28))
    assert figures["hit_percent_round_1"] == 70.0 and figures["ceiling_percent_round_1"] == 80.0
    assert figures["hit_percent_last_round"] == figures["hit_percent_round_2"] == 99.0
    assert figures["hit_percent"] == 91.75 and figures["ceiling_percent"] == 94.25
    assert figures["not_from_origin_percent"] == 93.0
    assert (figures["failed"], figures["requests_sent"], figures["requests_per_s"]) == (1, 40, 10.0)
    assert figures["origin_segment_requests"] == 28
