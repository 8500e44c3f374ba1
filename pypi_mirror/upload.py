"""The door for distributions of one's own: the "legacy" API of package indexes, one POST of a form for each file.

What goes in is authorized, read within bounds, checked, and then entered (private.py). Whoever is killed, or leaves, in
the middle leaves a temporary file and nothing else.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from packaging.version import InvalidVersion, Version

from core.cooperative import aside
from core.errors import DaeError, no_room
from core.nouns import now
from pypi_mirror import archives, forms, private, records, rights, turns
from pypi_mirror.forms import Upload
from pypi_mirror.metadata import SDISTS, CoreMetadata
from pypi_mirror.mirror import Mirror
from pypi_mirror.model import File, normalize
from pypi_mirror.private import Clock
from pypi_mirror.publish import entry_of
from pypi_mirror.rights import UPLOAD, Caller
from pypi_mirror.turns import Paced, Source, Turns

CHECKED_AT_ONCE = 2
_KINDS = {"bdist_wheel": (".whl",), "sdist": SDISTS}


class Uploads:
    """Takes uploads into a mirror. ``authorize``: an Authorization header -> who asks; raises ``auth/required``."""

    def __init__(
        self, mirror: Mirror, authorize: Callable[[str | None], Caller], limit: int, clock: Clock = now
    ) -> None:
        self._mirror = mirror
        self._authorize = authorize
        self.limit = limit
        self._clock = clock
        self._turns = Turns()
        self._checks = threading.BoundedSemaphore(CHECKED_AT_ONCE)

    def take(self, body: Source, content_type: str, authorization: str | None, length: int = 0) -> File:
        """Read one form and enter its file; raises ``auth/*``, ``mirror/*`` or ``platform/disk-full``.

        ``length``: so many bytes the body is said to have; 0 when nobody says it.
        """
        caller = self._authorize(authorization)
        rights.require_token(caller, caller.project, UPLOAD)  # before anything is read
        if length > forms.most(self.limit):
            raise forms.too_large(self.limit)
        try:
            with self._turns.turn(caller.name), self._mirror.store.new_file() as (stream, temporary):
                form = forms.read(Paced(body), content_type, stream, self.limit)
                name, _ = archives.named(form.filename)
                _check_form(form)
                self._require(caller, name)
                stream.flush()
                with self._checks:
                    found = aside(_checked, stream.fileno(), temporary, form.filename)
                _compare(form, found)
                sha256 = form.digests["sha256_digest"]
                entry = entry_of(form.filename, sha256, form.size, found, self._clock)
                return private.enter(self._mirror.store, name, entry, stream, temporary, caller, self._clock)
        except OSError as error:
            if full := no_room(error):
                raise full from error
            raise

    def _require(self, caller: Caller, name: str) -> None:
        """Raise unless the caller may upload to that name: see :func:`private.enter`, which looks again."""
        store = self._mirror.store
        if store.is_private(name):
            rights.require(caller, name, records.load(store, name), UPLOAD)
            return
        rights.require_claim(caller, name)
        hint = f"choose another name; or an administrator gives it: dae mirror claim {name} --owner {caller.name}"
        try:
            if not self._mirror.upstream_has(name):
                return
        except DaeError as error:
            cause = f"whether upstream has a project {name} cannot be told now ({error.cause})"
            raise DaeError("mirror/unavailable", cause, "try again") from error
        # Its next build would get this file in place of upstream's, whoever asked for that.
        raise DaeError("mirror/name-taken", f"upstream has a project {name}, and it is not yours", hint)


def _checked(descriptor: int, path: Path, filename: str) -> CoreMetadata:
    """Check the file, and have it on disk: both take seconds for a large one, and hold nobody up here."""
    found = archives.check(path, filename)
    os.fsync(descriptor)
    return found


def _check_form(form: Upload) -> None:
    fields = form.fields
    if fields.get(":action") != "file_upload" or fields.get("protocol_version", "1") != "1":
        raise forms.bad("the form's :action is not file_upload, of protocol_version 1")
    ending = _KINDS.get(fields.get("filetype", ""))
    if "filetype" in fields and (ending is None or not form.filename.endswith(ending)):
        raise forms.bad(f"the form's filetype is {fields['filetype'][:40]!a}, and the file is something else")
    for name, digest in form.digests.items():
        stated = fields.get(name, "").strip().lower()
        if stated and stated != digest:
            raise forms.bad(f"the file is not the one that the form's {name} names: it changed on its way")


def _compare(form: Upload, found: CoreMetadata) -> None:
    """The form may state name and version; the file's own are what counts, and must be the same."""
    name, version = form.fields.get("name"), form.fields.get("version")
    if name is not None and normalize(name) != normalize(found.name):
        raise forms.bad(f"the form is for {name[:80]!a}, and the file is one of {found.name[:80]}")
    try:
        if version is not None and Version(version) != Version(found.version):
            raise forms.bad(f"the form is for version {version[:40]!a}, and the file is of {found.version[:40]}")
    except InvalidVersion:
        raise forms.bad(f"the form's version is {version[:40] if version else ''!a}, which is none") from None


def drain(body: Source, limit: int) -> None:
    """Read for a while what a refused client still sends: closing on it would lose the answer on its way."""
    body = Paced(body, turns.DRAIN_SECONDS)
    try:
        while limit > 0 and (block := body.read(forms.BLOCK)):
            time.sleep(0)  # as in forms.py
            limit -= len(block)
    except (OSError, DaeError):
        pass
