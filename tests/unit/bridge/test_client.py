"""The bridge while no broker answers, and who waits for which task."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from celery import Celery

from bridge import Bridge, DurableTask, NotConnected, ResultsUnreadable, TaskAMQP
from bridge.ids import new_task_id
from bridge.records import Record
from bridge.results.subscriptions import WOKEN_AT_ONCE, Subscriptions
from bridge.topology import DEFAULT
from dev.ports import free_port


@pytest.fixture
def app() -> Celery:
    """An app whose broker does not answer."""
    app = Celery("nobody", amqp=TaskAMQP, task_cls=DurableTask, set_as_current=False)
    app.config_from_object(
        {
            "broker_url": f"amqp://user:hunter2@127.0.0.1:{free_port()}//",
            "override_backends": {"stream": "bridge.backend.stream:StreamBackend"},
            "result_backend": "stream://results",
            "task_queues": DEFAULT.kombu_queues(),
            "task_default_queue": "celery",
            "task_default_exchange_type": "topic",
        }
    )

    def nothing() -> None: ...

    app.task(name="nothing", shared=False)(nothing)
    return app


@pytest.mark.gen_test
async def test_a_call_fails_at_its_deadline_with_the_reason_and_the_tasks_id(app: Celery) -> None:
    bridge = Bridge(app, publish_timeout_s=0.1)
    bridge.start()

    with pytest.raises(NotConnected) as caught:
        await bridge.apply_async(app.tasks["nothing"], task_id="mine")

    assert caught.value.task_id == "mine"
    await bridge.close()


@pytest.mark.gen_test
async def test_the_bridge_says_what_is_wrong_without_the_password(app: Celery) -> None:
    bridge = Bridge(app)
    bridge.start()

    with pytest.raises(NotConnected, match=r"publisher: .*refused"):
        await bridge.ready(0.1)

    problems = bridge.problems()
    assert problems.keys() == {"publisher", "results"}
    assert all("refused" in problem for problem in problems.values())
    assert "hunter2" not in str(problems)
    await bridge.close()


@pytest.mark.gen_test
async def test_a_bridge_whose_start_the_caller_gives_up_does_not_go_on_to_connect(
    app: Celery,
) -> None:
    bridge = Bridge(app)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1), bridge:
            pass

    assert bridge.problems() == {"publisher": "closed", "results": "closed"}
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.gen_test
async def test_results_cannot_be_read_after_the_bridge_gave_up_waiting(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.results.states.ATTACH_TIMEOUT_S", 0.05)
    bridge = Bridge(app)
    bridge.start()

    with pytest.raises(ResultsUnreadable) as caught:
        await bridge.result("mine").get(timeout=5)

    assert caught.value.task_id == "mine"
    await bridge.close()


@pytest.mark.gen_test
async def test_who_waits_for_a_result_without_a_timeout_is_told_of_the_close(app: Celery) -> None:
    bridge = Bridge(app)
    bridge.start()
    bridge.results.follower.caught_up.set()
    result = bridge.result(new_task_id())

    async def news() -> None:
        with result.news() as next_state:
            await next_state()

    waits: list[Any] = [result.get(), result.wait(), anext(result.events()), news()]
    waiting = [asyncio.ensure_future(one) for one in waits]
    done, _ = await asyncio.wait(waiting, timeout=0.05)
    assert not done

    await bridge.close()

    done, _ = await asyncio.wait(waiting, timeout=5)
    told = [one.exception() for one in done]
    assert [type(one) for one in told] == [ResultsUnreadable] * len(waits)
    assert {one.task_id for one in told if isinstance(one, ResultsUnreadable)} == {result.id}
    with pytest.raises(ResultsUnreadable):
        await news()  # who comes later, too


def record(task_id: str, offset: int) -> Record:
    return Record(
        task_id=task_id,
        offset=offset,
        at=0.0,
        body=b"",
        content_type="application/json",
        content_encoding="utf-8",
    )


@pytest.mark.gen_test
async def test_each_subscriber_gets_every_record_of_its_own_task() -> None:
    subscriptions = Subscriptions()
    with subscriptions.open("a") as one, subscriptions.open("a") as two:
        with subscriptions.open("b") as other:
            for offset, task_id in enumerate("aba"):
                subscriptions.deliver(record(task_id, offset))

            offsets = [
                [(await subscription.get()).offset for _ in range(2)] for subscription in (one, two)
            ]
            assert offsets == [[0, 2], [0, 2]]
            assert (await other.get()).offset == 1
        assert not any(map(len, (one, two, other)))


@pytest.mark.gen_test
async def test_a_subscription_that_ended_gets_nothing_more() -> None:
    subscriptions = Subscriptions()
    with subscriptions.open("a") as subscription:
        pass

    subscriptions.deliver(record("a", 1))

    assert not len(subscription)


@pytest.mark.gen_test
async def test_a_subscriber_reads_what_has_come_before_it_is_told_of_the_end() -> None:
    subscriptions = Subscriptions()
    with subscriptions.open("a") as subscription:
        for offset in range(WOKEN_AT_ONCE + 1):
            subscriptions.deliver(record("a", offset))

        subscriptions.end()

        offsets = [(await subscription.get()).offset for _ in range(WOKEN_AT_ONCE + 1)]
        assert offsets == list(range(WOKEN_AT_ONCE + 1))
        with pytest.raises(ResultsUnreadable):
            await subscription.get()
