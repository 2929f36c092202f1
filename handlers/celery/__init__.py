"""``/celery``: tasks, calling them, and what became of them."""
