"""The use cases behind the command: promote, roll back, restart, configure. Each can show its plan instead."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from control import inventory, releases, views
from control.activate import RUNS_RELEASE_COMMAND, Activation
from control.context import Context
from control.gate import require_tested
from control.index_view import require_let_through, warn_of_refused
from control.locks import app_lock
from control.output import Output
from control.plan import Plan, Step
from control.recording import Source
from control.releases import Wanted
from control.wholeness import Reading, reading, require_whole
from core import events
from core.errors import DaeError
from core.nouns import NEXT_STAGE, Action, App, ProcessType, Release, Stage, config_pair

Result = dict[str, Any]


def promote(
    context: Context,
    app: str,
    source: Stage,
    who: str,
    output: Output,
    *,
    dry_run: bool = False,
    untested: bool = False,
) -> Result:
    """Put the very slug that is live in ``source`` live one stage up, with that stage's config.

    Raises ``release/wrong-stage``, ``release/nothing-live``, ``release/untested`` unless ``untested``,
    ``release/refused``, or what keeps the release from going live.
    """
    if source not in NEXT_STAGE:
        raise DaeError("release/wrong-stage", f"there is no stage above {source}", "promote from dev or from beta")
    target = NEXT_STAGE[source]
    with app_lock(context, app, f"a promotion by {who}", output) as output:
        live = releases.require_live(context.store, app, source)
        slug = context.node.slug(live)
        config = releases.config_of(context.store, app, target)
        passes = require_tested(context, app, target, slug, untested=untested)
        wanted = Wanted(app, target, slug, Action.PROMOTE, who, config, source=live.number, untested=passes)
        return _activate(context, wanted, f"Promoting {app} {live.name} from {source} to {target}", output, dry_run)


def deploy(
    context: Context,
    app: App,
    stage: Stage,
    digest: str,
    who: str,
    output: Output,
    *,
    dry_run: bool = False,
    untested: bool = False,
) -> Result:
    """Put a slug that the app has live in a stage, with that stage's config; nothing is built.

    Raises ``slug/unknown``, ``release/untested`` unless ``untested``, ``release/refused``, or what keeps the release
    from going live.
    """
    with app_lock(context, app.name, f"a deploy by {who}", output) as output:
        slug = inventory.require(context, app, digest)
        config = releases.config_of(context.store, app.name, stage)
        passes = require_tested(context, app.name, stage, slug, untested=untested)
        wanted = Wanted(app.name, stage, slug, Action.DEPLOY, who, config, untested=passes)
        return _activate(context, wanted, f"Deploying slug {digest[:12]} of {app.name} to {stage}", output, dry_run)


def roll_back(
    context: Context, app: str, stage: Stage, number: int | None, who: str, output: Output, *, dry_run: bool = False
) -> Result:
    """Put an earlier release of the stage live again: its slug and its config, as a new release.

    Raises ``release/unknown``, ``release/no-earlier``, ``release/nothing-live``.
    """
    with app_lock(context, app, f"a rollback by {who}", output) as output:
        earlier = releases.earlier(context.store, app, stage, number)
        config = releases.read_file(context.home, earlier)["config"]
        slug = context.node.slug(earlier)
        wanted = Wanted(app, stage, slug, Action.ROLLBACK, who, config, source=earlier.number)
        return _activate(context, wanted, f"Rolling {app} in {stage} back to {earlier.name}", output, dry_run)


def configure(
    context: Context,
    app: str,
    stage: Stage,
    changes: tuple[Mapping[str, str], Iterable[str]],
    who: str,
    output: Output,
    *,
    dry_run: bool = False,
) -> Result:
    """Set and unset config variables. With something live this is a release, and it counts only once that serves."""
    to_set, to_unset = changes
    for key, value in to_set.items():
        config_pair(key, value)
    with app_lock(context, app, f"a config change by {who}", output) as output:
        before = releases.config_of(context.store, app, stage)
        after = {k: v for k, v in {**before, **to_set}.items() if k not in set(to_unset)}
        changed = sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
        if not changed:
            output.done(f"{app} in {stage}: nothing changes")
            return {"app": app, "stage": str(stage), "changed": [], "plan": []}
        live = releases.live(context.store, app).get((app, stage))
        if live is None:
            return _store_config(context, app, stage, after, changed, who, output, dry_run)
        wanted = Wanted(app, stage, context.node.slug(live), Action.CONFIG, who, after, source=live.number)
        title = f"Setting {', '.join(changed)} of {app} in {stage}"
        return {**_activate(context, wanted, title, output, dry_run), "changed": changed}


def _store_config(
    context: Context,
    app: str,
    stage: Stage,
    after: Mapping[str, str],
    changed: list[str],
    who: str,
    output: Output,
    dry_run: bool,
) -> Result:
    text = f"store the config; {app} has no release in {stage} that it could change"
    if dry_run:
        return {"plan": [text]}
    with context.store.write() as session:
        releases.write_config(session, app, stage, after)
        events.append(session, "config-changed", app=app, stage=stage, who=who, data={"keys": changed})
    output.done(f"{app} in {stage}: {', '.join(changed)} stored for the first release")
    return {"app": app, "stage": str(stage), "changed": changed}


def _activate(context: Context, wanted: Wanted, title: str, output: Output, dry_run: bool) -> Result:
    activation = Activation.prepare(context, wanted)
    if dry_run:
        _require_let_through(context, wanted)
        return {"plan": activation.plan().texts()}
    started = time.monotonic()
    output.step(title)
    source = Source(wanted.app, wanted.slug.commit, wanted.who, sharing=False)
    with context.slugs.in_use(output.check):
        hurry = wanted.action is Action.ROLLBACK  # what is damaged is found, and mended, while an instance boots
        if not hurry:
            require_whole(context, wanted.slug, source, output)
        _require_let_through(context, wanted)
        with reading(context, wanted.slug, source, output, again=not hurry) as read:
            if wanted.action in RUNS_RELEASE_COMMAND:
                read.mended()  # nobody waits for these as for a rollback: nothing is begun before
            live = activation.run(read, output)
    if wanted.action is Action.ROLLBACK:
        warn_of_refused(context, wanted.stage, wanted.slug, output)
    url = context.settings.app_url(wanted.app, wanted.stage)
    line = views.live_line(context, wanted.app, live.name, wanted.stage, wanted.slug)
    output.done(f"{line} ({time.monotonic() - started:.1f} s)")
    return {"app": wanted.app, "release": live.name, "stage": str(wanted.stage), "url": url, "slug": live.slug}


def _require_let_through(context: Context, wanted: Wanted) -> None:
    """Going back must be possible whatever was forbidden meanwhile; a config change brings no code."""
    if wanted.action in RUNS_RELEASE_COMMAND:
        require_let_through(context, wanted.stage, wanted.slug)


def restart(context: Context, app: str, stage: Stage, who: str, output: Output, *, dry_run: bool = False) -> Result:
    """Start the live release's instances anew beside the running ones, switch, stop those: nobody notices."""
    with app_lock(context, app, f"a restart by {who}", output) as output:
        live = releases.require_live(context.store, app, stage)
        if dry_run:
            return {"plan": _restart_plan(context, live, who, None).texts()}
        output.step(f"Restarting {app} {live.name} in {stage}")
        slug = context.node.slug(live)
        source = Source(app, slug.commit, who, sharing=False)
        try:
            with context.slugs.in_use(output.check):
                require_whole(context, slug, source, output)
                with reading(context, slug, source, output) as read:
                    _restart_plan(context, live, who, read).run(output)
        finally:
            context.node.forget(replace(live, index=live.index + 1))
    url = context.settings.app_url(app, stage)
    output.done(views.live_line(context, app, live.name, stage, context.node.slug(live)))
    return {"app": app, "release": live.name, "stage": str(stage), "url": url}


def _restart_plan(context: Context, live: Release, who: str, read: Reading | None) -> Plan:
    """``read``: the reading of the slug's layers; None: the plan is only shown."""
    node, fresh = context.node, replace(live, index=live.index + 1)
    old_web, new_web = node.instances(live, ProcessType.WEB), node.instances(fresh, ProcessType.WEB)
    old_workers, new_workers = node.instances(live, ProcessType.WORKER), node.instances(fresh, ProcessType.WORKER)

    def unroute(_code: str) -> None:
        node.forget(fresh)
        node.route()

    def commit(_output: Output) -> None:
        releases.set_index(context.store, live, fresh.index, who)

    def start_whole(_output: Output) -> None:
        if read is None:
            raise RuntimeError("a restart runs only while every byte is read")
        read.started(partial(node.start_all, new_web), lambda: node.stop(new_web))

    text = "start new instances, wait until they answer, read every byte of their layers"
    before = [Step(text, start_whole, lambda _code: node.stop(new_web))]
    if new_workers:  # they take work from the first moment on
        text = "start new workers"
        start = partial(node.start_all, new_workers)
        before.append(Step(text, lambda output: start(output.detail), lambda _code: node.stop(new_workers)))
    if new_web:
        before.append(Step("route to them", lambda _output: node.route_to(fresh), unroute))
    after = []
    if old_workers:
        stop = Step("stop the old workers", lambda _output: node.stop(old_workers, context.settings.drain_timeout))
        after.append(stop)
    drain = Step("drain and stop the old ones", lambda _output: node.retire(old_web, context.settings.drain_timeout))
    note = Step("note what should run on this node", lambda _output: node.reconcile())
    return Plan(before, Step("the new instances serve", commit), [*after, drain, note])
