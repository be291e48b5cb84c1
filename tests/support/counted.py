"""What a process has counted so far, also what it would have added to its instruments a moment later."""

from playhead.runtime.metrics import Metrics


def requests_counted(metrics: Metrics, method: str, route: str, status: str) -> float:
    metrics.tallies.flush()
    return float(metrics.requests.labels(method, route, status)._value.get())
