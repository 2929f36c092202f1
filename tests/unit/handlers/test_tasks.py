"""Finding a task by its name, and checking a call's arguments against its signature."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from celery import Celery, Task
from msgspec import Meta

from bridge import DurableTask, InvalidArgument
from handlers.celery import tasks

if TYPE_CHECKING:
    from decimal import Decimal

Percent = Annotated[int, Meta(ge=0, le=100)]


class Refused(ValueError):
    """What pydantic's ``ValidationError`` looks like."""

    def errors(self, **_options: bool) -> list[dict[str, Any]]:
        return [{"loc": ("lines", 0, "n"), "msg": "Input should be a valid integer"}]


class Order:
    """What a pydantic model looks like to Celery: a class with ``model_validate``."""

    @classmethod
    def model_validate(cls, value: Any) -> Order:
        if value == "in a worker only":
            raise TypeError("'NoneType' object is not subscriptable")  # there is no context
        if not isinstance(value, dict):
            raise Refused
        return cls()


class Point:
    """A class of a task's author that JSON knows nothing of."""


class Even(DurableTask):
    """A task that looks at its arguments itself."""

    abstract = True

    def check(self, arguments: Mapping[str, Any]) -> None:
        if arguments["n"] % 2:
            raise InvalidArgument("n", "is odd")


@pytest.fixture(scope="module")
def app() -> Celery:
    app = Celery("unit", set_as_current=False, task_cls=DurableTask, broker="memory://")

    @app.task(name="shop.pay")  # type: ignore[untyped-decorator]
    def pay(amount: float, share: Percent = 100, note: str | None = None, _tries: int = 0) -> None:
        """Pay.

        More words.
        """

    @app.task(name="other.pay")  # type: ignore[untyped-decorator]
    def pay_again() -> None: ...

    @app.task(name="shop.anything")  # type: ignore[untyped-decorator]
    def anything(*args: Any, **kwargs: Any) -> None: ...

    @app.task(name="shop.several")  # type: ignore[untyped-decorator]
    def several(a: int, *more: int) -> None: ...

    @app.task(name="shop.plain")
    def plain(a, /, *, b): ...  # type: ignore[no-untyped-def]

    @app.task(name="shop.typed")  # type: ignore[untyped-decorator]
    def typed(amount: Decimal, at: str | datetime, times: int) -> None: ...

    @app.task(name="shop.order")  # type: ignore[untyped-decorator]
    def order(
        order: Order, more: list[Order] | None = None, at: Point | None = None, n: int = 0
    ) -> None: ...

    @app.task(name="shop.even", base=Even)  # type: ignore[untyped-decorator]
    def even(n: int) -> None: ...

    return app


@pytest.fixture(scope="module")
def pay(app: Celery) -> Task:
    return app.tasks["shop.pay"]


def refusal(task: Task, *args: Any, **kwargs: Any) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as info:
        tasks.check_arguments(task, args, kwargs)
    return info.value


# -- finding


def test_a_task_is_found_by_its_full_name(app: Celery) -> None:
    assert tasks.find(app, "shop.pay") is app.tasks["shop.pay"]
    assert tasks.find(app, "other.pay") is app.tasks["other.pay"]


def test_a_task_is_found_by_the_last_part_of_its_name(app: Celery) -> None:
    assert tasks.find(app, "even") is app.tasks["shop.even"]


def test_an_ambiguous_short_name_finds_nothing(app: Celery) -> None:
    assert tasks.find(app, "pay") is None


@pytest.mark.parametrize("name", ["", "nothing", "shop", "shop.", "celery.chord", "chord", "ven"])
def test_other_names_find_nothing(app: Celery, name: str) -> None:
    assert tasks.find(app, name) is None


def test_celerys_own_tasks_cannot_be_called(app: Celery) -> None:
    names = [task.name for task in tasks.callable_tasks(app)]  # with those of task.py: shared

    assert {"other.pay", "shop.anything", "shop.even", "shop.pay", "shop.plain"} <= set(names)
    assert "celery.chord" in app.tasks
    assert not [name for name in names if name.startswith("celery.")]
    assert names == sorted(names)


# -- describing


def test_parameters_are_described_with_type_limits_and_default(pay: Task) -> None:
    described = [(p.name, p.type, p.required, p.default) for p in tasks.parameters(pay)]

    assert described == [
        ("amount", "float", True, None),
        ("share", "int >= 0 <= 100", False, 100),
        ("note", "str | None", False, None),
    ]


def test_a_parameter_without_annotation_may_be_anything(app: Celery) -> None:
    a, b = tasks.parameters(app.tasks["shop.plain"])

    assert (a.name, b.name, b.required) == ("a", "b", True)
    assert a.type == b.type == "Any"


def test_args_and_kwargs_are_no_parameters(app: Celery) -> None:
    assert tasks.parameters(app.tasks["shop.anything"]) == []


# -- checking


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((1,), {}),
        ((1.5, 0), {"note": "n"}),
        ((), {"amount": 2, "share": 100, "note": None}),
    ],
)
def test_a_call_that_fits_is_accepted(
    pay: Task, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    tasks.check_arguments(pay, args, kwargs)


def test_any_arguments_fit_a_task_that_takes_any(app: Celery) -> None:
    tasks.check_arguments(app.tasks["shop.anything"], (1, "2", None), {"x": [], "y": {}})


def test_a_missing_argument_is_named(pay: Task) -> None:
    exc = refusal(pay, share=3)

    assert (exc.argument, exc.detail) == ("amount", "is missing")


def test_a_missing_keyword_only_argument_is_named(app: Celery) -> None:
    exc = refusal(app.tasks["shop.plain"], 1)

    assert (exc.argument, exc.detail) == ("b", "is missing")


def test_an_unknown_argument_is_named(pay: Task) -> None:
    exc = refusal(pay, 1, colour="red")

    assert (exc.argument, exc.detail) == ("colour", "is not a parameter of shop.pay")


def test_a_parameter_that_has_a_position_only_cannot_be_given_by_name(app: Celery) -> None:
    exc = refusal(app.tasks["shop.plain"], a=1, b=2)

    assert (exc.argument, exc.detail) == ("a", "goes into args: it cannot be given by name")


def test_further_arguments_have_no_name(app: Celery) -> None:
    exc = refusal(app.tasks["shop.several"], 1, more=2)

    assert (exc.argument, exc.detail) == ("more", "is not a parameter of shop.several")


def test_an_argument_given_twice_is_named(pay: Task) -> None:
    exc = refusal(pay, 1, amount=1)

    assert (exc.argument, exc.detail) == ("amount", "is given twice")


def test_too_many_positional_arguments_are_counted(pay: Task) -> None:
    exc = refusal(pay, 1, 2, "note", 4)

    assert (exc.argument, exc.detail) == ("args", "takes 3 at most, 4 given")


@pytest.mark.parametrize("value", ["1", None, True, [1], {}])
def test_a_value_of_another_type_is_refused(pay: Task, value: Any) -> None:
    exc = refusal(pay, value)

    assert exc.argument == "amount"
    assert exc.detail.startswith("Expected float, got ")


@pytest.mark.parametrize(("share", "limit"), [(-1, ">= 0"), (101, "<= 100")])
def test_a_value_out_of_range_is_refused_with_the_limit(pay: Task, share: int, limit: str) -> None:
    exc = refusal(pay, 1, share)

    assert exc.argument == "share"
    assert limit in exc.detail


def test_a_tasks_own_parameters_cannot_be_given_by_name(pay: Task) -> None:
    exc = refusal(pay, 1, _tries=5)

    assert (exc.argument, exc.detail) == ("_tries", "is not a parameter of shop.pay")


def test_a_task_may_refuse_arguments_itself(app: Celery) -> None:
    tasks.check_arguments(app.tasks["shop.even"], (2,), {})

    exc = refusal(app.tasks["shop.even"], 3)

    assert (exc.argument, exc.detail) == ("n", "is odd")


def test_sleep_takes_up_to_an_hour() -> None:
    from task import app

    sleep = app.tasks["task.sleep"]
    tasks.check_arguments(sleep, (3600,), {})

    assert refusal(sleep, 3600.5).argument == "seconds"
    assert refusal(sleep, -1).argument == "seconds"


def test_a_mail_is_checked_before_it_is_sent() -> None:
    from task import app

    sendmail = app.tasks["task.sendmail"]
    tasks.check_arguments(sendmail, ("subject", "text", "ann@example.com"), {})

    assert refusal(sendmail, "a\r\nBcc: x@example.com", "text", "ann@example.com").argument == (
        "subject"
    )
    assert refusal(sendmail, "subject", "text", "nobody").argument == "to"


def test_what_cannot_be_checked_is_let_in_and_the_rest_is_checked(app: Celery) -> None:
    typed = app.tasks["shop.typed"]

    tasks.check_arguments(typed, ("1.50", "2030-01-01", 2), {})

    assert [one.type for one in tasks.parameters(typed)] == ["Any", "Any", "int"]
    assert refusal(typed, "1.50", "2030-01-01", "two").argument == "times"


def test_a_model_checks_its_argument(app: Celery) -> None:
    order = app.tasks["shop.order"]

    tasks.check_arguments(order, ({"lines": []},), {"more": [{}]})

    exc = refusal(order, "nothing")
    assert (exc.argument, exc.detail) == ("order", "lines.0.n: Input should be a valid integer")
    assert refusal(order, {}, [{}, "nothing"]).argument == "more"


def test_a_value_for_a_class_that_cannot_check_it_is_let_in(app: Celery) -> None:
    order = app.tasks["shop.order"]

    tasks.check_arguments(order, ("in a worker only",), {"at": {"x": 1}})

    assert [one.type for one in tasks.parameters(order)][::3] == ["Order", "int"]
    assert refusal(order, {}, at={"x": 1}, n="two").argument == "n"
