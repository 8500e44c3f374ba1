"""The index as pages for people: what it holds, a project's versions, and why one is hidden (pure).

HTML that asks for nothing else: one style sheet inside, no script, no address but the index's own and those of
projects. Whatever stands in it may have been written by anybody, and is escaped. What names are told, and to whom, is
as with the simple index: all of them, to whoever may install.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote, urlencode, urlsplit

from packaging.metadata import parse_email
from packaging.version import Version

from pypi_mirror.lens import Shown
from pypi_mirror.model import ACTIVE, QUARANTINED, File, version_of
from pypi_mirror.pages import file_path

NAMES, VERSIONS = 200, 30  # on a page
SEARCH_LENGTH = 128
SUMMARY_LENGTH, LINKS, LINK_LENGTH = 500, 10, 300

_CSS = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --ground: #fff; --line: #d0d7de; --field: #f6f8fa;
  --link: #0550ae; --bad: #a40e26; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9aa5b1; --ground: #0d1117; --line: #30363d;
  --field: #161b22; --link: #79b8ff; --bad: #ff9492; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 52rem; padding: 1.5rem 1rem 4rem; background: var(--ground); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
a { color: var(--link); } a:focus-visible, input:focus-visible, button:focus-visible, summary:focus-visible {
  outline: 3px solid var(--link); outline-offset: 2px; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 1rem 0 .5rem; } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
nav, p, small { color: var(--soft); } main p strong { color: var(--ink); }
form { display: flex; gap: .5rem; flex-wrap: wrap; align-items: end; margin: 1rem 0; } label { flex-basis: 100%; }
input, button { font: inherit; color: inherit; padding: .45rem .7rem; border: 1px solid var(--line);
  border-radius: .4rem; background: var(--field); } input { flex: 1 1 12rem; min-width: 0; } button { cursor: pointer; }
pre { white-space: pre-wrap; background: var(--field); border: 1px solid var(--line); border-radius: .4rem;
  padding: .7rem .9rem; margin: .5rem 0; }
ul { list-style: none; padding: 0; margin: 0; } li { padding: .35rem 0; border-top: 1px solid var(--line); }
ul.names { columns: 15rem; } ul.names li { border: 0; padding: .15rem 0; break-inside: avoid; }
li small { display: block; } ul.names small { display: inline; }
details { border-top: 1px solid var(--line); padding: .5rem 0; }
details ul { margin: .4rem 0 0 1rem; } summary { cursor: pointer; } .bad { color: var(--bad); }
"""
_HASH = base64.b64encode(hashlib.sha256(_CSS.encode()).digest()).decode()
HEADERS = (
    ("Content-Type", "text/html; charset=utf-8"),
    (
        "Content-Security-Policy",
        f"default-src 'none'; style-src 'sha256-{_HASH}'; img-src data:; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-cache"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page stands: the index's own address as the reader knows it, its path ``/pypi``, and the view."""

    origin: str
    prefix: str
    view: str = ""

    @property
    def root(self) -> str:
        return f"{self.prefix}/view/{self.view}" if self.view else self.prefix

    @property
    def index(self) -> str:
        return f"{self.origin}{self.root}/simple/"


def listing(place: Place, names: Sequence[str], private: Iterable[str], word: str = "", page: int = 1) -> bytes:
    """The projects that have ``word`` in their name, ``NAMES`` to a page; ``private``: those of our own."""
    word = word.strip()[:SEARCH_LENGTH]
    looked_for = "-".join(part for part in word.lower().replace("_", "-").replace(".", "-").split("-") if part)
    found = [name for name in names if looked_for in name]
    pages = max(1, -(-len(found) // NAMES))
    page = min(max(1, page), pages)
    shown = found[(page - 1) * NAMES : page * NAMES]
    marks = dict.fromkeys(private, " <small>our own</small>")
    entries = "".join(
        f'<li><a href="{place.root}/project/{name}/">{name}</a>{marks.get(name, "")}</li>\n' for name in shown
    )
    told = f"{len(found)} of {_count(len(names), 'project')}" if looked_for else _count(len(names), "project")
    unknown = "<p>The index holds nothing of that name yet. It is fetched when it is first asked for:</p>"
    body = (
        f"<h1>Packages</h1>\n{_search(place, word)}<h2>{told}</h2>\n"
        + (f'<ul class="names">\n{entries}</ul>\n' if shown else unknown + _install(place, word) if looked_for else "")
        + _turning(place, word, page, pages)
        + ("" if looked_for else f"<h2>Use this index</h2>\n{_install(place, 'NAME')}")
    )
    return _document(place, "Packages", body)


def project(
    place: Place,
    name: str,
    shown: Shown,
    *,
    private: bool,
    is_here: Callable[[File], bool],
    metadata: bytes = b"",
    whole: bool = False,
) -> bytes:
    """A project: its versions, the newest first, and for each file how large, from when, and why it is hidden if it is.

    ``metadata``: of its newest wheel, if that is known. ``whole``: all versions, however many.
    """
    words = _reasons(shown.notes)
    offered = () if shown.project.status == QUARANTINED else shown.project.files
    versions = _by_version((*offered, *shown.hidden))
    hidden = frozenset(shown.hidden)
    rows = [
        _version(place, version, files, hidden, words, is_here, is_first=number == 0)
        for number, (version, files) in enumerate(versions[: None if whole else VERSIONS])
    ]
    more = "" if len(rows) == len(versions) else f'<p><a href="?all=1">All {len(versions)} versions</a></p>\n'
    status = shown.project.status
    reason = f": {escape(shown.project.status_reason)}" if shown.project.status_reason else ""
    said = f'<p class="bad">This project is {escape(status)}{reason}.</p>\n' if status != ACTIVE else ""
    whose = "A project of our own." if private else "From upstream."
    view = f" As the view <strong>{escape(place.view)}</strong> shows it." if place.view else ""
    many = _count(len(versions), "version")
    body = (
        f"<h1>{escape(name)}</h1>\n{_described(metadata)}{said}<p>{whose}{view}</p>\n"
        f"<h2>Install</h2>\n{_install(place, name)}<h2>{many}</h2>\n{''.join(rows)}{more}"
    )
    return _document(place, name, body)


def nothing(place: Place, name: str) -> bytes:
    """The page of a project that is not here."""
    text = f"The index holds nothing of {escape(name)} yet. It is fetched when it is first asked for:"
    return _document(place, name, f"<h1>{escape(name)}</h1>\n<p>{text}</p>\n{_install(place, name)}")


def _document(place: Place, title: str, body: str) -> bytes:
    text = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{escape(title)}</title>\n<link rel="icon" href="data:,">\n<style>{_CSS}</style>\n</head>\n<body>\n'
        f'<nav aria-label="Index"><a href="{place.root}/">All packages</a></nav>\n'
        f"<main>\n{body}</main>\n</body>\n</html>\n"
    )
    return text.encode("ascii", "xmlcharrefreplace")  # upstream's words may hold what UTF-8 cannot


def _search(place: Place, word: str) -> str:
    return (
        f'<form action="{place.root}/" method="get" role="search"><label for="q">Search by name</label>'
        f'<input id="q" name="q" type="search" maxlength="{SEARCH_LENGTH}" value="{escape(word)}" autocomplete="off">'
        "<button>Search</button></form>\n"
    )


def _turning(place: Place, word: str, page: int, pages: int) -> str:
    def link(number: int, text: str) -> str:
        query = urlencode({"q": word, "page": number} if word else {"page": number})
        return f'<a href="{place.root}/?{escape(query)}">{text}</a>'

    links = [link(page - 1, "Back")] if page > 1 else []
    links += [link(page + 1, "Next")] if page < pages else []
    return f'<nav aria-label="Pages">Page {page} of {pages}. {" ".join(links)}</nav>\n' if pages > 1 else ""


def _install(place: Place, name: str) -> str:
    url, what = escape(place.index), escape(name if name.replace("-", "").replace("_", "").isalnum() else "NAME")
    return f"<pre>pip install --index-url {url} {what}\nuv pip install --index-url {url} {what}</pre>\n"


def _by_version(files: Iterable[File]) -> list[tuple[str, list[File]]]:
    found: dict[str, list[File]] = {}
    for file in files:
        found.setdefault(version_of(file.filename) or "", []).append(file)
    return sorted(found.items(), key=lambda pair: (bool(pair[0]), Version(pair[0] or "0")), reverse=True)


def _version(
    place: Place,
    version: str,
    files: Sequence[File],
    hidden: frozenset[File],
    words: Mapping[str, str],
    is_here: Callable[[File], bool],
    *,
    is_first: bool,
) -> str:
    marks = [
        '<span class="bad">hidden</span>' if all(file in hidden for file in files) else "",
        '<span class="bad">yanked</span>' if all(file.yanked is not False for file in files) else "",
    ]
    items = "".join(_file(place, file, file in hidden, words.get(file.filename, ""), is_here(file)) for file in files)
    title = escape(version) or "without a version"
    return (
        f"<details{' open' if is_first else ''}><summary><strong>{title}</strong> {' '.join(filter(None, marks))}"
        f"</summary>\n<ul>\n{items}</ul></details>\n"
    )


def _file(place: Place, file: File, is_hidden: bool, word: str, here: bool) -> str:
    address = f"{place.root}/files/{file_path(file.sha256, quote(file.filename))}#sha256={file.sha256}"
    name = escape(file.filename)
    facts = [
        "" if file.size is None else _size(file.size),
        f"uploaded {file.upload_time[:10]}" if file.upload_time else "",
        f"for Python {file.requires_python}" if file.requires_python else "",
        "here" if here else "not fetched yet",
    ]
    bad = []
    if file.yanked is not False:
        bad.append("Yanked" + (f": {file.yanked}" if isinstance(file.yanked, str) else ""))
    if word:
        bad.append(f"Hidden: {word}" if is_hidden else word)
    told = "".join(f'<small class="bad">{escape(text)}</small>' for text in bad)
    link = name if is_hidden else f'<a href="{address}" rel="nofollow">{name}</a>'
    return f"<li>{link}<small>{escape(', '.join(filter(None, facts)))}</small>{told}</li>\n"


def _reasons(notes: Iterable[str]) -> dict[str, str]:
    """What is told of each file, by its name, with which a note begins."""
    found = {}
    for note in notes:
        filename, _, rest = note.partition(" ")
        found[filename] = rest.removeprefix("is not let through ")
    return found


def _described(metadata: bytes) -> str:
    """The summary and the links in core metadata; a link leads to the web or is none."""
    try:
        raw, _ = parse_email(metadata.replace(b"\r\n", b"\n").partition(b"\n\n")[0])
    except (ValueError, TypeError, LookupError):
        return ""
    summary = str(raw.get("summary", ""))[:SUMMARY_LENGTH]
    urls = {"Home page": raw.get("home_page", ""), **raw.get("project_urls", {})}
    links = " ".join(
        f'<a href="{escape(url)}" rel="noopener noreferrer nofollow">{escape(label[:60])}</a>'
        for label, url in list(urls.items())[:LINKS]
        if _is_web(url)
    )
    return (f"<p><strong>{escape(summary)}</strong></p>\n" if summary else "") + (f"<p>{links}</p>\n" if links else "")


def _is_web(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and len(url) <= LINK_LENGTH and url.isprintable()


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _size(number: float) -> str:
    for unit in ("B", "kB", "MB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} GB"
