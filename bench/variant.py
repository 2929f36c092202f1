"""Windmail's server with things changed, to see what each costs.

``python -m bench.variant uvloop no-events no-ledger -- --port=8888``: another event loop, no
``task-sent`` events, no record of mails. What stands behind ``--`` is for ``server.py``.
"""

from __future__ import annotations

import sys
from concurrent.futures import Future
from typing import Any

import server
from ledger import Ledger
from task import app


def _accept_nothing(self: Ledger, *new: Any) -> Future[None]:
    done: Future[None] = Future()
    done.set_result(None)
    return done


def use_uvloop() -> None:
    """Let ``asyncio.run`` make uvloop's loops."""
    import uvloop  # only the measurements have it

    uvloop.install()


def use_no_events() -> None:
    """Publish no ``task-sent`` events, as ``task_send_sent_event = False`` does."""
    app.conf.task_send_sent_event = False


def use_no_ledger() -> None:
    """Accept mails without a record."""
    Ledger.accept = _accept_nothing  # type: ignore[method-assign]  # that is the experiment


CHANGES = {"uvloop": use_uvloop, "no-events": use_no_events, "no-ledger": use_no_ledger}


def main(argv: list[str]) -> int:
    """Make the changes, then serve."""
    split = argv.index("--")
    for name in argv[1:split]:
        CHANGES[name]()
    return server.main([argv[0], *argv[split + 1 :]])


if __name__ == "__main__":
    sys.exit(main(sys.argv))
