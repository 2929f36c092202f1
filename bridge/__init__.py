"""The bridge between an event loop and Celery over RabbitMQ; knows nothing of HTTP, and of mails
no more than their queues."""

from bridge.broadcast import Control
from bridge.client import Bridge
from bridge.dead_letter import DeadLetter, DeadReason
from bridge.dead_recorder import record_dead_letters
from bridge.errors import (
    Blocked,
    BridgeError,
    InvalidArgument,
    InvalidOption,
    MessageTooLarge,
    NotConnected,
    PublishRejected,
    PublishTimeout,
    ResultsUnreadable,
    Unroutable,
)
from bridge.events import DurableEvents
from bridge.forks import prepare_forks
from bridge.gauge import QueueGauge
from bridge.processes import WriteResults
from bridge.records import TaskState
from bridge.sending import DurableTask, PrivateTask, TaskAMQP
from bridge.shutdown import bound_warm_shutdown
from bridge.task_message import Undecodable
from bridge.task_result import TaskResult
from bridge.threads import run_in_threads
from bridge.worker import DeclareTopology

__all__ = [
    "Blocked",
    "Bridge",
    "BridgeError",
    "Control",
    "DeadLetter",
    "DeadReason",
    "DeclareTopology",
    "DurableEvents",
    "DurableTask",
    "InvalidArgument",
    "InvalidOption",
    "MessageTooLarge",
    "NotConnected",
    "PrivateTask",
    "PublishRejected",
    "PublishTimeout",
    "QueueGauge",
    "ResultsUnreadable",
    "TaskAMQP",
    "TaskResult",
    "TaskState",
    "Undecodable",
    "Unroutable",
    "WriteResults",
    "bound_warm_shutdown",
    "prepare_forks",
    "record_dead_letters",
    "run_in_threads",
]
