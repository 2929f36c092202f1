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
    ResultsUnreadable,
    Unroutable,
)
from bridge.records import TaskState
from bridge.sending import DurableTask, PrivateTask, TaskAMQP
from bridge.worker import DeclareTopology, bound_warm_shutdown, end_with_parent

__all__ = [
    "Blocked",
    "Bridge",
    "BridgeError",
    "DeclareTopology",
    "DurableTask",
    "InvalidArgument",
    "InvalidOption",
    "NotConnected",
    "PrivateTask",
    "PublishRejected",
    "PublishTimeout",
    "ResultsUnreadable",
    "TaskAMQP",
    "TaskResult",
    "TaskState",
    "Unroutable",
    "bound_warm_shutdown",
    "end_with_parent",
]
