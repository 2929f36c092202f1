"""From a call of a task to its messages: what Windmail adds to Celery's send path."""
