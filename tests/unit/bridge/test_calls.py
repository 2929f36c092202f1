"""A prepared call's messages are, byte for byte, those that Celery makes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from celery import Celery, signals
from celery.utils.saferepr import saferepr
from hypothesis import example, given
from hypothesis import strategies as st

from bridge import DurableTask, InvalidArgument, InvalidOption, PrivateTask, TaskAMQP
from bridge.ids import new_task_id
from bridge.message import Message
from bridge.sending.calls import Calls
from bridge.sending.recorder import Recorder
from bridge.sending.shown import shown
from bridge.topology import DEFAULT


def make_app(**changes: Any) -> Celery:
    """Return an app as task.py makes one, without a broker."""
    app = Celery("calls", amqp=TaskAMQP, task_cls=DurableTask, set_as_current=False)
    app.conf.update(
        broker_url="amqp://nobody@127.0.0.1:1//",
        task_queues=DEFAULT.kombu_queues(),
        task_default_queue="celery",
        task_default_exchange=DEFAULT.exchange,
        task_default_exchange_type="topic",
        task_create_missing_queues=False,
        task_routes={"100%": {"queue": "mail"}},
        task_send_sent_event=True,
        task_time_limit=1500,
    )
    app.conf.update(changes)

    def anything(*args: Any, **kwargs: Any) -> None: ...

    def one(x: Any) -> None: ...

    app.task(name="open", shared=False)(anything)
    app.task(name="100%", shared=False, ignore_result=True)(anything)
    app.task(name="private", base=PrivateTask, shared=False)(anything)
    app.task(name="one", shared=False)(one)
    return app


APP = make_app()
CALLS = Calls(APP)


def by_celery(name: str, args: Any, kwargs: Any, task_id: str, app: Celery = APP) -> list[Message]:
    recorder = Recorder()
    app.tasks[name].apply_async(
        tuple(args), kwargs, task_id=task_id, producer=recorder, add_to_parent=False
    )
    return recorder.messages


@contextmanager
def without_celery() -> Iterator[None]:
    """Let a call of Celery's own way fail: what is made here is prepared."""
    with patch.object(Recorder, "publish", side_effect=AssertionError("not prepared")):
        yield


texts = st.text(max_size=30) | st.sampled_from(["'", "\\", "100% %s %(id)s", "<args>", "é😀", "\0"])
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
calls = st.tuples(st.lists(values, max_size=4), st.dictionaries(texts, values, max_size=4))


def prepared(name: str, args: Any, kwargs: Any, theirs: list[Message]) -> list[Message]:
    """Return what a prepared call makes at the moment at which Celery made its messages."""
    told = msgspec.json.decode(theirs[1].body)
    with (
        without_celery(),
        patch("time.time", return_value=told["timestamp"]),
        patch.object(APP.clock, "forward", return_value=told["clock"]),
    ):
        return CALLS.messages(APP.tasks[name], tuple(args), kwargs, told["uuid"], {"queue": None})


@pytest.mark.parametrize("name", ["open", "100%", "private"])
@given(call=calls)
@example(call=([4, 4], {}))
@example(call=([1.5, None, True, "plain"], {"a": 1, "b": "text"}))
@example(call=(["x" * 2000], {"long": "y" * 2000}))
@example(call=(["".join(map(chr, range(130)))], {"a": "".join(map(chr, range(128)))}))
@example(call=([2**63, -(2**70)], {"a": 2**64}))
@example(call=([1e16, 1e-7, float("inf")], {"a": True, "b": 1e22}))
@example(call=([list(range(2000))], {"deep": [[[[[1]]]]]}))
@example(call=(["'", '"', "\\", "\n", "é", b"\xff"], {"x" * 300000: 1}))
def test_a_prepared_calls_messages_are_celerys_byte_for_byte(
    name: str, call: tuple[list[Any], dict[str, Any]]
) -> None:
    args, kwargs = call
    CALLS.messages(APP.tasks[name], (), {}, new_task_id(), {})  # Celery makes the first one
    theirs = by_celery(name, args, kwargs, new_task_id())

    ours = prepared(name, args, kwargs, theirs)

    assert ours == theirs


@given(call=calls)
def test_what_is_shown_of_arguments_is_celerys_text(
    call: tuple[list[Any], dict[str, Any]],
) -> None:
    for arguments in (tuple(call[0]), call[1]):
        assert shown(arguments, 100, 3) == saferepr(arguments, 100, maxlevels=3)


@given(st.sets(texts, max_size=5))
def test_a_mould_holds_whatever_text_celery_put_into_the_first_call(names: set[str]) -> None:
    app = make_app(task_send_sent_event=False)
    task = app.tasks["open"]
    own = Calls(app)
    first = own.messages(task, tuple(names), {}, new_task_id(), {})

    with without_celery():
        second = own.messages(task, tuple(names), {}, first[0].correlation_id, {})

    assert second == first


def test_without_events_there_is_the_tasks_message_alone() -> None:
    app = make_app(task_send_sent_event=False)
    own = Calls(app)

    own.messages(app.tasks["open"], (), {}, new_task_id(), {})

    task_id = new_task_id()
    with without_celery():
        messages = own.messages(app.tasks["open"], (1,), {}, task_id, {})

    assert len(messages) == 1
    assert messages == by_celery("open", (1,), {}, task_id, app)


def is_prepared(app: Celery, name: str = "open", **call: Any) -> bool:
    own = Calls(app)
    own.messages(app.tasks[name], (), {}, new_task_id(), {})
    given = {"task_id": new_task_id(), "options": {}, **call}
    with patch("bridge.sending.calls.Recorder", wraps=Recorder) as recorder:
        own.messages(app.tasks[name], (), {}, **given)
    return not recorder.called


def test_a_common_call_is_prepared() -> None:
    assert is_prepared(APP)
    assert is_prepared(make_app(task_send_sent_event=False))


@pytest.mark.parametrize(
    "call",
    [
        {"options": {"countdown": 5}},
        {"options": {"queue": "mail"}},
        {"options": {"headers": {"a": 1}}},
        {"task_id": "mine"},
        {"task_id": "11111111-1111-4111-8111-111111111111"},
        {"task_id": "ffffffff-ffff-7fff-bfff-ffffffffffff"},
    ],
)
def test_options_and_ids_that_change_the_message_are_celerys_work(call: dict[str, Any]) -> None:
    assert not is_prepared(APP, **call)


@pytest.mark.parametrize(
    "settings_of_the_app",
    [
        {"task_serializer": "msgpack"},
        {"event_serializer": "msgpack"},
        {"task_compression": "gzip"},
        {"task_protocol": 1},
        {"task_routes": [lambda *_args, **_options: None]},
    ],
)
def test_what_a_mould_cannot_hold_is_celerys_work(settings_of_the_app: dict[str, Any]) -> None:
    assert not is_prepared(make_app(**settings_of_the_app))


def test_a_task_that_sends_itself_in_its_own_way_is_celerys_work() -> None:
    class Own(DurableTask):
        abstract = True

        def apply_async(self, *args: Any, **options: Any) -> Any:
            return super().apply_async(*args, **{**options, "priority": 3})

    def nothing() -> None: ...

    app = make_app()
    app.task(name="own", base=Own, shared=False)(nothing)

    assert not is_prepared(app, "own")


def test_a_tasks_own_expiry_is_counted_from_each_call_anew() -> None:
    def nothing() -> None: ...

    app = make_app(task_annotations={"annotated": {"expires": 2}})
    app.task(name="decorated", expires=2, shared=False)(nothing)
    app.task(name="annotated", shared=False)(nothing)
    own = Calls(app)
    for name in ("decorated", "annotated"):
        first, second = (
            own.messages(app.tasks[name], (), {}, new_task_id(), {})[0] for _ in range(2)
        )

        expiries = [one.properties.headers["expires"] for one in (first, second)]
        assert expiries[0] < expiries[1]


def test_a_task_that_is_called_by_its_proxy_is_prepared_all_the_same() -> None:
    def nothing() -> None: ...

    app = make_app()
    proxy = app.task(name="lazy", shared=False)(nothing)
    own = Calls(app)
    own.messages(proxy, (), {}, new_task_id(), {})

    with without_celery():
        assert own.messages(proxy, (), {}, new_task_id(), {})
    assert type(proxy) is not type(app.tasks["lazy"])


@pytest.mark.parametrize("signal", [signals.before_task_publish, signals.after_task_publish])
def test_celerys_signals_are_sent_when_somebody_listens(signal: Any) -> None:
    heard = []

    def listen(sender: str, **told: Any) -> None:
        heard.append(told["headers"]["id"])
        told["headers"]["heard"] = len(heard)

    task = APP.tasks["open"]
    CALLS.messages(task, (), {}, new_task_id(), {})
    signal.connect(listen)
    try:
        task_id = new_task_id()
        CALLS.messages(task, (1,), {}, task_id, {})
    finally:
        signal.disconnect(listen)

    assert heard == [task_id]


def test_arguments_that_do_not_fit_the_task_are_refused() -> None:
    CALLS.messages(APP.tasks["one"], (1,), {}, new_task_id(), {})

    with without_celery(), pytest.raises(TypeError):
        CALLS.messages(APP.tasks["one"], (1, 2), {}, new_task_id(), {})


def test_arguments_that_cannot_be_written_are_refused() -> None:
    CALLS.messages(APP.tasks["open"], (), {}, new_task_id(), {})

    with without_celery(), pytest.raises(InvalidArgument):
        CALLS.messages(APP.tasks["open"], (object(),), {}, new_task_id(), {})


def test_an_id_that_amqp_cannot_write_is_refused() -> None:
    with pytest.raises(InvalidOption) as caught:
        CALLS.messages(APP.tasks["open"], (), {}, "x" * 256, {})

    assert caught.value.option == "task_id"
