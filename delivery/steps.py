"""What is to be done with a mail's message after an attempt."""

from __future__ import annotations

from typing import Any

import msgspec


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """The mail is sent; ``result`` is the task's result, with the relay's replies."""

    result: dict[str, Any]


class Again(msgspec.Struct, frozen=True, kw_only=True):
    """Publish a new message, number ``track``, to come out of the queue at ``due_at`` (Unix s)."""

    track: int
    due_at: float
    reason: Exception


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """Publish the message again, with the same number, after ``delay_s``; no attempt was made."""

    delay_s: float
    reason: Exception


class Drop(msgspec.Struct, frozen=True, kw_only=True):
    """Acknowledge the message and do nothing. ``canceled``: its mail was canceled."""

    canceled: bool = False


class Fail(msgspec.Struct, frozen=True, kw_only=True):
    """The mail has failed, or is held as uncertain."""

    error: Exception


Step = Done | Again | Wait | Drop | Fail
