"""The smallest app that is nice to look at: one page that says which version of it you see."""

import os

import flask

VERSION = "1"

app = flask.Flask(__name__, static_folder=None)  # /static is a handler of app.yaml: nginx sends those files


@app.get("/")
def index():
    return flask.render_template(
        "index.html",
        version=VERSION,
        release=os.environ.get("DAE_RELEASE", "-"),
        stage=os.environ.get("DAE_ENV", "-"),
    )
