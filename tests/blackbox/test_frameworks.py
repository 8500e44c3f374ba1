"""Web applications that others wrote, one of each common framework, deployed as their users would: a few lines each."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.blackbox.project import Platform, Project

HANDLERS = "handlers:\n- url: /.*\n  wsgi_app: app:application\n"


@dataclass(frozen=True)
class Application:
    """``files`` to push; then ``path`` answers 200 with ``text`` in it."""

    files: dict[str, str]
    path: str
    text: str
    headers: dict[str, str] = field(default_factory=dict)


def application(requirements: str, app: str, path: str, text: str, **headers: str) -> Application:
    return Application({"pip-req.txt": requirements, "app.py": app, "app.yaml": HANDLERS}, path, text, headers)


FLASK = application(
    "sqlite-web==0.8.2\n",
    """\
import os

from sqlite_web.sqlite_web import app as application
from sqlite_web.sqlite_web import initialize_app

initialize_app([os.environ["DAE_PERMDIR"] + "/notes.db"])
""",
    "/",
    "notes.db",
)
BOTTLE = application(
    "pypiserver==2.4.2\n",
    "import os\nimport pypiserver\n"
    "application = pypiserver.app(roots=[os.environ['DAE_PERMDIR']], password_file='.', authenticate=[])\n",
    "/simple/",
    "Simple Index",
)
PYRAMID = application(
    "kinto==26.5.0\n",
    """\
import kinto

MEMORY = {f"kinto.{name}_backend": f"kinto.core.{name}.memory" for name in ("storage", "cache", "permission")}
application = kinto.main({}, **MEMORY, **{"kinto.userid_hmac_secret": "x" * 32, "kinto.project_name": "kinto on dae"})
""",
    "/v1/",
    "kinto on dae",
)
FALCON = application(
    "mailman==3.3.10\n",
    """\
import os

os.environ["MAILMAN_VAR_DIR"] = os.environ["DAE_PERMDIR"]
from mailman.core.initialize import initialize

initialize(None)
from mailman.rest.wsgiapp import make_application

application = make_application()
""",
    "/3.1/system/versions",
    "GNU Mailman 3.3.10",
    Authorization="Basic cmVzdGFkbWluOnJlc3RwYXNz",  # restadmin:restpass, as mailman comes
)
FASTAPI = Application(
    {
        "pip-req.txt": "simple-repository-server==0.10.0\nuvicorn-worker\n",
        "Procfile": "web: gunicorn -k uvicorn_worker.UvicornWorker app:app\n",
        "app.py": (
            "import os\nfrom simple_repository_server.__main__ import create_app\n"
            "app = create_app([os.environ['DAE_PERMDIR']])\n"
        ),
    },
    "/simple/",
    "Simple index",
)
DJANGO = Application(
    {
        "pip-req.txt": "wagtail>=7.0,<7.1\nDjango>=5.2,<5.3\n",
        "Procfile": "release: python manage.py migrate --noinput\n",
        "app.yaml": HANDLERS.replace("s:\n", "s:\n- url: /static/(.*)\n  static_files: collected/\\1\n").replace(
            " app:", " wsgi:"
        ),
        "manage.py": (
            "import os, sys\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'settings')\n"
            "from django.core.management import execute_from_command_line\nexecute_from_command_line(sys.argv)\n"
        ),
        "wsgi.py": (
            "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'settings')\n"
            "from django.core.wsgi import get_wsgi_application\napplication = get_wsgi_application()\n"
        ),
        "urls.py": (
            "from django.urls import include, path\nfrom wagtail import urls\nfrom wagtail.admin import urls as admin\n"
            "urlpatterns = [path('admin/', include(admin)), path('', include(urls))]\n"
        ),
        "settings.py": """\
import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
SECRET_KEY = "x" * 50
ALLOWED_HOSTS = ["*"]
WAGTAIL = ["contrib.forms", "contrib.redirects", "embeds", "sites", "users", "snippets", "documents", "images"]
DJANGO = ["admin", "auth", "contenttypes", "sessions", "messages", "staticfiles"]
INSTALLED_APPS = [f"wagtail.{name}" for name in [*WAGTAIL, "search", "admin"]] + ["wagtail", "modelcluster", "taggit"]
INSTALLED_APPS += [f"django.contrib.{name}" for name in DJANGO]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
ROOT_URLCONF = "urls"
PROCESSORS = ["template.context_processors.request", "contrib.auth.context_processors.auth"]
PROCESSORS += ["contrib.messages.context_processors.messages"]
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "APP_DIRS": True,
    "OPTIONS": {"context_processors": [f"django.{name}" for name in PROCESSORS]},
}]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["DAE_PERMDIR"] + "/db.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
STATIC_URL = "/static/"
STATIC_ROOT = HERE / "collected"
WAGTAIL_SITE_NAME = "wagtail on dae"
WAGTAILADMIN_BASE_URL = "http://localhost"
""",
    },
    "/admin/login/",
    "Sign in to Wagtail",
)
APPLICATIONS = {
    "flask": FLASK, "django": DJANGO, "fastapi": FASTAPI, "bottle": BOTTLE, "pyramid": PYRAMID, "falcon": FALCON,
}  # fmt: skip


@pytest.mark.parametrize("framework", APPLICATIONS)
def test_it_deploys(platform: Platform, tmp_path: Path, framework: str) -> None:
    """It goes live at the first push, answers, and is promoted as it is."""
    wanted = APPLICATIONS[framework]
    project = Project.create(platform, tmp_path / "app", f"on-{framework}", wanted.files)
    done = project.push()
    assert done.returncode == 0, done.stderr
    status, _headers, body = project.get(wanted.path, headers=wanted.headers)
    assert (status, wanted.text in body.decode()) == (200, True), body[:2000]
    promoted = project.dae("promote", "--from", "dev")
    assert promoted.returncode == 0, promoted.stderr
    assert project.get(wanted.path, stage="beta", headers=wanted.headers)[0] == 200
    stages = json.loads(project.dae("info", "--json").stdout)["stages"]
    assert stages["dev"]["slug"] == stages["beta"]["slug"]
