"""The policy as a table: what each line of it lets through; and texts that are none."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import DaeError
from pypi_mirror import osv, policy_text
from pypi_mirror.model import SDIST_ENDINGS, File
from pypi_mirror.policy import Asked, Verdict, judge

NOW = 1_700_000_000.0  # 2023-11-14T22:13:20Z
OLD, NEW = "2023-01-01T00:00:00Z", "2023-11-13T22:13:20Z"  # NEW: a day ago
WEEK = "2023-11-07T22:13:20Z"
WHEEL, SDIST, OTHER = "{}-{}-py3-none-any.whl", "{}-{}.tar.gz", "{}-{}.egg"
LINUX, WINDOWS = "{}-{}-cp311-cp311-manylinux_2_17_x86_64.whl", "{}-{}-cp311-cp311-win_amd64.whl"
ADVISORY = {
    "id": "PYSEC-1",
    "summary": "a hole",
    "aliases": ["CVE-1"],
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "Shop_Kit"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "1.0"}, {"fixed": "1.4"}]}],
            "versions": ["0.5"],
        }
    ],
}
KNOWN = osv.Advisories.of(osv.parse(json.dumps(ADVISORY).encode(), "a.json"))


def verdict(
    text: str,
    name: str = "shop-kit",
    version: str = "2.0",
    form: str = WHEEL,
    *,
    uploaded: str | None = OLD,
    size: int | None = 1000,
    licenses: tuple[str, ...] | None = None,
    view: str = "default",
) -> Verdict:
    filename = form.format(name.replace("-", "_"), version)
    file = File(filename, "0" * 64, "http://x/", size=size, upload_time=uploaded)
    approvals = {"waits": frozenset({"1.0"}), "all": frozenset({"*"})}
    return judge(policy_text.parse(text).views[view], Asked(name, file, licenses), NOW, approvals, KNOWN)


DENY = "[[rule]]\naction = 'deny'\n"
ALLOW = "[[rule]]\naction = 'allow'\n"
COOL = "cooldown_days = 7\ncooldown_exempt = ['ours-*']\n"
STABLE = (
    f"{DENY}name = 'evil'\n[view.stable]\ncooldown_days = 7\n[[view.stable.rule]]\naction = 'deny'\nkind = 'sdist'\n"
)
TABLE = [
    # text, what is asked, the rule that refuses it ("" when it may come)
    ("", {}, ""),
    (DENY + "name = 'shop-kit'", {}, "rule 1"),
    (DENY + "name = 'Shop_Kit'", {}, "rule 1"),
    (DENY + "name = 'shop'", {}, ""),
    (DENY + "name = 'shop*'", {}, "rule 1"),
    (DENY + "name = 'shop-*'", {"name": "shopping"}, ""),
    (DENY + "name = ['a', '*-kit']", {}, "rule 1"),
    (DENY + "name = '*'", {}, "rule 1"),
    (DENY, {}, "rule 1"),
    (ALLOW + "name = 'shop-kit'\n" + DENY, {}, ""),
    (ALLOW + "name = 'shop-kit'\n" + DENY, {"name": "other"}, "rule 2"),
    (DENY + "name = 'shop-kit'\n" + ALLOW, {}, "rule 1"),
    (DENY + "version = '<2'", {"version": "1.9"}, "rule 1"),
    (DENY + "version = '<2'", {"version": "2.0"}, ""),
    (DENY + "version = '<2'", {"version": "2.0rc1"}, ""),  # PEP 440: it is not before 2
    (DENY + "version = '<2'", {"version": "1.9rc1"}, "rule 1"),
    (DENY + "version = '==1.*,!=1.5'", {"version": "1.5"}, ""),
    (DENY + "version = '==1.2.post1'", {"version": "1.2-1", "form": SDIST}, "rule 1"),  # so installers read it
    (DENY + "version = '==2.0'", {"version": "2.0+cpu"}, "rule 1"),  # PEP 440: a build of 2.0 matches it
    (DENY + "version = '>=1'", {"version": "1!0.5"}, "rule 1"),
    (DENY + "version = '<2'", {"version": "two", "form": SDIST}, "rule 1"),
    (DENY + "version = '<2'", {"form": OTHER}, "rule 1"),  # a name that says no version hides none
    (ALLOW + "version = '>=1'\n" + DENY, {"form": OTHER}, "rule 2"),
    (DENY + "kind = 'sdist'", {"form": SDIST}, "rule 1"),
    *((DENY + "kind = 'sdist'", {"form": "{}-{}" + ending}, "rule 1") for ending in (*SDIST_ENDINGS, ".TAR.GZ")),
    *((ALLOW + "version = '>=2'\n" + DENY, {"form": "{}-{}" + ending}, "") for ending in SDIST_ENDINGS),
    *(("", {"version": "1.2", "form": "{}-{}" + ending}, "vulnerability") for ending in SDIST_ENDINGS),
    (DENY + "kind = 'sdist'", {"form": WHEEL}, ""),
    (DENY + "kind = 'sdist'", {"form": OTHER, "name": "other"}, ""),
    (DENY + "kind = 'wheel'", {"form": WHEEL}, "rule 1"),
    (DENY + "kind = 'wheel'", {"form": SDIST}, ""),
    (DENY + "kind = ['sdist', 'other']", {"form": OTHER}, "rule 1"),
    (DENY + "platform = 'win*'", {"form": WINDOWS}, "rule 1"),
    (DENY + "platform = 'win*'", {"form": LINUX}, ""),
    (DENY + "platform = 'win*'", {"form": SDIST}, ""),
    (DENY + "platform = 'any'", {"form": WHEEL}, "rule 1"),
    (DENY + "platform = ['win*', 'manylinux*']", {"form": LINUX}, "rule 1"),
    (DENY + "name = 'shop-kit'\nplatform = 'win*'", {"form": WINDOWS, "name": "other"}, ""),  # all must match
    (DENY + "larger_than = 999", {}, "rule 1"),
    (DENY + "larger_than = 1000", {}, ""),
    (DENY + "larger_than = 999", {"size": None}, ""),
    (DENY + "license = '*gpl*'", {"licenses": ("AGPL-3.0-only",)}, "rule 1"),
    (DENY + "license = 'GPL*'", {"licenses": ("MIT",)}, ""),
    (DENY + "license = '*gpl*'", {"licenses": None}, ""),
    (DENY + "license = 'unknown'", {"licenses": None}, "rule 1"),
    (DENY + "license = 'unknown'", {"licenses": ("MIT",)}, ""),
    (DENY + "license = 'unknown'", {"licenses": ()}, "rule 1"),
    (DENY + "license = ['MIT', 'agpl*']", {"licenses": ("MIT OR AGPL-3.0", "MIT", "AGPL-3.0")}, "rule 1"),
    (ALLOW + "license = 'MIT'\n" + DENY, {"licenses": ("MIT",)}, ""),
    (ALLOW + "license = 'MIT'\n" + DENY, {"licenses": None}, "rule 2"),  # before it is here nobody knows
    (COOL, {"uploaded": NEW}, "cooldown"),
    (COOL, {"uploaded": WEEK}, ""),
    (COOL, {"uploaded": NEW, "name": "ours"}, "cooldown"),
    (COOL, {"uploaded": NEW, "name": "ours-kit"}, ""),
    ("cooldown_days = 0", {"uploaded": None}, ""),
    (COOL + "quarantine = ['ours-*']", {"uploaded": NEW, "name": "ours-kit"}, "quarantine"),
    (COOL + DENY, {"uploaded": NEW, "name": "ours-kit"}, "rule 1"),
    (COOL, {"uploaded": OLD}, ""),
    (COOL, {"uploaded": None}, "cooldown"),
    (COOL, {"uploaded": "2023-13-77T00:00:00Z"}, "cooldown"),
    (COOL, {"uploaded": "9999-01-01T00:00:00Z"}, "cooldown"),
    (COOL, {"uploaded": None, "name": "ours-kit"}, ""),
    (COOL + ALLOW, {"uploaded": NEW}, "cooldown"),  # an allowed name is no older for that
    ("quarantine = ['*']", {}, "quarantine"),
    ("quarantine = ['*']", {"name": "waits", "version": "1.0"}, ""),
    ("quarantine = ['*']", {"name": "waits", "version": "1.1"}, "quarantine"),
    ("quarantine = ['*']", {"name": "all"}, ""),
    ("quarantine = ['*']", {"name": "all", "form": OTHER}, ""),
    ("quarantine = ['*']", {"name": "waits", "form": OTHER}, "quarantine"),
    ("quarantine = ['shop*']", {"name": "other"}, ""),
    ("quarantine = ['*']\n" + ALLOW, {}, "quarantine"),
    ("quarantine = ['*']", {"name": "waits", "version": "1.0+evil"}, "quarantine"),  # another build than was seen
    ("", {"version": "1.2"}, "vulnerability"),
    (ALLOW, {"version": "1.2"}, "vulnerability"),
    ("", {"version": "1.2+cpu"}, "vulnerability"),
    ("", {"form": OTHER}, "vulnerability"),  # it may be any version
    ("", {"form": OTHER, "name": "other"}, ""),
    ("vulnerabilities = 'warn'", {"form": OTHER}, ""),
    ("ignore_vulnerabilities = ['PYSEC-1']", {"form": OTHER}, ""),
    ("ignore_vulnerabilities = ['PYSEC-2']", {"version": "1.2"}, "vulnerability"),
    ("", {"version": "1.4"}, ""),
    ("", {"version": "0.5"}, "vulnerability"),
    ("", {"version": "1.2", "name": "other"}, ""),
    ("vulnerabilities = 'warn'", {"version": "1.2"}, ""),
    ("vulnerabilities = 'ignore'", {"version": "1.2"}, ""),
    ("ignore_vulnerabilities = ['CVE-1']", {"version": "1.2"}, ""),
    ("private = ['acme-*']", {"name": "acme-pay"}, "private"),
    ("private = ['acme-*']\n" + ALLOW, {"name": "acme-pay"}, "private"),
    ("private = ['Acme_*']", {"name": "acme-pay"}, "private"),
    ("private = ['acme-*']", {"name": "acme"}, ""),
    ("private = ['acme-*']\n[view.stable]", {"name": "acme-pay", "view": "stable"}, "private"),
    ("[view.stable]\nprivate = ['acme-*']", {"name": "acme-pay"}, ""),
    ("[view.stable]\nvulnerabilities = 'block'", {"version": "1.2", "view": "stable"}, "vulnerability"),
    ("vulnerabilities = 'warn'\n[view.stable]\nvulnerabilities = 'block'", {"version": "1.2"}, ""),
    ("[view.stable]\nquarantine = ['*']", {"view": "stable"}, "quarantine"),
    ("quarantine = ['*']\n[view.stable]\nquarantine = []", {"view": "stable"}, ""),
    (DENY + "[view.stable]\n[[view.stable.rule]]\naction = 'allow'", {"view": "stable"}, ""),
    (STABLE, {"name": "evil"}, "rule 1"),
    (STABLE, {"uploaded": NEW, "form": SDIST}, ""),
    (STABLE, {"name": "evil", "view": "stable"}, "rule 1"),
    (STABLE, {"uploaded": NEW, "view": "stable"}, "cooldown"),
    (STABLE, {"form": SDIST, "view": "stable"}, "view.stable.rule 1"),
]


@pytest.mark.parametrize(("text", "asked", "rule"), TABLE)
def test_the_table(text: str, asked: dict[str, str], rule: str) -> None:
    """Each line of a policy lets through what the documentation says, and no more."""
    assert verdict(text, **asked).rule == rule  # type: ignore[arg-type]


def test_what_a_person_is_told() -> None:
    """A refusal says which rule, why, until when, and what to do; a vulnerability its ids and the fixed version."""
    cool = verdict(COOL, uploaded=NEW)
    assert "2023-11-20 22:13 UTC" in cool.reason
    assert cool.until == NOW + 6 * 86400
    bad = verdict("", version="1.2")
    assert bad.reason == "PYSEC-1, CVE-1 (a hole): fixed in 1.4"
    assert bad.advice == "take shop-kit>=1.4"
    assert verdict("vulnerabilities = 'warn'", version="1.2").warnings == (bad.reason,)
    assert "dae mirror policy approve shop-kit 2.0" in verdict("quarantine = ['*']").advice


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "rules = []",
        "rule = 1",
        "[[rule]]",
        "[[rule]]\naction = 'maybe'",
        DENY + "names = 'a'",
        DENY + "name = []",
        DENY + "name = '../x'",
        DENY + "version = 'two'",
        DENY + "version = ''",
        DENY + "kind = 'exe'",
        DENY + "larger_than = -1",
        DENY + "larger_than = true",
        "cooldown_days = 'week'",
        "cooldown_days = -1",
        "cooldown_days = nan",
        "cooldown_days = inf",
        "vulnerabilities = 'maybe'",
        "quarantine = 1",
        "[view]\nstable = 1",
        "[view.Stable]",
        "[view.default]",
        "[view.a.view.b]",
        "private = [1]",
    ],
)
def test_texts_that_are_none(text: str) -> None:
    """What is misspelt, out of range or empty is refused: it is never taken for 'allow everything'."""
    with pytest.raises(DaeError) as caught:
        policy_text.parse(text)
    assert caught.value.code == "mirror/bad-policy"


POLICY_WORDS = """rule action deny allow name version license kind platform larger_than reason view stable private
= [ ] [[ ]] ' " < 1 2.0 '*' cooldown_days quarantine true nan . , { }"""
WORDS = st.sampled_from([*POLICY_WORDS.split(), "\n"])


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=200), st.lists(WORDS, max_size=40).map(" ".join)))
def test_any_text(text: str) -> None:
    """Whatever the file holds, there is a policy or a clean error."""
    try:
        found = policy_text.parse(text)
    except DaeError as error:
        assert error.code == "mirror/bad-policy"
    else:
        assert "default" in found.views


def test_the_page_names_every_key() -> None:
    """docs/mirror-policy.md explains each key of a view and of a rule, and its example is a policy."""
    page = (Path(__file__).parents[2] / "docs" / "mirror-policy.md").read_text()
    explained = set(re.findall(r"^\| `([a-z_]+)` \|", page, re.M))
    assert explained == policy_text.VIEW_KEYS | policy_text.RULE_KEYS | {"view"}
    example = re.search(r"^```toml\n(.*?)^```", page, re.M | re.S)
    assert example is not None
    assert set(policy_text.parse(example[1]).views) == {"default", "stable"}
