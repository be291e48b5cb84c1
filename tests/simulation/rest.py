"""An app that knows nothing but REST: the same use cases, as the device `rest`, with reports that have no revision."""

from typing import TYPE_CHECKING

from playhead.db import DatabaseUnavailable
from playhead.playback.commands import REST_DEVICE_ID, Command, Origin, Pause, Play, Report, Seek
from playhead.playback.rejections import Code, Rejection
from playhead.playback.state import SessionState
from playhead.sessions.answers import Outcome
from playhead.sessions.codec import rejection_payload, state_payload
from playhead.sessions.store import StoreUnavailable
from tests.simulation.node import Node
from tests.simulation.record import ASKED, Asked

if TYPE_CHECKING:
    from tests.simulation.device import Device
    from tests.simulation.world import World


class RestApp:
    """One request at a time, of the listener of some device, to any node that serves."""

    def __init__(self, world: "World") -> None:
        self._world = world

    def act(self, device: "Device") -> None:
        world, chance = self._world, self._world.chance
        nodes = [node for node in world.nodes.values() if node.serves]
        live = [
            state
            for state in world.valkey.sessions().values()
            if state.listener_id == device.listener_id and state.ended_at_ms is None
        ]
        if nodes and live:
            node, state = chance.pick(nodes), chance.pick(live)
            world.loop.create_task(self._ask(node, state, self._command(state)))

    def _command(self, state: SessionState) -> Command:
        chance = self._world.chance
        place_ms = chance.ms(0, state.duration_ms)
        near_ms = min(state.duration_ms, state.position_ms + chance.ms(-3_000, 20_000))
        commands: list[Command] = [
            Report(position_ms=max(0, near_ms)),
            Report(position_ms=place_ms, rate=chance.pick((None, 2.0))),
        ]
        commands += [Seek(position_ms=place_ms), Pause(), Play(), Play(position_ms=place_ms)]
        return chance.pick(commands)

    async def _ask(self, node: Node, state: SessionState, command: Command) -> None:
        world = self._world
        command_id = world.chance.uuid()
        asked = Asked(node.name, "rest", state.listener_id, command_id=command_id)
        asked.sent_us = asked.begun_us = world.loop.now_us
        ASKED.set(asked)
        world.note("rest", "asks %s for %s of %s", node.name, command, state.session_id)
        origin = Origin(device_id=REST_DEVICE_ID, command_id=command_id)
        answer: Outcome | Rejection
        try:
            answer = await node.service.apply(state.listener_id, state.session_id, command, origin)
        except (StoreUnavailable, DatabaseUnavailable):
            answer = Rejection(code=Code.UNAVAILABLE)
        await node.wire.hang_if_dead()
        world.oracles.answered(node, asked, _told(answer))


def _told(answer: Outcome | Rejection) -> dict[str, object]:
    if isinstance(answer, Rejection):
        return {"ok": False, "error": rejection_payload(answer)}
    return {"ok": True, "state": state_payload(answer.state, answer.cause_of_state)}
