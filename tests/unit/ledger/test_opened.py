"""What a process has open of the ledger's database."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ledger import Ledger, opened
from tests.ledgers import ids
from tests.system import ROOT


def test_threads_that_are_first_at_the_same_time_open_it_once(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened_there: list[opened.Opened] = []
    both = threading.Barrier(2)

    class Slow(opened.Opened):
        def __init__(self, *about: Any) -> None:
            time.sleep(0.2)  # the other thread comes meanwhile
            super().__init__(*about)
            opened_there.append(self)

    def use(_: int) -> set[str]:
        both.wait(10)
        return ledger.read(ids)

    monkeypatch.setattr(opened, "Opened", Slow)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(use, range(2))) == [set(), set()]

    assert len(opened_there) == 1


def test_nothing_is_open_after_the_end(ledger: Ledger, tmp_path: Path) -> None:
    def files() -> list[str]:
        shown = [os.path.realpath(fd) for fd in Path("/proc/self/fd").iterdir()]
        return [path for path in shown if path.startswith(f"{tmp_path}/")]

    ledger.commit(ids)
    assert files()
    ledger.close()

    assert not files()


#: A transaction takes as long as is said. The process forks meanwhile.
FORKED = """
import os, sys, threading, time
from ledger import Ledger, opened

ledger, begun = Ledger(sys.argv[1]), threading.Event()

def work(_):
    begun.set()
    time.sleep(float(sys.argv[2]))
    ended.append(time.monotonic())

ended = []
opened.FORK_WAIT_S = 2.0
work_done = ledger.write(work)
begun.wait(10)
pid = os.fork()
if not pid:
    os._exit(bool(ended))
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
os._exit(0)
"""


@pytest.mark.parametrize(("takes_s", "had_ended"), [(0.3, "1"), (60, "0")])
def test_a_fork_waits_for_a_transactions_end_but_not_for_ever(
    ledger: Ledger, takes_s: float, had_ended: str
) -> None:
    url = ledger._opened._url
    done = subprocess.run(
        [sys.executable, "-c", FORKED, url, str(takes_s)],
        cwd=ROOT, capture_output=True, text=True, timeout=30,
    )  # fmt: skip

    assert done.stdout.strip() == had_ended, done.stderr


#: It forks while one of its threads opens the ledger. The child's alarm ends it if it hangs.
OPENING = """
import os, signal, sys, threading, time
from ledger import Ledger, opened
from tests.ledgers import ids

class Slow(opened.Opened):
    def __init__(self, *about):
        begun.set()
        time.sleep(1)
        super().__init__(*about)

ledger, begun, plain = Ledger(sys.argv[1]), threading.Event(), opened.Opened
opened.Opened = Slow
thread = threading.Thread(target=ledger.read, args=(ids,))
thread.start()
begun.wait(10)
pid = os.fork()
if not pid:
    signal.alarm(10)
    opened.Opened = plain
    os._exit(len(ledger.read(ids)))
thread.join()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_child_of_a_process_that_was_opening_it_opens_its_own(ledger: Ledger) -> None:
    url = ledger._opened._url

    subprocess.run([sys.executable, "-c", OPENING, url], cwd=ROOT, timeout=30, check=True)
