"""Holds what servers send against its documentation: exactly the documented fields, of the documented kinds."""

from typing import Any

from pydantic import BaseModel

from playhead.app.socket_messages import CLIENT_EVENTS, SERVER_EVENTS, RefusalAck


def check_ack(event: str, ack: Any) -> None:
    """Raises ValidationError for an ack that is not as documented. Of an unknown event there is no good one."""
    good = CLIENT_EVENTS.get(event)
    model: type[BaseModel] = RefusalAck if good is None or not ack.get("ok") else good.ack
    model.model_validate(ack, extra="forbid")


def check_event(event: str, data: Any) -> None:
    """Raises for an event that is not documented, or whose data are not."""
    SERVER_EVENTS[event].model.model_validate(data, extra="forbid")
