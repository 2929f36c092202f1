"""A task package of its own: ``TASK_PACKAGES=examples.sms`` puts it beside Windmail's tasks."""
