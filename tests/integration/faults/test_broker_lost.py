"""The broker is killed, paused, or loses a queue: what was accepted is done, and only that."""

from __future__ import annotations

import time
from pathlib import Path

from dev.broker import BrokerNode
from dev.pause import paused
from dev.ports import free_port
from dev.tcp_proxy import TCPProxy
from tests.load import Load, call, runs
from tests.system import Process, Server, wait_until

ENOUGH = 150
#: The promise is 5 s; the rest is what two busy cores may add on the client's side.
REFUSED_WITHIN_S = 5.5


def assert_nothing_lost(load: Load, server: Server, worker: Process) -> None:
    """Every 202 has ended in SUCCESS with its own result; what was refused never ran."""
    wait_until(lambda: server.get("/readyz").status == 200, "/readyz")
    for accepted in load.answered(202):
        final = server.get(f"/celery/{accepted.document['id']}?wait=30").json()
        assert (final["state"], final["result"]) == ("SUCCESS", accepted.number)
    ran = runs(worker, (c.number for c in load.answered(202)))
    refused = [c for c in load.answered(503) if c.document["queued"] is False]
    assert not [c.number for c in refused if ran[c.number]]


def test_no_accepted_task_is_lost_when_the_broker_is_killed_under_load(
    own_broker: BrokerNode,
    own_worker: Process,
    own_server: Server,
) -> None:
    with Load(own_server, first=1_000_000) as load:
        wait_until(lambda: len(load.answered(202)) >= ENOUGH, "accepted calls")
        own_broker.kill()
        wait_until(lambda: load.answered(503), "a refused call")
        not_ready = own_server.get("/readyz")
        alive = own_server.get("/healthz")
        restarted_at = time.monotonic()
        own_broker.start()
        answering_at = time.monotonic()
        wait_until(lambda: len(load.answered(202, since=answering_at)) >= ENOUGH, "recovery")

    assert not_ready.status == 503
    assert set(not_ready.json()["problems"]) == {"publisher", "results"}
    assert "refused" in not_ready.json()["problems"]["publisher"].lower()
    assert not_ready.headers["Retry-After"]
    assert alive.status == 200
    assert not load.answered(500)
    assert {c.status for c in load.calls} == {202, 503}
    for refused in load.answered(503):
        assert refused.elapsed_s < REFUSED_WITHIN_S
        assert refused.retry_after == "5"
    assert_nothing_lost(load, own_server, own_worker)
    assert "CPendingDeprecationWarning" not in own_worker.text()
    first = min(c.ended_at for c in load.answered(202, since=answering_at))
    slowest = max(c.elapsed_s for c in load.answered(503))
    twice = sum(times > 1 for number, times in runs(own_worker).items() if number >= 1_000_000)
    print(
        f"broker up in {answering_at - restarted_at:.1f} s, calls accepted again"
        f" {first - answering_at:.1f} s later; {len(load.answered(202))} accepted,"
        f" {len(load.answered(503))} refused (slowest {slowest:.2f} s), {twice} ran twice"
    )


def test_a_broker_that_does_not_answer_is_503_within_5_s_and_recovered_from(
    own_broker: BrokerNode, own_worker: Process, own_server: Server
) -> None:
    assert own_broker.pid is not None
    with paused(own_broker.pid):
        unknown = call(own_server, 2_000_000)

    assert unknown.status == 503
    assert unknown.elapsed_s < REFUSED_WITHIN_S
    assert unknown.retry_after == "5"
    assert unknown.document["queued"] is None  # sent; nobody can know
    task_id = unknown.document["id"]
    # It was in the socket, so here it ran: the id of the 503 tells so.
    assert own_server.get(f"/celery/{task_id}?wait=20").json()["result"] == 2_000_000
    assert call(own_server, 2_000_001).status == 202


def test_a_node_that_stands_still_is_left_for_the_next_one(
    own_broker: BrokerNode, own_env: dict[str, str], tmp_path: Path
) -> None:
    """Its machine answers, so only heartbeats tell."""
    with TCPProxy(("127.0.0.1", own_broker.port)) as proxy:
        still = f"amqp://guest:guest@127.0.0.1:{proxy.port}//"
        env = {**own_env, "BROKER_URL": f"{still};{own_broker.url}"}
        with Server(tmp_path / "server.log", env, free_port()) as server:
            wait_until(lambda: server.get("/readyz").status == 200, "/readyz")
            proxy.hold()
            held_at = time.monotonic()
            assert call(server, 2_500_000).status == 503
            wait_until(lambda: call(server, 2_500_001).status == 202, "the next one", 60)
            wait_until(lambda: server.get("/readyz").status == 200, "/readyz", 60)

    print(f"accepted by the next node after {time.monotonic() - held_at:.1f} s")


def test_a_task_without_a_queue_is_500_and_the_server_goes_on(
    own_broker: BrokerNode, own_worker: Process, own_server: Server
) -> None:
    own_worker.stop()  # it would declare the queue again
    own_broker.ctl("delete_queue", "mail")
    mail = {"args": ["subject", "text", "ann@example.com"]}

    answer = own_server.post("/celery/sendmail", mail)

    assert answer.status == 500
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["detail"] == "no queue for 'mail'"
    assert "Retry-After" not in answer.headers
    accepted = call(own_server, 3_000_000)
    assert accepted.status == 202
    own_worker.start()  # and with it the queue
    assert own_server.post("/celery/sendmail", mail).status == 202
    final = own_server.get(f"/celery/{accepted.document['id']}?wait=20").json()
    assert final["result"] == 3_000_000


def test_results_come_again_after_their_stream_was_deleted(
    own_broker: BrokerNode, own_worker: Process, own_server: Server
) -> None:
    own_broker.ctl("delete_queue", "windmail.results")
    wait_until(lambda: own_server.get("/readyz").status == 503, "the loss is noticed")
    wait_until(lambda: own_server.get("/readyz").status == 200, "the stream is there again")

    answer = own_server.post("/celery/add?wait=20", {"args": [4, 5]})

    assert (answer.status, answer.json()["result"]) == (200, 9)
