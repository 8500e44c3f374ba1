"""What both engines share: the surroundings a tool runs in, and how its failures are told apart."""

from __future__ import annotations

import re
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.utils import canonicalize_name

from buildpacks.deadline import Deadline
from buildpacks.engines import offered
from buildpacks.index import Index
from buildpacks.keys import RUNTIME
from core import argv
from core.errors import DaeError, disk_full

SHOWN_LINES = 15
#: What builds take for the date, so that two of one source give the same (reproducible-builds.org, specs): 1980, which
#: is the first year that a wheel's files can be of.
DATE = "315532800"
NOISE = ("Looking in ", "The above exception was", "During handling of", "ERROR: ResolutionImpossible: for help")
DRAWING = " \t│╰─▶├┴╭▲\N{MULTIPLICATION SIGN}"  # what uv draws around its messages

# A 5xx answer, or none at all. What the index answers with 4xx is about the package, not about the index.
_UNAVAILABLE = re.compile(
    r"connection refused|connection reset|connect error|error sending request|failed to establish a new connection"
    r"|connection broken by|max retries exceeded|read timed out|operation timed out|name or service not known"
    r"|\b50[0234] (server error|internal|bad gateway|service|gateway)|server error \(50\d",
    re.IGNORECASE,
)
#: How pip and uv name what they found no version of.
_UNFOUND = re.compile(
    r"(?:No matching distribution found for|no versions? of|versions of|[Bb]ecause only|and only|[Bb]ecause)"
    r" ([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?=[\s=<>!~\[,]|$)"
)
#: The file that an installer was refused, in its address.
_REFUSED = re.compile(
    r"\b403\b.{0,600}?/files/[0-9a-f]{2}/[0-9a-f]{64}/([A-Za-z0-9._+!~-]+?\.(?:whl|tar\.gz|zip))(?![A-Za-z0-9])"
)
_UNRESOLVED = re.compile(r"no solution found|no matching distribution|403", re.I)
_NO_BUILD = re.compile(r"failed to build|build backend|metadata-generation-failed|subprocess-exited-with-error", re.I)
_NO_SPACE = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
_NO_MEMORY = re.compile(r"^MemoryError|cannot allocate memory|out of memory", re.IGNORECASE | re.MULTILINE)
# What a program hears that asks for an address, or for anything but the index, in a network without a way out.
#: How uv and pip say that a version is for other Pythons; and a mention of what the app did not ask for.
_OTHER_PYTHON = re.compile(r"current Python version \(|require a different python version", re.IGNORECASE)
_GIVEN = re.compile(r"\b(?:gevent|gunicorn)\b")
_NO_NETWORK = re.compile(
    r"network is unreachable|temporary failure in name resolution|could not resolve host|failed to lookup address"
    r"|\[Errno -[23]\]",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Tool:
    """Where, for what and from where a tool works.

    ``python``: the base interpreter. ``workdir``: a folder for its temporary files. ``cache``: its
    folder for downloads. ``show``: gets the lines of its output that explain a failure.
    """

    python: Path
    index_url: str
    workdir: Path
    cache: Path
    deadline: Deadline
    show: Callable[[str], None] = field(default=lambda _line: None)

    def run(self, command: Sequence[str | Path]) -> argv.Outcome:
        """Run ``command`` with none of the machine's or the user's settings; raises ``build/timeout``.

        Raises ``build/failed`` when it was killed, ``platform/disk-full``: neither is the app's fault.
        """
        home = self.workdir / "home"
        home.mkdir(parents=True, exist_ok=True)
        outcome = argv.run(command, environ=self.environ(home), cwd=self.workdir, timeout=self.deadline.left())
        if outcome.timed_out:
            self.deadline.left()  # raises, as no time is left
        if outcome.status < 0:
            name = Path(str(command[0])).name
            cause = f"{name} was killed by signal {-outcome.status}"
            raise DaeError("build/failed", cause, "it may have needed more memory than a build may have")
        if not outcome.ok and (found := _NO_SPACE.search(outcome.output)):
            raise disk_full(f"the installer says: {found[0].lower()}")
        if not outcome.ok and _NO_MEMORY.search(outcome.output):
            cause = f"{Path(str(command[0])).name} found no memory left"
            raise DaeError("build/out-of-memory", cause, "require packages with wheels, or ask for more (build_memory)")
        return outcome

    def listed(self, name: str, requirements: Sequence[str]) -> Path:
        """The path of a file ``name`` that holds them, one in a line."""
        path = self.workdir / name
        path.write_text("".join(f"{line}\n" for line in requirements), encoding="utf-8")
        return path

    @staticmethod
    def environ(home: Path) -> Mapping[str, str]:
        """The variables a tool gets beside core.argv.CLEAN_ENVIRON."""
        return {
            "HOME": str(home),
            "TMPDIR": str(home),
            "PIP_CONFIG_FILE": "/dev/null",  # pip's word for: no configuration file at all
            "UV_NO_CONFIG": "1",
            "UV_SYSTEM_CERTS": "1",  # a mirror with https has its certificate from whom the node trusts
            "UV_NATIVE_TLS": "1",  # the same, to uv before 0.11
            "UV_HTTP_RETRIES": "1",  # the mirror is near: it answers, or it does not
            "VIRTUALENV_CONFIG_FILE": "/dev/null",
            "PYTHONDONTWRITEBYTECODE": "1",
            "SOURCE_DATE_EPOCH": DATE,
            "PYTHONHASHSEED": "0",  # what a build writes in the order of a set
            "NO_COLOR": "1",
        }

    def failure(self, code: str, output: str, summary: str) -> DaeError:
        """The error for a tool's ``output``; ``code`` when it tells nothing else. Shows the lines that say why."""
        lines = [line.replace(f"{self.workdir}/", "") for line in key_lines(output)]
        for line in lines:
            if re.sub(r"^cause: *", "", line) != summary:  # that one is the error's own cause
                self.show(line)
        cause = re.sub(r"^(error|cause): *", "", summary or next(iter(lines), "the tool gave no reason"), flags=re.I)
        cause = cause if len(cause) <= 400 else cause[:397] + "..."
        if _NO_NETWORK.search(output) and _alone():
            hint = "require a version that has a wheel; what it downloads must come from the index"
            words = f"the build has no network but the mirror ({cause})"
            return DaeError("build/install-failed", words, hint)
        if _UNAVAILABLE.search(output) or self.index_is_down(output):
            hint = "push again in a moment; if it stays, an operator has to look at the mirror"
            return DaeError("build/mirror-unavailable", f"the index does not answer ({cause})", hint)
        reasons = self._reasons(output) if code == "build/unresolvable" or _UNRESOLVED.search(output) else []
        if not reasons and _NO_BUILD.search(output):
            hint = "require a version that has a wheel for this Python, or fix its build"
            return DaeError("build/install-failed", cause, hint)
        for reason in reasons:
            self.show(reason)
        if reasons:
            said, _, advice = reasons[-1].partition(" -- ")
            return DaeError(code, f"{cause}; of the index: {said}", advice or _advice(output))
        has = offered.versions(Index(self.index_url, self.deadline), output) if code == "build/unresolvable" else ""
        return DaeError(code, f"{cause.rstrip('.')}; {has}" if has else cause, _advice(output))

    def tell_extras(self, output: str) -> None:
        """Show which extras that were asked for do not exist, says the ``output`` of a lock that was made."""
        if "extra" in output:
            for line in offered.missing_extras(Index(self.index_url, self.deadline), output):
                self.show(line)

    def _reasons(self, output: str) -> list[str]:
        """Why the index hides files of what could not be resolved: the newest of each, if it hides any."""
        index = Index(self.index_url, self.deadline)
        text = " ".join(output.split())
        refused = [(file.split("-")[0], file) for file in _REFUSED.findall(text)]
        unfound = [(name, "") for name in _UNFOUND.findall(text)]
        names = dict.fromkeys((canonicalize_name(name), file) for name, file in (*refused, *unfound))
        return [line for name, file in list(names)[:5] for line in _about(file, index.reasons(name))]

    def built(self, outcome: argv.Outcome, source: Path, out: Path, summary: str) -> Path:
        """The one wheel in ``out`` that the source distribution ``source`` was built into, or the error why not."""
        if not outcome.ok:
            error = self.failure("build/install-failed", outcome.output, summary)
            raise DaeError(error.code, f"{source.name} does not become a wheel: {error.cause}", error.hint)
        wheels = sorted(out.glob("*.whl"))
        if len(wheels) != 1:
            cause = f"{source.name} was built into {len(wheels)} wheels instead of one"
            raise DaeError("build/install-failed", cause, "require another version of it")
        return wheels[0]

    def index_is_down(self, output: str) -> bool:
        """Whether the index has no answer for a project that pip says does not exist: pip takes a 503 for a 404."""
        for name in re.findall(r"No matching distribution found for ([A-Za-z0-9._-]+)", output)[:3]:
            url = f"{self.index_url.rstrip('/')}/{re.sub(r'[-_.]+', '-', name).lower()}/"
            try:
                urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=10).close()
            except urllib.error.HTTPError as error:
                if error.code >= 500:
                    return True
            except OSError:
                return True
        return False


def _about(file: str, reasons: Sequence[str]) -> Sequence[str]:
    """Of the reasons that of a file which is named, else the newest two."""
    return [line for line in reasons if file and line.startswith(f"{file} ")][:1] or reasons[-2:]


def _advice(output: str) -> str:
    """What to type about requirements that cannot be had together, where more can be said than that."""
    if _OTHER_PYTHON.search(output):
        return "require a version for this Python, or name another Python in .python-version; then push again"
    if _GIVEN.search(output):
        given = " and ".join(RUNTIME[:2])
        return f"every app is given {given}: require what goes with them, or name versions of your own"
    return "change the requirements file, commit and push again"


def _alone() -> bool:
    """Is there no network but a loopback?"""
    return [name for _number, name in socket.if_nameindex()] == ["lo"]


def key_lines(output: str) -> list[str]:
    """Of a failed tool's output the lines that say why, without tracebacks, progress and markup."""
    kept = []
    in_trace = False
    for raw in output.splitlines():
        line = raw.strip(DRAWING)
        if line.startswith("Traceback (most recent call last)"):
            in_trace = True
        elif in_trace and raw[:1] not in ("", " ", "\t") and not raw.startswith("During handling"):
            in_trace = False  # the line that names the exception says what an ERROR line said before
        elif line and not in_trace and not line.startswith(NOISE):
            kept.append(line)
    firm = [n for n, line in enumerate(kept) if line.lower().startswith(("error", "no solution", "because"))]
    return kept[firm[0] :][:SHOWN_LINES] if firm else kept[-SHOWN_LINES:]
