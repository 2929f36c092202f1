"""The arguments of ``python keys.py``."""

from __future__ import annotations

import argparse
from typing import Any

from access import Scope
from command_line import Commands
from mailing import InvalidMessage
from mailing.address import parse_mailbox
from mailing.rate import Rate

NAME_LENGTH = 100
LARGEST_QUOTA = 2**31 - 1
#: For so long a key that was replaced stays valid, if nothing else is said; and at most.
OVERLAP_H, LONGEST_H = 24, 365 * 24
#: In place of a limit: there is none.
ANY = "any"
COMMANDS = ("create", "list", "update", "rotate", "revoke")
DESCRIPTION = """\
Make, list and change API keys, which the ledger (DATABASE_URL) keeps. Running servers follow a
change within seconds. Settings come from the environment, or from flags (--var-dir=...)."""


class KeysParser(Commands):
    """The parser. Of ``create`` and ``update``, the members are those arguments of
    :func:`ledger.api_keys.enter` that are given."""

    def __init__(self) -> None:
        super().__init__("keys.py", DESCRIPTION, COMMANDS)
        _add_properties(self._command("create", "make a key and show it once"), required=True)
        self._command("list", "show the keys, without their secrets")
        update = self._command("update", "change what a key may do, and keep the key")
        _add_id(update)
        _add_properties(update, required=False)
        rotate = self._command("rotate", "replace a key, and show the new one once")
        _add_id(rotate)
        rotate.add_argument(
            "--overlap",
            type=_overlap,
            default=OVERLAP_H,
            metavar="HOURS",
            help=f"the old key stays valid for so long; 0 if it has leaked (default: {OVERLAP_H})",
        )
        _add_id(self._command("revoke", "revoke a key for good"))

    def _command(self, name: str, text: str) -> argparse.ArgumentParser:
        return self.commands.add_parser(
            name, help=text, allow_abbrev=False, argument_default=argparse.SUPPRESS
        )


def _add_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "id", metavar="ID", help="as `list` shows it; it is the middle part of the key"
    )


def _add_properties(parser: argparse.ArgumentParser, *, required: bool) -> None:
    parser.add_argument(
        "--name", required=required, type=_name, help="whose key it is, to be shown in the list"
    )
    parser.add_argument(
        "--scope",
        required=required,
        type=_scopes,
        dest="scopes",
        metavar="SCOPE",
        help="send, read, or both (send,read); admin: everything, for everybody's mails and tasks",
    )
    parser.add_argument(
        "--domain",
        action=_Domains,
        type=_domain,
        dest="domains",
        metavar="DOMAIN",
        help="domain that From must have, exactly; repeat it for several; or any",
    )
    parser.add_argument("--rate", type=_rate, help="most requests: 20/s, 100/m, 5000/h; or any")
    parser.add_argument(
        "--daily",
        type=_quota,
        metavar="N",
        dest="daily_recipients",
        help="most recipients per UTC day; or any",
    )


class _Domains(argparse.Action):
    """Gathers domains; those that are named go before ``any``."""

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, domain: Any, option: Any = None
    ) -> None:
        before = getattr(namespace, self.dest, ())
        setattr(namespace, self.dest, tuple(sorted({*before, domain} - {None})))


def _name(text: str) -> str:
    if not (0 < len(text) <= NAME_LENGTH and text.isprintable()):
        raise argparse.ArgumentTypeError(f"must be 1 to {NAME_LENGTH} printable characters")
    return text


def _scopes(text: str) -> tuple[str, ...]:
    given = {part.strip() for part in text.split(",")}
    if not given <= set(Scope):
        raise argparse.ArgumentTypeError(f"{text!r} is not made of {', '.join(Scope)}")
    return tuple(sorted(given))


def _domain(text: str) -> str | None:
    if text == ANY:
        return None
    try:
        return parse_mailbox("domain", f"x@{text}").domain
    except InvalidMessage:
        raise argparse.ArgumentTypeError(f"{text!r} is not a domain") from None


def _rate(text: str) -> str | None:
    if text == ANY:
        return None
    try:
        return Rate.parse(text).text
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None


def _quota(text: str) -> int | None:
    return None if text == ANY else _number(text, 1, LARGEST_QUOTA)


def _overlap(text: str) -> int:
    return _number(text, 0, LONGEST_H)


def _number(text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
        raise argparse.ArgumentTypeError(f"must be a number from {least} to {most}")
    return int(text)
