"""The ledger's first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create all tables."""
    op.create_table(
        "emails",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("api_key", sa.String(64), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("sender", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.Column("on_uncertain", sa.String(10), nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("updated_at", sa.Float(53), nullable=False),
        sa.Column("scheduled_at", sa.Float(53)),
        sa.Column("expires_at", sa.Float(53), nullable=False),
        sa.Column("due_at", sa.Float(53), nullable=False),
        sa.Column("track", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("delays", sa.Integer, nullable=False),
        sa.Column("worker", sa.String(200)),
        sa.Column("lease_until", sa.Float(53)),
        sa.Column("possible_duplicates", sa.Integer, nullable=False),
        sa.Column("suppressed", sa.Integer, nullable=False),
        sa.Column("events", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text),
    )
    op.create_index("emails_status", "emails", ["status", "id"])
    op.create_index("emails_key", "emails", ["api_key", "id"])
    op.create_index("emails_created_at", "emails", ["created_at"])
    op.create_table(
        "recipients",
        _email_id(),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String(3), nullable=False),
        sa.Column("mailbox", sa.Text, nullable=False),
        sa.Column("address", sa.String(320), nullable=False),
        sa.Column("code", sa.Integer),
        sa.Column("enhanced", sa.String(16)),
        sa.Column("text", sa.Text),
        sa.Column("settled", sa.Boolean, nullable=False),
    )
    op.create_index("recipients_address", "recipients", ["address", "email_id"])
    op.create_table(
        "tags",
        _email_id(),
        sa.Column("name", sa.String(256), primary_key=True),
        sa.Column("value", sa.String(256), nullable=False),
    )
    op.create_index("tags_value", "tags", ["name", "value", "email_id"])
    op.create_table(
        "events",
        _email_id(),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("type", sa.String(20), nullable=False),
        sa.Column("at", sa.Float(53), nullable=False),
        sa.Column("data", sa.Text, nullable=False),
    )
    op.create_table("payloads", _email_id(), sa.Column("content", sa.LargeBinary, nullable=False))
    op.create_table(
        "idempotency_keys",
        sa.Column("api_key", sa.String(64), primary_key=True),
        sa.Column("key", sa.String(256), primary_key=True),
        sa.Column("body_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("email_ids", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("publisher_until", sa.Float(53), nullable=False),
        sa.Column("published_at", sa.Float(53)),
    )
    op.create_index("idempotency_keys_created_at", "idempotency_keys", ["created_at"])


def downgrade() -> None:
    """Drop all tables."""
    for table in ("idempotency_keys", "payloads", "events", "tags", "recipients", "emails"):
        op.drop_table(table)


def _email_id() -> sa.Column[str]:
    parent = sa.ForeignKey("emails.id", ondelete="CASCADE")
    return sa.Column("email_id", sa.String(64), parent, primary_key=True)
