"""Each command as an event: the payload that the server's own models take, and what it means."""

from typing import Any

import pytest

from playhead.client.core import wishes
from playhead.client.core.wishes import Wish
from playhead.playback.commands import Play, Seek
from playhead.realtime.handlers import EVENTS
from tests.unit.client.core.recording import SCRIPT_ID, SESSION_ID

ALL = [
    wishes.play(session_id=SESSION_ID),
    wishes.play(script_id=SCRIPT_ID, position=1.5, device_id="desk", expected_revision=3),
    wishes.pause(SESSION_ID),
    wishes.pause(SESSION_ID, position=2.5, expected_revision=3),
    wishes.seek(SESSION_ID, 120.5),
    wishes.seek(SESSION_ID, 120.5, heard=1.0, expected_revision=3),
    wishes.loop(SESSION_ID, 10.0, 22.0),
    wishes.loop(SESSION_ID, 10.0, 22.0, enabled=False, expected_revision=3),
    wishes.rate(SESSION_ID, 1.5, expected_revision=3),
    wishes.transfer(SESSION_ID, "desk", expected_revision=3),
    wishes.mode(SESSION_ID, "together", expected_revision=3),
    wishes.sleep(SESSION_ID, after=900.0),
    wishes.sleep(SESSION_ID, at_end_of_loop=True, expected_revision=3),
    wishes.sleep(SESSION_ID),
    wishes.restore(SESSION_ID, "7-5", expected_revision=3),
    wishes.leave(SESSION_ID),
    wishes.end(SESSION_ID, expected_revision=3),
]


@pytest.mark.parametrize("wish", ALL, ids=lambda wish: wish.event)
def test_the_server_takes_every_wish_and_means_the_same(wish: Wish) -> None:
    request: Any = EVENTS[wish.event].model.model_validate({**wish.payload, "command_id": SESSION_ID})
    if wish.command is not None:
        assert request.command() == wish.command


def test_what_is_not_given_is_not_sent() -> None:
    assert wishes.pause(SESSION_ID).payload == {"session_id": SESSION_ID}
    assert wishes.loop(SESSION_ID, 0.0, 1.0, enabled=False).payload["enabled"] is False
    assert wishes.play(script_id=SCRIPT_ID, position=0.0).command == Play(position_ms=0)


def test_places_become_milliseconds_as_on_the_server() -> None:
    assert wishes.seek(SESSION_ID, 20.4996, heard=0.0).command == Seek(position_ms=20_500, from_ms=0)


@pytest.mark.parametrize("ids", [{}, {"session_id": SESSION_ID, "script_id": SCRIPT_ID}])
def test_a_play_names_a_session_or_a_script(ids: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="either"):
        wishes.play(**ids)
