"""The parts that the settings describe, each made once per process, when first needed."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import config
import mailing
from ledger import Ledger, LedgerUnavailable, migrate
from mailing import CircuitBreaker, RateLimits
from mailing.limits import Limits
from mailing.rate_limits import parse_limits
from mailing.signing import Signer
from mailing.templates.rendering import Templates

options = config.options


class KeyUnusable(Exception):
    """The DKIM key, which could be used when the program started, cannot be read now."""


@cache
def ledger() -> Ledger:
    """Return the ledger of ``DATABASE_URL``."""
    return Ledger(config.database_url(), timeout_s=options.ledger_timeout_s)


@cache
def relay() -> mailing.Relay:
    """Return the relay of ``SMTP_URL``."""
    return replace(
        mailing.Relay.from_url(options.smtp_url),
        timeout_s=options.smtp_timeout_s,
        data_timeout_s=options.smtp_data_timeout_s,
        idle_s=options.smtp_idle_s,
    )


@cache
def breaker() -> CircuitBreaker:
    """Return the relay's circuit breaker; first called before the pool forks, to be shared."""
    return CircuitBreaker(failures=options.breaker_failures, open_s=options.breaker_open_s)


@cache
def rates() -> RateLimits:
    """Return the limits of ``RATE_LIMITS``; first called before the pool forks, to be shared."""
    return RateLimits(parse_limits(options.rate_limits))


@cache
def templates() -> Templates:
    """Return the templates of ``MAIL_TEMPLATES``."""
    return Templates(
        Path(options.mail_templates),
        timeout_s=options.template_timeout_s,
        output_bytes=options.template_output_bytes,
    )


@cache
def signer() -> Signer | None:
    """Return what signs mails, None without ``DKIM``.

    Raises:
        KeyUnusable: the key file has changed since ``config.check``; the next call reads it again.
    """
    if not options.dkim:
        return None
    domain, _, selector = options.dkim.partition(":")
    key_file = Path(options.dkim_key_file)
    try:
        return Signer.from_file(domain=domain, selector=selector, key_file=key_file)
    except ValueError as exc:
        raise KeyUnusable(str(exc)) from None


@cache
def limits() -> Limits:
    """Return the limits of a mail."""
    return Limits(
        recipients_per_field=options.mail_max_recipients,
        subject_length=options.mail_max_subject,
        headers=options.mail_max_headers,
        header_names=config.mail_headers(),
        attachments=options.mail_max_attachments,
        attachment_bytes=options.mail_max_attachment_bytes,
        total_bytes=options.mail_max_bytes,
    )


def prepare_ledger() -> None:
    """Bring a SQLite ledger's tables up to date; ``make migrate`` does PostgreSQL's.

    Raises:
        LedgerUnavailable, OtherVersion
    """
    url = config.database_url()
    if url.startswith("sqlite:"):
        try:
            Path(options.var_dir).mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as exc:
            raise LedgerUnavailable(f"{exc.filename} cannot be made: {exc.strerror}.") from exc
        migrate.upgrade(url)


def share() -> None:
    """Make the breaker and the rates, which all processes of a worker share, before the fork."""
    breaker()
    rates()
