"""How large the steps are in which the ledger forgets."""

from __future__ import annotations

import pytest

from delivery.retention import FIRST_STEP, STEP, STEP_S, in_steps


class Table:
    """Rows that are old, each of which takes so long to be removed."""

    def __init__(self, rows: int, each_s: float) -> None:
        self.rows = rows
        self.each_s = each_s
        self.now = 0.0
        self.steps: list[int] = []

    def remove(self, limit: int) -> int:
        count = min(limit, self.rows)
        self.rows -= count
        self.now += count * self.each_s
        self.steps.append(count)
        return count


def removed_from(table: Table) -> int:
    return in_steps(table.remove, clock=lambda: table.now)


def test_small_rows_are_removed_many_at_a_time() -> None:
    table = Table(3000, each_s=0.0001)

    assert removed_from(table) == 3000
    assert max(table.steps) == STEP
    assert table.steps[-1] > 0  # one that finds few is the last one


def test_rows_that_take_long_are_removed_few_at_a_time() -> None:
    table = Table(300, each_s=0.02)

    assert removed_from(table) == 300
    assert max(table.steps) * table.each_s <= 2 * STEP_S
    assert table.rows == 0


def test_where_one_row_is_too_much_it_goes_one_by_one() -> None:
    table = Table(40, each_s=2 * STEP_S)

    assert removed_from(table) == 40
    assert table.steps[0] == FIRST_STEP
    assert set(table.steps[5:]) <= {0, 1}


def test_one_run_has_an_end_even_if_more_comes_all_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("delivery.retention.STEPS", 3)
    table = Table(10 * STEP, each_s=0.0)

    assert removed_from(table) == sum(table.steps) < 10 * STEP
    assert len(table.steps) == 3
