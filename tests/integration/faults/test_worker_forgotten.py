"""The network forgets a worker's connections while its threads wait for the broker's confirms."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from celery import Celery

import task
from bridge.loop.connection import Link
from dev.broker import BrokerNode
from dev.tcp_proxy import TCPProxy
from tests.keepalive import GIVEN_UP_S, given_up_after_s
from tests.outside import virtual_host
from tests.system import Process, wait_until
from tests.user_tasks import UserTasks, user_tasks

#: As many run at once, or more.
CALLS = 4
#: A task begins another one in the middle of it.
VANISHING_S = 2.0
#: How long each piece of data is on its way, to be slow.
SLOW_S = 0.2


class Far(NamedTuple):
    """A worker that reaches its broker by a proxy, and a server beside."""

    proxy: TCPProxy
    tasks: UserTasks


@pytest.fixture
def far(broker: BrokerNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    folder = tmp_path_factory.mktemp("far")
    with virtual_host(broker) as url, TCPProxy(("127.0.0.1", broker.port)) as proxy:
        by_proxy = url.replace(f":{broker.port}/", f":{proxy.port}/")
        with user_tasks(url, folder, "tests.threaded", by_proxy) as tasks:
            yield Far(proxy, tasks)


def begin(far: Far) -> list[str]:
    """Have threads begin other tasks after a while; return their ids when they are at it."""
    call = {"args": [VANISHING_S / 2]}
    ids = [far.tasks.server.post("/celery/hand_over", call).json()["id"] for _ in range(CALLS)]
    wait_until(
        lambda: all(f"{one}] received" in far.tasks.worker.text() for one in ids), "all of them"
    )
    return ids


def assert_ended(far: Far, ids: list[str]) -> None:
    for task_id in ids:
        assert far.tasks.server.get(f"/celery/{task_id}?wait=30").json()["state"] == "SUCCESS"


def test_what_waits_on_a_forgotten_connection_goes_on(far: Far) -> None:
    # Each thread has a connection of its own by then: slowly, so that they need them at the same
    # time. One that had to connect in between would be told nothing of that, and fail.
    far.proxy.delay_s = SLOW_S
    assert_ended(far, begin(far))
    far.proxy.delay_s = 0.0

    ids = begin(far)
    far.proxy.vanishing = frozenset({"back"})
    time.sleep(VANISHING_S)  # now they wait
    far.proxy.forget()
    far.proxy.vanishing = frozenset()

    assert_ended(far, ids)
    assert far.tasks.worker.stop() == 0  # no thread waits any more


def test_the_kernel_asks_for_the_other_end_in_time(celery_worker: Process) -> None:
    app: Celery = task.app
    with app.connection_for_write() as connection:
        sock = connection.connection.transport.sock

        assert given_up_after_s(sock) <= GIVEN_UP_S


@pytest.mark.gen_test
async def test_it_does_so_for_a_server_too(broker: BrokerNode) -> None:
    async def set_up(channel: Any) -> None:
        """Need nothing more than the channel."""

    link = Link("test", [broker.url], setup=set_up, on_lost=print)
    link.start()
    await link.wait_open()
    sock = link._connection._transport._sock

    assert given_up_after_s(sock) <= GIVEN_UP_S
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= GIVEN_UP_S * 1000
    await link.close()
