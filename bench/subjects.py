"""What we measure at accepting and at round trips: how each is started, asked and checked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from bench.load import Request
from bench.stage import Program, Stage
from dev.ports import free_port

CALL = json.dumps({"args": [4, 4]})
MAIL = json.dumps({"subject": "Hello", "text": "How are you?", "to": "ann@example.com"})
ADD = Request(path="/celery/add", body=CALL)
SEND = Request(path="/emails", body=MAIL)
SEND_ONCE = Request(path="/emails", body=MAIL, keyed=True)
WORKER = ["celery", "-A", "task", "worker", "--loglevel=info"]
#: Celery's result consumer is not made for many threads: this share of its answers may be errors.
THREADED_ERRORS = 0.01
PLAIN_WORKER = ["celery", "-A", "bench.peers.celery_app", "worker", "--loglevel=info", "-c8", "-n"]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One server under measurement.

    ``command`` and ``worker`` start it, ``{port}`` is filled in; ``queue`` is where its messages
    lie; ``floor`` names the bare handler on the same event loop; ``worker_says`` is in the
    worker's log when it is ready; ``alone``: its queues are in a virtual host of its own.
    """

    name: str
    command: list[str]
    request: Request
    ready: str = "/readyz"
    queue: str | None = None
    floor: str = "floor, uvloop"
    env: dict[str, str] = field(default_factory=dict)
    worker: list[str] = field(default_factory=list)
    worker_says: str = "ready"
    alone: bool = False
    port: int = field(default_factory=free_port)

    def start(self, stage: Stage) -> Program:
        """Start it, with its worker if it has one; return the server when both are ready."""
        command = [word.format(port=self.port) for word in self.command]
        env = self.env | ({"BROKER_URL": stage.vhost(f"of-{self.port}")} if self.alone else {})
        server = stage.start(self.name, command, env)
        worker = stage.start(f"{self.name} worker", self.worker, env) if self.worker else None
        server.wait_ready(self.port, self.ready)
        if worker:
            worker.wait_log(self.worker_says)
        return server


def ours(
    name: str,
    *,
    request: Request,
    queue: str,
    program: Sequence[str] = ("server.py",),
    floor: str = "floor",
    flags: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> Subject:
    """Return our server, perhaps with flags, other settings (``env``) or as another program."""
    return Subject(
        name=name,
        command=["python", *program, "--port={port}", "--logging=warning", *flags],
        request=request,
        queue=queue,
        floor=floor,
        env=dict(env or {}),
    )


def peer(
    name: str,
    module: str,
    path: str,
    *,
    queue: str | None = None,
    wrong_share: float = 0.0,
    **given: object,
) -> Subject:
    """Return a program of ``bench/peers``."""
    expects = "8" if path == "/wait" else None
    return Subject(
        name=name,
        command=["python", "-m", f"bench.peers.{module}", "{port}"],
        request=Request(path=path, body=CALL, expects=expects, wrong_share=wrong_share),
        queue=queue,
        **given,  # type: ignore[arg-type]
    )


def floors() -> list[Subject]:
    """Return the bare handlers, one on each event loop."""
    return [
        Subject(
            name=name,
            command=["python", "-m", "bench.floor", "{port}", *loop],
            request=Request(path="/celery/add", body=CALL),
            ready="/celery/add",
            floor=name,
        )
        for name, loop in (("floor", []), ("floor, uvloop", ["uvloop"]))
    ]


def own() -> list[Subject]:
    """Return our server and its variants, for accepting."""
    calls = partial(ours, request=ADD, queue="celery")
    mails = partial(ours, request=SEND, queue="mail")
    uvloop, silent = {"EVENT_LOOP": "uvloop"}, {"TASK_SENT_EVENTS": "off"}
    fast = "floor, uvloop"
    return [
        calls("/celery/add"),
        calls("/celery/add, no events", env=silent),
        calls("/celery/add, uvloop", env=uvloop, floor=fast),
        calls("/celery/add, uvloop, no events", env=uvloop | silent, floor=fast),
        mails("/emails"),
        ours("/emails, Idempotency-Key", request=SEND_ONCE, queue="mail"),
        mails("/emails, no ledger", program=("-m", "bench.no_ledger")),
        mails("/emails, uvloop", env=uvloop, floor=fast),
    ]


def peers() -> list[Subject]:
    """Return what users would pick instead, for accepting."""
    flower = ["celery", "-A", "bench.peers.celery_app", "flower", "--address=127.0.0.1"]
    return [
        peer("pika, Tornado", "tornado_pika", "/call", queue="tornado-pika", floor="floor"),
        peer(
            "pika and SQLite, Tornado",
            "tornado_pika_sqlite",
            "/call",
            queue="tornado-pika",
            floor="floor",
        ),
        peer("aio-pika, FastAPI", "fastapi_aio_pika", "/call", queue="aio-pika"),
        peer("FastStream, FastAPI", "fastapi_faststream", "/call", queue="faststream"),
        peer("taskiq-aio-pika, FastAPI", "fastapi_taskiq", "/call", queue="taskiq"),
        peer("delay(), FastAPI", "fastapi_celery", "/call", queue="plain"),
        peer(
            "delay() in threads, Tornado", "tornado_celery", "/call", queue="plain", floor="floor"
        ),
        Subject(
            name="Flower's API",
            command=[*flower, "--port={port}", "--conf=/dev/null"],
            request=Request(path="/api/task/async-apply/add", body=CALL),
            ready="/healthcheck",
            queue="plain",
            floor="floor",
            env={"FLOWER_UNAUTHENTICATED_API": "true"},
        ),
    ]


def waiting(name: str, path: str, **env: str) -> Subject:
    """Return our server, which waits for a task's result, with a worker."""
    wait = {"Prefer": "wait=30"}
    return Subject(
        name=name,
        command=["python", "server.py", "--port={port}", "--logging=warning"],
        request=Request(path=path, body=CALL, headers=wait, expects='"result":8'),
        worker=WORKER,
        env={"TASK_PACKAGES": "bench", **env},
        alone=True,
    )


def round_trips() -> list[Subject]:
    """Return the servers that wait for a result and answer with it, each with its worker."""
    results = {"RESULTS": "rpc://"}
    python = ["python", "-m"]
    return [
        waiting("Prefer: wait", "/celery/add"),
        waiting("Prefer: wait, prefetch 4", "/celery/add", WORKER_PREFETCH="4"),  # as peers have
        waiting("Prefer: wait, threaded", "/celery/add_in_thread"),
        peer("delay().get(), FastAPI", "fastapi_celery", "/wait",
             worker=[*PLAIN_WORKER, "fastapi@%h"], env={**results, "QUEUE": "fastapi"},
             wrong_share=THREADED_ERRORS),
        peer("delay().get() in threads, Tornado", "tornado_celery", "/wait",
             worker=[*PLAIN_WORKER, "tornado@%h"], env={**results, "QUEUE": "tornado"},
             wrong_share=THREADED_ERRORS),
        peer("FastStream request()", "fastapi_faststream", "/wait",
             worker=[*python, "bench.peers.faststream_worker"]),
        peer("aio-pika RPC", "fastapi_aio_pika", "/wait",
             worker=[*python, "bench.peers.aio_pika_worker"]),
        peer("aio-pika, durable as ours", "fastapi_durable_rpc", "/wait",
             worker=[*python, "bench.peers.durable_rpc_worker"]),
    ]  # fmt: skip
