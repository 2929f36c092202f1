"""Every setting of Windmail in one place: defaults, environment, command-line flags, checks.

A setting's environment variable is its name in capitals (``broker_url`` is
``BROKER_URL``), its flag is its name with dashes (``--broker-url``); a flag wins over
the environment. The server, the workers, beat and Flower all read this module, so they
agree. ``python config.py`` prints the effective settings and checks them.
"""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

from tornado.log import define_logging_options
from tornado.options import Error as OptionError
from tornado.options import OptionParser

from bridge.tls import AUTHORITIES, CERTIFICATE, KEY
from config_checks import clear_hosts, dkim_key, is_loopback, names_in, own_certificate
from config_table import SETTINGS

#: RabbitMQ closes the channel of a consumer that holds a message longer than this
#: (``consumer_timeout``, https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout).
CONSUMER_TIMEOUT_S = 1800
DAY_S = 86400

HELP = """\
Windmail's settings. Each flag is also an environment variable: --smtp-url=... is SMTP_URL=...
`python config.py` prints the values in effect, and checks them.
"""


class ConfigError(Exception):
    """Some settings are not usable; ``problems`` names each one and says what is wrong."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        lines = (f"  {name.upper()}: {text}" for name, text in self.problems.items())
        super().__init__("these settings are not usable:\n" + "\n".join(lines))


class _Parser(OptionParser):
    """Tornado's parser; it names the flag that is unknown, or whose value is not a number."""

    def define(self, name: str, *args: Any, **given: Any) -> None:
        """Define an option; in the help, Tornado's own are listed as "general", not by file."""
        super().define(name, *args, **{"group": "general", **given})

    def print_help(self, file: TextIO | None = None) -> None:
        """Print to standard output, so that it can be searched."""
        print(HELP, file=file or sys.stdout)
        super().print_help(file or sys.stdout)

    def parse_command_line(self, args: list[str] | None = None, final: bool = True) -> list[str]:
        by_name = {setting.name: setting for setting in SETTINGS}
        for arg in (sys.argv if args is None else args)[1:]:
            if not arg.startswith("-") or arg == "--":
                break
            flag, equals, text = arg.partition("=")
            name = flag.lstrip("-").replace("-", "_")
            if name not in self:
                raise OptionError(f"{flag}: there is no such flag; see --help")
            try:
                if equals and name in by_name:
                    by_name[name].convert(text)
            except ValueError as exc:
                raise OptionError(f"{flag}: {exc}") from None
        return super().parse_command_line(args, final)


#: The effective settings. Not in tornado's global parser, where Flower defines options of the same
#: names.
options = _Parser()
_env_problems: dict[str, str] = {}


def _define_all() -> None:
    for setting in SETTINGS:
        options.define(
            setting.name, default=setting.default, help=setting.help, group=setting.group
        )
        text = os.environ.get(setting.name.upper())
        if text is not None:
            try:
                setattr(options, setting.name, setting.convert(text))
            except ValueError as exc:
                _env_problems[setting.name] = str(exc)
    define_logging_options(options)


_define_all()


def check() -> None:
    """Check every setting.

    Raises:
        ConfigError: naming each setting that is not usable.
    """
    problems = dict(_env_problems)
    for setting in SETTINGS:
        problem = setting.check(options[setting.name]) if setting.check else None
        if problem:
            problems.setdefault(setting.name, problem)
    for name, problem in _contradictions():
        problems.setdefault(name, problem)
    if problems:
        raise ConfigError(problems)


def _contradictions() -> Iterator[tuple[str, str]]:
    """Yield the settings that contradict others, and what is wrong with each."""
    if options.task_soft_time_limit_s > options.task_time_limit_s:
        yield "task_soft_time_limit_s", "must not be over TASK_TIME_LIMIT_S"
    if options.task_time_limit_s >= CONSUMER_TIMEOUT_S:
        limit = f"must be under RabbitMQ's consumer_timeout, {CONSUMER_TIMEOUT_S} s"
        yield "task_time_limit_s", limit
    if options.ledger_days * DAY_S < options.mail_retry_for_s:
        # A mail that is older than LEDGER_DAYS and has no record counts as one that has ended.
        yield "ledger_days", "must not be shorter than MAIL_RETRY_FOR_S, for which a mail is tried"
    if options.ledger_days * DAY_S < options.idempotency_s:
        # A repeated request could get the id of a mail whose record is removed, which is not sent.
        yield "idempotency_s", "must not be longer than LEDGER_DAYS, for which records are kept"
    if not options.flower_auth and not is_loopback(options.flower_address):
        yield "flower_address", "is not a loopback address, so set FLOWER_AUTH too"
    if problem := own_certificate(options.broker_cert_file, options.broker_key_file):
        yield "broker_cert_file", problem
    if problem := dkim_key(options.dkim, options.dkim_key_file):
        yield "dkim_key_file", problem


def warnings() -> list[str]:
    """Return a text for each setting that is usable, but not safe."""
    return [
        f"BROKER_URL: mails and the password go to {host} unencrypted; use amqps://"
        for host in clear_hosts(options.broker_url)
    ]


def broker_tls() -> dict[str, Any] | None:
    """Return the options of TLS to the broker (:mod:`bridge.tls`); None: TLS is not used."""
    if not options.broker_url.startswith("amqps:"):
        return None
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED, **_broker_files()}


def _broker_files() -> dict[str, str]:
    files = {
        AUTHORITIES: options.broker_ca_file,
        CERTIFICATE: options.broker_cert_file,
        KEY: options.broker_key_file,
    }
    return {name: file for name, file in files.items() if file}


def read_flags(argv: list[str]) -> None:
    """Read the settings' flags of a program that has no other arguments.

    Raises:
        OptionError: naming the first argument that is not a flag. Tornado would not read any flag
            after it, not even the address to listen on.
    """
    rest = options.parse_command_line(argv)
    if rest:
        raise OptionError(f"{rest[0]} is not a flag: write settings as --name=value; see --help")


def management_url() -> str | None:
    """Return the URL of RabbitMQ's management API; None: Flower derives it, always without TLS."""
    if options.flower_broker_api or not options.broker_url.startswith("amqps:"):
        return options.flower_broker_api or None
    parts = urlsplit(options.broker_url.split(";")[0])
    login, at, host = parts.netloc.rpartition("@")
    return f"https://{login}{at}{host.removesuffix(f':{parts.port}')}:15671/api/"


def database_url() -> str:
    """Return the ledger's database, as SQLAlchemy takes it: SQLite below VAR_DIR by default."""
    if options.database_url:
        return str(options.database_url)
    path = Path(options.var_dir).resolve() / "ledger.sqlite3"
    quoted = str(path).replace("%", "%25").replace("?", "%3F")  # special in a URL
    return f"sqlite:///{quoted}"


def task_packages() -> list[str]:
    """Return the packages of ``TASK_PACKAGES``."""
    return names_in(options.task_packages)


def signing_keys() -> list[str]:
    """Return the keys of ``TASK_SIGNING_KEYS``; none: tasks are not signed."""
    return names_in(options.task_signing_keys)


def mail_headers() -> tuple[str, ...]:
    """Return the names of ``MAIL_HEADERS``."""
    return tuple(names_in(options.mail_headers))


def main(argv: list[str]) -> int:
    """Print the effective settings and check them; 0 when they are usable, 1 if not."""
    problems: ConfigError | None = None
    try:
        read_flags(argv)
        check()
    except OptionError as exc:
        print(exc, file=sys.stderr)
        return 1
    except ConfigError as exc:
        problems = exc
    width = max(len(setting.name) for setting in SETTINGS)
    for setting in SETTINGS:
        print(f"{setting.name.upper():{width}}  {setting.masked(options[setting.name])}")
    for warning in warnings():
        print(f"\nwarning: {warning}", file=sys.stderr)
    if problems:
        print(flush=True)  # so that the table comes before the problems in a pipe, too
        print(problems, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
