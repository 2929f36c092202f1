"""Which worker is known to have ended: only one of this machine, and never one that may live."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from delivery import identity
from delivery.identity import attempt_name, is_gone, worker_name
from tests.system import wait_until


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits, to be ended by the test."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def name_of(pid: int) -> str:
    return identity._name(pid)


def test_a_process_that_runs_is_not_gone(child: subprocess.Popen[bytes]) -> None:
    assert not is_gone(worker_name())
    assert not is_gone(attempt_name())
    assert not is_gone(name_of(child.pid))


def test_a_killed_process_is_gone_even_before_anybody_waited_for_it(
    child: subprocess.Popen[bytes],
) -> None:
    name = name_of(child.pid)

    child.send_signal(signal.SIGKILL)

    wait_until(lambda: is_gone(name), "its end")  # a zombie
    child.wait()
    assert is_gone(name)


def test_a_process_that_has_the_number_of_another_one_is_not_that_one() -> None:
    machine_and_pid = worker_name().rpartition("/")[0]

    assert is_gone(f"{machine_and_pid}/1")


@pytest.mark.parametrize("name", ["", "elsewhere/boot/pid:[1]/1/2", "x", "a/b"])
def test_nothing_is_known_of_a_process_elsewhere(name: str) -> None:
    assert not is_gone(name)


def test_two_attempts_of_a_process_have_two_names() -> None:
    assert attempt_name() != attempt_name()


def test_a_process_of_another_namespace_is_not_known(child: subprocess.Popen[bytes]) -> None:
    """Such as another container's, which may have the same number here and another beginning."""
    namespace = str(Path("/proc/self/ns/pid").readlink())
    name = name_of(child.pid).rpartition("/")[0] + "/1"

    assert is_gone(name)
    assert not is_gone(name.replace(namespace, "pid:[1]"))


def test_a_program_s_name_may_have_brackets_and_blanks(tmp_path: Path) -> None:
    odd = tmp_path / "a) Z (b"
    odd.symlink_to("/bin/sleep")
    with subprocess.Popen([odd, "60"]) as process:
        try:
            wait_until(lambda: comm(process.pid) == odd.name, "its start")
            assert not is_gone(name_of(process.pid))
            assert name_of(process.pid).rpartition("/")[2].isdecimal()
        finally:
            process.kill()


def comm(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().rstrip("\n")


@pytest.mark.parametrize("has_stat", [False, True])
@pytest.mark.parametrize("has_boot", [False, True])
@pytest.mark.parametrize("is_ours", [False, True])
def test_where_proc_tells_no_boot_or_no_start_or_is_not_ours_a_process_is_not_gone(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    has_stat: bool,
    has_boot: bool,
    is_ours: bool,
) -> None:
    """Another machine of this name may have it, or a process that is hidden from us. In /proc of
    another process namespace (``unshare --pid`` alone), our number is that of another process."""
    pid = 2**22 + 1  # greater than the kernel gives
    if has_stat:
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (x) S" + " 0" * 18 + " 77")
    if has_boot:
        (tmp_path / "sys/kernel/random").mkdir(parents=True)
        (tmp_path / "sys/kernel/random/boot_id").write_text("b\n")
        own = tmp_path / str(os.getpid() if is_ours else 1)
        (own / "ns").mkdir(parents=True)
        (own / "ns/pid").symlink_to("pid:[1]")
        (tmp_path / "self").symlink_to(own.name)
    monkeypatch.setattr(identity, "_PROC", tmp_path)
    monkeypatch.setattr(identity, "_machine", identity._machine.__wrapped__)

    name = identity._name.__wrapped__(pid)
    if has_stat:
        (tmp_path / str(pid) / "stat").unlink()

    assert name.endswith("/77" if has_stat else "/None")
    assert is_gone(name) == (has_stat and has_boot and is_ours)


def test_a_machine_of_the_same_name_is_another_one() -> None:
    name = worker_name().replace(boot(), "00000000-0000-0000-0000-000000000000")

    assert boot() in worker_name()
    assert not is_gone(name)


def boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@pytest.mark.parametrize("may_signal", [False, True])
def test_a_process_that_is_hidden_from_us_is_not_gone(
    child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, *, may_signal: bool
) -> None:
    """``hidepid`` hides those that we may not trace: another user's, and ours if its program has
    capabilities."""
    name = name_of(child.pid)

    def answer(pid: int, signum: int) -> None:
        assert signum == 0  # any other would reach it
        if not may_signal:
            raise PermissionError

    monkeypatch.setattr(identity, "_start_of", lambda pid: None)
    monkeypatch.setattr(os, "kill", answer)

    assert not is_gone(name)


def test_without_a_free_file_descriptor_nothing_is_known_of_a_process(
    child: subprocess.Popen[bytes],
) -> None:
    name = name_of(child.pid)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            Path("/proc/self/stat").read_text()
        assert not is_gone(name)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_name_fits_into_its_column() -> None:
    longest_host_name = 64

    assert len(worker_name()) + longest_host_name <= 200
