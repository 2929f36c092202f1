"""Settling what threads have run, in a main thread whose hub forgets its calls now and then."""

from __future__ import annotations

from concurrent.futures import Future
from unittest.mock import MagicMock

from billiard.einfo import ExceptionInfo

from bridge.errors import ResultRefused
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


def settled_after_a_refusal(ended: object) -> MagicMock:
    """Return a request that ended so, and whose last result was refused."""
    worker, request, written = MagicMock(), MagicMock(), Future[None]()
    worker.hub.call_soon = lambda call: call()
    Threads(worker, 1, "apart", MagicMock())._settle_after(written, request, ended)
    written.set_exception(ResultRefused("too large"))
    return request


def test_a_task_whose_result_is_refused_has_failed() -> None:
    request = settled_after_a_refusal("done")

    request.on_success.assert_not_called()
    (failure,) = request.on_failure.call_args.args
    assert isinstance(failure.exception.exc, ResultRefused)


def test_a_task_that_has_failed_or_is_tried_again_is_settled_as_that() -> None:
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        ended = ExceptionInfo()

    request = settled_after_a_refusal(ended)

    request.on_failure.assert_called_once_with(ended)
