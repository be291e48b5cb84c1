"""Who is let in: the token first, then the protocol, then the device; each refusal with its code."""

from typing import Any

import pytest
from socketio.exceptions import ConnectionRefusedError as Refused

from playhead.auth.tokens import TokenVerifier
from playhead.playback.commands import REST_DEVICE_ID
from playhead.realtime.handshake import admit
from tests.support.nodes import AUDIENCE, JWT_KEY, make_token
from tests.support.states import LISTENER_ID

VERIFIER = TokenVerifier(JWT_KEY, ["HS256"], AUDIENCE)
DEVICE = {"id": "phone", "name": "My phone", "kind": "phone"}


def auth(**fields: Any) -> dict[str, Any]:
    return {"token": make_token(), "device": DEVICE, "protocol": 1, **fields}


def refusal(handshake: object) -> tuple[str, dict[str, Any]]:
    with pytest.raises(Refused) as caught:
        admit(handshake, VERIFIER)
    arguments = caught.value.error_args
    return arguments["message"], arguments["data"]


def test_a_good_handshake_names_listener_and_device() -> None:
    principal, device = admit(auth(), VERIFIER)
    assert principal.listener_id == LISTENER_ID
    assert (device.id, device.name, device.kind) == ("phone", "My phone", "phone")


@pytest.mark.parametrize("handshake", [None, "", "token", 3, [], ["token"], {}, {"token": None}, {"token": 3}])
def test_without_a_token_nothing_else_is_looked_at(handshake: object) -> None:
    message, data = refusal(handshake)
    assert (data["code"], data["retry"], data["message"]) == ("unauthorized", False, message)


@pytest.mark.parametrize("token", ["", "a.b.c", make_token(expires_in_s=-60), make_token(key="x" * 40), "x" * 10_000])
def test_a_token_that_is_not_good_is_refused_before_protocol_and_device(token: str) -> None:
    _, data = refusal({"token": token, "protocol": 99, "device": None})
    assert data["code"] == "unauthorized"
    assert not token or token not in str(data)


@pytest.mark.parametrize("protocol", [0, 2, -1, "1", None, [1], {"a": 1}, 1.5])
def test_another_protocol_is_refused(protocol: object) -> None:
    assert refusal(auth(protocol=protocol))[1]["code"] == "unsupported_protocol"


def test_a_handshake_without_a_protocol_is_refused() -> None:
    assert refusal({"token": make_token(), "device": DEVICE})[1]["code"] == "unsupported_protocol"


@pytest.mark.parametrize(
    "device",
    [
        None,
        "phone",
        [],
        {},
        {**DEVICE, "id": ""},
        {**DEVICE, "id": REST_DEVICE_ID},
        {**DEVICE, "id": "a b"},
        {**DEVICE, "id": "x" * 65},
        {**DEVICE, "id": 3},
        {**DEVICE, "name": ""},
        {**DEVICE, "kind": "toaster"},
        {**DEVICE, "more": 1},
    ],
)
def test_a_device_that_is_not_well_introduced_is_refused(device: object) -> None:
    _, data = refusal(auth(device=device))
    assert data["code"] == "invalid" and data["message"].startswith("device")


def test_an_unknown_field_is_refused_and_the_token_is_never_repeated() -> None:
    handshake = auth(devise=1)
    message, data = refusal(handshake)
    assert data["code"] == "invalid" and "devise" in message
    assert handshake["token"] not in str(data)
