"""The index's standards, a sentence at a time, asked of the mirror's own door and of nginx in front of it.

docs/mirror.md has the same table in words; a test holds the two together.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import html.parser
import io
import json
import os
import re
import signal
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from packaging.utils import parse_sdist_filename, parse_wheel_filename

from pypi_mirror.publish import publish
from tests.pypi_mirror.front import Front, front
from tests.pypi_mirror.mirror_process import Answer, MirrorProcess, poll
from tests.pypi_mirror.upstream_model import UpstreamModel, build_wheel

JSON, HTML = "application/vnd.pypi.simple.v1+json", "application/vnd.pypi.simple.v1+html"
LATEST = "application/vnd.pypi.simple.latest"
ATTESTED = "https://attestations.example/holygrail-1.0.tar.gz/provenance"
OWNER, ELSEWHERE = "https://owner.example/simple/tracked/", "https://elsewhere.example/simple/tracked/"
REASON = 'worse & <worse> than "before"'
DOC = Path(__file__).resolve().parents[2] / "docs" / "mirror.md"


class Page(html.parser.HTMLParser):
    """A page's meta tags and links; whatever is not closed in its order is no valid page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.meta: list[tuple[str, str]] = []
        self.links: list[tuple[dict[str, str | None], str]] = []
        self._open: list[str] = []
        self.doctype = ""
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_decl(self, decl: str) -> None:
        self.doctype = decl

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        assert len(found) == len(attrs), "an attribute stands twice"
        if tag == "meta":
            self.meta.append((found.get("name") or "", found.get("content") or ""))
        if tag == "a":
            self.links.append((found, ""))
        if tag not in ("meta", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["a"]:
            self.links[-1] = (self.links[-1][0], self.links[-1][1] + data)

    def said(self, name: str) -> list[str]:
        return [content for key, content in self.meta if key == f"pypi:{name}"]


@dataclass(frozen=True)
class Site:
    """The mirror at one of its doors."""

    front: Front
    door: str

    def get(self, path: str, accept: str | None = None, method: str = "GET", **headers: str) -> Answer:
        sent = {key.replace("_", "-"): value for key, value in headers.items()}
        if accept is not None:
            sent["Accept"] = accept
        return self.front.get(path, sent, method, door=self.door)

    def page(self, name: str) -> Page:
        answer = self.get(f"/pypi/simple/{name}/" if name else "/pypi/simple/", HTML)
        assert answer.status == 200
        return Page(answer.text)

    def data(self, name: str) -> dict[str, Any]:
        answer = self.get(f"/pypi/simple/{name}/" if name else "/pypi/simple/", JSON)
        assert answer.status == 200
        found = json.loads(answer.body)
        assert isinstance(found, dict)
        return found

    def link(self, filename: str, name: str = "holygrail") -> dict[str, str | None]:
        return next(attributes for attributes, text in self.page(name).links if text == filename)

    def entry(self, filename: str, name: str = "holygrail") -> dict[str, Any]:
        found: dict[str, Any] = next(file for file in self.data(name)["files"] if file["filename"] == filename)
        return found

    def kind(self, path: str, accept: str | None) -> str:
        answer = self.get(path, accept)
        return answer.headers["Content-Type"].split(";")[0] if answer.status == 200 else str(answer.status)


WHEEL, SDIST = "holygrail-1.0-py3-none-any.whl", "holygrail-1.0.tar.gz"
YANKED, WITHOUT_REASON = "holygrail-2.0-py3-none-any.whl", "holygrail-3.0-py3-none-any.whl"
LOCAL = "holygrail-4.0+one.two-py3-none-any.whl"
#: Every kind of page: mirrored with all fields, without most of them, from HTML, with statuses, private.
NAMES = ("holygrail", "bare", "plainly", "haunted", "attic", "tracked", "inhouse")


def offer(model: UpstreamModel) -> None:
    attested: dict[str, Any] = {"provenance": ATTESTED, "gpg-sig": False}
    signed: dict[str, Any] = {"yanked": True, "gpg-sig": True}
    model.add("holygrail", "1.0", requires="bare")
    model.add_file("holygrail", SDIST, b"an sdist", **attested)
    model.add_file("holygrail", YANKED, build_wheel("holygrail", "2.0"), yanked=REASON)
    model.add_file("holygrail", WITHOUT_REASON, build_wheel("holygrail", "3.0"), **signed)
    model.add_file("holygrail", LOCAL, build_wheel("holygrail", "4.0+one.two"), provenance="http://insecure.example/x")
    model.pages["holygrail"]["versions"] = ["1.0", "9.0", "9.0", "1.0-beta"]
    _, sha256 = model.add("bare", "1.0")
    file = f"../../up/bare-1.0-py3-none-any.whl#sha256={sha256}"
    model.html["plainly"] = (
        f'<meta name="pypi:repository-version" content="1.4"><meta name="pypi:project-status" content="deprecated">'
        f'<a href="{file.replace("bare", "plainly")}" data-provenance="{ATTESTED}" data-yanked>x</a>'
    )
    for name, marker in (("haunted", "quarantined"), ("attic", "archived")):
        model.add(name, "1.0")
        model.pages[name]["project-status"] = {"status": marker, "reason": f"it is {REASON}"}
    model.add("tracked", "1.0")
    others = ["https://owner.example/simple/other/", "javascript:alert(1)", 5, "https://u:p@owner.example/tracked/"]
    model.pages["tracked"]["meta"]["tracks"] = [OWNER, *others]
    model.pages["tracked"]["alternate-locations"] = [ELSEWHERE, "//[", "ftp://x.example/tracked/"]


@pytest.fixture(scope="session")
def site() -> Iterator[Front]:
    with front() as made:
        offer(made.upstream)
        wheel = made.nginx.home.root / "inhouse-1.0-py3-none-any.whl"
        wheel.write_bytes(build_wheel("inhouse", "1.0"))
        publish(made.nginx.home, wheel)
        for name in NAMES:
            assert made.get(f"/pypi/simple/{name}/", door="nginx").status == 200
        yield made


@dataclass(frozen=True)
class Line:
    spec: str
    says: str
    holds: Callable[[Site], None]

    def __str__(self) -> str:
        return f"{self.spec}: {self.says}"


LINES: list[Line] = []


def line(spec: str, says: str) -> Callable[[Callable[[Site], None]], None]:
    def keep(check: Callable[[Site], None]) -> None:
        LINES.append(Line(spec, says, check))

    return keep


# PEP 503, the index in HTML


@line("PEP 503", "the root is an HTML5 page with a single anchor per project, its text the name, its href the address")
def _(site: Site) -> None:
    page = site.page("")
    names = [text for _, text in page.links]
    assert page.doctype == "DOCTYPE html"
    assert set(NAMES) <= set(names)
    assert len(names) == len(set(names))
    for attributes, text in page.links:
        assert urljoin("/pypi/simple/", attributes["href"]) == f"/pypi/simple/{text}/"


@line("PEP 503", "below the root each project has an HTML5 page with a single anchor per file")
def _(site: Site) -> None:
    page = site.page("holygrail")
    assert page.doctype == "DOCTYPE html"
    assert [text for _, text in page.links] == [WHEEL, SDIST, YANKED, WITHOUT_REASON, LOCAL]


@line("PEP 503", "an anchor's href leads to the file, and its text is the address's last component")
def _(site: Site) -> None:
    for attributes, text in site.page("holygrail").links:
        url = urlsplit(urljoin("/pypi/simple/holygrail/", attributes["href"]))
        assert unquote(url.path.rpartition("/")[2]) == text
        assert site.get(url.path).body == site.front.upstream.bodies[f"/up/{text}"]


@line("PEP 503", "an address says the file's hash in its fragment: #sha256=")
def _(site: Site) -> None:
    for attributes, text in site.page("holygrail").links:
        digest = hashlib.sha256(site.front.upstream.bodies[f"/up/{text}"]).hexdigest()
        assert str(attributes["href"]).endswith(f"#sha256={digest}")


@line("PEP 503", "addresses of pages end in a slash, and those without one are redirected")
def _(site: Site) -> None:
    for path in ("/pypi/simple", "/pypi/simple/holygrail"):
        answer = site.get(path)
        assert (answer.status, urlsplit(answer.headers["Location"]).path) == (301, path + "/")


@line("PEP 503", "a name that is not normalised is redirected to the one that is")
def _(site: Site) -> None:
    for name in ("HolyGrail", "holygrail/", "Holy.Grail/", "holy__grail/", "a.-_b/"):
        answer = site.get(f"/pypi/simple/{name}?x=1")
        normal = re.sub(r"[-_.]+", "-", name.rstrip("/")).lower()
        if f"{normal}/" != name:
            assert (answer.status, answer.headers["Location"]) == (301, f"/pypi/simple/{normal}/?x=1")


@line("PEP 503", "a GPG signature lives beside its file: none does here, so none is promised")
def _(site: Site) -> None:
    assert site.link(SDIST)["data-gpg-sig"] == "false"
    assert site.entry(SDIST)["gpg-sig"] is False
    assert "data-gpg-sig" not in site.link(WITHOUT_REASON)
    assert "gpg-sig" not in site.entry(WITHOUT_REASON)


@line("PEP 503", "data-requires-python says which Python a file is for, with < and > as entities")
def _(site: Site) -> None:
    assert 'data-requires-python="&gt;=3.8"' in site.get("/pypi/simple/holygrail/", HTML).text
    assert site.link(WHEEL)["data-requires-python"] == ">=3.8"


# PEP 592, yanks


@line("PEP 592", "data-yanked has the reason for its value, or none")
def _(site: Site) -> None:
    assert site.link(YANKED)["data-yanked"] == REASON
    assert site.link(WITHOUT_REASON)["data-yanked"] == ""
    assert "data-yanked" not in site.link(WHEEL)


@line("PEP 592", "a mirror shows yanked files with their mark, never without")
def _(site: Site) -> None:
    assert [bool(file["yanked"]) for file in site.data("holygrail")["files"]] == [False, False, True, True, False]
    assert site.data("plainly")["files"][0]["yanked"] is True


# PEP 629, the version


@line("PEP 629", "every page says its version as Major.Minor in a meta tag")
def _(site: Site) -> None:
    for name in ("", *NAMES):
        (version,) = site.page(name).said("repository-version")
        assert re.fullmatch(r"1\.[0-4]", version)


# PEP 658 and 714, metadata beside files


@line("PEP 658", "where metadata is promised it is served beside the file, with .metadata appended")
def _(site: Site) -> None:
    url = urljoin("/pypi/simple/holygrail/", site.entry(WHEEL)["url"])
    with zipfile.ZipFile(io.BytesIO(site.get(url).body)) as archive:
        inside = archive.read("holygrail-1.0.dist-info/METADATA")
    assert site.get(url + ".metadata").body == inside


@line("PEP 658", "the promise is the metadata's hash")
def _(site: Site) -> None:
    url = urljoin("/pypi/simple/holygrail/", site.entry(WHEEL)["url"])
    site.get(url)
    digest = hashlib.sha256(site.get(url + ".metadata").body).hexdigest()
    assert site.link(WHEEL)["data-core-metadata"] == f"sha256={digest}"
    assert site.entry(WHEEL)["core-metadata"] == {"sha256": digest}


@line("PEP 658", "what has no metadata beside it promises none")
def _(site: Site) -> None:
    assert "data-core-metadata" not in site.link(SDIST)
    assert not site.entry(SDIST).get("core-metadata")
    url = urljoin("/pypi/simple/holygrail/", site.entry(SDIST)["url"])
    assert site.get(url + ".metadata").status == 404


@line("PEP 714", "the promise is called core-metadata, and by its old name nowhere")
def _(site: Site) -> None:
    for name in NAMES:
        for accept in (JSON, HTML):
            assert "dist-info-metadata" not in site.get(f"/pypi/simple/{name}/", accept).text


# PEP 691, the index in JSON


@line("PEP 691", "an answer is an object with meta.api-version, Major.Minor as a string")
def _(site: Site) -> None:
    for name in ("", *NAMES):
        assert re.fullmatch(r"1\.[0-4]", site.data(name)["meta"]["api-version"])


@line("PEP 691", "the root is an array of projects, each an object with its name")
def _(site: Site) -> None:
    data = site.data("")
    assert set(data) == {"meta", "projects"}
    assert [set(entry) for entry in data["projects"]] == [{"name"}] * len(data["projects"])
    assert set(NAMES) <= {entry["name"] for entry in data["projects"]}


@line("PEP 691", "a project is an object with its normalised name, its files and meta")
def _(site: Site) -> None:
    for name in NAMES:
        data = site.data(name)
        assert data["name"] == name
        assert isinstance(data["files"], list)


@line("PEP 691", "a file has its name, an address that may be relative, and hashes with lower-case names")
def _(site: Site) -> None:
    for file in site.data("holygrail")["files"]:
        body = site.front.upstream.bodies[f"/up/{file['filename']}"]
        assert file["hashes"] == {"sha256": hashlib.sha256(body).hexdigest()}
        assert site.get(urljoin("/pypi/simple/holygrail/", file["url"])).body == body


@line("PEP 691", "requires-python is not escaped, and absent where nothing is said")
def _(site: Site) -> None:
    assert site.entry(WHEEL)["requires-python"] == ">=3.8"
    assert "requires-python" not in site.data("plainly")["files"][0]


@line("PEP 691", "yanked is a boolean, or a string that is not empty")
def _(site: Site) -> None:
    assert [site.entry(name)["yanked"] for name in (WHEEL, YANKED, WITHOUT_REASON)] == [False, REASON, True]


@line("PEP 691", "JSON and HTML say the same files")
def _(site: Site) -> None:
    for name in NAMES:
        assert [text for _, text in site.page(name).links] == [file["filename"] for file in site.data(name)["files"]]


PATHS = ("/pypi/simple/", "/pypi/simple/holygrail/")


@line("PEP 691", "the content type says version and format, and text/html stands for v1+html")
def _(site: Site) -> None:
    for path in PATHS:
        assert [site.kind(path, kind) for kind in (JSON, HTML, "text/html")] == [JSON, HTML, "text/html"]


@line("PEP 691", "latest is answered with the version that it is")
def _(site: Site) -> None:
    for path in PATHS:
        assert [site.kind(path, f"{LATEST}+{kind}") for kind in ("json", "html")] == [JSON, HTML]


@line("PEP 691", "no Accept is the same as */*")
def _(site: Site) -> None:
    for path in PATHS:
        assert site.kind(path, None) == site.kind(path, "*/*") == "text/html"


@line("PEP 691", "who accepts nothing that there is gets 406, and never 300")
def _(site: Site) -> None:
    for path in PATHS:
        for accept in ("application/vnd.pypi.simple.v2+json", "image/png", "text/html;q=0", f"{JSON};q=0", "nonsense"):
            answer = site.get(path, accept)
            assert (answer.status, answer.headers["Vary"]) == (406, "Accept")


@line("PEP 691", "qualities count, zero shuts out, and the more precise range wins")
def _(site: Site) -> None:
    table = {
        f"{JSON};q=0.2, {HTML};q=0.8": HTML,
        f"{JSON};q=0.8, {HTML};q=0.2": JSON,
        f"{JSON};q=0, */*": "text/html",
        f"{JSON};q=0.001, image/png": JSON,
        f"application/*;q=0.3, {HTML};q=0.5": HTML,
        "text/*": "text/html",
        "application/*": JSON,
        f"*/*;q=0.1, {HTML}": HTML,
        f"{JSON};q=1.000": JSON,
        f"  {JSON} ;  q=0.5 ,text/html ; q=0.4": JSON,
    }
    for path in PATHS:
        assert {accept: site.kind(path, accept) for accept in table} == table


@line("PEP 691", "the order in Accept means nothing; of equals the most expressive, text/html last")
def _(site: Site) -> None:
    kinds = [JSON, HTML, "text/html"]
    for path in PATHS:
        assert {site.kind(path, ", ".join(order)) for order in (kinds, kinds[::-1], kinds[1:] + kinds[:1])} == {JSON}
        assert site.kind(path, f"text/html, {HTML}") == HTML


@line("PEP 691", "what clients and browsers send is answered as they like it best")
def _(site: Site) -> None:
    pip = f"{JSON}, {HTML}; q=0.1, text/html; q=0.01"
    browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
    for path in PATHS:
        kinds = [site.kind(path, accept) for accept in (pip, f"{JSON}, {HTML};q=0.2, text/html;q=0.01", browser)]
        assert kinds == [JSON, JSON, "text/html"]


@line("PEP 691", "every answer has a content type, errors too")
def _(site: Site) -> None:
    for path, accept in (("/pypi/simple/", "image/png"), ("/pypi/simple/-/", None), ("/pypi/simple/not-there/", JSON)):
        assert site.get(path, accept).headers["Content-Type"] == "text/plain; charset=utf-8"


@line("PEP 691", "?format= takes precedence over Accept, and is one type, or 406")
def _(site: Site) -> None:
    for path in PATHS:
        assert site.kind(f"{path}?format={JSON}", "text/html") == JSON
        assert site.kind(f"{path}?format={JSON.replace('+', '%2B')}", None) == JSON
        assert site.kind(f"{path}?format={HTML}", JSON) == HTML
        for other in ("", "image/png", "*/*", f"{JSON},{HTML}", f"{JSON};q=0.5"):
            assert site.get(f"{path}?format={other}", JSON).status == 406


# PEP 700, more about files


@line("PEP 700", "from 1.1 on, versions has every version as a string, once")
def _(site: Site) -> None:
    assert site.data("holygrail")["versions"] == ["1.0", "9.0", "1.0b0", "2.0", "3.0", "4.0+one.two"]


@line("PEP 700", "every file is of one of the versions")
def _(site: Site) -> None:
    for name in NAMES:
        data = site.data(name)
        for file in data["files"]:
            read = parse_wheel_filename if file["filename"].endswith(".whl") else parse_sdist_filename
            assert str(read(file["filename"])[1]) in data["versions"]


@line("PEP 700", "size is mandatory from 1.1 on: where upstream does not say it, the page is of 1.0")
def _(site: Site) -> None:
    for name in NAMES:
        data = site.data(name)
        sized = all(isinstance(file.get("size"), int) for file in data["files"])
        assert (data["meta"]["api-version"] != "1.0") == sized == (name != "plainly")
    for file in site.data("holygrail")["files"]:
        assert file["size"] == len(site.front.upstream.bodies[f"/up/{file['filename']}"])


@line("PEP 700", "upload-time is yyyy-mm-ddThh:mm:ss.ffffffZ, passed on, or the time of the publishing")
def _(site: Site) -> None:
    assert site.entry(WHEEL)["upload-time"] == "2024-05-06T07:08:09.123456Z"
    published = site.data("inhouse")["files"][0]["upload-time"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", published)


# PEP 708, whose name it is


@line("PEP 708", "a mirrored project tracks upstream's, by its address, in both formats")
def _(site: Site) -> None:
    assert site.data("bare")["meta"]["tracks"] == [site.front.upstream.url + "bare/"]
    assert site.page("bare").said("tracks") == [site.front.upstream.url + "bare/"]


@line("PEP 708", "where upstream only tracks the name, its owners are passed on instead")
def _(site: Site) -> None:
    assert site.data("tracked")["meta"]["tracks"] == site.page("tracked").said("tracks") == [OWNER]


@line("PEP 708", "a private project tracks nothing: it is nobody else's")
def _(site: Site) -> None:
    assert "tracks" not in site.data("inhouse")["meta"]
    assert site.page("inhouse").said("tracks") == []
    assert site.data("inhouse")["meta"]["api-version"] == "1.1"


@line("PEP 708", "alternate locations are the owners' word, and passed on as it is")
def _(site: Site) -> None:
    assert site.data("tracked")["alternate-locations"] == [ELSEWHERE]
    assert site.page("tracked").said("alternate-locations") == [ELSEWHERE]
    assert "alternate-locations" not in site.data("bare")


@line("PEP 708", "a page with either is of 1.2 or later")
def _(site: Site) -> None:
    for name in ("bare", "tracked"):
        assert site.data(name)["meta"]["api-version"] == "1.2"
        assert site.page(name).said("repository-version") == ["1.2"]


# PEP 740, attestations


@line("PEP 740", "provenance is a fully qualified address, passed on in both formats")
def _(site: Site) -> None:
    assert site.entry(SDIST)["provenance"] == site.link(SDIST)["data-provenance"] == ATTESTED
    assert site.data("plainly")["files"][0]["provenance"] == ATTESTED


@line("PEP 740", "one that is of no secure origin is left out")
def _(site: Site) -> None:
    assert "provenance" not in site.entry(LOCAL)
    assert "data-provenance" not in site.link(LOCAL)


@line("PEP 740", "a page with attestations is of 1.3 or later")
def _(site: Site) -> None:
    assert site.data("holygrail")["meta"]["api-version"] == "1.3"


# PEP 792, the project's status


@line("PEP 792", "status and reason are passed on in both formats")
def _(site: Site) -> None:
    for name, marker in (("haunted", "quarantined"), ("attic", "archived")):
        page = site.page(name)
        assert site.data(name)["project-status"] == {"status": marker, "reason": f"it is {REASON}"}
        assert (page.said("project-status"), page.said("project-status-reason")) == ([marker], [f"it is {REASON}"])
    assert site.data("plainly")["project-status"] == {"status": "deprecated"}


@line("PEP 792", "a project in quarantine offers nothing for download, whatever upstream lists")
def _(site: Site) -> None:
    assert site.data("haunted")["files"] == site.page("haunted").links == []
    assert site.data("haunted")["versions"] == ["1.0"]


@line("PEP 792", "an archived project's files stay")
def _(site: Site) -> None:
    assert len(site.data("attic")["files"]) == 1


@line("PEP 792", "a page with a status is of 1.4; active goes without saying")
def _(site: Site) -> None:
    assert site.data("attic")["meta"]["api-version"] == "1.4"
    assert site.page("attic").said("repository-version") == ["1.4"]
    assert "project-status" not in site.data("bare")
    assert site.page("bare").said("project-status") == []


# RFC 9110, over HTTP


@line("RFC 9110", "a page has a strong entity tag, another one in each format and encoding")
def _(site: Site) -> None:
    for path in PATHS:
        tags = [site.get(path, kind, Accept_Encoding=coding).headers["ETag"] for kind in (JSON, HTML)
                for coding in ("identity", "gzip")]  # fmt: skip
        assert len(set(tags)) == 4
        assert all(re.fullmatch(r'"[0-9a-f-]+"', tag) for tag in tags)


@line("RFC 9110", "who has the page is told 304, by one tag, several, a weak one, or *")
def _(site: Site) -> None:
    for path in PATHS:
        tag = site.get(path, JSON).headers["ETag"]
        for known in (tag, f'"other", {tag}', f"W/{tag}", "*"):
            answer = site.get(path, JSON, If_None_Match=known)
            assert (answer.status, answer.body) == (304, b"")
            assert answer.headers["ETag"] == tag
            assert answer.headers["Vary"] == "Accept, Accept-Encoding"
        assert site.get(path, JSON, If_None_Match='"other"').status == 200


@line("RFC 9110", "a page says what it varies with, and is asked for again each time")
def _(site: Site) -> None:
    for path in PATHS:
        for accept in (JSON, HTML, None):
            headers = site.get(path, accept).headers
            assert (headers["Vary"], headers["Cache-Control"]) == ("Accept, Accept-Encoding", "no-cache")
            assert "Last-Modified" not in headers


@line("RFC 9110", "a page comes compressed to those who accept it")
def _(site: Site) -> None:
    import gzip

    for path in PATHS:
        plain = site.get(path, JSON)
        for coding in ("gzip", "gzip, deflate, br", "br, gzip;q=0.5"):
            zipped = site.get(path, JSON, Accept_Encoding=coding)
            assert zipped.headers["Content-Encoding"] == "gzip"
            assert gzip.decompress(zipped.body) == plain.body
        for coding in ("identity", "gzip;q=0", "br"):
            assert "Content-Encoding" not in site.get(path, JSON, Accept_Encoding=coding).headers


@line("RFC 9110", "HEAD is answered as GET is, without the body")
def _(site: Site) -> None:
    file = urljoin("/pypi/simple/holygrail/", site.entry(WHEEL)["url"])
    for path in (*PATHS, file, file + ".metadata"):
        whole, head = site.get(path, JSON), site.get(path, JSON, "HEAD")
        assert (head.status, head.body) == (200, b"")
        for name in ("Content-Length", "Content-Type", "ETag", "Cache-Control"):
            assert head.headers[name] == whole.headers[name]


@line("RFC 9110", "other methods are 405, and Allow says which there are")
def _(site: Site) -> None:
    file = urljoin("/pypi/simple/holygrail/", site.entry(WHEEL)["url"])
    for path in (*PATHS, file):
        for method in ("DELETE", "PUT", "POST"):
            answer = site.get(path, method=method, Content_Length="0")
            assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


@line("RFC 9110", "a file's address holds its hash: it is immutable, and says so")
def _(site: Site) -> None:
    for file in site.data("holygrail")["files"]:
        assert file["hashes"]["sha256"] in file["url"]
        url = urljoin("/pypi/simple/holygrail/", file["url"])
        site.get(url)
        answer = site.get(url)
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert site.get(url, If_None_Match=answer.headers["ETag"]).status == 304
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@line("RFC 9110", "a part of a file is 206: from the front, the middle, to the end, the last bytes")
def _(site: Site) -> None:
    url = urljoin("/pypi/simple/holygrail/", site.entry(WHEEL)["url"])
    body = site.get(url).body
    size = len(body)
    assert site.get(url).headers["Accept-Ranges"] == "bytes"
    for asked, first, last in (("0-9", 0, 9), ("5-5", 5, 5), ("10-", 10, size - 1), ("-7", size - 7, size - 1),
                               (f"3-{size * 2}", 3, size - 1), (f"-{size * 2}", 0, size - 1)):  # fmt: skip
        answer = site.get(url, Range=f"bytes={asked}")
        assert (answer.status, answer.body) == (206, body[first : last + 1])
        assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{size}"
        assert answer.headers["Content-Length"] == str(last - first + 1)
        assert answer.headers["ETag"] == site.get(url).headers["ETag"]


@line("RFC 9110", "a part that is not there is 416, and says how long the file is")
def _(site: Site) -> None:
    url = urljoin("/pypi/simple/holygrail/", site.entry(WHEEL)["url"])
    size = len(site.get(url).body)
    for asked in (f"{size}-", f"{size}-{size + 5}", "-0"):
        answer = site.get(url, Range=f"bytes={asked}")
        assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{size}")


@line("RFC 9110", "If-Range gives the part to who has the rest of this very file, else the whole")
def _(site: Site) -> None:
    url = urljoin("/pypi/simple/holygrail/", site.entry(WHEEL)["url"])
    whole = site.get(url)
    assert site.get(url, Range="bytes=0-3", If_Range=whole.headers["ETag"]).status == 206
    for other in ('"other"', f"W/{whole.headers['ETag']}"):
        answer = site.get(url, Range="bytes=0-3", If_Range=other)
        assert (answer.status, answer.body) == (200, whole.body)


@line("RFC 9110", "a range of another unit is no range")
def _(site: Site) -> None:
    url = urljoin("/pypi/simple/holygrail/", site.entry(WHEEL)["url"])
    assert site.get(url, Range="lines=0-3").status == 200


@line("RFC 9110", "an error is not to be kept")
def _(site: Site) -> None:
    for path in ("/pypi/simple/not-there/", f"/pypi/files/aa/{'a' * 64}/x-1-py3-none-any.whl"):
        answer = site.get(path)
        assert (answer.status, answer.headers["Cache-Control"]) == (404, "no-store")


@pytest.mark.parametrize("door", ["python", "nginx"])
@pytest.mark.parametrize("sentence", LINES, ids=str)
def test_conformance(sentence: Line, door: str, site: Front) -> None:
    """What the standard says holds at the mirror's own door and through nginx."""
    sentence.holds(Site(site, door))


def test_table_in_words() -> None:
    """The page about the mirror has every line of the table, and no other."""
    told = re.findall(r"^\| ((?:PEP|RFC) \d+) \| (.*) \|$", DOC.read_text(), re.M)
    assert told == [(line.spec, line.says) for line in LINES]


@contextlib.contextmanager
def asleep(mirror: MirrorProcess) -> Iterator[None]:
    """The mirror answers nothing meanwhile."""
    os.killpg(mirror.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(mirror.pid, signal.SIGCONT)


def test_nginx_alone(site: Front) -> None:
    """List, pages, files and metadata come from nginx by itself, with the mirror stopped in its tracks."""
    door = Site(site, "nginx")
    url = urljoin("/pypi/simple/holygrail/", door.entry(WHEEL)["url"])
    door.get(url), door.get("/pypi/simple/")
    with asleep(site.mirror):
        for accept in (JSON, HTML, "text/html", None, f"{JSON}, {HTML}; q=0.1, text/html; q=0.01"):
            assert door.get("/pypi/simple/", accept).status == 200
            assert [door.get(f"/pypi/simple/{name}/", accept).status for name in NAMES] == [200] * len(NAMES)
        assert door.get(url, Range="bytes=1-2").status == 206
        assert door.get(url + ".metadata").status == 200


def test_list_follows(site: Front) -> None:
    """A project that comes, one that is published and one that goes away upstream change the list at once."""
    door = Site(site, "nginx")
    listed = {entry["name"] for entry in door.data("")["projects"]}
    site.upstream.add("newcomer")
    door.get("/pypi/simple/newcomer/")
    wheel = site.nginx.home.root / "ours-1.0-py3-none-any.whl"
    wheel.write_bytes(build_wheel("ours", "1.0"))
    publish(site.nginx.home, wheel)
    assert {entry["name"] for entry in door.data("")["projects"]} == listed | {"newcomer", "ours"}
    assert (site.pages / "index.json.gz").is_file()


def _is_yanked(mirror: MirrorProcess, yanked: bool | str) -> bool:
    data = json.loads(mirror.get("/pypi/simple/undecided/", {"Accept": JSON}).body)
    return bool(data["files"][0]["yanked"] == yanked)


def test_unyanked(upstream: UpstreamModel, new_mirror: Callable[..., MirrorProcess]) -> None:
    """A yank is taken back, and set again, as upstream does it (PEP 592)."""
    upstream.add("undecided")
    mirror = new_mirror(upstream.url, ttl=0)
    for yanked in ("bad", False, "worse", True):
        upstream.pages["undecided"]["files"][0]["yanked"] = yanked
        # Who asks first may have the page of before, which is renewed meanwhile.
        poll(functools.partial(_is_yanked, mirror, yanked))
