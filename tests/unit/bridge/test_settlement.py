"""Settling what has run, in a main thread whose hub forgets its calls now and then."""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial
from unittest.mock import MagicMock

from billiard.einfo import ExceptionInfo

from bridge.errors import ResultRefused
from bridge.settlement import Settlement
from bridge.threads import _settle


def test_a_call_that_is_lost_with_a_connection_keeps_no_later_task_from_being_settled() -> None:
    worker, calls = MagicMock(), list[MagicMock]()
    worker.hub.call_soon = calls.append
    settlement = Settlement(worker)
    first, second = MagicMock(return_value=None), MagicMock(return_value=None)

    settlement.after(None, first)
    calls.clear()  # kombu drops what it has not called yet when a call before it raises
    settlement.after(None, second)
    for call in calls:
        call()

    first.assert_called_once_with(None)
    second.assert_called_once_with(None)


def test_one_task_that_cannot_be_settled_keeps_no_other_from_it() -> None:
    worker, settled = MagicMock(), MagicMock(return_value=None)
    settlement = Settlement(worker)
    settlement.after(None, MagicMock(side_effect=RuntimeError))
    settlement.after(None, settled)

    settlement.settle()

    settled.assert_called_once_with(None)


def test_nothing_is_settled_before_its_result_is_confirmed() -> None:
    settled, written = MagicMock(return_value=None), Future[None]()
    settlement = Settlement(MagicMock())
    settlement.after(written, settled)

    settlement.settle()
    settled.assert_not_called()

    written.set_result(None)
    settlement.settle()
    settled.assert_called_once_with(None)


def settled_after_a_refusal(ended: object) -> MagicMock:
    """Return a request that ended so in a thread, and whose last result was refused."""
    worker, request, written = MagicMock(), MagicMock(), Future[None]()
    worker.hub.call_soon = lambda call: call()
    Settlement(worker).after(written, partial(_settle, request, ended))
    written.set_exception(ResultRefused("too large"))
    return request


def test_a_task_whose_result_is_refused_has_failed() -> None:
    request = settled_after_a_refusal((0, "done", 0.1))

    request.on_success.assert_not_called()
    (failure,) = request.on_failure.call_args.args
    assert isinstance(failure.exception.exc, ResultRefused)


def test_a_task_that_has_failed_or_is_tried_again_is_settled_as_that() -> None:
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        ended = (1, ExceptionInfo(), None)

    request = settled_after_a_refusal(ended)

    request.on_success.assert_called_once_with(ended)  # which looks into it
    request.on_failure.assert_not_called()
