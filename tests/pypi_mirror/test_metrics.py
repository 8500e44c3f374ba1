"""What operators are told of the mirror: counted by a real nginx, asked at the real API."""

from __future__ import annotations

import http.client
import json
import os
import re
from pathlib import Path

from control.mirror_metrics import exposition
from tests.pypi_mirror.desk import Desk, serving_as
from tests.pypi_mirror.front import front
from tests.pypi_mirror.mirror_process import poll
from tests.pypi_mirror.test_serving import file_url
from tests.pypi_mirror.uploading import basic, form, post, sdist_bytes


def scraped(url: str, token: str) -> tuple[int, dict[str, float]]:
    """The status, and each sample by its name and labels."""
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)
    try:
        connection.request("GET", "/api/v1/mirror/metrics", headers={"Authorization": f"Bearer {token}"})
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith("dae_mirror_")]
    return response.status, {name: float(value) for name, _, value in lines}


def test_what_nginx_serves_is_counted(tmp_path: Path) -> None:
    """Hits, misses, bytes, an upload, a refusal and an upstream in trouble: in the table, as JSON, and as metrics.

    Metrics are for administrators.
    """
    with front() as there:
        (there.nginx.home.root / "mirror-policy.toml").write_text("[[rule]]\naction = 'deny'\nversion = '==2.0'\n")
        (there.nginx.home.root / "mirror-policy.toml").chmod(0o644)
        account = there.nginx.settings.account if os.geteuid() == 0 else None
        filename, sha256 = there.upstream.add("hot", padding=20_000)
        refused, other = there.upstream.add("hot", "2.0")
        poll(lambda: f">{refused}<" not in there.mirror.get("/pypi/simple/hot/").text)
        with serving_as(there.nginx.home.root, account) as told:
            desk = Desk(there.mirror, tmp_path, told)
            for _ in range(3):
                assert there.get("/pypi/simple/hot/", door="nginx").status == 200
                assert there.get(file_url(sha256, filename), door="nginx").status == 200
            assert there.get(file_url(other, refused), door="nginx").status == 403
            body = form({":action": "file_upload"}, "ours-1.0.tar.gz", sdist_bytes("ours"))
            assert post(there.port, body, basic("__token__", told.tokens["ann"])).status == 200
            there.upstream.mood = "503"
            assert there.get("/pypi/simple/away/", door="nginx").status == 503

            def all_counted() -> dict[str, float] | None:
                _, found = scraped(told.url, told.tokens["ann"])
                return found if found["dae_mirror_uploads_total"] and found["dae_mirror_refusals_total"] else None

            found = poll(all_counted)
            size = len(there.upstream.bodies[f"/up/{filename}"])
            pages = {end: found[f'dae_mirror_requests_total{{kind="page",result="{end}"}}'] for end in ("hit", "miss")}
            assert pages["hit"] >= 2 and sum(pages.values()) == 3, "the first may come while the policy is applied"
            assert found['dae_mirror_requests_total{kind="file",result="hit"}'] == 2
            assert found['dae_mirror_requests_total{kind="file",result="miss"}'] == 1
            assert found["dae_mirror_saved_bytes_total"] == 2 * size
            assert found["dae_mirror_passed_bytes_total"] == size
            assert found['dae_mirror_bytes{origin="upstream"}'] == size
            labels = f'index="{there.upstream.url}",of='
            assert found[f'dae_mirror_upstream_up{{{labels}"pages"}}'] == 0
            assert found[f'dae_mirror_upstream_up{{{labels}"files"}}'] == 1
            assert found[f'dae_mirror_upstream_last_success_timestamp_seconds{{{labels}"pages"}}'] > 0
            state = json.loads(desk.dae("status", "--json")[0])
            assert (state["uploads"], state["refused"], state["private_files"]) == (1, 1, 1)
            assert "upstream answered 503 for away" in state["upstreams"][0]["pages"]["last_error"]
            table = desk.dae("status")[0]
            assert re.search(r"uploads +1\n", table) and "upstream answered 503 for away" in table
            assert scraped(told.url, told.tokens["bob"]) == (403, {})
            assert (found["dae_mirror_up"], found["dae_mirror_policy_in_force"]) == (1, 1)
            there.mirror.stop()
            _, found = scraped(told.url, told.tokens["ann"])
            assert found["dae_mirror_up"] == 0 and found["dae_mirror_uploads_total"] == 1
            assert not [name for name in found if "policy" in name or "upstream_" in name], "nobody can tell"
            assert re.search(r"policy +not known\n", desk.dae("status")[0])


def test_the_format_of_metrics() -> None:
    """Every sample stands below its type; a label's value cannot end the label."""
    health = {"state": "answers", "failures": 0, "last_success": None, "last_failure": None, "last_error": ""}
    names = ["projects", "private_projects", "limit", "held_files", "bytes_saved", "bytes_passed", "uploads", "refused"]
    names += ["pinned_bytes"]
    names += [f"{whose}{what}" for whose in ("", "private_") for what in ("files", "bytes")]
    names += [f"{kind}_{end}" for kind in ("page", "file") for end in ("hits", "misses")]
    numbers = dict.fromkeys(names, 12345678901234567)
    upstreams = [{"index": 'http://a/"\n\\/', "pages": health, "files": health}]
    text = exposition({**numbers, "policy": {"in_force": True}, "upstreams": upstreams})
    sample = re.compile(r'([a-z_]+)(\{([a-z]+="(\\.|[^"\\\n])*",?)+\})? [0-9.e+]+')
    types = []
    for line in text.splitlines():
        if line.startswith("# TYPE"):
            types.append(line.split()[2])
        elif not line.startswith("#"):
            assert (match := sample.fullmatch(line)) and match[1] == types[-1], line
    assert len(types) == len(set(types))
    assert 'index="http://a/\\"\\n\\\\/"' in text
