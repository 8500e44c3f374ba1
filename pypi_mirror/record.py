"""A project as the bytes of its record on the disk, and back. Records of earlier versions lack fields, and are read."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from pypi_mirror.model import File, Project


def dump(project: Project) -> bytes:
    return json.dumps(asdict(project), separators=(",", ":")).encode()


def load(data: bytes) -> Project:
    """Raises ValueError, TypeError, KeyError or DaeError for what is no record."""
    fields: dict[str, Any] = json.loads(data)
    fields["files"] = [File(**entry) for entry in fields["files"]]
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    return Project(**fields)
