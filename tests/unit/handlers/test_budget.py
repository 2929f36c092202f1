"""How much a process holds in memory for its clients."""

from __future__ import annotations

from handlers.limits import Budget


def test_a_budget_can_be_used_up_and_no_more_than_that() -> None:
    budget = Budget(10)

    assert budget.take(4)
    assert not budget.take(7)
    assert budget.take(6)
    assert not budget.take(1)
    budget.give_back(1)
    assert budget.take(1)


def test_one_alone_may_be_larger_than_the_budget() -> None:
    budget = Budget(10)

    assert budget.take(11)
    assert not budget.take(1)
    budget.give_back(11)
    assert budget.take(1)
