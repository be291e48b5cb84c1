"""Gauges: exported by who sets them, so that an alarm tells a process that says 0 from one that says nothing."""

from prometheus_client import CollectorRegistry

from playhead.runtime.metrics import create_metrics


def test_a_gauge_that_was_never_set_is_not_exported() -> None:
    registry = CollectorRegistry()
    metrics = create_metrics(registry)
    assert [sample for family in registry.collect() if family.type == "gauge" for sample in family.samples] == []
    metrics.journal_entries.set(0)
    metrics.sockets.inc()
    metrics.links.connected.labels("calls").set(1)
    exported = [sample for family in registry.collect() if family.type == "gauge" for sample in family.samples]
    assert {(sample.name, *sample.labels.values()): sample.value for sample in exported} == {
        ("playhead_journal_entries",): 0,
        ("playhead_sockets",): 1,
        ("playhead_redis_connected", "calls"): 1,
    }
