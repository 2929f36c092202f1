"""``SharedNumbers``: one block for forked processes and threads, whoever is killed."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from mailing.shared import SharedNumbers
from tests.system import wait_until

# Python 3.12 and later warn of forking a process that has threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")

PROCESSES, ROUNDS = 4, 2000

_children: set[int] = set()


@pytest.fixture(autouse=True)
def none_is_left() -> Iterator[None]:
    """End a failed test's children: they would keep pytest's output open for its reader."""
    yield
    for pid in tuple(_children):
        os.kill(pid, signal.SIGKILL)
        status_of(pid)


def fork(work: Callable[[], object]) -> int:
    """Return the id of a child that does the work and ends; 1 is its status if that failed."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    _children.add(pid)
    return pid


def status_of(pid: int) -> int:
    _children.discard(pid)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def count(numbers: SharedNumbers, rounds: int = ROUNDS) -> None:
    for _ in range(rounds):
        with numbers.locked() as values:
            before = values[1]
            time.sleep(0)  # lets other threads go on, if they can
            values[1] = before + 1


def test_the_numbers_are_zero_at_first() -> None:
    with SharedNumbers(3).locked() as values:
        assert list(values)[:3] == [0, 0, 0]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the file is one of TMPDIR")
def test_the_numbers_need_no_disk_which_could_be_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk would be a SIGBUS, at the first write, for whoever writes."""
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")

    numbers = SharedNumbers(3)

    assert status_of(fork(lambda: count(numbers, 1))) == 0
    assert numbers.values[1] == 1


def test_no_write_of_a_process_is_lost() -> None:
    numbers = SharedNumbers(2)

    children = [fork(lambda: count(numbers)) for _ in range(PROCESSES)]

    assert [status_of(pid) for pid in children] == [0] * PROCESSES
    assert numbers.values[1] == PROCESSES * ROUNDS


def test_no_write_of_a_thread_is_lost() -> None:
    numbers = SharedNumbers(2)
    threads = [threading.Thread(target=count, args=(numbers,)) for _ in range(4)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert numbers.values[1] == 4 * ROUNDS


def test_a_lock_whose_holder_is_killed_is_free_again() -> None:
    numbers = SharedNumbers(2)

    def hold() -> None:
        with numbers.locked() as values:
            values[0] = 1
            signal.pause()

    holder = fork(hold)
    wait_until(lambda: numbers.values[0], "the child holds the lock")
    others = [fork(lambda: count(numbers, 1)) for _ in range(PROCESSES)]
    assert numbers.values[1] == 0
    os.kill(holder, signal.SIGKILL)

    assert [status_of(pid) for pid in (holder, *others)] == [-signal.SIGKILL, 0, 0, 0, 0]
    assert numbers.values[1] == PROCESSES


def test_processes_that_are_killed_at_any_time_block_nobody() -> None:
    numbers = SharedNumbers(2)

    def has_passed(number: float) -> bool:
        return numbers.values[1] > number

    survivor = fork(lambda: count(numbers, 20_000))

    for _ in range(20):
        victim = fork(lambda: count(numbers, 10_000_000))
        seen = numbers.values[1]
        wait_until(partial(has_passed, seen + 50), "both count")
        os.kill(victim, signal.SIGKILL)
        status_of(victim)

    assert status_of(survivor) == 0


def test_a_child_does_not_inherit_the_lock_of_a_thread() -> None:
    numbers = SharedNumbers(2)
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with numbers.locked():
            held.set()
            let_go.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    child = fork(lambda: count(numbers, 1))
    let_go.set()
    thread.join()

    deadline = time.monotonic() + 10
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        os.sched_yield()
    if ended == (child, 0):
        _children.discard(child)
    assert ended == (child, 0)


def test_a_signal_that_raises_leaves_the_lock_free() -> None:
    numbers = SharedNumbers(2)

    with pytest.raises(KeyboardInterrupt), numbers.locked():
        raise KeyboardInterrupt

    assert status_of(fork(lambda: count(numbers, 1))) == 0


def test_a_time_limit_while_waiting_ends_the_wait() -> None:
    numbers = SharedNumbers(2)

    def hold() -> None:
        with numbers.locked() as values:
            values[0] = 1
            signal.pause()

    def once(*_: object) -> None:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        raise KeyboardInterrupt

    def interrupted() -> None:
        signal.signal(signal.SIGUSR1, once)
        try:
            values[0] = 2
            count(numbers, 1)
        except KeyboardInterrupt:
            values[0] = 3

    def goes_on() -> bool:
        # More than once: if a signal comes right before the system call, Python calls its handler
        # only after the call.
        os.kill(waiter, signal.SIGUSR1)
        return values[0] == 3

    values = numbers.values
    holder = fork(hold)
    wait_until(lambda: values[0] == 1, "the child holds the lock")
    waiter = fork(interrupted)
    wait_until(lambda: values[0] == 2, "another waits for it")
    wait_until(goes_on, "the other goes on")
    os.kill(holder, signal.SIGKILL)

    assert status_of(waiter) == 0
    assert status_of(holder) == -signal.SIGKILL
