"""What can go wrong between a caller and the broker."""

from __future__ import annotations

from kombu.exceptions import EncodeError


class BridgeError(Exception):
    """The broker could not do what was asked."""

    def __init__(self, detail: str | None = None, *, task_id: str | None = None) -> None:
        self.detail = detail or (type(self).__doc__ or type(self).__name__).partition("\n")[0]
        self.task_id = task_id
        super().__init__(self.detail)


class NotConnected(BridgeError):
    """There is no connection to the broker; nothing was sent."""


class Blocked(NotConnected):
    """The broker refuses publishes for now (memory or disk alarm); nothing was sent."""


class ResultsUnreadable(NotConnected):
    """The results' stream cannot be read now; the task's state is not known."""


class PublishRejected(BridgeError):
    """The broker refused the message (nack): its queue is full or has no quorum."""


class MessageTooLarge(BridgeError):
    """The broker takes no message of this size. ``limit_bytes`` is the most that it takes."""

    def __init__(self, size_bytes: int, limit_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes
        super().__init__(
            f"The task's message has {size_bytes} bytes; RabbitMQ takes {limit_bytes} at most."
        )


class Unroutable(BridgeError):
    """No queue takes the message: none is bound, or its exchange is missing or refuses ours."""


class PublishTimeout(BridgeError):
    """The broker did not confirm in time; whether it has the message is unknown."""


class InvalidOption(BridgeError):
    """A call's option cannot be used; ``option`` names it."""

    def __init__(self, option: str, detail: str) -> None:
        self.option = option
        super().__init__(detail)

    def __str__(self) -> str:
        return f"{self.option}: {self.detail}"


class InvalidArgument(BridgeError):
    """A task's argument cannot be used; ``argument`` names it."""

    def __init__(self, argument: str, detail: str) -> None:
        self.argument = argument
        super().__init__(detail)


class ResultRefused(BridgeError, EncodeError):
    """The broker refuses a task's result for good: it is larger than its ``max_message_size``.

    An ``EncodeError``, since Celery turns one into the task's failure.
    """
