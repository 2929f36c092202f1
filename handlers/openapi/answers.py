"""The answers' documents, as the OpenAPI document describes them.

The handlers build them as dictionaries; a test compares real answers with these.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from handlers.celery.tasks import Parameter
from handlers.emails.body import Tag
from handlers.openapi.either import either
from handlers.representation import Moment
from ledger import Kind, OnUncertain, Status

Links = dict[str, str]


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the documents. What is not named here is in no answer; but a later version may have
    more, so the OpenAPI document does not say that: clients of today are to go on."""


class _AcceptedEmail(Document, frozen=True, kw_only=True):
    """A mail that was accepted just now."""

    id: str
    object: Literal["email"]
    status: Literal["queued", "scheduled"]
    scheduled_at: Moment | UnsetType = UNSET
    estimated_start: Moment | UnsetType = UNSET
    links: Links


class EmailRecipient(Document, frozen=True, kw_only=True):
    """A recipient, and what the relay replied."""

    address: str
    kind: Kind
    status: Literal["open", "accepted", "delayed", "refused"]
    code: int | None
    enhanced: str | None
    text: str | None


class RelayReply(Document, frozen=True, kw_only=True):
    """What the relay replied last; all null: nothing."""

    code: int | None
    enhanced: str | None
    text: str | None
    host: str | None
    tls: bool | None


class Reason(Document, frozen=True, kw_only=True):
    """Why a mail has its status."""

    attempt: int | UnsetType = UNSET
    smtp: RelayReply | UnsetType = UNSET
    error: str | UnsetType = UNSET
    next_attempt_at: Moment | UnsetType = UNSET
    expired: bool | UnsetType = UNSET
    possibly_sent: bool | UnsetType = UNSET
    dead: bool | UnsetType = UNSET


class EmailSummary(Document, frozen=True, kw_only=True, rename={"from_": "from"}):
    """A mail without its content."""

    object: Literal["email"]
    id: str
    from_: str
    to: list[str]
    cc: list[str]
    bcc: list[str]
    subject: str
    created_at: Moment
    scheduled_at: Moment | None
    last_event: Status
    status: Status
    tags: list[Tag]
    metadata: dict[str, Any]
    recipients: list[EmailRecipient]
    attempts: int
    possible_duplicates: int
    suppressed: int
    on_uncertain: OnUncertain
    expires_at: Moment
    next_attempt_at: Moment | None
    reason: Reason | None
    links: Links


AcceptedEmail = either(
    "AcceptedEmail",
    "A mail that RabbitMQ and the ledger have; after a wait, with all that its summary has.",
    _AcceptedEmail,
    EmailSummary,
)


class Email(EmailSummary, frozen=True, kw_only=True, rename={"from_": "from"}):
    """A mail; its content, where it is still kept."""

    reply_to: list[str] | None
    html: str | None
    text: str | None


class EmailList(Document, frozen=True, kw_only=True):
    """A page of mails, newest first; ``next`` leads to the next one."""

    object: Literal["list"]
    data: list[EmailSummary]
    has_more: bool
    next: str | UnsetType = UNSET


class BatchItem(Document, frozen=True, kw_only=True):
    """A mail of a batch that was accepted."""

    id: str


class BatchError(Document, frozen=True, kw_only=True):
    """What is wrong with a mail of a permissive batch."""

    index: int
    message: str


class AcceptedBatch(Document, frozen=True, kw_only=True):
    """The mails of a batch that were accepted, and of a permissive one, what the others lack."""

    data: list[BatchItem]
    estimated_start: Moment | UnsetType = UNSET
    errors: list[BatchError] | UnsetType = UNSET


class TaskDescription(Document, frozen=True, kw_only=True):
    """A task that can be called."""

    name: str
    doc: str
    parameters: list[Parameter]
    links: Links


class TaskList(Document, frozen=True, kw_only=True):
    """The tasks that can be called."""

    tasks: list[TaskDescription]


class TaskError(Document, frozen=True, kw_only=True):
    """Why a task failed, or is tried again."""

    type: str
    message: str


class Task(Document, frozen=True, kw_only=True):
    """A task's state."""

    id: str
    state: str
    ready: bool
    result: Any
    called_at: Moment | None
    started_at: Moment | None
    at: Moment | None
    worker: str | None
    retries: int
    links: Links
    error: TaskError | UnsetType = UNSET
    traceback: str | UnsetType | None = UNSET
    progress: Any | UnsetType = UNSET
    result_ignored: bool | UnsetType = UNSET
    revoking: bool | UnsetType = UNSET
    terminate: bool | UnsetType = UNSET


TaskOrDescription = either(
    "TaskOrDescription",
    "A task's state, if it was asked for by its id; by its name: how to call it.",
    TaskDescription,
    Task,
)


class Alive(Document, frozen=True, kw_only=True):
    """The process answers."""

    status: Literal["alive"]


class Heartbeat(Document, frozen=True, kw_only=True):
    """When beat, broker and worker were last seen to work together."""

    at: Moment
    age_s: float
    worker: str | UnsetType | None = UNSET


class LedgerFailure(Document, frozen=True, kw_only=True):
    """Since when the process has failed to read or to write the ledger, and the last error."""

    error: str
    since: Moment


class Relay(Document, frozen=True, kw_only=True):
    """The last change of a worker's circuit breaker: `opened` or `closed`."""

    circuit: str
    at: Moment


class Readiness(Document, frozen=True, kw_only=True):
    """Whether the process can do its work."""

    status: Literal["ready", "not ready"]
    problems: dict[str, str]
    heartbeat: Heartbeat | None
    relay: Relay | None
    ledger: LedgerFailure | None
    estimated_wait_s: float | None
