"""What happens with every command, counted in plain numbers, which are added to the instruments now and then.

An instrument that several processes share writes each number to its file at once, for about 1 µs; a command has six of
them. `flush` adds up what has come since the last time; a process that is killed takes at most that with it.
"""

from bisect import bisect_left

from prometheus_client import Counter, Histogram


class Count:
    """Adds to a counter."""

    __slots__ = ("_amount", "_counter")

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._amount = 0

    def inc(self, amount: int = 1) -> None:
        self._amount += amount

    def flush(self) -> None:
        amount, self._amount = self._amount, 0
        if amount:
            self._counter.inc(amount)


class Distribution:
    """Adds to a histogram."""

    __slots__ = ("_bounds", "_counts", "_histogram", "_sum")

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._bounds: list[float] = histogram._upper_bounds
        self._counts = [0] * len(self._bounds)
        self._sum = 0.0

    def observe(self, amount: float) -> None:
        self._counts[bisect_left(self._bounds, amount)] += 1
        self._sum += amount

    def flush(self) -> None:
        """The library can be told of one value at a time, so its buckets are added to as it does it itself."""
        counts, self._counts = self._counts, [0] * len(self._bounds)
        amount, self._sum = self._sum, 0.0
        if not any(counts):
            return
        self._histogram._sum.inc(amount)
        for bucket, count in zip(self._histogram._buckets, counts, strict=True):
            if count:
                bucket.inc(count)


class Tallies:
    """Those of one process: one for each instrument, whoever counts."""

    def __init__(self) -> None:
        self._counts: dict[Counter, Count] = {}
        self._distributions: dict[Histogram, Distribution] = {}

    def count(self, counter: Counter) -> Count:
        """`counter` has all its labels."""
        if counter not in self._counts:
            self._counts[counter] = Count(counter)
        return self._counts[counter]

    def distribution(self, histogram: Histogram) -> Distribution:
        """`histogram` has all its labels."""
        if histogram not in self._distributions:
            self._distributions[histogram] = Distribution(histogram)
        return self._distributions[histogram]

    def flush(self) -> None:
        for count in self._counts.values():
            count.flush()
        for distribution in self._distributions.values():
            distribution.flush()
