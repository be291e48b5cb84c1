"""The AsyncAPI document: valid by its specification, complete by the tables, and whole in its references."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from playhead.app.asyncapi import asyncapi
from playhead.app.socket_messages import CLIENT_EVENTS, SERVER_EVENTS
from playhead.realtime.handlers import EVENTS

ROOT = Path(__file__).parents[3]
SCHEMAS = ROOT / "player/node_modules/@asyncapi/specs/schemas"
"""The specification's own schemas come with the player's tools; `dev.py test` has them installed."""
DOCUMENT = asyncapi("1.2.3")


@cache
def specification() -> Draft7Validator:
    return Draft7Validator(json.loads((SCHEMAS / "3.0.0-without-$id.json").read_text()))


def problems(document: dict[str, Any]) -> list[str]:
    return [f"{list(error.path)}: {error.message}" for error in specification().iter_errors(document)]


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(references(child) for child in node.values()))
    return set().union(*(references(child) for child in node)) if isinstance(node, list) else set()


def resolve(reference: str) -> Any:
    found: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def test_the_document_is_valid_by_the_specifications_own_schema() -> None:
    assert problems(DOCUMENT) == []


@pytest.mark.parametrize(
    "change",
    [
        {"asyncapi": "2.6.0"},
        {"operations": {"seek": {"action": "publish", "channel": {"$ref": "#/channels/socket"}}}},
        {"channels": {"socket": {"mesages": {}}}},
    ],
)
def test_an_invalid_document_would_be_found(change: dict[str, Any]) -> None:
    assert problems({**DOCUMENT, **change})


def test_every_reference_leads_somewhere_and_every_schema_is_one() -> None:
    for reference in references(DOCUMENT):
        assert resolve(reference), reference
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft7Validator.check_schema(schema)


def test_no_message_and_no_schema_is_left_unused() -> None:
    used = references(DOCUMENT)
    for kind in ("messages", "schemas"):
        assert [name for name in DOCUMENT["components"][kind] if f"#/components/{kind}/{name}" not in used] == []


def test_every_event_of_a_client_is_documented_with_its_ack() -> None:
    assert set(CLIENT_EVENTS) == set(EVENTS)
    for name in EVENTS:
        operation = DOCUMENT["operations"][name]
        replies = [message["$ref"].rpartition("/")[2] for message in operation["reply"]["messages"]]
        assert (operation["action"], replies) == ("receive", [f"{name}_ack", "refused"])


def test_every_event_of_the_server_is_documented() -> None:
    sent = {name.removeprefix("send_") for name, row in DOCUMENT["operations"].items() if row["action"] == "send"}
    assert sent == set(SERVER_EVENTS)


def test_a_payload_is_the_servers_own_model() -> None:
    seek = resolve(resolve("#/components/messages/seek")["payload"]["$ref"])
    assert seek["required"] == ["session_id", "position"] and "from" in seek["properties"]
    assert Draft7Validator(seek).is_valid({"session_id": "s", "position": 1.5})
    assert not Draft7Validator(seek).is_valid({"session_id": "s", "position": 1.5, "speed": 2})


# the tables that people read


def rows(heading: str) -> dict[str, str]:
    """The rows of the table below a heading of docs/protocol.md, by their first cell."""
    section = (ROOT / "docs/protocol.md").read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return {name: line for line in lines for name in line.split("|")[1].replace("`", "").split()}


def fields(schema_name: str) -> list[str]:
    found: dict[str, Any] = DOCUMENT["components"]["schemas"][schema_name]
    return list(found["properties"])


def test_the_table_of_what_clients_send_has_every_event_with_its_fields() -> None:
    table = rows("Events a client sends")
    assert set(table) == set(EVENTS)
    for name, event in EVENTS.items():
        known = {"command_id", *({"expected_revision", "expected_epoch"} & event.model.model_fields.keys())}
        asked = set(fields(event.model.__name__)) - known
        given = set(fields(CLIENT_EVENTS[name].ack.__name__)) - {"ok", "server_time"}
        missing = [field for field in asked | given if f"`{field}" not in table[name]]
        assert missing == [], f"{name}: {missing}"


def test_the_table_of_what_the_server_sends_has_every_event_with_its_fields() -> None:
    table = rows("Events the server sends")
    assert set(table) == set(SERVER_EVENTS)
    for name, event in SERVER_EVENTS.items():
        if name != "state":
            missing = [field for field in event.model.model_fields if field not in table[name]]
            assert missing == [], f"{name}: {missing}"
