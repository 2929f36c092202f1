"""The development mailbox: a real SMTP server that keeps every mail in a Maildir.

`python -m dev.mailbox` listens where SMTP_URL points and fills `var/mailbox`. It is for
development: no login, no TLS, no relaying. The log names no address and no subject.
"""

from __future__ import annotations

import logging
import mailbox as maildir
import signal
import sys
import threading
from email.message import Message
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Mailbox
from tornado.log import enable_pretty_logging

import config
from command_line import no_arguments
from dev import relay

log = logging.getLogger("mailbox")


def folder() -> Path:
    """Return the Maildir of this installation."""
    return Path(config.options.var_dir) / "mailbox"


class LoggingMailbox(Mailbox):
    """aiosmtpd's Maildir handler, with one line for each mail."""

    def handle_message(self, message: Message) -> None:
        self.mailbox.add(message)
        size_bytes = len(message.as_bytes())
        log.info("mail of %d bytes, Message-ID %s", size_bytes, message["Message-ID"])


def main() -> int:
    """Serve until SIGTERM or Ctrl-C, and return 0; or 1, and say why that is not possible."""
    try:
        config.check()
    except config.ConfigError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    enable_pretty_logging(config.options)
    logging.getLogger("mail.log").setLevel(logging.WARNING)  # aiosmtpd's: it names addresses
    stopping = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stopping.set())
    host, port = relay.address(config.options.smtp_url)
    folder().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    maildir.Maildir(folder())
    controller = Controller(
        LoggingMailbox(folder()), hostname=host, port=port, enable_SMTPUTF8=True
    )
    try:
        controller.start()
    except OSError as exc:
        log.error("cannot listen on %s:%d: %s", host, port, exc)
        return 1
    log.info("listening on %s:%d, mails go to %s", host, port, folder())
    stopping.wait()
    controller.stop()
    return 0


if __name__ == "__main__":
    no_arguments("python -m dev.mailbox", __doc__, sys.argv[1:])
    sys.exit(main())
