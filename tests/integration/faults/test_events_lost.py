"""A worker's events when their connection is lost."""

from __future__ import annotations

import threading
from contextlib import suppress

from celery import Celery

import task
from dev.broker import BrokerNode
from dev.tcp_proxy import TCPProxy
from tests.conftest import BROKER_PORT
from tests.system import DEADLINE_S, wait_until


def test_a_heartbeat_on_a_connection_that_was_replaced_unnoticed_goes_out(
    celery_worker: object, broker: BrokerNode, proxy: TCPProxy
) -> None:
    app: Celery = task.app
    url = broker.url.replace(str(BROKER_PORT), str(proxy.port))
    connection = app.connection_for_write(url)
    dispatcher = app.events.Dispatcher(connection, hostname="lost@host")
    dispatcher.send("worker-online", retry=True)
    lost = connection.connection

    proxy.reset()
    with suppress(OSError):
        while True:  # until the loss is noticed
            lost.drain_events(timeout=DEADLINE_S)
    assert connection.connection.connected  # another one by now: kombu's property connects
    sending = threading.Thread(
        target=dispatcher.send, args=("worker-heartbeat",), kwargs={"retry": True}, daemon=True
    )
    sending.start()

    try:
        wait_until(lambda: not sending.is_alive(), "the event", timeout_s=10)
    finally:
        proxy.cut()
        connection.release()
        lost.collect()
