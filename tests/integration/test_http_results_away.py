"""The application on the test's own loop, without its connection for results."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPResponse

import delivery
from access import Buckets, Keyring
from application import make_application
from bridge import Bridge
from dev.broker import BrokerNode
from handlers.services import make_services
from task import app
from tests.web_server import served

pytestmark = [
    # pytest-tornado 0.8.1 makes its loop the current one by calls that Tornado deprecates.
    pytest.mark.filterwarnings("ignore:(make_current|clear_current) is deprecated"),
    pytest.mark.filterwarnings("ignore:There is no current event loop"),
]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.results.states.ATTACH_TIMEOUT_S", 0.2)


@asynccontextmanager
async def half_a_server() -> AsyncIterator[str]:
    """Serve while tasks can be sent and results cannot be read; give the address."""
    await asyncio.to_thread(delivery.prepare_ledger)
    bridge = Bridge(app)
    bridge.publishing.start()  # and not bridge.start()
    await bridge.publishing.wait_open()
    ledger = delivery.ledger()
    keyring = Keyring(ledger, Buckets(), may_be_open=True)
    await keyring.start()
    services = make_services(app, bridge, ledger, keyring)
    try:
        with served(make_application(services)) as (_, port):
            yield f"http://127.0.0.1:{port}"
    finally:
        await keyring.close()
        await bridge.close()


async def fetch(url: str, body: str | None = None) -> tuple[HTTPResponse, Any]:
    client = AsyncHTTPClient(force_instance=True)
    method = "GET" if body is None else "POST"
    answer = await client.fetch(url, raise_error=False, method=method, body=body)
    return answer, msgspec.json.decode(answer.body)


@pytest.mark.gen_test
async def test_an_accepted_call_stays_accepted_when_its_result_cannot_be_read(
    broker: BrokerNode,
) -> None:
    async with half_a_server() as url:
        answer, document = await fetch(f"{url}/celery/add?wait=1", '{"args": [4, 5]}')

    assert answer.code == 202
    assert document["state"] == "PENDING"
    assert answer.headers["Location"] == f"/celery/{document['id']}"


@pytest.mark.gen_test
async def test_the_old_way_says_that_the_mail_stays_queued(broker: BrokerNode) -> None:
    async with half_a_server() as url:
        mail = "title=subject&text=text&tomail=ann@example.com"
        answer, document = await fetch(f"{url}/celery?{mail}&wait=1")

    assert answer.code == 504
    assert "stays queued" in document["detail"]


@pytest.mark.gen_test
async def test_a_result_that_cannot_be_read_says_nothing_of_the_task(broker: BrokerNode) -> None:
    task_id = "019799a0-0000-7000-8000-000000000001"
    async with half_a_server() as url:
        answer, document = await fetch(f"{url}/celery/{task_id}")
        ready, problems = await fetch(f"{url}/readyz")

    assert answer.code == 503
    assert answer.headers["Retry-After"] == "5"
    assert document["id"] == task_id
    assert "queued" not in document
    assert ready.code == 503
    assert list(problems["problems"]) == ["results"]
