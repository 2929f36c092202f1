"""``/celery`` and ``/celery/<task>``: which tasks there are, and calling one."""

from __future__ import annotations

from typing import Any

import msgspec
from celery import Task

from bridge import TaskState
from handlers import tasks
from handlers.base import BaseHandler
from handlers.problems import Problem, invalid
from handlers.representation import describe

#: How long the old system's ``GET /celery?title=...`` waits for the mail, in seconds.
OLD_WAIT_S = 30.0


class Call(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The body of a call, after Flower's API and tornado-celery.

    ``countdown`` in seconds; ``expires`` in seconds or ISO 8601; ``eta`` ISO 8601.
    """

    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    countdown: float | None = None
    eta: str | None = None
    expires: float | str | None = None
    queue: str | None = None

    def options(self) -> dict[str, Any]:
        """Return the options of ``apply_async``."""
        names = ("countdown", "eta", "expires", "queue")
        return {name: getattr(self, name) for name in names}


class CeleryHandler(BaseHandler):
    """``/celery``: the tasks; with a mail in its query, the old system's way to send it."""

    async def get(self) -> None:
        if self.request.query_arguments:
            await self._send_as_before()
            return
        self.write_json({"tasks": [_describe(task) for task in tasks.callable_tasks(self.app)]})

    async def _send_as_before(self) -> None:
        sendmail = self.app.tasks["task.sendmail"]
        mail = {
            name: self.get_query_argument(name, self.get_query_argument(old, None))
            for name, old in (("subject", "title"), ("text", "text"), ("to", "tomail"))
        }
        arguments = {name: value for name, value in mail.items() if value is not None}
        tasks.check_arguments(sendmail, (), arguments)
        result = await self.bridge.apply_async(sendmail, (), arguments)
        state = await self.wait_for(result, OLD_WAIT_S)
        if state.state != "SUCCESS":
            raise _not_sent(state)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.write("ok")


class TaskHandler(BaseHandler):
    """``/celery/<task>``: one task."""

    async def get(self, name: str) -> None:
        self.write_json(_describe(self._task(name)))

    async def post(self, name: str) -> None:
        task = self._task(name)
        try:
            call = msgspec.convert(self.json_body(), Call)
        except msgspec.ValidationError as exc:
            raise invalid("body", str(exc).replace("`", "")) from None
        wait_s = None if task.ignore_result else self.seconds_to_wait()
        tasks.check_arguments(task, call.args, call.kwargs)
        result = await self.bridge.apply_async(task, call.args, call.kwargs, **call.options())
        self.set_header("Location", f"/celery/{result.id}")
        state = TaskState(task_id=result.id)
        if wait_s is not None:
            state = await self.wait_for(result, wait_s)
            if not state.ready and self.is_set("revoke"):
                await result.revoke(terminate=self.is_set("terminate"))
        document = {**describe(state), "result_ignored": bool(task.ignore_result)}
        self.write_json(document, 200 if state.ready else 202)

    def _task(self, name: str) -> Task:
        task = tasks.find(self.app, name)
        if task is None:
            known = ", ".join(tasks.short_name(task) for task in tasks.callable_tasks(self.app))
            raise Problem(404, f"{name!r} is neither a task ({known}) nor a task's id.")
        return task


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
