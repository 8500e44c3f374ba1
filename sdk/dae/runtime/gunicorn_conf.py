"""gunicorn's settings inside an app: ``-c python:dae.runtime.gunicorn_conf``.

gunicorn reads every module-level name that is one of its settings and ignores the rest, so a setting that only newer
versions have is simply written down. The command line wins over all of this.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from dae.runtime import plugins, predefined, wsgi

# gunicorn itself would listen on every address when it sees PORT: the router and a developer both reach loopback.
if os.environ.get("DAE_SOCKET"):
    bind = "unix:" + os.environ["DAE_SOCKET"]
elif os.environ.get("PORT"):
    bind = "127.0.0.1:" + os.environ["PORT"]

# The mode of the socket (gunicorn uses the umask for nothing else but it and its heartbeat file): the group may
# connect, which holds the app's account and nginx's workers.
umask = 0o007
worker_class = "gevent"
workers = int(os.environ.get("DAE_WORKERS") or "1")
# Connections are the router's to close: it makes one for each request and closes it after the answer, so that none is
# ever sent down a connection that is just being closed here. This is the bound for one that is left open all the same.
# A developer's server has no router before it, and should not wait for an idle browser when it reloads.
keepalive = int(os.environ.get("DAE_KEEPALIVE") or "75")
graceful_timeout = int(os.environ.get("DAE_GRACE") or "10")
# The heartbeat file is touched every second: a disk that blocks must not look like a worker that hangs.
if Path("/dev/shm").is_dir():  # noqa: S108 - gunicorn makes an anonymous file there
    worker_tmp_dir = "/dev/shm"  # noqa: S108
# One more socket that nobody needs; its default path is the same for all instances of an account.
control_socket_disable = True
# Over a unix socket gunicorn believes a client's SCRIPT_NAME and PATH_INFO headers, should a proxy let them through.
forwarder_headers = ""
accesslog = None
errorlog = "-"
loglevel = "warning"


def post_fork(_server: Any, worker: Any) -> None:
    """Before a worker patches itself: have that read the environment once."""
    if sys.version_info >= (3, 10) and hasattr(worker, "patch"):
        worker.patch = plugins.asked_once(worker.patch)


def post_worker_init(worker: Any) -> None:
    """Put the predefined URLs before the app, whichever way it was started.

    Only for gunicorn's own WSGI workers: what others keep in ``worker.wsgi`` may be an ASGI application.
    """
    module = type(worker).__module__
    if module.startswith("gunicorn.workers.") and not module.endswith(".gasgi"):
        worker.wsgi = predefined.wrap(worker.wsgi, os.environ)


def worker_exit(_server: Any, _worker: Any) -> None:
    """Say which handler could not be imported: after the traceback, where the last lines are what people see."""
    for line in wsgi.failures:
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - the instance's log
