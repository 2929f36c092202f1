"""The OpenAPI document and the route table say the same; real answers: tests/integration."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin

import msgspec
import pytest
from jsonschema import Draft202012Validator

from access import Scope
from application import EMAIL_ID, ROUTES, TASK_ID
from handlers.base import SCOPES
from handlers.emails.handler import NoEmailHandler
from handlers.openapi.document import document
from handlers.openapi.either import either
from handlers.openapi.paths import JSON, OPERATIONS

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
    assert not server["url"].endswith("/")  # some clients append /emails as it is


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


def operations() -> Iterator[dict[str, Any]]:
    for at_path in document()["paths"].values():
        yield from (one for method, one in at_path.items() if method != "parameters")


def plain(name: str) -> str:
    """Return a name without what generators of clients change in it."""
    return name.replace("_", "").lower()


def test_operations_have_names_of_their_own() -> None:
    """typescript-fetch makes a second method of each, whose name has ``Raw`` at its end."""
    names = [plain(one["operationId"]) for one in operations()]
    methods = [*names, *(f"{name}raw" for name in names)]

    assert len(set(methods)) == len(methods)


@pytest.mark.parametrize("name", document()["components"]["schemas"])
def test_a_schemas_members_have_names_of_their_own_in_camel_case_too(name: str) -> None:
    for schema in schemas(document()["components"]["schemas"][name]):
        names = [plain(member) for member in schema.get("properties", {})]
        assert len(set(names)) == len(names)


def test_the_group_of_an_operation_is_described() -> None:
    described = {tag["name"] for tag in document()["tags"]}

    assert {name for one in operations() for name in one["tags"]} == described


@pytest.mark.parametrize("operation", list(operations()), ids=lambda one: one["operationId"])
def test_all_good_answers_are_one_type_which_stands_first(operation: dict[str, Any]) -> None:
    """Java, Go and typescript-fetch read every good answer as the type of the first one."""
    good = [one for status, one in operation["responses"].items() if status.startswith("2")]
    kinds = [next(iter(one["content"].items())) for one in good if "content" in one]

    assert all(kind == kinds[0] for kind in kinds)
    assert not any(
        {"anyOf", "oneOf"} & media["schema"].keys() for _, media in kinds if "schema" in media
    )
    several = [one["content"] for one in good if len(one.get("content", {})) > 1]
    assert all(next(iter(content)) == JSON for content in several)


def test_answers_may_get_further_members_but_bodies_are_refused_with_them() -> None:
    closed = {
        name
        for name, schema in document()["components"]["schemas"].items()
        if schema.get("additionalProperties") is False
    }

    assert closed == {"EmailBody", "Attachment", "Template", "Tag", "Rescheduling", "Call"}


MOMENT = re.compile(r"(.*_)?at|since|estimated_start|eta")


@pytest.mark.parametrize("name", document()["components"]["schemas"])
def test_a_time_is_described_as_one(name: str) -> None:
    for member, schema in document()["components"]["schemas"][name].get("properties", {}).items():
        kinds = [one for one in schemas(schema) if one.get("type") == "string"]
        is_moment = MOMENT.fullmatch(member) is not None
        assert all((one.get("format") == "date-time") == is_moment for one in kinds), member


def test_a_document_that_is_one_of_two_needs_what_both_have() -> None:
    class First(msgspec.Struct, kw_only=True):
        both: int
        only_first: int

    class Second(msgspec.Struct, kw_only=True, rename={"from_": "from"}):
        both: int | None
        from_: str

    found = msgspec.json.schema(either("Found", "One of two.", First, Second))["$defs"]["Found"]

    assert found["required"] == ["both"]
    assert found["properties"].keys() == {"both", "only_first", "from"}
    assert found["properties"]["both"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    assert found["description"] == "One of two."
