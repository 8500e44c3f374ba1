"""Alembic's entry: runs the migrations on the connection that Store.migrate hands over."""

from alembic import context

from core.store import Base

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
