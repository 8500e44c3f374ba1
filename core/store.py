"""The state store: one database through SQLAlchemy; SQLite in WAL mode when embedded.

Who writes opens :meth:`Store.write`, does nothing slow inside it, and commits on leaving. Releases and events are
append-only: a trigger of the first migration refuses to delete or to rewrite them.
"""

from __future__ import annotations

import datetime
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm

SCHEMA_HEAD = "0003"
MIGRATIONS = Path(__file__).parent / "migrations"


class UtcTime(sa.types.TypeDecorator[datetime.datetime]):
    """A time with its zone: kept in UTC, given back with UTC, also by SQLite, which has no zones."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(
        self,
        value: datetime.datetime | None,
        dialect: Any,  # noqa: ARG002 - SQLAlchemy's signature
    ) -> datetime.datetime | None:
        return value.astimezone(datetime.UTC).replace(tzinfo=None) if value else None

    def process_result_value(
        self,
        value: datetime.datetime | None,
        dialect: Any,  # noqa: ARG002 - SQLAlchemy's signature
    ) -> datetime.datetime | None:
        return value.replace(tzinfo=datetime.UTC) if value else None


class Base(orm.DeclarativeBase):
    type_annotation_map = {datetime.datetime: UtcTime, dict[str, Any]: sa.JSON}  # noqa: RUF012 - SQLAlchemy's protocol


class UserRow(Base):
    __tablename__ = "users"
    name: orm.Mapped[str] = orm.mapped_column(primary_key=True)
    admin: orm.Mapped[bool]
    created: orm.Mapped[datetime.datetime]


class TokenRow(Base):
    """A token is kept as the sha256 of its text; the text is shown once."""

    __tablename__ = "tokens"
    hash: orm.Mapped[str] = orm.mapped_column(primary_key=True)
    user: orm.Mapped[str] = orm.mapped_column(sa.ForeignKey("users.name", ondelete="CASCADE"))
    created: orm.Mapped[datetime.datetime]


class IndexTokenRow(Base):
    """A token for some actions on one project of the index, and for nothing else; kept as TokenRow is."""

    __tablename__ = "index_tokens"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012 - SQLAlchemy's protocol
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    hash: orm.Mapped[str] = orm.mapped_column(unique=True)
    user: orm.Mapped[str] = orm.mapped_column(sa.ForeignKey("users.name", ondelete="CASCADE"))
    project: orm.Mapped[str]
    #: Their names, separated by spaces.
    actions: orm.Mapped[str]
    created: orm.Mapped[datetime.datetime]


class AppRow(Base):
    __tablename__ = "apps"
    name: orm.Mapped[str] = orm.mapped_column(primary_key=True)
    owner: orm.Mapped[str] = orm.mapped_column(sa.ForeignKey("users.name"))
    #: The number that the next release gets. It survives destroying, so that a name's releases never repeat.
    next_release: orm.Mapped[int]
    destroyed: orm.Mapped[bool] = orm.mapped_column(default=False)
    created: orm.Mapped[datetime.datetime]


class ConfigRow(Base):
    """The wanted config of an app's stage; a release keeps its own snapshot in its release file."""

    __tablename__ = "config"
    app: orm.Mapped[str] = orm.mapped_column(sa.ForeignKey("apps.name", onupdate="CASCADE"), primary_key=True)
    stage: orm.Mapped[str] = orm.mapped_column(primary_key=True)
    key: orm.Mapped[str] = orm.mapped_column(primary_key=True)
    value: orm.Mapped[str]


class BuildRow(Base):
    """Folders, accounts and logs are called by the number of a build: none comes twice, whatever rows are deleted."""

    __tablename__ = "builds"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012 - SQLAlchemy's protocol
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    app: orm.Mapped[str] = orm.mapped_column(sa.ForeignKey("apps.name", onupdate="CASCADE"), index=True)
    commit: orm.Mapped[str]
    who: orm.Mapped[str]
    state: orm.Mapped[str]
    slug: orm.Mapped[str] = orm.mapped_column(default="")
    error: orm.Mapped[str] = orm.mapped_column(default="")
    created: orm.Mapped[datetime.datetime]
    finished: orm.Mapped[datetime.datetime | None]


class CiRow(Base):
    """A run of an app's tests in one of its slugs; ``status``: of the command that failed, 0 when they passed."""

    __tablename__ = "tests"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    app: orm.Mapped[str] = orm.mapped_column(sa.ForeignKey("apps.name", onupdate="CASCADE"), index=True)
    commit: orm.Mapped[str]
    slug: orm.Mapped[str] = orm.mapped_column(index=True)
    state: orm.Mapped[str]
    status: orm.Mapped[int | None]
    error: orm.Mapped[str] = orm.mapped_column(default="")
    who: orm.Mapped[str]
    created: orm.Mapped[datetime.datetime]
    finished: orm.Mapped[datetime.datetime | None]


class GateRow(Base):
    """A stage of an app that takes only slugs whose tests passed."""

    __tablename__ = "gates"
    app: orm.Mapped[str] = orm.mapped_column(sa.ForeignKey("apps.name", onupdate="CASCADE"), primary_key=True)
    stage: orm.Mapped[str] = orm.mapped_column(primary_key=True)


class ReleaseRow(Base):
    __tablename__ = "releases"
    app: orm.Mapped[str] = orm.mapped_column(sa.ForeignKey("apps.name", onupdate="CASCADE"), primary_key=True)
    number: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    stage: orm.Mapped[str]
    slug: orm.Mapped[str]
    commit: orm.Mapped[str]
    action: orm.Mapped[str]
    source: orm.Mapped[int | None]
    who: orm.Mapped[str]
    state: orm.Mapped[str] = orm.mapped_column(index=True)
    error: orm.Mapped[str] = orm.mapped_column(default="")
    push: orm.Mapped[str] = orm.mapped_column(default="")
    #: Index of the instances that serve: a restart starts the next ones before it stops these.
    index: orm.Mapped[int] = orm.mapped_column(default=1)
    created: orm.Mapped[datetime.datetime]


class EventRow(Base):
    __tablename__ = "events"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    kind: orm.Mapped[str]
    app: orm.Mapped[str] = orm.mapped_column(index=True)
    stage: orm.Mapped[str]
    who: orm.Mapped[str]
    data: orm.Mapped[dict[str, Any]]
    created: orm.Mapped[datetime.datetime]


class HookRow(Base):
    """A webhook endpoint; ``app`` empty: all apps."""

    __tablename__ = "hooks"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    app: orm.Mapped[str]
    url: orm.Mapped[str]
    secret: orm.Mapped[str]
    #: Gets no further event. The row stays: for what is still on its way, and so that no number comes twice.
    retired: orm.Mapped[bool] = orm.mapped_column(default=False)
    created: orm.Mapped[datetime.datetime]


class DeliveryRow(Base):
    """One event on its way to one webhook. It is made in the transaction that appends the event."""

    __tablename__ = "deliveries"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    hook: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("hooks.id", ondelete="CASCADE"), index=True)
    event: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey("events.id"))
    state: orm.Mapped[str] = orm.mapped_column(index=True)
    attempts: orm.Mapped[int] = orm.mapped_column(default=0)
    status: orm.Mapped[int] = orm.mapped_column(default=0)
    error: orm.Mapped[str] = orm.mapped_column(default="")
    due: orm.Mapped[datetime.datetime]
    finished: orm.Mapped[datetime.datetime | None]


class CoordKeyRow(Base):
    __tablename__ = "coord_keys"
    key: orm.Mapped[str] = orm.mapped_column(primary_key=True)
    value: orm.Mapped[str]
    version: orm.Mapped[int]
    session: orm.Mapped[str] = orm.mapped_column(default="", index=True)


class CoordSessionRow(Base):
    """A lease: ``expires`` counts on the monotonic clock of the boot that ``boot`` names."""

    __tablename__ = "coord_sessions"
    id: orm.Mapped[str] = orm.mapped_column(primary_key=True)
    boot: orm.Mapped[str]
    ttl: orm.Mapped[float]
    expires: orm.Mapped[float] = orm.mapped_column(index=True)


class CoordChangeRow(Base):
    """What watchers read: one row for each put, delete and expiry."""

    __tablename__ = "coord_changes"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    key: orm.Mapped[str]
    kind: orm.Mapped[str]


class CoordFenceRow(Base):
    __tablename__ = "coord_fences"
    name: orm.Mapped[str] = orm.mapped_column(primary_key=True)
    number: orm.Mapped[int]


class Store:
    """The database. ``url`` is SQLAlchemy's, such as ``sqlite:////var/lib/dae/state/dae.db``."""

    def __init__(self, url: str) -> None:
        self.engine = sa.create_engine(url, connect_args={"timeout": 15} if url.startswith("sqlite") else {})
        # Two greenlets of one process must not meet inside SQLite: its wait blocks the whole thread.
        self._writing = threading.Lock()
        self._writer = 0
        self._sessions = orm.sessionmaker(self.engine, expire_on_commit=False)
        if self.engine.dialect.name == "sqlite":
            sa.event.listen(self.engine, "connect", _sqlite_connect)
            sa.event.listen(self.engine, "begin", _sqlite_begin)

    @classmethod
    def at(cls, path: Path) -> Store:
        return cls(f"sqlite:///{path}")

    @contextmanager
    def read(self) -> Iterator[orm.Session]:
        """A session that sees one consistent state and changes nothing; rows read in it stay readable after it."""
        with self._sessions() as session:
            yield session  # closing it rolls back; saying so ourselves would expire the rows

    @contextmanager
    def write(self) -> Iterator[orm.Session]:
        """A session whose changes are committed together on leaving, or not at all when something is raised.

        Raises RuntimeError inside another one of the same thread: it would wait for itself.
        """
        if self._writer == threading.get_ident():
            raise RuntimeError("a write inside a write would wait for itself")
        with self._writing:
            self._writer = threading.get_ident()
            try:
                with self._sessions() as session:
                    session.connection(execution_options={"dae_write": True})
                    yield session
                    session.commit()
            finally:
                self._writer = 0

    def ready(self) -> bool:
        """True when the schema is at SCHEMA_HEAD."""
        with self.engine.connect() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return False
            return bool(connection.scalar(sa.text("SELECT version_num FROM alembic_version")) == SCHEMA_HEAD)

    def migrate(self) -> None:
        """Bring the schema to SCHEMA_HEAD; does nothing when it is there. Several processes may do it at once."""
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        with self.engine.connect().execution_options(dae_write=True) as connection, connection.begin():
            config.attributes["connection"] = connection
            command.upgrade(config, SCHEMA_HEAD)

    def close(self) -> None:
        self.engine.dispose()


def _sqlite_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, see _sqlite_begin
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _sqlite_begin(connection: sa.Connection) -> None:
    immediate = connection.get_execution_options().get("dae_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
