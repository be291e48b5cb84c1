"""That a line which comes very often is written now and then, and says how often it came."""

from playhead.runtime.seldom import Seldom


def test_the_first_is_written_and_then_one_an_interval_with_how_many() -> None:
    now_s = [100.0]
    seldom = Seldom(1.0, lambda: now_s[0])
    assert seldom.take() == 1
    assert [seldom.take() for _ in range(3)] == [0, 0, 0]
    now_s[0] += 0.999
    assert seldom.take() == 0
    now_s[0] += 0.001
    assert seldom.take() == 5
    assert seldom.take() == 0
    now_s[0] += 60
    assert seldom.take() == 2
