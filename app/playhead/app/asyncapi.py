"""The socket protocol as an AsyncAPI 3.0 document, made from the tables of events and their models.

The document describes the server: what it receives, with the reply that each event gets, and what it sends.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from playhead.app.socket_messages import CLIENT_EVENTS, SERVER_EVENTS, RefusalAck, RefusalMessage
from playhead.realtime.handlers import EVENTS
from playhead.realtime.handshake import Handshake

VERSION = "3.0.0"
REF = "#/components/schemas/{model}"
CHANNEL = "socket"
CHANNEL_REF = f"#/channels/{CHANNEL}"
DESCRIPTION = (
    "Socket.IO 5 (Engine.IO 4), path `/socket.io/`, namespace `/`. Every event of a client carries one object and is "
    "acknowledged, by the event's own ack or by `refused`; events of one connection are applied in the order sent. "
    "Places are float seconds, times server milliseconds since the Unix epoch. What a client must do with all this: "
    "docs/protocol.md."
)

Json = dict[str, Any]
_Mode = Literal["validation", "serialization"]
_Refs = Mapping[Any, Json]
"""References to schemas, by model and mode."""


def asyncapi(version: str) -> Json:
    """The document. `version`: of this release."""
    refs, definitions = models_json_schema(_models(), ref_template=REF)
    return {
        "asyncapi": VERSION,
        "info": {"title": "playhead", "version": version, "description": DESCRIPTION, "license": {"name": "MIT"}},
        "defaultContentType": "application/json",
        "servers": {"playhead": _server()},
        "channels": {CHANNEL: _channel()},
        "operations": _operations(),
        "components": {
            "messages": _messages(refs),
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "token": {
                    "type": "userPassword",
                    "description": "A JWT as `token` in the handshake's `auth`; its `sub` is the listener.",
                }
            },
        },
    }


def _models() -> list[tuple[type[BaseModel], _Mode]]:
    taken = {event.model for event in EVENTS.values()} | {Handshake}
    given: set[type[BaseModel]] = {event.model for event in SERVER_EVENTS.values()}
    given |= {event.ack for event in CLIENT_EVENTS.values()} | {RefusalAck, RefusalMessage}
    rows: list[tuple[type[BaseModel], _Mode]] = [(model, "validation") for model in taken]
    rows += [(model, "serialization") for model in given]
    return sorted(rows, key=lambda row: row[0].__name__)


def _server() -> Json:
    return {
        "host": "{host}",
        "pathname": "/socket.io/",
        "protocol": "wss",
        "description": "Socket.IO over a websocket (`ws` without TLS).",
        "variables": {"host": {"default": "127.0.0.1:8080", "description": "Host and port of a server."}},
        "security": [{"$ref": "#/components/securitySchemes/token"}],
    }


def _channel() -> Json:
    return {
        "address": "/",
        "title": "The one namespace",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _message_names()},
    }


def _message_names() -> Iterable[str]:
    yield from ("connect", "connect_error")
    for name in CLIENT_EVENTS:
        yield from (name, f"{name}_ack")
    yield "refused"
    yield from SERVER_EVENTS


def _operations() -> Json:
    operations: Json = {"connect": {**_operation("receive", "connect"), "reply": _reply("connect_error")}}
    for name in CLIENT_EVENTS:
        operations[name] = {**_operation("receive", name), "reply": _reply(f"{name}_ack", "refused")}
    for name in SERVER_EVENTS:
        operations[f"send_{name}"] = _operation("send", name)
    return operations


def _operation(action: str, message: str) -> Json:
    return {"action": action, "channel": {"$ref": CHANNEL_REF}, "messages": [_message_ref(message)]}


def _reply(*messages: str) -> Json:
    return {"channel": {"$ref": CHANNEL_REF}, "messages": [_message_ref(message) for message in messages]}


def _message_ref(name: str) -> Json:
    return {"$ref": f"{CHANNEL_REF}/messages/{name}"}


def _messages(refs: _Refs) -> Json:
    """Events, acks and refusals by their names."""
    refused = refs[(RefusalMessage, "serialization")]
    messages = {
        "connect": _message("connect", "Connect.", refs[(Handshake, "validation")], "The `auth` of the handshake."),
        "connect_error": _message("connect_error", "The handshake was refused.", refused, "The `data` of the error."),
        "refused": _message("ack", "The event was refused: nothing was changed.", refs[(RefusalAck, "serialization")]),
    }
    for name, asked in CLIENT_EVENTS.items():
        messages[name] = _message(name, asked.summary, refs[(EVENTS[name].model, "validation")])
        messages[f"{name}_ack"] = _message("ack", f"`{name}` was accepted.", refs[(asked.ack, "serialization")])
    for name, sent in SERVER_EVENTS.items():
        whom = "To all devices of the listener." if sent.to == "listener" else "To one connection."
        messages[name] = _message(name, sent.summary, refs[(sent.model, "serialization")], whom)
    return messages


def _message(name: str, summary: str, payload: Json, description: str | None = None) -> Json:
    described = {} if description is None else {"description": description}
    return {"name": name, "summary": summary, **described, "payload": payload}
