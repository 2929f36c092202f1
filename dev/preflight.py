"""What `make run` needs before it starts anything: ports, a broker, a folder, a password."""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from kombu.utils.url import maybe_sanitize_url

import config
from config_checks import is_loopback
from dev import amqp, packages, ports, relay
from dev.broker import AMQP_PORT, BrokerNode
from dev.broker_files import DISK_FREE_LIMIT_MB, HOST
from dev.ports import Need

MANAGEMENT_PORT = 15672
#: What a new node writes at its start (1 MB), and the ledger beside it, with some room.
BROKER_START_MB = 5
FLOWER_USER = "windmail"


class NotReady(Exception):
    """Windmail cannot start here; the text says what to do."""


def lock(var: Path) -> IO[str]:
    """Make the folder for state and hold it for this run, until the file is closed.

    Raises:
        NotReady: another `make run` holds it, or it cannot be written.
    """
    with _writing(var):
        var.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (var / "run.lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        file.seek(0)
        pid = file.read().strip() or "unknown"
        file.close()
        raise NotReady(
            f"Windmail runs here already, or is still stopping (pid {pid}).\n"
            "  Stop it (Ctrl-C in its terminal), or start a second one in a folder of its own; it\n"
            "  says which ports are free:  VAR_DIR=var2 make run"
        ) from exc
    try:
        with _writing(var):
            file.truncate(0)
            os.write(file.fileno(), b"%d\n" % os.getpid())
    except NotReady:
        file.close()
        raise
    return file


@contextmanager
def _writing(var: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:  # for instance, it belongs to another user, or the disk is full
        raise NotReady(
            f"cannot write {exc.filename or var}: {exc.strerror}.\n"
            "  Run as the user who owns it, or set VAR_DIR to another folder"
        ) from exc


def needs(commands: set[str]) -> list[Need]:
    """Return the ports that the processes want to listen on."""
    options = config.options
    mail_host, mail_port = relay.address(options.smtp_url)
    wanted = {
        "web": Need(
            process="the web server",
            host=options.address,
            port=options.port,
            variable="PORT",
            host_variable="ADDRESS",
        ),
        "flower": Need(
            process="Flower",
            host=options.flower_address,
            port=options.flower_port,
            variable="FLOWER_PORT",
            host_variable="FLOWER_ADDRESS",
        ),
        "mailbox": Need(
            process="the development mailbox",
            host=mail_host,
            port=mail_port,
            variable="SMTP_URL",
            host_variable="SMTP_URL",
        ),
    }
    return [need for name, need in wanted.items() if name in commands]


def flower_auth(var: Path) -> str:
    """Return FLOWER_AUTH, or else user and password made once and kept in a file."""
    if config.options.flower_auth:
        return str(config.options.flower_auth)
    file = var / "flower-password"
    if not file.exists() or not file.read_text().strip():
        new = file.with_suffix(".new")
        with _writing(var):
            new.unlink(missing_ok=True)
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
                print(secrets.token_urlsafe(15), file=out)
            new.replace(file)  # whole: a disk that is full must not leave an empty password
    return f"{FLOWER_USER}:{file.read_text().strip()}"


def broker(var: Path) -> BrokerNode | None:
    """Find the broker of BROKER_URL, or make (not start) a private node in its place.

    Installs RabbitMQ if it is missing and we may.

    Returns:
        None if a broker answers already.

    Raises:
        NotReady: none answers there, and no private one can take its place.
    """
    urls = str(config.options.broker_url).split(";")
    if any(_answers(url) for url in urls):
        return None
    url, *more = urls
    parts = urlsplit(url)
    if more or parts.scheme != "amqp" or (parts.hostname or HOST) not in (HOST, "localhost"):
        raise NotReady(
            f"no broker answers at {' or '.join(map(maybe_sanitize_url, urls))}.\n"
            "  Start it, set BROKER_URL to one that runs, or unset it to use a private one"
        )
    try:
        if packages.rabbitmq_folder() is None:
            packages.install(["rabbitmq"])
            if _answers(url):  # on many systems, installing it starts it
                return None
    except packages.PackageError as exc:
        raise NotReady(f"no broker answers at {maybe_sanitize_url(url)}: {exc}") from exc
    check_disk(var)
    management = ports.next_free(HOST, MANAGEMENT_PORT)
    return BrokerNode(var / "rabbitmq", url=url, management=True, management_port=management)


def check_disk(var: Path) -> None:
    """Raise `NotReady` if a private node would take no messages for lack of disk space."""
    free_mb = shutil.disk_usage(var).free // 10**6
    if free_mb < DISK_FREE_LIMIT_MB + BROKER_START_MB:
        raise NotReady(
            f"the disk of {var} has {free_mb} MB left, too little for a private RabbitMQ: below\n"
            f"  {DISK_FREE_LIMIT_MB} MB it takes no messages, and its own files take some, too.\n"
            "  Make room, set VAR_DIR to a folder on another disk, or BROKER_URL to a running one"
        )


def _answers(url: str) -> bool:
    try:
        return amqp.answers(url)
    except amqp.Refused as exc:
        hung_up = isinstance(exc.__cause__, OSError)
        lines = [f"BROKER_URL is {maybe_sanitize_url(url)}, but {exc}", *_ways_out(url, hung_up)]
        raise NotReady("\n  ".join(lines)) from exc


def _ways_out(url: str, hung_up: bool) -> Iterator[str]:
    parts = urlsplit(url)
    port = parts.port or AMQP_PORT
    here = is_loopback(parts.hostname or HOST)
    holder = ports.owner(port) if here else None
    if holder:
        yield f"Port {port} is held by {holder}."
    if here and hung_up:  # Docker's proxy listens from the container's start
        yield "A container's broker may still be starting: docker compose up -d --wait"
    yield "Put the right address, user, password and vhost into BROKER_URL"
    if here:
        other = f"amqp://guest:guest@{HOST}:{ports.next_free(HOST, port + 1)}//"
        yield f"or choose another port, for a private broker:  BROKER_URL={other} make run"


def check_ports(commands: set[str]) -> None:
    """Raise `NotReady` unless every port that the processes want is free."""
    texts = ports.problems(needs(commands))
    if texts:
        raise NotReady("\n".join(texts))
