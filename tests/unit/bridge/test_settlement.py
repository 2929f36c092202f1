"""Settling what has run, in a main thread whose hub forgets its calls now and then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from unittest.mock import MagicMock

import pytest

from bridge.errors import ResultRefused
from bridge.worker.settlement import Settlement
from bridge.worker.threads import _settle
from tests.unit.bridge.fakes import failed


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


def test_tasks_are_settled_in_the_order_in_which_they_ended() -> None:
    settlement, order = Settlement(MagicMock()), list[str]()
    for name in ("first", "second"):
        settlement.after(None, lambda _refusal, name=name: order.append(name))  # type: ignore[misc] # a default

    settlement.settle()

    assert order == ["first", "second"]


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


def joined_by(monkeypatch: pytest.MonkeyPatch, send: Callable[[], None]) -> None:
    """Have this done where the acknowledgements that were held back are sent."""

    @contextmanager
    def joined(_connection: object) -> Iterator[None]:
        yield
        send()

    monkeypatch.setattr("bridge.worker.settlement.joined", joined)


def test_what_follows_an_acknowledgement_comes_when_all_of_them_are_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order = list[str]()
    joined_by(monkeypatch, lambda: order.append("sent"))
    settlement = Settlement(MagicMock())
    for _ in range(2):
        settlement.after(None, lambda _refusal: lambda: order.append("then"))

    settlement.settle()

    assert order == ["sent", "then", "then"]


def test_acknowledgements_that_are_lost_with_their_connection_keep_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    then = MagicMock()
    joined_by(monkeypatch, MagicMock(side_effect=ConnectionResetError))
    settlement = Settlement(MagicMock())
    settlement.after(None, lambda _refusal: then)

    settlement.settle()

    then.assert_called_once_with()


def test_what_a_thread_could_not_run_has_failed() -> None:
    request, ended = MagicMock(), failed()[1]

    assert _settle(request, ended, None) is None

    request.on_failure.assert_called_once_with(ended)
    request.on_success.assert_not_called()


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
    ended = failed()

    request = settled_after_a_refusal(ended)

    request.on_success.assert_called_once_with(ended)  # which looks into it
    request.on_failure.assert_not_called()
