"""Settling what threads have run, in a main thread whose hub forgets its calls now and then."""

from __future__ import annotations

from unittest.mock import MagicMock

from bridge.threads import Threads


def test_a_call_that_is_lost_with_a_connection_keeps_no_later_task_from_being_settled() -> None:
    worker, calls = MagicMock(), list[MagicMock]()
    worker.hub.call_soon = calls.append
    threads = Threads(worker, 1, "apart", MagicMock())
    first, second = MagicMock(), MagicMock()

    threads._settle_after(None, first, "one")
    calls.clear()  # kombu drops what it has not called yet when a call before it raises
    threads._settle_after(None, second, "two")
    for call in calls:
        call()

    first.on_success.assert_called_once_with("one")
    second.on_success.assert_called_once_with("two")
