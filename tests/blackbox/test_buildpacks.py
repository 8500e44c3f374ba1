"""Buildpacks as a developer meets them: sites of files, and classic buildpacks of the operator's, unchanged."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.blackbox.project import Platform, Project, watched

ROOT = Path(__file__).resolve().parents[2]

# -- a site


@pytest.fixture(scope="module")
def site(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A folder with pages, live."""
    files = {
        "index.html": "<h1>one</h1>",
        "docs/index.html": "docs",
        "style.css": "body {}",
        "404.html": "<h1>nothing here</h1>",
        ".hidden": "hidden",
        ".well-known/security.txt": "contact",
    }
    made = Project.create(platform, tmp_path_factory.mktemp("site") / "app", "pages", files)
    done = made.push()
    assert done.returncode == 0, done.stderr
    return made


def test_a_site(site: Project) -> None:
    """Files under their paths, folders by their index.html, everything else is the app's own 404 page."""
    status, headers, body = site.get("/")
    assert (status, headers["Content-Type"], body) == (200, "text/html; charset=utf-8", b"<h1>one</h1>")
    assert headers["X-DAE-Release"] == "v1"
    assert headers["ETag"]  # nginx sent it
    assert site.get("/style.css")[1]["Content-Type"] == "text/css; charset=utf-8"
    assert site.get("/docs/")[2] == b"docs"
    status, headers, _ = site.get("/docs?page=2")
    assert (status, headers["Location"]) == (301, "/docs/?page=2")
    assert site.get("/.well-known/security.txt")[2] == b"contact"
    for path in ("/nothing", "/docs/nothing/", "/.hidden", "/.git/config", "/app.yaml", "/docs/../../../etc/passwd"):
        status, _, body = site.get(path)
        assert status in (404, 400), path
        assert body == b"<h1>nothing here</h1>" or status == 400, path
    assert site.get("/", method="POST", body=b"x")[0] == 405


def test_a_site_is_promoted_and_rolled_back(site: Project) -> None:
    """As any other app: the same bytes, and no request is lost."""
    site.write({"index.html": "<h1>two</h1>"})
    site.commit("two")
    with watched(site) as seen:
        done = site.push()
        assert done.returncode == 0, done.stderr
        assert site.get("/")[2] == b"<h1>two</h1>"
        promoted = site.dae("promote")
        assert promoted.returncode == 0, promoted.stderr
        assert site.get("/", stage="beta")[2] == b"<h1>two</h1>"
        back = site.dae("rollback")
        assert back.returncode == 0, back.stderr
    assert site.get("/")[2] == b"<h1>one</h1>"
    assert set(seen.statuses) == {"200"}


def test_handlers_of_files_alone(site: Project) -> None:
    """A folder below the top, by handlers as ever; nothing else of the commit is to be had."""
    handlers = r"""
handlers:
- url: /(.*/)?
  static_files: public/\1index.html
- url: /(.*)
  static_files: public/\1
"""
    site.write({"app.yaml": handlers, "public/index.html": "three", "public/a/index.html": "a", "public/a/b.txt": "b"})
    site.commit("handlers")
    done = site.push()
    assert done.returncode == 0, done.stderr
    assert [site.get(path)[2] for path in ("/", "/a/", "/a/b.txt")] == [b"three", b"a", b"b"]
    assert [site.get(path)[0] for path in ("/style.css", "/app.yaml", "/none")] == [404, 404, 404]


# -- classic buildpacks

# Bash, in the manner of the oldest ones: a cache, a file per variable, a script of .profile.d, an export.
SHELLY = {
    "bin/detect": '#!/usr/bin/env bash\n[ -f "$1/shelly.conf" ] && echo Shelly || exit 1\n',
    "bin/compile": """\
#!/usr/bin/env bash
set -eo pipefail
BUILD_DIR=$1 CACHE_DIR=$2 ENV_DIR=$3
BP_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
echo "-----> Shelly on $STACK"
count=$(( $(cat "$CACHE_DIR/count" 2>/dev/null || echo 0) + 1 ))
echo $count > "$CACHE_DIR/count"
ls "$ENV_DIR" > "$BUILD_DIR/variables.txt"
echo "[$GREETING] $(cat "$ENV_DIR/GREETING")"
cp "$ENV_DIR/GREETING" "$BUILD_DIR/greeting.txt"
echo "$count" > "$BUILD_DIR/count.txt"
mkdir -p "$BUILD_DIR/.shelly/bin" "$BUILD_DIR/.profile.d"
ln -s ../tool "$BUILD_DIR/.shelly/bin/tool"
printf '#!/bin/sh\\necho tool\\n' > "$BUILD_DIR/.shelly/tool"; chmod +x "$BUILD_DIR/.shelly/tool"
cat > "$BUILD_DIR/.profile.d/shelly.sh" <<'EOF'
declare -x SHELLY="$HOME/.shelly"
export PATH="$HOME/.shelly/bin:$PATH"
EOF
echo "export SHELLY_BUILD=$BUILD_DIR/.shelly PATH=\\"$BUILD_DIR/.shelly/bin:\\$PATH\\"" > "$BP_DIR/export"
case "$(cat "$BUILD_DIR/shelly.conf")" in
  fail) echo "the reason" >&2; exit 7;;
  huge) truncate -s 600M "$CACHE_DIR/huge";;
  link) rm -rf "$CACHE_DIR/count"; ln -s / "$CACHE_DIR/root"
    ln -s "$(cat "$BUILD_DIR/victim.txt")" "$CACHE_DIR/count";;
esac
""",
    "bin/release": "#!/usr/bin/env bash\necho 'default_process_types: {web: nothing-of-this-counts}'\n",
}

# Python scripts; what shelly exported is there.
SCRIPTED = {
    "bin/detect": "#!/usr/bin/env python3\nprint('Scripted')\n",
    "bin/compile": """\
#!/usr/bin/env python3
import json, os, pathlib, subprocess, sys
build, cache, env = map(pathlib.Path, sys.argv[1:])
tool = subprocess.run(["tool"], capture_output=True).stdout.decode()
seen = {"shelly": os.environ.get("SHELLY_BUILD", ""), "tool": tool, "python": os.environ.get("PYTHONPATH")}
(build / "scripted.json").write_text(json.dumps(seen))
""",
    "bin/release": """\
#!/usr/bin/env python3
import json, sys
assert len(sys.argv) == 2
print(json.dumps({"config_vars": {"MODE": "it's default", "GREETING": "default"}, "default_process_types": {}}))
""",
}

SERVER = """\
import http.server, json, os, pathlib
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        home = pathlib.Path(os.environ["HOME"])
        path = home / self.path.lstrip("/")
        names = ("HOME", "SHELLY", "MODE", "GREETING", "DYNO", "VERSION")
        body = path.read_bytes() if path.is_file() else json.dumps({n: os.environ.get(n) for n in names}).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""

# Compiles sources into one program, and says what to run: the commit has no Procfile.
COMPILED = {
    "bin/detect": '#!/bin/sh\nif [ -d "$1/source" ]; then echo Compiled; else echo "no folder source"; exit 1; fi\n',
    "bin/compile": """\
#!/bin/sh
set -e
mkdir -p "$1/bin"
python3 -m zipapp "$1/source" -o "$1/bin/server.pyz"
rm -r "$1/source"
""",
    "bin/release": '#!/bin/sh\nprintf -- "---\\ndefault_process_types:\\n  web: VERSION=1 python3 bin/server.pyz\\n"\n',
}

NAMES = {"shelly": SHELLY, "scripted": SCRIPTED, "compiled": COMPILED}
YAML = "buildpacks: [{}]\nbuild_env: [GREETING]\n"
ALL = {"app.yaml": YAML.format("shelly, scripted, compiled"), "shelly.conf": "", "source/__main__.py": SERVER}
SECRET = "a-secret-greeting"


def install(platform: Platform, name: str, files: Mapping[str, str]) -> Path:
    """Put a buildpack where the operator has them."""
    folder = platform.home / "buildpacks" / name
    shutil.rmtree(folder, ignore_errors=True)
    for file, text in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)
        (folder / file).chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def project(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """An app of three buildpacks; not live yet."""
    for name, files in NAMES.items():
        install(platform, name, files)
    made = Project.create(platform, tmp_path_factory.mktemp("packs") / "app", "packed", ALL)
    assert made.dae("config", "set", f"GREETING={SECRET}", "OTHER=unseen").returncode == 0
    yield made
    for name in NAMES:
        shutil.rmtree(platform.home / "buildpacks" / name)


def accepted(project: Project, message: str = "good") -> str:
    project.commit(message)
    done = project.push()
    assert done.returncode == 0, done.stderr
    return done.stderr


def refused(project: Project, code: str) -> str:
    """Commit and push what must not go live; the working tree is then what is live."""
    before, served = project.remote_head(), project.get()
    project.commit("bad")
    done = project.push()
    assert done.returncode == 1, done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("remote:") and line.strip() != "remote:"]
    assert code in "\n".join(told[-2:]), done.stderr
    assert project.remote_head() == before
    assert project.get()[1]["X-DAE-Release"] == served[1]["X-DAE-Release"]
    project.git("reset", "--quiet", "--hard", before)
    return done.stderr


def test_three_buildpacks_unchanged(project: Project) -> None:
    """In their order: caches, variables as files, exports, scripts at the start, and the last one's release."""
    told = accepted(project)
    assert "-----> Running bin/compile of shelly" in told
    assert "Shelly on heroku-24" in told
    assert "[] [GREETING]" in told  # not in the environment; and its value is not shown
    assert SECRET not in told
    for log in (project.platform.home / "logs" / "builds").iterdir():
        assert SECRET not in log.read_text()
    assert project.get("/variables.txt")[2] == b"GREETING\n"
    assert project.get("/greeting.txt")[2] == SECRET.encode()
    assert project.get("/count.txt")[2] == b"1\n"
    seen = json.loads(project.get("/scripted.json")[2])
    assert seen["shelly"].endswith("/code/.shelly")
    assert (seen["tool"], seen["python"]) == ("tool\n", None)
    environ = json.loads(project.get("/")[2])
    assert environ["SHELLY"] == environ["HOME"] + "/.shelly"
    assert (environ["MODE"], environ["GREETING"]) == (None, SECRET)  # scripted was not the last one
    assert (environ["DYNO"], environ["VERSION"]) == ("web.1", "1")
    slug = json.loads(project.dae("slugs", "--json").stdout)[0]["buildpack"]
    assert [part.split("@")[0] for part in slug.split("+")] == ["shelly", "scripted", "compiled"]


def test_the_same_again_and_another_stage(project: Project) -> None:
    """The same files are not compiled twice, and what to run is known all the same; a promotion takes it along."""
    told = accepted(project, "the same files")
    assert "Compiled before" in told
    assert json.loads(project.get("/")[2])["VERSION"] == "1"
    assert project.dae("config", "set", "-s", "beta", "GREETING=hello beta").returncode == 0
    promoted = project.dae("promote")
    assert promoted.returncode == 0, promoted.stderr
    assert json.loads(project.get("/", stage="beta")[2])["GREETING"] == "hello beta"
    assert project.get("/count.txt", stage="beta")[2] == b"1\n"


def test_a_changed_buildpack_builds_the_same_commit_again(platform: Platform, project: Project) -> None:
    """The slug names what made it; and the cache is that of the build before."""
    release = COMPILED["bin/release"].replace("VERSION=1", "VERSION=2")
    install(platform, "compiled", {**COMPILED, "bin/release": release})
    done = project.git("push", "dae", "master:main")
    assert done.returncode == 0, done.stderr
    assert "nothing to build" not in done.stderr
    assert json.loads(project.get("/")[2])["VERSION"] == "2"
    assert project.get("/count.txt")[2] == b"2\n"


def test_an_emptied_cache(platform: Platform, project: Project) -> None:
    """The owner empties it, for the next build and for nobody else's; what is live is not touched."""
    kept = platform.home / "caches" / "packed.tar"
    other = kept.with_name("other.tar")
    other.write_bytes(b"another app's")
    size = kept.stat().st_size
    purged = project.dae("builds", "--purge-cache", "--json")
    assert (purged.returncode, json.loads(purged.stdout)) == (0, {"app": "packed", "bytes": size})
    assert (kept.exists(), other.exists()) == (False, True)
    other.unlink()
    assert "0 B removed" in project.dae("builds", "--purge-cache").stderr
    assert project.dae("builds", "1", "--purge-cache").returncode == 2
    assert project.get("/count.txt")[2] == b"2\n"
    happened = json.loads(project.dae("events", "-a", "packed", "--json").stdout)
    assert [event["data"] for event in happened if event["kind"] == "cache-emptied"] == [{"bytes": size}]
    project.write({"again.txt": ""})
    accepted(project)
    assert project.get("/count.txt")[2] == b"1\n"


def test_config_vars_are_defaults(project: Project) -> None:
    """What the last bin/release says holds where the app's config says nothing; a Procfile's processes come first."""
    names = YAML.format("shelly, compiled, scripted")
    project.write({"app.yaml": names, "Procfile": "web: VERSION=3 python3 bin/server.pyz\n"})
    accepted(project)
    environ = json.loads(project.get("/")[2])
    assert (environ["MODE"], environ["GREETING"], environ["VERSION"]) == ("it's default", SECRET, "3")
    assert not Path(environ["HOME"], "source").exists()


def test_beside_the_platforms_own(project: Project) -> None:
    """``python`` in the list: the commit's requirements, and a command that runs in their environment."""
    app = "def app(environ, start_response):\n    start_response('200 OK', [])\n    import toolz, os\n"
    project.write(
        {
            "app.yaml": YAML.format("shelly, python") + "handlers:\n- url: /.*\n  wsgi_app: packed:app\n",
            "packed.py": app + "    return [toolz.__name__.encode() + os.environ['SHELLY'].encode()]\n",
            "requirements.txt": "toolz\n",
        }
    )
    (project.folder / "Procfile").unlink()
    accepted(project)
    assert project.get("/")[2].startswith(b"toolz/")


def test_the_example(platform: Platform, tmp_path: Path) -> None:
    """The buildpack of docs/buildpacks.md makes a site of texts, which the platform's own then serves."""
    place = platform.home / "buildpacks" / "textsite"
    shutil.copytree(ROOT / "examples" / "buildpack-textsite", place)
    try:
        files = {"app.yaml": "buildpacks: [textsite, static]\n", "pages/hello.txt": "Hello & welcome\n\nMore"}
        made = Project.create(platform, tmp_path / "texts", "texts", files)
        told = accepted(made)
    finally:
        shutil.rmtree(place)
    assert "1 page written" in told
    assert b'<a href="hello.html">Hello &amp; welcome</a>' in made.get("/")[2]
    assert b"<p>More</p>" in made.get("/hello.html")[2]
    assert made.get("/.release")[0] == 404
    programs = (ROOT / "examples" / "buildpack-textsite" / "bin").iterdir()
    assert sum(len(program.read_text().splitlines()) for program in programs) <= 30


def test_what_cannot_be(platform: Platform, project: Project) -> None:
    """Each mistake is told by its name, and what is live stays."""
    told = refused_with(project, "build/unknown-buildpack", {"app.yaml": YAML.format("shelly, nodejs")})
    assert "compiled, python, scripted, shelly, static" in told
    for name in ("../shelly", "https://example.com/x.git", "/etc", "shelly/bin"):
        told = refused_with(project, "build/bad-app-yaml", {"app.yaml": YAML.format(f"'{name}'")})
        assert "no address, no path" in told
    told = refused_with(project, "build/not-detected", {"app.yaml": YAML.format("compiled"), "source": None})
    assert "no folder source" in told
    assert "bin/detect of compiled ended with status 1" in told
    told = refused_with(project, "build/step-failed", {"shelly.conf": "fail"})
    assert "the reason" in told
    assert "bin/compile of shelly ended with status 7" in told
    told = refused_with(project, "build/no-entry", {"app.yaml": YAML.format("shelly, scripted")})
    assert "bin/release of scripted" in told
    folder = install(platform, "open", SHELLY)
    (folder / "bin" / "compile").chmod(0o777)
    try:
        told = refused_with(project, "build/unknown-buildpack", {"app.yaml": YAML.format("open")})
    finally:
        shutil.rmtree(folder)
    assert "others can write" in told


def refused_with(project: Project, code: str, files: Mapping[str, str | None]) -> str:
    for name in [name for name, text in files.items() if text is None]:
        shutil.rmtree(project.folder / name)
    project.write({name: text for name, text in files.items() if text is not None})
    return refused(project, code)


def test_a_hostile_cache(platform: Platform, project: Project) -> None:
    """A cache is the app's alone: links in it lead nowhere that the build cannot go, and it is bounded."""
    kept = platform.home / "caches" / "packed.tar"
    assert kept.stat().st_mode & 0o077 == 0
    victim = platform.home.parent / "victim"  # of whoever runs this, as is all that a build must not reach
    victim.write_text("mine")
    project.write({"app.yaml": ALL["app.yaml"], "shelly.conf": "link", "victim.txt": str(victim)})
    accepted(project)
    assert kept.stat().st_size < 100_000  # links were kept, not what they lead to
    project.write({"shelly.conf": "and on"})
    done_with_it(project)
    assert victim.read_text() == "mine", "the count was written through a link"
    kept.write_bytes(b"no archive")
    project.write({"shelly.conf": "huge"})
    told = accepted(project)
    assert "cannot be read: the cache is empty" in told
    assert "the cache has more than 512 MiB" in told
    assert not kept.exists()
    project.platform.dae("destroy", "packed", "--confirm", "packed", cwd=project.folder)
    assert not kept.exists()


def done_with_it(project: Project) -> None:
    """The next build meets the link that was kept, and may fail on it, by its own fault."""
    project.commit("next")
    done = project.push()
    assert done.returncode == 0 or "bin/compile of shelly" in done.stderr, done.stderr


def test_only_root_reads_caches(platform: Platform) -> None:
    """No app's account and no build's can list them."""
    assert (platform.home / "caches").stat().st_mode & 0o777 == 0o700
    assert os.access(platform.home / "buildpacks", os.R_OK)
