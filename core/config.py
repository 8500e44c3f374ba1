"""The platform's configuration: read once, typed, and documented by the table below (``docs/config.md`` is made of it).

A value comes from the environment (``DAE_`` + the key in upper case), else from ``$DAE_HOME/dae.toml``, else from the
default.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from core.errors import DaeError

HOST_NAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*\Z")
ROOT_HOME = Path("/var/lib/dae")
# https://HOST/PATH, with git+ before it and USER:PASSWORD@ in it if need be; nothing that can be read in two ways.
_SOURCE = re.compile(
    r"(git\+)?https?://([^@/?#\s]+@)?[A-Za-z0-9.-]+(:[0-9]{1,4}|:[1-5][0-9]{4}|:6[0-4][0-9]{3})?(/(?!\.{1,2}(/|\Z))[A-Za-z0-9._~+=@!-]+)*/?\Z"
)
_WORDS = {"installer": ("uv", "pip"), "build_network": ("mirror", "open"), "instance_tmp": ("private", "shared")}


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything an operator can set. The comment beside a field is its line in the documentation."""

    home: Path  # the folder that holds all state
    port: int = 8080  # the public door's port
    host: str = "localhost"  # the platform's own host: git, index, API and pages
    domain: str = "localhost"  # the domain of the apps
    listen: str = "127.0.0.1"  # the address that the public door listens on
    installer: str = "uv"  # what locks and builds wheels when an app does not choose: uv or pip
    upstream: str = ""  # the index behind the mirror; empty: what pip is configured with, else pip's own default
    upstreams: tuple[str, ...] = ()  # several indexes in order of priority; when given, upstream does not count
    upstream_proxies: tuple[str, ...] = ()  # the address of an index and that of the proxy to it, or direct
    index_aliases: tuple[str, ...] = ()  # addresses of indexes that apps may name; the mirror is asked in their place
    index_ttl: int = 600  # seconds that a project page from upstream counts as fresh
    upload_bytes: int = 1 << 30  # the largest file that may be uploaded to the index, in bytes
    mirror_policy: str = ""  # the file with the index's policy; empty: DAE_HOME/mirror-policy.toml
    mirror_advisories: str = ""  # the file or folder with OSV documents; empty: DAE_HOME/mirror-advisories
    mirror_bytes: int = 0  # the most that files from upstream may take, in bytes; 0: any
    build_sources: tuple[str, ...] = ()  # addresses below which packages may lie that apps require by their address
    source_timeout: int = 120  # seconds that fetching what a build requires by its address may take
    source_bytes: int = 256 << 20  # the largest file or repository that is fetched so, packed or unpacked, in bytes
    build_timeout: int = 900  # seconds that a build may take
    release_timeout: int = 900  # seconds that a release command may take when its app does not say
    pythons: str = ""  # the folder with the operator's own interpreters; empty: DAE_HOME/pythons
    buildpacks: str = ""  # the folder of the classic buildpacks that apps may name; empty: DAE_HOME/buildpacks
    stack: str = "heroku-24"  # what classic buildpacks are told that this machine is like
    cache_bytes: int = 512 << 20  # the most that an app's buildpacks may keep for its next build; 0: nothing is kept
    npm_registry: str = ""  # what is behind our /npm/; empty: what npm is configured with for the whole machine
    build_network: str = "mirror"  # what builds reach: mirror (only the index, where the host can enforce it) or open
    build_memory: int = 2 << 30  # the memory of a build in bytes (root installs); 0: any
    build_processes: int = 1024  # the most processes of a build (root installs)
    build_cpu_weight: int = 50  # a build's share of a busy processor, from 1 to 10000; 100 is everybody else's
    build_disk: int = 4 << 30  # the most that a build may write, in bytes
    build_output: int = 8 << 20  # the most that a build may print, in bytes
    drain_timeout: int = 10  # seconds that requests of the old release get to finish
    push_bytes: int = 1 << 30  # the largest push accepted, in bytes
    tree_bytes: int = 1 << 30  # the largest commit accepted, unpacked, in bytes
    tree_files: int = 50_000  # the most files a commit may have
    import_bytes: int = 2 << 30  # the largest archive of a slug, or export of the index, in bytes
    log_bytes: int = 10 << 20  # the size at which an app's log is rotated, in bytes
    keep_releases: int = 10  # slugs that are kept for each app and stage to roll back to; 0: all
    keep_days: int = 0  # days for which they are kept; 0: without end
    keep_bytes: int = 0  # bytes that their code may take for each app and stage; 0: any
    collect_every: int = 3600  # seconds between two collections of what nothing needs; 0: only dae gc
    verify_every: int = 86400  # seconds between two readings of all layers; 0: only dae slugs verify
    instance_memory: int = 0  # limit of an instance's address space in bytes; 0: none
    instance_files: int = 4096  # limit of an instance's open files
    instance_processes: int = 512  # limit of the processes of an app's account (root installs)
    instance_tmp: str = "private"  # an app's /tmp, /var/tmp, /dev/shm: private (root installs that can) or shared
    hook_networks: tuple[str, ...] = ()  # private networks that webhooks may be sent to, such as 10.1.0.0/16
    hook_attempts: int = 6  # how often a webhook is tried

    def __post_init__(self) -> None:
        if not self.home.is_absolute() or not str(self.home).isprintable():
            raise _wrong("home", self.home, "an absolute path of printable characters")
        if not 1 <= self.port <= 65535:
            raise _wrong("port", self.port, "a number from 1 to 65535")
        for key, host in (("host", self.host), ("domain", self.domain)):
            if not HOST_NAME.match(host) or len(host) > 200:
                raise _wrong(key, host, "a host name")
        for key, words in _WORDS.items():
            if getattr(self, key) not in words:
                raise _wrong(key, getattr(self, key), " or ".join(words))
        if not 1 <= self.build_cpu_weight <= 10_000:
            raise _wrong("build_cpu_weight", self.build_cpu_weight, "a number from 1 to 10000")
        for key in ("buildpacks", "pythons", "mirror_policy", "mirror_advisories"):
            path = getattr(self, key)
            if path and not (Path(path).is_absolute() and path.isprintable()):
                raise _wrong(key, path, "an absolute path of printable characters")
        if not re.match(r"[a-z0-9][a-z0-9.-]{0,39}\Z", self.stack):
            raise _wrong("stack", self.stack, "a name such as heroku-24")
        if self.npm_registry and not re.match(r"https?://[!-~]+\Z", self.npm_registry):
            raise _wrong("npm_registry", self.npm_registry, "an http address")
        try:
            ipaddress.ip_address(self.listen)
        except ValueError:
            raise _wrong("listen", self.listen, "an IP address") from None
        for url in self.upstreams:
            if not re.match(r"https?://([^@/?#\s]+@)?[^@/?#\s]+(/[^?#\s]*)?\Z", url):
                shown = re.sub(r"//[^/]*@", "//", url)
                raise _wrong("upstreams", shown, "an address such as https://packages.example.org/simple/")
        for pair in self.upstream_proxies:
            if not re.match(r"https?://[^/?#\s]+(/[^?#\s]*)? +(direct|https?://([^@/?#\s]+@)?[^@/?#\s]+/?)\Z", pair):
                shown = re.sub(r"//[^/]*@", "//", pair)
                raise _wrong(
                    "upstream_proxies", shown, "such as https://packages.example.org/simple/ http://proxy:3128"
                )
        for url in self.index_aliases:
            if not re.match(r"https?://[^/?#\s]+(/[^?#\s]*)?\Z", url):
                raise _wrong("index_aliases", url, "an address such as https://packages.example.org/simple/")
        for url in self.build_sources:
            if not _SOURCE.match(url):
                shown = re.sub(r"//[^/]*@", "//", url)
                raise _wrong("build_sources", shown, "an address such as git+https://code.example.org/team/")
        for network in self.hook_networks:
            try:
                ipaddress.ip_network(network)
            except ValueError:
                raise _wrong("hook_networks", network, "a network such as 10.1.0.0/16") from None
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int) and value < 0:
                raise _wrong(field.name, value, "a number that is not negative")

    @property
    def account(self) -> str:
        """The platform's UNIX account, and the beginning of every other account of it.

        A platform in another home gets other accounts, so that two of them live side by side.
        """
        if self.home == ROOT_HOME:
            return "dae"
        return "dae" + hashlib.sha256(str(self.home).encode()).hexdigest()[:5]

    @property
    def www_account(self) -> str:
        """The UNIX account of nginx's workers."""
        return self.account + "_www"

    @property
    def url(self) -> str:
        """Where people reach the platform."""
        return f"http://{self.host}" + ("" if self.port == 80 else f":{self.port}")

    @property
    def local_address(self) -> str:
        """The IP address at which the platform's own parts reach the public door, whatever its host resolves to."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.listen, self.listen)  # noqa: S104 - compared only

    @property
    def local_url(self) -> str:
        """The public door at that address (RFC 3986, 3.2.2: IPv6 in brackets)."""
        host = f"[{self.local_address}]" if ":" in self.local_address else self.local_address
        return f"http://{host}:{self.port}"

    @property
    def index_url(self) -> str:
        """The mirror's simple index, as builds on this node ask it."""
        return self.local_url + "/pypi/simple/"

    @property
    def npm_url(self) -> str:
        """The registry of npm packages, as builds on this node ask it: the mirror passes it on."""
        return self.local_url + "/npm/"

    def app_host(self, app: str, stage: str) -> str:
        """The host name of an app's stage."""
        return f"{app}.{self.domain}" if stage == "stable" else f"{app}.{stage}.{self.domain}"

    def app_url(self, app: str, stage: str) -> str:
        """Where people reach an app's stage."""
        return f"http://{self.app_host(app, stage)}" + ("" if self.port == 80 else f":{self.port}") + "/"


def _wrong(key: str, value: object, expected: str) -> DaeError:
    return DaeError(
        "settings/invalid", f"{key} is {value!r}, which is not {expected}", f"set DAE_{key.upper()} or dae.toml"
    )


def default_home(environ: Mapping[str, str], uid: int) -> Path:
    """``/var/lib/dae`` for root, the user's data folder otherwise."""
    if uid == 0:
        return ROOT_HOME
    data = environ.get("XDG_DATA_HOME") or str(Path(environ.get("HOME") or "~").expanduser() / ".local" / "share")
    return Path(data) / "dae"


_CONVERT: Mapping[str, Callable[[str], Any]] = {
    "int": int,
    "str": str,
    "Path": lambda text: Path(os.path.abspath(text)),
    "tuple[str, ...]": lambda text: tuple(part.strip() for part in text.split(",") if part.strip()),
}


def load(environ: Mapping[str, str] | None = None, uid: int | None = None) -> Settings:
    """Read the settings; raises ``settings/invalid`` for an unknown key or a value of the wrong kind."""
    environ = os.environ if environ is None else environ
    uid = os.geteuid() if uid is None else uid
    home = Path(os.path.abspath(environ.get("DAE_HOME") or default_home(environ, uid)))
    values: dict[str, Any] = {"home": home}
    types = {field.name: str(field.type) for field in fields(Settings)}
    for key, value in _read_toml(home / "dae.toml").items():
        if key not in types or key == "home":
            raise DaeError("settings/invalid", f"dae.toml has a key {key!r} that is not known", "see docs/config.md")
        values[key] = tuple(value) if isinstance(value, list) else value
        expected = {"int": int, "str": str}.get(types[key], tuple)
        words = isinstance(value, list) and all(isinstance(word, str) for word in value)
        if not isinstance(values[key], expected) or isinstance(value, bool) or (isinstance(value, list) and not words):
            raise _wrong(key, value, f"of type {types[key]}")
    for key, kind in types.items():
        text = environ.get("DAE_" + key.upper())
        if key != "home" and text:
            try:
                values[key] = _CONVERT[kind](text)
            except ValueError:
                raise _wrong(key, text, f"of type {kind}") from None
    return Settings(**values)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise DaeError("settings/invalid", f"{path} cannot be read: {error}", "mend the file") from error
