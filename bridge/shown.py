"""How a call's arguments look in logs and in Flower."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from celery.utils.saferepr import saferepr

#: Of these, and of plain texts, Celery's text is Python's own.
_SCALARS = frozenset({int, float, bool, type(None)})
_MANY = 32


def hidden(arguments: Collection[Any]) -> str:
    """Return what is shown of a private task's arguments: how many there are."""
    return f"({len(arguments)} hidden)"


def shown(arguments: Collection[Any], most: int, levels: int) -> str:
    """Return what Celery shows of arguments; for simple ones without its walk over them.

    ``most``: characters; ``levels``: of containers.
    """
    values = arguments.values() if isinstance(arguments, Mapping) else arguments
    keys = arguments if isinstance(arguments, Mapping) else ()
    if len(arguments) <= _MANY and all(map(_is_plain, values)) and all(map(_is_plain, keys)):
        text = repr(arguments)
        if len(text) < most:
            return text
    return str(saferepr(arguments, most, maxlevels=levels))


def _is_plain(value: object) -> bool:
    kind = type(value)
    if kind is str:
        text = str(value)
        return text.isascii() and text.isprintable() and "'" not in text and "\\" not in text
    return kind in _SCALARS
