"""Parses the operator's commands: their own arguments, and settings' flags; and runs them."""

from __future__ import annotations

import argparse
import errno
import io
import os
import sys
from collections.abc import Callable, Sequence

from tornado.options import Error as OptionError

import config


class CommandLine(argparse.ArgumentParser):
    """The parser of a command's own arguments; all others are read as settings' flags."""

    def __init__(self, name: str, description: str) -> None:
        super().__init__(
            prog=name,
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def read(self, argv: Sequence[str]) -> argparse.Namespace:
        """Return the command's own arguments; read and check the settings.

        Raises:
            SystemExit: 2, and why on standard error.
        """
        arguments, flags = self.parse_known_args(argv[1:])
        try:
            rest = config.options.parse_command_line([argv[0], *flags])
            config.check()
        except (OptionError, config.ConfigError) as exc:
            self.exit(2, f"{exc}\n")
        if rest:
            self.error(f"unknown argument: {rest[0]}")
        return arguments


class Commands(CommandLine):
    """The parser of a command that has subcommands (``list``, ...), added to ``commands``."""

    def __init__(self, name: str, description: str, names: Sequence[str]) -> None:
        super().__init__(name, description)
        self.commands = self.add_subparsers(
            dest="command",
            required=True,
            metavar="|".join(names),
            parser_class=argparse.ArgumentParser,
        )


def run(main: Callable[[list[str]], int], argv: list[str]) -> int:
    """Run a command's ``main``, and return its exit code; 1 if its output could not be written.

    If the reader of a pipe has closed it (``| head``), nothing is printed
    (https://docs.python.org/3/library/signal.html#note-on-sigpipe). A character that the terminal's
    encoding does not have is printed as Python writes it, such as ``\\xf6``.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            return main(argv)
        finally:
            sys.stdout.flush()  # at exit, Python itself would print an error
    except OSError as exc:
        if exc.errno not in (errno.EPIPE, errno.ENOSPC):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if exc.errno == errno.ENOSPC:
            print(f"the output cannot be written: {exc.strerror}", file=sys.stderr)
        return 1


def no_arguments(name: str, description: str | None, argv: Sequence[str]) -> None:
    """Refuse all arguments but ``--help``, for a program that takes settings by environment.

    Raises:
        SystemExit: 2, and why on standard error; 0 after the help.
    """
    argparse.ArgumentParser(
        prog=name,
        description=description,
        epilog="Settings come from the environment; `python server.py --help` lists them.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args(argv)
