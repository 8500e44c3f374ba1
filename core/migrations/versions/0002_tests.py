"""Runs of the apps' tests, and the stages that require them; numbers of builds that never come twice."""

import sqlalchemy as sa
from alembic import op

from core.store import UtcTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    # A number that was borrowed and given back must not come again: SQLite's AUTOINCREMENT.
    with op.batch_alter_table("builds", recreate="always", table_kwargs={"sqlite_autoincrement": True}):
        pass
    op.create_table(
        "tests",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("app", sa.String(), nullable=False),
        sa.Column("commit", sa.String(), nullable=False),
        sa.Column("slug", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", sa.String(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("created", UtcTime(), nullable=False),
        sa.Column("finished", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["app"], ["apps.name"], onupdate="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_tests_app", "tests", ["app"], unique=False)
    op.create_index("ix_tests_slug", "tests", ["slug"], unique=False)
    op.create_table(
        "gates",
        sa.Column("app", sa.String(), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["app"], ["apps.name"], onupdate="CASCADE"),
        sa.PrimaryKeyConstraint("app", "stage"),
    )
