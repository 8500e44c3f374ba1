"""Run by :mod:`buildpacks.compile` in the app's own interpreter (3.9 or newer), isolated: [PATH...]

Standard input, where each word ends with NUL, names PATH if no argument does, and then sources (their paths below
PATH) that are compiled already. Names in the
bytecode are relative to PATH: whoever imports it puts the place where it was found in their stead. Prints a literal of
Python for each file that does not compile: json would take as long to import as all of the rest.
"""

import os
import py_compile
import resource
import sys

LIMITS = (
    (resource.RLIMIT_CPU, 100),  # seconds
    (resource.RLIMIT_AS, 2 << 30),
    (resource.RLIMIT_FSIZE, 64 << 20),
    (resource.RLIMIT_CORE, 0),
)
SOURCE_CAP = 4 << 20  # bytes


def main(*places: str) -> None:
    for which, wanted in LIMITS:
        hard = resource.getrlimit(which)[1]
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(which, (limit, limit))
    words = [os.fsdecode(name) for name in sys.stdin.buffer.read().split(b"\0")[:-1]]
    if not places:
        places = tuple(words[:1])  # none: whoever was to say it has gone
        del words[:1]
    for path in places:
        compile_tree(path, frozenset(words))


def compile_tree(path: str, known: frozenset) -> None:  # type: ignore[type-arg]
    folders = [""]
    while folders:  # not os.walk, which calls itself: the tree may be deeper than that
        below = folders.pop()
        with os.scandir(os.path.join(path, below)) as entries:  # noqa: PTH118 - plain and fast, it is run for each push
            for entry in entries:
                name = os.path.join(below, entry.name)  # noqa: PTH118
                # A symlink is neither read through nor written through.
                if entry.is_dir(follow_symlinks=False) and entry.name != "__pycache__":
                    folders.append(name)
                elif entry.name.endswith(".py") and name not in known and entry.is_file(follow_symlinks=False):
                    compile_file(path, name, entry.stat(follow_symlinks=False).st_size)


def compile_file(path: str, name: str, size: int) -> None:
    source = os.path.join(path, name)  # noqa: PTH118
    cache = os.path.join(os.path.dirname(source), "__pycache__")  # noqa: PTH118, PTH120
    try:
        if size > SOURCE_CAP:
            raise ValueError(f"larger than {SOURCE_CAP >> 20} MiB")
        if os.path.islink(cache):  # noqa: PTH114
            raise ValueError("__pycache__ is a symbolic link")
        py_compile.compile(
            source,
            dfile=name,
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
    except py_compile.PyCompileError as error:
        line = getattr(error.exc_value, "lineno", None)
        reason = getattr(error.exc_value, "msg", None) or error.exc_type_name
        print(ascii(f"{name} line {line}: {reason}" if line else f"{name}: {reason}"))  # noqa: T201
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        print(ascii(f"{name}: {str(error) or type(error).__name__}"))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
