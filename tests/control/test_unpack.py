"""Archives from elsewhere: what is not exactly what a platform wrote is refused, and leaves nothing."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

from buildpacks import locks
from control.unpack import CODE, unpack
from core import files
from core.errors import DaeError
from slugs import SlugStore, packing, signing
from slugs.bundle import Bundle, Packed
from slugs.environments import EnvironmentStore
from slugs.packages import PackageStore, package_key
from tests.control.exported import Exported, There, elsewhere, file_of, interpreter, origin


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


def signed(exported: Exported, key: Path) -> dict[str, Any]:
    return {"signature": signing.sign(key, exported.bundle.to_bytes())}


CONTENTS: dict[str, tuple[str, Callable[[Exported, Path], dict[str, Any]]]] = {
    "a file less": ("is not where it should be", lambda e, _t: {"names": [*e.bundle.files.items()][:-1]}),
    "a file more": (
        "more files than its document says",
        lambda e, _t: {"names": [*e.bundle.files.items(), *[*e.bundle.files.items()][:1]]},
    ),
    "another order": ("is not where it should be", lambda e, _t: {"names": [*e.bundle.files.items()][::-1]}),
    "another size": (
        "is not where it should be",
        lambda e, _t: {"names": [(next(iter(e.bundle.files)), 5), *[*e.bundle.files.items()][1:]]},
    ),
    "other bytes": (
        "has other bytes than its name says",
        lambda e, _t: {"blobs": {name: b"x" * size for name, size in [*e.bundle.files.items()][:1]}},
    ),
    "other bytes at the end": (
        "has other bytes than its name says",
        lambda e, _t: {"blobs": {name: b"x" * size for name, size in [*e.bundle.files.items()][-1:]}},
    ),
    "a bit of the signature": (
        "not what was signed",
        lambda e, _t: {"signature": flipped(signing.sign(e.home.signing_key, e.bundle.to_bytes()))},
    ),
    # A key of nothing but zeros has signatures that fit one document in a few, and nobody trusts it.
    "no signature": ("not what was signed|changed while it was read", lambda _e, _t: {"signature": bytes(96)}),
    "of another document": (
        "not what was signed",
        lambda e, _t: {"signature": signing.sign(e.home.signing_key, e.bundle.to_bytes() + b" ")},
    ),
    "another signer": ("changed while it was read", lambda e, t: signed(e, t / "another.key")),
}


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("case", CONTENTS)
def test_the_files_are_those_that_were_signed(case: str, there: There, exported: Exported, tmp_path: Path) -> None:
    """A file less, one more, another order, other bytes, and another signature are refused, each for that."""
    cause, changes = CONTENTS[case]
    with pytest.raises(DaeError, match=f"slug/bad-archive: .*{cause}"):
        there.unpack(exported.forged(tmp_path / "forged", **changes(exported, tmp_path)))
    assert there.layers() == []


def bare(exported: Exported) -> Bundle:
    """A slug without packages, whose archive is small."""
    lock = locks.render({})
    return replace(elsewhere(exported.bundle, exported.bundle.slug.interpreter, lock), packages=())


def test_every_byte_counts(there: There, exported: Exported, tmp_path: Path) -> None:
    """Of the stream, a byte that was changed is noticed, wherever it is; so is what is behind its end, or missing."""
    plain = zstd.decompress(exported.forged(tmp_path / "small", bare(exported)).read_bytes())
    changes = [plain[:at] + bytes([plain[at] ^ 1]) + plain[at + 1 :] for at in range(0, len(plain), 7)]
    changes += [plain[:at] for at in range(0, len(plain), 97)]
    changes += [plain[:-1], plain + b"\0", plain + plain]
    for number, data in enumerate(changes):
        work = there.order(file_of(tmp_path / "changed", zstd.compress(data)), number)
        with pytest.raises(DaeError, match="slug/bad-archive"):
            unpack(work, lambda _line: None)
    assert there.layers() == []
    whole = there.order(file_of(tmp_path / "whole", zstd.compress(plain)), len(changes))
    assert unpack(whole, lambda _line: None) == {"slug": bare(exported).slug.digest, "packages": 0, "kept": 0}


def squeezed(data: bytes, window: int) -> bytes:
    """Compressed so that who unpacks it needs a memory of so many bits."""
    out, parameters = io.BytesIO(), zstd.CompressionParameter
    with zstd.ZstdFile(out, "wb", options={parameters.window_log: window, parameters.compression_level: 1}) as stream:
        for start in range(0, len(data), 1 << 20):
            stream.write(data[start : start + (1 << 20)])
    return out.getvalue()


def test_a_memory_that_is_ours_to_choose(there: There, exported: Exported, tmp_path: Path) -> None:
    """An archive whose window is larger than a platform's is not opened, were it whole; one of that window is."""
    plain = zstd.decompress(exported.archive.read_bytes())
    with pytest.raises(DaeError, match=r"slug/bad-archive: the archive cannot be unpacked: .*memory"):
        there.unpack(file_of(tmp_path / "wide", squeezed(plain, 24)))
    (there.home.builds / "7-import").rename(there.home.builds / "6-import")
    there.unpack(file_of(tmp_path / "narrow", squeezed(plain, 23)))


NONE: dict[str, tuple[str, Callable[[], bytes]]] = {
    "zeros": ("does not begin with a signature", lambda: zstd.compress(bytes(64 << 20))),
    "zeros of a large window": ("cannot be unpacked", lambda: squeezed(bytes(160 << 20), 27)),
    "nothing": ("cannot be unpacked", lambda: b""),
    "nothing, compressed": ("ends too early", lambda: zstd.compress(b"")),
    "another form": ("cannot be unpacked", lambda: b"PK\x03\x04" * 100),
}


@pytest.mark.parametrize("case", NONE)
def test_what_is_no_archive(case: str, there: There, tmp_path: Path) -> None:
    """It is refused as soon as that can be told, whatever it would unpack to."""
    cause, data = NONE[case]
    with pytest.raises(DaeError, match=f"slug/bad-archive: .*{cause}"):
        there.unpack(file_of(tmp_path / "none", data()))


def least(exported: Exported, what: str) -> int:
    """What the slug needs a bound to be."""
    contents = exported.bundle.contents
    sizes = {
        "slugs.archive.DOCUMENT_CAP": len(exported.bundle.to_bytes()),
        "slugs.bundle.FILES_CAP": sum(len(content.files) for content in contents),
        "slugs.bundle.UNPACKED_BYTES": sum(content.size for content in contents),
        "slugs.bundle.FILE_BYTES": max(exported.bundle.files.values()),
    }
    return sizes[what]


BOUNDS = {
    "slugs.archive.DOCUMENT_CAP": "has no document behind its signature",
    "slugs.bundle.FILES_CAP": "it unpacks to more than",
    "slugs.bundle.UNPACKED_BYTES": "it unpacks to more than",
    "slugs.bundle.FILE_BYTES": "cannot have",
}


@pytest.mark.parametrize("what", BOUNDS)
def test_bounds(there: There, exported: Exported, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """What is beyond a bound by one is refused before a file is read; what is just within is taken."""
    monkeypatch.setattr(what, least(exported, what) - 1)
    with pytest.raises(DaeError, match=f"slug/bad-archive: .*{BOUNDS[what]}"):
        there.unpack(exported.archive)
    assert there.layers() == []
    monkeypatch.setattr(what, least(exported, what))
    (there.home.builds / "7-import").rename(there.home.builds / "6-import")
    there.unpack(exported.archive)


@pytest.mark.parametrize("bound", ["archive.DOCUMENT_CAP", "FILES_CAP", "UNPACKED_BYTES"])
def test_nobody_exports_what_nobody_takes(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    """A slug beyond the bounds of an archive is refused where it is exported, before any of it is written."""
    order = packing.Order(str(exported.home.root), "blog", exported.bundle.slug.digest)
    (tmp_path / "order.json").write_bytes(order.to_json())
    names = {"FILES_CAP": "slugs.bundle.FILES_CAP", "UNPACKED_BYTES": "slugs.bundle.UNPACKED_BYTES"}
    most = least(exported, names.get(bound, "slugs.archive.DOCUMENT_CAP"))
    monkeypatch.setattr(f"slugs.packing.{bound}", most - 1)
    with pytest.raises(DaeError, match="slug/too-large"):
        packing.pack(tmp_path, lambda _line: None)
    assert not (tmp_path / packing.ARCHIVE).exists()
    monkeypatch.setattr(f"slugs.packing.{bound}", most)
    packing.pack(tmp_path, lambda _line: None)


def test_it_is_weighed(there: There, exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that would not fit, unpacked, is refused before any of it is written; what is here weighs nothing."""
    free = os.statvfs(there.home.builds).f_bavail * os.statvfs(there.home.builds).f_frsize
    with monkeypatch.context() as patched:
        patched.setattr(files, "KEPT_BYTES", free - (4 << 20))
        with pytest.raises(
            DaeError, match=r"platform/disk-full: unpacking the archive takes up to 2\d\.\d MB and 9 files"
        ):
            there.unpack(exported.archive)
        assert there.layers() == []
    (there.home.builds / "7-import").rename(there.home.builds / "6-import")
    there.unpack(exported.archive)
    SlugStore(there.home).add_code("blog", exported.bundle.slug.code, there.home.builds / "7-import" / CODE)
    (there.home.builds / "7-import").rename(there.home.builds / "5-import")
    free = os.statvfs(there.home.builds).f_bavail * os.statvfs(there.home.builds).f_frsize
    monkeypatch.setattr(files, "KEPT_BYTES", free - (4 << 20))
    assert there.unpack(exported.archive)["kept"] == 2


# Where the program ends, by the call that it makes then; "after" it was made.
KILLED = """
import os, signal, sys
from control import unpack
from slugs import layers
from slugs.archive import Reader
from slugs.environments import EnvironmentStore
def end(*_words):
    os.kill(os.getpid(), signal.SIGKILL)
def after(function):
    return lambda *words: (function(*words), end())
moment = sys.argv[1]
if moment == "a copy is to be written":
    unpack.shutil.copyfile = lambda *_words, **_named: end()
elif moment == "all was read":
    Reader.end = end
elif moment == "nothing is published":
    layers.publish = end
elif moment == "one package is published":
    layers.publish = after(layers.publish)
elif moment == "all packages are":
    EnvironmentStore.assemble = end
elif moment == "all is":
    EnvironmentStore.assemble = after(EnvironmentStore.assemble)
sys.exit(unpack.main(sys.argv[2:]))
"""
MOMENTS = [line.split('"')[1] for line in KILLED.splitlines() if "if moment" in line]


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed(there: There, exported: Exported, moment: str) -> None:
    """Killed at any moment: nothing half is under a name, sweeping leaves whole packages only, and it goes again."""
    work = there.order(exported.archive)
    words = [sys.executable, "-I", "-c", KILLED, moment, str(work)]
    assert subprocess.run(words, stdout=subprocess.DEVNULL).returncode == -signal.SIGKILL
    packages = [name for name in there.layers() if not name.startswith(".")]
    assert len(packages) == {"one package is published": 1, "all packages are": 3, "all is": 4}.get(moment, 0)
    SlugStore(there.home).sweep()
    store = PackageStore(there.home)
    assert sorted(there.layers()) == sorted(packages)
    for path in there.home.packages.iterdir():
        assert store.damage(path.name) == []
    work.rename(work.with_name("6-import"))
    there.unpack(exported.archive)
    assert EnvironmentStore(there.home).damage(exported.bundle.slug.environment) == []


def test_another_was_first(there: There, exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that somebody else published meanwhile, with other bytes, stays; no environment is made of it."""
    key, store = package_key(origin("alpha"), interpreter().id), PackageStore(there.home)

    def sync() -> None:
        with store.adding(key, origin("alpha")) as tree:
            (tree / "mine").write_text("mine")

    monkeypatch.setattr(os, "sync", sync)
    with pytest.raises(DaeError, match=r"slug/damaged: alpha-1.0-py3-none-any.whl was not written as it came"):
        there.unpack(exported.archive)
    assert not EnvironmentStore(there.home).environment(exported.bundle.slug.environment)
    manifest = store.manifest(key)
    assert manifest is not None and manifest.content.paths == {"mine"}


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
