"""What our Celery worker does otherwise than Celery's."""
