"""Markers that are compared by what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest
from packaging.markers import default_environment
from packaging.specifiers import SpecifierSet

from buildpacks.foreign.reading import Node
from buildpacks.foreign.sampled import Sampled, When

ALLOTTED = 100_000
HERE: dict[str, str] = {key: str(value) for key, value in default_environment().items()}


@dataclass(frozen=True)
class Counting(Node):
    """A node that counts the characters of the markers that it is asked about."""

    def __post_init__(self) -> None:
        self.read.append(0)

    @property
    def read(self) -> list[int]:
        found: list[int] = self.data["read"]
        return found

    def applies(self, marker: str, markers: Mapping[str, str]) -> bool:
        self.read[0] += len(marker)
        return Node.applies(self, marker, markers)


def sampled(node: Node | None = None) -> Sampled:
    return Sampled(node or Node("uv.lock", {}), HERE, SpecifierSet(">=3.9"))


def when(*texts: str) -> list[When]:
    return [When((text,)) for text in texts]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("sys_platform == 'win32'", "platform_system == 'Windows'", True),
        ("sys_platform == 'win32'", "platform_system == 'Darwin'", False),
        ("sys_platform != 'darwin'", "platform_system != 'Darwin'", True),
        ("sys_platform != 'emscripten'", "platform_system != 'Emscripten'", True),
        ("sys_platform == 'aix'", "platform_system == 'AIX'", True),
        ("sys_platform == 'cygwin'", "sys_platform == 'linux'", False),
        ("python_version < '3.12'", "python_full_version < '3.12'", True),
        ("python_version < '3.12'", "python_full_version < '3.12.1'", False),
        ("python_version >= '3.6'", "", True),
    ],
)
def test_meaning(one: str, other: str, same: bool) -> None:
    """Two spellings of one thing are the same, for the Pythons that count and for systems that there are."""
    assert sampled().same(when(one), when(other)) is same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            when(*(f"python_version > '3.{n % 30}' and os_name != '{n}' and sys_platform == '{n}'" for n in range(90))),
            when(*(f"python_version > '3.{n % 30}' and os_name != '{n}' and sys_platform == '{n}'" for n in range(89))),
        ),
        (when(*(f"platform_machine != '{n}'" for n in range(5000))), when("platform_machine != 'x'", "os_name == ''")),
        (when("os_name == \"" + "".join(f"a{chr(97 + n % 26)}_{'b' * n} == 'x' " for n in range(60)) + '"'), when("")),
        (when(f"os_name == '{'a' * 3900}'"), when("")),
    ],
)  # fmt: skip
def test_no_text_of_a_commit_keeps_it_busy(one: list[When], other: list[When]) -> None:
    """However many markers there are, and whatever stands in them, no more is read than was allotted to all."""
    node = Counting("uv.lock", {"read": []})
    asker = replace(sampled(node), left=ALLOTTED)
    for _time in range(10):
        asker.same(one, other)
    once = sum(len(text) for several in (one, other) for each in several for text in each.all_of)
    assert 0 < node.read[0] <= ALLOTTED + 10 * once
