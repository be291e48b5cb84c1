"""The OpenAPI document says exactly what the route table says, and its examples are what it says they are."""

from typing import Any

import pytest
from openapi_spec_validator import validate
from pydantic import BaseModel

from playhead.http import (
    answers,
    listening_answers,
    loudness_answer,
    problems,
    resumable_models,
    script_details,
)
from playhead.http.app import PAGES
from playhead.http.openapi import openapi
from playhead.http.problems import reason_of
from playhead.http.route import API, Route
from playhead.http.routes import ROUTES

DOCUMENT = openapi(ROUTES, "1.2.3")
CONTRACT = {
    ("GET", "/stream/{script_id}"),
    ("POST", "/prepare/{script_id}"),
    ("POST", "/play"),
    ("PUT", "/progress"),
    ("POST", "/seek"),
    ("POST", "/loop"),
    ("POST", "/bookmark"),
    ("GET", "/bookmarks/{script_id}"),
    ("DELETE", "/bookmark/{bookmark_id}"),
    ("DELETE", "/session/{session_id}"),
}
"""The ten endpoints of the product's contract (design section 5)."""

MODELS = [
    model
    for module in (answers, listening_answers, loudness_answer, problems, resumable_models, script_details)
    for model in vars(module).values()
    if isinstance(model, type) and issubclass(model, BaseModel) and model.__module__ == module.__name__
]


def _operation(route: Route) -> Any:
    return DOCUMENT["paths"][route.path][route.method.lower()]


def test_the_document_is_valid_openapi() -> None:
    validate(DOCUMENT)
    assert DOCUMENT["openapi"].startswith("3.1.")


def test_the_contract_s_endpoints_are_all_there() -> None:
    assert CONTRACT <= {(route.method, route.path.removeprefix(API)) for route in ROUTES}


def test_the_document_has_every_route_and_nothing_else() -> None:
    documented = {(method.upper(), path) for path, operations in DOCUMENT["paths"].items() for method in operations}
    assert documented == {(route.method, route.path) for route in ROUTES}


def test_names_and_paths_are_unique_over_routes_and_pages() -> None:
    everything = (*ROUTES, *PAGES)
    assert len({route.name for route in everything}) == len(everything)
    assert len({(route.method, route.path) for route in everything}) == len(everything)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_each_answer_and_refusal_of_a_route_is_documented(route: Route) -> None:
    statuses = {str(good.status) for good in route.good} | {str(reason_of(code).status) for code in route.refusals}
    assert set(_operation(route)["responses"]) == statuses
    for code in route.refusals:
        assert f"`{code.value}`" in _operation(route)["responses"][str(reason_of(code).status)]["description"]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_each_field_of_a_route_is_documented_once(route: Route) -> None:
    operation = _operation(route)
    headers = [parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "header"]
    assert headers == list(route.headers)
    named = [parameter["name"] for parameter in operation["parameters"] if parameter["in"] != "header"]
    if route.takes_json:
        reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        named += list(DOCUMENT["components"]["schemas"][reference.rpartition("/")[2]]["properties"])
    fields = route.fields.model_fields.items() if route.fields is not None else ()
    assert sorted(named) == sorted({*(field.alias or name for name, field in fields), *route.path_names})


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_everything_below_the_api_s_root_wants_a_token_and_nothing_else_does(route: Route) -> None:
    assert (route.access == "bearer") == route.path.startswith(API)
    assert _operation(route)["security"] == ([{"bearer": []}] if route.access == "bearer" else [])


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_the_examples_of_an_answer_are_such_answers(model: type[BaseModel]) -> None:
    extra = model.model_config.get("json_schema_extra") or {}
    assert isinstance(extra, dict)
    for example in extra.get("examples", []):  # type: ignore[union-attr]
        assert isinstance(example, dict)
        parsed = model.model_validate(example, strict=False)
        assert parsed.model_dump(mode="json", exclude_unset=True) == example


@pytest.mark.parametrize("model", [good.model for route in ROUTES for good in route.good if good.model is not None])
def test_every_answer_has_an_example_or_is_a_page_of_those_that_have(model: type[BaseModel]) -> None:
    paged = "next_cursor" in model.model_fields
    assert paged or (model.model_config.get("json_schema_extra") or {}).get("examples")  # type: ignore[union-attr]
