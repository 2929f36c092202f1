"""``python dead.py list | replay | discard``: the command for the dead queue."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import kombu
import msgspec
from kombu.exceptions import OperationalError

import delivery
from bridge import BridgeError, DeadLetter, DeadReason, Undecodable, topology
from bridge.broker import connect
from bridge.dead import queue as dead_queue
from bridge.dead.queue import Counts, Ids
from bridge.topology import MAIL_TASK
from command_line import Commands, run
from ledger import LedgerError, NotPossible
from lifecycle import dead_mail
from task import app

#: Stands for a letter without an id, in the table and as an argument.
NO_ID = "-"
#: Headers of a mail's dead message that are not copied to its new message.
OUTDATED = ("compression", "eta", "expires")
ROW = "{:36}  {:24}  {:14}  {:10}  {:>5}"
DESCRIPTION = """\
List the messages that were delivered too often, failed or cannot be read; send them again, or
remove them. A running worker records each as failed, perhaps after it is listed here; not one that
no key of TASK_SIGNING_KEYS has signed.
Settings come from the environment, or from flags (--broker-url=...)."""
REPLAY = """\
Send letters again to the queues where they died, and remove each from the dead queue once the
broker has confirmed it. A task that has succeeded since is not run again.

A mail is sent as the ledger has it, unless it has been sent or canceled. A mail held as uncertain
is sent only if its id is given, not with --all. A mail that cannot be read is sent only if the
ledger has its content (of scheduled mails; with LEDGER_KEEP=all, of all mails)."""


def parser() -> Commands:
    """Return the parser of this command's own arguments; the rest are settings' flags."""
    top = Commands("dead.py", DESCRIPTION, ("list", "replay", "discard"))
    listing = top.commands.add_parser(
        "list", help="show the letters, in the order of the queue", allow_abbrev=False
    )
    listing.add_argument(
        "--limit", type=_positive, default=100, metavar="N", help="show N at most (default: 100)"
    )
    for name, text, more in (
        ("replay", "send letters again", REPLAY),
        ("discard", "remove letters for good", "Remove letters for good."),
    ):
        command = top.commands.add_parser(name, help=text, description=more, allow_abbrev=False)
        command.add_argument(
            "ids",
            nargs="*",
            metavar="ID",
            help=f"as `list` shows it; {NO_ID} stands for all letters without one",
        )
        command.add_argument("--all", action="store_true", help="all letters that are there now")
    return top


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("must be a whole number from 1 up")
    return int(text)


def show(connection: kombu.Connection, limit: int) -> int:
    """Print the letters as a table, without their contents; return the exit code."""
    now = datetime.now(UTC)
    print(ROW.format("ID", "TASK", "REASON", "QUEUE", "AGE"))
    for letter in dead_queue.browse(connection, limit, known=app.tasks, signer=app.amqp.signer):
        print(row(letter, now))
    return 0


def row(letter: DeadLetter, now: datetime) -> str:
    """Return a letter's line of the table."""
    return ROW.format(
        letter.id or NO_ID,
        letter.task or "-",
        letter.reason,
        letter.queue or "-",
        age(now, letter.died_at) if letter.died_at else "-",
    )


def age(now: datetime, then: datetime) -> str:
    """Return the time since ``then`` in its largest unit: ``42s``, ``5m``, ``3h``, ``12d``."""
    seconds = max(0, int((now - then).total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def replay_or_discard(connection: kombu.Connection, command: str, ids: Ids) -> int:
    """Replay or discard letters and say how many; return the exit code."""
    if command == "replay":
        edit = partial(to_replay, held=ids is not None)
        signer = app.amqp.signer
        counts = dead_queue.replay(connection, ids, edit=edit, known=app.tasks, signer=signer)
    else:
        counts = dead_queue.discard(connection, ids)
    print(summary(counts) or ("there are no dead letters" if ids is None else "no such letter"))
    done = ids is None or counts.replayed or counts.discarded
    return 0 if done and not (counts.kept or counts.unroutable) else 1


def to_replay(letter: DeadLetter, *, held: bool) -> DeadLetter | None:
    """Return the letter to send; None: it stays in the dead queue, and a printed line says why.

    A mail's letter gets a new number from the ledger. ``held``: also send mails held as uncertain.
    Where tasks are signed, the first key signs it anew: workers may have dropped the key that did.
    """
    if letter.reason == DeadReason.NOT_SIGNED:
        print(f"{letter.id}: It is not signed by a key of TASK_SIGNING_KEYS.", file=sys.stderr)
        return None
    signer = app.amqp.signer
    edited = _edited(letter, held=held)
    return edited if edited is None or signer is None else edited.sealed(signer)


def _edited(letter: DeadLetter, *, held: bool) -> DeadLetter | None:
    mail = dead_mail(app, letter)
    if mail is None:
        return letter
    try:
        arguments = delivery.requeue(mail, held=held)
    except NotPossible as exc:
        print(f"{letter.id}: {exc}", file=sys.stderr)
        return None
    if arguments is not None:
        return new_message(letter, arguments)
    if mail.payload is not None:
        return letter  # unchanged: the worker asks the ledger, and drops it or sends it
    print(f"{letter.id}: It cannot be read, and there is nothing to send.", file=sys.stderr)
    return None


def new_message(letter: DeadLetter, arguments: Mapping[str, Any]) -> DeadLetter:
    """Return a mail's new message: the letter with these arguments, and its callbacks and chain."""
    try:
        embed = letter.embed()
        headers = {name: letter.headers[name] for name in letter.headers if name not in OUTDATED}
    except Undecodable:  # perhaps because of its headers
        embed, headers = {}, {}
    return msgspec.structs.replace(
        letter,
        headers={**headers, "task": MAIL_TASK, "id": letter.id},
        body=msgspec.json.encode([[], arguments, embed]),
        content_type="application/json",
        content_encoding="utf-8",
    )


def summary(counts: Counts) -> str:
    """Return the counts as a line; empty if all are 0."""
    words = {
        "replayed": counts.replayed,
        "discarded": counts.discarded,
        "kept (cannot be sent again)": counts.kept,
        "kept (no queue takes them)": counts.unroutable,
    }
    found = [f"{number} {word}" for word, number in words.items() if number]
    return ", ".join(found)


def main(argv: list[str]) -> int:
    """Read the arguments and do what they say; returns the exit code."""
    top = parser()
    arguments = top.read(argv)
    if arguments.command != "list" and bool(arguments.ids) == arguments.all:
        top.error("give the ids of letters, or --all")
    app.loader.import_default_modules()  # TASK_PACKAGES, to know their tasks
    return _connected(arguments)


def _connected(arguments: argparse.Namespace) -> int:
    with app.connection_for_write() as connection:
        try:
            connect(connection)
            topology.declare(app, connection)
        except (*connection.connection_errors, *connection.channel_errors, OperationalError) as exc:
            print(f"{connection.as_uri()}: {exc}", file=sys.stderr)
            return 1
        try:  # here the broker's errors are Interrupted; an OSError is of the output
            if arguments.command == "list":
                return show(connection, arguments.limit)
            ids = None if arguments.all else {None if i == NO_ID else i for i in arguments.ids}
            return replay_or_discard(connection, arguments.command, ids)
        except (BridgeError, LedgerError) as exc:
            print(exc, file=sys.stderr)
            if isinstance(exc, dead_queue.Interrupted) and arguments.command != "list":
                print(summary(exc.counts) or "nothing was done", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(run(main, sys.argv))
