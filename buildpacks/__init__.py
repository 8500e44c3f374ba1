"""From a commit's files to an environment: detect, lock, install, compile."""

from buildpacks.compile import compile_code
from buildpacks.detect import Recipe, detect
from buildpacks.interpreters import Interpreter, find_interpreter
from buildpacks.job import Job
from buildpacks.keys import RUNTIME, environment_digest, lock_key

__all__ = [
    "RUNTIME",
    "Interpreter",
    "Job",
    "Recipe",
    "compile_code",
    "detect",
    "environment_digest",
    "find_interpreter",
    "lock_key",
]
