"""How an environment is laid out: what makes it one is no package's to bring."""

from __future__ import annotations

import re

# What virtualenv and we put there; and the folders of it, in whose place no file may stand.
_OWN = re.compile(r"(pyvenv\.cfg|environment\.json|lib64|bin/python(3(\.[^/]*)?)?)(/|\Z)")
_FOLDERS = re.compile(r"(bin|include|lib(/python[^/]*(/site-packages)?)?)\Z")


def is_foreign(file: str) -> bool:
    """Whether a package with a file (or link) of that path would replace what makes an environment one.

    >>> [is_foreign(path) for path in ("bin/python3", "lib64/x", "bin", "lib/python3.11")]
    [True, True, True, True]
    >>> [is_foreign(path) for path in ("bin/python-config", "bin/flask", "lib/python3.11/site-packages/x.py")]
    [False, False, False]
    """
    return bool(_OWN.match(file) or _FOLDERS.match(file))
