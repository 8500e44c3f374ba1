"""Small projects of every kind that Python developers push, and what the platform is to say of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: Tells what is in its environment. Replaced by whatever a case writes.
APP = """\
import importlib.metadata
import json
import sys


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json")])
    found = {d.metadata["Name"].lower(): d.version for d in importlib.metadata.distributions()}
    return [json.dumps({"packages": found, "python": "%d.%d" % sys.version_info[:2]}).encode()]
"""
YAML = "handlers:\n- url: /.*\n  wsgi_app: app:app\n"
BASE = {"app.yaml": YAML, "app.py": APP}

PROJECT = '[project]\nname = "shop"\nversion = "1"\n'
SIX = PROJECT + 'dependencies = ["six==1.16.0"]\n'
#: Locks as the managers write them. @WHEEL@ and @SDIST@: the sha256 of six 1.16.0 in the index; @INDEX@: its address.
UV = """\
version = 1
requires-python = ">=3.8"

[[package]]
name = "shop"
version = "1"
source = { virtual = "." }
dependencies = [{ name = "six" }]

[package.metadata]
requires-dist = [{ name = "six", specifier = "==1.16.0" }]

[[package]]
name = "six"
version = "1.16.0"
source = { registry = "@INDEX@" }
sdist = { url = "@INDEX@six-1.16.0.tar.gz", hash = "sha256:@SDIST@" }
wheels = [{ url = "@INDEX@six-1.16.0-py2.py3-none-any.whl", hash = "sha256:@WHEEL@" }]
"""
PYLOCK = """\
lock-version = "1.0"
created-by = "by hand"

[[packages]]
name = "six"
version = "1.16.0"
wheels = [{ name = "six-1.16.0-py2.py3-none-any.whl", url = "@INDEX@six-1.16.0-py2.py3-none-any.whl", hashes = { sha256 = "@WHEEL@" } }]
"""  # noqa: E501
POETRY_PROJECT = (
    '[tool.poetry]\nname = "shop"\nversion = "1"\n[tool.poetry.dependencies]\npython = ">=3.8"\nsix = "1.16.0"\n'
)
POETRY = """\
[[package]]
name = "six"
version = "1.16.0"
description = "x"
optional = false
python-versions = ">=2.7"
files = [{ file = "six-1.16.0-py2.py3-none-any.whl", hash = "sha256:@WHEEL@" }]

[metadata]
lock-version = "2.0"
python-versions = ">=3.8"
content-hash = "@POETRY@"
"""
PIPFILE = '[[source]]\nname = "inside"\nurl = "@INDEX@"\nverify_ssl = false\n\n[packages]\nsix = "==1.16.0"\n'
PIPFILE_LOCK = """\
{"_meta": {"hash": {"sha256": "@PIPFILE@"}, "pipfile-spec": 6, "requires": {}, "sources": []},
 "default": {"six": {"hashes": ["sha256:@WHEEL@"], "version": "==1.16.0"}}, "develop": {}}
"""
SETUP = 'from setuptools import setup\nsetup(name="shop", version="1", install_requires=["six==1.16.0"])\n'


@dataclass(frozen=True)
class Case:
    """A project: ``files`` over BASE (None: it is not there), and what comes of pushing it.

    ``code``: the error's code, empty when it goes live. ``line``: what stands in the push's output. ``has``: versions
    that the app finds in its environment; None: the package is not there.
    """

    files: Mapping[str, str | None]
    code: str = ""
    line: str = ""
    has: Mapping[str, str | None] = field(default_factory=dict)


def live(line: str = "", *, six: str | None = "1.16.0", **files: str | None) -> Case:
    return Case(_named(files), "", line, {"six": six})


def _named(files: Mapping[str, str | None]) -> dict[str, str | None]:
    """Files by the names of keyword arguments: ``pip_req`` is pip-req.txt, and so on."""
    return {NAMES.get(key, key): text for key, text in files.items()}


NAMES = {
    "pip_req": "pip-req.txt", "requirements": "requirements.txt", "pyproject": "pyproject.toml", "uv": "uv.lock",
    "pylock": "pylock.toml", "poetry": "poetry.lock", "pipfile": "Pipfile", "pipfile_lock": "Pipfile.lock",
    "setup": "setup.py", "setup_cfg": "setup.cfg", "python": ".python-version", "runtime": "runtime.txt",
    "yaml": "app.yaml", "procfile": "Procfile", "app": "app.py",
}  # fmt: skip


def refused(code: str, line: str = "", more: Mapping[str, str | None] | None = None, **files: str | None) -> Case:
    return Case({**_named(files), **(more or {})}, code, line)


GOOD = {
    "no requirements at all": live(six=None),
    "an empty pip-req.txt": live(six=None, pip_req=""),
    "pip-req.txt": live("six 1.16.0", pip_req="six==1.16.0\n"),
    "comments, blank lines and a continuation": live(pip_req="# what we need\n\nsix \\\n  ==1.16.0  # the old one\n"),
    "Windows line ends and a byte order mark": live(pip_req="\ufeffsix==1.16.0\r\n\r\n"),
    "another spelling of the name": live(pip_req="SIX==1.16.0\n"),
    "a marker that does not hold": live(six=None, pip_req="six==1.16.0; python_version < '3'\n"),
    "an extra": Case({"pip-req.txt": "urllib3[socks]==2.2.3\n"}, has={"urllib3": "2.2.3", "pysocks": "1.7.1"}),
    "only a source distribution": Case({"pip-req.txt": "docopt==0.6.2\n"}, has={"docopt": "0.6.2"}),
    "requirements.txt": live(requirements="six==1.16.0\n"),
    "hashes": live(requirements="six==1.16.0 --hash=sha256:@WHEEL@ --hash=sha256:@SDIST@\n"),
    "an included file": live(requirements="-r base/all.txt\n", **{"base/all.txt": "six==1.16.0\n"}),
    "constraints": live(requirements="six\n-c limits.txt\n", **{"limits.txt": "six<1.17\nflask==9\n"}),
    "the project itself, editable": live(requirements="-e .\n", pyproject=SIX),
    "the project itself with an extra": live(
        requirements=".[web]\n", pyproject=PROJECT + '[project.optional-dependencies]\nweb = ["six==1.16.0"]\n'
    ),
    "--pre and --only-binary": live(requirements="--pre\n--only-binary :all:\nsix==1.16.0\n"),
    "the platform's own index by name": live(requirements="--index-url @INDEX@\nsix==1.16.0\n"),
    "pyproject.toml": live(pyproject=SIX),
    "pyproject.toml without dependencies": live(six=None, pyproject=PROJECT),
    "pyproject.toml of tools only": live(six=None, pyproject="[tool.black]\nline-length = 100\n"),
    "a src layout": live(
        pyproject=SIX,
        app="from inner import app\n",
        **{"src/inner.py": APP},
    ),
    "setup.cfg": live(setup_cfg="[metadata]\nname = shop\n[options]\ninstall_requires =\n    six==1.16.0\n"),
    "setup.py alone": live(setup=SETUP),
    "a folder of requirements, and a file that names one of them": live(
        requirements="-r requirements/base.txt\n", **{"requirements/base.txt": "six==1.16.0\n"}
    ),
    "a folder of requirements beside [project]": live(pyproject=SIX, **{"requirements/base.txt": "flask\n"}),
    "a name that is nearly right, beside a lock": live(
        "there is Requirements.txt, which nothing reads", pylock=PYLOCK, **{"Requirements.txt": "flask\n"}
    ),
    "requirements that nothing reads": live(
        "write '-r requirements-prod.txt' into", six=None, **{"requirements-prod.txt": "six==1.16.0\n"}
    ),
    "an index that the mirror stands for": live(pyproject=SIX + '[[tool.uv.index]]\nurl = "@INDEX@"\n'),
    "uv.lock": live("Taking 1 packages as", pyproject=SIX, uv=UV),
    "pylock.toml": live("Taking 1 packages as", pylock=PYLOCK),
    "pylock.toml with its pyproject.toml": live(pylock=PYLOCK, pyproject=SIX),
    "poetry.lock": live("Taking 1 packages as", pyproject=POETRY_PROJECT, poetry=POETRY),
    "Pipfile.lock": live("Taking 1 packages as", pipfile=PIPFILE, pipfile_lock=PIPFILE_LOCK),
    "pip-req.txt beside a lock comes first": live(six="1.15.0", pip_req="six==1.15.0\n", pyproject=SIX, uv=UV),
    "a virtual environment in the commit": live(
        "git rm -r --quiet --cached .venv", six=None, **{".venv/pyvenv.cfg": "home = /usr/bin\n"}
    ),
    "a series in .python-version": live(six=None, python="3.11\n"),
    "a patch level in .python-version": live(six=None, python="3.11.1\n", line="3.11.1"),
    "runtime.txt": live(six=None, runtime="python-3.11\n"),
    "runtime in app.yaml": live(six=None, yaml="runtime: python3.11\n" + YAML),
    "requires-python": live(pyproject=SIX + 'requires-python = ">=3.8"\n'),
    "a Procfile alone": live(six=None, yaml=None, procfile="web: gunicorn app:app\n"),
    "a Procfile with a worker": live(
        six=None, yaml=None, procfile="web: gunicorn app:app\nworker: python -c 'import time; time.sleep(999)'\n"
    ),
    "a release command": live("migrated", six=None, procfile="release: echo migrated\n"),
    "build commands": live("made it", six=None, yaml=YAML + "build: [echo made it]\n"),
    "bin/pre_compile and bin/post_compile": live(
        "after", six=None, **{"bin/pre_compile": "echo before\n", "bin/post_compile": "#!/bin/sh\necho after\n"}
    ),
    "a package.json without scripts": live(
        "npm install", six=None, **{"package.json": '{"name": "x", "version": "1.0.0", "private": true}'}
    ),
}

GIT = 'six = { git = "https://example.org/six.git" }\n'
SECOND = 'name = "inner"\nurl = "https://packages.example.org/simple"\n'

REQ, UNSUPPORTED = "build/bad-requirements", "build/unsupported-requirement"
MANIFEST, OUTDATED, LOCK = "build/unsupported-manifest", "build/lock-outdated", "build/bad-lock"
RUNTIME, APPYAML, PROC, CRASHED = "build/bad-runtime", "build/bad-app-yaml", "build/bad-procfile", "release/crashed"

BROKEN = {
    # What cannot be resolved, or is not what was locked.
    "an unknown project": refused("build/unresolvable", "no-such-project-of-ours", pip_req="no-such-project-of-ours\n"),
    "an unknown version": refused("build/unresolvable", "six==99", pip_req="six==99\n"),
    "two versions of one": refused("build/unresolvable", "six", pip_req="six==1.16.0\nsix==1.15.0\n"),
    "what excludes the gevent of every app": refused("build/unresolvable", "given gunicorn", pip_req="greenlet<3\n"),
    "no version for this Python": refused(
        "build/unresolvable", "name another Python", python="3.11\n", pip_req="Django==6.0\n"
    ),
    "constraints that leave nothing": refused(
        "build/unresolvable", "six", requirements="six>=1.16\n-c limits.txt\n", more={"limits.txt": "six<1.16\n"}
    ),
    "a hash that no file has": refused(
        "build/unresolvable", "six", requirements="six==1.16.0 --hash=sha256:" + "0" * 64 + "\n"
    ),
    # Files of requirements that are not right.
    "no operator": refused(REQ, "pip-req.txt line 1", pip_req="six 1.16\n"),
    "half a requirement": refused(REQ, "pip-req.txt line 2", pip_req="idna\nsix==\n"),
    "a merge conflict": refused(REQ, "pip-req.txt line 1", pip_req="<<<<<<< HEAD\nsix\n=======\n>>>>>>> b\n"),
    "a shell command": refused(REQ, "pip-req.txt line 1", pip_req="pip install six\n"),
    "not UTF-8": refused(REQ, "UTF-8", pip_req="six # \udce9\n"),
    "a hash for some only": refused(REQ, "hash", requirements="idna==3.7\nsix==1.16.0 --hash=sha256:@WHEEL@\n"),
    "a hash that is none": refused(REQ, "hash", requirements="six==1.16.0 --hash=sha256:beef\n"),
    "an included file that is not there": refused(REQ, "base.txt", requirements="-r base.txt\n"),
    "an included file outside": refused(UNSUPPORTED, "../../etc/passwd", requirements="-r ../../etc/passwd\n"),
    "an included file by its absolute path": refused(UNSUPPORTED, "/etc/passwd", requirements="-r /etc/passwd\n"),
    "files that include each other": refused(
        REQ, "itself", requirements="-r a.txt\n", more={"a.txt": "-r requirements.txt\n"}
    ),
    "-e . without a project": refused(REQ, "requires the project itself", requirements="-e .\n"),
    "an extra that the project does not have": refused(REQ, "nope", requirements=".[nope]\n", pyproject=SIX),
    # What the platform does not do, and says so.
    "an index elsewhere": refused(UNSUPPORTED, "index", requirements="-i https://packages.example.org/simple\nsix\n"),
    "a second index": refused(
        UNSUPPORTED, "packages.example.org", requirements="--extra-index-url https://packages.example.org/simple\nsix\n"
    ),
    "--find-links": refused(UNSUPPORTED, "example.org", requirements="--find-links https://example.org/x\nsix\n"),
    "--no-binary": refused(UNSUPPORTED, "--no-binary", requirements="--no-binary :all:\nsix\n"),
    "an option that nobody knows": refused(UNSUPPORTED, "--frobnicate", requirements="--frobnicate\nsix\n"),
    "an address": refused(UNSUPPORTED, "upload", pip_req="six @ https://example.org/six.whl\n"),
    "a branch of version control": refused(
        UNSUPPORTED, "40 digits", pip_req="git+https://example.org/six.git@main#egg=six\n"
    ),
    "version control that nobody allows": refused(
        UNSUPPORTED, "build_sources", pip_req=f"six @ git+https://example.org/six.git@{'a' * 40}\n"
    ),
    "version control, editable": refused(
        UNSUPPORTED, "does not name a commit", pip_req="-e git+https://example.org/six.git#egg=six\n"
    ),
    "a folder of the commit": refused(UNSUPPORTED, "vendor", pip_req="./vendor/six\n", more={"vendor/six/x.py": ""}),
    "a wheel of the commit": refused(UNSUPPORTED, "vendor", pip_req="vendor/six.whl\n", more={"vendor/six.whl": "x"}),
    "a file address": refused(UNSUPPORTED, "is not fetched", pip_req="six @ file:///etc/passwd\n"),
    # File names.
    "requirments.txt": refused(REQ, "git mv requirments.txt", more={"requirments.txt": "six\n"}),
    "Requirements.txt": refused(REQ, "git mv Requirements.txt", more={"Requirements.txt": "six\n"}),
    "pip_req.txt": refused(REQ, "git mv pip_req.txt", more={"pip_req.txt": "six\n"}),
    "requirements.text": refused(REQ, "git mv requirements.text", more={"requirements.text": "six\n"}),
    "pipreq.txt": refused(REQ, "git mv pipreq.txt", more={"pipreq.txt": "six\n"}),
    "a folder of requirements alone": refused(
        REQ,
        "write '-r requirements/production.txt' into",
        more={f"requirements/{n}.txt": "" for n in ("production", "a")},
    ),
    # What is to come from elsewhere, and no lock that says from where.
    "[tool.uv.sources]": refused(MANIFEST, "takes six from git", pyproject=SIX + "[tool.uv.sources]\n" + GIT),
    "[tool.uv.sources] behind -e .": refused(
        MANIFEST, "git rm requirements.txt", pyproject=SIX + "[tool.uv.sources]\n" + GIT, requirements="-e .\n"
    ),
    "[[tool.uv.index]]": refused(UNSUPPORTED, "packages.example.org", pyproject=SIX + "[[tool.uv.index]]\n" + SECOND),
    "an index in uv.toml": refused(UNSUPPORTED, "uv.toml", pyproject=SIX, more={"uv.toml": "[[index]]\n" + SECOND}),
    "overrides of uv": refused(
        MANIFEST, "run 'uv lock'", pyproject=SIX + "[tool.uv]\noverride-dependencies = ['six==1.15.0']\n"
    ),
    "[[tool.poetry.source]]": refused(
        UNSUPPORTED, "packages.example.org", pyproject=SIX + "[[tool.poetry.source]]\n" + SECOND
    ),
    "[tool.poetry.dependencies] beside [project]": refused(
        MANIFEST, "run 'poetry lock'", pyproject=SIX + "[tool.poetry.dependencies]\n" + GIT
    ),
    "[[tool.pdm.source]]": refused(
        UNSUPPORTED, "packages.example.org", pyproject=SIX + "[[tool.pdm.source]]\n" + SECOND
    ),
    "procfile": refused(
        "build/no-entry", "git mv procfile Procfile", yaml=None, more={"procfile": "web: gunicorn app:app\n"}
    ),
    "app.yml": refused("build/no-entry", "git mv app.yml app.yaml", yaml=None, more={"app.yml": YAML}),
    # Managers.
    "both files of requirements": refused(REQ, "requirements.txt", pip_req="six\n", requirements="six\n"),
    "requirements.txt and a lock": refused(REQ, "uv.lock", requirements="six\n", pyproject=SIX, uv=UV),
    "two locks": refused(REQ, "poetry.lock", pyproject=SIX, uv=UV, poetry=POETRY),
    "Pipfile without a lock": refused(MANIFEST, "pipenv lock", pipfile=PIPFILE),
    "poetry without a lock": refused(MANIFEST, "poetry lock", pyproject=POETRY_PROJECT),
    "a pylock of another name": refused(MANIFEST, "pylock.dev.toml", more={"pylock.dev.toml": PYLOCK}),
    "pdm": refused(MANIFEST, "pdm", pyproject=SIX, more={"pdm.lock": ""}),
    "conda": refused(MANIFEST, "environment.yml", more={"environment.yml": "dependencies: [python]\n"}),
    "calculated dependencies": refused(REQ, "dynamic", pyproject=PROJECT + 'dynamic = ["dependencies"]\n'),
    "a calculated install_requires": refused(
        REQ, "install_requires", setup=SETUP.replace('["six==1.16.0"]', 'open("x").read().split()')
    ),
    "a setup.py that is not Python": refused(REQ, "setup.py is not Python: line 1", setup="if\n" + SETUP),
    "a pyproject.toml that is not TOML": refused(REQ, "pyproject.toml", pyproject="[project\n"),
    "dependencies that are no list": refused(REQ, "dependencies", pyproject=PROJECT + 'dependencies = "six"\n'),
    "a dependency that is none": refused(
        REQ, "pyproject.toml, dependencies, entry 1", pyproject=PROJECT + 'dependencies = ["six==="]\n'
    ),
    # Locks.
    "uv.lock of other requirements": refused(OUTDATED, "six", pyproject=SIX.replace("1.16.0", "1.15.0"), uv=UV),
    "uv.lock without a new requirement": refused(
        OUTDATED, "idna", pyproject=SIX.replace('"six', '"idna", "six'), uv=UV
    ),
    "pylock.toml of other requirements": refused(
        OUTDATED, "six", pyproject=SIX.replace("1.16.0", "1.15"), pylock=PYLOCK
    ),
    "poetry.lock of other requirements": refused(
        OUTDATED, "six", pyproject=POETRY_PROJECT.replace("1.16.0", "1.15.0"), poetry=POETRY
    ),
    "Pipfile.lock of other requirements": refused(
        OUTDATED, "six", pipfile=PIPFILE.replace("1.16.0", "1.15.0"), pipfile_lock=PIPFILE_LOCK
    ),
    "a lock that is not TOML": refused(LOCK, "uv.lock", pyproject=SIX, uv="version = \n"),
    "a lock of the future": refused(LOCK, "version", pyproject=SIX, uv=UV.replace("version = 1\n", "version = 9\n", 1)),
    "a lock with a merge conflict": refused(
        LOCK, "poetry.lock", pyproject=POETRY_PROJECT, poetry="<<<<<<< HEAD\n" + POETRY
    ),
    "Pipfile.lock that is not JSON": refused(LOCK, "Pipfile.lock", pipfile=PIPFILE, pipfile_lock="{"),
    "a lock with a package from git": refused(
        UNSUPPORTED,
        "six",
        pyproject=SIX,
        uv=UV.replace('source = { registry = "@INDEX@" }', 'source = { git = "https://example.org/six#abc" }'),
    ),
    "a lock of an index elsewhere": refused(
        UNSUPPORTED,
        "packages.example.org",
        pyproject=SIX,
        uv=UV.replace("@INDEX@", "https://packages.example.org/simple/"),
    ),
    "a lock for another Python": refused(
        RUNTIME, "4", pyproject=SIX, uv=UV.replace('requires-python = ">=3.8"', 'requires-python = ">=4"')
    ),
    # Python.
    "a Python of the past": refused(RUNTIME, "no security fixes since 2020-01-01", runtime="python-2.7.18\n"),
    "a Python that is not here": refused(RUNTIME, "3.99", python="3.99\n"),
    "a runtime that is none": refused(RUNTIME, "runtime.txt", runtime="ruby-3.2\n"),
    "PyPy": refused(RUNTIME, "pypy", python="pypy3.10\n"),
    "a python_requires that nothing fulfils": refused(
        RUNTIME, "setup.py requires Python >=3.99", setup=SETUP.replace("version", "python_requires='>=3.99', version")
    ),
    "a requires-python that nothing fulfils": refused(RUNTIME, ">=4", pyproject=SIX + 'requires-python = ">=4"\n'),
    "a requires-python that is none": refused(
        RUNTIME, "requires-python is 'new'", pyproject=SIX + 'requires-python = "new"\n'
    ),
    # What to run.
    "nothing to run": refused("build/no-entry", "commit a Procfile with 'web: ", yaml=None),
    "app.yaml that is not YAML": refused(APPYAML, "app.yaml", yaml="handlers: [\n"),
    "app.yaml with a key that is not one": refused(APPYAML, "handler", yaml=YAML.replace("handlers", "handler")),
    "app.yaml with a pattern that is none": refused(APPYAML, "url", yaml=YAML.replace("/.*", "/(")),
    "app.yaml with aliases": refused(APPYAML, "alias", yaml="a: &a [1, 2]\nhandlers: *a\n"),
    "a handler that names no application": refused(
        APPYAML, "names no WSGI application", yaml=YAML.replace("app:app", "app")
    ),
    "a Procfile line that is none": refused(PROC, "Procfile", procfile="worker python x.py\n"),
    "a process type of a bad name": refused(PROC, "Procfile", procfile="../x: python x.py\n"),
    "a process type twice": refused(PROC, "twice", procfile="worker: a\nworker: b\n"),
    # What does not start.
    "a syntax error": refused(CRASHED, "SyntaxError", app="def app(:\n"),
    "a module that is not required": refused(CRASHED, "flask", app="import flask\n"),
    "a module that is not there": refused(CRASHED, "nowhere", yaml=YAML.replace("app:app", "nowhere:app")),
    "an attribute that is not there": refused(CRASHED, "application", yaml=YAML.replace("app:app", "app:application")),
    "an ASGI application": refused(
        CRASHED,
        "'web: gunicorn -k uvicorn_worker.UvicornWorker app:app' into Procfile, and require uvicorn-worker",
        app="class App:\n    async def __call__(self, scope, receive, send):\n        pass\n\n\napp = App()\n",
    ),
    "an ASGI application and a worker of WSGI": refused(
        "release/unhealthy",
        "it is an ASGI application: write 'gunicorn -k uvicorn_worker.UvicornWorker",
        yaml=None,
        procfile="web: gunicorn app:app\n",
        app="async def app(scope, receive, send):\n    pass\n",
    ),
    "an exception at import": refused(CRASHED, "no luck", app="raise RuntimeError('no luck')\n"),
    "a web process that ends": refused(CRASHED, "ended", yaml=None, procfile="web: python -c 'print(1)'\n"),
    "a web process of an unknown program": refused(CRASHED, "not found", yaml=None, procfile="web: gunicron app:app\n"),
    # Steps.
    "a build command that fails": refused("build/step-failed", "status 3", yaml=YAML + "build: [exit 3]\n"),
    "a build variable without a value": refused(
        "build/no-value", "dae config set", yaml=YAML + "build: ['true']\nbuild_env: [API_KEY]\n"
    ),
    "bin/pre_compile that fails": refused("build/step-failed", "bin/pre_compile", more={"bin/pre_compile": "false\n"}),
    "a package.json that is not JSON": refused("build/step-failed", "npm", more={"package.json": "{"}),
    "packages of JavaScript with the lock of yarn": refused(
        MANIFEST,
        "yarn.lock, which npm does not read",
        more={"package.json": '{"dependencies": {"x": "1"}}', "yarn.lock": ""},
    ),
    "a release command that fails": refused("release/command-failed", "status 3", procfile="release: exit 3\n"),
}
