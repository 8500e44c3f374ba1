"""What `git push` reports is true."""

import os
import subprocess
from pathlib import Path

import pytest

from receiver.repository import Repository
from tests.receiver.conftest import Platform, git_environ, kill_all, until


def fsck(repository: Repository) -> None:
    subprocess.run(
        ["git", f"--git-dir={repository.path}", "fsck", "--strict"], check=True, env=git_environ(repository.path)
    )


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    output, _ = process.communicate(timeout=30)
    return process.returncode, output


def test_a_push_that_control_accepts_moves_the_ref(platform: Platform) -> None:
    """Control's lines are shown as they come, git's exit status is 0, and the ref is the pushed commit."""
    repository = platform.app("shop")
    clone = platform.clone("shop")
    commit = clone.commit()
    done = clone.push()
    assert done.returncode == 0, done.stderr
    assert "remote: -----> ok for ann" in done.stderr
    assert "remote: =====> shop is live" in done.stderr
    assert repository.ref("refs/heads/master") == commit == platform.live("shop")
    assert (platform.home.root / "out" / commit / "scenario").read_text() == "ok"


def test_a_refused_push_ends_with_the_error_and_moves_nothing(platform: Platform) -> None:
    """The last line of the remote has code, cause and hint, without control characters; git exits with 1."""
    repository = platform.app("refused")
    clone = platform.clone("refused")
    first = clone.commit()
    assert clone.push().returncode == 0
    clone.commit("refuse")
    done = clone.push()
    assert done.returncode == 1
    said = [line.rstrip() for line in done.stderr.splitlines() if line.startswith("remote:")]
    assert said[-2:] == [
        "remote:  !     build/unresolvable: nothing satisfies nosuch==1",
        "remote:        change pip-req.txt",
    ]
    assert "remote:        [31mlooking for it" in said
    assert "[remote rejected] HEAD -> master (pre-receive hook declined)" in done.stderr
    assert repository.ref("refs/heads/master") == first == platform.live("refused")


def test_a_forced_push_deploys(platform: Platform) -> None:
    """A branch may be moved to a commit that does not follow from the one before."""
    repository = platform.app("forced")
    clone = platform.clone("forced")
    clone.commit()
    assert clone.push().returncode == 0
    clone.git("checkout", "--quiet", "--orphan", "anew")
    commit = clone.commit()
    assert clone.push("HEAD:master", "--force").returncode == 0
    assert repository.ref("refs/heads/master") == commit


def test_of_two_pushes_of_a_branch_the_second_waits_and_is_stale(platform: Platform) -> None:
    """They never interleave: the second says that it waits, then sees the branch moved, and changes nothing."""
    repository = platform.app("race")
    first, second = platform.clone("race", "one"), platform.clone("race", "two")
    commit = first.commit("gate race")
    second.commit("ok", {"other": "file"})
    running = first.start("push", "dae", "HEAD:master")
    until(lambda: platform.reached("race"))
    waiting = second.start("push", "dae", "HEAD:master")
    assert waiting.stdout is not None
    said = ""
    while "another push of race is running; waiting for it" not in said:
        line = waiting.stdout.readline()
        assert line, said
        said += line
    platform.gate("race").touch()
    assert finish(running)[0] == 0
    status, output = finish(waiting)
    assert status == 1
    assert "push/stale: refs/heads/master moved" in output
    assert repository.ref("refs/heads/master") == commit == platform.live("race")


def test_of_two_pushes_of_two_branches_the_second_follows(platform: Platform) -> None:
    """It waits, and then deploys."""
    repository = platform.app("queue")
    first, second = platform.clone("queue", "one"), platform.clone("queue", "two")
    one, two = first.commit("gate queue"), second.commit("ok")
    running = first.start("push", "dae", "HEAD:master")
    until(lambda: platform.reached("queue"))
    waiting = second.start("push", "dae", "HEAD:beta")
    assert waiting.stdout is not None
    assert "another push of queue" in waiting.stdout.readline()
    platform.gate("queue").touch()
    assert finish(running)[0] == 0
    assert finish(waiting)[0] == 0
    assert (repository.ref("refs/heads/master"), repository.ref("refs/heads/beta")) == (one, two)


def test_control_hears_of_a_client_that_leaves(own_platform: Platform) -> None:
    """Its hanging up reaches control through door and hook; nothing moves, and the next push goes through."""
    repository = own_platform.app("gone")
    clone = own_platform.clone("gone")
    clone.commit("gate gone")
    running = clone.start("push", "dae", "HEAD:master")
    until(lambda: own_platform.reached("gone"))
    kill_all(running)
    until(lambda: [s["state"] for s in own_platform.push_states()] == ["failed"])
    assert own_platform.push_states()[0]["error"] == "push/cancelled"
    commit = clone.commit()
    assert clone.push().returncode == 0
    assert repository.ref("refs/heads/master") == commit


def test_the_ref_follows_what_is_live_when_the_client_left_too_late(own_platform: Platform) -> None:
    """The client left, control switched all the same: the hook asks what became of the push, and the ref moves."""
    repository = own_platform.app("late")
    clone = own_platform.clone("late")
    commit = clone.commit("deaf late")
    running = clone.start("push", "dae", "HEAD:master")
    until(lambda: own_platform.reached("late"))
    kill_all(running)
    until(lambda: own_platform.gate("late.left").exists())
    own_platform.gate("late").touch()
    until(lambda: own_platform.live("late"))
    until(lambda: repository.ref("refs/heads/master") == commit)


def test_a_killed_door_moves_nothing(own_platform: Platform) -> None:
    """SIGKILL of the door in the middle of a deploy: control cancels, refs and objects stay whole."""
    repository = own_platform.app("killed")
    clone = own_platform.clone("killed")
    first = clone.commit()
    assert clone.push().returncode == 0
    clone.commit("gate killed")
    running = clone.start("push", "dae", "HEAD:master")
    until(lambda: own_platform.reached("killed"))
    own_platform.kill_door()
    assert finish(running)[0] != 0
    until(lambda: sorted(s["state"] for s in own_platform.push_states()) == ["failed", "live"])
    assert repository.ref("refs/heads/master") == first
    fsck(repository)
    own_platform.door, own_platform.port = own_platform.start_door()
    clone.git("remote", "set-url", "dae", own_platform.url("killed"))
    commit = clone.commit()
    assert clone.push().returncode == 0
    assert repository.ref("refs/heads/master") == commit


def test_a_door_killed_too_late_moves_the_ref(own_platform: Platform) -> None:
    """SIGKILL of the door after which control goes live: the ref says so too."""
    repository = own_platform.app("switched")
    clone = own_platform.clone("switched")
    commit = clone.commit("deaf switched")
    running = clone.start("push", "dae", "HEAD:master")
    until(lambda: own_platform.reached("switched"))
    own_platform.kill_door()
    assert finish(running)[0] != 0
    until(lambda: own_platform.gate("switched.left").exists())
    own_platform.gate("switched").touch()
    until(lambda: repository.ref("refs/heads/master") == commit)
    assert own_platform.live("switched") == commit


def test_a_door_killed_while_objects_arrive_moves_nothing(own_platform: Platform) -> None:
    """SIGKILL of the door in the middle of the upload: git ends, the repository is what it was."""
    repository = own_platform.app("upload")
    clone = own_platform.clone("upload")
    clone.commit("ok", {"large": os.urandom(8 << 20)})
    running = clone.start("-c", "core.compression=0", "push", "dae", "HEAD:master")
    until(lambda: list((repository.path / "objects").glob("*incoming*")))
    own_platform.kill_door()
    assert finish(running)[0] != 0
    assert repository.ref("refs/heads/master") is None
    fsck(repository)


@pytest.mark.parametrize(
    ("knows", "status", "line"),
    [
        ("live", 0, "=====> live after all"),
        ("failed", 1, " !     release/crashed: it crashed"),
        ("unknown", 1, " !     push/interrupted: the platform stopped in the middle of it"),
    ],
)
def test_a_killed_control_decides_when_it_is_back(own_platform: Platform, knows: str, status: int, line: str) -> None:
    """The connection breaks; the hook waits for control's successor, and what that knows is the outcome."""
    repository = own_platform.app("died")
    clone = own_platform.clone("died")
    commit = clone.commit(f"die {knows}")
    running = clone.start("push", "dae", "HEAD:master")
    assert own_platform.control.wait(timeout=20) == 9
    own_platform.control = own_platform.start_control()
    found, output = finish(running)
    assert (found, line in output) == (status, True), output
    assert repository.ref("refs/heads/master") == (commit if status == 0 else None)


def test_a_push_waits_for_a_control_that_is_starting(own_platform: Platform) -> None:
    """Nothing has been asked yet when control is down: the push waits, and then deploys."""
    own_platform.app("early")
    clone = own_platform.clone("early")
    clone.commit()
    own_platform.control.kill()
    own_platform.control.wait()
    running = clone.start("push", "dae", "HEAD:master")
    assert running.stdout is not None
    assert "waiting for the platform" in running.stdout.readline()
    own_platform.control = own_platform.start_control()
    assert finish(running)[0] == 0


def test_without_the_hook_no_push_is_taken(own_platform: Platform) -> None:
    """git would move the ref and deploy nothing: the door refuses instead."""
    repository = own_platform.app("hookless")
    clone = own_platform.clone("hookless")
    clone.commit()
    (own_platform.home.run / "githooks" / "pre-receive").unlink()
    assert clone.push().returncode != 0
    assert repository.ref("refs/heads/master") is None


def test_a_repository_cannot_bring_its_own_hooks_or_policy(platform: Platform) -> None:
    """Hooks and config inside a repository, however they got there, are not what git obeys."""
    repository = platform.app("hooked")
    hooks = repository.path / "hooks"
    hooks.mkdir()
    for name in ("pre-receive", "update", "post-receive", "reference-transaction"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {repository.path}/pwned\n")
        (hooks / name).chmod(0o755)
    config = (repository.path / "config").read_text()
    (repository.path / "config").write_text(
        config + f"[core]\n\thooksPath = {hooks}\n[receive]\n\tfsckObjects = false\n"
    )
    clone = platform.clone("hooked")
    clone.commit("refuse")
    assert "build/unresolvable" in clone.push().stderr
    clone.commit()
    assert clone.push().returncode == 0
    assert not (repository.path / "pwned").exists()


def test_a_push_over_the_cap_is_refused_in_words(small_platform: Platform) -> None:
    """Of known length or chunked, the client sees code and limit; nothing of it stays on disk."""
    repository = small_platform.app("large")
    clone = small_platform.clone("large")
    for size in (500_000, 3_000_000):  # git sends up to 1 MiB in one piece, more in chunks
        clone.commit("ok", {"large": os.urandom(size)})
        done = clone.push()
        assert done.returncode == 1, done.stderr
        assert "remote:  !     push/too-large: the push is larger than 200,000 bytes" in done.stderr
        assert "[remote rejected] HEAD -> master (push/too-large)" in done.stderr
    assert repository.ref("refs/heads/master") is None
    until(lambda: not list((repository.path / "objects").glob("*incoming*")))
    clone.git("checkout", "--quiet", "--orphan", "small")
    (clone.path / "large").unlink()
    clone.commit()
    assert clone.push().returncode == 0


def test_a_large_push_does_not_grow_the_door(platform: Platform) -> None:
    """64 MB pass through a worker whose memory grows by less than 12 MB."""
    repository = platform.app("heavy")
    clone = platform.clone("heavy")
    commit = clone.commit("ok", {"large": os.urandom(64 << 20)})
    before = peak(platform)
    done = clone.run("-c", "core.compression=0", "push", "dae", "HEAD:master")
    assert done.returncode == 0, done.stderr
    assert repository.ref("refs/heads/master") == commit
    assert peak(platform) - before < 12 << 20


def test_the_door_keeps_no_process_and_no_file(own_platform: Platform) -> None:
    """Whatever way a push ended, neither a zombie nor an open pipe or lock stays with the worker."""
    own_platform.app("tidy")
    clone = own_platform.clone("tidy")
    clone.commit()
    assert clone.push().returncode == 0
    until(lambda: not children(worker(own_platform)))
    before = files(worker(own_platform))
    for number in range(5):
        clone.commit("refuse" if number % 2 else f"gate {number}")
        pushing = clone.start("push", "dae", "HEAD:master")
        if number % 2:
            assert finish(pushing)[0] == 1
        else:
            until(lambda name=str(number): own_platform.reached(name))  # type: ignore[misc]
            kill_all(pushing)
    assert clone.run("fetch", "dae").returncode == 0
    until(lambda: not children(worker(own_platform)))
    until(lambda: files(worker(own_platform)) <= before)


def worker(platform: Platform) -> int:
    (found,) = children(platform.door.pid)
    return found


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def peak(platform: Platform) -> int:
    """The largest memory that the door's worker ever had, in bytes."""
    status = Path(f"/proc/{worker(platform)}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))) << 10
