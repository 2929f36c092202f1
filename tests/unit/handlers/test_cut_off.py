"""A client that hangs up leaves nothing behind, and what it has begun is finished."""

from __future__ import annotations

import asyncio
from contextlib import closing
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from tornado.web import Application, RequestHandler

from handlers.accepting.acceptance import Acceptance
from handlers.accepting.outgoing import Outgoing
from handlers.base import BaseHandler
from handlers.limits import Budget
from handlers.request_body import Bodies
from ledger import Ledger
from tests.acceptance import Queue, acceptance, mail, status
from tests.web_server import served

DEADLINE_S = 5.0


class Handler(BaseHandler):
    begun: asyncio.Event

    newest: ClassVar[Handler]

    def admit(self) -> None:
        Handler.newest = self

    def data_received(self, chunk: bytes) -> None:
        super().data_received(chunk)
        self.begun.set()

    def post(self) -> None: ...


def made() -> Any:
    """Return what these handlers need of the services."""
    return SimpleNamespace(
        app=None,
        bridge=None,
        bodies=Bodies(1000, 1000),
        answers=Budget(1000),
        stopping=asyncio.Event(),
        waits=set[asyncio.Task[Any]](),
    )


@pytest.mark.gen_test
async def test_a_client_that_hangs_up_in_its_body_leaves_no_task_behind() -> None:
    services = made()
    Handler.begun = asyncio.Event()
    application = Application([("/", Handler, {"services": services})])
    with served(application) as (_, port):
        before = asyncio.all_tasks()
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
        await asyncio.wait_for(Handler.begun.wait(), DEADLINE_S)
        of_the_request = asyncio.all_tasks() - before

        writer.close()
        _done, left = await asyncio.wait(of_the_request, timeout=DEADLINE_S)

        assert of_the_request
        assert not left
        assert services.bodies.take(1000)  # nothing counts any more
        assert Handler.newest.body.octets() == b""


class Waiting(BaseHandler):
    begun: ClassVar[asyncio.Event]
    ended: ClassVar[asyncio.Future[str]]

    def admit(self) -> None: ...

    async def get(self) -> None:
        Waiting.begun.set()
        try:
            await self.interruptible(asyncio.Event().wait())
        except Exception as exc:
            Waiting.ended.set_result(type(exc).__name__)
            raise


@pytest.mark.gen_test
async def test_a_client_that_hangs_up_while_it_waits_is_waited_for_no_more() -> None:
    services = made()
    Waiting.begun, Waiting.ended = asyncio.Event(), asyncio.get_running_loop().create_future()
    with served(Application([("/", Waiting, {"services": services})])) as (_, port):
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.wait_for(Waiting.begun.wait(), DEADLINE_S)

        writer.close()

        # Not ServerStops: nobody is there to be told that the server is about to stop.
        assert await asyncio.wait_for(Waiting.ended, DEADLINE_S) == "Finish"
        assert [wait.cancelled() for wait in services.waits] == [True]


class Accepting(RequestHandler):
    def initialize(self, accepting: Acceptance, one: Outgoing, steps: list[asyncio.Event]) -> None:
        self._accepting, self._one = accepting, one
        self._begun, self._gone = steps

    def on_connection_close(self) -> None:
        self._gone.set()

    async def post(self) -> None:
        self._begun.set()
        await self._accepting.accept([self._one])


@pytest.mark.gen_test
async def test_an_answered_request_leaves_its_body_to_nobody() -> None:
    """Its bytes count no more while its connection stays open, nor are they in memory."""
    services = made()
    Handler.begun = asyncio.Event()
    application = Application([("/", Handler, {"services": services})])
    with served(application) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 600\r\n\r\n" + b" " * 600
        with closing(writer):
            for _ in range(2):  # both together are too large
                writer.write(request)
                answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE_S)

                assert answer.startswith(b"HTTP/1.1 200 ")
                assert Handler.newest.body.octets() == b""


@pytest.mark.gen_test
async def test_a_mail_is_accepted_though_its_client_hangs_up(ledger: Ledger, queue: Queue) -> None:
    queue.gate, begun, gone = asyncio.Event(), asyncio.Event(), asyncio.Event()
    accepting, one = acceptance(ledger, queue), mail()
    given = {"accepting": accepting, "one": one, "steps": [begun, gone]}
    with served(Application([("/", Accepting, given)])) as (_, port):
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        await asyncio.wait_for(begun.wait(), DEADLINE_S)
        writer.transport.abort()
        await asyncio.wait_for(gone.wait(), DEADLINE_S)
        queue.gate.set()
        await accepting.close(DEADLINE_S)

    assert queue.ids == [one.id]
    assert status(ledger, one.id) == "queued"
