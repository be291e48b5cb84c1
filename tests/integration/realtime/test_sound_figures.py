"""How well it sounds, as devices tell it: counted with the report that carries it, and only what can be."""

import pytest

from playhead.sessions.sound_figures import SOUND_MS_MAX
from tests.support.nodes import Node, make_token
from tests.support.sockets import Client
from tests.support.states import SCRIPT_ID


def told(node: Node, name: str) -> tuple[float | None, float | None]:
    """How many reports have told it, and the seconds of all of them."""
    return (
        node.registry.get_sample_value(f"playhead_{name}_seconds_count"),
        node.registry.get_sample_value(f"playhead_{name}_seconds_sum"),
    )


async def test_what_devices_tell_of_their_sound_is_counted_where_the_report_is_taken(node: Node) -> None:
    phone = await Client.open(node.url, make_token())
    session_id = (await phone.call("play", {"script_id": SCRIPT_ID, "position": 60}))["state"]["session_id"]
    report = {"session_id": session_id, "position": 60, "revision": 1}
    assert (await phone.call("progress", {**report, "stalled_ms": 0, "first_audio_ms": 412.5}))["ok"]
    assert (await phone.call("progress", {**report, "stalled_ms": SOUND_MS_MAX}))["ok"]
    refused = await phone.call("progress", {**report, "position": 900, "stalled_ms": 5, "first_audio_ms": 5})
    assert refused["error"]["code"] == "conflict"
    assert told(node, "first_audio") == (1, 0.4125)
    assert told(node, "stalled") == (2, SOUND_MS_MAX / 1000)
    await phone.close()


@pytest.mark.parametrize("field", ["stalled_ms", "first_audio_ms"])
@pytest.mark.parametrize("value", [-1, SOUND_MS_MAX + 1, "1", True])
async def test_a_silence_that_cannot_be_is_refused(node: Node, field: str, value: object) -> None:
    phone = await Client.open(node.url, make_token())
    session_id = (await phone.call("play", {"script_id": SCRIPT_ID}))["state"]["session_id"]
    answer = await phone.call("progress", {"session_id": session_id, "position": 0, "revision": 1, field: value})
    assert answer["error"]["code"] == "invalid" and field in answer["error"]["message"]
    assert told(node, "stalled") == told(node, "first_audio") == (0, 0)
    await phone.close()
