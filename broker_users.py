"""``python broker_users.py``: makes the broker's users; and what each of them may do."""

from __future__ import annotations

import json
import os
import re
import secrets
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import kombu
from kombu.exceptions import OperationalError

import config
from bridge import topology
from bridge.broker import connect
from bridge.topology import DEFAULT, ResultStream
from command_line import CommandLine, run
from task import app

CTL_TIMEOUT_S = 60
_UUID = "[0-9a-f-]{36}"
#: Queues and exchanges of Celery's events and commands.
_EVENTS, _COMMANDS, _REPLIES = "celeryev", "celery.pidbox", "reply.celery.pidbox"
_OWN_EVENTS = rf"celeryev\.{_UUID}"
_OWN_REPLIES = rf"{_UUID}\.reply\.celery\.pidbox"
_OWN_COMMANDS = r"[^@]+@.+\.celery\.pidbox"
#: The exchanges that delayed tasks are published to: the levels of native delayed delivery.
_DELAYED = "celery_delayed_[0-9]+"
#: RabbitMQ's pattern for no permission.
NONE = "^$"

DESCRIPTION = """\
Make the broker users windmail-server (also for beat, and for programs that call tasks),
windmail-worker and windmail-flower, each with only the permissions that it needs, and declare the
queues, which they may not do. BROKER_URL must be that of a user who may do everything; rabbitmqctl
must run where the broker does. Run it again after an update: it renews permissions and keeps
passwords.

Each user's settings are written to a file that only its owner may read, for a service's
EnvironmentFile or for `set -a; . FILE`. No password is printed (terminals and logs keep it) or
given as an argument (`ps` shows it)."""


@dataclass(frozen=True, kw_only=True)
class Rights:
    """What a user may configure (declare, delete), write (publish) and read, as patterns."""

    configure: str
    write: str
    read: str
    tags: tuple[str, ...] = ()


def rights(results: ResultStream) -> dict[str, Rights]:
    """Return each user's rights; ``results``: the stream of results."""
    takes = [*(queue.name for queue in DEFAULT.queues), DEFAULT.record_queue, results.name]
    sends = [DEFAULT.exchange, results.exchange, _EVENTS, _COMMANDS]
    # From RabbitMQ 4.2.6 on, checking that a queue exists needs some permission on it. *Write* on a
    # queue does not allow publishing to it, only binding it to an exchange that the user may read,
    # and the server's user may read none.
    sees = [queue.name for queue in DEFAULT.queues]
    own = [_OWN_EVENTS, _OWN_REPLIES]
    worker = [*own, _OWN_COMMANDS]
    return {
        "windmail-server": Rights(
            configure=_any([_COMMANDS]),
            write=_any([*sends, *sees], [_DELAYED]),
            read=_any([results.name]),
        ),
        "windmail-worker": Rights(
            configure=_any([_COMMANDS, _REPLIES], worker),
            write=_any([*sends, _REPLIES], [*worker, _DELAYED]),
            read=_any([*takes, _EVENTS, _COMMANDS, _REPLIES], worker),
        ),
        "windmail-flower": Rights(
            configure=_any([_COMMANDS, _REPLIES], own),
            write=_any([_COMMANDS], own),
            read=_any([_EVENTS, _REPLIES], own),
            tags=("monitoring",),
        ),
    }


def _any(names: Iterable[str], patterns: Iterable[str] = ()) -> str:
    """Return the pattern of these names and patterns, and of nothing else."""
    return f"^({'|'.join([*map(re.escape, names), *patterns])})$"


class CtlError(Exception):
    """rabbitmqctl failed; the text is its own message."""


class Ctl:
    """rabbitmqctl, or a command that runs it elsewhere, such as in a container."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command

    def __call__(self, *arguments: str, secret: str | None = None) -> str:
        """Run it, with ``secret`` on its standard input. Raises CtlError.

        With a secret no option is given: RabbitMQ 4's script takes any argument after the command
        and the user for the password; rabbitmqctl then waits for ever for its standard input.
        """
        options = () if secret else ("--silent",)
        try:
            done = subprocess.run(
                [*self._command, *options, *arguments],
                input=f"{secret}\n" if secret else "",
                capture_output=True,
                text=True,
                timeout=CTL_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise CtlError(f"{self._command[0]}: {exc}; see --rabbitmqctl") from None
        if done.returncode:
            said = (done.stderr or done.stdout).strip()
            raise CtlError(f"{' '.join(arguments)}: {said}\nsee --rabbitmqctl")
        return done.stdout


def parser() -> CommandLine:
    """Return the parser of this command's own arguments; the rest are settings' flags."""
    top = CommandLine("broker_users.py", DESCRIPTION)
    top.add_argument(
        "--rabbitmqctl",
        type=shlex.split,
        default=["rabbitmqctl"],
        metavar="COMMAND",
        help='how to run it, such as "docker compose exec -T rabbitmq rabbitmqctl"; for a node with'
        " another name, set RABBITMQ_NODENAME (RabbitMQ 4 takes no option here)",
    )
    top.add_argument(
        "--new-passwords",
        action="store_true",
        help="also make new passwords for users that exist already",
    )
    return top


def make(ctl: Ctl, folder: Path, *, new_passwords: bool) -> None:
    """Make the users, or set their permissions anew. Raises CtlError, OSError."""
    vhost = kombu.Connection(config.options.broker_url).virtual_host or "/"
    known = {row["user"] for row in json.loads(ctl("list_users", "--formatter=json"))}
    for user, may in rights(app.backend.stream).items():
        if user not in known or new_passwords:
            password = secrets.token_urlsafe(32)
            ctl("change_password" if user in known else "add_user", user, secret=password)
            print(f"{user}: settings in {write_settings(folder, user, password)}")
        else:
            print(f"{user}: permissions set; its password stays (--new-passwords changes it)")
        ctl("set_user_tags", user, *may.tags)
        ctl("set_permissions", "-p", vhost, user, may.configure, may.write, may.read)
    # The server may publish the events of sent tasks, but none about workers.
    server = "windmail-server"
    ctl("set_topic_permissions", "-p", vhost, server, _EVENTS, r"^task\.sent$", NONE)


def write_settings(folder: Path, user: str, password: str) -> Path:
    """Write a user's settings to a file for its owner alone; return the file."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / f"{user}.env"
    urls = [_of(url, user, password) for url in config.options.broker_url.split(";")]
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as out:
        out.write(f"BROKER_URL='{';'.join(urls)}'\nBROKER_DECLARE=off\n")
    new.replace(file)
    return file


def _of(url: str, user: str, password: str) -> str:
    """Return a broker's URL with another login."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{quote(user)}:{quote(password, safe='')}@{rest.rpartition('@')[2]}"


def main(argv: list[str]) -> int:
    """Read the arguments and do what they say; returns the exit code."""
    arguments = parser().read(argv)
    config.options.broker_declare = "on"  # here even if off for the programs
    with app.connection_for_write() as connection:
        try:
            connect(connection)
            topology.declare(app, connection)
            folder = Path(config.options.var_dir) / "broker"
            make(Ctl(arguments.rabbitmqctl), folder, new_passwords=arguments.new_passwords)
        except OperationalError as exc:
            print(f"no broker answers at {connection.as_uri()}: {exc}", file=sys.stderr)
        except (CtlError, OSError) as exc:
            print(exc, file=sys.stderr)
        except connection.channel_errors as exc:
            print(f"{connection.as_uri()}: {exc}", file=sys.stderr)
        else:
            return 0
    return 1


if __name__ == "__main__":
    sys.exit(run(main, sys.argv))
