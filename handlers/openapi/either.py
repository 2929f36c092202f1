"""The type of answers that are one of two documents, as generators of clients need it."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import FieldInfo, fields


def either(
    name: str, doc: str, first: type[msgspec.Struct], second: type[msgspec.Struct]
) -> type[msgspec.Struct]:
    """Return the type of a document that is a ``first`` or a ``second`` one: a member that only one
    of them has is optional, and one that both have is as ``second`` says.

    A union of the two would say more, but no form of it is safe. Tried with ``anyOf``:
    typescript-fetch reads members of both and fails where one is absent, openapi-python-client and
    Java take every document for the first. With ``oneOf``, Java refuses what might be either.
    """
    required = _required(first) & _required(second)

    def member(one: FieldInfo) -> tuple[str, Any] | tuple[str, Any, Any]:
        if one.name in required:
            return one.name, one.type
        return one.name, one.type | UnsetType, UNSET

    members = {one.name: one for kind in (first, second) for one in fields(kind)}
    return msgspec.defstruct(
        name,
        [member(one) for one in members.values()],
        namespace={"__doc__": doc},
        frozen=True,
        kw_only=True,
        rename={one.name: one.encode_name for one in members.values()},
    )


def _required(kind: type[msgspec.Struct]) -> set[str]:
    return {one.name for one in fields(kind) if one.required}
