"""What `git push` reports is true."""


from tests.receiver.conftest import Platform


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
    assert said[-1] == "remote:  !     build/unresolvable: nothing satisfies nosuch==1 -- change pip-req.txt"
    assert "remote:        [31mlooking for it" in said
    assert "[remote rejected] HEAD -> master (pre-receive hook declined)" in done.stderr
    assert repository.ref("refs/heads/master") == first == platform.live("refused")
