"""Classic buildpacks at work, in a build's account: Heroku's buildpack API, as its developer centre describes it.

``bin/detect BUILD_DIR``, ``bin/compile BUILD_DIR CACHE_DIR ENV_DIR``, ``bin/release BUILD_DIR``, and the file
``export`` of each, which is sourced before the next program. All of it lies in the folder of the build, and goes with
it; the cache alone leaves, as an archive that nobody opens but the next build of the same app.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from buildpacks import released
from buildpacks.deadline import Deadline
from buildpacks.steps import CACHE, CODE, PACKS, Order, Step
from core import argv
from core.errors import DaeError
from core.files import remove_tree
from core.program import Say

ENV = "env"
_RELEASED = "released.yaml"
_BLOCK = 512  # tar's, for a file's header and the rest of its last block
# Sources the files up to "--" and becomes the program after it. The buildpack's words may be any; ours have no names
# that they could change.
_EXPORTED = 'while [ "$1" != -- ]; do . "$1"; shift; done; shift; exec "$@"'


@contextmanager
def prepared(folder: Path, order: Order, deadline: Deadline, say: Say) -> Iterator[None]:
    """The folders of the API for as long as the block runs; when it ended well, what it made is kept."""
    if not order.packs:
        yield
        return
    env, cache = folder / ENV, folder / CACHE
    remove_tree(env)
    env.mkdir(mode=0o700)
    try:
        for name, value in order.values.items():
            (env / name).write_bytes(value.encode())
        _unpack(folder, cache, deadline, say)
        yield
        released.keep(folder / CODE, _said(folder))
        if order.cache_bytes:
            _pack(folder, cache, order.cache_bytes, deadline, say)
    finally:
        remove_tree(env)  # it holds values that others may not see, and the folder is opened when it is taken back


def command(folder: Path, order: Order, step: Step) -> tuple[str, ...]:
    """The argv of a step: a buildpack's program with its arguments; before it, what earlier ones exported."""
    program = step.argv
    packs, code = folder / PACKS, str(folder / CODE)
    earlier = order.packs[: order.packs.index(step.pack)] if step.pack else order.packs
    exports = [str(packs / name / "export") for name in earlier if (packs / name / "export").is_file()]
    if step.pack:
        program = (str(packs / step.pack / step.argv[0]), code)
    if step.argv == ("bin/compile",) and step.pack:
        program = (*program, str(folder / CACHE), str(folder / ENV))
    if step.argv == ("bin/release",) and step.pack:
        return ("/bin/bash", "-c", f'{_EXPORTED} >"$0"', str(folder / _RELEASED), *exports, "--", *program)
    return ("/bin/bash", "-c", _EXPORTED, "bash", *exports, "--", *program) if exports else program


def _said(folder: Path) -> released.Released:
    """What bin/release wrote, if there was one."""
    path = folder / _RELEASED
    return released.read(folder, _RELEASED) if path.exists() else released.Released()


def _unpack(folder: Path, cache: Path, deadline: Deadline, say: Say) -> None:
    """What the app's last build kept. What cannot be read is no reason to fail: a cache may always be empty."""
    archive = folder / f"{CACHE}.tar"
    remove_tree(cache)
    cache.mkdir()
    if archive.exists():
        words = ("tar", "--force-local", "--extract", "--preserve-permissions", "--file", archive, "--directory", cache)
        if not _tar(words, deadline):
            say(" !     what the last build kept cannot be read: the cache is empty")
            remove_tree(cache)
            cache.mkdir()
        archive.unlink()


def _pack(folder: Path, cache: Path, most: int, deadline: Deadline, say: Say) -> None:
    """Leave the cache as an archive; without one the next build finds an empty cache."""
    archive = folder / f"{CACHE}.tar"
    remove_tree(archive)
    if cache.is_symlink() or not cache.is_dir():
        say(" !     the cache is no folder any more: nothing is kept")
        return
    try:
        if _larger(cache, most):
            say(f" !     the cache has more than {most >> 20} MiB (cache_bytes): the next build finds it empty")
            return
    except OSError as error:
        say(f" !     the cache cannot be read ({error.strerror}): the next build finds it empty")
        return
    if not _tar(("tar", "--force-local", "--create", "--file", archive, "--directory", cache, "."), deadline):
        say(" !     the cache could not be kept: the next build finds it empty")
        remove_tree(archive)


def _larger(cache: Path, most: int) -> bool:
    """Would its archive be larger? By the sizes that files claim: a hole in one counts."""
    total = 20 * _BLOCK
    for folder, folders, names in os.walk(cache, onerror=_raise):
        for name in (*folders, *names):
            path = os.path.join(folder, name)  # noqa: PTH118 - as many as there are files
            found = os.lstat(path)
            total += found.st_size + 2 * _BLOCK + len(path)
            if total > most:
                return True
    return False


def _raise(error: OSError) -> None:
    raise error


def _tar(words: Sequence[str | Path], deadline: Deadline) -> bool:
    try:
        return argv.run(words, timeout=deadline.left(), own_session=False).ok
    except FileNotFoundError:
        raise DaeError("platform/missing", "there is no tar", "type: apt-get install -y tar") from None
