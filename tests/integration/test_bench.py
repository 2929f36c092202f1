"""What ``make bench`` says of a server: a 2xx that no broker has confirmed does not go unseen."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from bench import queues, subjects
from bench.load import Request
from bench.report import ratio
from bench.stage import Stage


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage() as stage:
        yield stage


def test_a_server_that_answers_without_a_confirm_is_found_out(stage: Stage) -> None:
    hasty = subjects.floors()[0]  # it answers 202, and asks no broker
    honest = subjects.ours("honest", request=subjects.ADD, queue="celery")
    for one in (hasty, honest):
        one.start(stage)
    asked: dict[str, tuple[int, Request]] = {
        one.name: (one.port, one.request) for one in (hasty, honest)
    }

    with pytest.raises(queues.NotDurable, match=f"stood still: {hasty.name}$"):
        queues.check_confirms(stage.node, asked)
    queues.check_confirms(stage.node, {"honest": asked["honest"]})


def test_answers_whose_messages_are_not_in_the_queue_are_found_out(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "SETTLE_S", 0.1)
    one = subjects.ours("counted", request=subjects.ADD, queue="celery")
    one.start(stage)
    queues.clear(stage.node.url, "celery")

    with pytest.raises(queues.NotDurable, match="1 answers were 2xx, 0 messages"):
        queues.expect(stage.node.url, "celery", 1)


def test_a_program_ends_with_its_stage() -> None:
    with Stage() as stage:
        program = stage.start("sleeper", [sys.executable, "-c", "input()"])

    assert program.popen.poll() is not None


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    assert ratio([10, 30, 100], [10, 10, 50]) == 2
