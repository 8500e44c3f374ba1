"""Settings from the environment; what must survive a deploy is in the permdir."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from dae.api.permdir import get_permdir

PERMDIR = Path(get_permdir())


def _secret_key() -> str:
    """The config variable SECRET_KEY, else one that is made once and kept."""
    if os.environ.get("SECRET_KEY"):
        return os.environ["SECRET_KEY"]
    path = PERMDIR / "secret-key"
    if not path.exists():
        with tempfile.NamedTemporaryFile("w", dir=PERMDIR) as file:  # readable by this app alone
            file.write(secrets.token_urlsafe(48))
            file.flush()
            with contextlib.suppress(FileExistsError):  # another worker was first
                os.link(file.name, path)
    return path.read_text()


SECRET_KEY = _secret_key()
DEBUG = os.environ.get("DAE_ENV") == "SDK"
ALLOWED_HOSTS = ["*"]  # the router sends this app requests for its own hosts only
INSTALLED_APPS = ["website"]
MIDDLEWARE = ["django.middleware.security.SecurityMiddleware", "django.middleware.common.CommonMiddleware"]
ROOT_URLCONF = "website.urls"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
WSGI_APPLICATION = "website.wsgi.application"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": PERMDIR / "site.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
