"""Ways to die for a worker (see ``tests/crashing/tasks.py``)."""

#: The subject of a mail that kills every worker that begins with it.
POISON = "kills its worker"
