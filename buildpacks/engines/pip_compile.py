"""Run by :mod:`buildpacks.engines.pip` in the app's own interpreter, isolated: PACKAGES-FOLDER compile OPTIONS...

pip-tools resolves for the interpreter that runs it, so it runs in the app's, with the platform's copy of it. Nothing
that it needs is compiled, which makes that work within one series of Python.
"""

import sys
from typing import Any


def main() -> None:
    sys.path.append(sys.argv.pop(1))
    from pip._internal.exceptions import PipError
    from piptools.__main__ import cli
    from piptools.repositories.pypi import PyPIRepository

    downloaded = PyPIRepository._get_file_hash

    def known(self: Any, link: Any) -> str:
        """The hash that the index's page gives; without this, every wheel of every system is downloaded for it."""
        return f"sha256:{link.hash}" if link.hash_name == "sha256" and link.hash else downloaded(self, link)

    PyPIRepository._get_file_hash = known  # type: ignore[method-assign]
    try:
        cli()
    except PipError as error:
        print(*explain(error), sep="\n", file=sys.stderr)  # noqa: T201 - a program's output
        sys.exit(1)


def explain(error: Exception) -> "list[str]":
    """pip's error in lines of its own style: as a library it tells the details to nobody."""
    from pip._internal.exceptions import InstallationSubprocessError
    from pip._internal.req.req_install import InstallRequirement

    lines = []
    for cause in getattr(error.__cause__, "causes", ()):
        who = f"{cause.parent.name} {cause.parent.version}" if cause.parent else "the app"
        lines.append(f"ERROR: {who} requires {cause.requirement}")
    trace = error.__traceback__
    while isinstance(error, InstallationSubprocessError) and trace is not None:
        subject = trace.tb_frame.f_locals.get("self")  # the error itself does not say which package it is about
        if isinstance(subject, InstallRequirement):
            lines.append(f"ERROR: Failed to build {subject.req}")
            break
        trace = trace.tb_next
    return [*lines, f"ERROR: {error}"]


if __name__ == "__main__":
    main()
