"""``python keys.py create | list | rotate | revoke``: the command for API keys."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime

import delivery
from access import NewKey, Scope, new_key
from command_line import Commands, run
from ledger import ApiKey, LedgerError, api_keys
from mailing import InvalidMessage
from mailing.address import parse_mailbox
from mailing.rate import Rate

NAME_LENGTH = 100
LARGEST_QUOTA = 2**31 - 1
#: For so long a key that was replaced stays valid, if nothing else is said; and at most.
OVERLAP_H, LONGEST_H = 24, 365 * 24
DESCRIPTION = """\
Make, list, rotate and revoke API keys, which the ledger (DATABASE_URL) keeps. Running servers
follow a change within seconds. Settings come from the environment, or from flags (--var-dir=...).
"""
CREATED = """\
The key is shown only this once; just its hash is stored. Send it as a header of each request:
  Authorization: Bearer <key>"""


def parser() -> Commands:
    """Return the parser of this command's own arguments; the rest are settings' flags."""
    top = Commands("keys.py", DESCRIPTION, ("create", "list", "rotate", "revoke"))
    create = top.commands.add_parser(
        "create", help="make a key and show it once", allow_abbrev=False
    )
    create.add_argument(
        "--name", required=True, type=_name, help="whose key it is, to be shown in the list"
    )
    create.add_argument(
        "--scope",
        required=True,
        type=_scopes,
        help="send, read, or both (send,read); admin: everything, for everybody's mails and tasks",
    )
    create.add_argument(
        "--domain",
        action="append",
        default=[],
        type=_domain,
        help="domain that From must have, exactly; repeat it for several (default: any)",
    )
    create.add_argument(
        "--rate", type=_rate, help="most requests: 20/s, 100/m, 5000/h (default: no limit)"
    )
    create.add_argument(
        "--daily", type=_quota, metavar="N", help="most recipients per UTC day (default: no limit)"
    )
    top.commands.add_parser("list", help="show the keys, without their secrets", allow_abbrev=False)
    rotate = top.commands.add_parser(
        "rotate", help="replace a key, and show the new one once", allow_abbrev=False
    )
    rotate.add_argument(
        "--overlap",
        type=_overlap,
        default=OVERLAP_H,
        metavar="HOURS",
        help=f"the old key stays valid for so long; 0 if it has leaked (default: {OVERLAP_H})",
    )
    revoke = top.commands.add_parser("revoke", help="revoke a key for good", allow_abbrev=False)
    for command in (rotate, revoke):
        command.add_argument(
            "id", metavar="ID", help="as `list` shows it; it is the middle part of the key"
        )
    return top


def _name(text: str) -> str:
    if not (0 < len(text) <= NAME_LENGTH and text.isprintable()):
        raise argparse.ArgumentTypeError(f"must be 1 to {NAME_LENGTH} printable characters")
    return text


def _scopes(text: str) -> tuple[str, ...]:
    given = {part.strip() for part in text.split(",")}
    if not given <= set(Scope):
        raise argparse.ArgumentTypeError(f"{text!r} is not made of {', '.join(Scope)}")
    return tuple(sorted(given))


def _domain(text: str) -> str:
    try:
        return parse_mailbox("domain", f"x@{text}").domain
    except InvalidMessage:
        raise argparse.ArgumentTypeError(f"{text!r} is not a domain") from None


def _rate(text: str) -> str:
    try:
        return Rate.parse(text).text
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None


def _quota(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 0 < int(text) <= LARGEST_QUOTA):
        raise argparse.ArgumentTypeError(f"must be a number from 1 to {LARGEST_QUOTA}")
    return int(text)


def _overlap(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= LONGEST_H):
        raise argparse.ArgumentTypeError(f"must be a number of hours from 0 to {LONGEST_H}")
    return int(text)


def create(arguments: argparse.Namespace) -> int:
    """Make a key; print it, and nothing else, on standard output. Returns the exit code."""
    made = new_key()
    delivery.ledger().commit(
        lambda connection: api_keys.enter(
            connection,
            key_id=made.id,
            name=arguments.name,
            hashed=made.hash,
            scopes=arguments.scope,
            domains=tuple(sorted(set(arguments.domain))),
            rate=arguments.rate,
            daily_recipients=arguments.daily,
            now=time.time(),
        )
    )
    return _show_once(made)


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


def rotate(key_id: str, overlap_h: int) -> int:
    """Replace a key; print the new one, and nothing else, on standard output. Returns the exit
    code."""
    made, old_until = new_key(key_id), time.time() + overlap_h * 3600
    rotated = delivery.ledger().commit(
        lambda connection: api_keys.rotate(
            connection, key_id, hashed=made.hash, old_until=old_until
        )
    )
    if not rotated:
        return _not_there()
    until = f"valid until {_date(old_until)} UTC" if overlap_h else "not valid any more"
    print(f"The old key is {until}.", file=sys.stderr)
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
    arguments = parser().read(argv)
    try:
        delivery.prepare_ledger()
        match arguments.command:
            case "create":
                return create(arguments)
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
