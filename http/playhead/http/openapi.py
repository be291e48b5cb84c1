"""OpenAPI 3.1, derived from the route table and its models: what the table does not say, the document does not.

Fields of a route whose names stand in its path are path parameters; the others are its query (GET, DELETE) or its body.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from playhead.http.problems import PROBLEM_TYPE, Problem, reason_of
from playhead.http.route import Good, Route

VERSION = "3.1.0"
REF = "#/components/schemas/{model}"
TITLE = "playhead"
DESCRIPTION = (
    "One playhead, every device. Places are float seconds; calendar times RFC 3339; `anchored_at` and `server_time` "
    "server milliseconds since the Unix epoch. Errors are problems (RFC 9457) with the codes of Socket.IO acks."
)

Json = dict[str, Any]
_Mode = Literal["validation", "serialization"]
_Refs = Mapping[Any, Json]
"""References to schemas, by model and mode."""


def openapi(routes: Sequence[Route], version: str) -> Json:
    """The document of `routes`. `version`: of this API's release."""
    models = _models(routes)
    refs, definitions = models_json_schema(models, ref_template=REF)
    schemas: Json = definitions.get("$defs", {})
    paths: dict[str, Json] = {}
    for route in routes:
        if route.takes_json:
            _leave_out_of_body(route.path_names, schemas[_schema_name(route, refs)])
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, refs)
    return {
        "openapi": VERSION,
        "info": {"title": TITLE, "version": version, "description": DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _models(routes: Iterable[Route]) -> list[tuple[type[BaseModel], _Mode]]:
    taken = {route.fields for route in routes if route.fields is not None and route.takes_json}
    given = {good.model for route in routes for good in route.good if good.model is not None} | {Problem}
    rows: list[tuple[type[BaseModel], _Mode]] = [(model, "validation") for model in taken]
    rows += [(model, "serialization") for model in given]
    return sorted(rows, key=lambda row: row[0].__name__)


def _schema_name(route: Route, refs: _Refs) -> str:
    return str(refs[(route.fields, "validation")]["$ref"]).rpartition("/")[2]


def _leave_out_of_body(path_names: Iterable[str], schema: Json) -> None:
    """What stands in the path is a field of the model, but not of the body."""
    for name in path_names:
        schema["properties"].pop(name, None)
        if name in schema.get("required", ()):
            schema["required"].remove(name)


def _operation(route: Route, refs: _Refs) -> Json:
    operation: Json = {
        "operationId": route.name,
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": [*_parameters(route), *_headers(route)],
        "responses": {str(good.status): _good(good, refs) for good in route.good} | _problems(route, refs),
        "security": [{"bearer": []}] if route.access == "bearer" else [],
    }
    if route.content is not None:
        content = {media_type: {"schema": schema} for media_type, schema in route.content.items()}
        operation["requestBody"] = {"required": True, "content": content}
    elif route.takes_json:
        assert route.fields is not None
        schema = refs[(route.fields, "validation")]
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation


def _parameters(route: Route) -> list[Json]:
    """The path's names, known to the model or not, and the query's."""
    schema = route.fields.model_json_schema() if route.fields is not None else {}
    properties: Json = schema.get("properties", {})
    in_path = [_parameter("path", name, properties.get(name, {"type": "string"}), True) for name in route.path_names]
    if route.takes_json:
        return in_path
    required = schema.get("required", [])
    queried = [name for name in properties if name not in route.path_names]
    return in_path + [_parameter("query", name, properties[name], name in required) for name in queried]


def _headers(route: Route) -> list[Json]:
    rows = route.headers.items()
    return [_parameter("header", name, {"type": "string", "description": told}, True) for name, told in rows]


def _parameter(place: str, name: str, schema: Json, required: bool) -> Json:
    described = {"description": schema["description"]} if "description" in schema else {}
    plain = {key: value for key, value in schema.items() if key not in ("description", "title")}
    return {"name": name, "in": place, "required": required, **described, "schema": plain}


def _good(good: Good, refs: _Refs) -> Json:
    if good.model is not None:
        schema = refs[(good.model, "serialization")]
        return {"description": good.description, "content": {"application/json": {"schema": schema}}}
    if good.content_type is not None:
        return {"description": good.description, "content": {good.content_type: {"schema": {"type": "string"}}}}
    return {"description": good.description}


def _problems(route: Route, refs: _Refs) -> Json:
    """One response per status, naming the codes that it can carry."""
    codes: dict[int, list[str]] = {}
    for code in route.refusals:
        codes.setdefault(reason_of(code).status, []).append(f"`{code.value}`")
    content = {PROBLEM_TYPE: {"schema": refs[(Problem, "serialization")]}}
    return {
        str(status): {"description": ", ".join(dict.fromkeys(names)), "content": content}
        for status, names in sorted(codes.items())
    }
