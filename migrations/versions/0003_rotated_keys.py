"""API keys that have replaced another one, which is valid for some time more."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the replaced key's columns."""
    op.add_column("api_keys", sa.Column("old_hash", sa.LargeBinary(32)))
    op.add_column("api_keys", sa.Column("old_until", sa.Float(53)))


def downgrade() -> None:
    """Drop them: only the newest keys stay valid."""
    op.drop_column("api_keys", "old_until")
    op.drop_column("api_keys", "old_hash")
