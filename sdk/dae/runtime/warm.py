"""``python -m dae.runtime.warm``: the first half of an instance's start, done while its release is still being made.

The node's agent starts this as it starts the instance itself: in the app's account, in its environment, shut in as it
will be. It imports what gunicorn and its gevent worker import, none of it the app's, and waits for one line on standard
input: a JSON object of ``argv``, ``environ`` and ``cwd``. Then it is that program: the modules that are loaded stay
loaded where that can make no difference, and otherwise the process begins afresh (execve(2)).
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

#: What gunicorn and a gevent worker load before they come to the app.
MODULES = (
    "concurrent.futures.thread",
    "gunicorn.app.wsgiapp",
    "gunicorn.glogging",
    "gunicorn.workers.ggevent",
    "gevent.events",
    "gevent.monkey",
    "gevent.os",
    "gevent.queue",
    "gevent.select",
    "gevent.selectors",
    "gevent.signal",
    "gevent.socket",
    "gevent.ssl",
    "gevent.subprocess",
    "gevent.thread",
    "gevent.threading",
    "gevent.time",
    "dae.runtime.plugins",
    "dae.runtime.predefined",
    "dae.runtime.wsgi",
)
#: Variables that the platform sets for each release, and that nothing reads before the server starts.
OF_RELEASE = frozenset({"DAE_RELEASE", "DAE_CODE", "DAE_HANDLERS", "DAE_WORKERS", "DAE_SOCKET", "PORT", "PYTHONPATH"})
SERVER = ("-m", "gunicorn")
#: The folder that it is started in.
START = "/"
#: Modules that an interpreter imports by itself as it starts, when it finds any of that name.
AT_START = frozenset({"sitecustomize", "usercustomize"})
_KINDS = ("py", "pyc", "so")
_PIECE = 1 << 16


def main() -> None:
    """Get ready, wait, and become the program; returns when nothing more comes on standard input."""
    for name in MODULES:
        with suppress(ImportError):  # another version of its package; what is really missing, the server will say
            importlib.import_module(name)
    line = _line(0)
    if line:
        order = json.loads(line)
        become(order["argv"], order["environ"], order["cwd"])


def become(argv: Sequence[str], environ: Mapping[str, str], cwd: str) -> None:
    """Be the program ``argv`` (absolute), with exactly this environment, in the folder ``cwd``."""
    os.chdir(cwd)
    path = [entry for entry in environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    if not (fits(argv, environ) and not shadowed([cwd, *path])):
        # Python ignores SIGPIPE, and what is ignored stays ignored in the next program.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.execve(argv[0], list(argv), environ)  # noqa: S606 - no shell is what is wanted
    for name in OF_RELEASE:
        if name in environ:
            os.environ[name] = environ[name]
        else:
            os.environ.pop(name, None)
    _note_folder()
    # As ``python -m`` would have it (sys.path, in the library's reference), with the same PYTHONPATH.
    sys.path[:1] = [cwd, *dict.fromkeys(map(os.path.abspath, path))]
    module, rest = argv[2], argv[3:]
    sys.argv[:] = [module, *rest]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _note_folder() -> None:
    """gunicorn notes the folder that it is imported in as the one to go to; of one that does so otherwise, nothing of
    its own stays loaded."""
    setting = getattr(sys.modules.get("gunicorn.config"), "Chdir", None)
    if setting is not None and setting.default == START:
        setting.default = sys.modules["gunicorn.util"].getcwd()
        return
    for name in [name for name in sys.modules if name.partition(".")[0] == "gunicorn"]:
        del sys.modules[name]


def fits(argv: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Would the program be this interpreter, this server, and an environment that is the same where it matters?"""
    if argv[0] != sys.executable or tuple(argv[1:3]) != SERVER or getattr(sys.flags, "safe_path", False):
        return False
    names = (set(environ) | set(os.environ)) - OF_RELEASE
    return all(environ.get(name) == os.environ.get(name) for name in names)


def shadowed(path: Iterable[str]) -> bool:
    """Does a folder of ``path`` hold a module of a name that is loaded, or that a new interpreter would load?"""
    taken = AT_START.union(name.partition(".")[0] for name in sys.modules)
    for folder in path:
        with suppress(OSError):  # a new interpreter passes over what cannot be listed, too
            for entry in os.listdir(folder):  # noqa: PTH208 - pathlib is not loaded, and need not be
                name, dot, kind = entry.partition(".")
                if name in taken and (not dot or kind in _KINDS or kind.endswith(".so")):
                    return True
    return False


def _line(descriptor: int) -> bytes:
    """What comes up to the end of the line, or of the input; not a byte more is taken than was sent."""
    pieces: list[bytes] = []
    while True:
        piece = os.read(descriptor, _PIECE)
        pieces.append(piece)
        if not piece or piece.endswith(b"\n"):
            return b"".join(pieces)


if __name__ == "__main__":
    main()
