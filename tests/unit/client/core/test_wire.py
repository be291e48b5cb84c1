"""Reading what arrives: strict about what is needed, blind to what is new."""

from typing import Any

import pytest

from playhead.client.core.wire import (
    Accepted,
    Loop,
    Malformed,
    Played,
    Refusal,
    Snapshot,
    State,
    read,
    read_answer,
)
from tests.unit.client.core.recording import NOW_MS, accepted, caused, make_state, refused, wire


def test_a_state_is_read_as_it_was_sent() -> None:
    sent = caused("loop", "desk", "c-1", loop=Loop(start=1.0, end=2.5, enabled=True), sleep_at=NOW_MS)
    assert read(State, wire(sent)) == sent


def test_fields_of_a_newer_server_are_passed_over() -> None:
    assert read(State, {**wire(make_state()), "chapter": 3}) == make_state()


def test_fields_that_may_be_missing_have_their_defaults() -> None:
    fields = wire(make_state())
    for name in ("sleep_at_end_of_loop", "cause", "loop", "ended"):
        del fields[name]
    assert read(State, fields) == make_state()


@pytest.mark.parametrize("data", [None, [], "state", {}, {**wire(make_state()), "revision": "many"}])
def test_what_is_no_state_is_malformed(data: Any) -> None:
    with pytest.raises(Malformed, match="not a State"):
        read(State, data)


def test_an_ack_is_the_good_answer_or_the_refusal() -> None:
    good = read_answer(Accepted, accepted(make_state()))
    assert good == Accepted(state=make_state(), server_time=NOW_MS)
    bad = read_answer(Accepted, refused("conflict", state=wire(make_state()), reported=12.5, retry_after_ms=10))
    assert bad == Refusal(code="conflict", message="conflict!", state=make_state(), reported=12.5, retry_after_ms=10.0)


def test_a_snapshot_and_a_play_have_what_they_add() -> None:
    snapshot = read_answer(
        Snapshot,
        {
            "ok": True,
            "state": None,
            "place": {"position": 3.5, "finished": False},
            "server_time": NOW_MS,
            "devices": [],
            "devices_order": {"epoch": 1, "version": 1},
        },
    )
    assert isinstance(snapshot, Snapshot) and snapshot.place is not None and snapshot.place.position == 3.5
    played = read_answer(
        Played, accepted(make_state(), created=True, stream_url="https://media/x", stream_expires_at=None)
    )
    assert isinstance(played, Played) and played.created and played.stream_url == "https://media/x"


@pytest.mark.parametrize(
    "ack", [None, "ok", {}, {"ok": "yes"}, {"ok": True}, {"ok": False}, {"ok": False, "error": {}}]
)
def test_what_is_no_ack_is_malformed(ack: Any) -> None:
    with pytest.raises(Malformed):
        read_answer(Accepted, ack)


def test_states_are_ordered_by_epoch_and_then_by_revision() -> None:
    assert make_state(epoch=8, revision=1).order > make_state(epoch=7, revision=99).order > make_state().order
