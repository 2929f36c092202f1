"""How a call's arguments look in logs and in Flower."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from celery.utils.saferepr import saferepr

#: Celery shows these, and plain texts, as Python's ``repr`` does.
_SCALARS = frozenset({int, float, bool, type(None)})
_MANY = 32


def hidden(arguments: Collection[Any]) -> str:
    """Return what is shown of a private task's arguments: how many there are."""
    return f"({len(arguments)} hidden)"


def shown(arguments: tuple[Any, ...] | dict[str, Any], most: int, levels: int) -> str:
    """Return what Celery shows of arguments; for simple ones without ``saferepr``.

    ``most``: characters at most; ``levels``: of nested containers, at most.
    """
    if not arguments:
        return repr(arguments)
    values = arguments.values() if isinstance(arguments, dict) else ()
    if len(arguments) <= _MANY and _are_plain(arguments) and _are_plain(values):
        text = repr(arguments)
        if len(text) < most:
            return text
    return str(saferepr(arguments, most, maxlevels=levels))


def _are_plain(values: Iterable[Any]) -> bool:
    others = set(map(type, values)) - _SCALARS
    return not others or (
        others == {str} and all(_is_plain(text) for text in values if type(text) is str)
    )


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and "'" not in text and "\\" not in text
