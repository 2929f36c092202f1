"""``/openapi.json``: the HTTP API as an OpenAPI 3.1 document.

Bodies and answers are described by their msgspec types; those of bodies also decode them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from functools import cache
from http import HTTPStatus
from typing import Any

import msgspec

from handlers.emails.batch import LARGEST_BATCH
from handlers.health import ProbeHandler
from handlers.openapi import problems
from handlers.openapi.paths import (
    COMMON,
    HEADERS,
    JSON,
    MAIL,
    OPERATIONS,
    PROBLEM,
    Answer,
    Kind,
    Operation,
)
from handlers.openapi.schemas import explicit

REFERENCE = "#/components/schemas/{name}"
DESCRIPTION = """\
Mails and Celery tasks over HTTP. A key is shown as `Authorization: Bearer <key>`; while no key was
ever made, the server listens on loopback only and asks for none. The role beside an operation's
security is the scope that the key needs. Links in answers are paths below the folder of this
document."""
#: The groups of operations: generators of clients make a class or a module of each.
TAGS = {"emails": "mails", "tasks": "Celery tasks", "server": "is it alive, and what can it do?"}

#: Media types that are not text, and what is said of them.
MEDIA: dict[str, Any] = {JSON: {}, MAIL: {"schema": {"type": "string", "format": "binary"}}}


class OpenApiHandler(ProbeHandler):
    """``/openapi.json``; for everybody, as it is no secret."""

    async def get(self) -> None:
        self.set_header("Content-Type", JSON)
        self.write(_encoded())

    head = get


@cache
def _encoded() -> bytes:
    return msgspec.json.encode(document())


@cache
def document() -> dict[str, Any]:
    """Return the document."""
    schemas, components = msgspec.json.schema_components(_types(), ref_template=REFERENCE)
    references = dict(zip(_types(), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        at_path = paths.setdefault(operation.path, _path_parameters(operation.path))
        at_path[operation.method] = _operation(operation, references)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Windmail",
            "version": "1",
            "description": DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "."}],  # beside this document, also behind a proxy's path
        "tags": [{"name": name, "description": about} for name, about in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": {name: explicit(one) for name, one in components.items()},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _types() -> tuple[type[msgspec.Struct], ...]:
    """Return the types of all bodies and answers, each once."""
    found: dict[type[msgspec.Struct], None] = {problems.Problem: None, problems.EmailProblem: None}
    for operation in OPERATIONS:
        described = (operation.body, *itertools.chain(*map(_kinds, operation.answers.values())))
        found |= {one: None for one in described if isinstance(one, type)}
    return tuple(found)


def _kinds(answer: Answer) -> tuple[Kind | str, ...]:
    """Return the documents and media types of which an answer is one; none: it has no body."""
    if answer is None:
        return ()
    return answer if isinstance(answer, tuple) else (answer,)


def _path_parameters(path: str) -> dict[str, Any]:
    known = {
        "id": {"type": "string"} | ({} if path.startswith("/emails") else {"format": "uuid"}),
        "task": {"type": "string", "description": "a task's name, its last part, or an id"},
    }
    return {
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": schema}
            for name, schema in known.items()
            if f"{{{name}}}" in path
        ]
    }


def _operation(operation: Operation, references: dict[Any, Any]) -> dict[str, Any]:
    is_email = operation.path.startswith("/emails")
    problem = references[problems.EmailProblem if is_email else problems.Problem]
    found: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": operation.name,
        "tags": [_tag(operation.path)],
        "parameters": list(operation.parameters),
        "responses": {
            **{
                str(status): {
                    "description": HTTPStatus(status).phrase,
                    **_answer(kind, operation.headers, references),
                }
                for status, kind in operation.answers.items()
            },
            **_problems(_errors(operation), problem),
        },
        "security": [] if operation.scope is None else [{"key": [operation.scope]}],
    }
    if operation.body is not None:
        found["requestBody"] = _body(operation, references)
    return found


def _errors(operation: Operation) -> Iterable[int]:
    common = () if operation.scope is None else COMMON
    return sorted({*operation.errors, *common})


def _tag(path: str) -> str:
    return {"emails": "emails", "celery": "tasks"}.get(path.split("/")[1], "server")


def _body(operation: Operation, references: dict[Any, Any]) -> dict[str, Any]:
    schema = references[operation.body]
    if operation.batch:
        schema = {"type": "array", "items": schema, "minItems": 1, "maxItems": LARGEST_BATCH}
    return {"required": operation.path.startswith("/emails"), "content": {JSON: {"schema": schema}}}


def _answer(answer: Answer, headers: Iterable[str], references: dict[Any, Any]) -> dict[str, Any]:
    """Return an answer's content and headers. JSON is first: some generators read only that."""
    content: dict[str, Any] = {}
    for one in _kinds(answer):
        if isinstance(one, str):
            content[one] = MEDIA.get(one, {"schema": {"type": "string"}})
        else:
            content[JSON] = {"schema": references[one]}
    described = {
        name: {"description": HEADERS[name], "schema": {"type": "string"}} for name in headers
    }
    return {
        **({"content": content} if content else {}),
        **({"headers": described} if described else {}),
    }


def _problems(statuses: Iterable[int], schema: dict[str, Any]) -> dict[str, Any]:
    later = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
    challenge = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    headers = {401: challenge, 429: later, 503: later}
    return {
        str(status): {
            "description": HTTPStatus(status).phrase,
            "content": {PROBLEM: {"schema": schema}},
            **({"headers": headers[status]} if status in headers else {}),
        }
        for status in statuses
    }
