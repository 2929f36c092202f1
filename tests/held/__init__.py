"""A package of tasks whose worker holds their starts back for longer than a machine stands still:
``TASK_PACKAGES``."""
