"""A directory that survives deploys."""

from __future__ import annotations

import os
from pathlib import Path


def get_permdir() -> str:
    """The path of the app's own directory that no deploy touches; made when it is not there.

    On the platform DAE_PERMDIR says where it is. On a developer's machine it is ``.dae/permdir`` in the app's folder.
    Raises OSError when it cannot be made.
    """
    path = os.environ.get("DAE_PERMDIR") or str(Path(os.environ.get("DAE_CODE") or Path.cwd()) / ".dae" / "permdir")
    Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
    return path
