"""What a worker does with a dead letter, before its message is acknowledged."""

from __future__ import annotations

from unittest.mock import MagicMock

import pytest
from celery import states

from bridge.dead.letter import DeadLetter, DeadReason
from bridge.dead.recorder import DeadLetterRecorder, _Held


def recorded(reason: DeadReason, known: str = states.STARTED) -> tuple[MagicMock, MagicMock]:
    """Record a letter of a task whose newest state is ``known``; return app and callback."""
    app, callback, message = MagicMock(), MagicMock(), MagicMock()
    app.backend.get_task_meta.return_value = {"status": known}
    letter = DeadLetter(
        id="a-task",
        task="task.add",
        reason=reason,
        detail="it was delivered too often",
        queue="tasks",
        died_at=None,
        headers={},
        body=b"",
        content_type=None,
        content_encoding=None,
        properties={},
    )
    recorder = DeadLetterRecorder(app, callback)

    recorder._record(_Held(message=message, letter=letter, backoff_s=1.0, due_at=0.0))

    message.channel.basic_ack.assert_called_once_with(message.delivery_tag)
    return app, callback


def test_a_task_that_died_of_the_delivery_limit_has_failed() -> None:
    app, callback = recorded(DeadReason.DELIVERY_LIMIT)

    assert app.backend.mark_as_failure.call_args.args[0] == "a-task"
    callback.assert_called_once()


@pytest.mark.parametrize("end", sorted(states.READY_STATES))
def test_one_that_had_ended_before_its_worker_was_lost_keeps_its_end(end: str) -> None:
    app, callback = recorded(DeadReason.DELIVERY_LIMIT, end)

    app.backend.mark_as_failure.assert_not_called()
    callback.assert_called_once()


def test_a_letter_of_any_other_reason_has_its_state_from_its_worker() -> None:
    app, callback = recorded(DeadReason.FAILED)

    app.backend.mark_as_failure.assert_not_called()
    callback.assert_called_once()


def test_what_is_not_signed_fails_nobodys_task_and_reaches_no_callback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")

    app, callback = recorded(DeadReason.NOT_SIGNED)

    app.backend.mark_as_failure.assert_not_called()
    callback.assert_not_called()
    assert "lies in the dead queue" in caplog.text
    assert "recorded" not in caplog.text
