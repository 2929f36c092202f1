"""honcho's process manager, with a stop that suits Celery.

honcho sends SIGTERM to the whole process group, which ends Celery's pool processes in the
middle of a task; here each process gets it alone (the Procfile's commands are exec'ed) and
ends its own children. Only what is left when the time is up is killed by group.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import FrameType
from typing import Any, TextIO

import honcho.manager
from honcho.printer import Message, Printer
from honcho.process import Popen, Process

from dev import children
from dev.children import die_with_parent

#: From SIGTERM to SIGKILL, in seconds. The broker is stopped after that; in all, 15 s at most.
STOP_S = 7
#: Only their user can read the processes' files, as under supervisor and systemd: Flower's and
#: beat's have arguments of tasks in them.
UMASK = 0o077
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def use_fork() -> None:
    """Have multiprocessing fork where it would not by itself (Linux from Python 3.14 on).

    honcho's watchers are then our own children, and notice our death.
    """
    if sys.platform == "linux":
        multiprocessing.set_start_method("fork")


class Output(Printer):
    """honcho's prefixed log, coloured on a terminal; a line without a name is printed as it is.

    ``NO_COLOR`` (https://no-color.org) leaves the colours out: blue on black is hard to read.
    A terminal or a pipe that is gone must not stop the shutdown, so it is ignored.
    """

    def __init__(self, output: TextIO) -> None:
        super().__init__(output, colour=not os.environ.get("NO_COLOR"))
        self._file = output

    def write(self, message: Message) -> None:
        with suppress(OSError):
            if message.name is None:
                print(message.data, file=self._file, flush=True)
            else:
                super().write(message)


class _Child(Popen):
    def __init__(self, cmd: str, **options: Any) -> None:
        super().__init__(cmd, preexec_fn=die_with_parent, umask=UMASK, **options)
        threading.Thread(target=self._end_group, daemon=True).start()

    def _end_group(self) -> None:
        # Children of a process that crashed hold its output open, and honcho waits for that.
        self.wait()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


class _Watched(Process):
    """One process of the Procfile; `run` is executed in honcho's watcher process."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._child_ctor = _Child

    def run(self, *args: Any, **options: Any) -> None:
        signal.signal(signal.SIGUSR1, self._on_orphaned)  # a watcher ignores SIGTERM
        die_with_parent(signal.SIGUSR1)
        super().run(*args, **options)

    def _on_orphaned(self, signum: int, frame: FrameType | None) -> None:
        threading.Thread(target=self._end, daemon=True).start()

    def _end(self) -> None:
        children.stop(self._child, STOP_S)
        os._exit(1)  # nobody reads our queue any more, and a normal exit would wait for that


class _OneByOne:
    """What honcho's manager does to a process: SIGTERM to it alone, SIGKILL to its group."""

    def terminate(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)

    def kill(self, pid: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


class Manager(honcho.manager.Manager):
    """Runs the processes until a signal comes, one of them ends, or `fail` is called.

    `loop` returns when all have ended; `failure` then says why, None for a signal.
    """

    def __init__(self, output: TextIO) -> None:
        super().__init__(Output(output))
        honcho.manager.KILL_WAIT = STOP_S
        self._process_ctor = _Watched
        self._procmgr = _OneByOne()
        self.stopping = False
        self.failure: str | None = None
        self.when_started: Callable[[], object] = lambda: None

    def pid(self, name: str) -> int | None:
        """Return the pid of a process that has started."""
        pid: int | None = self._processes[name].get("pid")
        return pid

    def say(self, text: str) -> None:
        """Print without a prefix; from any thread."""
        self.events.put(Message(type="line", data=text, time=None, name=None, colour=None))

    def fail(self, why: str) -> None:
        """Stop everything because of an error; from any thread."""
        self.failure = self.failure or why
        self.stopping = True

    def _start(self) -> None:
        # In place of honcho's handlers, which print: not safe in the middle of a print.
        for signum in STOP_SIGNALS:
            signal.signal(signum, self._on_signal)
        super()._start()
        self.when_started()  # only now: to fork with other threads around is not safe

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self.stopping = True

    def _any_stopped(self) -> bool:
        # honcho's loop stops all processes, and counts KILL_WAIT, from the first True on.
        ended = next(self._ended(), None)
        if ended and not self.stopping:
            name, code = ended
            self.fail(f"{name} ended by itself ({_status(code)}); its last lines say why")
        return self.stopping

    def _ended(self) -> Iterator[tuple[str, int]]:
        for name, process in self._processes.items():
            if process.get("returncode") is not None:
                yield name, process["returncode"]

    def terminate(self) -> None:
        """SIGTERM each process that runs."""
        if not self._terminating:
            self._system_print("stopping\n")
        super().terminate()

    def _killall(self, force: bool = False) -> None:
        if force:
            names = ", ".join(n for n, p in self._processes.items() if "returncode" not in p)
            self._system_print(f"killing what did not stop in {STOP_S} s: {names}\n")
        for process in self._processes.values():
            if "returncode" not in process and "pid" in process:
                act = self._procmgr.kill if force else self._procmgr.terminate
                act(process["pid"])

    def kill_leftovers(self) -> None:
        """SIGKILL the group of every process: children of one that died, or after an error."""
        for process in self._processes.values():
            if "pid" in process:
                self._procmgr.kill(process["pid"])


def _status(code: int) -> str:
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def add_all(manager: Manager, commands: Mapping[str, str], env: Mapping[str, str]) -> None:
    """Add the Procfile's processes; they start in `manager.loop()`."""
    for name, command in commands.items():
        manager.add_process(name, command, env=dict(env))
