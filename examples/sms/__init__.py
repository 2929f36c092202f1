"""A task package of your own: ``TASK_PACKAGES=examples.sms`` adds it to Windmail's tasks."""
