"""Several processes use one ledger at once, and processes that fork."""

from __future__ import annotations

import subprocess
import sys

from ledger import Ledger
from tests.ledgers import ids
from tests.system import ROOT

MANY = """
import sys
from ledger import Ledger, enter
from tests.ledgers import new_email

url, name = sys.argv[1:]
ledger = Ledger(url)
for number in range(100):
    new = new_email(id=f"{name}-{number}")
    ledger.write(lambda connection: enter(connection, [new])).result()
ledger.close()
"""

FORK = """
import os, sys
from ledger import Ledger
from tests.ledgers import ids, new_email

ledger = Ledger(sys.argv[1])
ledger.accept(new_email(id="parent before")).result()
children = []
for number in range(3):
    pid = os.fork()
    if not pid:
        assert "parent before" in ledger.read(ids)
        ledger.accept(new_email(id=f"child {number}")).result()
        ledger.close()
        sys.exit(0)
    children.append(pid)
ended = [os.waitpid(pid, 0)[1] for pid in children]
ledger.accept(new_email(id="parent after")).result()
ledger.close()
sys.exit(any(ended))
"""


UNCLOSED = "import sys; from ledger import Ledger; Ledger(sys.argv[1]).write(bool).result()"


def test_a_program_that_does_not_close_its_ledger_ends_all_the_same(database_url: str) -> None:
    program = [sys.executable, "-c", UNCLOSED, database_url]

    assert subprocess.run(program, cwd=ROOT, timeout=30).returncode == 0


def test_eight_processes_write_at_once_and_nothing_is_lost(database_url: str) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", MANY, database_url, f"p{name}"], cwd=ROOT)
        for name in range(8)
    ]

    assert [process.wait(60) for process in processes] == [0] * 8
    ledger = Ledger(database_url)
    assert ledger.read(ids) == {f"p{name}-{number}" for name in range(8) for number in range(100)}
    ledger.close()


def test_a_forked_process_opens_the_ledger_anew(database_url: str) -> None:
    forked = subprocess.run(
        [sys.executable, "-c", FORK, database_url], cwd=ROOT, timeout=60, capture_output=True
    )

    assert forked.returncode == 0, forked.stderr.decode()
    ledger = Ledger(database_url)
    children = {f"child {number}" for number in range(3)}
    assert ledger.read(ids) == {"parent before", "parent after", *children}
    ledger.close()
