"""From a commit's files to an environment: detect, lock, install, compile."""

from buildpacks.detect import Recipe, detect
from buildpacks.interpreters import Interpreter, find_interpreter
from buildpacks.job import Job
from buildpacks.keys import RUNTIME, environment_digest, lacks_runtime, lock_key
from buildpacks.policy import Policy

__all__ = [
    "RUNTIME",
    "Interpreter",
    "Job",
    "Policy",
    "Recipe",
    "detect",
    "environment_digest",
    "find_interpreter",
    "lacks_runtime",
    "lock_key",
]
