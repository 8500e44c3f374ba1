"""``python -I -m control.platform.hooks HOME``: install the receive hook of the copy that this interpreter runs."""

from __future__ import annotations

import sys
from pathlib import Path

from core.paths import Home
from receiver.repository import install_hooks

if __name__ == "__main__":
    install_hooks(Home(Path(sys.argv[1])), Path(sys.executable))
