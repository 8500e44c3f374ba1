"""``python -m dae``: the command."""

from dae.cli import main

main()
