"""How the keys are read beside the event loop."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any

import pytest

from access import Buckets, Caller, Keyring, keyring, new_key
from access.caller import caller_of
from ledger import ApiKey, Ledger, api_keys
from tests.system import wait_until


def test_the_event_loop_goes_on_while_the_keys_are_read(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ring, read = Keyring(ledger, Buckets(), may_be_open=True), ledger.read

    async def start() -> None:
        loop = asyncio.get_running_loop()

        def slow(query: Any) -> Any:
            asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(3)
            return read(query)

        monkeypatch.setattr(ledger, "read", slow)
        await ring.start()
        await ring.close()

    asyncio.run(start())

    assert ring.is_known


def test_keys_are_checked_in_the_thread_that_reads_them(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = new_key()
    ledger.commit(
        partial(api_keys.enter, key_id=made.id, name="a", hashed=made.hash, scopes=(), now=0)
    )
    ring = Keyring(ledger, Buckets(), may_be_open=True)
    threads: list[threading.Thread] = []

    def checked(key: ApiKey) -> Caller:
        threads.append(threading.current_thread())
        return caller_of(key)

    monkeypatch.setattr(keyring, "caller_of", checked)

    async def start() -> None:
        await ring.start()
        await ring.close()

    asyncio.run(start())

    assert threads
    assert threading.current_thread() not in threads  # the event loop's


def test_a_closed_keyring_leaves_neither_task_nor_thread(ledger: Ledger) -> None:
    ring = Keyring(ledger, Buckets(), may_be_open=True)

    async def start_and_close() -> set[str]:
        await ring.start()
        await ring.close()
        return {task.get_name() for task in asyncio.all_tasks()}

    assert "keyring" not in asyncio.run(start_and_close())
    wait_until(
        lambda: not any(one.name.startswith("keyring") for one in threading.enumerate()),
        "the thread's end",
    )
