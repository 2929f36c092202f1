"""Tasks of ours to measure with: ``TASK_PACKAGES=bench`` adds them."""

from __future__ import annotations

from celery import shared_task


@shared_task(name="add_in_thread", threaded=True)
def add(x: float, y: float) -> float:
    """Return the sum of two numbers, by a thread of the worker's main process."""
    return x + y
