import os

import flask

app = flask.Flask(__name__, static_folder=None)  # /static is a handler of app.yaml: nginx sends those files

PAGE = """<!doctype html>
<meta charset="utf-8">
<title>Hello</title>
<link rel="stylesheet" href="/static/style.css">
<h1>Hello</h1>
<p>This is release {release} in {stage}. Change <code>app.py</code>, commit, push.</p>
"""


@app.get("/")
def index():
    return PAGE.format(release=os.environ.get("DAE_RELEASE", "-"), stage=os.environ.get("DAE_ENV", "-"))
