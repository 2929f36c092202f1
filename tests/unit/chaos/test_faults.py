"""The order and the length of faults: by chance, evenly, and the same for a seed."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from chaos.faults import FAULTS, KILLS, Bag, Fault


def order(seed: int, number: int) -> list[str]:
    bag = Bag(FAULTS, random.Random(seed))
    return [bag.draw()[0].kind for _ in range(number)]


def test_a_seed_repeats_the_order_and_another_one_does_not() -> None:
    assert order(1, 100) == order(1, 100) != order(2, 100)


def test_every_fault_comes_as_often_as_its_weight_before_any_comes_again() -> None:
    weights = {fault.kind: fault.weight for fault in FAULTS}

    assert Counter(order(1, sum(weights.values()))) == weights


def test_faults_of_a_round_strike_different_parts_and_none_is_left_out() -> None:
    bag, number = Bag(FAULTS, random.Random(1)), sum(fault.weight for fault in FAULTS)

    drawn = list[Fault]()
    while len(drawn) < number:
        together = bag.draw(4)
        assert 1 <= len({fault.part for fault in together}) == len(together) <= 4
        drawn += together

    assert Counter(one.kind for one in drawn) == {one.kind: one.weight for one in FAULTS}


def test_each_name_stands_for_one_fault() -> None:
    assert len({fault.kind for fault in FAULTS}) == len(FAULTS)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.kind)
def test_a_fault_lasts_within_its_bounds_and_no_longer_than_was_asked_for(fault: Fault) -> None:
    chance = random.Random(1)
    shortest, longest = fault.lasts_s

    for asked_s in (0.3, 2.0, 60.0):
        for _ in range(50):
            lasts_s = fault.duration_s(chance, asked_s)
            assert min(shortest, asked_s) * 0.999 <= lasts_s <= min(longest, asked_s) * 1.001


def test_a_kill_lasts_no_time() -> None:
    assert {fault.duration_s(random.Random(1), 60.0) for fault in KILLS} == {0.0}
