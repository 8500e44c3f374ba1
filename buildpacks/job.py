"""What a build is asked to do: written by control, read by the worker inside the account of the build."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from core.errors import DaeError
from core.nouns import canonical_json

STEPS = ("lock", "install", "compile")
ENGINES = ("uv", "pip")


@dataclass(frozen=True, slots=True)
class Job:
    """One build of an environment.

    ``requirements``: the text of ``requirements_file``. ``python`` and ``interpreter``: path and id of an
    :class:`Interpreter`. ``environments``: the folder that finished environments are kept in, by digest; what stands
    there already is not built again. ``steps``: the first one, two or three of STEPS. ``lock``: the lock when it is
    known already (it is then not made). ``timeout``: seconds for everything. ``cache``: a folder for downloads that
    outlives the build, for builds that trust one another: whoever builds can write to it. Empty: it is thrown away.

    Raises ``input/invalid`` when a field cannot be right.
    """

    requirements: str
    engine: str
    python: str
    interpreter: str
    index_url: str
    environments: str
    requirements_file: str = "requirements.txt"
    steps: tuple[str, ...] = STEPS
    lock: str = ""
    timeout: int = 600
    cache: str = ""

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise DaeError("input/invalid", f"a build's engine is {self.engine[:20]!a}", f"use one of {ENGINES}")
        if not self.steps or self.steps != STEPS[: len(self.steps)]:
            raise DaeError("input/invalid", f"a build's steps are {self.steps!r}", f"use the first ones of {STEPS}")
        if urlsplit(self.index_url).scheme not in ("http", "https"):
            raise DaeError("input/invalid", f"a build's index is {self.index_url[:80]!a}", "use an http address")
        if not all(Path(path).is_absolute() for path in (self.python, self.environments, self.cache or "/")):
            raise DaeError("input/invalid", "a build's paths are not all absolute", "")
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
            return cls(**{**fields, "steps": tuple(fields["steps"])})
        except (KeyError, TypeError, ValueError) as error:
            raise DaeError("input/invalid", f"job.json cannot be read: {error}", "") from error
