"""A network for one build: nothing but a loopback of its own, on which one port leads to the platform's index.

A socket belongs to the network in which it was made, wherever it is used. So the listener is made inside and served
outside, by a relay that the build can neither see nor signal: in the build's network runs nothing but the build.
"""

from __future__ import annotations

import array
import fcntl
import os
import signal
import socket
import struct
import threading
from contextlib import suppress
from typing import NoReturn

from core.kernel import PR_SET_PDEATHSIG, prctl
from runner.kernel import CLONE_NEWNET, unshare

MOST_CONNECTIONS = 64
_BLOCK = 64 << 10
_SIOCGIFINDEX, _SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK, _IFF_UP = 0x8933, 0x8914, 0x8916, 0x891C, 1  # netdevice(7)
_IP_FREEBIND = 15  # ip(7)
_NOBODY = 1 << 31


def replace(address: str, port: int, target: str) -> None:
    """Leave the host's network for one of our own, where ``address:port`` leads to the unix socket ``target``.

    Returns in a child. The caller becomes the relay, and ends when the child does, as the child did: whoever waits for
    it sees no difference. Raises OSError (in the child).
    """
    outer, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    child = os.fork()
    if child != 0:
        inner.close()
        _relay(child, outer, target)
    outer.close()
    unshare(CLONE_NEWNET)
    _bring_up(address)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with inner, socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_IP, _IP_FREEBIND, 1)  # an IPv6 address takes a moment to be usable
        listener.bind((address, port))
        listener.listen(MOST_CONNECTIONS)
        inner.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener.fileno()]))])


def _bring_up(address: str) -> None:
    """The loopback, and on it the address that the index has on this host."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _IFF_UP))
        index = struct.unpack("16si20x", fcntl.ioctl(control, _SIOCGIFINDEX, struct.pack("16s24x", b"lo")))[1]
        if ":" not in address and not address.startswith("127."):
            alias = struct.pack("16sHH4s16x", b"lo:0", socket.AF_INET, 0, socket.inet_aton(address))
            fcntl.ioctl(control, _SIOCSIFADDR, alias)
            mask = struct.pack(
                "16sHH4s16x", b"lo:0", socket.AF_INET, 0, b"\xff" * 4
            )  # or the network around it is here
            fcntl.ioctl(control, _SIOCSIFNETMASK, mask)
    if ":" in address and address != "::1":
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as control:
            alias = struct.pack("16sIi", socket.inet_pton(socket.AF_INET6, address), 128, index)
            fcntl.ioctl(control, _SIOCSIFADDR, alias)


def _relay(child: int, channel: socket.socket, target: str) -> NoReturn:
    """Serve the listener that comes down ``channel`` until the child ends, as nobody; then end as it did."""
    try:
        _become_nobody()
        threading.Thread(target=_accept, args=(channel, target), daemon=True).start()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status < 0:
            with suppress(OSError):  # SIGKILL has no other handler
                signal.signal(-status, signal.SIG_DFL)
            os.kill(os.getpid(), -status)
        os._exit(status)
    finally:
        os._exit(126)


def _become_nobody() -> None:
    """Have nothing open that the build's output goes to, and, as root, ids that no other process has."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nothing, number)
    if os.geteuid() == 0:
        # Neither a build's account nor another relay can touch a process of such ids (kill(2), ptrace(2)).
        nobody = _NOBODY + os.getpid()
        os.setgroups([])
        os.setresgid(nobody, nobody, nobody)
        os.setresuid(nobody, nobody, nobody)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # after the ids: their change would undo it


def _accept(channel: socket.socket, target: str) -> None:
    with channel:
        data, ancillary, _flags, _address = channel.recvmsg(1, socket.CMSG_SPACE(4))
    if not data:
        return  # the child could not make its network, and has said so
    listener = socket.socket(fileno=struct.unpack("i", ancillary[0][2][:4])[0])
    free = threading.BoundedSemaphore(MOST_CONNECTIONS)
    while True:
        free.acquire()
        connection = listener.accept()[0]
        threading.Thread(target=_serve, args=(connection, target, free), daemon=True).start()


def _serve(connection: socket.socket, target: str, free: threading.BoundedSemaphore) -> None:
    try:
        with connection, socket.socket(socket.AF_UNIX) as index, suppress(OSError):
            index.connect(target)
            back = threading.Thread(target=_copy, args=(index, connection), daemon=True)
            back.start()
            _copy(connection, index)
            back.join()
    finally:
        free.release()


def _copy(source: socket.socket, to: socket.socket) -> None:
    """Bytes one way until their end, which is handed on."""
    with suppress(OSError):
        while block := source.recv(_BLOCK):
            to.sendall(block)
    with suppress(OSError):
        to.shutdown(socket.SHUT_WR)
