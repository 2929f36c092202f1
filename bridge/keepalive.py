"""When the kernel gives up a connection to the broker whose other end is gone without a word."""

from __future__ import annotations

#: It asks after 5 s of silence, and every 2 s from then on, three times; tcp(7). The ledger's
#: connections have the same, in libpq's words (``ledger/postgresql.py``).
KEEPALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3}
