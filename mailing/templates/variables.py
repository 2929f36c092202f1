"""What a template's variables may be: plain JSON data, of a bounded size."""

from __future__ import annotations

from collections.abc import Mapping

from mailing.errors import InvalidMessage

#: How deep lists and objects may be nested.
NESTING = 32

_FIELD = "template.variables"
# Larger integers are slow in Python, and can be chosen so that all have the same hash.
_INTEGER_BITS = 64
_ENTRY = 8


def check_variables(variables: Mapping[str, object], size_limit: int) -> dict[str, object]:
    """Return the variables as a dictionary.

    Only the types of decoded JSON are accepted, not their subclasses: a ``Markup`` text would not
    be escaped.

    Raises:
        InvalidMessage: they are something else, or more than about ``size_limit`` characters.
    """
    if not isinstance(variables, Mapping):
        raise InvalidMessage(_FIELD, "must be an object")
    checked = dict(variables)
    if _size(checked, 0, size_limit) > size_limit:
        raise InvalidMessage(_FIELD, f"hold more than {size_limit} characters")
    return checked


def _size(value: object, depth: int, limit: int) -> int:
    """Return roughly how long a value is as text; once that is over ``limit``, stop counting.

    Raises:
        InvalidMessage: it is not plain JSON data.
    """
    if type(value) is str:
        return len(value)
    children = _children(value)
    if children is None:
        _check_plain(value)
        return _ENTRY
    if depth >= NESTING:
        raise InvalidMessage(_FIELD, f"are nested deeper than {NESTING}")
    total = _ENTRY
    for child in children:
        total += _size(child, depth + 1, limit)
        if total > limit:
            break
    return total


def _children(value: object) -> list[object] | None:
    """Return what a list or object holds, None for any other value."""
    if type(value) is list:
        return value
    if type(value) is not dict:
        return None
    if any(type(name) is not str for name in value):
        raise InvalidMessage(_FIELD, "hold an object whose names are not texts")
    return [*value, *value.values()]


def _check_plain(value: object) -> None:
    if type(value) is int:
        if value.bit_length() > _INTEGER_BITS:
            raise InvalidMessage(_FIELD, f"hold a whole number of more than {_INTEGER_BITS} bits")
    elif value is not None and type(value) not in (float, bool):
        raise InvalidMessage(_FIELD, "hold something that is not plain JSON")
