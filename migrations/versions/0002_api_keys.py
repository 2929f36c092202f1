"""API keys, with their daily quotas."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table of keys."""
    op.create_table(
        "api_keys",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.String(16), nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("domains", sa.Text, nullable=False),
        sa.Column("rate", sa.String(20)),
        sa.Column("daily_recipients", sa.Integer),
        sa.Column("created_at", sa.Float(53), nullable=False),
        sa.Column("revoked_at", sa.Float(53)),
        sa.Column("quota_day", sa.Integer, nullable=False),
        sa.Column("quota_used", sa.Integer, nullable=False),
    )
    op.create_index("api_keys_id", "api_keys", ["id"], unique=True)


def downgrade() -> None:
    """Drop the keys: a server that runs without them is open on loopback."""
    op.drop_table("api_keys")
