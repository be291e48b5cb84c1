"""What a socket must show before it is let in: protocol 1, a device, a valid token."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from socketio.exceptions import ConnectionRefusedError as Refused

from playhead.auth.tokens import InvalidToken, Principal, TokenVerifier
from playhead.playback.rejections import Code, Rejection
from playhead.sessions.codec import rejection_payload
from playhead.sessions.requests import Device
from playhead.sessions.validation import explain

PROTOCOL = 1


class Handshake(BaseModel):
    """The `auth` of the Socket.IO handshake."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    token: Annotated[str, Field(repr=False)]
    device: Device
    protocol: Literal[1]


def refused(rejection: Rejection) -> Refused:
    """The refusal as clients see it: `connect_error` with the rejection as its `data`."""
    return Refused(rejection.message, rejection_payload(rejection))


def admit(auth: object, verifier: TokenVerifier) -> tuple[Principal, Device]:
    """Who connects, with which device. Raises the refusal that the client is to see.

    The token is looked at first: who has none learns nothing else.
    """
    fields: dict[str, Any] = auth if isinstance(auth, dict) else {}
    try:
        principal = verifier.verify(fields.get("token"))
    except InvalidToken as error:
        raise refused(Rejection(code=Code.UNAUTHORIZED, detail=str(error))) from None
    if fields.get("protocol") != PROTOCOL:
        raise refused(Rejection(code=Code.UNSUPPORTED_PROTOCOL))
    try:
        return principal, Handshake.model_validate(fields).device
    except ValidationError as error:
        raise refused(Rejection(code=Code.INVALID, detail=explain(error))) from None
