"""The push workflow: what the pre-receive hook asks. The ref moves only when this ends well."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from control import ci, releases, views
from control.activate import Activation
from control.build import build
from control.context import Context
from control.gate import require_tested, required
from control.index_view import require_let_through
from control.locks import app_lock
from control.output import Output
from control.recording import Source, find_slug
from control.releases import Wanted
from control.wholeness import reading
from core import events
from core.errors import DaeError, no_room
from core.nouns import BRANCH_STAGES, Action, ProcessType, Push, Slug, Stage, app_name
from receiver.repository import Repository

log = logging.getLogger("dae.control")

NO_OBJECT = "0" * 40
_TAG = re.compile(r"refs/tags/([A-Za-z0-9_][A-Za-z0-9._/-]{0,80})")
PUSH_ID = re.compile(r"[0-9a-f]{32}\Z")


@dataclass(frozen=True, slots=True)
class PushRequest:
    """What the hook sends: who pushes which ref updates to which app, and where the new objects are."""

    id: str
    app: str
    who: str
    updates: tuple[tuple[str, str, str], ...]  # (ref, old, new)
    quarantine: Path | None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PushRequest:
        """Raises ``input/invalid``, ``app/bad-name`` or ``push/bad-ref``."""
        try:
            updates = tuple((str(u["ref"]), str(u["old"]), str(u["new"])) for u in data["updates"])
            found = cls(str(data["id"]), str(data["app"]), str(data["who"]), updates, None)
            quarantine = data.get("quarantine")
        except (KeyError, TypeError) as error:
            raise DaeError("input/invalid", f"the hook's request lacks {error}", "") from error
        app_name(found.app)
        if not PUSH_ID.match(found.id):
            raise DaeError("input/invalid", "the push has no proper id", "")
        return cls(found.id, found.app, found.who, updates, Path(str(quarantine)) if quarantine else None)


def choose(app: str, who: str, updates: Sequence[tuple[str, str, str]]) -> tuple[Push, Stage] | None:
    """The one update that deploys, and its stage; None when only tags are pushed.

    Raises ``push/wrong-branch``, ``push/several``, ``push/delete`` or ``push/bad-ref``.
    """
    branches = [update for update in updates if not update[0].startswith("refs/tags/")]
    if len(branches) > 1:
        names = [ref.removeprefix("refs/heads/") for ref, _old, _new in branches]
        name = next((name for name in BRANCH_STAGES if name in names), "HEAD:master")
        cause = f"this push moves {len(branches)} branches, and each of those that deploy is a release of its own"
        raise DaeError("push/several", cause, f"push one of them at a time: git push dae {name}")
    for ref, _old, _new in branches:
        name = ref.removeprefix("refs/heads/")
        if not ref.startswith("refs/heads/") or name not in BRANCH_STAGES:
            shown = name if re.match(r"[A-Za-z0-9._/-]{1,80}\Z", name) else ascii(name[:80])
            safe = shown if shown == name and not name.startswith("-") else "HEAD"
            raise DaeError(
                "push/wrong-branch",
                f"{shown} does not deploy (master or main -> dev, beta -> beta, release -> stable)",
                f"type: git push dae {safe}:master",
            )
    if not branches:
        return None
    ref, old, new = branches[0]
    push = Push(app, ref, old, new, who)
    if new == NO_OBJECT:
        raise DaeError("push/delete", f"{ref} deploys and cannot be deleted", f"type: dae destroy {app}")
    return push, BRANCH_STAGES[ref.removeprefix("refs/heads/")]


def receive(context: Context, request: PushRequest, output: Output) -> dict[str, Any]:
    """Build, release and switch; returns what is live. Raises the error that git shows; then nothing has changed."""
    started = time.monotonic()
    try:
        chosen = choose(request.app, request.who, request.updates)
        if chosen is None:
            tag = next((match[1] for ref, _old, _new in request.updates if (match := _TAG.fullmatch(ref))), "TAG")
            output.detail(f"tags are kept, and deploy nothing; to deploy this one: git push dae {tag}^0:master")
            return {}
        push, stage = chosen
        _check_current(context, push)
        _note(context, "push-received", request, {"ref": push.ref, "commit": push.new})
        with context.slugs.in_use(output.check):
            slug = _slug(context, push, stage, request.quarantine, output)
            _check_tested(context, push, stage, slug)
            result = _release(context, request, push, stage, slug, output, started)
            if stage is Stage.DEV:
                _test(context, push, slug, output)
            return result
    except Exception as error:
        if no_room(error):
            context.node.disturbed.set()  # what could not be settled, for want of room, is settled soon
        if isinstance(error, DaeError):
            _note(context, "push-refused", request, error.to_json())
        raise


def _check_current(context: Context, push: Push) -> None:
    """The door lets one push per app in at a time; what git then compares only after the hook is compared here."""
    current = Repository(context.home, push.app).ref(push.ref) or NO_OBJECT
    if current != push.old:
        raise DaeError(
            "push/stale", f"{push.ref} moved to {current[:12]} meanwhile", "type: git fetch dae, then push again"
        )


def _slug(context: Context, push: Push, stage: Stage, quarantine: Path | None, output: Output) -> Slug:
    slug = find_slug(context, push.app, push.new)
    if slug is not None:
        output.step(f"Slug {slug.digest[:12]} exists for {push.new[:12]}: nothing to build")
        return slug
    return build(context, Source(push.app, push.new, push.who, quarantine, stage=str(stage)), output)


def _check_tested(context: Context, push: Push, stage: Stage, slug: Slug) -> None:
    """Raises ``release/untested``; tests that nobody asked for yet are run then, so that a second push can succeed."""
    if stage in required(context, push.app):
        ci.ensure(context, push.app, slug, push.who)
    require_tested(context, push.app, stage, slug)


def _test(context: Context, push: Push, slug: Slug, output: Output) -> None:
    """Have what went live tested; it is live, whatever becomes of that."""
    try:
        if ci.ensure(context, push.app, slug, push.who):
            output.detail(f"its tests run in the background: dae ci -a {push.app}")
    except Exception:
        log.exception("the tests of %s could not be asked for", push.app)
        output.warn(f"its tests could not be asked for; later, type: dae ci run -a {push.app}")


def _release(
    context: Context,
    request: PushRequest,
    push: Push,
    stage: Stage,
    slug: Slug,
    output: Output,
    started: float,
) -> dict[str, Any]:
    with app_lock(context, push.app, f"a push of {push.who}", output) as output:
        config = releases.config_of(context.store, push.app, stage)
        wanted = Wanted(push.app, stage, slug, Action.DEPLOY, push.who, config, push=request.id)
        activation = Activation.prepare(context, wanted)
        old = activation.old
        if old is not None and old.slug == slug.digest and releases.read_file(context.home, old)["config"] == config:
            live = old  # the switch was done by a push that then lost its client: only the ref is to move
        else:
            require_let_through(context, stage, slug)
            source = Source(push.app, push.new, push.who, request.quarantine, sharing=False, stage=str(stage))
            with reading(context, slug, source, output, again=False) as read:
                live = activation.run(read, output)
    url = context.settings.app_url(push.app, stage)
    line = f"{views.live_line(context, push.app, live.name, stage, slug)} ({time.monotonic() - started:.1f} s)"
    if slug.process(ProcessType.WEB) is None:
        names = ", ".join(process.name for process in slug.processes)
        output.detail(f"no process is named 'web', so nothing answers at {url}; there is: {names}")
    output.done(line)
    return {
        "line": f"=====> {line}",
        "app": push.app,
        "release": live.name,
        "stage": str(stage),
        "url": url,
        "slug": live.slug,
    }


def _note(context: Context, kind: str, request: PushRequest, data: dict[str, Any]) -> None:
    with context.store.write() as session:
        events.append(session, kind, app=request.app, who=request.who, data={"push": request.id, **data})
