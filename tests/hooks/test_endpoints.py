"""Webhooks are made, listed and removed, and their log stays."""

from __future__ import annotations

import pytest

from core import events
from core.config import Settings
from core.errors import DaeError
from core.nouns import now
from core.store import AppRow, Store, UserRow
from hooks import endpoints

URL = "https://hooks.example/T000/secret-path"


@pytest.fixture(autouse=True)
def blog(store: Store) -> None:
    with store.write() as session:
        session.add(UserRow(name="ann", admin=True, created=now()))
        session.flush()
        session.add(AppRow(name="blog", owner="ann", next_release=1, created=now()))


@pytest.mark.parametrize(
    "url",
    [
        "", "hooks.example", "ftp://a.example/", "file:///etc/passwd", "//a.example", "http://", "http:///x",
        "https://user@a.example/", "https://user:pw@a.example/", "https://a.example:0/", "https://a.example:99999/",
        "https://a.example:x/", "https://a.example/#x", "https://a.example\\@b.example/", "https://a example/",
        "https://a.example/\r\nX: y", "https://a.example/\n", "https://\u0430.example/", "https://[::1/",
        "https://a.example/" + "x" * 2000, "javascript:alert(1)", "http://10.0.0.1/", "http://[::1]/",
        "http://169.254.169.254/latest", "http://[::ffff:10.0.0.1]/", "http://0.0.0.0/",
    ],
    ids=ascii,
)  # fmt: skip
def test_bad_urls(store: Store, settings: Settings, url: str) -> None:
    """What is not a plain http or https address, or already is a private one, is refused and nothing is kept."""
    with pytest.raises(DaeError, match="hook/bad-url"):
        endpoints.add(store, settings, url)
    assert endpoints.list_hooks(store) == []


@pytest.mark.parametrize(
    "url", [URL, "http://a.example:8080/?a=b", "https://a.example", "http://127.0.0.1:1/", "http://8.8.8.8/"]
)
def test_good_urls(store: Store, settings: Settings, url: str) -> None:
    """Public addresses, names, and addresses in hook_networks are accepted as they are written."""
    assert endpoints.add(store, settings, url).url == url


def test_add(store: Store, settings: Settings) -> None:
    """A webhook has an id and a secret of its own; its creation is an event, and its own first delivery."""
    first = endpoints.add(store, settings, URL, app="blog", who="ann")
    second = endpoints.add(store, settings, URL)
    assert first.secret != second.secret and len(first.secret) >= 40
    assert [(hook.id, hook.app) for hook in endpoints.list_hooks(store)] == [(1, "blog"), (2, "")]
    assert endpoints.get(store, 1).url == URL
    (delivery,) = endpoints.deliveries(store, first.id)
    assert delivery.state == "waiting"
    with store.read() as session:
        event = events.list_events(session)[0]
    assert (event.kind, event.app, event.who) == ("hook-created", "blog", "ann")
    assert event.data == {"hook": 1, "host": "hooks.example"}, "neither secret nor path"


@pytest.mark.parametrize(("app", "code"), [("other", "app/unknown"), ("../x", "app/bad-name")])
def test_add_for_no_app(store: Store, settings: Settings, app: str, code: str) -> None:
    """A webhook is for an app that exists."""
    with pytest.raises(DaeError, match=code):
        endpoints.add(store, settings, URL, app=app)


def test_remove(store: Store, settings: Settings) -> None:
    """A removed webhook is gone from the lists, what was on its way is cancelled, its id does not come again."""
    hook = endpoints.add(store, settings, URL)
    endpoints.remove(store, hook.id, who="ann")
    assert endpoints.list_hooks(store) == []
    for look in (endpoints.get, endpoints.remove, endpoints.deliveries):
        with pytest.raises(DaeError, match="hook/unknown"):
            look(store, hook.id)
    assert endpoints.add(store, settings, URL).id == hook.id + 1
    with store.read() as session:
        assert [event.kind for event in events.list_events(session)] == ["hook-created", "hook-removed", "hook-created"]


def test_a_destroyed_app_tells_its_end_and_no_more(store: Store, settings: Settings) -> None:
    """The webhooks of a destroyed app get that event, and nothing of a later app of that name."""
    hook = endpoints.add(store, settings, URL, app="blog")
    with store.write() as session:
        last = events.append(session, "app-destroyed", app="blog")
        endpoints.retire_app(session, "blog")
        events.append(session, "app-created", app="blog")
    with store.read() as session:
        from core.store import DeliveryRow

        assert [row.event for row in session.query(DeliveryRow)] == [1, last.id]
    assert hook.id not in [row.id for row in endpoints.list_hooks(store)]


def test_webhooks_follow_a_renamed_app(store: Store, settings: Settings) -> None:
    """After a renaming the app's webhooks get what happens under the new name."""
    hook = endpoints.add(store, settings, URL, app="blog")
    with store.write() as session:
        endpoints.rename_app(session, "blog", "news")
        events.append(session, "app-renamed", app="news")
    assert endpoints.get(store, hook.id).app == "news"
    assert len(endpoints.deliveries(store, hook.id)) == 2


def test_deliveries_newest_first(store: Store, settings: Settings) -> None:
    """The log shows the last ones first, as many as asked for."""
    hook = endpoints.add(store, settings, URL)
    with store.write() as session:
        for _ in range(5):
            events.append(session, "platform-started")
    assert [row.id for row in endpoints.deliveries(store, hook.id, limit=3)] == [6, 5, 4]
