"""What the signed document of an archive says: what no platform would is refused, whoever signed it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.errors import DaeError
from core.nouns import canonical_json
from slugs.bundle import Bundle
from slugs.environments import EnvironmentStore
from slugs.layers import Content, File
from tests.control.exported import Exported, There, elsewhere


def changed(bundle: Bundle, files: tuple[File, ...] | None = None, links: Any = None) -> Bundle:
    """The bundle, with other files or links in its code."""
    code = bundle.code
    return replace(bundle, code=Content(code.files if files is None else files, links or code.links))


def entry(bundle: Bundle, path: str) -> tuple[File, ...]:
    return tuple(sorted([*bundle.code.files, bundle.code.files[0]._replace(path=path)]))


def first(bundle: Bundle, **changes: Any) -> tuple[File, ...]:
    return (bundle.code.files[0]._replace(**changes), *bundle.code.files[1:])


def package(bundle: Bundle, **changes: Any) -> Bundle:
    return replace(bundle, packages=(replace(bundle.packages[0], **changes), *bundle.packages[1:]))


def of(bundle: Bundle, **origin: str) -> Bundle:
    """A package that says it was made of something else."""
    return package(bundle, origin=replace(bundle.packages[0].origin, **origin))


def named(bundle: Bundle, **names: Any) -> Bundle:
    """A slug of other names."""
    return replace(bundle, slug=replace(bundle.slug, **names))


def within(bundle: Bundle, path: str) -> Bundle:
    """A package that brings a file of that path."""
    content = bundle.packages[0].content
    files = tuple(sorted([*content.files, content.files[0]._replace(path=path)]))
    return package(bundle, content=Content(files, ()))


#: What is said of each, and how it is made: all else in it is as it should be. No path in it is one of this machine's:
#: whoever breaks a check, and runs this as root, shall lose nothing.
HOSTILE: dict[str, tuple[str, Callable[[Bundle], Bundle]]] = {
    "absolute": ("no path inside a layer", lambda b: changed(b, entry(b, "/nonexistent/out"))),
    "upwards": ("no path inside a layer", lambda b: changed(b, entry(b, "../out"))),
    "upwards inside": ("no path inside a layer", lambda b: changed(b, entry(b, "sub/../../out"))),
    "dot": ("no path inside a layer", lambda b: changed(b, entry(b, "./x"))),
    "empty part": ("no path inside a layer", lambda b: changed(b, entry(b, "sub//x"))),
    "no name": ("no path inside a layer", lambda b: changed(b, entry(b, ""))),
    "nul": ("no path inside a layer", lambda b: changed(b, entry(b, "a\0b"))),
    "long name": ("no path inside a layer", lambda b: changed(b, entry(b, "n" * 256))),
    "long path": ("no path inside a layer", lambda b: changed(b, entry(b, "n/" * 600 + "x"))),
    "twice": ("one is there twice", lambda b: changed(b, (*b.code.files, b.code.files[-1]))),
    "not sorted": ("are not sorted", lambda b: changed(b, (b.code.files[0]._replace(path="zzz"), *b.code.files))),
    "file and folder": ("both a file and something else", lambda b: changed(b, entry(b, f"{b.code.files[0].path}/x"))),
    "through a link": ("both a file and something else", lambda b: changed(b, entry(b, "sub/link/x"))),
    "file and link": ("both a file and something else", lambda b: changed(b, entry(b, "sub/link"))),
    "link out": ("outside the commit", lambda b: changed(b, links=(("sub/link", "../../etc"),))),
    "absolute link": ("outside the commit", lambda b: changed(b, links=(("sub/link", "/nonexistent/out"),))),
    "links out through one another": (
        "outside the commit",
        lambda b: changed(b, links=(("d", "."), ("e", "d/d/d/../../.."))),
    ),
    "bad digest": ("no proper name, sha256", lambda b: changed(b, first(b, sha256="x" * 64))),
    "negative size": ("cannot have -1 bytes", lambda b: changed(b, first(b, sha256="0" * 64, size=-1))),
    "two sizes": ("cannot have 1 bytes", lambda b: changed(b, first(b, size=1))),
    "bomb": ("cannot have 5368709120 bytes", lambda b: changed(b, first(b, sha256="0" * 64, size=5 << 30))),
    "mode": ("no proper name, sha256, size or mode", lambda b: changed(b, first(b, program=0o4755))),
    "one file for all the room there is": (
        "more than 500000 files or 16 GiB",
        lambda b: package(
            b,
            content=Content(
                tuple(File(f"lib/{n:06}", b.packages[1].content.files[-1].sha256, 3 << 30, False) for n in range(6)), ()
            ),
        ),
    ),
    "package with a link": (
        "has symbolic links",
        lambda b: package(b, content=Content(b.packages[0].content.files, (("x", "y"),))),
    ),
    "package is the interpreter": ("own bin/python3.11", lambda b: within(b, "bin/python3.11")),
    "package is the environment": ("own pyvenv.cfg", lambda b: within(b, "pyvenv.cfg")),
    "package is a folder of programs": (
        "own bin",
        lambda b: package(b, content=Content((b.packages[0].content.files[0]._replace(path="bin"),), ())),
    ),
    "link to nothing": ("a link to 0 bytes", lambda b: changed(b, links=(("sub/link", ""),))),
    "link to too much": ("a link to 5000 bytes", lambda b: changed(b, links=(("sub/link", "x/" * 2500),))),
    "package is a library folder": ("own lib64/x", lambda b: within(b, "lib64/x")),
    "package of no file": (
        "does not say what it was made of",
        lambda b: package(b, origin=replace(b.packages[0].origin, sha256="")),
    ),
    "another package than in the lock": (
        "packages are not those of its lock",
        lambda b: package(b, origin=replace(b.packages[0].origin, name="gamma")),
    ),
    "another file than in the lock": (
        "packages are not those of its lock",
        lambda b: package(b, origin=replace(b.packages[0].origin, sha256="0" * 64)),
    ),
    "a package less": ("packages are not those of its lock", lambda b: replace(b, packages=b.packages[:1])),
    "another order": ("packages are not those of its lock", lambda b: replace(b, packages=b.packages[::-1])),
    "another lock": ("environment is not the one of its lock", lambda b: replace(b, lock=b.lock + "\n")),
    "another environment's name": (
        "environment is not the one of its lock",
        lambda b: replace(b, slug=replace(b.slug, environment="0" * 64)),
    ),
    "another interpreter": (
        "changed while it was read",
        lambda b: elsewhere(b, "cpython-9.9.9-pdp11-unix-gnu", b.lock),
    ),
    "no layer's name": ("a name in it cannot be one", lambda b: named(b, code="../x")),
    "no app's name": ("a name in it cannot be one", lambda b: replace(b, app="../x")),
    "a lock that is none": ("lock cannot be read", lambda b: elsewhere(b, b.slug.interpreter, "alpha >= 1\n")),
    "no commit's name": ("a name in it cannot be one", lambda b: named(b, commit="x")),
    "no environment's name": (
        "a name in it cannot be one",
        lambda b: replace(b, slug=replace(b.slug, environment="x")),
    ),
    "an interpreter of two lines": (
        "a name in it cannot be one",
        lambda b: replace(b, slug=replace(b.slug, interpreter="a\nb")),
    ),
    "a buildpack of two lines": (
        "a name in it cannot be one",
        lambda b: replace(b, slug=replace(b.slug, buildpack="a\nb")),
    ),
    "a file's name of two lines": (
        "does not say what it was made of",
        lambda b: package(b, origin=replace(b.packages[0].origin, filename="a\nb")),
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_documents(case: str, there: There, exported: Exported, tmp_path: Path) -> None:
    """What no platform would say is refused for what is wrong with it, signed as it may be; nothing is published."""
    cause, change = HOSTILE[case]
    bundle = change(exported.bundle)
    small = {name: size for name, size in bundle.files.items() if size == len(exported.blobs.get(name, b""))}
    archive = exported.forged(tmp_path / "forged", bundle, names=list(small.items()))
    with pytest.raises(DaeError, match=f"slug/bad-archive: .*{re.escape(cause)}"):
        there.unpack(archive)
    assert there.layers() == []


def test_an_archive_that_is_taken(there: There, exported: Exported, tmp_path: Path) -> None:
    """What the hostile ones were made of is taken when nothing was changed."""
    there.unpack(exported.forged(tmp_path / "forged"))
    assert EnvironmentStore(there.home).damage(exported.bundle.slug.environment) == []


def spelt(change: Callable[[dict[str, Any]], object]) -> Callable[[Bundle], bytes]:
    def document(bundle: Bundle) -> bytes:
        facts = json.loads(bundle.to_bytes())
        change(facts)
        return canonical_json(facts)

    return document


_READ, _WRITTEN = "document cannot be read", "not written as a platform writes it"
DOCUMENTS: dict[str, tuple[str, Callable[[Bundle], bytes]]] = {
    "no JSON": (_READ, lambda _b: b"nonsense"),
    "a list": (_READ, lambda _b: b"[]"),
    "deep": (_READ, lambda _b: b"[" * 100_000),
    "blanks": (_WRITTEN, lambda b: b.to_bytes() + b" "),
    "one more field": (_WRITTEN, spelt(lambda facts: facts.update(more=1))),
    "a field less": (_READ, spelt(lambda facts: facts.pop("lock"))),
    "another format": ("it has format 2, and this platform reads 1", spelt(lambda facts: facts.update(format=2))),
    "another digest": (_WRITTEN, spelt(lambda facts: facts.update(digest="0" * 64))),
    "a key twice": (_WRITTEN, lambda b: b'{"app":"other",' + b.to_bytes()[1:]),
    "a number for a path": ("no proper name", spelt(lambda facts: facts["code"]["files"][0].__setitem__(0, 5))),
    "half a letter": ("surrogates", lambda b: b.to_bytes().replace(b"app.py", b"app\\ud800")),
    "half of another": ("surrogates", lambda b: b.to_bytes().replace(b"app.py", b"app\\udcff")),
    "a text for a time": ("the timeout of health", spelt(lambda facts: facts["slug"]["health"].update(timeout="x"))),
    "workers without end": ("workers is 1000000000", spelt(lambda facts: facts["slug"].update(workers=10**9))),
    "a process without a name": ("process's name", spelt(lambda facts: facts["slug"]["processes"][0].update(name=""))),
    "a command of two lines": (
        "the command of web",
        spelt(lambda facts: facts["slug"]["processes"][0].update(command="a\nb")),
    ),
}


@pytest.mark.parametrize("case", DOCUMENTS)
def test_hostile_spellings(case: str, there: There, exported: Exported, tmp_path: Path) -> None:
    """There is one spelling of a document; every other is refused, and so is what no slug is."""
    cause, document = DOCUMENTS[case]
    with pytest.raises(DaeError, match=f"slug/bad-archive: .*{cause}"):
        there.unpack(exported.forged(tmp_path / "forged", document=document(exported.bundle)))
    assert there.layers() == []
