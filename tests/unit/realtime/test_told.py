"""What all devices of a listener know here, what some of them do, and what is left of an end."""

from playhead.realtime.told import Told

ONE, TWO = "one", "two"


def test_what_all_know_some_know_as_well() -> None:
    told = Told()
    told.tell_all(ONE, (7, 1), ended=False)
    told.tell_one(ONE, (7, 3), ended=False)
    assert (told.all, told.some) == ({ONE: (7, 1)}, {ONE: (7, 3)})


def test_what_comes_late_takes_nothing_back() -> None:
    told = Told()
    told.tell_all(ONE, (7, 3), ended=False)
    told.tell_all(ONE, (7, 2), ended=False)
    told.tell_one(ONE, (6, 9), ended=False)
    assert told.all == told.some == {ONE: (7, 3)}


def test_of_an_end_that_all_know_the_epoch_is_left() -> None:
    told = Told()
    told.tell_all(ONE, (7, 3), ended=False)
    told.tell_all(ONE, (7, 4), ended=True)
    told.tell_all(TWO, (5, 1), ended=True)
    assert told == Told(ended_epoch=7)


def test_an_end_that_one_knows_leaves_the_session_to_the_others() -> None:
    told = Told()
    told.tell_all(ONE, (7, 3), ended=False)
    told.tell_one(ONE, (7, 4), ended=True)
    assert told == Told(all={ONE: (7, 3)}, some={ONE: (7, 3)}, ended_epoch=7)


def test_forgetting_says_whether_anybody_had_heard_of_it() -> None:
    told = Told()
    told.tell_one(ONE, (7, 3), ended=False)
    told.tell_all(TWO, (7, 3), ended=False)
    assert told.forget([ONE, TWO]) and told == Told()
    assert not told.forget([ONE, TWO]) and not told.forget([])


def test_a_store_that_has_gone_back_is_what_counts() -> None:
    told = Told()
    told.tell_all(ONE, (7, 3), ended=False)
    told.tell_one(ONE, (7, 5), ended=False)
    told.go_back(ONE, (7, 2))
    assert told.all == told.some == {ONE: (7, 2)}
