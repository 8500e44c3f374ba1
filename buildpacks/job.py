"""What a build's account is asked to do: written by control, read by the worker."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from buildpacks.index import IndexFile
from core.errors import DaeError
from core.nouns import canonical_json

#: The job's file in a build's work folder.
JOB = "job.json"
ENGINES = ("uv", "pip")


@dataclass(frozen=True, slots=True)
class Job:
    """One run in a build's account: lock ``requirements``, or build ``source`` or ``given`` into a wheel.

    ``requirements`` and ``constraints``: one in a line, from ``requirements_file``; ``options``: ``--pre`` and
    ``--only-binary=NAME``. Of an earlier lock ``held`` stays as it is, and of ``preferred`` what fits. ``source``: a
    source distribution of the index. What the platform fetched for a requirement with an address lies in the folder
    ``code``: ``given``, an archive or a folder there (``.``: all of it); for locking ``wheels``, their files by the
    package's name. ``python`` and ``interpreter``: path and id of an :class:`Interpreter`. ``timeout``: seconds for
    everything.

    Raises ``input/invalid`` when a field cannot be right.
    """

    engine: str
    python: str
    interpreter: str
    index_url: str
    requirements: str = ""
    requirements_file: str = "requirements.txt"
    constraints: str = ""
    options: tuple[str, ...] = ()
    held: str = ""
    preferred: str = ""
    source: IndexFile | None = None
    given: str = ""
    wheels: Mapping[str, str] = field(default_factory=dict)
    timeout: int = 600

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise DaeError("input/invalid", f"a build's engine is {self.engine[:20]!a}", f"use one of {ENGINES}")
        if urlsplit(self.index_url).scheme not in ("http", "https"):
            raise DaeError("input/invalid", f"a build's index is {self.index_url[:80]!a}", "use an http address")
        if not Path(self.python).is_absolute():
            raise DaeError("input/invalid", "a build's interpreter is not an absolute path", "")
        if self.timeout < 1:
            raise DaeError("input/invalid", f"a build's time is {self.timeout} s", "give it at least 1")

    def to_json(self) -> bytes:
        """The job as it stands in ``job.json``."""
        return canonical_json(asdict(self)) + b"\n"

    @classmethod
    def from_json(cls, data: bytes) -> Job:
        """The inverse of :meth:`to_json`; raises ``input/invalid``."""
        try:
            fields: Mapping[str, Any] = json.loads(data)
            source = fields.get("source")
            options = tuple(fields.get("options", ()))
            return cls(**{**fields, "options": options, "source": IndexFile(**source) if source else None})
        except (AttributeError, TypeError, ValueError) as error:
            raise DaeError("input/invalid", f"job.json cannot be read: {error}", "") from error
