"""The operations of the HTTP API: their paths, arguments and answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from access import Scope
from handlers.celery.calls import Call
from handlers.emails.batch import LARGEST_BATCH, PERMISSIVE, STRICT
from handlers.emails.body import EmailBody, Rescheduling
from handlers.emails.many import LARGEST_LIMIT, STATUSES
from handlers.openapi import answers

JSON, PROBLEM, EVENTS = "application/json", "application/problem+json", "text/event-stream"
TEXT, MAIL = "text/plain", "message/rfc822"

#: Statuses that any request with a key may get.
COMMON = (401, 403, 429, 503)

Kind = type[msgspec.Struct]
# A document, a media type, a document or instead of it a media type; None: no body.
Answer = Kind | str | tuple[Kind, str] | None


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """An operation. ``name``: as clients call it; ``scope`` None: it needs no key; ``batch``: the
    body is a list of ``body``."""

    name: str
    method: str
    path: str
    summary: str
    answers: Mapping[int, Answer]
    scope: Scope | None = Scope.READ
    errors: tuple[int, ...] = ()
    body: type[msgspec.Struct] | None = None
    batch: bool = False
    parameters: tuple[dict[str, Any], ...] = ()
    headers: tuple[str, ...] = ()


def _query(name: str, description: str, **schema: Any) -> dict[str, Any]:
    schema = schema or {"type": "string"}
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _header(name: str, description: str, **schema: Any) -> dict[str, Any]:
    schema = schema or {"type": "string"}
    return {"name": name, "in": "header", "description": description, "schema": schema}


WAIT = (
    _query("wait", "wait so many seconds for the outcome", type="number", minimum=0),
    _header("Prefer", "wait=N, as RFC 7240 has it"),
)
KEY = _header("Idempotency-Key", "repeat a request safely", type="string", maxLength=256)
LAST_EVENT = _header("Last-Event-ID", "go on behind this event")
PAGE = (
    _query("status", "of this status", type="string", enum=list(STATUSES)),
    _query("to", "to this address"),
    _query("tag", "with this tag: name, or name:value"),
    _query("before", "older than the mail of this id"),
    _query("after", "the same, as Resend's clients call it"),
    _query("limit", "so many at most", type="integer", minimum=1, maximum=LARGEST_LIMIT),
)
VALIDATION = _header(
    "x-batch-validation",
    "all or nothing, or what is valid",
    type="string",
    enum=[STRICT, PERMISSIVE],
)
OLD_WAY = tuple(
    _query(name, "of a mail to send, the old system's way; needs the scope send")
    | {"deprecated": True}
    for name in ("title", "text", "tomail", "subject", "to")
)
TERMINATE = _query("terminate", "kill it if it runs", type="string")
REVOKE = _query("revoke", "revoke it when the wait is over", type="string")
SEND, ADMIN = Scope.SEND, Scope.ADMIN

LOCATION, WAITED, REPLAYED = "Location", "Preference-Applied", "Idempotent-Replayed"
#: The headers of good answers; a client may need them, but none is always there.
HEADERS = {
    LOCATION: "where the mail or task is",
    WAITED: "wait=N, the seconds that were granted",
    REPLAYED: "true: accepted before, under the same Idempotency-Key",
}

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="send_email", method="post", path="/emails",
        summary="Send a mail", scope=SEND, body=EmailBody,
        answers={202: answers.AcceptedEmail, 200: answers.AcceptedEmail},
        errors=(400, 409, 413, 422), parameters=(KEY, *WAIT), headers=(LOCATION, WAITED, REPLAYED),
    ),
    Operation(
        name="list_emails", method="get", path="/emails",
        summary="List mails, newest first",
        answers={200: answers.EmailList}, errors=(400, 422), parameters=PAGE,
    ),
    Operation(
        name="send_batch", method="post", path="/emails/batch",
        summary=f"Send up to {LARGEST_BATCH} mails",
        scope=SEND, body=EmailBody, batch=True, answers={202: answers.AcceptedBatch},
        errors=(400, 409, 413, 422), parameters=(KEY, VALIDATION), headers=(REPLAYED,),
    ),
    Operation(
        name="get_email", method="get", path="/emails/{id}",
        summary="A mail and what became of it",
        answers={200: answers.Email}, errors=(400, 404, 422), parameters=WAIT,
        headers=(WAITED,),
    ),
    Operation(
        name="reschedule_email", method="patch", path="/emails/{id}",
        summary="Give a scheduled mail another time",
        scope=SEND, body=Rescheduling, answers={200: answers.EmailSummary},
        errors=(400, 404, 409, 413, 422),
    ),
    Operation(
        name="cancel_email", method="post", path="/emails/{id}/cancel",
        summary="Do not send a mail that waits",
        scope=SEND, answers={200: answers.EmailSummary}, errors=(404, 409, 413),
    ),
    Operation(
        name="retry_email", method="post", path="/emails/{id}/retry",
        summary="Send a failed or held mail again",
        scope=SEND, answers={202: answers.EmailSummary, 200: answers.EmailSummary},
        errors=(400, 404, 409, 413, 422), parameters=WAIT, headers=(LOCATION, WAITED),
    ),
    Operation(
        name="get_raw_email", method="get", path="/emails/{id}/raw",
        summary="The octets that go to the relay",
        answers={200: MAIL}, errors=(404,),
    ),
    Operation(
        name="follow_email", method="get", path="/emails/{id}/events",
        summary="The timeline, as it goes on",
        answers={200: EVENTS, 204: None}, errors=(404, 422), parameters=(LAST_EVENT,),
    ),
    Operation(
        name="list_tasks", method="get", path="/celery",
        summary="The tasks; with a mail in the query, send it",
        answers={200: (answers.TaskList, TEXT)}, errors=(400, 422, 502, 504), parameters=OLD_WAY,
    ),
    # OpenAPI takes /celery/{task} and /celery/{id} for the same path, so here they are one.
    Operation(
        name="get_task", method="get", path="/celery/{task}",
        summary="By its name: how to call it; by its id: its state",
        answers={200: answers.TaskOrDescription}, errors=(400, 404, 422),
        parameters=WAIT, headers=(WAITED,),
    ),
    Operation(
        name="call_task", method="post", path="/celery/{task}",
        summary="Call a task; sendmail needs the scope send, others admin",
        scope=ADMIN, body=Call, answers={202: answers.Task, 200: answers.Task},
        errors=(400, 404, 405, 413, 422), parameters=(*WAIT, REVOKE, TERMINATE),
        headers=(LOCATION, WAITED),
    ),
    Operation(
        name="revoke_task", method="delete", path="/celery/{task}",
        summary="By its id: revoke it", scope=ADMIN,
        answers={202: answers.Task, 200: answers.Task}, errors=(400, 405), parameters=(TERMINATE,),
    ),
    Operation(
        name="follow_task", method="get", path="/celery/{id}/events",
        summary="A task's states, as they change",
        answers={200: EVENTS, 204: None}, errors=(404, 422), parameters=(LAST_EVENT,),
    ),
    Operation(
        name="get_health", method="get", path="/healthz",
        summary="Is the process alive?", scope=None,
        answers={200: answers.Alive},
    ),
    Operation(
        name="get_readiness", method="get", path="/readyz",
        summary="Can it do its work?", scope=None,
        answers={200: answers.Readiness, 503: answers.Readiness},
    ),
    Operation(
        name="get_openapi", method="get", path="/openapi.json",
        summary="This document", scope=None,
        answers={200: JSON},
    ),
)  # fmt: skip
