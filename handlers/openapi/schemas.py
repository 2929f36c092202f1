"""msgspec's schemas, with members that are optional in JSON Schema but that generators need.

Tried: openapi-python-client leaves out what has a list without ``items``, or an ``enum`` of
booleans without a type, and every operation that needs it; openapi-typescript takes an object
without ``additionalProperties`` for an empty one, and a member with a ``default`` for a required
one. What Java and TypeScript make of two members, ``content_id`` and ``contentId``, has one name.
"""

from __future__ import annotations

import re
from typing import Any

Schema = dict[str, Any]


def explicit(schema: Schema) -> Schema:
    """Return a schema that takes the same values, but says so explicitly."""
    found = {name: _inner(name, value) for name, value in schema.items()}
    if found.get("default") in (None, "", [], {}):  # the same as no default
        found.pop("default", None)
    if found.get("type") == "array":
        found.setdefault("items", {})
    if found.get("type") == "object" and "properties" not in found:
        found.setdefault("additionalProperties", {})
    if "enum" in found:
        found.setdefault("type", "boolean" if found["enum"] == [False] else "string")
    return found


def _inner(name: str, value: Any) -> Any:
    match name, value:
        case "properties", dict():
            return {
                member: explicit(one) for member, one in value.items() if not _alias(member, value)
            }
        case "items" | "additionalProperties", dict():
            return explicit(value)
        case "anyOf", list():
            return [explicit(one) for one in value]
        case _:
            return value


def _alias(name: str, members: Schema) -> bool:
    """Return whether a member is another one in camel case, for the sake of somebody's SDK."""
    snake = re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name)
    return snake != name and snake in members
