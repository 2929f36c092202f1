"""Child processes that do not outlive us: how they are started, stopped and killed."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
# Loaded at import: the dynamic loader may hold locks, and must not run between fork and exec.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(signum: signal.Signals = signal.SIGTERM) -> None:
    """Ask Linux to send us `signum` when the thread that forked us is gone.

    So nothing lingers when the parent gets SIGKILL. Does nothing on other systems. It survives
    exec, so it can be a `preexec_fn`.
    """
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, int(signum), 0, 0, 0)


def _preparation(death_signal: signal.Signals) -> Callable[[], None] | None:
    # Linux sends the signal when the thread that forked ends, so only the main thread asks for it.
    in_main_thread = threading.current_thread() is threading.main_thread()
    return partial(die_with_parent, death_signal) if in_main_thread else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """Another user, as whom root starts a program; without root's groups."""

    uid: int
    gid: int


def spawn(
    command: Sequence[str | Path],
    env: Mapping[str, str],
    log: Path,
    *,
    folder: Path | None = None,
    account: Account | None = None,
    kept_fds: Sequence[int] = (),
    death_signal: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start a program in a process group of its own, its output appended to a file.

    It runs in `folder` (None: ours), as `account` (None: ours), inherits `kept_fds`, and
    gets `death_signal` when we die.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=kept_fds,
            user=account.uid if account else None,
            group=account.gid if account else None,
            extra_groups=[] if account else None,
            preexec_fn=_preparation(death_signal),  # noqa: PLW1509 - prctl alone, nothing that locks
        )


def stop(
    child: subprocess.Popen[bytes], timeout_s: float, signum: signal.Signals = signal.SIGTERM
) -> bool:
    """Send SIGTERM (or another), wait, then kill the whole group; True if it need not be killed."""
    with suppress(ProcessLookupError):
        child.send_signal(signum)
    try:
        child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        kill(child)
        return False
    return True


def kill(child: subprocess.Popen[bytes]) -> None:
    """SIGKILL the whole process group and collect the child."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
