"""A small file system for the ledger that can be made full: tmpfs, so for root alone.

It is mounted in a mount namespace of the campaign's own, and goes with the last of its processes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

SIZE_KIB = 4 * 2**20
#: What is left when it is full, so that it is the next growth of a file that fails.
REST_KIB = 8
#: It cannot be made smaller than what it holds, which may have grown since we looked.
TRIES = 50
_OWN_MOUNTS = ("unshare", "--mount", "--propagation=private")
_ENTERED = "WINDMAIL_CHAOS_MOUNTS"


def is_possible() -> bool:
    """Whether we may mount: root may, but not in every container."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "chaos", folder]
        done = subprocess.run([*_OWN_MOUNTS, *mount], capture_output=True, check=False)
    return done.returncode == 0


def enter_own_mounts(arguments: Sequence[str]) -> None:
    """Start this program anew in a mount namespace of its own, unless it is in one."""
    if _ENTERED not in os.environ:
        os.environ[_ENTERED] = "1"
        command = [*_OWN_MOUNTS, sys.executable, *arguments]
        os.execvp(command[0], command)


def mount(folder: Path) -> None:
    subprocess.run(_command(folder, f"size={SIZE_KIB}k", "-t", "tmpfs", "chaos"), check=True)


def fill(folder: Path) -> None:
    """Leave no room: the file system is made as small as what it holds.

    Raises:
        OSError: it grows faster than that.
    """
    for _ in range(TRIES):
        found = os.statvfs(folder)
        used_kib = (found.f_blocks - found.f_bfree) * found.f_frsize // 1024
        command = _command(folder, f"remount,size={used_kib + REST_KIB}k")
        if subprocess.run(command, check=False, capture_output=True).returncode == 0:
            return
    raise OSError(f"{folder} grows faster than it can be made full")


def make_room(folder: Path) -> None:
    subprocess.run(_command(folder, f"remount,size={SIZE_KIB}k"), check=True)


def _command(folder: Path, options: str, *what: str) -> list[str]:
    return ["mount", "-o", options, *what, str(folder)]
