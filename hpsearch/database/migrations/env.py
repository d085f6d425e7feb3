"""Alembic's entry: runs the migrations on the connection that the caller opened."""

from alembic import context

from hpsearch.database.tables import SCHEMA, VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    version_table_schema=SCHEMA,
)
with context.begin_transaction():
    context.run_migrations()
