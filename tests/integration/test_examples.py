"""The examples run, and show what they say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bridge.ids import new_task_id
from dev.broker import BrokerNode
from examples.sms.tasks import send_sms
from tests.outside import Tap, python, virtual_host
from tests.system import ROOT, Process, worker


def test_the_bridge_demo_prints_a_result_and_a_tasks_progress(celery_worker: Process) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.bridge_demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )

    first, started, *rest = done.stdout.splitlines()
    assert first == "4 + 4 = 8"
    assert re.fullmatch(r"STARTED \{'pid': \d+, 'hostname': 'session@\S+'\}", started)
    assert rest == [
        "PROGRESS {'done': 1, 'total': 3}",
        "PROGRESS {'done': 2, 'total': 3}",
        "PROGRESS {'done': 3, 'total': 3}",
        "SUCCESS 3",
    ]
    assert (done.returncode, done.stderr) == (0, "")


def test_the_readmes_lines_on_the_bridge_are_the_demos() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (shown,) = (block for block in blocks if "Bridge(" in block)

    demo = (ROOT / "examples" / "bridge_demo.py").read_text()

    assert textwrap.indent(shown, "    ").replace("\n    \n", "\n\n") in demo


class Gateway(ThreadingHTTPServer):
    """An HTTP gateway for short messages; answers with ``statuses`` first, then with 200."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _GatewayHandler)
        self.received: list[dict[str, Any]] = []
        self.statuses: list[int] = []
        self.says: bytes | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/messages"


class _GatewayHandler(BaseHTTPRequestHandler):
    server: Gateway

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(json.loads(body))
        status = self.server.statuses.pop(0) if self.server.statuses else 200
        number = json.dumps({"number": len(self.server.received)}).encode()
        answer = number if self.server.says is None else self.server.says
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Write nothing to stderr."""


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Gateway() as gateway:
        thread = threading.Thread(target=gateway.serve_forever)
        thread.start()
        yield gateway
        gateway.shutdown()
        thread.join()


def test_a_short_message_goes_through_the_gateway_once_it_is_back(
    broker: BrokerNode, gateway: Gateway, tmp_path: Path
) -> None:
    message = {"to": "+4912345678", "text": "Ihr Code: 你好 1234"}
    gateway.statuses = [503]
    task_id = new_task_id()
    with virtual_host(broker) as url:
        env = {"BROKER_URL": url, "SMS_GATEWAY_URL": gateway.url}
        with (
            worker(tmp_path / "log", env) as process,
            Tap(url, "windmail", "celeryev") as tap,
        ):
            answer = python(
                "from examples.sms.tasks import send_sms\n"
                f"result = send_sms.apply_async(kwargs={message!r}, task_id={task_id!r})\n"
                "out(result.get(timeout=30))",
                env,
            )
            first = tap.task(task_id)

            log = process.text()

    assert answer == {"code": 200, "answer": {"number": 2}}
    assert gateway.received == [message, message]
    assert f"Task examples.sms.tasks.send_sms[{task_id}] retry: Retry in" in log
    assert "the gateway answered 503" in log
    assert first.headers["kwargsrepr"] == "(2 hidden)"
    assert "+4912345678" not in log + repr(first.headers)


@pytest.mark.parametrize(
    ("says", "answer"),
    [(b"OK 1234", "OK 1234"), (b"gr\xfcn", "gr\ufffdn"), (b"", None), (b"[1]", [1])],
)
def test_a_gateway_may_answer_what_it_likes_once_it_has_taken_the_message(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, says: bytes, answer: Any
) -> None:
    monkeypatch.setenv("SMS_GATEWAY_URL", gateway.url)
    gateway.says = says

    assert send_sms("+4912345678", "Hello") == {"code": 200, "answer": answer}
