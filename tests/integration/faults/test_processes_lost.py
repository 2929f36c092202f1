"""A worker, a pool process, a server or the relay goes away in the middle of the work."""

from __future__ import annotations

import os
import signal

from dev.broker import BrokerNode
from tests.event_stream import EventStream
from tests.integration.faults.conftest import RELAY_PORT
from tests.load import Load
from tests.processes import children, connections, is_alive
from tests.smtp_server import SMTPServer
from tests.system import Process, Server, wait_until


def begin_sleep(server: Server, seconds: float) -> str:
    task_id = str(server.post("/celery/sleep", {"args": [seconds]}).json()["id"])
    wait_until(lambda: server.get(f"/celery/{task_id}").json()["state"] == "STARTED", "its start")
    return task_id


def states(server: Server, task_id: str) -> list[str]:
    with EventStream(server.port, task_id) as stream:
        return [event.data["state"] for event in stream]


def test_the_task_of_a_killed_worker_runs_again(own_worker: Process, own_server: Server) -> None:
    task_id = begin_sleep(own_server, 5)
    pool = children(own_worker.pid)

    own_worker.kill()

    assert pool
    wait_until(lambda: not [pid for pid in pool if is_alive(pid)], "the end of its pool", 4)
    assert own_server.get(f"/celery/{task_id}").json()["state"] == "STARTED"
    own_worker.start()
    assert own_server.get(f"/celery/{task_id}?wait=20").json()["result"] == 5
    assert states(own_server, task_id) == ["STARTED", "STARTED", "SUCCESS"]


def test_the_task_of_a_killed_pool_process_runs_again(
    own_worker: Process, own_server: Server
) -> None:
    task_ids = [begin_sleep(own_server, 3) for _ in range(2)]  # both pool processes are at work
    victim = min(children(own_worker.pid))

    os.kill(victim, signal.SIGKILL)

    for task_id in task_ids:
        assert own_server.get(f"/celery/{task_id}?wait=20").json()["result"] == 3
    histories = sorted(len(states(own_server, task_id)) for task_id in task_ids)
    assert histories == [2, 3]  # one went on, one began twice


def test_a_new_pool_process_has_no_part_in_its_workers_connections(
    own_worker: Process, own_server: Server
) -> None:
    add = {"args": [1, 2]}
    own_server.post("/celery/add?wait=20", add)
    before = children(own_worker.pid)
    held = connections(own_worker.pid)
    begin = len(own_worker.text())

    os.kill(min(before), signal.SIGKILL)

    new = wait_until(lambda: children(own_worker.pid) - before, "another pool process")
    wait_until(lambda: not held & connections(*new), "its own connections alone")
    assert own_server.post("/celery/add?wait=20", add).json()["result"] == 3
    assert connections(own_worker.pid) >= held
    assert "Connection to broker lost" not in own_worker.text()[begin:]


def test_what_a_killed_server_had_accepted_is_done_and_readable_afterwards(
    own_broker: BrokerNode, own_worker: Process, own_server: Server
) -> None:
    with Load(own_server, first=5_000_000) as load:
        wait_until(lambda: len(load.answered(202)) >= 20, "accepted calls")
        own_server.kill()
        wait_until(lambda: load.answered(0), "nobody answers")
        own_server.start()
        again = max(c.ended_at for c in load.answered(0))
        wait_until(lambda: len(load.answered(202, since=again)) >= 20, "accepted calls again")

    for accepted in load.answered(202):
        final = own_server.get(f"/celery/{accepted.document['id']}?wait=20").json()
        assert (final["state"], final["result"]) == ("SUCCESS", accepted.number)


def test_a_mail_waits_for_a_relay_that_is_down(own_worker: Process, own_server: Server) -> None:
    mail = {"args": ["subject", "text", "ann@example.com"]}
    task_id = own_server.post("/celery/sendmail", mail).json()["id"]
    retry = wait_until(
        lambda: (now := own_server.get(f"/celery/{task_id}").json())["state"] == "RETRY" and now,
        "the retry",
    )

    with SMTPServer(port=RELAY_PORT) as relay:
        final = own_server.get(f"/celery/{task_id}?wait=30").json()

        assert len(relay.mails) == 1
    assert retry["error"]["type"] == "Unreachable"
    assert "refused" in retry["error"]["message"].lower()
    assert final["state"] == "SUCCESS"
    assert final["retries"] >= 1
