"""A short attack on a whole system, as part of the tests; the long one is ``make attack``."""

from __future__ import annotations

from tests.outside import module


def test_a_minute_of_attacks_finds_nothing() -> None:
    done = module("attack", "--smoke")

    assert done.returncode == 0, done.stdout
