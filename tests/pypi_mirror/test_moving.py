"""sync, export and import: what a site without a network needs, brought there as one file."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import pytest
from backports import zstd

from control import mirror_unpack
from control.mirror_pack import FORM
from core.errors import DaeError
from core.nouns import canonical_json
from core.paths import Home
from pypi_mirror import private, rights
from pypi_mirror.bundle import Bundle
from pypi_mirror.imports import Imports
from pypi_mirror.model import File, Project
from pypi_mirror.publish import publish
from pypi_mirror.store import Store
from slugs import signing
from slugs.archive import Reader, Writer
from tests.pypi_mirror.clients import UV, run
from tests.pypi_mirror.desk import Desk, serving, serving_as
from tests.pypi_mirror.front import front
from tests.pypi_mirror.mirror_process import MirrorProcess
from tests.pypi_mirror.test_publish import wheel
from tests.pypi_mirror.upstream_model import UpstreamModel, build_wheel

LINUX, WINDOWS = ("gamma-1.0-cp311-cp311-manylinux_2_17_x86_64.whl", "gamma-1.0-cp311-cp311-win_amd64.whl")


@dataclass
class Source:
    """A platform with a network: ``alpha`` (1.0 and 2.0, needs ``beta``), ``gamma`` for two systems, and ``ours``."""

    desk: Desk
    upstream: UpstreamModel
    key: str

    def list(self, text: str) -> Path:
        path = self.desk.folder / "list.txt"
        path.write_text(text)
        return path

    @property
    def signing_key(self) -> Path:
        return Home(self.desk.folder).signing_key


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    folder, upstream = tmp_path_factory.mktemp("src"), UpstreamModel()
    for version in ("1.0", "2.0"):
        upstream.add("alpha", version, requires="beta")
    upstream.add("beta")
    for filename in (LINUX, WINDOWS):
        upstream.add_file("gamma", filename, build_wheel("gamma", "1.0"))
    upstream.add_file("gamma", "gamma-0.9.tar.gz", b"no sdist, and nobody opens it")
    mirror = MirrorProcess(folder, upstream.url)
    publish(Home(folder), wheel(folder, "ours"))
    with serving(folder) as told:
        desk = Desk(mirror, folder, told)
        yield Source(desk, upstream, json.loads(desk.run("slugs", "keys", "--json")[0])["own"])
    mirror.stop()
    upstream.close()


@pytest.fixture(scope="module")
def archive(source: Source) -> Path:
    """All that the source has of alpha and beta, and what is its own."""
    listed, path = source.list("alpha\nbeta\n"), source.desk.folder / "index.dae.tar.zst"
    source.desk.dae("sync", listed)
    source.desk.dae("export", path, listed, "--all-private")
    return path


def test_what_is_listed_is_fetched_once(source: Source) -> None:
    """sync fetches the files that lines, hashes, versions, kinds and platforms choose; again, it fetches none.

    What failed is told, and the next sync fetches that alone. A marker that does not hold leaves its line out.
    """
    dae, upstream = source.desk.dae, source.upstream
    listed = source.list("gamma<2\nalpha; python_version < '3'\n")
    dry = json.loads(dae("sync", listed, "--platform", "manylinux*", "--dry-run", "--json")[0])
    assert (dry["missing"], [row["project"] for row in dry["projects"]]) == (2, ["gamma"])
    assert upstream.counts[f"/up/{LINUX}"] == 0
    table, _ = dae("sync", listed, "--platform", "manylinux*", "--kind", "wheel", "--newest", "1")
    assert table.splitlines()[1].split()[:3] == ["gamma", "1", "1"]
    upstream.statuses[f"/up/{WINDOWS}"] = 500
    _, told = dae("sync", listed, status=1)
    assert f"{WINDOWS}: mirror/unavailable" in told
    upstream.statuses.clear()
    again = json.loads(dae("sync", listed, "--json")[0])
    assert [(row["files"], row["fetched"], row["failed"]) for row in again["projects"]] == [(3, 1, [])]
    assert json.loads(dae("sync", listed, "--json")[0])["projects"][0]["fetched"] == 0
    assert [upstream.counts[f"/up/{name}"] for name in (LINUX, "gamma-0.9.tar.gz")] == [1, 1]
    assert "no index has a project nowhere" in dae("sync", source.list("nowhere\n"), status=1)[1]
    assert "auth/forbidden" in dae("sync", listed, who="bob", status=1)[1]


def test_a_site_without_a_network(source: Source, archive: Path, tmp_path: Path) -> None:
    """What was exported is installed by pip and uv from another platform, through its nginx, with upstream refused.

    Only a trusted platform's file is taken; private projects come when they are asked for; again changes nothing.
    """
    weighed = json.loads(source.desk.dae("export", tmp_path / "x", source.list("beta"), "--dry-run", "--json")[0])
    assert (weighed["projects"], weighed["files"]) == (1, 1)
    assert not (tmp_path / "x").exists()
    with front() as there:
        there.upstream.refuse()
        account = there.nginx.settings.account if os.geteuid() == 0 else None
        with serving_as(there.nginx.home.root, account) as told:
            desk = Desk(there.mirror, tmp_path, told)
            assert "mirror/untrusted" in desk.dae("import", archive, status=1)[1]
            desk.run("slugs", "trust", "source", source.key)
            assert "auth/forbidden" in desk.dae("import", archive, who="bob", status=1)[1]
            came, words = desk.dae("import", archive, "--json")
            assert json.loads(came) == {"projects": 2, "files": 3, "kept": {}, "left": ["ours"]}
            assert "ours is private, and was left out" in words
            assert there.get("/pypi/simple/ours/", door="nginx").status == 503, (
                "nobody can tell whether upstream has it"
            )
            assert '"/pypi/project/alpha/"' in there.get("/pypi/", door="nginx").text
            assert "1.0" in there.get("/pypi/project/alpha/", door="nginx").text
            pip: list[str | Path] = [sys.executable, "-m", "pip", "install", "--no-cache-dir"]
            pip += ["--target", tmp_path / "by-pip"]
            run(tmp_path, *pip, "--index-url", there.index, "alpha")
            assert (tmp_path / "by-pip" / "beta").is_dir()
            assert '"2.0"' in (tmp_path / "by-pip" / "alpha" / "__init__.py").read_text().replace("'", '"')
            run(tmp_path, UV, "pip", "install", "--target", tmp_path / "by-uv", "--index-url", there.index, "alpha<2")
            assert (tmp_path / "by-uv" / "beta").is_dir()
            assert json.loads(desk.dae("import", archive, "--private", "ours", "--json")[0])["left"] == []
            run(tmp_path, *pip, "--index-url", there.index, "--no-deps", "ours")
            assert "ours" in desk.dae("projects")[0]
            assert list((there.nginx.home.mirror / "tmp").iterdir()) == []
            assert list((there.nginx.home.mirror / "imports").iterdir()) == []
            assert list(there.nginx.home.builds.iterdir()) == []


def test_a_damaged_record(source: Source, elsewhere: Path) -> None:
    """Projects whose record cannot be read are named and left out; all else is exported, and the command fails."""
    desk, home = source.desk, Home(source.desk.folder)
    damaged = [home.mirror / "projects" / "rotten.json", home.mirror / "private" / "broken.json"]
    for path in damaged:
        path.write_text("{")
    try:
        told, words = desk.dae("export", elsewhere / "all", "--all-private", "--json", status=1)
        _, listed = desk.dae("export", elsewhere / "part", source.list("rotten\nnone\n"), status=1)
    finally:
        for path in damaged:
            path.unlink()
    found = json.loads(told)
    assert (found["damaged"], found["missing"]) == (["rotten", "broken"], [])
    assert "mirror/damaged: all was exported but what has a damaged record: rotten, broken" in words
    assert "mirror/damaged: all was exported but what has a damaged record: rotten" in listed
    assert "nothing of none that the list names is here" in listed
    with (elsewhere / "all").open("rb") as stream:
        bundle = Bundle.from_bytes(Reader(stream, FORM).document()[0])
    assert [project.name for project in bundle.private] == ["ours"]
    assert (len(bundle.files), len(bundle.upstream) + 1) == (found["files"], found["projects"])
    opened(elsewhere, (elsewhere / "all").read_bytes(), source.key)


Change = Callable[[dict[str, object]], None]


def _file(facts: dict[str, object]) -> dict[str, object]:
    return facts["upstream"][0]["files"][0]  # type: ignore[index, no-any-return]


def _set(key: str, value: object) -> Change:
    return lambda facts: _file(facts).__setitem__(key, value)


HOSTILE: dict[str, Change] = {
    "a path": _set("filename", "../../etc/passwd"),
    "a file of another project": _set("filename", "beta-1.0-py3-none-any.whl"),
    "an address to fetch it from": _set("url", "http://127.0.0.1/secret"),
    "no hash": _set("sha256", "0" * 63),
    "another size": _set("size", 1),
    "a negative size": _set("size", -1),
    "no size": _set("size", None),
    "a size of no file": _set("size", 1 << 60),
    "a script as provenance": _set("provenance", "javascript:alert(1)"),
    "a number as text": _set("requires_python", 3),
    "a time that is none": _set("upload_time", "yesterday"),
    "a yank that is none": _set("yanked", 1),
    "a key more": _set("more", 1),
    "a project twice": lambda facts: facts.__setitem__("upstream", facts["upstream"] * 2),  # type: ignore[operator]
    "a file twice": lambda facts: facts["upstream"][0]["files"].append(_file(facts)),  # type: ignore[index]
    "both kinds": lambda facts: facts.__setitem__("private", facts["upstream"]),
    "another format": lambda facts: facts.__setitem__("format", 2),
    "a file that is not there": _set("sha256", "0" * 64),
}


def opened(home: Path, data: bytes, key: str) -> None:
    """Have an archive opened as control does; raises what it raises."""
    work = home / "work"
    work.mkdir(exist_ok=True)
    (work / "archive").write_bytes(data)
    order = mirror_unpack.Order(str(home), f"import-{'a' * 32}", (key,), None)
    (work / "order.json").write_bytes(order.to_json())
    mirror_unpack.unpack(work, lambda _line: None)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    Store(Home(tmp_path))
    return tmp_path


def left(home: Path) -> list[str]:
    return [str(path) for path in (home / "mirror").rglob("*") if path.is_file() and path.name != "lock"]


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_document(source: Source, archive: Path, elsewhere: Path, what: str) -> None:
    """Signed by a trusted platform or not: what no platform would say is refused, and nothing of it is left."""
    with archive.open("rb") as stream:
        document, _ = Reader(stream, FORM).document()
    facts = json.loads(document)
    HOSTILE[what](facts)
    document = canonical_json(facts)
    forged = elsewhere / "forged"
    with forged.open("wb") as out:
        writer = Writer(out, FORM)
        writer.document(document, signing.sign(source.signing_key, document, FORM.says))
        store = Store(Home(source.desk.folder))
        for project in ("alpha", "beta", "ours"):
            found = store.load(project)
            for file in found.files if found else ():
                writer.file(file.sha256, file.size or 0, store.file_path(file.sha256, file.filename))
        writer.end()
    with pytest.raises(DaeError) as refused:
        opened(elsewhere, forged.read_bytes(), source.key)
    assert refused.value.code == "mirror/bad-archive"
    assert left(elsewhere) == []


def test_a_changed_archive(source: Source, archive: Path, elsewhere: Path) -> None:
    """Wherever a byte is changed, the tar has a link or a longer name, or it is cut: refused, and nothing is left.

    A signature over a slug is none over an export.
    """
    whole = archive.read_bytes()
    places = [0, 60, 300, len(whole) // 2, len(whole) - 3]
    changed = [whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :] for at in places]
    plain = zstd.decompress(whole)
    at = plain.index(b"files/")
    link = tarfile.TarInfo("files/" + "0" * 64)
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    changed.append(zstd.compress(plain[:at] + link.tobuf(tarfile.USTAR_FORMAT) + plain[at:]))
    changed.append(zstd.compress(plain[:at] + plain[at:].replace(b"files/", b"/iles/", 1)))
    with archive.open("rb") as stream:
        document, _ = Reader(stream, FORM).document()
    other = bytearray(plain)
    other[512 : 512 + 96] = signing.sign(source.signing_key, document)
    changed.append(zstd.compress(bytes(other)))
    for number, data in enumerate([*changed, whole[:-1], whole[: len(whole) // 2], whole + b"x", b""]):
        with pytest.raises(DaeError) as refused:
            opened(elsewhere, data, source.key)
        assert refused.value.code == "mirror/bad-archive", number
    opened(elsewhere, whole, source.key)
    assert len(left(elsewhere)) == 5, "the document and four files, when it is as it was made"


def staged(store: Store, bundle: Bundle, contents: dict[str, bytes]) -> str:
    name = f"import-{len(list((store.root / 'tmp').iterdir())):032x}"
    folder = store.root / "tmp" / name
    (folder / "files").mkdir(parents=True)
    (folder / "bundle.json").write_bytes(bundle.to_bytes())
    for sha256, content in contents.items():
        (folder / "files" / sha256).write_bytes(content)
    return name


def travelled(name: str, body: bytes, *, private: bool = False) -> tuple[Project, dict[str, bytes]]:
    sha256 = hashlib.sha256(body).hexdigest()
    file = File(f"{name}-1.0-py3-none-any.whl", sha256, url="" if private else "unknown:", size=len(body))
    return Project(name, (file,), ("1.0",)), {sha256: body}


def test_nothing_is_replaced(tmp_path: Path) -> None:
    """A private name stays, a reserved one too; a file that is here with other bytes refuses the whole.

    What was deleted here does not come back; files that are not here yet are added, to private projects, too.
    """
    store = Store(Home(tmp_path))
    imports = Imports(store, lambda name: name == "reserved")
    own = publish(Home(tmp_path), wheel(tmp_path, "own"))
    came, contents = travelled("own", build_wheel("own", "1.0"))
    other, more = travelled("reserved", build_wheel("reserved", "1.0"))
    told = imports.take(staged(store, Bundle((came, other)), contents | more))
    assert sorted(told["kept"]) == ["own", "reserved"]
    assert store.load("own") == Project("own", (own,), ("1.0",))
    assert store.load("reserved") is None
    first, contents = travelled("thing", build_wheel("thing", "1.0"))
    imports.take(staged(store, Bundle((first,)), contents))
    second, contents = travelled("thing", build_wheel("thing", "1.0", padding=1))
    fresh, more = travelled("fresh", build_wheel("fresh", "1.0"))
    name = staged(store, Bundle((fresh, second)), contents | more)
    with pytest.raises(DaeError) as refused:
        imports.take(name)
    assert refused.value.code == "mirror/file-exists"
    assert (store.load("thing"), store.load("fresh")) == (first, None)
    replaced = replace(second, files=(replace(second.files[0], url=""),))
    with pytest.raises(DaeError):
        imports.take(staged(store, Bundle(private=(replaced,)), contents))
    later = replace(
        own, filename="own-2.0-py3-none-any.whl", sha256=next(iter(more)), size=len(next(iter(more.values())))
    )
    imports.take(staged(store, Bundle(private=(Project("own", (later,), ("2.0",)),)), more))
    assert (project := store.load("own")) and project.files == (own, later)
    private.delete(store, "own", "2.0", "wrong", "own", rights.PLATFORM)
    imports.take(staged(store, Bundle(private=(Project("own", (later,), ("2.0",)),)), more))
    assert (project := store.load("own")) and project.files == (own,)


def test_upstream_is_asked_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of upstream that is renewed while a bundle comes in keeps what is new on it, and gets its files, too."""
    store = Store(Home(tmp_path))
    imports = Imports(store, lambda _name: False)
    came, contents = travelled("thing", build_wheel("thing", "1.0"))
    newer = File("thing-2.0-py3-none-any.whl", "2" * 64, "http://up/", size=1)
    store.save(Project("thing"), 10**18)
    publish_file = store.publish_file

    def renewed(stream: BinaryIO, temporary: Path, file: File) -> Path:
        store.save(Project("thing", (newer,), ("2.0",)), 2 * 10**18)
        return publish_file(stream, temporary, file)

    monkeypatch.setattr(store, "publish_file", renewed)
    imports.take(staged(store, Bundle((came,)), contents))
    assert store.load("thing") == Project("thing", (newer, *came.files), ("2.0", "1.0"))
    assert store.fetched("thing") == 2 * 10**9


def test_another_spelling_is_met_before_anything_changes(tmp_path: Path) -> None:
    """A file that ours stand against refuses the whole; what was deleted stays away; what is here once comes again."""
    store = Store(Home(tmp_path))
    imports = Imports(store, lambda _name: False)

    def sdists(*endings: str) -> tuple[Project, dict[str, bytes]]:
        bodies = {ending: ending.encode() * 9 for ending in endings}
        files = [
            File(f"own-1.0{ending}", hashlib.sha256(body).hexdigest(), url="", size=len(body))
            for ending, body in bodies.items()
        ]
        return Project("own", tuple(files), ("1.0",)), {
            hashlib.sha256(body).hexdigest(): body for body in bodies.values()
        }

    ours, contents = sdists(".tar.gz")
    imports.take(staged(store, Bundle(private=(ours,)), contents))
    theirs, more = sdists(".zip")
    fresh, other = travelled("fresh", build_wheel("fresh", "1.0"))
    with pytest.raises(DaeError, match="mirror/file-exists"):
        imports.take(staged(store, Bundle((fresh,), (theirs,)), more | other))
    assert (store.load("own"), store.load("fresh")) == (ours, None)
    assert list((store.root / "imports").iterdir()) == []
    private.delete(store, "own", "1.0", "wrong", "own", rights.PLATFORM)
    imports.take(staged(store, Bundle((fresh,), (theirs,)), more | other))
    assert (project := store.load("own")) and project.files == ()
    assert store.load("fresh") == fresh
    private.release(store, "own", "own", rights.PLATFORM)
    assert list((store.root / "imports").iterdir()) == []


def test_both_spellings_come_and_come_again(tmp_path: Path) -> None:
    """A project that has both where it comes from has both here, and its import may be done again."""
    store = Store(Home(tmp_path))
    imports = Imports(store, lambda _name: False)
    bodies = {ending: ending.encode() * 9 for ending in (".tar.gz", ".zip")}
    files = tuple(File(f"own-1.0{e}", hashlib.sha256(b).hexdigest(), url="", size=len(b)) for e, b in bodies.items())
    bundle = Bundle(private=(Project("own", files, ("1.0",)),))
    contents = {hashlib.sha256(body).hexdigest(): body for body in bodies.values()}
    for _ in range(2):
        imports.take(staged(store, bundle, contents))
        assert (project := store.load("own")) and project.files == files
        assert list((store.root / "imports").iterdir()) == []


def test_an_import_that_was_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off before the decision nothing is changed; after it, the next start of the mirror enters the rest."""
    store = Store(Home(tmp_path))
    imports = Imports(store, lambda _name: False)
    one, contents = travelled("one", build_wheel("one", "1.0"))
    two, more = travelled("two", build_wheel("two", "1.0"))
    name = staged(store, Bundle((one, two)), contents | more)

    def full(project: Project, _fetched: int) -> None:
        raise OSError(28, f"no room for {project.name}")

    with monkeypatch.context() as patched:
        patched.setattr(store, "put", full)
        with pytest.raises(OSError, match="no room"):
            imports.take(name)
        imports.settle()
    assert store.names() == []
    Imports(store, lambda _name: False).settle()
    assert (store.load("one"), store.load("two")) == (one, two)
    assert list((store.root / "imports").iterdir()) == []
