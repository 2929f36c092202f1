"""``python server.py``: several processes, stopping, restarting, and wrong settings."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from uuid import uuid4

import pytest

import config_table
from dev.broker import BrokerNode
from dev.pause import paused
from dev.ports import free_port, is_free
from tests import spy
from tests.event_stream import EventStream
from tests.processes import children, is_alive
from tests.system import ROOT, Process, Server, wait_until

#: What a server takes at most to stop (its default): who is not told of it is waited for so long.
DRAIN_S = 10.0


@pytest.fixture
def pair(broker: BrokerNode, logs: Path) -> Iterator[Server]:
    """A server of two processes."""
    with Server(logs / "pair.log", {}, free_port(), "--processes=2") as process:
        wait_until(lambda: process.text().count("results: connected") >= 2, "both processes")
        yield process


@pytest.fixture
def single(broker: BrokerNode, logs: Path) -> Iterator[Server]:
    """A server that a test may stop."""
    # Reads nothing at its start, so what it knows of old tasks it has looked up.
    with Server(logs / "single.log", {"RESULT_REPLAY_S": "0"}, free_port()) as process:
        yield process


def run(*options: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "server.py", *options]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, timeout=30
    )


# -- several processes


def test_each_process_answers_for_a_task_that_the_other_one_took(
    pair: Server, celery_worker: Process
) -> None:
    first, second = children(pair.pid)
    for taking, answering in ((first, second), (second, first)):
        with paused(answering):  # so the other one takes the call
            where = pair.post("/celery/sleep", {"args": [0.5]}).headers["Location"]
        with paused(taking):
            answer = pair.get(where, Prefer="wait=10").json()

        assert (answer["state"], answer["result"]) == ("SUCCESS", 0.5)


def test_a_process_that_died_is_replaced(pair: Server) -> None:
    before = children(pair.pid)
    victim = min(before)
    connected = pair.text().count("results: connected")

    os.kill(victim, signal.SIGKILL)

    wait_until(lambda: len(children(pair.pid) - {victim}) == 2, "a new process")
    wait_until(lambda: pair.text().count("results: connected") > connected, "its connection")
    assert f"process {victim} ended (-9)" in pair.text()
    (survivor,) = before - {victim}
    with paused(survivor):
        wait_until(lambda: pair.get("/readyz").status == 200, "the new one's readiness")


def test_sigterm_to_the_parent_stops_all(pair: Server) -> None:
    pids = children(pair.pid)

    assert len(pids) == 2
    assert pair.stop(timeout_s=30) == 0
    assert not [pid for pid in pids if is_alive(pid)]


def test_children_end_when_their_parent_is_killed(pair: Server) -> None:
    pids = children(pair.pid)

    pair.kill()

    assert len(pids) == 2
    wait_until(lambda: not [pid for pid in pids if is_alive(pid)], "the end of the children", 10)


# -- stopping


def test_a_stopping_server_answers_who_waits(
    single: Server, server: Server, celery_worker: Process
) -> None:
    with ThreadPoolExecutor(1) as pool:
        call = {"args": [600]}
        waiting = pool.submit(single.post, "/celery/sleep", call, Prefer="wait=60")
        started = re.compile(r"Task task\.sleep\[([0-9a-f-]{36})\] received")
        begin = len(celery_worker.text())
        wait_until(lambda: started.search(celery_worker.text()[begin:]), "the task's start")
        task_id = started.findall(celery_worker.text()[begin:])[-1]
        stop_at = time.monotonic()

        code = single.stop(timeout_s=30)
        answer = waiting.result(10)

    server.request("DELETE", f"/celery/{task_id}?terminate=1")
    assert code == 0
    assert time.monotonic() - stop_at < DRAIN_S
    assert answer.status == 202
    assert answer.json()["id"] == task_id
    assert answer.json()["ready"] is False
    assert "unfinished" not in single.text()


def test_a_stopping_server_revokes_no_task_whose_time_is_not_up(
    single: Server, server: Server, celery_worker: Process
) -> None:
    call = {"args": [20, 4], "countdown": 5}
    with ThreadPoolExecutor(1) as pool, spy.published(exchange="celery_delayed_2") as count:
        waiting = pool.submit(single.post, "/celery/add?revoke=1", call, Prefer="wait=60")
        wait_until(lambda: count() == 1, "the call")

        code = single.stop(timeout_s=30)
        answer = waiting.result(10)

    assert (code, answer.status) == (0, 202)
    assert "revoking" not in answer.json()
    final = server.get(answer.headers["Location"] + "?wait=20").json()
    assert (final["state"], final["result"]) == ("SUCCESS", 24)


def test_a_stopping_server_ends_event_streams(single: Server) -> None:
    with EventStream(single.port, str(uuid4())) as stream:
        stop_at = time.monotonic()
        single.signal(signal.SIGTERM)

        assert list(stream) == []

        assert 500 <= stream.retry_ms <= 2500
        assert single.stop(timeout_s=30) == 0
        assert time.monotonic() - stop_at < DRAIN_S


def test_a_request_that_comes_while_the_server_stops_is_answered_at_once(single: Server) -> None:
    unfinished = b"POST /celery/add HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
    kept = HTTPConnection("127.0.0.1", single.port, timeout=20)
    with closing(kept), closing(socket.create_connection(("127.0.0.1", single.port))) as slow:
        slow.sendall(unfinished)  # the server waits for its body
        kept.request("GET", "/healthz")
        kept.getresponse().read()
        single.signal(signal.SIGTERM)
        wait_until(lambda: is_free("127.0.0.1", single.port), "the end of listening")
        begin = time.monotonic()

        kept.request("GET", f"/celery/{uuid4()}?wait=30")
        answer = kept.getresponse()
        answer.read()

        assert (answer.status, answer.headers["Connection"]) == (200, "close")
        assert time.monotonic() - begin < 20
        slow.sendall(b'{"a": 1}\n')
        assert b" 422 " in slow.recv(65536).partition(b"\r\n")[0]
    assert single.stop(timeout_s=30) == 0


def test_a_connection_that_was_kept_open_may_bring_one_more_request(single: Server) -> None:
    with closing(HTTPConnection("127.0.0.1", single.port, timeout=20)) as kept:
        kept.request("GET", "/healthz")
        kept.getresponse().read()
        single.signal(signal.SIGTERM)
        wait_until(lambda: is_free("127.0.0.1", single.port), "the end of listening")

        kept.request("GET", "/healthz")
        answer = kept.getresponse()

        assert (answer.status, answer.headers["Connection"]) == (200, "close")
        assert answer.read()
    assert single.stop(timeout_s=30) == 0


def test_a_stopping_server_closes_connections_that_stay_silent(single: Server) -> None:
    with closing(socket.create_connection(("127.0.0.1", single.port), timeout=20)) as silent:
        assert single.stop(timeout_s=8) == 0

        assert silent.recv(1) == b""
    assert "unfinished" not in single.text()


def test_a_stopping_server_waits_no_longer_than_it_is_told_to(
    broker: BrokerNode, logs: Path
) -> None:
    unfinished = b"POST /celery/add HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
    with (
        Server(logs / "hasty.log", {"DRAIN_S": "1"}, free_port()) as hasty,
        closing(socket.create_connection(("127.0.0.1", hasty.port), timeout=20)) as slow,
    ):
        slow.sendall(unfinished)
        wait_until(lambda: hasty.get("/healthz").status == 200, "the one after it")

        assert hasty.stop(timeout_s=8) == 0

        assert slow.recv(1) == b""
        assert "connections unfinished" in hasty.text()


def test_nobody_connects_to_several_processes_of_which_one_is_not_done(pair: Server) -> None:
    unfinished = b"POST /celery/add HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"
    with closing(socket.create_connection(("127.0.0.1", pair.port), timeout=20)) as slow:
        slow.sendall(unfinished)
        pair.signal(signal.SIGTERM)
        wait_until(lambda: is_free("127.0.0.1", pair.port), "the end of listening", 5)

        slow.sendall(b'{"a": 1}\n')
        assert b" 422 " in slow.recv(65536).partition(b"\r\n")[0]
    assert pair.stop(timeout_s=30) == 0


def test_results_are_readable_after_a_restart(single: Server, celery_worker: Process) -> None:
    call = {"args": [20, 3]}
    before = single.post("/celery/add?wait=10", call).json()
    single.stop()
    stopped_at = time.time()
    # Then the stream's end is older than what the server asks for (whole seconds count).
    wait_until(lambda: time.time() > stopped_at + 1.5, "the result grows old")

    single.start()

    after = single.get(f"/celery/{before['id']}").json()
    assert after["result"] == 23
    assert after == {name: value for name, value in before.items() if name != "result_ignored"}
    with EventStream(single.port, before["id"]) as stream:
        assert [event.data["state"] for event in stream] == ["STARTED", "SUCCESS"]


# -- starting


def test_a_port_in_use_is_told(server: Server) -> None:
    done = run(f"--port={server.port}")

    assert done.returncode == 1
    assert done.stderr == (
        f"cannot listen on 127.0.0.1:{server.port}: Address already in use; see --port\n"
    )


def test_a_server_that_root_started_says_so(server: Server) -> None:
    assert ("running as root" in server.text()) == (os.geteuid() == 0)


def test_help_lists_every_option() -> None:
    done = run("--help")

    assert done.returncode == 0
    text = done.stdout + done.stderr
    joined = "".join(text.split())  # the help texts are wrapped
    for setting in config_table.SETTINGS:
        assert f"  --{setting.name.replace('_', '-')} " in text
        assert "".join(setting.help.split()) in joined
        assert f"(default{setting.default})" in joined or setting.default == ""


@pytest.mark.parametrize(
    ("options", "env", "named"),
    [
        (["--port=99999"], {}, "PORT"),
        (["--port=http"], {}, "port"),
        (["--colour=red"], {}, "colour"),
        ([], {"PORT": "http"}, "PORT"),
        ([], {"SMTP_URL": "http://relay"}, "SMTP_URL"),
        ([], {"BROKER_URL": "redis://:hush@localhost"}, "BROKER_URL"),
        ([], {"TASK_SERIALIZER": "pickle"}, "TASK_SERIALIZER"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_named(options: list[str], env: dict[str, str], named: str) -> None:
    done = run(*options, **env)

    assert done.returncode == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert "hush" not in done.stderr


def test_a_stop_while_processes_are_forked_reaches_all_of_them(
    broker: BrokerNode, logs: Path
) -> None:
    server = Server(logs / "forking.log", {}, free_port(), "--processes=8")
    with (logs / "forking.log").open("ab") as log:
        process = subprocess.Popen(server.command, cwd=ROOT, env=server.env, stdout=log, stderr=log)
    wait_until(lambda: children(process.pid), "the first process")
    process.terminate()

    assert process.wait(20) == 0
    assert not children(process.pid)
