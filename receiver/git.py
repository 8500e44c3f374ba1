"""How git is called: one clean environment, one policy given with every call, the repository always named in full.

What decides about safety is given on the command line (git's "command" scope), which wins over a repository's own
config file: nothing that ever gets into a repository can change it. Sources: git(1), git-config(1), gitnamespaces(7).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from core.argv import CLEAN_ENVIRON
from core.paths import Home

GIT_ENVIRON: Mapping[str, str] = {
    **CLEAN_ENVIRON,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",  # neither ~/.gitconfig nor the XDG one
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",  # a pushed refs/replace/ must not change what a commit's tree is
    "GIT_ADVICE": "0",
}

# The same for all repositories; it is written into each, so that git by hand behaves as the platform does.
REPOSITORY_CONFIG: Mapping[str, Mapping[str, str]] = {
    "core": {
        "repositoryFormatVersion": "0",
        "fileMode": "true",
        "bare": "true",
        "logAllRefUpdates": "true",
        "fsync": "committed,reference",  # what a push reported is still there after a power cut
        "fsyncMethod": "batch",
    },
    "transfer": {"fsckObjects": "true"},
    "receive": {
        "fsckObjects": "true",
        "denyNonFastForwards": "false",  # a forced push is a deploy like any other
        "denyDeletes": "false",  # control decides, and says why
        "shallowUpdate": "true",  # a build server pushes from a clone of depth 1
        "autoGC": "false",  # it would outlive the push, and hold its lock
    },
    # Flaws of old and harmless commits, which the big hosts accept as well.
    'receive "fsck"': {"badTimezone": "ignore", "missingSpaceBeforeDate": "ignore", "zeroPaddedFilemode": "ignore"},
    "gc": {"auto": "0"},
    "uploadpack": {"allowAnySHA1InWant": "false"},
}

# Stronger than the file in the repository.
COMMAND_CONFIG: Mapping[str, str] = {
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "gc.auto": "0",
    "protocol.allow": "never",
    "receive.autoGC": "false",
    "receive.fsckObjects": "true",
    "transfer.fsckObjects": "true",
}


def hooks_folder(home: Home) -> Path:
    """The folder of the one constant hook, outside all repositories."""
    return home.run / "githooks"


def command(home: Home, repository: Path, *words: str, config: Mapping[str, str] | None = None) -> list[str]:
    """The argv of ``git WORDS``: policy, hooks folder and the repository as the only safe directory."""
    settings = {
        **COMMAND_CONFIG,
        "core.hooksPath": str(hooks_folder(home)),
        "safe.directory": str(repository),
        **(config or {}),
    }
    flags = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
    return ["git", *flags, *words]


def config_text(config: Mapping[str, Mapping[str, str]]) -> str:
    """A git config file. Keys and values are the platform's own constants, plain words that need no quoting."""
    lines = []
    for section, values in config.items():
        lines.append(f"[{section}]")
        lines += [f"\t{key} = {value}" for key, value in values.items()]
    return "\n".join(lines) + "\n"
