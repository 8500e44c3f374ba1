"""Run in a commit's folder, by its own interpreter (3.9 or newer): ``manage.py collectstatic``, there or in a FOLDER.

Does nothing, and says so, when the settings have no place for static files. In one process: a second one that only
asks would import the whole project twice.
"""

import os
import runpy
import sys


def main() -> None:
    if sys.argv[1:]:
        os.chdir(sys.argv[1])
    sys.path[0] = ""  # the project's folder, where this script's own was
    from django.core import management  # type: ignore[import-not-found]

    collect = management.execute_from_command_line

    def unless_pointless(argv=None):  # type: ignore[no-untyped-def]
        reason = why_not()
        if reason:
            print(f"nothing to collect: {reason}")  # noqa: T201 - the step's output
        else:
            collect(argv)

    management.execute_from_command_line = unless_pointless
    sys.argv = ["manage.py", "collectstatic", "--noinput"]
    runpy.run_path("manage.py", run_name="__main__")


def why_not() -> str:
    from django.conf import settings  # type: ignore[import-not-found]

    if not any(name.startswith("django.contrib.staticfiles") for name in settings.INSTALLED_APPS):
        return "django.contrib.staticfiles is not in INSTALLED_APPS"
    return "" if settings.STATIC_ROOT else "STATIC_ROOT is not set"


if __name__ == "__main__":
    main()
