"""``python keys.py``, and servers that start with and without keys."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest

from access.keyring import REFRESH_S
from dev.broker import BrokerNode
from dev.ports import free_port
from ledger import Ledger, api_keys
from tests.emails import accepted, later, mail
from tests.keys import Client, command, id_of, make
from tests.openapi import conforms
from tests.system import ROOT, Server, wait_until

#: What a read of the keys may take beside the timer's period, on a busy machine.
READ_S = 5.0


@pytest.fixture
def single(broker: BrokerNode, tmp_path: Path) -> Iterator[Server]:
    """A server without keys."""
    with Server(tmp_path / "server.log", {"VAR_DIR": str(tmp_path)}, free_port()) as server:
        yield server


def start(var: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "server.py", f"--port={free_port()}", *options],
        cwd=ROOT,
        env={**os.environ, "VAR_DIR": str(var), "DATABASE_URL": ""},
        capture_output=True,
        text=True,
        timeout=30,
    )


# -- the command


def test_a_key_is_shown_once_and_stored_as_a_hash(tmp_path: Path) -> None:
    done = command(tmp_path, "create", "--name=shop", "--scope=send")
    key = done.stdout.strip()

    listed = command(tmp_path, "list").stdout
    stored = b"".join(file.read_bytes() for file in tmp_path.glob("ledger*"))

    assert done.stdout == f"{key}\n"
    assert key.startswith(f"wm_{id_of(key)}_")
    assert "once" in done.stderr
    assert id_of(key) in listed
    assert "shop" in listed
    for text in (key, key.split("_", 2)[2]):
        assert text not in listed + done.stderr
        assert text.encode() not in stored


def test_the_list_says_what_each_key_may_do(tmp_path: Path) -> None:
    limits = ("--rate=20/s", "--daily=10000")
    make(tmp_path, "--domain=b.example", "--domain=A.example", *limits, name="our shop")
    admin = make(tmp_path, "--scope=admin", name="ops")
    revoked = command(tmp_path, "revoke", id_of(admin))

    listed = command(tmp_path, "list")

    assert listed.returncode == 0
    head, shop, ops = listed.stdout.splitlines()
    columns = "ID NAME SCOPES DOMAINS RATE DAILY TODAY CREATED OLD KEY UNTIL REVOKED"
    assert head.split() == columns.split()
    assert "  our shop  read,send  a.example,b.example  20/s  10000  0 " in shop
    assert shop.rstrip().endswith("-")
    assert ops.split()[1:7] == ["ops", "admin", "any", "any", "any", "-"]
    assert not ops.rstrip().endswith("-")
    assert (revoked.returncode, revoked.stdout) == (0, f"revoked: {id_of(admin)}\n")


def test_a_name_that_the_terminal_cannot_show_is_listed_nevertheless(tmp_path: Path) -> None:
    make(tmp_path, name="Größe 店")

    done = command(tmp_path, "list", PYTHONIOENCODING="ascii")

    assert (done.returncode, done.stderr) == (0, "")
    assert r"Gr\xf6\xdfe \u5e97" in done.stdout


def test_an_update_changes_what_it_names(tmp_path: Path) -> None:
    key = make(tmp_path, "--domain=a.example", "--daily=10", name="shop")

    def update(*given: str) -> list[str]:
        done = command(tmp_path, "update", id_of(key), *given)
        assert (done.returncode, done.stdout) == (0, f"updated: {id_of(key)}\n")
        return command(tmp_path, "list").stdout.splitlines()[1].split()[1:7]

    changed = ["shop", "read,send", "a.example", "9/s", "10", "0"]
    assert update("--rate=9/s") == changed
    domains = ("--domain=c.example", "--domain=any", "--domain=B.example")
    changed = ["office", "send", "b.example,c.example", "9/s", "20", "0"]
    assert update("--name=office", "--scope=send", "--daily=20", *domains) == changed
    changed = ["office", "send", "any", "any", "any", "-"]
    assert update("--domain=any", "--rate=any", "--daily=any") == changed


@pytest.mark.parametrize(
    ("overlap", "until"), [((), "2"), (("--overlap=0",), "-")], ids=["a day", "leaked"]
)
def test_a_key_that_is_replaced_is_shown_once_with_the_end_of_the_old_one(
    tmp_path: Path, overlap: tuple[str, ...], until: str
) -> None:
    old = make(tmp_path)
    begun = time.time()

    done = command(tmp_path, "rotate", id_of(old), *overlap)

    new = done.stdout.strip()
    assert (done.returncode, done.stdout) == (0, f"{new}\n")
    assert (id_of(new), new != old) == (id_of(old), True)
    head, line = command(tmp_path, "list").stdout.splitlines()
    told = line[head.index("OLD KEY UNTIL") :].split("  ")[0]
    assert told.startswith(until)
    if overlap:
        assert "The old key is not valid any more." in done.stderr
    else:
        assert f"The old key is valid until {told} UTC." in done.stderr
        ends = datetime.fromisoformat(f"{told}+00:00").timestamp()
        assert ends - begun == pytest.approx(24 * 3600, abs=120)


def test_a_leaked_key_ends_on_a_server_whose_clock_is_behind_too(tmp_path: Path) -> None:
    leaked = make(tmp_path)

    command(tmp_path, "rotate", id_of(leaked), "--overlap=0")

    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.sqlite3'}")
    (key,) = ledger.read(api_keys.known)
    ledger.close()
    assert len(key.hashes_at(time.time() - 3600)) == 1


def test_who_replaces_a_key_twice_is_told_that_the_first_one_has_ended(tmp_path: Path) -> None:
    key_id = id_of(make(tmp_path))

    told = [command(tmp_path, "rotate", key_id).stderr for _ in range(2)]
    told.append(command(tmp_path, "rotate", key_id, "--overlap=0").stderr)
    told.append(command(tmp_path, "rotate", key_id).stderr)

    ended = ["The one before it, which had until " in text for text in told]
    assert ended == [False, True, True, False]
    until = told[0].partition("valid until ")[2].partition(" UTC")[0]
    assert f"which had until {until} UTC, is not valid any more." in told[1]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["create", "--scope=send"], "--name"),
        (["create", "--name=a"], "--scope"),
        (["create", "--name=", "--scope=send"], "--name"),
        (["create", "--name=a\x1b[2J", "--scope=send"], "--name"),  # it clears a terminal
        (["create", f"--name={'n' * 101}", "--scope=send"], "--name"),
        (["create", "--name=a", "--scope=send,all"], "send, read, admin"),
        (["create", "--name=a", "--scope=send", "--rate=20"], "20/s"),
        (["create", "--name=a", "--scope=send", "--daily=0"], "--daily"),
        (["create", "--name=a", "--scope=send", f"--daily={2**31}"], "2147483647"),
        (["create", "--name=a", "--scope=send", "--domain=a b"], "a b"),
        (["create", "--name=a", "--scope=send", "what"], "what"),
        (["list", "--no-such-flag=1"], "no-such-flag"),
        (["update", "0123456789ab"], "--daily"),
        (["update", "0123456789ab", "--daily=0"], "--daily"),
        (["update", "--rate=any"], "ID"),
        (["rotate"], "ID"),
        (["rotate", "0123456789ab", "--overlap=1.5"], "--overlap"),
        (["rotate", "0123456789ab", "--overlap=8761"], "8760"),
        ([], "create|list|update|rotate|revoke"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_done_is_named(tmp_path: Path, arguments: list[str], named: str) -> None:
    done = command(tmp_path, *arguments)

    assert done.returncode == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("ledger*"))


@pytest.mark.parametrize("change", [("update", "--rate=any"), ("rotate",), ("revoke",)])
def test_a_key_that_is_not_there_cannot_be_changed(tmp_path: Path, change: tuple[str]) -> None:
    done = command(tmp_path, *change, "0123456789ab")

    assert (done.returncode, done.stdout) == (1, "")
    assert "no such key" in done.stderr


def test_a_ledger_that_is_away_is_told(tmp_path: Path) -> None:
    done = command(tmp_path, "list", DATABASE_URL="postgresql://nobody:hush@127.0.0.1:1/nothing")

    assert done.returncode == 1
    assert "database cannot be used now" in done.stderr
    assert "Traceback" not in done.stderr
    assert "hush" not in done.stderr


# -- servers


@pytest.mark.parametrize("address", ["0.0.0.0", "::", ""])
def test_a_public_address_without_a_key_is_refused(tmp_path: Path, address: str) -> None:
    done = start(tmp_path, f"--address={address}")

    assert done.returncode == 2
    assert f"refusing to listen on {address or 'all addresses'} without an API key" in done.stderr
    assert "make key" in done.stderr
    assert "listening" not in done.stderr


def test_a_revoked_key_does_not_open_a_public_address(tmp_path: Path) -> None:
    command(tmp_path, "revoke", id_of(make(tmp_path)))

    assert start(tmp_path, "--address=0.0.0.0").returncode == 2


def test_a_public_address_is_taken_with_a_key(
    broker: BrokerNode, logs: Path, tmp_path: Path
) -> None:
    key, options = make(tmp_path), ("--address=0.0.0.0",)
    env = {"VAR_DIR": str(tmp_path)}
    with Server(logs / "public.log", env, free_port(), *options) as server:
        assert server.get("/emails").status == 401
        assert Client(server, key).get("/emails").status == 200
        (line,) = (line for line in server.text().splitlines() if "listening on" in line)

    assert line.endswith(f"http://0.0.0.0:{server.port}")


def test_without_a_key_the_server_says_that_it_is_open_on_loopback(single: Server) -> None:
    (line,) = (line for line in single.text().splitlines() if "listening on" in line)

    assert f"http://127.0.0.1:{single.port} (no API key was made: loopback only" in line
    assert single.get("/emails").status == 200


def test_a_key_that_is_made_or_revoked_counts_while_the_server_runs(
    single: Server, tmp_path: Path
) -> None:
    made_at, key = time.monotonic(), make(tmp_path)
    wait_until(lambda: single.get("/emails").status == 401, "the lock", REFRESH_S + READ_S)
    client = Client(single, key)
    assert client.get("/emails").status == 200
    assert time.monotonic() - made_at < 60

    command(tmp_path, "revoke", id_of(key))

    wait_until(lambda: client.get("/emails").status == 401, "the end", REFRESH_S + READ_S)
    assert single.get("/emails").status == 401  # no way back to the open door


def test_a_quota_that_is_raised_counts_while_the_server_runs(
    single: Server, tmp_path: Path
) -> None:
    client = Client(single, make(tmp_path, "--daily=1"))
    wait_until(lambda: single.get("/emails").status == 401, "the lock", REFRESH_S + READ_S)

    def sent() -> int:
        return client.post("/emails", mail(scheduled_at=later(days=1))).status

    assert (sent(), sent()) == (202, 429)

    for daily in ("2", "any"):
        command(tmp_path, "update", id_of(client.key), f"--daily={daily}")
        wait_until(lambda: sent() == 202, "the higher quota", REFRESH_S + READ_S)
    assert [sent() for _ in range(3)] == [202] * 3


def test_a_client_that_changes_over_to_the_new_key_keeps_its_mails_and_idempotency_keys(
    single: Server, tmp_path: Path
) -> None:
    old = Client(single, make(tmp_path))
    wait_until(lambda: single.get("/emails").status == 401, "the lock", REFRESH_S + READ_S)
    body, once = mail(scheduled_at=later(days=1)), {"Idempotency-Key": "once"}
    sent = accepted(old.post("/emails", body, **once))

    done = command(tmp_path, "rotate", id_of(old.key))
    new = Client(single, done.stdout.strip())

    wait_until(lambda: new.get("/emails").status == 200, "the key", REFRESH_S + READ_S)
    assert old.get("/emails").status == 200
    assert new.post("/emails", body, **once).json()["id"] == sent
    assert new.post(f"/emails/{sent}/cancel").status == 200

    command(tmp_path, "rotate", id_of(old.key), "--overlap=0")

    wait_until(lambda: new.get("/emails").status == 401, "the end", REFRESH_S + READ_S)
    assert old.get("/emails").status == 401


def test_requests_cost_no_read_of_the_keys(single: Server, tmp_path: Path) -> None:
    """With the table gone, the keys that were read last go on to count."""
    key = make(tmp_path)
    wait_until(lambda: single.get("/emails").status == 401, "the lock")
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite3")) as connection:
        connection.execute("DROP TABLE api_keys")
    wait_until(lambda: "the API keys cannot be read" in single.text(), "a failed read")

    assert Client(single, key).get("/emails").status == 200
    assert single.get("/emails").status == 401


def test_a_server_whose_keys_were_never_read_lets_nobody_in(
    broker: BrokerNode, logs: Path, tmp_path: Path
) -> None:
    env = {"VAR_DIR": str(tmp_path), "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"}
    server = Server(logs / "blind.log", env, free_port(), "--address=0.0.0.0")
    try:
        super(Server, server).start()  # it never becomes ready
        answer = server.get("/celery/add")
        ready = server.get("/readyz")
    finally:
        server.kill()

    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    conforms(ready, "get", "/readyz")
    conforms(answer, "get", "/celery/{task}")
    assert (ready.status, ready.json()["problems"]["keys"]) == (503, "see the log")
