"""A virtual environment that can be moved: made, then freed of every path that it was made under."""

from __future__ import annotations

import os
import re
import shlex
import sys
from pathlib import Path

from buildpacks.engines.tool import Tool
from core.errors import DaeError

SCRIPT_CAP = 1 << 20  # bytes; what is larger is a program, not a console script

# Shell and Python both read it: sh runs the python beside the script, Python sees a string (uv's relocatable form).
TRAMPOLINE = b"""#!/bin/sh
'''exec' "$(dirname -- "$(realpath -- "$0")")"/'python' "$0" "$@"
' '''
"""


def create(tool: Tool, env: Path) -> None:
    """Make the virtual environment ``env``, without pip or anything else in it; raises ``build/failed``."""
    outcome = tool.run(
        [
            *(sys.executable, "-I", "-m", "virtualenv", "--quiet", "--no-seed", "--activators", ""),
            *("--no-periodic-update", "--app-data", tool.workdir / "app-data", "--python", tool.python, env),
        ]
    )
    if not outcome.ok:
        raise DaeError("build/failed", f"virtualenv failed: {' '.join(outcome.output.split())[-300:]}", "")
    config = env / "pyvenv.cfg"  # its 'command' names the folder the environment was made in
    kept = [line for line in config.read_text().splitlines(keepends=True) if not line.startswith("command")]
    config.write_text("".join(kept))


def relocate_scripts(env: Path) -> None:
    """Let every console script in ``env/bin`` find the Python beside itself, not at the path it was built under."""
    for path in sorted((env / "bin").iterdir()):
        if path.is_symlink() or not path.is_file() or path.stat().st_size > SCRIPT_CAP:
            continue
        body = _without_shebang(path.read_bytes(), env / "bin")
        if body is not None:
            # A new file: the old one may be a hard link into a tool's cache.
            fresh = path.with_name(f".{path.name}.new")
            fresh.write_bytes(TRAMPOLINE + body)
            fresh.chmod(0o755)
            fresh.replace(path)


def _without_shebang(data: bytes, folder: Path) -> bytes | None:
    """What follows the shebang of a script of the Python in ``folder``; None when it is no such script."""
    name = rb"python[0-9.]*"
    here = re.escape(os.fsencode(folder))
    plain = re.match(rb"#!\s*(['\"]?)" + here + rb"/" + name + rb"\1[^\n]*\n", data)
    quoted = re.escape(os.fsencode(shlex.quote(str(folder)))[:-1] if shlex.quote(str(folder))[0] == "'" else b"")
    # The form for paths that are too long for the kernel, or hold blanks: #!/bin/sh, '''exec' PATH "$0" "$@", ' '''
    long = re.match(
        rb"#!/bin/sh\n'''exec'[^\n]*(" + here + (rb"|" + quoted if quoted else b"") + rb")/[^\n]*\n' '''\n", data
    )
    found = plain or long
    return data[found.end() :] if found else None


def compile_bytecode(tool: Tool, env: Path, final: Path) -> None:
    """Compile everything in ``env``, as if it stood in ``final`` already; raises ``build/failed``."""
    outcome = tool.run(
        [
            *(tool.python, "-I", "-S", "-W", "ignore", "-m", "compileall", "-q", "-j", "2"),
            *("--invalidation-mode", "unchecked-hash", "-s", env, "-p", final, env / "lib"),
        ]
    )
    # Status 1: a file is not Python for this interpreter. Packages ship such files (templates, other versions'
    # branches), nothing imports them, and pip and uv pass over them as well.
    if outcome.status not in (0, 1):
        raise DaeError("build/failed", f"compileall ended with status {outcome.status}", "")
