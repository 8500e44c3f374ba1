"""What is kept, and for how long."""

from __future__ import annotations

import datetime
import os
from hashlib import sha256
from pathlib import Path

from control import keeping
from core.nouns import now
from core.store import BuildRow
from pypi_mirror.keeping import evict, usage
from pypi_mirror.store import Store
from tests.control.exported import export
from tests.control.ground import QUIET, platform


def test_locks_that_nobody_asks_for(tmp_path: Path) -> None:
    """An old one goes unless an environment is made of it; what only that one pinned in the mirror can be evicted."""
    made = export(tmp_path)
    home, slug = made.home, made.bundle.slug
    digest = sha256(b"bytes").hexdigest()
    file = home.mirror / "files" / digest[:2] / digest / "pinned-1.0-py3-none-any.whl"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"bytes")
    home.locks.mkdir()
    names = {"live": made.bundle.lock, "old": f"pinned==1.0 --hash=sha256:{digest}\n", "young": "other==1.0\n"}
    long_ago = (now() - keeping.UNUSED_LOCK - datetime.timedelta(hours=1)).timestamp()
    for name, text in names.items():
        (home.locks / f"{name}.txt").write_text(text)
        if name != "young":
            os.utime(home.locks / f"{name}.txt", (long_ago, long_ago))
    store = Store(home)
    with platform(home, tmp_path / "here.db") as context:
        with context.store.write() as session:
            fields = {"state": "succeeded", "error": "", "created": now(), "finished": now()}
            session.add(BuildRow(app="blog", commit=slug.commit, who="mary", slug=slug.digest, **fields))
        assert "remove 1 locks" in keeping.collect(context, QUIET, "mary", dry_run=True)["plan"]
        assert usage(store, home.locks)["pinned_bytes"] == 5
        assert evict(store, home.locks, 0)["files"] == []
        assert keeping.collect(context, QUIET, "mary")["locks"] == 1
        assert sorted(path.stem for path in home.locks.iterdir() if path.is_file()) == ["live", "young"]
        assert usage(store, home.locks)["pinned_bytes"] == 0
        assert evict(store, home.locks, 0)["files"] == [file.name]
        assert keeping.collect(context, QUIET, "mary")["locks"] == 0
        with context.store.write() as session:
            session.query(BuildRow).one().finished = now() - datetime.timedelta(hours=2)
        removed = keeping.collect(context, QUIET, "mary")
        assert (removed["environments"], removed["locks"]) == (1, 1), "it goes with the last environment of it"
