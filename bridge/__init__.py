"""The bridge between an event loop and Celery over RabbitMQ; knows nothing of mail or HTTP."""

from bridge.client import Bridge
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
from bridge.task_result import TaskResult
from bridge.worker import DeclareTopology, bound_warm_shutdown

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
]
