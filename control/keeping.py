"""Keeping the layers: what nothing needs any more goes, what the disk changed is found, and made again."""

from __future__ import annotations

import datetime
import logging
import threading
import time
from collections.abc import Callable, Container
from contextlib import suppress
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from buildpacks import chosen
from control import ci, releases
from control.context import Context
from control.output import Output
from control.recording import Source
from control.wholeness import read, require_whole, tell
from core import events
from core.errors import DaeError
from core.nouns import Release, Slug, Stage, now
from core.store import AppRow, BuildRow
from slugs import collection
from slugs.environments import EnvironmentStore
from slugs.retention import Policy, kept

log = logging.getLogger("dae.control")

#: How long a slug stays that was built and never released.
UNRELEASED = datetime.timedelta(hours=1)
#: How long a lock stays that nobody asked for, and no environment here is made of.
UNUSED_LOCK = datetime.timedelta(days=30)
_SECONDS_BETWEEN_LOOKS = 60
Pair = tuple[str, str]  # an app, and the digest of a slug of it


def collect(context: Context, output: Output, who: str, *, dry_run: bool = False) -> dict[str, Any]:
    """Remove slugs, layers, packages and locks that nothing needs; how many, and ``bytes`` that the disk has back.

    What is needed: see :func:`slugs.retention.kept`, what was built within the last hour, what is or waits to be
    tested, and locks that somebody asked for within UNUSED_LOCK. It waits until no push or other change is under way,
    and holds them up for a moment. Raises ``slug/damaged`` or ``slug/unknown`` when the manifest of a slug that is live
    or kept cannot be read; then nothing is removed.
    """
    slugs = context.slugs
    with slugs.alone(output.check):
        for release in releases.live(context.store).values():
            slugs.load(release.slug)  # what runs is never collected because nobody can tell any more what it needs
        garbage = collection.mark(slugs, wanted(context), set(context.testing))
        locks = _unused_locks(context, set(garbage.environments))
        aside = [] if dry_run else collection.set_aside(garbage)
        for lock in () if dry_run else locks:
            lock.unlink()
    counts = {**garbage.counts, "locks": len(locks)}
    if dry_run:
        return {"plan": [f"remove {count} {kind}" for kind, count in counts.items() if count], **counts}
    chosen.forget_unused(context.home.chosen)
    result = {**counts, "bytes": collection.remove(aside)}
    if aside or locks:
        with context.store.write() as session:
            events.append(session, "layers-collected", who=who, data=result)
    told = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    output.done(f"Removed {told}: {result['bytes'] / 1e6:.1f} MB" if told else "Nothing to remove")
    return result


def _unused_locks(context: Context, garbage: Container[Path]) -> list[Path]:
    """The locks that can go: what a lock names, the mirror keeps. Those of environments that are no garbage stay."""
    home, since = context.home, (now() - UNUSED_LOCK).timestamp()
    old = [path for path in sorted(home.locks.glob("*.txt")) if path.stat().st_mtime < since]
    store = EnvironmentStore(home)
    places = [place for place in home.environments.glob("[!.]*") if place not in garbage] if old else []
    made = {found.lock for place in places if (found := store.environment(place.name))}
    return [path for path in old if path.read_text() not in made]


def wanted(context: Context) -> set[Pair]:
    """The slugs that are kept, each with its app."""
    with context.store.read() as session:
        apps = list(session.scalars(sa.select(AppRow.name).where(AppRow.destroyed.is_(False))))
        fresh = sa.select(BuildRow).where(BuildRow.state == "succeeded", BuildRow.finished > now() - UNRELEASED)
        keep = {(row.app, row.slug) for row in session.scalars(fresh)} | ci.waiting(session)
    return keep.union(*(_of_app(context, app) for app in apps))


def _of_app(context: Context, app: str) -> set[Pair]:
    settings = context.settings
    history = releases.history(context.store, app)
    if not settings.keep_releases and not settings.keep_days and not settings.keep_bytes:
        return {(app, release.slug) for release in history}
    policy = Policy(settings.keep_releases, settings.keep_days, settings.keep_bytes)
    keep: set[str] = set()
    for stage, group in groupby(sorted(history, key=lambda r: (r.stage, -r.number)), key=lambda r: r.stage):
        keep |= kept(group, _back(context, app, stage), policy, now(), partial(_code_size, context, app))
    return {(app, digest) for digest in keep}


def _back(context: Context, app: str, stage: Stage) -> Release | None:
    with suppress(DaeError):
        return releases.earlier(context.store, app, stage, None)
    return None


def _code_size(context: Context, app: str, digest: str) -> int:
    try:
        return context.slugs.code_size(app, context.slugs.load(digest).code)
    except DaeError:
        return 0


def verify(context: Context, pairs: set[Pair] | None, output: Output, who: str) -> dict[str, Any]:
    """Read every byte of the layers of slugs (None: of all that are kept), and build again what live releases need.

    Returns a :class:`slugs.verification.Verdict` as plain data, with ``rebuilt`` and ``refused``: slugs of live
    releases that were damaged, each as ``APP DIGEST``. Raises ``slug/damaged`` when a live one could not be rebuilt.
    """
    with context.slugs.in_use(output.check):
        chosen = sorted(wanted(context) if pairs is None else pairs)
        verdict = _read(context, chosen, output)
        tell(context, who, verdict["damaged"], output)
        apps = None if pairs is None else {app for app, _digest in pairs}
        verdict["rebuilt"], verdict["refused"] = _rebuild(context, apps, who, output)
    read = f"{verdict['codes']} code layers, {verdict['environments']} environments, {verdict['packages']} packages"
    if verdict["refused"]:
        cause = f"{', '.join(verdict['refused'])} cannot be built again"
        raise DaeError("slug/damaged", cause, "the output above says why; until then no instance of it is started anew")
    found = f"{len(verdict['damaged'])} damaged" if verdict["damaged"] else "all as they were made"
    output.done(f"Read {verdict['bytes'] / 1e6:.1f} MB: {read}; {found}")
    return verdict


def _read(context: Context, chosen: list[Pair], output: Output) -> dict[str, Any]:
    slugs: list[tuple[str, Slug]] = []
    damaged: list[dict[str, Any]] = []
    for app, digest in chosen:
        try:
            slugs.append((app, context.slugs.load(digest)))
        except DaeError as error:
            if error.code != "slug/unknown":  # else it was removed when the policy kept less than now
                damaged.append({"layer": "slug", "name": digest, "app": app, "faults": [error.cause]})
    verdict = read(context, slugs, output, patient=True)
    return {**verdict, "damaged": damaged + verdict["damaged"]}


def _rebuild(context: Context, apps: set[str] | None, who: str, output: Output) -> tuple[list[str], list[str]]:
    """Build again what live releases (None: of all apps) run in: they go on, and the next start finds whole layers."""
    rebuilt, refused = [], []
    live = {(release.app, release.slug) for release in releases.live(context.store).values()}
    for app, digest in sorted(pair for pair in live if apps is None or pair[0] in apps):
        try:
            slug = context.slugs.load(digest)
            if require_whole(context, slug, Source(app, slug.commit, who, sharing=False), output):
                rebuilt.append(f"{app} {digest[:12]}")
                output.detail(f"{app} has its layers back; what runs may hold the damaged ones: dae restart -a {app}")
        except DaeError as error:
            refused.append(f"{app} {digest[:12]}")
            output.warn(error.line())
    return rebuilt, refused


def start(context: Context) -> None:
    """Collect and verify now and then, in the background, as often as the settings say."""
    settings = context.settings
    jobs = (
        (settings.collect_every, lambda output: collect(context, output, "dae")),
        (settings.verify_every, lambda output: verify(context, None, output, "dae")),
    )
    for every, job in jobs:
        if every:
            threading.Thread(target=_again_and_again, args=(every, job), daemon=True).start()


def _again_and_again(every: int, job: Callable[[Output], object]) -> None:
    last = time.monotonic()
    while True:
        time.sleep(min(every, _SECONDS_BETWEEN_LOOKS))
        if time.monotonic() - last < every:
            continue
        last = time.monotonic()
        try:
            job(Output(lambda line: log.info("keeping: %s", line.strip())))
        except DaeError as error:
            log.warning("keeping the layers: %s", error.line())
        except Exception:
            log.exception("keeping the layers failed in a way it should not")
