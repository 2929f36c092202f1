"""Forked server processes: one whose parent is killed as it is forked does not stay behind."""

from __future__ import annotations

import subprocess
import sys

from tests.system import ROOT

#: The parent is killed right after it has forked, before its child can ask to be told of that.
PROGRAM = """
import os, signal, time
from contextlib import suppress
from serving import processes

parent = os.getpid()

def killed_meanwhile(_signum):
    with suppress(ProcessLookupError):  # the other child's doing
        os.kill(parent, signal.SIGKILL)
    while os.getppid() == parent:
        time.sleep(0.01)

def run():
    print("it runs", flush=True)

processes.set_pdeathsig = killed_meanwhile
processes.run_processes(2, run, lambda: None)
"""


def test_a_process_whose_parent_is_killed_while_it_is_forked_ends() -> None:
    done = subprocess.run(  # its output ends with the last of its processes
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, timeout=30
    )

    assert done.returncode < 0
    assert done.stdout == ""


#: The parent is told to stop right before it would fork its second process.
STOPPED = """
import os, signal, time
from serving import processes

mask, blocked = signal.pthread_sigmask, []

def stopped_meanwhile(how, signals):
    if how == signal.SIG_BLOCK:
        blocked.append(how)
        if len(blocked) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
    return mask(how, signals)

processes.signal.pthread_sigmask = stopped_meanwhile
processes.run_processes(2, lambda: time.sleep(60), lambda: print("stopping", flush=True))
"""


def test_a_parent_that_is_told_to_stop_while_it_forks_ends_with_all_of_its_processes() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STOPPED], cwd=ROOT, capture_output=True, text=True, timeout=30
    )

    assert done.stdout == "stopping\n"
    assert "starting another" not in done.stderr


#: Each of its processes ends as soon as it has begun. The parent is ended after 0.8 s.
CRASHING = """
import os, signal
from serving import processes

signal.setitimer(signal.ITIMER_REAL, 0.8)
processes.run_processes(2, lambda: os.write(1, b"it runs\\n"), lambda: None)
"""


def test_processes_that_end_at_once_are_not_started_all_the_time() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CRASHING], cwd=ROOT, capture_output=True, text=True, timeout=30
    )

    assert done.stdout == "it runs\n" * 2


#: Each process but the last two ends as soon as it has begun. The last one has the parent stop when
#: all have told that they have begun.
REPLACED = """
import os, signal, time
from serving import processes

parent, (begun, begin), (told, tell) = os.getpid(), os.pipe(), os.pipe()
os.write(begin, b"12345")

def run():
    number = os.read(begun, 1)
    os.write(1, number)
    if number == b"5":
        for _ in range(4):
            os.read(told, 1)
        os.kill(parent, signal.SIGTERM)
    os.write(tell, b".")
    if number >= b"4":
        time.sleep(60)

processes.RESTART_DELAY_S = 0
processes.run_processes(2, run, lambda: os.write(1, b" stopping"))
"""


def test_a_process_that_ends_is_replaced_until_all_are_to_stop() -> None:
    done = subprocess.run(
        [sys.executable, "-c", REPLACED], cwd=ROOT, capture_output=True, text=True, timeout=30
    )

    assert done.returncode == 0
    assert sorted(done.stdout.removesuffix(" stopping")) == [*"12345"]
    assert done.stdout.endswith(" stopping")
    assert done.stderr.count("starting another") == 3


SINGLE = """
import os
from serving import processes

pid = os.getpid()
processes.run_processes(1, lambda: print(os.getpid() == pid), lambda: None)
"""


def test_a_single_process_is_not_forked() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SINGLE], cwd=ROOT, capture_output=True, text=True, timeout=30
    )

    assert done.stdout == "True\n"


#: Its parent has a child that it did not start. The parent is ended after 0.8 s.
INHERITING = """
import os, signal, time
from serving import processes

def run():
    os.write(1, b"it runs\\n")
    time.sleep(60)

processes.RESTART_DELAY_S = 0
signal.setitimer(signal.ITIMER_REAL, 0.8)
processes.run_processes(2, run, lambda: None)
"""


def test_a_process_that_was_started_by_somebody_else_is_not_replaced() -> None:
    """A script's, which then executes the server; or an orphan, if it is a container's first."""
    script = 'sleep 0.1 & exec "$@"'
    done = subprocess.run(
        ["sh", "-c", script, "sh", sys.executable, "-c", INHERITING],
        cwd=ROOT, capture_output=True, text=True, timeout=30,
    )  # fmt: skip

    assert done.stdout == "it runs\n" * 2
