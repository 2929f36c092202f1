"""The route table: which handler answers which path, and what each is given."""

from __future__ import annotations

import logging
from typing import Any

from tornado.web import Application, RequestHandler, url

from handlers.base import NotFoundHandler
from handlers.celery import CeleryHandler, TaskHandler
from handlers.email import CancelHandler, OneEmailHandler, RawHandler, RetryHandler
from handlers.email_batch import EmailBatchHandler
from handlers.email_events import EmailEventsHandler
from handlers.email_handler import NoEmailHandler
from handlers.emails import EmailsHandler
from handlers.health import HealthHandler, ReadyHandler
from handlers.results import EventsHandler, ResultHandler
from handlers.services import Services

logger = logging.getLogger("windmail.access")

PROBES = ("/healthz", "/readyz")
TASK_ID = r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"


def make_application(services: Services) -> Application:
    """Return the web application."""
    given: dict[str, Any] = {"services": services}
    return Application(
        [
            url(r"/celery/?", CeleryHandler, given),
            url(rf"/celery/{TASK_ID}", ResultHandler, given),
            url(rf"/celery/{TASK_ID}/events", EventsHandler, given),
            url(r"/celery/([^/]+)", TaskHandler, given),
            url(r"/emails/?", EmailsHandler, given),
            url(r"/emails/batch", EmailBatchHandler, given),
            url(rf"/emails/{TASK_ID}", OneEmailHandler, given),
            url(rf"/emails/{TASK_ID}/cancel", CancelHandler, given),
            url(rf"/emails/{TASK_ID}/retry", RetryHandler, given),
            url(rf"/emails/{TASK_ID}/raw", RawHandler, given),
            url(rf"/emails/{TASK_ID}/events", EmailEventsHandler, given),
            url(r"/emails/.*", NoEmailHandler, given),
            url(r"/healthz", HealthHandler, given),
            url(r"/readyz", ReadyHandler, given),
        ],
        default_handler_class=NotFoundHandler,
        default_handler_args=given,
        log_function=log_request,
    )


def log_request(handler: RequestHandler) -> None:
    """Log a request's outcome in a line, without its query: that may hold a mail."""
    request, status = handler.request, handler.get_status()
    level = logging.ERROR if status >= 500 else logging.INFO
    if request.path in PROBES:
        level = logging.DEBUG  # asked every second or so; the links log what is wrong
    milliseconds = 1000 * request.request_time()
    path = request.path if status != 404 else "(unknown)"  # it may be anything, an address too
    logger.log(level, "%d %s %s %.1f ms", status, request.method, path, milliseconds)
