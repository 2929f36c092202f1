"""An event loop hears of many entries by one wake-up."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from unittest.mock import patch

import pytest

from ledger import LedgerUnavailable
from ledger.completions import Completions

LONG_S = 60.0
SHORT_S = 0.05


@pytest.mark.gen_test
async def test_each_waiter_gets_what_its_own_entry_came_to() -> None:
    completions = Completions(asyncio.get_running_loop(), LONG_S)
    entries: list[Future[int]] = [Future() for _ in range(3)]
    waiters = [completions.wait_for(entry) for entry in entries]

    entries[1].set_exception(ValueError("not this one"))
    entries[2].set_result(2)
    entries[0].set_result(0)

    assert await waiters[0] == 0
    with pytest.raises(ValueError, match="not this one"):
        await waiters[1]
    assert await waiters[2] == 2


@pytest.mark.gen_test
async def test_entries_that_end_together_wake_the_loop_once() -> None:
    loop = asyncio.get_running_loop()
    completions = Completions(loop, LONG_S)
    entries: list[Future[int]] = [Future() for _ in range(100)]
    waiters = [completions.wait_for(entry) for entry in entries]

    def end_all() -> None:
        for entry in entries:
            entry.set_result(1)

    with patch.object(loop, "call_soon_threadsafe", wraps=loop.call_soon_threadsafe) as wake:
        end_all()  # in one turn of the loop
        assert wake.call_count == 1
        assert sum(await asyncio.gather(*waiters)) == 100


@pytest.mark.gen_test
async def test_an_entry_that_ends_later_wakes_the_loop_again() -> None:
    loop = asyncio.get_running_loop()
    completions = Completions(loop, LONG_S)
    for _ in range(3):
        entry: Future[int] = Future()
        waiter = completions.wait_for(entry)
        loop.run_in_executor(None, entry.set_result, 7)
        assert await waiter == 7


@pytest.mark.gen_test
async def test_a_waiter_that_gave_up_disturbs_no_other() -> None:
    completions = Completions(asyncio.get_running_loop(), LONG_S)
    first: Future[int] = Future()
    second: Future[int] = Future()
    gone, waiter = completions.wait_for(first), completions.wait_for(second)

    gone.cancel()
    first.set_result(1)
    second.set_result(2)

    assert await waiter == 2


@pytest.mark.gen_test
async def test_each_waiter_times_out_at_its_own_time() -> None:
    loop = asyncio.get_running_loop()
    completions = Completions(loop, SHORT_S)
    begin = loop.time()
    ended: Future[int] = Future()
    waiters = [completions.wait_for(ended), completions.wait_for(Future())]
    ended.set_result(1)
    assert await waiters[0] == 1

    with pytest.raises(LedgerUnavailable):
        await waiters[1]
    later: asyncio.Future[int] = completions.wait_for(Future())
    with pytest.raises(LedgerUnavailable):
        await later

    assert 2 * SHORT_S <= loop.time() - begin < 100 * SHORT_S


def test_an_entry_that_ends_after_the_loop_is_nobodys(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.new_event_loop()
    entry: Future[int] = Future()
    Completions(loop, LONG_S).wait_for(entry)
    loop.close()

    entry.set_result(1)

    assert not caplog.records  # a future logs what its callbacks raise
