"""What is to be done with a mail's message after an attempt."""

from __future__ import annotations

from typing import Any

import msgspec


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """The mail is sent; ``result`` is the relay's verdict."""

    result: dict[str, Any]


class Again(msgspec.Struct, frozen=True, kw_only=True):
    """A new message, number ``track``, is to come out of the queue at ``due_at`` (Unix seconds)."""

    track: int
    due_at: float
    reason: Exception


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """The same message is to come again after ``delay_s`` seconds; nothing was tried."""

    delay_s: float
    reason: Exception


class Drop(msgspec.Struct, frozen=True, kw_only=True):
    """The message is of no use (any more). ``canceled``: its mail was canceled."""

    canceled: bool = False


class Fail(msgspec.Struct, frozen=True, kw_only=True):
    """The mail has failed, or is held as uncertain."""

    error: Exception


Step = Done | Again | Wait | Drop | Fail
