"""pkt-lines (gitprotocol-common(5)) and what the door says in them."""

import io
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import DaeError
from receiver.body import Inflater
from receiver.packets import band, frames, packet, read_head, refusal, service_line

OLD, NEW = b"0" * 40, b"a" * 40


def dribble(data: bytes) -> io.RawIOBase:
    """A stream that gives three bytes at a time, as a socket may."""

    class Dribble(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(3, size or 0))

    return Dribble(data)  # type: ignore[return-value]


def test_the_length_counts_itself() -> None:
    """Four hex digits and the data."""
    assert packet(b"hello\n") == b"000ahello\n"
    assert service_line("git-upload-pack") == b"001e# service=git-upload-pack\n0000"
    with pytest.raises(ValueError, match="longer"):
        packet(b"x" * 65517)


def test_the_head_of_a_push_is_read_to_its_flush_and_kept_as_it_came() -> None:
    """Refs, capabilities, shallow lines; the pack stays unread."""
    head = packet(b"shallow " + NEW)
    head += packet(OLD + b" " + NEW + b" refs/heads/master\0 report-status side-band-64k")
    head += packet(OLD + b" " + NEW + b" refs/tags/v1\n") + b"0000"
    stream = dribble(head + b"PACK...")
    found = read_head(stream.read)
    assert found.raw == head
    assert found.refs == (b"refs/heads/master", b"refs/tags/v1")
    assert found.capabilities == {b"report-status", b"side-band-64k"}
    assert stream.read(9) == b"PAC"


@pytest.mark.parametrize("case", [bytes.lower, bytes.upper])
@pytest.mark.parametrize("ref", [b"a\n" + OLD + b" " + NEW + b" refs/heads/master", b"a\x1b[31m", b"a\r", b"a\n\n"])
def test_a_ref_is_one_line(ref: bytes, case: Callable[[bytes], bytes]) -> None:
    """A name with a line feed would be another update for the hook, and any control is trouble in a terminal."""
    head = packet(case(OLD + b" " + NEW) + b" refs/tags/" + ref + b"\0 report-status\n") + b"0000"
    with pytest.raises(DaeError, match="push/bad-ref"):
        read_head(dribble(head).read)


def test_a_head_that_breaks_off_is_kept_for_git_to_judge() -> None:
    """git itself answers what is incomplete."""
    assert read_head(io.BytesIO(b"00").read).raw == b""
    assert read_head(io.BytesIO(b"").read).refs == ()


@pytest.mark.parametrize("data", [b"zzzz", b"-001", b"+010", b" 010", b"fff1" + b"x" * 65533, b"\xff\xff\xff\xff"])
def test_what_is_no_pkt_line_is_refused(data: bytes) -> None:
    """Length digits are hex and nothing else."""
    with pytest.raises(DaeError) as caught:
        read_head(io.BytesIO(data).read)
    assert caught.value.code == "input/invalid"


@given(st.lists(st.binary(min_size=1, max_size=200)))
def test_frames_come_out_as_they_went_in(texts: list[bytes]) -> None:
    """However the stream is cut up."""
    packets = [packet(text) for text in texts]
    assert list(frames(dribble(b"".join(packets)).read)) == packets


@given(st.binary(max_size=4000))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """No input makes it fail in another way, or keep more than it was given."""
    try:
        assert data.startswith(read_head(io.BytesIO(data).read).raw)
    except DaeError as error:
        assert error.code == "input/invalid"


def test_a_refusal_speaks_what_the_client_understands() -> None:
    """On side bands the reason and the report; without them the report alone."""
    error = DaeError("push/too-large", "too much", "less")
    plain = read_head(io.BytesIO(packet(OLD + b" " + NEW + b" refs/heads/x\0report-status") + b"0000").read)
    report = packet(b"unpack push/too-large\n") + packet(b"ng refs/heads/x push/too-large\n") + b"0000"
    assert refusal(plain, error) == report
    banded = read_head(io.BytesIO(packet(OLD + b" " + NEW + b" refs/heads/x\0side-band-64k") + b"0000").read)
    said, rest = refusal(banded, error).split(packet(b"\1" + report))
    assert said == packet(b"\2\n !     push/too-large: too much\n       less\n")
    assert rest == b"0000"


def test_long_texts_are_cut_into_small_packets() -> None:
    """No packet is longer than the first side-band allowed."""
    cut = list(frames(io.BytesIO(band(2, b"x" * 3000)).read))
    assert [len(frame) for frame in cut] == [995, 995, 995, 35]


def test_a_gzip_bomb_is_unpacked_only_as_asked() -> None:
    """64 MB of zeros in 64 kB: each read gives at most what was asked for."""
    import gzip

    stream = Inflater(io.BytesIO(gzip.compress(bytes(64 << 20))).read)
    total = 0
    while chunk := stream.read(1 << 16):
        assert len(chunk) <= 1 << 16
        total += len(chunk)
    assert total == 64 << 20
