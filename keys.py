"""``python keys.py create | list | update | rotate | revoke``: the command for API keys."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime
from typing import Any

import delivery
from access import NewKey, new_key
from command_line import run
from keys_parser import KeysParser
from ledger import ApiKey, LedgerError, api_keys

CREATED = """\
The key is shown only this once; just its hash is stored. Send it as a header of each request:
  Authorization: Bearer <key>"""


#: What :func:`update` may change.
PROPERTIES = ("name", "scopes", "domains", "rate", "daily_recipients")


def create(arguments: argparse.Namespace) -> int:
    """Make a key; print it, and nothing else, on standard output. Returns the exit code."""
    made = new_key()
    delivery.ledger().commit(
        lambda connection: api_keys.enter(
            connection,
            key_id=made.id,
            hashed=made.hash,
            now=time.time(),
            **_properties(arguments),
        )
    )
    return _show_once(made)


def _properties(arguments: argparse.Namespace) -> dict[str, Any]:
    return {name: value for name, value in vars(arguments).items() if name in PROPERTIES}


def _show_once(made: NewKey) -> int:
    print(CREATED, file=sys.stderr)
    print(made.text)
    return 0


def show() -> int:
    """Print the keys as a table. Returns the exit code."""
    limits = ("SCOPES", "DOMAINS", "RATE", "DAILY", "TODAY")
    head, now = ("ID", "NAME", *limits, "CREATED", "OLD KEY UNTIL", "REVOKED"), time.time()
    lines = [head, *(row(key, now) for key in delivery.ledger().read(api_keys.known))]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)))
    return 0


def row(key: ApiKey, now: float) -> tuple[str, ...]:
    """Return a key's line of the table."""
    limited = key.daily_recipients is not None
    used = key.quota_used if key.quota_day == api_keys.day_of(now) else 0
    has_old = len(key.hashes_at(now)) > 1
    return (
        key.id,
        key.name,
        ",".join(key.scopes),
        ",".join(key.domains) or "any",
        key.rate or "any",
        str(key.daily_recipients) if limited else "any",
        str(used) if limited else "-",
        _date(key.created_at),
        _date(key.old_until if has_old else None),
        _date(key.revoked_at),
    )


def _date(moment: float | None) -> str:
    if moment is None:
        return "-"
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M")


def update(arguments: argparse.Namespace) -> int:
    """Change what a key may do. Returns the exit code."""
    changed = delivery.ledger().commit(
        lambda connection: api_keys.change(connection, arguments.id, _properties(arguments))
    )
    if not changed:
        return _not_there()
    print(f"updated: {arguments.id}")
    return 0


def rotate(key_id: str, overlap_h: int) -> int:
    """Replace a key; print the new one, and nothing else, on standard output. Returns the exit
    code."""
    made, now = new_key(key_id), time.time()
    old_until = now + overlap_h * 3600 if overlap_h else None
    before = delivery.ledger().commit(
        lambda connection: api_keys.rotate(
            connection, key_id, hashed=made.hash, old_until=old_until
        )
    )
    if before is None:
        return _not_there()
    until = f"valid until {_date(old_until)} UTC" if old_until else "not valid any more"
    print(f"The old key is {until}.", file=sys.stderr)
    if len(before.hashes_at(now)) > 1:
        ended = f"which had until {_date(before.old_until)} UTC, is not valid any more"
        print(f"The one before it, {ended}.", file=sys.stderr)
    return _show_once(made)


def _not_there() -> int:
    print("there is no such key, or it is revoked already", file=sys.stderr)
    return 1


def revoke(key_id: str) -> int:
    """Revoke a key. Returns the exit code."""
    revoked = delivery.ledger().commit(
        lambda connection: api_keys.revoke(connection, key_id, now=time.time())
    )
    if not revoked:
        return _not_there()
    print(f"revoked: {key_id}")
    return 0


def main(argv: list[str]) -> int:
    """Read the arguments and do what they say; returns the exit code."""
    parser = KeysParser()
    arguments = parser.read(argv)
    if arguments.command == "update" and not _properties(arguments):
        parser.error("update: give --name, --scope, --domain, --rate or --daily")
    try:
        delivery.prepare_ledger()
        match arguments.command:
            case "create":
                return create(arguments)
            case "update":
                return update(arguments)
            case "rotate":
                return rotate(arguments.id, arguments.overlap)
            case "revoke":
                return revoke(arguments.id)
            case _:
                return show()
    except LedgerError as exc:
        print(exc, file=sys.stderr)
        return 1
    finally:
        delivery.ledger().close()


if __name__ == "__main__":
    sys.exit(run(main, sys.argv))
