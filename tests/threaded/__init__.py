"""A package of tasks that run in threads, as a user would have one: ``TASK_PACKAGES``."""
