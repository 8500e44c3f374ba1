"""Where everything lives under DAE_HOME. Paths are made here and nowhere else, from validated names only.

Modes on a root install (``dae`` is the platform's account, ``www`` nginx's workers'):

=============  ===========  =====  ==========================================================
folder         owner:group  mode   what
=============  ===========  =====  ==========================================================
state          dae          0700   database, release files (they hold config)
repos          dae          0700   bare git repositories
builds         dae          0711   one work folder per build, given to the build's account
layers/env     dae          0755   environments, shared by apps
layers/pkg     dae          0700   packages, of whose files environments are made
layers/code    dae          0711   one folder per app, 0750 with the app's group
slugs          dae          0700   manifests
locks          dae          0700   hash-locked requirements by key
caches         dae          0700   one archive per app, which nobody but its builds unpacks
buildpacks     root         0755   classic buildpacks, unless the operator has them elsewhere
pythons        root         0755   interpreters, unless the operator has them elsewhere
mirror         dae:dae      0750   the index's files; www is in the group
apps           root         0711   one folder per app, 0700, owned by its account
run            root:dae     1771   sockets; sticky: the account replaces nothing of root's
run/a          root         0711   one folder per app for its sockets, 0750, app:app; www is in the group
run/r          root         0755   hosts as links to what serves them
run/agent      root         0711   the agent's records
router         root         0755   generations of nginx's configuration
logs           root:dae     0750   logs
platform       root         0755   the platform's own virtual environment
=============  ===========  =====  ==========================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from core.errors import DaeError
from core.nouns import APP_NAME, COMMIT, DIGEST, Instance, Stage

SOCKET_PATH_BYTES = 107  # sizeof(sockaddr_un.sun_path) - 1, unix(7)
# By the link that nginx goes, which is longer than the socket's own path: an app of 30 letters, release, index, port.
_LONGEST_APP_SOCKET = "run/r/" + "a" * 30 + ".stable.v99999.999.0/s"


@dataclass(frozen=True, slots=True)
class Home:
    """The folders and files of one platform."""

    root: Path

    @property
    def state(self) -> Path:
        return self.root / "state"

    @property
    def database(self) -> Path:
        return self.state / "dae.db"

    @property
    def internal_key(self) -> Path:
        """The secret by which control knows the receive hook."""
        return self.state / "internal.key"

    @property
    def signing_key(self) -> Path:
        """The private key by which other platforms know what was exported here."""
        return self.state / "signing.key"

    @property
    def repos(self) -> Path:
        return self.root / "repos"

    @property
    def builds(self) -> Path:
        return self.root / "builds"

    @property
    def environments(self) -> Path:
        return self.root / "layers" / "env"

    @property
    def packages(self) -> Path:
        return self.root / "layers" / "pkg"

    @property
    def codes(self) -> Path:
        return self.root / "layers" / "code"

    @property
    def slugs(self) -> Path:
        return self.root / "slugs"

    @property
    def locks(self) -> Path:
        return self.root / "locks"

    @property
    def chosen(self) -> Path:
        """Notes on which files were chosen for what is locked (:mod:`buildpacks.chosen`)."""
        return self.locks / "chosen"

    @property
    def caches(self) -> Path:
        return self.root / "caches"

    @property
    def buildpacks(self) -> Path:
        return self.root / "buildpacks"

    @property
    def pythons(self) -> Path:
        return self.root / "pythons"

    @property
    def mirror(self) -> Path:
        return self.root / "mirror"

    @property
    def apps(self) -> Path:
        return self.root / "apps"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def router(self) -> Path:
        return self.root / "router"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def platform(self) -> Path:
        return self.root / "platform"

    @property
    def agent_state(self) -> Path:
        """The agent's records: instance files and process ids; root only."""
        return self.run / "agent"

    @property
    def live(self) -> Path:
        """Hosts and the releases that serve them, as links: nginx's table of routes; root only."""
        return self.run / "r"

    def socket(self, part: str) -> Path:
        """The unix socket of a part: control, receiver, mirror, agent, supervisor; index, for builds."""
        return self.run / f"{part}.sock"

    def package(self, key: str) -> Path:
        return self.packages / _digest(key)

    def repo(self, app: str) -> Path:
        return self.repos / f"{_app(app)}.git"

    def environment(self, digest: str) -> Path:
        return self.environments / _digest(digest)

    def code(self, app: str, tree: str) -> Path:
        return self.app_codes(app) / _commit(tree)

    def app_codes(self, app: str) -> Path:
        return self.codes / _app(app)

    def cache(self, app: str) -> Path:
        """What the classic buildpacks of an app keep between builds: an archive that is opened in builds only."""
        return self.caches / f"{_app(app)}.tar"

    def slug(self, digest: str) -> Path:
        return self.slugs / f"{_digest(digest)}.json"

    def release(self, app: str, number: int) -> Path:
        """The file with a release's slug digest and config: what the agent starts instances from."""
        return self.state / "releases" / _app(app) / f"v{int(number)}.json"

    def app_home(self, app: str) -> Path:
        """The app's own folder: HOME of its processes; survives deploys."""
        return self.apps / _app(app)

    def app_run(self, app: str) -> Path:
        return self.run / "a" / _app(app)

    def app_socket(self, app: str, stage: Stage, release: int, index: int) -> Path:
        """The unix socket that the web instance of a release listens on: a fresh one per start."""
        return self.app_run(app) / f"{stage}-v{int(release)}.{int(index)}.s"

    def instance_log(self, instance: Instance) -> Path:
        """One log per app, stage and process, kept across releases."""
        return self.app_logs(instance.app) / f"{instance.stage}.{instance.process}.log"

    def app_logs(self, app: str) -> Path:
        return self.logs / "apps" / _app(app)

    def build_log(self, build: int) -> Path:
        return self.logs / "builds" / f"{int(build)}.log"

    def test_log(self, run: int) -> Path:
        return self.logs / "tests" / f"{int(run)}.log"

    def check_lengths(self) -> None:
        """Raise ``runner/path-too-long`` when a socket under this home would not fit into a sockaddr_un."""
        # nginx resolves links on the way, so that the real path counts too.
        length = max(len(str(root / _LONGEST_APP_SOCKET).encode()) for root in (self.root, self.root.resolve()))
        if length > SOCKET_PATH_BYTES:
            raise DaeError(
                "runner/path-too-long",
                f"sockets under {self.root} would need {length} bytes, and the system allows {SOCKET_PATH_BYTES}",
                f"choose a DAE_HOME at least {length - SOCKET_PATH_BYTES} bytes shorter",
            )


def _app(name: str) -> str:
    if not APP_NAME.match(name) or name.endswith("-"):
        raise DaeError("app/bad-name", f"{name[:40]!a} cannot be an app's name")
    return name


def _digest(text: str) -> str:
    if not DIGEST.match(text):
        raise DaeError("slug/unknown", f"{text[:80]!a} is not a digest")
    return text


def _commit(text: str) -> str:
    if not COMMIT.match(text):
        raise DaeError("slug/unknown", f"{text[:80]!a} is not an object name")
    return text
