"""How Alembic reaches the ledger's database: read by Alembic for each of its commands.

``ledger.migrate.upgrade`` passes an open connection, whose transaction it begins and ends, as the
attribute ``connection`` of Alembic's configuration. Alembic's own command, which is for those
who write a migration, passes none and gets the database of ``DATABASE_URL``:

    make migrate                # first: --autogenerate compares with the tables as they are
    .venv/bin/alembic revision --autogenerate --rev-id NNNN -m "what it does"
    .venv/bin/alembic check     # do the migrations make what ledger/schema.py says?

NNNN is the number after that of the newest file in ``versions``.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from ledger.engine import open_engine, writing
from ledger.migrate import TIMEOUT_S, make_private
from ledger.schema import metadata


def migrate(connection: Connection) -> None:
    """Run what Alembic was asked for, within the connection's transaction."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
        # SQLite can alter little of a table in place: the table is copied instead.
        render_as_batch=connection.dialect.name == "sqlite",
    )
    context.run_migrations()


def migrate_the_configured_database() -> None:
    """Open the database of ``DATABASE_URL``, as the server and the workers do, and migrate it."""
    import config  # only here: whoever passes a connection needs no usable settings

    make_private(config.database_url())
    engine = writing(open_engine(config.database_url(), TIMEOUT_S))
    with engine.begin() as connection:
        migrate(connection)
    engine.dispose()


if context.is_offline_mode():
    raise SystemExit("--sql is not supported: what SQLite needs depends on the tables it has")
if given := context.config.attributes.get("connection"):
    migrate(given)
else:
    migrate_the_configured_database()
