"""What administrators ask of the mirror: how it stands, what it holds, what it should hold, and its policy.

What is on the disk is read and changed here, under the store's own lock; what only the mirror's process knows, or does,
is asked at its socket.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from packaging.version import Version

from control import mirror_door
from control.context import Context
from control.output import Output
from core.cooperative import aside
from core.errors import DaeError
from pypi_mirror import approvals, keeping, policy_text, rulebook
from pypi_mirror.model import possible_projects, project_name, version_of
from pypi_mirror.osv import Advisories
from pypi_mirror.policy import Approvals, Asked, Policy, judge
from pypi_mirror.stock import stock
from pypi_mirror.store import Store

FOUND, REFUSED = 500, 200


def status(context: Context) -> dict[str, Any]:
    """What the mirror holds, how often it had what was asked, and how upstream and the policy stand."""
    store = Store(context.home)
    counted = keeping.read_log(store, context.home.logs / "nginx-access.log")
    private = {path.stem for path in (store.root / "private").glob("*.json")}
    return {
        "projects": len(store.names()),
        "private_projects": len(private),
        **aside(keeping.usage, store, context.home.locks),
        "limit": context.settings.mirror_bytes,
        "hit_rate": counted.hit_rate,
        "page_hits": counted.page_hits,
        "page_misses": counted.page_misses,
        "file_hits": counted.file_hits,
        "file_misses": counted.file_misses,
        "bytes_saved": counted.bytes_saved,
        "bytes_passed": counted.bytes_passed,
        "uploads": counted.uploads,
        "refused": counted.refused,
        **_told(context),
    }


def _told(context: Context) -> dict[str, Any]:
    """What only the mirror's own process knows: ``upstream``, ``upstreams`` and ``policy``."""
    silent = "the mirror does not answer"
    return mirror_door.status(context.home) or {
        "upstream": silent,
        "upstreams": [],
        "policy": {"views": [], "problems": [silent], "in_force": None},
    }


def search(context: Context, word: str) -> list[dict[str, Any]]:
    """The projects here whose name has the word in it."""
    store = Store(context.home)
    word = "-".join(part for part in word.lower().replace("_", "-").replace(".", "-").split("-") if part)
    if not word:
        raise DaeError("input/invalid", "there is nothing to search for", "name a part of a project's name")
    return aside(_search, store, word)


def _search(store: Store, word: str) -> list[dict[str, Any]]:
    return [_project(store, name) for name in [name for name in store.names() if word in name][:FOUND]]


def _project(store: Store, name: str) -> dict[str, Any]:
    project = store.load(name)
    files = project.files if project else ()
    here = sum(store.file_path(file.sha256, file.filename).is_file() for file in files)
    versions = sorted({Version(text) for file in files if (text := version_of(file.filename))})
    newest = str(versions[-1]) if versions else ""
    return {"project": name, "private": store.is_private(name), "newest": newest, "files": len(files), "here": here}


def verify(context: Context, out: Output) -> dict[str, Any]:
    """Read every file and compare it with its name. ``problem``: the error ``mirror/damaged``, when one was."""
    out.step("Reading every file of the mirror")

    def say(line: str) -> None:
        out.warn(line)
        out.check()

    found = keeping.verify(Store(context.home), say)
    if found["damaged"]:
        return {**found, "problem": _damaged(found).to_json()}
    out.done(f"{found['files']} files read, none of them damaged")
    return found


def _damaged(found: dict[str, Any]) -> DaeError:
    """What was found, and what was done about it."""
    own = [entry["file"] for entry in found["damaged"] if entry["private"]]
    count = len(found["damaged"])
    cause = f"{count} of {found['files']} files {'was' if count == 1 else 'were'} damaged"
    done = []
    if count > len(own):
        done.append(f"{count - len(own)} of upstream's removed: they are fetched again when somebody asks")
    if own:
        done.append(f"of our own, in mirror/damaged now: {', '.join(own[:10])}")
    hint = "look at the disk" + (", and publish them again: dae mirror upload FILE" if own else "")
    return DaeError("mirror/damaged", f"{cause}; {'; '.join(done)}", hint)


def evict(context: Context, limit: int | None, out: Output, *, dry: bool) -> dict[str, Any]:
    """Remove what nobody asked for the longest, until the mirror's files take so many bytes; else the setting's."""
    wanted = context.settings.mirror_bytes if limit is None else limit
    if limit is None and not wanted:
        raise DaeError("input/invalid", "mirror_bytes sets no limit", "say how much may stay: --bytes NUMBER")
    out.step(f"Making room: files of upstream may take {wanted / 1e6:.1f} MB")
    store = Store(context.home)
    keeping.read_log(store, context.home.logs / "nginx-access.log")
    found = keeping.evict(store, context.home.locks, wanted, dry=dry)
    for name in found["files"]:
        out.detail(f"{'would remove' if dry else 'removed'} {name}")
    out.done(f"{len(found['files'])} files less, {found['bytes'] / 1e6:.1f} MB stay")
    return found


def policy(context: Context) -> dict[str, Any]:
    """The policy's text as it stands in force, what is wrong with a later one, and what was approved."""
    try:
        text = rulebook.kept_text(context.home.mirror) or ""
    except (DaeError, OSError):
        text = ""  # what the mirror itself does about that, "state" says
    found = approvals.read_approvals(context.home.mirror)
    return {
        "file": context.settings.mirror_policy or str(context.home.root / "mirror-policy.toml"),
        "text": text,
        "approved": {name: sorted(versions) for name, versions in found.items()},
        "approvals": [
            {"project": name, "version": version, **asdict(one)}
            for name, versions in sorted(found.items())
            for version, one in sorted(versions.items())
        ],
        "state": _told(context)["policy"],
    }


def check(context: Context, text: str) -> dict[str, Any]:
    """What a policy would refuse of what is here, by view; vulnerabilities apart. Raises ``mirror/bad-policy``."""
    parsed = policy_text.parse(text)
    store = Store(context.home)
    approved = {name: frozenset(found) for name, found in approvals.read_approvals(context.home.mirror).items()}
    return {"views": sorted(parsed.views), "refused": aside(_refused, store, parsed, approved)}


def _refused(store: Store, parsed: Policy, approved: Approvals) -> list[dict[str, str]]:
    now = store.lens.clock()
    refused: list[dict[str, str]] = []
    for item in stock(store):
        for name in possible_projects(item.filename):
            project = None if store.is_private(name) else store.load(name)
            file = project.file(item.sha256, item.filename) if project else None
            if file is None:
                continue
            known = store.known(file)
            for view in parsed.views.values():
                found = judge(view, Asked(name, known.file, known.licenses), now, approved, Advisories())
                if found.refused and len(refused) < REFUSED:
                    entry = {"view": view.name, "file": item.filename, "rule": found.rule, "reason": found.reason}
                    refused.append(entry)
    return refused


def approve(context: Context, name: str, version: str, who: str) -> dict[str, Any]:
    """Let a version, or with ``*`` all, of a project out of quarantine."""
    name, version = project_name(name), _version(version)
    with Store(context.home).locked():
        approvals.approve(context.home.mirror, name, version, who)
    return {"project": name, "version": version}


def revoke(context: Context, name: str, version: str) -> dict[str, Any]:
    """Take back that it was let out; raises ``mirror/unknown-version`` when it was not."""
    name, version = project_name(name), _version(version)
    with Store(context.home).locked():
        approvals.revoke(context.home.mirror, name, version)
    return {"project": name, "version": version}


def _version(text: str) -> str:
    """A version as the index writes it, or ``*``."""
    try:
        return text if text == "*" else str(Version(text))
    except ValueError:
        raise DaeError(
            "input/invalid", f"{text[:40]!a} is no version", "write it as the index does, or * for all"
        ) from None
