"""Counts that are kept for a while show in the instruments as if each had been told at once."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from playhead.runtime.tallies import Tallies

BUCKETS_S = (0.1, 1.0)
AMOUNTS_S = (0.0, 0.1, 0.100001, 1.0, 7.5, 0.5)


def test_a_count_is_added_once_however_often_it_is_flushed() -> None:
    registry, tallies = CollectorRegistry(), Tallies()
    counter = Counter("commands_total", "…", ["kind"], registry=registry)
    tallies.count(counter.labels("seek")).inc()
    tallies.count(counter.labels("seek")).inc(3)
    assert registry.get_sample_value("commands_total", {"kind": "seek"}) == 0
    tallies.flush()
    tallies.flush()
    assert registry.get_sample_value("commands_total", {"kind": "seek"}) == 4


def test_a_distribution_shows_what_the_library_would_have_shown() -> None:
    told, tallied, tallies = CollectorRegistry(), CollectorRegistry(), Tallies()
    at_once = Histogram("ack_seconds", "…", registry=told, buckets=BUCKETS_S)
    later = Histogram("ack_seconds", "…", registry=tallied, buckets=BUCKETS_S)
    for amount_s in AMOUNTS_S:
        at_once.observe(amount_s)
        tallies.distribution(later).observe(amount_s)
        if amount_s == 1.0:
            tallies.flush()
    tallies.flush()
    names = [("ack_seconds_bucket", {"le": le}) for le in ("0.1", "1.0", "+Inf")]
    for name, labels in [*names, ("ack_seconds_sum", {}), ("ack_seconds_count", {})]:
        assert tallied.get_sample_value(name, labels) == told.get_sample_value(name, labels)


def test_whoever_counts_for_the_same_instrument_shares_its_tally() -> None:
    tallies = Tallies()
    counter = Counter("deliveries_total", "…", ["event"], registry=CollectorRegistry())
    assert tallies.count(counter.labels("state")) is tallies.count(counter.labels("state"))
