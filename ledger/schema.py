"""The ledger's tables, and what their columns mean."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()

#: A mail. Its id is its task's, a UUIDv7, so that ids are in the order of acceptance.
#: Times are Unix seconds.
emails = Table(
    "emails",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("api_key", String(64), nullable=False),  # whose mail; empty: sent without a key
    Column("status", String(20), nullable=False),
    Column("sender", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("tags", Text, nullable=False),  # JSON
    Column("metadata", Text, nullable=False),  # JSON
    Column("on_uncertain", String(10), nullable=False),
    Column("created_at", Float(53), nullable=False),
    Column("updated_at", Float(53), nullable=False),
    Column("scheduled_at", Float(53)),
    Column("expires_at", Float(53), nullable=False),  # no attempt begins after it
    Column("due_at", Float(53), nullable=False),  # when its newest message comes out of the queue
    #: Which of the mail's messages is the valid one: each new message has the next number.
    Column("track", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),  # claims; the newest one's number
    Column("delays", Integer, nullable=False),  # since the relay was reached last
    Column("worker", String(200)),  # who claimed it
    Column("lease_until", Float(53)),  # until then nobody else may claim it
    Column("possible_duplicates", Integer, nullable=False),
    Column("suppressed", Integer, nullable=False),  # deliveries from the queue that sent nothing
    Column("events", Integer, nullable=False),  # the newest event's number
    Column("reason", Text),  # JSON: why it is delayed, failed or uncertain
    Index("emails_status", "status", "id"),
    Index("emails_key", "api_key", "id"),
    Index("emails_created_at", "created_at"),  # for retention
)

#: A recipient of a mail, and the relay's reply.
recipients = Table(
    "recipients",
    metadata,
    Column("email_id", ForeignKey("emails.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("kind", String(3), nullable=False),  # to, cc, bcc
    Column("mailbox", Text, nullable=False),  # as it was given, with its name
    Column("address", String(320), nullable=False),  # bare
    Column("code", Integer),  # None: not answered yet
    Column("enhanced", String(16)),
    Column("text", Text),
    Column("settled", Boolean, nullable=False, default=False),  # the reply is final
    Index("recipients_address", "address", "email_id"),
)

#: A copy of ``emails.tags``, for searching.
tags = Table(
    "tags",
    metadata,
    Column("email_id", ForeignKey("emails.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String(256), primary_key=True),
    Column("value", String(256), nullable=False),
    Index("tags_value", "name", "value", "email_id"),
)

#: A mail's timeline, numbered from 1. Event 1, ``queued`` or ``scheduled``, has no row here: it
#: follows from the mail's own row, so that accepting a mail costs one row less.
events = Table(
    "events",
    metadata,
    Column("email_id", ForeignKey("emails.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("type", String(20), nullable=False),
    Column("at", Float(53), nullable=False),
    Column("data", Text, nullable=False),  # JSON
)

#: All that is needed to send a mail (again): the arguments of its task, as JSON.
payloads = Table(
    "payloads",
    metadata,
    Column("email_id", ForeignKey("emails.id", ondelete="CASCADE"), primary_key=True),
    Column("content", LargeBinary, nullable=False),
)

#: Idempotency keys that were seen.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("api_key", String(64), primary_key=True),
    Column("key", String(256), primary_key=True),
    Column("body_hash", LargeBinary(32), nullable=False),
    Column("email_ids", Text, nullable=False),  # JSON; several for a batch
    Column("created_at", Float(53), nullable=False),
    Column("publisher_until", Float(53), nullable=False),  # until then no other process may publish
    Column("published_at", Float(53)),  # None: no publish was confirmed yet
    Index("idempotency_keys_created_at", "created_at"),
)

#: API keys. A revoked key keeps its row: mails refer to it, and a server without any row would
#: take requests without a key (on loopback).
api_keys = Table(
    "api_keys",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", String(16), nullable=False),  # stands in the key, in emails.api_key and in logs
    Column("name", String(100), nullable=False),  # for people
    Column("hash", LargeBinary(32), nullable=False),  # SHA-256 of the whole key
    Column("scopes", Text, nullable=False),  # JSON
    Column("domains", Text, nullable=False),  # JSON; none: mails from any domain
    Column("rate", String(20)),  # 20/s; None: any
    Column("daily_recipients", Integer),  # None: any number
    Column("created_at", Float(53), nullable=False),
    Column("revoked_at", Float(53)),
    Column("quota_day", Integer, nullable=False),  # days since 1970, UTC
    Column("quota_used", Integer, nullable=False),  # recipients charged on that day
    Column("old_hash", LargeBinary(32)),  # of the key that this one has replaced
    Column("old_until", Float(53)),  # until then the replaced key is valid, too
    Index("api_keys_id", "id", unique=True),
)
