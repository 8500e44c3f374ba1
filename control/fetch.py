"""The program that fetches what is required by its address: ``python -I -m control.fetch DIR``. It runs none of it.

It works as the platform's own account: builds have no network. Reads ``DIR/order.json``; leaves what each source is in
``DIR/N/``, N being its place in the order: the file, or the files of the commit as the folder ``tree``; and
``DIR/result.json``: ``{"sha256": [...]}``, of each file, or of the commit's files. Exit status: see
:func:`core.program.run`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import resource
import stat
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

import urllib3

from buildpacks import direct
from buildpacks.deadline import Deadline
from buildpacks.direct import Source
from core import argv, program
from core.errors import DaeError
from core.nouns import canonical_json, digest_of
from core.paths import Home
from core.program import Say, beating
from receiver import git
from receiver.checkout import checkout

TREE = "tree"
REDIRECTS = 5
CHUNK = 256 << 10
_SILENT = 30.0  # seconds without a byte after which a server is given up
# Whoever answers decides nothing: no redirect, no other protocol, no helper, nothing of the machine's own settings.
_FETCHING: Mapping[str, str] = {
    "credential.helper": "",
    "core.askPass": "",
    "fetch.recurseSubmodules": "false",
    "fetch.unpackLimit": "1",  # one pack, whose size a limit of files' sizes bounds
    "fetch.fsck.badTimezone": "ignore",
    "fetch.fsck.missingSpaceBeforeDate": "ignore",
    "fetch.fsck.zeroPaddedFilemode": "ignore",
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": str(int(_SILENT)),
    "maintenance.auto": "false",
    "protocol.version": "2",  # in which a server gives any commit that it has
    "transfer.bundleURI": "false",
}


@dataclass(frozen=True, slots=True)
class Order:
    """``sources`` are to be fetched in ``seconds``; each of at most so many bytes and files, packed or unpacked.

    ``entries``: the operator's ``build_sources``, with their credentials.
    """

    home: str
    sources: tuple[Source, ...]
    entries: tuple[str, ...]
    seconds: int
    max_bytes: int
    max_files: int

    def to_json(self) -> bytes:
        return canonical_json(asdict(self)) + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Order:
        """The inverse of :meth:`to_json`."""
        fields = json.loads(data)
        sources = tuple(Source(**source) for source in fields["sources"])
        return cls(**{**fields, "sources": sources, "entries": tuple(fields["entries"])})


def fetch(folder: Path, say: Say) -> dict[str, Any]:
    """Carry out the order of ``folder``; raises ``build/bad-source`` and ``build/source-unavailable``."""
    order = Order.from_json((folder / "order.json").read_bytes())
    program.limit(resource.RLIMIT_FSIZE, order.max_bytes + (1 << 20))
    deadline, found = Deadline.after(order.seconds), []
    for number, source in enumerate(order.sources):
        place = folder / str(number)
        place.mkdir()
        say(f"-----> Fetching {source.address}")
        with beating(say, "fetching"):
            found.append(_Fetch(order, source, place, deadline).run())
    return {"sha256": found}


@dataclass(frozen=True, slots=True)
class _Fetch:
    order: Order
    source: Source
    place: Path
    deadline: Deadline

    def run(self) -> str:
        """Fetch it; returns its sha256 in hex."""
        return self._commit() if self.source.is_git else self._file()

    def _file(self) -> str:
        try:
            with urllib3.PoolManager(retries=False) as pool:
                return self._save(self._answer(pool))
        except urllib3.exceptions.HTTPError as error:
            self._left()
            raise self._unavailable(type(error).__name__) from error

    def _answer(self, pool: urllib3.PoolManager) -> urllib3.BaseHTTPResponse:
        """The answer after redirects, each of which must lead to where packages may come from."""
        url = self.source.url
        for _ in range(REDIRECTS + 1):
            headers = {"User-Agent": "dae", "Accept-Encoding": "identity", **_authorization(self._entry(url))}
            timeout = urllib3.Timeout(connect=min(10, self._left()), read=min(_SILENT, self._left()))
            answer = pool.request("GET", url, headers=headers, timeout=timeout, redirect=False, preload_content=False)
            if answer.status == 200:
                return answer
            answer.close()
            if answer.status not in (301, 302, 303, 307, 308):
                raise self._unavailable(f"it answered {answer.status}")
            url = urljoin(url, answer.headers.get("Location", "")).partition("#")[0]
        raise self._bad(f"it redirects more than {REDIRECTS} times")

    def _save(self, answer: urllib3.BaseHTTPResponse) -> str:
        digest, size = hashlib.sha256(), 0
        with (self.place / self.source.filename).open("xb") as stream:
            while chunk := answer.read1(CHUNK, decode_content=False):
                self._left()
                size += len(chunk)
                if size > self.order.max_bytes:
                    raise self._too_large()
                digest.update(chunk)
                stream.write(chunk)
        answer.close()
        if size != int(answer.headers.get("Content-Length", size)):
            raise self._unavailable("it ended in the middle")
        return digest.hexdigest()

    def _commit(self) -> str:
        repository, source = self.place / "git", self.source
        self._git(repository, "init", "--quiet", "--bare", "--template=", "--object-format=sha1", str(repository))
        protocol = urlsplit(source.url).scheme
        words = ("--quiet", "--depth=1", "--no-tags", "--no-recurse-submodules", "--no-write-fetch-head")
        outcome = self._git(
            repository,
            *("fetch", *words, "--end-of-options", source.url, f"{source.commit}:refs/heads/wanted"),
            config={**_FETCHING, f"protocol.{protocol}.allow": "always"},
        )
        if not outcome.ok:
            raise self._refused(outcome)
        home, start = Home(Path(self.order.home)), f"--git-dir={repository}"
        limits = (self.order.max_bytes, self.order.max_files)
        tree = self.place / TREE
        try:
            checkout(git.command(home, repository, start), git.GIT_ENVIRON, source.commit, tree, limits)
        except DaeError as error:
            raise self._bad(error.cause) from error
        if not (tree / source.subdirectory).is_dir() or (tree / source.subdirectory).is_symlink():
            raise self._bad(f"it has no folder {source.subdirectory}")
        return tree_digest(tree, source.subdirectory)

    def _git(self, repository: Path, verb: str, *words: str, config: Mapping[str, str] | None = None) -> argv.Outcome:
        entry = self._entry(self.source.url)
        command = git.command(
            Home(Path(self.order.home)), repository, f"--git-dir={repository}", verb, *words, config=config
        )
        environ = {**git.GIT_ENVIRON, "HOME": str(self.place), **_git_credentials(entry)}
        outcome = argv.run(command, environ=environ, cwd=self.place, timeout=self._left(), own_session=False)
        if outcome.timed_out:
            self._left()
        return outcome

    def _refused(self, outcome: argv.Outcome) -> DaeError:
        """Why git did not fetch."""
        said = outcome.output.strip()
        written = [path.stat().st_size for path in (self.place / "git" / "objects").rglob("*") if path.is_file()]
        if max(written, default=0) > self.order.max_bytes:
            return self._too_large()
        if "not our ref" in said or "find remote ref" in said:
            return self._bad("its repository does not have that commit")
        line = next((line for line in said.splitlines() if line.startswith(("fatal:", "error:"))), said)
        if "requested URL returned error: 3" in said or "redirect" in said:
            return self._bad("it redirects: name the address that it leads to")
        return self._unavailable(ascii(line.partition(": ")[2][:200])[1:-1])

    def _entry(self, url: str) -> str:
        """What allows the address; asked again for each, whoever asked before."""
        try:
            entry = direct.entry_of(self.order.entries, direct.checked(url, "", query=True), git=self.source.is_git)
        except (DaeError, IndexError):
            entry = None
        if entry is None:
            raise self._bad(f"it redirects to {direct.shown(url)}, from where packages may not come")
        return entry

    def _left(self) -> float:
        try:
            return self.deadline.left()
        except DaeError as error:
            raise self._unavailable(f"it did not come within {self.order.seconds} s") from error

    def _unavailable(self, why: str) -> DaeError:
        cause = f"{self.source.address} cannot be fetched: {why}"
        return DaeError("build/source-unavailable", cause, "push again; if it stays, look at that server")

    def _bad(self, why: str) -> DaeError:
        return DaeError("build/bad-source", f"{self.source.address}: {why}", "correct the address, or what is there")

    def _too_large(self) -> DaeError:
        cause = f"{self.source.address} is larger than {self.order.max_bytes >> 10} KiB"
        return DaeError("build/bad-source", cause, "require something smaller, or ask for more (source_bytes)")


def tree_digest(tree: Path, subdirectory: str) -> str:
    """The sha256 that names what is built: each file's path, content and right to be run, each link's goal."""
    entries = []
    for path in sorted(tree.rglob("*")):
        status, name = path.lstat(), path.relative_to(tree).as_posix()
        if stat.S_ISLNK(status.st_mode):
            entries.append([name, "link", str(path.readlink())])
        elif stat.S_ISREG(status.st_mode):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            entries.append([name, "program" if status.st_mode & 0o100 else "file", digest])
    names = [[os.fsencode(part).decode("latin-1") for part in entry] for entry in entries]
    return digest_of(canonical_json(["tree", subdirectory, names]))


def _credentials(entry: str) -> str:
    """The value of ``Authorization`` for an entry that holds user and password; else empty."""
    parts = urlsplit(entry.removeprefix(direct.GIT))
    if parts.username is None:
        return ""
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _authorization(entry: str) -> dict[str, str]:
    value = _credentials(entry)
    return {"Authorization": value} if value else {}


def _git_credentials(entry: str) -> dict[str, str]:
    """The same for git, which sends it below that address alone; in the environment, for others see command lines."""
    value, parts = _credentials(entry), urlsplit(entry.removeprefix(direct.GIT))
    if not value:
        return {}
    place = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    key = f"http.{place}.extraHeader"
    return {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": key, "GIT_CONFIG_VALUE_0": f"Authorization: {value}"}


def main(arguments: list[str]) -> int:
    """The program; ``arguments`` is the folder of the order. It ends with control, and with what it may use."""
    program.bound()
    os.umask(0o077)
    return program.run("control.fetch", arguments, fetch)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
