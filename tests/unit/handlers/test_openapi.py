"""The OpenAPI document and the route table say the same; real answers: tests/integration."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin

import pytest
from jsonschema import Draft202012Validator

from access import Scope
from application import EMAIL_ID, ROUTES, TASK_ID
from handlers.base import SCOPES
from handlers.emails.handler import NoEmailHandler
from handlers.openapi.document import document
from handlers.openapi.paths import OPERATIONS

PARAMETER = re.compile(r"{(\w+)}")


def served() -> set[tuple[str, str]]:
    """Return each method and path that the application answers."""
    found = set()
    for pattern, handler in ROUTES:
        path = pattern.replace("/?", "").replace("([^/]+)", "{task}").replace("\\.", ".")
        path = path.replace(EMAIL_ID, "{id}")
        path = path.replace(TASK_ID, "{task}" if pattern == f"/celery/{TASK_ID}" else "{id}")
        if handler is not NoEmailHandler:
            methods = [name for name in handler.SUPPORTED_METHODS if implements(handler, name)]
            found |= {(method.lower(), path) for method in methods if method != "HEAD"}
    return found


def implements(handler: Any, method: str) -> bool:
    return any(
        method.lower() in vars(parent)
        for parent in handler.__mro__
        if parent.__module__.startswith("handlers.")
    )


def nodes(node: Any) -> Iterator[Any]:
    yield node
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    for child in children:
        yield from nodes(child)


def test_every_route_is_described_and_every_description_has_its_route() -> None:
    described = {
        (method, path)
        for path, at_path in document()["paths"].items()
        for method in at_path.keys() - {"parameters"}
    }

    assert described == served()
    assert len(OPERATIONS) == len(described)


@pytest.mark.parametrize("base", ["http://127.0.0.1:8888/", "https://shop.example/mail/"])
def test_the_server_is_found_where_the_document_is(base: str) -> None:
    [server] = document()["servers"]

    assert urljoin(f"{base}openapi.json", server["url"]) == base


def test_no_two_paths_are_the_same_but_for_their_parameters_names() -> None:
    paths = [PARAMETER.sub("{}", path) for path in document()["paths"]]

    assert len(set(paths)) == len(paths)


def test_every_reference_leads_to_a_schema_and_every_schema_is_referred_to() -> None:
    found = {
        node["$ref"] for node in nodes(document()) if isinstance(node, dict) and "$ref" in node
    }

    assert found == {f"#/components/schemas/{name}" for name in document()["components"]["schemas"]}


def test_every_schema_is_one() -> None:
    for schema in document()["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def schemas(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return a schema and those of its parts."""
    yield schema
    parts = [*schema.get("properties", {}).values(), *schema.get("anyOf", [])]
    parts += [schema[name] for name in ("items", "additionalProperties") if schema.get(name)]
    for part in parts:
        yield from schemas(part)


@pytest.mark.parametrize("name", document()["components"]["schemas"])
def test_a_schema_says_what_generators_of_clients_do_not_guess(name: str) -> None:
    for schema in schemas(document()["components"]["schemas"][name]):
        kind = schema.get("type")
        assert kind or "enum" not in schema
        assert kind != "array" or "items" in schema
        assert kind != "object" or schema.keys() & {"properties", "additionalProperties"}
        assert "default" not in schema  # a member that has one must be there, in TypeScript


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: f"{one.method} {one.path}")
def test_an_operation_names_the_scope_that_its_handler_asks_for(operation: Any) -> None:
    described = document()["paths"][operation.path][operation.method]

    if operation.scope is None:
        assert described["security"] == []
        return
    of_others = operation.path == "/celery/{task}" and operation.method == "post"
    by_method = SCOPES.get(operation.method.upper(), Scope.ADMIN)
    assert described["security"] == [{"key": [Scope.ADMIN if of_others else by_method]}]
    assert {"401", "403", "429", "503"} <= described["responses"].keys()


def test_an_operation_with_a_body_says_that_it_may_be_too_large() -> None:
    described = [
        described["responses"].keys()
        for at_path in document()["paths"].values()
        for method, described in at_path.items()
        if method != "parameters" and "requestBody" in described
    ]

    assert all({"400", "413", "422"} <= statuses for statuses in described)


def test_a_parameter_with_a_choice_says_its_type() -> None:
    for at_path in document()["paths"].values():
        for described in at_path.values():
            for one in (
                described if isinstance(described, list) else described.get("parameters", [])
            ):
                assert "type" in one["schema"] or "enum" not in one["schema"], one["name"]


def test_path_parameters_are_declared() -> None:
    for path, at_path in document()["paths"].items():
        assert [one["name"] for one in at_path["parameters"]] == PARAMETER.findall(path)


def test_operations_have_ids_of_their_own() -> None:
    ids = [
        described["operationId"]
        for at_path in document()["paths"].values()
        for method, described in at_path.items()
        if method != "parameters"
    ]

    assert len(set(ids)) == len(ids)
