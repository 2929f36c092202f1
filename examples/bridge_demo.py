"""Calling Celery tasks from any asyncio or Tornado program: ``python -m examples.bridge_demo``.

Needs the broker and a worker (``make run`` starts both); run it from the project's folder.
"""

from __future__ import annotations

import asyncio

import task
from bridge import Bridge


async def main() -> None:
    """Call a task and await its result, then follow another one's progress."""
    async with Bridge(task.app) as bridge:
        result = await bridge.apply_async(task.add, (4, 4))
        print("4 + 4 =", await result.get(timeout=10))

        result = await bridge.apply_async(task.count, (3,), {"interval": 0.2})
        async for event in result.events():
            print(event.state, event.result)


if __name__ == "__main__":
    asyncio.run(main())
