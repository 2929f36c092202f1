"""Which tasks are revoked: the file in which a worker keeps that."""

from __future__ import annotations

import time
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from celery.utils.collections import LimitedSet
from celery.worker import components, state
from kombu.clocks import LamportClock

from bridge.worker import remembered
from bridge.worker.remembered import RevokedFile


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(state, "revoked", LimitedSet(maxlen=3, expires=10800))
    monkeypatch.setattr(state, "Persistent", state.Persistent)
    remembered.install()
    return tmp_path / "revoked-a.json"


def test_celery_takes_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components, "atexit", MagicMock())
    worker = MagicMock(state=state, statedb=str(path))

    components.StateDB(worker).create(worker)

    assert isinstance(worker._persistence, RevokedFile)


def test_what_was_revoked_last_is_remembered_in_its_order(path: Path) -> None:
    clock = LamportClock(41)
    first = RevokedFile(state, str(path), clock)
    state.revoked.update(["d", "c", "b", "a"])
    first.save()
    state.revoked.clear()
    later = LamportClock()

    RevokedFile(state, str(path), later)

    assert list(state.revoked) == ["c", "b", "a"]
    assert later.value >= 42


def test_nothing_is_forgotten_because_of_its_age(path: Path) -> None:
    state.revoked.add("old", now=time.monotonic() - 1_000_000)

    state.revoked.purge()

    assert "old" in state.revoked


def test_what_is_no_id_is_left_out(path: Path) -> None:
    state.revoked.update(["a", 5, "\ud800"])

    RevokedFile(state, str(path)).save()

    assert path.read_bytes() == b'{"revoked":["a"],"clock":0}'


@pytest.mark.parametrize(
    "damaged", [b"", b'{"revoked": ["a"', b'{"revoked": 5}', b"[]", b"\x00", b'{"clock": "x"}']
)
def test_a_damaged_file_is_told_of_and_replaced(
    path: Path, damaged: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(damaged)

    file = RevokedFile(state, str(path))

    assert f"which tasks were revoked cannot be read in {path}" in caplog.text
    state.revoked.add("b")
    file.save()
    assert b'["b"]' in path.read_bytes()


def test_a_file_that_cannot_be_written_is_told_of(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is as it was, whatever went wrong in the middle: it is replaced as a whole."""
    file = RevokedFile(state, str(path))
    file.save()
    before = path.read_bytes()
    state.revoked.add("a")
    path.with_name(f"{path.name}.new").symlink_to("/dev/full")

    file.save()

    assert (
        f"which tasks are revoked cannot be written to {path}: [Errno 28] No space" in caplog.text
    )
    assert path.read_bytes() == before


def test_many_commands_are_written_together(path: Path) -> None:
    file, hub = RevokedFile(state, str(path)), MagicMock()

    for one in ("a", "b", "c"):
        state.revoked.add(one)
        file.save_soon(hub)

    assert not path.exists()
    (_, save), *more = [call.args for call in hub.call_later.call_args_list]
    assert not more
    save()
    assert b'["a","b","c"]' in path.read_bytes()
    file.save_soon(hub)
    assert hub.call_later.call_count == 2


def test_a_worker_without_an_event_loop_writes_at_once(path: Path) -> None:
    state.revoked.add("a")

    RevokedFile(state, str(path)).save_soon(None)

    assert b'["a"]' in path.read_bytes()
