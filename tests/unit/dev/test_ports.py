import errno
import socket
from collections.abc import Iterator
from itertools import count

import pytest

from dev import ports
from dev.ports import Need

TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:22B8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 20841 1
   1: 0100007F:22B8 0100007F:A5F2 01 00000000:00000000 00:00000000 00000000     0        0 20999 1
   2: 0100007F:1633 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 21000 1
"""


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which this process listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock.getsockname()[1]


def need(
    port: int,
    variable: str = "PORT",
    process: str = "the web server",
    host: str = "127.0.0.1",
) -> Need:
    return Need(process=process, host=host, port=port, variable=variable, host_variable="ADDRESS")


def test_a_port_with_a_listener_is_not_free(taken: int) -> None:
    assert not ports.is_free("127.0.0.1", taken)


def test_a_free_port_is_free_and_is_given_once() -> None:
    given = [ports.free_port() for _ in range(1000)]  # by chance alone, some would be given twice

    assert len(set(given)) == len(given)
    assert all(ports.is_free("127.0.0.1", port) for port in given[:50])


def test_no_outgoing_connection_takes_a_free_port() -> None:
    assert all(ports.free_port() < 32768 for _ in range(200))


def test_a_port_that_is_taken_is_not_given(monkeypatch: pytest.MonkeyPatch, taken: int) -> None:
    numbers = count()
    monkeypatch.setattr(ports, "LOWEST", taken)
    monkeypatch.setattr(ports._random, "randrange", lambda _: next(numbers))

    assert ports.free_port() > taken


def test_the_next_free_port_is_above_a_taken_one(taken: int) -> None:
    assert ports.next_free("127.0.0.1", taken) > taken


def test_behind_the_last_port_comes_a_low_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "is_free", lambda host, port: port < ports.MAX_PORT)

    assert ports.next_free("127.0.0.1", ports.MAX_PORT) == ports.LOWEST
    assert f"PORT={ports.LOWEST} " in ports.remedy([need(ports.MAX_PORT)])


def test_only_listeners_count_as_owners() -> None:
    assert ports.listening_inodes(TABLE, 8888) == {"20841"}


def test_nobody_listens_on_a_port_that_is_not_in_the_table() -> None:
    assert ports.listening_inodes(TABLE, 1025) == set()


def test_the_message_names_port_process_and_holder() -> None:
    text = ports.problem(need(8888), "nginx (pid 7)")

    assert text == "port 8888, which the web server needs, is in use by nginx (pid 7)"


def test_the_message_does_without_a_holder() -> None:
    assert ports.problem(need(8888), None).endswith("is in use")


def test_the_remedy_names_every_variable(taken: int) -> None:
    text = ports.remedy([need(taken), need(taken, "SMTP_URL", "the mailbox")])

    assert "PORT=" in text
    assert "SMTP_URL=smtp://127.0.0.1:" in text
    assert text.endswith(" make run")


def test_the_remedy_can_be_typed_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAR_DIR", "my mails")
    monkeypatch.setattr(ports, "is_free", lambda host, port: True)

    text = ports.remedy([need(1025, "SMTP_URL", host="::1")])

    assert text.endswith("\n  VAR_DIR='my mails' SMTP_URL='smtp://[::1]:1026' make run")


def test_no_lines_where_all_is_free() -> None:
    assert ports.problems([need(ports.free_port())]) == []


def test_a_taken_port_gives_a_problem_and_a_remedy(taken: int) -> None:
    lines = ports.problems([need(taken)])

    assert str(taken) in lines[0]
    assert "make run" in lines[1]


def test_two_processes_that_want_one_port_are_named() -> None:
    port = ports.free_port()

    lines = ports.problems([need(port), need(port, "FLOWER_PORT", "Flower")])

    assert lines == [f"the web server and Flower both want port {port}: change PORT or FLOWER_PORT"]


def test_the_remedy_names_no_port_twice_and_none_that_another_process_wants(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_use = {8000, 8001}
    busy = OSError(errno.EADDRINUSE, "Address already in use")
    monkeypatch.delenv("VAR_DIR")
    monkeypatch.setattr(ports, "obstacle", lambda _, port: busy if port in in_use else None)
    wanted = {"PORT": 8000, "FLOWER_PORT": 8001, "SMTP_URL": 8002}

    *_, text = ports.problems([need(port, name, name) for name, port in wanted.items()])

    assert text.endswith("\n  PORT=8003 FLOWER_PORT=8004 make run")


def test_port_zero_is_never_taken() -> None:
    assert ports.problems([need(0)]) == []


def test_an_address_that_is_not_of_this_machine_is_no_port_in_use() -> None:
    lines = ports.problems([need(8888, host="192.0.2.1")])

    assert lines == [
        "the web server cannot listen on 192.0.2.1:8888: Cannot assign requested address; "
        "see ADDRESS"
    ]


def test_an_address_that_nobody_knows_is_a_sentence() -> None:
    (line,) = ports.problems([need(8888, host="no-such-host.invalid")])

    assert line.startswith("the web server cannot listen on no-such-host.invalid:8888: ")
    assert line.endswith("; see ADDRESS")


def test_a_port_that_is_roots_alone_is_no_port_in_use() -> None:
    line = ports.refusal(need(80), PermissionError(errno.EACCES, "Permission denied"))

    assert line == "the web server cannot listen on 127.0.0.1:80: Permission denied; see PORT"
