"""Callbacks that do not keep their object alive."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any


def weakly(method: Callable[..., object]) -> Callable[..., None]:
    """Return a function that calls a bound method for as long as its object lives.

    A connection that is to be closed when its owner goes has only such callbacks of its owner: with
    a reference to it, the owner would never go.
    """
    reference = weakref.WeakMethod(method)

    def call(*arguments: Any) -> None:
        found = reference()
        if found is not None:
            found(*arguments)

    return call
