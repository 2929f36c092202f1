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
    kind = type(value)
    if isinstance(value, str) and kind is str:
        return len(value)
    if isinstance(value, dict) and kind is dict:
        if any(type(key) is not str for key in value):
            raise InvalidMessage(_FIELD, "hold an object whose names are not texts")
        children = [*value, *value.values()]
    elif isinstance(value, list) and kind is list:
        children = value
    elif kind is float or value is None or kind is bool:
        return _ENTRY
    elif isinstance(value, int) and kind is int:
        if value.bit_length() > _INTEGER_BITS:
            raise InvalidMessage(_FIELD, f"hold a whole number of more than {_INTEGER_BITS} bits")
        return _ENTRY
    else:
        raise InvalidMessage(_FIELD, "hold something that is not plain JSON")
    if depth >= NESTING:
        raise InvalidMessage(_FIELD, f"are nested deeper than {NESTING}")
    total = _ENTRY
    for child in children:
        total += _size(child, depth + 1, limit)
        if total > limit:
            break
    return total
