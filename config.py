"""Every setting of Windmail in one place: defaults, environment, command-line flags, checks.

A setting's environment variable is its name in capitals (``broker_url`` is
``BROKER_URL``), its flag is its name with dashes (``--broker-url``); a flag wins over
the environment. The server, the workers, beat and Flower all read this module, so they
agree. ``python config.py`` prints the effective settings and checks them.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from kombu.compression import encoders as compression_types
from tornado.log import define_logging_options
from tornado.options import Error as OptionError
from tornado.options import OptionParser

from config_checks import (
    Check,
    between,
    broker_urls,
    names_in,
    not_empty,
    one_of,
    packages,
    relay_url,
    sender,
    split_url,
    user_and_password,
)

Value = str | int | float

#: RabbitMQ closes the channel of a consumer that holds a message longer than this
#: (``consumer_timeout``, https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout).
CONSUMER_TIMEOUT_S = 1800


class ConfigError(Exception):
    """Some settings are not usable; ``problems`` names each one and says what is wrong."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        lines = (f"  {name.upper()}: {text}" for name, text in self.problems.items())
        super().__init__("these settings are not usable:\n" + "\n".join(lines))


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. ``help`` states the unit; ``secret`` masks it wherever it is shown."""

    group: str
    name: str
    default: Value
    help: str
    check: Check | None = None
    secret: bool = False

    def convert(self, text: str) -> Value:
        """Turn a variable's or a flag's text into this setting's type.

        Raises:
            ValueError: the text is not a number where one is asked for, and says so.
        """
        try:
            return type(self.default)(text)
        except ValueError:  # a text converts always, so this tells no secret
            kind = "a whole number" if isinstance(self.default, int) else "a number"
            raise ValueError(f"{text!r} is not {kind}") from None


_SECONDS = between(0.1, 3600)
_DAY = between(1, 86400)
_DAYS = between(1, 30 * 86400)
# kombu's short names, with their content types; it offers those whose library is there.
_TYPES = {
    "brotli": "x-brotli",
    "bzip2": "x-bz2",
    "gzip": "x-gzip",
    "lzma": "x-lzma",
    "zstd": "zstd",
}
_OFFERED = compression_types()
_COMPRESSIONS = tuple(name for name, kind in _TYPES.items() if f"application/{kind}" in _OFFERED)

_TABLE: dict[str, tuple[tuple[str, Value, str, Check | None], ...]] = {
    "web": (
        ("address", "127.0.0.1", "address to listen on; empty: all", None),
        ("port", 8888, "port to listen on", between(0, 65535)),
        ("processes", 1, "server processes; 0: one per core", between(0, 64)),
        ("max_body_size", 10 * 2**20, "largest request body, bytes", between(1024, 2**30)),
        ("idle_timeout_s", 30.0, "wait for a request's header, seconds", _SECONDS),
        ("body_timeout_s", 30.0, "time to send a request's body, seconds", _SECONDS),
        ("max_wait_s", 60.0, "longest `Prefer: wait` honoured, seconds", _SECONDS),
        ("sse_heartbeat_s", 15.0, "silent event streams: comment every, s", _SECONDS),
        ("drain_s", 10.0, "time to finish requests at shutdown, seconds", _SECONDS),
    ),
    "broker": (
        (
            "broker_url",
            "amqp://guest:guest@127.0.0.1:5672//",
            "RabbitMQ, amqp:// or amqps://; several separated by ';'",
            broker_urls,
        ),
        ("publish_timeout_s", 4.0, "wait for the broker's confirm, s", _SECONDS),
        ("result_stream", "windmail.results", "the results' stream", not_empty),
        ("result_retention_s", 86400, "a new stream keeps results, seconds", _DAYS),
        ("result_replay_s", 3600, "past results read at start, s", between(0, 86400)),
        ("result_cache_bytes", 2**26, "results in memory, bytes", between(2**16, 2**36)),
    ),
    "tasks": (
        ("task_packages", "", "packages with a `tasks` module, comma-separated", packages),
        ("task_serializer", "json", "json or msgpack", one_of("json", "msgpack")),
        (
            "task_compression",
            "",
            f"of task messages: {', '.join(_COMPRESSIONS)}; empty: none",
            one_of("", *_COMPRESSIONS),
        ),
        ("task_time_limit_s", 1500, "a task is killed after, seconds", _DAY),
        ("task_soft_time_limit_s", 1440, "SoftTimeLimitExceeded after, seconds", _DAY),
        ("worker_concurrency", 8, "tasks at a time per worker", between(1, 1024)),
        ("worker_shutdown_s", 30.0, "a stopping worker waits for tasks, s", _SECONDS),
        ("beat_task", "task.heartbeat", "the periodic task", not_empty),
        ("beat_interval_s", 30.0, "sent every, seconds", _DAYS),
    ),
    "mail": (
        (
            "smtp_url",
            "smtp://127.0.0.1:1025",
            "relay: smtp://user:password@host:587?tls=required, smtps://host:465",
            relay_url,
        ),
        ("mail_from", "windmail@localhost", "sender of mails without one", sender),
        ("smtp_timeout_s", 30.0, "for each SMTP command, seconds", _SECONDS),
        ("smtp_data_timeout_s", 600.0, "reply to the final dot, seconds", _SECONDS),
        ("smtp_idle_s", 30.0, "unused sessions close after, seconds", _SECONDS),
        ("mail_retry_first_s", 5.0, "first retry after about, seconds", _SECONDS),
        ("mail_retry_longest_s", 14400.0, "delays grow up to, seconds", _DAYS),
        ("mail_retry_for_s", 172800.0, "a mail is given up after, seconds", _DAYS),
    ),
    "flower": (
        ("flower_address", "127.0.0.1", "address of Flower", not_empty),
        ("flower_port", 5555, "port of Flower", between(1, 65535)),
        (
            "flower_auth",
            "",
            "user:password for Flower; empty: no login, and its API is off",
            user_and_password,
        ),
    ),
    "files": (("var_dir", "var", "folder for state (schedule, revoked, history)", not_empty),),
}
_SECRET = frozenset({"broker_url", "smtp_url", "flower_auth"})
SETTINGS: tuple[Setting, ...] = tuple(
    Setting(group, name, default, text, check, secret=name in _SECRET)
    for group, rows in _TABLE.items()
    for name, default, text, check in rows
)


class _Parser(OptionParser):
    """Tornado's parser; it names the flag whose value is no number."""

    def parse_command_line(self, args: list[str] | None = None, final: bool = True) -> list[str]:
        by_name = {setting.name: setting for setting in SETTINGS}
        for arg in (sys.argv if args is None else args)[1:]:
            flag, equals, text = arg.partition("=")
            setting = by_name.get(flag.lstrip("-").replace("-", "_"))
            try:
                if setting and equals:
                    setting.convert(text)
            except ValueError as exc:
                raise OptionError(f"{flag}: {exc}") from None
        return super().parse_command_line(args, final)


#: The effective settings. Its own parser, since Flower defines options of the same names
#: on tornado's global one.
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
    if options.task_soft_time_limit_s > options.task_time_limit_s:
        problems.setdefault("task_soft_time_limit_s", "must not be over TASK_TIME_LIMIT_S")
    if options.task_time_limit_s >= CONSUMER_TIMEOUT_S:
        problems.setdefault(
            "task_time_limit_s",
            f"must be under RabbitMQ's consumer_timeout, {CONSUMER_TIMEOUT_S} s",
        )
    if problems:
        raise ConfigError(problems)


def task_packages() -> list[str]:
    """Return the packages of ``TASK_PACKAGES``."""
    return names_in(options.task_packages)


def masked(setting: Setting) -> str:
    """Return a setting's value as text with any password replaced by ``***``."""
    value = str(options[setting.name])
    if not setting.secret or not value:
        return value
    parts = re.split(r";(?=amqps?://)", value)
    return ";".join(_mask(part) for part in parts)


def _mask(text: str) -> str:
    """Mask from the first colon behind the user's name to the last @, whatever is between."""
    if "://" not in text or split_url(text) is None:
        return text.partition(":")[0] + ":***"
    return re.sub(r"^([a-z]+://[^:@/?#]*):.*@", r"\1:***@", text, flags=re.DOTALL)


def main(argv: list[str]) -> int:
    """Print the effective settings and check them; 0 when they are usable, 1 if not."""
    try:
        options.parse_command_line(argv)
        check()
    except OptionError as exc:
        print(exc, file=sys.stderr)
        return 1
    except ConfigError as exc:
        problems: ConfigError | None = exc
    else:
        problems = None
    width = max(len(setting.name) for setting in SETTINGS)
    for setting in SETTINGS:
        print(f"{setting.name.upper():{width}}  {masked(setting)}")
    if problems:
        print(flush=True)  # the table stands before what is wrong with it, in a pipe, too
        print(problems, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
