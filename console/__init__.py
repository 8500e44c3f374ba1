"""The page that the platform's own address shows. It holds no data: what a person may see, the API decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.config import Settings

if TYPE_CHECKING:
    import flask

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>DAE</title>
<style>
  :root { color-scheme: light dark; }
  body { font: 16px/1.6 system-ui, sans-serif; max-width: 40rem; margin: 12vh auto; padding: 0 1.5rem; }
  h1 { font-size: 2.4rem; letter-spacing: -.02em; margin: 0; }
  p { opacity: .8; }
  pre { padding: 1rem 1.2rem; border-radius: .6rem; background: rgba(127, 127, 127, .12); overflow-x: auto; }
</style>
<h1>DAE runs here</h1>
<p>Apps live at <b>APP.dev.{{ domain }}</b>, <b>APP.beta.{{ domain }}</b> and <b>APP.{{ domain }}</b>.</p>
<pre>pip install --index-url {{ url }}/pypi/simple/ 'dae[cli]'
dae login --url {{ url }}
dae create --template flask hello
cd hello
git push dae master</pre>
<p><a href="/pypi/">Packages</a> of the platform's index.</p>
"""


def register(app: flask.Flask, settings: Settings) -> None:
    """Serve the page at ``/``."""
    import flask

    def page() -> str:
        return flask.render_template_string(PAGE, url=settings.url, domain=settings.domain)

    app.add_url_rule("/", "page", page)
