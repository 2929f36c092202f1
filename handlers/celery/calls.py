"""``/celery`` and ``/celery/<task>``: which tasks there are, and calling one."""

from __future__ import annotations

from keyword import iskeyword
from typing import Any

import msgspec
from celery import Task

from access import Scope
from bridge import BridgeError, ResultsUnreadable, TaskResult, TaskState
from bridge.topology import MAIL_TASK
from handlers.accepting.quota import quota_of
from handlers.base import BaseHandler
from handlers.canceling import stop
from handlers.celery import tasks
from handlers.celery.called_mail import called_mail
from handlers.problems import Problem, invalid
from handlers.representation import Moment, describe

#: How long the old system's ``GET /celery?title=...`` waits for the mail, in seconds.
OLD_WAIT_S = 30.0


class Call(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The body of a call, after Flower's API and tornado-celery.

    ``countdown`` in seconds; ``expires`` in seconds or ISO 8601; ``eta`` ISO 8601.
    """

    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    countdown: float | None = None
    eta: Moment | None = None
    expires: float | str | None = None
    queue: str | None = None

    def options(self) -> dict[str, Any]:
        """Return the options of ``apply_async``; None: not given."""
        return {
            "countdown": self.countdown,
            "eta": self.eta,
            "expires": self.expires,
            "queue": self.queue,
        }


_CALLS = msgspec.json.Decoder(Call)


class CallingHandler(BaseHandler):
    """A handler that calls a task."""

    async def call(self, task: Task, call: Call) -> TaskResult:
        """Call a task; a mail is accepted like every other one.

        Raises:
            InvalidArgument, InvalidOption, BridgeError, NotAccepted, AccessError, Overloaded
            and, for a mail, what :func:`called_mail` raises.
        """
        if task.name != MAIL_TASK:
            tasks.check_arguments(task, call.args, call.kwargs)
            return await self.bridge.apply_async(task, call.args, call.kwargs, **call.options())
        mail = called_mail(task, call.args, call.kwargs, call.options(), caller=self.caller)
        self._services.pressure.check([mail])
        receipt = await self._services.acceptance.accept([mail], quota_of(self.caller, [mail]))
        return self.bridge.result(receipt.ids[0])

    async def outcome(self, result: TaskResult, seconds: float) -> TaskState:
        """Wait for a queued task's end; while results cannot be read, return PENDING."""
        try:
            return await self.wait_for(result, seconds)
        except ResultsUnreadable:
            return TaskState(task_id=result.id)


class CeleryHandler(CallingHandler):
    """``/celery``: the tasks. With a query, GET sends a mail, as in the system before Windmail."""

    def needed_scope(self) -> Scope:
        sends = self.request.method == "GET" and self.request.query_arguments
        return Scope.SEND if sends else super().needed_scope()

    async def get(self) -> None:
        if self.request.query_arguments:
            await self._send_as_before()
        else:
            await self.head()

    async def head(self) -> None:
        """List the tasks; HEAD sends nothing, whatever the query."""
        self.write_json({"tasks": [_describe(task) for task in tasks.callable_tasks(self.app)]})

    async def _send_as_before(self) -> None:
        sendmail = self.app.tasks[MAIL_TASK]
        mail = {
            name: self.get_query_argument(name, self.get_query_argument(old, None))
            for name, old in (("subject", "title"), ("text", "text"), ("to", "tomail"))
        }
        arguments = {name: value for name, value in mail.items() if value is not None}
        wait_s = self.seconds_to_wait()
        result = await self.call(sendmail, Call(kwargs=arguments))
        state = await self.outcome(result, OLD_WAIT_S if wait_s is None else wait_s)
        if state.state != "SUCCESS":
            raise _not_sent(state)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.write("ok")


class TaskHandler(CallingHandler):
    """``/celery/<task>``: one task. Calling other tasks than mails, which have no owner, needs
    ``admin``."""

    def needed_scope(self) -> Scope:
        if self.request.method == "POST" and not self._is_mail():
            return Scope.ADMIN
        return super().needed_scope()

    def _is_mail(self) -> bool:
        task = tasks.find(self.app, self.path_args[0])
        return task is not None and task.name == MAIL_TASK

    async def get(self, name: str) -> None:
        self.write_json(_describe(self._task(name)))

    head = get

    async def post(self, name: str) -> None:
        task = self._task(name)
        call = self._read_call()
        if call.queue is not None:
            self.caller.need(Scope.ADMIN)  # a chosen queue could overtake or block others
        wait_s = None if task.ignore_result else self.seconds_to_wait()
        result = await self.call(task, call)
        self.set_header("Location", f"/celery/{result.id}")
        state = TaskState(task_id=result.id)
        if wait_s is not None:
            state = await self.outcome(result, wait_s)
        document = {**describe(state), "result_ignored": bool(task.ignore_result)}
        time_is_up = wait_s is not None and not state.ready and not self.is_stopping()
        if time_is_up and self.is_set("revoke"):
            document["revoking"] = await self._revoke(result)
        self.write_json(document, 200 if state.ready else 202)

    async def _revoke(self, result: TaskResult) -> bool:
        """Revoke a task; False if the broker fails: the task is queued, so the answer is 202."""
        terminate = self.is_set("terminate")
        try:
            return await stop(self._services, self.caller, result, ended=False, terminate=terminate)
        except BridgeError:
            return False

    def _read_call(self) -> Call:
        """Read the body of a call; an invalid one is decoded again in steps, to name the error.

        Raises:
            Problem: 400, 422
        """
        try:
            call = _CALLS.decode(self.body.octets() or b"{}")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            call = _explained(self.body.json())
        # Python's keywords cannot be parameters: "from" in JSON stands for the parameter from_.
        kwargs = {f"{k}_" if iskeyword(k) else k: value for k, value in call.kwargs.items()}
        return msgspec.structs.replace(call, kwargs=kwargs)

    def _task(self, name: str) -> Task:
        task = tasks.find(self.app, name)
        if task is None:
            known = ", ".join(tasks.short_name(task) for task in tasks.callable_tasks(self.app))
            raise Problem(404, f"{name!r} is neither a task ({known}) nor a task's id.")
        return task


def _explained(body: dict[str, Any]) -> Call:
    """Read the body of a call.

    Raises:
        Problem: 422, naming the member that is wrong.
    """
    for name in body.keys() - set(Call.__struct_fields__):
        raise invalid(
            name, "is not a member of a call; put the task's arguments into args or kwargs"
        )
    try:
        return msgspec.convert(body, Call)
    except msgspec.ValidationError as exc:
        detail, _, path = str(exc).replace("`", "").partition(" - at $.")
        raise invalid(path or "body", detail) from None


def _describe(task: Task) -> dict[str, Any]:
    doc = (task.run.__doc__ or "").strip().splitlines()
    return {
        "name": task.name,
        "doc": doc[0] if doc else "",
        "parameters": tasks.parameters(task),
        "links": {"call": f"/celery/{tasks.short_name(task)}"},
    }


def _not_sent(state: TaskState) -> Problem:
    where = {"Location": f"/celery/{state.task_id}"}
    members = {"id": state.task_id, "state": state.state}
    if state.ready:
        return Problem(502, f"The mail was not sent: {state.result}", headers=where, **members)
    why = f"{state.state}: {state.result}" if state.state == "RETRY" else state.state
    detail = f"The mail is not sent yet ({why}); it stays queued and will be."
    return Problem(504, detail, headers=where, **members)
