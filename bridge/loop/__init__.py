"""RabbitMQ on an event loop: a connection that comes back, confirmed publishes, queues' depths."""
