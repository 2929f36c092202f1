"""What stays behind or grows: descriptors, memory, connections, messages, and who has them."""

from __future__ import annotations

import time
from collections.abc import Iterable

import msgspec

from chaos import watch
from chaos.processes import children, open_files, resident_bytes
from chaos.system import WORKERS, System

#: A worker publishes retries over a pool of connections, up to Celery's broker_pool_limit.
POOL = 10
#: More than this over the beginning is a leak. Each of a worker's threads keeps a session, too.
FILES_OVER = 16
BYTES_OVER = 64 * 2**20
CONNECTIONS_OVER = 2 + len(WORKERS) * POOL
#: What is on its way needs some time to arrive.
EMPTY_S = 60.0
#: A claim's lease here (a mail's whole dialogue, its final dot, a margin: 325 s), and some more.
LEASE_S = 420.0
PAUSE_S = 2.0
#: Queues of Celery's native delayed delivery.
DELAYED = "celery_delayed_"


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """What the largest process of a kind holds."""

    files: int
    bytes: int


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What all of them hold at one time."""

    uses: dict[str, Use]
    connections: int


def sample(system: System) -> Sample:
    """Measure the system's processes and the broker's clients."""
    uses = {kind: _largest(pids) for kind, pids in _processes(system).items()}
    return Sample(uses=uses, connections=watch.connections(system.node))


def _processes(system: System) -> dict[str, list[int]]:
    server = system.programs["server"].pid or 0
    workers = [system.programs[name].pid or 0 for name in WORKERS]
    return {
        "server, parent": [server],
        "server process": children(server),
        "worker, main": workers,
        "worker process": [pid for worker in workers for pid in children(worker)],
        "broker": [system.node.pid or 0],
    }


def _largest(pids: Iterable[int]) -> Use:
    pids = list(pids)
    return Use(
        files=max(map(open_files, pids), default=0),
        bytes=max(map(resident_bytes, pids), default=0),
    )


def grown(before: Sample, after: Sample) -> list[str]:
    """Return what has grown beyond bounds (except in the broker, which is not ours)."""
    found = []
    for kind, now in after.uses.items():
        then = before.uses[kind]
        if kind == "broker":
            continue
        pool = POOL if kind == "worker, main" else 0
        if now.files > then.files + FILES_OVER + pool:
            found.append(f"LEAK: a {kind} has {now.files} files open, {then.files} at first")
        if now.bytes > then.bytes + BYTES_OVER:
            found.append(f"LEAK: a {kind} has {_mib(now.bytes)}, {_mib(then.bytes)} at first")
    if after.connections > before.connections + CONNECTIONS_OVER:
        found.append(
            f"LEAK: the broker has {after.connections} clients, {before.connections} at first"
        )
    return found


def left_in_queues(system: System) -> list[str]:
    """Return which messages are left when all mails have ended.

    A message that finds its mail claimed by another attempt comes again when that claim's lease is
    over, and then finds that the mail has ended: that is why it may take LEASE_S.
    """
    begin = time.monotonic()
    while left := watch.queued(system.node):
        waits = all(name.startswith(DELAYED) for name in left)
        if time.monotonic() > begin + (LEASE_S if waits else EMPTY_S):
            return [f"LEFT: {count} messages in {queue}" for queue, count in left.items()]
        system.sleep(PAUSE_S)
    return []


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"
