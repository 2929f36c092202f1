import os
import sys
from pathlib import Path

from dev import children

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    "print('ready', flush=True); time.sleep(60)"
)


def test_a_child_that_obeys_is_stopped_by_sigterm(tmp_path: Path) -> None:
    child = children.spawn(["sleep", "60"], os.environ, tmp_path / "log")

    assert children.stop(child, timeout_s=5)


def test_a_child_that_does_not_obey_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = children.spawn([sys.executable, "-S", "-c", STUBBORN], os.environ, log)
    while "ready" not in log.read_text():
        assert child.poll() is None

    assert not children.stop(child, timeout_s=0.1)
    assert child.returncode == -9


def test_a_child_has_a_process_group_of_its_own(tmp_path: Path) -> None:
    child = children.spawn(["sleep", "60"], os.environ, tmp_path / "log")

    assert os.getpgid(child.pid) == child.pid
    children.kill(child)


def test_to_stop_a_child_that_is_gone_does_no_harm(tmp_path: Path) -> None:
    child = children.spawn(["true"], os.environ, tmp_path / "log")
    child.wait()

    assert children.stop(child, timeout_s=1)


def test_a_child_runs_in_its_folder_and_inherits_what_it_may(tmp_path: Path) -> None:
    (reader, inherited), (other_reader, other) = os.pipe(), os.pipe()
    code = f"import os; os.write({inherited}, os.getcwd().encode()); os.write({other}, b'kept')"

    child = children.spawn(
        [sys.executable, "-S", "-c", code],
        os.environ,
        tmp_path / "log",
        folder=tmp_path,
        kept_fds=[inherited],
    )
    child.wait()
    for fd in (inherited, other):
        os.close(fd)

    with os.fdopen(reader) as kept, os.fdopen(other_reader) as closed:
        assert kept.read() == str(tmp_path)
        assert closed.read() == ""
