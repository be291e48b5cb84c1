"""What the server tells of its own accord: what is taken, passed on to the app, or mended by a snapshot."""

from typing import Any

from playhead.client.core.device_list import DeviceList
from playhead.client.core.effects import Tell
from playhead.client.core.events import Event, Prepared, ServerEvent, SessionEnded, SessionStarted
from playhead.client.core.hands import Hands
from playhead.client.core.joins import Joins
from playhead.client.core.line import Line
from playhead.client.core.renewal import Renewal
from playhead.client.core.sessions import Sessions
from playhead.client.core.wire import Devices, Draining, Refusal, State, read


class News:
    """Passes on to each part what is its own."""

    def __init__(
        self, line: Line, sessions: Sessions, devices: DeviceList, joins: Joins, renewal: Renewal, hands: Hands
    ) -> None:
        self._line = line
        self._sessions = sessions
        self._devices = devices
        self._joins = joins
        self._renewal = renewal
        self._hands = hands

    def hear(self, event: str, data: Any, now_ms: float) -> None:
        """Raises Malformed for what is not as documented."""
        match event:
            case "state":
                self._hands.take(read(State, data))
            case "devices":
                self._devices.see(read(Devices, data))
            case "session_started":
                started = read(SessionStarted, data)
                self._tell(started)
                self._hands.take(started.state)
            case "session_ended":
                self._ended(read(SessionEnded, data), now_ms)
            case "prepare":
                self._tell(read(Prepared, data))
            case "resync":
                self._joins.refresh(now_ms)
            case "expiring":
                self._renewal.begin()
            case "draining":
                self._line.drain(read(Draining, data).retry_after_ms, now_ms)
            case "closing":
                self._line.will_close(read(Refusal, data))
            case _:
                self._tell(ServerEvent(name=event, data=data))

    def _ended(self, ended: SessionEnded, now_ms: float) -> None:
        """The event has no order: the state that says so is asked for, if it has not come."""
        self._tell(ended)
        held = self._sessions.get(ended.session_id)
        if held is not None and not held.ended:
            self._joins.refresh(now_ms, held)

    def _tell(self, event: Event) -> None:
        self._hands.out(Tell(event))
