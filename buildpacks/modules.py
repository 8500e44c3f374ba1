"""What the name of a module stands for: in a commit, in an environment, in an index. Only names are read."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

#: Distributions that are called otherwise than the module that is imported from them, where that misleads.
DISTRIBUTIONS: Mapping[str, str] = {
    "Crypto": "pycryptodome",
    "MySQLdb": "mysqlclient",
    "OpenSSL": "pyOpenSSL",
    "PIL": "Pillow",
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "corsheaders": "django-cors-headers",
    "cv2": "opencv-python-headless",
    "dateutil": "python-dateutil",
    "decouple": "python-decouple",
    "dj_database_url": "dj-database-url",
    "django_filters": "django-filter",
    "docx": "python-docx",
    "dotenv": "python-dotenv",
    "environ": "django-environ",
    "fitz": "PyMuPDF",
    "flask_sqlalchemy": "Flask-SQLAlchemy",
    "git": "GitPython",
    "google.protobuf": "protobuf",
    "jose": "python-jose",
    "jwt": "PyJWT",
    "ldap": "python-ldap",
    "magic": "python-magic",
    "markdown": "Markdown",
    "memcache": "python-memcached",
    "multipart": "python-multipart",
    "nacl": "PyNaCl",
    "pkg_resources": "setuptools",
    "pptx": "python-pptx",
    "psycopg2": "psycopg2-binary",
    "pymysql": "PyMySQL",
    "pythonjsonlogger": "python-json-logger",
    "rest_framework": "djangorestframework",
    "serial": "pyserial",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "slugify": "python-slugify",
    "socketio": "python-socketio",
    "telegram": "python-telegram-bot",
    "usb": "pyusb",
    "websocket": "websocket-client",
    "yaml": "PyYAML",
    "zmq": "pyzmq",
}
#: Folders of a commit whose modules are not the app's.
_NOT_CODE = frozenset({"docs", "examples", "node_modules", "site-packages", "test", "tests", "__pycache__"})
_DEPTH, _FOLDERS = 3, 2000
#: Modules that Python has before it looks into any folder: a file of that name is never imported.
_FIRST = frozenset(
    {*sys.builtin_module_names, "abc", "codecs", "encodings", "genericpath", "io", "os", "posixpath", "site", "stat"}
)


def distribution(module: str) -> str:
    """The package that brings a ``module``, if that is known to be called otherwise; nothing is guessed: anybody may
    have published a package of the module's own name.

    >>> distribution("yaml.nodes"), distribution("google.protobuf"), distribution("flask")
    ('PyYAML', 'protobuf', '')
    """
    parts = module.split(".")
    return DISTRIBUTIONS.get(".".join(parts[:2])) or DISTRIBUTIONS.get(parts[0], "")


def is_in(folder: Path, name: str) -> bool:
    """Whether a top-level module of that name would be imported from ``folder``: a source file, or a package."""
    return (folder / f"{name}.py").is_file() or any((folder / name).glob("*.py"))


def below(code: Path, name: str) -> tuple[str, ...]:
    """The folders of the commit in ``code``, not its top, that hold a module of that name: the nearest first."""
    return tuple(str(folder.relative_to(code)) for folder in _folders(code) if is_in(folder, name))


def manage_scripts(code: Path) -> tuple[str, ...]:
    """Where ``manage.py`` stands in the commit, the nearest first; the top alone when it is there."""
    if (code / "manage.py").is_file():
        return ("manage.py",)
    return tuple(str((f / "manage.py").relative_to(code)) for f in _folders(code) if (f / "manage.py").is_file())


def shadowed(code: Path, environment: Path, name: str) -> str:
    """What a module of that name at the top of the commit hides, in words; empty when it hides nothing."""
    if not is_in(code, name) or name in _FIRST:
        return ""
    if name in sys.stdlib_module_names:
        return f"Python's own module '{name}'"
    installed = [*environment.glob(f"lib/*/site-packages/{name}.py"), *environment.glob(f"lib/*/site-packages/{name}/")]
    return f"the installed package '{name}'" if installed else ""


def is_outdone(code: Path, name: str) -> bool:
    """Whether a module of that name at the top of the commit is never imported: Python's own always is."""
    return name in _FIRST and is_in(code, name)


def _folders(code: Path) -> Iterator[Path]:
    """Folders below the top, those of one depth after the other; links are not followed, and not all are looked at."""
    level, left = [str(code)], _FOLDERS
    for _depth in range(_DEPTH):
        level = [path for folder in level for path in _below(folder)][:left]
        left -= len(level)
        yield from map(Path, level)


def _below(folder: str) -> list[str]:
    with os.scandir(folder) as entries:
        found = [e for e in entries if e.name[0] != "." and e.name not in _NOT_CODE and e.is_dir(follow_symlinks=False)]
    return sorted(entry.path for entry in found)
