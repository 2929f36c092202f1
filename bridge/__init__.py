"""The bridge between an event loop and Celery over RabbitMQ. It contains nothing of HTTP; of mails
it knows only their queues and the name of their task."""

from bridge.client import Bridge
from bridge.dead.letter import DeadLetter, DeadReason
from bridge.dead.recorder import record_dead_letters
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
from bridge.records import TaskState
from bridge.sending.app import DurableCelery
from bridge.sending.tasks import DurableTask, PrivateTask, TaskAMQP
from bridge.task_message import Undecodable
from bridge.task_result import TaskResult
from bridge.worker.declaring import DeclareTopology
from bridge.worker.forks import prepare_forks
from bridge.worker.processes import WriteResults
from bridge.worker.shutdown import bound_warm_shutdown
from bridge.worker.threads import run_in_threads

__all__ = [
    "Blocked",
    "Bridge",
    "BridgeError",
    "DeadLetter",
    "DeadReason",
    "DeclareTopology",
    "DurableCelery",
    "DurableTask",
    "InvalidArgument",
    "InvalidOption",
    "MessageTooLarge",
    "NotConnected",
    "PrivateTask",
    "PublishRejected",
    "PublishTimeout",
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
