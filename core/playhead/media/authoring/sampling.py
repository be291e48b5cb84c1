"""Which segments are looked at when not all are: the same ones each time, in pairs, so that joins are seen."""

PAIR = 2


def sampled(segments: int, most: int) -> list[int]:
    """At most `most` (two at least) of the numbers [0, segments): pairs of neighbours, the first, the last, evenly."""
    if segments <= most:
        return list(range(segments))
    pairs = max(1, most // PAIR)
    last = segments - PAIR
    firsts = [0] if pairs == 1 else [last * pair // (pairs - 1) for pair in range(pairs)]
    return sorted({number for first in firsts for number in range(first, first + PAIR)})
