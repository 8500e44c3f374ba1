"""What ``dae doctor`` tells of Pythons; run by the account that builds choose them with: root starts more than that."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from buildpacks.interpreters import Interpreter, survey


def main() -> None:
    """Write ``[[PATH, VERSION, FAULT]]``, one of the two empty; arguments: "shared" or "own", and the folder."""
    shared, folder = sys.argv[1] == "shared", Path(sys.argv[2])
    rows = [(str(path), *_told(found)) for path, found in survey(shared, folder)]
    sys.stdout.write(json.dumps(rows))


def _told(found: Interpreter | str) -> tuple[str, str]:
    return ("", found) if isinstance(found, str) else (".".join(map(str, found.version)), "")


if __name__ == "__main__":
    main()
