"""The route table: which handler answers which path, and what each is given."""

from __future__ import annotations

import logging
from typing import Any

from tornado.web import Application, RequestHandler, url

from handlers.base import BaseHandler
from handlers.celery.calls import CeleryHandler, TaskHandler
from handlers.celery.results import EventsHandler, ResultHandler
from handlers.emails.batch import EmailBatchHandler
from handlers.emails.events import EmailEventsHandler
from handlers.emails.handler import NoEmailHandler, NotFoundHandler
from handlers.emails.many import EmailsHandler
from handlers.emails.one import CancelHandler, OneEmailHandler, RawHandler, RetryHandler
from handlers.health import HealthHandler, ReadyHandler
from handlers.openapi.document import OpenApiHandler
from handlers.services import Services

logger = logging.getLogger("windmail.access")

PROBES = ("/healthz", "/readyz")
TASK_ID = r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
#: A Python program may choose its mails' ids; PostgreSQL takes any character but NUL.
EMAIL_ID = r"((?:(?!%00)[^/])+)"


#: Which handler answers which path. They are tried in this order: the busiest come first.
ROUTES: tuple[tuple[str, type[BaseHandler]], ...] = (
    (r"/emails/?", EmailsHandler),
    (rf"/celery/{TASK_ID}", ResultHandler),
    (r"/celery/([^/]+)", TaskHandler),
    (rf"/celery/{TASK_ID}/events", EventsHandler),
    (r"/celery/?", CeleryHandler),
    (r"/emails/batch", EmailBatchHandler),
    (rf"/emails/{EMAIL_ID}", OneEmailHandler),
    (rf"/emails/{EMAIL_ID}/cancel", CancelHandler),
    (rf"/emails/{EMAIL_ID}/retry", RetryHandler),
    (rf"/emails/{EMAIL_ID}/raw", RawHandler),
    (rf"/emails/{EMAIL_ID}/events", EmailEventsHandler),
    (r"/emails/.*", NoEmailHandler),
    (r"/healthz", HealthHandler),
    (r"/readyz", ReadyHandler),
    (r"/openapi\.json", OpenApiHandler),
)


def make_application(services: Services) -> Application:
    """Return the web application."""
    given: dict[str, Any] = {"services": services}
    return Application(
        [url(pattern, handler, given) for pattern, handler in ROUTES],
        default_handler_class=NotFoundHandler,
        default_handler_args=given,
        log_function=log_request,
    )


def log_request(handler: RequestHandler) -> None:
    """Log a request's outcome in a line, without its query: that may hold a mail."""
    request, status = handler.request, handler.get_status()
    level = logging.ERROR if status >= 500 else logging.INFO
    if request.path in PROBES:
        level = logging.DEBUG  # every second or so; the bridge itself logs what is wrong
    if not logger.isEnabledFor(level):
        return
    milliseconds = 1000 * request.request_time()
    path = request.path if status != 404 else "(unknown)"  # it may be any text, even an address
    owner = handler.caller.owner if isinstance(handler, BaseHandler) else ""
    by = f" by {owner}" if owner else ""
    logger.log(level, "%d %s %s %.1f ms%s", status, request.method, path, milliseconds, by)
