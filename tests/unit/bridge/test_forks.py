"""Processes that are forked while threads are at work."""

from __future__ import annotations

import subprocess
import sys

from tests.system import ROOT

#: Ends at the first child that hangs.
FORKING = """
import os, signal, sys, threading
from bridge import prepare_forks
from task import app

app.connection_for_write()  # loads the settings
prepare_forks()
sys.setswitchinterval(1e-6)  # a thread is interrupted wherever that can be

def connect():
    while True:
        app.connection_for_write()  # not connected yet

for _ in range(2):
    threading.Thread(target=connect, daemon=True).start()
for _ in range(400):
    pid = os.fork()
    if not pid:
        signal.alarm(10)
        app.connection_for_write()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if status:
        os._exit(1)
os._exit(0)
"""


def test_a_process_that_is_forked_while_threads_connect_can_connect() -> None:
    ended = subprocess.run([sys.executable, "-c", FORKING], cwd=ROOT, timeout=120, check=False)

    assert ended.returncode == 0
