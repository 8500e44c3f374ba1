"""The worker: at least once, not for ever, and nobody waits for a slow receiver but itself."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core import events
from core.config import Settings
from core.nouns import now
from core.store import DeliveryRow, HookRow, Store
from hooks import endpoints
from hooks.sending import Sender, signature
from hooks.worker import CLAIM_SECONDS, Worker, pause_after
from tests.core.coord_contract import wait_for
from tests.hooks.conftest import Receiver


def make_worker(store: Store, settings: Settings, **changes: float) -> Worker:
    sender = Sender(settings.hook_networks)
    return Worker(store, sender, settings.hook_attempts, **{"retry_seconds": 0.001, "poll_seconds": 0.02, **changes})  # type: ignore[arg-type]


@pytest.fixture
def running(store: Store, settings: Settings) -> Iterator[Worker]:
    """A worker that runs, and retries after milliseconds."""
    worker = make_worker(store, settings)
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    yield worker
    worker.stop()
    thread.join(10)
    assert not thread.is_alive()


def happen(store: Store, count: int = 1) -> None:
    with store.write() as session:
        for _ in range(count):
            events.append(session, "platform-started")


def log(store: Store, hook: int) -> list[tuple[str, int, int]]:
    return [(row.state, row.attempts, row.status) for row in reversed(endpoints.deliveries(store, hook))]


def test_fails_twice_then_arrives(store: Store, settings: Settings, receiver: Receiver, running: Worker) -> None:
    """A delivery that fails is sent again, the same bytes under the same id and signature, until it is taken."""
    receiver.statuses = [500, 503, 200]
    hook = endpoints.add(store, settings, receiver.url)
    wait_for(lambda: log(store, hook.id) == [("delivered", 3, 200)])
    assert len(receiver.requests) == 3
    assert (
        len({(r.body, r.headers["X-DAE-Delivery"], r.headers["X-DAE-Signature-256"]) for r in receiver.requests}) == 1
    )
    assert receiver.requests[0].headers["X-DAE-Signature-256"] == signature(hook.secret, receiver.requests[0].body)
    row = endpoints.deliveries(store, hook.id)[0]
    assert row.error == "" and row.finished is not None


def test_gives_up(store: Store, settings: Settings, receiver: Receiver, running: Worker) -> None:
    """After hook_attempts failures the delivery is failed, its log says why, and nothing more is sent."""
    receiver.statuses = [500]
    hook = endpoints.add(store, settings, receiver.url)
    wait_for(lambda: log(store, hook.id)[0][0] == "failed")
    assert log(store, hook.id) == [("failed", settings.hook_attempts, 500)]
    assert endpoints.deliveries(store, hook.id)[0].error == "answered 500"
    assert len(receiver.requests) == settings.hook_attempts


def test_refused_addresses_are_not_tried_again(store: Store, settings: Settings, receiver: Receiver) -> None:
    """A name that leads to a private address fails at once and says so; nothing is sent."""
    hook = endpoints.add(store, settings, f"http://localhost:{receiver.port}/")
    worker = Worker(store, Sender(()), 6)
    for claimed in worker.claim():
        worker.attempt(claimed)
    assert log(store, hook.id) == [("failed", 1, 0)]
    assert "webhooks are not sent to" in endpoints.deliveries(store, hook.id)[0].error
    assert receiver.requests == []


def test_pauses_grow() -> None:
    """10 s, 40 s, ... up to six hours, spread by a fifth either way; hook_attempts of 6 stretch over about an hour."""
    assert [pause_after(n, 0.5) for n in (1, 2, 3)] == [10, 40, 160]
    assert pytest.approx([8, 12]) == [pause_after(1, 0), pause_after(1, 1)]
    assert pause_after(50, 0.5) == 6 * 3600
    assert 3000 < sum(pause_after(n, 0.5) for n in range(1, 6)) < 4000


def test_a_failure_is_due_later(store: Store, settings: Settings, receiver: Receiver) -> None:
    """After a failure the delivery waits its pause: it is not taken before, and is after."""
    moment = now()
    worker = Worker(store, Sender(settings.hook_networks), 6, clock=lambda: moment, chance=lambda: 0.5)
    receiver.statuses = [500]
    hook = endpoints.add(store, settings, receiver.url, clock=lambda: moment)
    (claimed,) = worker.claim()
    worker.attempt(claimed)
    assert endpoints.deliveries(store, hook.id)[0].due == moment + datetime.timedelta(seconds=10)
    assert worker.claim() == []
    moment += datetime.timedelta(seconds=10)
    assert [claimed.id for claimed in worker.claim()] == [claimed.id]


def test_a_slow_receiver_delays_nobody_else(
    store: Store, settings: Settings, make_receiver: Callable[[], Receiver], running: Worker
) -> None:
    """While one receiver holds its request, others get theirs; it gets one request at a time."""
    slow, quick = make_receiver(), make_receiver()
    slow.gate.clear()
    for receiver in (slow, quick):
        endpoints.add(store, settings, receiver.url)
    happen(store, 3)
    wait_for(lambda: len(quick.requests) == 4)
    assert len(slow.requests) <= 1
    slow.gate.set()
    wait_for(lambda: {state for state, _, _ in log(store, 1)} == {"delivered"})
    assert len(slow.requests) == 5, "hook-created of both, and three more"


def test_two_workers_do_not_send_twice(store: Store, settings: Settings, receiver: Receiver, running: Worker) -> None:
    """What one worker took, another leaves alone."""
    second = make_worker(store, settings)
    thread = threading.Thread(target=second.run, daemon=True)
    thread.start()
    hook = endpoints.add(store, settings, receiver.url)
    happen(store, 20)
    wait_for(lambda: {state for state, _, _ in log(store, hook.id)} == {"delivered"})
    second.stop()
    thread.join(10)
    assert len(receiver.requests) == 21


def test_what_was_removed_meanwhile_stays_removed(store: Store, settings: Settings, receiver: Receiver) -> None:
    """The outcome of an attempt does not revive a delivery that was cancelled during it."""
    hook = endpoints.add(store, settings, receiver.url)
    worker = make_worker(store, settings)
    (claimed,) = worker.claim()
    endpoints.remove(store, hook.id)
    worker.attempt(claimed)
    with store.read() as session:
        assert session.get_one(DeliveryRow, claimed.id).state == "cancelled"
        assert session.get_one(HookRow, hook.id).secret == ""


@pytest.fixture
def start(settings: Settings) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Starts the real process on the home of ``settings``."""
    started: list[subprocess.Popen[bytes]] = []
    environ = {"DAE_HOME": str(settings.home), "DAE_HOOK_NETWORKS": ",".join(settings.hook_networks)}

    def start() -> subprocess.Popen[bytes]:
        started.append(
            subprocess.Popen([sys.executable, "-I", "-m", "hooks.worker"], env={**os.environ, **environ}, cwd="/")
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_killed_in_the_middle_sends_again(
    store: Store, settings: Settings, receiver: Receiver, start: Callable[[], subprocess.Popen[bytes]]
) -> None:
    """kill -9 while a receiver has the request: the delivery becomes due again, and arrives."""
    receiver.gate.clear()
    hook = endpoints.add(store, settings, receiver.url)
    process = start()
    wait_for(lambda: len(receiver.requests) == 1)
    process.kill()
    process.wait()
    receiver.gate.set()
    assert log(store, hook.id) == [("waiting", 0, 0)]
    assert make_worker(store, settings).claim() == [], "for now it still counts as taken"
    later = now() + datetime.timedelta(seconds=CLAIM_SECONDS)
    worker = Worker(store, Sender(settings.hook_networks), 6, clock=lambda: later)
    for claimed in worker.claim():
        worker.attempt(claimed)
    assert log(store, hook.id) == [("delivered", 1, 200)]
    assert len({request.headers["X-DAE-Delivery"] for request in receiver.requests}) == 1
    assert len(receiver.requests) == 2


def test_stops_when_told_even_in_the_middle(
    store: Store, settings: Settings, receiver: Receiver, start: Callable[[], subprocess.Popen[bytes]]
) -> None:
    """SIGTERM ends the process with status 0 while a receiver still holds a request."""
    receiver.gate.clear()
    endpoints.add(store, settings, receiver.url)
    process = start()
    wait_for(lambda: len(receiver.requests) == 1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0


def test_waits_for_the_schema(
    settings: Settings, receiver: Receiver, start: Callable[[], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """Started before the schema is there, it waits, and then sends."""
    (settings.home / "state").mkdir()
    process = start()
    wait_for(lambda: (settings.home / "state" / "dae.db").exists())
    store = Store.at(settings.home / "state" / "dae.db")
    store.migrate()
    hook = endpoints.add(store, settings, receiver.url)
    wait_for(lambda: log(store, hook.id) == [("delivered", 1, 200)])
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0
