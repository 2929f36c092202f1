"""Settling a future from a callback that may come late, or twice."""

from __future__ import annotations

import asyncio
from typing import TypeVar

T = TypeVar("T")


def resolve(future: asyncio.Future[T], value: T) -> None:
    """Set the result, unless the future is done (its waiter may have given up)."""
    if not future.done():
        future.set_result(value)


def fail(future: asyncio.Future[T], exc: BaseException) -> None:
    """Set the exception, unless the future is done."""
    if not future.done():
        future.set_exception(exc)
