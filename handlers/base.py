"""What all handlers share: JSON in, JSON or a problem out, limits, ``Prefer: wait``."""

from __future__ import annotations

import asyncio
import logging
import re
from asyncio import Future
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from tornado.web import Finish, RequestHandler, stream_request_body

import config
from access import OPEN, Caller, NotPermitted, Scope, refuse_cross_site
from bridge import TaskResult, TaskState
from handlers.problems import Problem, from_exception, invalid
from handlers.representation import encode
from handlers.request_body import RequestBody
from handlers.services import ServerStops, Services
from mailing import TemplateError

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: The scope that each method needs, unless its handler says otherwise; the others need ``admin``.
SCOPES = {"GET": Scope.READ, "HEAD": Scope.READ, "POST": Scope.SEND, "PATCH": Scope.SEND}

_WAIT = re.compile(r"^\s*wait\s*=\s*\"?(\d+(?:\.\d+)?)\"?\s*$", re.IGNORECASE)


@stream_request_body
class BaseHandler(RequestHandler):
    """A handler that reads its body within the limit and answers errors as problems.

    The body is streamed so that one that is too long is refused with 413 before it is
    read; Tornado by itself closes the connection with 400.

    API keys are checked before the body is read.
    """

    def initialize(self, services: Services) -> None:
        self.app = services.app
        self.bridge = services.bridge
        self._services = services
        self.caller: Caller = OPEN  # until ``prepare`` has checked the API key
        self._waiting: asyncio.Task[Any] | None = None
        self._client_is_gone = False
        self.body = RequestBody(services.bodies)

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")

    def prepare(self) -> None:
        self.admit()
        self.body.expect(self.request.headers)

    def admit(self) -> None:
        """Set ``caller`` by the request's API key, or raise what is wrong with the key."""
        self.caller = self._services.keyring.admit(self.request.headers.get("Authorization"))
        if self.caller is OPEN:
            refuse_cross_site(self.request.headers)
        try:
            self.caller.need(self.needed_scope())
        except NotPermitted:
            if self.request.method in self._allowed_methods():  # else it is a 405
                raise

    def needed_scope(self) -> Scope:
        """Return the scope that the request needs."""
        return SCOPES.get(self.request.method or "", Scope.ADMIN)

    def data_received(self, chunk: bytes) -> None:
        try:
            self.body.add(chunk)
        except Problem as problem:  # Tornado hands errors to write_error from methods only
            self.send_error(problem.status_code, exc_info=(Problem, problem, None))

    def compute_etag(self) -> None:
        """Send no ETag: most answers are small, and hashing one costs more than sending it."""

    def write_json(self, value: Any, status: int = 200) -> None:
        """Answer with a JSON document."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.write(encode(value) + b"\n")

    async def in_thread(self, call: Callable[[], T]) -> T:
        """Run ``call`` in a thread and return its result; at most CALLS_AT_ONCE for one API key."""
        turn = self._services.turns.of(self.caller.owner)
        await turn.acquire()
        running = asyncio.get_running_loop().run_in_executor(None, call)
        # If the client hangs up, the wait is cancelled, but the thread runs on and still counts.
        running.add_done_callback(lambda _: turn.release())
        try:
            return await asyncio.shield(running)
        finally:
            del running  # else a cycle: its exception, the traceback, this frame; it keeps the body

    def decode_argument(self, value: bytes, name: str | None = None) -> str:
        """Return a part of the path, or an argument of the query, as text.

        Raises:
            Problem: 400, it is not UTF-8.
        """
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise Problem(400, f"{name or 'path'}: is not UTF-8") from None

    def seconds_to_wait(self) -> float | None:
        """Return what ``Prefer: wait=N`` (RFC 7240 section 4.3) or ``?wait=N`` asks for.

        The answer says in ``Preference-Applied`` what was granted.

        Raises:
            Problem: 422, ``?wait`` is not a number of seconds.
        """
        wanted = self._wanted_wait()
        if wanted is None:
            return None
        granted = min(wanted, float(config.options.max_wait_s))
        self.set_header("Preference-Applied", f"wait={granted:g}")
        return granted

    def _wanted_wait(self) -> float | None:
        text = self.get_query_argument("wait", None) if self.request.query else None
        if text is not None:
            match = _WAIT.match(f"wait={text}")
            if not match:
                raise invalid("wait", "must be a number of seconds")
            return float(match[1])
        for header in self.request.headers.get_list("Prefer"):
            for preference in header.split(","):
                if match := _WAIT.match(preference.partition(";")[0]):
                    return float(match[1])
        return None

    async def wait_for(self, result: TaskResult, seconds: float) -> TaskState:
        """Wait ``seconds`` for a task's end, or until the client hangs up or the server stops.

        Raises:
            ResultsUnreadable: the results cannot be read now.
        """
        try:
            return await self.interruptible(result.wait(seconds))
        except ServerStops:
            return await result.state()

    async def interruptible(self, wait: Coroutine[Any, Any, T]) -> T:
        """Await something that may take long.

        Raises:
            ServerStops: the server is about to stop.
            Finish: the client has hung up.
        """
        self._waiting = waiting = asyncio.create_task(wait)
        self._services.waits.add(waiting)
        if self.is_stopping():  # a request on a connection that was kept open
            waiting.cancel()
        try:
            return await waiting
        except asyncio.CancelledError:
            raise (Finish if self._client_is_gone else ServerStops) from None
        finally:
            self._waiting = None

    def is_stopping(self) -> bool:
        """Return whether the server is stopping, so that waits are cut short."""
        return self._services.stopping.is_set()

    def on_connection_close(self) -> None:
        """Stop the work for a client that hung up, perhaps in the middle of its body."""
        if not self.request._body_future.done():
            self.body.forget()  # Tornado's exception for it keeps this handler for long
        super().on_connection_close()
        self._client_is_gone = True
        self.body.drop()
        if self._waiting is not None:
            self._waiting.cancel()

    def on_finish(self) -> None:
        self.body.drop()
        self.body.forget()

    def is_set(self, flag: str) -> bool:
        """Return whether a query flag such as ``?terminate=1`` is given and not 0 or false."""
        return self.get_query_argument(flag, "0").lower() not in ("0", "false", "no")

    def flush(self, include_footers: bool = False) -> Future[None]:
        """Send what is written; a stopping server says that this is the connection's last answer.

        Tornado also calls this to finish an answer.
        """
        if self.is_stopping():
            self.set_header("Connection", "close")
        return super().flush(include_footers)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with problem details (RFC 9457)."""
        exc_info = kwargs.get("exc_info")
        exc = exc_info[1] if exc_info else None
        problem = from_exception(exc) if exc else Problem(status_code, "")
        if problem.status_code == 405:
            problem.headers["Allow"] = allowed = ", ".join(self._allowed_methods())
            problem.detail = f"This resource allows {allowed}, not {self.request.method}."
        self.set_status(problem.status_code)
        for name, value in problem.headers.items():
            self.set_header(name, value)
        self.write_problem(problem)

    def write_problem(self, problem: Problem) -> None:
        """Answer with a problem's document; its status and headers are set."""
        self.set_header("Content-Type", "application/problem+json")
        self.finish(encode(problem.body()) + b"\n")

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log unforeseen errors with their traceback; the others are in the access log only."""
        if isinstance(value, TemplateError):
            logger.error("%s %s: %s", self.request.method, self.request.path, value)
        elif from_exception(value).status_code == 500:
            logger.error("%s %s", self.request.method, self.request.path, exc_info=(typ, value, tb))

    def _allowed_methods(self) -> list[str]:
        return [
            method
            for method in self.SUPPORTED_METHODS
            if getattr(type(self), method.lower()) is not getattr(RequestHandler, method.lower())
        ]
