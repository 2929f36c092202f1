"""Server and workers are replaced under load: nobody is turned away, no mail goes twice."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial

import pytest

from dev.broker import BrokerNode
from dev.ports import free_port
from tests.delivery_parts import Parts, parts
from tests.keen_client import KeenClients
from tests.system import Process, Server, wait_until, worker

#: Restarts of a server.
TIMES = 2
#: Answers between two restarts.
ANSWERS = 50
#: What a program is told of a socket that it is given: sd_listen_fds(3).
GIVEN_SOCKET = 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3<&0 </dev/null'


@pytest.fixture(scope="module")
def mails(broker: BrokerNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    with parts(broker, tmp_path_factory.mktemp("rolling"), free_port()) as made:
        yield made


@pytest.fixture(scope="module")
def second_worker(mails: Parts) -> Iterator[Process]:
    """One that works while the other one is away."""
    with worker(mails.folder / "second.log", mails.worker.env, "-n", "second@%h") as process:
        yield process


@contextmanager
def held(server: Server) -> Iterator[Server]:
    """Give the server its socket, as systemd does, and hold it while there is no server."""
    with closing(socket.create_server(("127.0.0.1", server.port))) as sock:
        server.command = ["sh", "-c", GIVEN_SOCKET, "sh", *server.command]
        server.stdin = sock.fileno()
        with server:
            yield server


def replace(process: Process, clients: KeenClients, times: int) -> None:
    """Stop a process and start it again so often, with answers in between."""
    for _ in range(times):
        wait_until(partial(clients.has_answers, clients.seen.answers + ANSWERS), "answers")
        assert process.stop(60) == 0
        process.start()


def check(mails: Parts, clients: KeenClients) -> None:
    """Nobody saw a failure; each mail that was accepted has reached the relay once."""
    accepted = clients.seen.accepted
    received = Counter(to for mail in mails.relay.mails for to in mail.recipients)
    assert clients.seen.failures == []
    assert {to: received[to] for to in accepted} == dict.fromkeys(accepted, 1)
    for email_id in accepted.values():
        email = mails.email(email_id)
        assert email is not None
        assert (email.status, email.possible_duplicates) == ("sent", 0)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_client_that_tries_refused_connections_again_sees_no_restart_of_the_server(
    mails: Parts, processes: int
) -> None:
    log, option = mails.folder / f"server-{processes}.log", f"--processes={processes}"
    server = Server(log, mails.worker.env, free_port(), option)
    with server, KeenClients(server.port) as clients:
        replace(server, clients, TIMES)

    check(mails, clients)


def test_with_a_socket_that_somebody_holds_no_connection_is_even_refused(mails: Parts) -> None:
    server = Server(mails.folder / "held.log", mails.worker.env, free_port())
    with held(server), KeenClients(server.port) as clients:
        replace(server, clients, TIMES)

    check(mails, clients)
    assert clients.seen.refused == 0


def test_workers_are_replaced_one_by_one_and_no_mail_goes_twice(
    mails: Parts, second_worker: Process
) -> None:
    server = Server(mails.folder / "server.log", mails.worker.env, free_port())
    with server, KeenClients(server.port, count=16) as clients:
        for one in (mails.worker, second_worker):
            replace(one, clients, 1)

    check(mails, clients)
