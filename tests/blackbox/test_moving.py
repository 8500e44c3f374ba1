"""The packaged release: a slug leaves one platform as a file, and is released on another that has no index."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from backports import zstd

from core.paths import Home
from slugs import signing
from slugs.archive import Reader, Writer
from slugs.bundle import Bundle
from tests.blackbox.project import Project, eventually
from tests.blackbox.test_crashes import parts, strike
from tests.blackbox.test_layers import flip
from tests.conftest import RunningPlatform, bring_up, erased, free_port, platform_folder

NOWHERE = "http://127.0.0.1:9/simple/"  # the discard port: no index answers there


@dataclass
class Two:
    """Two platforms: ``here`` an app is live and exported, ``there`` it is only made, and no index answers."""

    here: Project
    there: RunningPlatform
    archive: Path
    digest: str

    def there_dae(self, *args: str) -> subprocess.CompletedProcess[str]:
        return self.there.dae(*args)

    def trust(self) -> None:
        own = json.loads(self.here.dae("slugs", "keys", "--json").stdout)["own"]
        assert self.there_dae("slugs", "trust", "here", own).returncode == 0

    def layers(self) -> list[str]:
        """Everything that stands in the layers' folders there, unfinished things too."""
        home = self.there.home
        folders = [home / "slugs", home / "layers" / "env", home / "layers" / "pkg", *(home / "layers/code").glob("*")]
        return sorted(str(path) for folder in folders if folder.is_dir() for path in folder.iterdir())

    def unfinished(self) -> list[str]:
        return [path.name for path in (self.there.home / "builds").iterdir()]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    tmp = tmp_path_factory.mktemp("moving")
    with ExitStack() as stack:
        here, there = (
            stack.enter_context(
                erased(RunningPlatform(stack.enter_context(platform_folder()), free_port(), environ=environ))
            )
            for environ in ({}, {"DAE_UPSTREAM": NOWHERE})
        )
        bring_up(here)
        bring_up(there)
        project = Project.create(here, tmp / "blog", "blog", Project.flask("one"))
        (project.folder / "static" / "again.txt").symlink_to("hello.txt")
        project.commit("with a link")
        pushed = project.push()
        assert pushed.returncode == 0, pushed.stderr
        exported = project.dae("slugs", "export", "-s", "dev")
        assert exported.returncode == 0, exported.stderr
        for name in ("blog", "other"):
            assert there.dae("create", "--no-remote", name).returncode == 0
        digest = json.loads(project.dae("releases", "--json").stdout)[0]["slug"]
        yield Two(project, there, project.folder / exported.stdout.strip(), digest)


def test_control_is_killed(two: Two) -> None:
    """Killed in the middle of an import, the platform has nothing half, and the import can be repeated."""
    two.trust()
    assert two.there_dae("create", "--no-remote", "killed").returncode == 0
    dae = str(two.there.checkout / ".venv" / "bin" / "dae")
    words = (dae, "slugs", "import", str(two.archive), "-a", "killed")
    victim = parts(two.there)["control"]
    process = subprocess.Popen(words, env=two.there.env, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not any((two.there.home / "builds").glob("*-import")):
        pass  # what it says comes too late on a busy machine
    strike(victim)
    assert process.stderr is not None
    with process.stderr as said:
        rest = said.read()
    assert process.wait(timeout=60) == 1, rest
    assert "platform/" in rest
    eventually(lambda: two.there_dae("status").returncode == 0)
    eventually(lambda: not two.unfinished())
    assert not [name for name in two.layers() if Path(name).name.startswith(".")]
    builds = json.loads(two.there_dae("builds", "-a", "killed", "--json").stdout)
    assert [build["error"] for build in builds] == ["push/interrupted"]
    again = two.there_dae("slugs", "import", str(two.archive), "-a", "killed")
    assert again.returncode == 0, again.stderr
    assert two.there_dae("deploy", "--slug", two.digest, "-a", "killed").returncode == 0
    assert two.there.get("killed.dev.localhost")[2] == b"one"


def test_released_elsewhere(two: Two) -> None:
    """What was exported is refused until its platform is trusted, then imported and released as the same slug."""
    assert two.archive.name == f"blog-{two.digest[:12]}.dae.tar.zst"
    assert not list(two.archive.parent.glob("*.part"))
    own = json.loads(two.here.dae("slugs", "keys", "--json").stdout)["own"]
    two.there_dae("slugs", "untrust", "here")
    before = two.layers()
    refused = two.there_dae("slugs", "import", str(two.archive), "-a", "blog")
    assert refused.returncode == 1
    assert "slug/untrusted" in refused.stderr
    assert f"dae slugs trust NAME {own}" in refused.stderr
    assert two.layers() == before and two.unfinished() == []

    two.trust()
    assert own in two.there_dae("slugs", "keys").stdout
    imported = two.there_dae("slugs", "import", str(two.archive), "-a", "blog", "--json")
    assert imported.returncode == 0, imported.stderr
    assert json.loads(imported.stdout) == {"app": "blog", "slug": two.digest, "imported": True}
    row = json.loads(two.there_dae("slugs", "-a", "blog", "--json").stdout)[0]
    assert (row["slug"], row["damage"], row["releases"]) == (two.digest, "", [])
    kinds = [event["kind"] for event in json.loads(two.there_dae("events", "-a", "blog", "--json").stdout)]
    assert "slug-imported" in kinds

    deployed = two.there_dae("deploy", "--slug", two.digest[:12], "-a", "blog", "-s", "dev")
    assert deployed.returncode == 0, deployed.stderr
    status, headers, body = two.there.get("blog.dev.localhost")
    assert (status, headers["X-DAE-Release"], body) == (200, "v1", b"one")
    assert two.there.get("blog.dev.localhost", "/static/hello.txt")[2] == b"static one\n"
    live = json.loads(two.there_dae("releases", "-a", "blog", "--json").stdout)[0]
    assert (live["slug"], live["commit"]) == (two.digest, two.here.head())
    assert two.there_dae("promote", "--from", "dev", "-a", "blog").returncode == 0
    assert two.there.get("blog.beta.localhost")[2] == b"one"
    verified = json.loads(two.there_dae("slugs", "verify", "-a", "blog", "--json").stdout)
    assert verified["damaged"] == [] and verified["packages"] > 5

    builds, layers = two.there_dae("builds", "-a", "blog", "--json").stdout, two.layers()
    again = two.there_dae("slugs", "import", str(two.archive), "-a", "blog", "--json")
    assert json.loads(again.stdout)["imported"] is False
    assert two.layers() == layers
    assert len(json.loads(two.there_dae("builds", "-a", "blog", "--json").stdout)) == len(json.loads(builds)) + 1
    assert two.unfinished() == []


def test_layers_are_those_of_a_build(two: Two) -> None:
    """Every file of both layers is the same here and there; a push of the commit there has nothing to build."""
    two.trust()
    two.there_dae("slugs", "import", str(two.archive), "-a", "blog")
    manifest = json.loads((two.there.home / "slugs" / f"{two.digest}.json").read_text())
    code = f"layers/code/blog/{manifest['code']}"
    environment = f"layers/env/{manifest['environment']}"
    for layer in (code, environment):
        assert _tree(two.here.platform.home / layer) == _tree(two.there.home / layer)
    assert (two.there.home / code / "static" / "again.txt").readlink() == Path("hello.txt")
    facts = json.loads((two.there.home / environment / "environment.json").read_text())
    assert facts == json.loads((two.here.platform.home / environment / "environment.json").read_text())
    two.here.git("remote", "add", "there", f"{two.there.url}/git/blog.git")
    helper = f"credential.{two.there.url}.helper"
    two.here.git("config", helper, "!dae credential")
    pushed = two.there.run(
        *("git", "-c", "credential.helper=!dae credential", "push", "there", "master"), cwd=two.here.folder
    )
    assert pushed.returncode == 0, pushed.stderr
    assert "nothing to build" in pushed.stderr


def test_the_same_bytes(two: Two) -> None:
    """A slug is exported to the same bytes each time; its document is the same from any platform; tar can list it."""
    again = two.here.dae("slugs", "export", two.digest[:10], "-o", "again.zst")
    assert again.returncode == 0, again.stderr
    assert (two.here.folder / "again.zst").read_bytes() == two.archive.read_bytes()
    two.trust()
    two.there_dae("slugs", "import", str(two.archive), "-a", "blog")
    back = two.there_dae("slugs", "export", two.digest, "-a", "blog", "-o", "back.zst")
    assert back.returncode == 0, back.stderr
    members = [_members(path) for path in (two.archive, two.there.folder / "back.zst")]
    differ = {name for name in members[0] if members[0][name] != members[1].get(name)}
    assert list(members[0]) == list(members[1])
    assert differ == {"signature"}


def test_nothing_of_a_changed_file_is_taken(two: Two, tmp_path: Path) -> None:
    """A byte that was changed anywhere, a file that was cut, and something behind it: refused, and nothing is left."""
    two.trust()
    whole = two.archive.read_bytes()
    before = two.layers()
    places = [0, 5, 40, 120, 4000, len(whole) // 3, len(whole) // 2, len(whole) - 3]
    changed = [whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :] for at in places]
    for number, data in enumerate([*changed, whole[:-1], whole[: len(whole) // 2], whole + b"x", b""]):
        path = tmp_path / "changed.zst"
        path.write_bytes(data)
        refused = two.there_dae("slugs", "import", str(path), "-a", "other")
        assert refused.returncode == 1, number
        assert "slug/bad-archive" in refused.stderr, (number, refused.stderr)
    assert two.layers() == before and two.unfinished() == []
    assert json.loads(two.there_dae("slugs", "-a", "other", "--json").stdout) == []


def test_importing_is_for_administrators(two: Two) -> None:
    """Who owns an app may export it, and neither import into it nor trust a key."""
    made = json.loads(two.there_dae("users", "add", "guest", "--json").stdout)
    env = {"DAE_URL": two.there.url, "DAE_TOKEN": made["token"]}
    dae = str(two.there.checkout / ".venv" / "bin" / "dae")
    assert two.there.run(dae, "create", "--no-remote", "guests", env=env).returncode == 0
    for words in (["import", str(two.archive), "-a", "guests"], ["trust", "mine", "0" * 64], ["untrust", "here"]):
        refused = two.there.run(dae, "slugs", *words, env=env)
        assert refused.returncode == 1, words
        assert "auth/forbidden" in refused.stderr, refused.stderr
    two.trust()
    assert two.there_dae("slugs", "untrust", "here").returncode == 0
    assert "slug/untrusted" in two.there_dae("slugs", "import", str(two.archive), "-a", "other").stderr


def test_another_python(two: Two, tmp_path: Path) -> None:
    """A slug for a Python that is not there is refused, and the error names that Python and where to put it."""
    two.trust()
    with two.archive.open("rb") as source:
        bundle = Bundle.from_bytes(Reader(source).document()[0])
    other = replace(bundle, slug=replace(bundle.slug, interpreter="cpython-3.99.0-x86_64-linux-gnu"))
    document = other.to_bytes()
    with (tmp_path / "forged").open("wb") as out:
        Writer(out).document(document, signing.sign(Home(two.here.platform.home).signing_key, document))
    with (tmp_path / "forged").open("ab") as out:
        out.write(two.archive.read_bytes())
    refused = two.there_dae("slugs", "import", str(tmp_path / "forged"), "-a", "other")
    assert refused.returncode == 1
    assert "slug/wrong-interpreter: the slug needs cpython-3.99.0-x86_64-linux-gnu" in refused.stderr.replace("\n", " ")
    assert str(two.there.home / "pythons") in refused.stderr


def test_damage_is_mended(two: Two) -> None:
    """Of an app that was never pushed, a damaged layer cannot be built again: it is not run; importing mends it."""
    two.trust()
    assert two.there_dae("create", "--no-remote", "mended").returncode == 0
    assert two.there_dae("slugs", "import", str(two.archive), "-a", "mended").returncode == 0
    assert two.there_dae("deploy", "--slug", two.digest, "-a", "mended").returncode == 0
    home = two.there.home
    manifest = json.loads((home / "slugs" / f"{two.digest}.json").read_text())
    code = home / "layers/code/mended" / manifest["code"] / "app.py"
    library = next((home / "layers/env" / manifest["environment"]).glob("lib/*/site-packages/flask/app.py"))
    whole = [path.read_bytes() for path in (code, library)]
    for path in (code, library):
        flip(path, tell=True)
    refused = two.there_dae("restart", "-a", "mended")
    assert refused.returncode == 1
    assert "slug/damaged" in refused.stderr and "import it again: dae slugs import FILE -a mended" in refused.stderr
    assert two.there.get("mended.dev.localhost")[2] == b"one"
    again = two.there_dae("slugs", "import", str(two.archive), "-a", "mended")
    assert again.returncode == 0, again.stderr
    assert [path.read_bytes() for path in (code, library)] == whole
    restarted = two.there_dae("restart", "-a", "mended")
    assert restarted.returncode == 0, restarted.stderr


def test_too_large(two: Two) -> None:
    """An upload beyond import_bytes is refused before it is read."""
    headers = {"Authorization": f"Bearer {two.there.env_token()}", "Content-Length": str(1 << 40)}
    status, _, body = two.there.get("localhost", "/api/v1/apps/other/slugs", method="POST", body=b"", headers=headers)
    assert (status, json.loads(body)["error"]) == (413, "slug/too-large")
    assert two.unfinished() == []


def _tree(folder: Path) -> dict[str, tuple[int, str]]:
    """Mode and content (of a link: its goal) of everything in a folder, by path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        status = path.lstat()
        if path.is_symlink():
            content = str(path.readlink())
        else:
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        found[str(path.relative_to(folder))] = (status.st_mode, content)
    return found


def _members(archive: Path) -> dict[str, bytes]:
    with zstd.open(archive, "rb") as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
        found = {}
        for member in tar:
            data = tar.extractfile(member)
            assert data is not None
            found[member.name] = data.read()
        return found
