"""What a worker does at its start, at its end, and with messages in the dead queue."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from celery import Celery, signals, states

import config
import delivery
import mailing
from bridge import (
    DeadLetter,
    DeclareTopology,
    WriteResults,
    bound_warm_shutdown,
    prepare_forks,
    record_dead_letters,
    run_in_threads,
)
from bridge.task_message import Undecodable
from bridge.topology import MAIL_QUEUE, MAIL_TASK, MAILS_APART
from bridge.worker import panel, reading, remembered, tracebacks
from ledger import LedgerUnavailable, OtherVersion

logger = logging.getLogger(__name__)

#: The task id under which the results have the last change of the relay's circuit breaker.
CIRCUIT_ID = "circuit"


def install(app: Celery) -> None:
    """Add our own steps to the app's workers: declare the topology, share rates and breaker, write
    results, run mails in threads, record dead letters, and limit the time of a shutdown."""
    panel.install()
    reading.install()
    remembered.install()
    tracebacks.install()
    threads = config.options.mail_concurrency
    app.steps["consumer"].add(DeclareTopology)
    app.steps["worker"] |= {
        WriteResults,
        run_in_threads(MAIL_QUEUE, MAILS_APART, threads, mailing.close_sessions),
        record_dead_letters(partial(_record_dead, app)),
    }
    signals.worker_init.connect(_prepare, weak=False)
    signals.task_revoked.connect(_enter_revoked, weak=False)
    signals.worker_process_shutdown.connect(_end_pool_process, weak=False)
    signals.worker_shutting_down.connect(_bound_shutdown, weak=False)


def _prepare(sender: Any, **_: Any) -> None:
    for warning in config.warnings():
        logger.warning("%s", warning)
    delivery.share()  # before the pool's processes are forked
    prepare_forks()
    delivery.announce_circuit_by(partial(_announce, sender.app))
    _prepare_ledger()


def _announce(app: Celery, change: str) -> None:
    if change == "opened":
        logger.warning("the relay does not answer: the circuit before it has opened, mails wait")
    else:
        logger.info("the relay answers, mails go out")
    app.backend.store_result(CIRCUIT_ID, change, states.SUCCESS)


def _prepare_ledger() -> None:
    try:
        delivery.prepare_ledger()
    except LedgerUnavailable as exc:  # start all the same: mails wait
        logger.warning("the ledger cannot be used: %s", exc)
    except OtherVersion as exc:  # ends the worker; Celery only logs other errors of a signal
        raise SystemExit(str(exc)) from exc


def _record_dead(app: Celery, letter: DeadLetter) -> None:
    mail = dead_mail(app, letter)
    if mail is not None:
        delivery.record_dead(mail)


def dead_mail(app: Celery, letter: DeadLetter) -> delivery.DeadMail | None:
    """Return what a dead letter says about its mail; None if it is not a mail's."""
    if letter.task != MAIL_TASK or letter.id is None:
        return None
    moment = letter.headers.get("accepted_at")
    return delivery.DeadMail.of(letter.id, _arguments(app, letter), letter.detail, moment)


def _arguments(app: Celery, letter: DeadLetter) -> Mapping[str, Any] | None:
    """Return the arguments of a mail's task by their names; None: they cannot be read.

    Arguments that only a newer version of Windmail knows are kept: its workers can send the mail.
    """
    signature = inspect.signature(app.tasks[MAIL_TASK].run)
    try:
        args, kwargs = letter.arguments()
        newer = {
            name: kwargs.pop(name) for name in list(kwargs) if name not in signature.parameters
        }
        return {**signature.bind_partial(*args, **kwargs).arguments, **newer}
    except (Undecodable, TypeError):
        return None


def _enter_revoked(sender: Any, request: Any, **_: Any) -> None:
    if sender.name == MAIL_TASK:
        delivery.cancel_revoked(request.id)


def _end_pool_process(**_: Any) -> None:
    mailing.close_sessions()
    delivery.ledger().close()


def _bound_shutdown(how: str, **_: Any) -> None:
    if how == "Warm":
        bound_warm_shutdown(config.options.worker_shutdown_s)
