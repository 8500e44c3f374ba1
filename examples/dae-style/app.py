"""A poll. Votes live in the app's permdir, and so survive deploys."""

import fcntl
import json
import os
from pathlib import Path

import flask

from dae.api.permdir import get_permdir

CHOICES = ("tea", "coffee", "water")

app = flask.Flask(__name__, static_folder=None)  # /static is a handler of app.yaml


def read_votes(folder: Path) -> dict[str, int]:
    path = folder / "votes.json"
    return json.loads(path.read_text()) if path.exists() else dict.fromkeys(CHOICES, 0)


def add_vote(folder: Path, choice: str) -> None:
    """Count one vote; the lock keeps two workers apart, the rename keeps the file whole."""
    with (folder / "votes.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        votes = read_votes(folder)
        votes[choice] += 1
        temporary = folder / "votes.json.tmp"
        temporary.write_text(json.dumps(votes))
        temporary.replace(folder / "votes.json")


@app.get("/")
def index():
    votes = read_votes(Path(get_permdir()))
    return flask.render_template("index.html", votes=votes, environment=os.environ.get("DAE_ENV", ""))


@app.post("/vote")
def vote():
    choice = flask.request.form.get("choice", "")
    if choice not in CHOICES:
        flask.abort(400)
    add_vote(Path(get_permdir()), choice)
    return flask.redirect("/", 303)
