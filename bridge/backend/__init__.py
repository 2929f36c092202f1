"""Celery's result backend on the results' stream: states are written, and read without a loop."""
