"""How each fault is done to the system, and how it is undone: a strike returns its cure."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from chaos import disk
from chaos.processes import children
from chaos.relay import Behaviour
from chaos.system import WORKERS, System
from dev.tcp_proxy import TCPProxy

Cure = Callable[[], None]
Strike = Callable[[System, random.Random], Cure]

#: How long to try to lock a ledger that others write to.
LOCK_S = 20.0
DELAYS_S = (0.05, 1.5)
STORMS = (0.2, 0.9)
DROPS = (0.1, 0.5)


def _nothing() -> None:
    """Undo nothing: the keeper does, or there is nothing to undo."""


def _kill_one(pids: Sequence[int], chance: random.Random) -> None:
    if pids:  # none: it is just being started
        with suppress(ProcessLookupError):
            os.kill(chance.choice(pids), signal.SIGKILL)


# -- kills


def kill_server(system: System, _chance: random.Random) -> Cure:
    system.programs["server"].signal(signal.SIGKILL)
    return _nothing


def kill_server_process(system: System, chance: random.Random) -> Cure:
    _kill_one(children(system.programs["server"].pid or 0), chance)
    return _nothing


def kill_worker(system: System, chance: random.Random) -> Cure:
    system.programs[chance.choice(WORKERS)].signal(signal.SIGKILL)
    return _nothing


def kill_worker_process(system: System, chance: random.Random) -> Cure:
    _kill_one(children(system.programs[chance.choice(WORKERS)].pid or 0), chance)
    return _nothing


def kill_relay(system: System, _chance: random.Random) -> Cure:
    system.programs["relay"].signal(signal.SIGKILL)
    return _nothing


def kill_broker(system: System, _chance: random.Random) -> Cure:
    system.node.kill()
    return lambda: system.node.start(meanwhile=system.tend)


def kill_postgres(system: System, _chance: random.Random) -> Cure:
    if system.postgres is None:
        return _nothing
    system.postgres.kill()
    return system.postgres.start


# -- pauses


def _pause(pids: Sequence[int]) -> Cure:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)

    def go_on() -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    return go_on


def _some_of(pid: int | None, chance: random.Random) -> Sequence[int]:
    """Return a program's main process, one of its others, or all of them."""
    if pid is None:
        return ()
    others = children(pid)
    return chance.choice([[pid], [chance.choice([pid, *others])], [pid, *others]])


def pause_server(system: System, chance: random.Random) -> Cure:
    return _pause(_some_of(system.programs["server"].pid, chance))


def pause_worker(system: System, chance: random.Random) -> Cure:
    return _pause(_some_of(system.programs[chance.choice(WORKERS)].pid, chance))


def pause_broker(system: System, _chance: random.Random) -> Cure:
    return _pause([system.node.pid] if system.node.pid else [])


def pause_relay(system: System, _chance: random.Random) -> Cure:
    pid = system.programs["relay"].pid
    return _pause([pid] if pid else [])


# -- the broker's alarms


def memory_alarm(system: System, _chance: random.Random) -> Cure:
    system.node.ctl("set_vm_memory_high_watermark", "0.0001")
    return lambda: void(system.node.ctl("set_vm_memory_high_watermark", "0.4"))


def disk_alarm(system: System, _chance: random.Random) -> Cure:
    system.node.ctl("set_disk_free_limit", "900000GB")
    return lambda: void(system.node.ctl("set_disk_free_limit", "50MB"))


def void(_: object) -> None:
    """Forget what a command printed."""


# -- proxies


def _delay(proxy: TCPProxy, chance: random.Random) -> Cure:
    proxy.delay_s = chance.uniform(*DELAYS_S)

    def undo() -> None:
        proxy.delay_s = 0.0

    return undo


def _cut(proxy: TCPProxy, _chance: random.Random) -> Cure:
    proxy.cut()
    return proxy.mend


def _reset(proxy: TCPProxy, _chance: random.Random) -> Cure:
    proxy.reset()
    return proxy.reset


def _black_hole(proxy: TCPProxy, chance: random.Random) -> Cure:
    proxy.hold()
    return proxy.flow if chance.random() < 0.5 else lambda: _reset_and_flow(proxy)


def _forget(proxy: TCPProxy, _chance: random.Random) -> Cure:
    proxy.forget()
    return _nothing


def _reset_and_flow(proxy: TCPProxy) -> None:
    proxy.reset()
    proxy.flow()


def _on(name: str, do: Callable[[TCPProxy, random.Random], Cure]) -> Strike:
    return lambda system, chance: do(system.proxies[name], chance)


PROXIES: dict[str, Callable[[str], Strike]] = {
    "delay": lambda name: _on(name, _delay),
    "cut": lambda name: _on(name, _cut),
    "reset": lambda name: _on(name, _reset),
    "black hole": lambda name: _on(name, _black_hole),
    "forgotten": lambda name: _on(name, _forget),
}


# -- the relay


def _behave(system: System, behaviour: Behaviour) -> Cure:
    behaviour.write(system.folder)
    return lambda: Behaviour().write(system.folder)


def storm(system: System, chance: random.Random) -> Cure:
    return _behave(system, Behaviour(storm=chance.uniform(*STORMS)))


def drop_after_data(system: System, chance: random.Random) -> Cure:
    return _behave(system, Behaviour(drop=chance.uniform(*DROPS)))


# -- the ledger


def ledger_locked(system: System, _chance: random.Random) -> Cure:
    connection = sqlite3.connect(system.ledger, isolation_level=None, timeout=0)
    deadline = time.monotonic() + LOCK_S
    while True:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                connection.close()
                raise
        else:
            return connection.close
        time.sleep(0.001)


def ledger_full(system: System, _chance: random.Random) -> Cure:
    disk.fill(system.var)
    return lambda: disk.make_room(system.var)
