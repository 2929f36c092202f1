"""Comparing answers with the OpenAPI document."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker

from handlers.openapi.document import document
from handlers.openapi.paths import HEADERS
from tests.system import Answer


def _is_moment(value: object) -> bool:
    """Return whether a time is in UTC with ``Z``, which the strictest client takes (zod)."""
    if not isinstance(value, str):
        return True
    return value.endswith("Z") and datetime.fromisoformat(value).tzinfo is not None


FORMATS = FormatChecker(formats=())
FORMATS.checks("date-time", raises=ValueError)(_is_moment)


def conforms(answer: Answer, method: str, path: str) -> None:
    """Check an answer against the document's operation: it has no member and none of our headers
    that the document does not name."""
    operation = document()["paths"][path][method]
    described = operation["responses"][str(answer.status)]
    if answer.status < 400:
        assert HEADERS.keys() & set(answer.headers) <= described.get("headers", {}).keys()
    if "content" not in described:
        assert not answer.body
        return
    kind = answer.headers["Content-Type"].partition(";")[0]
    schema = described["content"][kind].get("schema", {})
    if kind.endswith("json"):
        checked = {
            **schema,
            "components": {"schemas": _closed(document()["components"]["schemas"])},
        }
        Draft202012Validator(checked, format_checker=FORMATS).validate(answer.json())


def _closed(schemas: dict[str, Any]) -> dict[str, Any]:
    return {name: {**one, "additionalProperties": False} for name, one in schemas.items()}
