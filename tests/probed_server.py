"""``python server.py`` with a probe that measures for how long its event loop stands still.

The probe ticks on the server's own loop and notes each tick that came late. From the
lateness it takes off the time for which the kernel had no processor for the thread
(``run_delay`` of /proc/.../schedstat): on a machine that is busy with other things that says
nothing of our code. What remains, computing or blocking, is the loop's own.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

TICK_S = 0.005
NOTED_S = 0.02


def _run_delay_s() -> float:
    """Return for how long this thread has waited for a processor so far."""
    stat = Path(f"/proc/self/task/{os.getpid()}/schedstat").read_text()
    return int(stat.split()[1]) / 1e9


async def _probe(late: list[dict[str, float]]) -> None:
    before, waited, worked = time.monotonic(), _run_delay_s(), time.thread_time()
    while True:
        await asyncio.sleep(TICK_S)
        now, waited_now, worked_now = time.monotonic(), _run_delay_s(), time.thread_time()
        late_s = now - before - TICK_S
        if late_s > NOTED_S:
            stall_s = max(0.0, late_s - (waited_now - waited))
            cpu_s = worked_now - worked
            late.append({"at": now, "late_s": late_s, "stall_s": stall_s, "cpu_s": cpu_s})
        before, waited, worked = now, waited_now, worked_now


def probed(
    serve: Callable[..., Coroutine[Any, Any, None]], notes: Path
) -> Callable[..., Coroutine[Any, Any, None]]:
    async def serve_and_measure(*given: Any) -> None:
        late: list[dict[str, float]] = []
        probe = asyncio.create_task(_probe(late))
        await serve(*given)
        probe.cancel()
        with suppress(asyncio.CancelledError):
            await probe
        notes.write_text(json.dumps(late))  # noqa: ASYNC240 - nothing else is to be done

    return serve_and_measure


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    import server

    server.serve = probed(server.serve, Path(os.environ["PROBE_NOTES"]))
    sys.exit(server.main(sys.argv))
