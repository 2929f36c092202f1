"""The problem documents, as the OpenAPI document describes them."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from ledger import Status


class Mistake(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with an argument. In a batch: with which mail, and all of it in a sentence."""

    argument: str | UnsetType = UNSET
    detail: str | UnsetType = UNSET
    index: int | UnsetType = UNSET
    message: str | UnsetType = UNSET


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """RFC 9457's problem details. `queued` null: nobody knows."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[Mistake] | UnsetType = UNSET
    queued: Literal[False] | UnsetType | None = UNSET
    scope: str | UnsetType = UNSET
    estimated_wait_s: int | UnsetType = UNSET
    limit_bytes: int | UnsetType = UNSET
    id: str | UnsetType = UNSET
    ids: list[str] | UnsetType = UNSET
    state: str | UnsetType = UNSET
    email_status: Status | UnsetType = UNSET


class EmailProblem(Problem, frozen=True, kw_only=True, rename={"status_code": "statusCode"}):
    """A problem, with what Resend's clients read."""

    name: str
    message: str
    status_code: int
