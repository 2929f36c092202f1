"""One caller's calls take turns, and others' do not wait for them."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from handlers.base import BaseHandler
from handlers.limits import Turns

DEADLINE_S = 5.0


@pytest.mark.gen_test
async def test_a_caller_s_calls_beyond_the_limit_wait_and_another_s_do_not() -> None:
    turns, running, most = Turns(2), 0, 0
    other_was_in, end = asyncio.Event(), asyncio.Event()

    async def call() -> None:
        nonlocal running, most
        async with turns.of("crowd"):
            running += 1
            most = max(most, running)
            await end.wait()
            running -= 1

    async def other() -> None:
        async with turns.of("other"):
            other_was_in.set()

    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
        for one in (call(), call(), call(), call(), other()):
            group.create_task(one)
        await other_was_in.wait()
        end.set()

    assert most == 2


def test_nothing_is_kept_of_callers_without_a_call() -> None:
    turns = Turns(2)
    for number in range(100):
        turns.of(f"caller {number}")
    gc.collect()

    assert not turns._of


@pytest.mark.gen_test
async def test_a_client_that_hangs_up_gives_its_turn_back_when_its_call_has_ended() -> None:
    loop, begun, end = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    services = SimpleNamespace(turns=Turns(1))
    handler: Any = SimpleNamespace(_services=services, caller=SimpleNamespace(owner="crowd"))

    def call() -> None:
        loop.call_soon_threadsafe(begun.set)
        end.wait(DEADLINE_S)

    async with asyncio.timeout(DEADLINE_S):
        gone = asyncio.create_task(BaseHandler.in_thread(handler, call))
        await begun.wait()
        gone.cancel()
        await asyncio.wait([gone])
        try:
            assert gone.cancelled()
            assert services.turns.of("crowd").locked()
        finally:
            end.set()
        assert await BaseHandler.in_thread(handler, lambda: "next") == "next"


class Refused(Exception):
    pass


@pytest.mark.gen_test
async def test_nothing_is_kept_of_a_call_that_was_refused_until_garbage_is_collected() -> None:
    """The frames of its traceback hold the request's body: 740 MB after 1,100 of them."""
    handler: Any = SimpleNamespace(
        _services=SimpleNamespace(turns=Turns(1)), caller=SimpleNamespace(owner="")
    )

    made = [Refused()]
    refused = weakref.ref(made[0])

    def call() -> None:
        raise made.pop()

    gc.disable()
    try:
        with suppress(Refused):
            await BaseHandler.in_thread(handler, call)
        await asyncio.sleep(0)
        assert refused() is None
    finally:
        gc.enable()
