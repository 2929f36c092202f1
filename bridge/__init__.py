"""The bridge between an event loop and Celery over RabbitMQ; knows nothing of mail or HTTP."""

from bridge.client import Bridge, TaskResult
from bridge.errors import (
    Blocked,
    BridgeError,
    InvalidArgument,
    InvalidOption,
    NotConnected,
    PublishRejected,
    PublishTimeout,
    Unroutable,
)
from bridge.records import TaskState
from bridge.sending import DurableTask, TaskAMQP
from bridge.worker import DeclareTopology, end_with_parent

__all__ = [
    "Blocked",
    "Bridge",
    "BridgeError",
    "DeclareTopology",
    "DurableTask",
    "InvalidArgument",
    "InvalidOption",
    "NotConnected",
    "PublishRejected",
    "PublishTimeout",
    "TaskAMQP",
    "TaskResult",
    "TaskState",
    "Unroutable",
    "end_with_parent",
]
