"""Comparing answers with the OpenAPI document."""

from __future__ import annotations

from jsonschema import Draft202012Validator

from handlers.openapi.document import document
from tests.system import Answer


def conforms(answer: Answer, method: str, path: str) -> None:
    """Check an answer against the document's operation."""
    operation = document()["paths"][path][method]
    described = operation["responses"][str(answer.status)]
    if "content" not in described:
        assert not answer.body
        return
    kind = answer.headers["Content-Type"].partition(";")[0]
    schema = described["content"][kind].get("schema", {})
    if kind.endswith("json"):
        components = {"components": document()["components"]}
        Draft202012Validator({**schema, **components}).validate(answer.json())
