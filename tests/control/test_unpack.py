"""Archives from elsewhere: what is not exactly what a platform wrote is refused, and leaves nothing."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

from control.unpack import CODE, Order, unpack
from core.errors import DaeError
from core.nouns import canonical_json
from core.paths import Home
from slugs import SlugStore, signing
from slugs.bundle import Bundle, Packed
from slugs.environments import EnvironmentStore
from slugs.layers import Content, File
from slugs.packages import PackageStore, package_key
from tests.control.exported import Exported, file_of, interpreter, origin


@dataclass
class There:
    """A home that has nothing yet."""

    home: Home
    key: str

    def order(self, archive: Path, number: int = 7) -> Path:
        python = interpreter()
        work = self.home.builds / f"{number}-import"
        work.mkdir()
        order = Order(
            home=str(self.home.root),
            app="blog",
            archive=str(archive),
            key=self.key,
            label=f"build{number}",
            python=str(python.python),
            version=python.version,
            interpreter=python.id,
        )
        (work / "order.json").write_bytes(order.to_json())
        return work

    def unpack(self, archive: Path) -> dict[str, Any]:
        return unpack(self.order(archive), lambda _line: None)

    def layers(self) -> list[str]:
        folders = (self.home.packages, self.home.environments)
        return [path.name for folder in folders if folder.is_dir() for path in folder.iterdir()]


@pytest.fixture
def there(tmp_path: Path, exported: Exported) -> There:
    home = Home(tmp_path / "there")
    home.builds.mkdir(parents=True)
    return There(home, signing.public_key(exported.home.signing_key))


def test_it_arrives(there: There, exported: Exported) -> None:
    """Packages, environment and code arrive as they were; packages that are here already are those that are taken."""
    result = there.unpack(exported.archive)
    assert result == {"slug": exported.bundle.slug.digest, "packages": 2, "kept": 0}
    environment = exported.bundle.slug.environment
    store = EnvironmentStore(there.home)
    assert store.damage(environment) == []
    assert store.environment(environment) == EnvironmentStore(exported.home).environment(environment)
    code = there.home.builds / "7-import" / CODE
    assert (code / "sub" / "link").readlink() == Path("../app.py")
    assert (code / "app.py").read_text() == "same = True\n"
    (there.home.builds / "7-import").rename(there.home.builds / "6-import")
    assert there.unpack(exported.archive)["kept"] == 2
    assert store.damage(environment) == []


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


def within(bundle: Bundle, path: str) -> Bundle:
    """A package that brings a file of that path."""
    content = bundle.packages[0].content
    files = tuple(sorted([*content.files, content.files[0]._replace(path=path)]))
    return package(bundle, content=Content(files, ()))


HOSTILE: dict[str, Callable[[Bundle], Bundle]] = {
    "absolute": lambda b: changed(b, entry(b, "/etc/passwd")),
    "upwards": lambda b: changed(b, entry(b, "../out")),
    "upwards inside": lambda b: changed(b, entry(b, "sub/../../out")),
    "dot": lambda b: changed(b, entry(b, "./x")),
    "empty part": lambda b: changed(b, entry(b, "sub//x")),
    "no name": lambda b: changed(b, entry(b, "")),
    "nul": lambda b: changed(b, entry(b, "a\0b")),
    "long name": lambda b: changed(b, entry(b, "n" * 256)),
    "long path": lambda b: changed(b, entry(b, "n/" * 600 + "x")),
    "twice": lambda b: changed(b, (*b.code.files, b.code.files[-1])),
    "not sorted": lambda b: changed(b, (b.code.files[0]._replace(path="zzz"), *b.code.files)),
    "file and folder": lambda b: changed(b, entry(b, f"{b.code.files[0].path}/x")),
    "through a link": lambda b: changed(b, entry(b, "sub/link/x")),
    "file and link": lambda b: changed(b, entry(b, "sub/link")),
    "link out": lambda b: changed(b, links=(("sub/link", "../../etc"),)),
    "absolute link": lambda b: changed(b, links=(("sub/link", "/etc/passwd"),)),
    "links out through one another": lambda b: changed(b, links=(("d", "."), ("e", "d/d/d/../../.."))),
    "bad digest": lambda b: changed(b, first(b, sha256="x" * 64)),
    "negative size": lambda b: changed(b, first(b, size=-1)),
    "two sizes": lambda b: changed(b, first(b, size=1)),
    "bomb": lambda b: changed(b, first(b, size=5 << 30)),
    "mode": lambda b: changed(b, first(b, program=0o4755)),
    "one file for all the room there is": lambda b: package(
        b,
        content=Content(
            tuple(File(f"lib/{n:06}", b.packages[1].content.files[-1].sha256, 3 << 30, False) for n in range(6)), ()
        ),
    ),
    "package with a link": lambda b: package(b, content=Content(b.packages[0].content.files, (("x", "y"),))),
    "package is the interpreter": lambda b: within(b, "bin/python3.11"),
    "package is the environment": lambda b: within(b, "pyvenv.cfg"),
    "package is a folder of programs": lambda b: package(
        b, content=Content((b.packages[0].content.files[0]._replace(path="bin"),), ())
    ),
    "link to nothing": lambda b: changed(b, links=(("sub/link", ""),)),
    "link to too much": lambda b: changed(b, links=(("sub/link", "x/" * 2500),)),
    "package is a library folder": lambda b: within(b, "lib64/x"),
    "package of no file": lambda b: package(b, origin=replace(b.packages[0].origin, sha256="")),
    "another package than in the lock": lambda b: package(b, origin=replace(b.packages[0].origin, name="gamma")),
    "another file than in the lock": lambda b: package(b, origin=replace(b.packages[0].origin, sha256="0" * 64)),
    "a package less": lambda b: replace(b, packages=b.packages[:1]),
    "another order": lambda b: replace(b, packages=b.packages[::-1]),
    "another lock": lambda b: replace(b, lock=b.lock + "\n"),
    "another environment's name": lambda b: replace(b, slug=replace(b.slug, environment="0" * 64)),
    "another interpreter": lambda b: replace(b, slug=replace(b.slug, interpreter="cpython-9.9.9-pdp11-unix-gnu")),
    "no layer's name": lambda b: replace(b, slug=replace(b.slug, code="../x")),
    "no app's name": lambda b: replace(b, app="../x"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_documents(case: str, there: There, exported: Exported, tmp_path: Path) -> None:
    """What no platform would say is refused, signed as it may be, and nothing is published or left."""
    bundle = HOSTILE[case](exported.bundle)
    small = {name: size for name, size in bundle.files.items() if size == len(exported.blobs.get(name, b""))}
    archive = exported.forged(tmp_path / "forged", bundle, names=list(small.items()))
    with pytest.raises(DaeError) as refused:
        there.unpack(archive)
    assert refused.value.code == "slug/bad-archive", refused.value
    assert there.layers() == []


def spelt(change: Callable[[dict[str, Any]], object]) -> Callable[[Bundle], bytes]:
    def document(bundle: Bundle) -> bytes:
        import json

        facts = json.loads(bundle.to_bytes())
        change(facts)
        return canonical_json(facts)

    return document


DOCUMENTS: dict[str, Callable[[Bundle], bytes]] = {
    "no JSON": lambda _b: b"nonsense",
    "a list": lambda _b: b"[]",
    "deep": lambda _b: b"[" * 100_000,
    "blanks": lambda b: b.to_bytes() + b" ",
    "one more field": spelt(lambda facts: facts.update(more=1)),
    "a field less": spelt(lambda facts: facts.pop("lock")),
    "another format": spelt(lambda facts: facts.update(format=2)),
    "another digest": spelt(lambda facts: facts.update(digest="0" * 64)),
    "a key twice": lambda b: b'{"app":"other",' + b.to_bytes()[1:],
    "a number for a path": spelt(lambda facts: facts["code"]["files"][0].__setitem__(0, 5)),
    "half a letter": lambda b: b.to_bytes().replace(b"app.py", b"app\\ud800"),
}


@pytest.mark.parametrize("case", DOCUMENTS)
def test_hostile_spellings(case: str, there: There, exported: Exported, tmp_path: Path) -> None:
    """There is one spelling of a document; every other is refused."""
    with pytest.raises(DaeError, match="slug/bad-archive"):
        there.unpack(exported.forged(tmp_path / "forged", document=DOCUMENTS[case](exported.bundle)))
    assert there.layers() == []


def test_the_files_are_those_that_were_signed(there: There, exported: Exported, tmp_path: Path) -> None:
    """A file less, one more, another order, other bytes, and another signature are refused."""
    names, document = list(exported.bundle.files.items()), exported.bundle.to_bytes()
    signature = signing.sign(exported.home.signing_key, document)
    other = {"names": [(names[0][0], 5), *names[1:]]}
    cases: list[dict[str, Any]] = [
        {"names": names[:-1]},
        {"names": [*names, names[0]]},
        {"names": names[::-1]},
        {"signature": signature[:-1] + bytes([signature[-1] ^ 1])},
        {"signature": signing.sign(tmp_path / "another.key", document)},
        {"signature": bytes(96)},
        other,
    ]
    for number, case in enumerate(cases):
        with pytest.raises(DaeError, match="slug/bad-archive"):
            There(there.home, there.key).unpack(exported.forged(tmp_path / "forged", **case))
        assert there.layers() == [], case
        (there.home.builds / "7-import").rename(there.home.builds / f"{number}-was")


def test_every_byte_counts(there: There, exported: Exported, tmp_path: Path) -> None:
    """Of the stream, a byte that was changed is noticed, wherever it is; so is what is behind its end, or missing."""
    small = replace(exported.bundle, packages=(), code=exported.bundle.code)
    plain = zstd.decompress(exported.forged(tmp_path / "small", small).read_bytes())
    changes = [plain[:at] + bytes([plain[at] ^ 1]) + plain[at + 1 :] for at in range(0, len(plain), 7)]
    changes += [plain[:at] for at in range(0, len(plain), 97)]
    changes += [plain + b"\0", plain + plain]
    for number, data in enumerate(changes):
        path = file_of(tmp_path / "changed", zstd.compress(data))
        work = there.order(path, number)
        with pytest.raises(DaeError, match="slug/bad-archive"):
            unpack(work, lambda _line: None)
    assert there.layers() == []


def test_bombs(there: There, tmp_path: Path) -> None:
    """What unpacks to more than it may is refused after as many bytes; a window larger than ours is not opened."""
    zeros = io.BytesIO()
    parameters = zstd.CompressionParameter
    with zstd.ZstdFile(zeros, "wb", options={parameters.window_log: 27, parameters.compression_level: 1}) as out:
        for _ in range(160):
            out.write(bytes(1 << 20))
    for number, data in enumerate([zeros.getvalue(), zstd.compress(bytes(64 << 20)), b"", b"PK\x03\x04" * 100]):
        work = there.order(file_of(tmp_path / "bomb", data), number)
        with pytest.raises(DaeError, match="slug/bad-archive"):
            unpack(work, lambda _line: None)


@pytest.mark.parametrize("moment", ["begun", "published"])
def test_killed(there: There, exported: Exported, moment: str) -> None:
    """Killed at any moment: nothing half is under a name, sweeping leaves whole packages only, and it goes again."""
    work = there.order(exported.archive)
    process = subprocess.Popen([sys.executable, "-I", "-m", "control.unpack", work], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        names = there.layers()
        if names and (moment == "begun" or any(not name.startswith(".") for name in names)):
            break
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    SlugStore(there.home).sweep()
    store = PackageStore(there.home)
    assert not [name for name in there.layers() if name.startswith(".")]
    folder = there.home.packages
    for path in folder.iterdir() if folder.is_dir() else ():
        assert store.damage(path.name) == []
    work.rename(work.with_name("6-import"))
    there.unpack(exported.archive)
    assert EnvironmentStore(there.home).damage(exported.bundle.slug.environment) == []


def test_a_package_that_is_here_stays(there: There, exported: Exported, tmp_path: Path) -> None:
    """An archive never changes what other apps have: of a package that is here, its own bytes are not taken."""
    python = interpreter()
    key = package_key(origin("alpha"), python.id)
    store = PackageStore(there.home)
    with store.adding(key, origin("alpha")) as tree:
        (tree / "mine").write_text("mine")
    mine = store.find(key)
    result = there.unpack(exported.archive)
    assert (result["kept"], store.find(key)) == (1, mine)
    made = EnvironmentStore(there.home).environment(exported.bundle.slug.environment)
    assert made is not None and mine in made.packages
    packed: Packed = exported.bundle.packages[0]
    assert packed.origin == origin("alpha")
